//! `FailFast`: scopes (a slot, a shard, any master: see `Ticket::scope`) whose requests have waited in vain. Nobody else
//! waits as long there, until one succeeds.
//!
//! It must never know why they waited.

use std::collections::HashMap;
use std::time::Duration;

use crate::clock::Time;

/// While a scope fails fast, one request in this time is let through to see whether it still does.
const CANARY: Duration = Duration::from_millis(100);

/// The scopes, and when the next request of each may try.
#[derive(Debug, Default)]
pub struct FailFast(HashMap<u16, Time>);

impl FailFast {
    /// Whether there is none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a request of this scope is to be refused at once.
    #[inline]
    pub fn refuses(&mut self, scope: u16, now: Time) -> bool {
        if self.0.is_empty() {
            return false;
        }
        match self.0.get_mut(&scope) {
            Some(canary_at) if now < *canary_at => true,
            Some(canary_at) => {
                *canary_at = now.after(CANARY);
                false
            }
            None => false,
        }
    }

    /// A request of this scope that was let through does not leave yet: another may, or the same again.
    pub fn let_another_through(&mut self, scope: u16, now: Time) {
        if let Some(canary_at) = self.0.get_mut(&scope) {
            *canary_at = now;
        }
    }

    /// Whether requests of this scope have waited in vain, and none has succeeded since.
    #[inline]
    pub fn has(&self, scope: u16) -> bool {
        !self.0.is_empty() && self.0.contains_key(&scope)
    }

    /// A request of this scope has waited in vain.
    pub fn add(&mut self, scope: u16, now: Time) {
        self.0.insert(scope, now.after(CANARY));
    }

    /// A request of this scope has been answered.
    #[inline]
    pub fn remove(&mut self, scope: u16) {
        if !self.0.is_empty() {
            self.0.remove(&scope);
        }
    }

    /// Every scope deserves another try.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}
