//! Clients that read their large replies slowly, or not at all: the reply waits at its node, and nobody else does.

use super::*;

/// Bytes that a client may be owed before its node waits.
const MARK: usize = 256 << 10;
/// What may be held beyond: the blocks of one read, and what is in hand.
const MORE: usize = 4 * READ_BLOCK;

impl Rig {
    /// Replies of more than 200 kB are large; `set` may change more.
    fn with_slow_readers(set: impl FnOnce(&mut Config)) -> Rig {
        Rig::new(|config| {
            config.limits.aside_reply_bytes = 200_000;
            config.limits.client_output_bytes = MARK;
            set(config);
        })
    }

    /// A node writes as much of this as is read. Returns how much that was.
    pub(super) fn offer(&mut self, backend: BackendId, bytes: &[u8]) -> usize {
        let (peer, mut read) = (Peer::Backend(backend), 0);
        while read < bytes.len()
            && let Some(room) = self.proxy.room(peer)
        {
            let count = (bytes.len() - read).min(room.spare().len());
            room.spare()[..count].copy_from_slice(&bytes[read..read + count]);
            room.filled(count);
            read += count;
            self.proxy.input(peer, count, self.now);
            self.turn();
        }
        read
    }

    /// A client reads so many bytes.
    pub(super) fn eat(&mut self, client: usize, count: usize) {
        let id = self.clients[client].0;
        self.appetite = count;
        self.proxy.queue_flush(id);
        self.turn();
        self.appetite = 0;
    }

    pub(super) fn wait(&mut self, millis: u64) {
        self.now = self.now.after(Duration::from_millis(millis));
        self.turn();
    }

    /// All memory that is held of replies.
    pub(super) fn held(&self) -> usize {
        let clients = self.proxy.clients.iter();
        let owed: usize = clients
            .map(|(_, own)| own.output.memory() + own.pipeline.ready_bytes())
            .sum();
        owed + self.storage()
    }

    pub(super) fn pauses(&self) -> u64 {
        self.proxy.stats().reply_pauses.get()
    }

    /// The connection where this client's oldest request of a node is.
    pub(super) fn backend_of(&self, client: usize) -> BackendId {
        let id = self.clients[client].0;
        let stands = |own: &BackendId| {
            let client = self.proxy.clients.get(id).expect("it is there");
            client.pipeline.stands_at(*own)
        };
        *self
            .backends
            .iter()
            .find(|own| stands(own))
            .expect("it asked")
    }
}

fn string(len: usize) -> Vec<u8> {
    let bytes: Vec<u8> = (0..len).map(|at| (at % 251) as u8).collect();
    let mut reply = Vec::new();
    encode::bulk(&mut reply, &bytes);
    reply
}

#[test]
fn who_reads_slowly_but_steadily_gets_all_and_little_is_held() {
    for (resp3, reply) in [
        (false, string(5 << 20)),
        (true, string(3 << 20)),
        (false, list(300_000)),
        (true, list(200_000)),
    ] {
        let mut rig = Rig::with_slow_readers(|_| {});
        let client = match resp3 {
            true => rig.client_of_resp3(),
            false => rig.client(),
        };
        // Many of them at a time, one behind the other.
        let replies = reply.repeat(2);
        rig.ask(client, &["LRANGE", "bar", "0", "-1"]);
        rig.ask(client, &["LRANGE", "bar", "0", "-1"]);
        let backend = rig.backend_of(client);
        rig.appetite = 0;
        let (mut rest, mut most, mut heard) = (&replies[..], 0, Vec::new());
        for _ in 0.. {
            let read = rig.offer(backend, rest);
            rest = &rest[read..];
            most = most.max(rig.held());
            rig.eat(client, 50_000);
            heard.extend(rig.heard(client));
            // All in all this takes longer than a node may be silent, and than a client may read nothing.
            rig.wait(2_000);
            if rest.is_empty() && heard.len() >= replies.len() {
                break;
            }
            assert!(!rig.is_closed(client));
        }
        assert!(heard == replies);
        assert!(most <= MARK + MORE, "{most} bytes are held");
        assert!(rig.pauses() > 1 && rig.proxy.stats().backend_failures.get() == 0);
        rig.proxy.check_idle();
    }
}

