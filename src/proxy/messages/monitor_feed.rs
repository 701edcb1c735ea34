//! `MonitorFeed`: lines about one worker's clients, on their way to the MONITOR clients of another worker.
//!
//! At most one message is on its way from one worker to another; further lines wait here until it is acknowledged. So
//! mailboxes stay free for everything else, and memory is bounded: if there are too many lines they are dropped, and
//! the MONITOR clients are closed. A message is so long that all its copies together are one turn's work.

use std::collections::VecDeque;

/// Bytes that one message may have its worker copy, all monitors together.
const COPIED_MAX: usize = 1 << 20;

/// The lines on their way to one other worker.
#[derive(Debug, Default)]
pub struct MonitorFeed {
    /// Each is a message. None is empty.
    waiting: VecDeque<Vec<u8>>,
    waiting_bytes: usize,
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
    /// Adds a line for so many monitors, unless more than `max` bytes wait already. Returns what is to be sent now.
    pub fn add(&mut self, line: &[u8], monitors: usize, max: usize) -> Option<Lines> {
        if self.waiting_bytes > max {
            self.is_broken = true;
            self.waiting = VecDeque::new();
            self.waiting_bytes = 0;
        }
        if !self.is_broken {
            let room = COPIED_MAX / monitors.max(1);
            match self.waiting.back_mut() {
                Some(last) if last.len() + line.len() <= room => last.extend_from_slice(line),
                Some(_) | None => self.waiting.push_back(line.to_vec()),
            }
            self.waiting_bytes += line.len();
        }
        self.next()
    }

    /// The last message was acknowledged. Returns what is to be sent now.
    pub fn acknowledged(&mut self) -> Option<Lines> {
        self.on_its_way = false;
        self.next()
    }

    fn next(&mut self) -> Option<Lines> {
        if self.on_its_way {
            return None;
        }
        let lines = if std::mem::take(&mut self.is_broken) {
            Lines::Lost
        } else {
            Lines::Whole(self.waiting.pop_front()?)
        };
        if let Lines::Whole(lines) = &lines {
            self.waiting_bytes -= lines.len();
        }
        self.on_its_way = true;
        Some(lines)
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
        assert_eq!(feed.add(b"a", 1, 10), whole("a"));
        assert_eq!(feed.add(b"b", 1, 10), None);
        assert_eq!(feed.add(b"c", 1, 10), None);
        assert_eq!(feed.acknowledged(), whole("bc"));
        assert_eq!(feed.acknowledged(), None);
        assert_eq!(feed.add(b"d", 1, 10), whole("d"));
    }

    #[test]
    fn the_more_monitors_the_shorter_is_a_message() {
        let line = [b'x'; 1000];
        for monitors in [1, 100, 2000] {
            let mut feed = MonitorFeed::default();
            let mut messages = vec![feed.add(&line, monitors, 1 << 20).expect("the first")];
            for _ in 0..999 {
                assert_eq!(feed.add(&line, monitors, 1 << 20), None);
            }
            messages.extend(std::iter::from_fn(|| feed.acknowledged()));
            let bytes = messages.iter().map(|lines| match lines {
                Lines::Whole(lines) => lines.len(),
                Lines::Lost => panic!("none is lost"),
            });
            let bytes: Vec<usize> = bytes.collect();
            assert_eq!(bytes.iter().sum::<usize>(), 1000 * line.len());
            let most = bytes.into_iter().max().expect("one message");
            assert!(
                most == line.len() || most * monitors <= COPIED_MAX,
                "{monitors}"
            );
            assert_eq!(feed.waiting_bytes, 0);
        }
    }

    #[test]
    fn lines_too_many_are_lost_as_a_whole() {
        let mut feed = MonitorFeed::default();
        for _ in 0..5 {
            feed.add(b"0123456789", 1, 15);
        }
        assert_eq!(feed.acknowledged(), Some(Lines::Lost));
        assert_eq!(feed.acknowledged(), None);
        assert_eq!(feed.add(b"d", 1, 10), whole("d"));
    }
}
