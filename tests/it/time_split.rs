//! Whose time it was: a node that is slow and a proxy that is slow show each on its own side, and nowhere else.
//!
//! The proxy's own state machine, with a virtual clock: what a worker measures is what these calls say.

use std::io::IoSlice;
use std::net::SocketAddr;
use std::sync::Arc;

use redis_cluster_proxy::clock::Time;
use redis_cluster_proxy::cluster::topology::Topology;
use redis_cluster_proxy::command::Table;
use redis_cluster_proxy::config::Config;
use redis_cluster_proxy::proxy::Peer;
use redis_cluster_proxy::proxy::Proxy;
use redis_cluster_proxy::proxy::actions::Action;
use redis_cluster_proxy::proxy::ids::ClientId;
use redis_cluster_proxy::proxy::process::Process;

/// A proxy with one client and one node.
struct Rig {
    proxy: Proxy,
    process: Arc<Process>,
    client: ClientId,
    backend: Option<Peer>,
    now: u64,
}

impl Rig {
    fn new() -> Rig {
        let process = Arc::new(Process::new(1));
        let config = Config {
            log_every_n: 0,
            ..Config::default()
        };
        let table = Arc::new(Table::compiled());
        let mut proxy = Proxy::new(Arc::new(config), table, process.clone(), 0, 1);
        let node = SocketAddr::from(([10, 0, 0, 1], 6379));
        proxy.adopt(Arc::new(Topology::of_masters(&[node])), Time::default());
        let client = proxy.accept(Some(SocketAddr::from(([127, 0, 0, 1], 1))), Time::default());
        let mut rig = Rig {
            proxy,
            process,
            client,
            backend: None,
            now: 1_000,
        };
        // The connection is made; that is no part of what is measured.
        rig.exchange(b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n", [0, 0, 0]);
        rig.now += 1;
        rig
    }

    fn time(&self) -> Time {
        Time::from_micros(self.now)
    }

    fn feed(&mut self, peer: Peer, bytes: &[u8]) {
        let room = self.proxy.room(peer).expect("it is read");
        room.spare()[..bytes.len()].copy_from_slice(bytes);
        room.filled(bytes.len());
        let now = self.time();
        self.proxy.input(peer, bytes.len(), now);
    }

    /// The end of a turn, which comes `later` than its beginning.
    fn end_turn(&mut self, later: u64) {
        self.now += later;
        let now = self.time();
        self.proxy.tick(now);
        while let Some(action) = self.proxy.next_action() {
            match action {
                Action::Connect(id, _) => {
                    self.backend = Some(Peer::Backend(id));
                    self.proxy.connected(id, now);
                }
                Action::Flush(peer) => {
                    let mut is_handshake = false;
                    let all = |slices: &[IoSlice<'_>]| {
                        is_handshake = slices.iter().any(|slice| slice.ends_with(b"PING\r\n"));
                        slices.iter().map(|slice| slice.len()).sum()
                    };
                    self.proxy.flush(peer, now, all);
                    if is_handshake {
                        self.feed(peer, b"+PONG\r\n");
                        self.proxy.tick(now);
                    }
                }
                _ => {}
            }
        }
    }

    /// A request and its reply; the proxy takes `before` to write the request, the node `node` to answer, and
    /// the proxy `behind` to write the reply.
    fn exchange(&mut self, request: &[u8], [before, node, behind]: [u64; 3]) {
        self.feed(Peer::Client(self.client), request);
        self.end_turn(before);
        self.now += node;
        self.feed(self.backend.expect("a backend"), b"$1\r\nx\r\n");
        self.end_turn(behind);
    }

    /// The sums of what clients and of what nodes took.
    fn sums(&self) -> (u64, u64) {
        let commands = self.process.commands();
        let nodes = self.process.nodes();
        (
            commands.iter().map(|calls| calls.latencies.micros).sum(),
            nodes.values().map(|totals| totals.latencies.micros).sum(),
        )
    }
}

#[test]
fn each_side_shows_its_own_time_and_no_other() {
    // A plain request, one that takes the general path, and one that is cut in parts.
    for request in [
        &b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n"[..],
        b"*3\r\n$6\r\nOBJECT\r\n$8\r\nENCODING\r\n$1\r\na\r\n",
    ] {
        for (what, times) in [
            ("a slow node", [10, 50_000, 10]),
            ("a slow proxy before the node", [50_000, 100, 10]),
            ("a slow proxy behind the node", [10, 100, 50_000]),
            ("all of them", [7_000, 8_000, 9_000]),
        ] {
            let mut rig = Rig::new();
            let before = rig.sums();
            rig.exchange(request, times);
            let after = rig.sums();
            let found = (after.0 - before.0, after.1 - before.1);
            assert_eq!(found, (times.iter().sum(), times[1]), "{what}");
        }
    }
}

#[test]
fn requests_behind_one_another_have_their_own_times() {
    let mut rig = Rig::new();
    let before = rig.sums();
    let get = b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n";
    // Two turns with requests, then one with both replies.
    rig.feed(Peer::Client(rig.client), &get.repeat(3));
    rig.end_turn(1_000);
    rig.now += 500;
    rig.feed(Peer::Client(rig.client), get);
    rig.end_turn(2_000);
    rig.now += 300;
    rig.feed(rig.backend.expect("a backend"), &b"$1\r\nx\r\n".repeat(4));
    rig.end_turn(100);
    let after = rig.sums();
    let clients = 3 * (1_000 + 500 + 2_000 + 300 + 100) + (2_000 + 300 + 100);
    let nodes = 3 * (500 + 2_000 + 300) + 300;
    assert_eq!((after.0 - before.0, after.1 - before.1), (clients, nodes));
    let node = rig.process.nodes().into_values().next().expect("a node");
    assert_eq!(node.latencies.count, 5);
}
