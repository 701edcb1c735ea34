//! What the proxy answers itself: one handler for each such row of the table.
//!
//! A handler sees its own client's session and what can be read of the proxy; it appends one reply. It must
//! never reach another client, a backend or a socket.

mod acl;
mod channels;
mod client;
mod client_pause;
mod cluster;
mod cluster_changes;
mod command_calls;
mod commands;
mod config;
mod connection;
mod databases;
mod explain;
mod guarded;
mod identity;
mod info;
mod kill;
mod latency;
pub mod login;
mod logs;
mod memory;
mod near;
mod nodes;
pub mod plain_fronts;
pub mod plain_names;
mod protected;
mod proxy;
pub mod proxy_reports;
mod randomkey;
mod scan;
mod scripting;
mod sections;
mod server;
mod servers_acl;
mod settings;
mod subscribe;
mod tracking;

use std::sync::Arc;

use crate::acl::Users;
use crate::clock::Time;
use crate::command::{Command, Servers, Table};
use crate::config::{Auth, Config};
use crate::proxy::client::session::Session;
use crate::proxy::ids::Seq;
use crate::proxy::local::login::{Login, ReadCredentials};
use crate::proxy::messages::client_pause::ClientPause;
use crate::proxy::namespace::namespaces::Namespaces;
use crate::proxy::pipeline::client_reply::ClientReply;
use crate::proxy::pipeline::merge::Merge;
use crate::proxy::pipeline::plan::Plan;
use crate::proxy::process::Process;
use crate::proxy::pubsub::state::change::Change;
use crate::proxy::pubsub::state::subscriptions::Subscriptions;
use crate::proxy::scripts::Seen;
use crate::proxy::stats::Stats;
use crate::proxy::tracking::state::mode::Mode;
use crate::proxy::tracking::state::seek::Wanted;
use crate::proxy::upstream::node::Node;
use crate::proxy::upstream::routes::Routes;
use crate::resp::args::Args;
use crate::resp::encode;
use slab::Slab;

/// What a handler sees.
pub struct Context<'a> {
    /// The client's session.
    pub session: &'a mut Session,
    /// Whether the client may send what changes the servers or the proxy.
    pub administers: bool,
    /// Whether the client is on this machine.
    pub is_local: bool,
    /// Whether the client's next requests are answered.
    pub client_reply: &'a mut ClientReply,
    /// What has been decided.
    pub config: &'a Config,
    /// The users that may log in.
    pub users: &'a Arc<Users>,
    /// The user that could not log in, if one tried.
    pub refused_login: Option<Vec<u8>>,
    /// What the servers have said of a login, if they are the judges.
    pub login: Option<Login>,
    /// What all workers share.
    pub process: &'a Arc<Process>,
    /// This worker's counters.
    pub stats: &'a Arc<Stats>,
    /// Who serves what.
    pub routes: &'a Routes,
    /// The nodes of the routes, by their keys.
    pub nodes: &'a Slab<Node>,
    /// Who answers what, besides the nodes.
    pub handlers: &'a Handlers,
    /// All commands.
    pub table: &'a Arc<Table>,
    /// What the nodes have said of themselves.
    pub servers: &'a Servers,
    /// All namespaces.
    pub namespaces: &'a Namespaces,
    /// Bodies of EVAL that this worker has remembered.
    pub seen: &'a mut Seen,
    /// What `CLIENT PAUSE` holds.
    pub client_pause: Option<ClientPause>,
    /// Of a request that is executed in steps: how many of its names are done, and how many are to be taken now.
    pub names_done: usize,
    /// See there.
    pub names_most: usize,
    /// The row of the command at hand.
    pub command: &'a Command,
    /// The place of the request.
    pub seq: Seq,
    /// The time.
    pub now: Time,
}

