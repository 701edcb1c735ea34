//! Requests are held that a node did not execute, and given up when that takes too long. `retry` sends them again.

use crate::clock::Time;
use crate::proxy::client::held::{Held, HeldRequests, Retry};
use crate::proxy::ids::PartId;
use crate::proxy::pipeline::At;
use crate::proxy::state::Proxy;
use crate::proxy::texts::refusal;
use crate::proxy::upstream::backend::{Origin, Pin, Ticket};
use crate::proxy::upstream::goal::Goal;
use crate::resp::encode;
use crate::resp::reply::Reply;

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
            mut goal,
            due,
            refusal,
            prelude,
        } = retry;
        let Origin::Part(part) = ticket.origin else {
            return;
        };
        self.follow_heir(&mut ticket, &mut goal);
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
            scouts: sent_before && prelude.is_empty() && self.has_own_errors(&ticket, bytes),
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

    pub(in crate::proxy) fn unhold(&mut self, held: &Held) {
        self.held_bytes -= held.bytes.len();
        self.held_requests -= 1;
    }

    /// Forgets what a client that has gone held.
    pub(in crate::proxy) fn drop_held(&mut self, held: &HeldRequests) {
        held.iter().for_each(|held| self.unhold(held));
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
        match self.untagged(part.client, u16::MAX, Reply::new(&reply)) {
            Some(untagged) => self.fulfil(part, &untagged, now),
            None => self.fulfil(part, &reply, now),
        }
        self.scratch.reply = reply;
    }
}
