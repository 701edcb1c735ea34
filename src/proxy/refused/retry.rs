//! Held requests: what may be sent again, when, and how long it may wait.
//!
//! A request is *held* when a node refused it before executing it (MOVED, ASK, TRYAGAIN, CLUSTERDOWN, ...),
//! when its connection was lost before its last byte left, when it only reads and may run twice, or when
//! there is nowhere to send it. It is never sent again when it may have been executed and writes; one that may have been
//! is held only until its node has said whether it was (see `own_errors`).
//!
//! Rule R4: commands of one client on one key execute in the order sent, also across redirects. So
//! - a held request is sent only when none of its client's requests for that slot is outstanding, other than
//!   earlier ones on the very connection it would take;
//! - while a slot has held requests of a client, later ones of that client join the tail;
//! - a request for all shards (FLUSHALL), which may touch any key, runs alone: no other of its client is outstanding
//!   meanwhile (see `split`), so that its parts need no order;
//! - a held request behind which a later one for the same key has been executed is not sent any more: it
//!   is answered with its own refusal (see `order_guard`).

use std::time::Duration;

use crate::clock::Time;
use crate::cluster::slot::Slot;
use crate::proxy::actions::Wanted;
use crate::proxy::client::held::{Attempt, BACKOFF_MAX, Held, HeldRequests, Retry, backoff};
use crate::proxy::ids::{BackendId, ClientId, NO_SLOT, PartId, Seq};
use crate::proxy::pipeline::At;
use crate::proxy::pipeline::by_slot::is_urgent;
use crate::proxy::planted_bugs;
use crate::proxy::state::Proxy;
use crate::proxy::texts::refusal;
use crate::proxy::upstream::Target;
use crate::proxy::upstream::backend::{Origin, Pin, Ticket};
use crate::proxy::upstream::goal::{ASKING, Goal};
use crate::proxy::upstream::routes::everyone::Successor;
use crate::resp::encode;

/// How long a node may be silent that a command can do without.
const PATIENCE: Duration = Duration::from_secs(1);

impl Proxy {
    /// Holds a request. It is given up at once when its slot is known to fail, or when too much is held already.
    pub(in crate::proxy) fn hold(
        &mut self,
        mut ticket: Ticket,
        bytes: &[u8],
        retry: Retry<'_>,
        now: Time,
    ) {
        let Retry {
            goal,
            due,
            refusal,
            prelude,
        } = retry;
        let Origin::Part(part) = ticket.origin else {
            return;
        };
        let refused = matches!(ticket.pin, Pin::May | Pin::Spare) && !refusal.is_empty();
        if refused || self.does_without(&ticket, goal, now) {
            return self.leave_out(part, now);
        }
        let since = *ticket.held_since.get_or_insert(now);
        let expires = since.after(self.park_timeout());
        if self.is_holding_enough(bytes.len()) {
            return self.answer_error(part, refusal::NOT_EXECUTED.as_bytes(), now);
        }
        // A canary that finds its scope still failing does not wait in its turn.
        let scope = ticket.scope();
        let still_fails = scope.is_some_and(|scope| self.upstream.is_failing(scope));
        if still_fails && (due > now || goal == Goal::AnyMaster) {
            let text = self.give_up_text_of(goal, ticket.slot, refusal);
            return self.answer_error(part, &text, now);
        }
        let sent_before = ticket.tries > 0;
        let held = Held {
            part,
            ticket,
            bytes: bytes.to_vec(),
            goal,
            due,
            expires,
            refusal: refusal.to_vec(),
            scouts: sent_before && prelude.is_empty() && self.has_own_errors(&ticket),
            prelude,
            keys: None,
            probe: None,
            cleared: None,
            is_overtaken: false,
        };
        self.insert_held(held, At::Held);
    }

    /// Whether no more may be held than is.
    pub(in crate::proxy) fn is_holding_enough(&self, more_bytes: usize) -> bool {
        let limits = &self.config.limits;
        self.held_bytes + more_bytes > limits.held_bytes
            || self.held_requests >= limits.held_requests
    }

