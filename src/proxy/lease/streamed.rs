//! A large request goes to its node while it comes, so that it is never in memory as a whole.
//!
//! That is for a request whose one key comes before what is long. It travels on a connection of its own, where nobody
//! waits behind a slow sender, and begins on an empty pipeline, as every lease does. What has been sent is forgotten: it
//! cannot be sent again. So the node is asked first whether it serves the key (EXISTS); as long as it says that it does
//! not, the request goes after the slot like any other run, and nothing of it has left. Once its bytes leave:
//!
//! - If the connection is lost before all of it has been sent, nothing was executed (a node does not run half a request),
//!   and the client hears so. What still comes of the request is dropped, and the client goes on.
//! - A redirect in answer to it is as sure a sign, and its client may send it again.
//! - A client that goes, or sends what is no RESP, costs this connection and nothing else.
//! - Who sends nothing of it, or takes nothing of it, for `-request-timeout` is cut (see `deadlines::streamed`).
//!
//! What is no request of this kind is gathered, as are requests of transactions, those that MONITOR shows, those of clients that track, and those that
//! count for the rate of a user.

use crate::buffer::ReadBuf;
use crate::clock::Time;
use crate::cluster::slot::Slot;
use crate::proxy::client::streamed::{StreamedRequest, Way};
use crate::proxy::client::{Parting, Stall};
use crate::proxy::ids::{BackendId, ClientId, PartId};
use crate::proxy::lease::state::run::{Line, Owed, Run};
use crate::proxy::lease::state::{Lease, Next, Work};
use crate::proxy::pipeline::At;
use crate::proxy::pipeline::client_reply::ClientReply;
use crate::proxy::request::request_limits;
use crate::proxy::state::Proxy;
use crate::proxy::texts::refusal::{self, Refusal};
use crate::proxy::upstream::backend::{Backend, Origin, Patience, Ticket};
use crate::proxy::upstream::goal::ASKING;
use crate::proxy::upstream::large_reply::ENOUGH;
use crate::proxy::upstream::lost::Lost;
use crate::resp::encode;
use crate::resp::frame::{ProtocolError, RequestScanner};
use crate::resp::reply::Reply;
use crate::resp::request_tail::RequestTail;

/// What there is to know of a request before its end has come.
struct Beginning {
    command: u16,
    slot: u16,
    /// As the nodes have it.
    key: Vec<u8>,
    /// Where it lies, if it is to be written with a tag before it.
    tagged: Option<(usize, usize)>,
    /// Bytes of the arguments that have come.
    head: usize,
    args_left: u32,
}

impl Proxy {
    /// A large request has begun to come: it goes to its node from now on, if it is of the kind.
    #[cold]
    pub(in crate::proxy) fn stream_request(&mut self, id: ClientId, input: &ReadBuf, now: Time) {
        let Some(beginning) = self.beginning(id, input.bytes()) else {
            return;
        };
        let Some(client) = self.clients.get_mut(id) else {
            return;
        };
        if client.session.tracking().is_some() {
            return;
        }
        if !client.pipeline.is_empty() {
            client.stall = Some(Stall::Barrier);
            return;
        }
        let Beginning {
            command,
            slot,
            head,
            ..
        } = beginning;
        self.note_streamed(id, &beginning.key);
        let run = Run::new(slot);
        if self.grant(id, Work::Streamed, vec![run], now).is_none() {
            return;
        }
        let (Some(mut lease), Some(client)) = (self.take_lease(id), self.clients.get_mut(id))
        else {
            return;
        };
        self.stats.commands.add(1);
        self.stats.requests_streamed.add(1);
        let seq = client.pipeline.push_single(command, slot, At::Held, now);
        client.stall = Some(Stall::Connection);
        client.streamed = Some(Box::new(StreamedRequest {
            seq,
            command,
            head,
            tagged: beginning.tagged,
            tail: RequestTail::new(head, beginning.args_left),
            looked: 0,
            way: Way::Waits,
            moved_at: now,
            unsent: 0,
        }));
        let mut question = Vec::new();
        encode::command(&mut question, [&b"EXISTS"[..], &beginning.key]);
        let exists = self.table.named(b"exists").map_or(command, |row| row.id);
        let line = Line::new(question, exists, Owed::Queued(seq, 0));
        let next = self.add(id, &mut lease, 0, line, now);
        self.put_lease(id, lease, next, now);
    }