#[test]
fn nobody_waits_for_another_clients_reading() {
    let reply = string(2 << 20);
    let mut rig = Rig::with_slow_readers(|_| {});
    let (slow, before, after) = (rig.client(), rig.client(), rig.client());
    rig.ask(slow, &["GET", "bar"]);
    // It is behind the large reply when that begins, and as a write it stays there.
    rig.ask(before, &["INCR", "bar"]);
    rig.appetite = 0;
    let first = rig.backend_of(slow);
    let (front, end) = reply.split_at(1 << 20);
    assert_eq!(rig.offer(first, front), front.len());
    assert_eq!(rig.pauses(), 0);
    // Who comes later takes another connection.
    rig.ask(after, &["GET", "bar"]);
    rig.reply(b"+PONG\r\n", usize::MAX);
    rig.reply(b"$1\r\na\r\n", usize::MAX);
    rig.eat(after, usize::MAX);
    assert_eq!(rig.heard(after), b"$1\r\na\r\n");
    let end = [end, b":1\r\n"].concat();
    assert_eq!(rig.offer(first, &end), end.len());
    rig.eat(before, usize::MAX);
    assert_eq!(rig.heard(before), b":1\r\n");
    rig.eat(slow, usize::MAX);
    assert!(rig.heard(slow) == reply);
    rig.proxy.check_idle();
}

#[test]
fn who_stops_reading_is_closed_in_time_and_who_leaves_costs_nothing() {
    let reply = [string(2 << 20), string(9)].concat();
    for stops in [true, false] {
        let mut rig = Rig::with_slow_readers(|_| {});
        let (client, other) = (rig.client(), rig.client());
        rig.ask(client, &["GET", "bar"]);
        rig.ask(client, &["GET", "bar"]);
        rig.appetite = 0;
        let backend = rig.backend_of(client);
        let read = rig.offer(backend, &reply);
        assert!(read <= MARK + MORE && rig.pauses() == 1);
        let stall = rig.proxy.config().write_stall;
        if stops {
            for _ in 0..stall.as_secs() {
                rig.wait(900);
                assert!(!rig.is_closed(client));
                assert_eq!(rig.offer(backend, &reply[read..]), 0);
            }
            for _ in 0..stall.as_secs() {
                rig.wait(200);
            }
            assert_eq!(rig.proxy.stats().clients_stalled.get(), 1);
        } else {
            let id = rig.clients[client].0;
            rig.proxy.closed(Peer::Client(id), rig.now);
        }
        rig.turn();
        // What still comes is dropped.
        assert_eq!(rig.offer(backend, &reply[read..]), reply.len() - read);
        assert!(rig.held() <= READ_BLOCK);
        rig.appetite = usize::MAX;
        rig.wait(100);
        rig.ask(other, &["GET", "bar"]);
        assert_eq!(rig.backend_of(other), backend);
        rig.reply(b"$1\r\na\r\n", usize::MAX);
        assert_eq!(rig.heard(other), b"$1\r\na\r\n");
        rig.proxy.check_idle();
    }
}

/// A client that has asked two nodes, and the connections to them, in order.
fn between_two_nodes() -> (Rig, usize, [BackendId; 2]) {
    let mut rig = Rig::with_slow_readers(|_| {});
    let client = rig.client();
    rig.ask(client, &["GET", "foo"]);
    let first = rig.backend_of(client);
    rig.ask(client, &["GET", "bar"]);
    let second = *rig.backends.last().expect("the other node's");
    assert_ne!(first, second);
    (rig, client, [first, second])
}

#[test]
fn a_reply_that_comes_before_its_turn_waits_for_it() {
    let reply = string(3 << 20);
    let (mut rig, client, [first, second]) = between_two_nodes();
    let mut read = rig.offer(second, &reply);
    assert!(read <= MARK + MORE && rig.pauses() == 1);
    assert!(rig.held() <= MARK + MORE);
    rig.wait(10_000);
    assert_eq!(rig.offer(second, &reply[read..]), 0);
    assert_eq!(rig.offer(first, b"$1\r\na\r\n"), 7);
    while read < reply.len() {
        let more = rig.offer(second, &reply[read..]);
        assert!(more > 0);
        read += more;
    }
    assert!(rig.heard(client) == [b"$1\r\na\r\n", &reply[..]].concat());
    rig.proxy.check_idle();
}

