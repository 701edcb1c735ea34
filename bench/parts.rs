//! The steps of the data path, one by one: nanoseconds for each, the best of several rounds.
//!
//! `cargo bench --bench parts`. What the steps cost together stands in `core`; these numbers say which of them
//! a change has touched, and are not to be added up (each is warm and alone here).

use std::hint::black_box;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use redis_cluster_proxy::clock::Time;
use redis_cluster_proxy::cluster::slot::Slot;
use redis_cluster_proxy::cluster::topology::Topology;
use redis_cluster_proxy::command::Table;
use redis_cluster_proxy::config::Config;
use redis_cluster_proxy::proxy::Peer;
use redis_cluster_proxy::proxy::Proxy;
use redis_cluster_proxy::proxy::actions::Action;
use redis_cluster_proxy::proxy::ids::ClientId;
use redis_cluster_proxy::proxy::local::Handlers;
use redis_cluster_proxy::proxy::local::plain_names::Names;
use redis_cluster_proxy::proxy::process::Process;
use redis_cluster_proxy::resp::args::Args;
use redis_cluster_proxy::resp::frame::{RequestLimits, RequestScanner, Scan};
use redis_cluster_proxy::resp::reply_frame::ReplyScanner;
use redis_cluster_proxy::resp::short::short_reply;

const ROUNDS: usize = 20;
const STEPS: usize = 50_000;
const GET: &[u8] = b"*2\r\n$3\r\nGET\r\n$16\r\nkey:000000012345\r\n";
const REPLY: &[u8] = b"$64\r\n0123456789012345678901234567890123456789012345678901234567890123\r\n";
const PIPELINE: usize = 16;

const LIMITS: RequestLimits = RequestLimits {
    bulk_bytes: 512 << 20,
    request_bytes: 512 << 20,
    inline_bytes: 64 << 10,
    authenticated: true,
    unauthenticated_args: 10,
    unauthenticated_bulk_bytes: 16 << 10,
};

/// Prints what one step costs.
fn show(name: &str, took: Duration, steps: usize) {
    println!("{name:32} {:8.1} ns", took.as_nanos() as f64 / steps as f64);
}

/// Times a step.
fn time(name: &str, mut step: impl FnMut()) {
    let round = |_| {
        let start = Instant::now();
        (0..STEPS).for_each(|_| step());
        start.elapsed()
    };
    show(
        name,
        (0..ROUNDS).map(round).min().unwrap_or_default(),
        STEPS,
    );
}

fn scanners() {
    let (mut scanner, mut spans) = (RequestScanner::default(), Vec::new());
    time("scanner: any request", || {
        black_box(scanner.next(black_box(GET), &LIMITS, &mut spans)).expect("a request");
    });
    time("scanner: plain reply", || {
        black_box(short_reply(black_box(REPLY), 16 << 10));
    });
    let mut scanner = ReplyScanner::default();
    time("scanner: any reply", || {
        black_box(scanner.next(black_box(REPLY), 512 << 20)).expect("a reply");
    });
}

fn lookup(table: &Table) {
    let mut names = Names::new(
        table,
        &Handlers::new(table, redis_cluster_proxy::config::Auth::Own),
        &redis_cluster_proxy::config::Limits::default(),
    );
    time("scanner, lookup: plain request", || {
        black_box(names.request(black_box(GET), 16 << 10));
    });
    time("lookup: plain command", || {
        let request = black_box(u64::from_le_bytes(*b"GET\0\0\0\0\0"));
        black_box(names.find(request, 3));
    });
    let mut spans = Vec::new();
    let scan = RequestScanner::default().next(GET, &LIMITS, &mut spans);
    assert_eq!(scan, Ok(Scan::Frame(GET.len())));
    let args = Args::new(GET, &spans);
    time("lookup: any command", || {
        black_box(table.resolve(black_box(&args)));
    });
}

