//! Time passes: what is due is done, and the worker is told when to come again.

use crate::clock::Time;
use crate::proxy::actions::Wanted;
use crate::proxy::planted_bugs;
use crate::proxy::state::Proxy;
use crate::proxy::upstream::backend::{Patience, State};
use crate::proxy::upstream::lost::Lost;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How often deadlines are looked at: they are seconds, this is their grain.
const SWEEP: Duration = Duration::from_millis(50);

impl Proxy {
    /// Time passes: what is due is done. What was answered before leaves from now on. Returns whether the worker
    /// begins to rest: nobody asked for anything for a second, and memory has been given back.
    pub fn tick(&mut self, now: Time) -> bool {
        self.begin_turn(now);
        self.stats.turn_at.set(now.as_micros());
        self.turn_latencies.settle(&self.stats.calls, now);
        if now >= self.hold_due {
            self.release_all(now);
        }
        self.resume_logins(now);
        self.resume_questions(now);
        self.tick_leases(now);
        if self.scripts_due.is_some_and(|due| now >= due) {
            self.watch_scripts(now);
        }
        if now >= self.next_sweep {
            self.sweep(now);
        }
        if !self.masters_info_queue.is_idle() {
            self.answer_masters_info(now);
        }
        if self.near.is_some() {
            self.tick_near(now);
        }
        if self.client_pause.is_some_and(|pause| now >= pause.until) {
            self.end_client_pause();
        }
        if self.pubsub.is_due(now) {
            self.tend_subscriptions(now);
        }
        if !self.tracking.is_empty() {
            self.tend_tracking();
        }
        if !self.tracking.bcast.is_empty() {
            self.tend_feeds(now);
        }
        if self.tracking.again.due().is_some_and(|due| now >= due) {
            self.tell_again(now);
        }
        if now >= self.tracking.look_at && self.is_anything_tracked() {
            self.ask_quiet(now);
        }
        if now >= self.next_idle_sweep {
            self.sweep_idle(now);
        }
        if self.process.stale.load(Ordering::Relaxed) {
            self.process.stale.store(false, Ordering::Relaxed);
            self.want_refresh(Wanted::Moved);
        }
        let due = self.rates.is_due(now);
        if due {
            self.insight.hot.tick(now);
            self.sample(now);
        }
        let active = due && self.rates.take(&self.stats, now);
        let rests = due && !active && self.has_rest_due();
        if rests {
            self.give_memory_back();
        } else if active {
            self.shed_memory();
        }
        rests
    }

    fn sweep(&mut self, now: Time) {
        self.next_sweep = now.after(SWEEP);
        self.send_returned();
        let mut outstanding = false;
        let mut backends = std::mem::take(&mut self.scratch.backends);
        backends.extend(self.upstream.backends.iter().map(|(id, _)| id));
        for id in backends.drain(..) {
            let Some(backend) = self.upstream.backends.get(id) else {
                continue;
            };
            let lost = match (backend.state, backend.tickets.is_empty()) {
                (State::Connecting | State::Handshaking(_), _) => {
                    outstanding = true;
                    self.judge_opening(id, now)
                }
                (State::Ready, false) => match backend.patience {
                    Patience::Endless => None,
                    Patience::Until(at) => {
                        outstanding = true;
                        self.judge_doubted(id, at, now)
                    }
                    Patience::None => {
                        outstanding = true;
                        self.judge_silence(id, now)
                    }
                },
                (State::Ready, true) => None,
            };
            match lost {
                Some(Lost::TimedOut) if planted_bugs::is_on("late-reply") => {
                    self.forget_oldest(id, now)
                }
                Some(lost) => self.lose_backend(id, lost, now),
                None => {
                    self.leave_out_silent(id, now);
                    self.watch_head(id, now);
                }
            }
        }
        outstanding |= self.tend_aside(now);
        self.read_on(now);
        self.scratch.backends = backends;
        self.swept = (self.stats.backend_requests.get(), outstanding);
        if !self.holding.is_empty() {
            self.want_refresh(Wanted::Trouble);
        }
    }

    /// When [`Proxy::tick`] has something to do, if no input comes before.
    pub fn next_deadline(&self) -> Option<Time> {
        let (requests, outstanding) = self.swept;
        let busy = outstanding
            || !self.holding.is_empty()
            || !self.returned.is_empty()
            || requests != self.stats.backend_requests.get();
        let sweep = busy.then_some(self.next_sweep);
        let held = (!self.holding.is_empty()).then_some(self.hold_due);
        let paused = self.client_pause.map(|pause| pause.until);
        let rest = (self.pool.free_bytes() + self.inbox.free() > 0).then(|| self.rates.due_at());
        let logins = self.late_logins.front().map(|(due, _)| *due);
        let questions = self.late_questions.front().map(|(due, _)| *due);
        let leases = self.leases.deadline();
        let subscribed = self.pubsub.deadline();
        let tracking = self.tracking_deadline();
        let (commands, is_watched) = self.idle_swept;
        let watched = is_watched || commands != self.stats.commands.get();
        let idle = watched.then_some(self.next_idle_sweep);
        let behind = (self.is_behind() || self.masters_info_queue.is_due()).then(Time::default);
        let due = [
            behind,
            sweep,
            idle,
            held,
            paused,
            rest,
            logins,
            questions,
            leases,
            subscribed,
            tracking,
            self.scripts_due,
        ]
        .into_iter()
        .flatten()
        .min();
        match self.near.as_deref() {
            None => due,
            Some(near) => due.into_iter().chain(near.deadline()).min(),
        }
    }

    /// Whether clients, or what is done for them in steps, wait for the next turn, which is to come at once.
    #[inline]
    pub fn is_behind(&self) -> bool {
        !self.behind.is_empty()
            || !self.unreached.is_empty()
            || !self.unmerged.is_empty()
            || !self.pubsub.outbox.is_empty()
            || !self.pubsub.leaving.is_empty()
            || !self.listings.is_empty()
            || self.tracking.is_behind()
            || self
                .near
                .as_deref()
                .is_some_and(|near| near.store.has_dropped())
    }
}
