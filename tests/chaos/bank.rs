//! The bank: accounts of one slot, several banks over several slots, and transfers between accounts in MULTI,
//! most of them under WATCH. Whatever is read in one MULTI adds up; a transfer is executed once or not at all,
//! and one that a WATCH saw go wrong not at all.
//!
//! What is not blamed on the proxy: a node that comes back empty takes the whole bank with it (its accounts
//! then add up to nothing), and one that is promoted without the last writes has an older state of it (the
//! number of transfers goes back). Both only behind a fault that loses data, and never half of a transfer.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::client::{DEADLINE, classify};
use super::ledger::{End, Ledger, Span, wall};
use super::random::Random;
use crate::support::{Conn, Reply, wait_for};

pub const BANKERS: usize = 4;
const ACCOUNTS: usize = 5;
const FUNDS: i64 = 1000;
const TOTAL: i64 = ACCOUNTS as i64 * FUNDS;

/// What all bankers know of one bank.
#[derive(Debug)]
struct Bank {
    tag: String,
    /// The number of transfers that was last heard of, and when that was asked for.
    known: Mutex<(i64, u64)>,
    /// When it was founded.
    founded: AtomicU64,
}

/// All banks, and what came of the transfers.
#[derive(Debug)]
pub struct Banks {
    banks: Vec<Bank>,
    /// Of all transfers of a bank: its place here, and when it was under way.
    spans: Mutex<Vec<(usize, Span)>>,
    pub done: AtomicU64,
    /// EXEC answered nil.
    nil: AtomicU64,
    unknown: AtomicU64,
    failed: AtomicU64,
    audits: AtomicU64,
    refounded: AtomicU64,
    gone_back: AtomicU64,
}

/// The state of a bank as one MULTI has shown it: the balances, and the number of transfers.
type Books = ([Option<i64>; ACCOUNTS], Option<i64>);

impl Bank {
    fn key(&self, name: &str) -> String {
        format!("b:{{{}}}:{name}", self.tag)
    }

    fn account(&self, index: usize) -> String {
        self.key(&index.to_string())
    }

    /// MSET of a new bank.
    fn founding(&self) -> Vec<String> {
        let mut args = vec!["MSET".to_string()];
        for index in 0..ACCOUNTS {
            args.extend([self.account(index), FUNDS.to_string()]);
        }
        args.extend([self.key("count"), "0".to_string()]);
        args
    }

    /// Judges what was asked for at `asked`, when `before` was known.
    fn judge_books(
        &self,
        books: &Books,
        before: (i64, u64),
        asked: u64,
        banks: &Banks,
        ledger: &Ledger,
    ) {
        let (balances, count) = books;
        let sum: i64 = balances.iter().flatten().sum();
        let lost = sum == 0 && ledger.may_be_lost(self.founded.load(Ordering::Relaxed));
        if sum != TOTAL && !lost {
            let text = format!("bank {}: {balances:?} add up to {sum}", self.tag);
            return ledger.violation("B1 sum", text);
        }
        let count = count.unwrap_or(0);
        if count >= before.0 {
            return;
        }
        if ledger.may_be_lost(before.1) {
            banks.gone_back.fetch_add(1, Ordering::Relaxed);
            *self.known.lock().expect("no panic holds it") = (count, asked);
        } else {
            let text = format!("bank {}: {count} transfers after {}", self.tag, before.0);
            ledger.violation("B2 an acknowledged transfer is lost", text);
        }
    }

    /// A transfer that was asked for at `asked` was the one of this number.
    fn learn(&self, count: i64, asked: u64) {
        let mut known = self.known.lock().expect("no panic holds it");
        if count > known.0 {
            *known = (count, asked);
        }
    }
}

impl Banks {
    /// Of these tags, founded at this address.
    pub fn found(addr: &str, tags: &[String]) -> Banks {
        let banks = Banks::new(tags);
        let mut conn = Conn::connect(addr);
        for bank in &banks.banks {
            wait_for("a bank to be founded", DEADLINE, || {
                (conn.command(&bank.founding()) == "OK").then_some(())
            });
        }
        banks
    }

