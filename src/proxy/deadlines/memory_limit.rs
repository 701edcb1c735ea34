//! `-max-memory`: what clients have made this process hold is looked at twice a second, and if it is more than all of
//! them may, those that hold most are closed. Clients that have not logged in may hold little together, whatever there is.
//!
//! Each worker closes clients of its own, for its own share of what is too much, so that none has to ask the others.

use crate::clock::Time;
use crate::proxy::client::{Client, Parting};
use crate::proxy::ids::{ClientId, Peer};
use crate::proxy::state::Proxy;
use std::sync::atomic::Ordering;

/// A client that has not logged in and holds less is not closed: that would free next to nothing.
const WORTHWHILE: usize = 64 << 10;
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
        let fair = limit / self.process.clients.load(Ordering::Relaxed).max(1);
        let clients = self.clients_that_hold(fair + 1, |_| true);
        let excess = (total - limit) as u128 * own as u128 / total as u128;
        self.close_largest(
            clients,
            excess as usize + 1,
            "all clients (-max-memory)",
            now,
        )
    }

    fn clients_that_hold(
        &self,
        least: usize,
        which: impl Fn(&Client) -> bool,
    ) -> Vec<(usize, ClientId)> {
        let all = self.clients.iter().filter(|(_, client)| which(client));
        all.map(|(id, client)| (client.held_memory(), id))
            .filter(|(bytes, _)| *bytes >= least)
            .collect()
    }

    /// Closes the largest of these until so many bytes are free. Returns how many are.
    #[cold]
    fn close_largest(
        &mut self,
        mut clients: Vec<(usize, ClientId)>,
        excess: usize,
        whose: &str,
        now: Time,
    ) -> usize {
        clients.sort_unstable_by_key(|(bytes, _)| std::cmp::Reverse(*bytes));
        let mut freed = 0;
        for (bytes, id) in clients {
            if freed >= excess {
                break;
            }
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

impl Client {
    /// Bytes that it makes us hold: what it has sent, what it is owed, what it has queued.
    fn held_memory(&self) -> usize {
        let free = self.free_input_bytes();
        let owed = self.output.memory() + self.pipeline.ready_bytes();
        self.unexecuted_bytes() + free + owed + self.queued_bytes()
    }
}
