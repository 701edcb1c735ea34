//! What a worker reports to its `Proxy` (clients accepted; bytes read; connections made, closed and flushed), and
//! what it asks it: what to do next.

mod flush;
mod tick;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::arena::Arena;
use crate::buffer::{Pool, ReadBuf};
use crate::clock::Time;
use crate::cluster::topology::Topology;
use crate::command::{Servers, Table};
use crate::config::{Auth, Config, Listen};
use crate::log_throttle::LogThrottle;
use crate::proxy::actions::{Action, Actions, Wanted};
use crate::proxy::client::active::Active;
use crate::proxy::client::own_errors::Suspects;
use crate::proxy::client::session::Session;
use crate::proxy::client::{Client, Parting};
use crate::proxy::ids::{BackendId, ClientId, Peer};
use crate::proxy::insight::Insight;
use crate::proxy::lease::state::leases::Leases;
use crate::proxy::local::Handlers;
use crate::proxy::local::plain_names::Names;
use crate::proxy::messages::client_filter::Listings;
use crate::proxy::messages::monitor_feed::MonitorFeed;
use crate::proxy::namespace::namespaces::Namespaces;
use crate::proxy::namespace::scripts::Named;
use crate::proxy::near_cache::state::NearCache;
use crate::proxy::pipeline::Spares;
use crate::proxy::pipeline::unmerged::Unmerged;
use crate::proxy::process::Process;
use crate::proxy::pubsub::state::Pubsub;
use crate::proxy::scripts::Seen;
use crate::proxy::state::{Proxy, Scratch};
use crate::proxy::stats::counted::Counted;
use crate::proxy::stats::largest::Largest;
use crate::proxy::stats::masters_info::asking::MastersInfoQueue;
use crate::proxy::stats::turn_latencies::TurnLatencies;
use crate::proxy::stats::{Rates, Stats};
use crate::proxy::texts;
use crate::proxy::tracking::state::Tracking;
use crate::proxy::upstream::Upstream;
use crate::proxy::upstream::backend::State;
use crate::proxy::upstream::lost::Lost;
use crate::resp::encode;

impl Proxy {
    /// A worker's state machine. `worker` is its place among the workers of `process`; `seed` is any number.
    pub fn new(
        config: Arc<Config>,
        table: Arc<Table>,
        process: Arc<Process>,
        worker: usize,
        seed: u64,
    ) -> Proxy {
        let handlers = Handlers::new(&table, config.auth);
        let mut insight = Insight::new(config.log_every_n);
        let stats = process.workers[worker].clone();
        let namespaces = Namespaces::new(&config);
        if !namespaces.is_empty() {
            stats.show_namespaces(namespaces.counts());
        }
        Proxy {
            tls_log: LogThrottle::default(),
            memory_log: LogThrottle::default(),
            held_back_log: LogThrottle::default(),
            until_memory_look: 0,
            until_strangers_look: 0,
            holds_back: false,
            login_log: LogThrottle::default(),
            late_logins: VecDeque::new(),
            near: NearCache::new(&config, process.workers.len(), seed),
            late_questions: VecDeque::new(),
            questions: 0,
            unguessable: unguessable(&config),
            monitor_feeds: process
                .workers
                .iter()
                .map(|_| MonitorFeed::default())
                .collect(),
            turn_latencies: TurnLatencies::default(),
            until_looked: insight.restart(config.log_every_n),
            slow_counted: 0,
            insight,
            largest: Largest::default(),
            plain: Names::new(&table, &handlers, &config.limits),
            handlers,
            stats,
            users: process.acl.users(),
            servers: Servers::unknown(table.clone()),
            table,
            process,
            worker,
            clients: Arena::default(),
            upstream: Upstream::default(),
            actions: Actions::default(),
            pool: Pool::default(),
            spares: Spares::default(),
            inbox: ReadBuf::default(),
            scratch: Scratch::default(),
            seen: Seen::default(),
            namespaces,
            named_scripts: Named::default(),
            suspects: Suspects::default(),
            pubsub: Pubsub::default(),
            tracking: Tracking::default(),
            holding: Vec::new(),
            held_bytes: 0,
            held_requests: 0,
            active: Active::default(),
            #[cfg(test)]
            attempts: 0,
            turn: 1,
            behind: Vec::new(),
            unmerged: Unmerged::default(),
            listings: Listings::default(),
            hold_due: Time::from_micros(u64::MAX),
            scripts_due: None,
            next_sweep: Time::default(),
            next_idle_sweep: Time::default(),
            idle_swept: (0, true),
            rates: Rates::default(),
            rested: None,
            swept: (0, false),
            draining: false,
            client_pause: None,
            functions: None,
            leases: Leases::default(),
            monitors: Vec::new(),
            beside_requests: 0,
            unreached: Vec::new(),
            resumed_work: 0,
            masters_info_queue: MastersInfoQueue::default(),
            returned: Vec::new(),
            random: seed | 1,
            config,
        }
    }

