//! Held requests are sent again: which, when and in what order. `hold` keeps them, and gives them up in the end.
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

use crate::clock::Time;
use crate::cluster::slot::Slot;
use crate::command::Runs;
use crate::proxy::actions::Wanted;
use crate::proxy::client::held::{Attempt, BACKOFF_MAX, Held, backoff};
use crate::proxy::ids::{BackendId, ClientId, NO_SLOT, Seq};
use crate::proxy::pipeline::At;
use crate::proxy::pipeline::by_slot::is_urgent;
use crate::proxy::planted_bugs;
use crate::proxy::refused::left_out::is_overdue_part;
use crate::proxy::state::Proxy;
use crate::proxy::upstream::Target;
use crate::proxy::upstream::backend::{Origin, Ticket};
use crate::proxy::upstream::goal::{ASKING, Goal};

impl Proxy {
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
            self.follow_heir(&mut held.ticket, &mut held.goal);
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

    /// Tries to send one held request.
    fn attempt(&mut self, id: ClientId, held: &Held, now: Time) -> Attempt {
        #[cfg(test)]
        {
            self.attempts += 1;
        }
        if is_overdue_part(&held.ticket, now) || self.does_without(&held.ticket, held.goal, now) {
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
        if held.due > now {
            return Attempt::Wait(held.due);
        }
        let Some(target) = self.target_of(id, held, now) else {
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

    /// The node that a held request may go to now, if there is one.
    fn target_of(&self, id: ClientId, held: &Held, now: Time) -> Option<Target> {
        let affinity = id.key() as usize;
        match held.goal {
            Goal::Owner => Slot::new(held.ticket.slot).and_then(|slot| {
                let reads = self.may_ask_replicas(id, self.table.row(held.ticket.command));
                let fresh = held.ticket.tries == 0;
                let preference = self.read_preference(id);
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
            Goal::Shard(shard) => {
                let command = self.table.row(held.ticket.command);
                self.shard_target_of(id, command, shard, now)
            }
            Goal::AnyMaster => self.upstream.any_master(affinity),
        }
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
        if self.table.row(ticket.command).runs != Runs::Nothing {
            self.script_leaves(backend, now);
        }
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
}

#[cfg(test)]
mod tests;
