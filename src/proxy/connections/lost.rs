//! A connection to a node is lost: what that says about the node, and what becomes of each request on it.

use crate::clock::Time;
use crate::proxy::actions::Wanted;
use crate::proxy::client::held::Retry;
use crate::proxy::ids::{BackendId, PartId, Peer};
use crate::proxy::planted_bugs;
use crate::proxy::request::request_limits;
use crate::proxy::state::Proxy;
use crate::proxy::texts::node_words;
use crate::proxy::texts::refusal::{self};
use crate::proxy::upstream::backend::{Backend, Origin, Pin, State, Ticket, Usage};
use crate::proxy::upstream::goal::goal_of;
use crate::proxy::upstream::lost::{Lost, Progress, failure_of};
use crate::resp::args::Args;
use crate::resp::frame::{RequestScanner, Scan};
use crate::sort;
use std::time::Duration;

/// Connections to one node that are lost within this time of each other are lost by one cause.
const ONE_DEATH: Duration = Duration::from_millis(100);

impl Proxy {
    /// A backend has gone. Each of its requests is sent elsewhere if it cannot have been executed, or only
    /// reads; else its outcome is unknown, and its client hears so.
    pub fn lose_backend(&mut self, id: BackendId, lost: Lost, now: Time) {
        let Some(mut backend) = self.upstream.backends.remove(id) else {
            return;
        };
        self.actions.close(Peer::Backend(id));
        self.note_lost(id, &mut backend, lost, now);
        if backend.usage == Usage::Shared {
            self.shared_lost(id, &mut backend, lost, now);
        } else {
            self.lease_lost(id, &backend, lost, now);
        }
        if backend.flavor.user.is_client() {
            self.account_lost(&backend, lost, now);
        }
    }

    /// What a shared backend carried that has gone.
    fn shared_lost(&mut self, id: BackendId, backend: &mut Backend, lost: Lost, now: Time) {
        if let Some(large_reply) = backend.large_reply.take()
            && large_reply.has_left()
            && let Some(Origin::Part(PartId { client, .. })) = self.abandon_front(backend)
        {
            self.sever(client, backend, large_reply.taken());
        }
        self.orphan_requests(id, backend, lost, now);
        for client in std::mem::take(&mut backend.waiters) {
            self.queue_resume(client);
        }
        self.link_lost(id, backend.node, now);
        self.tracking_lost(id, now);
        self.near_lost(id, lost, now);
    }

    /// What it means for its node, and for what is counted of it, that a backend has gone.
    fn note_lost(&mut self, id: BackendId, backend: &mut Backend, lost: Lost, now: Time) {
        let unanswered = backend.state == State::Ready
            && (lost == Lost::Broken
                || (lost == Lost::Closed && backend.has_answered_nothing(now)));
        let jitter = self.random();
        self.upstream.forget_aside(backend);
        let excused = self.upstream.is_excused(id, backend, lost);
        let unproven = backend.is_replacement && backend.state != State::Ready;
        let place = self.upstream.node(backend.node).filter(|_| unproven);
        let place = place.and_then(|node| node.affinity_of(backend.flavor, id));
        if let Some(node) = self.upstream.node_mut(backend.node) {
            match backend.usage {
                Usage::Shared => node.forget(id),
                Usage::Idle | Usage::Lent { .. } | Usage::Cleaning => {
                    node.exclusive.gone(id, backend);
                }
            }
            if backend.state == State::Ready {
                node.stats.connections.sub(1);
            }
            if lost != Lost::Retired {
                node.stats.failures.add(1);
                failure_of(lost, backend.state, &node.stats).add(1);
                let requests = backend.tickets.len() as u64;
                let counter = match lost {
                    Lost::TimedOut => &node.stats.requests_timed_out,
                    _ => &node.stats.requests_lost,
                };
                counter.add(requests);
            }
            if unanswered {
                node.note_unanswered(lost == Lost::Broken, now, jitter);
                let words = backend.words.take();
                node.words = words.or(Some(node_words::UNANSWERED.into()));
            } else if backend.state == State::Ready
                && matches!(lost, Lost::TimedOut | Lost::Gone)
                && !excused
            {
                node.failed(now, jitter);
            }
        }
        if unanswered {
            self.tell_words(backend.node, now);
        }
        if backend.state != State::Ready {
            self.greeting_failed(backend, lost, excused, now);
        }
        if let Some(affinity) = place {
            self.upstream.replacement_failed(backend, affinity, now);
        }
        self.leases.tend(backend.node);
        if lost != Lost::Retired && backend.denial.is_none() {
            self.stats.backend_failures.add(1);
            self.want_refresh(Wanted::Trouble);
        }
        self.upstream.in_flight -= backend.tickets.len();
    }

