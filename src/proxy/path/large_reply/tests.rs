//! Large replies of nodes that are no more than their bytes: they come in any pieces, stop in their middle, or turn
//! into nonsense.

mod passing_merge;
mod slow_readers;

use std::sync::Arc;
use std::time::Duration;

use crate::buffer::READ_BLOCK;
use crate::clock::Time;
use crate::config::Config;
use crate::proxy::actions::Action;
use crate::proxy::ids::{BackendId, ClientId, Peer};
use crate::proxy::state::Proxy;
use crate::proxy::tests::rig::{before_nodes, flushed, next_action};
use crate::proxy::upstream::backend::State;
use crate::proxy::upstream::overdue::OVERDUE_MIN;
use crate::resp::encode;
use crate::testing::Random;

/// A proxy before two nodes, with clients. All keys but `foo` are at the first.
struct Rig {
    proxy: Proxy,
    /// The connections that are open, in the order in which they were made.
    backends: Vec<BackendId>,
    /// What the node was sent, on all of them together.
    to_node: Vec<u8>,
    /// What each client was sent, and whether it was closed.
    clients: Vec<(ClientId, Vec<u8>, bool)>,
    /// Bytes that clients take of what is written to them.
    appetite: usize,
    now: Time,
}

impl Rig {
    fn new(set: impl FnOnce(&mut Config)) -> Rig {
        Rig::before(2, set)
    }

    fn before(nodes: u8, set: impl FnOnce(&mut Config)) -> Rig {
        let mut config = Config::default();
        config.limits.pass_bytes = 0;
        set(&mut config);
        Rig {
            proxy: before_nodes(nodes, Arc::new(config)),
            backends: Vec::new(),
            to_node: Vec::new(),
            clients: Vec::new(),
            appetite: usize::MAX,
            now: Time::from_micros(7),
        }
    }

    fn client(&mut self) -> usize {
        let id = self.proxy.accept(None, self.now);
        self.clients.push((id, Vec::new(), false));
        self.clients.len() - 1
    }

    /// One that speaks RESP3, which has more types.
    fn client_of_resp3(&mut self) -> usize {
        let client = self.client();
        self.ask(client, &["HELLO", "3"]);
        assert!(self.heard(client).starts_with(b"%"));
        client
    }

    fn ask(&mut self, client: usize, words: &[&str]) {
        let mut bytes = Vec::new();
        encode::command(&mut bytes, words.iter().map(|word| word.as_bytes()));
        let peer = Peer::Client(self.clients[client].0);
        self.put(peer, &bytes, bytes.len());
    }

    /// Bytes come from a peer, in pieces of `step`.
    fn put(&mut self, peer: Peer, mut bytes: &[u8], step: usize) {
        while !bytes.is_empty() {
            let Some(room) = self.proxy.room(peer) else {
                return;
            };
            let count = bytes.len().min(step).min(room.spare().len());
            room.spare()[..count].copy_from_slice(&bytes[..count]);
            room.filled(count);
            bytes = &bytes[count..];
            self.proxy.input(peer, count, self.now);
            self.turn();
        }
    }

    /// Bytes come from the node on its newest connection.
    fn reply(&mut self, bytes: &[u8], step: usize) {
        let newest = *self.backends.last().expect("a connection");
        self.put(Peer::Backend(newest), bytes, step);
    }

