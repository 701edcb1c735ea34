//! `-max-memory`: what clients have made this process hold is looked at twice a second, and as often in between as bytes
//! are kept that could be too many; if they are more than all clients may hold, those that hold most are closed. (Before
//! that, those are not read: see `held_back`.) Clients that have not logged in may hold little together, whatever there is.
//!
//! Each worker closes clients of its own, for its own share of what is too much, so that none has to ask the others.

use crate::clock::Time;
use crate::proxy::client::{Client, Parting};
use crate::proxy::ids::{ClientId, Peer};
use crate::proxy::state::Proxy;
use std::collections::BinaryHeap;
use std::sync::atomic::Ordering;

/// A client that has not logged in and holds less is not closed: that would free next to nothing.
const WORTHWHILE: usize = 64 << 10;
/// All is not looked at more often than when so many bytes have come, and so many for each client.
const LOOK_LEAST: usize = 256 << 10;
const LOOK_LEAST_EACH: usize = 64;
/// What clients of the whole process that have not logged in may hold together.
const STRANGERS_BYTES: usize = 32 << 20;

impl Proxy {
    /// Closes the clients that hold most, if all hold too much.
    pub(in crate::proxy) fn bound_memory(&mut self, now: Time) {
        let (mut own, mut unknown) = (0, 0);
        for (_, client) in self.clients.iter() {
            let bytes = client.held_memory();
            own += bytes;
            if bytes >= WORTHWHILE && !client.session.is_authenticated() {
                unknown += bytes;
            }
        }
        let strangers = STRANGERS_BYTES / self.process.workers.len().max(1);
        if unknown > strangers {
            let clients = self.clients_that_hold(WORTHWHILE, |c| !c.session.is_authenticated());
            let whose = "clients that have not logged in";
            own -= self.close_largest(clients, unknown - strangers, whose, now);
        }
        self.stats.sample.clients_memory_bytes.set(own as u64);
        let limit = self.config.limits.memory_limit();
        let total = self.process.samples().clients_memory_bytes as usize;
        if total > limit {
            own -= self.close_above_fair_share(own, total, limit, now);
            // At once: the other workers would close clients for what is free already.
            self.stats.sample.clients_memory_bytes.set(own as u64);
        }
        let total = self.process.samples().clients_memory_bytes as usize;
        self.hold_back(own, total, limit, now);
        self.until_memory_look = self.bytes_until_look(total, limit);
        let least = self.least_bytes_until_look();
        self.until_strangers_look = (strangers.saturating_sub(unknown) / 2).max(least);
    }

    /// So many bytes may be kept here until all is looked at again: each worker's share of half of what is left, but not so
    /// few that it costs more to look than to read.
    fn bytes_until_look(&self, total: usize, limit: usize) -> usize {
        let share = limit.saturating_sub(total) / self.process.workers.len().max(1) / 2;
        share.max(self.least_bytes_until_look())
    }

    fn least_bytes_until_look(&self) -> usize {
        LOOK_LEAST.max(self.clients.len().saturating_mul(LOOK_LEAST_EACH))
    }

    /// So many bytes more are kept for clients that have not logged in: they are looked at sooner than all are.
    #[cold]
    pub(in crate::proxy) fn note_strangers_growth(&mut self, bytes: usize) {
        self.until_strangers_look = self.until_strangers_look.saturating_sub(bytes);
        if self.until_strangers_look == 0 {
            self.until_memory_look = 0;
        }
    }

    /// So many bytes more are kept for clients, or have come for them: if that may be too many, all is looked at now.
    pub(in crate::proxy) fn note_growth(&mut self, bytes: usize, now: Time) {
        self.will_look_at_memory_after(bytes);
        if self.until_memory_look == 0 {
            self.bound_memory(now);
        }
    }

    /// The same, where clients must not be closed: all is looked at when more is read.
    pub(in crate::proxy) fn will_look_at_memory_after(&mut self, bytes: usize) {
        self.until_memory_look = self.until_memory_look.saturating_sub(bytes);
    }

