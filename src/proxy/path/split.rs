//! Requests in several parts: split by slot, sent to many nodes, or made by a plan. Each part is sent and held like a
//! request of its own; nothing below the merge knows that it is a part.

use crate::clock::Time;
use crate::cluster::slot::Slot;
use crate::command::{Class, Command, Flags, ResponsePolicy};
use crate::config::ReadPreference;
use crate::proxy::client::held::Retry;
use crate::proxy::client::step::Step;
use crate::proxy::client::{Client, Stall};
use crate::proxy::ids::{BackendId, ClientId, NO_SLOT, PartId, Seq};
use crate::proxy::insight::audit::Reason;
use crate::proxy::pipeline::At;
use crate::proxy::pipeline::by_slot::{
    MANY_KEYS, PartTarget, SlotPart, is_urgent, merge_of, push_part, runs_alone, sort_by_slot,
    ticket,
};
use crate::proxy::pipeline::merge::Merge;
use crate::proxy::pipeline::plan::{Ask, Plan};
use crate::proxy::pipeline::split::Split;
use crate::proxy::request::Request;
use crate::proxy::state::Proxy;
use crate::proxy::texts::{self, refusal};
use crate::proxy::upstream::Target;
use crate::proxy::upstream::backend::{Origin, Pin, Ticket};
use crate::proxy::upstream::goal::Goal;
use crate::resp::encode;
use crate::resp::reply::Reply;

impl Proxy {
    /// Cuts a request by slot: one node would answer CROSSSLOT even for two slots of its own.
    pub(in crate::proxy) fn split(
        &mut self,
        request: &Request<'_>,
        policy: ResponsePolicy,
        keys: &[u32],
    ) -> Step {
        let &Request {
            client: id,
            command,
            args,
            now,
        } = request;
        if !self.upstream.routes.is_known() {
            return self.reject(request, refusal::CLUSTER_DOWN);
        }
        let mut by_slot = std::mem::take(&mut self.scratch.by_slot);
        let mut frames = std::mem::take(&mut self.scratch.frames);
        let mut parts = std::mem::take(&mut self.scratch.parts);
        sort_by_slot(keys, args, &mut by_slot);
        frames.clear();
        parts.clear();
        if keys.len() >= MANY_KEYS {
            let bytes = args.frame().len();
            self.largest.request(command.id, bytes, keys.len(), now);
        }
        let merge = merge_of(policy);
        let mut order = match merge {
            Merge::Gather => vec![0u16; keys.len()],
            _ => Vec::new(),
        };
        for group in by_slot.chunk_by(|a, b| a.0 == b.0) {
            for (_, key) in group {
                if let Some(own) = order.get_mut(*key as usize) {
                    *own = parts.len() as u16;
                }
            }
            let start = frames.len();
            push_part(keys, args, group, &mut frames);
            parts.push(SlotPart::new(group[0].0, start..frames.len()));
        }
        self.find_backends(request, &mut parts);
        let full = parts
            .iter()
            .find_map(|part| self.full_backend_of(id, part, now));
        let beyond = parts.iter().find_map(|part| {
            let own = part
                .backend
                .or_else(|| self.backend_of(id, part.slot, now))?;
            self.beyond_credit(id, own)
        });
        let step = if let Some(full) = full {
            self.wait_for(id, full)
        } else if let Some(step) = beyond {
            step
        } else if let Some(client) = self.clients.get_mut(id) {
            let write = command.flags.contains(Flags::WRITE);
            let mut split = Split::with_capacity(merge, write, parts.len());
            for part in &parts {
                split.add_at(part.slot, part.at());
            }
            split.set_order(order);
            let seq = client.pipeline.push_split(command.id, Box::new(split), now);
            self.count_cut(command, parts.len());
            self.send_slot_parts(request, seq, (&parts, 0), &frames);
            Step::Done
        } else {
            Step::Close
        };
        (
            self.scratch.by_slot,
            self.scratch.frames,
            self.scratch.parts,
        ) = (by_slot, frames, parts);
        step
    }

    /// Finds the backend of each part that can go at once, if nothing is to be looked at before: as with plain
    /// requests.
    pub(in crate::proxy) fn find_backends(
        &mut self,
        request: &Request<'_>,
        parts: &mut [SlotPart],
    ) {
        let Some(client) = self.clients.get_mut(request.client) else {
            return;
        };
        let dialect = client.session.dialect();
        let upstream = &mut self.upstream;
        let plain = client.is_calm(upstream.routes.version())
            && dialect.is_common()
            && client.session.read_preference().is_none()
            && !upstream.any_failing();
        if plain {
            let affinity = request.client.key() as usize;
            // As in `may_ask_replicas`.
            let reads = request.command.on_replicas && client.lease.is_none();
            for part in parts {
                let found = Slot::new(part.slot).and_then(|slot| {
                    let (protocol, config) = (dialect.protocol, &self.config);
                    upstream.at_hand(slot, reads, protocol, affinity, config, request.now)
                });
                part.backend = found.map(|(backend, _)| backend);
                part.replica = found.is_some_and(|(_, replica)| replica);
            }
        }
    }