    fn new(tags: &[String]) -> Banks {
        let bank = |tag: &String| Bank {
            tag: tag.clone(),
            known: Mutex::default(),
            founded: AtomicU64::new(wall()),
        };
        Banks {
            banks: tags.iter().map(bank).collect(),
            spans: Mutex::default(),
            done: AtomicU64::new(0),
            nil: AtomicU64::new(0),
            unknown: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            audits: AtomicU64::new(0),
            refounded: AtomicU64::new(0),
            gone_back: AtomicU64::new(0),
        }
    }

    /// Banks whose transfers were under way at this time.
    pub fn busy_within(&self, span: Span) -> Vec<&str> {
        let spans = self.spans.lock().expect("no panic holds it");
        let busy = |bank: usize| {
            let mut own = spans.iter().filter(|(of, _)| *of == bank);
            own.any(|(_, own)| own.meets(span.first, span.last))
        };
        (0..self.banks.len())
            .filter(|bank| busy(*bank))
            .map(|bank| self.banks[bank].tag.as_str())
            .collect()
    }

    pub fn figures(&self) -> String {
        let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
        format!(
            "{} banks: {} transfers, {} nil, {} unknown, {} failed; {} audits, every sum as it was; {} times gone \
             back and {} founded anew behind a fault that loses data",
            self.banks.len(),
            get(&self.done),
            get(&self.nil),
            get(&self.unknown),
            get(&self.failed),
            get(&self.audits),
            get(&self.gone_back),
            get(&self.refounded)
        )
    }
}

/// Has bankers work in the banks. Their writes have the numbers from `first` on.
pub fn start(
    addr: &str,
    banks: &Arc<Banks>,
    first: usize,
    seed: u64,
    ledger: &Arc<Ledger>,
    stop: &Arc<AtomicBool>,
) -> Vec<JoinHandle<()>> {
    let mut random = Random::new(seed);
    (0..BANKERS)
        .map(|index| {
            let banker = Banker {
                number: first + index,
                resp3: index == 0,
                banks: banks.clone(),
                ledger: ledger.clone(),
                random: Random::new(random.next()),
            };
            let (addr, stop) = (addr.to_string(), stop.clone());
            thread::spawn(move || banker.run(&addr, &stop))
        })
        .collect()
}

struct Banker {
    number: usize,
    resp3: bool,
    banks: Arc<Banks>,
    ledger: Arc<Ledger>,
    random: Random,
}

/// A connection that is not to be used any more.
struct Gone;

fn words(line: &str) -> Vec<String> {
    line.split(' ').map(str::to_string).collect()
}

fn number(reply: &Reply) -> Option<i64> {
    match reply {
        Reply::Int(number) => Some(*number),
        other => other.bulk_text()?.parse().ok(),
    }
}

impl Banker {
    fn run(mut self, addr: &str, stop: &AtomicBool) {
        while !stop.load(Ordering::Relaxed) {
            let Ok(mut conn) = Conn::try_connect(addr) else {
                thread::sleep(Duration::from_millis(20));
                continue;
            };
            conn.set_deadline(DEADLINE);
            self.ledger.connections.fetch_add(1, Ordering::Relaxed);
            if self.resp3 && conn.try_command(&["HELLO", "3"]).is_err() {
                continue;
            }
            while !stop.load(Ordering::Relaxed) {
                let bank = self.random.below(self.banks.banks.len() as u64) as usize;
                let done = match self.random.below(8) {
                    0..2 => self.audit(&mut conn, bank),
                    2..5 => self.transfer(&mut conn, bank, false),
                    _ => self.transfer(&mut conn, bank, true),
                };
                if done.is_err() {
                    break;
                }
                thread::sleep(Duration::from_millis(self.random.within(1, 15)));
            }
        }
    }

