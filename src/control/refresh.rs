//! The refresher: decides when to fetch the topology and what to do with the replies (`refresh_order` decides whom to
//! ask). It has one thread for the process, `topology`, since the system's resolver blocks.
//!
//! Only one refresh runs at a time, since one thread does them all. Requests for a refresh are flags that the thread
//! finds when it next looks.
//!
//! Its own waits use the machine's clock: the clock of the process is set back when a worker notices a standstill,
//! and whoever read it just before would wait that much longer.
//!
//! It must never know what workers do with a topology, and never waits for one of them.

use std::cell::RefCell;
use std::collections::HashSet;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use fastrand::Rng;

use crate::allocator;
use crate::clock::{Clock, Time};
use crate::cluster::build::{Built, build};
use crate::cluster::idc::same_idc;
use crate::cluster::node_addresses::{Surroundings, split_port};
use crate::cluster::topology::Topology;
use crate::cluster::view::{Rejected, View};
use crate::config::Config;
use crate::control::TERMINAL;
use crate::control::node_connection::{Failure, NodeConnection};
use crate::control::password_refusals::PasswordRefusals;
use crate::control::refresh_order::{RefreshOrder, Target};
use crate::control::refresher::{LOOKED_AT, Refresher, Shared, Trigger};
use crate::control::resolver::Resolver;
use crate::log_throttle::LogOnce;
use crate::net::tls::Context;
use crate::pulse::Pulse;

/// Least time between the beginnings of two refreshes.
const REQUEST_INTERVAL_MIN: Duration = Duration::from_millis(100);

/// Longest wait after a refresh that failed.
const RETRY_MAX: Duration = Duration::from_secs(1);

/// So many failures in a row may follow each other as fast as requests for a refresh allow: then the cluster is
/// likely to be gone for longer, and who waits for it waits up to [`RETRY_MAX`] more.
const EAGER_FAILURES: u32 = 50;

/// How long a refresh may go on to try nodes.
const ROUND_MAX: Duration = Duration::from_secs(5);

/// Least time that a node has for its answer; the connect timeout of a wide area network gives it more.
const ANSWER_TIMEOUT_MIN: Duration = Duration::from_secs(1);

/// How often the log tells of refreshes that go on failing.
const TELL_AGAIN: Duration = Duration::from_secs(300);

/// Starts the refresher.
///
/// `settings` gives the config in force; it is asked at each refresh.
/// `publish` is called after every good answer, also if the table is the same as before
/// ([`Topology::same_as`]): its `asked_at` is news in itself, since it settles what workers have learnt
/// from redirects before.
pub fn spawn(
    settings: Box<dyn Fn() -> Arc<Config> + Send>,
    clock: Clock,
    tls: Arc<Context>,
    publish: Box<dyn Fn(Arc<Topology>) + Send>,
    pulse: Arc<Pulse>,
) -> io::Result<Refresher> {
    let shared = Arc::new(Shared::default());
    let (wake, woken) = sync_channel(1);
    let refresh = Refresh {
        resolver: RefCell::new(Resolver::new()),
        config: settings(),
        settings,
        clock,
        tls,
        publish,
        pulse,
        shared: Arc::clone(&shared),
        woken,
        random: Rng::new(),
        current: None,
        link: None,
        refresh_order: RefreshOrder::new(Rng::new()),
        turn: 0,
        refusals: PasswordRefusals::default(),
        told: LogOnce::default(),
        last_failure: String::new(),
        failures: 0,
        failing_since: Instant::now(),
        told_at: Instant::now(),
    };
    thread::Builder::new()
        .name("topology".to_string())
        .spawn(move || refresh.run())?;
    Ok(Refresher { shared, wake })
}

/// The thread's own state.
struct Refresh {
    /// The config of this round.
    config: Arc<Config>,
    settings: Box<dyn Fn() -> Arc<Config> + Send>,
    clock: Clock,
    tls: Arc<Context>,
    publish: Box<dyn Fn(Arc<Topology>) + Send>,
    /// Beats with each refresh, whatever comes of it.
    pulse: Arc<Pulse>,
    shared: Arc<Shared>,
    woken: Receiver<()>,
    random: Rng,
    /// In a cell, since `build` asks for names through a shared closure.
    resolver: RefCell<Resolver>,
    current: Option<Arc<Topology>>,
    /// The connection to the node that gave the last good answer.
    link: Option<NodeConnection>,
    refresh_order: RefreshOrder,
    /// The place in the topology of the node that was looked at last.
    turn: usize,
    refusals: PasswordRefusals,
    /// The failures that stand in the log already.
    told: LogOnce,
    /// The last of the failures.
    last_failure: String,
    /// Refreshes failed since the last success.
    failures: u32,
    /// When the first of them was, and when the log has told of it last.
    failing_since: Instant,
    told_at: Instant,
}

