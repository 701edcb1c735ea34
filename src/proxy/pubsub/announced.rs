//! `Announced`: what clients of ours have asked to subscribe to and no node has confirmed, over all workers; and that
//! publishers wait for it. On one server a subscription counts from the moment its request is read: a message that is
//! published after that comes to it.
//!
//! A PUBLISH waits for matching subscriptions that were announced before it, and for none that came later, so that
//! nobody can keep it waiting by subscribing on and on; and for [`WAIT_MAX`] at most.
//!
//! While nothing is announced, a PUBLISH looks at one counter.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::clock::Time;
use crate::command::Resolved;
use crate::proxy::client::Stall;
use crate::proxy::client::step::Step;
use crate::proxy::ids::ClientId;
use crate::proxy::messages::worker_query::WorkerMessage;
use crate::proxy::pubsub::state::announced::{Announcement, Publisher};
use crate::proxy::pubsub::state::keyspace_events;
use crate::proxy::pubsub::state::kind::Kind;
use crate::proxy::pubsub::state::subscriptions::bytes_with;
use crate::proxy::request::Request;
use crate::proxy::request::request_limits;
use crate::proxy::state::Proxy;
use crate::resp::args::Args;
use crate::resp::frame::{RequestScanner, Scan};

/// How long a PUBLISH waits at most.
const WAIT_MAX: Duration = Duration::from_secs(1);
/// SUBSCRIBEs of one client that are announced before they are executed.
const EARLY_MAX: usize = 64;

impl Proxy {
    /// Whether a client that publishes to these channels has to wait; it is resumed then.
    pub(in crate::proxy) fn awaits_subscribers<'a>(
        &mut self,
        id: ClientId,
        channels: impl Iterator<Item = (Kind, &'a [u8])>,
        now: Time,
    ) -> bool {
        let known = self.publisher_goes_on(id);
        if known.is_some_and(|known| now >= known.until) {
            return false;
        }
        let (after, waiter) = (known.map(|known| known.after), (self.worker, id));
        let Some((after, place)) = self.process.announced.wait(channels, after, waiter) else {
            return false;
        };
        let until = known.map_or(now.after(WAIT_MAX), |known| known.until);
        if known.is_none() {
            self.pubsub.patience.push_back((until, id));
            self.pubsub.look_at(until);
        }
        let publisher = Publisher {
            after,
            place,
            until,
        };
        self.pubsub.publishers.insert(id, publisher);
        true
    }

    /// A publisher waits no more, if it did. Returns how it waited.
    fn publisher_goes_on(&mut self, id: ClientId) -> Option<Publisher> {
        let known = self.pubsub.publishers.remove(&id)?;
        self.process.announced.leave(known.place);
        Some(known)
    }

    /// A subscription is confirmed or given up: publishers of all workers that have waited for it look again.
    pub(super) fn withdraw(&mut self, announcement: &Announcement) {
        let mut of_others: BTreeMap<usize, Vec<ClientId>> = BTreeMap::new();
        for (worker, id) in self.process.announced.withdraw(announcement) {
            if worker == self.worker {
                self.wake_publisher(id);
            } else {
                of_others.entry(worker).or_default().push(id);
            }
        }
        for (worker, publishers) in of_others {
            let settled = WorkerMessage::SubscribersSettled(publishers);
            self.actions.send_to_worker(worker, settled);
        }
    }

    /// A publisher looks again whether it has to wait.
    pub(in crate::proxy) fn wake_publisher(&mut self, id: ClientId) {
        let client = self.clients.get(id);
        if client.is_some_and(|client| client.stall == Some(Stall::Subscribers)) {
            self.queue_resume(id);
        }
    }

    /// Those who have waited long enough go on; returns when the next has. All wait for the same time, so the first who
    /// waits is the first who has waited long enough.
    pub(super) fn tend_publishers(&mut self, now: Time) -> Option<Time> {
        while let Some((until, id)) = self.pubsub.patience.front().copied() {
            let known = self.pubsub.publishers.get(&id);
            let waits = known.is_some_and(|known| known.until == until);
            if waits && now < until {
                return Some(until);
            }
            self.pubsub.patience.pop_front();
            if waits {
                self.wake_publisher(id);
            }
        }
        None
    }

    /// Looks whether a client publishes something for which it has to wait: for subscriptions on their way, or, if it
    /// hears itself, for the replies before it, among which the message has its place. `alone`: there are none.
    pub(in crate::proxy) fn look_at_subscribers(
        &mut self,
        request: &Request<'_>,
        alone: bool,
    ) -> Option<Step> {
        let awaits = self.are_subscribers_awaited();
        let own = self.clients.get(request.client)?.session.subscriptions();
        if !awaits && own.is_none() {
            return None;
        }
        let kind = Kind::published_by(&request.command.name)?;
        let channel = request.args.at(1);
        if !alone && own.is_some_and(|own| own.hears(kind, channel)) {
            return Some(Step::Wait(Stall::Barrier));
        }
        let waits = awaits
            && self.awaits_subscribers(request.client, [(kind, channel)].into_iter(), request.now);
        waits.then_some(Step::Wait(Stall::Subscribers))
    }

