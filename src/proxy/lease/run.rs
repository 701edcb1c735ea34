//! `Run`: one sequence of requests on one exclusive connection, with all its bytes, so that it can begin anew
//! at another node as long as nothing of it has been executed.
//!
//! It must never know what the requests are for.

use std::net::SocketAddr;
use std::time::Duration;

use crate::clock::Time;
use crate::cluster::slot::Slot;
use crate::proxy::actions::Wanted;
use crate::proxy::client::ClientId;
use crate::proxy::lease::order::Order;
use crate::proxy::pipeline::{At, Seq};
use crate::proxy::refused::retry::{ASKING, Goal};
use crate::proxy::stats::slot_redirects::Redirect;
use crate::proxy::texts::refusal;
use crate::proxy::texts::refusal::Refusal;
use crate::proxy::upstream::backend::{BackendId, Origin, Patience, Pin, Ticket, Usage};
use crate::proxy::upstream::exclusive::Waiter;
use crate::proxy::upstream::node::NodeKey;
use crate::proxy::{NO_SLOT, Proxy};
use crate::resp::reply::Reply;

/// Redirects that a run follows at once; later ones wait a little each.
const PROMPT_REDIRECTS: u8 = 5;
/// Redirects that a run follows at all.
const REDIRECTS_MAX: u8 = 16;

/// How long a node takes at most to refuse a command that blocks.
const ACCEPTED: Duration = Duration::from_millis(100);

/// What became of the wish for a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Obtained {
    /// Here it is.
    Connection(BackendId),
    /// There is none; whoever has one says so, but at the latest it is tried again then.
    Nothing(Time),
    /// There is none and others have waited in vain.
    InVain,
}

/// One sequence of requests on one exclusive connection.
#[derive(Debug)]
pub struct Run {
    /// The slot of its keys, or [`NO_SLOT`].
    pub slot: u16,
    /// The connection that carries it.
    pub backend: Option<BackendId>,
    /// Its requests, in order.
    pub lines: Vec<Line>,
    /// How many of them have been sent on the connection.
    sent: usize,
    /// How many of them the connection has answered.
    answered: usize,
    /// Whether the connection has refused MULTI.
    unopened: bool,
    /// What makes the connection clean, if no reply is outstanding; nothing if it is clean by then.
    pub cleaner: &'static [u8],
    /// Whether its connection is for nobody else after it.
    pub spoilt: bool,
    /// Whether its reply may take as long as a client wishes.
    pub patient: bool,
    /// Where it is to go.
    pub goal: Goal,
    /// Redirects followed.
    redirects: u8,
    /// Times that it was refused.
    tries: u8,
    /// Since when it has been trying to begin, if it has not been answered since.
    pub held_since: Option<Time>,
    /// When it is tried again, while it waits. To be set with `Leases::set_due` only.
    pub due: Option<Time>,
    /// Its number among all runs, in the order in which clients asked; 0 until it is first tried.
    pub order: u64,
    /// The node whose connections it waits for.
    queued: Option<NodeKey>,
    /// Whether it stands among the blocking requests that keep their order and are still to be sent.
    pub lined_up: bool,
    /// Connections lost in a row, without an answer.
    losses: u8,
    /// When it last began.
    begun_at: Time,
    /// The words of the last refusal; none after a redirect, which no client may see.
    refusal: Vec<u8>,
}

/// One request of a run.
#[derive(Debug)]
pub struct Line {
    /// Its bytes.
    pub frame: Vec<u8>,
    /// The bytes that the client sent, where they only name the script that the frame has.
    pub by_name: Option<Vec<u8>>,
    /// Its row.
    pub command: u16,
    /// Who waits for its reply.
    pub owed: Owed,
}

impl Line {
    /// A request that is sent as it came.
    pub fn new(frame: Vec<u8>, command: u16, owed: Owed) -> Line {
        Line {
            frame,
            by_name: None,
            command,
            owed,
        }
    }
}

/// Who waits for the reply to a line, and what it means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owed {
    /// Nobody: the client has its reply already, or has not asked for this.
    Nobody,
    /// This part of the request at this place: it is queued, or fails to be.
    Queued(Seq, u16),
    /// The request at this place, which is WATCH.
    Watch(Seq),
    /// This part of the request at this place, which is executed now: the run's last.
    Last(Seq, u16),
}

impl Owed {
    /// The place that waits.
    pub fn place(self) -> Option<(Seq, u16)> {
        match self {
            Owed::Nobody => None,
            Owed::Watch(seq) => Some((seq, 0)),
            Owed::Queued(seq, part) | Owed::Last(seq, part) => Some((seq, part)),
        }
    }
}