    /// Closes clients that hold more than the limit allows each of all. As long as all together hold more than the
    /// limit there is one; clients that hold less are not closed, whichever worker they are at.
    #[cold]
    fn close_above_fair_share(
        &mut self,
        own: usize,
        total: usize,
        limit: usize,
        now: Time,
    ) -> usize {
        let fair = limit / self.client_count();
        let clients = self.clients_that_hold(fair + 1, |_| true);
        let excess = (total - limit) as u128 * own as u128 / total as u128;
        self.close_largest(
            clients,
            excess as usize + 1,
            "all clients (-max-memory)",
            now,
        )
    }

    /// Clients of the process, one at least.
    pub(super) fn client_count(&self) -> usize {
        self.process.clients.load(Ordering::Relaxed).max(1)
    }

    /// Clients that hold so much at least, the largest first. A heap, not a sorted list: there may be very many, and most
    /// often a few are enough.
    pub(super) fn clients_that_hold(
        &self,
        least: usize,
        which: impl Fn(&Client) -> bool,
    ) -> BinaryHeap<(usize, ClientId)> {
        let all = self.clients.iter().filter(|(_, client)| which(client));
        all.map(|(id, client)| (client.held_memory(), id))
            .filter(|(bytes, _)| *bytes >= least)
            .collect()
    }

    /// Closes the largest of these until so many bytes are free. Returns how many are.
    #[cold]
    pub(super) fn close_largest(
        &mut self,
        mut clients: BinaryHeap<(usize, ClientId)>,
        excess: usize,
        whose: &str,
        now: Time,
    ) -> usize {
        let mut freed = 0;
        while freed < excess
            && let Some((bytes, id)) = clients.pop()
        {
            if let Some(client) = self.clients.get(id) {
                let line = client.line(&self.table, now);
                let text = format!(
                    "closing the client that holds most: too much memory is held by {whose}: {bytes} bytes: {}",
                    line.trim_end()
                );
                self.memory_log.warn(&text, now);
            }
            self.stats.clients_memory.add(1);
            self.forget_client(id, now);
            freed += bytes;
        }
        freed
    }

    /// Whether nothing could be read from a peer because there was no memory to read it into. Such a client is closed,
    /// and all others go on.
    #[cold]
    pub fn is_out_of_memory(&mut self, peer: Peer, now: Time) -> bool {
        let Peer::Client(id) = peer else {
            return false;
        };
        let stuck = self.clients.get(id).is_some_and(|client| {
            client.stall.is_none() && client.closing.is_none() && client.input.is_stuck()
        });
        if stuck {
            self.close_for_want_of_memory(id, now);
        }
        stuck
    }

    fn close_for_want_of_memory(&mut self, id: ClientId, now: Time) {
        if let Some(client) = self.clients.get(id) {
            let line = client.line(&self.table, now);
            let text = format!(
                "closing a client: no memory for its request: {}",
                line.trim_end()
            );
            self.memory_log.warn(&text, now);
        }
        self.drop_client(id, Parting::Unallocated, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::proxy::process::Process;
    use crate::proxy::tests::rig::before;
    use std::sync::Arc;

    /// Requests that may be sent before a login, and lack their end.
    fn unended() -> Vec<u8> {
        let argument = format!("$16384\r\n{}\r\n", "x".repeat(16384));
        format!("*10\r\n{}", argument.repeat(9)).into_bytes()
    }

    #[test]
    fn clients_that_have_not_logged_in_are_looked_at_as_they_send() {
        let process = Arc::new(Process::new(1));
        let rules = ["reset", "on", ">sesame", "+@all"].map(str::as_bytes);
        process
            .acl
            .set_user(b"default", rules.into_iter())
            .expect("rules");
        let mut proxy = before(1, Arc::new(Config::default()), process);
        let (now, bytes) = (Time::default(), unended());
        let mut most = 0;
        for _ in 0..1000 {
            let id = proxy.accept(None, now);
            let mut left = &bytes[..];
            while !left.is_empty() {
                let Some(room) = proxy.room(Peer::Client(id)) else {
                    break;
                };
                let count = left.len().min(room.spare().len());
                room.spare()[..count].copy_from_slice(&left[..count]);
                room.filled(count);
                proxy.input(Peer::Client(id), count, now);
                left = &left[count..];
            }
            let held: usize = proxy.clients.iter().map(|(_, own)| own.held_memory()).sum();
            most = most.max(held);
        }
        assert!(proxy.stats.clients_memory.get() > 500);
        assert!(most < 2 * STRANGERS_BYTES, "{most}");
    }
}
