//! Tests of `control::refresh`.

use super::*;
use crate::clock::Watch;
use crate::config::Secret;
use crate::control::refresh_order::ROUNDS_PER_LINK;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Mutex;
use std::sync::atomic::AtomicU64;
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
    let refresher = spawn(settings, clock, Arc::default(), publish, Arc::default()).unwrap();
    (refresher, receive)
}

fn start(config: Config) -> (Refresher, mpsc::Receiver<Arc<Topology>>) {
    start_by(Clock::start(), config)
}

/// How long a thread that has work may be without a processor, on a machine that others use, too.
struct Stalls(Arc<AtomicU64>);

impl Stalls {
    fn watch() -> Stalls {
        let longest = Arc::new(AtomicU64::new(0));
        let watched = Arc::downgrade(&longest);
        thread::spawn(move || {
            while let Some(longest) = watched.upgrade() {
                let before = Instant::now();
                thread::sleep(Duration::from_millis(5));
                longest.fetch_max(before.elapsed().as_micros() as u64, Ordering::Relaxed);
            }
        });
        Stalls(longest)
    }

    fn longest(&self) -> Duration {
        Duration::from_micros(self.0.load(Ordering::Relaxed))
    }
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

/// One node answers refresh after refresh, and nobody else has a reason to talk to the others.
#[test]
fn a_dead_node_is_found_before_another_is_asked() {
    let (live, dead) = (FakeNode::start(Play::Silence), dead());
    let spare = FakeNode::start(Play::Silence);
    let nodes = [("a", live.address), ("b", dead), ("c", spare.address)];
    live.play(answer(&nodes));
    let clock = Clock::start();
    let (refresher, receive) = start_by(clock, config(&[live.address]));
    let found = (0..10).any(|_| {
        next(&receive);
        let unreachable = refresher.unreachable(clock.now(), |_| false);
        assert!(unreachable.iter().all(|node| *node == dead));
        unreachable.contains(&dead)
    });
    assert!(found && live.asked() < ROUNDS_PER_LINK as usize);
    assert_eq!(spare.asked(), 0);
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
    while clock.now().as_micros() < 600_000 || node.asked() < 3 {
        assert!(clock.now().as_micros() < 20_000_000, "no refreshes");
        refresher.request(Trigger::Moved);
        thread::sleep(Duration::from_millis(1));
    }
    let asked = node.asked();
    let most = clock.now().as_micros() as usize / 100_000 + 2;
    assert!(asked <= most, "{asked} of {most} refreshes");
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
    // Well below the four seconds that it stood still.
    assert!(receive.recv_timeout(Duration::from_secs(3)).is_ok());
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
    node.play(Play::Dribble(text.repeat(100)));
    let clock = Clock::start();
    while refresher.failed(Trigger::Interval) < 2 {
        assert!(clock.now().as_micros() < 20_000_000, "nothing is cut");
        thread::sleep(Duration::from_millis(20));
    }
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
    let stalls = Stalls::watch();
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
            let took = clock.now().since(began);
            longest = longest.max(took.saturating_sub(stalls.longest() * 4));
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
    // How long so many tries take.
    let ask = |tries: usize| {
        let (from, most) = (clock.now(), node.asked() + tries);
        while node.asked() < most {
            let time = clock.now().since(from);
            assert!(time < Duration::from_secs(30), "{tries} tries in {time:?}");
            refresher.request(Trigger::Error);
            thread::sleep(Duration::from_millis(1));
        }
        clock.now().since(from)
    };
    ask(1);
    let eager = ask(3);
    assert!(eager >= Duration::from_millis(200), "3 tries in {eager:?}");
    ask(EAGER_FAILURES as usize + 2 - node.asked());
    let patient = ask(3);
    assert!(patient >= Duration::from_secs(2), "3 tries in {patient:?}");
    // On a busy machine either takes longer.
    assert!(eager < patient, "{eager:?} and {patient:?}");
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
