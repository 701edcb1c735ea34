//! `Table`: which clients have read which keys over one connection to a node, since the node last said that the key has
//! changed. It is what the node itself remembers of that connection, told apart by client.
//!
//! The keys lie by slot, so that those of a slot that moves are found without a look at the others.

use std::collections::BTreeMap;
use std::ops::Bound;

use crate::proxy::ids::{ClientId, Seq};

/// A client that has read a key, and the place of the last request by which it did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reader {
    /// The client.
    pub client: ClientId,
    /// The place of its request.
    pub seq: Seq,
}

/// The readers of one key, by client.
pub type Readers = Vec<Reader>;

/// The keys of one slot.
pub type Keys = BTreeMap<Box<[u8]>, Readers>;

/// The keys that were read over one connection.
///
/// Invariant: `len` is the number of keys; no slot is without keys, no key without readers.
#[derive(Debug, Default)]
pub struct Table {
    slots: BTreeMap<u16, Keys>,
    len: usize,
}

impl Table {
    /// Keys that are remembered.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// A client has read a key.
    pub fn note(&mut self, slot: u16, key: &[u8], reader: Reader) {
        let keys = self.slots.entry(slot).or_default();
        let readers = match keys.get_mut(key) {
            Some(readers) => readers,
            None => {
                self.len += 1;
                keys.entry(key.into())
                    .or_insert_with(|| Vec::with_capacity(1))
            }
        };
        match readers.binary_search_by_key(&reader.client, |own| own.client) {
            Ok(at) => readers[at] = reader,
            Err(at) => readers.insert(at, reader),
        }
    }

    /// Takes the readers of a key.
    pub fn take(&mut self, slot: u16, key: &[u8]) -> Option<Readers> {
        let keys = self.slots.get_mut(&slot)?;
        let readers = keys.remove(key)?;
        if keys.is_empty() {
            self.slots.remove(&slot);
        }
        self.len -= 1;
        Some(readers)
    }

    /// The slots that have keys.
    pub fn slots(&self) -> impl Iterator<Item = u16> {
        self.slots.keys().copied()
    }

    /// Takes all keys of a slot.
    pub fn take_slot(&mut self, slot: u16) -> Keys {
        let keys = self.slots.remove(&slot).unwrap_or_default();
        self.len -= keys.len();
        keys
    }

    /// Takes one key of any slot; `random` is any number.
    pub fn take_any(&mut self, random: u64) -> Option<(Box<[u8]>, Readers)> {
        let from = (random >> 48) as u16 & 0x3fff;
        let mut behind = self.slots.range(from..);
        let slot = *behind.next().or_else(|| self.slots.iter().next())?.0;
        let keys = self.slots.get(&slot)?;
        // Keys that begin alike, as most do, are told apart by what follows.
        let (first, last) = (keys.first_key_value()?.0, keys.last_key_value()?.0);
        let alike = first.iter().zip(&**last).take_while(|(a, b)| a == b);
        let mut from = first[..alike.count()].to_vec();
        from.extend_from_slice(&random.to_le_bytes()[..4]);
        let range = (Bound::Included(from.as_slice()), Bound::Unbounded);
        let mut behind = keys.range::<[u8], _>(range);
        let key = behind.next().map_or(first, |(key, _)| key).clone();
        let readers = self.take(slot, &key)?;
        Some((key, readers))
    }

    /// Asserts the invariants above.
    pub fn check(&self) {
        let len: usize = self.slots.values().map(BTreeMap::len).sum();
        assert_eq!(self.len, len);
        assert!(self.slots.values().all(|keys| !keys.is_empty()));
        let mut all = self.slots.values().flat_map(BTreeMap::values);
        assert!(
            all.all(|readers| !readers.is_empty() && readers.is_sorted_by_key(|own| own.client))
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Random;

    fn reader(client: u32, seq: u32) -> Reader {
        Reader {
            client: ClientId::from_parts(client, 1),
            seq: Seq(seq),
        }
    }

    #[test]
    fn a_key_has_each_reader_once_with_its_last_request() {
        let mut table = Table::default();
        for (client, seq) in [(3, 1), (1, 2), (3, 9), (2, 3)] {
            table.note(7, b"a", reader(client, seq));
        }
        table.note(7, b"b", reader(1, 4));
        table.check();
        assert_eq!(table.len(), 2);
        let expected = vec![reader(1, 2), reader(2, 3), reader(3, 9)];
        assert_eq!(table.take(7, b"a"), Some(expected));
        assert_eq!(table.take(7, b"a"), None);
        assert_eq!(table.take(8, b"b"), None);
        assert_eq!(table.take_slot(7).len(), 1);
        assert!(table.is_empty());
        table.check();
    }

    #[test]
    fn any_key_may_be_taken_and_all_are_in_the_end() {
        let (mut table, mut random) = (Table::default(), Random::new(5));
        for number in 0..1000u32 {
            let key = format!("user:{number}");
            table.note(
                (number % 3) as u16 * 5000,
                key.as_bytes(),
                reader(1, number),
            );
        }
        let mut taken = Vec::new();
        while let Some((key, _)) = table.take_any(random.next()) {
            taken.push(key);
            if taken.len() % 100 == 0 {
                table.check();
            }
        }
        assert_eq!(taken.len(), 1000);
        // Not simply in their order.
        assert!(!taken[..20].is_sorted());
        taken.sort();
        taken.dedup();
        assert_eq!(taken.len(), 1000);
    }
}
