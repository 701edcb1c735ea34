//! `Again`: what clients are told twice.
//!
//! What a client has read where nobody tracks it (in a transaction, at a node that does not track) is said to have changed
//! right behind its reply, and nothing more will be said of it. Libraries that read pushes in one task and keep replies in
//! another may look at that push before they have kept the reply; on a server of its own that takes a write at that very
//! moment, here it would happen each time. So it is said once more when the reply has surely been kept.
//!
//! It must never know what a client is beyond its name and its place.

use std::collections::VecDeque;
use std::time::Duration;

use crate::clock::Time;
use crate::proxy::ids::{ClientId, Seq};
use crate::proxy::tracking::state::invalidation::Invalidation;

/// How long after the first time.
const WAIT: Duration = Duration::from_millis(100);
/// So much waits: of one more the oldest is told early.
const COUNT_MAX: usize = 4096;
/// Keys of so many bytes are told by name, more of them as all keys.
const BYTES_MAX: usize = 4096;

/// What one client is told again.
#[derive(Debug, PartialEq, Eq)]
pub struct Twice {
    /// The client.
    pub client: ClientId,
    /// Behind the reply before this place.
    pub until: Seq,
    /// What, with keys as the client names them.
    pub told: Invalidation,
}

/// What clients are told again, the earliest first.
#[derive(Debug, Default)]
pub struct Again {
    all: VecDeque<(Time, Twice)>,
}

impl Again {
    /// A client is told this now, and is to be told it again. Returns what gives way to it.
    pub fn add(&mut self, mut twice: Twice, now: Time) -> Option<Twice> {
        if twice.told.key_bytes() > BYTES_MAX {
            twice.told = Invalidation::All;
        }
        self.all.push_back((now.after(WAIT), twice));
        let first = match self.all.len() > COUNT_MAX {
            true => self.all.pop_front(),
            false => None,
        };
        first.map(|(_, twice)| twice)
    }

    /// When something is to be told.
    #[inline]
    pub fn due(&self) -> Option<Time> {
        self.all.front().map(|(due, _)| *due)
    }

    /// Takes what is due.
    pub fn take(&mut self, now: Time) -> Option<Twice> {
        let (due, _) = self.all.front()?;
        if now < *due {
            return None;
        }
        self.all.pop_front().map(|(_, twice)| twice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn twice(client: u32, bytes: usize) -> Twice {
        Twice {
            client: ClientId::from_parts(client, 1),
            until: Seq(1),
            told: Invalidation::Keys(vec![vec![b'k'; bytes].into()]),
        }
    }

    #[test]
    fn each_is_due_a_while_later_and_too_many_are_told_early() {
        let (mut again, now) = (Again::default(), Time::from_micros(5));
        for client in 0..COUNT_MAX as u32 {
            assert_eq!(again.add(twice(client, 3), now), None);
        }
        assert_eq!(again.add(twice(9, 3), now.after(WAIT)), Some(twice(0, 3)));
        assert_eq!(again.take(now), None);
        assert_eq!(again.due(), Some(now.after(WAIT)));
        let due = std::iter::from_fn(|| again.take(now.after(WAIT)));
        assert_eq!(due.count(), COUNT_MAX - 1);
        assert_eq!(again.due(), Some(now.after(WAIT * 2)));
    }

    #[test]
    fn of_very_long_keys_no_bytes_are_kept() {
        let (mut again, now) = (Again::default(), Time::from_micros(5));
        again.add(twice(1, BYTES_MAX + 1), now);
        let told = again.take(now.after(WAIT)).map(|own| own.told);
        assert_eq!(told, Some(Invalidation::All));
    }
}