    /// Puts a held request in its place among those of its client. `at` says whether it may have been executed: then it
    /// counts as outstanding where that may have been.
    pub(in crate::proxy) fn insert_held(&mut self, held: Held, at: At) {
        let id = held.part.client;
        let Some(client) = self.clients.get_mut(id) else {
            return;
        };
        let (part, due) = (held.part, held.due.min(held.expires));
        self.stats.held.add(1);
        self.held_bytes += held.bytes.len();
        self.held_requests += 1;
        client.pipeline.set_at(part.seq, part.index, at);
        client.unsettle();
        client.held.insert(held);
        if !client.listed_as_holding {
            client.listed_as_holding = true;
            self.holding.push(id);
        }
        self.hold_due = self.hold_due.min(due);
    }

    /// When a request that was refused for the `tries`th time is due again.
    pub(in crate::proxy) fn due_after(&self, tries: u8, now: Time) -> Time {
        now.after(backoff(tries))
    }

    /// Sends what can be sent of a client's held requests, in order, and gives up what has waited too long.
    pub(in crate::proxy) fn release_all_held(&mut self, id: ClientId, now: Time) {
        let Some(client) = self.clients.get(id) else {
            return;
        };
        for slot in client.held.slots() {
            self.release_held(id, slot, now);
        }
    }

    /// The same, of one slot: its requests are what a reply for it, or a new request for it, may set free.
    pub(in crate::proxy) fn release_held(&mut self, id: ClientId, slot: u16, now: Time) {
        let Some(client) = self.clients.get_mut(id) else {
            return;
        };
        let mut keep = Vec::new();
        let mut blocked = false;
        let mut unconfirmed = Vec::new();
        for mut held in client.held.take(slot) {
            let attempt = if blocked && now < held.expires {
                Attempt::Wait(held.due)
            } else {
                self.attempt(id, &held, now)
            };
            match attempt {
                Attempt::Sent => self.unhold(&held),
                Attempt::Asked(probe) => {
                    held.probe = Some(probe);
                    blocked |= slot != NO_SLOT;
                    self.hold_due = self.hold_due.min(held.expires);
                    keep.push(held);
                }
                Attempt::Wait(due) => {
                    held.cleared = None;
                    blocked |= slot != NO_SLOT;
                    self.hold_due = self.hold_due.min(due).min(held.expires);
                    keep.push(held);
                }
                Attempt::LeaveOut => {
                    self.unhold(&held);
                    self.leave_out(held.part, now);
                }
                Attempt::GiveUp => {
                    self.unhold(&held);
                    if held.is_doubted() {
                        unconfirmed.push(held);
                        continue;
                    }
                    self.stats.expired.add(1);
                    // A slot whose keys are apart is served: other requests for it have nothing to fear.
                    if let Some(scope) = held.ticket.scope()
                        && !held.waits_for_keys()
                    {
                        self.upstream.fail_fast(scope, now);
                    }
                    let text = self.give_up_text_of(held.goal, slot, &held.refusal);
                    self.answer_error(held.part, &text, now);
                }
            }
        }
        if let Some(client) = self.clients.get_mut(id) {
            keep.into_iter().for_each(|held| client.held.insert(held));
        } else {
            keep.iter().for_each(|held| self.unhold(held));
        }
        for held in &unconfirmed {
            self.pass_on(held, now);
        }
    }

    /// Whether there is a reply without the part of the node that a goal names, and the node is not to be waited for: it
    /// is no member, or known to be down where that is enough. Nor is a shard that is no more.
    fn does_without(&self, ticket: &Ticket, goal: Goal, now: Time) -> bool {
        let node = match goal {
            Goal::Node(node) => node,
            Goal::Shard(id) => {
                return self.upstream.routes.master_of_shard(id) == Successor::Gone;
            }
            Goal::Owner | Goal::Ask(_) | Goal::AnyMaster => return false,
        };
        let node = self.upstream.node(node);
        let listed = node.is_some_and(|node| node.listed);
        let down = node.is_none_or(|node| node.is_failing() && !node.may_connect(now));
        match ticket.pin {
            Pin::May | Pin::Spare => !listed || down,
            Pin::Member => !listed,
            Pin::Free | Pin::Must | Pin::Shard(_) | Pin::Astray(_) => false,
        }
    }

