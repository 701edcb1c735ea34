//! `Run`: a sequence of requests on one exclusive connection. It keeps all their bytes, so that it can start again at
//! another node as long as none of them has been executed.
//!
//! It must never know what the requests are for.

use std::net::SocketAddr;

use crate::clock::Time;
use crate::cluster::slot::Slot;
use crate::proxy::actions::Wanted;
use crate::proxy::ids::{BackendId, ClientId, NO_SLOT};
use crate::proxy::lease::state::order::Order;
use crate::proxy::lease::state::run::{Line, Obtained, Run};
use crate::proxy::pipeline::At;
use crate::proxy::state::Proxy;
use crate::proxy::stats::slot_redirects::Redirect;
use crate::proxy::texts::refusal::{self, Refusal};
use crate::proxy::upstream::backend::{Origin, Patience, Ticket};
use crate::proxy::upstream::exclusive::Waiter;
use crate::proxy::upstream::goal::{ASKING, Goal};

/// Redirects that a run follows at once; later ones wait a little each.
const PROMPT_REDIRECTS: u8 = 5;
/// Redirects that a run follows at all.
const REDIRECTS_MAX: u8 = 16;

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
            None if out_of_reach && self.upstream.is_failing_exclusive(run.slot) => {
                Obtained::InVain
            }
            None => Obtained::Nothing(now.after(self.patience(run))),
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
        debug_assert!(run.order > 0);
        run.backend = Some(backend);
        if run.is_orderly() {
            self.leases.accepted.join(run.slot, run.order, id, index);
        }
        if let Some(backend) = self.upstream.backends.get_mut(backend) {
            run.executor = Some(self.upstream.routes.executor(backend.node));
            backend.patience = if run.patient {
                Patience::Endless
            } else {
                Patience::None
            };
        }
        (run.sent, run.answered, run.unopened) = (0, 0, false);
        run.begun_at = now;
        run.asked = matches!(run.goal, Goal::Ask(_));
        if run.asked {
            let ticket = Ticket::here(Origin::Discard, run.slot, u16::MAX, ASKING.len(), now);
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
            node.exclusive.leave(run.order);
        }
    }

    /// A node refuses a blocking request, so that it will refuse those for the same slot that it has let wait, one after
    /// the other: they are to go on in the order in which their clients asked.
    pub(super) fn expect_others(&mut self, run: &Run, now: Time) {
        let own = run.backend.and_then(|own| self.upstream.backends.get(own));
        let (Some(node), true) = (own.map(|own| own.node), run.slot != NO_SLOT) else {
            return;
        };
        let backends = &self.upstream.backends;
        let is_there = |other: &Run| {
            let own = other.backend.and_then(|own| backends.get(own));
            own.is_some_and(|own| own.node == node)
        };
        for (id, index) in self.leases.accepted.of_slot(run.slot) {
            let lease = self.clients.get_mut(id).and_then(|c| c.lease.as_mut());
            let other = lease.and_then(|lease| lease.runs.get_mut(usize::from(index)));
            if let Some(other) = other.filter(|other| is_there(other)) {
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
        if run.is_orderly() {
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
        let ticket = Ticket::here(origin, slot, line.command, line.frame.len(), now);
        let (pool, actions) = (&mut self.pool, &mut self.actions);
        self.stats.backend_requests.add(1);
        self.upstream
            .send(backend, &line.frame, ticket, pool, actions);
        if let (Some((seq, part)), Some(client)) = (line.owed.place(), self.clients.get_mut(id)) {
            client.pipeline.set_at(seq, part, At::Backend(backend));
        }
    }

    /// A run has its connection no more.
    pub(super) fn part(&mut self, run: &mut Run) -> Option<BackendId> {
        let own = run.backend.take();
        if own.is_some() && run.is_orderly() {
            self.leases.accepted.leave(run.slot, run.order);
        }
        own
    }

    /// Parts a run from its connection, which goes back if it is clean, or can be made so. It waits for none.
    pub(super) fn leave(&mut self, id: ClientId, run: &mut Run, index: u16, now: Time) {
        self.end_waiting(id, run, index, now);
        let (cleaner, spoilt) = (run.cleaner, run.spoilt);
        match self.part(run) {
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
