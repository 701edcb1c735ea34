//! `MastersInfoQueue`: asks the masters for INFO, once for all clients of a worker that want it in the same turn.
//!
//! The question leaves at the end of the turn. A client that asks before then gets its answer, a later one causes a
//! new question; so an answer always includes what its client has seen before. A master that is silent for a second
//! is left out (`leave_out_silent`), and its last answer is used.
//!
//! The first of those clients is the one in whose name nodes are asked. If it leaves, the others ask again.
//!
//! As for DBSIZE, a node counts by what it says at that moment. A node that has become a replica says so in its INFO.
//! A master without slots is asked for its line of CLUSTER NODES right before, on the same connection; unless it has
//! keys that count (see `cluster::myself`), its keyspace is left out.

use crate::clock::Time;
use crate::command::Command;
use crate::proxy::ids::PartId;
use crate::proxy::path::role_check::NODES;
use crate::proxy::pipeline::by_slot::PartTarget;
use crate::proxy::pipeline::merge::Merge;
use crate::proxy::pipeline::split::Split;
use crate::proxy::state::Proxy;
use crate::proxy::stats::masters_info::asking::{Findings, Questioned, Questions, Round, Waiter};
use crate::proxy::upstream::Target;
use crate::proxy::upstream::backend::Pin;
use crate::proxy::upstream::routes::everyone::Asked;

const INFO: &[u8] = b"*1\r\n$4\r\nINFO\r\n";
const INFO_ALL: &[u8] = b"*2\r\n$4\r\nINFO\r\n$3\r\nALL\r\n";

impl Proxy {
    /// Tells those who waited what was found, and asks for those who have come.
    #[cold]
    pub(in crate::proxy) fn answer_masters_info(&mut self, now: Time) {
        let rounds = std::mem::take(&mut self.masters_info_queue.rounds);
        for round in rounds {
            if round.first.findings.is_found() {
                self.tell(&round.first.findings, &round.others, now);
            } else if self.clients.get(round.first.part.client).is_none() {
                self.masters_info_queue.gathered.extend(round.others);
            } else {
                self.masters_info_queue.rounds.push(round);
            }
        }
        let clients = &self.clients;
        let is_here = |waiter: &Waiter| clients.get(waiter.part.client).is_some();
        self.masters_info_queue.gathered.retain(is_here);
        if !self.masters_info_queue.gathered.is_empty() {
            self.ask_masters(now);
        }
    }

    fn ask_masters(&mut self, now: Time) {
        let mut waiters = std::mem::take(&mut self.masters_info_queue.gathered);
        let table = self.table.clone();
        let Some(command) = table.named(b"info") else {
            debug_assert!(false, "INFO is a command");
            return;
        };
        let questions = self.questions(command);
        let others = waiters.split_off(1);
        let Some(first) = waiters.pop() else {
            return;
        };
        let part = first.part;
        let pipeline = self
            .clients
            .get_mut(part.client)
            .map(|own| &mut own.pipeline);
        let parts = questions.as_ref().map_or(0, |(own, _)| own.parts());
        // It has parts already, of which this is one.
        let whole = |_| Split::new(Merge::AllSucceeded, false);
        let second = pipeline
            .filter(|_| parts > 0)
            .and_then(|own| own.divide(part.seq, part.index, parts, whole));
        let (Some(second), Some((questions, targets))) = (second, questions) else {
            // Nobody is there to be asked.
            self.tell(&Findings::default(), &[first], now);
            return self.tell(&Findings::default(), &others, now);
        };
        let all = first.findings.0.all || others.iter().any(|other| other.findings.0.all);
        let frame = if all { INFO_ALL } else { INFO };
        let masters = questions.masters.iter().zip(targets);
        let asks: Vec<(Target, &[u8])> = masters
            .flat_map(|(master, target)| {
                let word = master.is_spare.then_some((target, NODES));
                word.into_iter().chain([(target, frame)])
            })
            .collect();
        debug_assert_eq!(asks.len(), parts);
        first.findings.0.asked.get_or_init(|| questions);
        self.stats.calls.cut(command.id, parts as u64);
        self.stats.split_parts.add(parts as u64);
        self.masters_info_queue.rounds.push(Round { first, others });
        let numbers = std::iter::once(part.index).chain(second..);
        for ((target, frame), number) in asks.into_iter().zip(numbers) {
            let to = PartTarget::Node(target, Pin::May);
            let part = PartId {
                index: number,
                ..part
            };
            self.send_part(part, command, to, frame, now);
        }
    }

    /// Whom INFO asks, and where; nothing if no cluster is known.
    fn questions(&self, command: &Command) -> Option<(Questions, Vec<Target>)> {
        let routes = &self.upstream.routes;
        let asked = |asked: Asked| {
            let target = asked.target()?;
            let master = Questioned {
                address: self.upstream.node(target.node)?.address,
                is_spare: matches!(asked, Asked::Spare(_)),
            };
            Some((master, target))
        };
        let (masters, targets) = routes.everyone(command, false).filter_map(asked).unzip();
        let topology = routes.topology()?.clone();
        Some((Questions { topology, masters }, targets))
    }

    fn tell(&mut self, findings: &Findings, waiters: &[Waiter], now: Time) {
        for waiter in waiters {
            waiter.findings.take_from(findings);
            self.fulfil(waiter.part, b"+OK\r\n", now);
        }
    }
}