    /// A part whose node is not there is left out of the reply: it is handed in as no bytes at all.
    pub(in crate::proxy) fn leave_out(&mut self, part: PartId, now: Time) {
        self.stats.left_out.add(1);
        self.fulfil(part, b"", now);
    }

    /// Leaves out what silent nodes owe to commands that can do without them. The request stays in the
    /// queue, so that its reply is known for what it is when it comes.
    pub(in crate::proxy) fn leave_out_silent(&mut self, id: BackendId, now: Time) {
        let mut late = Vec::new();
        if let Some(backend) = self.upstream.backends.get_mut(id) {
            let old = |ticket: &&mut Ticket| now.since(ticket.sent_at) >= PATIENCE;
            for ticket in backend.tickets.iter_mut().take_while(old) {
                if matches!(ticket.pin, Pin::May | Pin::Spare) {
                    late.push(std::mem::replace(&mut ticket.origin, Origin::Discard));
                }
            }
        }
        for origin in late {
            if let Origin::Part(part) = origin {
                self.leave_out(part, now);
            }
        }
    }

    pub(in crate::proxy) fn unhold(&mut self, held: &Held) {
        self.held_bytes -= held.bytes.len();
        self.held_requests -= 1;
    }

    /// Forgets what a client that has gone held.
    pub(in crate::proxy) fn drop_held(&mut self, held: &HeldRequests) {
        held.iter().for_each(|held| self.unhold(held));
    }

    /// Tries to send one held request.
    fn attempt(&mut self, id: ClientId, held: &Held, now: Time) -> Attempt {
        #[cfg(test)]
        {
            self.attempts += 1;
        }
        let long = matches!(held.ticket.pin, Pin::May | Pin::Spare)
            && now.since(held.ticket.held_since.unwrap_or(now)) >= PATIENCE;
        if long || self.does_without(&held.ticket, held.goal, now) {
            return Attempt::LeaveOut;
        }
        if now >= held.expires {
            return Attempt::GiveUp;
        }
        if held.probe.is_some() {
            return Attempt::Wait(held.expires);
        }
        let Some(client) = self.clients.get(id) else {
            return Attempt::GiveUp;
        };
        let dialect = client.session.dialect();
        let affinity = id.key() as usize;
        let target = match held.goal {
            _ if held.due > now => return Attempt::Wait(held.due),
            Goal::Owner => Slot::new(held.ticket.slot).and_then(|slot| {
                let reads = self.may_ask_replicas(id, self.table.row(held.ticket.command));
                let fresh = held.ticket.tries == 0;
                let preference = self.config.read_preference;
                self.upstream
                    .target(slot, reads && fresh, preference, affinity, now)
                    .filter(|target| {
                        fresh || !reads || !self.upstream.is_out_of_reach(*target, now)
                    })
                    // A read that was lost or refused takes any node of the shard that it may ask, and another
                    // each time.
                    .or_else(|| {
                        let turn = affinity + usize::from(held.ticket.tries);
                        self.upstream.target(slot, reads, preference, turn, now)
                    })
            }),
            // A command about the node itself needs no READONLY, wherever it goes.
            Goal::Ask(node) | Goal::Node(node) => Some(Target {
                node,
                replica: false,
            }),
            Goal::Shard(id) => self.upstream.shard_master(id),
            Goal::AnyMaster => self.upstream.any_master(affinity),
        };
        let Some(target) = target else {
            self.actions.refresh(Wanted::Trouble);
            return Attempt::Wait(now.after(BACKOFF_MAX / 2));
        };
        let backend = if is_urgent(self.table.row(held.ticket.command)) {
            let (config, actions) = (&self.config, &mut self.actions);
            let upstream = &mut self.upstream;
            upstream.urgent_backend(target, dialect, config, actions, now)
        } else {
            self.shared_for(id, target, dialect, now)
        };
        let Some(backend) = backend else {
            self.actions.refresh(Wanted::Trouble);
            let retry_at = self.upstream.node(target.node).map(|node| node.retry_at());
            let poll = now.after(BACKOFF_MAX / 2);
            return Attempt::Wait(retry_at.map_or(poll, |at| at.min(poll)));
        };
        let slot = held.ticket.slot;
        if (self.stands_elsewhere(id, slot, backend)
            && !planted_bugs::is_on("reorder-across-moved"))
            || self.is_followed(id, slot, held.part.seq)
        {
            // The reply that ends this tries again; the due time is only a guard.
            return Attempt::Wait(now.after(BACKOFF_MAX));
        }
        if held.scouts
            && held.cleared != Some(backend)
            && let Some(probe) = self.scout(held, backend, now)
        {
            return Attempt::Asked(probe);
        }
        self.send_held(id, held, backend, now);
        Attempt::Sent
    }

