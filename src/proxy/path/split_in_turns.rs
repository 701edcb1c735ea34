//! `Cut`: splits a request of many keys over several turns: finds the slot of each key, sorts the keys by slot, and
//! sends part after part. The progress is kept with the client, from which nothing else is taken meanwhile; the
//! request stays in the read buffer. Other clients are served in between.
//!
//! A request of few keys is split at once (`split`), into the same parts.

use crate::cluster::slot::Slot;
use crate::command::{self, Class, Command, Flags, ResponsePolicy};
use crate::proxy::client::Stall;
use crate::proxy::client::split_in_turns::{Cut, LOOKED_AT};
use crate::proxy::client::step::Step;
use crate::proxy::ids::Seq;
use crate::proxy::insight::audit::Reason;
use crate::proxy::pipeline::At;
use crate::proxy::pipeline::by_slot::merge_of;
use crate::proxy::pipeline::merge::Merge;
use crate::proxy::pipeline::split::Split;
use crate::proxy::request::Request;
use crate::proxy::state::Proxy;
use crate::proxy::texts::refusal;

impl Proxy {
    /// Whether a request goes its way over many turns if it has many keys.
    #[inline]
    pub(in crate::proxy) fn may_be_cut(&self, request: &Request<'_>) -> bool {
        request.args.len() > self.config.limits.split_keys
            && matches!(request.command.class, Class::Split(_))
            && self.namespace_of(request.client).is_none()
    }

    /// Goes on with a request of many keys, for one turn. Nothing if it is none, or its keys cannot be found.
    #[cold]
    #[inline(never)]
    pub(in crate::proxy) fn cut(
        &mut self,
        request: &Request<'_>,
        policy: ResponsePolicy,
    ) -> Option<Step> {
        let &Request {
            client: id,
            command,
            args,
            ..
        } = request;
        let known = self.clients.get_mut(id)?.cut.take();
        let mut cut = match known {
            Some(cut) => cut,
            None => {
                let mut keys = Vec::new();
                command::keys(command, args, &mut keys).ok()?;
                if keys.len() <= self.config.limits.split_keys {
                    return None;
                }
                Box::new(Cut::new(keys))
            }
        };
        let step = self.cut_on(request, policy, &mut cut);
        if let (Step::Wait(stall), Some(client)) = (&step, self.clients.get_mut(id)) {
            client.cut = Some(cut);
            if *stall == Stall::Behind {
                self.resume_later(id);
            }
        }
        Some(step)
    }

    fn cut_on(&mut self, request: &Request<'_>, policy: ResponsePolicy, cut: &mut Cut) -> Step {
        let next_turn = Step::Wait(Stall::Behind);
        let looked_at = LOOKED_AT * self.config.limits.split_keys;
        let merge = merge_of(policy);
        if cut.slots.len() < cut.keys.len() {
            if cut.look(request.args, looked_at)
                && let Some(slot) = cut.arrange(matches!(merge, Merge::Gather))
            {
                return self.send_cut_to_slot(request, slot);
            }
            return next_turn;
        }
        if cut.parts.len() == 1 {
            // It has waited for its backend.
            return match Slot::new(cut.parts[0].0) {
                Some(slot) => self.send_cut_to_slot(request, slot),
                None => Step::Close,
            };
        }
        if cut.placed < cut.keys.len() {
            cut.place(request.args, looked_at);
            return next_turn;
        }
        let seq = match cut.seq {
            Some(seq) => seq,
            None if !self.upstream.routes.is_known() => {
                return self.reject(request, refusal::CLUSTER_DOWN);
            }
            None => match self.place_of_cut(request, merge, cut) {
                Some(seq) => seq,
                None => return Step::Close,
            },
        };
        cut.seq = Some(seq);
        let full = self.send_cut(request, seq, cut);
        if cut.sent == cut.parts.len() {
            return Step::Done;
        }
        match full {
            Some(backend) => self.wait_for(request.client, backend),
            None => next_turn,
        }
    }

    /// Takes the place of a request in its client's pipeline, with all parts, none of them sent.
    fn place_of_cut(&mut self, request: &Request<'_>, merge: Merge, cut: &mut Cut) -> Option<Seq> {
        let client = self.clients.get_mut(request.client)?;
        let write = request.command.flags.contains(Flags::WRITE);
        let mut split = Split::with_capacity(merge, write, cut.parts.len());
        for (slot, _) in &cut.parts {
            split.add_at(*slot, At::Here);
        }
        split.set_order(std::mem::take(&mut cut.order));
        let seq = client
            .pipeline
            .push_split(request.command.id, Box::new(split), request.now);
        self.count_cut(request.command, cut.parts.len());
        let slots = cut.parts.iter().map(|(slot, _)| *slot);
        self.note_cut(request.client, seq, slots);
        Some(seq)
    }

    /// All keys of a request lie in one slot: it goes there as it is.
    fn send_cut_to_slot(&mut self, request: &Request<'_>, slot: Slot) -> Step {
        if let Some(client) = self.clients.get(request.client) {
            let seq = client.pipeline.tail();
            self.note_cut(request.client, seq, std::iter::once(slot.number()));
        }
        self.send_to_slot(request, slot)
    }

    /// What is counted of a request that is cut.
    pub(in crate::proxy) fn count_cut(&mut self, command: &Command, parts: usize) {
        self.stats.commands.add(1);
        self.stats.splits.add(1);
        self.insight.audit.note(command.id, Reason::Cut);
        self.stats.split_parts.add(parts as u64);
        self.stats.calls.cut(command.id, parts as u64);
    }

    /// Sends the parts of one turn. They end before one whose backend has too much to send already, which is then
    /// told.
    fn send_cut(
        &mut self,
        request: &Request<'_>,
        seq: Seq,
        cut: &mut Cut,
    ) -> Option<crate::proxy::ids::BackendId> {
        let mut frames = std::mem::take(&mut self.scratch.frames);
        let mut parts = std::mem::take(&mut self.scratch.parts);
        frames.clear();
        parts.clear();
        let count = self.config.limits.split_keys;
        cut.frames(request.args, count, &mut frames, &mut parts);
        self.find_backends(request, &mut parts);
        let full = parts.iter().enumerate().find_map(|(index, part)| {
            let full = self.full_backend_of(request.client, part, request.now)?;
            Some((index, full))
        });
        parts.truncate(full.map_or(parts.len(), |(index, _)| index));
        if let Some(client) = self.clients.get_mut(request.client) {
            for (part, own) in parts.iter().zip(cut.sent as u16..) {
                let at = part.at();
                client.pipeline.set_at(seq, own, at);
            }
        }
        self.send_slot_parts(request, seq, (&parts, cut.sent as u16), &frames);
        cut.sent += parts.len();
        (self.scratch.frames, self.scratch.parts) = (frames, parts);
        full.map(|(_, backend)| backend)
    }
}
