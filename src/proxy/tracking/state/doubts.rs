//! `Doubts`: what a node has told on one connection while replies of another were outstanding. Any of those may be older, and
//! the node does not tell again.

use std::collections::VecDeque;

use crate::clock::Time;
use crate::cluster::slot::Slot;

/// So much is remembered; if it is more, every key is in doubt.
const COUNT_MAX: usize = 1024;

/// What was told, and when.
#[derive(Debug, Default)]
pub struct Doubts {
    keys: VecDeque<(Time, Box<[u8]>)>,
    /// When everything was told last.
    all: Option<Time>,
}

impl Doubts {
    /// A key was told.
    pub fn add(&mut self, key: &[u8], now: Time) {
        self.keys.push_back((now, key.into()));
        if self.keys.len() > COUNT_MAX {
            self.add_all(now);
        }
    }

    /// Everything was told.
    pub fn add_all(&mut self, now: Time) {
        self.keys.clear();
        self.all = Some(now);
    }

    /// A reply has come to a request that was sent at this time: nothing is older any more.
    pub fn settle(&mut self, sent_at: Time) {
        while self.keys.front().is_some_and(|(at, _)| *at < sent_at) {
            self.keys.pop_front();
        }
        self.all = self.all.filter(|at| *at >= sent_at);
    }

    /// Whether a reply with this key may be older than what was told of it.
    pub fn has(&self, key: &[u8]) -> bool {
        self.all.is_some() || self.keys.iter().any(|(_, own)| **own == *key)
    }

    /// The keys of a slot of which that may be so; nothing if it may be so of every key.
    pub fn of_slot(&self, slot: u16) -> Option<Vec<Box<[u8]>>> {
        let keys = self.keys.iter().map(|(_, key)| key);
        let keys = keys.filter(|key| Slot::of(key).number() == slot);
        self.all.is_none().then(|| keys.cloned().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_told_before_a_request_was_sent_is_no_doubt() {
        let at = |micros| Time::from_micros(micros);
        let mut doubts = Doubts::default();
        doubts.add(b"a", at(1));
        doubts.add(b"b", at(2));
        doubts.settle(at(1));
        assert!(doubts.has(b"a") && doubts.has(b"b") && !doubts.has(b"c"));
        doubts.settle(at(2));
        assert!(!doubts.has(b"a") && doubts.has(b"b"));
        let slot = Slot::of(b"b").number();
        assert_eq!(doubts.of_slot(slot), Some(vec![b"b".as_slice().into()]));
        assert_eq!(doubts.of_slot(slot + 1), Some(Vec::new()));
        (0..=COUNT_MAX).for_each(|_| doubts.add(b"k", at(3)));
        assert!(doubts.has(b"c") && doubts.of_slot(slot).is_none());
        doubts.settle(at(3));
        assert!(doubts.has(b"c"));
        doubts.settle(at(4));
        assert!(!doubts.has(b"k"));
    }
}