#[test]
fn what_is_ready_behind_a_reply_does_not_keep_it_waiting() {
    let (reply, ready) = (string(2 << 20), string(190_000));
    let mut rig = Rig::with_slow_readers(|_| {});
    let client = rig.client();
    rig.ask(client, &["GET", "bar"]);
    let first = rig.backend_of(client);
    rig.ask(client, &["GET", "foo"]);
    rig.ask(client, &["GET", "foo"]);
    let second = *rig.backends.last().expect("the other node's");
    let both = ready.repeat(2);
    assert_eq!(rig.offer(second, &both), both.len());
    assert!(both.len() > MARK);
    assert_eq!(rig.offer(first, &reply), reply.len());
    assert!(rig.heard(client) == [&reply[..], &both].concat());
    rig.proxy.check_idle();
}

#[test]
fn a_reply_never_waits_for_one_that_comes_behind_it() {
    let reply = string(3 << 20);
    let (mut rig, client, [first, second]) = between_two_nodes();
    let read = rig.offer(second, &reply);
    assert!(rig.pauses() == 1);
    // The first is sent to the second node, behind the large reply there.
    let moved = b"-MOVED 12182 10.0.0.1:6379\r\n";
    let other = b"-MOVED 12182 10.0.0.2:6379\r\n";
    let text = match rig
        .proxy
        .upstream
        .backends
        .get(second)
        .map(|own| own.node.0)
    {
        Some(0) => moved,
        _ => other,
    };
    rig.to_node.clear();
    assert_eq!(rig.offer(first, text), text.len());
    rig.wait(100);
    assert_eq!(rig.backend_of(client), second);
    assert!(rig.to_node.ends_with(b"foo\r\n"));
    let rest = [&reply[read..], b"$1\r\na\r\n"].concat();
    assert_eq!(rig.offer(second, &rest), rest.len());
    assert!(rig.heard(client) == [b"$1\r\na\r\n", &reply[..]].concat());
    rig.proxy.check_idle();
}

#[test]
fn a_connection_that_others_have_to_use_is_read() {
    let reply = string(2 << 20);
    let mut rig = Rig::with_slow_readers(|_| {});
    let (slow, other) = (rig.client(), rig.client());
    rig.ask(slow, &["GET", "bar"]);
    rig.appetite = 0;
    let first = rig.backend_of(slow);
    let read = rig.offer(first, &reply);
    assert!(read < reply.len());
    // The node lets no other connection in.
    rig.ask(other, &["GET", "bar"]);
    let second = *rig.backends.last().expect("a replacement");
    assert_ne!(first, second);
    rig.proxy.closed(Peer::Backend(second), rig.now);
    rig.turn();
    rig.ask(other, &["GET", "bar"]);
    rig.wait(100);
    let rest = [&reply[read..], b"$1\r\na\r\n$1\r\na\r\n"].concat();
    assert_eq!(rig.offer(first, &rest), rest.len());
    rig.eat(other, usize::MAX);
    assert_eq!(rig.heard(other), b"$1\r\na\r\n$1\r\na\r\n");
    rig.eat(slow, usize::MAX);
    assert!(rig.heard(slow) == reply);
}

