//! `Topic`: a name to which clients of this worker are subscribed or are about to be: these clients, and the nodes at
//! which this worker is subscribed for them.
//!
//! It must never know a connection, nor send anything.

use std::collections::VecDeque;

use crate::clock::Time;
use crate::proxy::ids::{ClientId, NodeKey};

/// A subscription of ours at a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The node.
    pub node: NodeKey,
    /// The number of the request that it was asked for with, the last if there were several.
    pub serial: u64,
    /// Whether the node has confirmed that request.
    pub stands: bool,
}

/// One name and its subscribers.
///
/// Invariants: `subscribers` is sorted; there is one place for a node at most; `home` and `courted` have places,
/// that of `home` stands, and they are not both set.
#[derive(Debug, Default)]
pub struct Topic {
    /// The clients who are subscribed.
    subscribers: Vec<ClientId>,
    /// Requests of clients that wait until it is confirmed.
    pub waiting: VecDeque<usize>,
    /// Requests of clients that name it and are not answered yet.
    pub holds: usize,
    /// Where we are subscribed, or have asked to be.
    places: Vec<Place>,
    /// The node that messages are taken from. Other nodes have the same ones.
    home: Option<NodeKey>,
    /// The node that is to be the home as soon as it confirms: what it sent before that may be what a former
    /// home has sent already.
    courted: Option<NodeKey>,
    /// Whether keyspace notifications may be among the messages: those are taken from every master.
    pub events: bool,
    /// Not to be asked for anywhere before.
    pub retry_at: Time,
}

/// The order of a topic's subscribers.
pub(in crate::proxy::pubsub) fn order(id: &ClientId) -> (u32, u32) {
    (id.key(), id.generation())
}

impl Topic {
    /// A topic that nobody is subscribed to.
    pub fn new(events: bool) -> Topic {
        Topic {
            events,
            ..Topic::default()
        }
    }

    /// The clients who are subscribed.
    pub fn subscribers(&self) -> &[ClientId] {
        &self.subscribers
    }

    /// Those that come after this one; all if there is none.
    pub fn subscribers_after(&self, last: Option<ClientId>) -> &[ClientId] {
        let last = last.map(|last| order(&last));
        let done = |id: &ClientId| last.is_some_and(|last| order(id) <= last);
        &self.subscribers[self.subscribers.partition_point(done)..]
    }

    /// A client subscribes.
    pub fn join(&mut self, id: ClientId) {
        if let Err(at) = self.subscribers.binary_search_by_key(&order(&id), order) {
            self.subscribers.insert(at, id);
        }
    }

    /// A client does not want it any more.
    pub fn leave(&mut self, id: ClientId) {
        if let Ok(at) = self.subscribers.binary_search_by_key(&order(&id), order) {
            self.subscribers.remove(at);
        }
    }

    /// Whether anybody needs it.
    pub fn is_wanted(&self) -> bool {
        self.holds > 0 || !self.subscribers.is_empty()
    }

    /// Where we are subscribed, or have asked to be.
    pub fn places(&self) -> &[Place] {
        &self.places
    }

    /// The subscription at this node.
    pub fn place(&self, node: NodeKey) -> Option<&Place> {
        self.places.iter().find(|place| place.node == node)
    }

    /// The node that messages are taken from, or will be.
    pub fn home(&self) -> Option<NodeKey> {
        self.home.or(self.courted)
    }

    /// Whether `node` is the home, or will be.
    pub fn is_home(&self, node: NodeKey) -> bool {
        self.home() == Some(node)
    }

    /// It has been asked for at a node, which is to be the home from its confirmation on, or is not.
    pub fn asked(&mut self, node: NodeKey, serial: u64, courted: bool) {
        match self.places.iter_mut().find(|place| place.node == node) {
            Some(place) => (place.serial, place.stands) = (serial, false),
            None => self.places.push(Place {
                node,
                serial,
                stands: false,
            }),
        }
        if courted {
            debug_assert!(self.home != Some(node));
            (self.home, self.courted) = (None, Some(node));
        }
    }

    /// A node has confirmed the request with this number.
    pub fn confirmed(&mut self, node: NodeKey, serial: u64) {
        let mut places = self.places.iter_mut();
        let Some(place) = places.find(|place| place.node == node && place.serial == serial) else {
            return;
        };
        place.stands = true;
        if self.courted == Some(node) {
            (self.home, self.courted) = (Some(node), None);
        }
    }

    /// We are not subscribed at a node any more. Returns whether we were.
    pub fn left(&mut self, node: NodeKey) -> bool {
        let before = self.places.len();
        self.places.retain(|place| place.node != node);
        self.home = self.home.filter(|home| *home != node);
        self.courted = self.courted.filter(|courted| *courted != node);
        self.places.len() != before
    }

    /// Whether all that has been asked for stands, so that no message published from now on is missed.
    pub fn is_confirmed(&self) -> bool {
        self.home.is_some() && self.places.iter().all(|place| place.stands)
    }

    /// Whether a message that came from a node is one to pass on. `event`: it is a keyspace notification.
    pub fn takes(&self, node: NodeKey, event: bool) -> bool {
        if event {
            // Before its confirmation comes what was sent for an earlier subscription.
            self.place(node).is_some_and(|place| place.stands)
        } else {
            self.home == Some(node)
        }
    }

    /// Asserts the invariants.
    pub fn check(&self) {
        assert!(self.subscribers.is_sorted_by_key(order));
        assert!(self.is_wanted());
        assert!(self.home.is_none() || self.courted.is_none());
        assert!(self.home().is_none_or(|home| self.place(home).is_some()));
        assert!(
            self.home
                .is_none_or(|home| self.place(home).is_some_and(|place| place.stands))
        );
        assert!(self.waiting.len() <= self.holds);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arena::Id;

    const A: NodeKey = NodeKey(1);
    const B: NodeKey = NodeKey(2);

    #[test]
    fn subscribers_are_there_once() {
        let mut topic = Topic::new(false);
        for key in [5, 1, 3, 3] {
            topic.join(Id::from_parts(key, 7));
        }
        topic.leave(Id::from_parts(1, 8));
        topic.leave(Id::from_parts(5, 7));
        topic.check();
        assert_eq!(
            topic.subscribers(),
            [Id::from_parts(1, 7), Id::from_parts(3, 7)]
        );
    }

    #[test]
    fn a_home_begins_with_a_confirmation_that_came_after_the_former_one_had_gone() {
        let mut topic = Topic::new(true);
        topic.join(Id::from_parts(1, 1));
        topic.asked(A, 1, true);
        topic.asked(B, 2, false);
        topic.confirmed(B, 2);
        assert!(!topic.is_confirmed() && !topic.takes(A, false) && topic.takes(B, true));
        topic.confirmed(A, 1);
        assert!(topic.is_confirmed() && topic.takes(A, false) && !topic.takes(B, false));
        assert!(topic.left(A));
        // B stands, but what it sends now A may have sent before.
        assert!(!topic.takes(B, false));
        topic.asked(B, 3, true);
        topic.confirmed(B, 2);
        assert!(!topic.takes(B, false));
        topic.confirmed(B, 3);
        assert!(topic.takes(B, false) && topic.is_confirmed());
        topic.check();
    }
}
