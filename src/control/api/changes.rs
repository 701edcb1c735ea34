//! What can be done from the debug address: each a POST.

use serde_json::json;

use crate::control::draining;
use crate::control::message::{Request, Response};
use crate::control::refresher::Trigger;
use crate::control::state::ControlState;
use crate::live_config::Unchanged;
use crate::proxy::messages::client_filter::Filter;
use crate::proxy::messages::worker_query::WorkerQuery;
use crate::resp::reply::Reply;
use crate::sort;
use crate::systemd;

/// `POST /api/v1/topology/refresh`: the cluster is asked for its topology now.
pub fn refresh(_: &Request, state: &ControlState) -> Response {
    state.sources.refresher.request(Trigger::Manual);
    Response::json(202, &json!({ "asked": true }))
}

/// `POST /api/v1/clients/kill?id=N` or `?addr=ip:port`: how many were closed.
pub fn kill(request: &Request, state: &ControlState) -> Response {
    let number = match request.parameter("id").map(|id| id.parse()) {
        Some(Ok(number)) => Some(number),
        Some(Err(_)) => return Response::text(400, "id is not a number"),
        None => None,
    };
    let address = request.parameter("addr").map(String::into_bytes);
    if number.is_none() && address.is_none() {
        return Response::text(400, "id=N or addr=IP:PORT is wanted");
    }
    let filter = Filter {
        number,
        address,
        ..Filter::default()
    };
    match state.ask_workers(&WorkerQuery::Kill(Box::new(filter))) {
        Ok(replies) => {
            let killed = replies.iter().map(|reply| Reply::new(reply).integer());
            let killed: i64 = killed.map(|killed| killed.unwrap_or(0)).sum();
            log::info!("debug address: closed {killed} client(s)");
            Response::json(200, &json!({ "killed": killed }))
        }
        Err(silent) => Response::text(503, &silent.0),
    }
}

/// `POST /api/v1/drain`: as SIGTERM.
pub fn drain(_: &Request, state: &ControlState) -> Response {
    log::info!("debug address: draining");
    systemd::stopping();
    draining::begin(&state.sources.process, &state.mailboxes);
    Response::json(202, &json!({ "draining": true }))
}

/// `POST /api/v1/stats/reset`: the proxy's own counters begin at zero again, the nodes' stay.
pub fn reset(_: &Request, state: &ControlState) -> Response {
    match state.ask_workers(&WorkerQuery::ResetStats) {
        Ok(_) => Response::json(200, &json!({ "reset": true })),
        Err(silent) => Response::text(503, &silent.0),
    }
}

/// `GET /api/v1/config`: every setting and its value, passwords left out.
pub fn config(_: &Request, state: &ControlState) -> Response {
    let settings = state.sources.process.live.list().into_iter();
    Response::json(200, &sort::map(settings))
}

/// `POST /api/v1/config`, with `name=NAME&value=VALUE`: a setting is changed until the program ends.
pub fn set_config(request: &Request, state: &ControlState) -> Response {
    let (Some(name), Some(value)) = (request.parameter("name"), request.parameter("value")) else {
        return Response::text(400, "name=NAME&value=VALUE is wanted");
    };
    match change(state, &name, &value) {
        Ok(()) => Response::json(200, &json!({ name: value })),
        Err(refused) => refused,
    }
}

/// Changes a setting and has every worker take it.
pub fn change(state: &ControlState, name: &str, value: &str) -> Result<(), Response> {
    let changed = state.sources.process.live.change(&[(name, value)]);
    if let Err((_, unchanged)) = changed {
        return Err(match unchanged {
            Unchanged::Unknown => Response::text(400, &format!("unknown setting {name}")),
            Unchanged::Fixed => Response::text(400, &format!("{name} can only be set at startup")),
            Unchanged::Invalid(reason) => Response::text(400, &format!("{name} {reason}")),
        });
    }
    log::info!("debug address: {name} set to {value}");
    match state.ask_workers(&WorkerQuery::RenewConfig) {
        Ok(_) => Ok(()),
        Err(silent) => Err(Response::text(503, &silent.0)),
    }
}