impl Run {
    /// A run without requests.
    pub fn new(slot: u16) -> Run {
        Run {
            slot,
            backend: None,
            lines: Vec::new(),
            sent: 0,
            answered: 0,
            unopened: false,
            cleaner: b"",
            spoilt: false,
            patient: false,
            goal: if slot == NO_SLOT {
                Goal::AnyMaster
            } else {
                Goal::Owner
            },
            redirects: 0,
            tries: 0,
            held_since: None,
            due: None,
            order: 0,
            queued: None,
            lined_up: false,
            losses: 0,
            begun_at: Time::default(),
            refusal: Vec::new(),
        }
    }

    /// The first keyed request says where the run goes.
    pub fn set_slot(&mut self, slot: u16) {
        debug_assert!(self.slot == NO_SLOT && self.backend.is_none());
        self.slot = slot;
        self.goal = Goal::Owner;
    }

    /// The row of the request that is answered next; [`u16::MAX`] for MULTI, and for none.
    pub fn next_command(&self) -> u16 {
        let line = self.lines.get(self.answered);
        line.map_or(u16::MAX, |line| line.command)
    }

    /// Looks at the next reply: if it refuses MULTI, the node executes what follows at once.
    pub fn note_unopened(&mut self, reply: Reply<'_>) {
        let opens = self.next_owed() == Some(Owed::Nobody) && self.next_command() == u16::MAX;
        self.unopened |= opens && reply.is_error();
    }

    /// Whether MULTI was refused on this connection.
    pub fn is_unopened(&self) -> bool {
        self.unopened
    }

    /// Who waits for the next reply.
    pub fn next_owed(&self) -> Option<Owed> {
        self.lines.get(self.answered).map(|line| line.owed)
    }

    /// The next reply has come and is handed on: nobody waits for it any more.
    pub fn note_answer(&mut self) {
        self.losses = 0;
        if let Some(line) = self.lines.get_mut(self.answered) {
            line.owed = Owed::Nobody;
            self.answered += 1;
        }
    }

    /// The request that is answered next has a script in it, which its client has only named.
    pub fn has_script(&self) -> bool {
        let line = self.lines.get(self.answered);
        line.is_some_and(|line| line.by_name.is_some())
    }

    /// All requests are again as their client sent them.
    pub fn name_scripts(&mut self) {
        for line in &mut self.lines {
            if let Some(frame) = line.by_name.take() {
                line.frame = frame;
            }
        }
    }

    /// Its node serves it no more. The time that a client was blocked there was no waiting for a node.
    pub fn note_end(&mut self, now: Time) {
        if self.patient {
            let there = now.since(self.begun_at);
            self.held_since = self.held_since.map(|since| since.after(there));
        }
    }

    /// Its connection was lost before it was answered. Returns how often that has happened in a row.
    pub fn note_loss(&mut self) -> u8 {
        self.losses = self.losses.saturating_add(1);
        self.losses
    }

    /// Whether its node lets it wait, and so serves its slot: it would have refused it by now.
    pub fn is_accepted(&self, now: Time) -> bool {
        self.patient
            && self.slot != NO_SLOT
            && self.backend.is_some()
            && now.since(self.begun_at) >= ACCEPTED
    }

    /// Whether a client waits for a reply of this run.
    pub fn is_waited_for(&self) -> bool {
        self.lines.iter().any(|line| line.owed != Owed::Nobody)
    }

    /// All places that wait; they wait no more.
    pub fn take_owed(&mut self) -> Vec<(Seq, u16)> {
        self.lines
            .iter_mut()
            .filter_map(|line| std::mem::replace(&mut line.owed, Owed::Nobody).place())
            .collect()
    }
}

impl Proxy {
    /// What the client hears when a run is given up.
    pub(super) fn give_up_text(&self, run: &Run) -> Vec<u8> {
        self.give_up_text_of(run.goal, run.slot, &run.refusal)
    }