    fn turn(&mut self) {
        self.proxy.tick(self.now);
        while let Some(action) = next_action(&mut self.proxy) {
            match action {
                Action::Connect(id, _) => {
                    self.backends.push(id);
                    self.proxy.connected(id, self.now);
                }
                Action::Flush(Peer::Backend(id)) => {
                    let peer = Peer::Backend(id);
                    let bytes = flushed(&mut self.proxy, peer, self.now);
                    if self.is_first_greeting(id) {
                        let ping = bytes.ends_with(b"PING\r\n");
                        let answer: &[u8] = match ping {
                            true => b"+PONG\r\n",
                            false => b"%1\r\n+proto\r\n:3\r\n",
                        };
                        self.put(peer, answer, usize::MAX);
                    } else {
                        self.to_node.extend(bytes);
                    }
                }
                Action::Flush(peer @ Peer::Client(id)) => {
                    let own = self.clients.iter_mut().find(|(own, ..)| *own == id);
                    let (_, heard, _) = own.expect("a client");
                    let appetite = &mut self.appetite;
                    self.proxy.flush(peer, self.now, |slices| {
                        let mut taken = 0;
                        for slice in slices {
                            let count = slice.len().min(*appetite);
                            heard.extend_from_slice(&slice[..count]);
                            taken += count;
                            *appetite -= count;
                        }
                        taken
                    });
                }
                Action::Resume(id) => {
                    self.proxy.resume(id, self.now);
                }
                Action::Read(_) => {}
                Action::Close(Peer::Client(id)) => {
                    let own = self.clients.iter_mut().find(|(own, ..)| *own == id);
                    own.expect("a client").2 = true;
                }
                Action::Close(Peer::Backend(id)) => self.backends.retain(|own| *own != id),
                Action::Refresh(_) | Action::ToWorker(..) | Action::WorkOutside(_) => {}
            }
        }
        self.proxy.check();
    }

    /// Whether a connection that replaces none has its handshake under way: that is answered at once.
    fn is_first_greeting(&self, id: BackendId) -> bool {
        let backend = self.proxy.upstream.backends.get(id);
        backend.is_some_and(|own| own.state != State::Ready && !own.is_replacement)
    }

    /// What a client was sent since this was asked last.
    fn heard(&mut self, client: usize) -> Vec<u8> {
        std::mem::take(&mut self.clients[client].1)
    }

    fn is_closed(&self, client: usize) -> bool {
        self.clients[client].2
    }

    /// Memory that is kept for the reply under way.
    fn storage(&self) -> usize {
        let backends = self.proxy.upstream.backends.iter();
        backends
            .map(|(_, own)| {
                let large_reply = own.large_reply.as_ref().map_or(0, |own| own.storage_len());
                large_reply + own.input.len() + own.input.free()
            })
            .sum()
    }
}

/// A list of so many short strings.
fn list(values: usize) -> Vec<u8> {
    let mut out = format!("*{values}\r\n").into_bytes();
    for value in 0..values {
        out.extend(format!("$9\r\nv{value:08}\r\n").bytes());
    }
    out
}

/// Values of all kinds, and before, between and behind them strings that make a reply of them a large one.
fn kinds() -> Vec<u8> {
    let large = format!("${0}\r\n{1}\r\n", 17_000, "x".repeat(17_000));
    let inner = "%1\r\n+a\r\n~2\r\n:1\r\n*-1\r\n|1\r\n+ttl\r\n:3\r\n$-1\r\n*0\r\n%0\r\n-ERR inside\r\n\
                 !8\r\nERR x\r\ny\r\n=7\r\ntxt:a\r\n\r\n,1.5\r\n#t\r\n(123456789012345678901\r\n_\r\n$0\r\n\r\n+\r\n";
    // The attribute is none of the values.
    let count = 3 + 13;
    format!(
        "*{count}\r\n{large}{inner}{large}{inner_end}",
        inner_end = large
    )
    .into_bytes()
}

#[test]
fn a_reply_is_the_same_however_it_is_cut() {
    let reply = kinds();
    // Wherever something else is than the inside of a large string, and a little into those.
    let plain =
        |at: &usize| reply[*at..].starts_with(b"xxxxxxxx") && reply[..*at].ends_with(b"xxxx");
    let cuts = (0..reply.len()).filter(|at| !plain(at) || at % 5000 == 0);
    for cut in cuts {
        let mut rig = Rig::new(|_| {});
        let client = rig.client_of_resp3();
        rig.ask(client, &["LRANGE", "bar", "0", "-1"]);
        rig.ask(client, &["GET", "bar"]);
        rig.reply(&reply[..cut], usize::MAX);
        rig.reply(&[&reply[cut..], b"$-1\r\n"].concat(), usize::MAX);
        let heard = rig.heard(client);
        assert!(heard == [&reply[..], b"$-1\r\n"].concat(), "cut at {cut}");
        rig.proxy.check_idle();
    }
}

