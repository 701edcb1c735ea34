//! The reply path, from a node's bytes to a client's output: the mirror of `dispatch`. It reads top to bottom.
//!
//! A reply belongs to a request by its position on the connection, and by nothing else. Anything that breaks this
//! pairing (a surplus reply, bytes that are not a reply, a reply to a request that was not sent) closes the
//! connection.

use std::net::SocketAddr;

use crate::buffer::{READ_BLOCK, ReadBuf, Rope};
use crate::clock::Time;
use crate::proxy::ids::{BackendId, ClientId, NodeKey, PartId};
use crate::proxy::insight::{BIG_BYTES, Reasons, Sight};
use crate::proxy::pipeline::Completed;
use crate::proxy::planted_bugs;
use crate::proxy::request::MOVED_FRAME;
use crate::proxy::state::Proxy;
use crate::proxy::stats::Counter;
use crate::proxy::stats::calls::ErrorCode;
use crate::proxy::stats::node_stats::NodeStats;
use crate::proxy::texts::refusal::Refusal;
use crate::proxy::upstream::backend::{Origin, Pin, State, Ticket, Usage};
use crate::proxy::upstream::large_reply::{Way, Whole};
use crate::proxy::upstream::lost::Lost;
use crate::proxy::upstream::node::Node;
use crate::proxy::upstream::node_reply::NodeReply;
use crate::proxy::upstream::refused_request::Refused;
use crate::resp::frame::Scan;
use crate::resp::reply::Reply;

/// What follows after a reply.
pub(in crate::proxy) enum Next {
    /// The next reply may be looked for.
    More,
    /// It is not whole yet.
    Wait,
    /// The backend is not to be used any more.
    Lost(Lost),
}

impl Proxy {
    /// Takes what a node has sent: every reply that is whole.
    pub fn backend_input(&mut self, id: BackendId, now: Time) {
        if let Some(backend) = self.upstream.backends.get_mut(id) {
            backend.heard_at = now;
            if backend.large_reply.is_some() {
                match self.stream_on(id, now) {
                    Next::More => {}
                    Next::Wait => return self.note_growth(READ_BLOCK, now),
                    Next::Lost(lost) => return self.lose_backend(id, lost, now),
                }
            }
        }
        loop {
            self.take_plain_replies(id, now);
            let Some(backend) = self.upstream.backends.get_mut(id) else {
                return;
            };
            if backend.input.is_empty() {
                backend.missing = 0;
                break;
            }
            if self.take_part_replies(id, now) {
                continue;
            }
            let Some(backend) = self.upstream.backends.get_mut(id) else {
                return;
            };
            let mut input = std::mem::take(&mut backend.input);
            let next = self.take_reply(id, &mut input, now);
            if let Some(backend) = self.upstream.backends.get_mut(id) {
                backend.input = input;
            }
            match next {
                Next::More => {}
                Next::Wait => {
                    if let Some(backend) = self.upstream.backends.get_mut(id) {
                        backend.input.settle(&mut self.pool);
                        self.wake_waiters(id);
                    }
                    return self.note_growth(READ_BLOCK, now);
                }
                Next::Lost(lost) => return self.lose_backend(id, lost, now),
            }
        }
        if let Some(backend) = self.upstream.backends.get_mut(id) {
            backend.input.settle(&mut self.pool);
            self.wake_waiters(id);
        }
    }

