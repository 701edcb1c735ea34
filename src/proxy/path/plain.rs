//! Plain requests and plain replies: runs of them are taken with one look at their connection.
//!
//! A request is plain if its row says that one key decides where it goes and nothing else is to be looked
//! at, and if neither its client nor the cluster is in any special state; a reply is plain if it is the
//! whole answer to such a request. Nearly all traffic is.
//!
//! Nothing is decided here. This is a shorthand for `dispatch` and `deliver`: what it takes, they would treat
//! the same, and whatever it declines (it may decline anything) is theirs. So a new state of a client or a
//! cluster needs one more condition in `Client::is_plain` or below, and no other care.
//!
//! It must never answer, refuse, hold or close.

mod parts;
mod split;

pub(in crate::proxy) use split::SplitTaken;

use crate::buffer::{Pool, WriteBuf};
use crate::clock::Time;
use crate::cluster::slot::Slot;
use crate::config::ReadPreference;
use crate::proxy::client::Stall;
use crate::proxy::ids::{BackendId, ClientId, PartId};
use crate::proxy::insight::{BIG_BYTES, Reasons, Sight};
use crate::proxy::local::plain_names::PlainRequest;
use crate::proxy::namespace::Namespace;
use crate::proxy::near_cache::serve::may_serve;
use crate::proxy::near_cache::state::Look;
use crate::proxy::near_cache::state::accesses::Lasts;
use crate::proxy::near_cache::state::store::Question;
use crate::proxy::pipeline::At;
use crate::proxy::request::MOVED_FRAME;
use crate::proxy::state::Proxy;
use crate::proxy::stats::calls::Calls;
use crate::proxy::stats::turn_latencies::TurnLatencies;
use crate::proxy::upstream::backend::{Origin, State, Ticket};
use crate::proxy::upstream::dialect::Dialect;
use crate::proxy::upstream::node::Node;
use crate::proxy::upstream::write_times::WriteTimes;
use crate::resp::short::short_reply;

/// Replies to requests of one command that came at one moment and were queued at one moment: nearly all replies
/// of a turn, so that counting them costs a few comparisons.
#[derive(Debug, Clone, Copy, Default)]
struct Run {
    sent_at: Time,
    started: Time,
    command: u16,
    count: u64,
}

impl Run {
    #[inline(never)]
    fn settle(
        self,
        turn_latencies: &mut TurnLatencies,
        calls: &Calls,
        write_times: &mut WriteTimes,
        node: &Node,
        now: Time,
    ) {
        if self.count > 0 {
            turn_latencies.add(self.command, self.started, self.count, calls, now);
            write_times.settle(self.sent_at, self.count, node, now);
        }
    }
}

/// Appends a request with the tag before its key, which lies in the frame. Returns its length.
#[inline(always)]
fn push_tagged(
    output: &mut WriteBuf,
    frame: &[u8],
    key: &[u8],
    own: &Namespace,
    pool: &mut Pool,
) -> usize {
    let start = key.as_ptr() as usize - frame.as_ptr() as usize;
    // Before a key stands its length: `$`, digits and a line end.
    let mut dollar = start.saturating_sub(4);
    while dollar > 0 && frame.get(dollar) != Some(&b'$') {
        dollar -= 1;
    }
    let (head, tail) = (&frame[..dollar], &frame[start..]);
    if let Some(front) = own.front(key.len()) {
        return output.push_pieces([head, front, tail], pool);
    }
    let mut line = [0; 24];
    let line = length_line(key.len() + own.tag().len(), &mut line);
    output.push_pieces([head, line, own.tag(), tail], pool)
}

/// `$<len>` and a line end, written at the end of `room`.
fn length_line(len: usize, room: &mut [u8; 24]) -> &[u8] {
    let mut at = room.len() - 2;
    room[at..].copy_from_slice(b"\r\n");
    let mut left = len;
    while at > 1 {
        at -= 1;
        room[at] = b'0' + (left % 10) as u8;
        left /= 10;
        if left == 0 {
            break;
        }
    }
    at -= 1;
    room[at] = b'$';
    &room[at..]
}

