//! `ExclusiveConnections`: those of one node: unused ones, those being made, the number in use, and the runs that wait
//! for one.
//!
//! A connection is ready before it is lent. Their number follows the peak of the last ten seconds plus some reserve, so
//! that a similar burst finds connections. `-backend-init-connections` is the minimum once one has been needed,
//! `-backend-idle-connections` the maximum of unused ones.
//!
//! Waiting runs are served in the order in which their clients asked.
//!
//! It must never know what a run is for, nor make a connection.

use std::collections::{BTreeMap, VecDeque};

use crate::proxy::ids::{BackendId, ClientId};
use crate::proxy::upstream::backend::{Backend, Flavor, State, Usage};

/// Seconds that a need is remembered, and the one that is under way.
const SECONDS: usize = 11;
/// The most connections that are made before anybody needs them, beside the least number.
const MARGIN_MAX: usize = 16;

/// How many connections there are to be of one flavour.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// The least, once there is one.
    pub least: usize,
    /// The most that nobody uses.
    pub idle: usize,
}

/// A run that waits for a connection.
#[derive(Debug, Clone, Copy)]
pub struct Waiter {
    /// Its client.
    pub client: ClientId,
    /// Its place in the client's lease.
    pub run: u16,
    /// What it asks of the connection.
    pub flavor: Flavor,
    /// The slot whose blocking requests keep their order, if it is one of them.
    pub slot: Option<u16>,
}

/// The exclusive connections of one node.
#[derive(Debug, Default)]
pub struct ExclusiveConnections {
    flavors: Vec<OfFlavor>,
    /// Runs that wait, by their order.
    queue: BTreeMap<u64, Waiter>,
    /// Whether an attempt to connect has failed since this was last asked.
    refused: bool,
    /// Whether the next one that comes back makes room for another connection, and of which flavour it must not be.
    owed: Option<Option<Flavor>>,
}

/// Those of one flavour.
#[derive(Debug)]
struct OfFlavor {
    flavor: Flavor,
    /// Ready and nobody's, the longest unused first. That one is lent first: a node that reads several connections at
    /// once reads those first that it has read before, so that requests sent in turn are then read in turn.
    idle: VecDeque<BackendId>,
    /// On their way.
    coming: usize,
    /// Lent, or not clean yet.
    busy: usize,
    /// Runs in the queue.
    waiting: usize,
    needs: Needs,
}

/// The most that were needed at once in each of the last seconds.
#[derive(Debug, Default)]
struct Needs {
    seconds: [usize; SECONDS],
    current: usize,
}

impl Needs {
    fn note(&mut self, need: usize) {
        let most = &mut self.seconds[self.current];
        *most = need.max(*most);
    }

    /// A second is over; this many are needed now.
    fn turn(&mut self, need: usize) {
        self.current = (self.current + 1) % SECONDS;
        self.seconds[self.current] = need;
    }

    fn most(&self) -> usize {
        self.seconds.into_iter().max().unwrap_or(0)
    }
}

/// How many connections there are to be beyond a need.
fn margin(need: usize) -> usize {
    need.div_ceil(4).min(MARGIN_MAX)
}

impl OfFlavor {
    fn new(flavor: Flavor) -> OfFlavor {
        OfFlavor {
            flavor,
            idle: VecDeque::new(),
            coming: 0,
            busy: 0,
            waiting: 0,
            needs: Needs::default(),
        }
    }

    fn len(&self) -> usize {
        self.idle.len() + self.coming + self.busy
    }

    fn need(&self) -> usize {
        self.busy + self.waiting
    }

    /// How many are to be made now.
    fn missing(&self, bounds: Bounds) -> usize {
        let spare = margin(self.need()).min(bounds.idle);
        let mut wanted = self.waiting + spare;
        if self.len() == 0 {
            wanted = wanted.max(bounds.least);
        }
        wanted.saturating_sub(self.idle.len() + self.coming)
    }

    /// How many may be idle, or become so.
    fn idle_max(&self, bounds: Bounds) -> usize {
        let most = self.needs.most();
        let whole = (most + margin(most)).max(bounds.least);
        whole.saturating_sub(self.busy).min(bounds.idle)
    }

