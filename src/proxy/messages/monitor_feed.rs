//! `MonitorFeed`: lines about one worker's clients, on their way to the MONITOR clients of another worker.
//!
//! At most one message is on its way from one worker to another; further lines wait here until it is acknowledged. So
//! mailboxes stay free for everything else, and memory is bounded: if there are too many lines they are dropped, and
//! the MONITOR clients are closed.

/// The lines on their way to one other worker.
#[derive(Debug, Default)]
pub struct MonitorFeed {
    waiting: Vec<u8>,
    /// Whether a message has not been acknowledged yet.
    on_its_way: bool,
    /// Whether lines were thrown away since the last message.
    is_broken: bool,
}

/// What one message carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lines {
    /// Whole lines, one behind the other.
    Whole(Vec<u8>),
    /// There were too many.
    Lost,
}

impl MonitorFeed {
    /// Adds a line, unless more than `max` bytes wait already. Returns what is to be sent now.
    pub fn add(&mut self, line: &[u8], max: usize) -> Option<Lines> {
        if self.waiting.len() > max {
            self.is_broken = true;
            self.waiting = Vec::new();
        }
        if !self.is_broken {
            self.waiting.extend_from_slice(line);
        }
        self.next()
    }

    /// The last message was acknowledged. Returns what is to be sent now.
    pub fn acknowledged(&mut self) -> Option<Lines> {
        self.on_its_way = false;
        self.next()
    }

    fn next(&mut self) -> Option<Lines> {
        if self.on_its_way || (self.waiting.is_empty() && !self.is_broken) {
            return None;
        }
        self.on_its_way = true;
        let lines = std::mem::take(&mut self.waiting);
        Some(if std::mem::take(&mut self.is_broken) {
            Lines::Lost
        } else {
            Lines::Whole(lines)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(lines: &str) -> Option<Lines> {
        Some(Lines::Whole(lines.into()))
    }

    #[test]
    fn one_message_is_on_its_way() {
        let mut feed = MonitorFeed::default();
        assert_eq!(feed.add(b"a", 10), whole("a"));
        assert_eq!(feed.add(b"b", 10), None);
        assert_eq!(feed.add(b"c", 10), None);
        assert_eq!(feed.acknowledged(), whole("bc"));
        assert_eq!(feed.acknowledged(), None);
        assert_eq!(feed.add(b"d", 10), whole("d"));
    }

    #[test]
    fn lines_too_many_are_lost_as_a_whole() {
        let mut feed = MonitorFeed::default();
        for _ in 0..5 {
            feed.add(b"0123456789", 15);
        }
        assert_eq!(feed.acknowledged(), Some(Lines::Lost));
        assert_eq!(feed.acknowledged(), None);
        assert_eq!(feed.add(b"d", 10), whole("d"));
    }
}
