//! Requests between MULTI and EXEC. Each is queued at its node; or here, if the proxy answers it (see `execution`);
//! or both, if it is for all nodes; or it is refused, which makes EXEC fail.

use crate::cluster::request_slots::{self, Place};
use crate::command::{
    Class, Command, Flags, InMulti, KeysError, LeaseKind, ResponsePolicy, Runs, Verb,
};
use crate::config::PubsubOrder;
use crate::proxy::client::step::Step;
use crate::proxy::client::{Client, Stall};
use crate::proxy::ids::{ClientId, NO_SLOT};
use crate::proxy::lease::state::run::{Line, Owed, Run};
use crate::proxy::lease::state::transaction::{Item, OK, Own, Parts, QUEUED, Transaction};
use crate::proxy::lease::state::{Lease, Next, Work};
use crate::proxy::local::Handler;
use crate::proxy::pipeline::At;
use crate::proxy::pipeline::by_slot::parts_by_slot;
use crate::proxy::pipeline::merge::Merge;
use crate::proxy::pipeline::split::Split;
use crate::proxy::pubsub::state::kind::Kind;
use crate::proxy::request::Request;
use crate::proxy::state::Proxy;
use crate::proxy::texts::{self, refusal};
use crate::resp::args::Args;

/// Slots that a transaction may have parts in: each takes a connection of its own.
const RUNS_MAX: usize = 1024;

/// Who will answer a queued request.
enum Where {
    /// The node of this slot, or of [`NO_SLOT`].
    Node(u16),
    /// The nodes of its keys' slots; their replies become one so.
    Nodes(ResponsePolicy),
    /// The transaction's node and the proxy, which sees to the others.
    All,
    /// The proxy.
    Here,
}

impl Where {
    /// In how many copies a request is kept until EXEC.
    fn copies(&self) -> usize {
        match self {
            Where::Node(_) | Where::Nodes(_) | Where::Here => 1,
            Where::All => 2,
        }
    }
}

impl Proxy {
    /// One request of a client that has said MULTI.
    #[cold]
    #[inline(never)]
    pub(in crate::proxy) fn perform_queueing(&mut self, request: &Request<'_>) -> Step {
        // As on one server, what a pause holds is not queued either.
        if self.process.watchers.any() && self.is_held(request) {
            return Step::Wait(Stall::ClientPause);
        }
        let step = self.queueing(request);
        if self.process.watchers.any() && !matches!(step, Step::Wait(_)) {
            self.show(request);
        }
        step
    }

    fn queueing(&mut self, request: &Request<'_>) -> Step {
        let &Request {
            client: id,
            command,
            now,
            ..
        } = request;
        let busy = self.clients.get(id).is_none_or(|c| !c.pipeline.is_empty());
        let verb = match command.class {
            Class::Leased(LeaseKind::Transaction(verb)) => Some(verb),
            _ => None,
        };
        match verb {
            Some(Verb::Multi | Verb::Watch) if self.is_never_queued(command) => {
                self.reject(request, &self.never_queued(command))
            }
            Some(Verb::Multi) => self.fail_inside(request, texts::NESTED_MULTI),
            Some(Verb::Watch) => self.fail_inside(request, texts::WATCH_INSIDE_MULTI),
            Some(Verb::Exec) => self.exec(request),
            Some(Verb::Discard) if busy => Step::Wait(Stall::Barrier),
            Some(Verb::Discard) => {
                self.end_lease(id, now);
                self.say(request, OK);
                Step::Done
            }
            None if command.in_multi == InMulti::AtOnce => {
                if busy {
                    return Step::Wait(Stall::Barrier);
                }
                self.end_lease(id, now);
                self.perform_apart(request)
            }
            Some(Verb::Unwatch) | None => self.queue(request),
        }
    }