    /// Whether a request of this client for this slot is outstanding on another connection than `backend`.
    pub(in crate::proxy) fn stands_elsewhere(
        &self,
        id: ClientId,
        slot: u16,
        backend: BackendId,
    ) -> bool {
        let mut elsewhere = false;
        if let (true, Some(client)) = (slot != NO_SLOT, self.clients.get(id)) {
            client
                .pipeline
                .outstanding(slot, |_, at| elsewhere |= at != backend);
        }
        elsewhere
    }

    /// Whether a request of this client for this slot that was sent after place `seq` is outstanding: behind
    /// it on one connection, the request at `seq` would execute last.
    fn is_followed(&self, id: ClientId, slot: u16, seq: Seq) -> bool {
        let mut followed = false;
        if planted_bugs::is_on("refused-resent-late") || planted_bugs::is_on("reorder-across-moved")
        {
            return false;
        }
        if let (true, Some(client)) = (slot != NO_SLOT, self.clients.get(id)) {
            client
                .pipeline
                .outstanding(slot, |other, _| followed |= seq.before(other));
        }
        followed
    }

    fn send_held(&mut self, id: ClientId, held: &Held, backend: BackendId, now: Time) {
        let (pool, actions) = (&mut self.pool, &mut self.actions);
        let asks = matches!(held.goal, Goal::Ask(_)) && !planted_bugs::is_on("asking-apart");
        let asking = asks.then_some(ASKING);
        let prelude = held.prelude.iter().map(|frame| &**frame).chain(asking);
        for frame in prelude {
            let ticket = Ticket {
                origin: Origin::Discard,
                len: frame.len() as u32,
                sent_at: now,
                ..held.ticket
            };
            self.upstream.send(backend, frame, ticket, pool, actions);
        }
        let ticket = Ticket {
            tries: held.ticket.tries.saturating_add(1),
            asked: asks,
            sent_at: now,
            ..held.ticket
        };
        self.send_vouched(backend, &held.bytes, ticket);
        self.stats.retries.add(u64::from(held.ticket.tries > 0));
        self.stats.backend_requests.add(1);
        if let Some(client) = self.clients.get_mut(id) {
            client
                .pipeline
                .set_at(held.part.seq, held.part.index, At::Backend(backend));
            client.unsettle();
        }
    }

    /// Tries all held requests of all clients: their time has come, or the routes have changed.
    pub(in crate::proxy) fn release_all(&mut self, now: Time) {
        self.hold_due = Time::from_micros(u64::MAX);
        let holding = std::mem::take(&mut self.holding);
        for id in holding {
            self.release_all_held(id, now);
            let Some(client) = self.clients.get_mut(id) else {
                continue;
            };
            if client.held.is_empty() {
                client.listed_as_holding = false;
            } else {
                self.holding.push(id);
            }
        }
    }

