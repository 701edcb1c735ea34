//! When leases are looked at: a run that waits for its node, a blocked client whose reply is overdue, a
//! transaction that nobody goes on with.
//!
//! A blocked client costs no time of its own: it is looked at once a second, with all others.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::clock::Time;
use crate::cluster::slot::Slot;
use crate::proxy::Lost;
use crate::proxy::Proxy;
use crate::proxy::client::ClientId;
use crate::proxy::lease::blocking::Blocking;
use crate::proxy::lease::order::Order;
use crate::proxy::lease::run::Run;
use crate::proxy::lease::wait::Wait;
use crate::proxy::lease::{Next, Work};
use crate::proxy::upstream::backend::Patience;
use crate::proxy::upstream::node::NodeKey;

/// How often leases are looked at: their deadlines are seconds.
const SWEEP: Duration = Duration::from_secs(1);

/// How long a node may take to refuse a blocked client whose slot it serves no more. It looks at each client
/// once a second (7.0: `clientsCron`).
const DOUBT: Duration = Duration::from_secs(3);

/// How long until a node that cannot be tried, though nothing forbids it, is looked at again.
const PROBE: Duration = Duration::from_millis(50);
/// In one turn, timers are looked at so often: one may set another.
const ROUNDS: usize = 4;

/// The leases of one worker.
#[derive(Debug)]
pub struct Leases {
    /// How many clients hold one.
    pub held: usize,
    /// What is to be looked at, by its time and a number of its own.
    ///
    /// Invariant: a run whose `due` is set has its timer here, by that time and its order.
    timers: BTreeMap<(Time, u64), Timer>,
    /// Blocking requests that have not been sent.
    pub(super) order: Order,
    /// The last number given to a run or a timer.
    serial: u64,
    /// Nodes whose exclusive connections have changed.
    tended: Vec<NodeKey>,
    /// When nodes that runs wait for are tried again.
    probe_at: Time,
    next_sweep: Time,
}

/// What a timer is for.
#[derive(Debug, Clone, Copy)]
enum Timer {
    /// A run that waits.
    Run(ClientId, u16),
    /// A blocked client, who may have gone.
    Client(ClientId),
}

const NEVER: Time = Time::from_micros(u64::MAX);

impl Default for Leases {
    fn default() -> Leases {
        Leases {
            held: 0,
            timers: BTreeMap::new(),
            order: Order::default(),
            serial: 0,
            tended: Vec::new(),
            probe_at: NEVER,
            next_sweep: Time::default(),
        }
    }
}

impl Leases {
    /// A number that no run has had.
    pub(super) fn number(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    /// A blocked client is to be looked at.
    pub(super) fn wait(&mut self, id: ClientId, due: Time) {
        let number = self.number();
        self.timers.insert((due, number), Timer::Client(id));
    }

    /// A run waits until then, or does not wait.
    pub(super) fn set_due(&mut self, id: ClientId, run: &mut Run, index: u16, due: Option<Time>) {
        if let Some(before) = run.due {
            self.timers.remove(&(before, run.order));
        }
        if let Some(due) = due {
            debug_assert!(run.order > 0);
            self.timers.insert((due, run.order), Timer::Run(id, index));
        }
        run.due = due;
    }

    /// The exclusive connections of a node have changed, or the runs that wait for them.
    pub(in crate::proxy) fn tend(&mut self, node: NodeKey) {
        if !self.tended.contains(&node) {
            self.tended.push(node);
        }
    }

    pub(super) fn take_tended(&mut self) -> Vec<NodeKey> {
        std::mem::take(&mut self.tended)
    }

    /// Runs wait for a node that cannot be tried before `at`.
    pub(super) fn probe(&mut self, at: Time, now: Time) {
        let at = if at > now { at } else { now.after(PROBE) };
        self.probe_at = self.probe_at.min(at);
    }

    /// Whether it is time to try nodes again; the next time is then to be set anew.
    pub(super) fn takes_probe(&mut self, now: Time) -> bool {
        let due = now >= self.probe_at;
        if due {
            self.probe_at = NEVER;
        }
        due
    }

    /// How many runs wait. For tests.
    pub(super) fn waiting(&self) -> usize {
        let is_run = |timer: &&Timer| matches!(timer, Timer::Run(..));
        self.timers.values().filter(is_run).count()
    }

    /// When there is something to do.
    pub fn deadline(&self) -> Option<Time> {
        if !self.tended.is_empty() {
            return Some(Time::default());
        }
        let timer = self.timers.keys().next().map(|(due, _)| *due);
        let probe = Some(self.probe_at).filter(|at| *at != NEVER);
        timer.into_iter().chain(probe).min()
    }

    /// What is due, in the order in which clients asked.
    fn take_due(&mut self, now: Time) -> Vec<(u64, Timer)> {
        let later = self
            .timers
            .split_off(&(now.after(Duration::from_micros(1)), 0));
        let due = std::mem::replace(&mut self.timers, later);
        let mut due: Vec<(u64, Timer)> = due
            .into_iter()
            .map(|((_, number), timer)| (number, timer))
            .collect();
        due.sort_unstable_by_key(|(number, _)| *number);
        due
    }
}

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
        let failing = run.is_some_and(|run| self.upstream.is_failing(run.slot));
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
            if self.upstream.any_failing() {
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
            self.upstream.succeeded(slot);
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
