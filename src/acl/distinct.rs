//! `Distinct`: a list in the order in which its elements came, each with a name of its own. A name is found without a walk:
//! a user may have a pattern for each of many keys.

use std::collections::HashMap;
use std::ops::Deref;

/// Elements with names, no two of them alike.
///
/// Invariant: `places` has the name of each element of `list`, and its index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Distinct<T> {
    list: Vec<T>,
    places: HashMap<Box<[u8]>, usize>,
}

impl<T> Default for Distinct<T> {
    fn default() -> Distinct<T> {
        Distinct {
            list: Vec::new(),
            places: HashMap::new(),
        }
    }
}

impl<T> Distinct<T> {
    /// Whether there is an element of this name.
    pub fn has(&self, name: &[u8]) -> bool {
        self.places.contains_key(name)
    }

    /// The element of this name, which is made, as the last one, if there is none.
    pub fn get_or_add(&mut self, name: &[u8], make: impl FnOnce() -> T) -> &mut T {
        let at = match self.places.get(name) {
            Some(at) => *at,
            None => {
                let at = self.list.len();
                self.places.insert(name.into(), at);
                self.list.push(make());
                at
            }
        };
        &mut self.list[at]
    }
}

impl<T> Deref for Distinct<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.list
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_there_once_and_where_it_came() {
        let mut list = Distinct::default();
        for (number, name) in [b"b", b"a", b"b", b"c", b"a"].into_iter().enumerate() {
            *list.get_or_add(name, || 0) += number;
        }
        assert_eq!(list[..], [2, 5, 3]);
    }
}
