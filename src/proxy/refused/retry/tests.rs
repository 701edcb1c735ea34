//! What is sent again, and what is not.

use std::net::SocketAddr;
use std::sync::Arc;

use super::*;
use crate::cluster::topology::Orphan;
use crate::cluster::topology::{NO_SHARD, NodeInfo, Topology};
use crate::command::Table;
use crate::config::{Config, ReadPreference};
use crate::proxy::actions::Action;
use crate::proxy::ids::Peer;
use crate::proxy::process::Process;
use crate::proxy::tests::rig::{self, before_three_nodes, flushed, known_client, next_action};
use crate::resp::encode;
use std::time::Duration;

const MASTER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 1);
const REPLICA: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 2);

/// One client before a master, which can be down, and a replica, which is read from. They answer all but reads.
struct Rig {
    proxy: Proxy,
    client: ClientId,
    now: Time,
    down: bool,
    addresses: Vec<(BackendId, SocketAddr)>,
    /// Reads, and where they went.
    reads: Vec<(BackendId, SocketAddr)>,
    /// What the replica says to reads; nothing if it is silent.
    says: &'static [u8],
    /// What the client has got.
    heard: Vec<u8>,
}

impl Rig {
    fn new() -> Rig {
        let config = Config {
            read_preference: ReadPreference::Replica,
            park_timeout: Some(Duration::from_secs(5)),
            ..Config::default()
        };
        let table = Arc::new(Table::compiled());
        let process = Arc::new(Process::new(1));
        let mut proxy = Proxy::new(Arc::new(config), table, process, 0, 1);
        let now = Time::from_micros(1_000_000);
        let mut topology = Topology::of_masters(&[MASTER]);
        topology.nodes.push(NodeInfo {
            address: REPLICA,
            id: "replica".to_string(),
            hostname: None,
            same_idc: false,
        });
        topology.shards[0].replicas = vec![1];
        proxy.adopt(Arc::new(topology), now);
        Rig {
            client: proxy.accept(Some(SocketAddr::from(([127, 0, 0, 1], 9))), now),
            proxy,
            now,
            down: false,
            addresses: Vec::new(),
            reads: Vec::new(),
            says: b"",
            heard: Vec::new(),
        }
    }

    /// Most masters call the master dead: its replica is all that is left of the shard.
    fn orphan(&mut self) {
        let mut topology = Topology::of_masters(&[REPLICA]);
        topology.slots.fill(NO_SHARD);
        topology.shards.clear();
        topology.orphans = vec![Orphan {
            id: "master".to_string(),
            slots: vec![(0, 16383)],
            replicas: vec![0],
        }];
        self.down = true;
        self.proxy.adopt(Arc::new(topology), self.now);
    }

    fn feed(&mut self, peer: Peer, bytes: &[u8]) {
        rig::feed(&mut self.proxy, peer, bytes, self.now);
    }

    fn ask(&mut self, line: &str) {
        self.feed(Peer::Client(self.client), format!("{line}\r\n").as_bytes());
        self.turn();
    }

    fn turn(&mut self) {
        self.turn_once();
        while self.proxy.next_deadline().is_some_and(|at| self.now >= at) {
            self.turn_once();
        }
    }

    fn turn_once(&mut self) {
        self.proxy.tick(self.now);
        self.proxy.begin_turn(self.now);
        while let Some(action) = next_action(&mut self.proxy) {
            match action {
                Action::Connect(id, address) if self.down && address == MASTER => {
                    self.proxy.closed(Peer::Backend(id), self.now);
                }
                Action::Connect(id, address) => {
                    self.addresses.push((id, address));
                    self.proxy.connected(id, self.now);
                }
                Action::Resume(id) => {
                    self.proxy.resume(id, self.now);
                }
                Action::Flush(peer) => self.flush(peer),
                _ => {}
            }
        }
        self.proxy.check();
    }

    fn flush(&mut self, peer: Peer) {
        let written = flushed(&mut self.proxy, peer, self.now);
        let Peer::Backend(id) = peer else {
            return self.heard.extend(written);
        };
        let text = String::from_utf8(written).expect("text");
        for request in text.split('*').skip(1) {
            if request.contains("GET") {
                let at = self.addresses.iter().find(|(own, _)| *own == id);
                self.reads.push(*at.expect("it is connected"));
                if !self.says.is_empty() {
                    self.feed(peer, self.says);
                }
            } else if request.contains("CLIENT") {
                self.feed(peer, b":1\r\n");
            } else {
                self.feed(peer, b"+OK\r\n");
            }
        }
    }

    fn wait(&mut self, millis: u64) {
        for _ in 0..millis / 10 {
            self.now = self.now.after(Duration::from_millis(10));
            self.turn();
        }
    }
}

