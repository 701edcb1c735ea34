//! What comes by tracking connections: the replies to reads, which are handed to all who wait and kept unless something
//! reached the key meanwhile, and the pushes that invalidate.

use std::time::Duration;

use crate::clock::Time;
use crate::proxy::client::held::Retry;
use crate::proxy::ids::BackendId;
use crate::proxy::near_cache::state::accesses::Lasts;
use crate::proxy::near_cache::state::flight::{Flight, NearStep, Progress, Waiter};
use crate::proxy::near_cache::state::resp2;
use crate::proxy::planted_bugs;
use crate::proxy::state::Proxy;
use crate::proxy::upstream::backend::{Origin, Ticket};
use crate::proxy::upstream::goal::Goal;
use crate::proxy::upstream::lost::Lost;
use crate::proxy::upstream::node_reply::NodeReply;
use crate::resp::encode;
use crate::resp::reply::Reply;

/// For how long a request is not tried again whose reply is too large to be kept.
const TOO_LARGE: Duration = Duration::from_secs(60);
/// The same of one that a node did not answer, or whose client's protocol has no word for the answer.
const REFUSED: Duration = Duration::from_secs(1);

/// Keys of one report that are looked for: one of more drops all that is kept of its node.
const REPORTED_MAX: u32 = 32_768;

/// For how long a reply is kept at most. A node tells of keys that change, and of nothing else: not that its user may not read
/// them any more.
const KEPT: Duration = Duration::from_secs(60);

/// The same in microseconds, of the key of this hash: those that were filled together are not read anew together.
fn longest(hash: u64) -> u64 {
    let most = KEPT.as_micros() as u64;
    most - (hash >> 32) % (most / 4)
}

/// A read that goes to its key's node by the usual connection.
struct Past {
    hash: u64,
    slot: u16,
    command: u16,
    frame: Box<[u8]>,
    /// The same as a part of MGET, if any waits for that.
    listed: Vec<u8>,
}

impl Past {
    fn of(flight: &Flight) -> Past {
        let mut listed = Vec::new();
        if flight.waiters.iter().any(|waiter| waiter.listed.is_some()) {
            encode::command(&mut listed, [&b"MGET"[..], &flight.key]);
        }
        Past {
            hash: flight.hash,
            slot: flight.slot,
            command: flight.command,
            frame: flight.frame.clone(),
            listed,
        }
    }
}

impl Proxy {
    /// A reply that has come by a tracking connection.
    #[cold]
    pub(in crate::proxy) fn near_answered(&mut self, answer: &NodeReply<'_>, step: NearStep) {
        let &NodeReply {
            backend: id,
            ticket,
            reply,
            now,
            ..
        } = answer;
        let (Some(backend), Some(near)) =
            (self.upstream.backends.get(id), self.near.as_deref_mut())
        else {
            return;
        };
        let node = backend.node;
        let link = near.link_mut(node);
        if link.broadcast.is_none() {
            link.confirm(ticket.sent_at);
        } else if !reply.is_error() {
            link.confirm(ticket.sent_at);
            self.settle_near(node, ticket.sent_at, now);
        }
        let Some(near) = self.near.as_deref_mut() else {
            return;
        };
        let link = near.link_mut(node);
        match step {
            NearStep::Subscribe => link.refuses_broadcast = true,
            NearStep::Setup if reply.is_error() && link.broadcast.is_some() => {
                link.refuses_broadcast = true;
            }
            NearStep::Setup if reply.is_error() => {
                // It is of no use; that says nothing of the node.
                link.is_refused = true;
                near.any_refused = true;
            }
            NearStep::Setup => link.is_tracking(),
            // It serves these keys no more, or nobody.
            NearStep::Probe if reply.is_error() => near.drop_node(node),
            NearStep::Probe => {}
            NearStep::Read(at) => self.flight_answered(at, reply, now),
            NearStep::Ttl(at) => self.flight_over(at, reply, now),
        }
    }