    fn queue(&mut self, request: &Request<'_>) -> Step {
        let &Request {
            client: id,
            command,
            args,
            now,
        } = request;
        let logs_in = |handler: Handler| handler.logs_in.is_some();
        if self.namespaces.has_users() && self.handlers.get(command.id).is_some_and(logs_in) {
            return self.reject(request, texts::NO_LOGIN_INSIDE_MULTI);
        }
        let per_slot = self.has_parts(id);
        let place = match self.place_inside(command, args, per_slot) {
            Ok(place) => place,
            Err(text) => return self.reject(request, &text),
        };
        let Some(mut lease) = self.take_lease(id) else {
            return Step::Close;
        };
        lease.active_at = now;
        let Work::Transaction(transaction) = &mut lease.work else {
            debug_assert!(false, "a blocked client asks for more");
            return Step::Close;
        };
        let fails = transaction.fails_already();
        if !fails {
            transaction.count_queued(args.frame().len(), place.copies());
        }
        self.will_look_at_memory_after(args.frame().len());
        if let Some(step) = self.refuse_too_large(request, &mut lease) {
            self.put_lease(id, lease, Next::Keep, now);
            return step;
        }
        let Work::Transaction(transaction) = &mut lease.work else {
            return Step::Close;
        };
        let own = || Own {
            row: command.id,
            frame: args.frame().to_vec(),
        };
        match self.function_of(command, args) {
            _ if fails => {}
            Some(name) => transaction.functions.push((name, command.may_replicate())),
            None => transaction.writes |= self.may_write(command, args),
        }
        let (slot, is_share) = match place {
            _ if fails => return self.queued_here(request, lease),
            Where::Node(slot) => (slot, false),
            Where::All => (NO_SLOT, true),
            Where::Nodes(policy) => {
                return self.queue_parts(request, policy, lease);
            }
            Where::Here => {
                transaction.items.push(Item::Own(own()));
                return self.queued_here(request, lease);
            }
        };
        // What is watched may lie in other slots of the node than what is queued.
        let run = &mut lease.runs[0];
        if transaction.watching && !run.is_open() && slot != NO_SLOT && self.serves(run, slot) {
            run.slot = slot;
        }
        let Some(index) = run_of(&mut lease.runs, slot, per_slot) else {
            if per_slot {
                self.put_lease(id, lease, Next::Keep, now);
                return self.reject(request, texts::TOO_MANY_SLOTS);
            }
            transaction.crossed = true;
            return self.queued_here(request, lease);
        };
        let run = &mut lease.runs[usize::from(index)];
        let needs_node = run.backend.is_none() && run.due.is_none() && run.slot != NO_SLOT;
        if needs_node && self.upstream.fails_fast_exclusive(run.slot, now) {
            let text = self.upstream.unserved(run.slot);
            self.put_lease(id, lease, Next::Keep, now);
            return self.reject(request, &text);
        }
        if transaction.channel.is_none() {
            transaction.channel = match (command.class, command.runs) {
                (Class::Publish, _) => Some(args.at(1).to_vec()),
                (_, Runs::Nothing) => None,
                // It may publish, too.
                _ if self.config.pubsub_order == PubsubOrder::All => Some(Vec::new()),
                _ => None,
            };
        }
        transaction
            .items
            .push(match Kind::published_by(&command.name) {
                _ if is_share => Item::Share(own()),
                Some(kind) => Item::Publish(index, kind, args.at(1).to_vec()),
                None => Item::Run(index),
            });
        run.open();
        let mut line = Line::new(args.frame().to_vec(), command.id, Owed::Nobody);
        let room = self.config.limits.transaction_bytes - transaction.bytes;
        if let Some(frame) = self.with_script(transaction, index, command, args, room) {
            transaction.bytes += frame.len();
            line.by_name = Some(std::mem::replace(&mut line.frame, frame));
        }
        if run.slot == NO_SLOT {
            // No key has said yet where it goes.
            run.lines.push(line);
            return self.queued_here(request, lease);
        }
        let seq = self.take_place(request, run.slot, At::Held);
        line.owed = Owed::Queued(seq, 0);
        let next = self.add(id, &mut lease, index, line, now);
        self.put_lease(id, lease, next, now);
        Step::Done
    }

