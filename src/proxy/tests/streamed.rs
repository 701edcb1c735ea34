//! Large requests that go to their nodes while they come: what a node gets, what a client hears, what is in memory.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Time;
use crate::config::Config;
use crate::proxy::actions::Action;
use crate::proxy::ids::{BackendId, ClientId, Peer};
use crate::proxy::state::Proxy;
use crate::proxy::tests::rig::{before_nodes, known_client};
use crate::resp::encode;
use crate::testing::Random;

/// A request of so many bytes is streamed here.
const LARGE: usize = 100_000;

struct Rig {
    proxy: Proxy,
    now: Time,
    /// What has come at each connection to a node and has not been answered.
    nodes: HashMap<BackendId, Vec<u8>>,
    heard: HashMap<ClientId, Vec<u8>>,
    /// Bytes that a node takes in one write.
    window: usize,
    /// What it answers when it is asked whether it has a key.
    answer: &'static [u8],
    closed: Vec<Peer>,
    /// The most that was in memory for one connection to a node.
    most: usize,
}

impl Rig {
    fn new(set: impl FnOnce(&mut Config)) -> Rig {
        let mut config = Config::default();
        config.limits.stream_bytes = LARGE;
        config.limits.backend_output_bytes = 2 * LARGE;
        set(&mut config);
        Rig {
            proxy: before_nodes(2, Arc::new(config)),
            now: Time::from_micros(7),
            nodes: HashMap::new(),
            heard: HashMap::new(),
            window: usize::MAX,
            answer: b":0\r\n",
            closed: Vec::new(),
            most: 0,
        }
    }

    fn client(&mut self) -> ClientId {
        known_client(&mut self.proxy, None, self.now)
    }

    /// As much of these bytes comes as is read now. Returns how much.
    fn put(&mut self, peer: Peer, bytes: &[u8]) -> usize {
        let mut put = 0;
        while put < bytes.len() {
            let Some(room) = self.proxy.room(peer) else {
                break;
            };
            let count = (bytes.len() - put).min(room.spare().len());
            room.spare()[..count].copy_from_slice(&bytes[put..put + count]);
            room.filled(count);
            put += count;
            self.proxy.input(peer, count, self.now);
        }
        put
    }

    /// All of it comes, in as many turns as that takes.
    fn send(&mut self, client: ClientId, bytes: &[u8]) {
        let mut put = 0;
        for _ in 0..1000 {
            put += self.put(Peer::Client(client), &bytes[put..]);
            self.settle();
            if put == bytes.len() || self.proxy.clients.get(client).is_none() {
                return;
            }
        }
        panic!("{put} of {} bytes are read", bytes.len());
    }

    fn turn(&mut self) {
        self.proxy.tick(self.now);
        while let Some(action) = self.proxy.next_action() {
            match action {
                Action::Connect(id, _) => self.proxy.connected(id, self.now),
                Action::Flush(Peer::Backend(id)) => self.flush_backend(id),
                Action::Flush(peer @ Peer::Client(id)) => {
                    let bytes = super::rig::flushed(&mut self.proxy, peer, self.now);
                    self.heard.entry(id).or_default().extend(bytes);
                }
                Action::Resume(id) => {
                    self.proxy.resume(id, self.now);
                }
                Action::Close(peer) => self.closed.push(peer),
                Action::Read(_)
                | Action::Refresh(_)
                | Action::ToWorker(..)
                | Action::WorkOutside(_) => {}
            }
        }
        self.proxy.check();
        for (_, backend) in self.proxy.upstream.backends.iter() {
            self.most = self.most.max(backend.output.storage_len());
        }
    }

    fn flush_backend(&mut self, id: BackendId) {
        let (mut bytes, window) = (Vec::new(), self.window);
        self.proxy.flush(Peer::Backend(id), self.now, |slices| {
            let left = window.saturating_sub(bytes.len());
            let before = bytes.len();
            for slice in slices {
                let room = left.saturating_sub(bytes.len() - before);
                bytes.extend_from_slice(&slice[..slice.len().min(room)]);
            }
            bytes.len() - before
        });
        let own = self.nodes.entry(id).or_default();
        own.extend(bytes);
        let greetings: [(&[u8], &[u8]); 3] = [
            (b"*1\r\n$4\r\nPING\r\n", b"+PONG\r\n"),
            (b"*2\r\n$6\r\nCLIENT\r\n$2\r\nID\r\n", b":1\r\n"),
            (b"*1\r\n$6\r\nASKING\r\n", b"+OK\r\n"),
        ];
        if let Some((words, reply)) = greetings.iter().find(|(words, _)| own.starts_with(words)) {
            own.drain(..words.len());
            self.put(Peer::Backend(id), reply);
        }
        let own = self.nodes.entry(id).or_default();
        if own.starts_with(b"*2\r\n$6\r\nEXISTS\r\n") && self.answer != b"" {
            own.clear();
            let answer = self.answer;
            self.put(Peer::Backend(id), answer);
        }
    }

