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
use crate::control::random::Random;
use crate::control::refresh_order::{RefreshOrder, Target};
use crate::control::refresher::{Refresher, Shared, Trigger};
use crate::control::resolver::Resolver;
use crate::net::tls::Context;

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

/// Failures remembered as told.
const TOLD_MAX: usize = 1000;

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
        shared: Arc::clone(&shared),
        woken,
        random: Random::new(),
        current: None,
        link: None,
        refresh_order: RefreshOrder::new(Random::new()),
        refusals: PasswordRefusals::default(),
        told: HashSet::new(),
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
    shared: Arc<Shared>,
    woken: Receiver<()>,
    random: Random,
    /// In a cell, since `build` asks for names through a shared closure.
    resolver: RefCell<Resolver>,
    current: Option<Arc<Topology>>,
    /// The connection to the node that gave the last good answer.
    link: Option<NodeConnection>,
    refresh_order: RefreshOrder,
    refusals: PasswordRefusals,
    /// The failures that stand in the log already.
    told: HashSet<String>,
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
            let retry = Instant::now() + self.random.jitter(wait.min(RETRY_MAX));
            // Workers ask all the time while no node answers: for ever at that pace would be a burden.
            let eager = self.failures <= EAGER_FAILURES;
            let earliest = if eager {
                started + REQUEST_INTERVAL_MIN
            } else {
                retry
            };
            (earliest.min(retry), retry)
        } else {
            let interval = self.random.jitter(self.config.slots_reload_interval);
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
            self.tell_once(format!("topology: ignoring node {address}: {failure}"));
        }
        for host in built.unresolved {
            let text = format!("topology: ignoring a node: cannot resolve {host}");
            self.tell_once(text);
        }
        self.failures = 0;
        let doubted = built.doubted;
        self.refresh_order
            .answered(from, took, doubted, &topology, previous.as_deref());
        let name = format!("topology: {from}: ");
        self.told.retain(|told| !told.starts_with(&name));
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
        self.tell_once(format!("topology: {target}: {failure}"));
    }

    fn tell_once(&mut self, text: String) {
        if self.told.contains(&text) {
            log::debug!("{text}");
            return;
        }
        log::warn!("{text}");
        if self.told.len() >= TOLD_MAX {
            self.told.clear();
        }
        self.told.insert(text);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Watch;
    use crate::config::Secret;
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::sync::Mutex;
    use std::sync::mpsc;

    /// What a fake node does with each question.
    #[derive(Debug, Clone)]
    enum Play {
        /// Sends these bytes.
        Answer(String),
        /// Sends these bytes, one by one and slowly.
        Dribble(String),
        /// Sends nothing.
        Silence,
        /// Closes.
        Hangup,
    }

    /// A node that answers each pipeline that ends in NODES with what its part says.
    struct FakeNode {
        address: SocketAddr,
        play: Arc<Mutex<Play>>,
        questions: Arc<Mutex<Vec<String>>>,
    }

    impl FakeNode {
        fn start(play: Play) -> FakeNode {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let node = FakeNode {
                address: listener.local_addr().unwrap(),
                play: Arc::new(Mutex::new(play)),
                questions: Arc::default(),
            };
            let (play, questions) = (Arc::clone(&node.play), Arc::clone(&node.questions));
            thread::spawn(move || {
                for stream in listener.incoming().map_while(Result::ok) {
                    let (play, questions) = (Arc::clone(&play), Arc::clone(&questions));
                    thread::spawn(move || serve(stream, &play, &questions));
                }
            });
            node
        }

        fn play(&self, play: Play) {
            *self.play.lock().unwrap() = play;
        }

        fn asked(&self) -> usize {
            self.questions.lock().unwrap().len()
        }
    }

    fn serve(mut stream: std::net::TcpStream, play: &Mutex<Play>, questions: &Mutex<Vec<String>>) {
        let mut question = String::new();
        let mut chunk = [0; 1000];
        while let Ok(len @ 1..) = stream.read(&mut chunk) {
            question += std::str::from_utf8(&chunk[..len]).unwrap();
            if !question.ends_with("NODES\r\n") {
                continue;
            }
            questions
                .lock()
                .unwrap()
                .push(std::mem::take(&mut question));
            let play = play.lock().unwrap().clone();
            match play {
                Play::Answer(text) => stream.write_all(text.as_bytes()).unwrap(),
                Play::Dribble(text) => {
                    for byte in text.as_bytes() {
                        if stream.write_all(&[*byte]).is_err() {
                            return;
                        }
                        thread::sleep(Duration::from_millis(20));
                    }
                }
                Play::Silence => {}
                Play::Hangup => return,
            }
        }
    }

    /// The answer of a cluster of one shard for each node; the nodes may be dead.
    fn answer(nodes: &[(&str, SocketAddr)]) -> Play {
        let mut text = String::new();
        for (index, (id, address)) in nodes.iter().enumerate() {
            let first = index * 16384 / nodes.len();
            let last = (index + 1) * 16384 / nodes.len() - 1;
            text += &format!(
                "{id} {address}@1 master - 0 0 {} connected {first}-{last}\n",
                index + 1
            );
        }
        Play::Answer(format!("-NOPERM\r\n${}\r\n{text}\r\n", text.len()))
    }

    fn dead() -> SocketAddr {
        // The port is free again when the listener is dropped.
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    }

    fn config(startup: &[SocketAddr]) -> Config {
        Config {
            startup_nodes: startup.iter().map(SocketAddr::to_string).collect(),
            slots_reload_interval: Duration::from_millis(200),
            ..Config::default()
        }
    }

    fn start_by(clock: Clock, config: Config) -> (Refresher, mpsc::Receiver<Arc<Topology>>) {
        let (send, receive) = mpsc::channel();
        let publish = Box::new(move |topology| {
            // The test may be over.
            let _ = send.send(topology);
        });
        let config = Arc::new(config);
        let settings = Box::new(move || config.clone());
        let refresher = spawn(settings, clock, Arc::default(), publish).unwrap();
        (refresher, receive)
    }

    fn start(config: Config) -> (Refresher, mpsc::Receiver<Arc<Topology>>) {
        start_by(Clock::start(), config)
    }

    fn next(receive: &mpsc::Receiver<Arc<Topology>>) -> Arc<Topology> {
        receive.recv_timeout(Duration::from_secs(10)).unwrap()
    }

    #[test]
    fn one_live_startup_node_of_six_is_enough_and_its_connection_is_kept() {
        let node = FakeNode::start(Play::Silence);
        node.play(answer(&[("a", node.address)]));
        let mut startup: Vec<SocketAddr> = (0..5).map(|_| dead()).collect();
        startup.push(node.address);
        let (refresher, receive) = start(config(&startup));
        let first = next(&receive);
        let second = next(&receive);
        assert_eq!(first.covered(), 16384);
        assert!(second.same_as(&first));
        assert!(second.asked_at > first.asked_at, "news all the same");
        assert!(refresher.succeeded(Trigger::Interval) >= 1);
        assert!(refresher.last_success().is_some());
        refresher.stop();
    }

    #[test]
    fn requests_are_coalesced_and_at_most_every_100_ms() {
        let node = FakeNode::start(Play::Silence);
        node.play(answer(&[("a", node.address)]));
        let config = Config {
            slots_reload_interval: Duration::from_secs(60),
            ..config(&[node.address])
        };
        let (refresher, receive) = start(config);
        next(&receive);
        let clock = Clock::start();
        while clock.now().as_micros() < 600_000 {
            refresher.request(Trigger::Moved);
            thread::sleep(Duration::from_millis(1));
        }
        let asked = node.asked();
        let most = clock.now().as_micros() as usize / 100_000 + 2;
        assert!((3..=most).contains(&asked), "{asked} of {most} refreshes");
        assert!(refresher.succeeded(Trigger::Moved) >= 1);
        refresher.stop();
    }

    #[test]
    fn a_standstill_that_is_noticed_late_holds_up_no_refresh() {
        let node = FakeNode::start(Play::Silence);
        node.play(answer(&[("a", node.address)]));
        let config = Config {
            slots_reload_interval: Duration::from_secs(60),
            ..config(&[node.address])
        };
        let clock = Clock::start();
        let mut worker = Watch::new(clock);
        let (refresher, receive) = start_by(clock, config);
        next(&receive);
        // The process stood still, and the refresher is the first who runs again.
        thread::sleep(Duration::from_secs(4));
        refresher.request(Trigger::Error);
        next(&receive);
        assert!(worker.waited(Duration::ZERO).lost > Duration::from_secs(3));
        refresher.request(Trigger::Error);
        assert!(receive.recv_timeout(Duration::from_secs(2)).is_ok());
        refresher.stop();
    }

    #[test]
    fn a_bad_answer_never_replaces_a_good_table_and_another_node_is_asked() {
        let (one, two) = (
            FakeNode::start(Play::Silence),
            FakeNode::start(Play::Silence),
        );
        let both = [("a", one.address), ("b", two.address)];
        one.play(answer(&both));
        two.play(answer(&both));
        let (refresher, receive) = start(config(&[one.address]));
        assert_eq!(next(&receive).covered(), 16384);
        let bad = |text: &str| Play::Answer(text.to_string());
        for play in [
            bad("*0\r\n$0\r\n\r\n"),
            bad(
                "-ERR This instance has cluster support disabled\r\n-ERR This instance has cluster support disabled\r\n",
            ),
            bad("HTTP/1.1 400 Bad Request\r\n\r\n"),
            bad("*0\r\n*0\r\n"),
            answer(&[("x", one.address)]),
            Play::Hangup,
        ] {
            one.play(play.clone());
            let asked = two.asked();
            for _ in 0..4 {
                assert_eq!(next(&receive).nodes.len(), 2, "{play:?}");
            }
            assert!(two.asked() > asked, "{play:?}");
        }
        refresher.stop();
    }

    #[test]
    fn silence_and_dribbling_are_cut_and_retried() {
        let node = FakeNode::start(Play::Silence);
        let (refresher, receive) = start(config(&[node.address]));
        let Play::Answer(text) = answer(&[("a", node.address)]) else {
            unreachable!()
        };
        thread::sleep(Duration::from_millis(300));
        node.play(Play::Dribble(text.repeat(10)));
        thread::sleep(Duration::from_millis(3000));
        assert!(refresher.failed(Trigger::Interval) >= 2);
        assert!(receive.try_recv().is_err());
        node.play(answer(&[("a", node.address)]));
        assert_eq!(next(&receive).covered(), 16384);
        refresher.stop();
    }

    #[test]
    fn a_node_that_falls_silent_holds_up_no_refresh() {
        let nodes: Vec<FakeNode> = (0..3).map(|_| FakeNode::start(Play::Silence)).collect();
        let all: Vec<(&str, SocketAddr)> = ["a", "b", "c"]
            .into_iter()
            .zip(nodes.iter().map(|node| node.address))
            .collect();
        for node in &nodes {
            node.play(answer(&all));
        }
        let addresses: Vec<SocketAddr> = nodes.iter().map(|node| node.address).collect();
        let (refresher, receive) = start(config(&addresses));
        // The connection in use is that of whoever is asked again and again; the next silent one is asked first.
        for _ in 0..2 {
            let before: Vec<usize> = nodes.iter().map(FakeNode::asked).collect();
            for _ in 0..3 {
                next(&receive);
            }
            let last = (0..3).max_by_key(|at| nodes[*at].asked() - before[*at]);
            let silent = &nodes[last.unwrap()];
            silent.play(Play::Silence);
            let (asked, clock) = (silent.asked(), Clock::start());
            let mut longest = Duration::ZERO;
            while silent.asked() == asked || clock.now().as_micros() < 1_500_000 {
                let began = clock.now();
                refresher.request(Trigger::Error);
                next(&receive);
                longest = longest.max(clock.now().since(began));
            }
            assert!(longest < ANSWER_TIMEOUT_MIN, "{longest:?}");
            silent.play(answer(&all));
        }
        refresher.stop();
    }

    #[test]
    fn whoever_will_be_promoted_is_asked_while_the_slots_are_nobodys() {
        let (stale, heir) = (
            FakeNode::start(Play::Silence),
            FakeNode::start(Play::Silence),
        );
        let (old, other) = (dead(), dead());
        let table = |lines: &[String]| {
            let text = lines.join("");
            Play::Answer(format!("-NOPERM\r\n${}\r\n{text}\r\n", text.len()))
        };
        let stays = [
            format!(
                "b {}@1 master - 0 0 2 connected 8000-12000\n",
                stale.address
            ),
            format!("c {other}@1 master - 0 0 3 connected 12001-16383\n"),
        ]
        .concat();
        let replica = format!("r {}@1 slave a 0 0 1 connected\n", heir.address);
        let whole = table(&[
            format!("a {old}@1 master - 0 0 1 connected 0-7999\n"),
            replica.clone(),
            stays.clone(),
        ]);
        let orphaned = table(&[
            format!("a {old}@1 master,fail - 0 0 1 connected 0-7999\n"),
            replica,
            stays.clone(),
        ]);
        let promoted = table(&[
            format!("r {}@1 master - 0 0 4 connected 0-7999\n", heir.address),
            stays,
        ]);
        stale.play(whole);
        let (refresher, receive) = start(config(&[stale.address]));
        assert_eq!(next(&receive).covered(), 16384);
        stale.play(orphaned.clone());
        heir.play(orphaned);
        while next(&receive).covered() == 16384 {
            refresher.request(Trigger::Error);
        }
        let asked = stale.asked();
        heir.play(promoted);
        let mut rounds = 0;
        while next(&receive).covered() < 16384 {
            refresher.request(Trigger::Error);
            rounds += 1;
        }
        assert!(
            rounds <= 4,
            "{rounds}, {} of them wasted",
            stale.asked() - asked
        );
        refresher.stop();
    }

    #[test]
    fn another_cluster_counts_when_nobody_else_answers() {
        let node = FakeNode::start(Play::Silence);
        node.play(answer(&[("a", node.address)]));
        let (refresher, receive) = start(config(&[node.address]));
        assert_eq!(next(&receive).nodes[0].id, "a");
        node.play(answer(&[("z", node.address)]));
        while next(&receive).nodes[0].id == "a" {}
        refresher.stop();
    }

    #[test]
    fn the_password_goes_first_on_each_connection_and_only_there() {
        let node = FakeNode::start(Play::Silence);
        let Play::Answer(text) = answer(&[("a", node.address)]) else {
            unreachable!()
        };
        node.play(Play::Answer(format!("+OK\r\n{text}")));
        let config = Config {
            backend_user: Some("proxy".to_string()),
            backend_password: Some(Secret::new("sesame")),
            ..config(&[node.address])
        };
        let (refresher, receive) = start(config);
        next(&receive);
        node.play(Play::Answer(text));
        next(&receive);
        refresher.stop();
        let questions = node.questions.lock().unwrap();
        assert!(
            questions[0].starts_with("*3\r\n$4\r\nAUTH\r\n$5\r\nproxy\r\n$6\r\nsesame\r\n*2\r\n"),
            "{questions:?}"
        );
        assert!(questions[1].starts_with("*2\r\n$7\r\nCLUSTER\r\n"));
    }

    #[test]
    fn an_outage_is_retried_every_100_ms_while_requests_wait_and_then_with_patience() {
        let node = FakeNode::start(Play::Hangup);
        let (refresher, receive) = start(config(&[node.address]));
        let clock = Clock::start();
        let ask = |micros| {
            let before = node.asked();
            let from = clock.now().as_micros();
            while clock.now().as_micros() < from + micros {
                refresher.request(Trigger::Error);
                thread::sleep(Duration::from_millis(1));
            }
            node.asked() - before
        };
        let eager = ask(2_000_000);
        assert!((8..=21).contains(&eager), "{eager} tries in 2 s");
        while node.asked() < EAGER_FAILURES as usize + 2 {
            ask(100_000);
        }
        let patient = ask(3_000_000);
        assert!((1..=6).contains(&patient), "{patient} tries in 3 s");
        node.play(answer(&[("a", node.address)]));
        next(&receive);
        refresher.stop();
    }

    #[test]
    fn the_thread_ends_with_its_last_handle() {
        let (refresher, receive) = start(config(&[dead()]));
        drop(refresher);
        assert_eq!(
            receive.recv_timeout(Duration::from_secs(10)).unwrap_err(),
            RecvTimeoutError::Disconnected
        );
    }

    #[test]
    fn the_kernel_tells_from_where_it_reaches_a_node() {
        let local = local_address("127.0.0.1:7001".parse().unwrap());
        assert_eq!(local, Some("127.0.0.1".parse().unwrap()));
    }
}