    /// The servers have said what they are. Rows keep their ids, so what is in flight is not touched.
    pub fn meet(&mut self, servers: &Servers, now: Time) {
        debug_assert!(servers.table.rows().len() >= self.table.rows().len());
        self.table = servers.table.clone();
        self.handlers = Handlers::new(&self.table, self.config.auth);
        self.plain = Names::new(&self.table, &self.handlers, &self.config.limits);
        self.servers = servers.clone();
        self.forget_near();
        // Rules may be about commands that were not known before.
        self.renew_users(None, now);
    }

    /// Takes the config that is in force now.
    pub(in crate::proxy) fn renew_config(&mut self) {
        let config = self.process.live.config();
        if !config.has_backend_passwords_of(&self.config) {
            let nodes = self.upstream.nodes.iter_mut();
            nodes.for_each(|(_, node)| node.forgive());
        }
        if config.log_every_n != self.config.log_every_n {
            self.until_looked = self.insight.restart(config.log_every_n);
        }
        self.config = config;
        self.plain = Names::new(&self.table, &self.handlers, &self.config.limits);
        self.upstream.routes.forget_found();
        // The refresher reads its own part of it when it next looks.
        self.want_refresh(Wanted::Asked);
    }

    /// What the process counted that this one takes over from. It is added to what this worker counts.
    pub fn add_counted(&mut self, counted: &Counted) {
        for (name, count) in &counted.counters {
            if let Some(counter) = self.stats.counter(name) {
                counter.add(*count);
            }
        }
        for command in &counted.commands {
            let rows = self.table.rows().iter();
            let mut rows = rows.filter(|row| *row.name == *command.name);
            if let Some(row) = rows.next() {
                self.stats.calls.add_command(row.id, command);
            }
        }
        let calls = &self.stats.calls;
        calls.add_errors(&counted.errors, counted.errors_total);
        let ids = &self.process.client_ids;
        ids.fetch_max(counted.client_ids, Ordering::Relaxed);
        self.rates.skip(&self.stats);
    }

    /// A client has come. `address` is nothing for a Unix socket. It may be turned away at once; it is then
    /// told so and closed.
    pub fn accept(&mut self, address: Option<SocketAddr>, now: Time) -> ClientId {
        let number = self.process.client_ids.fetch_add(1, Ordering::Relaxed) + 1;
        let others = self.process.clients.fetch_add(1, Ordering::Relaxed);
        let mut session = Session::new(number, self.users.unnamed().clone());
        session.listener_namespace = self.namespaces.common();
        session.settle_namespace(&self.namespaces);
        let mut client = Client::new(address, session, now);
        client.window = client.window.min(self.config.limits.pipeline_requests);
        let id = self.clients.insert(client);
        self.stats.clients_accepted.add(1);
        // It has a time to log in.
        self.idle_swept.1 = true;
        self.stats.clients_connected.add(1);
        let (text, counter) = if others >= self.config.limits.clients {
            (texts::TOO_MANY_CLIENTS, &self.stats.clients_rejected)
        } else if self.is_denied(address) {
            (texts::DENIED, &self.stats.clients_denied)
        } else {
            return id;
        };
        counter.add(1);
        let mut reply = Vec::new();
        encode::error(&mut reply, text.as_bytes());
        if let Some(client) = self.clients.get_mut(id) {
            client
                .pipeline
                .answer(u16::MAX, &reply, &mut client.output, &mut self.pool, now);
        }
        self.close_when_told(id, Parting::Refused);
        id
    }

