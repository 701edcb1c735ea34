//! `Accepted`: the blocking requests that nodes let wait, by slot and in the order in which their clients asked.
//!
//! It must never know which node that is.

use std::collections::BTreeMap;

use crate::proxy::ids::ClientId;

/// Blocking requests that have been sent.
#[derive(Debug, Default)]
pub(in crate::proxy::lease) struct Accepted(BTreeMap<(u16, u64), (ClientId, u16)>);

impl Accepted {
    /// The request of this order has been sent.
    pub fn join(&mut self, slot: u16, order: u64, client: ClientId, run: u16) {
        self.0.insert((slot, order), (client, run));
    }

    /// It is at no node any more.
    pub fn leave(&mut self, slot: u16, order: u64) {
        self.0.remove(&(slot, order));
    }

    /// Those for one slot, each a client and its run.
    pub fn of_slot(&self, slot: u16) -> Vec<(ClientId, u16)> {
        let own = self.0.range((slot, 0)..=(slot, u64::MAX));
        own.map(|(_, own)| *own).collect()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_slot_has_its_own_in_the_order_of_the_clients() {
        let client = |key| ClientId::from_parts(key, 1);
        let mut accepted = Accepted::default();
        for (slot, order) in [(7, 3), (8, 2), (7, 1), (9, 4)] {
            accepted.join(slot, order, client(order as u32), 0);
        }
        assert_eq!(accepted.of_slot(7), [(client(1), 0), (client(3), 0)]);
        accepted.leave(7, 1);
        accepted.leave(7, 1);
        assert_eq!(accepted.of_slot(7), [(client(3), 0)]);
        assert_eq!(accepted.of_slot(6), []);
        assert_eq!(accepted.len(), 3);
    }
}