    /// Whether a request is one too many, by what is queued and watched with it: nothing of that is kept then, and EXEC will
    /// fail. A client that has more in all than may wait to be executed is closed.
    pub(super) fn refuse_too_large(
        &mut self,
        request: &Request<'_>,
        lease: &mut Lease,
    ) -> Option<Step> {
        let Work::Transaction(transaction) = &lease.work else {
            return None;
        };
        let (id, now) = (request.client, request.now);
        let behind = self.clients.get(id).map_or(0, Client::unexecuted_bytes);
        if transaction.bytes + behind > self.config.limits.request_bytes {
            self.let_queue_go(id, lease, now);
            self.close_unread(id, now);
            return Some(Step::Close);
        }
        if transaction.bytes > self.config.limits.transaction_bytes {
            self.let_queue_go(id, lease, now);
            return Some(self.reject(request, texts::TRANSACTION_TOO_LARGE));
        }
        None
    }

    /// A request whose keys lie in several slots, where a transaction may have parts.
    fn queue_parts(
        &mut self,
        request: &Request<'_>,
        policy: ResponsePolicy,
        mut lease: Box<Lease>,
    ) -> Step {
        let &Request {
            client: id,
            command,
            args,
            now,
        } = request;
        let (parts, order) = parts_by_slot(&self.scratch.keys, args);
        let Work::Transaction(transaction) = &mut lease.work else {
            return Step::Close;
        };
        let unserved = |(slot, _): &(u16, Vec<u8>)| self.upstream.fails_fast_exclusive(*slot, now);
        let mut indexes = Vec::with_capacity(parts.len());
        let text = if parts.iter().any(unserved) {
            refusal::SLOT_NOT_SERVED
        } else {
            let own = |(slot, _): &(u16, Vec<u8>)| run_of(&mut lease.runs, *slot, true);
            indexes.extend(parts.iter().map_while(own));
            texts::TOO_MANY_SLOTS
        };
        if indexes.len() < parts.len() {
            self.put_lease(id, lease, Next::Keep, now);
            return self.reject(request, text);
        }
        transaction.items.push(Item::Cut(Parts {
            policy,
            write: command.flags.contains(Flags::WRITE),
            runs: indexes.clone(),
            order,
        }));
        let mut split = Split::new(Merge::AllSucceeded, false);
        parts.iter().for_each(|(slot, _)| {
            split.add(*slot);
        });
        self.stats.commands.add(1);
        let Some(client) = self.clients.get_mut(id) else {
            self.put_lease(id, lease, Next::End, now);
            return Step::Close;
        };
        let seq = client.pipeline.push_split(command.id, Box::new(split), now);
        let mut next = Next::Keep;
        for ((index, (_, frame)), part) in indexes.into_iter().zip(parts).zip(0..) {
            lease.runs[usize::from(index)].open();
            let line = Line::new(frame, command.id, Owed::Queued(seq, part));
            next = self.add(id, &mut lease, index, line, now);
        }
        self.put_lease(id, lease, next, now);
        Step::Done
    }

    /// A request that names a script, with the script itself; the first such one of a run, if there is room.
    fn with_script(
        &self,
        transaction: &mut Transaction,
        index: u16,
        command: &Command,
        args: &Args<'_>,
        room: usize,
    ) -> Option<Vec<u8>> {
        let Runs::NamedScript(command) = command.runs else {
            return None;
        };
        let name = (index, args.at(1).to_ascii_lowercase());
        if transaction.scripts.contains(&name) {
            return None;
        }
        let frame = self
            .spelled_out(command, args)
            .filter(|frame| frame.len() <= room)?;
        transaction.scripts.push(name);
        Some(frame)
    }

    /// The proxy itself says that a request is queued.
    fn queued_here(&mut self, request: &Request<'_>, lease: Box<Lease>) -> Step {
        self.put_lease(request.client, lease, Next::Keep, request.now);
        self.say(request, QUEUED);
        Step::Done
    }

