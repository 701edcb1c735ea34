//! What one client makes the proxy hold: what `-max-memory` counts, and who holds most by.
//!
//! | what grows by what a client sends | what bounds it, beside `-max-memory` |
//! |---|---|
//! | requests that wait to be executed, whole or not: `input` and `backlog`, whatever the client waits for (a slot without a node, CLIENT PAUSE, a blocking command, a login that is delayed) | `-client-query-buffer-limit` |
//! | requests queued by MULTI, keys watched by WATCH | the same, together with those; and `Limits::transaction_bytes` |
//! | requests that are sent again (`held`) | `Limits::held_bytes` and `held_requests`, of a worker |
//! | replies, messages, lines of MONITOR, keys that have changed: `output`, `pipeline`, `late` | `-client-output-buffer-limit`, `Limits::client_output_bytes` and `monitor_bytes` |
//! | names of channels and patterns | `Limits::subscription_bytes` |
//! | prefixes of CLIENT TRACKING | `local::tracking`: so many, of so many bytes |
//! | keys of a transaction that a tracking client is told of | so many, else all (`Mode::note_apart`) |
//! | its name and that of its library | each is one argument of one request |
//! | requests in flight | `-client-output-buffer-limit` by the window (`Client::window`) |
//! | failed logins | a table of a fixed size for the process (`acl::failures`) |
//! | scripts and libraries that it loads | `Limits::script_bytes`, of the process |
//!
//! A blocking command is kept until its reply comes, and a client has one at a time.

use crate::proxy::client::Client;
use crate::proxy::lease::state::Work;
use crate::proxy::lease::state::run::Line;
use crate::proxy::pubsub::state::subscriptions::Subscriptions;
use crate::proxy::tracking::state::mode::Mode;

impl Client {
    /// Storage for bytes from it that holds nothing.
    pub fn free_input_bytes(&self) -> usize {
        self.input.free() + self.backlog.as_ref().map_or(0, |backlog| backlog.free())
    }

    /// What it has queued behind MULTI, and what it watches.
    pub(in crate::proxy) fn queued_bytes(&self) -> usize {
        match self.lease.as_deref().map(|lease| &lease.work) {
            Some(Work::Transaction(transaction)) => transaction.bytes,
            Some(Work::Blocking(_) | Work::Wait(_) | Work::Streamed) | None => 0,
        }
    }

    /// What it has sent and what is not executed. What is queued behind MULTI is not either, though Redis 7.0 does not count
    /// it here.
    pub(in crate::proxy) fn query_bytes(&self) -> usize {
        self.unexecuted_bytes() + self.queued_bytes()
    }

    /// Bytes that it makes us hold.
    pub(in crate::proxy) fn held_memory(&self) -> usize {
        let owed = self.output.memory() + self.pipeline.ready_bytes();
        let asked = self.query_bytes() + self.free_input_bytes() + self.kept_requests();
        let subscriptions = self.session.subscriptions();
        let subscribed = subscriptions.map_or(0, Subscriptions::bytes);
        let prefixes = self.session.tracking().map_or(0, Mode::bytes);
        let named = self.session.identity().map_or(0, |own| own.bytes());
        owed + asked + subscribed + prefixes + named
    }

    /// Requests that are kept until they are answered, since they may have to be sent again.
    fn kept_requests(&self) -> usize {
        let held = self.held.iter().map(|held| held.bytes.len());
        let held: usize = held.sum();
        let Some(lease) = self.lease.as_deref() else {
            return held;
        };
        match lease.work {
            // Those are queued.
            Work::Transaction(_) => held,
            Work::Blocking(_) | Work::Wait(_) | Work::Streamed => {
                let lines = lease.runs.iter().flat_map(|run| &run.lines);
                held + lines
                    .map(|line| line.frame.len() + Line::COST)
                    .sum::<usize>()
            }
        }
    }
}