    /// Makes every held request due: the routes have changed, or a node is back.
    pub(in crate::proxy) fn hasten_held(&mut self, now: Time) {
        for id in &self.holding {
            if let Some(client) = self.clients.get_mut(*id) {
                for held in client.held.iter_mut() {
                    // What waits for a slot to finish migrating gains nothing from haste.
                    if !held.waits_for_keys() {
                        held.due = held.due.min(now);
                    }
                }
            }
        }
        self.hold_due = self.hold_due.min(now);
        self.hasten_leases(now);
    }

    /// What the client hears of a request that is given up: the node's own words to it, or to us.
    pub(in crate::proxy) fn give_up_text_of(
        &self,
        goal: Goal,
        slot: u16,
        refusal: &[u8],
    ) -> Vec<u8> {
        if !refusal.is_empty() {
            return refusal.to_vec();
        }
        let own = match goal {
            Goal::Ask(node) | Goal::Node(node) => self.upstream.unserved_by(node),
            Goal::Shard(id) => {
                let master = self.upstream.shard_master(id);
                master.and_then(|target| self.upstream.unserved_by(target.node))
            }
            Goal::Owner | Goal::AnyMaster => None,
        };
        let text = own.map_or_else(|| self.upstream.unserved(slot), Into::into);
        text.into_owned().into_bytes()
    }