    /// The backend of a part, if it has too much to send already.
    pub(in crate::proxy) fn full_backend_of(
        &mut self,
        id: ClientId,
        part: &SlotPart,
        now: Time,
    ) -> Option<BackendId> {
        let own = part.backend.or_else(|| self.backend_of(id, part.slot, now));
        own.filter(|backend| self.is_over_mark(*backend))
    }

    /// The connection on which a request for `slot` reaches its master, if there is one.
    fn backend_of(&mut self, id: ClientId, slot: u16, now: Time) -> Option<BackendId> {
        let dialect = self.clients.get(id)?.session.dialect();
        let (slot, affinity) = (Slot::new(slot)?, id.key() as usize);
        if self.upstream.aside > 0 {
            let preference = ReadPreference::Master;
            let target = self
                .upstream
                .target(slot, false, preference, affinity, now)?;
            if let Some(own) = self.stays_at(id, target, dialect) {
                return Some(own);
            }
        }
        let upstream = &self.upstream;
        let found = upstream.existing(slot, false, dialect, affinity, &self.config, now)?;
        Some(found.0)
    }

    /// Sends parts of a request that was cut by slot, of which the first has this number.
    pub(in crate::proxy) fn send_slot_parts(
        &mut self,
        request: &Request<'_>,
        seq: Seq,
        (parts, first): (&[SlotPart], u16),
        frames: &[u8],
    ) {
        let &Request {
            client: id,
            command,
            now,
            ..
        } = request;
        let (mut sent, mut replica_reads) = (0, 0);
        for (own, index) in parts.iter().zip(first..) {
            let part = PartId::new(id, seq, index);
            let frame = &frames[own.frame.clone()];
            let Some(backend) = own.backend else {
                let target = PartTarget::Slot(own.slot);
                self.send_part(part, command, target, frame, now);
                continue;
            };
            let ticket = Ticket {
                tries: 1,
                ..ticket(
                    Origin::Part(part),
                    own.slot,
                    command,
                    frame.len(),
                    Pin::Free,
                    now,
                )
            };
            let (pool, actions) = (&mut self.pool, &mut self.actions);
            self.upstream.send(backend, frame, ticket, pool, actions);
            sent += 1;
            replica_reads += u64::from(own.replica);
        }
        self.stats.backend_requests.add(sent);
        self.stats.replica_reads.add(replica_reads);
    }

    /// Sends a request as it is to every master, or to every node (see `routes::everyone`).
    pub(in crate::proxy) fn broadcast(
        &mut self,
        request: &Request<'_>,
        policy: ResponsePolicy,
        replicas: bool,
    ) -> Step {
        let merge = match policy {
            ResponsePolicy::Special => {
                return self.reject(request, &texts::not_yet(request.command));
            }
            ResponsePolicy::Default => Merge::Concat,
            other => merge_of(other),
        };
        self.broadcast_with(request, merge, replicas)
    }

    /// Sends a request as it is to every master, or to every node; their answers become one by `merge`.
    pub(in crate::proxy) fn broadcast_with(
        &mut self,
        request: &Request<'_>,
        merge: Merge,
        replicas: bool,
    ) -> Step {
        let client = self.clients.get(request.client);
        let alone = |client: &Client| client.pipeline.is_empty() || client.execution.is_some();
        if runs_alone(request.command) && !client.is_some_and(alone) {
            return Step::Wait(Stall::Barrier);
        }
        // The node of a transaction has executed it with the transaction.
        let (done, known) = match self.take_share(request.client) {
            Some((executor, reply)) => (Some(executor), Some(Ask::Known(reply, executor.shard))),
            None => (None, None),
        };
        let everyone = self.upstream.routes.everyone(request.command, replicas);
        let others = everyone.filter(|asked| {
            done.is_none_or(|executor| !self.upstream.routes.answers_for(executor, *asked))
        });
        let others = others.map(|asked| Ask::each(asked, request.args.frame().to_vec()));
        let plan = Plan {
            asks: known.into_iter().chain(others).collect(),
            merge,
            write: request.command.flags.contains(Flags::WRITE),
        };
        self.carry_out(request, plan)
    }

