//! `Insight`: what the operator wants to know of single requests: which keys are hot or big, which requests were
//! slow and where their time went, which would not work without a proxy.
//!
//! Requests are looked at when their reply comes: their bytes are then still in the backend's output. Plain
//! requests are looked at once in a while ([`Looks`]) and when they were slow, so that all of this costs the
//! others one comparison.

pub mod audit;
pub mod big_keys;
pub mod hot_keys;
pub mod slow_log;

use std::net::SocketAddr;

use crate::clock::Time;
use crate::command::{self, Command, redact};
use crate::config::Limits;
use crate::proxy::client::Client;
use crate::proxy::request::request_limits;
use crate::resp::args::{Args, Span};
use crate::resp::frame::{RequestScanner, Scan};
use audit::Audit;
use big_keys::BigKeys;
use hot_keys::HotKeys;
use slow_log::SlowLog;

/// A request or a reply of so many bytes is looked at.
pub const BIG_BYTES: usize = 32 << 10;

/// Of so many requests one is taken for the hot keys, in the mean.
pub const SAMPLE: u64 = 256;

/// A request whose reply has come.
#[derive(Debug, Clone, Copy)]
pub struct Sight<'a> {
    /// Its bytes, as they were written to the node.
    pub request: &'a [u8],
    /// Its row.
    pub command: &'a Command,
    /// The slot of its keys, or [`crate::proxy::ids::NO_SLOT`].
    pub slot: u16,
    /// Bytes of its reply.
    pub reply_bytes: usize,
    /// Whose it is.
    pub client: &'a Client,
    /// Who answered.
    pub node: SocketAddr,
    /// When it came.
    pub started: Time,
    /// When it was written to the node.
    pub left: Time,
    /// Now.
    pub now: Time,
}

impl Sight<'_> {
    /// From its arrival until now, in microseconds.
    pub fn micros(&self) -> u64 {
        self.now.since(self.started).as_micros() as u64
    }

    /// Those of them that the node took, the network included.
    pub fn backend_micros(&self) -> u64 {
        self.now.since(self.left.max(self.started)).as_micros() as u64
    }
}

/// Bytes of a key that a line of the access log shows.
const KEY_BYTES_MAX: usize = 128;

/// When plain requests are looked at.
#[derive(Debug)]
struct Looks {
    /// Requests until the next line of the access log.
    until_logged: u64,
    /// Requests until the next sample.
    until_sampled: u64,
    /// Requests between the last look and the next.
    step: u64,
}

/// What a line of the access log shows of a request besides its command and its time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Looked {
    /// The beginning of its first key; nothing if it has none.
    pub key: Vec<u8>,
    /// Who answered.
    pub node: SocketAddr,
    /// Bytes of the request.
    pub request_bytes: usize,
    /// Bytes of the reply.
    pub reply_bytes: usize,
    /// What the node took of the time, in microseconds.
    pub backend_micros: u64,
}

/// What one worker has seen of single requests.
#[derive(Debug)]
pub struct Insight {
    /// Keys that are asked for most.
    pub hot: HotKeys,
    /// Keys with large values.
    pub big: BigKeys,
    /// Requests that took long.
    pub slow: SlowLog,
    /// Requests that only a proxy can serve.
    pub audit: Audit,
    /// The request that is looked at for the access log, while its reply is delivered.
    pub looked: Option<Looked>,
    /// Memory for its key.
    spare_key: Vec<u8>,
    looks: Looks,
    scanner: RequestScanner,
    spans: Vec<Span>,
    keys: Vec<u32>,
}

/// Why a request is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reasons {
    /// Its turn has come.
    pub due: bool,
    /// It took long.
    pub slow: bool,
}

impl Insight {
    /// Nothing seen yet; one in `log_every_n` is to be logged, or none.
    pub fn new(log_every_n: u64) -> Insight {
        let mut insight = Insight {
            hot: HotKeys::default(),
            big: BigKeys::default(),
            slow: SlowLog::default(),
            audit: Audit::default(),
            looked: None,
            spare_key: Vec::new(),
            looks: Looks {
                until_logged: 0,
                until_sampled: SAMPLE,
                step: 0,
            },
            scanner: RequestScanner::default(),
            spans: Vec::new(),
            keys: Vec::new(),
        };
        insight.restart(log_every_n);
        insight
    }

