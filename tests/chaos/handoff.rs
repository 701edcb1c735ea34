//! Hand-off: producers push tokens to lists, consumers wait for them with BLPOP and BLMPOP. A token is popped at
//! most once, and one whose push was acknowledged is popped once.
//!
//! What is not blamed on the proxy: a node that was promoted without the last writes has a token again that was
//! popped, or has it no more; both only if a fault that loses data was on between. And a pop whose outcome its
//! client was not told, or did not wait for, may have taken one token.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::client::{DEADLINE, classify};
use super::ledger::{End, Ledger, Span, wall};
use super::random::Random;
use crate::support::{Conn, Reply};

pub const PRODUCERS: usize = 2;
const CONSUMERS: usize = 8;
/// How long a token may have waited when a fault took it.
const LINGERS: u64 = 15_000_000;
const SECOND: u64 = 1_000_000;
/// How long behind its client's end a pop may still take a token: the proxy waits a moment for what was there
/// when it was asked, and may be frozen itself.
const LATE: u64 = 4 * SECOND;

#[derive(Debug, Clone)]
struct Token {
    queue: usize,
    end: End,
    sent_at: u64,
    ended_at: u64,
    /// When it was popped, each time.
    popped: Vec<u64>,
}

/// One pop, answered with a token or without.
#[derive(Debug, Clone, Copy)]
struct Pop {
    queue: usize,
    span: Span,
}

/// All queues, and what became of the tokens.
#[derive(Debug)]
pub struct Queues {
    tags: Vec<String>,
    /// The number of the first producer in the ledger.
    first: usize,
    tokens: Vec<Mutex<Vec<Token>>>,
    /// Pops that brought a token, and those that may have taken one.
    pops: Mutex<Vec<Pop>>,
    unknown: Mutex<Vec<Pop>>,
    empty: AtomicU64,
    failed: AtomicU64,
    twice_by_store: AtomicU64,
    lost_by_store: AtomicU64,
    lost_unheard: AtomicU64,
}

impl Queues {
    /// One queue for each of these tags; its producers are those from `first` on in the ledger.
    pub fn new(tags: &[String], first: usize) -> Queues {
        Queues {
            tags: tags.to_vec(),
            first,
            tokens: (0..PRODUCERS).map(|_| Mutex::default()).collect(),
            pops: Mutex::default(),
            unknown: Mutex::default(),
            empty: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            twice_by_store: AtomicU64::new(0),
            lost_by_store: AtomicU64::new(0),
            lost_unheard: AtomicU64::new(0),
        }
    }

    fn key(&self, queue: usize) -> String {
        format!("q:{{{}}}", self.tags[queue])
    }

    /// Writes down a token that is about to be pushed.
    fn push(&self, producer: usize, queue: usize, number: u32) {
        let mut tokens = self.tokens[producer].lock().expect("no panic holds it");
        assert_eq!(
            tokens.len(),
            number as usize,
            "a producer writes nothing else"
        );
        tokens.push(Token {
            queue,
            end: End::Unknown,
            sent_at: wall(),
            ended_at: u64::MAX,
            popped: Vec::new(),
        });
    }

    fn pushed(&self, producer: usize, number: u32, end: End) {
        let mut tokens = self.tokens[producer].lock().expect("no panic holds it");
        let token = &mut tokens[number as usize];
        (token.end, token.ended_at) = (end, wall());
    }

    /// A consumer got this from a queue it waited at since `began`.
    fn popped(&self, queue: usize, text: &[u8], began: u64, ledger: &Ledger) {
        let now = wall();
        let named = std::str::from_utf8(text).ok().and_then(|text| {
            let (producer, number) = text.strip_prefix('~')?.strip_suffix('~')?.split_once('.')?;
            let producer = usize::from_str_radix(producer, 16).ok()?;
            let number = usize::from_str_radix(number, 16).ok()?;
            Some((producer.checked_sub(self.first)?, number))
        });
        let shown = String::from_utf8_lossy(text).into_owned();
        let tokens = named.and_then(|(producer, _)| self.tokens.get(producer));
        let (Some((_, number)), Some(tokens)) = (named, tokens) else {
            return ledger.violation("Q1 no token", shown);
        };
        let mut tokens = tokens.lock().expect("no panic holds it");
        let Some(token) = tokens.get_mut(number).filter(|token| token.queue == queue) else {
            drop(tokens);
            return ledger.violation("Q1 no token of this queue", shown);
        };
        token.popped.push(now);
        let before = token.popped.iter().rev().nth(1).copied();
        drop(tokens);
        let mut pops = self.pops.lock().expect("no panic holds it");
        let span = Span {
            first: began,
            last: now,
        };
        pops.push(Pop { queue, span });
        drop(pops);
        if let Some(before) = before {
            if ledger.may_be_lost_within(before.saturating_sub(3 * SECOND), now) {
                self.twice_by_store.fetch_add(1, Ordering::Relaxed);
            } else {
                ledger.violation("Q2 a token is popped twice", shown);
            }
        }
    }

