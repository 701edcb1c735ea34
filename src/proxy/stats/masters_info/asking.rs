//! `Asking`: who waits for what the masters say of themselves (see `observe::masters_info`).

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use crate::clock::Time;
use crate::proxy::ids::{ClientId, Seq};
use crate::proxy::stats::masters_info::{Heard, Masters};
use crate::resp::reply::Reply;

/// What one client waits for.
#[derive(Debug, Clone, Default)]
pub struct Findings(pub(in crate::proxy) Arc<Inner>);

#[derive(Debug, Default)]
pub(in crate::proxy) struct Inner {
    /// Whether the sections are wanted, too, that servers give on request only.
    pub(in crate::proxy) all: bool,
    /// The masters that are asked in this client's name, in the order of its parts.
    pub(in crate::proxy) asked: OnceLock<Vec<SocketAddr>>,
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
    pub(in crate::proxy) client: ClientId,
    pub(in crate::proxy) seq: Seq,
    pub(in crate::proxy) part: u16,
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
pub(in crate::proxy) struct Census {
    /// Those of this turn.
    pub(in crate::proxy) gathered: Vec<Waiter>,
    pub(in crate::proxy) rounds: Vec<Round>,
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
