//! Deadlines of requests that go to their nodes as they come: whoever lets one stand still for `-request-timeout` is cut,
//! its client that sends nothing of it, or its node that takes nothing.

use crate::clock::Time;
use crate::proxy::client::Parting;
use crate::proxy::client::streamed::Way;
use crate::proxy::ids::{BackendId, ClientId};
use crate::proxy::state::Proxy;
use crate::proxy::upstream::lost::Lost;

/// Who keeps a request waiting.
enum Culprit {
    Client(ClientId),
    Node(BackendId),
}

impl Proxy {
    /// Looks at all of them.
    pub(in crate::proxy) fn sweep_streamed(&mut self, now: Time) {
        let patience = self.config.request_timeout;
        let mut late = Vec::new();
        for (id, client) in self.clients.iter_mut() {
            let Some(own) = client.streamed.as_deref_mut() else {
                continue;
            };
            let to = match own.way {
                // It has a deadline of its own.
                Way::Waits => continue,
                Way::Passed(to) => Some(to),
                Way::Dropped => None,
            };
            let backend = to.and_then(|to| self.upstream.backends.get(to));
            let unsent = backend.map_or(0, |backend| backend.output.unsent_len());
            if unsent != own.unsent {
                (own.unsent, own.moved_at) = (unsent, now);
            }
            if now.since(own.moved_at) >= patience {
                late.push(match to {
                    Some(to) if unsent > 0 => Culprit::Node(to),
                    _ => Culprit::Client(id),
                });
            }
        }
        for culprit in late {
            match culprit {
                Culprit::Node(id) => self.lose_backend(id, Lost::TimedOut, now),
                Culprit::Client(id) => {
                    if let Some(client) = self.clients.get(id) {
                        let line = client.line(&self.table, now);
                        log::warn!(
                            "closing a client that stopped in the middle of a large request (-request-timeout): {}",
                            line.trim_end()
                        );
                    }
                    self.drop_client(id, Parting::Stopped, now);
                }
            }
        }
    }
}