    /// Takes one reply of any kind.
    pub(in crate::proxy) fn take_reply(
        &mut self,
        id: BackendId,
        input: &mut ReadBuf,
        now: Time,
    ) -> Next {
        let bulk_max = self.config.limits.bulk_bytes;
        let Some(backend) = self.upstream.backends.get_mut(id) else {
            return Next::Wait;
        };
        let len = match backend.scanner.next(input.bytes(), bulk_max) {
            Ok(Scan::Frame(len)) => len,
            Ok(scan @ Scan::Incomplete(missing)) => {
                if backend.is_unasked(input.bytes()) {
                    return Next::Lost(
                        self.broken(id, "the beginning of a reply that nobody asked for"),
                    );
                }
                backend.missing = missing;
                if backend.is_to_be_streamed(input, missing) {
                    let next = self.stream_reply(id, input, scan, now);
                    if missing >= self.config.limits.aside_reply_bytes {
                        self.large_reply_begins(id, now);
                    }
                    return next;
                }
                return Next::Wait;
            }
            Ok(Scan::Inline(_) | Scan::Nothing(_)) | Err(_) if backend.state != State::Ready => {
                return Next::Lost(self.greeting_unreadable(id, input.bytes()));
            }
            Ok(Scan::Inline(_) | Scan::Nothing(_)) | Err(_) => {
                return Next::Lost(self.broken(id, "bytes that are no reply"));
            }
        };
        let reply = Reply::new(&input.bytes()[..len]);
        if reply.is_push() {
            if !self.take_push(id, reply, now) {
                return Next::Lost(self.broken(id, "a confirmation that nobody asked for"));
            }
            input.consume(len);
            return Next::More;
        }
        if let State::Handshaking(steps) = backend.state {
            let lost = self.greeting_answered(id, steps, reply, now);
            input.consume(len);
            return lost.map_or(Next::More, Next::Lost);
        }
        self.take_answer(id, Whole::Front(input, len), now)
    }

    /// Takes a reply that belongs to the oldest ticket.
    pub(in crate::proxy) fn take_answer(
        &mut self,
        id: BackendId,
        whole: Whole<'_>,
        now: Time,
    ) -> Next {
        let Some(backend) = self.upstream.backends.get_mut(id) else {
            return Next::Wait;
        };
        let early = !backend.front_is_sent();
        let Some(ticket) = backend.tickets.pop_front() else {
            return Next::Lost(self.broken(id, "a reply that nobody asked for"));
        };
        if planted_bugs::is_on("tombstone-dropped")
            && let Origin::Part(PartId { client, .. }) = ticket.origin
            && self.clients.get(client).is_none()
            && backend.tickets.front().is_some()
        {
            self.release(id, &ticket);
            return Next::More;
        }
        if early && !whole.reply().is_error() {
            backend.tickets.push_front(ticket);
            return Next::Lost(self.broken(id, "a reply to a request that has not left"));
        }
        self.upstream.in_flight -= 1;
        // A lease may wait at its node for as long as it likes: that says nothing of the node.
        if backend.usage == Usage::Shared
            && let Some(node) = self.upstream.nodes.get(usize::from(backend.node.0))
        {
            backend.write_times.settle(ticket.sent_at, 1, node, now);
            if whole.len() < MOVED_FRAME {
                backend.credit.answered(1, backend.tickets.len() + 1);
            }
            node.stats.bytes_in.add(whole.len() as u64);
        }
        self.deliver(id, &ticket, whole, early, now);
        if early {
            // The node gave up on this request while it was being written: it will read no other.
            return Next::Lost(Lost::Closed);
        }
        Next::More
    }

    /// One reply, to the one part that its ticket names. It is `early` if the request has not wholly left.
    #[inline]
    fn deliver(
        &mut self,
        id: BackendId,
        ticket: &Ticket,
        whole: Whole<'_>,
        early: bool,
        now: Time,
    ) {
        let answer = &NodeReply {
            backend: id,
            ticket,
            reply: whole.reply(),
            early,
            now,
        };
        let Origin::Part(part) = ticket.origin else {
            self.deliver_apart(answer);
            return whole.drop();
        };
        if let Pin::Astray(shard) = ticket.pin {
            self.led_astray(answer, shard);
            return whole.drop();
        }
        if answer.reply.is_error() && self.is_refused(answer) {
            return whole.drop();
        }
        let len = whole.len();
        if len >= MOVED_FRAME {
            self.largest.reply(ticket.command, len, now);
            self.note_large(part.client, len);
        }
        self.look(id, ticket, len, now);
        if self.is_tracked(id) {
            self.note_answer(id, ticket, now);
        }
        let executed = self.bytes_if_held(id, part.client, ticket);
        let was_denied = executed.is_some() && self.was_denied(answer);
        self.release(id, ticket);
        // What a replica serves says nothing of the master.
        if self.upstream.any_failing()
            && !self.reads_only(id)
            && let Some(scope) = ticket.scope()
        {
            self.upstream.succeeded(scope);
        }
        let untagged = match &whole {
            Whole::Front(..) => self.untagged(part.client, ticket.command, whole.reply()),
            Whole::Kept(..) | Whole::Gone(..) => None,
        };
        match whole {
            Whole::Front(..) if untagged.is_some() => {
                self.fulfil(part, &untagged.unwrap_or_default(), now);
                whole.drop();
            }
            Whole::Front(..) if len < MOVED_FRAME || !self.is_single_head(part) => {
                self.fulfil(part, whole.reply().frame(), now);
                whole.drop();
            }
            Whole::Kept(rope) if !self.is_single_head(part) => {
                self.fulfil_rope(part, rope, now);
            }
            Whole::Gone(Way::Dropped, ..) => self.fulfil(part, b"", now),
            Whole::Gone(Way::Merged, ..) => self.fulfil_merged(part, len, now),
            Whole::Front(..) | Whole::Kept(..) | Whole::Gone(..) => {
                debug_assert!(self.is_single_head(part));
                self.fulfil_moved(part.client, whole, now);
            }
        }
        if let Some(bytes) = executed {
            // What a replica answers may be old at any time, and says nothing of the order (rule R5).
            if !self.reads_only(id) && !was_denied {
                self.overtaken(part, ticket, &bytes, now);
            }
            self.release_held(part.client, ticket.slot, now);
        }
    }

