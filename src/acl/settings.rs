//! `Settings`: what the operator says of a user by flags, beside its rules: how much it may ask for, how many clients it
//! may have, and what holds for them in place of the settings of all. All workers count in the same.
//!
//! It must never know why somebody asks.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::clock::Time;
use crate::config::{Config, ReadPreference};

const SECOND_NANOS: u64 = 1_000_000_000;

/// What is said of each user, by its name.
pub type Named = BTreeMap<Box<[u8]>, Arc<Settings>>;

/// What is said of one user, and what is counted for it.
#[derive(Debug, Default)]
pub struct Settings {
    /// Commands in a second; nothing is any number.
    pub rate: Option<u64>,
    /// Clients at once; nothing is any number.
    pub clients_max: Option<usize>,
    /// Where its reads go, in place of `-read-prefer`.
    pub read_preference: Option<ReadPreference>,
    /// Whether it may send admin commands, in place of `-admin-commands`.
    pub admin: Option<bool>,
    /// Clients that have a place.
    clients: AtomicUsize,
    /// When all that it has asked for would be done at its rate, in nanoseconds.
    done_at: AtomicU64,
}

impl Settings {
    /// What a config says of its users.
    pub fn named(config: &Config) -> Named {
        let mut named: BTreeMap<Box<[u8]>, Settings> = BTreeMap::new();
        for (name, rate) in &config.user_rate_limits {
            named.entry(name.as_bytes().into()).or_default().rate = Some(*rate);
        }
        for (name, count) in &config.user_max_clients {
            named.entry(name.as_bytes().into()).or_default().clients_max = Some(*count);
        }
        for (name, own) in &config.user_settings {
            let settings = named.entry(name.as_bytes().into()).or_default();
            (settings.read_preference, settings.admin) = (own.read_preference, own.admin);
        }
        let shared = named.into_iter();
        shared.map(|(name, own)| (name, Arc::new(own))).collect()
    }

    /// Counts a command, if one more may be run now. Who has asked for nothing may ask for a second's commands at once.
    pub fn take(&self, now: Time) -> bool {
        let Some(cost) = self.cost() else {
            return true;
        };
        let now = now.as_micros() * 1000;
        let later = |done_at: u64| {
            let done_at = done_at.max(now) + cost;
            (done_at - now <= SECOND_NANOS).then_some(done_at)
        };
        self.done_at
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, later)
            .is_ok()
    }

    /// A command that was counted is not run now, and will be counted again.
    pub fn give_back(&self) {
        if let Some(cost) = self.cost() {
            let earlier = |done_at: u64| Some(done_at.saturating_sub(cost));
            self.done_at
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, earlier)
                .ok();
        }
    }

    /// What a command costs, in nanoseconds.
    fn cost(&self) -> Option<u64> {
        self.rate.map(|rate| SECOND_NANOS / rate.max(1))
    }
}

/// A place among the clients of a user of whom there may be so many; given back when it is dropped.
#[derive(Debug)]
pub struct Place(Arc<Settings>);

impl Place {
    /// A place, if one is left.
    pub fn take(settings: &Arc<Settings>) -> Option<Place> {
        let most = settings.clients_max.unwrap_or(usize::MAX);
        let more = |clients: usize| (clients < most).then_some(clients + 1);
        settings
            .clients
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more)
            .ok()?;
        Some(Place(settings.clone()))
    }

    /// Whether it is one among these.
    pub fn is_of(&self, settings: &Arc<Settings>) -> bool {
        Arc::ptr_eq(&self.0, settings)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let before = self.0.clients.fetch_sub(1, Ordering::Relaxed);
        debug_assert!(before > 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_held_from_second_to_second_and_unused_time_is_kept_for_one() {
        for rate in [1, 3, 100, 1_000_000] {
            let settings = Settings {
                rate: Some(rate),
                ..Settings::default()
            };
            let take = |micros: u64| settings.take(Time::from_micros(micros));
            let burst = (0..rate + 10).filter(|_| take(5_000_000)).count() as u64;
            assert_eq!(burst, rate);
            // In the next two seconds as many as the rate, however often it is asked.
            let steps = 20_000;
            let taken = (1..=steps)
                .filter(|step| take(5_000_000 + step * 100))
                .count() as u64;
            assert!(
                taken <= 2 * rate && taken + 2 >= (2 * rate).min(steps),
                "{taken} of {rate}"
            );
            let late = (0..2 * rate + 10).filter(|_| take(60_000_000)).count() as u64;
            assert_eq!(late, rate);
            settings.give_back();
            assert!(take(60_000_000) && !take(60_000_000));
        }
        let free = Settings::default();
        assert!((0..1000).all(|_| free.take(Time::default())));
    }

    #[test]
    fn a_place_is_given_back_when_it_is_dropped() {
        let settings = Arc::new(Settings {
            clients_max: Some(2),
            ..Settings::default()
        });
        let own = [Place::take(&settings), Place::take(&settings)];
        assert!(own.iter().flatten().all(|place| place.is_of(&settings)));
        assert!(Place::take(&settings).is_none());
        drop(own);
        assert!(Place::take(&settings).is_some());
    }
}
