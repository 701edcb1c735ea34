//! The survey: learns the commands, the lowest version and the node timeout of the servers. It has a thread of its
//! own, `survey`, since it may have to wait for many servers and must not delay the topology.
//!
//! It asks when the nodes have changed, when it is told that they were altered, and every few minutes. It must never
//! know what workers do with the result.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use crate::allocator;
use crate::cluster::topology::Topology;
use crate::command::learn::learn;
use crate::command::servers::{
    Kind, Servers, databases_of, node_timeout_of, version_key, version_of,
};
use crate::config::Config;
use crate::control::node_connection::{Failure, NodeConnection};
use crate::control::password_refusals::PasswordRefusals;
use crate::net::tls::Context;
use crate::proxy::deadlines::park_timeout;
use crate::sort;

/// How often the servers are asked though no node has come or gone: one may have been upgraded in its place.
const PERIOD: Duration = Duration::from_secs(300);
/// How long after a survey that found nothing.
const RETRY: Duration = Duration::from_secs(5);
/// Least time that a node has for its answer.
const ANSWER_TIMEOUT_MIN: Duration = Duration::from_secs(1);
/// Nodes asked in one survey.
const NODES_MAX: usize = 128;

/// Tells the survey of topologies. The thread ends when the last of these is dropped.
#[derive(Debug, Clone)]
pub struct Surveyor(SyncSender<Arc<Topology>>);

impl Surveyor {
    /// A topology has come. Never blocks: while a survey goes on, this news is lost and the next will do.
    pub fn tell(&self, topology: Arc<Topology>) {
        // A full channel has one that is as good.
        let _ = self.0.try_send(topology);
    }
}

/// Starts the thread. `settings` gives the config in force, `altered` says whether the servers have been altered
/// since it was last called, `publish` takes what was found, if it is news, and says whether all have heard of it: else
/// it is given it again.
pub fn spawn(
    settings: Box<dyn Fn() -> Arc<Config> + Send>,
    altered: Box<dyn Fn() -> bool + Send>,
    servers: Servers,
    tls: Arc<Context>,
    publish: Box<dyn Fn(Arc<Servers>) -> bool + Send>,
) -> io::Result<Surveyor> {
    let (sender, news) = sync_channel(1);
    let survey = Survey {
        settings,
        altered,
        servers,
        tls,
        publish,
        refusals: PasswordRefusals::default(),
        told: false,
    };
    thread::Builder::new()
        .name("survey".to_string())
        .spawn(move || survey.run(&news))?;
    Ok(Surveyor(sender))
}

struct Survey {
    settings: Box<dyn Fn() -> Arc<Config> + Send>,
    altered: Box<dyn Fn() -> bool + Send>,
    servers: Servers,
    tls: Arc<Context>,
    publish: Box<dyn Fn(Arc<Servers>) -> bool + Send>,
    refusals: PasswordRefusals,
    /// Whether all have what was found last.
    told: bool,
}

