//! Nodes that say hostile things in place of executing, before a whole `Proxy`: whatever they say, each request has one
//! reply, in the end, and costs the cluster a bounded number of requests and connections.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use redis_cluster_proxy::clock::Time;
use redis_cluster_proxy::cluster::topology::Topology;
use redis_cluster_proxy::command::Table;
use redis_cluster_proxy::config::Config;
use redis_cluster_proxy::proxy::actions::Action;
use redis_cluster_proxy::proxy::ids::BackendId;
use redis_cluster_proxy::proxy::process::Process;
use redis_cluster_proxy::proxy::{Peer, Proxy};
use redis_cluster_proxy::resp::args::Args;
use redis_cluster_proxy::resp::encode::{self, Protocol};
use redis_cluster_proxy::resp::frame::{RequestScanner, Scan};
use redis_cluster_proxy::resp::reply_frame::ReplyScanner;

use super::{Target, generate, targets};

pub const REDIRECTS: Target = Target {
    name: "redirects",
    generate: generate::refusals,
    shapes: generate::REFUSAL_SHAPES,
    check: |text, rng| {
        // The topology has addresses that a redirect may name.
        let mut text = text.to_vec();
        if rng.bool() {
            let node = NODES[rng.usize(..NODES.len())];
            let word = ["MOVED", "ASK"][rng.usize(..2)];
            let slot = rng.u16(..16_400);
            text.splice(0..0, format!("{word} {slot} {node}").into_bytes());
        }
        let chosen = REQUESTS[rng.usize(..REQUESTS.len())];
        let hostile = match rng.u8(..3) {
            0 => u64::MAX,
            _ => rng.u64(1..6),
        };
        Scene::new(text, hostile, chosen).play();
    },
    work: |text| Scene::new(text.to_vec(), 3, REQUESTS[0]).play(),
};

const NODES: [&str; 3] = ["10.0.0.1:6379", "10.0.0.2:6379", "10.0.0.3:6379"];

/// What a client sends: each request has one reply.
const REQUESTS: &[&[&[&str]]] = &[
    &[&["GET", "k"]],
    &[&["SET", "k", "v"], &["GET", "k"], &["GET", "other"]],
    &[&["MGET", "a", "b", "c"], &["DEL", "a", "b"]],
    &[&["MSET", "a", "1", "b", "2"], &["INCR", "n"]],
    &[
        &["MULTI"],
        &["SET", "k", "v"],
        &["GET", "k"],
        &["EXEC"],
        &["GET", "k"],
    ],
    &[&["WATCH", "k"], &["GET", "k"], &["UNWATCH"]],
    &[&["BLPOP", "list", "1"], &["GET", "k"]],
    &[
        &["EVAL", "return 1", "1", "k"],
        &["EVALSHA", "00", "1", "k"],
    ],
    &[&["SUBSCRIBE", "news"]],
    &[&["DBSIZE"], &["SCAN", "0"], &["PUBLISH", "c", "m"]],
];

/// What may be asked of the nodes for each part of a request of the client (twenty times a second, as long as it may be
/// held), and how many connections be made, in all.
const TRIES_MAX: u64 = 400;
const CONNECTS_MAX: u64 = 1000;
/// Nothing waits for so long.
const LONGEST: Duration = Duration::from_secs(120);

struct Scene {
    proxy: Proxy,
    now: u64,
    /// How many replies it is to have.
    requests: usize,
    /// How many parts its requests have at most, each with tries of its own.
    parts: u64,
    /// What nodes say in place of executing, and how often.
    text: Vec<u8>,
    hostile: u64,
    /// What nodes have read, and what they have not answered.
    read: HashMap<BackendId, Vec<u8>>,
    open: HashSet<BackendId>,
    heard: Vec<u8>,
    is_closed: bool,
    asked: u64,
    connects: u64,
}

impl Scene {
    fn new(text: Vec<u8>, hostile: u64, requests: &[&[&str]]) -> Scene {
        static TABLE: LazyLock<Arc<Table>> = LazyLock::new(|| Arc::new(Table::compiled()));
        let (config, process) = (Arc::new(Config::default()), Arc::new(Process::new(1)));
        let mut proxy = Proxy::new(config, TABLE.clone(), process, 0, 1);
        let nodes = NODES.map(|node| node.parse::<SocketAddr>().expect("an address"));
        let mut topology = Topology::of_masters(&nodes);
        topology.announced = (0..)
            .zip(&nodes)
            .map(|(index, node)| (node.to_string(), index))
            .collect();
        proxy.adopt(Arc::new(topology), Time::default());
        let client = proxy.accept(None, Time::default());
        let mut scene = Scene {
            proxy,
            now: 1,
            requests: requests.len(),
            parts: requests.iter().map(|words| parts_of(words)).sum(),
            text,
            hostile,
            read: HashMap::new(),
            open: HashSet::new(),
            heard: Vec::new(),
            is_closed: false,
            asked: 0,
            connects: 0,
        };
        let mut bytes = Vec::new();
        for request in requests {
            encode::command(&mut bytes, request.iter().map(|word| word.as_bytes()));
        }
        scene.feed(Peer::Client(client), &bytes);
        scene
    }

    fn time(&self) -> Time {
        Time::from_micros(self.now)
    }

