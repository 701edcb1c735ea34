//! `OutOfOrder`: the replies of one client that arrived before their turn, one after another in one buffer.
//!
//! Most such replies are small and wait briefly, so they cost one copy in and one out, and no buffer of their own.
//! Whoever stores one remembers its place, and removes each exactly once.
//!
//! It must never know which request a reply belongs to.

/// A reply longer than this is kept in a buffer of its own, in bytes.
pub const OUT_OF_ORDER_MAX: usize = 4096;
/// Bytes of replies given back that may lie among others before these are moved together.
const GIVEN_BACK_MAX: usize = 16 << 10;
/// Bytes of buffers that are kept for reuse, and of one of them.
const SPARES_BYTES: usize = 16 << 20;
const SPARE_BYTES: usize = 64 << 10;
/// A new buffer has so many bytes.
const SPARE_BYTES_MIN: usize = 2 << 10;
/// Buffers that stay while there are commands.
const SPARES_STEADY: usize = 64;

/// Where a reply lies; the default is that of one without bytes, which is nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Place {
    start: u32,
    len: u32,
}

/// Replies that wait.
///
/// Invariants: `kept` is the sum of the places that are out; `end <= bytes.len()`; there is no buffer while
/// `kept` is zero.
#[derive(Debug, Default)]
pub struct OutOfOrder {
    bytes: Vec<u8>,
    end: usize,
    kept: usize,
}

/// Buffers for reuse.
#[derive(Debug, Default)]
pub struct OutOfOrderSpares {
    buffers: Vec<Vec<u8>>,
    bytes: usize,
}

impl OutOfOrderSpares {
    fn take(&mut self) -> Vec<u8> {
        let buffer = self.buffers.pop().unwrap_or_default();
        self.bytes -= buffer.len();
        buffer
    }

    /// Gives half of the buffers back to the allocator, down to a few.
    pub fn shed(&mut self) {
        let kept = (self.buffers.len() / 2).max(SPARES_STEADY);
        let given = self.buffers.drain(kept.min(self.buffers.len())..);
        self.bytes -= given.map(|buffer| buffer.len()).sum::<usize>();
        self.buffers.shrink_to(2 * kept);
    }

    fn give(&mut self, buffer: Vec<u8>) {
        if buffer.len() <= SPARE_BYTES && self.bytes + buffer.len() <= SPARES_BYTES {
            self.bytes += buffer.len();
            self.buffers.push(buffer);
        }
    }
}

impl OutOfOrder {
    /// Keeps a copy of a reply. Nothing if there is no room for it here, which is for longer ones.
    #[inline(always)]
    pub fn keep(&mut self, reply: &[u8], spares: &mut OutOfOrderSpares) -> Option<Place> {
        debug_assert!(!reply.is_empty());
        let (start, end) = (self.end, self.end + reply.len());
        if end > self.bytes.len() {
            self.make_room(reply.len(), spares)?;
        }
        self.bytes[start..end].copy_from_slice(reply);
        self.end = end;
        self.kept += reply.len();
        Some(Place {
            start: start as u32,
            len: reply.len() as u32,
        })
    }

    /// Makes room for a reply of `len` bytes, if it is to have any.
    #[inline(never)]
    fn make_room(&mut self, len: usize, spares: &mut OutOfOrderSpares) -> Option<()> {
        if len > OUT_OF_ORDER_MAX || self.end > u32::MAX as usize / 2 {
            return None;
        }
        if self.bytes.is_empty() {
            self.bytes = spares.take();
        }
        let wanted = self.end + len;
        if wanted > self.bytes.len() {
            self.bytes.resize((2 * wanted).max(SPARE_BYTES_MIN), 0);
        }
        Some(())
    }

    /// A reply that is kept.
    #[inline(always)]
    pub fn get(&self, place: Place) -> &[u8] {
        let start = place.start as usize;
        &self.bytes[start..start + place.len as usize]
    }

    /// Replies of so many bytes are no longer needed.
    #[inline]
    pub fn give_back(&mut self, bytes: usize, spares: &mut OutOfOrderSpares) {
        self.kept -= bytes;
        if self.kept == 0 {
            self.end = 0;
            spares.give(std::mem::take(&mut self.bytes));
        }
    }

    /// Whether so much lies among the kept replies that they should be moved together.
    #[inline]
    pub fn is_loose(&self) -> bool {
        self.end > 2 * self.kept + GIVEN_BACK_MAX
    }

    /// Moves all replies together, given every place that is out.
    pub fn tighten<'a>(&mut self, places: impl Iterator<Item = &'a mut [u32; 2]>) {
        let mut bytes = vec![0; (2 * self.kept).max(SPARE_BYTES_MIN)];
        let mut end = 0;
        for words in places {
            let mut place = Place::from_words(*words);
            let len = place.len as usize;
            bytes[end..end + len].copy_from_slice(self.get(place));
            place.start = end as u32;
            *words = place.words();
            end += len;
        }
        debug_assert_eq!(end, self.kept);
        (self.bytes, self.end) = (bytes, end);
    }
}

impl Place {
    /// The place as two words, to be stored.
    #[inline(always)]
    pub fn words(self) -> [u32; 2] {
        [self.start, self.len]
    }

    /// The place that these words are.
    #[inline(always)]
    pub fn from_words([start, len]: [u32; 2]) -> Place {
        Place { start, len }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Random;

    #[test]
    fn replies_keep_their_bytes_while_others_come_and_go() {
        let (mut replies, mut spares) = (OutOfOrder::default(), OutOfOrderSpares::default());
        let mut numbers = Random::new(3);
        let mut random = |below: usize| numbers.below(below);
        let mut kept: Vec<([u32; 2], Vec<u8>)> = Vec::new();
        for step in 0..50_000 {
            if kept.len() < 2 || random(2) == 0 {
                let reply = vec![step as u8; 1 + random(300)];
                let place = replies.keep(&reply, &mut spares).expect("it is short");
                kept.push((place.words(), reply));
            } else {
                let (place, reply) = kept.swap_remove(random(kept.len()));
                assert_eq!(replies.get(Place::from_words(place)), reply);
                replies.give_back(reply.len(), &mut spares);
            }
            if replies.is_loose() {
                replies.tighten(kept.iter_mut().map(|(place, _)| place));
                assert!(!replies.is_loose());
            }
            let live: usize = kept.iter().map(|(_, reply)| reply.len()).sum();
            assert!(replies.end <= 2 * live + GIVEN_BACK_MAX + 300);
        }
        for (place, reply) in kept {
            assert_eq!(replies.get(Place::from_words(place)), reply);
            replies.give_back(reply.len(), &mut spares);
        }
        assert!(replies.bytes.is_empty() && replies.kept == 0);
        assert!(
            replies
                .keep(&[0; OUT_OF_ORDER_MAX + 1], &mut spares)
                .is_none()
        );
    }
}