    /// A client is in the namespace of the listener that it has come to, if that has one.
    pub fn enter(&mut self, id: ClientId, listener: usize) {
        if let (false, Some(client)) = (self.namespaces.is_empty(), self.clients.get_mut(id)) {
            let session = &mut client.session;
            session.listener_namespace = self.namespaces.of_listener(listener);
            session.settle_namespace(&self.namespaces);
        }
    }

    /// Tells what the shell alone knows of a client: its descriptor, and the address of ours that it has come to.
    pub fn introduce(&mut self, id: ClientId, descriptor: i32, local: Option<Listen>) {
        if let Some(client) = self.clients.get_mut(id) {
            client.descriptor = descriptor;
            client.local = local;
        }
    }

    /// A client's certificate bears these names, in this order: it is the first user among them who may log in, without
    /// saying so. It stays who it is if there is none, as in Valkey.
    pub fn identify(&mut self, id: ClientId, names: &[Vec<u8>], now: Time) {
        let mut users = names.iter().filter_map(|name| self.users.get(name));
        let user = users.find(|user| user.is_on()).cloned();
        let Some(client) = self.clients.get_mut(id) else {
            return;
        };
        if let Some(user) = user {
            client.session.enter(user);
            return client.session.settle_namespace(&self.namespaces);
        }
        if let Some(first) = names.first() {
            let name = texts::printed(first, 128);
            let from = client.peer_name();
            let text = format!(
                "the certificate of client {from} names {name:?}, which is not a user who may log in"
            );
            self.login_log.warn(&text, now);
            self.note_refused_certificate(id, first, now);
        }
    }

    /// Protected mode, as in Redis: no password, not listening on loopback only, and a client from outside.
    fn is_denied(&self, address: Option<SocketAddr>) -> bool {
        let outside = address.is_some_and(|address| !address.ip().to_canonical().is_loopback());
        let open = |listen: Listen| match listen {
            Listen::Tcp(address) => !address.ip().is_loopback(),
            Listen::Unix(_) => false,
        };
        let closable = self.config.protected_mode && outside && self.users.unnamed().is_open();
        // Behind a load balancer, who comes to a loopback address may be from outside, too.
        let is_reachable =
            || !self.config.proxy_protocol.is_empty() || self.config.listens().any(open);
        closable && is_reachable()
    }

    /// Reads from a peer: `fill` puts what has come into the room it is given, and returns how many bytes that were and what
    /// else there is to say, which is returned. Nothing if the peer has gone, or is not to be read now.
    #[inline]
    pub fn read<R>(
        &mut self,
        peer: Peer,
        now: Time,
        fill: impl FnOnce(&mut ReadBuf) -> (usize, R),
    ) -> Option<R> {
        let (count, result) = fill(self.room(peer)?);
        if count > 0 {
            self.input(peer, count, now);
        }
        Some(result)
    }

    /// Room to read into from a peer. Nothing if the peer has gone, or is not to be read now.
    #[inline(always)]
    pub fn room(&mut self, peer: Peer) -> Option<&mut ReadBuf> {
        let (input, missing) = match peer {
            Peer::Client(id) => {
                let client = self.clients.get_mut(id)?;
                if client.stall.is_some() || client.closing.is_some() {
                    return client.room_aside(&mut self.pool);
                }
                if !client.input.has_storage() {
                    debug_assert!(self.inbox.is_empty());
                    if !self.inbox.has_storage() {
                        self.inbox.prepare(&mut self.pool, 0);
                    }
                    return Some(&mut self.inbox);
                }
                (&mut client.input, client.missing)
            }
            Peer::Backend(id) => {
                if self.is_held_back(id) {
                    return None;
                }
                let backend = self.upstream.backends.get_mut(id)?;
                if backend.is_paused() {
                    return None;
                }
                (&mut backend.input, backend.missing)
            }
        };
        input.prepare(&mut self.pool, missing);
        Some(input)
    }