    /// Whether a reply to this request may go straight into its client's output.
    pub(in crate::proxy) fn is_single_head(&self, part: PartId) -> bool {
        let client = self.clients.get(part.client);
        client.is_some_and(|client| client.pipeline.is_single_head(part.seq))
    }

    /// Looks at a request whose reply has come, if its turn has come, it was slow, or it is big.
    #[inline]
    fn look(&mut self, id: BackendId, ticket: &Ticket, reply_bytes: usize, now: Time) {
        let Origin::Part(PartId { client, seq, .. }) = ticket.origin else {
            return;
        };
        let (Some(backend), Some(client)) =
            (self.upstream.backends.get(id), self.clients.get(client))
        else {
            return;
        };
        let Some(started) = client.pipeline.started(seq) else {
            return;
        };
        // However many parts it has, a slow request is one.
        let reasons = Reasons {
            due: self.until_looked == 1,
            slow: started < self.config.slow_before(now) && client.pipeline.lacks_one(seq),
        };
        let request_bytes = ticket.len as usize;
        let big = reply_bytes.max(request_bytes) >= BIG_BYTES;
        if !(reasons.due || reasons.slow || big) || ticket.command == u16::MAX {
            return;
        }
        let Some(node) = self.upstream.nodes.get(usize::from(backend.node.0)) else {
            return;
        };
        let sight = Sight {
            request: backend.output.front(request_bytes),
            command: self.table.row(ticket.command),
            slot: ticket.slot,
            reply_bytes,
            client,
            node: node.address,
            started,
            left: backend.write_times.of(ticket.sent_at),
            now,
        };
        self.insight.look(&sight, reasons, &self.config.limits);
    }

    /// A reply that is no part of a request on a shared connection.
    #[cold]
    fn deliver_apart(&mut self, answer: &NodeReply<'_>) {
        let &NodeReply {
            backend: id,
            ticket,
            reply,
            now,
            ..
        } = answer;
        match ticket.origin {
            Origin::Lease { client, run } => self.settle(answer, client, run),
            Origin::Part(_) | Origin::Discard => self.release(id, ticket),
            Origin::Verdict { client, question } => {
                self.release(id, ticket);
                self.answered_question(client, question, reply);
            }
            Origin::Vouch => {
                self.release(id, ticket);
                self.vouched(id, reply, now);
            }
            Origin::Sign(part) => {
                self.release(id, ticket);
                self.answered(id, part, ticket.slot, Some(reply), now);
                // Behind one that waits for such an answer there is nothing to release.
                let client_held = self.clients.get(part.client).map(|client| &client.held);
                let first = client_held.and_then(|held| held.front(ticket.slot));
                if first.is_some_and(|first| first.probe.is_none()) {
                    self.release_held(part.client, ticket.slot, now);
                }
            }
            Origin::Subscription => {
                self.release(id, ticket);
                self.subscription_refused(id, reply, now);
            }
            Origin::Near(step) => {
                self.release(id, ticket);
                self.near_answered(answer, step);
            }
            Origin::Cleaner => {
                self.release(id, ticket);
                self.cleaned(id, reply, now);
            }
        }
    }

