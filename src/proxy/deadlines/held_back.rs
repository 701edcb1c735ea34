//! Near `-max-memory` the clients that hold most are not read: what others have begun can end and is free then. They are
//! read again when there is memory, and those that have waited for it too long are closed.

use std::time::Duration;

use crate::clock::Time;
use crate::proxy::client::{Client, Stall};
use crate::proxy::state::Proxy;

/// How long a client is not read, at most.
const PATIENCE: Duration = Duration::from_secs(10);
/// Clients that are held back hold so many times what is too much: the nearer the limit, the more of them.
const TIMES: usize = 4;

impl Proxy {
    /// Who is read, with `own` of `total` bytes held by clients of this worker and `limit` the most that all may hold.
    pub(super) fn hold_back(&mut self, own: usize, total: usize, limit: usize, now: Time) {
        let (most, enough) = (limit / 8 * 7, limit / 4 * 3);
        if total > most {
            self.hold_largest_back(own, total, limit, now);
        } else if self.holds_back && total <= enough {
            self.read_all_on();
        }
        if self.holds_back {
            self.close_held_back(now);
        }
    }

    #[cold]
    fn hold_largest_back(&mut self, own: usize, total: usize, limit: usize, now: Time) {
        let excess = TIMES as u128 * (total - limit / 8 * 7) as u128;
        let mut left = (excess * own as u128 / total as u128) as usize;
        let mut clients = self.clients_that_hold(limit / self.client_count() + 1, |_| true);
        while left > 0
            && let Some((bytes, id)) = clients.pop()
        {
            left = left.saturating_sub(bytes);
            let Some(client) = self
                .clients
                .get_mut(id)
                .filter(|own| own.may_be_held_back())
            else {
                continue;
            };
            client.held_back_since.get_or_insert(now);
            client.stall.get_or_insert(Stall::Memory);
            self.holds_back = true;
            self.stats.memory_pauses.add(1);
            let line = client.line(&self.table, now);
            let text = format!(
                "not reading the client that holds most, for now: all clients hold {total} bytes (-max-memory): {}",
                line.trim_end()
            );
            self.held_back_log.warn(&text, now);
        }
    }

    fn read_all_on(&mut self) {
        self.holds_back = false;
        for id in self.clients.ids() {
            let Some(client) = self.clients.get_mut(id) else {
                continue;
            };
            if client.held_back_since.take().is_none() {
                continue;
            }
            if client.stall == Some(Stall::Memory) {
                self.queue_resume(id);
            } else if client.is_to_be_read() {
                self.actions.resume(id);
            }
        }
    }

    /// Closes the largest of those that have not been read for long; the others may go on then.
    fn close_held_back(&mut self, now: Time) {
        let is_late = |client: &Client| {
            let since = client.held_back_since;
            since.is_some_and(|since| now.since(since) >= PATIENCE)
        };
        let late = self.clients_that_hold(0, is_late);
        if !late.is_empty() {
            let whose = "all clients (-max-memory), for long";
            self.close_largest(late, 1, whose, now);
        }
    }
}

impl Client {
    /// Whether it is read, and nothing stands in the way of its not being so for a while.
    fn may_be_held_back(&self) -> bool {
        let is_under_way =
            self.streamed.is_some() || self.execution.is_some() || self.cut.is_some();
        let is_leaving = self.leaving || self.closing.is_some();
        !is_under_way && !is_leaving && (self.stall.is_none() || self.reads_on())
    }
}
