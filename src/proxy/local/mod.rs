//! What the proxy answers itself: one handler for each such row of the table.
//!
//! A handler sees its own client's session and what can be read of the proxy; it appends one reply. It must
//! never reach another client, a backend or a socket.

mod channels;
mod cluster;
mod config;
mod connection;
mod info;
mod latency;
mod logs;
mod memory;
mod nodes;
mod randomkey;
mod scan;
mod sections;
mod server;

use std::net::SocketAddr;
use std::sync::Arc;

use crate::clock::Time;
use crate::command::{Command, Table};
use crate::config::Config;
use crate::proxy::plan::Plan;
use crate::proxy::routes::Routes;
use crate::proxy::session::Session;
use crate::proxy::stats::{Process, Stats};
use crate::resp::args::Args;

/// What a handler sees.
pub struct Context<'a> {
    /// The client's session.
    pub session: &'a mut Session,
    /// Where the client comes from.
    pub address: Option<SocketAddr>,
    /// What has been decided.
    pub config: &'a Config,
    /// What all workers share.
    pub process: &'a Arc<Process>,
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
    row("acl|log", logs::acl_log),
    row("client|getname", connection::client_getname),
    row("client|id", connection::client_id),
    row("client|info", connection::client_info),
    row("client|setinfo", connection::client_setinfo),
    row("client|setname", connection::client_setname),
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
    row("commandlog|get", logs::slowlog_get),
    row("config|get", config::get),
    row("config|resetstat", config::resetstat),
    row("config|set", config::set),
    row("echo", connection::echo),
    row("function|stats", nodes::function_stats),
    row("info", info::info),
    row("latency|doctor", nodes::report),
    row("latency|graph", nodes::report),
    row("latency|histogram", latency::histogram),
    row("latency|history", latency::history),
    row("latency|latest", latency::latest),
    row("memory|doctor", nodes::report),
    row("memory|malloc-stats", nodes::report),
    row("memory|stats", memory::stats),
    row("ping", connection::ping),
    row("proxy", server::proxy),
    row("pubsub|channels", channels::names),
    row("pubsub|numsub", channels::counts),
    row("pubsub|shardchannels", channels::names),
    row("pubsub|shardnumsub", channels::counts),
    row("quit", connection::quit),
    row("randomkey", randomkey::randomkey),
    row("readonly", cluster::disabled),
    row("readwrite", cluster::disabled),
    row("asking", cluster::disabled),
    row("role", server::role),
    row("select", connection::select),
    row("scan", scan::scan),
    row("slowlog|get", logs::slowlog_get),
    row("time", server::time),
];

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
    use crate::command::{Class, ResponsePolicy};

    /// Whether a row says that the command has a way of its own.
    fn is_special(class: Class) -> bool {
        matches!(
            class,
            Class::Local
                | Class::Scan
                | Class::AllMasters(ResponsePolicy::Special)
                | Class::AllNodes(ResponsePolicy::Special)
        )
    }

    #[test]
    fn every_handler_has_a_row_that_wants_one() {
        let table = Table::compiled();
        for (name, _) in ROWS {
            let row = table
                .named(name.as_bytes())
                .unwrap_or_else(|| panic!("{name}"));
            assert!(is_special(row.class), "{name}: {:?}", row.class);
        }
    }

    #[test]
    fn every_special_merge_has_its_handler() {
        let table = Table::compiled();
        let handlers = Handlers::new(&table);
        for row in table.rows() {
            let wanted = is_special(row.class) && row.class != Class::Local;
            assert!(
                !wanted || handlers.get(row.id).is_some(),
                "nothing merges the replies to {}",
                row.name
            );
        }
    }
}
