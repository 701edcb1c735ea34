//! `Resolver`: resolves host names by the system's resolver, which blocks. Results are kept, so that a resolver that
//! stops answering delays a refresh by a bounded time and loses no address.

use crate::sort;
use std::collections::HashMap;
use std::net::{IpAddr, ToSocketAddrs};
use std::time::{Duration, Instant};

/// How long an answer is believed without asking again.
const FRESH: Duration = Duration::from_secs(10);

/// The same for a name that has no address yet: a name service that comes up late is noticed soon.
const FRESH_NOTHING: Duration = Duration::from_secs(1);

/// How long the resolver may hold up one refresh; after that the answers kept must do.
const ROUND_MAX: Duration = Duration::from_secs(1);

/// Names that are kept at most.
const NAMES_MAX: usize = 10_000;

/// What is known of a name.
#[derive(Debug)]
struct Known {
    addresses: Vec<IpAddr>,
    asked_at: Instant,
}

impl Known {
    fn fresh(&self) -> Duration {
        if self.addresses.is_empty() {
            FRESH_NOTHING
        } else {
            FRESH
        }
    }
}

/// The names asked for so far.
#[derive(Debug)]
pub(super) struct Resolver {
    known: HashMap<String, Known>,
    spent: Duration,
}

impl Resolver {
    pub(super) fn new() -> Resolver {
        Resolver {
            known: HashMap::new(),
            spent: Duration::ZERO,
        }
    }

    /// A new refresh begins: the resolver may take its time again.
    pub(super) fn begin_round(&mut self) {
        self.spent = Duration::ZERO;
    }

    /// The addresses of a host; none if it has none or they cannot be found out.
    pub(super) fn lookup(&mut self, host: &str) -> Vec<IpAddr> {
        if let Ok(ip) = host.parse() {
            return vec![ip];
        }
        let asked_at = Instant::now();
        if let Some(known) = self.known.get(host)
            && (asked_at.saturating_duration_since(known.asked_at) < known.fresh()
                || self.spent > ROUND_MAX)
        {
            return known.addresses.clone();
        }
        if self.spent > ROUND_MAX {
            return Vec::new();
        }
        let found = (host, 0).to_socket_addrs();
        self.spent += asked_at.elapsed();
        if self.known.len() >= NAMES_MAX {
            self.known.clear();
        }
        let known = self.known.entry(host.to_string()).or_insert(Known {
            addresses: Vec::new(),
            asked_at,
        });
        known.asked_at = asked_at;
        match found {
            Ok(found) => {
                known.addresses = found.map(|address| address.ip()).collect();
                sort::all(&mut known.addresses);
                known.addresses.dedup();
            }
            Err(error) => log::debug!("cannot resolve {host}: {error}"),
        }
        known.addresses.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_are_themselves_and_localhost_is_local() {
        let mut resolver = Resolver::new();
        assert_eq!(
            resolver.lookup("10.0.0.1"),
            ["10.0.0.1".parse::<IpAddr>().unwrap()]
        );
        assert_eq!(resolver.lookup("::1"), ["::1".parse::<IpAddr>().unwrap()]);
        assert!(
            resolver
                .lookup("localhost")
                .iter()
                .all(|address| address.is_loopback())
        );
        assert_eq!(resolver.known.len(), 1);
    }

    #[test]
    fn a_slow_resolver_is_not_asked_again_in_the_same_round() {
        let mut resolver = Resolver::new();
        resolver.spent = ROUND_MAX * 2;
        assert!(resolver.lookup("localhost").is_empty());
        resolver.begin_round();
        assert!(!resolver.lookup("localhost").is_empty());
    }
}
