//! `Blocking`: a command that may keep its connection waiting, on a connection of its own until its reply.
//!
//! A node that stops being the master of the slot throws the client out before anything is popped; the
//! command then goes on at the new owner with the time that remains.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::clock::Time;
use crate::cluster::request_slots::{self, Place};
use crate::command::{Flags, Keys, KeysError, unbalanced};
use crate::proxy::client::step::Step;
use crate::proxy::client::{Parting, Stall};
use crate::proxy::ids::{ClientId, NO_SLOT, PartId};
use crate::proxy::lease::state::blocking::Blocking;
use crate::proxy::lease::state::run::{Line, Owed, Run};
use crate::proxy::lease::state::{Lease, Next, Work};
use crate::proxy::pipeline::At;
use crate::proxy::request::Request;
use crate::proxy::request::request_limits;
use crate::proxy::state::Proxy;
use crate::proxy::stats::key_tally::{COUNTED_MAX, KeyHash};
use crate::proxy::texts::{self, refusal};
use crate::proxy::upstream::backend::{Origin, Ticket, Usage};
use crate::proxy::upstream::dialect::Dialect;
use crate::resp::args::Args;
use crate::resp::encode;
use crate::resp::frame::{RequestScanner, Scan};
use crate::resp::reply::Reply;

/// How long a command may take to find what is there for it, even if its client has stopped sending.
const GRACE: Duration = Duration::from_millis(100);
/// How long until a node is told once more to let a client go, which may not have been blocked there yet.
const UNBLOCK_AGAIN: Duration = Duration::from_millis(20);

/// What a blocked client gets when the program ends.
const NOTHING: &[u8] = b"";

impl Proxy {
    /// A request that may keep its connection waiting.
    pub(in crate::proxy) fn block(&mut self, request: &Request<'_>) -> Step {
        let &Request {
            client: id,
            command,
            args,
            now,
        } = request;
        if self.clients.get(id).is_none_or(|c| !c.pipeline.is_empty()) {
            return Step::Wait(Stall::Barrier);
        }
        let mut keys = std::mem::take(&mut self.scratch.keys);
        let place = request_slots::place(command, args, &mut keys);
        let counts = &self.process.leases;
        let waited: BTreeSet<KeyHash> = keys
            .iter()
            .take(COUNTED_MAX)
            .map(|key| counts.blocking_keys.hash(args.at(*key as usize)))
            .collect();
        self.scratch.keys = keys;
        let slot = match place {
            Place::One(slot) => slot.number(),
            Place::Many => return self.reject(request, refusal::CROSS_SLOT),
            Place::Invalid(KeysError::Unbalanced) => {
                return self.reject(request, &unbalanced(command));
            }
            Place::Invalid(KeysError::Unknown) => {
                return self.reject(request, &texts::not_yet(command));
            }
            // The node finds the same fault and has the words for it.
            Place::Keyless | Place::Invalid(KeysError::Invalid) => NO_SLOT,
        };
        if self.upstream.fails_fast_exclusive(slot, now) {
            let text = self.upstream.unserved(slot);
            return self.reject(request, &text);
        }
        let timeout = command.timeout(args);
        let wait = timeout.and_then(|(at, unit)| unit.parse(args.at(at)));
        let blocking = Blocking {
            deadline: wait.map(|wait| now.after(wait)),
            timeout,
            keys: waited.into_iter().collect(),
            // A group of consumers ends with its stream.
            on_nokey: command.keys == Keys::Streams && command.flags.contains(Flags::WRITE),
            readonly: command.flags.contains(Flags::READONLY),
            tried: false,
        };
        let mut run = Run::new(slot);
        run.patient = true;
        let granted = self.grant(id, Work::Blocking(blocking), vec![run], now);
        if granted.is_none() {
            return self.reject(request, texts::TOO_MANY_BLOCKED);
        }
        let Some(mut lease) = self.take_lease(id) else {
            return Step::Close;
        };
        if let Work::Blocking(blocking) = &lease.work {
            // Until the lease is freed.
            self.process.leases.note_keys(blocking);
        }
        let seq = self.take_place(request, slot, At::Held);
        let owed = Owed::Last(seq, 0);
        let line = Line::new(args.frame().to_vec(), command.id, owed);
        let next = self.add(id, &mut lease, 0, line, now);
        self.put_lease(id, lease, next, now);
        Step::Alone
    }

