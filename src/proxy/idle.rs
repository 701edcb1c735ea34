//! Deadlines of those who do nothing: clients that ask for nothing (`-client-idle-timeout`), or do not take what
//! they asked for (`-write-stall`); connections to nodes that nobody needs (`-backend-idle-timeout`).

use std::time::Duration;

use crate::clock::Time;
use crate::proxy::Proxy;
use crate::proxy::client::Client;

/// How often they are looked at: their deadlines are seconds.
const SWEEP: Duration = Duration::from_millis(500);

impl Proxy {
    /// Looks at everybody.
    pub(super) fn sweep_idle(&mut self, now: Time) {
        self.next_idle_sweep = now.after(SWEEP);
        self.sweep_clients(now);
        self.retire_idle(now);
    }

    /// Closes the clients whose deadline has passed.
    fn sweep_clients(&mut self, now: Time) {
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