    /// Requests and their replies, all at once or one by one.
    fn ask(&mut self, conn: &mut Conn, requests: &[Vec<String>]) -> Result<Vec<Reply>, Gone> {
        let at_once = !self.random.once_in(3);
        let mut replies = Vec::new();
        if at_once {
            let bytes: Vec<u8> = requests
                .iter()
                .flat_map(|args| Conn::encode(args))
                .collect();
            conn.try_send(&bytes).map_err(|error| self.lost(&error))?;
        }
        for args in requests {
            let reply = if at_once {
                conn.try_read_reply()
            } else {
                if self.random.once_in(20) {
                    thread::sleep(Duration::from_millis(self.random.below(300)));
                }
                conn.try_command(args)
            };
            replies.push(reply.map_err(|error| self.lost(&error))?);
        }
        Ok(replies)
    }

    fn lost(&self, error: &std::io::Error) -> Gone {
        let text = format!("banker {}: {error}", self.number);
        self.ledger.violation("C2 one reply per request", text);
        Gone
    }

    /// Notes the first error among replies. Returns how the last request of them has ended, if there is one.
    fn judge_errors(&self, sent_at: u64, replies: &[Reply], what: &str) -> Option<End> {
        let first = replies.iter().find_map(Reply::error)?;
        self.ledger
            .error(sent_at, first, format!("banker {} {what}", self.number));
        let mut ends = replies.iter().filter_map(Reply::error).map(|text| {
            let end = match text.starts_with("EXECABORT ") {
                true => Some(End::Failed),
                false => classify(text),
            };
            end.unwrap_or_else(|| {
                self.ledger
                    .violation("C7 errors", format!("{text:?} for {what}"));
                End::Unknown
            })
        });
        ends.next_back()
    }

    /// All that a bank has, in one MULTI.
    fn audit(&mut self, conn: &mut Conn, bank: usize) -> Result<(), Gone> {
        let banks = self.banks.clone();
        let own = &banks.banks[bank];
        let before = *own.known.lock().expect("no panic holds it");
        let mut keys: Vec<String> = (0..ACCOUNTS).map(|index| own.account(index)).collect();
        keys.push(own.key("count"));
        let mut requests = vec![words("MULTI")];
        let apart = self.random.once_in(2);
        if apart {
            requests.extend(keys.into_iter().map(|key| vec!["GET".to_string(), key]));
        } else {
            requests.push([vec!["MGET".to_string()], keys].concat());
        }
        requests.push(words("EXEC"));
        let asked = wall();
        let replies = self.ask(conn, &requests)?;
        if let Some(end) = self.judge_errors(asked, &replies, "audit") {
            self.ledger.count(end);
            return Ok(());
        }
        self.ledger.count(End::Done);
        let items = match replies.last() {
            Some(Reply::Array(items)) if apart => items.as_slice(),
            Some(Reply::Array(items)) if items.len() == 1 => match &items[0] {
                Reply::Array(items) => items.as_slice(),
                _ => &[],
            },
            _ => &[],
        };
        let all = replies
            .iter()
            .rev()
            .skip(1)
            .all(|r| *r == "OK" || *r == "QUEUED");
        if items.len() != ACCOUNTS + 1 || !all {
            self.ledger
                .violation("C1 identity", format!("an audit was answered {replies:?}"));
            return Ok(());
        }
        let balances = std::array::from_fn(|index| number(&items[index]));
        let books = (balances, number(&items[ACCOUNTS]));
        banks.audits.fetch_add(1, Ordering::Relaxed);
        own.judge_books(&books, before, asked, &banks, &self.ledger);
        if balances.iter().flatten().sum::<i64>() == 0 {
            return self.found_anew(conn, bank);
        }
        Ok(())
    }

    /// The bank has gone with its node: another one, if nobody else has founded it meanwhile.
    fn found_anew(&mut self, conn: &mut Conn, bank: usize) -> Result<(), Gone> {
        let banks = self.banks.clone();
        let own = &banks.banks[bank];
        let keys: Vec<String> = (0..ACCOUNTS).map(|index| own.account(index)).collect();
        let begun = wall();
        let watched = self.ask(
            conn,
            &[
                [words("WATCH"), keys.clone()].concat(),
                [words("MGET"), keys].concat(),
            ],
        )?;
        let sum = match &watched[1] {
            Reply::Array(items) => Some(items.iter().filter_map(number).sum::<i64>()),
            _ => None,
        };
        if watched[0] != "OK" || sum != Some(0) {
            self.ask(conn, &[words("UNWATCH")])?;
            return Ok(());
        }
        let replies = self.ask(conn, &[words("MULTI"), own.founding(), words("EXEC")])?;
        if matches!(replies.last(), Some(Reply::Array(_))) {
            banks.refounded.fetch_add(1, Ordering::Relaxed);
            own.founded.store(begun, Ordering::Relaxed);
        }
        Ok(())
    }

