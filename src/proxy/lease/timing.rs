//! When leases are checked: runs that wait for their node, blocked clients whose reply is overdue, idle transactions.
//!
//! A blocked client has no timer of its own: all are checked together once a second.

use std::time::Duration;

use crate::clock::Time;
use crate::cluster::slot::Slot;
use crate::proxy::ids::ClientId;
use crate::proxy::lease::state::blocking::Blocking;
use crate::proxy::lease::state::leases::Timer;
use crate::proxy::lease::state::wait::Wait;
use crate::proxy::lease::state::{Next, Work};
use crate::proxy::state::Proxy;
use crate::proxy::upstream::backend::Patience;
use crate::proxy::upstream::lost::Lost;

/// How often leases are looked at: their deadlines are seconds.
const SWEEP: Duration = Duration::from_secs(1);

/// How long a node may take to refuse a blocked client whose slot it serves no more. It looks at each client
/// once a second (7.0: `clientsCron`).
const DOUBT: Duration = Duration::from_secs(3);

/// In one turn, timers are looked at so often: one may set another.
const ROUNDS: usize = 4;

impl Proxy {
    /// What is due is done.
    pub(in crate::proxy) fn tick_leases(&mut self, now: Time) {
        self.tend_stocks(now);
        for _ in 0..ROUNDS {
            let due = self.leases.deadline().is_some_and(|at| now >= at);
            if !due {
                break;
            }
            self.fire_timers(now);
            self.tend_stocks(now);
        }
        if now >= self.leases.next_sweep {
            self.leases.next_sweep = now.after(SWEEP);
            if self.leases.held > 0 {
                self.sweep_leases(now);
            }
            self.trim_stocks(now);
        }
    }

    /// The routes have changed, or a node is back: what waits may try at once.
    pub(in crate::proxy) fn hasten_leases(&mut self, now: Time) {
        let timers = self.leases.timers.values();
        let runs: Vec<(ClientId, u16)> = timers
            .filter_map(|timer| match timer {
                Timer::Run(id, index) => Some((*id, *index)),
                Timer::Client(_) => None,
            })
            .collect();
        for (id, index) in runs {
            self.hasten_run(id, index, now);
        }
    }

    /// A run that waits may try at `at` already.
    pub(super) fn hasten_run(&mut self, id: ClientId, index: u16, at: Time) {
        let lease = self.clients.get_mut(id).and_then(|c| c.lease.as_mut());
        let run = lease.and_then(|lease| lease.runs.get_mut(usize::from(index)));
        if let Some(run) = run
            && run.due.is_some_and(|due| due > at)
        {
            self.leases.set_due(id, run, index, Some(at));
        }
    }

    fn fire_timers(&mut self, now: Time) {
        for (number, timer) in self.leases.take_due(now) {
            match timer {
                Timer::Client(id) => self.attend_blocked(id, now),
                Timer::Run(id, index) => self.try_run(id, index, number, now),
            }
        }
    }

    /// A run that has waited is tried again. Its timer has been taken out.
    fn try_run(&mut self, id: ClientId, index: u16, order: u64, now: Time) {
        let Some(mut lease) = self.take_lease(id) else {
            debug_assert!(false, "a timer of a run that is not");
            return;
        };
        let mut next = Next::Keep;
        // Another run of the lease may have ended this one in between.
        if let Some(run) = lease.runs.get_mut(usize::from(index))
            && run.order == order
            && run.due.is_some_and(|due| now >= due)
        {
            next = self.begin_or_wait(id, &mut lease, index, now, now);
        }
        self.put_lease(id, lease, next, now);
    }

    /// There is a connection for a run that waits.
    pub(super) fn serve_run(&mut self, id: ClientId, index: u16, now: Time) {
        let Some(mut lease) = self.take_lease(id) else {
            debug_assert!(false, "a run waits that is not");
            return;
        };
        let next = self.begin_served(id, &mut lease, index, now);
        self.put_lease(id, lease, next, now);
    }

