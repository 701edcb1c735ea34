//! What nodes push: a message is delivered to every subscriber of its topic. A subscriber that does not read is
//! closed when it has more unread bytes than `-client-output-buffer-limit pubsub` allows; nobody else is affected.

use crate::clock::Time;
use crate::proxy::ids::{BackendId, ClientId, NodeKey};
use crate::proxy::pubsub::state::frames::{Frame, Frames};
use crate::proxy::pubsub::state::kind::{Act, Kind, Pushed};
use crate::proxy::pubsub::state::outbox::Message;
use crate::proxy::pubsub::state::topic::order;
use crate::proxy::pubsub::state::{Pubsub, keyspace_events};
use crate::proxy::state::Proxy;
use crate::proxy::upstream::backend::Origin;
use crate::resp::encode::Protocol;
use crate::resp::reply::Reply;

impl Proxy {
    /// A push from a node. Returns whether it makes sense.
    pub(in crate::proxy) fn take_push(
        &mut self,
        id: BackendId,
        push: Reply<'_>,
        now: Time,
    ) -> bool {
        let Some(backend) = self.upstream.backends.get(id) else {
            return true;
        };
        let node = backend.node;
        if backend.broadcast.is_some() {
            self.take_broadcast(push);
            return true;
        }
        if backend.flavor.tracking {
            self.take_invalidation(id, push, now);
            return true;
        }
        if self.take_near_push(id, push) {
            return true;
        }
        if self
            .pubsub
            .links
            .get(&node)
            .is_none_or(|link| link.backend != id)
        {
            self.pass_push_on(id, push, now);
            return true;
        }
        if push.frame().first() != Some(&b'>') {
            // No server puts attributes before what it pushes.
            return false;
        }
        let mut items = push.items();
        let mut text = || items.next().and_then(|item| item.text());
        let (Some(word), name) = (text(), text()) else {
            return true;
        };
        match (Pushed::of(word), name) {
            (Some(Pushed::Message(kind)), Some(name)) => {
                let channel = match kind {
                    Kind::Pattern => text().unwrap_or_default(),
                    Kind::Channel | Kind::Shard => name,
                };
                self.hand_out(kind, name, channel, node, push.frame(), now);
                true
            }
            (Some(Pushed::Confirmed(kind, act)), Some(name)) => {
                self.take_confirmation(id, node, kind, act, name, now)
            }
            (Some(_), None) | (None, _) => true,
        }
    }

    /// What a node pushes on a connection of requests comes with the reply to the oldest of them (`DEBUG PROTOCOL
    /// push`), and is its client's if nothing is owed to that before. Else nobody asked for it.
    #[cold]
    fn pass_push_on(&mut self, id: BackendId, push: Reply<'_>, now: Time) {
        let Some(backend) = self.upstream.backends.get(id) else {
            return;
        };
        let front = backend.tickets.front().filter(|_| backend.front_is_sent());
        let Some(ticket) = front else { return };
        let Origin::Part(part) = ticket.origin else {
            return;
        };
        // Any other request of a shared connection has asked for none: a node's own push is nobody's.
        let row = self.table.rows().get(usize::from(ticket.command));
        if !row.is_some_and(|row| row.pushes) {
            return;
        }
        let is_push = push.frame().first() == Some(&b'>');
        if !is_push || backend.flavor.protocol != Protocol::Resp3 || !self.is_single_head(part) {
            return;
        }
        let Some(own) = self.clients.get_mut(part.client) else {
            return;
        };
        own.output.push(push.frame(), &mut self.pool);
        if own.owed_bytes() > self.config.limits.client_output_bytes {
            self.close_overfull(part.client, now);
        } else {
            self.queue_flush(part.client);
        }
    }

    /// A subscription at a node has begun or ended.
    fn take_confirmation(
        &mut self,
        id: BackendId,
        node: NodeKey,
        kind: Kind,
        act: Act,
        name: &[u8],
        now: Time,
    ) -> bool {
        let link = self.pubsub.links.get_mut(&node);
        let Some(asked) = link.and_then(|link| link.take(kind, act, name)) else {
            // What nobody asked for ends by itself; it does not begin so.
            if act == Act::Unsubscribe {
                self.evicted(node, kind, name, now);
            }
            return act == Act::Unsubscribe;
        };
        let origin = Origin::Subscription;
        if !self.upstream.confirmed(id, origin, &mut self.pool) {
            return false;
        }
        self.request_confirmed(node, &asked, now);
        true
    }

