//! `Census`: the masters are asked what they say of themselves (INFO), once for all clients of a worker that want to
//! know it in the same turn.
//!
//! The question leaves at the end of the turn, so that a client that comes before then has its answer in it, and one
//! that comes later asks anew: what a client has been told of before is in what it gets. A master that is silent for
//! a second is left out by the rule for all such parts (`leave_out_silent`), and its last answer stands in.
//!
//! The first of those clients is the one in whose name nodes are asked. If it leaves, the others ask again.

use std::net::SocketAddr;

use crate::clock::Time;
use crate::proxy::pipeline::by_slot::PartTarget;
use crate::proxy::pipeline::merge::{Merge, Split};
use crate::proxy::state::Proxy;
use crate::proxy::stats::masters_info::asking::{Findings, Round, Waiter};
use crate::proxy::upstream::Target;
use crate::proxy::upstream::backend::Pin;

const INFO: &[u8] = b"*1\r\n$4\r\nINFO\r\n";
const INFO_ALL: &[u8] = b"*2\r\n$4\r\nINFO\r\n$3\r\nALL\r\n";

impl Proxy {
    /// Tells those who waited what was found, and asks for those who have come.
    #[cold]
    pub(in crate::proxy) fn take_census(&mut self, now: Time) {
        let rounds = std::mem::take(&mut self.census.rounds);
        for round in rounds {
            if round.first.findings.is_found() {
                self.tell(&round.first.findings, &round.others, now);
            } else if self.clients.get(round.first.client).is_none() {
                self.census.gathered.extend(round.others);
            } else {
                self.census.rounds.push(round);
            }
        }
        let clients = &self.clients;
        let is_here = |waiter: &Waiter| clients.get(waiter.client).is_some();
        self.census.gathered.retain(is_here);
        if !self.census.gathered.is_empty() {
            self.ask_masters(now);
        }
    }

    fn ask_masters(&mut self, now: Time) {
        let mut waiters = std::mem::take(&mut self.census.gathered);
        let table = self.table.clone();
        let Some(command) = table.named(b"info") else {
            debug_assert!(false, "INFO is a command");
            return;
        };
        let everyone = self.upstream.routes.everyone(command, false);
        let targets: Vec<Target> = everyone.filter_map(|asked| asked.target()).collect();
        let address = |target: &Target| self.upstream.node(target.node).map(|node| node.address);
        let addresses: Option<Vec<SocketAddr>> = targets.iter().map(address).collect();
        let others = waiters.split_off(1);
        let Some(first) = waiters.pop() else {
            return;
        };
        let Waiter {
            client, seq, part, ..
        } = first;
        let pipeline = self.clients.get_mut(client).map(|own| &mut own.pipeline);
        // It has parts already, of which this is one.
        let whole = |_| Split::new(Merge::AllSucceeded, false);
        let second = pipeline
            .filter(|_| !targets.is_empty())
            .and_then(|own| own.divide(seq, part, targets.len(), whole));
        let (Some(second), Some(addresses)) = (second, addresses) else {
            // Nobody is there to be asked.
            self.tell(&Findings::default(), &[first], now);
            return self.tell(&Findings::default(), &others, now);
        };
        let all = first.findings.0.all || others.iter().any(|other| other.findings.0.all);
        let frame = if all { INFO_ALL } else { INFO };
        first.findings.0.asked.get_or_init(|| addresses);
        self.stats.calls.cut(command.id, targets.len() as u64);
        self.stats.split_parts.add(targets.len() as u64);
        self.census.rounds.push(Round { first, others });
        let numbers = std::iter::once(part).chain(second..);
        for (target, number) in targets.into_iter().zip(numbers) {
            let to = PartTarget::Node(target, Pin::May);
            self.send_part(client, command, seq, number, to, frame, now);
        }
    }

    fn tell(&mut self, findings: &Findings, waiters: &[Waiter], now: Time) {
        for waiter in waiters {
            waiter.findings.take_from(findings);
            self.fulfil(waiter.client, waiter.seq, waiter.part, b"+OK\r\n", now);
        }
    }
}
