//! What makes two refusals, one right after the other, agree.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::cluster::slot::Slot;
use crate::cluster::topology::{NodeInfo, Topology};
use crate::command::Table;
use crate::config::Config;
use crate::proxy::actions::Action;
use crate::proxy::ids::ClientId;
use crate::proxy::ids::Peer;
use crate::proxy::process::Process;
use crate::proxy::tests::rig::{self, flushed, known_client, next_action};

fn at(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// One client before three nodes: the first has all slots, the third is the second's replica.
struct Rig {
    proxy: Proxy,
    client: ClientId,
    now: Time,
    addresses: Vec<(BackendId, u16)>,
    /// What the first node says to the script, and then to the question.
    says: [&'static str; 2],
    /// What the client asks.
    asks: &'static [u8],
    /// Where the script was sent.
    sent_to: Vec<u16>,
    heard: String,
}

impl Rig {
    fn new(says: [&'static str; 2]) -> Rig {
        Rig::with(Config::default(), says)
    }

    fn with(config: Config, says: [&'static str; 2]) -> Rig {
        let config = Arc::new(config);
        let table = Arc::new(Table::compiled());
        let process = Arc::new(Process::new(1));
        let mut proxy = Proxy::new(config, table, process, 0, 1);
        let now = Time::from_micros(1_000_000);
        let mut topology = Topology::of_masters(&[at(1), at(2)]);
        topology.slots.fill(0);
        topology.nodes.push(NodeInfo {
            address: at(3),
            id: "replica".to_string(),
            hostname: None,
            same_idc: false,
        });
        topology.shards[1].replicas = vec![2];
        for (index, node) in (0u16..).zip(&topology.nodes) {
            let endpoint = node.address.to_string();
            topology.announced.insert(endpoint, index);
        }
        proxy.adopt(Arc::new(topology), now);
        Rig {
            client: known_client(&mut proxy, Some(at(9)), now),
            proxy,
            now,
            addresses: Vec::new(),
            says,
            asks: b"EVAL script 1 a\r\n",
            sent_to: Vec::new(),
            heard: String::new(),
        }
    }

    fn feed(&mut self, peer: Peer, bytes: &[u8]) {
        rig::feed(&mut self.proxy, peer, bytes, self.now);
    }

    /// The reply to a script.
    fn run(mut self) -> (Vec<u16>, String) {
        self.feed(Peer::Client(self.client), self.asks);
        for _ in 0..100 {
            self.now = self.now.after(Duration::from_millis(10));
            self.proxy.tick(self.now);
            self.proxy.begin_turn(self.now);
            while let Some(action) = next_action(&mut self.proxy) {
                match action {
                    Action::Connect(id, address) => {
                        self.addresses.push((id, address.port()));
                        self.proxy.connected(id, self.now);
                    }
                    Action::Flush(peer) => self.flush(peer),
                    Action::Resume(id) => {
                        self.proxy.resume(id, self.now);
                    }
                    _ => {}
                }
            }
            self.proxy.check();
        }
        (self.sent_to, self.heard)
    }

    fn flush(&mut self, peer: Peer) {
        let written = flushed(&mut self.proxy, peer, self.now);
        let text = String::from_utf8(written).expect("text");
        let Peer::Backend(id) = peer else {
            return self.heard.push_str(&text);
        };
        let mut own = self.addresses.iter().filter(|(own, _)| *own == id);
        let (_, port) = *own.next().expect("it is connected");
        for request in text.split("\r\n*") {
            let word = ["EVAL", "EXISTS"].map(|word| request.contains(word));
            let reply = match (port, word) {
                (1, [true, _]) => self.says[0],
                (1, [_, true]) => self.says[1],
                (_, [true, _]) => ":7",
                (_, [_, true]) => ":1",
                _ => "+OK",
            };
            if word[0] {
                self.sent_to.push(port);
            }
            self.feed(peer, format!("{reply}\r\n").as_bytes());
        }
    }
}

/// The slot of `a` is on its way to the second node's shard, and that fails over while the node is asked again.
#[test]
fn a_redirect_to_another_node_of_the_same_shard_agrees() {
    let [ask, moved] = ["-ASK 15495 127.0.0.1:2", "-MOVED 15495 127.0.0.1:3"];
    let agreed = |says| {
        let (sent_to, heard) = Rig::new(says).run();
        match sent_to[..] {
            [1, port] => assert_eq!((heard.as_str(), port > 1), (":7\r\n", true), "{says:?}"),
            _ => assert_eq!((sent_to, heard), (vec![1], format!("{}\r\n", says[0]))),
        }
    };
    let is_followed = |says: [&'static str; 2]| {
        agreed(says);
        Rig::new(says).run().0.len() == 2
    };
    assert!(is_followed([ask, ask]));
    assert!(is_followed([ask, moved]));
    assert!(is_followed(["-MOVED 15495 127.0.0.1:2", moved]));
    // To itself, which is of another shard; and to nobody who is known, by two names.
    assert!(!is_followed([ask, "-MOVED 15495 127.0.0.1:1"]));
    assert!(!is_followed([
        "-MOVED 15495 10.0.0.1:6",
        "-MOVED 15495 10.0.0.1:7"
    ]));
    assert!(!is_followed([ask, ":0"]));
}

/// Nobody asks whether the proxy's own scripts are to be believed: their client would get the words of a node, as soon as
/// that serves them again, or too much is held.
#[test]
fn the_scripts_of_namespaces_are_believed() {
    let mut config = Config {
        namespace: Some("n".to_string()),
        ..Config::default()
    };
    for held in [config.limits.held_requests, 1] {
        config.limits.held_requests = held;
        let says = ["-MOVED 3432 127.0.0.1:2", ":0"];
        for asks in [&b"DBSIZE\r\n"[..], b"KEYS *\r\n", b"FLUSHDB\r\n"] {
            let rig = Rig::with(config.clone(), says);
            let (sent_to, heard) = Rig { asks, ..rig }.run();
            assert_eq!((&sent_to[..], heard.as_str()), (&[1, 2][..], ":7\r\n"));
        }
    }
}

/// Slots move, and the node that said MOVED has got the slot when it is asked: its client can use neither the redirect nor
/// a second execution.
#[test]
fn a_redirect_that_may_have_been_true_while_slots_move_is_told_as_unknown() {
    let heard = |said: &'static str, moved_ms: Option<u64>| {
        let mut rig = Rig::new([said, ":0"]);
        if let Some(time_ms) = moved_ms {
            let routes = &mut rig.proxy.upstream.routes;
            let second = routes.node_at(&at(2)).expect("it is listed");
            let slot = Slot::new(1).expect("a slot");
            routes.learn(slot, second, rig.now);
            rig.now = rig.now.after(Duration::from_millis(time_ms));
        }
        let (sent_to, heard) = rig.run();
        assert_eq!(sent_to, [1]);
        heard
    };
    let unknown = format!("-{}\r\n", refusal::SLOT_CAME);
    let [moved, ask] = ["-MOVED 15495 127.0.0.1:2", "-ASK 15495 127.0.0.1:2"];
    assert_eq!(heard(moved, Some(1000)), unknown);
    assert_eq!(heard(ask, Some(1000)), unknown);
    // All is quiet, or it names nobody whom the cluster knows, or the node itself.
    let nobody = "-MOVED 15495 10.0.0.1:6";
    let itself = "-MOVED 15495 127.0.0.1:1";
    for (said, moved_ms) in [
        (moved, None),
        (moved, Some(10_000)),
        (nobody, Some(1000)),
        (itself, Some(1000)),
    ] {
        assert_eq!(heard(said, moved_ms), format!("{said}\r\n"));
    }
}