    /// A message to each subscriber of a topic, unless others are to be handed out before.
    fn hand_out(
        &mut self,
        kind: Kind,
        name: &[u8],
        channel: &[u8],
        node: NodeKey,
        frame: &[u8],
        now: Time,
    ) {
        let Some(topic) = self.pubsub.topic(kind, name) else {
            return;
        };
        let event = kind != Kind::Shard && keyspace_events::is_event(channel);
        if !topic.takes(node, event) {
            return;
        }
        if self.pubsub.overlap.is_on() && !topic.events {
            self.pubsub.overlap.note(kind, name, frame);
        }
        let got = match self.pubsub.ahead.is_empty() {
            true => Vec::new(),
            false => self.pubsub.ahead.who_got(kind, name, frame, now),
        };
        let mut frames = std::mem::take(&mut self.pubsub.frames);
        frames.fill(frame);
        let handed = match self.pubsub.outbox.has_messages() {
            true => Handed::UpTo(None),
            false => self.hand_to(kind, name, &mut frames, (None, &got), now),
        };
        if let Handed::UpTo(last) = handed {
            return self.pubsub.outbox.keep(Message {
                kind,
                name: name.into(),
                frames,
                last,
                got,
            });
        }
        frames.clear();
        self.pubsub.frames = frames;
    }

    /// A turn has begun: subscribers who wait to be written to are, and messages go on to be handed out.
    #[cold]
    #[inline(never)]
    pub(in crate::proxy) fn hand_on(&mut self, now: Time) {
        while let Some(id) = self.pubsub.outbox.next_unwritten() {
            self.actions.flush_client(id);
        }
        while let Some(mut message) = self.pubsub.outbox.next() {
            let Message { kind, last, .. } = message;
            let who = (last, &message.got[..]);
            match self.hand_to(kind, &message.name, &mut message.frames, who, now) {
                Handed::All => {}
                Handed::UpTo(last) => {
                    message.last = last;
                    return self.pubsub.outbox.put_back(message);
                }
            }
        }
    }

    /// A message to the subscribers of a topic that come after the one named, as many as this turn may serve. Those who have
    /// got it before are left out.
    #[inline]
    fn hand_to(
        &mut self,
        kind: Kind,
        name: &[u8],
        frames: &mut Frames,
        (mut last, got): (Option<ClientId>, &[ClientId]),
        now: Time,
    ) -> Handed {
        let Pubsub {
            topics,
            outbox,
            leaving,
            ..
        } = &mut self.pubsub;
        // Nobody may be left.
        let Some(topic) = topics[kind.index()].get(name) else {
            return Handed::All;
        };
        let max = self.config.limits.pubsub_output_bytes;
        let mut slow: Vec<ClientId> = Vec::new();
        let subscribers = topic.subscribers_after(last);
        let mut count = 0;
        for id in subscribers {
            if !outbox.hands_more() {
                break;
            }
            count += 1;
            last = Some(*id);
            let Some(client) = self.clients.get_mut(*id) else {
                debug_assert!(
                    leaving.iter().any(|(own, _)| own == id),
                    "a subscriber has not left"
                );
                continue;
            };
            if client.closing.is_some() {
                continue;
            }
            if !got.is_empty() && got.binary_search_by_key(&order(id), order).is_ok() {
                continue;
            }
            let session = &client.session;
            match frames.of(session.protocol, session.namespace.as_ref(), kind) {
                None => continue,
                Some(Frame::Copied(bytes)) => {
                    outbox.handed(bytes.len());
                    client.output.push(bytes, &mut self.pool);
                }
                Some(Frame::Shared(chunk)) => {
                    outbox.handed(chunk.len());
                    client.output.push_chunk(chunk.again().unwrap_or_default());
                }
            }
            if client.owed_bytes() > max {
                slow.push(*id);
            } else if !client.flush_queued {
                client.flush_queued = true;
                if outbox.writes(*id) {
                    self.actions.flush_client(*id);
                }
            }
        }
        self.stats.messages.add(count as u64);
        let all = count == subscribers.len();
        for id in slow {
            self.close_overfull(id, now);
        }
        match all {
            true => Handed::All,
            false => Handed::UpTo(last),
        }
    }

    /// Whether a node's connection is not to be read in this turn because of the messages that have come there.
    #[inline]
    pub fn is_held_back(&self, id: BackendId) -> bool {
        let carries = || self.pubsub.links.values().any(|link| link.backend == id);
        self.pubsub.outbox.is_full() && carries()
    }
}

/// Who has got a message.
enum Handed {
    /// All.
    All,
    /// Those up to this one, nobody if there is none.
    UpTo(Option<ClientId>),
}