#[test]
fn replies_pass_in_any_pieces_whoever_asks_and_whoever_leaves() {
    let mut random = Random::new(21);
    let (mut passed, mut dropped) = (0, 0);
    for round in 0..150 {
        let mut rig = Rig::new(|config| config.limits.pass_bytes = [0, 100_000][round % 2]);
        let clients: Vec<usize> = (0..3).map(|_| rig.client_of_resp3()).collect();
        let (mut replies, mut expected) = (Vec::new(), vec![Vec::new(); 3]);
        for _ in 0..random.below(12) {
            let client = random.below(3);
            let reply = match random.below(5) {
                0 => kinds(),
                1 => list(random.below(30_000)),
                2 => format!("+{}\r\n", "y".repeat(random.below(100_000))).into_bytes(),
                3 => format!("$200000\r\n{}\r\n", "z".repeat(200_000)).into_bytes(),
                _ => b":1\r\n".to_vec(),
            };
            if random.below(6) == 0 {
                rig.ask(client, &["CLIENT", "REPLY", "SKIP"]);
            } else {
                expected[client].extend(&reply);
            }
            rig.ask(client, &["LRANGE", "bar", "0", "-1"]);
            replies.extend(reply);
        }
        // One of them leaves at some time.
        let leaves_at = random.below(replies.len() * 2 + 1);
        let (mut at, mut left) = (0, false);
        while at < replies.len() {
            let count = [1, 1448, 40_000, 200_000][random.below(4)].min(replies.len() - at);
            let large_reply = |rig: &Rig| {
                let newest = rig
                    .backends
                    .last()
                    .and_then(|id| rig.proxy.upstream.backends.get(*id));
                newest.and_then(|own| own.large_reply.as_ref().map(|own| own.way))
            };
            rig.reply(&replies[at..at + count], usize::MAX);
            passed += usize::from(large_reply(&rig) == Some(super::Way::Passed));
            dropped += usize::from(large_reply(&rig) == Some(super::Way::Dropped));
            at += count;
            if at > leaves_at && !left {
                left = true;
                let id = rig.clients[clients[0]].0;
                rig.proxy.closed(Peer::Client(id), rig.now);
                rig.turn();
            }
        }
        for client in clients {
            let heard = rig.heard(client);
            if left && client == 0 {
                assert!(expected[0].starts_with(&heard), "round {round}");
            } else {
                assert!(heard == expected[client], "round {round}");
            }
        }
        rig.proxy.check_idle();
    }
    assert!(passed > 100 && dropped > 50, "{passed} {dropped}");
}

#[test]
fn a_reply_of_a_million_elements_is_read_in_whole_blocks_and_none_is_kept() {
    let reply = list(1_000_000);
    let mut rig = Rig::new(|config| config.limits.pass_bytes = 1 << 20);
    let client = rig.client();
    rig.ask(client, &["LRANGE", "bar", "0", "-1"]);
    let (mut rest, mut reads, mut most) = (&reply[..], 0, 0);
    let backend = Peer::Backend(rig.backends[0]);
    while !rest.is_empty() {
        let room = rig.proxy.room(backend).expect("it is read").spare().len();
        let count = room.min(rest.len());
        let (piece, behind) = rest.split_at(count);
        rig.put(backend, piece, count);
        (rest, reads) = (behind, reads + 1);
        most = most.max(rig.storage());
    }
    let blocks = reply.len().div_ceil(READ_BLOCK);
    assert!(reads <= blocks + 2, "{reads} reads of {blocks} blocks");
    assert!(most <= (1 << 20) + 2 * READ_BLOCK, "{most} bytes are kept");
    assert!(rig.heard(client) == reply);
    // Nothing was moved within the buffers: the bytes are those that the blocks were read into.
    assert_eq!(
        rig.proxy
            .upstream
            .backends
            .iter()
            .next()
            .map(|(_, own)| own.input.free()),
        Some(0)
    );
}

