//! `Largest`: the largest request and reply that were handled at a moment, to explain a long turn.
//!
//! Only large ones are recorded, so small requests cost nothing. It must never know what became of them.

use std::fmt::{self, Write};

use crate::clock::Time;

/// A request or a reply.
#[derive(Debug, Clone, Copy, Default)]
struct Large {
    /// The command's row.
    command: u16,
    bytes: usize,
    /// Keys of a request that was cut by them; 0 of any other.
    keys: usize,
}

/// The largest of one moment.
#[derive(Debug, Default)]
pub struct Largest {
    at: Time,
    request: Large,
    reply: Large,
}

impl Largest {
    /// A request of so many bytes and keys.
    #[inline(never)]
    pub fn request(&mut self, command: u16, bytes: usize, keys: usize, now: Time) {
        self.begin(now);
        self.request.note(command, bytes, keys);
    }

    /// A reply of so many bytes.
    #[inline(never)]
    pub fn reply(&mut self, command: u16, bytes: usize, now: Time) {
        self.begin(now);
        self.reply.note(command, bytes, 0);
    }

    /// What was noted of an earlier moment is forgotten.
    fn begin(&mut self, now: Time) {
        if self.at != now {
            *self = Largest {
                at: now,
                ..Largest::default()
            };
        }
    }

    /// As the end of a line on the turn that began at `began`; nothing if there was nothing large in it. `name` knows
    /// the names of rows.
    pub fn of_turn<'a>(&self, began: Time, name: impl Fn(u16) -> &'a str) -> String {
        let mut text = String::new();
        if self.at == began {
            for (what, large) in [("request", self.request), ("reply", self.reply)] {
                // Writing to a string does not fail.
                large.write(what, name(large.command), &mut text).ok();
            }
        }
        text
    }
}

impl Large {
    fn note(&mut self, command: u16, bytes: usize, keys: usize) {
        if bytes > self.bytes || (bytes == self.bytes && keys > self.keys) {
            *self = Large {
                command,
                bytes,
                keys,
            };
        }
    }

    fn write(self, what: &str, name: &str, text: &mut String) -> fmt::Result {
        let Large { bytes, keys, .. } = self;
        if bytes == 0 {
            return Ok(());
        }
        write!(text, "; largest {what}: {name} of {bytes} bytes")?;
        if keys > 0 {
            write!(text, " and {keys} keys")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_of_one_moment_is_kept() {
        let (one, two) = (Time::from_micros(1), Time::from_micros(2));
        let name = |command: u16| ["mset", "set", "keys", "get"][usize::from(command)];
        let mut largest = Largest::default();
        assert_eq!(largest.of_turn(Time::default(), name), "");
        largest.request(0, 100, 7, one);
        largest.request(1, 50, 0, one);
        largest.reply(2, 3000, one);
        let expected =
            "; largest request: mset of 100 bytes and 7 keys; largest reply: keys of 3000 bytes";
        assert_eq!(largest.of_turn(one, name), expected);
        assert_eq!(largest.of_turn(two, name), "");
        largest.reply(3, 5, two);
        let expected = "; largest reply: get of 5 bytes";
        assert_eq!(largest.of_turn(two, name), expected);
    }
}
