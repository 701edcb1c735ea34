//! Clients leave what they were subscribed to: at once, or over several turns if there are many names.

use std::sync::Arc;

use crate::clock::Time;
use crate::proxy::ids::ClientId;
use crate::proxy::pubsub::state::kind::Kind;
use crate::proxy::pubsub::state::subscriptions::Subscriptions;
use crate::proxy::state::Proxy;

impl Proxy {
    /// A client that has gone leaves all it was subscribed to. Its messages go nowhere from now on.
    pub(in crate::proxy) fn leave_for_good(
        &mut self,
        id: ClientId,
        own: Box<Subscriptions>,
        now: Time,
    ) {
        if own.count() <= self.config.limits.turn_names {
            return self.leave_topics(id, &own, now);
        }
        self.process.register.remove_subscriber();
        self.pubsub.leaving.push_back((id, own));
    }

    /// A turn has begun: some names are left by the client that has waited longest.
    #[cold]
    pub(in crate::proxy) fn leave_on(&mut self, now: Time) {
        let Some((id, mut own)) = self.pubsub.leaving.pop_front() else {
            return;
        };
        for (kind, name) in own.take_some(self.config.limits.turn_names) {
            self.leave_topic(id, kind, &name, now);
        }
        if !own.is_empty() {
            self.pubsub.leaving.push_front((id, own));
        }
    }

    /// A client that has gone, or has sent RESET, leaves all it was subscribed to.
    pub(in crate::proxy) fn leave_topics(&mut self, id: ClientId, own: &Subscriptions, now: Time) {
        if !own.is_empty() {
            self.process.register.remove_subscriber();
        }
        for kind in Kind::ALL {
            for name in own.names(kind) {
                self.leave_topic(id, kind, name, now);
            }
        }
    }

    pub(super) fn leave_topic(&mut self, id: ClientId, kind: Kind, name: &Arc<[u8]>, now: Time) {
        self.process.register.leave(kind, name);
        if let Some(topic) = self.pubsub.topic_mut(kind, name) {
            topic.leave(id);
        }
        self.abandon_unwanted(kind, name, now);
    }
}
