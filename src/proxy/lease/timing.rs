//! When leases are looked at: a run that waits for its node, a blocked client whose reply is overdue, a
//! transaction that nobody goes on with.
//!
//! A blocked client costs no time of its own: it is looked at once a second, with all others.

use std::time::Duration;

use crate::clock::Time;
use crate::cluster::slot::Slot;
use crate::proxy::Lost;
use crate::proxy::Proxy;
use crate::proxy::backend::Patience;
use crate::proxy::client::ClientId;
use crate::proxy::lease::blocking::Blocking;
use crate::proxy::lease::wait::Wait;
use crate::proxy::lease::{Lease, Next, Work};

/// How often leases are looked at: their deadlines are seconds.
const SWEEP: Duration = Duration::from_secs(1);

/// How long a node may take to refuse a blocked client whose slot it serves no more. It looks at each client
/// once a second (7.0: `clientsCron`).
const DOUBT: Duration = Duration::from_secs(3);

/// The leases of one worker.
#[derive(Debug)]
pub struct Leases {
    /// How many clients hold one.
    pub held: usize,
    /// Clients with runs that wait; some may have gone.
    waiting: Vec<ClientId>,
    /// When the first of those is due.
    due: Time,
    next_sweep: Time,
}

impl Default for Leases {
    fn default() -> Leases {
        Leases {
            held: 0,
            waiting: Vec::new(),
            due: Time::from_micros(u64::MAX),
            next_sweep: Time::default(),
        }
    }
}

impl Leases {
    /// A run of this client waits.
    pub(super) fn wait(&mut self, id: ClientId, due: Time) {
        if !self.waiting.contains(&id) {
            self.waiting.push(id);
        }
        self.due = self.due.min(due);
    }

    /// When there is something to do, if runs wait.
    pub fn deadline(&self) -> Option<Time> {
        (!self.waiting.is_empty()).then_some(self.due)
    }
}

impl Proxy {
    /// What is due is done.
    pub(in crate::proxy) fn tick_leases(&mut self, now: Time) {
        if now >= self.leases.due {
            self.release_leases(now);
        }
        if self.leases.held > 0 && now >= self.leases.next_sweep {
            self.leases.next_sweep = now.after(SWEEP);
            self.sweep_leases(now);
        }
    }

    /// The routes have changed, or a node is back: what waits may try at once.
    pub(in crate::proxy) fn hasten_leases(&mut self, now: Time) {
        if !self.leases.waiting.is_empty() {
            self.leases.due = now;
        }
        for id in self.leases.waiting.clone() {
            let client = self.clients.get_mut(id);
            if let Some(lease) = client.and_then(|client| client.lease.as_mut()) {
                for run in &mut lease.runs {
                    run.due = run.due.map(|due| due.min(now));
                }
            }
        }
    }

    fn release_leases(&mut self, now: Time) {
        self.leases.due = Time::from_micros(u64::MAX);
        for id in std::mem::take(&mut self.leases.waiting) {
            if self.attend_blocked(id, now) {
                continue;
            }
            if let Some(mut lease) = self.take_lease(id) {
                let next = self.release_runs(id, &mut lease, now);
                self.put_lease(id, lease, next, now);
            }
        }
    }

    fn release_runs(&mut self, id: ClientId, lease: &mut Lease, now: Time) -> Next {
        for index in 0..lease.runs.len() {
            let Some(due) = lease.runs.get(index).and_then(|run| run.due) else {
                continue;
            };
            let next = self.begin_or_wait(id, lease, index as u16, due, now);
            if next == Next::End {
                return Next::End;
            }
        }
        Next::Keep
    }

    /// Looks at every lease.
    fn sweep_leases(&mut self, now: Time) {
        let mut idle = Vec::new();
        let mut late = Vec::new();
        let idle_max = self.config.transaction_idle_timeout;
        for (id, client) in self.clients.iter() {
            let Some(lease) = &client.lease else {
                continue;
            };
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
                Work::Blocking(Blocking { deadline, .. }) | Work::Wait(Wait { deadline, .. }) => {
                    let overdue =
                        deadline.is_some_and(|at| now >= at.after(self.config.request_timeout));
                    if overdue {
                        late.extend(lease.runs.iter().filter_map(|run| run.backend));
                    }
                }
            }
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
