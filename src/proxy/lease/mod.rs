//! `Lease`: what one client has for itself at nodes, because the state of a connection is what it asked for:
//! a transaction (WATCH or MULTI until EXEC, DISCARD or UNWATCH), a blocking command (until its reply), or
//! WAIT.
//!
//! A lease is made of *runs*: each is one sequence of requests that one exclusive connection carries, kept
//! so that it can begin anew at another node as long as nothing of it has been executed (see `run`).
//!
//! A lease begins and ends on an empty pipeline, so that order against the requests on shared connections
//! keeps itself. Invariant: a backend that is lent names its client and run, and that run names the backend.
//!
//! It must never know a socket, nor what a shared connection carries.

pub mod blocking;
mod exec;
pub mod execution;
mod pool;
mod queueing;
pub mod run;
pub mod state;
mod streamed;
mod timing;
pub mod transaction;
mod wait;
mod watch;

use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::clock::Time;
use crate::proxy::ids::{BackendId, ClientId, PartId};
use crate::proxy::lease::state::blocking::is_thrown_out;
use crate::proxy::lease::state::run::{Obtained, Owed, Run};
use crate::proxy::lease::state::{Lease, Next, Work, refusal_in};
use crate::proxy::planted_bugs;
use crate::proxy::request::Request;
use crate::proxy::state::Proxy;
use crate::proxy::stats::calls::ErrorCode;
use crate::proxy::texts::refusal::{self, Refusal, Trouble};
use crate::proxy::upstream::backend::{Backend, Usage};
use crate::proxy::upstream::lost::Lost;
use crate::proxy::upstream::node_reply::NodeReply;
use crate::resp::reply::Reply;