    /// What has come of a request, if that is enough to know where it goes, and it may go there as it comes.
    fn beginning(&self, id: ClientId, bytes: &[u8]) -> Option<Beginning> {
        let client = self.clients.get(id)?;
        let session = &client.session;
        let (spans, head, args_left) = client.scanner.under_way()?;
        let usual = session.is_plain()
            && !session.is_monitor()
            && !session.is_subscriber_only()
            && client.lease.is_none()
            && client.execution.is_none()
            && client.cut.is_none()
            && client.pipeline.client_reply == ClientReply::On
            && !self.process.watchers.any();
        let word = |at: usize| {
            let span = spans.get(at)?;
            let start = span.start as usize;
            Some((start, bytes.get(start..start + span.len as usize)?))
        };
        let (_, name) = word(0)?;
        let mut letters = [0; 8];
        letters.get_mut(..name.len())?.copy_from_slice(name);
        let name = u64::from_le_bytes(letters);
        let shape = self.plain.find(name, spans.first()?.len as usize)?;
        if shape.split.is_some() {
            return None;
        }
        let (start, key) = word(1)?;
        let row = self.table.row(shape.id);
        let args = spans.len().checked_add(args_left as usize)?;
        let permitted = session.is_free()
            || session
                .user()
                .permissions()
                .allow_plainly(shape.id, key, shape.access);
        if !usual || !permitted || row.own_errors || !row.arity_ok(args) {
            return None;
        }
        let (slot, key, tagged) = match self.namespace_of(id) {
            None => (Slot::of(key), key.to_vec(), None),
            Some(_) if !shape.tagged => return None,
            Some(own) => {
                let place = Some((start, key.len()));
                (own.slot(), [own.tag(), key].concat(), place)
            }
        };
        Some(Beginning {
            command: shape.id,
            slot: slot.number(),
            key,
            tagged,
            head,
            args_left,
        })
    }

    /// More has come of a request that goes to its node as it comes. Returns whether the next one may be taken.
    #[cold]
    pub(in crate::proxy) fn pass_on_streamed(
        &mut self,
        id: ClientId,
        input: &mut ReadBuf,
        now: Time,
    ) -> bool {
        let Some(client) = self.clients.get_mut(id) else {
            return false;
        };
        client.stall = None;
        // How much is missing is of no use: the room is that of a block.
        client.missing = 1;
        let limits = request_limits(&self.config.limits, true);
        let Some(own) = client.streamed.as_deref_mut() else {
            return true;
        };
        let backend = match own.way {
            Way::Waits => {
                client.stall = Some(Stall::Connection);
                return false;
            }
            Way::Dropped => None,
            Way::Passed(to) => {
                let Some(backend) = self.upstream.backends.get_mut(to) else {
                    debug_assert!(false, "who streams to a connection hears that it is lost");
                    return false;
                };
                backend.drop_fed(&mut self.pool);
                if backend.output.len() > self.config.limits.backend_output_bytes {
                    backend.waiters.push(id);
                    client.stall = Some(Stall::Backend(to));
                    return false;
                }
                Some(to)
            }
        };
        let behind = own.head + own.looked;
        let found = own
            .tail
            .next(input.bytes().get(behind..).unwrap_or_default(), &limits);
        let (count, ends) = match found {
            Ok(found) => found,
            Err(error) => {
                self.confuse_streamed(id, error, now);
                input.consume(input.len());
                return false;
            }
        };
        own.looked += count;
        if count > 0 {
            own.moved_at = now;
        }
        if ends || own.head + own.looked >= ENOUGH {
            self.move_streamed(id, input, backend);
        }
        ends && self.end_streamed(id, now)
    }

    /// What has been looked at goes where it belongs.
    fn move_streamed(&mut self, id: ClientId, input: &mut ReadBuf, to: Option<BackendId>) {
        let tag = self.namespace_of(id).cloned();
        let own = self
            .clients
            .get_mut(id)
            .and_then(|c| c.streamed.as_deref_mut());
        let Some(own) = own else { return };
        let (head, looked) = (own.head, own.looked);
        (own.head, own.looked) = (0, 0);
        let backend = to.and_then(|to| self.upstream.backends.get_mut(to));
        let Some(backend) = backend else {
            return input.consume(head + looked);
        };
        if let (Some((start, len)), Some(tag)) = (own.tagged.take(), tag) {
            let bytes = input.bytes();
            // The length of the key stands before it.
            let dollar = memchr::memrchr(b'$', &bytes[..start]).unwrap_or(0);
            let mut front = bytes[..dollar].to_vec();
            encode::bulk(
                &mut front,
                &[tag.tag(), &bytes[start..start + len]].concat(),
            );
            front.extend_from_slice(&bytes[start + len + 2..head]);
            backend.feed(crate::buffer::Chunk::of(front));
            input.consume(head);
            if looked > 0 {
                backend.feed(input.share(looked));
            }
        } else {
            backend.feed(input.share(head + looked));
        }
        if let Some(to) = to {
            self.queue_backend_flush(to);
        }
    }