impl Proxy {
    /// Takes the plain requests at the front of a client's input, up to the first that is not. `count` bytes of
    /// the input are new. Returns whether that was all there was.
    #[inline(always)]
    pub(in crate::proxy) fn take_plain_requests(
        &mut self,
        id: ClientId,
        count: usize,
        now: Time,
    ) -> bool {
        match (self.near.is_some(), self.namespace_of(id)) {
            (false, None) => self.take_plain::<false, false>(id, count, now),
            (false, Some(_)) => self.take_plain::<true, false>(id, count, now),
            (true, None) => self.take_plain::<false, true>(id, count, now),
            (true, Some(_)) => self.take_plain::<true, true>(id, count, now),
        }
    }

    /// The same, of clients of a namespace and of others, with the near cache and without: these pay nothing for those.
    #[inline(never)]
    fn take_plain<const TAGGED: bool, const NEAR: bool>(
        &mut self,
        id: ClientId,
        count: usize,
        now: Time,
    ) -> bool {
        let Some(client) = self.clients.get_mut(id) else {
            self.inbox.consume(self.inbox.len());
            return true;
        };
        client.last_active = now;
        self.active.note(&mut client.seen_in, now);
        client.bytes_in += count as u64;
        let config = &*self.config;
        let limits = &config.limits;
        let upstream = &mut self.upstream;
        let is_calm = client.is_calm(upstream.routes.version());
        let plain = client.is_plain(limits)
            && (is_calm || NEAR)
            && !self.process.watchers.any()
            && !upstream.any_failing();
        // What a client of a namespace reads has other names for the cache, which the general path makes.
        if !plain || (NEAR && TAGGED) {
            return false;
        }
        let (mut near, is_served) = match NEAR {
            true => (self.near.as_deref_mut(), may_serve(client)),
            false => (None, false),
        };
        // What such a client sends next has to follow its requests elsewhere; hits are not sent.
        if NEAR && !is_calm && !is_served {
            return false;
        }
        let (mut hits, mut misses, mut sent) = (0, 0, 0);
        // Hits of one command are counted together.
        let (mut hit_command, mut counted) = (0, 0);
        let (pipeline, protocol) = (&mut client.pipeline, client.session.protocol);
        let session = &client.session;
        let namespace = match TAGGED {
            true => session.namespace.as_deref(),
            false => None,
        };
        let permissions = (!session.is_free()).then(|| session.user().permissions());
        let input = if self.inbox.is_empty() {
            &mut client.input
        } else {
            &mut self.inbox
        };
        let backend_output_bytes = limits.backend_output_bytes;
        let before = pipeline.len();
        // How many requests may be taken yet.
        let mut room = client.window.saturating_sub(before);
        let Some(mut rest) = input.own_bytes() else {
            return false;
        };
        while room > 0 && !rest.is_empty() {
            let Some(request) = self.plain.request(rest, MOVED_FRAME) else {
                break;
            };
            let PlainRequest { shape, key, behind } = request;
            if TAGGED && !shape.tagged {
                break;
            }
            if permissions.is_some_and(|own| !own.allow_plainly(shape.id, key, shape.access)) {
                break;
            }
            let (frame, _) = rest.split_at(rest.len() - behind.len());
            if frame.len() >= MOVED_FRAME {
                break;
            }
            let slot_of = |key: &[u8]| match namespace {
                Some(own) => own.slot(),
                None => Slot::of(key),
            };
            let mut missed = false;
            if NEAR && let Some(near) = near.as_deref_mut() {
                let hash = near.hash(key);
                if shape.cacheable && is_served {
                    let start = key.as_ptr() as usize - frame.as_ptr() as usize;
                    let (_, tail) = frame.split_at(start + key.len());
                    let question = Question {
                        command: shape.id,
                        tail,
                    };
                    let full = client.output.len() > limits.client_output_bytes;
                    if full || !near.is_clear(hash, id, pipeline) {
                        break;
                    }
                    let routes = &upstream.routes;
                    let shard = |slot| Slot::new(slot).and_then(|slot| routes.shard(slot));
                    let master = |slot| shard(slot).map(|shard| shard.master);
                    let is_for = near.is_for(key);
                    // What goes the general way is counted there.
                    let how = (protocol, is_calm);
                    match near.look((hash, key), question, how, master, now) {
                        Look::Hit(reply, slot) => {
                            let (output, pool) = (&mut client.output, &mut self.pool);
                            if pipeline.is_empty() {
                                pipeline.answer(shape.id, reply, output, pool, now);
                            } else {
                                let seq = pipeline.push_heard_single(shape.id, slot, At::Here, now);
                                room -= 1;
                                pipeline.fulfil_single(seq, reply, output, pool, &mut self.spares);
                            }
                            if shape.id != hit_command {
                                let (calls, before) = (&self.stats.calls, hits - counted);
                                if before > 0 {
                                    let latencies = &mut self.turn_latencies;
                                    latencies.add(hit_command, now, before, calls, now);
                                }
                                (hit_command, counted) = (shape.id, hits);
                            }
                            hits += 1;
                            rest = behind;
                            continue;
                        }
                        // The general path knows what to do.
                        Look::Wanted { .. } if is_for => break,
                        Look::Wanted { .. } | Look::Cold => missed = true,
                    }
                }
                if !is_calm {
                    break;
                }
                near.access(hash, id, pipeline.tail(), Lasts::Request);
            }
            let slot = slot_of(key);
            let mut backend_id = upstream.routes.direct(slot, protocol);
            let backend = match upstream.backends.get_mut(backend_id) {
                Some(backend) => backend,
                None => {
                    let dialect = Dialect::plain(protocol);
                    let affinity = id.key() as usize;
                    let reads = shape.on_replicas;
                    let found = upstream.existing(slot, reads, dialect, affinity, config, now);
                    let Some((found, replica)) = found else {
                        break;
                    };
                    backend_id = found;
                    let Some(backend) = upstream.backends.get_mut(found) else {
                        break;
                    };
                    if replica && backend.output.unsent_len() <= backend_output_bytes {
                        self.stats.replica_reads.add(1);
                    }
                    if config.backend_connections == 1
                        && config.read_preference == ReadPreference::Master
                    {
                        upstream.routes.found(slot, protocol, found);
                    }
                    backend
                }
            };
            if backend.output.unsent_len() > backend_output_bytes
                || (!backend.credit.allows(backend.tickets.len()) && !pipeline.is_empty())
            {
                break;
            }
            let at = At::Backend(backend_id);
            let seq = pipeline.push_heard_single(shape.id, slot.number(), at, now);
            // The one copy of the request path.
            let len = match namespace {
                Some(own) => push_tagged(&mut backend.output, frame, key, own, &mut self.pool),
                None => {
                    backend.output.push(frame, &mut self.pool);
                    frame.len()
                }
            };
            let origin = Origin::Part(PartId::new(id, seq, 0));
            let ticket = Ticket::new(origin, slot.number(), shape.id, len, shape.readonly, now);
            backend.owe(ticket, backend_id, &mut self.actions);
            rest = behind;
            room -= 1;
            sent += usize::from(NEAR);
            misses += u64::from(NEAR && missed);
        }
        if NEAR && hits > 0 {
            let (calls, last) = (&self.stats.calls, hits - counted);
            self.turn_latencies.add(hit_command, now, last, calls, now);
            self.stats.commands.add(hits);
            self.stats.near_hits.add(hits);
            if !client.flush_queued {
                client.flush_queued = true;
                self.actions.flush_client(id);
            }
        }
        if NEAR {
            self.stats.near_misses.add(misses);
        }
        let taken = if NEAR { sent } else { pipeline.len() - before };
        let left = rest.len();
        input.consume_to(left);
        upstream.in_flight += taken;
        self.stats.commands.add(taken as u64);
        self.stats.backend_requests.add(taken as u64);
        if let Some(own) = namespace {
            own.counts.requests.add(taken as u64);
        }
        if left > 0 {
            return false;
        }
        if client.input.has_storage() {
            client.input.settle(&mut self.pool);
        }
        client.missing = 0;
        // Of what it is owed only hits are more than before.
        if room == 0 || (NEAR && client.is_full(limits)) {
            client.stall = Some(Stall::Full);
        }
        true
    }