impl Refresh {
    fn run(mut self) {
        let mut trigger = Trigger::Interval;
        loop {
            self.shared.pending.store(0, Ordering::Release);
            let config = (self.settings)();
            if !config.has_backend_passwords_of(&self.config) {
                self.refusals.forget();
            }
            self.config = config;
            let started = Instant::now();
            let doubted_before = self.refresh_order.is_in_doubt();
            let mut round = || {
                let succeeded = self.round(trigger);
                if succeeded && trigger == Trigger::Interval {
                    self.look_again();
                    self.look_in_turn();
                }
                succeeded
            };
            let counters = if allocator::apart("topology", &mut round) {
                self.shared
                    .last_success_micros
                    .store(self.clock.now().as_micros().max(1), Ordering::Relaxed);
                &self.shared.succeeded
            } else {
                &self.shared.failed
            };
            counters[trigger as usize].fetch_add(1, Ordering::Relaxed);
            self.pulse.beat();
            // A doubt is settled at once, but only once: a doubted owner that does not answer can wait.
            let again = self.refresh_order.is_in_doubt() && !doubted_before;
            match self.wait(started, again) {
                Some(next) => trigger = next,
                None => return,
            }
        }
    }

    /// Waits until the next refresh is due, and tells why it is. `None`: never again.
    fn wait(&mut self, started: Instant, again: bool) -> Option<Trigger> {
        let (earliest, due) = if self.failures > 0 {
            let wait = REQUEST_INTERVAL_MIN * 2u32.pow((self.failures - 1).min(4));
            let retry = Instant::now() + jittered(&mut self.random, wait.min(RETRY_MAX));
            // Workers ask all the time while no node answers: for ever at that pace would be a burden.
            let eager = self.failures <= EAGER_FAILURES;
            let earliest = if eager {
                started + REQUEST_INTERVAL_MIN
            } else {
                retry
            };
            (earliest.min(retry), retry)
        } else {
            let interval = jittered(&mut self.random, self.config.slots_reload_interval);
            let wait = if again { Duration::ZERO } else { interval };
            (
                started + REQUEST_INTERVAL_MIN,
                started + wait.max(REQUEST_INTERVAL_MIN),
            )
        };
        loop {
            if self.stopped() {
                return None;
            }
            let pending = self.shared.pending.load(Ordering::Acquire);
            let next = if pending == 0 { due } else { earliest };
            let wait = next.saturating_duration_since(Instant::now());
            if wait.is_zero() {
                return Some(Trigger::of(pending));
            }
            match self.woken.recv_timeout(wait) {
                Ok(()) | Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return None,
            }
        }
    }

    fn stopped(&self) -> bool {
        self.shared.stopped.load(Ordering::Acquire)
    }

    /// One refresh: asks one node after the other until one gives a table. Those who failed last time, and those
    /// who miss a hasty deadline, are asked once all others have been.
    fn round(&mut self, trigger: Trigger) -> bool {
        self.resolver.borrow_mut().begin_round();
        let started = Instant::now();
        let full = ANSWER_TIMEOUT_MIN.max(self.config.connect_timeout);
        let mut asked: HashSet<SocketAddr> = HashSet::new();
        let mut later: Vec<SocketAddr> = Vec::new();
        let mut strangers: Vec<(View, Time)> = Vec::new();
        let startup = &self.config.startup_nodes;
        let in_trouble = trigger == Trigger::Error;
        let plan = self
            .refresh_order
            .plan(self.current.as_deref(), startup, in_trouble);
        for (place, target) in plan.into_iter().enumerate() {
            if self.is_over(started) {
                break;
            }
            let addresses = self.addresses(&target);
            if addresses.is_empty() {
                self.tell(&target, &Failure::Unresolved);
            }
            for address in addresses {
                if !asked.insert(address) {
                    continue;
                }
                if !self.config.allows_node(address.ip()) {
                    self.tell(&target, &Failure::Forbidden);
                    continue;
                }
                if trigger != Trigger::Manual && self.refusals.forbid(address, started) {
                    continue;
                }
                if place > 0 && self.refresh_order.is_shunned(address) {
                    later.push(address);
                    continue;
                }
                let haste = self.refresh_order.haste(full);
                match self.attempt(address, haste.unwrap_or(full), &mut strangers) {
                    Ok(()) => return true,
                    Err(Failure::Timeout) if haste.is_some() => {
                        log::debug!("topology: {address} is slow to answer, asking other nodes");
                        self.refresh_order.failed(address);
                        later.push(address);
                    }
                    Err(failure) => self.fail(address, &failure),
                }
            }
        }
        for address in later {
            if self.is_over(started) {
                break;
            }
            match self.attempt(address, full, &mut strangers) {
                Ok(()) => return true,
                Err(failure) => self.fail(address, &failure),
            }
        }
        self.accept_stranger(strangers) || self.give_up()
    }