    /// A pop at this queue, begun then, may have taken a token.
    fn unheard(&self, queue: usize, began: u64) {
        let span = Span {
            first: began,
            last: wall(),
        };
        let mut unknown = self.unknown.lock().expect("no panic holds it");
        unknown.push(Pop { queue, span });
    }

    /// Once all queues are empty: every acknowledged token has been popped, or there is a reason.
    pub fn settle(&self, ledger: &Ledger) {
        let mut missing = Vec::new();
        for (producer, tokens) in self.tokens.iter().enumerate() {
            for (number, token) in tokens.lock().expect("no panic holds it").iter().enumerate() {
                if token.end != End::Done || !token.popped.is_empty() {
                    continue;
                }
                let first = token.sent_at.saturating_sub(3 * SECOND);
                if ledger.may_be_lost_within(first, token.ended_at + LINGERS) {
                    self.lost_by_store.fetch_add(1, Ordering::Relaxed);
                } else {
                    missing.push((token.clone(), self.first + producer, number));
                }
            }
        }
        // Each unheard pop, in their order, may have taken the one that would not have waited longer.
        missing.sort_by_key(|(token, ..)| token.ended_at);
        let mut unknown = self.unknown.lock().expect("no panic holds it").clone();
        unknown.sort_by_key(|pop| pop.span.last);
        for pop in unknown {
            let taken = missing.iter().position(|(token, ..)| {
                let lived = (token.sent_at, token.ended_at + LINGERS);
                let late = Span {
                    last: pop.span.last + LATE,
                    ..pop.span
                };
                pop.queue == token.queue && late.meets(lived.0, lived.1)
            });
            if let Some(taken) = taken {
                missing.remove(taken);
                self.lost_unheard.fetch_add(1, Ordering::Relaxed);
            }
        }
        for (token, producer, number) in missing {
            let text = format!(
                "~{producer:x}.{number:x}~ of {}, pushed {} s into the run",
                self.key(token.queue),
                ledger.seconds(token.ended_at)
            );
            ledger.violation("Q3 an acknowledged token is lost", text);
        }
    }

    /// Pops of this tag that were begun before that span, and brought a token after it.
    pub fn over(&self, tag: &str, span: Span) -> usize {
        let pops = self.pops.lock().expect("no panic holds it");
        let across = |pop: &&Pop| {
            let own = pop.span;
            self.tags[pop.queue] == tag && own.first < span.first && span.last < own.last
        };
        pops.iter().filter(across).count()
    }

    pub fn popped_in_all(&self) -> usize {
        self.pops.lock().expect("no panic holds it").len()
    }

    pub fn figures(&self) -> String {
        let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let tokens = self
            .tokens
            .iter()
            .map(|own| own.lock().expect("no panic holds it").clone());
        let tokens: Vec<Token> = tokens.flatten().collect();
        let count = |end: End| tokens.iter().filter(|token| token.end == end).count();
        format!(
            "{} queues: {} tokens pushed, {} more with unknown outcome, {} failed; {} popped, {} pops in vain, {} \
             unheard, {} failed; {} tokens went with an unheard pop; behind a fault that loses data {} came twice \
             and {} not at all",
            self.tags.len(),
            count(End::Done),
            count(End::Unknown),
            count(End::Failed),
            self.popped_in_all(),
            get(&self.empty),
            self.unknown.lock().expect("no panic holds it").len(),
            get(&self.failed),
            get(&self.lost_unheard),
            get(&self.twice_by_store),
            get(&self.lost_by_store)
        )
    }
}

