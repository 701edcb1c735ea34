//! `Frames`: one message as its subscribers get it, in each protocol. Long ones are shared: however many subscribers do
//! not read them, their bytes are in memory once for each protocol.
//!
//! It must never know who the subscribers are.

use std::borrow::Cow;
use std::sync::Arc;

use crate::buffer::Chunk;
use crate::proxy::namespace::Namespace;
use crate::proxy::pubsub::state::keyspace_events;
use crate::proxy::pubsub::state::kind::Kind;
use crate::resp::encode::Protocol;

/// A message of so many bytes is shared. A shorter one is copied into its subscribers' blocks: a piece of its own would
/// take as much memory, and one more slice of each write.
pub(in crate::proxy::pubsub) const SHARED_MIN: usize = 1 << 10;

/// How a message begins, by protocol. RESP2 has no pushes: the same is an array there.
const KINDS: [u8; Protocol::COUNT] = *b"*>";

/// What is appended to a subscriber's output.
pub(in crate::proxy::pubsub) enum Frame<'f> {
    /// These bytes, to be copied.
    Copied(&'f [u8]),
    /// The same as others have it.
    Shared(&'f Chunk),
}

impl Frame<'_> {
    fn of(chunk: &Chunk) -> Frame<'_> {
        match chunk.len() < SHARED_MIN {
            true => Frame::Copied(chunk.bytes()),
            false => Frame::Shared(chunk),
        }
    }
}

/// A message in both protocols. What one message took for its bytes is there for the next.
#[derive(Debug, Default)]
pub(in crate::proxy::pubsub) struct Frames {
    /// By protocol, of a short message.
    short: [Vec<u8>; Protocol::COUNT],
    /// By protocol, of a long one.
    long: [Option<Chunk>; Protocol::COUNT],
    /// By protocol: what the clients of the last namespace get that was asked for. Nothing if they are not to hear of it.
    confined: [Option<(Arc<Namespace>, Option<Chunk>)>; Protocol::COUNT],
}

impl Frames {
    /// Takes a push.
    #[inline]
    pub fn fill(&mut self, push: &[u8]) {
        debug_assert!(self.is_empty());
        for (at, kind) in KINDS.into_iter().enumerate() {
            let rest = push.get(1..).unwrap_or_default();
            if push.len() >= SHARED_MIN {
                self.long[at] = Some(Chunk::shared_of([&[kind], rest].concat()));
            } else {
                self.short[at].push(kind);
                self.short[at].extend_from_slice(rest);
            }
        }
    }

    /// Forgets it. Who has a part of it keeps that.
    #[inline]
    pub fn clear(&mut self) {
        self.short.iter_mut().for_each(Vec::clear);
        self.long = [None, None];
        self.confined = [None, None];
    }

    fn is_empty(&self) -> bool {
        self.short.iter().all(Vec::is_empty) && self.long.iter().all(Option::is_none)
    }

    /// Its bytes in both protocols.
    pub fn len(&self) -> usize {
        let short: usize = self.short.iter().map(Vec::len).sum();
        let long: usize = self.long.iter().flatten().map(Chunk::len).sum();
        short + long
    }

    /// What a subscriber gets; nothing if it is not to hear of it.
    #[inline]
    pub fn of(
        &mut self,
        protocol: Protocol,
        namespace: Option<&Arc<Namespace>>,
        kind: Kind,
    ) -> Option<Frame<'_>> {
        let at = protocol.index();
        if let Some(own) = namespace {
            return self.confined(at, own, kind).map(Frame::of);
        }
        Some(match &self.long[at] {
            Some(chunk) => Frame::of(chunk),
            None => Frame::Copied(&self.short[at]),
        })
    }

    /// What the clients of a namespace get. All who get one message are of one, or it is the same for all.
    #[cold]
    fn confined(&mut self, at: usize, own: &Arc<Namespace>, kind: Kind) -> Option<&Chunk> {
        let last = self.confined[at].take();
        let last = last.filter(|(namespace, _)| Arc::ptr_eq(namespace, own));
        let (short, long) = (&self.short[at], &self.long[at]);
        let (_, chunk) = self.confined[at].insert(last.unwrap_or_else(|| {
            let all = long.as_ref().map_or(&short[..], Chunk::bytes);
            let chunk =
                keyspace_events::confine(all, kind, own).and_then(|bytes| match (bytes, long) {
                    (Cow::Borrowed(_), Some(long)) => long.again(),
                    (bytes, _) => Some(Chunk::shared_of(bytes.into_owned())),
                });
            (own.clone(), chunk)
        }));
        chunk.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::encode;

    fn push(words: &[&[u8]]) -> Vec<u8> {
        let mut frame = Vec::new();
        encode::command(&mut frame, words.iter().copied());
        frame[0] = b'>';
        frame
    }

    fn frames_of(push: &[u8]) -> Frames {
        let mut frames = Frames::default();
        frames.fill(push);
        frames
    }

    fn storage(frame: Option<Frame<'_>>) -> Option<(*const u8, Vec<u8>)> {
        match frame? {
            Frame::Copied(bytes) => Some((std::ptr::null(), bytes.to_vec())),
            Frame::Shared(chunk) => Some((chunk.bytes().as_ptr(), chunk.bytes().to_vec())),
        }
    }

    #[test]
    fn all_who_speak_the_same_share_a_long_message_and_a_short_one_is_copied() {
        let long = push(&[b"message", b"news", &[b'x'; SHARED_MIN]]);
        let mut frames = frames_of(&long);
        for protocol in [Protocol::Resp2, Protocol::Resp3] {
            let first = storage(frames.of(protocol, None, Kind::Channel)).expect("a frame");
            assert!(!first.0.is_null());
            assert_eq!(first.1[1..], long[1..]);
            assert_eq!(first.1[0], [b'*', b'>'][protocol.index()]);
            let second = storage(frames.of(protocol, None, Kind::Channel));
            assert_eq!(second, Some(first));
        }
        let mut frames = frames_of(&push(&[b"message", b"news", b"x"]));
        let short = storage(frames.of(Protocol::Resp2, None, Kind::Channel)).expect("a frame");
        assert!(short.0.is_null());
    }

    #[test]
    fn clients_of_a_namespace_share_their_own_form_of_it() {
        let payload = [b'x'; SHARED_MIN];
        let mut frames = frames_of(&push(&[b"message", b"{n}news", &payload]));
        let own = Arc::new(Namespace::new("n", 1, true));
        let expected = push(&[b"message", b"news", &payload]);
        let first = storage(frames.of(Protocol::Resp3, Some(&own), Kind::Channel));
        assert_eq!(first.as_ref().map(|(_, bytes)| bytes), Some(&expected));
        let second = storage(frames.of(Protocol::Resp3, Some(&own), Kind::Channel));
        assert_eq!(second, first);
        // To whom it looks as it is, it is the same as to everybody.
        let all = storage(frames.of(Protocol::Resp3, None, Kind::Channel));
        let other = Arc::new(Namespace::new("m", 1, false));
        assert_eq!(
            storage(frames.of(Protocol::Resp3, Some(&other), Kind::Channel)),
            all
        );
        // One who may not hear of a key does not.
        let event = push(&[b"pmessage", b"*", b"__keyevent@0__:set", &payload]);
        let mut frames = frames_of(&event);
        assert!(
            frames
                .of(Protocol::Resp3, Some(&own), Kind::Pattern)
                .is_none()
        );
    }
}
