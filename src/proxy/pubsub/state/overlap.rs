//! `Overlap`: what two processes hear at the same time, while subscribers go from one to the other.
//!
//! A node sends the messages of a topic to both in one order. The old process notes which it has handed out last; the new
//! one keeps what has come since it listens. With a subscriber come the hashes of the last messages that it has got: the new
//! process finds them among what it has kept, and the subscriber gets what stands behind them. What it has got and is still to
//! come there it is not told again (`state::ahead`).
//!
//! Where messages repeat, so that they fit at several places, the last of these places that fits best is taken: rather is a message
//! missed than told twice. Of notifications that several nodes send the order is not one, and nothing is noted.
//!
//! It must never know a client.

use std::collections::{HashMap, VecDeque};

use crate::proxy::pubsub::state::kind::Kind;

/// Hashes of one topic that come with a subscriber.
const TOLD_MAX: usize = 32;
/// Messages that are kept, and their bytes.
const KEPT_MAX: usize = 4096;
const KEPT_BYTES: usize = 4 << 20;

/// The messages of one topic that a subscriber has got last, oldest first.
pub type Told = Vec<u64>;

/// The same of all topics of one kind, by name.
type LastOfTopics = HashMap<Box<[u8]>, VecDeque<u64>>;

/// The index of a topic's kind, and its name.
type Topic<'n> = (usize, &'n [u8]);

/// A message that has come.
#[derive(Debug)]
pub struct Kept {
    /// The kind of its topic.
    pub kind: Kind,
    /// Its topic's name.
    pub name: Box<[u8]>,
    /// What the node has pushed.
    pub push: Box<[u8]>,
    hash: u64,
}

/// What the old process has told a subscriber of a topic, and the new one has not handed out.
#[derive(Debug)]
pub struct Early<'t> {
    /// The kind of the topic.
    pub kind: Kind,
    /// Its name.
    pub name: &'t [u8],
    /// Messages that wait to be handed out here: the first so many of those that would reach it.
    pub waiting: usize,
    /// The hashes of those that have not come here yet.
    pub to_come: &'t [u64],
}

/// How a subscriber stands that has come.
#[derive(Debug, Default)]
pub struct Standing<'t> {
    /// What it has missed.
    pub missed: Vec<&'t Kept>,
    /// What it must not be told again.
    pub early: Vec<Early<'t>>,
}

/// What is noted while there are two processes.
///
/// Invariant: `bytes` is the sum of what is kept.
#[derive(Debug, Default)]
pub struct Overlap {
    /// By topic: what has been handed out last; nothing is noted by who does not hand over.
    told: Option<[LastOfTopics; Kind::COUNT]>,
    /// What has come; nothing is kept by who takes nobody in.
    kept: Option<VecDeque<Kept>>,
    bytes: usize,
    /// Whether some of what has come is not kept any more.
    is_cut: bool,
}

impl Overlap {
    /// Whether messages are to be noted.
    #[inline]
    pub fn is_on(&self) -> bool {
        self.told.is_some() || self.kept.is_some()
    }

    /// Subscribers will leave.
    pub fn begin_telling(&mut self) {
        self.told.get_or_insert_default();
    }

    /// They stay.
    pub fn end_telling(&mut self) {
        self.told = None;
    }

    /// Subscribers will come.
    pub fn begin_keeping(&mut self) {
        self.kept.get_or_insert_default();
    }

    /// None will any more.
    pub fn end_keeping(&mut self) {
        self.kept = None;
        (self.bytes, self.is_cut) = (0, false);
    }

    /// A message has come of a topic, and is handed out.
    #[cold]
    pub fn note(&mut self, kind: Kind, name: &[u8], push: &[u8]) {
        let hash = hash_of(push);
        if let Some(told) = &mut self.told {
            let told = &mut told[kind.index()];
            if !told.contains_key(name) {
                told.insert(name.into(), VecDeque::new());
            }
            if let Some(own) = told.get_mut(name) {
                own.push_back(hash);
                if own.len() > TOLD_MAX {
                    own.pop_front();
                }
            }
        }
        if let Some(kept) = &mut self.kept {
            self.bytes += push.len() + name.len();
            kept.push_back(Kept {
                kind,
                name: name.into(),
                push: push.into(),
                hash,
            });
            while kept.len() > KEPT_MAX || self.bytes > KEPT_BYTES {
                let Some(first) = kept.pop_front() else { break };
                self.bytes -= first.push.len() + first.name.len();
                self.is_cut = true;
            }
        }
    }

