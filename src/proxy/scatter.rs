//! Requests in several parts: cut by slot, sent to many nodes, or asked by a plan. Each part is sent and
//! held like a request of its own; below the merge nothing knows that it is a part.

use crate::clock::Time;
use crate::cluster::slot::Slot;
use crate::command::{Class, Command, Flags, ResponsePolicy};
use crate::proxy::backend::{Origin, Pin, Ticket};
use crate::proxy::client::{ClientId, Pause};
use crate::proxy::dispatch::Step;
use crate::proxy::insight::audit::Reason;
use crate::proxy::merge::{Merge, Split};
use crate::proxy::pipeline::{At, Seq};
use crate::proxy::plan::{Ask, Plan};
use crate::proxy::retry::Goal;
use crate::proxy::upstream::Target;
use crate::proxy::{NO_SLOT, Proxy, refusal, texts};
use crate::resp::args::Args;
use crate::resp::encode;
use crate::resp::reply::Reply;

impl Proxy {
    /// Cuts a request by slot: one node would answer CROSSSLOT even for two slots of its own.
    pub(super) fn split(
        &mut self,
        id: ClientId,
        command: &Command,
        policy: ResponsePolicy,
        keys: &[u32],
        args: &Args<'_>,
        now: Time,
    ) -> Step {
        if !self.upstream.routes.is_known() {
            return self.reject(id, command, refusal::CLUSTER_DOWN, now);
        }
        let by_slot = by_slot(keys, args);
        let stride = keys.get(1).map_or(1, |second| (second - keys[0]) as usize);
        let mut split = Split::new(merge_of(policy), command.flags.contains(Flags::WRITE));
        let mut order = vec![0u16; keys.len()];
        let mut frames = std::mem::take(&mut self.scratch.frames);
        frames.clear();
        let mut parts = Vec::new();
        for group in by_slot.chunk_by(|a, b| a.0 == b.0) {
            let part = split.add(group[0].0);
            let start = frames.len();
            encode::array(&mut frames, 1 + group.len() * stride);
            encode::bulk(&mut frames, args.name());
            for (_, key) in group {
                order[*key as usize] = part;
                let first = keys[*key as usize] as usize;
                (first..first + stride).for_each(|at| encode::bulk(&mut frames, args.at(at)));
            }
            parts.push((group[0].0, start..frames.len()));
        }
        split.set_order(order);
        self.stats.commands.add(1);
        self.stats.splits.add(1);
        self.insight.audit.note(command.id, Reason::Cut);
        self.stats.split_parts.add(parts.len() as u64);
        self.stats.calls.cut(command.id, parts.len() as u64);
        let Some(client) = self.clients.get_mut(id) else {
            return Step::Close;
        };
        let seq = client.pipeline.push_split(command.id, Box::new(split), now);
        for (part, (slot, range)) in parts.into_iter().enumerate() {
            let target = PartTarget::Slot(slot);
            self.send_part(id, command, seq, part as u16, target, &frames[range], now);
        }
        self.scratch.frames = frames;
        Step::Done
    }

    /// Sends a request as it is to every master, or to every node. Masters with slots must answer; any other
    /// node that is not there is left out.
    pub(super) fn broadcast(
        &mut self,
        id: ClientId,
        command: &Command,
        policy: ResponsePolicy,
        replicas: bool,
        args: &Args<'_>,
        now: Time,
    ) -> Step {
        let merge = match policy {
            ResponsePolicy::Special => {
                return self.reject(id, command, &texts::not_yet(command), now);
            }
            ResponsePolicy::Default => Merge::Concat,
            other => merge_of(other),
        };
        self.broadcast_with(id, command, merge, replicas, args, now)
    }

    /// Sends a request as it is to every master, or to every node; their answers become one by `merge`.
    pub(super) fn broadcast_with(
        &mut self,
        id: ClientId,
        command: &Command,
        merge: Merge,
        replicas: bool,
        args: &Args<'_>,
        now: Time,
    ) -> Step {
        let everyone = self.upstream.routes.everyone(command, replicas);
        let plan = Plan {
            asks: everyone
                .map(|asked| Ask::each(asked, args.frame().to_vec()))
                .collect(),
            merge,
            write: command.flags.contains(Flags::WRITE),
        };
        self.carry_out(id, command, plan, now)
    }

    #[allow(clippy::too_many_arguments)]
    fn send_part(
        &mut self,
        id: ClientId,
        command: &Command,
        seq: Seq,
        part: u16,
        to: PartTarget,
        frame: &[u8],
        now: Time,
    ) {
        let readonly = command.flags.contains(Flags::READONLY);
        let affinity = id.key() as usize;
        let (slot, target, goal) = match to {
            PartTarget::Slot(slot) => {
                let preference = self.config.read_preference;
                let target = Slot::new(slot).and_then(|slot| {
                    self.upstream
                        .target(slot, command.on_replicas, preference, affinity, now)
                });
                (slot, target, Goal::Owner)
            }
            PartTarget::Node(target, _) => (NO_SLOT, Some(target), Goal::Node(target.node)),
            PartTarget::AnyMaster => (NO_SLOT, self.upstream.any_master(affinity), Goal::AnyMaster),
        };
        let mut ticket = Ticket {
            origin: Origin::Part {
                client: id,
                seq,
                part,
            },
            slot,
            command: command.id,
            len: frame.len() as u32,
            redirects: 0,
            tries: 0,
            losses: 0,
            readonly,
            pin: match to {
                PartTarget::Node(_, pin) => pin,
                PartTarget::Slot(_) | PartTarget::AnyMaster => Pin::Free,
            },
            healed: false,
            held_since: None,
            sent_at: now,
        };
        if self.upstream.fails_fast(slot, now) {
            return self.answer_error(id, seq, part, refusal::SLOT_NOT_SERVED.as_bytes(), now);
        }
        let Some(client) = self.clients.get_mut(id) else {
            return;
        };
        let dialect = client.session.dialect();
        let orderly = client.is_calm(self.upstream.routes.version()) || slot == NO_SLOT;
        let (config, actions) = (&self.config, &mut self.actions);
        let backend = target
            .and_then(|target| {
                let upstream = &mut self.upstream;
                if is_urgent(command) {
                    upstream.urgent_backend(target, dialect, config, actions, now)
                } else {
                    upstream.backend(target, dialect, affinity, config, actions, now)
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
                    client.pipeline.set_at(seq, part, At::Backend(backend));
                }
                let (pool, actions) = (&mut self.pool, &mut self.actions);
                self.upstream.send(backend, frame, ticket, pool, actions);
            }
            None => {
                self.hold(ticket, frame, goal, now, b"", now);
                self.release_held(id, now);
            }
        }
    }