    /// Takes the plain replies at the front of a backend's input, up to the first that is not.
    #[inline(never)]
    pub(in crate::proxy) fn take_plain_replies(&mut self, id: BackendId, now: Time) {
        let upstream = &mut self.upstream;
        let special = upstream.any_failing() || self.process.watchers.any();
        let Some(backend) = upstream.backends.get_mut(id) else {
            return;
        };
        let Some(node) = upstream.nodes.get(usize::from(backend.node.0)) else {
            return;
        };
        let own_path = special || backend.flavor.tracking;
        if backend.state != State::Ready || !backend.scanner.is_at_start() || own_path {
            return;
        }
        let limits = &self.config.limits;
        let slow_before = self.config.slow_before(now);
        let mut taken = 0;
        // Bytes of requests that are answered and not released yet, and of those that have left.
        let (mut released, mut sent) = (0, backend.output.sent_len());
        // The one after these is to be looked at, which is not done here.
        let most = usize::try_from(self.until_looked - 1).unwrap_or(usize::MAX);
        let mut run = Run::default();
        let (turn_latencies, calls) = (&mut self.turn_latencies, &self.stats.calls);
        // What has wrapped comes in the next call.
        let mut tickets = backend.tickets.as_slices().0.iter();
        let Some(mut rest) = backend.input.own_bytes() else {
            return;
        };
        while let Some(len) = short_reply(rest, MOVED_FRAME) {
            let Some(ticket) = tickets.next() else {
                break;
            };
            let Origin::Part(PartId {
                client: client_id,
                seq,
                ..
            }) = ticket.origin
            else {
                break;
            };
            let request_len = ticket.len as usize;
            if request_len > sent || request_len >= BIG_BYTES || taken == most {
                break;
            }
            let Some(client) = self.clients.get_mut(client_id) else {
                break;
            };
            if !client.held.is_empty() || client.owed_bytes() + len > limits.client_output_bytes_max
            {
                break;
            }
            let (output, pool) = (&mut client.output, &mut self.pool);
            let completed =
                client
                    .pipeline
                    .fulfil_single(seq, &rest[..len], output, pool, &mut self.spares);
            let Some((command, started)) = completed else {
                break;
            };
            if ticket.sent_at == run.sent_at && started == run.started && command == run.command {
                run.count += 1;
            } else {
                run.settle(turn_latencies, calls, &mut backend.write_times, node, now);
                run = Run {
                    sent_at: ticket.sent_at,
                    started,
                    command,
                    count: 1,
                };
            }
            if started < slow_before {
                backend.output.release(released, &mut self.pool);
                released = 0;
                let sight = Sight {
                    request: backend.output.front(request_len),
                    command: self.table.row(command),
                    slot: ticket.slot,
                    reply_bytes: len,
                    client,
                    node: node.address,
                    started,
                    left: backend.write_times.of(ticket.sent_at),
                    now,
                };
                let slow = Reasons {
                    due: false,
                    slow: true,
                };
                self.insight.look(&sight, slow, limits);
            }
            released += request_len;
            sent -= request_len;
            client.answered(client_id, limits, &mut self.actions);
            rest = &rest[len..];
            taken += 1;
        }
        if taken == 0 {
            return;
        }
        run.settle(turn_latencies, calls, &mut backend.write_times, node, now);
        backend.output.release(released, &mut self.pool);
        backend.credit.answered(taken, backend.tickets.len());
        backend.tickets.drain(..taken);
        self.until_looked -= taken as u64;
        let consumed = backend.input.len() - rest.len();
        node.stats.bytes_in.add(consumed as u64);
        backend.input.consume(consumed);
        upstream.in_flight -= taken;
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use crate::clock::Time;
    use crate::proxy::actions::Action;
    use crate::proxy::ids::ClientId;
    use crate::proxy::ids::Peer;
    use crate::proxy::state::Proxy;
    use crate::proxy::tests::rig::{before_three_nodes, flushed, known_client, next_action};
    use crate::testing::Random;

    /// A proxy of one client, and all that it wrote: to its nodes, by their places, and to its client.
    struct Rig {
        proxy: Proxy,
        client: ClientId,
        to_nodes: Vec<(Peer, Vec<u8>)>,
        to_client: Vec<u8>,
    }

    impl Rig {
        fn new(plain: bool) -> Rig {
            let mut proxy = before_three_nodes(plain);
            let local = SocketAddr::from(([127, 0, 0, 1], 1));
            Rig {
                client: known_client(&mut proxy, Some(local), Time::default()),
                proxy,
                to_nodes: Vec::new(),
                to_client: Vec::new(),
            }
        }

        fn feed(&mut self, peer: Peer, bytes: &[u8]) {
            let mut rest = bytes;
            while !rest.is_empty() {
                let Some(room) = self.proxy.room(peer) else {
                    return;
                };
                let count = rest.len().min(room.spare().len());
                room.spare()[..count].copy_from_slice(&rest[..count]);
                room.filled(count);
                rest = &rest[count..];
                self.proxy.input(peer, count, Time::from_micros(7));
            }
        }

        fn act(&mut self) {
            let now = Time::from_micros(7);
            self.proxy.begin_turn(now);
            while let Some(action) = next_action(&mut self.proxy) {
                match action {
                    Action::Connect(id, _) => self.proxy.connected(id, now),
                    Action::Flush(peer) => {
                        let bytes = flushed(&mut self.proxy, peer, now);
                        match peer {
                            Peer::Client(_) => self.to_client.extend(bytes),
                            // The handshake.
                            Peer::Backend(_) if bytes == b"*1\r\n$4\r\nPING\r\n" => {
                                self.feed(peer, b"+PONG\r\n");
                            }
                            Peer::Backend(_) => {
                                match self.to_nodes.iter_mut().find(|(node, _)| *node == peer) {
                                    Some((_, all)) => all.extend(bytes),
                                    None => self.to_nodes.push((peer, bytes)),
                                }
                            }
                        }
                    }
                    Action::Resume(id) => {
                        self.proxy.resume(id, now);
                    }
                    _ => {}
                }
            }
            self.proxy.check();
        }
    }

    const WORDS: [&str; 14] = [
        "GET",
        "get",
        "SET",
        "INCR",
        "LPUSH",
        "MGET",
        "DEL",
        "PING",
        "ECHO",
        "NOSUCH",
        "HSET",
        "XREAD",
        "SETRANGE",
        "BITFIELD_RO",
    ];
    const REPLIES: [&str; 9] = [
        "$3\r\nabc\r\n",
        "$-1\r\n",
        "+OK\r\n",
        ":12\r\n",
        ":-1\r\n",
        "-ERR wrong\r\n",
        "*2\r\n$1\r\na\r\n:1\r\n",
        "+QUEUED\r\n",
        "$0\r\n\r\n",
    ];

    #[test]
    fn what_is_plain_goes_where_the_general_path_sends_it() {
        let (mut plain, mut general) = (Rig::new(true), Rig::new(false));
        let mut numbers = Random::new(5);
        let mut random = |below: usize| numbers.below(below);
        let mut owed: Vec<usize> = Vec::new();
        for _ in 0..20_000 {
            let mut requests = Vec::new();
            for _ in 0..random(5) {
                let count = random(12);
                let long = "x".repeat([1, 9, 10, 99, 100, 20_000][random(6) * random(2)]);
                requests.extend(format!("*{}\r\n", count + 1).bytes());
                let name = WORDS[random(WORDS.len())];
                requests.extend(format!("${}\r\n{name}\r\n", name.len()).bytes());
                for index in 0..count {
                    let word = if index == 1 {
                        long.clone()
                    } else {
                        format!("k{}", random(9))
                    };
                    requests.extend(format!("${}\r\n{word}\r\n", word.len()).bytes());
                }
            }
            let cut = random(requests.len() + 1);
            for part in [&requests[..cut], &requests[cut..]] {
                for rig in [&mut plain, &mut general] {
                    rig.feed(Peer::Client(rig.client), part);
                    rig.act();
                }
            }
            assert_eq!(plain.to_nodes, general.to_nodes);
            owed.resize(plain.to_nodes.len(), 0);
            let nodes: Vec<Peer> = plain.to_nodes.iter().map(|(peer, _)| *peer).collect();
            for (place, peer) in nodes.iter().enumerate() {
                // No argument has this byte.
                let sent = std::mem::take(&mut plain.to_nodes[place].1);
                general.to_nodes[place].1.clear();
                owed[place] += sent.iter().filter(|byte| **byte == b'*').count();
                let answered = random(owed[place] + 1);
                owed[place] -= answered;
                let replies: String = (0..answered)
                    .map(|_| REPLIES[random(REPLIES.len())])
                    .collect();
                let cut = random(replies.len() + 1);
                for part in [&replies[..cut], &replies[cut..]] {
                    for rig in [&mut plain, &mut general] {
                        rig.feed(*peer, part.as_bytes());
                        rig.act();
                    }
                }
            }
            assert_eq!(plain.to_client, general.to_client);
            plain.to_client.clear();
            general.to_client.clear();
        }
        let commands = |rig: &Rig| rig.proxy.stats().commands.get();
        assert!(commands(&plain) > 20_000);
        assert_eq!(commands(&plain), commands(&general));
        let sent = |rig: &Rig| rig.proxy.stats().backend_requests.get();
        assert_eq!(sent(&plain), sent(&general));
    }
}
