//! `PasswordRefusals`: the nodes that refused the password, and how long each is left alone. Such a node may not be
//! ours, so the password is not offered to it again and again.
//!
//! It must never know why a node is asked, nor read a clock.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// The shortest and the longest time for which a node is left alone.
const WAIT_MIN: Duration = Duration::from_secs(1);
const WAIT_MAX: Duration = Duration::from_secs(30);

/// Nodes remembered: where they come and go there is no end of them.
const NODES_MAX: usize = 1000;

/// The nodes that refuse us: how often each did in a row, and when it may be asked again.
#[derive(Debug, Default)]
pub(super) struct PasswordRefusals(HashMap<SocketAddr, (u32, Instant)>);

impl PasswordRefusals {
    /// Whether a node is to be left alone now.
    pub(super) fn forbid(&self, address: SocketAddr, now: Instant) -> bool {
        let until = self.0.get(&address).map(|(_, until)| *until);
        until.is_some_and(|until| now < until)
    }

    /// A node has refused our password: the time doubles with each refusal in a row.
    pub(super) fn refused(&mut self, address: SocketAddr, now: Instant) {
        if self.0.len() >= NODES_MAX && !self.0.contains_key(&address) {
            self.0.clear();
        }
        let (count, until) = self.0.entry(address).or_insert((0, now));
        let wait = WAIT_MIN * (1 << (*count).min(6));
        *count = count.saturating_add(1);
        *until = now + wait.min(WAIT_MAX);
    }

    /// A node has answered.
    pub(super) fn answered(&mut self, address: SocketAddr) {
        self.0.remove(&address);
    }

    /// The password is another now.
    pub(super) fn forget(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_refuses_is_asked_less_and_less() {
        let (mut refusals, mut now) = (PasswordRefusals::default(), Instant::now());
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        let second = Duration::from_secs(1);
        for wait in [1, 2, 4, 8, 16, 30, 30] {
            refusals.refused(address, now);
            assert!(refusals.forbid(address, now + second * wait - second / 2));
            now += second * wait;
            assert!(!refusals.forbid(address, now), "{wait}");
        }
        refusals.answered(address);
        refusals.refused(address, now);
        assert!(!refusals.forbid(address, now + second));
        refusals.forget();
        assert!(!refusals.forbid(address, now));
        for port in 0..5000 {
            refusals.refused(SocketAddr::from(([10, 0, 0, 1], port)), now);
            assert!(refusals.0.len() <= NODES_MAX);
        }
    }
}