#[test]
fn what_comes_in_small_pieces_keeps_no_more_than_a_few_times_its_size() {
    let reply = list(60_000);
    for step in [1, 700, 1448, 16 << 10, 30_000, 40_000, READ_BLOCK] {
        let mut rig = Rig::new(|config| config.limits.pass_bytes = usize::MAX);
        let client = rig.client();
        rig.ask(client, &["LRANGE", "bar", "0", "-1"]);
        let mut came = 0;
        for piece in reply.chunks(step.max(64)) {
            rig.reply(piece, step);
            came += piece.len();
            let kept = rig.storage();
            assert!(kept <= 4 * came + READ_BLOCK, "{step}: {kept} for {came}");
        }
        assert!(rig.heard(client) == reply);
    }
}

#[test]
fn a_client_that_has_a_part_of_a_lost_reply_is_closed() {
    let reply = list(100_000);
    for (pass_bytes, cut, severed) in [
        (100_000, 50_000, false),
        (100_000, 300_000, true),
        (usize::MAX, 900_000, false),
    ] {
        let mut rig = Rig::new(|config| config.limits.pass_bytes = pass_bytes);
        let (client, other) = (rig.client(), rig.client());
        rig.ask(client, &["LRANGE", "bar", "0", "-1"]);
        rig.ask(client, &["GET", "bar"]);
        rig.ask(other, &["GET", "bar"]);
        rig.reply(&reply[..cut], usize::MAX);
        rig.proxy.closed(Peer::Backend(rig.backends[0]), rig.now);
        rig.turn();
        assert_eq!(rig.is_closed(client), severed, "{cut}");
        let heard = rig.heard(client);
        assert!(reply.starts_with(&heard));
        assert_eq!(!heard.is_empty(), severed, "{cut}");
        assert_eq!(rig.proxy.stats().clients_severed.get(), u64::from(severed));
        // The others, and one who has got nothing yet, are answered by the next connection, before it is overdue.
        rig.now = rig.now.after(OVERDUE_MIN / 2);
        rig.turn();
        if !severed {
            rig.reply(&reply, usize::MAX);
            rig.reply(b"$1\r\na\r\n", usize::MAX);
            assert!(rig.heard(client) == [&reply[..], b"$1\r\na\r\n"].concat());
        }
        rig.reply(b"$1\r\nb\r\n", usize::MAX);
        assert_eq!(rig.heard(other), b"$1\r\nb\r\n");
        assert!(!rig.is_closed(other));
        rig.proxy.check_idle();
    }
}

#[test]
fn what_becomes_nonsense_costs_the_connection_and_whoever_has_a_part_of_it() {
    let mut reply = list(50_000);
    for (nonsense, at) in [("?", 400_000), ("*-7\r\n", 600_000)] {
        let start = reply[at..]
            .iter()
            .position(|byte| *byte == b'$')
            .expect("a string")
            + at;
        reply.truncate(start);
        reply.extend(nonsense.bytes());
        let mut rig = Rig::new(|_| {});
        let (client, other) = (rig.client(), rig.client());
        rig.ask(client, &["LRANGE", "bar", "0", "-1"]);
        rig.ask(other, &["GET", "bar"]);
        rig.reply(&reply, usize::MAX);
        assert!(rig.is_closed(client) && !rig.is_closed(other));
        assert!(reply.starts_with(&rig.heard(client)));
        assert_eq!(rig.proxy.stats().backend_protocol_errors.get(), 1);
        rig.now = rig.now.after(Duration::from_secs(1));
        rig.turn();
        rig.reply(b"$1\r\nb\r\n", usize::MAX);
        assert_eq!(rig.heard(other), b"$1\r\nb\r\n");
        reply = list(50_000);
    }
}

