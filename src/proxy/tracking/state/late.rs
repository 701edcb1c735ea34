//! `Late`: what a client is to be told of keys that have changed, each behind a certain reply.
//!
//! A node pushes that a key has changed behind the replies with its old value. Such a reply may have been read from the
//! node and still wait in the client's pipeline, for one that another node owes: the push waits with it.

use std::collections::VecDeque;

use crate::proxy::ids::Seq;
use crate::proxy::tracking::state::invalidation::Invalidation;

/// So much waits for one client; if it is more, all of it becomes one push: everything may have changed.
const COUNT_MAX: usize = 1024;
const BYTES_MAX: usize = 256 << 10;

/// What a client is to be told.
#[derive(Debug, Default)]
pub struct Late {
    all: VecDeque<(Seq, Invalidation)>,
    bytes: usize,
    /// Whether it is told in a later turn.
    pub is_queued: bool,
    /// The same for another client, which has named it (`REDIRECT`).
    for_others: VecDeque<(Seq, Invalidation)>,
}

impl Late {
    /// It is to be told this as soon as all requests before `until` are answered.
    pub fn add(&mut self, until: Seq, told: Invalidation) {
        let same = |last: &(Seq, Invalidation)| *last == (until, Invalidation::All);
        if self.all.back().is_some_and(same) {
            return;
        }
        self.bytes += told.key_bytes();
        self.all.push_back((until, told));
        if self.all.len() > COUNT_MAX || self.bytes > BYTES_MAX {
            let last = self.all.drain(..).map(|(until, _)| until);
            let last = last.reduce(|a, b| if a.before(b) { b } else { a });
            self.bytes = 0;
            self.all
                .extend(last.map(|until| (until, Invalidation::All)));
        }
    }

    /// The same, of what is for another client. What waits is not owed to the client: if it is too much, it becomes one.
    pub fn add_for_another(&mut self, until: Seq, told: Invalidation) {
        self.for_others.push_back((until, told));
        if self.for_others.len() > COUNT_MAX {
            let until = self.for_others.back().map(|(until, _)| *until);
            self.for_others.clear();
            self.for_others
                .extend(until.map(|until| (until, Invalidation::All)));
        }
    }

    /// Takes what it may be told for another.
    pub fn take_for_another(&mut self, head: Seq) -> Option<Invalidation> {
        let (until, _) = self.for_others.front()?;
        if head.before(*until) {
            return None;
        }
        self.for_others.pop_front().map(|(_, told)| told)
    }

    /// Takes what it may be told now that `head` is its oldest request that is not answered. What was added first comes
    /// first, as far as it may.
    pub fn take(&mut self, head: Seq) -> Option<Invalidation> {
        let due = self
            .all
            .iter()
            .position(|(until, _)| !head.before(*until))?;
        let (_, told) = self.all.remove(due)?;
        self.bytes -= told.key_bytes();
        Some(told)
    }

    /// Whether it is to be told nothing.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> Invalidation {
        Invalidation::Keys(vec![name.as_bytes().into()])
    }

    #[test]
    fn each_waits_for_its_own_reply() {
        let mut late = Late::default();
        late.add(Seq(2), key("b"));
        late.add(Seq(u32::MAX), key("a"));
        assert_eq!(late.take(Seq(u32::MAX - 1)), None);
        assert_eq!(late.take(Seq(u32::MAX)), Some(key("a")));
        assert_eq!(late.take(Seq(1)), None);
        assert_eq!(late.take(Seq(2)), Some(key("b")));
        assert!(late.is_empty() && late.bytes == 0);
    }

    #[test]
    fn too_much_becomes_one_push_behind_the_last_reply() {
        let mut late = Late::default();
        late.add(Seq(9), key("last"));
        (0..COUNT_MAX).for_each(|_| late.add(Seq(3), key("k")));
        assert_eq!(late.all, [(Seq(9), Invalidation::All)]);
        late.add(Seq(9), Invalidation::All);
        assert_eq!(late.all.len(), 1);
        late.add(
            Seq(1),
            Invalidation::Keys(vec![vec![0; BYTES_MAX + 1].into()]),
        );
        assert_eq!(late.all, [(Seq(9), Invalidation::All)]);
    }
}