    /// Nodes take what is to be sent, turn by turn.
    fn settle(&mut self) {
        let got = |rig: &Rig| rig.nodes.values().map(Vec::len).sum::<usize>();
        let mut still = 0;
        while still < 5 {
            let before = got(self);
            for id in self.proxy.upstream.backends.ids() {
                if self.proxy.wants_flush(Peer::Backend(id)) {
                    self.flush_backend(id);
                }
            }
            self.turn();
            still = if got(self) == before { still + 1 } else { 0 };
        }
    }

    /// The connection that has got something, and what.
    #[track_caller]
    fn got(&mut self) -> (BackendId, Vec<u8>) {
        let mut got = self.nodes.iter().filter(|(_, bytes)| !bytes.is_empty());
        let (id, bytes) = got.next().expect("a node has got something");
        assert!(got.next().is_none(), "one connection only");
        let (id, bytes) = (*id, bytes.clone());
        self.nodes.remove(&id);
        (id, bytes)
    }

    fn heard(&mut self, client: ClientId) -> String {
        let heard = self.heard.remove(&client).unwrap_or_default();
        String::from_utf8(heard).expect("text")
    }

    fn streamed(&self) -> u64 {
        self.proxy.stats().requests_streamed.get()
    }
}

fn request(words: &[&[u8]]) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode::command(&mut bytes, words.iter().copied());
    bytes
}

fn noise(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at % 251) as u8).collect()
}

/// SET of a value of which there is more than fits anywhere.
fn large() -> Vec<u8> {
    request(&[b"SET", b"k", &noise(20 * LARGE), b"EX", b"100"])
}

#[test]
fn a_large_request_goes_to_its_node_whole_and_is_never_in_memory() {
    for piece in [1000, 64_000, usize::MAX] {
        let mut rig = Rig::new(|_| ());
        rig.window = piece;
        let (client, other) = (rig.client(), rig.client());
        let bytes = [&large()[..], b"*1\r\n$4\r\nPING\r\n"].concat();
        // The replies to what stands before it come first.
        rig.put(Peer::Client(client), &request(&[b"GET", b"{k}a"]));
        let mut put = rig.put(Peer::Client(client), &bytes[..50_000]);
        rig.turn();
        let (shared, first) = rig.got();
        assert_eq!(first, request(&[b"GET", b"{k}a"]));
        assert_eq!(rig.streamed(), 0, "it waits for them");
        rig.put(Peer::Backend(shared), b"$-1\r\n");
        while put < bytes.len() {
            put += rig.put(Peer::Client(client), &bytes[put..]);
            rig.turn();
            rig.settle();
        }
        rig.settle();
        let (id, got) = rig.got();
        assert!(got == large(), "byte for byte");
        assert_ne!(id, shared, "others do not wait behind it");
        assert!(rig.most < 4 * LARGE, "{} bytes in memory", rig.most);
        rig.put(Peer::Client(other), &request(&[b"GET", b"k"]));
        rig.turn();
        assert_eq!(rig.got().0, shared);
        rig.put(Peer::Backend(shared), b"$-1\r\n");
        rig.put(Peer::Backend(id), b"+OK\r\n");
        rig.turn();
        assert_eq!(rig.heard(client), "$-1\r\n+OK\r\n+PONG\r\n");
        assert_eq!(rig.streamed(), 1);
        rig.proxy.check_idle();
        // The connection is clean, and the next one takes it.
        rig.send(client, &large());
        rig.settle();
        rig.settle();
        let (again, _) = rig.got();
        rig.put(Peer::Backend(again), b"+OK\r\n");
        rig.turn();
        assert_eq!(rig.heard(client), "+OK\r\n");
        rig.proxy.check_idle();
    }
}