fn slot() {
    time("slot: 16 bytes", || {
        black_box(Slot::of(black_box(b"key:000000012345")));
    });
    time("slot: 16 bytes with a tag", || {
        black_box(Slot::of(black_box(b"key:{user:12345}")));
    });
    time("slot: 100 bytes", || {
        black_box(Slot::of(black_box(&[b'x'; 100])));
    });
}

/// A proxy in front of three nodes, with one client.
struct Rig {
    proxy: Proxy,
    client: ClientId,
    now: u64,
}

impl Rig {
    fn new(table: Arc<Table>) -> Rig {
        let process = Arc::new(Process::new(1));
        let mut proxy = Proxy::new(Arc::new(Config::default()), table, process, 0, 1);
        let nodes = [1, 2, 3].map(|node| SocketAddr::from(([10, 0, 0, node], 6379)));
        proxy.adopt(Arc::new(Topology::of_masters(&nodes)), Time::default());
        let local = SocketAddr::from(([127, 0, 0, 1], 1));
        Rig {
            client: proxy.accept(Some(local), Time::default()),
            proxy,
            now: 1,
        }
    }

    /// Puts bytes into the room of a peer, untimed, and takes them; returns how long that took.
    fn feed(&mut self, peer: Peer, bytes: &[u8]) -> Duration {
        let room = self.proxy.room(peer).expect("the peer is read");
        room.spare()[..bytes.len()].copy_from_slice(bytes);
        room.filled(bytes.len());
        let start = Instant::now();
        self.proxy
            .input(peer, bytes.len(), Time::from_micros(self.now));
        start.elapsed()
    }

    /// Does all that the proxy asks for; returns the replies to be given, by backend, and how long it took.
    fn act(&mut self) -> (Vec<(Peer, usize)>, Duration) {
        let (mut asked, now) = (Vec::new(), Time::from_micros(self.now));
        let start = Instant::now();
        while let Some(action) = self.proxy.next_action() {
            match action {
                Action::Connect(id, _) => self.proxy.connected(id, now),
                Action::Flush(peer) => {
                    let mut written = 0;
                    self.proxy.flush(peer, now, |slices| {
                        written = slices.iter().map(|slice| slice.len()).sum();
                        written
                    });
                    if let Peer::Backend(_) = peer {
                        asked.push((peer, written / GET.len()));
                    }
                }
                other => unreachable!("{other:?}"),
            }
        }
        (asked, start.elapsed())
    }
}

/// Requests in and replies out, sixteen at a time, the two ways and the writes apart.
fn dispatch_and_deliver(table: Arc<Table>) {
    let mut rig = Rig::new(table);
    let keys = |turn: usize| {
        let key = |index: usize| format!("key:{:012}", (turn * PIPELINE + index) * 7919 % 100_000);
        let all =
            (0..PIPELINE).map(|index| format!("*2\r\n$3\r\nGET\r\n$16\r\n{}\r\n", key(index)));
        all.collect::<String>().into_bytes()
    };
    let requests: Vec<Vec<u8>> = (0..500).map(keys).collect();
    let mut best = [Duration::MAX; 3];
    for _ in 0..ROUNDS {
        let mut took = [Duration::ZERO; 3];
        for bytes in &requests {
            rig.now += 100;
            took[0] += rig.feed(Peer::Client(rig.client), bytes);
            let (asked, flushed) = rig.act();
            took[2] += flushed;
            for (node, count) in asked {
                took[1] += rig.feed(node, &REPLY.repeat(count));
            }
            took[2] += rig.act().1;
        }
        for (best, took) in best.iter_mut().zip(took) {
            *best = took.min(*best);
        }
    }
    let steps = requests.len() * PIPELINE;
    show("dispatch: one request of 16", best[0], steps);
    show("deliver: one reply of 16", best[1], steps);
    show("flush: both ways, without a socket", best[2], steps);
}

fn main() {
    let table = Arc::new(Table::compiled());
    scanners();
    lookup(&table);
    slot();
    dispatch_and_deliver(table);
}
