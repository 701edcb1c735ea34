//! `Known`: which rows of the table the servers of this cluster have, and how they describe them where that differs
//! from the row.
//!
//! The table is the union of many versions; `COMMAND` shows what one server of the cluster shows.

use std::collections::HashMap;

use super::Command;

/// The rows that the servers have.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Known {
    /// One bit for each id.
    bits: Vec<u64>,
    /// The servers' own words, where they are not the row's. Only what describes a command is of use here.
    said: HashMap<u16, Command>,
    /// The servers' notes on key specs, by id and the spec's place.
    notes: HashMap<(u16, u8), Box<str>>,
}

impl Known {
    /// Adds a row.
    pub fn insert(&mut self, id: u16) {
        let word = usize::from(id / 64);
        if self.bits.len() <= word {
            self.bits.resize(word + 1, 0);
        }
        self.bits[word] |= 1 << (id % 64);
    }

    /// Whether the servers have the row.
    pub fn contains(&self, id: u16) -> bool {
        let word = self.bits.get(usize::from(id / 64));
        word.is_some_and(|word| word >> (id % 64) & 1 == 1)
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.bits
            .iter()
            .map(|word| word.count_ones() as usize)
            .sum()
    }

    /// Whether there is no row at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Keeps the servers' words on a row.
    pub(super) fn describe(&mut self, id: u16, said: Command) {
        self.said.insert(id, said);
    }

    /// Keeps a note on the key spec of a row.
    pub(super) fn note(&mut self, id: u16, spec: u8, note: &str) {
        self.notes.insert((id, spec), note.into());
    }

    /// The row as the servers describe it.
    pub fn said<'a>(&'a self, row: &'a Command) -> &'a Command {
        self.said.get(&row.id).unwrap_or(row)
    }

    /// How many rows the servers describe in other words than the table.
    pub fn described(&self) -> usize {
        self.said.len()
    }

    /// The servers' note on the key spec at this place of a row.
    pub fn note_on(&self, id: u16, spec: usize) -> Option<&str> {
        let spec = u8::try_from(spec).ok()?;
        self.notes.get(&(id, spec)).map(|note| &**note)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_in_or_not() {
        let mut known = Known::default();
        assert!(known.is_empty() && !known.contains(0) && !known.contains(u16::MAX));
        for id in [0, 63, 64, 8191, 64] {
            known.insert(id);
            assert!(known.contains(id));
        }
        assert_eq!(known.len(), 4);
        assert!(!known.contains(1) && !known.contains(65) && !known.contains(8192));
    }
}
