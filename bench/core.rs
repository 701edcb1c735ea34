//! The core without sockets: a GET in at a client, its reply out, through the very `Proxy` that serves.
//!
//! `cargo bench --bench core` prints nanoseconds per command. `bench/instructions.sh` runs it under callgrind
//! and prints instructions per command, which do not depend on what else the machine does.
//!
//! Arguments: `[CLIENTS [NODES [PIPELINE [TURNS [get|hit|mget|mset [RULES [NAMESPACE]]]]]]]`; without any, a table of the usual
//! cases. MGET and MSET are of ten keys; `hit` is GET of a hundred keys that the near cache has. RULES are those of the clients' user, as in an ACL file: `"on nopass ~key:* +@all"`.
//! NAMESPACE is that of all clients.

use std::io::IoSlice;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use redis_cluster_proxy::buffer::ReadBuf;
use redis_cluster_proxy::clock::Time;
use redis_cluster_proxy::cluster::topology::Topology;
use redis_cluster_proxy::command::Table;
use redis_cluster_proxy::config::Config;
use redis_cluster_proxy::proxy::Peer;
use redis_cluster_proxy::proxy::Proxy;
use redis_cluster_proxy::proxy::actions::Action;
use redis_cluster_proxy::proxy::ids::ClientId;
use redis_cluster_proxy::proxy::process::Process;

/// Clients that have something to say in one turn, for three nodes. More nodes take as many more, so that a turn
/// has as much for each node and rows differ by what grows with clients and nodes alone.
const BATCH: usize = 50;
const REPLY: &[u8] = b"$64\r\n0123456789012345678901234567890123456789012345678901234567890123\r\n";

/// What a client asks, and what a node answers to it or to a part of it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Work {
    Get,
    Hit,
    Mget,
    Mset,
}

impl Work {
    fn append(self, request: &mut Vec<u8>, mut key: impl FnMut() -> String) {
        let mut bulk =
            |text: &str| request.extend(format!("${}\r\n{text}\r\n", text.len()).bytes());
        match self {
            Work::Get | Work::Hit => {
                bulk("GET");
                bulk(&key());
            }
            Work::Mget => {
                bulk("MGET");
                (0..10).for_each(|_| bulk(&key()));
            }
            Work::Mset => {
                bulk("MSET");
                (0..10).for_each(|_| {
                    bulk(&key());
                    bulk(std::str::from_utf8(&REPLY[5..REPLY.len() - 2]).expect("it is ASCII"));
                });
            }
        }
    }

    fn args(self) -> usize {
        match self {
            Work::Get | Work::Hit => 2,
            Work::Mget => 11,
            Work::Mset => 21,
        }
    }

    /// How many keys there are.
    fn keys(self) -> u32 {
        if self == Work::Hit { 100 } else { 100_000 }
    }

    fn reply(self) -> Vec<u8> {
        match self {
            Work::Get | Work::Hit => REPLY.to_vec(),
            Work::Mget => [b"*1\r\n", REPLY].concat(),
            Work::Mset => b"+OK\r\n".to_vec(),
        }
    }
}

/// What all clients ask, who they are, and where.
struct Asked {
    work: Work,
    rules: String,
    namespace: String,
}

struct Rig {
    reply: Vec<u8>,
    proxy: Proxy,
    clients: Vec<ClientId>,
    requests: Vec<Vec<u8>>,
    /// What was written to the nodes.
    written: Vec<(Peer, Vec<u8>)>,
    /// Clients in a turn.
    batch: usize,
    now: u64,
}

impl Rig {
    fn new(clients: usize, nodes: u16, pipeline: usize, asked: &Asked) -> Rig {
        let (work, rules) = (asked.work, &asked.rules);
        let process = Arc::new(Process::new(1));
        if !rules.is_empty() {
            let rules = rules.split(' ').map(str::as_bytes);
            let set = process
                .acl
                .set_user(b"default", std::iter::once(&b"reset"[..]).chain(rules));
            set.expect("rules");
        }
        let mut limits = Config::default().limits;
        // A load that goes on is never slowed: connections begin with the credit that they would learn.
        limits.connection_requests = 1 << 20;
        let config = Arc::new(Config {
            limits,
            namespace: Some(asked.namespace.clone()).filter(|name| !name.is_empty()),
            near_cache_bytes: if work == Work::Hit { 1 << 20 } else { 0 },
            // No tick comes here that would probe the nodes.
            near_cache_staleness: Duration::from_secs(1 << 20),
            ..Config::default()
        });
        let mut proxy = Proxy::new(config, Arc::new(Table::compiled()), process, 0, 1);
        let addresses: Vec<SocketAddr> = (0..nodes)
            .map(|node| SocketAddr::from(([10, 0, (node >> 8) as u8, node as u8], 6379)))
            .collect();
        proxy.adopt(Arc::new(Topology::of_masters(&addresses)), Time::default());
        let local = SocketAddr::from(([127, 0, 0, 1], 1));
        let batch = (BATCH * usize::from(nodes).div_ceil(3)).min(clients);
        let clients = (0..clients)
            .map(|_| proxy.accept(Some(local), Time::default()))
            .collect();
        let mut key = 0u32;
        let requests = (0..997)
            .map(|_| {
                let mut bytes = Vec::new();
                for _ in 0..pipeline {
                    bytes.extend(format!("*{}\r\n", work.args()).bytes());
                    work.append(&mut bytes, || {
                        key = key.wrapping_mul(1664525).wrapping_add(1013904223);
                        format!("key:{:012}", key % work.keys())
                    });
                }
                bytes
            })
            .collect();
        Rig {
            reply: work.reply(),
            proxy,
            clients,
            requests,
            written: Vec::new(),
            batch,
            now: 1,
        }
    }