impl Survey {
    fn run(mut self, news: &Receiver<Arc<Topology>>) {
        let mut topology: Option<Arc<Topology>> = None;
        let mut due = Instant::now();
        loop {
            let wait = due.saturating_duration_since(Instant::now());
            match news.recv_timeout(wait) {
                Ok(new) => {
                    let nodes_changed = topology.as_ref().is_none_or(|old| old.nodes != new.nodes);
                    topology = Some(new);
                    if nodes_changed {
                        due = Instant::now();
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            if Instant::now() < due && !(self.altered)() {
                continue;
            }
            let found = topology
                .as_ref()
                .is_some_and(|topology| allocator::apart("survey", || self.survey(topology)));
            due = Instant::now() + if found { PERIOD } else { RETRY };
        }
    }

    /// Asks the nodes. Returns whether any has told its commands.
    fn survey(&mut self, topology: &Topology) -> bool {
        let config = (self.settings)();
        let mut found: Vec<(NodeConnection, (String, Kind))> = Vec::new();
        let mut databases: Option<u16> = None;
        let mut node_timeout: Option<Duration> = None;
        for node in topology.nodes.iter().take(NODES_MAX) {
            if self.refusals.forbid(node.address, Instant::now()) {
                continue;
            }
            let asked = NodeConnection::open(node.address, &self.tls, config.connect_timeout)
                .and_then(|mut link| Ok((self.version(&mut link, &config)?, link)));
            match asked {
                Ok((version, mut link)) => {
                    let has = self.databases(&mut link, &config);
                    databases = Some(databases.map_or(has, |least| least.min(has)));
                    node_timeout = node_timeout.max(self.node_timeout(&mut link, &config));
                    found.push((link, version));
                }
                Err(failure) => {
                    if matches!(failure, Failure::Auth(_)) {
                        self.refusals.refused(node.address, Instant::now());
                    }
                    log::debug!("survey: {}: {failure}", node.address);
                }
            }
        }
        // The commands are those of the lowest version: what it has, all have.
        sort::by_key(&mut found, |(_, (version, _))| version_key(version));
        let Some((_, (version, kind))) = found.first() else {
            return false;
        };
        let (version, kind) = (version.clone(), kind.clone());
        for (mut link, _) in found {
            let answer = self.answer(&mut link, &config, &[b"COMMAND"]);
            let learnt = answer
                .map_err(|failure| failure.to_string())
                .and_then(|reply| {
                    learn(&self.servers.table, &reply).map_err(|error| error.to_string())
                });
            match learnt {
                Ok(learnt) => {
                    let count = learnt.known.len();
                    let before = self.servers.table.rows().len();
                    let table = learnt.table.map(Arc::new);
                    let found = Servers {
                        table: table.unwrap_or_else(|| self.servers.table.clone()),
                        known: Some(Arc::new(learnt.known)),
                        version: Some(version.clone()),
                        kind: kind.clone(),
                        databases: databases.unwrap_or(1),
                        node_timeout,
                    };
                    let new = found.table.rows().len() - before;
                    if new > 0 || self.servers.version != found.version {
                        log::info!(
                            "servers: version {version}, {count} commands, {new} of them new to the proxy"
                        );
                    }
                    if self.servers.node_timeout != found.node_timeout
                        && config.park_timeout.is_none()
                    {
                        log::info!(
                            "servers: cluster-node-timeout {}: requests wait up to {:?} for a failover",
                            node_timeout
                                .map_or("is unknown".to_string(), |own| format!("is {own:?}")),
                            park_timeout::timeout(&config, &found)
                        );
                    }
                    // The same again is thrown away: it is hundreds of little pieces, which would lie wherever
                    // there was room in the middle of a failover, each on a page of its own.
                    if !self.told || !found.same_as(&self.servers) {
                        self.servers = found;
                        self.told = (self.publish)(Arc::new(self.servers.clone()));
                    }
                    return true;
                }
                Err(reason) => log::debug!("survey: {}: {reason}", link.address),
            }
        }
        false
    }

    fn version(
        &self,
        link: &mut NodeConnection,
        config: &Config,
    ) -> Result<(String, Kind), Failure> {
        let reply = self.answer(link, config, &[b"INFO"])?;
        let version = version_of(&reply).ok_or(Failure::Protocol)?;
        Ok((version.to_string(), Kind::of(&reply)))
    }

    /// Who does not say has one.
    fn databases(&self, link: &mut NodeConnection, config: &Config) -> u16 {
        let question: &[&[u8]] = &[b"CONFIG", b"GET", b"cluster-databases"];
        self.answer(link, config, question)
            .map_or(1, |answer| databases_of(&answer))
    }

    /// Nothing, if the node does not say or may not be asked.
    fn node_timeout(&self, link: &mut NodeConnection, config: &Config) -> Option<Duration> {
        let question: &[&[u8]] = &[b"CONFIG", b"GET", b"cluster-node-timeout"];
        node_timeout_of(&self.answer(link, config, question).ok()?)
    }

    /// One reply, as it came.
    fn answer(
        &self,
        link: &mut NodeConnection,
        config: &Config,
        words: &[&[u8]],
    ) -> Result<Vec<u8>, Failure> {
        let timeout = ANSWER_TIMEOUT_MIN.max(config.connect_timeout);
        link.reply(config, Instant::now() + timeout, words)
    }
}
