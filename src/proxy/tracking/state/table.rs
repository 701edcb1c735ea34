//! `Table`: which clients have read which keys over one connection to a node, since the node last said that the key has
//! changed. It is what the node itself remembers of that connection, told apart by client.
//!
//! The keys lie by slot, so that those of a slot that moves are found without a look at the others.
//!
//! A request may have read a hundred thousand keys of one slot, and they are remembered in one turn. So whoever reads many
//! at once is a reader of the whole slot: it hears of every key of it that the node tells of.

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

/// What was read of one slot.
#[derive(Debug, Default)]
pub struct Reads {
    /// The keys.
    pub keys: BTreeMap<Box<[u8]>, Readers>,
    /// Who has read so many keys at once that they are not told apart. They count as one key.
    pub of_many: Readers,
}

impl Reads {
    /// Keys that are remembered.
    pub fn len(&self) -> usize {
        self.keys.len() + usize::from(!self.of_many.is_empty())
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.of_many.is_empty()
    }
}

/// What was forgotten to make room.
#[derive(Debug, PartialEq, Eq)]
pub enum Forgotten {
    /// A key.
    Key(Box<[u8]>, Readers),
    /// Who had read many keys of a slot.
    Many(Readers),
}

/// The keys that were read over one connection.
///
/// Invariant: `len` is the number of keys; no slot is without keys, no key without readers.
#[derive(Debug, Default)]
pub struct Table {
    slots: BTreeMap<u16, Reads>,
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
        let keys = &mut self.slots.entry(slot).or_default().keys;
        let readers = match keys.get_mut(key) {
            Some(readers) => readers,
            None => {
                self.len += 1;
                keys.entry(key.into())
                    .or_insert_with(|| Vec::with_capacity(1))
            }
        };
        add(readers, reader);
    }

    /// A client has read many keys of a slot.
    pub fn note_many(&mut self, slot: u16, reader: Reader) {
        let readers = &mut self.slots.entry(slot).or_default().of_many;
        self.len += usize::from(readers.is_empty());
        add(readers, reader);
    }

    /// A key is read by nobody any more. Returns who has read it, or may have.
    pub fn take(&mut self, slot: u16, key: &[u8]) -> Option<Readers> {
        let reads = self.slots.get_mut(&slot)?;
        let own = reads.keys.remove(key);
        self.len -= usize::from(own.is_some());
        let mut readers = own.unwrap_or_default();
        reads.of_many.iter().for_each(|own| add(&mut readers, *own));
        if reads.is_empty() {
            self.slots.remove(&slot);
        }
        (!readers.is_empty()).then_some(readers)
    }

    /// The slots that have keys.
    pub fn slots(&self) -> impl Iterator<Item = u16> {
        self.slots.keys().copied()
    }

    /// Takes all keys of a slot.
    pub fn take_slot(&mut self, slot: u16) -> Reads {
        let reads = self.slots.remove(&slot).unwrap_or_default();
        self.len -= reads.len();
        reads
    }

    /// Takes one key of any slot; `random` is any number.
    pub fn take_any(&mut self, random: u64) -> Option<Forgotten> {
        let from = (random >> 48) as u16 & 0x3fff;
        let mut behind = self.slots.range(from..);
        let slot = *behind.next().or_else(|| self.slots.iter().next())?.0;
        let keys = &self.slots.get(&slot)?.keys;
        let (Some((first, _)), Some((last, _))) = (keys.first_key_value(), keys.last_key_value())
        else {
            return Some(Forgotten::Many(self.take_slot(slot).of_many));
        };
        // Keys that begin alike, as most do, are told apart by what follows.
        let alike = first.iter().zip(&**last).take_while(|(a, b)| a == b);
        let mut from = first[..alike.count()].to_vec();
        from.extend_from_slice(&random.to_le_bytes()[..4]);
        let range = (Bound::Included(from.as_slice()), Bound::Unbounded);
        let mut behind = keys.range::<[u8], _>(range);
        let key = behind.next().map_or(first, |(key, _)| key).clone();
        let readers = self.take(slot, &key)?;
        Some(Forgotten::Key(key, readers))
    }

    /// Frees up to `count` keys, of a table that nobody asks any more. Returns whether any are left.
    pub fn free_some(&mut self, count: usize) -> bool {
        for _ in 0..count {
            let Some(mut slot) = self.slots.first_entry() else {
                return false;
            };
            if slot.get_mut().keys.pop_first().is_none() {
                slot.remove();
            }
        }
        !self.slots.is_empty()
    }

    /// Puts in what was read of a slot, which it has not.
    pub fn put(&mut self, slot: u16, reads: Reads) {
        self.len += reads.len();
        if !reads.is_empty() {
            self.slots.insert(slot, reads);
        }
    }

    /// Takes all that was read of any one slot.
    pub fn take_first(&mut self) -> Option<(u16, Reads)> {
        let (slot, reads) = self.slots.pop_first()?;
        self.len -= reads.len();
        Some((slot, reads))
    }

    /// Asserts the invariants above.
    pub fn check(&self) {
        let len: usize = self.slots.values().map(Reads::len).sum();
        assert_eq!(self.len, len);
        assert!(self.slots.values().all(|reads| !reads.is_empty()));
        let mut all = self.slots.values().flat_map(|reads| reads.keys.values());
        assert!(
            all.all(|readers| !readers.is_empty() && readers.is_sorted_by_key(|own| own.client))
        );
    }
}

/// Adds a reader, whose last request counts.
fn add(readers: &mut Readers, reader: Reader) {
    match readers.binary_search_by_key(&reader.client, |own| own.client) {
        Ok(at) if readers[at].seq.before(reader.seq) => readers[at] = reader,
        Ok(_) => {}
        Err(at) => readers.insert(at, reader),
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
        while let Some(Forgotten::Key(key, _)) = table.take_any(random.next()) {
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

    #[test]
    fn who_has_read_many_keys_of_a_slot_hears_of_each() {
        let mut table = Table::default();
        table.note(7, b"a", reader(1, 5));
        table.note_many(7, reader(2, 6));
        table.note_many(7, reader(1, 4));
        table.check();
        assert_eq!(table.len(), 2);
        // The later of its requests counts.
        let both = vec![reader(1, 5), reader(2, 6)];
        assert_eq!(table.take(7, b"a"), Some(both));
        let many = vec![reader(1, 4), reader(2, 6)];
        assert_eq!(table.take(7, b"a"), Some(many.clone()));
        assert_eq!(table.take(8, b"a"), None);
        table.check();
        assert_eq!(table.len(), 1);
        assert_eq!(table.take_any(9), Some(Forgotten::Many(many)));
        assert!(table.is_empty() && table.take_any(9).is_none());
        table.check();
    }

    #[test]
    fn a_table_is_freed_a_few_keys_at_a_time() {
        let mut table = Table::default();
        for number in 0..1000u32 {
            table.note((number % 7) as u16, &number.to_le_bytes(), reader(1, 1));
        }
        let mut turns = 1;
        while table.free_some(100) {
            turns += 1;
        }
        assert_eq!(turns, 11);
        assert!(!table.free_some(1));
    }
}
