//! Requests of so many keys that they are not noted one by one: they reach their slots past the near cache.

use super::*;
use crate::proxy::near_cache::serve::KEYS_MAX;

impl Rig {
    /// How many accesses are noted: to slots, and to any of these keys.
    fn accesses(&self, keys: &[&str]) -> (usize, usize) {
        let near = self.proxy.near.as_deref().unwrap();
        let of = |key: &&str| near.accesses.of(near.hash(key.as_bytes())).count();
        (near.accesses.wide.len(), keys.iter().map(of).sum())
    }
}

#[test]
fn what_is_cut_over_many_turns_is_noted_once_and_its_client_sees_what_it_wrote() {
    let mut rig = Rig::with(2, |config| config.limits.split_keys = 4);
    rig.fill("a", 1);
    rig.fill("z", 1);
    let keys = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"];
    let write: Vec<&str> = keys.iter().flat_map(|key| [*key, "7"]).collect();
    let (wide, single) = rig.accesses(&keys);
    rig.ask(1, &[&["MSET"], &write[..]].concat());
    for _ in 0..keys.len() {
        rig.act();
    }
    assert_eq!(rig.accesses(&keys), (wide + 1, single));
    rig.ask(1, &["GET", "a"]);
    // Nobody is served what may be old; other slots are.
    rig.ask(0, &["GET", "z"]);
    assert_eq!(rig.heard(0), bulk(1));
    rig.ask(0, &["GET", "a"]);
    assert_eq!((rig.heard(0), rig.heard(1)), Default::default());
    rig.settle();
    assert_eq!(rig.heard(1), format!("+OK\r\n{}", bulk(7)));
    // The node had its read before the write, or behind it.
    assert!([bulk(1), bulk(7)].contains(&rig.heard(0)));
    // It is over with its reply.
    rig.wait(Duration::from_millis(100));
    assert_eq!(rig.accesses(&[]).0, 0);
    rig.fill("a", 8);
    rig.proxy.check_idle();
}

#[test]
fn what_is_cut_and_goes_to_one_slot_is_noted_too() {
    let mut rig = Rig::with(2, |config| config.limits.split_keys = 2);
    rig.fill("{a}1", 1);
    rig.ask(1, &["MSET", "{a}1", "2", "{a}2", "2", "{a}3", "2"]);
    rig.ask(1, &["GET", "{a}1"]);
    rig.act();
    rig.ask(0, &["GET", "{a}1"]);
    assert_eq!((rig.heard(0), rig.heard(1)), Default::default());
    rig.settle();
    assert_eq!(rig.heard(1), format!("+OK\r\n{}", bulk(2)));
    rig.proxy.check_idle();
}

#[test]
fn what_has_many_arguments_and_few_keys_is_noted_key_by_key() {
    let mut rig = Rig::with(2, |config| config.limits.split_keys = 4);
    rig.fill("a", 1);
    let (wide, single) = rig.accesses(&["a", "b", "c"]);
    rig.ask(1, &["MSET", "a", "2", "b", "2", "c", "2"]);
    assert_eq!(rig.accesses(&["a", "b", "c"]), (wide, single + 3));
    rig.ask(1, &["GET", "a"]);
    rig.ask(0, &["GET", "a"]);
    assert_eq!((rig.heard(0), rig.heard(1)), Default::default());
    rig.settle();
    assert_eq!(rig.heard(1), format!("+OK\r\n{}", bulk(2)));
    rig.proxy.check_idle();
}

#[test]
fn very_many_keys_of_one_slot_are_noted_as_their_slot() {
    let mut rig = Rig::new(2);
    rig.fill("{a}1", 1);
    let keys: Vec<String> = (0..=KEYS_MAX).map(|key| format!("{{a}}{key}")).collect();
    let mut words = vec!["SINTER"];
    words.extend(keys.iter().map(String::as_str));
    let (wide, single) = rig.accesses(&words[1..]);
    rig.ask(1, &words);
    assert_eq!(rig.accesses(&words[1..]), (wide + 1, single));
    rig.ask(0, &["GET", "{a}1"]);
    assert_eq!(rig.heard(0), "");
}
