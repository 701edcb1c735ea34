//! A client subscribes or unsubscribes.
//!
//! A client counts as subscribed when it is told so, and it is told when the nodes have confirmed, or at once if this
//! worker is already subscribed. No further request of the client is taken until then, since a subscriber may send
//! only some commands.
//!
//! A request of many names is executed in steps, which is the same as several requests of fewer names: it stays at the
//! front of its client's input, and `Client::names_done` says how far it is.

use std::borrow::Cow;
use std::sync::Arc;

use crate::clock::Time;
use crate::cluster::slot::Slot;
use crate::proxy::client::step::Step;
use crate::proxy::client::{GIVEN_UP, Stall};
use crate::proxy::ids::{ClientId, NO_SLOT, PartId};
use crate::proxy::pipeline::client_reply::ClientReply;
use crate::proxy::pubsub::state::change::{Change, Pending};
use crate::proxy::pubsub::state::keyspace_events;
use crate::proxy::pubsub::state::kind::{Act, Kind};
use crate::proxy::pubsub::state::subscriptions::bytes_with;
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
        let Change {
            kind,
            names,
            from,
            more,
            ..
        } = change;
        if !self.upstream.routes.is_known() {
            return self.reject_change(request, refusal::CLUSTER_DOWN, from);
        }
        let Some(client) = self.clients.get_mut(id) else {
            return Step::Close;
        };
        // The first step looks at all names, so that a request is refused before any of it is done.
        let wanted = request.args.from(1).filter(|_| from == 0);
        let bytes = bytes_with(client.session.subscriptions(), wanted);
        if bytes > self.config.limits.subscription_bytes {
            return self.reject_change(request, TOO_MANY, from);
        }
        self.stats.commands.add(u64::from(from == 0));
        client.names_done = if more { from + names.len() } else { 0 };
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
            if from == 0 {
                self.withdraw_early(id);
            }
        } else {
            // Those who wait since it was read wait for no later one. (Behind the first step, the next announcement is
            // that of the next request.)
            let early = match from {
                0 => self.take_early(id),
                _ => None,
            };
            let announced = &self.process.announced;
            let announcement = early.unwrap_or_else(|| announced.announce(kind, topics));
            self.pubsub.pending[key].announcement = Some(announcement);
        }
        if more {
            return self.wait_for_names(id);
        }
        Step::Alone
    }

    /// A SUBSCRIBE fails; names that were confirmed before stay so.
    fn reject_change(&mut self, request: &Request<'_>, text: &str, from: usize) -> Step {
        match from {
            0 => self.withdraw_early(request.client),
            _ => {
                if let Some(client) = self.clients.get_mut(request.client) {
                    client.names_done = 0;
                }
            }
        }
        self.reject(request, text)
    }

    /// A request of many names is at its front still: the next of them are taken when these are answered.
    fn wait_for_names(&mut self, id: ClientId) -> Step {
        let client = self.clients.get(id);
        if client.is_some_and(|client| !client.pipeline.is_empty()) {
            return Step::Wait(Stall::Barrier);
        }
        self.resume_later(id);
        Step::Wait(Stall::Behind)
    }

    /// A request names a topic; returns whether that is confirmed, else the request waits for it.
    fn hold_topic(&mut self, kind: Kind, name: &Arc<[u8]>, key: usize, now: Time) -> bool {
        let is_new = self.pubsub.topic(kind, name).is_none();
        let topic = self.pubsub.topic_or_new(kind, name);
        topic.holds += 1;
        if topic.is_confirmed() {
            return true;
        }
        topic.waiting.push_back(key);
        if is_new {
            self.arrange(kind, name, now);
        }
        false
    }

    /// Nodes have confirmed a topic: requests that waited for nothing else are answered, as many as a turn has time for; the
    /// others in the next.
    pub(super) fn topic_confirmed(&mut self, kind: Kind, name: &Arc<[u8]>, now: Time) {
        let mut left = self.config.limits.turn_names;
        while left > 0 {
            let Some(topic) = self.pubsub.topic_mut(kind, name) else {
                return;
            };
            debug_assert!(topic.is_confirmed());
            let Some(key) = topic.waiting.pop_front() else {
                return;
            };
            let pending = &mut self.pubsub.pending[key];
            left = left.saturating_sub(pending.names.len());
            pending.left -= 1;
            if pending.left == 0 {
                self.subscribed(key, now);
            }
        }
        self.retry(kind, name, now);
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
                let name = keyspace_events::name_of_client(name, namespace.as_deref());
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
                // Who has waited longest stands first.
                if let Some(at) = topic.waiting.iter().position(|own| *own == key) {
                    topic.waiting.remove(at);
                }
            }
            self.release_topic(pending.kind, name, now);
        }
        if let Some(announcement) = &pending.announcement {
            self.withdraw(announcement);
        }
        if let Some(client) = self.clients.get_mut(pending.client)
            && client.names_done > 0
        {
            client.names_done = GIVEN_UP;
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
            .and_then(|topic| topic.waiting.front().copied())
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

    /// Gives up the requests that have waited too long, and those whose client has gone, as many as a turn has time for;
    /// returns when the next is due.
    pub(super) fn give_up_late(&mut self, now: Time) -> Option<Time> {
        let late: Vec<usize> = self
            .pubsub
            .pending
            .iter()
            .filter(|(_, pending)| {
                now >= pending.expires || self.clients.get(pending.client).is_none()
            })
            .map(|(key, _)| key)
            .take(self.config.limits.turn_names)
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
        let Change {
            kind,
            act,
            names,
            from,
            mut more,
        } = change;
        let Some(client) = self.clients.get_mut(request.client) else {
            return Step::Close;
        };
        self.stats.commands.add(u64::from(from == 0));
        let seq = client.pipeline.push_heard(request.command.id, request.now);
        let in_steps = client.execution.is_none();
        let protocol = client.session.protocol;
        let mut own = client.session.take_subscriptions().unwrap_or_default();
        let was = !own.is_empty();
        let names = if names.is_empty() {
            let most = match in_steps {
                true => self.config.limits.turn_names,
                false => usize::MAX,
            };
            more = own.len(kind) > most;
            own.names(kind).take(most).cloned().collect()
        } else {
            names
        };
        client.names_done = if more { from + names.len() } else { 0 };
        let mut reply = Vec::new();
        if names.is_empty() {
            own.confirm(kind, act, None, protocol, &mut reply);
        }
        let mut left = Vec::new();
        for name in names {
            let removed = own.remove(kind, &name);
            let known = keyspace_events::name_of_client(&name, client.session.namespace.as_deref());
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
        if more {
            return self.wait_for_names(request.client);
        }
        Step::Done
    }
}