    /// Asks those who could not be asked for the topology whether they are there: nobody else may have a reason to for
    /// long, and they are shown as down meanwhile.
    fn look_again(&mut self) {
        let Some(topology) = self.current.clone() else {
            return;
        };
        let listed = |address: &SocketAddr| {
            topology.nodes.iter().any(|node| node.address == *address)
                || topology.down.iter().any(|node| node.address == *address)
        };
        for address in self.shared.unreachable_longest() {
            if self.stopped() {
                return;
            }
            if !listed(&address) || self.refusals.forbid(address, Instant::now()) {
                continue;
            }
            let patience = self.config.connect_timeout;
            let answer = NodeConnection::open(address, &self.tls, patience).and_then(|mut link| {
                link.reply(&self.config, Instant::now() + patience, &[b"PING"])
            });
            match answer {
                Ok(_) => self.shared.note_answer(address),
                Err(failure) => {
                    if matches!(failure, Failure::Auth(_)) {
                        self.refusals.refused(address, Instant::now());
                    }
                    let closes = matches!(failure, Failure::Lost(_));
                    let now = self.clock.now();
                    self.shared.note_unreachable(address, closes, now);
                }
            }
        }
    }

    /// Looks whether a few nodes can be connected to, each time the next ones: one of them answers the refreshes, and no
    /// worker may have had a reason to ask the others for long. A node that takes the connection may be slow, which is
    /// no news.
    fn look_in_turn(&mut self) {
        let Some(topology) = self.current.clone() else {
            return;
        };
        let count = topology.nodes.len();
        for _ in 0..LOOKED_AT.min(count) {
            if self.stopped() || self.shared.pending.load(Ordering::Acquire) != 0 {
                return;
            }
            self.turn = (self.turn + 1) % count;
            let address = topology.nodes[self.turn].address;
            let answers = self.link.as_ref().map(|link| link.address) == Some(address);
            if answers || !self.config.allows_node(address.ip()) {
                continue;
            }
            let found = NodeConnection::open(address, &self.tls, self.config.connect_timeout);
            if let Err(Failure::Connect(_)) = found {
                let now = self.clock.now();
                self.shared.note_unreachable(address, false, now);
            }
        }
    }

    /// Whether a refresh is to ask nobody any more.
    fn is_over(&self, started: Instant) -> bool {
        self.stopped() || started.elapsed() > ROUND_MAX
    }

    fn fail(&mut self, address: SocketAddr, failure: &Failure) {
        if matches!(failure, Failure::Auth(_)) {
            self.refusals.refused(address, Instant::now());
        }
        if !matches!(failure, Failure::Rejected(_)) {
            let closes = matches!(failure, Failure::Lost(_));
            let now = self.clock.now();
            self.shared.note_unreachable(address, closes, now);
        }
        self.refresh_order.failed(address);
        self.tell(&Target::Node(address), failure);
    }

    fn addresses(&self, target: &Target) -> Vec<SocketAddr> {
        match target {
            Target::Node(address) => vec![*address],
            Target::Startup(text) => {
                let (host, port) = split_port(text);
                let port = port.unwrap_or(6379);
                let found = self.resolver.borrow_mut().lookup(host);
                let found: Vec<SocketAddr> = found
                    .into_iter()
                    .map(|ip| SocketAddr::new(ip, port))
                    .collect();
                if host.parse::<IpAddr>().is_err() {
                    found
                        .iter()
                        .for_each(|address| self.tls.typed(*address, host));
                }
                found
            }
        }
    }

    /// Asks one node, and takes its answer if it is good and comes within `patience`.
    fn attempt(
        &mut self,
        address: SocketAddr,
        patience: Duration,
        strangers: &mut Vec<(View, Time)>,
    ) -> Result<(), Failure> {
        let began = Instant::now();
        let connect_timeout = self.config.connect_timeout.min(patience);
        let (mut link, kept) = match self.link.take() {
            Some(link) if link.address == address => (link, true),
            _ => (
                NodeConnection::open(address, &self.tls, connect_timeout)?,
                false,
            ),
        };
        let mut asked_at = self.clock.now();
        let mut answer = link.ask(&self.config, Instant::now() + patience);
        if kept && matches!(answer, Err(Failure::Lost(_))) {
            // An idle connection that the server closed says nothing about the server.
            link = NodeConnection::open(address, &self.tls, connect_timeout)?;
            asked_at = self.clock.now();
            answer = link.ask(&self.config, Instant::now() + patience);
        }
        let view = answer?;
        self.refusals.answered(address);
        self.shared.note_answer(address);
        match self.build(&view, self.current.as_deref(), asked_at) {
            Ok(built) => {
                self.link = Some(link);
                self.accept(built, address, began.elapsed());
                Ok(())
            }
            Err(reason) => {
                if matches!(reason, Rejected::Stranger { .. }) {
                    strangers.push((view, asked_at));
                }
                Err(Failure::Rejected(reason))
            }
        }
    }