    /// Bytes of a peer come, as far as it is read.
    fn feed(&mut self, peer: Peer, mut bytes: &[u8]) {
        while !bytes.is_empty()
            && let Some(room) = self.proxy.room(peer)
        {
            let count = bytes.len().min(room.spare().len());
            room.spare()[..count].copy_from_slice(&bytes[..count]);
            room.filled(count);
            let now = self.time();
            self.proxy.input(peer, count, now);
            bytes = &bytes[count..];
            self.act();
        }
    }

    fn act(&mut self) {
        let mut actions = 0;
        while let Some(action) = self.proxy.next_action() {
            actions += 1;
            assert!(actions < 10_000, "the actions of one turn have no end");
            let now = self.time();
            match action {
                Action::Connect(id, _) => {
                    self.connects += 1;
                    self.open.insert(id);
                    self.proxy.connected(id, now);
                }
                Action::Flush(peer) => {
                    let mut sent = Vec::new();
                    self.proxy.flush(peer, now, |slices| {
                        slices.iter().for_each(|own| sent.extend_from_slice(own));
                        slices.iter().map(|own| own.len()).sum()
                    });
                    match peer {
                        Peer::Client(_) => self.heard.extend(sent),
                        Peer::Backend(id) => self.read.entry(id).or_default().extend(sent),
                    }
                }
                Action::Resume(id) => drop(self.proxy.resume(id, now)),
                Action::Close(Peer::Client(_)) => self.is_closed = true,
                Action::Close(Peer::Backend(id)) => {
                    self.open.remove(&id);
                    self.read.remove(&id);
                }
                Action::WorkOutside(work) => {
                    let (part, reply) = work.run();
                    self.proxy.done_outside(part, reply, now);
                }
                // Nobody knows better than they did.
                Action::Refresh(_) | Action::Read(_) => {}
                Action::ToWorker(..) => unreachable!("there is one worker"),
            }
        }
    }

    /// Nodes answer all that they have read.
    fn answer(&mut self) {
        for (id, bytes) in std::mem::take(&mut self.read) {
            let mut replies = Vec::new();
            let mut rest = &bytes[..];
            while let Some((words, len)) = first_request(rest) {
                rest = &rest[len..];
                let name = words[0].to_ascii_uppercase();
                let is_of_client = !matches!(&name[..], b"ASKING" | b"HELLO" | b"CLIENT" | b"AUTH");
                if is_of_client && self.hostile > 0 {
                    self.hostile -= 1;
                    replies.push(b'-');
                    replies.extend_from_slice(&self.text);
                    replies.extend_from_slice(b"\r\n");
                } else {
                    replies.extend_from_slice(b"+OK\r\n");
                }
                self.asked += u64::from(is_of_client);
            }
            assert!(rest.is_empty(), "requests are whole");
            if self.open.contains(&id) {
                self.feed(Peer::Backend(id), &replies);
            }
        }
    }

    /// How many replies the client has.
    fn replies(&self) -> usize {
        let (mut scanner, mut rest) = (ReplyScanner::of(Protocol::Resp2), &self.heard[..]);
        let mut count = 0;
        while !rest.is_empty() {
            let Ok(Scan::Frame(len)) = scanner.next(rest, 512 << 20) else {
                panic!("no reply: {}", rest.escape_ascii());
            };
            rest = &rest[len..];
            count += 1;
        }
        count
    }

    /// Until every request has its reply.
    fn play(mut self) {
        let (mut replies, mut turns) = (0, 0);
        while replies < self.requests && !self.is_closed {
            assert!(
                self.now < LONGEST.as_micros() as u64,
                "a request waits for ever"
            );
            let now = self.time();
            self.proxy.tick(now);
            self.act();
            self.answer();
            if turns % 16 == 0 {
                self.proxy.check();
            }
            turns += 1;
            replies = self.replies();
            let due = self.proxy.next_deadline().map(|due| due.as_micros());
            self.now = due
                .unwrap_or(u64::MAX)
                .clamp(self.now + 1000, self.now + 100_000);
        }
        assert!(replies <= self.requests, "{}", self.heard.escape_ascii());
        let tries = self.asked / self.parts;
        assert!(tries <= TRIES_MAX, "{tries} requests for each part");
        assert!(
            self.connects <= CONNECTS_MAX,
            "{} connections",
            self.connects
        );
    }
}

/// One part for each key; a word alone goes to all nodes, if it goes to any.
fn parts_of(words: &[&str]) -> u64 {
    let parts = match words.len() {
        1 => NODES.len(),
        words => words - 1,
    };
    parts as u64
}

/// The words of the first request, and its length.
fn first_request(bytes: &[u8]) -> Option<(Vec<Vec<u8>>, usize)> {
    let limits = targets::limits(true);
    let mut spans = Vec::new();
    match RequestScanner::default().next(bytes, &limits, &mut spans) {
        Ok(Scan::Frame(len)) => {
            let args = Args::new(&bytes[..len], &spans);
            Some((
                (0..args.len())
                    .map(|index| args.at(index).to_vec())
                    .collect(),
                len,
            ))
        }
        Ok(Scan::Incomplete(_)) => None,
        other => panic!("nodes are sent {other:?}"),
    }
}
