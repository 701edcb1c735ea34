//! The subscriptions of one worker, and what all workers share of them, as data.
//!
//! It must never know who sends or delivers anything.

pub mod ahead;
pub mod announced;
pub mod carrier;
pub mod change;
pub mod frames;
pub mod keyspace_events;
pub mod kind;
pub mod link;
pub mod outbox;
pub mod overlap;
pub mod register;
pub mod subscriptions;
pub mod topic;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use slab::Slab;

use crate::clock::Time;
use crate::proxy::ids::{ClientId, NodeKey};
use crate::proxy::pubsub::state::ahead::Ahead;
use crate::proxy::pubsub::state::announced::{Announcement, Publisher};
use crate::proxy::pubsub::state::change::Pending;
use crate::proxy::pubsub::state::frames::Frames;
use crate::proxy::pubsub::state::kind::Kind;
use crate::proxy::pubsub::state::link::{Asked, Link};
use crate::proxy::pubsub::state::outbox::Outbox;
use crate::proxy::pubsub::state::overlap::Overlap;
use crate::proxy::pubsub::state::subscriptions::Subscriptions;
use crate::proxy::pubsub::state::topic::Topic;

pub(in crate::proxy::pubsub) const NEVER: Time = Time::from_micros(u64::MAX);

/// The subscriptions of one worker.
#[derive(Debug)]
pub struct Pubsub {
    pub(in crate::proxy::pubsub) topics: [BTreeMap<Arc<[u8]>, Topic>; Kind::COUNT],
    pub(in crate::proxy::pubsub) links: BTreeMap<NodeKey, Link>,
    /// The common home of all channels and patterns, as long as there is a link to it (`-pubsub-order all`).
    pub(in crate::proxy::pubsub) carrier: Option<NodeKey>,
    /// Requests of clients that wait for nodes to confirm.
    pub(in crate::proxy::pubsub) pending: Slab<Pending>,
    /// Topics that are not subscribed to everywhere they should be.
    pub(in crate::proxy::pubsub) unsettled: BTreeSet<(Kind, Arc<[u8]>)>,
    /// The number of the last request to a node.
    pub(in crate::proxy::pubsub) serial: u64,
    /// When there is something to do.
    pub(in crate::proxy::pubsub) due: Time,
    /// The message at hand. It is empty between messages.
    pub(in crate::proxy::pubsub) frames: Frames,
    /// Topics that are subscribed to for clients who will come from another process.
    pub(in crate::proxy::pubsub) warm: BTreeSet<(Kind, Arc<[u8]>)>,
    /// Clients whose PUBLISH waits for subscriptions on their way.
    pub(in crate::proxy::pubsub) publishers: HashMap<ClientId, Publisher>,
    /// When each of them waits no more, in that order. Some do not wait any more.
    pub(in crate::proxy::pubsub) patience: VecDeque<(Time, ClientId)>,
    /// Clients' SUBSCRIBEs that have been read and wait for the replies before them.
    pub(in crate::proxy::pubsub) early: HashMap<ClientId, VecDeque<Announcement>>,
    /// What clients that have gone were subscribed to, and have not left yet.
    pub(in crate::proxy) leaving: VecDeque<(ClientId, Box<Subscriptions>)>,
    /// Messages that not all of their subscribers have got.
    pub(in crate::proxy) outbox: Outbox,
    /// What is noted of messages while subscribers go to another process, or come from one.
    pub(in crate::proxy) overlap: Overlap,
    /// Subscribers who have got what is still to come.
    pub(in crate::proxy::pubsub) ahead: Ahead,
}

impl Default for Pubsub {
    fn default() -> Pubsub {
        Pubsub {
            topics: Default::default(),
            links: BTreeMap::new(),
            carrier: None,
            pending: Slab::new(),
            unsettled: BTreeSet::new(),
            serial: 0,
            due: NEVER,
            frames: Frames::default(),
            warm: BTreeSet::new(),
            publishers: HashMap::new(),
            patience: VecDeque::new(),
            early: HashMap::new(),
            leaving: VecDeque::new(),
            outbox: Outbox::default(),
            overlap: Overlap::default(),
            ahead: Ahead::default(),
        }
    }
}

impl Pubsub {
    /// When there is something to do, if there is.
    pub fn deadline(&self) -> Option<Time> {
        (self.due != NEVER).then_some(self.due)
    }

    /// Whether something is to be done by now.
    #[inline]
    pub fn is_due(&self, now: Time) -> bool {
        now >= self.due
    }

    /// The connection that brings the messages of a topic.
    #[cfg(test)]
    pub(in crate::proxy) fn carries(
        &self,
        kind: Kind,
        name: &[u8],
    ) -> Option<crate::proxy::ids::BackendId> {
        let home = self.topic(kind, name)?.home()?;
        self.links.get(&home).map(|link| link.backend)
    }

    pub(in crate::proxy::pubsub) fn topic(&self, kind: Kind, name: &[u8]) -> Option<&Topic> {
        self.topics[kind.index()].get(name)
    }

    pub(in crate::proxy::pubsub) fn topic_mut(
        &mut self,
        kind: Kind,
        name: &[u8],
    ) -> Option<&mut Topic> {
        self.topics[kind.index()].get_mut(name)
    }

    /// What clients are subscribed to, or will be.
    pub fn names(&self, kind: Kind) -> impl Iterator<Item = &Arc<[u8]>> {
        self.topics[kind.index()].keys()
    }

    /// The topic of this name, which may be new.
    pub(in crate::proxy::pubsub) fn topic_or_new(
        &mut self,
        kind: Kind,
        name: &Arc<[u8]>,
    ) -> &mut Topic {
        let events = match kind {
            Kind::Channel => keyspace_events::is_event(name),
            Kind::Pattern => keyspace_events::may_match_events(name),
            Kind::Shard => false,
        };
        let topics = self.topics[kind.index()].entry(name.clone());
        topics.or_insert_with(|| Topic::new(events))
    }

    /// Looks again no later than at `at`.
    pub(in crate::proxy::pubsub) fn look_at(&mut self, at: Time) {
        self.due = self.due.min(at);
    }

    /// Asserts what must hold between turns.
    pub fn check(&self) {
        for kind in Kind::ALL {
            for (name, topic) in &self.topics[kind.index()] {
                topic.check();
                for place in topic.places() {
                    let link = self.links.get(&place.node).expect("a place has its link");
                    assert!(link.names.contains(&(kind, name.clone())));
                }
            }
        }
        for (kind, name) in &self.unsettled {
            assert!(self.topic(*kind, name).is_some());
        }
        let holds = self.topics.iter().flat_map(BTreeMap::values);
        let holds: usize = holds.map(|topic| topic.holds).sum();
        let names = self.pending.iter().map(|(_, pending)| pending.topics());
        assert_eq!(holds, names.sum::<usize>() + self.warm.len());
        assert!(self.links.is_empty() || self.due != NEVER);
    }
}

impl Pubsub {
    /// A node does not count us for a name any more, unless it has been asked for again.
    pub(in crate::proxy::pubsub) fn forget_name(
        &mut self,
        register: &crate::proxy::pubsub::state::register::Register,
        node: NodeKey,
        asked: &Asked,
    ) {
        let (kind, name) = (asked.kind, &asked.name);
        let again = self
            .topic(kind, name)
            .is_some_and(|topic| topic.place(node).is_some());
        let Some(link) = self.links.get_mut(&node) else {
            return;
        };
        if !again && link.names.remove(&(kind, name.clone())) {
            register.unsettle(kind, name, link.address);
        }
    }
}
