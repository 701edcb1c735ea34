//! What the proxy answers itself: one handler for each such row of the table.
//!
//! A handler sees its own client's session and what can be read of the proxy; it appends one reply. It must
//! never reach another client, a backend or a socket.

mod client;
mod cluster;
mod config;
mod connection;
mod info;
mod kill;
mod pause;
mod server;
mod tracking;

use std::sync::Arc;

use crate::clock::Time;
use crate::command::{Command, Table};
use crate::config::Config;
use crate::proxy::plan::Plan;
use crate::proxy::replies::Replies;
use crate::proxy::routes::Routes;
use crate::proxy::session::Session;
use crate::proxy::stats::{Process, Stats};
use crate::resp::args::Args;
use crate::resp::encode;

/// What a handler sees.
pub struct Context<'a> {
    /// The client's session.
    pub session: &'a mut Session,
    /// Whether the client's next requests are answered.
    pub replies: &'a mut Replies,
    /// What has been decided.
    pub config: &'a Config,
    /// What all workers share.
    pub process: &'a Process,
    /// This worker's counters.
    pub stats: &'a Stats,
    /// Who serves what.
    pub routes: &'a Routes,
    /// All commands.
    pub table: &'a Arc<Table>,
    /// The row of the command at hand.
    pub command: &'a Command,
    /// The time.
    pub now: Time,
}

/// What happens behind the reply.
#[derive(Debug)]
pub enum After {
    /// The next request.
    Go,
    /// The client is closed once it has the reply.
    Close,
    /// No reply was made, and there is none.
    Silent,
    /// No reply was made: it is the client's own line of `CLIENT LIST`.
    OwnLine,
    /// No reply was made: any master has it.
    AskAnyMaster,
    /// No reply was made: it is made of the answers to these.
    Ask(Plan),
}

type Run = fn(&mut Context<'_>, &Args<'_>, &mut Vec<u8>) -> After;

/// How one command is answered.
#[derive(Debug, Clone, Copy)]
pub struct Handler {
    /// Makes the reply.
    pub run: Run,
    /// Whether it changes what later requests mean, so that earlier ones must be answered first.
    pub barrier: bool,
}

const fn row(name: &'static str, run: Run) -> (&'static str, Handler) {
    (
        name,
        Handler {
            run,
            barrier: false,
        },
    )
}

const fn barrier(name: &'static str, run: Run) -> (&'static str, Handler) {
    (name, Handler { run, barrier: true })
}

const ROWS: &[(&str, Handler)] = &[
    barrier("auth", connection::auth),
    barrier("hello", connection::hello),
    barrier("reset", connection::reset),
    barrier("monitor", client::monitor),
    row("client|caching", tracking::caching),
    row("client|capa", client::capa),
    row("client|getname", client::getname),
    row("client|getredir", tracking::getredir),
    row("client|id", client::id),
    row("client|import-source", client::import_source),
    row("client|info", client::info),
    row("client|kill", kill::kill),
    row("client|list", client::list),
    row("client|no-evict", client::no_evict),
    row("client|no-touch", client::no_touch),
    row("client|pause", pause::pause),
    row("client|reply", client::reply),
    row("client|setinfo", client::setinfo),
    row("client|setname", client::setname),
    row("client|tracking", tracking::tracking),
    row("client|trackinginfo", tracking::trackinginfo),
    row("client|unblock", pause::unblock),
    row("client|unpause", pause::unpause),
    row("cluster|countkeysinslot", cluster::disabled),
    row("cluster|getkeysinslot", cluster::disabled),
    row("cluster|info", cluster::disabled),
    row("cluster|keyslot", cluster::disabled),
    row("cluster|links", cluster::disabled),
    row("cluster|myid", cluster::disabled),
    row("cluster|myshardid", cluster::disabled),
    row("cluster|nodes", cluster::disabled),
    row("cluster|replicas", cluster::disabled),
    row("cluster|shards", cluster::disabled),
    row("cluster|slaves", cluster::disabled),
    row("cluster|slots", cluster::disabled),
    row("command", server::from_a_node),
    row("command|count", server::from_a_node),
    row("command|docs", server::from_a_node),
    row("command|getkeys", server::from_a_node),
    row("command|getkeysandflags", server::from_a_node),
    row("command|info", server::from_a_node),
    row("command|list", server::from_a_node),
    row("config|get", config::get),
    row("echo", connection::echo),
    row("info", info::info),
    row("ping", connection::ping),
    row("proxy", server::proxy),
    row("quit", connection::quit),
    row("readonly", cluster::disabled),
    row("readwrite", cluster::disabled),
    row("asking", cluster::disabled),
    row("role", server::role),
    row("select", connection::select),
    row("time", server::time),
];

const SYNTAX_ERROR: &[u8] = b"ERR syntax error";
const NO_INTEGER: &[u8] = b"ERR value is not an integer or out of range";

/// `ON` or `OFF`, in any case.
fn switch(word: &[u8]) -> Option<bool> {
    match word.to_ascii_lowercase().as_slice() {
        b"on" => Some(true),
        b"off" => Some(false),
        _ => None,
    }
}

/// Replies with an error, and no more.
fn fail(out: &mut Vec<u8>, text: &[u8]) -> After {
    encode::error(out, text);
    After::Go
}

/// Replies with OK, and no more.
fn ok(out: &mut Vec<u8>) -> After {
    encode::simple(out, "OK");
    After::Go
}

/// The handlers, by the id of their row.
#[derive(Debug)]
pub struct Handlers(Vec<Option<Handler>>);

impl Handlers {
    /// Finds the row of each handler.
    pub fn new(table: &Table) -> Handlers {
        let mut handlers = vec![None; table.rows().len()];
        for (name, handler) in ROWS {
            let row = table.named(name.as_bytes());
            debug_assert!(row.is_some(), "no row for the handler of {name}");
            if let Some(row) = row {
                handlers[row.id as usize] = Some(*handler);
            }
        }
        Handlers(handlers)
    }

    /// The handler of a row, if it has one.
    pub fn get(&self, id: u16) -> Option<Handler> {
        self.0.get(id as usize).copied().flatten()
    }
}

/// What the proxy says its server version is, until a node has said its own.
pub const SERVER_VERSION: &str = "7.0.15";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::Class;

    #[test]
    fn every_handler_has_a_local_row() {
        let table = Table::compiled();
        for (name, _) in ROWS {
            let row = table
                .named(name.as_bytes())
                .unwrap_or_else(|| panic!("{name}"));
            assert_eq!(row.class, Class::Local, "{name}");
        }
    }
}