impl Proxy {
    /// Makes a client the holder of a new lease. Nothing if there are as many of the kind as there may be.
    fn grant(&mut self, id: ClientId, work: Work, runs: Vec<Run>, now: Time) -> Option<()> {
        let limits = &self.config.limits;
        let cap = match &work {
            Work::Transaction(_) => limits.transaction_leases,
            Work::Blocking(_) | Work::Wait(_) | Work::Streamed => limits.blocking_leases,
        };
        let counts = &self.process.leases;
        let client = self.clients.get_mut(id)?;
        debug_assert!(client.pipeline.is_empty() && !client.session.queueing);
        if counts.of(&work).fetch_add(1, Ordering::Relaxed) >= cap {
            counts.of(&work).fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        client.lease = Some(Box::new(Lease {
            work,
            runs,
            active_at: now,
            left: false,
            unblock: None,
            beneath: client.lease.take(),
        }));
        self.leases.held += 1;
        Some(())
    }

    /// Takes a client's lease out, to work on it; [`Proxy::put_lease`] puts it back.
    fn take_lease(&mut self, id: ClientId) -> Option<Box<Lease>> {
        self.clients.get_mut(id)?.lease.take()
    }

    /// Puts a lease back, or ends it. The client may have gone in between.
    fn put_lease(&mut self, id: ClientId, mut lease: Box<Lease>, next: Next, now: Time) {
        match (next, self.clients.get_mut(id)) {
            (Next::Keep, Some(client)) => client.lease = Some(lease),
            (Next::End, client) => {
                if let Some(client) = client {
                    client.session.queueing = false;
                    client.lease = lease.beneath.take();
                    self.tell_apart(id, now);
                }
                self.free_lease(id, Some(lease), now);
            }
            (Next::Keep, None) => self.free_lease(id, Some(lease), now),
        }
    }

    /// Ends a client's lease, whatever its state: its connections go back if they can be proven clean.
    pub(super) fn end_lease(&mut self, id: ClientId, now: Time) {
        if let Some(lease) = self.take_lease(id) {
            self.put_lease(id, lease, Next::End, now);
        }
    }

    /// The lease of a client that has gone.
    pub(super) fn free_lease(&mut self, id: ClientId, lease: Option<Box<Lease>>, now: Time) {
        let mut next = lease;
        while let Some(mut lease) = next {
            self.free(id, &mut lease, now);
            next = lease.beneath.take();
        }
    }

    fn free(&mut self, id: ClientId, lease: &mut Lease, now: Time) {
        self.leases.held -= 1;
        let before = self
            .process
            .leases
            .of(&lease.work)
            .fetch_sub(1, Ordering::Relaxed);
        debug_assert!(before > 0);
        self.process.leases.forget_keys(&lease.work);
        for (index, run) in lease.runs.iter_mut().enumerate() {
            self.leave(id, run, index as u16, now);
        }
        if let Work::Streamed = lease.work {
            self.stop_streaming(id);
        }
    }

    /// The reply to one request of a lease.
    #[cold]
    #[inline(never)]
    pub(super) fn settle(&mut self, answer: &NodeReply<'_>, id: ClientId, index: u16) {
        if let Some(backend) = self.upstream.backends.get_mut(answer.backend) {
            backend
                .output
                .release(answer.ticket.len as usize, &mut self.pool);
        }
        let Some(mut lease) = self.take_lease(id) else {
            debug_assert!(false, "a lent connection whose client has no lease");
            return;
        };
        let next = self.settle_run(id, &mut lease, index, answer);
        self.put_lease(id, lease, next, answer.now);
    }

    fn settle_run(
        &mut self,
        id: ClientId,
        lease: &mut Lease,
        index: u16,
        answer: &NodeReply<'_>,
    ) -> Next {
        let &NodeReply {
            backend: from,
            reply,
            now,
            ..
        } = answer;
        let Some(run) = lease.runs.get_mut(usize::from(index)) else {
            debug_assert!(false, "a lent connection of a run that is not");
            return Next::Keep;
        };
        debug_assert_eq!(run.backend, Some(from));
        let Some(owed) = run.next_owed() else {
            debug_assert!(false, "a reply to a request that is not");
            return Next::Keep;
        };
        run.note_unopened(reply);
        // What is executed by itself may say anything, and here nobody is asked whether it is true. (Between MULTI and
        // EXEC nothing is executed, and what EXEC executes answers within its reply.)
        let at_once = run.is_unopened() || matches!(lease.work, Work::Blocking(_));
        let row = self.table.rows().get(usize::from(run.next_command()));
        let may_have_run = at_once && row.is_some_and(|row| row.own_errors);
        if !may_have_run && let Some(refusal) = refusal_in(reply, owed) {
            let words = reply.error().unwrap_or_default();
            if matches!((&lease.work, owed), (Work::Streamed, Owed::Last(..))) {
                return self.refuse_streamed(id, lease, refusal, words, now);
            }
            return self.turned_away(id, lease, index, refusal, words, now);
        }
        if run.has_script()
            && !may_have_run
            && reply
                .error()
                .is_some_and(|text| text.starts_with(b"NOPERM"))
        {
            return self.without_scripts(id, lease, index, now);
        }
        run.note_answer();
        let key = self.upstream.backends.get(from).map(|own| own.node);
        if let Some(node) = key.and_then(|key| self.upstream.node_mut(key)) {
            node.answered();
        }
        self.upstream.succeeded_exclusive(run.slot);
        // What is said once more to a run that begins anew is no progress.
        if owed != Owed::Nobody {
            run.held_since = None;
        }
        if let (Some(error), Some((seq, _))) = (reply.error(), owed.place()) {
            self.count_error(PartId::new(id, seq, 0), error);
        }
        let untagged = self.untagged_of_run(id, &lease.runs[usize::from(index)], owed, reply);
        let reply = untagged.as_deref().map_or(reply, Reply::new);
        match &mut lease.work {
            Work::Transaction(_) => self.settle_transaction(id, lease, owed, reply, now),
            Work::Blocking(_) => self.settle_blocking(id, owed, reply, now),
            Work::Wait(_) => self.settle_wait(id, lease, owed, reply, now),
            Work::Streamed => self.settle_streamed(id, lease, index, owed, reply, now),
        }
    }

    /// A connection that was lent is lost. `backend` has left the arena already.
    pub(super) fn lease_lost(
        &mut self,
        lost_id: BackendId,
        backend: &Backend,
        lost: Lost,
        now: Time,
    ) {
        let Usage::Lent { client: id, run } = backend.usage else {
            return;
        };
        let Some(mut lease) = self.take_lease(id) else {
            return;
        };
        let own = lease.runs.get(usize::from(run));
        let next = match (own.and_then(|run| run.backend), &mut lease.beneath) {
            (Some(own), _) if own == lost_id => {
                self.lost_run(id, &mut lease, run, backend, lost, now)
            }
            (_, Some(beneath)) => self.lost_run(id, beneath, run, backend, lost, now),
            (_, None) => Next::Keep,
        };
        self.put_lease(id, lease, next, now);
    }

    fn lost_run(
        &mut self,
        id: ClientId,
        lease: &mut Lease,
        index: u16,
        backend: &Backend,
        lost: Lost,
        now: Time,
    ) -> Next {
        let Some(run) = lease.runs.get_mut(usize::from(index)) else {
            return Next::Keep;
        };
        self.part(run);
        run.note_end(now);
        if matches!(lease.work, Work::Wait(_)) {
            return self.count_nobody(id, lease, index, now);
        }
        if let Work::Streamed = lease.work
            && run.sent > 1
        {
            return self.lose_streamed(id, lease, backend, lost, now);
        }
        let queued: usize = backend.tickets.iter().map(|t| t.len as usize).sum();
        let all_sent = !backend.tickets.is_empty() && backend.output.sent_len() >= queued;
        let last = run.lines.last().map(|line| line.owed);
        // What was wholly sent and is executed by its own reply may have been executed.
        if let (true, Some(Owed::Last(seq, part))) = (all_sent, last)
            && !lease.work.may_run_twice(lost)
            && !planted_bugs::is_on("lease-resent")
        {
            self.stats.unknown_outcomes.add(1);
            let text = match lost {
                Lost::TimedOut => refusal::TIMED_OUT,
                _ => refusal::LOST,
            };
            self.queue_all(id, lease, index, now);
            self.answer_error(PartId::new(id, seq, part), text.as_bytes(), now);
            return self.part_done(lease);
        }
        if lease.work.is_watching() {
            return self.break_watch(id, lease, index, now);
        }
        if run.is_waited_for() {
            // The next one may be no better.
            let due = match run.note_loss() {
                1 => now,
                losses => self.due_after(losses, now),
            };
            return self.begin_or_wait(id, lease, index, due, now);
        }
        // Nobody waits for it: it begins anew when it is next needed.
        Next::Keep
    }

    /// A node refused a request of a run before anything of the run was executed.
    fn turned_away(
        &mut self,
        id: ClientId,
        lease: &mut Lease,
        index: u16,
        refusal: Refusal<'_>,
        words: &[u8],
        now: Time,
    ) -> Next {
        let run = &mut lease.runs[usize::from(index)];
        let from = run
            .backend
            .and_then(|from| self.upstream.node(self.upstream.backends.get(from)?.node))
            .map(|node| node.address);
        // A node closes the connection of whom it throws out, and behind a refused EXEC nothing is queued.
        let (spoilt, cleaner) = (run.spoilt, run.cleaner);
        run.spoilt |= is_thrown_out(words);
        if matches!(run.next_owed(), Some(Owed::Last(..))) {
            run.cleaner = b"";
        }
        let leaves = match refusal {
            Refusal::Moved(..) => true,
            Refusal::Unavailable(trouble) => trouble != Trouble::Full,
            Refusal::Ask(..) | Refusal::TryAgain | Refusal::Missing(_) => false,
        };
        if run.patient && leaves && !run.lined_up {
            self.expect_others(run, now);
        }
        self.leave(id, run, index, now);
        (run.spoilt, run.cleaner) = (spoilt, cleaner);
        run.note_end(now);
        if lease.work.is_watching() && !planted_bugs::is_on("watch-forgotten") {
            self.note_refusal(run.slot, refusal, from, now);
            return self.break_watch(id, lease, index, now);
        }
        match self.follow(run, refusal, words, from, now) {
            // Others are refused together with it: they go on in their own order, at the end of the turn.
            Ok(due) if run.patient => {
                self.line_up(id, run, index, now);
                run.held_since.get_or_insert(now);
                self.leases.set_due(id, run, index, Some(due));
                Next::Keep
            }
            Ok(due) => self.begin_or_wait(id, lease, index, due, now),
            Err(text) => self.give_up(id, lease, index, &text, now),
        }
    }

    /// Our user at the node may name scripts but not send them, so that they are named from now on, and the run begins
    /// anew with their names.
    fn without_scripts(&mut self, id: ClientId, lease: &mut Lease, index: u16, now: Time) -> Next {
        let client = self.clients.get(id);
        // What a client's own user may not do says nothing of others.
        if client.is_none_or(|client| client.session.account().is_none()) {
            self.name_scripts_only();
        }
        let run = &mut lease.runs[usize::from(index)];
        run.name_scripts();
        self.leave(id, run, index, now);
        if lease.work.is_watching() {
            return self.break_watch(id, lease, index, now);
        }
        self.begin_or_wait(id, lease, index, now, now)
    }

    /// Begins a run, or has it wait until it can begin.
    fn begin_or_wait(
        &mut self,
        id: ClientId,
        lease: &mut Lease,
        index: u16,
        due: Time,
        now: Time,
    ) -> Next {
        self.try_to_begin(id, lease, index, (due, false), now)
    }

    /// Begins a run that there is a connection for.
    fn begin_served(&mut self, id: ClientId, lease: &mut Lease, index: u16, now: Time) -> Next {
        self.try_to_begin(id, lease, index, (now, true), now)
    }

    fn try_to_begin(
        &mut self,
        id: ClientId,
        lease: &mut Lease,
        index: u16,
        (due, served): (Time, bool),
        now: Time,
    ) -> Next {
        let mut again = false;
        if let Work::Blocking(blocking) = &mut lease.work {
            again = blocking.note_try();
        }
        let run = &mut lease.runs[usize::from(index)];
        let since = *run.held_since.get_or_insert(now);
        let mut expires = since.after(self.patience(run));
        if let Work::Wait(wait) = &lease.work {
            // Where a connection is still to be made there is the time for that.
            let least = since.after(self.config.connect_timeout);
            expires = wait
                .deadline
                .map_or(expires, |at| expires.min(at.max(least)));
        }
        if now >= expires {
            let text = self.give_up_text(run);
            return self.give_up(id, lease, index, &text, now);
        }
        self.line_up(id, run, index, now);
        let obtained = if due > now {
            Obtained::Nothing(due)
        } else {
            self.obtain(id, run, index, served, now)
        };
        match obtained {
            Obtained::Connection(backend) => {
                if again {
                    self.renew(lease, now);
                }
                let run = &mut lease.runs[usize::from(index)];
                self.begin(id, run, index, backend, now);
                Next::Keep
            }
            Obtained::Nothing(due) => {
                self.leases.set_due(id, run, index, Some(due.min(expires)));
                Next::Keep
            }
            Obtained::InVain => {
                let text = self.give_up_text(run);
                self.give_up(id, lease, index, &text, now)
            }
        }
    }

    /// How long a run may wait to begin. Where nothing is to be waited for there is still the time to make a connection.
    pub(super) fn patience(&self, run: &Run) -> Duration {
        let least = match run.is_refused() {
            true => Duration::ZERO,
            false => self.config.connect_timeout,
        };
        self.park_timeout().max(least)
    }

    /// A run is not begun again: whoever waits for it is told.
    fn give_up(
        &mut self,
        id: ClientId,
        lease: &mut Lease,
        index: u16,
        text: &[u8],
        now: Time,
    ) -> Next {
        self.stats.expired.add(1);
        if matches!(lease.work, Work::Wait(_)) {
            return self.count_nobody(id, lease, index, now);
        }
        let run = &mut lease.runs[usize::from(index)];
        let unconnected = run.waits_for_connection();
        self.leave(id, run, index, now);
        run.held_since = None;
        if unconnected {
            self.upstream.fail_fast_exclusive(run.slot, now);
        } else if !text.starts_with(b"TRYAGAIN") {
            self.upstream.fail_fast(run.slot, now);
        }
        self.end_in_vain(id, lease, index, text, now)
    }

    /// Whoever waits for a run is told that it is not executed.
    fn end_in_vain(
        &mut self,
        id: ClientId,
        lease: &mut Lease,
        index: u16,
        text: &[u8],
        now: Time,
    ) -> Next {
        match lease.work {
            Work::Transaction(_) => self.give_up_transaction(id, lease, index, text, now),
            Work::Blocking(_) | Work::Wait(_) | Work::Streamed => {
                self.tell_all(id, &mut lease.runs[usize::from(index)], text, now);
                Next::End
            }
        }
    }

    /// Asserts that leases and the connections lent to them name each other. For tests.
    pub(super) fn check_leases(&self) {
        let mut held = 0;
        let mut lent = 0;
        let (mut waiting, mut lined_up, mut accepted) = (0, 0, 0);
        for (id, client) in self.clients.iter() {
            let mut next = client.lease.as_deref();
            while let Some(lease) = next {
                held += 1;
                for (index, run) in lease.runs.iter().enumerate() {
                    waiting += usize::from(run.due.is_some());
                    lined_up += usize::from(run.lined_up);
                    assert!(run.due.is_none() || run.backend.is_none());
                    let Some(backend) = run.backend else { continue };
                    lent += 1;
                    accepted += usize::from(run.is_orderly());
                    let usage = self.upstream.backends.get(backend).map(|own| own.usage);
                    let run = index as u16;
                    assert_eq!(usage, Some(Usage::Lent { client: id, run }));
                }
                next = lease.beneath.as_deref();
            }
        }
        assert_eq!(held, self.leases.held);
        let backends = self.upstream.backends.iter();
        let named = backends.filter(|(_, own)| matches!(own.usage, Usage::Lent { .. }));
        assert_eq!(lent, named.count(), "a connection is lent to nobody");
        assert_eq!(lined_up, self.leases.order.len());
        assert_eq!(accepted, self.leases.accepted.len());
        assert_eq!(waiting, self.leases.waiting());
    }

    /// Answers all that a run owes with an error.
    fn tell_all(&mut self, id: ClientId, run: &mut Run, text: &[u8], now: Time) {
        for (seq, part) in run.take_owed() {
            self.answer_error(PartId::new(id, seq, part), text, now);
        }
    }

    /// Answers a request at once, in its turn.
    pub(in crate::proxy) fn say(&mut self, request: &Request<'_>, reply: &[u8]) {
        self.stats.commands.add(1);
        self.stats.calls.answered(request.command.id, 0, 1);
        if let Some(error) = Reply::new(reply).error() {
            self.stats
                .calls
                .failed(request.command.id, ErrorCode::of(error));
        }
        if let Some(client) = self.clients.get_mut(request.client) {
            let (output, pool) = (&mut client.output, &mut self.pool);
            client
                .pipeline
                .answer(request.command.id, reply, output, pool, request.now);
        }
        self.queue_flush(request.client);
    }
}