    /// What a subscriber of a topic has been told last; nothing if that was not noted.
    pub fn told(&self, kind: Kind, name: &[u8]) -> Option<Told> {
        let told = &self.told.as_ref()?[kind.index()];
        Some(told.get(name).into_iter().flatten().copied().collect())
    }

    /// How a subscriber stands that has been told these of its topics. Of each topic the last so many are not missed that
    /// `later` says: it will get them yet.
    pub fn standing<'a>(
        &'a self,
        told: impl Iterator<Item = (Kind, &'a [u8], &'a [u64])>,
        later: impl Fn(Kind, &[u8]) -> usize,
    ) -> Standing<'a> {
        let mut standing = Standing::default();
        let Some(kept) = &self.kept else {
            return standing;
        };
        let mut topics: HashMap<Topic<'_>, Vec<u64>> = HashMap::new();
        let mut last: HashMap<Topic<'_>, &[u64]> = HashMap::new();
        for (kind, name, told) in told {
            topics.insert((kind.index(), name), Vec::new());
            last.insert((kind.index(), name), told);
        }
        for message in kept {
            if let Some(own) = topics.get_mut(&(message.kind.index(), &message.name[..])) {
                own.push(message.hash);
            }
        }
        let mut wanted = HashMap::new();
        for (topic, own) in topics {
            let told = last.get(&topic).copied().unwrap_or_default();
            let (from, ahead) = got(&own, told, !self.is_cut);
            let kind = Kind::ALL[topic.0];
            let to = own.len().saturating_sub(later(kind, topic.1));
            if from < to {
                wanted.insert(topic, (from..to, 0));
            }
            if from > to || ahead > 0 {
                standing.early.push(Early {
                    kind,
                    name: topic.1,
                    waiting: from.saturating_sub(to),
                    to_come: &told[told.len() - ahead..],
                });
            }
        }
        for message in kept {
            let topic = (message.kind.index(), &message.name[..]);
            let Some((range, at)) = wanted.get_mut(&topic) else {
                continue;
            };
            if range.contains(at) {
                standing.missed.push(message);
            }
            *at += 1;
        }
        standing
    }
}

/// How many of the messages `kept` of a topic have been got by who was told `told` last, and how many of `told` are still to
/// come. `is_whole` says whether none that came before is missing from `kept`.
fn got(kept: &[u64], told: &[u64], is_whole: bool) -> (usize, usize) {
    let Some(last) = told.last() else {
        // Nothing was handed out since it is noted, which began before anything was kept.
        return (if is_whole { 0 } else { kept.len() }, 0);
    };
    // Where nothing was kept, all that was told came before that: or else a message that repeats would be missed each time.
    let mut to_come = 0;
    let mut best = (0, if is_whole { 0 } else { kept.len() });
    // The old process is behind, or both are equal.
    for end in (1..=kept.len()).filter(|end| kept[end - 1] == *last) {
        let count = end.min(told.len());
        if kept[end - count..end] == told[told.len() - count..] && count >= best.0 {
            best = (count, end);
        }
    }
    // It is ahead.
    for ahead in 1..told.len() {
        let known = &told[..told.len() - ahead];
        let count = known.len().min(kept.len());
        let fits = kept[kept.len() - count..] == known[known.len() - count..];
        if count > 0 && fits && count >= best.0 {
            if count > best.0 {
                to_come = ahead;
            }
            best = (count, kept.len());
        }
    }
    (best.1, to_come)
}

