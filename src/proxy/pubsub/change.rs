//! A client subscribes or unsubscribes.
//!
//! A client counts as subscribed when it is told so, and it is told when the nodes have confirmed, or at once if this
//! worker is already subscribed. No further request of the client is taken until then, since a subscriber may send
//! only some commands.

use std::borrow::Cow;
use std::sync::Arc;

use crate::clock::Time;
use crate::cluster::slot::Slot;
use crate::proxy::client::step::Step;
use crate::proxy::ids::{ClientId, NO_SLOT, PartId};
use crate::proxy::pipeline::client_reply::ClientReply;
use crate::proxy::pubsub::state::change::{Change, Pending};
use crate::proxy::pubsub::state::events;
use crate::proxy::pubsub::state::kind::{Act, Kind};
use crate::proxy::pubsub::state::subscriptions::{Subscriptions, cost};
use crate::proxy::request::Request;
use crate::proxy::state::Proxy;
use crate::proxy::texts::refusal;

/// There is no such limit in Redis, where memory is what bounds it.
const TOO_MANY: &str = "ERR too many subscriptions for one client";

impl Proxy {
    /// A client's (UN)SUBSCRIBE, on an empty pipeline.
    pub(in crate::proxy) fn change_subscriptions(
        &mut self,
        request: &Request<'_>,
        change: Change,
    ) -> Step {
        match change.act {
            Act::Subscribe => self.subscribe(request, change),
            Act::Unsubscribe => self.unsubscribe(request, change),
        }
    }

    fn subscribe(&mut self, request: &Request<'_>, change: Change) -> Step {
        let &Request {
            client: id,
            command,
            now,
            ..
        } = request;
        let Change { kind, names, .. } = change;
        if !self.upstream.routes.is_known() {
            self.withdraw_early(id);
            return self.reject(request, refusal::CLUSTER_DOWN);
        }
        let Some(client) = self.clients.get_mut(id) else {
            return Step::Close;
        };
        let had = client
            .session
            .subscriptions()
            .map_or(0, Subscriptions::bytes);
        let wanted: usize = names.iter().map(|name| cost(name)).sum();
        if had + wanted > self.config.limits.subscription_bytes {
            self.withdraw_early(id);
            return self.reject(request, TOO_MANY);
        }
        self.stats.commands.add(1);
        let muted = client.pipeline.client_reply != ClientReply::On;
        let seq = client.pipeline.push_heard(command.id, now);
        let pending = Pending {
            client: id,
            seq,
            kind,
            topics: names.iter().cloned().collect(),
            names,
            left: 0,
            expires: now.after(self.park_timeout().max(self.config.connect_timeout)),
            announcement: None,
            muted,
        };
        self.pubsub.look_at(pending.expires);
        let topics: Vec<Arc<[u8]>> = pending.topics.iter().cloned().collect();
        let key = self.pubsub.pending.insert(pending);
        let mut left = 0;
        for name in &topics {
            left += usize::from(!self.hold_topic(kind, name, key, now));
        }
        self.pubsub.pending[key].left = left;
        if left == 0 {
            self.subscribed(key, now);
            self.withdraw_early(id);
        } else {
            // Those who wait since it was read wait for no later one.
            let early = self.take_early(id);
            let announced = &self.process.announced;
            let announcement = early.unwrap_or_else(|| announced.announce(kind, topics));
            self.pubsub.pending[key].announcement = Some(announcement);
        }
        Step::Alone
    }

    /// A request names a topic; returns whether that is confirmed, else the request waits for it.
    fn hold_topic(&mut self, kind: Kind, name: &Arc<[u8]>, key: usize, now: Time) -> bool {
        let is_new = self.pubsub.topic(kind, name).is_none();
        let topic = self.pubsub.topic_or_new(kind, name);
        topic.holds += 1;
        if topic.is_confirmed() {
            return true;
        }
        topic.waiting.push(key);
        if is_new {
            self.arrange(kind, name, now);
        }
        false
    }

    /// Nodes have confirmed a topic: requests that waited for nothing else are answered.
    pub(super) fn topic_confirmed(&mut self, kind: Kind, name: &[u8], now: Time) {
        let Some(topic) = self.pubsub.topic_mut(kind, name) else {
            return;
        };
        debug_assert!(topic.is_confirmed());
        for key in std::mem::take(&mut topic.waiting) {
            let pending = &mut self.pubsub.pending[key];
            pending.left -= 1;
            if pending.left == 0 {
                self.subscribed(key, now);
            }
        }
    }

