//! `Order`: blocked clients are served in the order in which they asked. A node serves them in the order in which
//! their requests arrive; so among the blocking requests for one slot that are not sent yet, the oldest is sent
//! first, even if a later one gets a connection sooner.
//!
//! It must never know why a request has not been sent.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::clock::Time;
use crate::proxy::ids::ClientId;

/// How long others wait for a request that cannot be sent: it may have reasons of its own.
const PATIENCE: Duration = Duration::from_secs(1);
/// How many requests that have waited that long are looked at.
const LOOKED_AT: usize = 8;

/// How long the next request is sent behind one that waited like it. Both take new connections, and a node that finds
/// bytes on several at once reads them in an order of its own.
const PACE: Duration = Duration::from_micros(500);
/// So many requests are sent so; more than that are better sent soon.
const PACED_MAX: usize = 32;

/// Blocking requests that are still to be sent, by their slots; and those that are to be sent again, since their node
/// has begun to refuse the requests for their slot.
#[derive(Debug, Default)]
pub(in crate::proxy::lease) struct Order(BTreeMap<(u16, u64), Unsent>);

#[derive(Debug, Clone, Copy)]
struct Unsent {
    since: Time,
    client: ClientId,
    run: u16,
}

impl Order {
    /// A request of this order has not been sent.
    pub fn join(&mut self, slot: u16, order: u64, client: ClientId, run: u16, now: Time) {
        let since = now;
        let own = Unsent { since, client, run };
        self.0.entry((slot, order)).or_insert(own);
    }

    /// Whether it may be sent as far as others are concerned.
    pub fn may_go(&self, slot: u16, order: u64, now: Time) -> bool {
        let before = self.0.range((slot, 0)..(slot, order)).take(LOOKED_AT);
        before
            .map(|(_, own)| own.since)
            .all(|since| now.since(since) >= PATIENCE)
    }

    /// When to ask again, if nobody says so before.
    pub fn ask_again_at(now: Time) -> Time {
        now.after(PATIENCE)
    }

    /// It has been sent, or will not be. Returns who is first now, if it was not before, and when it is to be sent.
    pub fn leave(&mut self, slot: u16, order: u64, now: Time) -> Option<(ClientId, u16, Time)> {
        self.0.remove(&(slot, order))?;
        let (&(_, first), own) = self.0.range((slot, 0)..=(slot, u64::MAX)).next()?;
        let paced = self.0.len() <= PACED_MAX;
        let at = if paced { now.after(PACE) } else { now };
        (first > order).then_some((own.client, own.run, at))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(key: u32) -> ClientId {
        ClientId::from_parts(key, 1)
    }

    fn at(millis: u64) -> Time {
        Time::from_micros(millis * 1000)
    }

    #[test]
    fn the_first_goes_first_and_each_slot_has_its_own() {
        let mut order = Order::default();
        for (slot, number) in [(7, 1), (7, 2), (8, 3), (7, 4)] {
            order.join(slot, number, client(number as u32), 0, at(0));
        }
        let may_go = |order: &Order, slot, number| order.may_go(slot, number, at(1));
        assert!(may_go(&order, 7, 1) && may_go(&order, 8, 3));
        assert!(!may_go(&order, 7, 2) && !may_go(&order, 7, 4));
        // Who leaves from the middle makes nobody first.
        assert_eq!(order.leave(7, 2, at(1)), None);
        assert_eq!(order.leave(7, 2, at(1)), None);
        let next = (client(4), 0, at(1).after(PACE));
        assert_eq!(order.leave(7, 1, at(1)), Some(next));
        assert!(may_go(&order, 7, 4));
        assert_eq!(order.leave(8, 3, at(1)), None);
        assert_eq!(order.leave(7, 4, at(1)), None);
        assert_eq!(order.len(), 0);
    }

    #[test]
    fn nobody_waits_for_ever_for_another() {
        let mut order = Order::default();
        order.join(7, 1, client(1), 0, at(0));
        order.join(7, 2, client(2), 0, at(500));
        assert!(!order.may_go(7, 2, at(999)));
        assert!(order.may_go(7, 2, at(1000)));
        assert!(!order.may_go(7, 3, at(1000)));
        // That it is tried again and again does not make it new.
        order.join(7, 1, client(1), 0, at(1400));
        assert!(order.may_go(7, 3, at(1500)));
    }
}
