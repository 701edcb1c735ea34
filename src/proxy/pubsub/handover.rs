//! Subscribers who come from the process that this one takes over from.
//!
//! This worker subscribes at the nodes before they come, so that there is no time in which nobody listens for them.
//! Those subscriptions are held until the old process has ended. What they bring meanwhile is kept for those who are on their
//! way (see `state::overlap`).

use std::sync::Arc;

use crate::clock::Time;
use crate::proxy::handover::state::MovedClient;
use crate::proxy::ids::ClientId;
use crate::proxy::pubsub::state::frames::{Frame, Frames};
use crate::proxy::pubsub::state::kind::Kind;
use crate::proxy::pubsub::state::overlap::{Early, Told};
use crate::proxy::state::Proxy;

impl Proxy {
    /// Subscribers of these topics will come.
    pub fn warm_up(&mut self, topics: Vec<(Kind, Vec<u8>)>, now: Time) {
        if !topics.is_empty() {
            self.pubsub.overlap.begin_keeping();
        }
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
        self.pubsub.overlap.end_keeping();
        for (kind, name) in std::mem::take(&mut self.pubsub.warm) {
            self.release_topic(kind, &name, now);
        }
    }

    /// Subscribers are to leave for another process: what they are told from now on is noted.
    pub fn note_messages(&mut self) {
        self.pubsub.overlap.begin_telling();
    }

    /// They stay.
    pub fn note_no_messages(&mut self) {
        self.pubsub.overlap.end_telling();
    }

    /// What has been said last of each of these topics, by its place among them.
    pub(in crate::proxy) fn told_of(&self, topics: &[(Kind, Vec<u8>)]) -> Vec<(usize, Told)> {
        let noted = |(at, (kind, name)): (usize, &(Kind, Vec<u8>))| {
            // Notifications come from several nodes, in no one order.
            let topic = self.pubsub.topic(*kind, name)?;
            let told = self
                .pubsub
                .overlap
                .told(*kind, name)
                .filter(|_| !topic.events)?;
            Some((at, told))
        };
        topics.iter().enumerate().filter_map(noted).collect()
    }

    /// A subscriber that has come gets what its topics have brought since it left the old process.
    pub(in crate::proxy) fn catch_up(&mut self, id: ClientId, moved: &MovedClient, now: Time) {
        let Some(client) = self.clients.get_mut(id) else {
            return;
        };
        let told = moved.told.iter().filter_map(|(at, told)| {
            let (kind, name) = moved.topics.get(*at)?;
            Some((*kind, &name[..], &told[..]))
        });
        let (overlap, outbox) = (&self.pubsub.overlap, &mut self.pubsub.outbox);
        let later = |kind: Kind, name: &[u8]| outbox.still_reach(id, kind, name);
        let standing = overlap.standing(told, later);
        for early in standing.early {
            let Early { kind, name, .. } = early;
            outbox.leave_out(id, kind, name, early.waiting);
            if !early.to_come.is_empty() {
                let ahead = &mut self.pubsub.ahead;
                ahead.add(id, kind, name, early.to_come, now);
            }
        }
        let mut frames = Frames::default();
        let (protocol, namespace) = (client.session.protocol, client.session.namespace.clone());
        for message in standing.missed {
            frames.fill(&message.push);
            match frames.of(protocol, namespace.as_ref(), message.kind) {
                None => {}
                Some(Frame::Copied(bytes)) => client.output.push(bytes, &mut self.pool),
                Some(Frame::Shared(chunk)) => {
                    client.output.push_chunk(chunk.again().unwrap_or_default());
                }
            }
            frames.clear();
        }
        if client.output.is_empty() {
            return;
        }
        let is_overfull = client.owed_bytes() > self.config.limits.pubsub_output_bytes;
        match is_overfull {
            true => self.close_overfull(id, now),
            false => self.queue_flush(id),
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
