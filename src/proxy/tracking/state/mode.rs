//! `Mode`: what one client has asked for with `CLIENT TRACKING ON`.

use std::collections::{BTreeSet, VecDeque};

use crate::proxy::ids::{ClientId, Seq};

/// Which of its reads are tracked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Choice {
    /// All.
    #[default]
    All,
    /// `OPTIN`: those behind a `CLIENT CACHING YES`.
    OptIn,
    /// `OPTOUT`: those that are not behind a `CLIENT CACHING NO`.
    OptOut,
}

/// A client that is told what another one is to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target {
    /// Its number.
    pub number: u64,
    /// The worker that it is a client of.
    pub worker: usize,
    /// Its name there.
    pub client: ClientId,
}

/// What one client has asked for.
#[derive(Debug, Default)]
pub struct Mode {
    /// Which of its reads are tracked.
    pub choice: Choice,
    /// `NOLOOP`: it is not to hear of its own writes.
    pub noloop: bool,
    /// `REDIRECT`: who is told in its place.
    pub redirect: Option<Target>,
    /// Whether that client has gone.
    pub broken: bool,
    /// `BCAST`: it is told of all keys with these prefixes, and not of those that it has read.
    pub prefixes: BTreeSet<Box<[u8]>>,
    /// The place of the next request when it was told, for its prefixes, that everything may have changed.
    pub forgot_at: Option<Seq>,
    /// Whether it has been told that everything may have changed, and has read nothing since: it need not be told again.
    /// (When a cluster is flushed, every master says so.)
    pub forgot_all: bool,
    /// The places of the requests that stand behind a `CLIENT CACHING`, oldest first.
    chosen: VecDeque<Seq>,
    /// The keys of its requests that travel on connections of its own, as it knows them.
    pub apart: Vec<Box<[u8]>>,
    /// Whether there were more of those than are remembered.
    pub apart_overflow: bool,
}

/// So many keys of one transaction are remembered, none of them longer than that; else all keys are said to have changed.
const APART_MAX: usize = 128;
const APART_BYTES_MAX: usize = 4096;
/// What a name costs beside its bytes.
const NAME_COST: usize = 48;

impl Mode {
    /// What a client has just asked for.
    pub fn new(choice: Choice, noloop: bool) -> Mode {
        Mode {
            choice,
            noloop,
            ..Mode::default()
        }
    }

    /// Whether it is told by prefix (`BCAST`).
    #[inline]
    pub fn is_broadcast(&self) -> bool {
        !self.prefixes.is_empty()
    }

    /// Bytes of its prefixes and keys.
    pub fn bytes(&self) -> usize {
        let all = self.prefixes.iter().chain(&self.apart);
        all.map(|name| name.len() + NAME_COST).sum()
    }

    /// The request at this place stands behind a `CLIENT CACHING`. `head` is the oldest that is not answered.
    pub fn choose(&mut self, seq: Seq, head: Seq) {
        while self.chosen.front().is_some_and(|own| own.before(head)) {
            self.chosen.pop_front();
        }
        if self.chosen.back() != Some(&seq) {
            self.chosen.push_back(seq);
        }
    }

    /// The request at `seq` was one that is answered here, and `CLIENT CACHING` is about the next one.
    pub fn pass_on(&mut self, seq: Seq, next: Seq) {
        if self.chosen.back() == Some(&seq) {
            self.chosen.pop_back();
            self.chosen.push_back(next);
        }
    }

    /// Whether `CLIENT CACHING` was the last that it has said. `next` is the place of its next request.
    pub fn has_chosen(&self, next: Seq) -> bool {
        self.chosen.back() == Some(&next)
    }

    /// Whether what the request at this place reads is tracked.
    pub fn tracks(&self, seq: Seq) -> bool {
        match self.choice {
            Choice::All => true,
            Choice::OptIn => self.chosen.contains(&seq),
            Choice::OptOut => !self.chosen.contains(&seq),
        }
    }

    /// A key of a request that travels on a connection of its own.
    pub fn note_apart(&mut self, key: &[u8]) {
        if self.apart.len() >= APART_MAX || key.len() > APART_BYTES_MAX {
            self.apart_overflow = true;
        } else {
            self.apart.push(key.into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn caching_is_about_the_next_request_only() {
        let mut mode = Mode {
            choice: Choice::OptIn,
            ..Mode::default()
        };
        assert!(!mode.tracks(Seq(1)));
        mode.choose(Seq(u32::MAX), Seq(u32::MAX - 2));
        assert!(mode.tracks(Seq(u32::MAX)) && !mode.tracks(Seq(0)));
        assert!(mode.has_chosen(Seq(u32::MAX)) && !mode.has_chosen(Seq(0)));
        // CLIENT ID in between changes nothing.
        mode.pass_on(Seq(u32::MAX), Seq(0));
        assert!(mode.tracks(Seq(0)) && !mode.tracks(Seq(u32::MAX)));
        // What is answered is forgotten.
        mode.choose(Seq(9), Seq(5));
        assert_eq!(mode.chosen, [Seq(9)]);
        mode.choice = Choice::OptOut;
        assert!(mode.tracks(Seq(8)) && !mode.tracks(Seq(9)));
    }

    #[test]
    fn only_so_many_keys_of_a_transaction_are_remembered() {
        let mut mode = Mode::default();
        (0..APART_MAX).for_each(|_| mode.note_apart(b"k"));
        assert!(!mode.apart_overflow);
        mode.note_apart(b"k");
        assert!(mode.apart_overflow && mode.apart.len() == APART_MAX);
        let mut mode = Mode::default();
        mode.note_apart(&[b'k'; APART_BYTES_MAX + 1]);
        assert!(mode.apart_overflow && mode.apart.is_empty());
    }
}