    /// One in `log_every_n` is to be logged from now on, or none. Returns how many requests there are until the
    /// next look.
    pub fn restart(&mut self, log_every_n: u64) -> u64 {
        self.looks.until_logged = if log_every_n == 0 {
            u64::MAX
        } else {
            log_every_n
        };
        self.step()
    }

    fn step(&mut self) -> u64 {
        self.looks.step = self.looks.until_logged.min(self.looks.until_sampled);
        debug_assert!(self.looks.step > 0);
        self.looks.step
    }

    /// The request whose turn had come is answered. Returns whether it is to be logged, and how many requests
    /// there are until the next look; `random` spreads samples, lest they fall in step with a client.
    pub fn advance(&mut self, log_every_n: u64, random: u64) -> (bool, u64) {
        let looks = &mut self.looks;
        looks.until_sampled -= looks.step;
        if looks.until_sampled == 0 {
            looks.until_sampled = 1 + random % (2 * SAMPLE - 1);
        }
        let mut logged = false;
        if looks.until_logged != u64::MAX {
            looks.until_logged -= looks.step;
            logged = looks.until_logged == 0;
            if logged {
                looks.until_logged = log_every_n.max(1);
            }
        }
        (logged, self.step())
    }

    /// Looks at a request whose reply has come.
    #[cold]
    #[inline(never)]
    pub fn look(&mut self, sight: &Sight<'_>, reasons: Reasons, limits: &Limits) {
        let mut scanner = std::mem::take(&mut self.scanner);
        let mut spans = std::mem::take(&mut self.spans);
        let scan = scanner.next(sight.request, &request_limits(limits, true), &mut spans);
        // What was sent to a node was made of arguments.
        if let Ok(Scan::Frame(_)) = scan {
            self.look_at(sight, &Args::new(sight.request, &spans), reasons);
        }
        self.scanner = RequestScanner::default();
        self.spans = spans;
    }

    fn look_at(&mut self, sight: &Sight<'_>, args: &Args<'_>, reasons: Reasons) {
        self.keys.clear();
        // Without keys that can be found it has none for us.
        command::keys(sight.command, args, &mut self.keys).ok();
        let hidden = redact::hidden(sight.command, args, None);
        let mut keys = self.keys.iter().map(|index| *index as usize);
        // A request of a wrong form may have a secret where others have a key.
        let key = keys.find(|index| !hidden.contains(index));
        let key = key.map(|index| args.at(index));
        if reasons.slow {
            self.slow.note(sight, args);
        }
        let bytes = sight.reply_bytes.max(sight.request.len());
        if let (Some(key), true) = (key, bytes >= BIG_BYTES) {
            self.big.note(key, bytes as u64, &sight.command.name);
        }
        if !reasons.due {
            return;
        }
        if let (Some(key), true) = (key, self.looks.step == self.looks.until_sampled) {
            self.hot.note(key, sight.slot);
        }
        let mut kept = std::mem::take(&mut self.spare_key);
        kept.clear();
        let key = key.unwrap_or_default();
        kept.extend_from_slice(&key[..key.len().min(KEY_BYTES_MAX)]);
        self.looked = Some(Looked {
            key: kept,
            node: sight.node,
            request_bytes: sight.request.len(),
            reply_bytes: sight.reply_bytes,
            backend_micros: sight.backend_micros(),
        });
    }

    /// Takes back what was looked at, for its memory.
    pub fn give_back(&mut self, looked: Option<Looked>) {
        if let Some(looked) = looked {
            self.spare_key = looked.key;
        }
    }

    /// Forgets all that is counted; the slow log has its own reset.
    pub fn reset(&mut self) {
        self.hot = HotKeys::default();
        self.big = BigKeys::default();
        self.audit = Audit::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_nth_request_is_logged_whatever_is_sampled() {
        for every in [1, 2, 7, 100, 1000] {
            let mut insight = Insight::new(every);
            let (mut logged, mut count, mut looks) = (Vec::new(), 0, 0);
            let mut step = insight.restart(every);
            while count < 100_000 {
                count += step;
                looks += 1;
                let (log, next) = insight.advance(every, count * 7919);
                if log {
                    logged.push(count);
                }
                step = next;
            }
            assert!(
                logged
                    .iter()
                    .enumerate()
                    .all(|(n, at)| *at == every * (n as u64 + 1))
            );
            assert!(looks >= 100_000 / SAMPLE / 2);
        }
        let mut insight = Insight::new(0);
        assert!((0..100).all(|random| !insight.advance(0, random).0));
    }
}
