//! `Failures`: failed logins of the last seconds, by client address. Addresses with many of them are suspect.
//!
//! The table has a fixed size, whatever the number of addresses: each has a few places where it may stand, and a new one
//! replaces there the one that matters least. The hash is seeded, so that nobody can choose addresses that share places.
//! An IPv6 network of 64 bits counts as one address, since one host can use all of it.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use crate::clock::Time;

/// So many failures within [`WINDOW`] make an address suspect.
pub const FAILURES_MAX: usize = 10;
/// How long a failure counts.
pub const WINDOW: Duration = Duration::from_secs(10);

/// Groups of places; an address may stand in one of them.
const GROUPS: usize = 512;
/// Places of a group.
const PLACES: usize = 8;

/// The latest failures of one address.
#[derive(Debug, Clone, Copy)]
struct Entry {
    address: u128,
    /// The times of the latest, in a ring.
    times: [Time; FAILURES_MAX],
    /// Failures so far; the next one's place in the ring is this modulo its length.
    count: usize,
}

impl Entry {
    fn add(&mut self, now: Time) {
        self.times[self.count % FAILURES_MAX] = now;
        self.count += 1;
    }

    fn latest(&self) -> Time {
        self.times[(self.count + FAILURES_MAX - 1) % FAILURES_MAX]
    }

    /// Whether all failures of the ring are of the window that ends now.
    fn is_suspect(&self, now: Time) -> bool {
        let oldest = self.times[self.count % FAILURES_MAX];
        self.count >= FAILURES_MAX && now.since(oldest) < WINDOW
    }
}

/// The failed logins of the last seconds.
#[derive(Debug, Default)]
pub struct Failures {
    seed: RandomState,
    /// Empty until a first login fails.
    groups: Vec<[Option<Entry>; PLACES]>,
}

impl Failures {
    /// A login from this address has failed.
    pub fn add(&mut self, ip: IpAddr, now: Time) {
        let address = counted_as(ip);
        let at = self.group(address);
        if self.groups.is_empty() {
            self.groups = vec![[None; PLACES]; GROUPS];
        }
        let group = &mut self.groups[at];
        let known = group.iter_mut().flatten();
        if let Some(entry) = known.into_iter().find(|entry| entry.address == address) {
            return entry.add(now);
        }
        // An empty place, else that of the one that is not suspect and failed longest ago.
        let least = group.iter_mut().min_by_key(|place| {
            let matters = |entry: &Entry| (entry.is_suspect(now), entry.latest());
            place.as_ref().map(matters)
        });
        if let Some(place) = least {
            let mut entry = Entry {
                address,
                times: [Time::default(); FAILURES_MAX],
                count: 0,
            };
            entry.add(now);
            *place = Some(entry);
        }
    }

    /// Whether many logins from this address have failed just now.
    pub fn is_suspect(&self, ip: IpAddr, now: Time) -> bool {
        let address = counted_as(ip);
        let group = self.groups.get(self.group(address));
        group.is_some_and(|group| {
            let mut known = group.iter().flatten();
            known.any(|entry| entry.address == address && entry.is_suspect(now))
        })
    }

    fn group(&self, address: u128) -> usize {
        self.seed.hash_one(address) as usize % GROUPS
    }
}

/// What stands for an address.
fn counted_as(ip: IpAddr) -> u128 {
    match ip.to_canonical() {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().to_bits(),
        IpAddr::V6(ip) => Ipv6Addr::to_bits(ip) >> 64 << 64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Time {
        Time::from_micros(millis * 1000)
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn ten_failures_within_ten_seconds_make_an_address_suspect_until_they_are_old() {
        let mut failures = Failures::default();
        let guesser = ip("10.0.0.1");
        for second in 1..=9 {
            failures.add(guesser, at(second * 1000));
            assert!(!failures.is_suspect(guesser, at(second * 1000)));
        }
        failures.add(guesser, at(10_000));
        assert!(failures.is_suspect(guesser, at(10_999)));
        assert!(!failures.is_suspect(ip("10.0.0.2"), at(10_999)));
        // The first is ten seconds old.
        assert!(!failures.is_suspect(guesser, at(11_000)));
        failures.add(guesser, at(11_500));
        assert!(failures.is_suspect(guesser, at(11_500)));
        assert!(!failures.is_suspect(guesser, at(99_000)));
    }

    #[test]
    fn an_address_counts_in_all_its_forms_and_a_network_of_64_bits_as_one() {
        let mut failures = Failures::default();
        for number in 0..5 {
            failures.add(ip("192.0.2.1"), at(1));
            failures.add(ip("::ffff:192.0.2.1"), at(1));
            failures.add(ip(&format!("2001:db8::{number}")), at(1));
            failures.add(ip(&format!("2001:db8::{number}:1")), at(1));
        }
        for suspect in ["192.0.2.1", "2001:db8::ffff"] {
            assert!(failures.is_suspect(ip(suspect), at(2)), "{suspect}");
        }
        for other in ["192.0.2.2", "2001:db8:0:1::1"] {
            assert!(!failures.is_suspect(ip(other), at(2)), "{other}");
        }
    }

    #[test]
    fn a_million_addresses_take_no_more_room_and_do_not_hide_a_suspect() {
        let mut failures = Failures::default();
        let guesser = ip("198.51.100.7");
        for _ in 0..FAILURES_MAX {
            failures.add(guesser, at(1));
        }
        let room = failures.groups.capacity();
        // Most groups are replaced many times over.
        for number in 0..1_000_000_u32 {
            failures.add(IpAddr::V4((0x0a00_0000 + number).into()), at(2));
        }
        assert!(failures.is_suspect(guesser, at(3)));
        assert_eq!(
            (failures.groups.capacity(), failures.groups.len()),
            (room, GROUPS)
        );
    }
}