    /// Whether a backend said READONLY, so that a replica may have answered.
    fn reads_only(&self, id: BackendId) -> bool {
        let backend = self.upstream.backends.get(id);
        backend.is_some_and(|backend| backend.flavor.read_only)
    }

    /// Whether the node tracks the keys that are read over a connection.
    #[inline]
    fn is_tracked(&self, id: BackendId) -> bool {
        let backend = self.upstream.backends.get(id);
        backend.is_some_and(|backend| backend.flavor.tracking)
    }

    /// Whether an error says that the request was not executed, or seems to; it is then held. Else it is its reply.
    #[cold]
    #[inline(never)]
    fn is_refused(&mut self, answer: &NodeReply<'_>) -> bool {
        let &NodeReply {
            backend: id,
            ticket,
            reply,
            early,
            now,
        } = answer;
        let (Origin::Part(part), Some(error)) = (ticket.origin, reply.error()) else {
            return false;
        };
        let Some(refusal) = Refusal::parse(error) else {
            if let Some(backend) = self.upstream.backends.get(id) {
                self.counted(backend.node, |stats| &stats.errors_other);
            }
            self.count_error(part, error);
            return false;
        };
        let Some(backend) = self.upstream.backends.get(id) else {
            return false;
        };
        let bytes = backend.output.front(ticket.len as usize);
        // No node runs half a request.
        if !early && self.has_own_errors(ticket, bytes) {
            let held = self.doubt(answer, refusal);
            if !held {
                self.count_error(part, error);
            }
            return held;
        }
        let (node, replica) = (backend.node, backend.flavor.read_only);
        let bytes = bytes.to_vec();
        // What is missing and cannot be loaded again is for the client to hear.
        let remedy = match refusal {
            Refusal::Missing(missing) => self.remedy(&bytes, ticket, missing, replica),
            _ => Some(Vec::new()),
        };
        let Some(remedy) = remedy else {
            self.count_error(part, error);
            return false;
        };
        self.release(id, ticket);
        let refused = Refused {
            node,
            replica,
            ticket: *ticket,
            bytes: &bytes,
            refusal,
            words: error,
            remedy,
        };
        self.turned_back(refused, now);
        self.release_held(part.client, ticket.slot, now);
        true
    }

    /// The bytes of a request that is answered are no longer needed.
    #[inline]
    pub(in crate::proxy) fn release(&mut self, id: BackendId, ticket: &Ticket) {
        if let Some(backend) = self.upstream.backends.get_mut(id) {
            backend.output.release(ticket.len as usize, &mut self.pool);
        }
    }

    /// Hands a reply to a part; the one copy of the reply path is in there.
    #[inline]
    pub(in crate::proxy) fn fulfil(&mut self, part: PartId, reply: &[u8], now: Time) {
        let Some(client) = self.clients.get_mut(part.client) else {
            return;
        };
        let completed = client.pipeline.fulfil(
            part.seq,
            part.index,
            reply,
            &mut client.output,
            &mut self.pool,
            &mut self.spares,
        );
        self.fulfilled(part.client, completed, now);
    }

    /// The same, of a reply that moves instead of being copied.
    pub(in crate::proxy) fn fulfil_rope(&mut self, part: PartId, reply: Rope, now: Time) {
        let Some(client) = self.clients.get_mut(part.client) else {
            return reply.give_back(&mut self.pool);
        };
        let completed = client.pipeline.fulfil_rope(
            part.seq,
            part.index,
            reply,
            &mut client.output,
            &mut self.pool,
            &mut self.spares,
        );
        self.fulfilled(part.client, completed, now);
    }

    /// A part has its reply, and perhaps its request is completed by it.
    #[inline]
    pub(in crate::proxy) fn fulfilled(
        &mut self,
        id: ClientId,
        completed: Option<Completed>,
        now: Time,
    ) {
        let Some(completed) = completed else {
            self.merge_later(id);
            return self.ask_next(id, now);
        };
        if completed.failed
            && let Some(client) = self.clients.get_mut(id)
            && let Some(error) = client.pipeline.failure()
        {
            self.stats.calls.failed(completed.command, error);
            self.insight
                .audit
                .note_error(completed.command, error.name().as_bytes());
        }
        self.completed(id, completed, now);
    }