    /// Before a run is sent that was tried before: a command that has waited already waits for the rest of its time
    /// only.
    pub(super) fn renew(&mut self, lease: &mut Lease, now: Time) {
        let Work::Blocking(blocking) = &mut lease.work else {
            return;
        };
        let (Some(deadline), Some((at, unit))) = (blocking.deadline, blocking.timeout) else {
            return;
        };
        // Zero would be for ever.
        let left = deadline.since(now).max(Duration::from_millis(1));
        let limits = request_limits(&self.config.limits, true);
        for line in lease.runs.iter_mut().flat_map(|run| &mut run.lines) {
            let mut spans = Vec::new();
            let scan = RequestScanner::default().next(&line.frame, &limits, &mut spans);
            let Ok(Scan::Frame(_)) = scan else {
                continue;
            };
            let args = Args::new(&line.frame, &spans);
            let mut frame = Vec::new();
            encode::array(&mut frame, args.len());
            for (index, argument) in args.from(0).enumerate() {
                if index == at {
                    encode::bulk(&mut frame, unit.text(left).as_bytes());
                } else {
                    encode::bulk(&mut frame, argument);
                }
            }
            line.frame = frame;
        }
    }

    /// The reply to a blocking command.
    pub(super) fn settle_blocking(
        &mut self,
        id: ClientId,
        owed: Owed,
        reply: Reply<'_>,
        now: Time,
    ) -> Next {
        let Owed::Last(seq, part) = owed else {
            return Next::Keep;
        };
        let let_go = reply.error() == Some(texts::UNBLOCKED.as_bytes());
        let reply = if self.draining && let_go {
            NOTHING
        } else {
            reply.frame()
        };
        self.fulfil(PartId::new(id, seq, part), reply, now);
        Next::End
    }

    /// We are about to end. A server that ends closes its blocked clients without a word; so do we, but first the node
    /// lets the client go: what it has given to the client already must reach it.
    pub(in crate::proxy) fn send_blocked_away(&mut self, id: ClientId, now: Time) {
        let Some(client) = self.clients.get(id) else {
            return;
        };
        let lease = client.lease.as_deref();
        let waits = lease.is_some_and(|lease| matches!(lease.work, Work::Wait(_)));
        if waits && client.output.is_empty() {
            return self.drop_client(id, Parting::Drained, now);
        }
        self.unblock_client(id, true, now);
        self.close_when_told(id, Parting::Drained);
    }

    /// `CLIENT UNBLOCK`: whether the client of this number is blocked; it then gets its reply from the node,
    /// which is told to give it one.
    pub(in crate::proxy) fn unblock(&mut self, number: i64, with_error: bool, now: Time) -> bool {
        let found = self.clients.iter().find(|(_, client)| {
            let lease = client.lease.as_deref();
            client.session.number as i64 == number && lease.is_some() && client.is_blocked()
        });
        let Some((id, _)) = found else {
            return false;
        };
        self.unblock_client(id, with_error, now);
        true
    }

    /// Ends what a client waits for.
    pub(in crate::proxy) fn unblock_client(&mut self, id: ClientId, with_error: bool, now: Time) {
        let lease = self.clients.get_mut(id).and_then(|c| c.lease.as_mut());
        let Some(lease) = lease else {
            return;
        };
        lease.unblock = Some(with_error);
        // A late order to let go must not find the next client there.
        lease.runs.iter_mut().for_each(|run| run.spoilt = true);
        let backends: Vec<_> = lease.runs.iter().filter_map(|run| run.backend).collect();
        self.leases.wait(id, now.after(UNBLOCK_AGAIN));
        if backends.is_empty() {
            // It waits for a node: nothing can have been popped.
            return self.release_blocked(id, with_error, now);
        }
        for backend in backends {
            self.unblock_at_node(id, backend, with_error, now);
        }
    }