    /// All requests of a shared backend that has gone, the oldest first.
    fn orphan_requests(&mut self, id: BackendId, backend: &mut Backend, lost: Lost, now: Time) {
        let sent = backend.output.sent_len();
        let mut end = 0;
        let mut touched = Vec::new();
        for (index, ticket) in std::mem::take(&mut backend.tickets).into_iter().enumerate() {
            end += ticket.len as usize;
            let bytes = backend.output.front(ticket.len as usize).to_vec();
            backend.output.release(ticket.len as usize, &mut self.pool);
            if let Origin::Sign(part) = ticket.origin {
                self.answered(id, part, ticket.slot, None, now);
            }
            let progress = Progress::of(index, end <= sent);
            self.orphaned(backend, ticket, &bytes, progress, lost, now);
            if let Origin::Part(PartId { client, .. }) | Origin::Sign(PartId { client, .. }) =
                ticket.origin
                && touched.last() != Some(&(client, ticket.slot))
            {
                touched.push((client, ticket.slot));
            }
        }
        sort::by_key(&mut touched, |(client, slot)| {
            (client.key(), client.generation(), *slot)
        });
        touched.dedup();
        for (client, slot) in touched {
            self.release_held(client, slot, now);
        }
    }

    /// The oldest request of a backend that has gone is not dealt with as the others are. Returns whose it is.
    fn abandon_front(&mut self, backend: &mut Backend) -> Option<Origin> {
        let ticket = backend.tickets.pop_front()?;
        let len = ticket.len as usize;
        backend.output.release(len, &mut self.pool);
        Some(ticket.origin)
    }

    /// For the planted bug: a request that is given up leaves its connection as it is.
    #[cold]
    pub(in crate::proxy) fn forget_oldest(&mut self, id: BackendId, now: Time) {
        let Some(backend) = self.upstream.backends.get_mut(id) else {
            return;
        };
        let Some(ticket) = backend.tickets.pop_front() else {
            return;
        };
        self.release(id, &ticket);
        if let Origin::Part(part) = ticket.origin {
            self.answer_error(part, refusal::TIMED_OUT.as_bytes(), now);
        }
    }

    /// One request of a backend that has gone.
    fn orphaned(
        &mut self,
        backend: &Backend,
        mut ticket: Ticket,
        bytes: &[u8],
        progress: Progress,
        lost: Lost,
        now: Time,
    ) {
        if let Origin::Verdict { client, question } = ticket.origin {
            return self.question_lost(client, question);
        }
        let Origin::Part(part) = ticket.origin else {
            return;
        };
        if self.clients.get(part.client).is_none() {
            return;
        }
        if let Some(denial) = &backend.denial {
            return self.answer_error(part, denial, now);
        }
        // What stood first when two connections were lost may be what kills them: it is not sent again. (A node that
        // dies may take one more connection; it is not back so soon to die once more.)
        let soon = ticket
            .held_since
            .is_some_and(|since| now.since(since) < ONE_DEATH);
        let first = progress == Progress::SentFirst;
        let poison = first && ticket.losses > 0 && !soon;
        let again = progress == Progress::Unsent
            || planted_bugs::is_on("write-resent")
            || (!poison && lost != Lost::TimedOut && self.may_run_again(&ticket, bytes));
        if !again && matches!(ticket.pin, Pin::May | Pin::Spare) {
            return self.leave_out(part, now);
        }
        if !again {
            self.stats.unknown_outcomes.add(1);
            let text = if lost == Lost::TimedOut {
                refusal::TIMED_OUT
            } else {
                refusal::LOST
            };
            return self.answer_error(part, text.as_bytes(), now);
        }
        ticket.losses = ticket.losses.saturating_add(u8::from(first));
        let goal = goal_of(&ticket, backend.node);
        self.hold(ticket, bytes, Retry::at_once(goal, now), now);
    }

    /// Whether a request may be executed twice.
    fn may_run_again(&self, ticket: &Ticket, frame: &[u8]) -> bool {
        if ticket.readonly {
            return true;
        }
        let Some(row) = self.table.rows().get(usize::from(ticket.command)) else {
            return false;
        };
        let mut spans = Vec::new();
        let limits = request_limits(&self.config.limits, true);
        let scan = RequestScanner::default().next(frame, &limits, &mut spans);
        let whole = matches!(scan, Ok(Scan::Frame(_)));
        whole && row.may_run_again(&Args::new(frame, &spans))
    }
}