    /// Whether anybody may have to wait for subscriptions on their way.
    pub(in crate::proxy) fn are_subscribers_awaited(&self) -> bool {
        !self.process.announced.is_empty() || !self.pubsub.publishers.is_empty()
    }

    /// A client waits for the reply to a SUBSCRIBE, or with one for the replies before it: that, if it is the first of
    /// these bytes, and the SUBSCRIBEs that follow it have been read.
    pub(in crate::proxy) fn announce(&mut self, id: ClientId, bytes: &[u8]) {
        let (mut rest, most) = (bytes, self.config.limits.subscription_bytes);
        let client = self.clients.get(id);
        let mut held = bytes_with(
            client.and_then(|own| own.session.subscriptions()),
            [].into_iter(),
        );
        for index in 0..EARLY_MAX {
            let (mut spans, limits) = (Vec::new(), request_limits(&self.config.limits, true));
            let scan = RequestScanner::default().next(rest, &limits, &mut spans);
            let Ok(Scan::Frame(len)) = scan else {
                return;
            };
            let args = Args::new(&rest[..len], &spans);
            let command = match self.table.resolve(&args) {
                Resolved::Command(command) if command.arity_ok(args.len()) => command,
                _ => return,
            };
            let Some(kind) = Kind::subscribed_by(&command.name) else {
                return;
            };
            held += bytes_with(None, args.from(1));
            // It will be refused.
            if held > most {
                return;
            }
            let early = self.pubsub.early.entry(id).or_default();
            if early.len() <= index {
                let client = self.clients.get(id);
                let own = client.and_then(|client| client.session.namespace.as_deref());
                let names = args
                    .from(1)
                    .map(|name| keyspace_events::name_at_nodes(name, own));
                let names = names.collect();
                early.push_back(self.process.announced.announce(kind, names));
            }
            rest = &rest[len..];
        }
    }

    /// Whether a client has announced what it has not come to yet.
    pub(in crate::proxy) fn is_announced(&self, id: ClientId) -> bool {
        !self.pubsub.early.is_empty() && self.pubsub.early.contains_key(&id)
    }

    /// A client's SUBSCRIBE is executed now: what was announced of it before.
    pub(super) fn take_early(&mut self, id: ClientId) -> Option<Announcement> {
        if self.pubsub.early.is_empty() {
            return None;
        }
        let early = self.pubsub.early.get_mut(&id)?;
        let first = early.pop_front();
        if early.is_empty() {
            self.pubsub.early.remove(&id);
        }
        first
    }

    /// A client's SUBSCRIBE is not executed, or there is nothing to wait for.
    pub(super) fn withdraw_early(&mut self, id: ClientId) {
        if let Some(announcement) = self.take_early(id) {
            self.withdraw(&announcement);
        }
    }

    /// A client has gone: nothing of it is on its way, and it waits for nothing.
    pub(in crate::proxy) fn forget_announced(&mut self, id: ClientId) {
        while let Some(announcement) = self.take_early(id) {
            self.withdraw(&announcement);
        }
        self.publisher_goes_on(id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::proxy::ids::Peer;
    use crate::proxy::tests::rig;
    use crate::resp::encode;
    use std::sync::Arc;

    #[test]
    fn what_will_be_refused_is_not_announced() {
        let mut config = Config::default();
        config.limits.subscription_bytes = 1000;
        let now = Time::default();
        for (first, second, announced) in [
            (10, 10, 2),
            (901, 10, 1),
            (1000, 10, 0),
            (10, 1000, 1),
            (600, 600, 1),
        ] {
            let mut proxy = rig::before_nodes(3, Arc::new(config.clone()));
            let client = rig::known_client(&mut proxy, None, now);
            let mut bytes = Vec::new();
            // They wait for the reply to it.
            encode::command(&mut bytes, [&b"GET"[..], b"k"]);
            for name in [first, second] {
                let name = vec![b'n'; name];
                encode::command(&mut bytes, [&b"SUBSCRIBE"[..], &name]);
            }
            rig::feed(&mut proxy, Peer::Client(client), &bytes, now);
            let early = proxy.pubsub.early.get(&client);
            let found = early.map_or(0, |early| early.len());
            assert_eq!(found, announced, "{first} and {second} bytes");
        }
    }
}
