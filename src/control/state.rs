//! `ControlState`: what the pages of the debug address read and control. `Latest`: the latest results of the threads
//! beside the workers.
//!
//! It must never know a socket.

use std::fmt;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use mio::Waker;

use crate::clock::Clock;
use crate::cluster::topology::Topology;
use crate::command::{Servers, Table};
use crate::control::history::History;
use crate::control::refresher::Refresher;
use crate::control::window::{Recent, Window};
use crate::mailbox::{Mail, Mailbox};
use crate::proxy::messages::worker_query::WorkerQuery;
use crate::proxy::process::Process;
use crate::turns::Heartbeat;

/// How long workers may take to answer a question.
const ANSWER_WAIT: Duration = Duration::from_secs(1);

/// What the refresher and the survey have last found out. Their threads write it, others look.
#[derive(Debug)]
pub struct Latest {
    topology: Mutex<Option<Arc<Topology>>>,
    servers: Mutex<Servers>,
}

impl Latest {
    /// Nothing yet, but for the commands compiled in.
    pub fn new(servers: Servers) -> Latest {
        Latest {
            topology: Mutex::new(None),
            servers: Mutex::new(servers),
        }
    }

    /// The topology, if there has ever been one.
    pub fn topology(&self) -> Option<Arc<Topology>> {
        let topology = self.topology.lock();
        topology.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A new topology.
    pub fn set_topology(&self, topology: Arc<Topology>) {
        *self.topology.lock().unwrap_or_else(PoisonError::into_inner) = Some(topology);
    }

    /// All commands that are known.
    pub fn table(&self) -> Arc<Table> {
        let servers = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
        servers.table.clone()
    }

    /// What the servers have said of themselves.
    pub fn servers(&self) -> Servers {
        let servers = self.servers.lock();
        servers.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What the servers have said of themselves now.
    pub fn set_servers(&self, servers: Servers) {
        *self.servers.lock().unwrap_or_else(PoisonError::into_inner) = servers;
    }
}

/// Where the state of the program is read from. Clones read the same.
#[derive(Clone)]
pub struct Sources {
    /// The clock of the process.
    pub clock: Clock,
    /// Where each worker shows that its turns end.
    pub heartbeats: Vec<Arc<Heartbeat>>,
    /// What the workers count and share.
    pub process: Arc<Process>,
    /// What is known of the cluster.
    pub latest: Arc<Latest>,
    /// Refreshes of the topology.
    pub refresher: Refresher,
    /// The last ten seconds, while the debug address is served.
    pub window: Arc<Mutex<Window>>,
    /// The last five minutes, while the debug address is served, and the last events.
    pub history: Arc<History>,
    /// Log lines lost so far.
    pub log_dropped: Arc<dyn Fn() -> u64 + Send + Sync>,
}

impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sources").finish_non_exhaustive()
    }
}

impl Sources {
    /// A second is over.
    pub fn take_second(&self) {
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        window.take(&self.process, self.clock.now());
        let second = window.last_second();
        drop(window);
        let workers = self.process.workers.iter();
        let clients = workers.map(|stats| stats.clients_connected.get()).sum();
        let errors = self.process.errors().0.iter().map(|(_, count)| count).sum();
        self.history.add_second(&second, clients, errors);
    }

    /// What has been counted up to now was not in the last ten seconds of this process.
    pub fn forget_recent(&self) {
        *self.window.lock().unwrap_or_else(PoisonError::into_inner) = Window::default();
    }

    /// The latencies of the last ten seconds.
    pub fn recent(&self) -> Recent {
        let window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        window.recent()
    }

    /// The value of a setting, as it would be typed.
    pub fn setting(&self, name: &str) -> String {
        let settings = self.process.live.list();
        let found = settings.into_iter().find(|(own, _)| *own == name);
        found.map(|(_, value)| value).unwrap_or_default()
    }
}

/// What the pages see and drive.
#[derive(Debug)]
pub struct ControlState {
    /// Where all that is shown comes from.
    pub sources: Sources,
    /// The workers.
    pub mailboxes: Vec<Mailbox>,
    /// The program and its arguments, passwords left out.
    pub command_line: Vec<String>,
    /// Wakes the server.
    pub waker: Arc<Waker>,
    /// Whether a profile is being taken.
    pub profiling: Arc<AtomicBool>,
}

/// The workers that did not answer, as a text for whoever asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Silent(pub String);

impl ControlState {
    /// Asks every worker, and waits a little for their answers: reply frames.
    pub fn ask_workers(&self, question: &WorkerQuery) -> Result<Vec<Vec<u8>>, Silent> {
        let (sender, answers) = sync_channel(self.mailboxes.len().max(1));
        for (worker, mailbox) in self.mailboxes.iter().enumerate() {
            let message = Mail::Control {
                question: question.clone(),
                answer: sender.clone(),
            };
            if !mailbox.send(message) {
                return Err(Silent(format!(
                    "worker {worker} does not read its messages"
                )));
            }
        }
        let until = Instant::now() + ANSWER_WAIT;
        let answer = |_| {
            let left = until.saturating_duration_since(Instant::now());
            let answer = answers.recv_timeout(left);
            answer.map_err(|_| Silent("a worker does not answer".to_string()))
        };
        (0..self.mailboxes.len()).map(answer).collect()
    }
}

#[cfg(test)]
impl ControlState {
    /// A state of two workers that have nothing to say.
    pub fn for_tests(waker: Arc<Waker>) -> ControlState {
        use crate::live_config::LiveConfig;
        use crate::options::SETTINGS;

        let clock = Clock::start();
        let live = LiveConfig::new(Arc::default(), SETTINGS);
        let acl = crate::acl::Store::of(&live.config());
        let process = Process::with(2, live, acl, clock.standstills());
        ControlState {
            sources: Sources {
                clock,
                heartbeats: vec![Arc::default(), Arc::default()],
                process: Arc::new(process),
                latest: Arc::new(Latest::new(Servers::unknown(Arc::new(Table::compiled())))),
                refresher: Refresher::idle(),
                window: Arc::default(),
                history: Arc::default(),
                log_dropped: Arc::new(|| 0),
            },
            mailboxes: Vec::new(),
            command_line: vec!["redis-cluster-proxy".to_string()],
            waker,
            profiling: Arc::default(),
        }
    }
}