    /// How much has been done for clients since that was asked last: requests taken, parts of them sent and answered,
    /// and lines of them handed to monitors. What is asked of nodes besides may take something off.
    #[inline]
    pub fn work_since(&self, before: u64) -> usize {
        let done = self.work().wrapping_sub(before) as i64;
        usize::try_from(done).unwrap_or(0)
    }

    /// Where the count of [`Proxy::work_since`] stands.
    #[inline]
    pub fn work(&self) -> u64 {
        let sent = self.stats.backend_requests.get();
        let answered = sent.wrapping_sub(self.upstream.in_flight as u64);
        self.stats
            .commands
            .get()
            .wrapping_add(sent)
            .wrapping_add(answered)
            .wrapping_add(self.beside_requests)
    }

    /// Nothing came into a peer's room: the memory goes back at once. (A thousand clients that leave in one turn
    /// would each keep a block until its end.)
    pub fn unread(&mut self, peer: Peer) {
        match peer {
            Peer::Client(id) => {
                if let Some(client) = self.clients.get_mut(id) {
                    client.settle(&mut self.pool);
                }
            }
            Peer::Backend(id) => {
                if let Some(backend) = self.upstream.backends.get_mut(id) {
                    backend.input.settle(&mut self.pool);
                }
            }
        }
    }

    /// So many bytes have been put into a peer's room; takes what they mean.
    #[inline(always)]
    pub fn input(&mut self, peer: Peer, count: usize, now: Time) {
        match peer {
            Peer::Client(id) => {
                self.stats.client_bytes_in.add(count as u64);
                self.client_input(id, count, now);
            }
            Peer::Backend(id) => {
                self.stats.backend_bytes_in.add(count as u64);
                self.backend_input(id, now);
            }
        }
    }

    /// A backend's socket is connected.
    pub fn connected(&mut self, id: BackendId, now: Time) {
        let Some(backend) = self.upstream.backends.get_mut(id) else {
            return;
        };
        let node = self.upstream.nodes.get(usize::from(backend.node.0));
        let taken = node.map_or(0, |node| node.password);
        let account = self.upstream.accounts.get(backend.flavor.user);
        let account = account.map(Arc::as_ref);
        backend.connected(&self.config, account, taken, now, &mut self.pool);
        self.queue_backend_flush(id);
    }

    /// A peer's socket is at its end: nothing more will come from it. A client that only stopped sending is
    /// still told what it is owed.
    pub fn ended(&mut self, peer: Peer, now: Time) {
        match peer {
            Peer::Client(id) => {
                // What came before the end is taken first, even if the client was paused.
                match self.clients.get(id) {
                    Some(client) if client.stall.is_some() => {}
                    Some(_) => return self.close_when_told(id, Parting::Left),
                    None => return,
                }
                if let Some(client) = self.clients.get_mut(id) {
                    client.ended = true;
                }
            }
            Peer::Backend(id) => self.lose_backend(id, Lost::Closed, now),
        }
    }

    /// A peer's socket is broken.
    pub fn closed(&mut self, peer: Peer, now: Time) {
        match peer {
            Peer::Client(id) => self.drop_client(id, Parting::Broken, now),
            Peer::Backend(id) => self.lose_backend(id, Lost::Closed, now),
        }
    }

    /// A client is gone, for this reason unless it was to be closed for another.
    pub(in crate::proxy) fn drop_client(&mut self, id: ClientId, parting: Parting, now: Time) {
        let closing = self.clients.get(id).and_then(|client| client.closing);
        if self.forget_client(id, now) {
            closing.unwrap_or(parting).counter(&self.stats).add(1);
        }
    }

