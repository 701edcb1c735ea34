//! Subscribers who come from the process that this one takes over from.
//!
//! This worker subscribes at the nodes before they come, so that there is no time in which nobody listens for them.
//! Those subscriptions are held until the old process has ended.

use std::sync::Arc;

use crate::clock::Time;
use crate::proxy::ids::ClientId;
use crate::proxy::pubsub::state::kind::Kind;
use crate::proxy::state::Proxy;

impl Proxy {
    /// Subscribers of these topics will come.
    pub fn warm_up(&mut self, topics: Vec<(Kind, Vec<u8>)>, now: Time) {
        for (kind, name) in topics {
            let name: Arc<[u8]> = name.into();
            if !self.pubsub.warm.insert((kind, name.clone())) {
                continue;
            }
            let is_new = self.pubsub.topic(kind, &name).is_none();
            self.pubsub.topic_or_new(kind, &name).holds += 1;
            if is_new {
                self.arrange(kind, &name, now);
            }
        }
    }

    /// Whether the nodes have confirmed all of them.
    pub fn is_warm(&self) -> bool {
        let mut warm = self.pubsub.warm.iter();
        warm.all(|(kind, name)| {
            let topic = self.pubsub.topic(*kind, name);
            topic.is_some_and(|topic| topic.is_confirmed())
        })
    }

    /// No more subscribers will come.
    pub fn cool_down(&mut self, now: Time) {
        for (kind, name) in std::mem::take(&mut self.pubsub.warm) {
            self.release_topic(kind, &name, now);
        }
    }

    /// A client that has come is subscribed to what it was subscribed to. It is not told so: it knows.
    pub(in crate::proxy) fn subscribe_again(
        &mut self,
        id: ClientId,
        topics: &[(Kind, Vec<u8>)],
        now: Time,
    ) {
        let Some(client) = self.clients.get_mut(id) else {
            return;
        };
        let mut added = Vec::new();
        for (kind, name) in topics {
            let name: Arc<[u8]> = name.as_slice().into();
            if client.session.subscriptions_mut().add(*kind, name.clone()) {
                added.push((*kind, name));
            }
        }
        client.session.settle();
        if added.is_empty() {
            return;
        }
        self.process.register.add_subscriber();
        for (kind, name) in added {
            self.process.register.join(kind, &name);
            let is_new = self.pubsub.topic(kind, &name).is_none();
            self.pubsub.topic_or_new(kind, &name).join(id);
            if is_new {
                self.arrange(kind, &name, now);
            }
        }
    }
}