    fn transfer(&mut self, conn: &mut Conn, bank: usize, watch: bool) -> Result<(), Gone> {
        let began = wall();
        let result = self.try_transfer(conn, bank, watch);
        let span = Span {
            first: began,
            last: wall(),
        };
        let mut spans = self.banks.spans.lock().expect("no panic holds it");
        spans.push((bank, span));
        result
    }

    fn try_transfer(&mut self, conn: &mut Conn, bank: usize, watch: bool) -> Result<(), Gone> {
        let banks = self.banks.clone();
        let own = &banks.banks[bank];
        let from = self.random.below(ACCOUNTS as u64) as usize;
        let to = (from + self.random.within(1, ACCOUNTS as u64 - 1) as usize) % ACCOUNTS;
        let (from, to) = (own.account(from), own.account(to));
        let amount = self.random.within(1, 100) as i64;
        let began = wall();
        let mut balances = None;
        if watch {
            let replies = self.ask(
                conn,
                &[
                    [words("WATCH"), vec![from.clone(), to.clone()]].concat(),
                    [words("MGET"), vec![from.clone(), to.clone()]].concat(),
                ],
            )?;
            if let Some(end) = self.judge_errors(began, &replies, "WATCH") {
                self.ledger.count(end);
                self.ask(conn, &[words("UNWATCH")])?;
                return Ok(());
            }
            let [Reply::Simple(_), Reply::Array(items)] = &replies[..] else {
                let text = format!("WATCH and MGET were answered {replies:?}");
                self.ledger.violation("C1 identity", text);
                return Err(Gone);
            };
            balances = Some((
                number(&items[0]).unwrap_or(0),
                number(&items[1]).unwrap_or(0),
            ));
        }
        let write = self.ledger.write(self.number, 0);
        let nonce = format!("~{:x}.{write:x}~", self.number);
        let amount_text = amount.to_string();
        let requests = [
            words("MULTI"),
            vec!["DECRBY".to_string(), from, amount_text.clone()],
            vec!["INCRBY".to_string(), to, amount_text],
            vec!["INCR".to_string(), own.key("count")],
            vec!["SET".to_string(), own.key("last"), nonce],
            words("EXEC"),
        ];
        if self.random.once_in(60) {
            return Err(self.vanish(conn, &requests, write));
        }
        let asked = wall();
        let replies = match self.ask(conn, &requests) {
            Ok(replies) => replies,
            Err(gone) => {
                self.ledger.count(End::Unknown);
                return Err(gone);
            }
        };
        let end = self.judge_errors(asked, &replies, "transfer");
        let end =
            end.unwrap_or_else(|| self.judge_transfer(own, &replies, amount, balances, asked));
        self.ledger.ended(self.number, write, end);
        self.ledger.count(end);
        let count = match end {
            End::Done => &banks.done,
            End::Unknown => &banks.unknown,
            End::Failed if replies.last().is_some_and(Reply::is_nil) => &banks.nil,
            End::Failed => &banks.failed,
        };
        count.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// The reply to a transfer that is no error.
    fn judge_transfer(
        &self,
        own: &Bank,
        replies: &[Reply],
        amount: i64,
        watched: Option<(i64, i64)>,
        asked: u64,
    ) -> End {
        let items = match replies.last() {
            Some(Reply::Array(items)) if items.len() == 4 => items,
            Some(reply) if reply.is_nil() && watched.is_some() => return End::Failed,
            _ => {
                let text = format!("a transfer was answered {replies:?}");
                self.ledger.violation("C1 identity", text);
                return End::Unknown;
            }
        };
        let found: Vec<Option<i64>> = items[..3].iter().map(number).collect();
        let [Some(less), Some(more), Some(count)] = found[..] else {
            let text = format!("a transfer was answered {items:?}");
            self.ledger.violation("C1 identity", text);
            return End::Unknown;
        };
        let (had, has) = (less + amount, more - amount);
        if let Some(watched) = watched
            && watched != (had, has)
            && !self.ledger.may_be_lost(asked)
        {
            let text = format!(
                "bank {}: watched {watched:?}, changed {:?}",
                own.tag,
                (had, has)
            );
            self.ledger
                .violation("B3 what was watched had changed", text);
        }
        own.learn(count, asked);
        End::Done
    }

    /// Goes in the middle of a transfer, or behind it without waiting.
    fn vanish(&mut self, conn: &mut Conn, requests: &[Vec<String>], write: u32) -> Gone {
        let mut bytes: Vec<u8> = requests
            .iter()
            .flat_map(|args| Conn::encode(args))
            .collect();
        let whole = bytes.len();
        let kept = if self.random.once_in(2) {
            self.random.below(whole as u64) as usize
        } else {
            whole
        };
        bytes.truncate(kept);
        let sent = conn.try_send(&bytes);
        thread::sleep(Duration::from_millis(self.random.below(10)));
        let end = if kept < whole && sent.is_ok() {
            End::Failed
        } else {
            End::Unknown
        };
        self.ledger.ended(self.number, write, end);
        self.ledger.count(end);
        Gone
    }
}

/// The checker finds what it is for: histories that no cluster may show.
#[test]
fn a_forged_bank_is_found() {
    let check = |faults: bool, act: &dyn Fn(&Bank, &Banks, &Ledger)| {
        let ledger = Ledger::new(1);
        let banks = Banks::new(&["t".to_string()]);
        let bank = &banks.banks[0];
        bank.learn(7, wall());
        if faults {
            let place = ledger.unplanned_begins(true);
            ledger.unplanned_ends(place, 0);
        }
        act(bank, &banks, &ledger);
        ledger.has_violations()
    };
    let books = |first: i64, count: i64| {
        let mut balances = [Some(FUNDS); ACCOUNTS];
        balances[0] = Some(first);
        (balances, Some(count))
    };
    let none: Books = ([None; ACCOUNTS], None);
    let judged = |books: Books| {
        move |bank: &Bank, banks: &Banks, ledger: &Ledger| {
            let before = *bank.known.lock().expect("no panic holds it");
            bank.judge_books(&books, before, wall(), banks, ledger);
        }
    };
    assert!(!check(false, &judged(books(FUNDS, 7))));
    // Half of a transfer, which no fault excuses.
    assert!(check(false, &judged(books(FUNDS - 5, 8))));
    assert!(check(true, &judged(books(FUNDS - 5, 8))));
    // A transfer is lost, and a bank is gone.
    assert!(check(false, &judged(books(FUNDS, 6))));
    assert!(!check(true, &judged(books(FUNDS, 6))));
    assert!(check(false, &judged(none)));
    assert!(!check(true, &judged(none)));

    // A transfer under WATCH that takes place although the account had changed.
    let transfer = |had: i64| {
        move |bank: &Bank, banks: &Banks, ledger: &Ledger| {
            let own = Ledger::new(1);
            let banker = Banker {
                number: 0,
                resp3: false,
                banks: Arc::new(Banks::new(&[])),
                ledger: Arc::new(own),
                random: Random::new(1),
            };
            let items = [had - 5, 105, 8].map(Reply::Int).to_vec();
            let items = [items, vec![Reply::Simple("OK".into())]].concat();
            let replies = [Reply::Array(items)];
            let end = banker.judge_transfer(bank, &replies, 5, Some((100, 100)), wall());
            assert_eq!((end, banks.banks.len()), (End::Done, 1));
            if banker.ledger.has_violations() {
                ledger.violation("B3", String::new());
            }
        }
    };
    assert!(!check(false, &transfer(100)));
    assert!(check(false, &transfer(99)));
}
