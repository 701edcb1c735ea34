//! Publishing and subscribing in the midst of it: one publisher, whose messages carry numbers, and subscribers in
//! both protocols. A gap is allowed while something is broken; a message twice, out of order, or to one who is not
//! subscribed is not. A message whose PUBLISH failed may come late or never: what a frozen node had read it sends
//! when it wakes.
//!
//! Channels of the cluster are in slots that do not move: a node hears of messages from other nodes over one link
//! each, so that only messages of one owner have an order. Shard channels move with the tags.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::client::DEADLINE;
use super::ledger::{Ledger, wall};
use crate::support::{Conn, Reply};

/// Between two rounds of messages.
const PERIOD: Duration = Duration::from_millis(5);
const PATTERN: &str = "news.*";

/// What was published and heard.
#[derive(Debug, Default)]
pub struct Press {
    pub published: AtomicU64,
    /// When each round of messages was published, in wall-clock microseconds.
    rounds: Mutex<Vec<u64>>,
    /// Messages that came late from a node that was gone for a while.
    late: AtomicU64,
    /// Those whose outcome is not known, by channel and number.
    pub unknown: Mutex<BTreeSet<(String, u64)>>,
    pub heard: AtomicU64,
    /// Times that a subscriber had to connect anew.
    pub connected: AtomicU64,
    /// When each subscriber last heard something, in wall-clock microseconds.
    pub last: [AtomicU64; 2],
}

impl Press {
    /// Before anything else is published to that channel.
    fn is_unknown(&self, channel: &str, number: u64) {
        let mut unknown = self.unknown.lock().expect("no panic holds it");
        unknown.insert((channel.to_string(), number));
    }

    /// The number of the next round of messages.
    fn begin_round(&self) -> u64 {
        let mut rounds = self.rounds.lock().expect("no panic holds it");
        rounds.push(wall());
        rounds.len() as u64
    }

    /// Whether a node that took this message, and said so, may have kept it for a while: it was frozen or cut
    /// off before it told the others.
    fn may_be_late(&self, number: u64, ledger: &Ledger) -> bool {
        let rounds = self.rounds.lock().expect("no panic holds it");
        let at = rounds.get(number as usize - 1).copied();
        at.is_some_and(|at| ledger.may_be_lost_within(at.saturating_sub(1_000_000), at + 1_000_000))
    }

    pub fn figures(&self) -> String {
        let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let unknown = self.unknown.lock().expect("no panic holds it").len();
        format!(
            "{} messages published, {unknown} more with unknown outcome, {} heard, in order but {} that a lost node kept; subscribers connected {} \
             times",
            get(&self.published),
            get(&self.heard),
            get(&self.late),
            get(&self.connected)
        )
    }

    fn knows(&self, channel: &str, number: u64) -> bool {
        let unknown = self.unknown.lock().expect("no panic holds it");
        !unknown.contains(&(channel.to_string(), number))
    }
}

/// The threads, one publisher and two subscribers.
pub fn start(
    addr: &str,
    tags: &[String],
    press: &Arc<Press>,
    ledger: &Arc<Ledger>,
    stop: &Arc<AtomicBool>,
) -> Vec<JoinHandle<()>> {
    let plain: Vec<String> = (0..6).map(|index| format!("news.{index}")).collect();
    let sharded: Vec<String> = tags.iter().map(|tag| format!("{{{tag}}}press")).collect();
    let mut threads = Vec::new();
    {
        let (addr, stop, press) = (addr.to_string(), stop.clone(), press.clone());
        let (plain, sharded) = (plain.clone(), sharded.clone());
        threads.push(thread::spawn(move || {
            publish(&addr, &plain, &sharded, &press, &stop);
        }));
    }
    for index in 0..2 {
        let mut subscriber = Subscriber {
            index,
            resp3: index == 1,
            requests: vec![
                ("SUBSCRIBE", plain.clone()),
                ("PSUBSCRIBE", vec![PATTERN.to_string()]),
                ("SSUBSCRIBE", sharded.clone()),
            ],
            heard: BTreeMap::new(),
            press: press.clone(),
            ledger: ledger.clone(),
        };
        let (addr, stop) = (addr.to_string(), stop.clone());
        threads.push(thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                subscriber.listen(&addr, &stop);
                thread::sleep(PERIOD);
            }
        }));
    }
    threads
}

