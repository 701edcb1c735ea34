//! `Asking`: the clients that wait for the masters' INFO (see `observe::masters_info`).

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use crate::clock::Time;
use crate::cluster::myself::keys_count;
use crate::cluster::topology::Topology;
use crate::proxy::ids::PartId;
use crate::proxy::stats::masters_info::{Answer, Heard, Masters};
use crate::resp::reply::Reply;

/// What one client waits for.
#[derive(Debug, Clone, Default)]
pub struct Findings(pub(in crate::proxy) Arc<Inner>);

#[derive(Debug, Default)]
pub(in crate::proxy) struct Inner {
    /// Whether the sections are wanted, too, that servers give on request only.
    pub(in crate::proxy) all: bool,
    /// Who is asked in this client's name.
    pub(in crate::proxy) asked: OnceLock<Questions>,
    found: OnceLock<Arc<Masters>>,
}

/// The masters that are asked, in the order of the parts: one for each, and before it one more for a spare's word.
#[derive(Debug)]
pub(in crate::proxy) struct Questions {
    pub(in crate::proxy) topology: Arc<Topology>,
    pub(in crate::proxy) masters: Vec<Questioned>,
}

/// One of them.
#[derive(Debug)]
pub(in crate::proxy) struct Questioned {
    pub(in crate::proxy) address: SocketAddr,
    /// Whether it is a master without slots.
    pub(in crate::proxy) is_spare: bool,
}

impl Questions {
    /// How many parts they are.
    pub(in crate::proxy) fn parts(&self) -> usize {
        let spares = self.masters.iter().filter(|master| master.is_spare);
        self.masters.len() + spares.count()
    }

    /// What each has said, by the replies to the parts.
    fn answers<'a>(&'a self, replies: &'a [Reply<'_>]) -> impl Iterator<Item = Answer> + 'a {
        let mut replies = replies.iter().copied();
        self.masters.iter().map(move |master| {
            let word = master.is_spare.then(|| replies.next()).flatten();
            let has_keys = word.is_none_or(|word| keys_count(word.text(), &self.topology));
            let text = replies.next().and_then(|reply| reply.text());
            let Some(text) = text.map(String::from_utf8_lossy) else {
                return Answer::Silent;
            };
            Answer::of(&text, master.is_spare, has_keys)
        })
    }
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

    /// What the masters say, once the client's part, or parts, are answered. If one was replaced, the topology is `stale`.
    pub fn of(
        &self,
        replies: &[Reply<'_>],
        heard: &Heard,
        stale: &AtomicBool,
        now: Time,
    ) -> Arc<Masters> {
        let found = || {
            let Some(asked) = self.0.asked.get() else {
                return Arc::default();
            };
            let addresses = asked.masters.iter().map(|master| master.address);
            let answers: Vec<Answer> = asked.answers(replies).collect();
            if answers.contains(&Answer::Replaced) {
                stale.store(true, Ordering::Relaxed);
            }
            Arc::new(heard.complete(addresses.zip(answers), now))
        };
        self.0.found.get_or_init(found).clone()
    }

    pub(in crate::proxy) fn take_from(&self, other: &Findings) {
        if let Some(found) = other.0.found.get() {
            self.0.found.get_or_init(|| found.clone());
        }
    }

    pub(in crate::proxy) fn is_found(&self) -> bool {
        self.0.found.get().is_some()
    }
}

/// A client's part that waits.
#[derive(Debug)]
pub(in crate::proxy) struct Waiter {
    pub(in crate::proxy) part: PartId,
    pub(in crate::proxy) findings: Findings,
}

/// Those who wait for one round of questions.
#[derive(Debug)]
pub(in crate::proxy) struct Round {
    /// In whose name it is.
    pub(in crate::proxy) first: Waiter,
    pub(in crate::proxy) others: Vec<Waiter>,
}

/// Clients that wait for what the masters say of themselves.
#[derive(Debug, Default)]
pub(in crate::proxy) struct MastersInfoQueue {
    /// Those of this turn.
    pub(in crate::proxy) gathered: Vec<Waiter>,
    pub(in crate::proxy) rounds: Vec<Round>,
}

impl MastersInfoQueue {
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
    pub fn gather(&mut self, part: PartId, findings: Findings) {
        self.gathered.push(Waiter { part, findings });
    }
}