    /// Sends one part of a request, or holds it.
    pub(in crate::proxy) fn send_part(
        &mut self,
        part: PartId,
        command: &Command,
        to: PartTarget,
        frame: &[u8],
        now: Time,
    ) {
        let id = part.client;
        let affinity = id.key() as usize;
        let (slot, target, goal, pin) = match to {
            PartTarget::Slot(slot) => {
                let preference = self.read_preference(id);
                let reads = self.may_ask_replicas(id, command);
                let target = Slot::new(slot)
                    .and_then(|slot| self.upstream.target(slot, reads, preference, affinity, now));
                (slot, target, Goal::Owner, Pin::Free)
            }
            PartTarget::Node(target, pin) => (NO_SLOT, Some(target), Goal::Node(target.node), pin),
            PartTarget::Shard(id) => {
                let target = self.shard_target_of(part.client, command, id, now);
                (NO_SLOT, target, Goal::Shard(id), Pin::Shard(id))
            }
            PartTarget::AnyMaster => {
                let target = self.upstream.any_master(affinity);
                (NO_SLOT, target, Goal::AnyMaster, Pin::Free)
            }
        };
        let mut ticket = ticket(Origin::Part(part), slot, command, frame.len(), pin, now);
        let to_replica = target.is_some_and(|target| target.replica);
        let scope = ticket.scope().filter(|_| !to_replica);
        if scope.is_some_and(|scope| self.upstream.fails_fast(scope, now)) {
            let text = self.upstream.unserved(slot);
            return self.answer_error(part, text.as_bytes(), now);
        }
        let Some(client) = self.clients.get_mut(id) else {
            return;
        };
        let dialect = client.session.dialect();
        let orderly = client.is_calm(self.upstream.routes.version()) || slot == NO_SLOT;
        let backend = target
            .and_then(|target| {
                if is_urgent(command) {
                    let (config, actions) = (&self.config, &mut self.actions);
                    self.upstream
                        .urgent_backend(target, dialect, config, actions, now)
                } else {
                    self.shared_for(id, target, dialect, now)
                }
            })
            .filter(|backend| orderly || self.may_follow(id, slot, *backend));
        match backend {
            Some(backend) => {
                ticket.tries = 1;
                self.stats.backend_requests.add(1);
                self.stats
                    .replica_reads
                    .add(u64::from(target.is_some_and(|target| target.replica)));
                if let Some(client) = self.clients.get_mut(id) {
                    client
                        .pipeline
                        .set_at(part.seq, part.index, At::Backend(backend));
                }
                self.send_vouched(backend, frame, ticket);
            }
            None => {
                self.hold(ticket, frame, Retry::at_once(goal, now), now);
                self.release_held(id, slot, now);
            }
        }
    }

    /// Asks whom a plan names; the answers become the reply.
    pub(in crate::proxy) fn carry_out(&mut self, request: &Request<'_>, plan: Plan) -> Step {
        let &Request {
            client: id,
            command,
            now,
            ..
        } = request;
        let ours = |ask: &Ask| matches!(ask, Ask::Workers(_) | Ask::Outside(_));
        let nodes = plan.asks.iter().any(|ask| !ours(ask));
        let each = |ask: &Ask| !matches!(ask, Ask::Slot(..) | Ask::AnyMaster(_)) && !ours(ask);
        // Who asks for the state of the whole is to find what it did before, and nothing of what it does behind.
        let alone = |ask: &Ask| matches!(ask, Ask::Masters(_) | Ask::Shard(..));
        let alone = plan.asks.iter().any(alone) && !is_urgent(command);
        if plan.asks.iter().any(each) || matches!(command.class, Class::Scan) {
            self.insight.audit.note(command.id, Reason::AllNodes);
        }
        if plan.asks.is_empty() || (nodes && !self.upstream.routes.is_known()) {
            return self.reject(request, refusal::CLUSTER_DOWN);
        }
        let (split, asks) = self.parts_of(plan);
        self.stats.calls.cut(command.id, split.len() as u64);
        self.stats.commands.add(1);
        self.stats.splits.add(1);
        let Some(client) = self.clients.get_mut(id) else {
            return Step::Close;
        };
        let seq = client.pipeline.push_split(command.id, split, now);
        self.ask(id, command, seq, &asks, now);
        if alone { Step::Alone } else { Step::Done }
    }

    /// A request whose parts have led to further questions asks them.
    pub(in crate::proxy) fn ask_next(&mut self, id: ClientId, now: Time) {
        let next = self.clients.get_mut(id);
        let Some((seq, row, plan)) = next.and_then(|client| client.pipeline.take_next()) else {
            return;
        };
        let (split, asks) = self.parts_of(plan);
        self.stats.calls.cut(row, split.len() as u64);
        debug_assert!(!asks.is_empty());
        if let Some(client) = self.clients.get_mut(id) {
            client.pipeline.renew_split(seq, *split);
        }
        let table = self.table.clone();
        self.ask(id, table.row(row), seq, &asks, now);
    }

