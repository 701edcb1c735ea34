//! Free memory that a worker keeps for reuse, and when it gives it back: all of it when idle, and half of it each
//! second while busy, so that a burst or one large value is soon forgotten.
//!
//! A steady load needs the given half again in the next turn. That costs little: it is allocated anew once a second.

use crate::buffer::{Pool, ReadBuf};
use crate::proxy::pipeline::Spares;
use crate::proxy::state::{Proxy, Scratch};
use crate::proxy::stats::Activity;

/// Memory that is used within one call may keep so many elements while the worker is busy.
const SCRATCH_MAX: usize = 16 << 10;
/// A queue that holds less than a quarter of what it has room for is shrunk beyond so many elements.
const QUEUE_MAX: usize = 1024;

/// Empties what has grown large and is empty between calls anyway.
fn shed<T>(vec: &mut Vec<T>) {
    if vec.capacity() > SCRATCH_MAX {
        *vec = Vec::new();
    }
}

impl Scratch {
    fn shed(&mut self) {
        shed(&mut self.spans);
        shed(&mut self.keys);
        shed(&mut self.frames);
        shed(&mut self.by_slot);
        shed(&mut self.parts);
        shed(&mut self.reply);
        shed(&mut self.line);
        shed(&mut self.backends);
        shed(&mut self.nodes);
    }
}

impl Proxy {
    /// A second has gone by without a command. Returns whether the worker did something before: giving memory back takes
    /// milliseconds, and an idle worker should sleep.
    pub(in crate::proxy) fn has_rest_due(&mut self) -> bool {
        let activity = Activity {
            commands: self.stats.commands.get(),
            accepted: self.stats.clients_accepted.get(),
            clients: self.clients.len(),
            backends: self.upstream.backends.len(),
        };
        self.rested.replace(activity) != Some(activity)
    }

    /// A second has gone by without a command: memory that was kept for the next ones is given back.
    pub(in crate::proxy) fn give_memory_back(&mut self) {
        self.pool = Pool::default();
        self.spares = Spares::default();
        self.scratch = Scratch::default();
        self.inbox = ReadBuf::default();
        self.turn_latencies.shrink();
        for (_, client) in self.clients.iter_mut() {
            client.pipeline.shrink();
        }
        for (_, backend) in self.upstream.backends.iter_mut() {
            if backend.tickets.is_empty() {
                backend.tickets = Default::default();
                backend.write_times = Default::default();
            }
        }
        self.shrink_queues();
    }

    /// A second has gone by with commands: half of what was kept and not needed just now is given back, and what
    /// has grown large.
    pub(in crate::proxy) fn shed_memory(&mut self) {
        self.pool.shed();
        self.spares.shed();
        self.scratch.shed();
        for (_, client) in self.clients.iter_mut() {
            client.pipeline.shed();
        }
        self.shrink_queues();
    }

    /// Queues that have room for much more than they hold.
    fn shrink_queues(&mut self) {
        self.clients.shrink();
        self.upstream.backends.shrink();
        self.actions.shrink();
        for (_, client) in self.clients.iter_mut() {
            client.output.shrink();
        }
        for (_, backend) in self.upstream.backends.iter_mut() {
            backend.output.shrink();
            let tickets = &mut backend.tickets;
            if tickets.capacity() > QUEUE_MAX && tickets.len() < tickets.capacity() / 4 {
                tickets.shrink_to(tickets.len() * 2);
            }
        }
    }
}