    /// Asks whom a plan names; the answers become the reply.
    pub(super) fn carry_out(
        &mut self,
        id: ClientId,
        command: &Command,
        plan: Plan,
        now: Time,
    ) -> Step {
        let nodes = plan.asks.iter().any(|ask| !matches!(ask, Ask::Workers(_)));
        let each = |ask: &Ask| matches!(ask, Ask::Node(..) | Ask::IfUp(..));
        if plan.asks.iter().any(each) || matches!(command.class, Class::Scan) {
            self.insight.audit.note(command.id, Reason::AllNodes);
        }
        if plan.asks.is_empty() || (nodes && !self.upstream.routes.is_known()) {
            return self.reject(id, command, refusal::CLUSTER_DOWN, now);
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
        Step::Done
    }

    /// A request whose parts have led to further questions asks them.
    pub(super) fn ask_next(&mut self, id: ClientId, now: Time) {
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
                Ask::Node(..) | Ask::IfUp(..) | Ask::AnyMaster(_) => split.add_parts(NO_SLOT, 1),
                Ask::Workers(_) => split.add_parts(NO_SLOT, self.process.workers.len()),
            }
        }
        self.stats.split_parts.add(split.len() as u64);
        (Box::new(split), plan.asks)
    }

    /// Asks for the parts of the request at `seq`.
    fn ask(&mut self, id: ClientId, command: &Command, seq: Seq, asks: &[Ask], now: Time) {
        let mut part = 0;
        for ask in asks {
            let (target, frame) = match ask {
                Ask::Node(target, frame) => (PartTarget::Node(*target, Pin::Must), frame),
                Ask::IfUp(target, frame) => (PartTarget::Node(*target, Pin::May), frame),
                Ask::Slot(slot, frame) => (PartTarget::Slot(*slot), frame),
                Ask::AnyMaster(frame) => (PartTarget::AnyMaster, frame),
                Ask::Workers(question) => {
                    self.ask_workers(id, seq, part, question, now);
                    part += self.process.workers.len() as u16;
                    continue;
                }
            };
            self.send_part(id, command, seq, part, target, frame, now);
            part += 1;
        }
    }

    /// A request whose keys only a server can find: one is asked where they are, then the request goes there.
    /// Nothing behind it is taken until it is answered, since its slot is not known.
    #[cold]
    pub(super) fn find_keys(
        &mut self,
        id: ClientId,
        command: &Command,
        args: &Args<'_>,
        now: Time,
    ) -> Step {
        let alone = self.clients.get(id);
        if alone.is_some_and(|client| !client.pipeline.is_empty()) {
            return Step::Wait(Pause::Barrier);
        }
        let mut question = Vec::new();
        encode::array(&mut question, args.len() + 2);
        encode::bulk(&mut question, b"COMMAND");
        encode::bulk(&mut question, b"GETKEYS");
        args.from(0)
            .for_each(|arg| encode::bulk(&mut question, arg));
        let (frame, write) = (
            args.frame().to_vec(),
            !command.flags.contains(Flags::READONLY),
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
        match self.carry_out(id, command, plan, now) {
            Step::Done => Step::Alone,
            other => other,
        }
    }
}

/// SCRIPT KILL and FUNCTION KILL: they must not wait for what they are to end.
fn is_urgent(command: &Command) -> bool {
    command.response == ResponsePolicy::OneSucceeded && command.flags.contains(Flags::ALLOW_BUSY)
}

/// Where a part goes.
#[derive(Clone, Copy)]
enum PartTarget {
    Slot(u16),
    Node(Target, Pin),
    AnyMaster,
}

/// The keys with their slots, slot by slot, each slot's keys in their order.
fn by_slot(keys: &[u32], args: &Args<'_>) -> Vec<(u16, u32)> {
    let mut by_slot: Vec<(u16, u32)> = keys
        .iter()
        .zip(0..)
        .map(|(index, key)| (Slot::of(args.at(*index as usize)).number(), key))
        .collect();
    by_slot.sort_unstable();
    by_slot
}

pub(super) fn merge_of(policy: ResponsePolicy) -> Merge {
    match policy {
        ResponsePolicy::Default => Merge::Gather,
        ResponsePolicy::OneSucceeded => Merge::OneSucceeded,
        ResponsePolicy::AllSucceeded => Merge::AllSucceeded,
        ResponsePolicy::AggLogicalAnd => Merge::And,
        ResponsePolicy::AggLogicalOr => Merge::Or,
        ResponsePolicy::AggMin => Merge::Min,
        ResponsePolicy::AggMax => Merge::Max,
        ResponsePolicy::AggSum => Merge::Sum,
        ResponsePolicy::Special => Merge::Concat,
    }
}