    /// The places for the answers to a plan, and what it asks.
    fn parts_of(&self, plan: Plan) -> (Box<Split>, Vec<Ask>) {
        let mut split = Split::new(plan.merge, plan.write);
        for ask in &plan.asks {
            match ask {
                Ask::Slot(slot, _) => split.add_parts(*slot, 1),
                Ask::Shard(id, _) | Ask::Known(_, Some(id)) => {
                    split.ask_shard(*id);
                    split.add_parts(NO_SLOT, 1);
                }
                Ask::Node(..)
                | Ask::IfUp(..)
                | Ask::Member(..)
                | Ask::Spare(..)
                | Ask::AnyMaster(_)
                | Ask::Masters(_)
                | Ask::Fence(_)
                | Ask::Outside(_)
                | Ask::Known(_, None) => split.add_parts(NO_SLOT, 1),
                Ask::Workers(_) => split.add_parts(NO_SLOT, self.process.workers.len()),
            }
        }
        self.stats.split_parts.add(split.len() as u64);
        (Box::new(split), plan.asks)
    }

    /// Asks for the parts of the request at `seq`.
    fn ask(&mut self, id: ClientId, command: &Command, seq: Seq, asks: &[Ask], now: Time) {
        let mut next = 0;
        for ask in asks {
            let part = PartId::new(id, seq, next);
            let (target, frame) = match ask {
                Ask::Node(target, frame) => (PartTarget::Node(*target, Pin::Must), frame),
                Ask::IfUp(target, frame) => (PartTarget::Node(*target, Pin::May), frame),
                Ask::Member(target, frame) => (PartTarget::Node(*target, Pin::Member), frame),
                Ask::Shard(id, frame) => (PartTarget::Shard(*id), frame),
                Ask::Spare(node, frame) => {
                    let target = Target {
                        node: *node,
                        replica: false,
                    };
                    (PartTarget::Node(target, Pin::Spare), frame)
                }
                Ask::Slot(slot, frame) => (PartTarget::Slot(*slot), frame),
                Ask::AnyMaster(frame) => (PartTarget::AnyMaster, frame),
                Ask::Fence(node) => {
                    self.fence(part, *node, now);
                    next += 1;
                    continue;
                }
                Ask::Outside(answer) => {
                    self.actions.work_outside(answer.of(part));
                    next += 1;
                    continue;
                }
                Ask::Known(reply, _) => {
                    self.fulfil(part, reply, now);
                    next += 1;
                    continue;
                }
                Ask::Workers(question) => {
                    self.ask_workers(part, question, now);
                    next += self.process.workers.len() as u16;
                    continue;
                }
                Ask::Masters(findings) => {
                    self.masters_info_queue.gather(part, findings.clone());
                    next += 1;
                    continue;
                }
            };
            self.send_part(part, command, target, frame, now);
            next += 1;
        }
    }

    /// A request whose keys only a server can find: one is asked where they are, then the request goes there.
    /// Nothing behind it is taken until it is answered, since its slot is not known.
    #[cold]
    pub(in crate::proxy) fn find_keys(&mut self, request: &Request<'_>) -> Step {
        let alone = self.clients.get(request.client);
        if alone.is_some_and(|client| !client.pipeline.is_empty()) {
            return Step::Wait(Stall::Barrier);
        }
        let mut question = Vec::new();
        encode::array(&mut question, request.args.len() + 2);
        encode::bulk(&mut question, b"COMMAND");
        encode::bulk(&mut question, b"GETKEYS");
        request
            .args
            .from(0)
            .for_each(|arg| encode::bulk(&mut question, arg));
        let (frame, write) = (
            request.args.frame().to_vec(),
            !request.command.flags.contains(Flags::READONLY),
        );
        let then = move |replies: &[Reply<'_>], out: &mut Vec<u8>| {
            let keys = replies.iter().flat_map(|reply| reply.items());
            let mut slots: Vec<u16> = keys
                .filter_map(|key| Some(Slot::of(key.text()?).number()))
                .collect();
            slots.sort_unstable();
            slots.dedup();
            let ask = match slots[..] {
                [slot] => Ask::Slot(slot, frame),
                // The server finds no key, or a fault: it finds the same fault again and has the words for it.
                [] => Ask::AnyMaster(frame),
                [_, _, ..] => {
                    encode::error(out, refusal::CROSS_SLOT.as_bytes());
                    return None;
                }
            };
            Some(Plan {
                asks: vec![ask],
                merge: Merge::AllSucceeded,
                write,
            })
        };
        let plan = Plan {
            asks: vec![Ask::AnyMaster(question)],
            merge: Merge::Then(Box::new(then)),
            write: false,
        };
        match self.carry_out(request, plan) {
            Step::Done => Step::Alone,
            other => other,
        }
    }
}
