//! `Pipe`: one direction of a connection: bytes accepted and not yet read, as a socket's buffers hold them.

use std::collections::VecDeque;

/// Bytes under way.
#[derive(Debug, Default)]
pub struct Pipe {
    bytes: VecDeque<u8>,
    capacity: usize,
    /// Whether the writer has closed: the end follows the bytes.
    pub ended: bool,
    /// Whether what is written from now on gets lost.
    lost: bool,
}

impl Pipe {
    /// A pipe that accepts no more than `capacity` bytes ahead of its reader.
    pub fn new(capacity: usize) -> Pipe {
        Pipe {
            capacity,
            ..Pipe::default()
        }
    }

    /// From here on it accepts more.
    pub fn widen(&mut self, capacity: usize) {
        self.capacity = self.capacity.max(capacity);
    }

    /// How many bytes are under way.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// How many bytes it would accept.
    pub fn room(&self) -> usize {
        self.capacity.saturating_sub(self.bytes.len())
    }

    /// Accepts bytes, as many as the caller has made sure of.
    pub fn push(&mut self, bytes: &[u8]) {
        if !self.lost {
            self.bytes.extend(bytes);
        }
    }

    /// Moves bytes to `room`, and returns how many.
    pub fn read(&mut self, room: &mut [u8]) -> usize {
        let count = room.len().min(self.bytes.len());
        for (to, from) in room.iter_mut().zip(self.bytes.drain(..count)) {
            *to = from;
        }
        count
    }

    /// Moves up to `max` bytes to the end of `to`.
    pub fn read_to(&mut self, to: &mut Vec<u8>, max: usize) {
        let count = max.min(self.bytes.len());
        to.extend(self.bytes.drain(..count));
    }

    /// Loses all but the first `count` bytes, and all that is written later.
    pub fn cut(&mut self, count: usize) {
        self.bytes.truncate(count);
        self.lost = true;
    }
}
