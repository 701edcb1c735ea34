//! `Leases`: the leases of one worker, ordered by when each must be checked next.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::clock::Time;
use crate::proxy::ids::{ClientId, NodeKey};
use crate::proxy::lease::state::accepted::Accepted;
use crate::proxy::lease::state::order::Order;
use crate::proxy::lease::state::run::Run;
use crate::sort;

/// How long until a node that cannot be tried, though nothing forbids it, is looked at again.
const PROBE: Duration = Duration::from_millis(50);

/// The leases of one worker.
#[derive(Debug)]
pub struct Leases {
    /// How many clients hold one.
    pub held: usize,
    /// What is to be looked at, by its time and a number of its own.
    ///
    /// Invariant: a run whose `due` is set has its timer here, by that time and its order.
    pub(in crate::proxy::lease) timers: BTreeMap<(Time, u64), Timer>,
    /// Blocking requests that have not been sent.
    pub(in crate::proxy::lease) order: Order,
    /// Blocking requests that have been sent.
    ///
    /// Invariant: every run that is patient, has a slot and has a connection is here.
    pub(in crate::proxy::lease) accepted: Accepted,
    /// The last number given to a run or a timer.
    serial: u64,
    /// Nodes whose exclusive connections have changed.
    tended: Vec<NodeKey>,
    /// When nodes that runs wait for are tried again.
    probe_at: Time,
    pub(in crate::proxy::lease) next_sweep: Time,
}

/// What a timer is for.
#[derive(Debug, Clone, Copy)]
pub(in crate::proxy::lease) enum Timer {
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
            accepted: Accepted::default(),
            serial: 0,
            tended: Vec::new(),
            probe_at: NEVER,
            next_sweep: Time::default(),
        }
    }
}

impl Leases {
    /// A number that no run has had.
    pub(in crate::proxy::lease) fn number(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    /// A blocked client is to be looked at.
    pub(in crate::proxy::lease) fn wait(&mut self, id: ClientId, due: Time) {
        let number = self.number();
        self.timers.insert((due, number), Timer::Client(id));
    }

    /// A run waits until then, or does not wait.
    pub(in crate::proxy::lease) fn set_due(
        &mut self,
        id: ClientId,
        run: &mut Run,
        index: u16,
        due: Option<Time>,
    ) {
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

    pub(in crate::proxy::lease) fn take_tended(&mut self) -> Vec<NodeKey> {
        std::mem::take(&mut self.tended)
    }

    /// Runs wait for a node that cannot be tried before `at`.
    pub(in crate::proxy::lease) fn probe(&mut self, at: Time, now: Time) {
        let at = if at > now { at } else { now.after(PROBE) };
        self.probe_at = self.probe_at.min(at);
    }

    /// Whether it is time to try nodes again; the next time is then to be set anew.
    pub(in crate::proxy::lease) fn takes_probe(&mut self, now: Time) -> bool {
        let due = now >= self.probe_at;
        if due {
            self.probe_at = NEVER;
        }
        due
    }

    /// How many runs wait. For tests.
    pub(in crate::proxy::lease) fn waiting(&self) -> usize {
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
    pub(in crate::proxy::lease) fn take_due(&mut self, now: Time) -> Vec<(u64, Timer)> {
        let later = self
            .timers
            .split_off(&(now.after(Duration::from_micros(1)), 0));
        let due = std::mem::replace(&mut self.timers, later);
        let mut due: Vec<(u64, Timer)> = due
            .into_iter()
            .map(|((_, number), timer)| (number, timer))
            .collect();
        sort::by_key(&mut due, |(number, _)| *number);
        due
    }
}
