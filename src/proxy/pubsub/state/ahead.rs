//! `Ahead`: subscribers who have come from another process that had told them more of a topic than has come here yet. What
//! comes next of it they have got.
//!
//! A node sends a message to both processes, but not at one moment: a subscriber may be faster.
//!
//! It must never hand out anything.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use crate::clock::Time;
use crate::proxy::ids::ClientId;
use crate::proxy::pubsub::state::kind::Kind;
use crate::proxy::pubsub::state::overlap::hash_of;
use crate::proxy::pubsub::state::topic::order;

/// What has not come by then does not come: its node was lost.
const LIMIT: Duration = Duration::from_secs(5);

/// The hashes of what each subscriber has got and is still to come here, in the order in which it comes.
type Owed = Vec<(ClientId, VecDeque<u64>)>;

/// What such subscribers have got of each topic, by its name.
#[derive(Debug)]
pub struct Ahead {
    topics: [HashMap<Box<[u8]>, Owed>; Kind::COUNT],
    until: Time,
}

impl Default for Ahead {
    fn default() -> Ahead {
        Ahead {
            topics: Default::default(),
            until: Time::from_micros(0),
        }
    }
}

impl Ahead {
    /// Whether there is nobody.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.topics.iter().all(HashMap::is_empty)
    }

    /// A subscriber has got these messages of a topic.
    pub fn add(&mut self, id: ClientId, kind: Kind, name: &[u8], got: &[u64], now: Time) {
        let own = self.topics[kind.index()].entry(name.into()).or_default();
        own.push((id, got.iter().copied().collect()));
        self.until = now.after(LIMIT);
    }

    /// A message of a topic has come: who has got it, in the order of subscribers. Whoever has not got it has got nothing
    /// that comes behind it either.
    pub fn who_got(&mut self, kind: Kind, name: &[u8], push: &[u8], now: Time) -> Vec<ClientId> {
        if now >= self.until {
            self.topics = Default::default();
        }
        let topics = &mut self.topics[kind.index()];
        let Some(own) = topics.get_mut(name) else {
            return Vec::new();
        };
        let hash = hash_of(push);
        own.retain_mut(|(_, got)| got.front() == Some(&hash));
        let mut ids: Vec<ClientId> = own.iter().map(|(id, _)| *id).collect();
        own.retain_mut(|(_, got)| {
            got.pop_front();
            !got.is_empty()
        });
        if own.is_empty() {
            topics.remove(name);
        }
        ids.sort_unstable_by_key(order);
        ids
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(key: u32) -> ClientId {
        ClientId::from_parts(key, 1)
    }

    #[test]
    fn who_has_got_a_message_is_told_of_until_another_comes() {
        let now = Time::from_micros(7);
        let mut ahead = Ahead::default();
        let hashes = [b"1", b"2", b"3"].map(|text| hash_of(text));
        ahead.add(id(2), Kind::Channel, b"a", &hashes[..1], now);
        ahead.add(id(1), Kind::Channel, b"a", &hashes, now);
        let mut got = |kind, name: &[u8], push: &[u8]| ahead.who_got(kind, name, push, now);
        assert_eq!(got(Kind::Pattern, b"a", b"1"), []);
        assert_eq!(got(Kind::Channel, b"b", b"1"), []);
        assert_eq!(got(Kind::Channel, b"a", b"1"), [id(1), id(2)]);
        assert_eq!(got(Kind::Channel, b"a", b"2"), [id(1)]);
        // Another: what was to come was lost.
        assert_eq!(got(Kind::Channel, b"a", b"other"), []);
        assert_eq!(got(Kind::Channel, b"a", b"3"), []);
        assert!(ahead.is_empty());
        ahead.add(id(2), Kind::Channel, b"a", &hashes, now);
        let late = now.after(LIMIT);
        assert_eq!(ahead.who_got(Kind::Channel, b"a", b"1", late), []);
        assert!(ahead.is_empty());
    }
}
