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
//! | `keyspace_events` | keyspace notifications |
//! | `announced` | subscriptions on their way, for which publishers wait |
//! | `handover` | subscribers who come from another process (`-take-over`) |
//! | `change` | the way in: a client's (UN)SUBSCRIBE |
//! | `arrange` | where a topic is subscribed to, and when that changes |
//! | `publish` | PUBLISH: which master carries a channel |
//! | `receive` | the way out: what nodes push |
//! | `outbox` | messages of more subscribers than one turn serves |
//! | `overlap`, `ahead` | what two processes hear at once, and who has got what is still to come |
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
mod handover;
mod leave;
pub mod publish;
mod receive;
pub mod state;

use crate::proxy::pubsub::state::kind::Kind;

impl crate::proxy::state::Proxy {
    /// Asserts what must hold between clients and topics.
    pub(super) fn check_subscriptions(&self) {
        self.pubsub.check();
        let topics = |kind: Kind| &self.pubsub.topics[kind.index()];
        let mut count = 0;
        let here = self.clients.iter();
        let here = here.filter_map(|(id, client)| Some((id, client.session.subscriptions()?)));
        let gone = self.pubsub.leaving.iter();
        for (id, own) in here.chain(gone.map(|(id, own)| (*id, &**own))) {
            for kind in Kind::ALL {
                for name in own.names(kind) {
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