    /// Forgets a client. Its tickets stay where they are: backends need them to count replies by. Returns
    /// whether it was there.
    pub(in crate::proxy) fn forget_client(&mut self, id: ClientId, now: Time) -> bool {
        let Some(mut client) = self.clients.remove(id) else {
            return false;
        };
        client.count_bytes();
        if let Some(own) = client.session.take_subscriptions() {
            self.leave_for_good(id, own, now);
        }
        self.forget_announced(id);
        self.free_lease(id, client.lease.take(), now);
        self.drop_held(&client.held);
        if client.session.tracking().is_some() {
            self.leave_feeds(id, &client.prefixes_at_nodes());
            self.tracking.clients -= 1;
            self.stats.tracking_clients.sub(1);
        }
        if client.session.is_monitor() {
            self.remove_monitor(id);
        }
        self.process.clients.fetch_sub(1, Ordering::Relaxed);
        if client.paused {
            self.process.paused_clients.fetch_sub(1, Ordering::Relaxed);
        }
        self.stats.clients_connected.sub(1);
        if client.is_waited_for {
            self.has_read(id, now);
        }
        self.actions.close(Peer::Client(id));
        true
    }

    /// The cluster's topology, as the refresher has just learnt it.
    pub fn adopt(&mut self, topology: Arc<Topology>, now: Time) {
        let changed = self
            .upstream
            .routes
            .adopt(topology, &mut self.upstream.nodes);
        if changed {
            self.note_owners();
            self.upstream.forgive();
            self.doubt_blocked(now);
        }
        self.hasten_held(now);
        self.retire_unlisted(now);
        if changed {
            self.arrange_all(now);
        }
        let nodes = self.upstream.nodes.iter();
        let nodes = nodes.map(|(_, node)| (node.address, node.stats.clone()));
        self.stats
            .show_nodes(nodes.chain(self.upstream.routes.down()));
    }

    /// The next thing to do with a socket or a thread.
    #[inline]
    pub fn next_action(&mut self) -> Option<Action> {
        self.actions.take()
    }

    /// Takes no more requests; clients are closed as soon as they have been told what they are owed.
    pub fn drain(&mut self, now: Time) {
        self.draining = true;
        self.process.draining.store(true, Ordering::Relaxed);
        for id in self.clients.ids() {
            if self.is_blocked(id) {
                self.send_blocked_away(id, now);
            } else {
                self.close_when_told(id, Parting::Drained);
            }
        }
    }

    /// Whether clients are being sent away.
    pub fn is_draining(&self) -> bool {
        self.draining
    }

    /// The names of all clients.
    pub fn client_ids(&self) -> Vec<ClientId> {
        self.clients.ids()
    }

    /// Whether a backend's socket is still to be connected.
    #[inline]
    pub fn is_connecting(&self, id: BackendId) -> bool {
        let backend = self.upstream.backends.get(id);
        backend.is_some_and(|backend| backend.state == State::Connecting)
    }

    /// How many clients have just asked for something.
    #[inline]
    pub fn active_clients(&self, now: Time) -> usize {
        self.active.clients(now)
    }

    /// Replies that nodes owe us.
    #[inline]
    pub fn in_flight(&self) -> usize {
        self.upstream.in_flight
    }

    /// Our place among the workers.
    #[inline]
    pub fn worker(&self) -> usize {
        self.worker
    }

    /// Clients connected.
    pub fn clients(&self) -> usize {
        self.clients.len()
    }

    /// Connections to nodes.
    pub fn backends(&self) -> usize {
        self.upstream.backends.len()
    }

    /// This worker's counters.
    pub fn stats(&self) -> &Arc<Stats> {
        &self.stats
    }

    /// What has been decided.
    pub fn config(&self) -> &Arc<Config> {
        &self.config
    }

    /// What was large in the turn that began at `began`, as the end of a line.
    pub fn largest_of_turn(&self, began: Time) -> String {
        let name = |command: u16| match self.table.rows().get(usize::from(command)) {
            Some(row) => &*row.name,
            None => "a request",
        };
        self.largest.of_turn(began, name)
    }

    /// A number that nobody needs to guess, only to differ (xorshift64). Not of the crate `fastrand`, whose generator has
    /// changed between versions: a seed of the simulation must give the same run always.
    pub(in crate::proxy) fn random(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }
}

/// A password that nobody has, if servers may have to be asked with it.
fn unguessable(config: &Config) -> Vec<u8> {
    let digits = match config.auth {
        Auth::Own => None,
        Auth::Backend => crate::acl::password::random_digits(64),
    };
    digits.unwrap_or_default().into_bytes()
}
