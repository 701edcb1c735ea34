//! `Outbox`: what one turn cannot give to subscribers. A message of a million subscribers, or a thousand messages of a
//! thousand, are handed out over many turns, and so are the writes that they bring; others have their turn between.
//!
//! Messages are handed out in the order in which they came, whatever their topics, so each subscriber gets them in that
//! order. One who joins while a message is handed out may get it or not, as anywhere; one who has left does not.
//!
//! A subscriber who waits to be written to gets what comes meanwhile with the same write. Messages wait while many do,
//! so that no more of them hold memory for output than are about to be written to.
//!
//! It must never know a topic's subscribers, nor hand out anything itself.

use std::collections::VecDeque;

use crate::config::Limits;
use crate::proxy::ids::ClientId;
use crate::proxy::pubsub::state::frames::Frames;
use crate::proxy::pubsub::state::kind::Kind;
use crate::proxy::pubsub::state::topic::order;

/// Bytes of messages that wait at which nodes' connections that carry messages are not read.
const FULL_BYTES: usize = 1 << 20;
/// What a message costs beside its bytes.
const OVERHEAD: usize = 160;
/// Bytes that are copied in the time that one more short message takes.
const SHORT_BYTES: usize = 256;
/// Times the subscribers written to in a turn that wait to be written to while messages are handed out.
const UNWRITTEN_TURNS: usize = 8;

/// A message on its way to its subscribers.
#[derive(Debug)]
pub(in crate::proxy::pubsub) struct Message {
    pub kind: Kind,
    /// The topic's name.
    pub name: Box<[u8]>,
    /// What they get.
    pub frames: Frames,
    /// The last who has got it.
    pub last: Option<ClientId>,
    /// Who got it before it came here, in the order of subscribers.
    pub got: Vec<ClientId>,
}

impl Message {
    fn cost(&self) -> usize {
        self.frames.len() + self.name.len() + OVERHEAD
    }
}

/// Messages and writes that wait for the next turns, oldest first.
///
/// Invariant: `bytes` is the cost of all messages.
#[derive(Debug, Default)]
pub struct Outbox {
    messages: VecDeque<Message>,
    bytes: usize,
    /// Clients that are to be written to. Some may have gone.
    unwritten: VecDeque<ClientId>,
    /// Messages that may still be handed to a subscriber in this turn.
    messages_left: usize,
    /// Subscribers that may still be written to in this turn.
    writes_left: usize,
    unwritten_max: usize,
}

impl Outbox {
    /// How many of the messages of a topic that wait will reach one who joins it now.
    pub fn still_reach(&self, id: ClientId, kind: Kind, name: &[u8]) -> usize {
        let own = |message: &&Message| message.kind == kind && *message.name == *name;
        let reaches =
            |message: &&Message| message.last.is_none_or(|last| order(&last) < order(&id));
        self.messages.iter().filter(own).filter(reaches).count()
    }

    /// One who joins a topic now has got the first so many of those that will reach it.
    pub fn leave_out(&mut self, id: ClientId, kind: Kind, name: &[u8], count: usize) {
        let own = |message: &&mut Message| message.kind == kind && *message.name == *name;
        let reaches =
            |message: &&mut Message| message.last.is_none_or(|last| order(&last) < order(&id));
        let reaching = self.messages.iter_mut().filter(own).filter(reaches);
        for message in reaching.take(count) {
            let at = message.got.partition_point(|own| order(own) < order(&id));
            message.got.insert(at, id);
        }
    }

    /// Whether nothing waits.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty() && self.unwritten.is_empty()
    }

    /// Whether so much waits that no more is to be read.
    #[inline]
    pub fn is_full(&self) -> bool {
        self.bytes >= FULL_BYTES
    }

    /// A turn has begun.
    #[inline]
    pub fn begin_turn(&mut self, limits: &Limits) {
        self.messages_left = limits.turn_messages;
        self.writes_left = limits.turn_subscribers;
        self.unwritten_max = UNWRITTEN_TURNS * limits.turn_subscribers;
    }

    /// Whether messages wait: another one waits behind them.
    #[inline]
    pub(in crate::proxy::pubsub) fn has_messages(&self) -> bool {
        !self.messages.is_empty()
    }

    /// Whether another subscriber may be handed a message in this turn.
    #[inline]
    pub(in crate::proxy::pubsub) fn hands_more(&self) -> bool {
        self.messages_left > 0 && self.unwritten.len() < self.unwritten_max
    }

    /// A message of so many bytes has been handed to a subscriber: they are copied here, or by the kernel.
    #[inline]
    pub(in crate::proxy::pubsub) fn handed(&mut self, bytes: usize) {
        let cost = 1 + bytes / SHORT_BYTES;
        self.messages_left = self.messages_left.saturating_sub(cost);
    }

    /// A subscriber is to be written to. Returns whether that is to be now; if not it is kept in mind.
    #[inline]
    pub(in crate::proxy) fn writes(&mut self, id: ClientId) -> bool {
        if self.writes_left == 0 {
            self.unwritten.push_back(id);
            return false;
        }
        self.writes_left -= 1;
        true
    }

    /// The next who is to be written to in this turn.
    pub(in crate::proxy::pubsub) fn next_unwritten(&mut self) -> Option<ClientId> {
        self.writes_left = self.writes_left.checked_sub(1)?;
        let next = self.unwritten.pop_front();
        if next.is_none() {
            self.writes_left += 1;
            self.unwritten.shrink_to(64);
        }
        next
    }

    /// A message waits.
    pub(in crate::proxy::pubsub) fn keep(&mut self, message: Message) {
        self.bytes += message.cost();
        self.messages.push_back(message);
    }

    /// The next message that is to be handed on in this turn.
    pub(in crate::proxy::pubsub) fn next(&mut self) -> Option<Message> {
        if !self.hands_more() {
            return None;
        }
        let Some(message) = self.messages.pop_front() else {
            self.messages.shrink_to(64);
            return None;
        };
        self.bytes -= message.cost();
        Some(message)
    }

    /// The message that was taken last is not done.
    pub(in crate::proxy::pubsub) fn put_back(&mut self, message: Message) {
        self.bytes += message.cost();
        self.messages.push_front(message);
    }
}
