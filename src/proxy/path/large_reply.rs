//! `Carried`: a large reply that comes in several reads. It is taken from the input as it comes, block by block and
//! without a copy, and each of its bytes is scanned once.
//!
//! Where the blocks go is asked anew with each ([`Way`]):
//!
//! - *Passed*: to the client's output at once. That is for a reply that will be nothing but these bytes, whose turn
//!   it is, and of which `pass_bytes` have come. The client is closed when it is owed more than it may be, as ever;
//!   nobody waits for a client that does not read, since others' replies come behind on the same connection.
//! - *Kept* until it is whole: it may still be an error, a part of a reply, not due yet, or short enough to be asked
//!   for again if its connection breaks. Then its blocks move on, still without a copy, or, where somebody must read
//!   it, become one piece, which is the one copy.
//! - *Dropped*: nobody waits for it.
//!
//! What has begun to leave cannot be taken back: if the rest does not come, because the connection is lost or the
//! bytes behind are no reply, the client has a part of a reply that nobody can complete, and its connection is
//! closed ([`Proxy::sever`]). A request of which nothing has left is treated as any other.
//!
//! While a reply passes, nothing else may be written to its client. Replies wait for their turn anyway; messages of
//! subscriptions and lines of MONITOR do not, so that replies to clients that have those do not pass. (SUBSCRIBE and
//! MONITOR themselves wait until all is answered.)
//!
//! Nothing is allocated from a length that was declared. Bytes may come a few at a time, and a chunk keeps its whole
//! block: so a block is left only when half of it is full, and the memory is never more than a few times the reply's.

#[cfg(test)]
mod tests;

use crate::buffer::{Pool, READ_BLOCK, ReadBuf, Rope, WriteBuf};
use crate::clock::Time;
use crate::proxy::Proxy;
use crate::proxy::client::{Client, ClientId, Parting};
use crate::proxy::connections::overdue::LARGE_REPLY;
use crate::proxy::path::deliver::Next;
use crate::proxy::path::dispatch::MOVED_FRAME;
use crate::proxy::upstream::backend::{Backend, BackendId, Origin, State};
use crate::resp::frame::Scan;
use crate::resp::reply::Reply;

/// So much of a reply is taken as a chunk; less waits in the input for more, unless it is the end.
const ENOUGH: usize = READ_BLOCK / 2;

/// Where a reply goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Way {
    /// It is kept.
    #[default]
    Kept,
    /// It goes to its client as it comes. It has no other way from here on, unless the client goes.
    Passed,
    /// It is dropped as it comes.
    Dropped,
}

/// A reply of which the end has not come.
///
/// Invariant: `kept` is what has been taken, or empty unless the reply is kept.
#[derive(Debug, Default)]
pub struct Carried {
    way: Way,
    kept: Rope,
    /// Bytes that have been taken from the input.
    taken: usize,
}

impl Carried {
    /// Whether a part of it may have reached its client.
    pub fn has_left(&self) -> bool {
        self.way == Way::Passed
    }

    /// Bytes of it that have come.
    pub fn taken(&self) -> usize {
        self.taken
    }

    /// Bytes that are kept.
    pub fn kept_len(&self) -> usize {
        self.kept.len()
    }

    /// Bytes of memory that it keeps.
    #[cfg(test)]
    pub fn storage_len(&self) -> usize {
        self.kept.storage_len()
    }

    /// Takes the next `count` bytes from the front of the input.
    fn take(&mut self, input: &mut ReadBuf, count: usize) {
        self.taken += count;
        if self.way == Way::Dropped {
            input.consume(count);
        } else {
            self.kept.push(input.share(count));
        }
    }

    /// Nobody waits for it any more.
    fn give_up(&mut self, pool: &mut Pool) {
        self.way = Way::Dropped;
        std::mem::take(&mut self.kept).give_back(pool);
    }
}

/// A whole reply, and where it lies.
#[derive(Debug)]
pub enum Whole<'a> {
    /// So many bytes at the front of the input.
    Front(&'a mut ReadBuf, usize),
    /// In chunks. It is no error, and has no attributes in front.
    Kept(Rope),
    /// It is in its client's output already, or nobody has waited for it: its type, which is no error's, and how
    /// many bytes it had.
    Gone(Way, [u8; 1], usize),
}

impl Whole<'_> {
    /// Its bytes.
    #[inline]
    pub fn len(&self) -> usize {
        match self {
            Whole::Front(_, len) | Whole::Gone(_, _, len) => *len,
            Whole::Kept(rope) => rope.len(),
        }
    }

    /// The reply; unless it lies in front of the input it is the front only, which tells its type.
    #[inline]
    pub fn reply(&self) -> Reply<'_> {
        Reply::new(match self {
            Whole::Front(input, len) => &input.bytes()[..*len],
            Whole::Kept(rope) => rope.piece(0),
            Whole::Gone(_, kind, _) => kind,
        })
    }

    /// It is no longer needed.
    #[inline]
    pub fn drop(self) {
        if let Whole::Front(input, len) = self {
            input.consume(len);
        }
    }

    /// Appends it to an output, without a copy.
    pub fn move_to(self, output: &mut WriteBuf) {
        match self {
            Whole::Front(input, len) => output.push_chunk(input.share(len)),
            Whole::Kept(rope) => rope.move_to(output),
            Whole::Gone(..) => {}
        }
    }
}

impl Backend {
    /// Whether a large reply is on its way here: what is asked for on this connection now comes behind it.
    pub fn is_streaming(&self) -> bool {
        self.carried.is_some()
    }

