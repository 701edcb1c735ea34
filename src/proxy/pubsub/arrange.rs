//! Where this worker subscribes to a topic, and when that changes: a topic is new or no longer wanted, a connection
//! is lost, a node refuses, the routes change.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Time;
use crate::cluster::slot::Slot;
use crate::proxy::actions::Wanted;
use crate::proxy::ids::{BackendId, NO_SLOT, NodeKey, PartId};
use crate::proxy::pubsub::state::NEVER;
use crate::proxy::pubsub::state::kind::{Act, Kind};
use crate::proxy::pubsub::state::link::{Asked, Link};
use crate::proxy::state::Proxy;
use crate::proxy::texts::refusal::Refusal;
use crate::proxy::upstream::Target;
use crate::proxy::upstream::backend::{Origin, State, Ticket};
use crate::proxy::upstream::lost::Lost;
use crate::resp::encode;
use crate::resp::reply::Reply;

/// How long to wait after a refusal that time may heal.
const RETRY: Duration = Duration::from_millis(100);
/// How long to wait after any other refusal.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often a node that sends nothing is asked whether it is there.
const PING_PERIOD: Duration = Duration::from_secs(5);
const PING: &[u8] = b"*1\r\n$4\r\nPING\r\n";

impl Proxy {
    /// Sees to it that a topic is subscribed to where it should be, and nowhere else.
    pub(super) fn arrange(&mut self, kind: Kind, name: &Arc<[u8]>, now: Time) {
        let owner = match kind {
            Kind::Shard => self.owner_of(Slot::of(name)),
            Kind::Channel | Kind::Pattern => self.home_for(name),
        };
        let wanted = self.wanted_places(kind, name, owner, now);
        let Some(topic) = self.pubsub.topic_mut(kind, name) else {
            return;
        };
        let home = wanted.first().copied();
        let odd = |node: &NodeKey| !wanted.contains(node);
        let odd: Vec<NodeKey> = topic
            .places()
            .iter()
            .map(|place| place.node)
            .filter(odd)
            .collect();
        let missing: Vec<NodeKey> = wanted
            .iter()
            .copied()
            .filter(|node| {
                topic.place(*node).is_none() || (home == Some(*node) && !topic.is_home(*node))
            })
            .collect();
        for node in odd {
            self.unsubscribe_at(kind, name, node, now);
        }
        let mut settled = home.is_some();
        for node in missing {
            let serial = self.ask_node(kind, Act::Subscribe, name, node, now);
            settled &= serial.is_some();
            if let (Some(serial), Some(topic)) = (serial, self.pubsub.topic_mut(kind, name)) {
                topic.asked(node, serial, home == Some(node));
            }
        }
        let place = (kind, name.clone());
        if settled {
            self.pubsub.unsettled.remove(&place);
        } else {
            self.pubsub.unsettled.insert(place);
            self.retry(kind, name, now.after(RETRY));
            self.want_refresh(Wanted::Trouble);
        }
        self.wake_if_confirmed(kind, name, now);
    }

    fn wake_if_confirmed(&mut self, kind: Kind, name: &Arc<[u8]>, now: Time) {
        let topic = self.pubsub.topic(kind, name);
        if topic.is_some_and(|topic| topic.is_confirmed() && !topic.waiting.is_empty()) {
            self.topic_confirmed(kind, name, now);
        }
    }

    fn owner_of(&self, slot: Slot) -> Option<NodeKey> {
        let shard = self.upstream.routes.shard(slot);
        shard.map(|shard| shard.master)
    }