#[test]
fn requests_of_all_shapes_are_streamed_byte_for_byte_however_they_are_cut() {
    let mut random = Random::new(3);
    for round in 0..60 {
        let mut rig = Rig::new(|config| config.limits.stream_bytes = 200);
        rig.window = 2000 + random.below(30_000);
        let client = rig.client();
        let words: Vec<Vec<u8>> = (0..1 + random.below(20))
            .map(|_| noise(random.below([10, 3000, 50_000][round % 3])))
            .collect();
        let mut all: Vec<&[u8]> = vec![b"RPUSH", b"k"];
        all.extend(words.iter().map(Vec::as_slice));
        let bytes = request(&all);
        let mut put = 0;
        while put < bytes.len() {
            let most = 1 + random.below(20_000);
            let end = bytes.len().min(put + most);
            put += rig.put(Peer::Client(client), &bytes[put..end]);
            rig.turn();
            rig.settle();
        }
        rig.settle();
        let (id, got) = rig.got();
        assert!(got == bytes, "round {round}");
        rig.put(Peer::Backend(id), b":9\r\n");
        rig.turn();
        assert_eq!(rig.heard(client), ":9\r\n");
        rig.proxy.check_idle();
    }
}

#[test]
fn the_slot_is_looked_for_before_the_first_byte_leaves() {
    let mut rig = Rig::new(|_| ());
    let client = rig.client();
    // The slot of `k` is at the other node, and then on its way to it.
    rig.answer = b"";
    let bytes = large();
    let put = rig.put(Peer::Client(client), &bytes);
    rig.settle();
    let (first, question) = rig.got();
    assert_eq!(question, request(&[b"EXISTS", b"k"]));
    let other = match rig.proxy.upstream.backends.get(first).map(|own| own.node.0) {
        Some(0) => "-MOVED 7629 10.0.0.2:6379\r\n",
        _ => "-MOVED 7629 10.0.0.1:6379\r\n",
    };
    rig.put(Peer::Backend(first), other.as_bytes());
    rig.settle();
    let (second, question) = rig.got();
    assert_ne!(first, second);
    assert_eq!(question, request(&[b"EXISTS", b"k"]));
    let back = other.replace("MOVED", "ASK");
    let back = match back.contains("0.1") {
        true => back.replace("0.1", "0.2"),
        false => back.replace("0.2", "0.1"),
    };
    rig.put(Peer::Backend(second), back.as_bytes());
    rig.settle();
    let (third, question) = rig.got();
    // (ASKING before it has been answered by the rig.)
    assert_eq!(question, request(&[b"EXISTS", b"k"]));
    rig.put(Peer::Backend(third), b":0\r\n");
    rig.settle();
    rig.send(client, &bytes[put..]);
    rig.settle();
    let (to, got) = rig.got();
    assert_eq!(to, third);
    assert!(got == bytes, "behind one more ASKING");
    rig.put(Peer::Backend(third), b"+OK\r\n");
    rig.turn();
    assert_eq!(rig.heard(client), "+OK\r\n");
    rig.proxy.check_idle();
}

#[test]
fn what_is_not_executed_is_said_so_and_the_client_goes_on() {
    let lost = "-ERR backend unavailable, command was not executed\r\n+PONG\r\n";
    let unknown = "-ERR backend connection lost, command may have been executed\r\n+PONG\r\n";
    let moved =
        "-TRYAGAIN slot moved while the command was sent, command was not executed\r\n+PONG\r\n";
    let early = "-ERR Protocol error: invalid bulk length\r\n+PONG\r\n";
    let bytes = [&large()[..], b"*1\r\n$4\r\nPING\r\n"].concat();
    for (half, reply, expected) in [
        (true, None, lost),
        (false, None, unknown),
        (false, Some("-MOVED 7629 10.0.0.2:6379\r\n"), moved),
        (
            true,
            Some("-ERR Protocol error: invalid bulk length\r\n"),
            early,
        ),
        (
            false,
            Some("-CLUSTERDOWN The cluster is down\r\n"),
            "-CLUSTERDOWN The cluster is down\r\n+PONG\r\n",
        ),
    ] {
        let mut rig = Rig::new(|_| ());
        let client = rig.client();
        let end = if half { bytes.len() / 2 } else { bytes.len() };
        rig.send(client, &bytes[..end]);
        rig.settle();
        let (id, got) = rig.got();
        assert!(large().starts_with(&got));
        match reply {
            Some(reply) => assert!(rig.put(Peer::Backend(id), reply.as_bytes()) > 0),
            None => rig.proxy.closed(Peer::Backend(id), rig.now),
        }
        rig.turn();
        rig.send(client, &bytes[end..]);
        rig.settle();
        assert_eq!(rig.heard(client), expected);
        assert!(
            rig.nodes.values().all(Vec::is_empty),
            "nothing is sent twice"
        );
        rig.proxy.check_idle();
        assert_eq!(
            rig.closed.contains(&Peer::Backend(id)),
            half || reply.is_none()
        );
    }
}

