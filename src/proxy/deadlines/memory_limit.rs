//! `-max-memory`: what clients have made this process hold is looked at twice a second, and if it is more than all of
//! them may, those that hold most are closed. Clients that have not logged in may hold little together, whatever there is.
//!
//! Each worker closes clients of its own, for its own share of what is too much, so that none has to ask the others.

use crate::clock::Time;
use crate::proxy::client::{Client, Parting};
use crate::proxy::ids::{ClientId, Peer};
use crate::proxy::state::Proxy;

/// A client that holds less is not closed: it would free next to nothing.
const WORTHWHILE: usize = 64 << 10;
/// What clients of the whole process that have not logged in may hold together.
const STRANGERS_BYTES: usize = 32 << 20;

impl Proxy {
    /// Closes the clients that hold most, if all hold too much.
    pub(in crate::proxy) fn bound_memory(&mut self, now: Time) {
        let strangers = STRANGERS_BYTES / self.process.workers.len().max(1);
        let mut all: Vec<(usize, ClientId)> = Vec::new();
        let mut unknown: Vec<(usize, ClientId)> = Vec::new();
        let (mut own, mut unknown_bytes) = (0, 0);
        for (id, client) in self.clients.iter() {
            let bytes = client.held_memory();
            own += bytes;
            if bytes >= WORTHWHILE {
                all.push((bytes, id));
                if !client.session.is_authenticated() {
                    unknown_bytes += bytes;
                    unknown.push((bytes, id));
                }
            }
        }
        self.stats.sample.clients_memory_bytes.set(own as u64);
        if unknown_bytes > strangers {
            let excess = unknown_bytes - strangers;
            own -= self.close_largest(unknown, excess, "clients that have not logged in", now);
            all.retain(|(_, id)| self.clients.get(*id).is_some());
        }
        let limit = self.config.limits.memory_limit();
        let total = self.process.samples().clients_memory_bytes as usize;
        if total > limit && own > 0 {
            let excess = (total - limit) as u128 * own as u128 / total as u128;
            self.close_largest(all, excess as usize + 1, "all clients (-max-memory)", now);
        }
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
                let line = client.line(&self.config.listen, &self.table, now);
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
            let line = client.line(&self.config.listen, &self.table, now);
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
        self.unexecuted_bytes() + free + self.owed_bytes() + self.queued_bytes()
    }
}
