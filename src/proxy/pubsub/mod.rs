//! Publish and subscribe. Many clients of one channel share one subscription of this worker's at one node, so
//! that a thousand subscribers cost the cluster one; a message that comes is handed to each of them.
//!
//! | file | what |
//! |---|---|
//! | `kind` | channels, patterns, shard channels, and Redis' words for them |
//! | `subscriptions` | what one client is subscribed to |
//! | `topic` | one name: its subscribers, and where this worker is subscribed for them |
//! | `link` | this worker's connection to one node for subscriptions |
//! | `register` | what all workers are subscribed to, by which nodes' numbers are put right |
//! | `events` | keyspace notifications |
//! | `announced` | subscriptions on their way, for which publishers wait |
//! | `change` | the way in: a client's (UN)SUBSCRIBE |
//! | `arrange` | where a topic is subscribed to, and when that changes |
//! | `publish` | PUBLISH: which master carries a channel |
//! | `receive` | the way out: what nodes push |
//! | `outbox` | messages of more subscribers than one turn serves |
//!
//! Rules:
//! - Every message of the cluster reaches every node; so it is taken from one, the topic's *home*, and the home
//!   stays as long as its connection does. A shard channel's home is the owner of its slot.
//! - With `-pubsub-order all` every channel and pattern has the same home, and every PUBLISH goes to the master of
//!   the lowest slot: messages of all channels then have one order, as on one server.
//! - Keyspace notifications reach nobody but the node's own subscribers: they are taken from every master.
//! - A PUBLISH that is read after a SUBSCRIBE waits until the nodes have said so, and comes to it; in a pipeline of one
//!   client the message comes before the reply to its PUBLISH.
//! - A client hears that it is subscribed when the nodes have said so: a message published after that comes.
//! - When a home is lost there is a gap, as on any Redis; never a message twice.

pub mod announced;
mod arrange;
mod change;
pub mod events;
pub mod kind;
mod link;
mod outbox;
pub mod publish;
mod receive;
pub mod register;
pub mod subscriptions;
mod topic;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use slab::Slab;

use crate::clock::Time;
use crate::proxy::client::ClientId;
use crate::proxy::upstream::node::NodeKey;
use announced::{Announcement, Publisher};
pub use change::Change;
use change::Pending;
use kind::Kind;
use link::Link;
use outbox::Outbox;
use topic::Topic;

const NEVER: Time = Time::from_micros(u64::MAX);

/// The subscriptions of one worker.
#[derive(Debug)]
pub struct Pubsub {
    topics: [BTreeMap<Arc<[u8]>, Topic>; Kind::COUNT],
    links: BTreeMap<NodeKey, Link>,
    /// The common home of all channels and patterns, as long as there is a link to it (`-pubsub-order all`).
    carrier: Option<NodeKey>,
    /// Requests of clients that wait for nodes to confirm.
    pending: Slab<Pending>,
    /// Topics that are not subscribed to everywhere they should be.
    unsettled: BTreeSet<(Kind, Arc<[u8]>)>,
    /// The number of the last request to a node.
    serial: u64,
    /// When there is something to do.
    due: Time,
    /// The message at hand, as RESP2 has it.
    twin: Vec<u8>,
    /// Clients whose PUBLISH waits for subscriptions on their way.
    publishers: HashMap<ClientId, Publisher>,
    /// Clients' SUBSCRIBEs that have been read and wait for the replies before them.
    early: HashMap<ClientId, VecDeque<Announcement>>,
    /// Messages that not all of their subscribers have got.
    pub(super) outbox: Outbox,
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
            twin: Vec::new(),
            publishers: HashMap::new(),
            early: HashMap::new(),
            outbox: Outbox::default(),
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

    fn topic(&self, kind: Kind, name: &[u8]) -> Option<&Topic> {
        self.topics[kind.index()].get(name)
    }

    fn topic_mut(&mut self, kind: Kind, name: &[u8]) -> Option<&mut Topic> {
        self.topics[kind.index()].get_mut(name)
    }

    /// Looks again no later than at `at`.
    fn look_at(&mut self, at: Time) {
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
        assert_eq!(holds, names.sum::<usize>());
        assert!(self.links.is_empty() || self.due != NEVER);
    }
}

impl crate::proxy::Proxy {
    /// Asserts what must hold between clients and topics.
    pub(super) fn check_subscriptions(&self) {
        self.pubsub.check();
        let topics = |kind: Kind| &self.pubsub.topics[kind.index()];
        let mut count = 0;
        for (id, client) in self.clients.iter() {
            let own = client.session.subscriptions();
            for kind in Kind::ALL {
                for name in own.into_iter().flat_map(|own| own.names(kind)) {
                    let topic = topics(kind)
                        .get(name)
                        .expect("a subscription has its topic");
                    assert!(topic.subscribers().contains(&id));
                    count += 1;
                }
            }
        }
        let all = Kind::ALL.into_iter().flat_map(|kind| topics(kind).values());
        let subscribed: usize = all.map(|topic| topic.subscribers().len()).sum();
        assert_eq!(count, subscribed);
        let waiting = self.pubsub.publishers.keys();
        let early = self.pubsub.early.keys();
        for id in waiting.chain(early) {
            assert!(self.clients.get(*id).is_some(), "one who has gone waits");
        }
        for (node, link) in &self.pubsub.links {
            let backend = self
                .upstream
                .backends
                .get(link.backend)
                .expect("a link has its backend");
            assert_eq!(backend.node, *node);
        }
    }
}