/// Producers and consumers, which work until told to stop.
pub fn start(
    addr: &str,
    queues: &Arc<Queues>,
    seed: u64,
    ledger: &Arc<Ledger>,
    stop: &Arc<AtomicBool>,
) -> Vec<JoinHandle<()>> {
    let mut random = Random::new(seed);
    let mut worker = |number: usize| Worker {
        number,
        queues: queues.clone(),
        ledger: ledger.clone(),
        random: Random::new(random.next()),
    };
    let mut threads = Vec::new();
    for number in 0..PRODUCERS {
        let (worker, addr, stop) = (worker(number), addr.to_string(), stop.clone());
        threads.push(thread::spawn(move || worker.produce(&addr, &stop)));
    }
    for number in 0..CONSUMERS {
        let (worker, addr, stop) = (worker(number), addr.to_string(), stop.clone());
        threads.push(thread::spawn(move || worker.consume(&addr, &stop)));
    }
    threads
}

/// Takes what is left in all queues.
pub fn empty(addr: &str, queues: &Queues, ledger: &Ledger) {
    let mut conn = Conn::connect(addr);
    for queue in 0..queues.tags.len() {
        let began = wall();
        while let Reply::Bulk(token) = conn.command(&["LPOP", &queues.key(queue)]) {
            queues.popped(queue, &token, began, ledger);
        }
    }
}

struct Worker {
    number: usize,
    queues: Arc<Queues>,
    ledger: Arc<Ledger>,
    random: Random,
}

impl Worker {
    /// Half of the queues are fed seldom, so that somebody waits at them, whatever happens.
    fn queue(&mut self) -> usize {
        let all = self.queues.tags.len() as u64;
        let queue = self.random.below(all) as usize;
        if queue % 2 == 1 && !self.random.once_in(8) {
            return queue - 1;
        }
        queue
    }

    fn produce(mut self, addr: &str, stop: &AtomicBool) {
        let queues = self.queues.clone();
        let own = queues.first + self.number;
        while !stop.load(Ordering::Relaxed) {
            let Ok(mut conn) = Conn::try_connect(addr) else {
                thread::sleep(Duration::from_millis(20));
                continue;
            };
            conn.set_deadline(DEADLINE);
            while !stop.load(Ordering::Relaxed) {
                let queue = self.queue();
                let number = self.ledger.write(own, 1 + queue as u32);
                queues.push(self.number, queue, number);
                let asked = wall();
                let nonce = format!("~{own:x}.{number:x}~");
                let reply = conn.try_command(&["RPUSH", &queues.key(queue), &nonce]);
                let end = match &reply {
                    Ok(Reply::Int(_)) => End::Done,
                    Ok(reply) => self.judge(asked, reply, "RPUSH of a token"),
                    Err(error) => {
                        let text = format!("producer {}: {error}", self.number);
                        self.ledger.violation("C2 one reply per request", text);
                        End::Unknown
                    }
                };
                self.ledger.ended(own, number, end);
                self.ledger.count(end);
                queues.pushed(self.number, number, end);
                if reply.is_err() {
                    break;
                }
                thread::sleep(Duration::from_millis(self.random.within(1, 20)));
            }
        }
    }

    fn judge(&self, asked: u64, reply: &Reply, what: &str) -> End {
        let text = reply.error().unwrap_or("no error");
        self.ledger.error(asked, text, what.to_string());
        classify(text).unwrap_or_else(|| {
            let text = format!("{what} was answered {reply:?}");
            self.ledger.violation("C7 errors", text);
            End::Unknown
        })
    }

