//! `Transaction`: WATCH and MULTI, until EXEC, DISCARD or UNWATCH.
//!
//! MULTI is answered at once, since it names no key. The first command with a key determines the node, and takes
//! MULTI there (unless WATCH has determined it before). The queued commands are kept: until EXEC is sent none of them
//! has been executed, so the whole transaction can start again at another node. Only what WATCH saw cannot be seen
//! again: if its connection is lost, EXEC returns nil, as if a key had changed.

use crate::clock::Time;
use crate::cluster::slot::Slot;
use crate::command::Verb;
use crate::proxy::client::Stall;
use crate::proxy::client::step::Step;
use crate::proxy::ids::{ClientId, NO_SLOT, PartId};
use crate::proxy::lease::state::run::{Line, Owed, Run};
use crate::proxy::lease::state::transaction::{OK, QUEUED, Transaction, null_array};
use crate::proxy::lease::state::{Lease, Next, Work};
use crate::proxy::request::Request;
use crate::proxy::state::Proxy;
use crate::proxy::texts::{self};
use crate::resp::encode::{self, Protocol};
use crate::resp::reply::Reply;

impl Proxy {
    /// A command of a transaction, from a client that is in no MULTI.
    pub(in crate::proxy) fn transact(&mut self, request: &Request<'_>, verb: Verb) -> Step {
        let busy = self
            .clients
            .get(request.client)
            .is_none_or(|c| !c.pipeline.is_empty());
        match verb {
            Verb::Exec => self.fail_inside(request, texts::EXEC_WITHOUT_MULTI),
            Verb::Discard => self.fail_inside(request, texts::DISCARD_WITHOUT_MULTI),
            Verb::Multi | Verb::Watch | Verb::Unwatch if busy => Step::Wait(Stall::Barrier),
            Verb::Multi => self.multi(request),
            Verb::Watch => self.watch(request),
            Verb::Unwatch => {
                self.end_lease(request.client, request.now);
                self.say(request, OK);
                Step::Done
            }
        }
    }

    /// Answers with an error that does not doom the transaction.
    pub(super) fn fail_inside(&mut self, request: &Request<'_>, text: &str) -> Step {
        let mut reply = Vec::new();
        encode::error(&mut reply, text.as_bytes());
        self.insight
            .audit
            .note_error(request.command.id, text.as_bytes());
        self.say(request, &reply);
        Step::Done
    }

    fn multi(&mut self, request: &Request<'_>) -> Step {
        let holds = self
            .clients
            .get(request.client)
            .is_some_and(|c| c.lease.is_some());
        if !holds {
            let work = Work::Transaction(Transaction::default());
            if self
                .grant(request.client, work, vec![Run::new(NO_SLOT)], request.now)
                .is_none()
            {
                return self.reject(request, texts::TOO_MANY_TRANSACTIONS);
            }
        }
        if let Some(client) = self.clients.get_mut(request.client) {
            client.session.queueing = true;
        }
        self.say(request, OK);
        Step::Done
    }

    /// Whether the node that a run is at serves this slot, too.
    pub(super) fn serves(&self, run: &Run, slot: u16) -> bool {
        let backend = run.backend.and_then(|id| self.upstream.backends.get(id));
        let shard = Slot::new(slot).and_then(|slot| self.upstream.routes.shard(slot));
        let node = backend.map(|backend| backend.node);
        node.is_some() && node == shard.map(|shard| shard.master)
    }

    /// Adds a request to a run, and sends it as soon as can be.
    pub(super) fn add(
        &mut self,
        id: ClientId,
        lease: &mut Lease,
        index: u16,
        line: Line,
        now: Time,
    ) -> Next {
        lease.runs[usize::from(index)].lines.push(line);
        self.go_on(id, lease, index, now)
    }

    /// Sends what a run has got: the run may have its connection, wait for one, or need one now.
    pub(super) fn go_on(&mut self, id: ClientId, lease: &mut Lease, index: u16, now: Time) -> Next {
        let run = &mut lease.runs[usize::from(index)];
        if run.backend.is_some_and(|own| !self.suits(own, id)) {
            self.leave(id, run, index, now);
            if lease.work.is_watching() {
                return self.break_watch(id, lease, index, now);
            }
        }
        let run = &mut lease.runs[usize::from(index)];
        if run.backend.is_some() {
            self.send_unsent(id, run, index, now);
            Next::Keep
        } else if run.due.is_some() {
            Next::Keep
        } else {
            self.begin_or_wait(id, lease, index, now, now)
        }
    }

    /// The reply to one request of a transaction; it is none that begins it anew.
    pub(super) fn settle_transaction(
        &mut self,
        id: ClientId,
        lease: &mut Lease,
        owed: Owed,
        reply: Reply<'_>,
        now: Time,
    ) -> Next {
        let Work::Transaction(transaction) = &mut lease.work else {
            return Next::End;
        };
        match owed {
            Owed::Nobody => Next::Keep,
            Owed::Queued(seq, part) if reply.text() == Some(b"QUEUED") => {
                self.fulfil(PartId::new(id, seq, part), reply.frame(), now);
                Next::Keep
            }
            Owed::Queued(seq, part) => {
                transaction.doomed = true;
                transaction.busy |= reply
                    .error()
                    .is_some_and(|error| error.starts_with(b"BUSY "));
                if reply.is_error() {
                    self.fulfil(PartId::new(id, seq, part), reply.frame(), now);
                } else {
                    // MULTI itself was refused, by a rule for our user at the node.
                    self.answer_error(
                        PartId::new(id, seq, part),
                        texts::MULTI_REFUSED.as_bytes(),
                        now,
                    );
                }
                Next::Keep
            }
            Owed::Watch(seq) => {
                let watching = transaction.watching || !reply.is_error();
                transaction.watching = watching;
                self.fulfil(PartId::new(id, seq, 0), reply.frame(), now);
                if watching { Next::Keep } else { Next::End }
            }
            Owed::Last(seq, part) => self.settle_exec(id, lease, (seq, part), reply, now),
        }
    }

