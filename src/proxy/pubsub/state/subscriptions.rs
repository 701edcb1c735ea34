//! `Subscriptions`: what one client is subscribed to, and what it is told of that.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::proxy::pubsub::state::kind::{Act, Kind};
use crate::resp::encode::{self, Protocol};
use crate::resp::glob::{self, Case};

/// What a name costs beside its bytes: its places in the sets.
const NAME_OVERHEAD: usize = 96;

/// What one client is subscribed to.
///
/// Invariant: `bytes` is the cost of all names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Subscriptions {
    names: [BTreeSet<Arc<[u8]>>; Kind::COUNT],
    bytes: usize,
}

impl Subscriptions {
    /// Adds a name; returns whether it is new.
    pub fn add(&mut self, kind: Kind, name: Arc<[u8]>) -> bool {
        let cost = cost(&name);
        let new = self.names[kind.index()].insert(name);
        self.bytes += if new { cost } else { 0 };
        new
    }

    /// Takes a name out; returns whether it was there.
    pub fn remove(&mut self, kind: Kind, name: &[u8]) -> bool {
        let was = self.names[kind.index()].remove(name);
        self.bytes -= if was { cost(name) } else { 0 };
        was
    }

    /// The names of a kind, in order.
    pub fn names(&self, kind: Kind) -> impl Iterator<Item = &Arc<[u8]>> {
        self.names[kind.index()].iter()
    }

    /// How many names of a kind there are.
    pub fn len(&self, kind: Kind) -> usize {
        self.names[kind.index()].len()
    }

    /// How many names there are.
    pub fn count(&self) -> usize {
        self.names.iter().map(BTreeSet::len).sum()
    }

    /// Takes out up to `most` names.
    pub fn take_some(&mut self, most: usize) -> Vec<(Kind, Arc<[u8]>)> {
        let mut taken = Vec::new();
        for kind in Kind::ALL {
            while taken.len() < most
                && let Some(name) = self.names[kind.index()].pop_first()
            {
                self.bytes -= cost(&name);
                taken.push((kind, name));
            }
        }
        taken
    }

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.names.iter().all(BTreeSet::is_empty)
    }

    /// Whether a message of this channel comes here.
    pub fn hears(&self, kind: Kind, channel: &[u8]) -> bool {
        let fits = |pattern: &Arc<[u8]>| glob::matches(pattern, channel, Case::Sensitive);
        self.names[kind.index()].contains(channel)
            || (kind == Kind::Channel && self.names(Kind::Pattern).any(fits))
    }

    /// What all names cost, in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The number that a confirmation tells: channels and patterns are counted together, shard channels apart.
    pub fn told(&self, kind: Kind) -> i64 {
        let count = match kind {
            Kind::Channel | Kind::Pattern => self.len(Kind::Channel) + self.len(Kind::Pattern),
            Kind::Shard => self.len(Kind::Shard),
        };
        count as i64
    }

    /// Appends what a client is told when its subscription to `name` has begun or ended; `name` is nothing
    /// where there was nothing to end.
    pub fn confirm(
        &self,
        kind: Kind,
        act: Act,
        name: Option<&[u8]>,
        protocol: Protocol,
        out: &mut Vec<u8>,
    ) {
        encode::push(out, 3, protocol);
        encode::bulk(out, kind.word(act).as_bytes());
        match name {
            Some(name) => encode::bulk(out, name),
            None => encode::null(out, protocol),
        }
        encode::integer(out, self.told(kind));
    }
}

/// What a client would hold with these names beside its own, if they are all new.
pub fn bytes_with<'a>(own: Option<&Subscriptions>, names: impl Iterator<Item = &'a [u8]>) -> usize {
    own.map_or(0, Subscriptions::bytes) + names.map(cost).sum::<usize>()
}

/// What a name costs a client that is subscribed to it.
pub fn cost(name: &[u8]) -> usize {
    name.len() + NAME_OVERHEAD
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(own: &Subscriptions, kind: Kind, name: Option<&[u8]>, protocol: Protocol) -> String {
        let mut out = Vec::new();
        own.confirm(kind, Act::Subscribe, name, protocol, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn names_are_counted_once() {
        let mut own = Subscriptions::default();
        assert!(own.add(Kind::Channel, (*b"a").into()) && !own.add(Kind::Channel, (*b"a").into()));
        assert!(own.add(Kind::Pattern, (*b"a").into()) && own.add(Kind::Shard, (*b"a").into()));
        assert_eq!(own.bytes(), 3 * cost(b"a"));
        assert_eq!((own.told(Kind::Channel), own.told(Kind::Shard)), (2, 1));
        for kind in Kind::ALL {
            assert!(own.remove(kind, b"a") && !own.remove(kind, b"a"));
        }
        assert!(own.is_empty() && own.bytes() == 0);
    }

    #[test]
    fn a_confirmation_is_that_of_redis() {
        let mut own = Subscriptions::default();
        let check = |own: &Subscriptions, name: Option<&[u8]>, protocol, expected: &str| {
            assert_eq!(told(own, Kind::Channel, name, protocol), expected);
        };
        check(
            &own,
            None,
            Protocol::Resp2,
            "*3\r\n$9\r\nsubscribe\r\n$-1\r\n:0\r\n",
        );
        own.add(Kind::Channel, (*b"a").into());
        check(
            &own,
            Some(b"a"),
            Protocol::Resp3,
            ">3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n",
        );
    }
}
