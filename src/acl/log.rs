//! `Log`: ACL LOG: what was denied, and to whom. Like events soon after one another are one entry, as in Redis.

use std::collections::VecDeque;
use std::time::Duration;

use super::permissions::Reason;

/// Entries that are kept (`acllog-max-len`).
const ENTRIES_MAX: usize = 128;
/// Bytes of an object, or of a user's name, that are kept.
const NAME_BYTES_MAX: usize = 1024;
/// Entries among which a like one is looked for.
const LOOKED_AT: usize = 10;
/// What is further apart is not like.
const TOGETHER: Duration = Duration::from_secs(60);

/// Where a request was denied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// When it came.
    TopLevel,
    /// Between MULTI and EXEC.
    Multi,
}

impl Place {
    /// As ACL LOG shows it.
    pub fn name(self) -> &'static str {
        match self {
            Place::TopLevel => "toplevel",
            Place::Multi => "multi",
        }
    }
}

/// Something that was denied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// What must not be named.
    pub reason: Reason,
    /// Where it was.
    pub place: Place,
    /// The command, key or channel.
    pub object: Vec<u8>,
    /// Who it was, or claimed to be.
    pub user: Vec<u8>,
    /// The client's line of CLIENT LIST.
    pub client: String,
    /// When, since the process began.
    pub at: Duration,
}

/// Like events.
#[derive(Debug)]
pub struct Entry {
    /// How many.
    pub count: u64,
    /// The last.
    pub event: Event,
}

/// What was denied, the latest first.
#[derive(Debug, Default)]
pub struct Log(VecDeque<Entry>);

impl Log {
    /// Something has been denied.
    pub fn add(&mut self, mut event: Event) {
        event.object.truncate(NAME_BYTES_MAX);
        event.user.truncate(NAME_BYTES_MAX);
        let is_like = |entry: &Entry| {
            let own = &entry.event;
            own.reason == event.reason
                && own.place == event.place
                && own.object == event.object
                && own.user == event.user
                && event.at.abs_diff(own.at) <= TOGETHER
        };
        let like = self.0.iter().take(LOOKED_AT).position(is_like);
        let before = like.and_then(|at| self.0.remove(at));
        let count = before.map_or(1, |entry| entry.count + 1);
        self.0.push_front(Entry { count, event });
        self.0.truncate(ENTRIES_MAX);
    }

    /// The latest entries.
    pub fn latest(&self, count: usize) -> impl ExactSizeIterator<Item = &Entry> {
        self.0.iter().take(count)
    }

    /// Forgets them all.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn like_events_are_one_entry_and_old_ones_go() {
        let event = |object: &str, at: u64| Event {
            reason: Reason::Key,
            place: Place::TopLevel,
            object: object.into(),
            user: b"u".to_vec(),
            client: String::new(),
            at: Duration::from_secs(at),
        };
        let mut log = Log::default();
        let counts = |log: &Log| log.latest(9).map(|own| own.count).collect::<Vec<_>>();
        for (object, at) in [("a", 1), ("b", 2), ("a", 61), ("a", 122)] {
            log.add(event(object, at));
        }
        assert_eq!(counts(&log), [1, 2, 1]);
        for number in 0..2 * ENTRIES_MAX {
            log.add(event(&number.to_string(), 200));
        }
        log.add(event("0", 201));
        assert_eq!(log.latest(usize::MAX).len(), ENTRIES_MAX);
        assert_eq!(counts(&log)[..2], [1, 1]);
        log.add(event(&"x".repeat(9999), 202));
        let longest = log.latest(1).map(|own| own.event.object.len());
        assert_eq!(longest.max(), Some(NAME_BYTES_MAX));
        log.clear();
        assert!(counts(&log).is_empty());
    }
}