    fn build(
        &self,
        view: &View,
        previous: Option<&Topology>,
        asked_at: Time,
    ) -> Result<Built, Rejected> {
        let surroundings = Surroundings {
            resolve: &|host| self.resolver.borrow_mut().lookup(host),
            node_map: &self.config.node_map,
            allowed: &|ip| self.config.allows_node(ip),
            same_idc: &|address, names| {
                let local = local_address(address);
                same_idc(local, address.ip(), names, &self.config.idc_prefixes)
            },
        };
        build(view, previous, &surroundings, asked_at)
    }

    /// A good answer: into the log if it is news, and to the workers in any case.
    fn accept(&mut self, built: Built, from: SocketAddr, took: Duration) {
        let previous = self.current.take();
        let topology = Arc::new(built.topology);
        if self.failures > 0 {
            let long = self.failing_since.elapsed().as_secs();
            let failures = self.failures;
            log::warn!("topology: {from} answers after {failures} failed attempts in {long} s");
        }
        if !previous
            .as_deref()
            .is_some_and(|previous| topology.same_as(previous))
        {
            let news = topology.describe(previous.as_deref());
            log::info!("topology from {from}: {news}");
        }
        for address in built.forbidden {
            let failure = Failure::Forbidden;
            self.told
                .warn(format!("topology: ignoring node {address}: {failure}"));
        }
        for host in built.unresolved {
            let text = format!("topology: ignoring a node: cannot resolve {host}");
            self.told.warn(text);
        }
        self.failures = 0;
        let doubted = built.doubted;
        self.refresh_order
            .answered(from, took, doubted, &topology, previous.as_deref());
        let name = format!("topology: {from}: ");
        self.told.over(&name);
        self.current = Some(Arc::clone(&topology));
        (self.publish)(topology);
    }

    /// If nobody answers but strangers, the cluster is another one: the answer that covers most counts.
    fn accept_stranger(&mut self, strangers: Vec<(View, Time)>) -> bool {
        let best = strangers
            .iter()
            .filter_map(|(view, asked_at)| {
                let built = self.build(view, None, *asked_at).ok()?;
                Some((view.reached, built))
            })
            .max_by_key(|(_, built)| (built.topology.covered(), built.topology.epoch));
        match best {
            Some((from, built)) => {
                log::warn!(
                    "topology: no known master answers; switching to the cluster that {from} describes"
                );
                self.accept(built, from, Duration::ZERO);
                true
            }
            None => false,
        }
    }

    /// Nobody answered.
    fn give_up(&mut self) -> bool {
        if self.failures == 0 {
            self.failing_since = Instant::now();
            self.told_at = self.failing_since;
        } else if self.told_at.elapsed() >= TELL_AGAIN {
            self.told_at = Instant::now();
            let long = self.failing_since.elapsed().as_secs();
            log::warn!(
                "topology: no node has answered for {long} s ({})",
                self.last_failure
            );
        }
        if self.failures == 0 && !self.stopped() {
            match &self.current {
                Some(_) => {
                    log::warn!("topology: no node answers; keeping the last topology, retrying")
                }
                None => log::warn!(
                    target: TERMINAL,
                    "topology: no node answers; clients get CLUSTERDOWN until one does, retrying ({})",
                    self.last_failure
                ),
            }
        }
        self.failures = self.failures.saturating_add(1);
        false
    }

    /// A node's failure, told once until that node answers again.
    fn tell(&mut self, target: &Target, failure: &Failure) {
        self.last_failure = format!("{target}: {failure}");
        self.told.warn(format!("topology: {target}: {failure}"));
    }
}

/// The address from which the kernel would reach a node. Connecting a UDP socket sends nothing.
fn local_address(node: SocketAddr) -> Option<IpAddr> {
    let any: SocketAddr = match node {
        SocketAddr::V4(_) => ([0; 4], 0).into(),
        SocketAddr::V6(_) => ([0u16; 8], 0).into(),
    };
    let socket = UdpSocket::bind(any).ok()?;
    socket.connect(node).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

/// The duration, up to a tenth shorter or longer, so that proxies that started together do not ask together.
fn jittered(random: &mut Rng, duration: Duration) -> Duration {
    duration.mul_f64(0.9 + 0.2 * random.f64())
}

#[cfg(test)]
mod tests;
