//! Deadlines of clients: one that asks for nothing (`-client-idle-timeout`), and one that does not take what
//! it asked for (`-write-stall`).

use std::time::Duration;

use crate::clock::Time;
use crate::proxy::Proxy;
use crate::proxy::client::Client;

/// How often clients are looked at: their deadlines are seconds.
const SWEEP: Duration = Duration::from_millis(500);

impl Proxy {
    /// Closes the clients whose deadline has passed.
    pub(super) fn sweep_clients(&mut self, now: Time) {
        self.next_client_sweep = now.after(SWEEP);
        let (idle, stall) = (self.config.client_idle_timeout, self.config.write_stall);
        if idle.is_zero() && stall.is_zero() {
            return;
        }
        let late = |client: &Client| {
            // A subscriber waits for others.
            let idles = !idle.is_zero()
                && client.session.subscriptions().is_none()
                && client.pipeline.is_empty()
                && client.output.is_empty()
                && now.since(client.last_active) >= idle;
            let stalls = !stall.is_zero()
                && client
                    .stalled_since
                    .is_some_and(|since| now.since(since) >= stall);
            idles || stalls
        };
        let gone: Vec<_> = self
            .clients
            .iter()
            .filter(|(_, client)| late(client))
            .map(|(id, client)| (id, client.stalled_since.is_some()))
            .collect();
        for (id, stalled) in gone {
            if stalled {
                self.stats.clients_stalled.add(1);
                log::warn!("a client does not read its replies: closed (-write-stall)");
            } else {
                self.stats.clients_idle.add(1);
            }
            self.forget_client(id, now);
        }
    }
}
