//! `/healthz` and `/readyz`: what an orchestrator asks.

use crate::control::connection::Answer;
use crate::control::message::{Request, Response};
use crate::control::state::ControlState;
use crate::control::status::Status;
use crate::control::status::collect::stuck;

/// 200 while no worker is stuck.
pub(super) fn liveness(_: &Request, state: &ControlState) -> Answer {
    let sources = &state.sources;
    Answer::Now(match stuck(sources, sources.clock.now()) {
        Some((worker, why)) => Response::text(503, &format!("worker {worker} {why}")),
        // A shard that is not there is no fault of this program, and no reason to restart it.
        None => Response::text(200, "ok"),
    })
}

/// 200 while requests can be served, by what `-ready-when` asks for.
pub(super) fn readiness(_: &Request, state: &ControlState) -> Answer {
    let ready = Status::of(&state.sources).ready;
    let status = if ready.ready { 200 } else { 503 };
    Answer::Now(Response::json(status, &ready))
}