/// What happens behind the reply.
#[derive(Debug)]
pub enum After {
    /// The next request.
    Go,
    /// The next request; and the cluster is asked for its topology.
    Refresh,
    /// The next request; and the client holds nothing at nodes any more.
    Reset(Option<Box<Subscriptions>>),
    /// The client is closed once it has the reply.
    Close,
    /// The next request; and the client tracks so from now on, or no more.
    Track(Option<Box<Mode>>),
    /// No reply was made: it is OK, when all masters tell of the keys with the client's prefixes.
    TrackPrefixes(Box<Mode>),
    /// No reply was made: it is made when it is known whether there is a client of this number, by which it is told.
    TrackBy(u64, Wanted),
    /// The next request, which is the one that `CLIENT CACHING` is about.
    ChooseNext,
    /// No reply was made: the request goes where the class of its row says.
    Serve,
    /// No reply was made: it is made when the client's subscriptions have changed so.
    Subscriptions(Change),
    /// As `Serve`, to all masters or all nodes, and their answers become one so.
    Broadcast(Merge),
    /// No reply was made, and there is none.
    Silent,
    /// No reply was made: it is the client's own line of `CLIENT LIST`.
    OwnLine,
    /// No reply was made: any master has it.
    AskAnyMaster,
    /// No reply was made: it is made of the answers to these.
    Ask(Plan),
    /// The same, and nothing behind it is taken until it is answered.
    AskAlone(Plan),
}

type Run = fn(&mut Context<'_>, &Args<'_>, &mut Vec<u8>) -> After;

/// How one command is answered.
#[derive(Debug, Clone, Copy)]
pub struct Handler {
    /// Makes the reply.
    pub run: Run,
    /// Whether it changes what later requests mean, so that earlier ones must be answered first.
    pub barrier: bool,
    /// Whether it only looks at a request that then goes where the class of its row says: to nodes, or nowhere.
    pub watches: bool,
    /// With how many arguments it may be a login, which is delayed where many have failed.
    pub logs_in: Option<usize>,
    /// How its credentials are read then.
    pub credentials: Option<ReadCredentials>,
    /// Whether nodes execute the request as it is, and so judge it.
    pub is_judged_by_nodes: bool,
    /// How many arguments it takes: what is answered in one turn takes a time that grows with them.
    pub arguments_max: usize,
}

/// Arguments of a request that is answered in one turn. Redis has no such limit, and needs none: nobody names so many
/// clients, settings or users in one request.
const ARGUMENTS_MAX: usize = 10_000;

impl Handler {
    /// Makes a reply, and nothing else.
    const fn new(run: Run) -> Handler {
        Handler {
            run,
            barrier: false,
            watches: false,
            logs_in: None,
            credentials: None,
            is_judged_by_nodes: false,
            arguments_max: ARGUMENTS_MAX,
        }
    }
}