/// Its first connection is lost, and then the master cannot be reached: a replica would do, but for what a client
/// reads while it watches, since that decides what it writes.
#[test]
fn what_is_read_while_watching_is_sent_again_to_a_master_only() {
    for watches in [false, true] {
        let mut rig = Rig::new();
        if watches {
            rig.ask("WATCH a");
        }
        rig.ask("GET a");
        let first = if watches { MASTER } else { REPLICA };
        let lost = rig.reads[0];
        assert_eq!(lost.1, first);
        rig.down = true;
        rig.proxy.closed(Peer::Backend(lost.0), rig.now);
        rig.wait(2000);
        if watches {
            assert_eq!(rig.reads.len(), 1, "it waits for the master");
            rig.down = false;
            rig.wait(2000);
            assert_eq!(rig.reads[1].1, MASTER);
        } else {
            assert_eq!(rig.reads[1].1, REPLICA);
        }
        assert_eq!(rig.reads.len(), 2);
    }
}

/// A read that stood first when two connections were lost may be what ends the node: it is not sent a third time. But a
/// node that dies may have taken one more connection before it is gone.
#[test]
fn what_may_kill_a_node_is_not_sent_a_third_time() {
    for (apart, asked) in [(60, 3), (300, 2)] {
        let mut rig = Rig::new();
        rig.ask("WATCH a");
        rig.ask("GET a");
        for _ in 0..2 {
            let (last, _) = rig.reads[rig.reads.len() - 1];
            rig.proxy.closed(Peer::Backend(last), rig.now);
            rig.wait(apart);
        }
        rig.wait(1000);
        assert_eq!(rig.reads.len(), asked, "{apart} ms apart");
        let told = rig.heard.ends_with(b"may have been executed\r\n");
        assert_eq!(told, asked == 2);
    }
}

/// A shard without a master: its replica is read, whatever becomes of writes; and one that does not serve either is
/// not asked again and again at once.
#[test]
fn a_replica_without_a_master_is_read_while_it_serves() {
    let mut rig = Rig::new();
    rig.orphan();
    rig.says = b"$1\r\nx\r\n";
    rig.ask("GET a");
    assert_eq!(rig.heard, rig.says);
    rig.ask("SET a y");
    rig.wait(6000);
    let refused = [rig.says, b"-CLUSTERDOWN Hash slot not served\r\n"].concat();
    assert_eq!(rig.heard, refused);
    rig.ask("GET a");
    assert_eq!(
        rig.heard,
        [&refused, rig.says].concat(),
        "the slot fails fast"
    );
    let slot = Slot::of(b"a").number();
    assert!(
        rig.proxy.upstream.is_failing(slot),
        "a replica's reply does not end that"
    );
    for says in [
        &b"-CLUSTERDOWN The cluster is down\r\n"[..],
        b"-MOVED 15495 127.0.0.1:1\r\n",
    ] {
        let mut rig = Rig::new();
        rig.orphan();
        (rig.says, rig.heard) = (says, Vec::new());
        rig.ask("GET a");
        rig.wait(6000);
        assert!(rig.heard.starts_with(b"-CLUSTERDOWN"), "{:?}", rig.heard);
        let asked = rig.reads.len();
        assert!((2..50).contains(&asked), "{asked} times");
    }
}

#[test]
fn parts_that_are_held_are_tried_once_each() {
    let mut proxy = before_three_nodes(true);
    let mut now = Time::from_micros(7);
    let id = known_client(&mut proxy, None, now);
    let put = |proxy: &mut Proxy, words: &[String], now: Time| {
        let mut bytes = Vec::new();
        encode::command(&mut bytes, words.iter().map(String::as_bytes));
        rig::feed(proxy, Peer::Client(id), &bytes, now);
    };
    let keys = |count: usize| (0..count).map(|key| format!("key:{key}"));
    let del = |count| -> Vec<String> { std::iter::once("DEL".into()).chain(keys(count)).collect() };
    // No node can be connected to.
    put(&mut proxy, &del(100), now);
    while let Some(action) = next_action(&mut proxy) {
        if let Action::Connect(backend, _) = action {
            proxy.closed(Peer::Backend(backend), now);
        }
    }
    let held = proxy.held_requests as u64;
    assert!(held > 90);
    let before = proxy.attempts;
    put(&mut proxy, &del(50_000), now);
    let mut turns = 0;
    while let Some(action) = next_action(&mut proxy) {
        if let Action::Resume(id) = action {
            proxy.resume(id, now);
            turns += 1;
        }
    }
    assert!((10..50).contains(&turns), "{turns} turns");
    let parts = proxy.held_requests as u64 - held;
    assert!(parts > 15_000, "{parts} parts");
    let attempts = proxy.attempts - before;
    assert!(
        attempts <= parts + held,
        "{attempts} attempts for {parts} parts"
    );
    // They are there again.
    let before = proxy.attempts;
    now = now.after(Duration::from_secs(1));
    proxy.tick(now);
    assert_eq!(proxy.held_requests, 0);
    let attempts = proxy.attempts - before;
    assert!(
        attempts <= 2 * (parts + held),
        "{attempts} attempts for {parts} parts"
    );
    proxy.check();
}