    /// How many of the idle ones are too many.
    fn excess(&self, bounds: Bounds) -> usize {
        let free = self.idle.len() + self.coming;
        let kept = self.idle_max(bounds).max(self.waiting);
        free.saturating_sub(kept).min(self.idle.len())
    }
}

impl ExclusiveConnections {
    fn of_flavor(&mut self, flavor: Flavor) -> &mut OfFlavor {
        let at = self.flavors.iter().position(|own| own.flavor == flavor);
        let at = at.unwrap_or_else(|| {
            self.flavors.push(OfFlavor::new(flavor));
            self.flavors.len() - 1
        });
        &mut self.flavors[at]
    }

    /// All connections.
    pub fn len(&self) -> usize {
        self.flavors.iter().map(OfFlavor::len).sum()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether a connection is ready and nobody's.
    pub fn is_idle(&self, backend: BackendId) -> bool {
        self.flavors.iter().any(|own| own.idle.contains(&backend))
    }

    /// Connections on their way.
    pub fn coming(&self) -> usize {
        self.flavors.iter().map(|own| own.coming).sum()
    }

    /// A connection has been begun.
    pub fn ordered(&mut self, flavor: Flavor) {
        self.of_flavor(flavor).coming += 1;
    }

    /// One that was begun is ready.
    pub fn arrived(&mut self, flavor: Flavor, backend: BackendId) {
        let connections = self.of_flavor(flavor);
        debug_assert!(connections.coming > 0);
        connections.coming -= 1;
        connections.idle.push_back(backend);
        self.owed = None;
    }

    /// The one that was not used for longest.
    pub fn take(&mut self, flavor: Flavor) -> Option<BackendId> {
        let connections = self.of_flavor(flavor);
        let backend = connections.idle.pop_front()?;
        connections.busy += 1;
        connections.needs.note(connections.need());
        Some(backend)
    }

    /// One that was lent is clean again. Returns whether it is kept; else it is to be closed, and still counts.
    pub fn returned(&mut self, flavor: Flavor, backend: BackendId, bounds: Bounds) -> bool {
        let connections = self.of_flavor(flavor);
        debug_assert!(connections.busy > 0);
        connections.busy -= 1;
        connections.idle.push_back(backend);
        let kept = connections.excess(bounds) == 0;
        let owes = self.owed.is_some_and(|to| to != Some(flavor));
        if owes {
            self.owed = None;
        }
        kept && !owes
    }

    /// The node takes no more connections, and has refused this one. If somebody waits for it, one that is idle makes
    /// room: it is to be closed. If none is idle, the next one that comes back is. Requests that share a connection and
    /// clients of another protocol are not to wait for ever for those who came first.
    pub fn make_room(&mut self, refused: &Backend) -> Option<BackendId> {
        let to = match refused.usage {
            Usage::Shared => None,
            _ if self.of_flavor(refused.flavor).waiting > 0 => Some(refused.flavor),
            _ => return None,
        };
        let mut flavors = self.flavors.iter();
        let idle = flavors.find(|own| to != Some(own.flavor) && !own.idle.is_empty());
        let idle = idle.and_then(|own| own.idle.front().copied());
        self.owed = idle.is_none().then_some(to);
        idle
    }

    /// One has been closed.
    pub fn gone(&mut self, id: BackendId, backend: &Backend) {
        let connections = self.of_flavor(backend.flavor);
        match (backend.usage, backend.state) {
            (Usage::Idle, State::Ready) => {
                let at = connections.idle.iter().position(|own| *own == id);
                at.and_then(|at| connections.idle.remove(at));
            }
            (Usage::Idle, State::Connecting | State::Handshaking(_)) => {
                debug_assert!(connections.coming > 0);
                connections.coming -= 1;
                self.refused = true;
            }
            (Usage::Lent { .. } | Usage::Cleaning, _) => {
                debug_assert!(connections.busy > 0);
                connections.busy -= 1;
            }
            (Usage::Shared, _) => debug_assert!(false, "it is nobody's alone"),
        }
    }

    /// Whether an attempt to connect has failed since this was last asked.
    pub fn was_refused(&mut self) -> bool {
        std::mem::take(&mut self.refused)
    }

    /// A run waits.
    pub fn join(&mut self, order: u64, waiter: Waiter) {
        if self.queue.insert(order, waiter).is_none() {
            let connections = self.of_flavor(waiter.flavor);
            connections.waiting += 1;
            connections.needs.note(connections.need());
        }
    }

    /// A run waits no more.
    pub fn leave(&mut self, order: u64) {
        if let Some(waiter) = self.queue.remove(&order) {
            self.of_flavor(waiter.flavor).waiting -= 1;
        }
    }

    /// Whether any run waits.
    pub fn is_wanted(&self) -> bool {
        !self.queue.is_empty()
    }

    /// The runs that wait, in their order.
    pub fn waiters(&self) -> impl Iterator<Item = (u64, Waiter)> {
        self.queue.iter().map(|(order, waiter)| (*order, *waiter))
    }

    /// Whether no run waits for such a connection that asked before this one.
    pub fn is_next(&self, order: u64, flavor: Flavor) -> bool {
        let waiting = |own: &OfFlavor| own.flavor == flavor && own.waiting > 0;
        !self.flavors.iter().any(waiting)
            || !self
                .queue
                .range(..order)
                .any(|(_, waiter)| waiter.flavor == flavor)
    }

    /// The runs that there are connections for, in their order; `may_go` says whether one may go before those that
    /// asked before it and find none.
    pub fn served(&self, mut may_go: impl FnMut(u64, &Waiter) -> bool) -> Vec<Waiter> {
        let mut free: Vec<(Flavor, usize)> = self
            .flavors
            .iter()
            .map(|own| (own.flavor, own.idle.len().min(own.waiting)))
            .collect();
        let mut left: usize = free.iter().map(|(_, count)| count).sum();
        let mut served = Vec::new();
        for (order, waiter) in &self.queue {
            if left == 0 {
                break;
            }
            let own = free.iter_mut().find(|(own, _)| *own == waiter.flavor);
            if let Some((_, count)) = own
                && *count > 0
                && may_go(*order, waiter)
            {
                *count -= 1;
                left -= 1;
                served.push(*waiter);
            }
        }
        served
    }

    /// The flavours of which connections are to be made now, and how many.
    pub fn missing(&self, bounds: Bounds) -> Vec<(Flavor, usize)> {
        let missing = self.flavors.iter();
        let missing = missing.map(|own| (own.flavor, own.missing(bounds)));
        missing.filter(|(_, count)| *count > 0).collect()
    }

    /// A second is over. Returns the connections that nobody has needed for long, the longest unused first.
    pub fn turn(&mut self, bounds: Bounds) -> Vec<BackendId> {
        let mut excess = Vec::new();
        for connections in &mut self.flavors {
            connections.needs.turn(connections.need());
            let count = connections.excess(bounds);
            excess.extend(connections.idle.iter().take(count));
        }
        self.flavors
            .retain(|own| own.len() + own.waiting + own.needs.most() > 0);
        excess
    }

    /// Asserts what can be seen of it: so many connections are there, so many runs wait.
    pub fn check(&self) {
        for connections in &self.flavors {
            let waiters = self.queue.values();
            let waiting = waiters
                .filter(|own| own.flavor == connections.flavor)
                .count();
            assert_eq!(waiting, connections.waiting);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::ids::UserId;
    use crate::resp::encode::Protocol;

    const FLAVOR: Flavor = Flavor {
        tracking: false,
        protocol: Protocol::Resp2,
        database: 0,
        read_only: false,
        user: UserId::OWN,
    };
    const BOUNDS: Bounds = Bounds {
        least: 5,
        idle: 128,
    };

    fn backend(key: u32) -> BackendId {
        BackendId::from_parts(key, 1)
    }

    /// Orders what is missing and has it arrive; returns how many that was.
    fn fill(exclusive: &mut ExclusiveConnections, next: &mut u32) -> usize {
        let missing: usize = exclusive
            .missing(BOUNDS)
            .iter()
            .map(|(_, count)| count)
            .sum();
        for _ in 0..missing {
            exclusive.ordered(FLAVOR);
            *next += 1;
            exclusive.arrived(FLAVOR, backend(*next));
        }
        missing
    }

    fn wait(exclusive: &mut ExclusiveConnections, order: u64) {
        let waiter = Waiter {
            client: ClientId::from_parts(order as u32, 1),
            run: 0,
            flavor: FLAVOR,
            slot: None,
        };
        exclusive.join(order, waiter);
    }

    #[test]
    fn a_burst_like_one_of_the_last_ten_seconds_finds_its_connections() {
        let (mut exclusive, mut next) = (ExclusiveConnections::default(), 0);
        wait(&mut exclusive, 1);
        assert_eq!(fill(&mut exclusive, &mut next), 5, "the least number");
        exclusive.leave(1);
        let first = exclusive.take(FLAVOR).expect("one is ready");
        assert!(exclusive.returned(FLAVOR, first, BOUNDS));
        (1..=60).for_each(|order| wait(&mut exclusive, order));
        fill(&mut exclusive, &mut next);
        (1..=60).for_each(|order| exclusive.leave(order));
        for second in 0..10 {
            let taken: Vec<_> = (0..60).map_while(|_| exclusive.take(FLAVOR)).collect();
            assert_eq!(taken.len(), 60, "second {second}");
            assert_eq!(fill(&mut exclusive, &mut next), 0);
            for own in taken {
                assert!(exclusive.returned(FLAVOR, own, BOUNDS));
            }
            assert!(exclusive.turn(BOUNDS).is_empty());
        }
        let before = exclusive.len();
        for second in 1..10 {
            assert!(exclusive.turn(BOUNDS).is_empty(), "{second} s later");
        }
        // Ten whole seconds have passed behind the one in which they were needed.
        let given_up = exclusive.turn(BOUNDS).len();
        assert_eq!(before - given_up, BOUNDS.least);
    }

    #[test]
    fn more_are_made_before_they_are_needed() {
        let (mut exclusive, mut next) = (ExclusiveConnections::default(), 0);
        wait(&mut exclusive, 1);
        fill(&mut exclusive, &mut next);
        exclusive.leave(1);
        for lent in 1..=200 {
            assert!(exclusive.take(FLAVOR).is_some(), "{lent} are lent");
            fill(&mut exclusive, &mut next);
        }
        assert!(exclusive.len() <= 200 + MARGIN_MAX);
    }

    #[test]
    fn no_more_are_idle_than_may_be() {
        let (mut exclusive, mut next) = (ExclusiveConnections::default(), 0);
        (1..=200).for_each(|order| wait(&mut exclusive, order));
        fill(&mut exclusive, &mut next);
        (1..=200).for_each(|order| exclusive.leave(order));
        let taken: Vec<_> = (0..200).map_while(|_| exclusive.take(FLAVOR)).collect();
        assert_eq!(taken.len(), 200);
        let kept = taken
            .into_iter()
            .filter(|own| exclusive.returned(FLAVOR, *own, BOUNDS))
            .count();
        // Who is not kept would be closed; here it stays and counts.
        assert!(kept <= BOUNDS.idle);
        assert_eq!(exclusive.turn(BOUNDS).len(), exclusive.len() - BOUNDS.idle);
    }

    #[test]
    fn runs_are_served_in_their_order_unless_one_must_wait() {
        let mut exclusive = ExclusiveConnections::default();
        [5, 3, 4]
            .into_iter()
            .for_each(|order| wait(&mut exclusive, order));
        assert!(exclusive.is_next(3, FLAVOR) && !exclusive.is_next(4, FLAVOR));
        assert!(exclusive.is_next(2, FLAVOR));
        for key in 0..2 {
            exclusive.ordered(FLAVOR);
            exclusive.arrived(FLAVOR, backend(key));
        }
        let keys = |served: Vec<Waiter>| -> Vec<u32> {
            served.iter().map(|waiter| waiter.client.key()).collect()
        };
        assert_eq!(keys(exclusive.served(|_, _| true)), [3, 4]);
        assert_eq!(keys(exclusive.served(|order, _| order != 3)), [4, 5]);
        exclusive.leave(3);
        assert_eq!(keys(exclusive.served(|_, _| true)), [4, 5]);
        exclusive.check();
    }
}
