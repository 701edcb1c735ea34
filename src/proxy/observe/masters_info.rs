//! `Census`: the masters are asked what they say of themselves (INFO), once for all clients of a worker that want to
//! know it in the same turn.
//!
//! The question leaves at the end of the turn, so that a client that comes before then has its answer in it, and one
//! that comes later asks anew: what a client has been told of before is in what it gets. A master that is silent for
//! a second is left out by the rule for all such parts (`leave_out_silent`), and its last answer stands in.
//!
//! The first of those clients is the one in whose name nodes are asked. If it leaves, the others ask again.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use crate::clock::Time;
use crate::proxy::Proxy;
use crate::proxy::client::ClientId;
use crate::proxy::path::split::PartTarget;
use crate::proxy::pipeline::Seq;
use crate::proxy::pipeline::merge::{Merge, Split};
use crate::proxy::stats::masters_info::{Heard, Masters};
use crate::proxy::upstream::Target;
use crate::proxy::upstream::backend::Pin;
use crate::resp::reply::Reply;

const INFO: &[u8] = b"*1\r\n$4\r\nINFO\r\n";
const INFO_ALL: &[u8] = b"*2\r\n$4\r\nINFO\r\n$3\r\nALL\r\n";

/// What one client waits for.
#[derive(Debug, Clone, Default)]
pub struct Findings(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// Whether the sections are wanted, too, that servers give on request only.
    all: bool,
    /// The masters that are asked in this client's name, in the order of its parts.
    asked: OnceLock<Vec<SocketAddr>>,
    found: OnceLock<Arc<Masters>>,
}

impl Findings {
    /// Nothing is found yet. `all` says whether sections are wanted that servers give on request only.
    pub fn wanted(all: bool) -> Findings {
        let inner = Inner {
            all,
            ..Inner::default()
        };
        Findings(Arc::new(inner))
    }

    /// What the masters say, once the client's part, or parts, are answered.
    pub fn of(&self, replies: &[Reply<'_>], heard: &Heard, now: Time) -> Arc<Masters> {
        let asked = self.0.asked.get().map_or(&[][..], Vec::as_slice);
        let found = || {
            let texts = replies.iter().map(|reply| {
                let text = reply.text()?;
                Some(String::from_utf8_lossy(text).into_owned())
            });
            Arc::new(heard.complete(asked, texts, now))
        };
        self.0.found.get_or_init(found).clone()
    }

    fn take_from(&self, other: &Findings) {
        if let Some(found) = other.0.found.get() {
            self.0.found.get_or_init(|| found.clone());
        }
    }

    fn is_found(&self) -> bool {
        self.0.found.get().is_some()
    }
}

/// A client's part that waits.
#[derive(Debug)]
struct Waiter {
    client: ClientId,
    seq: Seq,
    part: u16,
    findings: Findings,
}

/// Those who wait for one round of questions.
#[derive(Debug)]
struct Round {
    /// In whose name it is.
    first: Waiter,
    others: Vec<Waiter>,
}

/// Clients that wait for what the masters say of themselves.
#[derive(Debug, Default)]
pub(in crate::proxy) struct Census {
    /// Those of this turn.
    gathered: Vec<Waiter>,
    rounds: Vec<Round>,
}

impl Census {
    /// Whether nobody waits.
    #[inline]
    pub fn is_idle(&self) -> bool {
        self.gathered.is_empty() && self.rounds.is_empty()
    }

    /// Whether something is to be done at once.
    pub fn is_due(&self) -> bool {
        let mut rounds = self.rounds.iter();
        !self.gathered.is_empty() || rounds.any(|round| round.first.findings.is_found())
    }

    /// A part of a client's request waits.
    pub fn gather(&mut self, client: ClientId, seq: Seq, part: u16, findings: Findings) {
        self.gathered.push(Waiter {
            client,
            seq,
            part,
            findings,
        });
    }
}

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