    /// As [`Proxy::fulfil`], with the reply's own storage.
    fn fulfil_moved(&mut self, id: ClientId, whole: Whole<'_>, now: Time) {
        let Some(client) = self.clients.get_mut(id) else {
            return;
        };
        let completed = client.pipeline.head_completed();
        whole.move_to(&mut client.output);
        client
            .pipeline
            .pop_head(&mut client.output, &mut self.pool, &mut self.spares);
        if let Some(completed) = completed {
            self.completed(id, completed, now);
        }
    }

    /// A request has its whole reply.
    #[inline]
    fn completed(&mut self, id: ClientId, completed: Completed, now: Time) {
        let calls = &self.stats.calls;
        self.turn_latencies
            .add(completed.command, completed.started, 1, calls, now);
        self.until_looked -= 1;
        if self.until_looked == 0 {
            self.looked(id, completed, now);
        }
        let Some(client) = self.clients.get_mut(id) else {
            return;
        };
        if !client.flush_queued {
            client.flush_queued = true;
            self.actions.flush_client(id);
        }
        let limits = &self.config.limits;
        if completed.merged_bytes >= MOVED_FRAME {
            client.note_large(completed.merged_bytes, limits);
        }
        let overfull = client.owed_bytes() > limits.client_output_bytes_max;
        if client.stall.is_some() && client.may_resume(limits) {
            self.queue_resume(id);
        }
        if overfull {
            self.close_overfull(id, now);
        }
    }

    /// A large reply has come for a client.
    #[cold]
    fn note_large(&mut self, id: ClientId, len: usize) {
        if let Some(client) = self.clients.get_mut(id) {
            client.note_large(len, &self.config.limits);
        }
    }

    /// Something happened that is counted of a node.
    pub(in crate::proxy) fn counted(&self, node: NodeKey, counter: fn(&NodeStats) -> &Counter) {
        if let Some(node) = self.upstream.node(node) {
            counter(&node.stats).add(1);
        }
    }

    /// The same, of the node at this address.
    pub(in crate::proxy) fn counted_at(
        &self,
        address: Option<SocketAddr>,
        counter: fn(&NodeStats) -> &Counter,
    ) {
        let mut nodes = self.upstream.nodes.iter();
        let own = |(_, node): &(usize, &Node)| Some(node.address) == address;
        if let Some((_, node)) = nodes.find(own) {
            counter(&node.stats).add(1);
        }
    }

    /// A request gets an error for its reply. That of a part counts once all parts have come.
    #[cold]
    pub(in crate::proxy) fn count_error(&mut self, part: PartId, error: &[u8]) {
        let client = self.clients.get(part.client);
        if let Some(command) = client.and_then(|client| client.pipeline.single(part.seq)) {
            self.stats.calls.failed(command, ErrorCode::of(error));
            self.insight.audit.note_error(command, error);
        }
    }

    #[cold]
    pub(in crate::proxy) fn broken(&mut self, id: BackendId, what: &str) -> Lost {
        self.stats.backend_protocol_errors.add(1);
        if let Some(backend) = self.upstream.backends.get_mut(id) {
            backend.words = Some(format!("broke the protocol: {what}").into());
        }
        Lost::Broken
    }

    pub(in crate::proxy) fn warn(&self, id: BackendId, what: &str) {
        let node = self
            .upstream
            .backends
            .get(id)
            .and_then(|backend| self.upstream.node(backend.node));
        if let Some(node) = node {
            log::warn!("node {} {what}", node.address);
        }
    }

    /// Clients that waited for a backend to drain are read again.
    pub fn wake_waiters(&mut self, id: BackendId) {
        let Some(backend) = self.upstream.backends.get_mut(id) else {
            return;
        };
        let low = self.config.limits.backend_output_bytes / 2;
        if backend.waiters.is_empty() || backend.output.unsent_len() > low {
            return;
        }
        for client in std::mem::take(&mut backend.waiters) {
            self.queue_resume(client);
        }
    }
}