    /// All that a request named is confirmed: its client is subscribed, and told so.
    fn subscribed(&mut self, key: usize, now: Time) {
        let pending = self.pubsub.pending.remove(key);
        let Pending {
            client: id, kind, ..
        } = pending;
        let mut reply = Vec::new();
        if let Some(client) = self.clients.get_mut(id) {
            let register = &self.process.register;
            let protocol = client.session.protocol;
            let namespace = client.session.namespace.clone();
            let own = client.session.subscriptions_mut();
            if own.is_empty() {
                register.add_subscriber();
            }
            for name in &pending.names {
                if own.add(kind, name.clone()) {
                    register.join(kind, name);
                    if let Some(topic) = self.pubsub.topic_mut(kind, name) {
                        topic.join(id);
                    }
                }
                let name = events::name_of_client(name, namespace.as_deref());
                own.confirm(kind, Act::Subscribe, Some(&name), protocol, &mut reply);
            }
            client.session.settle();
        }
        for name in &pending.topics {
            self.release_topic(kind, name, now);
        }
        if let Some(announcement) = &pending.announcement {
            self.withdraw(announcement);
        }
        self.fulfil(PartId::new(id, pending.seq, 0), &reply, now);
    }

    /// A request that named a topic is answered.
    pub(super) fn release_topic(&mut self, kind: Kind, name: &Arc<[u8]>, now: Time) {
        if let Some(topic) = self.pubsub.topic_mut(kind, name) {
            topic.holds -= 1;
        }
        self.abandon_unwanted(kind, name, now);
    }

    /// A request that waits is given up.
    fn give_up_change(&mut self, key: usize, text: &[u8], now: Time) {
        let pending = self.pubsub.pending.remove(key);
        for name in &pending.topics {
            if let Some(topic) = self.pubsub.topic_mut(pending.kind, name) {
                topic.waiting.retain(|waiting| *waiting != key);
            }
            self.release_topic(pending.kind, name, now);
        }
        if let Some(announcement) = &pending.announcement {
            self.withdraw(announcement);
        }
        let part = PartId::new(pending.client, pending.seq, 0);
        if pending.muted {
            self.fulfil(part, b"", now);
        } else {
            self.answer_error(part, text, now);
        }
    }

    /// Gives up all requests that wait for a topic.
    pub(super) fn give_up_topic(&mut self, kind: Kind, name: &[u8], text: &[u8], now: Time) {
        while let Some(key) = self
            .pubsub
            .topic(kind, name)
            .and_then(|topic| topic.waiting.first().copied())
        {
            self.give_up_change(key, text, now);
        }
    }

    /// What the client of a request hears that has waited too long: what the node says that did not serve it.
    fn late_text(&self, key: usize) -> Cow<'static, str> {
        let Some(pending) = self.pubsub.pending.get(key) else {
            return refusal::NOT_EXECUTED.into();
        };
        let slot = match (pending.kind, pending.topics.first()) {
            (Kind::Shard, Some(name)) => Slot::of(name).number(),
            _ => NO_SLOT,
        };
        match self.upstream.unserved(slot) {
            Cow::Borrowed(_) => refusal::NOT_EXECUTED.into(),
            said => said,
        }
    }

    /// Gives up the requests that have waited too long, and those whose client has gone; returns when the next
    /// is due.
    pub(super) fn give_up_late(&mut self, now: Time) -> Option<Time> {
        let late: Vec<usize> = self
            .pubsub
            .pending
            .iter()
            .filter(|(_, pending)| {
                now >= pending.expires || self.clients.get(pending.client).is_none()
            })
            .map(|(key, _)| key)
            .collect();
        for key in late {
            self.stats.expired.add(1);
            let text = self.late_text(key);
            self.give_up_change(key, text.as_bytes(), now);
        }
        let pending = self.pubsub.pending.iter();
        pending.map(|(_, pending)| pending.expires).min()
    }

    fn unsubscribe(&mut self, request: &Request<'_>, change: Change) -> Step {
        let Change { kind, act, names } = change;
        let Some(client) = self.clients.get_mut(request.client) else {
            return Step::Close;
        };
        self.stats.commands.add(1);
        let seq = client.pipeline.push_heard(request.command.id, request.now);
        let protocol = client.session.protocol;
        let mut own = client.session.take_subscriptions().unwrap_or_default();
        let was = !own.is_empty();
        let names = if names.is_empty() {
            own.names(kind).cloned().collect()
        } else {
            names
        };
        let mut reply = Vec::new();
        if names.is_empty() {
            own.confirm(kind, act, None, protocol, &mut reply);
        }
        let mut left = Vec::new();
        for name in names {
            let removed = own.remove(kind, &name);
            let known = events::name_of_client(&name, client.session.namespace.as_deref());
            own.confirm(kind, act, Some(&known), protocol, &mut reply);
            left.extend(removed.then_some(name));
        }
        if was && own.is_empty() {
            self.process.register.remove_subscriber();
        }
        client.session.put_subscriptions(own);
        for name in left {
            self.leave_topic(request.client, kind, &name, request.now);
        }
        self.fulfil(PartId::new(request.client, seq, 0), &reply, request.now);
        Step::Done
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

    fn leave_topic(&mut self, id: ClientId, kind: Kind, name: &Arc<[u8]>, now: Time) {
        self.process.register.leave(kind, name);
        if let Some(topic) = self.pubsub.topic_mut(kind, name) {
            topic.leave(id);
        }
        self.abandon_unwanted(kind, name, now);
    }
}