    /// A connection of its own for a run, or when to try again. Whoever is `served` is known to come first.
    pub(super) fn obtain(
        &mut self,
        id: ClientId,
        run: &mut Run,
        index: u16,
        served: bool,
        now: Time,
    ) -> Obtained {
        debug_assert!(run.backend.is_none() && run.order > 0);
        let poll = self.due_after(4, now);
        let target = match run.goal {
            Goal::Owner => Slot::new(run.slot)
                .and_then(|slot| self.upstream.routes.shard(slot))
                .map(|shard| shard.master),
            Goal::Ask(node) | Goal::Node(node) => Some(node),
            Goal::Shard(id) => self.upstream.shard_master(id).map(|target| target.node),
            Goal::AnyMaster => self
                .upstream
                .any_master(id.key() as usize)
                .map(|target| target.node),
        };
        if run.queued != target {
            self.leave_queue(run);
        }
        let (Some(target), Some(flavor)) = (target, self.flavor_of(id)) else {
            self.want_refresh(Wanted::Trouble);
            return Obtained::Nothing(poll);
        };
        if run.lined_up && !self.leases.order.may_go(run.slot, run.order, now) {
            return Obtained::Nothing(Order::ask_again_at(now));
        }
        let Some(node) = self.upstream.node(target) else {
            self.want_refresh(Wanted::Trouble);
            return Obtained::Nothing(poll);
        };
        let out_of_reach = !node.may_connect(now) && node.connecting == 0;
        let waiter = Waiter {
            client: id,
            run: index,
            flavor,
            slot: run.lined_up.then_some(run.slot),
        };
        let lent = self.lend(target, (run.order, waiter), served, now);
        run.queued = lent.is_none().then_some(target);
        match lent {
            Some(backend) => Obtained::Connection(backend),
            None if out_of_reach && self.upstream.is_failing(run.slot) => Obtained::InVain,
            None => Obtained::Nothing(now.after(self.park_timeout())),
        }
    }

    /// Sends a run from its beginning on a connection of its own.
    pub(super) fn begin(
        &mut self,
        id: ClientId,
        run: &mut Run,
        index: u16,
        backend: BackendId,
        now: Time,
    ) {
        run.backend = Some(backend);
        if let Some(backend) = self.upstream.backends.get_mut(backend) {
            backend.patience = if run.patient {
                Patience::Endless
            } else {
                Patience::None
            };
        }
        (run.sent, run.answered, run.unopened) = (0, 0, false);
        run.begun_at = now;
        if matches!(run.goal, Goal::Ask(_)) {
            let ticket = self.ticket(run.slot, ASKING.len(), u16::MAX, Origin::Discard, now);
            let (pool, actions) = (&mut self.pool, &mut self.actions);
            self.upstream.send(backend, ASKING, ticket, pool, actions);
            // The next time it is the owner who is to be asked.
            run.goal = Goal::Owner;
        }
        self.send_unsent(id, run, index, now);
        self.end_waiting(id, run, index, now);
    }

    /// A run waits for nothing any more, and nobody for it.
    fn end_waiting(&mut self, id: ClientId, run: &mut Run, index: u16, now: Time) {
        self.leases.set_due(id, run, index, None);
        self.leave_queue(run);
        if std::mem::take(&mut run.lined_up)
            && let Some((next, index, at)) = self.leases.order.leave(run.slot, run.order, now)
        {
            self.hasten_run(next, index, at);
        }
    }

    /// A run waits for no node's connections.
    fn leave_queue(&mut self, run: &mut Run) {
        if let Some(node) = run
            .queued
            .take()
            .and_then(|own| self.upstream.node_mut(own))
        {
            node.stock.leave(run.order);
        }
    }

    /// A node refuses a blocking request, so that it will refuse those for the same slot that it has let wait, one after
    /// the other: they are to go on in the order in which their clients asked.
    pub(super) fn expect_others(&mut self, run: &Run, now: Time) {
        let own = run.backend.and_then(|own| self.upstream.backends.get(own));
        let (Some(node), true) = (own.map(|own| own.node), run.slot != NO_SLOT) else {
            return;
        };
        let mut others = Vec::new();
        for (_, backend) in self.upstream.backends.iter() {
            let slot = backend.tickets.front().map(|ticket| ticket.slot);
            if let (Usage::Lent { client, run: index }, true) = (
                backend.usage,
                backend.node == node && slot == Some(run.slot),
            ) {
                others.push((client, index));
            }
        }
        for (id, index) in others {
            let lease = self.clients.get_mut(id).and_then(|c| c.lease.as_mut());
            let other = lease.and_then(|lease| lease.runs.get_mut(usize::from(index)));
            if let Some(other) = other.filter(|other| other.patient && other.slot == run.slot) {
                other.lined_up = true;
                let order = &mut self.leases.order;
                order.join(other.slot, other.order, id, index, now);
            }
        }
    }

    /// A run that has not been sent takes its place in the order of the requests of its slot.
    pub(super) fn line_up(&mut self, id: ClientId, run: &mut Run, index: u16, now: Time) {
        if run.order == 0 {
            run.order = self.leases.number();
        }
        if run.patient && run.slot != NO_SLOT {
            run.lined_up = true;
            let order = &mut self.leases.order;
            order.join(run.slot, run.order, id, index, now);
        }
    }

    /// Sends what a run that has its connection has not sent yet.
    pub(super) fn send_unsent(&mut self, id: ClientId, run: &mut Run, index: u16, now: Time) {
        while let (Some(backend), Some(line)) = (run.backend, run.lines.get(run.sent)) {
            self.send_line(id, (run.slot, line), index, backend, now);
            run.sent += 1;
        }
    }