#[test]
fn a_read_that_holds_up_writes_of_others_is_asked_for_again_on_a_connection_of_its_own() {
    for (reply, sent) in [
        (string(5 << 20), &["GET", "bar"][..]),
        (list(300_000), &["LRANGE", "bar", "0", "-1"]),
    ] {
        let mut rig = Rig::with_slow_readers(|config| {
            config.limits.pass_bytes = 100_000;
            config.limits.apart_bytes = 500_000;
        });
        let (slow, other) = (rig.client(), rig.client());
        rig.ask(slow, sent);
        rig.ask(other, &["INCR", "bar"]);
        // More of its own, which is to come behind.
        rig.ask(slow, &["GET", "bar"]);
        let first = rig.backend_of(slow);
        rig.appetite = 0;
        rig.to_node.clear();
        let old = [&reply[..], b":1\r\n$1\r\na\r\n"].concat();
        let mut most = 0;
        for piece in old.chunks(READ_BLOCK) {
            assert_eq!(rig.offer(first, piece), piece.len());
            most = most.max(rig.held());
        }
        assert!(most <= 500_000 + MORE, "{most} bytes are held");
        rig.eat(other, usize::MAX);
        assert_eq!(rig.heard(other), b":1\r\n");
        assert_eq!(rig.heard(slow), b"");
        let second = rig.backend_of(slow);
        assert_ne!(first, second);
        let mut asked = Vec::new();
        for words in [sent, &["GET", "bar"]] {
            encode::command(&mut asked, words.iter().map(|word| word.as_bytes()));
        }
        assert!(rig.to_node.ends_with(&asked));
        // What comes later finds its order, and others go elsewhere.
        rig.ask(slow, &["SET", "bar", "b"]);
        assert_eq!(rig.backend_of(slow), second);
        rig.ask(other, &["GET", "bar"]);
        assert_ne!(rig.backend_of(other), second);
        let new = [&reply[..], b"$1\r\na\r\n+OK\r\n"].concat();
        let (mut rest, mut most, mut heard) = (&new[..], 0, Vec::new());
        while heard.len() < new.len() {
            let read = rig.offer(second, rest);
            rest = &rest[read..];
            most = most.max(rig.held());
            rig.eat(slow, 200_000);
            heard.extend(rig.heard(slow));
            rig.wait(100);
        }
        assert!(heard == new);
        assert!(rig.pauses() > 0 && most <= MARK + 100_000 + MORE, "{most}");
    }
}

/// What may not run twice, or would change its place, stays where it is.
#[test]
fn what_cannot_be_asked_again_is_not() {
    let reply = string(3 << 20);
    for (sent, behind, by_other) in [
        (["GETDEL", "bar"], "GET", "INCR"),
        (["GET", "bar"], "INCR", "INCR"),
    ] {
        let mut rig = Rig::with_slow_readers(|config| config.limits.apart_bytes = 500_000);
        let (slow, other) = (rig.client(), rig.client());
        rig.ask(slow, &sent);
        rig.ask(other, &[by_other, "bar"]);
        rig.ask(slow, &[behind, "bar"]);
        let first = rig.backend_of(slow);
        rig.appetite = 0;
        rig.to_node.clear();
        let all = [&reply[..], b":1\r\n:2\r\n"].concat();
        assert_eq!(rig.offer(first, &all), all.len());
        assert!(!rig.to_node.ends_with(b"bar\r\n"));
        rig.eat(other, usize::MAX);
        assert_eq!(rig.heard(other), b":1\r\n");
        rig.eat(slow, usize::MAX);
        assert!(rig.heard(slow) == [&reply[..], b":2\r\n"].concat());
        rig.proxy.check_idle();
    }
}

/// A connection breaks while the reply comes that was asked for again, before any of it has left.
#[test]
fn a_read_that_was_asked_for_again_is_asked_for_once_more() {
    let reply = string(3 << 20);
    let mut rig = Rig::with_slow_readers(|config| {
        config.limits.pass_bytes = 100_000;
        config.limits.apart_bytes = 500_000;
    });
    let (slow, other) = (rig.client(), rig.client());
    rig.ask(slow, &["GET", "bar"]);
    rig.ask(other, &["INCR", "bar"]);
    let first = rig.backend_of(slow);
    let front = &reply[..1 << 20];
    assert_eq!(rig.offer(first, front), front.len());
    let second = rig.backend_of(slow);
    rig.offer(second, &reply[..1000]);
    rig.proxy.closed(Peer::Backend(second), rig.now);
    rig.turn();
    // The replacement lets it in.
    rig.reply(b"+PONG\r\n", usize::MAX);
    rig.wait(100);
    let third = rig.backend_of(slow);
    assert!(third != first && third != second);
    assert_eq!(rig.offer(third, &reply), reply.len());
    assert!(rig.heard(slow) == reply);
    let rest = [&reply[1 << 20..], b":1\r\n"].concat();
    assert_eq!(rig.offer(first, &rest), rest.len());
    assert_eq!(rig.heard(other), b":1\r\n");
}