    /// The node that a run waits for has refused a connection: a master that is asked for its replicas counts as one
    /// without any, and where others have waited in vain nobody waits as long again.
    pub(super) fn node_refuses(&mut self, id: ClientId, index: u16, now: Time) {
        let lease = self.clients.get(id).and_then(|c| c.lease.as_deref());
        let Some(lease) = lease else {
            debug_assert!(false, "a run waits that is not");
            return;
        };
        let waits = matches!(lease.work, Work::Wait(_));
        let run = lease.runs.get(usize::from(index));
        let failing = run.is_some_and(|run| self.upstream.is_failing_exclusive(run.slot));
        if !waits && !failing {
            return;
        }
        let Some(mut lease) = self.take_lease(id) else {
            return;
        };
        let next = if waits {
            self.count_nobody(id, &mut lease, index, now)
        } else {
            let text = self.give_up_text(&lease.runs[usize::from(index)]);
            self.give_up(id, &mut lease, index, &text, now)
        };
        self.put_lease(id, lease, next, now);
    }

    /// The node that a run waits for has refused its client's user, in these words. That says nothing of others.
    pub(in crate::proxy) fn deny_run(
        &mut self,
        id: ClientId,
        index: u16,
        denial: &[u8],
        now: Time,
    ) {
        let Some(mut lease) = self.take_lease(id) else {
            return;
        };
        let mut next = Next::Keep;
        if matches!(lease.work, Work::Wait(_)) {
            next = self.count_nobody(id, &mut lease, index, now);
        } else if let Some(run) = lease.runs.get_mut(usize::from(index)) {
            self.leave(id, run, index, now);
            run.held_since = None;
            next = self.end_in_vain(id, &mut lease, index, denial, now);
        }
        self.put_lease(id, lease, next, now);
    }

    /// Looks at every lease.
    fn sweep_leases(&mut self, now: Time) {
        let mut idle = Vec::new();
        let mut late = Vec::new();
        let mut served = Vec::new();
        let idle_max = self.config.transaction_idle_timeout;
        for (id, client) in self.clients.iter() {
            let Some(lease) = &client.lease else {
                continue;
            };
            if self.upstream.any_failing_exclusive() {
                // A node that lets a client wait serves its slot.
                let runs = lease.runs.iter();
                served.extend(runs.filter(|run| run.is_accepted(now)).map(|run| run.slot));
            }
            match &lease.work {
                Work::Transaction(_) => {
                    let lent = lease.runs.iter().any(|run| run.backend.is_some());
                    let idles = client.pipeline.is_empty()
                        && !idle_max.is_zero()
                        && now.since(lease.active_at) >= idle_max;
                    if lent && idles {
                        idle.push(id);
                    }
                }
                // See `deadlines::streamed`.
                Work::Streamed => {}
                Work::Blocking(Blocking { deadline, .. }) | Work::Wait(Wait { deadline, .. }) => {
                    let overdue =
                        deadline.is_some_and(|at| now >= at.after(self.config.request_timeout));
                    if overdue {
                        late.extend(lease.runs.iter().filter_map(|run| run.backend));
                    }
                }
            }
        }
        for slot in served {
            self.upstream.succeeded_exclusive(slot);
        }
        for id in idle {
            self.stats.leases_idle.add(1);
            self.park_transaction(id, now);
        }
        for backend in late {
            self.lose_backend(backend, Lost::TimedOut, now);
        }
    }

    /// The routes have changed: a blocked client whose node is not its slot's owner any more should be told
    /// so by that node. If it is not in a while, the node is looked at like one that owes a reply.
    pub(in crate::proxy) fn doubt_blocked(&mut self, now: Time) {
        if self.leases.held == 0 {
            return;
        }
        for id in self.upstream.backends.ids() {
            let Some(backend) = self.upstream.backends.get_mut(id) else {
                continue;
            };
            let Some(ticket) = backend.tickets.front() else {
                continue;
            };
            let owner = Slot::new(ticket.slot).and_then(|slot| self.upstream.routes.shard(slot));
            let moved = owner.is_some_and(|shard| shard.master != backend.node);
            backend.patience = match backend.patience {
                Patience::Endless if moved => Patience::Until(now.after(DOUBT)),
                Patience::Until(_) if !moved => Patience::Endless,
                same => same,
            };
        }
    }
}