    fn feed(&mut self, peer: Peer, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let now = Time::from_micros(self.now);
            let count = measured::read(&mut self.proxy, peer, now, rest);
            rest = &rest[count..];
        }
    }

    /// Does what the proxy asks for; every frame that a node gets is answered.
    fn act(&mut self) {
        let now = Time::from_micros(self.now);
        loop {
            measured::flush_all(&mut self.proxy, now, &mut self.written);
            let Some(action) = measured::next_action(&mut self.proxy) else {
                break;
            };
            match action {
                Action::Connect(id, _) => self.proxy.connected(id, now),
                other => unreachable!("{other:?}"),
            }
        }
        for (peer, requests) in std::mem::take(&mut self.written) {
            let answers = answers(&requests, &self.reply);
            self.feed(peer, &answers);
        }
    }

    /// One turn with requests, one with replies.
    fn turn(&mut self, index: usize) {
        self.now += 100;
        for client in 0..self.batch {
            let client = self.clients[(index * self.batch + client) % self.clients.len()];
            let bytes =
                std::mem::take(&mut self.requests[(index * 31 + client.key() as usize) % 997]);
            self.feed(Peer::Client(client), &bytes);
            self.requests[(index * 31 + client.key() as usize) % 997] = bytes;
        }
        self.act();
        self.act();
    }
}

/// What a node answers to these requests: `reply`, but for what the near cache asks beside it.
fn answers(requests: &[u8], reply: &[u8]) -> Vec<u8> {
    let mut all = Vec::new();
    for start in memchr::memchr_iter(b'*', requests) {
        let request = &requests[start..];
        all.extend_from_slice(match request.get(4..11) {
            Some(b"$6\r\nCLI") => b"+OK\r\n",
            Some(b"$4\r\nPTT") => b":-1\r\n",
            _ => reply,
        });
    }
    all
}

/// What the shell asks of the core. `instructions.sh` counts what is spent in here and nothing else: the
/// rest of this file stands for the kernel and for the nodes.
mod measured {
    use redis_cluster_proxy::clock::Time;
    use redis_cluster_proxy::proxy::Peer;
    use redis_cluster_proxy::proxy::Proxy;
    use redis_cluster_proxy::proxy::actions::Action;

    #[inline(never)]
    pub fn read(proxy: &mut Proxy, peer: Peer, now: Time, bytes: &[u8]) -> usize {
        let count = proxy.read(peer, now, |room| {
            let count = super::fill(room, bytes);
            (count, count)
        });
        count.expect("the peer is read")
    }

    #[inline(never)]
    pub fn next_action(proxy: &mut Proxy) -> Option<Action> {
        proxy.next_action()
    }

    #[inline(never)]
    pub fn flush_all(proxy: &mut Proxy, now: Time, written: &mut Vec<(Peer, Vec<u8>)>) {
        proxy.flush_all(now, |peer, slices| super::write(peer, slices, written));
    }
}

/// Takes what there is room for, as a socket that holds so many bytes does.
#[inline(never)]
fn fill(room: &mut ReadBuf, bytes: &[u8]) -> usize {
    let count = bytes.len().min(room.spare().len());
    room.spare()[..count].copy_from_slice(&bytes[..count]);
    room.filled(count);
    count
}

/// Takes all of it, as a socket with room does. What is said to nodes is kept.
#[inline(never)]
fn write(peer: Peer, slices: &[IoSlice<'_>], written: &mut Vec<(Peer, Vec<u8>)>) -> usize {
    let len = slices.iter().map(|slice| slice.len()).sum();
    if let Peer::Backend(_) = peer {
        let bytes = slices.iter().flat_map(|slice| slice.iter().copied());
        written.push((peer, bytes.collect()));
    }
    len
}

fn run(clients: usize, nodes: u16, pipeline: usize, turns: usize, asked: &Asked) {
    let mut rig = Rig::new(clients, nodes, pipeline, asked);
    for index in 0..(200 * BATCH / rig.batch).max(4) {
        rig.turn(index);
    }
    let before = rig.proxy.stats().commands.get();
    let start = Instant::now();
    (0..turns).for_each(|index| rig.turn(index));
    let elapsed = start.elapsed();
    let commands = rig.proxy.stats().commands.get() - before;
    println!(
        "{clients:6} clients {nodes:5} nodes pipeline {pipeline:3}: {commands} commands, {:.0} ns each",
        elapsed.as_nanos() as f64 / commands as f64
    );
}

fn main() {
    let numbers: Vec<usize> = std::env::args()
        .skip(1)
        .filter_map(|arg| arg.parse().ok())
        .collect();
    if numbers.is_empty() {
        for (clients, nodes) in [(50, 3), (10_000, 1000)] {
            for pipeline in [1, 16] {
                let batch = BATCH * usize::from(nodes).div_ceil(3);
                run(
                    clients,
                    nodes,
                    pipeline,
                    1_000_000 / batch / pipeline,
                    &Asked {
                        work: Work::Get,
                        rules: String::new(),
                        namespace: String::new(),
                    },
                );
            }
        }
        return;
    }
    let work = match std::env::args().nth(5).as_deref() {
        Some("mget") => Work::Mget,
        Some("mset") => Work::Mset,
        Some("hit") => Work::Hit,
        _ => Work::Get,
    };
    let number = |index: usize, default| numbers.get(index).copied().unwrap_or(default);
    run(
        number(0, 50),
        number(1, 3) as u16,
        number(2, 1),
        number(3, 1000),
        &Asked {
            work,
            rules: std::env::args().nth(6).unwrap_or_default(),
            namespace: std::env::args().nth(7).unwrap_or_default(),
        },
    );
}