    /// Whether this client's transaction may have parts in several slots. What is watched decides over all of it, so it
    /// has none behind WATCH.
    fn has_parts(&self, id: ClientId) -> bool {
        let lease = self.clients.get(id).and_then(|c| c.lease.as_ref());
        let watching = lease.is_some_and(|lease| lease.work.is_watching());
        self.config.cross_slot_transactions.is_per_slot() && !watching
    }

    /// Whether the servers refuse to queue a command, and discard the transaction. (MULTI and WATCH are such commands for
    /// some servers only.)
    fn is_never_queued(&self, command: &Command) -> bool {
        let known = self.servers.known.as_ref();
        let said = known.map_or(command, |known| known.said(command));
        [command, said]
            .iter()
            .any(|row| row.flags.contains(Flags::NO_MULTI))
    }

    /// What the servers say of it.
    fn never_queued(&self, command: &Command) -> String {
        match self.servers.kind.own_name {
            true => texts::never_queued(command),
            false => texts::NOT_INSIDE_MULTI.to_string(),
        }
    }

    /// Who is to answer a request between MULTI and EXEC, in several slots if need be with `per_slot`; or why nobody can.
    fn place_inside(
        &mut self,
        command: &Command,
        args: &Args<'_>,
        per_slot: bool,
    ) -> Result<Where, String> {
        if self.is_never_queued(command) {
            return Err(self.never_queued(command));
        }
        match command.class {
            Class::Local | Class::Refused(_) | Class::Scan | Class::Subscription => {
                match self.handlers.get(command.id) {
                    Some(_) => Ok(Where::Here),
                    None => Err(texts::unserved(command)),
                }
            }
            Class::AllMasters(policy) | Class::AllNodes(policy) => {
                // What ends a script must not wait for it; and between transactions in several slots there is no
                // place for it.
                let apart = policy == ResponsePolicy::Special
                    || command.flags.contains(Flags::ALLOW_BUSY)
                    || per_slot;
                Ok(if apart { Where::Here } else { Where::All })
            }
            // A message needs no slot: it goes by whatever node the transaction is at.
            Class::AnyNode
            | Class::Publish
            | Class::Leased(LeaseKind::Transaction(_) | LeaseKind::Wait) => {
                Ok(Where::Node(NO_SLOT))
            }
            Class::Routed | Class::Split(_) | Class::Leased(LeaseKind::Blocking) => {
                let mut keys = std::mem::take(&mut self.scratch.keys);
                let place = request_slots::place(command, args, &mut keys);
                self.scratch.keys = keys;
                match place {
                    Place::One(slot) => Ok(Where::Node(slot.number())),
                    Place::Many => match command.class {
                        Class::Split(policy) if per_slot => Ok(Where::Nodes(policy)),
                        _ => Err(refusal::CROSS_SLOT.into()),
                    },
                    // What is wrong with the keys, the node says.
                    Place::Keyless | Place::Invalid(KeysError::Invalid) => Ok(Where::Node(NO_SLOT)),
                    // It is queued, and EXEC has the error in its place.
                    Place::Invalid(KeysError::Unbalanced) => Ok(Where::Here),
                    Place::Invalid(KeysError::Unknown) => Err(texts::not_inside(command)),
                }
            }
        }
    }
}

/// The run for a request of `slot`, made if need be; nothing if that would be a second one and there may be
/// no second.
fn run_of(runs: &mut Vec<Run>, slot: u16, per_slot: bool) -> Option<u16> {
    debug_assert!(!runs.is_empty());
    if slot == NO_SLOT {
        return Some(0);
    }
    if runs[0].slot == NO_SLOT {
        runs[0].set_slot(slot);
        return Some(0);
    }
    let known = runs.iter().position(|run| run.slot == slot);
    match known {
        Some(index) => Some(index as u16),
        None if per_slot && runs.len() < RUNS_MAX => {
            runs.push(Run::new(slot));
            Some(runs.len() as u16 - 1)
        }
        None => None,
    }
}
