//! `sort`: lists in order, where it does not matter how fast.
//!
//! The sort of the standard library is made anew for every type and every order, and takes 4 to 8 KB of the program each time:
//! with forty of them a twentieth of it. Here the places of the values are sorted, which are numbers whatever the values are,
//! by one sort for all; then the values move there. Values that are equal stay in their order. What is sorted for requests, or
//! may be long, has the library's sort.

use std::cmp::Ordering;
use std::collections::BTreeMap;

/// Sorts by what `compare` says.
pub fn by<T>(list: &mut [T], compare: impl Fn(&T, &T) -> Ordering) {
    let mut places: Vec<usize> = (0..list.len()).collect();
    sort_places(&mut places, &|a, b| compare(&list[a], &list[b]));
    // Each place now says whose value it is to have. They are moved along the circles that this makes.
    for start in 0..list.len() {
        let mut at = start;
        loop {
            let from = std::mem::replace(&mut places[at], at);
            if from == start {
                break;
            }
            list.swap(at, from);
            at = from;
        }
    }
}

/// Sorts by a key.
pub fn by_key<T, K: Ord>(list: &mut [T], key: impl Fn(&T) -> K) {
    by(list, |a, b| key(a).cmp(&key(b)));
}

/// Sorts by the values' own order.
pub fn all<T: Ord>(list: &mut [T]) {
    by(list, T::cmp);
}

/// A map of these, put in one by one: made of all at once they would be sorted first.
pub fn map<K: Ord, V>(all: impl IntoIterator<Item = (K, V)>) -> BTreeMap<K, V> {
    let mut map = BTreeMap::new();
    for (key, value) in all {
        map.insert(key, value);
    }
    map
}

#[inline(never)]
fn sort_places(places: &mut [usize], compare: &dyn Fn(usize, usize) -> Ordering) {
    places.sort_by(|a, b| compare(*a, *b));
}

#[cfg(test)]
mod tests {
    use crate::testing::Random;

    #[test]
    fn lists_are_sorted_as_the_library_sorts_them() {
        let mut random = Random::new(3);
        for round in 0..300 {
            let len = random.below(1 + round);
            // Few keys, so that many are equal.
            let mut list: Vec<(usize, String)> = (0..len)
                .map(|number| (random.below(1 + len / 3), number.to_string()))
                .collect();
            let mut expected = list.clone();
            expected.sort_by_key(|(key, _)| *key);
            super::by_key(&mut list, |(key, _)| *key);
            assert_eq!(list, expected);
            expected.sort();
            super::all(&mut list);
            assert_eq!(list, expected);
            expected.reverse();
            super::by(&mut list, |a, b| b.cmp(a));
            assert_eq!(list, expected);
        }
    }
}