#[test]
fn a_client_that_breaks_off_costs_its_connection_only() {
    let bytes = large();
    for kind in 0..3 {
        let mut rig = Rig::new(|_| ());
        let client = rig.client();
        rig.send(client, &bytes[..bytes.len() / 2]);
        rig.settle();
        let (id, _) = rig.got();
        match kind {
            0 => rig.proxy.ended(Peer::Client(client), rig.now),
            1 => rig.proxy.closed(Peer::Client(client), rig.now),
            // What comes is no RESP: the value is longer than it says.
            _ => {
                let mut rest = bytes[bytes.len() / 2..].to_vec();
                let at = rest.len() - b"\r\n$2\r\nEX\r\n$3\r\n100\r\n".len();
                rest[at] = b'x';
                rig.send(client, &rest);
            }
        }
        rig.turn();
        assert_eq!(rig.proxy.clients(), 0, "{kind}");
        let heard = rig.heard(client);
        let expected = [
            "",
            "",
            "-ERR Protocol error: expected CRLF after bulk string\r\n",
        ][kind];
        assert_eq!(heard, expected);
        assert!(
            rig.closed.contains(&Peer::Backend(id)),
            "half a request is in it"
        );
        rig.proxy.check_idle();
    }
}

#[test]
fn who_lets_it_stand_still_is_cut() {
    for node_stops in [false, true] {
        let mut rig = Rig::new(|_| ());
        let client = rig.client();
        let bytes = large();
        let half = bytes.len() / 2;
        rig.send(client, &bytes[..half]);
        rig.settle();
        let (id, _) = rig.got();
        if node_stops {
            rig.window = 0;
            rig.put(Peer::Client(client), &bytes[half..]);
            rig.turn();
        }
        // As long as something moves nothing happens.
        for step in 0..100 {
            rig.now = rig.now.after(Duration::from_millis(500));
            if step < 50 {
                rig.window = 1;
                match node_stops {
                    true => rig.flush_backend(id),
                    false => assert_eq!(rig.put(Peer::Client(client), b"x"), 1),
                }
                rig.window = usize::from(!node_stops) * 1000;
            }
            rig.turn();
            let over = rig.proxy.upstream.backends.get(id).is_none();
            assert_eq!(over, step >= 50 + 29, "{step}");
            if over {
                break;
            }
        }
        rig.settle();
        assert_eq!(rig.proxy.clients(), usize::from(node_stops));
        let heard = rig.heard(client);
        assert_eq!(heard.contains("was not executed"), node_stops, "{heard}");
        assert_eq!(
            rig.proxy.stats().clients_stopped.get(),
            u64::from(!node_stops)
        );
    }
}

#[test]
fn others_are_gathered() {
    let value = noise(2 * LARGE);
    let mset = request(&[b"MSET", b"k", &value, b"other", &value]);
    let blocked = [&request(&[b"MULTI"])[..], &request(&[b"SET", b"k", &value])].concat();
    for bytes in [mset, blocked] {
        let mut rig = Rig::new(|_| ());
        let client = rig.client();
        rig.send(client, &bytes[..bytes.len() - 1]);
        rig.settle();
        assert_eq!(rig.streamed(), 0);
        assert!(rig.nodes.values().all(|got| got.len() < 1000));
        rig.send(client, &bytes[bytes.len() - 1..]);
        rig.settle();
        assert!(rig.nodes.values().any(|got| got.len() > LARGE));
    }
}

#[test]
fn a_client_of_a_namespace_streams_to_its_own_key() {
    let mut rig = Rig::new(|config| {
        config.namespace = Some("n".into());
        config.namespace_channels = false;
    });
    let client = rig.client();
    rig.send(client, &large());
    rig.settle();
    let (id, got) = rig.got();
    let expected = request(&[b"SET", b"{n}k", &noise(20 * LARGE), b"EX", b"100"]);
    assert!(got == expected);
    rig.put(Peer::Backend(id), b"+OK\r\n");
    rig.turn();
    assert_eq!(rig.heard(client), "+OK\r\n");
    assert_eq!(rig.streamed(), 1);
    rig.proxy.check_idle();
}