fn publish(addr: &str, plain: &[String], sharded: &[String], press: &Press, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        let Ok(mut conn) = Conn::try_connect(addr) else {
            thread::sleep(PERIOD);
            continue;
        };
        conn.set_deadline(DEADLINE);
        'rounds: while !stop.load(Ordering::Relaxed) {
            let number = press.begin_round();
            let text = number.to_string();
            let one = [
                ("PUBLISH", &plain[number as usize % plain.len()]),
                ("SPUBLISH", &sharded[number as usize % sharded.len()]),
            ];
            for (word, channel) in one {
                match conn.try_command(&[word, channel, &text]) {
                    Ok(Reply::Int(_)) => {
                        press.published.fetch_add(1, Ordering::Relaxed);
                    }
                    Ok(_) => press.is_unknown(channel, number),
                    Err(_) => {
                        press.is_unknown(channel, number);
                        break 'rounds;
                    }
                }
            }
            thread::sleep(PERIOD);
        }
    }
}

struct Subscriber {
    index: usize,
    resp3: bool,
    requests: Vec<(&'static str, Vec<String>)>,
    /// The last number, by the word and the name it came through, and the channel.
    heard: BTreeMap<(String, String, String), u64>,
    press: Arc<Press>,
    ledger: Arc<Ledger>,
}

impl Subscriber {
    /// Subscribes and listens until the connection is lost or nothing is said.
    fn listen(&mut self, addr: &str, stop: &AtomicBool) {
        let Ok(mut conn) = Conn::try_connect(addr) else {
            return;
        };
        conn.set_deadline(DEADLINE);
        self.press.connected.fetch_add(1, Ordering::Relaxed);
        if self.resp3 && !matches!(conn.try_command(&["HELLO", "3"]), Ok(Reply::Map(_))) {
            return;
        }
        // What is still to be confirmed; while the cluster is broken a request may fail.
        for (word, names) in self.requests.clone() {
            let mut args = vec![word.to_string()];
            args.extend(names.iter().cloned());
            if conn.try_send(&Conn::encode(&args)).is_err() {
                return;
            }
            let mut left = names.len();
            while left > 0 {
                match conn.try_read_reply() {
                    Ok(reply) if reply.is_error() => return,
                    Ok(reply) => left -= usize::from(!self.take(&reply)),
                    Err(_) => return,
                }
            }
        }
        conn.set_deadline(Duration::from_millis(500));
        while !stop.load(Ordering::Relaxed) {
            match conn.try_read_reply() {
                Ok(reply) => {
                    if !self.take(&reply) {
                        self.ledger.violation("P1 no message", format!("{reply:?}"));
                    }
                }
                Err(error) if error.kind() == std::io::ErrorKind::TimedOut => {}
                Err(_) => return,
            }
        }
    }

    /// Takes a message, if it is one.
    fn take(&mut self, reply: &Reply) -> bool {
        let items = match reply {
            Reply::Push(items) if self.resp3 => items,
            Reply::Array(items) if !self.resp3 => items,
            other => {
                let text = format!("{other:?} in RESP3: {}", self.resp3);
                self.ledger.violation("P2 shape", text);
                return true;
            }
        };
        let words: Vec<String> = items.iter().filter_map(Reply::bulk_text).collect();
        if words.len() != items.len() || !words[0].ends_with("message") {
            return false;
        }
        let (name, channel) = (&words[1], &words[words.len() - 2]);
        let kind = ["message", "pmessage", "smessage"]
            .iter()
            .position(|word| *word == words[0]);
        let wanted = kind.is_some_and(|kind| self.requests[kind].1.contains(name));
        let number: Option<u64> = words.last().and_then(|text| text.parse().ok());
        let (true, Some(number)) = (wanted, number) else {
            self.ledger
                .violation("P3 foreign message", format!("{words:?}"));
            return true;
        };
        if !self.press.knows(channel, number) {
            return true;
        }
        let key = (words[0].clone(), name.clone(), channel.clone());
        let before = self.heard.get(&key).copied();
        if before > Some(number) && self.press.may_be_late(number, &self.ledger) {
            self.press.late.fetch_add(1, Ordering::Relaxed);
            return true;
        }
        self.heard.insert(key, number);
        if before >= Some(number) {
            let text = format!("{words:?} behind {before:?}");
            self.ledger.violation("P4 disorder", text);
        }
        self.press.heard.fetch_add(1, Ordering::Relaxed);
        self.press.last[self.index].store(wall(), Ordering::Relaxed);
        true
    }
}