/// One that does little with each argument, or answers in steps, outside the worker or by the nodes.
const fn of_many((name, handler): (&'static str, Handler)) -> (&'static str, Handler) {
    let handler = Handler {
        arguments_max: usize::MAX,
        ..handler
    };
    (name, handler)
}

/// One that looks at its arguments in one turn, though nodes execute it.
const fn of_few((name, handler): (&'static str, Handler)) -> (&'static str, Handler) {
    let handler = Handler {
        arguments_max: ARGUMENTS_MAX,
        ..handler
    };
    (name, handler)
}

const fn row(name: &'static str, run: Run) -> (&'static str, Handler) {
    (name, Handler::new(run))
}

const fn barrier(name: &'static str, run: Run) -> (&'static str, Handler) {
    let handler = Handler {
        barrier: true,
        ..Handler::new(run)
    };
    (name, handler)
}

const fn login(
    name: &'static str,
    args: usize,
    credentials: ReadCredentials,
    run: Run,
) -> (&'static str, Handler) {
    let handler = Handler {
        barrier: true,
        logs_in: Some(args),
        credentials: Some(credentials),
        ..Handler::new(run)
    };
    (name, handler)
}

const fn watch(name: &'static str, run: Run) -> (&'static str, Handler) {
    let handler = Handler {
        watches: true,
        arguments_max: usize::MAX,
        ..Handler::new(run)
    };
    (name, handler)
}

const fn of_servers(name: &'static str, run: Run) -> (&'static str, Handler) {
    let handler = Handler {
        barrier: true,
        is_judged_by_nodes: true,
        arguments_max: usize::MAX,
        ..Handler::new(run)
    };
    (name, handler)
}

/// In the place of others, where the servers have the users.
const ROWS_OF_SERVERS: &[(&str, Handler)] = &[
    of_servers("acl|cat", servers_acl::ask_one),
    of_servers("acl|deluser", servers_acl::change_all),
    of_servers("acl|dryrun", servers_acl::ask_one),
    of_servers("acl|genpass", servers_acl::ask_one),
    of_servers("acl|getuser", servers_acl::ask_one),
    of_servers("acl|help", servers_acl::ask_one),
    of_servers("acl|list", servers_acl::ask_one),
    of_servers("acl|load", servers_acl::change_all),
    of_servers("acl|log", servers_acl::log),
    of_servers("acl|save", servers_acl::change_all),
    of_servers("acl|setuser", servers_acl::change_all),
    of_servers("acl|users", servers_acl::ask_one),
    of_servers("acl|whoami", servers_acl::ask_one),
];

const ROWS: &[(&str, Handler)] = &[
    login("auth", 2, login::credentials_of_auth, connection::auth),
    login("hello", 5, login::credentials_of_hello, connection::hello),
    barrier("reset", connection::reset),
    row("acl|cat", acl::cat),
    barrier("acl|deluser", acl::deluser),
    row("acl|dryrun", acl::dryrun),
    row("acl|genpass", acl::genpass),
    row("acl|getuser", acl::getuser),
    row("acl|help", acl::help),
    row("acl|list", acl::list),
    barrier("acl|load", acl::load),
    row("acl|log", acl::log),
    barrier("acl|save", acl::save),
    barrier("acl|setuser", acl::setuser),
    row("acl|users", acl::users),
    row("acl|whoami", acl::whoami),
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
    row("client|pause", client_pause::pause),
    row("client|reply", client::reply),
    row("client|setinfo", client::setinfo),
    row("client|setname", client::setname),
    barrier("client|tracking", tracking::tracking),
    row("client|trackinginfo", tracking::trackinginfo),
    row("client|unblock", client_pause::unblock),
    row("client|unpause", client_pause::unpause),
    row("cluster|addslots", cluster_changes::addslots),
    row("cluster|addslotsrange", cluster_changes::addslotsrange),
    row("cluster|bumpepoch", cluster_changes::bumpepoch),
    row("cluster|cancelslotmigrations", cluster::refused),
    row(
        "cluster|count-failure-reports",
        cluster_changes::count_failure_reports,
    ),
    row("cluster|countkeysinslot", cluster::countkeysinslot),
    row("cluster|delslots", cluster_changes::take_slots),
    row("cluster|delslotsrange", cluster_changes::take_slots),
    row("cluster|failover", cluster_changes::failover),
    row("cluster|flushslot", cluster::refused),
    row("cluster|flushslots", cluster_changes::take_slots),
    row("cluster|forget", cluster_changes::forget),
    row("cluster|getkeysinslot", cluster::getkeysinslot),
    row("cluster|getslotmigrations", cluster::refused),
    row("cluster|help", cluster::help),
    row("cluster|info", cluster::info),
    row("cluster|keyslot", cluster::keyslot),
    row("cluster|links", cluster::links),
    row("cluster|meet", cluster_changes::meet),
    row("cluster|migrateslots", cluster::refused),
    row("cluster|migration", cluster::refused),
    row("cluster|myid", cluster::myid),
    row("cluster|myshardid", cluster::myid),
    row("cluster|nodes", cluster::nodes),
    row("cluster|replicas", cluster::replicas),
    row("cluster|replicate", cluster_changes::replicate),
    row("cluster|reset", cluster::refused),
    row("cluster|saveconfig", cluster_changes::saveconfig),
    row(
        "cluster|set-config-epoch",
        cluster_changes::set_config_epoch,
    ),
    row("cluster|setslot", cluster_changes::setslot),
    row("cluster|shards", cluster::shards),
    row("cluster|slaves", cluster::replicas),
    row("cluster|slot-stats", cluster::refused),
    row("cluster|slots", cluster::slots),
    row("cluster|syncslots", cluster::refused),
    row("command", commands::all),
    row("command|count", commands::count),
    of_many(row("command|docs", commands::docs)),
    row("command|getkeys", commands::getkeys),
    row("command|getkeysandflags", commands::getkeysandflags),
    of_many(row("command|info", commands::info)),
    row("command|list", commands::list),
    row("commandlog|get", logs::slowlog_get),
    row("commandlog|len", logs::slowlog_len),
    of_many(row("config|get", config::get)),
    row("config|resetstat", config::resetstat),
    row("config|set", config::set),
    barrier("debug", protected::debug),
    watch("copy", databases::copy),
    row("echo", connection::echo),
    watch("eval", scripting::eval),
    watch("eval_ro", scripting::eval),
    watch("failover", identity::failover),
    watch("function|delete", scripting::function_delete),
    watch("function|flush", scripting::function_flush),
    watch("function|load", scripting::function_load),
    watch("function|restore", scripting::function_flush),
    row("function|stats", nodes::function_stats),
    watch("flushall", databases::flushall),
    barrier("info", info::info),
    row("latency|doctor", nodes::report),
    row("latency|graph", nodes::report),
    row("latency|histogram", latency::histogram),
    row("latency|history", latency::history),
    row("latency|latest", latency::latest),
    row("memory|doctor", nodes::report),
    row("memory|malloc-stats", nodes::report),
    row("memory|stats", memory::stats),
    watch("move", databases::move_),
    row("ping", connection::ping),
    row("proxy", proxy::proxy),
    row("module|load", protected::module),
    row("module|loadex", protected::module),
    row("module|unload", protected::module),
    of_many(barrier("psubscribe", subscribe::psubscribe)),
    watch("publish", channels::publish),
    row("pubsub|channels", channels::names),
    row("pubsub|numpat", channels::patterns),
    of_many(row("pubsub|numsub", channels::counts)),
    row("pubsub|shardchannels", channels::names),
    of_many(row("pubsub|shardnumsub", channels::shard_counts)),
    of_many(barrier("punsubscribe", subscribe::punsubscribe)),
    row("quit", connection::quit),
    row("randomkey", randomkey::randomkey),
    row("readonly", cluster::accepted),
    row("readwrite", cluster::accepted),
    row("asking", cluster::accepted),
    watch("replconf", identity::replconf),
    watch("replicaof", identity::replicaof),
    row("role", server::role),
    watch("script|debug", identity::script_debug),
    of_few(watch("script|exists", scripting::script_exists)),
    watch("script|flush", scripting::script_flush),
    watch("script|load", scripting::script_load),
    barrier("select", connection::select),
    row("scan", scan::scan),
    watch("shutdown", identity::shutdown),
    watch("slaveof", identity::replicaof),
    row("slowlog|get", logs::slowlog_get),
    row("slowlog|len", logs::slowlog_len),
    watch("spublish", channels::spublish),
    of_many(barrier("ssubscribe", subscribe::ssubscribe)),
    of_many(barrier("subscribe", subscribe::subscribe)),
    of_many(barrier("sunsubscribe", subscribe::sunsubscribe)),
    watch("swapdb", identity::swapdb),
    row("time", server::time),
    of_many(barrier("unsubscribe", subscribe::unsubscribe)),
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
    pub fn new(table: &Table, auth: Auth) -> Handlers {
        let mut handlers = vec![None; table.rows().len()];
        let others = match auth {
            Auth::Own => &[],
            Auth::Backend => ROWS_OF_SERVERS,
        };
        for (name, handler) in ROWS.iter().chain(others) {
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

    /// Whether a row has a handler that answers all of its requests.
    pub fn answers(&self, id: u16) -> bool {
        self.get(id).is_some_and(|handler| !handler.watches)
    }
}

impl Context<'_> {
    /// The lowest version of the servers, by which clients choose what they use.
    pub fn version(&self) -> &str {
        self.servers.version.as_deref().unwrap_or(SERVER_VERSION)
    }
}

/// What the proxy says its server version is, until a node has said its own.
const SERVER_VERSION: &str = "7.0.15";

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
                | Class::Subscription
                | Class::AllMasters(ResponsePolicy::Special)
                | Class::AllNodes(ResponsePolicy::Special)
        )
    }

    #[test]
    fn every_handler_has_a_row_that_wants_one() {
        let table = Table::compiled();
        for (name, handler) in ROWS.iter().chain(ROWS_OF_SERVERS) {
            let row = table
                .named(name.as_bytes())
                .unwrap_or_else(|| panic!("{name}"));
            assert_eq!(is_special(row.class), !handler.watches, "{name}");
        }
    }

    #[test]
    fn every_special_merge_has_its_handler() {
        let table = Table::compiled();
        let handlers = Handlers::new(&table, Auth::Own);
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