    /// All of it has come. Returns whether the next request may be taken.
    fn end_streamed(&mut self, id: ClientId, now: Time) -> bool {
        let Some(client) = self.clients.get_mut(id) else {
            return false;
        };
        let own = client.streamed.take();
        client.scanner = RequestScanner::default();
        client.missing = 0;
        let lease = client.lease.as_deref_mut();
        if let Some(Way::Passed(to)) = own.map(|own| own.way)
            && let Some(backend) = self.upstream.backends.get_mut(to)
        {
            backend.is_fed = false;
            // From here on the node owes a reply.
            backend.patience = Patience::None;
            backend.heard_at = now;
            self.swept.1 = true;
            if let Some(run) = lease.and_then(|lease| lease.runs.first_mut()) {
                run.spoilt = false;
            }
        }
        if client.pipeline.is_empty() {
            return true;
        }
        client.stall = Some(Stall::Barrier);
        false
    }

    /// Behind its beginning there comes what is no request: nothing of it is executed.
    fn confuse_streamed(&mut self, id: ClientId, error: ProtocolError, now: Time) {
        self.stats.protocol_errors.add(1);
        let seq = self
            .clients
            .get(id)
            .and_then(|c| Some(c.streamed.as_deref()?.seq));
        let passed = self.clients.get(id).is_some_and(|c| c.lease.is_some());
        let text = format!("ERR {error}");
        match seq {
            Some(seq) if passed => {
                self.answer_error(PartId::new(id, seq, 0), text.as_bytes(), now);
                self.end_lease(id, now);
            }
            _ => self.tell_error(id, text.as_bytes(), now),
        }
        let parting = match error {
            ProtocolError::RequestTooBig => Parting::Unread,
            _ => Parting::Confused,
        };
        self.close_when_told(id, parting);
    }

    /// The lease of a streamed request has ended: what still comes of it is dropped.
    pub(super) fn stop_streaming(&mut self, id: ClientId) {
        if let Some(client) = self.clients.get_mut(id)
            && let Some(own) = client.streamed.as_deref_mut()
        {
            own.way = Way::Dropped;
            self.queue_resume(id);
        }
    }

    /// The reply to the question, or to the request itself.
    pub(super) fn settle_streamed(
        &mut self,
        id: ClientId,
        lease: &mut Lease,
        index: u16,
        owed: Owed,
        reply: Reply<'_>,
        now: Time,
    ) -> Next {
        let Owed::Queued(seq, part) = owed else {
            if let Owed::Last(seq, part) = owed {
                self.fulfil(PartId::new(id, seq, part), reply.frame(), now);
            }
            return Next::End;
        };
        // Whatever the node says, it has not said that the key is elsewhere.
        let own = self
            .clients
            .get_mut(id)
            .and_then(|c| c.streamed.as_deref_mut());
        let run = lease.runs.get_mut(usize::from(index));
        let (Some(own), Some(run)) = (own, run) else {
            return Next::End;
        };
        let Some(to) = run.backend else {
            return Next::Keep;
        };
        (own.way, own.moved_at) = (Way::Passed(to), now);
        let line = Line::new(Vec::new(), own.command, Owed::Last(seq, part));
        if run.asked {
            let ticket = Ticket::here(Origin::Discard, run.slot, u16::MAX, ASKING.len(), now);
            let (pool, actions) = (&mut self.pool, &mut self.actions);
            self.upstream.send(to, ASKING, ticket, pool, actions);
        }
        run.lines.push(line);
        // With half a request in it a connection is nobody else's.
        run.spoilt = true;
        self.send_unsent(id, run, index, now);
        if let Some(backend) = self.upstream.backends.get_mut(to) {
            backend.is_fed = true;
            backend.patience = Patience::Endless;
        }
        self.queue_resume(id);
        Next::Keep
    }

    /// A node refuses a streamed request: it has not been executed, and its bytes are gone.
    pub(super) fn refuse_streamed(
        &mut self,
        id: ClientId,
        lease: &mut Lease,
        refusal: Refusal<'_>,
        words: &[u8],
        now: Time,
    ) -> Next {
        let Some(run) = lease.runs.first_mut() else {
            return Next::End;
        };
        let from = run
            .backend
            .and_then(|own| self.upstream.node(self.upstream.backends.get(own)?.node))
            .map(|node| node.address);
        self.note_refusal(run.slot, refusal, from, now);
        let text = match refusal {
            Refusal::Moved(..) | Refusal::Ask(..) => refusal::MOVED_MEANWHILE.as_bytes(),
            _ => words,
        };
        self.tell_all(id, run, text, now);
        Next::End
    }

    /// The connection of a streamed request is lost, and has left the arena. If not all of the request has been sent it
    /// was not executed.
    pub(super) fn lose_streamed(
        &mut self,
        id: ClientId,
        lease: &mut Lease,
        backend: &Backend,
        lost: Lost,
        now: Time,
    ) -> Next {
        let Some(run) = lease.runs.first_mut() else {
            return Next::End;
        };
        let text = if backend.is_fed || backend.output.unsent_len() > 0 {
            refusal::NOT_EXECUTED
        } else {
            self.stats.unknown_outcomes.add(1);
            match lost {
                Lost::TimedOut => refusal::TIMED_OUT,
                _ => refusal::LOST,
            }
        };
        self.tell_all(id, run, text.as_bytes(), now);
        Next::End
    }
}