    /// The nodes that a topic is to be subscribed to at; its home first, which is `owner` if the topic has none. None:
    /// there is nowhere now.
    fn wanted_places(
        &self,
        kind: Kind,
        name: &[u8],
        owner: Option<NodeKey>,
        now: Time,
    ) -> Vec<NodeKey> {
        let Some(topic) = self.pubsub.topic(kind, name) else {
            return Vec::new();
        };
        let masters = if topic.events {
            self.event_masters()
        } else {
            Vec::new()
        };
        // With notifications, no node but those may be asked: a replica repeats them.
        let suits = |node: &NodeKey| !topic.events || masters.contains(node);
        let within_reach = |node: &NodeKey| {
            let (node, replica) = (*node, false);
            !self.upstream.is_out_of_reach(Target { node, replica }, now)
        };
        let stays = |node: &NodeKey| {
            let listed = self.upstream.node(*node).is_some_and(|node| node.listed);
            listed && suits(node)
        };
        let any = || {
            let affinity = usize::from(Slot::of(name).number());
            let any = self.upstream.any_master(affinity).map(|target| target.node);
            let other = masters.iter().copied().find(within_reach);
            any.filter(suits).or(other)
        };
        let home = match kind {
            Kind::Shard => owner,
            Kind::Channel | Kind::Pattern => topic
                .home()
                .filter(stays)
                .or_else(|| owner.filter(|owner| within_reach(owner) && suits(owner)))
                .or_else(any),
        };
        let mut wanted: Vec<NodeKey> = home.into_iter().collect();
        for master in masters {
            if !wanted.contains(&master) {
                wanted.push(master);
            }
        }
        wanted
    }

    /// The masters that keyspace notifications are taken from, one for each shard: a replica publishes those of
    /// its master once more. While a failover is known from redirects only, the old master is still listed as
    /// one; it is left out.
    fn event_masters(&self) -> Vec<NodeKey> {
        let shards = self.upstream.routes.shards();
        let is_master = |node: &NodeKey| shards.iter().any(|shard| shard.master == *node);
        let mut masters: Vec<NodeKey> = shards
            .iter()
            .filter(|shard| !shard.replicas.iter().any(is_master))
            .map(|shard| shard.master)
            .collect();
        masters.dedup();
        masters
    }

    /// Sends a request about a topic to a node; returns its number, or nothing if the node is not to be tried now.
    fn ask_node(
        &mut self,
        kind: Kind,
        act: Act,
        name: &Arc<[u8]>,
        node: NodeKey,
        now: Time,
    ) -> Option<u64> {
        let backend = self.link_to(node, now)?;
        let mut frame = Vec::new();
        let word = kind.word(act);
        encode::command(&mut frame, [word.as_bytes(), name]);
        let slot = match kind {
            Kind::Shard => Slot::of(name).number(),
            Kind::Channel | Kind::Pattern => NO_SLOT,
        };
        let command = self.table.named(word.as_bytes())?.id;
        self.send_on_link(backend, Origin::Subscription, slot, command, &frame, now);
        self.pubsub.serial += 1;
        let serial = self.pubsub.serial;
        let link = self.pubsub.links.get_mut(&node)?;
        link.asked.push_back(Asked {
            kind,
            act,
            name: name.clone(),
            serial,
        });
        if act == Act::Subscribe && link.names.insert((kind, name.clone())) {
            self.process.register.settle(kind, name, link.address);
        }
        Some(serial)
    }

    fn send_on_link(
        &mut self,
        backend: BackendId,
        origin: Origin,
        slot: u16,
        command: u16,
        frame: &[u8],
        now: Time,
    ) {
        let ticket = Ticket::here(origin, slot, command, frame.len(), now);
        let (pool, actions) = (&mut self.pool, &mut self.actions);
        self.upstream.send(backend, frame, ticket, pool, actions);
        self.stats.backend_requests.add(1);
    }

    /// The connection to a node, made if there is none.
    fn link_to(&mut self, node: NodeKey, now: Time) -> Option<BackendId> {
        if let Some(link) = self.pubsub.links.get(&node) {
            return Some(link.backend);
        }
        let (config, actions) = (&self.config, &mut self.actions);
        let backend = self
            .upstream
            .subscription_backend(node, config, actions, now)?;
        let address = self.upstream.node(node)?.address;
        let ping_at = now.after(PING_PERIOD);
        let link = Link::new(backend, address, ping_at);
        self.pubsub.links.insert(node, link);
        self.pubsub.look_at(ping_at);
        Some(backend)
    }

    /// Unsubscribes from a topic at a node.
    fn unsubscribe_at(&mut self, kind: Kind, name: &Arc<[u8]>, node: NodeKey, now: Time) {
        if let Some(topic) = self.pubsub.topic_mut(kind, name) {
            topic.left(node);
        }
        if self.pubsub.links.contains_key(&node) {
            self.ask_node(kind, Act::Unsubscribe, name, node, now);
        }
    }