    /// Answers a part with an error of our own.
    pub(in crate::proxy) fn answer_error(&mut self, part: PartId, text: &[u8], now: Time) {
        let mut reply = std::mem::take(&mut self.scratch.reply);
        reply.clear();
        encode::error(&mut reply, text);
        self.stats.refusals.add(1);
        self.count_error(part, text);
        self.fulfil(part, &reply, now);
        self.scratch.reply = reply;
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::sync::Arc;

    use super::*;
    use crate::cluster::topology::Orphan;
    use crate::cluster::topology::{NO_SHARD, NodeInfo, Topology};
    use crate::command::Table;
    use crate::config::{Config, ReadPreference};
    use crate::proxy::actions::Action;
    use crate::proxy::ids::Peer;
    use crate::proxy::process::Process;
    use crate::proxy::tests::rig::{before_three_nodes, flushed, known_client, next_action};

    const MASTER: SocketAddr =
        SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 1);
    const REPLICA: SocketAddr =
        SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 2);

    /// One client before a master, which can be down, and a replica, which is read from. They answer all but reads.
    struct Rig {
        proxy: Proxy,
        client: ClientId,
        now: Time,
        down: bool,
        addresses: Vec<(BackendId, SocketAddr)>,
        /// Reads, and where they went.
        reads: Vec<(BackendId, SocketAddr)>,
        /// What the replica says to reads; nothing if it is silent.
        says: &'static [u8],
        /// What the client has got.
        heard: Vec<u8>,
    }

    impl Rig {
        fn new() -> Rig {
            let config = Config {
                read_preference: ReadPreference::Replica,
                park_timeout: Some(Duration::from_secs(5)),
                ..Config::default()
            };
            let table = Arc::new(Table::compiled());
            let process = Arc::new(Process::new(1));
            let mut proxy = Proxy::new(Arc::new(config), table, process, 0, 1);
            let now = Time::from_micros(1_000_000);
            let mut topology = Topology::of_masters(&[MASTER]);
            topology.nodes.push(NodeInfo {
                address: REPLICA,
                id: "replica".to_string(),
                hostname: None,
                same_idc: false,
            });
            topology.shards[0].replicas = vec![1];
            proxy.adopt(Arc::new(topology), now);
            Rig {
                client: proxy.accept(Some(SocketAddr::from(([127, 0, 0, 1], 9))), now),
                proxy,
                now,
                down: false,
                addresses: Vec::new(),
                reads: Vec::new(),
                says: b"",
                heard: Vec::new(),
            }
        }

        /// Most masters call the master dead: its replica is all that is left of the shard.
        fn orphan(&mut self) {
            let mut topology = Topology::of_masters(&[REPLICA]);
            topology.slots.fill(NO_SHARD);
            topology.shards.clear();
            topology.orphans = vec![Orphan {
                id: "master".to_string(),
                slots: vec![(0, 16383)],
                replicas: vec![0],
            }];
            self.down = true;
            self.proxy.adopt(Arc::new(topology), self.now);
        }

        fn feed(&mut self, peer: Peer, bytes: &[u8]) {
            let room = self.proxy.room(peer).expect("it is read");
            room.spare()[..bytes.len()].copy_from_slice(bytes);
            room.filled(bytes.len());
            self.proxy.input(peer, bytes.len(), self.now);
        }

        fn ask(&mut self, line: &str) {
            self.feed(Peer::Client(self.client), format!("{line}\r\n").as_bytes());
            self.turn();
        }

        fn turn(&mut self) {
            self.turn_once();
            while self.proxy.next_deadline().is_some_and(|at| self.now >= at) {
                self.turn_once();
            }
        }

        fn turn_once(&mut self) {
            self.proxy.tick(self.now);
            self.proxy.begin_turn(self.now);
            while let Some(action) = next_action(&mut self.proxy) {
                match action {
                    Action::Connect(id, address) if self.down && address == MASTER => {
                        self.proxy.closed(Peer::Backend(id), self.now);
                    }
                    Action::Connect(id, address) => {
                        self.addresses.push((id, address));
                        self.proxy.connected(id, self.now);
                    }
                    Action::Resume(id) => {
                        self.proxy.resume(id, self.now);
                    }
                    Action::Flush(peer) => self.flush(peer),
                    _ => {}
                }
            }
            self.proxy.check();
        }

        fn flush(&mut self, peer: Peer) {
            let written = flushed(&mut self.proxy, peer, self.now);
            let Peer::Backend(id) = peer else {
                return self.heard.extend(written);
            };
            let text = String::from_utf8(written).expect("text");
            for request in text.split('*').skip(1) {
                if request.contains("GET") {
                    let at = self.addresses.iter().find(|(own, _)| *own == id);
                    self.reads.push(*at.expect("it is connected"));
                    if !self.says.is_empty() {
                        self.feed(peer, self.says);
                    }
                } else if request.contains("CLIENT") {
                    self.feed(peer, b":1\r\n");
                } else {
                    self.feed(peer, b"+OK\r\n");
                }
            }
        }

        fn wait(&mut self, millis: u64) {
            for _ in 0..millis / 10 {
                self.now = self.now.after(Duration::from_millis(10));
                self.turn();
            }
        }
    }

    /// Its first connection is lost, and then the master cannot be reached: a replica would do, but for what a client
    /// reads while it watches, since that decides what it writes.
    #[test]
    fn what_is_read_while_watching_is_sent_again_to_a_master_only() {
        for watches in [false, true] {
            let mut rig = Rig::new();
            if watches {
                rig.ask("WATCH a");
            }
            rig.ask("GET a");
            let first = if watches { MASTER } else { REPLICA };
            let lost = rig.reads[0];
            assert_eq!(lost.1, first);
            rig.down = true;
            rig.proxy.closed(Peer::Backend(lost.0), rig.now);
            rig.wait(2000);
            if watches {
                assert_eq!(rig.reads.len(), 1, "it waits for the master");
                rig.down = false;
                rig.wait(2000);
                assert_eq!(rig.reads[1].1, MASTER);
            } else {
                assert_eq!(rig.reads[1].1, REPLICA);
            }
            assert_eq!(rig.reads.len(), 2);
        }
    }

    /// A read that stood first when two connections were lost may be what ends the node: it is not sent a third time. But a
    /// node that dies may have taken one more connection before it is gone.
    #[test]
    fn what_may_kill_a_node_is_not_sent_a_third_time() {
        for (apart, asked) in [(60, 3), (300, 2)] {
            let mut rig = Rig::new();
            rig.ask("WATCH a");
            rig.ask("GET a");
            for _ in 0..2 {
                let (last, _) = rig.reads[rig.reads.len() - 1];
                rig.proxy.closed(Peer::Backend(last), rig.now);
                rig.wait(apart);
            }
            rig.wait(1000);
            assert_eq!(rig.reads.len(), asked, "{apart} ms apart");
            let told = rig.heard.ends_with(b"may have been executed\r\n");
            assert_eq!(told, asked == 2);
        }
    }

    /// A shard without a master: its replica is read, whatever becomes of writes; and one that does not serve either is
    /// not asked again and again at once.
    #[test]
    fn a_replica_without_a_master_is_read_while_it_serves() {
        let mut rig = Rig::new();
        rig.orphan();
        rig.says = b"$1\r\nx\r\n";
        rig.ask("GET a");
        assert_eq!(rig.heard, rig.says);
        rig.ask("SET a y");
        rig.wait(6000);
        let refused = [rig.says, b"-CLUSTERDOWN Hash slot not served\r\n"].concat();
        assert_eq!(rig.heard, refused);
        rig.ask("GET a");
        assert_eq!(
            rig.heard,
            [&refused, rig.says].concat(),
            "the slot fails fast"
        );
        let slot = Slot::of(b"a").number();
        assert!(
            rig.proxy.upstream.is_failing(slot),
            "a replica's reply does not end that"
        );
        for says in [
            &b"-CLUSTERDOWN The cluster is down\r\n"[..],
            b"-MOVED 15495 127.0.0.1:1\r\n",
        ] {
            let mut rig = Rig::new();
            rig.orphan();
            (rig.says, rig.heard) = (says, Vec::new());
            rig.ask("GET a");
            rig.wait(6000);
            assert!(rig.heard.starts_with(b"-CLUSTERDOWN"), "{:?}", rig.heard);
            let asked = rig.reads.len();
            assert!((2..50).contains(&asked), "{asked} times");
        }
    }

    #[test]
    fn parts_that_are_held_are_tried_once_each() {
        let mut proxy = before_three_nodes(true);
        let mut now = Time::from_micros(7);
        let id = known_client(&mut proxy, None, now);
        let put = |proxy: &mut Proxy, words: &[String], now: Time| {
            let mut bytes = Vec::new();
            encode::command(&mut bytes, words.iter().map(String::as_bytes));
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                let room = proxy.room(Peer::Client(id)).expect("it is read");
                let count = rest.len().min(room.spare().len());
                room.spare()[..count].copy_from_slice(&rest[..count]);
                room.filled(count);
                rest = &rest[count..];
                proxy.input(Peer::Client(id), count, now);
            }
        };
        let keys = |count: usize| (0..count).map(|key| format!("key:{key}"));
        let del =
            |count| -> Vec<String> { std::iter::once("DEL".into()).chain(keys(count)).collect() };
        // No node can be connected to.
        put(&mut proxy, &del(100), now);
        while let Some(action) = next_action(&mut proxy) {
            if let Action::Connect(backend, _) = action {
                proxy.closed(Peer::Backend(backend), now);
            }
        }
        let held = proxy.held_requests as u64;
        assert!(held > 90);
        let before = proxy.attempts;
        put(&mut proxy, &del(50_000), now);
        let mut turns = 0;
        while let Some(action) = next_action(&mut proxy) {
            if let Action::Resume(id) = action {
                proxy.resume(id, now);
                turns += 1;
            }
        }
        assert!((10..50).contains(&turns), "{turns} turns");
        let parts = proxy.held_requests as u64 - held;
        assert!(parts > 15_000, "{parts} parts");
        let attempts = proxy.attempts - before;
        assert!(
            attempts <= parts + held,
            "{attempts} attempts for {parts} parts"
        );
        // They are there again.
        let before = proxy.attempts;
        now = now.after(Duration::from_secs(1));
        proxy.tick(now);
        assert_eq!(proxy.held_requests, 0);
        let attempts = proxy.attempts - before;
        assert!(
            attempts <= 2 * (parts + held),
            "{attempts} attempts for {parts} parts"
        );
        proxy.check();
    }
}