    /// The read of a flight is answered.
    fn flight_answered(&mut self, at: u32, reply: Reply<'_>, now: Time) {
        let Some(near) = self.near.as_deref_mut() else {
            return;
        };
        let fits = near.fits(reply.frame().len());
        let Some(flight) = near.flights.get_mut(at) else {
            return;
        };
        let useless = reply.is_error() || reply.frame().first() == Some(&b'|');
        let both = (!useless).then(|| resp2::both(reply));
        let lacks = |waiter: &Waiter| {
            let bytes = both.as_ref().and_then(|both| both.bytes(waiter.protocol));
            bytes.is_none()
        };
        let past = flight.waiters.iter().any(lacks).then(|| Past::of(flight));
        let waiters = std::mem::take(&mut flight.waiters);
        if let Some(both) = &both {
            near.note_seen(at, &both.resp3, &waiters, now);
        }
        let Some(flight) = near.flights.get_mut(at) else {
            return;
        };
        flight.shared = waiters
            .len()
            .saturating_sub(1)
            .try_into()
            .unwrap_or(u8::MAX);
        let wait = match fits {
            _ if useless || past.is_some() => Some(REFUSED),
            true => None,
            false => Some(TOO_LARGE),
        };
        let declined = wait.map(|wait| (flight.frame.clone(), wait));
        let (slot, fills) = (flight.slot, flight.fills);
        flight.progress = match (&both, fits) {
            (Some(both), true) if flight.fills => Progress::Answered(both.clone()),
            _ => Progress::Over,
        };
        if let Some((frame, wait)) = declined {
            near.decline(&frame, wait, now);
        }
        if !fills {
            near.flights.remove(at);
        }
        for waiter in waiters {
            let bytes = both.as_ref().and_then(|both| both.bytes(waiter.protocol));
            match (bytes, &past) {
                (Some(bytes), _) => self.hand_over(waiter, bytes, slot, now),
                (None, Some(past)) => self.send_past(waiter, past, now),
                (None, None) => {}
            }
        }
    }

    /// One who waited for a flight has its reply.
    fn hand_over(&mut self, waiter: Waiter, bytes: &[u8], slot: u16, now: Time) {
        let part = waiter.part;
        if waiter.listed.is_some() {
            let mut list = std::mem::take(&mut self.scratch.reply);
            list.clear();
            encode::array(&mut list, 1);
            list.extend_from_slice(bytes);
            self.fulfil(part, &list, now);
            self.scratch.reply = list;
        } else {
            self.fulfil(part, bytes, now);
        }
        let held = self.clients.get(part.client);
        if held.is_some_and(|client| client.held.has(slot)) {
            self.release_held(part.client, slot, now);
        }
    }

    /// The last reply of a flight has come: the TTL of its key in milliseconds. (-1: it has none. -2: there is no such
    /// key, and that is not kept: a slot that has moved away, unknown to us, has no keys either, and no node would
    /// tell us of those that come into being elsewhere.)
    fn flight_over(&mut self, at: u32, reply: Reply<'_>, now: Time) {
        let Some(near) = self.near.as_deref_mut() else {
            return;
        };
        let Some(flight) = near.flights.get_mut(at) else {
            return;
        };
        let wait = match reply.integer() {
            Some(-1) => Some(u64::MAX),
            Some(ttl @ 1..) => Some((ttl as u64).saturating_mul(1000)),
            Some(_) | None => None,
        };
        // From when it was asked: the key may end sooner here, and never later.
        let wait = wait.map(|wait| wait.min(longest(flight.hash)));
        flight.ends_at = wait.map(|wait| flight.running_at.saturating_add(wait));
        if flight.ends_at.is_none() || near.may_keep_now(at, now) {
            self.keep_near(at);
        }
    }

    /// What a flight has brought is kept, if it still may be.
    pub(super) fn keep_near(&mut self, at: u32) {
        let Some(near) = self.near.as_deref_mut() else {
            return;
        };
        let Some(flight) = near.flights.remove(at) else {
            return;
        };
        let (Progress::Answered(both), Some(ends_at)) = (&flight.progress, flight.ends_at) else {
            return;
        };
        let spoiled = flight.spoiled && !planted_bugs::is_on("fill-after-invalidation");
        if spoiled || !near.holds(flight.stamp) {
            near.note_spoiled(flight.hash, flight.shared);
            self.stats.near_fills_spoiled.add(1);
            return;
        }
        let evicted = near.store.keep(
            flight.hash,
            &flight.key,
            flight.stamp,
            flight.question(),
            (both, ends_at),
            flight.shared,
        );
        let link = near.link_mut(flight.stamp.node);
        link.kept();
        link.probe_key.clear();
        link.probe_key.extend_from_slice(&flight.key);
        self.stats.near_fills.add(1);
        self.stats.near_evictions.add(evicted);
    }