    /// A topic that nobody needs any more is given up.
    pub(super) fn abandon_unwanted(&mut self, kind: Kind, name: &Arc<[u8]>, now: Time) {
        let topic = self.pubsub.topic(kind, name);
        let Some(topic) = topic.filter(|topic| !topic.is_wanted()) else {
            return;
        };
        let nodes: Vec<NodeKey> = topic.places().iter().map(|place| place.node).collect();
        for node in nodes {
            self.unsubscribe_at(kind, name, node, now);
        }
        self.pubsub.topics[kind.index()].remove(name);
        self.pubsub.unsettled.remove(&(kind, name.clone()));
    }

    /// A topic is looked after again at `at`.
    pub(super) fn retry(&mut self, kind: Kind, name: &Arc<[u8]>, at: Time) {
        if let Some(topic) = self.pubsub.topic_mut(kind, name) {
            topic.retry_at = at;
            self.pubsub.unsettled.insert((kind, name.clone()));
            self.pubsub.look_at(at);
        }
    }

    /// A node has confirmed what it was asked for.
    pub(super) fn request_confirmed(&mut self, node: NodeKey, asked: &Asked, now: Time) {
        let (kind, name) = (asked.kind, &asked.name);
        match asked.act {
            Act::Subscribe => {
                if let Some(topic) = self.pubsub.topic_mut(kind, name) {
                    topic.confirmed(node, asked.serial);
                }
                self.wake_if_confirmed(kind, name, now);
            }
            Act::Unsubscribe => self.pubsub.forget_name(&self.process.register, node, asked),
        }
    }

    /// A node has ended a subscription by itself: it has lost the slot of a shard channel.
    pub(super) fn evicted(&mut self, node: NodeKey, kind: Kind, name: &[u8], now: Time) {
        let name: Arc<[u8]> = name.into();
        let topic = self.pubsub.topic_mut(kind, &name);
        if !topic.is_some_and(|topic| topic.left(node)) {
            return;
        }
        let asked = Asked {
            kind,
            act: Act::Unsubscribe,
            name: name.clone(),
            serial: 0,
        };
        self.pubsub
            .forget_name(&self.process.register, node, &asked);
        self.want_refresh(Wanted::Moved);
        // Asked again, the node says who has the slot now.
        self.arrange(kind, &name, now);
    }

    /// A node has answered a request about a topic with something else than its confirmation.
    pub(in crate::proxy) fn subscription_refused(
        &mut self,
        id: BackendId,
        reply: Reply<'_>,
        now: Time,
    ) {
        let Some(node) = self.upstream.backends.get(id).map(|backend| backend.node) else {
            return;
        };
        let link = self.pubsub.links.get_mut(&node);
        let Some(asked) = link.and_then(|link| link.asked.pop_front()) else {
            debug_assert!(false, "a ticket of a subscription has its request");
            return;
        };
        let (kind, name) = (asked.kind, asked.name.clone());
        let Some(topic) = self.pubsub.topic_mut(kind, &name) else {
            return self
                .pubsub
                .forget_name(&self.process.register, node, &asked);
        };
        let current = topic
            .place(node)
            .is_some_and(|place| place.serial == asked.serial);
        if asked.act == Act::Unsubscribe || !current {
            return self
                .pubsub
                .forget_name(&self.process.register, node, &asked);
        }
        topic.left(node);
        let prompt = now >= topic.retry_at;
        self.pubsub
            .forget_name(&self.process.register, node, &asked);
        self.retry(kind, &name, now.after(RETRY));
        let error = reply.error().unwrap_or(b"ERR a node does not subscribe");
        match Refusal::parse(error) {
            Some(Refusal::Moved(slot, endpoint))
                if kind == Kind::Shard && slot == Slot::of(&name) =>
            {
                self.want_refresh(Wanted::Moved);
                let from = self.upstream.node(node).map(|node| node.address);
                let to = from.and_then(|from| self.upstream.routes.resolve(endpoint, from));
                if let Some(to) = to {
                    self.upstream.routes.learn(slot, to, now);
                    self.note_owner(slot);
                    self.hasten_held(now);
                }
                if prompt && to.is_some_and(|to| to != node) {
                    self.arrange(kind, &name, now);
                    // A second redirect at once is a circle, and waits.
                    self.retry(kind, &name, now.after(RETRY));
                }
            }
            Some(_) => self.want_refresh(Wanted::Trouble),
            None => {
                let text = String::from_utf8_lossy(error).into_owned();
                self.warn(id, &format!("refuses a subscription: {text}"));
                self.retry(kind, &name, now.after(PATIENCE));
                self.give_up_topic(kind, &name, error, now);
            }
        }
    }