    fn unblock_at_node(
        &mut self,
        id: ClientId,
        backend: crate::proxy::ids::BackendId,
        with_error: bool,
        now: Time,
    ) {
        let Some(own) = self.upstream.backends.get(backend) else {
            return;
        };
        debug_assert!(matches!(own.usage, Usage::Lent { .. }));
        let Some(number) = own.number else {
            return self.release_blocked(id, with_error, now);
        };
        let target = crate::proxy::upstream::Target {
            node: own.node,
            replica: false,
        };
        let dialect = Dialect::plain(own.flavor.protocol);
        let mut frame = Vec::new();
        let reason: &[u8] = if with_error { b"ERROR" } else { b"TIMEOUT" };
        let number = number.to_string();
        encode::command(
            &mut frame,
            [&b"CLIENT"[..], b"UNBLOCK", number.as_bytes(), reason],
        );
        let affinity = id.key() as usize;
        let (config, actions) = (&self.config, &mut self.actions);
        let shared = self
            .upstream
            .backend(target, dialect, affinity, config, actions, now);
        let Some(shared) = shared else {
            return self.release_blocked(id, with_error, now);
        };
        let ticket = Ticket::here(Origin::Discard, NO_SLOT, u16::MAX, frame.len(), now);
        let (pool, actions) = (&mut self.pool, &mut self.actions);
        self.upstream.send(shared, &frame, ticket, pool, actions);
    }

    /// A blocked client whose node cannot be asked to let it go is let go here.
    fn release_blocked(&mut self, id: ClientId, with_error: bool, now: Time) {
        let Some(mut lease) = self.take_lease(id) else {
            return;
        };
        if matches!(lease.work, Work::Wait(_)) {
            for index in 0..lease.runs.len() as u16 {
                self.count_nobody(id, &mut lease, index, now);
            }
        }
        let nil = crate::proxy::lease::state::transaction::null_array(self.protocol_of(id));
        for run in &mut lease.runs {
            for (seq, part) in run.take_owed() {
                if self.draining {
                    self.fulfil(PartId::new(id, seq, part), NOTHING, now);
                } else if with_error {
                    self.answer_error(PartId::new(id, seq, part), texts::UNBLOCKED.as_bytes(), now);
                } else {
                    self.fulfil(PartId::new(id, seq, part), nil, now);
                }
            }
        }
        self.put_lease(id, lease, Next::End, now);
    }

    /// A client has stopped sending. If it is blocked nobody waits for it any more; but what was there for it
    /// when it asked it still gets, as from Redis.
    pub fn leaves(&mut self, id: ClientId, now: Time) {
        let client = self
            .clients
            .get_mut(id)
            .filter(|client| client.is_blocked());
        let Some(lease) = client.and_then(|client| client.lease.as_mut()) else {
            return;
        };
        let due = lease.active_at.after(GRACE);
        if now >= due {
            return self.drop_client(id, Parting::Left, now);
        }
        lease.left = true;
        self.leases.wait(id, due);
    }

    /// A blocked client that is to be looked at again.
    pub(super) fn attend_blocked(&mut self, id: ClientId, now: Time) {
        let Some(lease) = self.clients.get(id).and_then(|c| c.lease.as_deref()) else {
            return;
        };
        if lease.left {
            self.leaves(id, now);
        } else if let Some(with_error) = lease.unblock {
            self.unblock_client(id, with_error, now);
        }
    }

    /// Whether a client waits for the reply to a blocking command.
    pub fn is_blocked(&self, id: ClientId) -> bool {
        self.clients
            .get(id)
            .is_some_and(|client| client.is_blocked())
    }
}