/// The same in each process, whatever built it (FNV-1a).
pub(in crate::proxy::pubsub) fn hash_of(bytes: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, step)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Random;

    #[test]
    fn what_was_got_is_found_among_what_was_kept() {
        for (kept, told, expected) in [
            (&[][..], &[][..], 0),
            (&[1, 2], &[], 0),
            (&[1, 2, 3], &[1], 1),
            (&[1, 2, 3], &[9, 8, 1, 2], 2),
            (&[1, 2, 3], &[8, 1, 2, 3], 3),
            // Nothing in common: all that was got came before.
            (&[1, 2], &[8, 9], 0),
            // What repeats fits best where most of it does, and rather later than sooner.
            (&[5, 6, 5, 7], &[4, 5], 1),
            (&[5, 5, 5], &[5, 5], 3),
            (&[5, 5, 6, 5], &[4, 4, 5, 5], 2),
        ] {
            assert_eq!(got(kept, told, true), (expected, 0), "{kept:?} {told:?}");
        }
        // The old process is ahead.
        assert_eq!(got(&[1, 2], &[8, 1, 2, 3], true), (2, 1));
        assert_eq!(got(&[1, 2], &[8, 1, 2, 3, 4], true), (2, 2));
        // Rather it is not, where messages repeat.
        assert_eq!(got(&[5], &[5, 5, 5], true), (1, 0));
        // What is not kept any more may have been got, or not.
        assert_eq!(got(&[1, 2], &[8, 9], false), (2, 0));
        assert_eq!(got(&[1, 2], &[], false), (2, 0));
    }

    #[test]
    fn who_goes_at_any_moment_misses_nothing_and_hears_nothing_twice() {
        let mut random = Random::new(16);
        for _ in 0..2000 {
            let topics: [&[u8]; 2] = [b"a", b"b"];
            let count = random.below(100);
            let messages: Vec<(&[u8], String)> = (0..count)
                .map(|number| (topics[random.below(2)], format!(">{number}")))
                .collect();
            // The new process listens from `from` on; the old one has handed out `old`, the new one `new`. None is ahead by more
            // than is told.
            let from = random.below(count + 1);
            let old = random.below(count + 1);
            let least = from.max(old.saturating_sub(TOLD_MAX / 2));
            let new = least + random.below(count + 1 - least);
            let (mut first, mut second) = (Overlap::default(), Overlap::default());
            first.begin_telling();
            second.begin_keeping();
            for (name, push) in &messages[..old] {
                first.note(Kind::Channel, name, push.as_bytes());
            }
            for (name, push) in &messages[from..new] {
                second.note(Kind::Channel, name, push.as_bytes());
            }
            let told = topics.map(|name| first.told(Kind::Channel, name).expect("noted"));
            let told = topics.iter().zip(&told);
            let told = told.map(|(name, told)| (Kind::Channel, *name, &told[..]));
            let standing = second.standing(told, |_, _| 0);
            let missed = standing.missed.iter();
            let missed: Vec<&[u8]> = missed.map(|message| &*message.push).collect();
            let expected = messages[from.max(old).min(new)..new].iter();
            let expected: Vec<&[u8]> = expected.map(|(_, push)| push.as_bytes()).collect();
            assert_eq!(missed, expected, "{from} {old} {new}");
            // What it was told and is still to come, of topics of which something has come: of others it might as well have
            // come before.
            for name in topics {
                let of_topic = |range: std::ops::Range<usize>| -> Vec<u64> {
                    let own = messages.get(range).unwrap_or_default().iter();
                    let own = own.filter(|(topic, _)| *topic == name);
                    own.map(|(_, push)| hash_of(push.as_bytes())).collect()
                };
                let to_come = match of_topic(from..new).is_empty() {
                    true => Vec::new(),
                    false => of_topic(new..old),
                };
                let mut early = standing.early.iter().filter(|early| early.name == name);
                let found = early.next().map(|early| early.to_come);
                let found = found.unwrap_or_default();
                assert_eq!(found, to_come, "{from} {old} {new}");
            }
        }
    }

    #[test]
    fn what_is_kept_and_told_is_bounded() {
        let mut overlap = Overlap::default();
        overlap.begin_telling();
        overlap.begin_keeping();
        for number in 0..2 * KEPT_MAX {
            overlap.note(Kind::Shard, b"s", number.to_string().as_bytes());
        }
        assert_eq!(
            overlap.told(Kind::Shard, b"s").map(|told| told.len()),
            Some(TOLD_MAX)
        );
        assert_eq!(overlap.kept.as_ref().map(VecDeque::len), Some(KEPT_MAX));
        overlap.note(Kind::Shard, b"s", &vec![b'x'; KEPT_BYTES]);
        assert!(overlap.bytes <= KEPT_BYTES);
        overlap.end_keeping();
        overlap.end_telling();
        assert!(!overlap.is_on() && overlap.told(Kind::Shard, b"s").is_none());
    }
}