    /// A connection has gone; if it was one for subscriptions, they are made elsewhere.
    pub(in crate::proxy) fn link_lost(&mut self, id: BackendId, node: NodeKey, now: Time) {
        if self
            .pubsub
            .links
            .get(&node)
            .is_none_or(|link| link.backend != id)
        {
            return;
        }
        let Some(link) = self.pubsub.links.remove(&node) else {
            return;
        };
        for (kind, name) in &link.names {
            self.process.register.unsettle(*kind, name, link.address);
            if let Some(topic) = self.pubsub.topic_mut(*kind, name) {
                topic.left(node);
            }
        }
        for (kind, name) in &link.names {
            self.arrange(*kind, name, now);
        }
    }

    /// The routes have changed.
    pub(in crate::proxy) fn arrange_all(&mut self, now: Time) {
        for kind in Kind::ALL {
            let names: Vec<Arc<[u8]>> = self.pubsub.topics[kind.index()].keys().cloned().collect();
            for name in names {
                self.arrange(kind, &name, now);
            }
        }
    }

    /// What is due is done: late requests are given up, what is missing is asked for again, nodes are asked
    /// whether they are there, idle connections are closed.
    pub(in crate::proxy) fn tend_subscriptions(&mut self, now: Time) {
        self.pubsub.due = NEVER;
        if let Some(at) = self.give_up_late(now) {
            self.pubsub.look_at(at);
        }
        if let Some(at) = self.tend_publishers(now) {
            self.pubsub.look_at(at);
        }
        let unsettled: Vec<(Kind, Arc<[u8]>)> = self.pubsub.unsettled.iter().cloned().collect();
        for (kind, name) in unsettled {
            match self.pubsub.topic(kind, &name).map(|topic| topic.retry_at) {
                Some(at) if now < at => self.pubsub.look_at(at),
                Some(_) => self.arrange(kind, &name, now),
                None => {}
            }
        }
        let links: Vec<NodeKey> = self.pubsub.links.keys().copied().collect();
        for node in links {
            self.tend_link(node, now);
        }
    }

    /// Behind the answer to this part, all has come that a node sent before on its connection for subscriptions.
    pub(in crate::proxy) fn fence(&mut self, part: PartId, node: NodeKey, now: Time) {
        let link = self.pubsub.links.get(&node).map(|link| link.backend);
        let ready = link.filter(|link| {
            let backend = self.upstream.backends.get(*link);
            backend.is_some_and(|backend| backend.state == State::Ready)
        });
        let command = self.table.named(b"ping").map(|row| row.id);
        let (Some(backend), Some(command)) = (ready, command) else {
            return self.fulfil(part, b"+PONG\r\n", now);
        };
        let origin = Origin::Part(part);
        self.send_on_link(backend, origin, NO_SLOT, command, PING, now);
    }

    fn tend_link(&mut self, node: NodeKey, now: Time) {
        let Some(link) = self.pubsub.links.get_mut(&node) else {
            return;
        };
        let backend = link.backend;
        if link.is_idle() {
            let state = self.upstream.backends.get(backend);
            if state.is_some_and(|backend| backend.tickets.is_empty()) {
                return self.lose_backend(backend, Lost::Retired, now);
            }
        }
        let late = now >= link.ping_at;
        if late {
            link.ping_at = now.after(PING_PERIOD);
        }
        let at = link.ping_at;
        self.pubsub.look_at(at);
        let ready = self
            .upstream
            .backends
            .get(backend)
            .is_some_and(|backend| backend.state == State::Ready && backend.tickets.is_empty());
        if late
            && ready
            && let Some(command) = self.table.named(b"ping").map(|row| row.id)
        {
            self.send_on_link(backend, Origin::Discard, NO_SLOT, command, PING, now);
        }
    }
}
