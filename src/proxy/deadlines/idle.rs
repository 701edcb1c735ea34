//! Deadlines of idle peers: clients that send nothing (`-client-idle-timeout`), do not read their replies
//! (`-write-stall`), or read them too slowly (`-client-output-buffer-limit`); node connections that are not needed
//! (`-backend-idle-timeout`).

use std::time::Duration;

use crate::clock::Time;
use crate::config::Limits;
use crate::proxy::client::{Client, Parting};
use crate::proxy::ids::ClientId;
use crate::proxy::state::Proxy;

/// How often they are looked at: their deadlines are seconds.
const SWEEP: Duration = Duration::from_millis(500);

impl Proxy {
    /// Looks at everybody.
    pub(in crate::proxy) fn sweep_idle(&mut self, now: Time) {
        self.next_idle_sweep = now.after(SWEEP);
        self.sweep_strangers(now);
        self.sweep_clients(now);
        self.sweep_swollen(now);
        self.sweep_streamed(now);
        self.bound_memory(now);
        self.retire_idle(now);
        self.retire_accounts(now);
        self.idle_swept = (self.stats.commands.get(), self.is_anyone_watched());
    }

    /// Whether any client has a deadline that is judged here. If none has, nobody needs to be looked at while the worker is
    /// idle; idle node connections are looked at when the next topology comes.
    fn is_anyone_watched(&self) -> bool {
        let idles = !self.config.client_idle_timeout.is_zero();
        let strangers = !self.config.login_timeout.is_zero() && !self.users.unnamed().is_open();
        let is_watched = |client: &Client| {
            idles
                || client.stalled_since.is_some()
                || client.swollen_since.is_some()
                || client.held_back_since.is_some()
                || client.streamed.is_some()
                || strangers && !client.session.is_authenticated()
        };
        self.clients.iter().any(|(_, client)| is_watched(client))
    }

    /// Closes the clients that have been owed more than their soft limit for longer than they may.
    fn sweep_swollen(&mut self, now: Time) {
        let limits = &self.config.limits;
        let late = |(id, client): (ClientId, &mut Client)| {
            client.is_swollen_for_long(limits, now).then_some(id)
        };
        let gone: Vec<_> = self.clients.iter_mut().filter_map(late).collect();
        for id in gone {
            self.close_overfull(id, now);
        }
    }

    /// Too much waits for a client: it is closed at once, as in Redis.
    #[cold]
    pub(in crate::proxy) fn close_overfull(&mut self, id: ClientId, now: Time) {
        let Some(client) = self.clients.get(id) else {
            return;
        };
        let line = client.line(&self.table, now);
        log::warn!(
            "closing client that exceeded its output buffer limit (-client-output-buffer-limit): {}",
            line.trim_end()
        );
        if client.session.subscriptions().is_some() {
            self.stats.subscribers_cut.add(1);
            self.forget_client(id, now);
        } else {
            self.drop_client(id, Parting::Overfull, now);
        }
    }

    /// Closes the clients that have not logged in and had the time to.
    fn sweep_strangers(&mut self, now: Time) {
        let timeout = self.config.login_timeout;
        if timeout.is_zero() || self.users.unnamed().is_open() {
            return;
        }
        let late = |client: &Client| {
            !client.session.is_authenticated()
                && !client.session.is_turned_away()
                && now.since(client.connected_at) >= timeout
        };
        let clients = self.clients.iter();
        let gone: Vec<_> = clients
            .filter_map(|(id, client)| late(client).then_some(id))
            .collect();
        for id in gone {
            self.stats.clients_not_logged_in.add(1);
            self.forget_client(id, now);
        }
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
            // Who still writes its requests reads later.
            let stalls = !stall.is_zero()
                && client
                    .stalled_since
                    .is_some_and(|since| now.since(since.max(client.last_active)) >= stall);
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
                log::warn!("closing a client that does not read its replies (-write-stall)");
            } else {
                self.stats.clients_idle.add(1);
            }
            self.forget_client(id, now);
        }
    }
}

impl Client {
    /// Whether it has been owed more than its soft limit for longer than it may. Notes since when it is.
    fn is_swollen_for_long(&mut self, limits: &Limits, now: Time) -> bool {
        let soft = match self.session.subscriptions() {
            Some(_) => limits.pubsub_output_soft,
            None => limits.client_output_soft,
        };
        if self.owed_bytes() <= soft.bytes {
            self.swollen_since = None;
            return false;
        }
        let since = *self.swollen_since.get_or_insert(now);
        now.since(since) > soft.time
    }
}