#[test]
fn a_client_that_does_not_read_is_closed_at_its_limit_and_the_rest_is_dropped() {
    let reply = list(200_000);
    for first in [false, true] {
        let mut rig = Rig::new(|config| config.limits.client_output_bytes_max = 1 << 20);
        let (client, other) = (rig.client(), rig.client());
        rig.appetite = 0;
        // At the one node, and at the other: its turn does not come.
        rig.ask(other, &["GET", "bar"]);
        if !first {
            rig.ask(client, &["GET", "foo"]);
        }
        rig.ask(client, &["LRANGE", "bar", "0", "-1"]);
        rig.ask(other, &["GET", "bar"]);
        let place = rig.backends[0];
        rig.put(Peer::Backend(place), b"$1\r\na\r\n", usize::MAX);
        for piece in reply.chunks(READ_BLOCK) {
            rig.put(Peer::Backend(place), piece, usize::MAX);
            assert!(rig.storage() <= (1 << 20) + 3 * READ_BLOCK);
        }
        assert!(rig.is_closed(client));
        assert_eq!(rig.proxy.stats().clients_overfull.get(), 1);
        rig.appetite = usize::MAX;
        rig.put(Peer::Backend(place), b"$1\r\nb\r\n", usize::MAX);
        assert_eq!(rig.heard(other), b"$1\r\na\r\n$1\r\nb\r\n");
    }
}

#[test]
fn nothing_is_written_between_the_pieces_of_a_reply() {
    let reply = list(100_000);
    let (front, rest) = reply.split_at(700_000);
    let message = b">3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$2\r\nhi\r\n";
    let mut between = 0;
    for key in ["foo", "bar"] {
        let mut rig = Rig::new(|_| {});
        let client = rig.client_of_resp3();
        let owing = |rig: &Rig| {
            let mut backends = rig.proxy.upstream.backends.iter();
            let owing = backends.find(|(_, own)| !own.tickets.is_empty());
            Peer::Backend(owing.expect("it was asked").0)
        };
        rig.ask(client, &["SUBSCRIBE", "news"]);
        let link = owing(&rig);
        let confirmed = b">3\r\n$9\r\nsubscribe\r\n$4\r\nnews\r\n:1\r\n";
        rig.put(link, confirmed, usize::MAX);
        assert!(rig.heard(client).starts_with(b">3\r\n$9\r\nsubscribe"));
        rig.ask(client, &["LRANGE", key, "0", "-1"]);
        let from = owing(&rig);
        rig.put(from, front, usize::MAX);
        if from == link {
            // What is pushed on the same connection comes behind the reply.
            rig.put(from, rest, usize::MAX);
            rig.put(link, message, usize::MAX);
            assert!(rig.heard(client) == [&reply[..], message].concat());
        } else {
            rig.put(link, message, usize::MAX);
            rig.put(from, rest, usize::MAX);
            assert!(rig.heard(client) == [message, &reply[..]].concat());
            between += 1;
        }
    }
    assert!(between > 0);
}

#[test]
fn a_large_error_is_an_error() {
    let mut rig = Rig::new(|_| {});
    let client = rig.client_of_resp3();
    for kind in ["-ERR", "!200004\r\nERR"] {
        rig.ask(
            client,
            &["EVAL", "return redis.error_reply(ARGV[1])", "1", "bar"],
        );
        let error = format!("{kind} {}\r\n", "e".repeat(200_000));
        rig.reply(error.as_bytes(), 50_000);
        assert!(rig.heard(client) == error.as_bytes());
    }
    // One that begins as a refusal does, but is none to the letter, is the client's.
    rig.ask(client, &["GET", "bar"]);
    let error = format!("-LOADING {}\r\n", "e".repeat(200_000));
    rig.reply(error.as_bytes(), 50_000);
    assert!(rig.heard(client) == error.as_bytes());
}