    /// A read that waited for a flight in vain goes to its key's node by the usual connection.
    fn send_past(&mut self, waiter: Waiter, past: &Past, now: Time) {
        let Waiter { part, listed, .. } = waiter;
        let client = self.clients.get(part.client);
        if client.is_none_or(|client| client.pipeline.started(part.seq).is_none()) {
            return;
        }
        if let Some(near) = self.near.as_deref_mut() {
            near.access(past.hash, part.client, part.seq, Lasts::Request);
        }
        let frame: &[u8] = match listed {
            Some(_) => &past.listed,
            None => &past.frame,
        };
        let slot = past.slot;
        let (origin, command) = (Origin::Part(part), listed.unwrap_or(past.command));
        let ticket = Ticket {
            tries: 0,
            ..Ticket::new(origin, slot, command, frame.len(), true, now)
        };
        self.hold(ticket, frame, Retry::at_once(Goal::Owner, now), now);
        self.release_held(part.client, slot, now);
    }

    /// Those who wait for these flights wait no more: their reads are sent by other connections.
    pub(super) fn give_up_flights(&mut self, own: impl Fn(&Flight) -> bool, over: bool, now: Time) {
        let Some(near) = self.near.as_deref_mut() else {
            return;
        };
        let all = near.flights.iter().filter(|(_, flight)| own(flight));
        let all: Vec<u32> = all.map(|(at, _)| at).collect();
        let mut left = Vec::new();
        for at in all {
            let Some(flight) = near.flights.get_mut(at) else {
                continue;
            };
            flight.spoiled = true;
            let past = Past::of(flight);
            left.push((std::mem::take(&mut flight.waiters), past));
            if over {
                near.flights.remove(at);
            }
        }
        for (waiters, past) in left {
            for waiter in waiters {
                self.send_past(waiter, &past, now);
            }
        }
    }

    /// A push by a tracking connection. Returns whether it is one.
    #[cold]
    pub(in crate::proxy) fn take_near_push(&mut self, id: BackendId, push: Reply<'_>) -> bool {
        let (Some(backend), Some(near)) =
            (self.upstream.backends.get(id), self.near.as_deref_mut())
        else {
            return false;
        };
        let node = backend.node;
        if near.link(node).is_none_or(|link| link.backend != Some(id)) {
            return false;
        }
        let mut items = push.items();
        match items.next().and_then(|item| item.text()) {
            Some(b"invalidate") => {}
            Some(b"subscribe") => return self.near_subscribed(id),
            _ => return true,
        }
        let keys = items.next();
        let Some(keys) = keys.filter(|keys| !keys.is_null()) else {
            self.stats.near_invalidations.add(1);
            near.drop_node(node);
            return true;
        };
        let mut count = 0;
        for key in keys.items().filter_map(|key| key.text()) {
            count += 1;
            if count > REPORTED_MAX {
                near.drop_node(node);
                break;
            }
            let hash = near.hash(key);
            let dropped = near.drop_key(hash);
            let flights = &mut near.flights;
            flights.spoil_key(hash, |flight| flight.progress != Progress::Sent);
            self.stats.near_invalidations.add(u64::from(dropped));
        }
        near.link_mut(node).reported(count);
        true
    }

    /// A backend has gone that may have been a tracking connection.
    pub(in crate::proxy) fn near_lost(&mut self, id: BackendId, lost: Lost, now: Time) {
        let Some(near) = self.near.as_deref_mut() else {
            return;
        };
        let mut nodes = near.nodes();
        let node = nodes.find(|node| near.link(*node).is_some_and(|own| own.backend == Some(id)));
        let Some(node) = node else { return };
        let epoch = near.new_epoch();
        near.unsettled.lost(node);
        // What it asked for may have been more than the node keeps for one that subscribes.
        let asked = near.flights.iter().map(|(_, flight)| flight);
        let asked =
            asked.filter(|flight| flight.backend == id && flight.progress == Progress::Sent);
        let oldest = asked.min_by_key(|flight| flight.sent_at);
        if let Some(frame) = oldest.map(|flight| flight.frame.clone())
            && lost == Lost::Closed
        {
            near.decline(&frame, TOO_LARGE, now);
        }
        let link = near.link_mut(node);
        let needless = lost == Lost::Retired && !link.is_refused;
        link.lost(epoch, now);
        if needless {
            link.retry_at = now;
        }
        self.give_up_flights(|flight| flight.backend == id, true, now);
    }
}