    /// Whether the reply under way, of which `input` has the front and `missing` bytes are missing at least, is to be
    /// taken as it comes.
    pub(in crate::proxy) fn is_to_be_carried(&self, input: &ReadBuf, missing: usize) -> bool {
        // A push is read by us. What the reply is must be seen, and may stand behind attributes.
        let known = !matches!(self.scanner.kind(), 0 | b'>');
        input.len() + missing >= MOVED_FRAME && known && self.state == State::Ready
    }
}

/// Whether nothing but replies is written to this client, so that a reply may be written in pieces.
fn hears_replies_only(client: &Client) -> bool {
    client.session.subscriptions().is_none() && !client.session.monitor && client.closing.is_none()
}

impl Proxy {
    /// More has come of a reply that is carried.
    #[inline(never)]
    pub(in crate::proxy) fn carry_on(&mut self, id: BackendId, now: Time) -> Next {
        let bulk_max = self.config.limits.bulk_bytes;
        let Some(backend) = self.upstream.backends.get_mut(id) else {
            return Next::Wait;
        };
        let Ok(scan) = backend.scanner.next(backend.input.bytes(), bulk_max) else {
            return Next::Lost(self.broken(id, "bytes that are no reply"));
        };
        let mut input = std::mem::take(&mut backend.input);
        let next = self.carry(id, &mut input, scan, now);
        if let Some(backend) = self.upstream.backends.get_mut(id) {
            input.settle(&mut self.pool);
            backend.input = input;
        }
        next
    }

    /// Takes what the scanner has found of a large reply.
    pub(in crate::proxy) fn carry(
        &mut self,
        id: BackendId,
        input: &mut ReadBuf,
        scan: Scan,
        now: Time,
    ) -> Next {
        let Some(backend) = self.upstream.backends.get_mut(id) else {
            return Next::Wait;
        };
        let mut carried = backend.carried.take().unwrap_or_default();
        let was_large = carried.taken >= LARGE_REPLY;
        let (ends, count) = match scan {
            Scan::Frame(len) => (true, len),
            _ => (false, backend.scanner.scanned()),
        };
        if ends || count >= ENOUGH {
            carried.take(input, count);
            if !ends {
                backend.scanner.consumed(count);
            }
        }
        let kind = backend.scanner.kind();
        let front = backend.tickets.front().map(|ticket| ticket.origin);
        self.lead(&mut carried, kind, front, now);
        // A client that was closed may have taken its connection with it.
        let Some(backend) = self.upstream.backends.get_mut(id) else {
            return Next::Wait;
        };
        if !ends {
            debug_assert!(input.len() < 2 * ENOUGH);
            // How much is missing is of no use: the room is that of a block.
            backend.missing = 1;
            let is_large = carried.taken >= LARGE_REPLY;
            backend.carried = Some(carried);
            if is_large && !was_large {
                // An aggregate does not say how long it is.
                self.large_reply_begins(id, now);
            }
            return Next::Wait;
        }
        backend.missing = 0;
        let (way, len) = (carried.way, carried.taken);
        if way != Way::Kept {
            return self.take_answer(id, Whole::Gone(way, [kind], len), now);
        }
        let part = matches!(front, Some(Origin::Part { .. }));
        let plain = !matches!(kind, b'-' | b'!') && carried.kept.piece(0).first() != Some(&b'|');
        if part && plain {
            return self.take_answer(id, Whole::Kept(carried.kept), now);
        }
        let mut whole = ReadBuf::holding(carried.kept.to_bytes());
        self.take_answer(id, Whole::Front(&mut whole, len), now)
    }

    /// Sees to it that what has been taken of a reply goes where it belongs by now.
    fn lead(&mut self, carried: &mut Carried, kind: u8, origin: Option<Origin>, now: Time) {
        let (id, place) = match origin {
            Some(Origin::Part { client, seq, .. }) => (client, Some(seq)),
            Some(Origin::Lease { client, .. }) => (client, None),
            _ => return,
        };
        let error = matches!(kind, b'-' | b'!');
        let limits = &self.config.limits;
        let Some(client) = self.clients.get_mut(id) else {
            // An error may say something of the cluster.
            if !error {
                carried.give_up(&mut self.pool);
            }
            return;
        };
        if let Some(seq) = place
            && !error
        {
            if client.pipeline.is_muted(seq) {
                return carried.give_up(&mut self.pool);
            }
            if carried.way == Way::Kept
                && carried.taken >= limits.pass_bytes
                && client.pipeline.is_single_head(seq)
                && hears_replies_only(client)
            {
                carried.way = Way::Passed;
            }
            if carried.way == Way::Passed && !carried.kept.is_empty() {
                std::mem::take(&mut carried.kept).move_to(&mut client.output);
                if !client.flush_queued {
                    client.flush_queued = true;
                    self.actions.flush_client(id);
                }
            }
        }
        if client.owed_bytes() + carried.kept.len() > limits.client_output_bytes_max {
            carried.give_up(&mut self.pool);
            self.close_overfull(id, now);
        }
    }

    /// A client has got a part of a reply, and the rest will not come: what waits for it is written as far as it
    /// takes it at once, and then its connection is closed.
    #[cold]
    pub(in crate::proxy) fn sever(&mut self, id: ClientId, backend: &Backend, taken: usize) {
        let node = self.upstream.node(backend.node).map(|node| node.address);
        let Some(client) = self.clients.get_mut(id) else {
            return;
        };
        log::warn!(
            "client {} is closed: it has {taken} bytes of a reply whose rest is lost with a connection to node {}",
            client.session.number,
            node.map_or_else(String::new, |node| node.to_string()),
        );
        client.closing = Some(Parting::Severed);
        client.pause = None;
        self.queue_flush(id);
    }
}