    /// What was watched cannot be watched any more: EXEC will answer nil, or does so now.
    pub(super) fn break_watch(
        &mut self,
        id: ClientId,
        lease: &mut Lease,
        index: u16,
        now: Time,
    ) -> Next {
        let Work::Transaction(transaction) = &mut lease.work else {
            return Next::Keep;
        };
        transaction.watching = false;
        transaction.broken = true;
        let run = &mut lease.runs[usize::from(index)];
        self.leave(id, run, index, now);
        let mut next = Next::Keep;
        for line in run.lines.drain(..) {
            match line.owed {
                Owed::Nobody => {}
                Owed::Watch(seq) => self.fulfil(PartId::new(id, seq, 0), OK, now),
                Owed::Queued(seq, part) => self.fulfil(PartId::new(id, seq, part), QUEUED, now),
                Owed::Last(seq, part) => {
                    let nil = null_array(self.protocol_of(id));
                    self.fulfil(PartId::new(id, seq, part), nil, now);
                    next = Next::End;
                }
            }
        }
        run.cleaner = b"";
        next
    }

    /// Nothing of what is queued is kept, and nothing is watched: EXEC will fail.
    pub(super) fn let_queue_go(&mut self, id: ClientId, lease: &mut Lease, now: Time) {
        for index in 0..lease.runs.len() {
            self.break_watch(id, lease, index as u16, now);
            lease.runs[index].lines = Vec::new();
        }
        if let Work::Transaction(transaction) = &mut lease.work {
            transaction.forget_queued();
        }
    }

    /// Answers those that wait to be queued: what becomes of them is said by EXEC.
    pub(super) fn queue_all(&mut self, id: ClientId, lease: &mut Lease, index: u16, now: Time) {
        for line in &mut lease.runs[usize::from(index)].lines {
            match std::mem::replace(&mut line.owed, Owed::Nobody) {
                Owed::Queued(seq, part) => self.fulfil(PartId::new(id, seq, part), QUEUED, now),
                Owed::Watch(seq) => self.fulfil(PartId::new(id, seq, 0), OK, now),
                Owed::Last(..) | Owed::Nobody => {}
            }
        }
    }

    /// A run of a transaction cannot begin.
    pub(super) fn give_up_transaction(
        &mut self,
        id: ClientId,
        lease: &mut Lease,
        index: u16,
        text: &[u8],
        now: Time,
    ) -> Next {
        let Work::Transaction(transaction) = &mut lease.work else {
            return Next::End;
        };
        let mut told = std::mem::replace(&mut transaction.doomed, true);
        let queueing = self.clients.get(id).is_some_and(|c| c.session.queueing);
        let run = &mut lease.runs[usize::from(index)];
        self.leave(id, run, index, now);
        let mut last = None;
        for line in &mut run.lines {
            match std::mem::replace(&mut line.owed, Owed::Nobody) {
                Owed::Nobody => {}
                Owed::Queued(seq, part) => {
                    told = true;
                    self.answer_error(PartId::new(id, seq, part), text, now);
                }
                Owed::Watch(seq) => {
                    told = true;
                    self.answer_error(PartId::new(id, seq, 0), text, now);
                }
                Owed::Last(seq, part) => last = Some((seq, part)),
            }
        }
        if let Some((seq, part)) = last {
            // Who has heard no reason yet hears it now, as from the node.
            let text = if told {
                texts::EXECABORT.as_bytes()
            } else {
                text
            };
            self.answer_error(PartId::new(id, seq, part), text, now);
            return self.part_done(lease);
        }
        if queueing { Next::Keep } else { Next::End }
    }

    /// A request was refused: if its client is in MULTI it has not been queued.
    pub(in crate::proxy) fn doom(&mut self, id: ClientId) {
        let client = self.clients.get_mut(id);
        let lease = client.filter(|client| client.session.queueing && client.execution.is_none());
        let lease = lease.and_then(|client| client.lease.as_mut());
        if let Some(Work::Transaction(transaction)) = lease.map(|lease| &mut lease.work) {
            transaction.doomed = true;
        }
    }

    /// Nobody has gone on with a transaction for a while: its connections serve others. What is queued is
    /// kept; what is watched is not.
    pub(super) fn park_transaction(&mut self, id: ClientId, now: Time) {
        let Some(mut lease) = self.take_lease(id) else {
            return;
        };
        let mut next = Next::Keep;
        if lease.work.is_watching() {
            next = self.break_watch(id, &mut lease, 0, now);
        } else {
            for (index, run) in lease.runs.iter_mut().enumerate() {
                self.leave(id, run, index as u16, now);
            }
        }
        self.put_lease(id, lease, next, now);
    }

    pub(super) fn protocol_of(&self, id: ClientId) -> Protocol {
        let client = self.clients.get(id);
        client.map_or(Protocol::Resp2, |client| client.session.protocol)
    }
}