    fn consume(mut self, addr: &str, stop: &AtomicBool) {
        let queues = self.queues.clone();
        // Each has its favourite, so that no queue is ever left alone.
        let favourite = self.number % queues.tags.len();
        while !stop.load(Ordering::Relaxed) {
            let Ok(mut conn) = Conn::try_connect(addr) else {
                thread::sleep(Duration::from_millis(20));
                continue;
            };
            conn.set_deadline(DEADLINE);
            while !stop.load(Ordering::Relaxed) {
                let queue = if self.random.once_in(200) {
                    self.random.below(queues.tags.len() as u64) as usize
                } else {
                    favourite
                };
                let key = queues.key(queue);
                let timeout = self.random.within(1, 6).to_string();
                let many = self.random.once_in(4);
                let args = match many {
                    true => ["BLMPOP", &timeout, "1", &key, "LEFT"].to_vec(),
                    false => ["BLPOP", &key, &timeout].to_vec(),
                };
                let began = wall();
                if self.random.once_in(80) {
                    // It leaves while it waits: what it is given meanwhile nobody gets.
                    if conn.try_send(&Conn::encode(&args)).is_ok() {
                        thread::sleep(Duration::from_millis(self.random.below(30)));
                    }
                    drop(conn);
                    thread::sleep(Duration::from_millis(5));
                    queues.unheard(queue, began);
                    break;
                }
                let Ok(reply) = conn.try_command(&args) else {
                    let text = format!("consumer {}: connection lost", self.number);
                    self.ledger.violation("C2 one reply per request", text);
                    queues.unheard(queue, began);
                    break;
                };
                self.take(queue, &key, &reply, began);
            }
        }
    }

    /// The reply to a pop.
    fn take(&self, queue: usize, key: &str, reply: &Reply, began: u64) {
        let queues = &self.queues;
        if reply.is_error() {
            let end = self.judge(began, reply, "a pop");
            self.ledger.count(end);
            match end {
                End::Failed => {
                    queues.failed.fetch_add(1, Ordering::Relaxed);
                    thread::sleep(Duration::from_millis(20));
                }
                End::Unknown | End::Done => queues.unheard(queue, began),
            }
            return;
        }
        self.ledger.count(End::Done);
        let token = match reply {
            Reply::NilArray | Reply::NilBulk => {
                queues.empty.fetch_add(1, Ordering::Relaxed);
                return;
            }
            Reply::Array(items) if items.len() == 2 && items[0] == key => match &items[1] {
                Reply::Bulk(token) => Some(token),
                Reply::Array(tokens) => match &tokens[..] {
                    [Reply::Bulk(token)] => Some(token),
                    _ => None,
                },
                _ => None,
            },
            _ => None,
        };
        match token {
            Some(token) => queues.popped(queue, token, began, &self.ledger),
            None => self.ledger.violation(
                "C1 identity",
                format!("a pop at {key} was answered {reply:?}"),
            ),
        }
    }
}

/// The checker finds what it is for: histories that no cluster may show.
#[test]
fn a_forged_hand_off_is_found() {
    let check = |fault: bool, act: &dyn Fn(&Queues, &Ledger)| {
        let ledger = Ledger::new(2);
        let queues = Queues::new(&["a".into(), "b".into()], 0);
        if fault {
            let place = ledger.unplanned_begins(true);
            ledger.unplanned_ends(place, 0);
        }
        queues.push(0, 0, 0);
        queues.pushed(0, 0, End::Done);
        act(&queues, &ledger);
        queues.settle(&ledger);
        ledger.has_violations()
    };
    let pop = |queue: usize, text: &'static str, times: usize| {
        move |queues: &Queues, ledger: &Ledger| {
            (0..times).for_each(|_| queues.popped(queue, text.as_bytes(), wall(), ledger));
        }
    };
    assert!(!check(false, &pop(0, "~0.0~", 1)));
    // Popped twice, or never.
    assert!(check(false, &pop(0, "~0.0~", 2)));
    assert!(!check(true, &pop(0, "~0.0~", 2)));
    assert!(check(false, &pop(0, "~0.0~", 0)));
    assert!(!check(true, &pop(0, "~0.0~", 0)));
    // Of another queue, never pushed, no token at all.
    for (queue, text) in [(1, "~0.0~"), (0, "~0.1~"), (0, "~1.0~"), (0, "OK")] {
        assert!(check(true, &pop(queue, text, 1)), "{queue} {text}");
    }
    // One unheard pop may have taken one token of its queue, and no more.
    let unheard = |queue: usize, tokens: u32| {
        move |queues: &Queues, _: &Ledger| {
            queues.unheard(queue, wall());
            for number in 1..tokens {
                queues.push(0, 0, number);
                queues.pushed(0, number, End::Done);
            }
        }
    };
    assert!(!check(false, &unheard(0, 1)));
    assert!(check(false, &unheard(0, 2)));
    assert!(check(false, &unheard(1, 1)));
}