    fn send_line(
        &mut self,
        id: ClientId,
        (slot, line): (u16, &Line),
        index: u16,
        backend: BackendId,
        now: Time,
    ) {
        let origin = Origin::Lease {
            client: id,
            run: index,
        };
        let ticket = self.ticket(slot, line.frame.len(), line.command, origin, now);
        let (pool, actions) = (&mut self.pool, &mut self.actions);
        self.stats.backend_requests.add(1);
        self.upstream
            .send(backend, &line.frame, ticket, pool, actions);
        if let (Some((seq, part)), Some(client)) = (line.owed.place(), self.clients.get_mut(id)) {
            client.pipeline.set_at(seq, part, At::Backend(backend));
        }
    }

    /// A ticket of a connection that is no shared one.
    pub(super) fn ticket(
        &self,
        slot: u16,
        len: usize,
        command: u16,
        origin: Origin,
        now: Time,
    ) -> Ticket {
        Ticket {
            origin,
            slot,
            command,
            len: len as u32,
            redirects: 0,
            tries: 1,
            losses: 0,
            readonly: false,
            pin: Pin::Must,
            healed: false,
            asked: false,
            held_since: None,
            sent_at: now,
        }
    }

    /// Parts a run from its connection, which goes back if it is clean, or can be made so. It waits for none.
    pub(super) fn leave(&mut self, id: ClientId, run: &mut Run, index: u16, now: Time) {
        self.end_waiting(id, run, index, now);
        let (cleaner, spoilt) = (run.cleaner, run.spoilt);
        match run.backend.take() {
            Some(backend) if spoilt => self.throw_away(backend, now),
            Some(backend) => self.give_back(backend, cleaner, now),
            None => {}
        }
    }

    /// What a refusal teaches.
    pub(super) fn note_refusal(
        &mut self,
        slot: u16,
        refusal: Refusal<'_>,
        from: Option<SocketAddr>,
        now: Time,
    ) {
        let mut run = Run::new(slot);
        // Where it would go and when is of no use: it does not.
        let _when = self.follow(&mut run, refusal, b"", from, now);
    }

    /// Where a run goes after a refusal from that node, and when; or what the client is told.
    pub(super) fn follow(
        &mut self,
        run: &mut Run,
        refusal: Refusal<'_>,
        words: &[u8],
        from: Option<SocketAddr>,
        now: Time,
    ) -> Result<Time, Vec<u8>> {
        run.tries = run.tries.saturating_add(1);
        run.refusal.clear();
        run.goal = if run.slot == NO_SLOT {
            Goal::AnyMaster
        } else {
            Goal::Owner
        };
        match refusal {
            Refusal::Moved(slot, endpoint) | Refusal::Ask(slot, endpoint) => {
                run.redirects += 1;
                if run.redirects > REDIRECTS_MAX {
                    return Err(refusal::SLOT_NOT_SERVED.into());
                }
                let routes = &self.upstream.routes;
                let node = from.and_then(|from| routes.resolve(endpoint, from));
                let node = node.filter(|_| slot.number() == run.slot);
                match (refusal, node) {
                    (Refusal::Ask(..), Some(node)) => {
                        self.stats.ask.add(1);
                        self.stats.redirects.note(run.slot, Redirect::Ask, now);
                        self.counted_at(from, |stats| &stats.ask);
                        run.goal = Goal::Ask(node);
                    }
                    (Refusal::Moved(..), Some(node)) => {
                        self.stats.moved.add(1);
                        self.stats.redirects.note(run.slot, Redirect::Moved, now);
                        self.counted_at(from, |stats| &stats.moved);
                        self.want_refresh(Wanted::Moved);
                        self.learn_owner(slot, node, now);
                    }
                    // An address that no node has confirmed, or another slot: a refresh will tell.
                    _ => self.want_refresh(Wanted::Moved),
                }
                if run.redirects <= PROMPT_REDIRECTS && node.is_some() {
                    Ok(now)
                } else {
                    Ok(self.due_after(run.redirects, now))
                }
            }
            Refusal::TryAgain => {
                self.stats.tryagain.add(1);
                self.stats.redirects.note(run.slot, Redirect::TryAgain, now);
                self.counted_at(from, |stats| &stats.errors_tryagain);
                run.redirects = 0;
                run.refusal = words.to_vec();
                Ok(self.due_after(run.tries.min(4), now))
            }
            Refusal::Unavailable(_) | Refusal::Missing(_) => {
                self.stats.unavailable.add(1);
                self.counted_at(from, |stats| &stats.errors_unavailable);
                self.want_refresh(Wanted::Trouble);
                run.refusal = words.to_vec();
                Ok(self.due_after(run.tries, now))
            }
        }
    }
}
