//! `Client`: sends random pipelines, reads as it likes, and holds every reply against the ledger.

use std::collections::VecDeque;

use redis_cluster_proxy::proxy::ids::ClientId;

use crate::fans::Made;
use crate::ledger::{ABSENT, Class, Ledger, Nonce, Outcome};
use crate::messages::receivers;
use crate::random::Random;
use crate::resp::{self, Value};
use crate::subscriber::{Change, Subscriber};
use crate::users::Credentials;
use crate::wire::Pipe;

#[path = "client/bytes.rs"]
mod bytes;
#[path = "client/deaf.rs"]
mod deaf;
#[path = "client/exclusive.rs"]
mod exclusive;
#[path = "client/hot.rs"]
mod hot;
#[path = "client/listener.rs"]
mod listener;
#[path = "client/namespaced.rs"]
mod namespaced;
#[path = "client/tracker.rs"]
mod tracker;
#[path = "client/users.rs"]
mod users;

use bytes::lie;
use exclusive::{Pop, Transaction};
use listener::Listener;
use namespaced::{Asked, Inside};
use tracker::Tracker;

/// What a request was, and so what its reply must be.
#[derive(Debug, Clone)]
enum Kind {
    Set(Vec<Nonce>),
    Del(Vec<Nonce>),
    Sum(Nonce),
    /// A script that does as `Sum`, and then says this, if anything.
    Script(Nonce, Option<String>),
    Push(Nonce),
    Incr(usize),
    Get(usize),
    /// So many bytes of a text that is shorter.
    Start(usize, usize),
    Range(usize),
    MGet(Vec<usize>),
    Exists(Vec<usize>),
    Echo(Vec<u8>),
    Ping,
    Missing,
    /// A large aggregate that the node makes of a number.
    Grown(u64),
    /// The message of this number.
    Publish(u64),
    Size(Made),
    Keys(Made),
    /// A write of all masters.
    Load(usize),
    AnyNode,
    /// All texts are gone.
    Flush,
    /// CLIENT TRACKING, with these words.
    Track(Vec<Vec<u8>>),
    /// CLIENT CACHING.
    Caching(&'static str),
    /// CLIENT ID.
    Id,
    /// SUBSCRIBE to what is told of keys.
    Listen,
    Hello,
    /// Of a user, and when it was sent.
    Login(Credentials, u64),
    /// An error that begins like this.
    Refused(&'static str),
    /// Of a subscriber: told in a frame for each name.
    Change(Change),
    Reset,
    Quit,
    Multi,
    Watch(usize),
    Unwatch,
    Queued,
    Exec(Box<Transaction>),
    Discard(Box<Transaction>),
    /// A push to a queue.
    Token(Nonce),
    Pop(Pop),
    /// Of a client of a namespace.
    Inside(Asked),
}

/// What stands behind a burst.
const LAST: &[u8] = b"the last one";

/// A request that is not answered yet.
#[derive(Debug, Clone)]
pub struct Sent {
    kind: Kind,
    /// The versions of its keys when it was made, in their order.
    floors: Vec<u64>,
    resp3: bool,
    /// The last write of all masters that its client sent before it.
    behind: Option<usize>,
    /// [`Ledger::returns`] when it was made; the highest number where no return is an excuse.
    returns: u64,
    /// [`Ledger::held`] when it was made.
    held: u64,
    /// Whether what it reads is kept by its client, which is told when it changes.
    keeps: bool,
}

impl Sent {
    /// A request without keys, to which nothing that happens meanwhile makes a difference.
    fn plain(kind: Kind, resp3: bool) -> Sent {
        Sent {
            kind,
            floors: Vec::new(),
            resp3,
            behind: None,
            returns: u64::MAX,
            held: 0,
            keeps: false,
        }
    }
}

/// What a client has seen of one key, in the order of its requests.
#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    /// The version that its last write of known outcome made.
    written: u64,
    /// The oldest version that explains all its reads.
    read: u64,
    /// The same of those reads that no node can have refused before it answered them.
    read_at_once: u64,
}

/// What a client may do, and what it may be told.
#[derive(Debug, Clone)]
pub struct Manners {
    /// Whether no error is excused but TRYAGAIN.
    pub strict: bool,
    /// Whether reads may be served by replicas: their order against writes is not promised then.
    pub replica_reads: bool,
    /// How old what it reads of one key may be, in microseconds, if the proxy has a cache. Then it still sees nothing that
    /// is older than what it has seen.
    pub staleness: Option<u64>,
    /// Whether it sends bytes that are no requests.
    pub garbage: bool,
    /// Requests under way at most.
    pub outstanding_max: usize,
}

/// How a client ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It does not.
    Open,
    /// It has sent its last: QUIT, or nonsense. The proxy closes.
    Told,
    /// It closes its own side once all is written. The proxy answers all, and closes.
    Half,
}

/// Counts over all clients.
#[derive(Debug, Default)]
pub struct Counts {
    /// Replies checked.
    pub replies: u64,
    /// Errors among them.
    pub errors: u64,
    /// Replies with an unknown outcome.
    pub unknown: u64,
    /// Errors for want of a whole slot.
    pub try_again: u64,
    /// Large replies or requests.
    pub big: u64,
    /// Messages to subscribers.
    pub messages: u64,
    /// Clients closed by the proxy because the rest of a reply was lost.
    pub severed: u64,
    /// Those of them that have heard of it.
    pub severed_seen: u64,
    /// Replies that are whole aggregates made of a number.
    pub grown: u64,
    /// Ends of bursts of small requests.
    pub bursts: u64,
    /// Keys that clients that track have kept, when they were compared.
    pub kept: u64,
    /// Clients closed since their user was no more.
    pub ended: u64,
    /// Requests refused since their user may not, or is nobody.
    pub judged: u64,
}

/// One client.
#[derive(Debug)]
pub struct Client {
    /// Its name in the proxy.
    pub id: ClientId,
    /// What it has written and the proxy has not read.
    pub to_proxy: Pipe,
    /// The other way.
    pub from_proxy: Pipe,
    /// Whether the shell has yet to look whether there is something to read.
    pub queued: bool,
    /// Whether the last write to it was short.
    pub blocked: bool,
    /// Until when it does not read.
    pub stalled_until: u64,
    /// Whether it reads nothing before all that it has made is written.
    pub writes_first: bool,
    /// Whether it does nothing but read hot keys.
    pub is_reader: bool,
    /// How it ends.
    pub end: End,
    /// Bytes made and not written.
    pub unwritten: VecDeque<u8>,
    received: Vec<u8>,
    /// Requests not answered.
    pub sent: VecDeque<Sent>,
    seen: Vec<Seen>,
    resp3: bool,
    manners: Manners,
    number: u64,
    echoes: u64,
    /// What it is subscribed to, if it is one that subscribes.
    pub subscriber: Option<Subscriber>,
    /// What it keeps, if it is one that tracks.
    tracker: Option<Tracker>,
    /// What it hears for others, if it does that.
    listener: Option<Listener>,
    /// What it spoke when it was last told.
    heard_resp3: bool,
    /// Where it is, if it is in a namespace.
    pub inside: Option<Inside>,
    /// The transaction that it has begun.
    transaction: Option<Transaction>,
    /// Whether something has been refused since MULTI.
    refused_inside: bool,
    /// The last write of all masters that it has sent.
    load: Option<usize>,
    /// What it was told to have written since the last of those that it was told of.
    written: Vec<Nonce>,
    /// Whether nothing was held since the request was made that is answered now.
    at_once: bool,
    /// The time, as far as it knows.
    pub now: u64,
    /// Which users it may be, as far as it has been told.
    is: u32,
}

impl Client {
    /// A client that has just connected.
    pub fn new(
        id: ClientId,
        number: u64,
        manners: Manners,
        ledger: &Ledger,
        capacity: usize,
    ) -> Client {
        Client {
            id,
            to_proxy: Pipe::new(capacity),
            from_proxy: Pipe::new(capacity),
            queued: false,
            blocked: false,
            stalled_until: 0,
            writes_first: false,
            is_reader: false,
            end: End::Open,
            unwritten: VecDeque::new(),
            received: Vec::new(),
            sent: VecDeque::new(),
            seen: vec![Seen::default(); ledger.keys.len()],
            resp3: false,
            manners,
            number,
            echoes: 0,
            subscriber: None,
            tracker: None,
            listener: None,
            heard_resp3: false,
            inside: None,
            transaction: None,
            refused_inside: false,
            load: None,
            written: Vec::new(),
            at_once: false,
            now: 0,
            is: 0,
        }
    }

    /// It subscribes from now on, and does nothing else.
    pub fn subscribes(mut self) -> Client {
        self.subscriber = Some(Subscriber::default());
        self
    }

    /// It makes long pipelines from now on, and writes each to its end before it reads.
    pub fn writes_first(mut self) -> Client {
        self.writes_first = true;
        self.manners.outstanding_max *= 8;
        self
    }

    /// Whether it does not read since it has not written all. (What is behind its last words, nobody reads.)
    pub fn is_writing_first(&self) -> bool {
        self.writes_first && !self.unwritten.is_empty() && self.end != End::Told
    }

    /// From here on every error is a failure, if `strict`.
    pub fn set_strict(&mut self, strict: bool) {
        self.manners.strict = strict;
    }

    /// Reads and writes as fast as it can from here on.
    pub fn hurry(&mut self, capacity: usize) {
        self.stalled_until = 0;
        self.to_proxy.widen(capacity);
        self.from_proxy.widen(capacity);
    }

    /// Whether nothing is under way.
    pub fn is_still(&self) -> bool {
        let pipes = self.to_proxy.is_empty() && self.from_proxy.is_empty();
        pipes && self.unwritten.is_empty() && !self.queued && !self.blocked
    }

    /// Makes a pipeline of random requests, unless it has enough under way.
    pub fn make_requests(&mut self, ledger: &mut Ledger, random: &mut Random) {
        if self.is_reader {
            return;
        }
        if random.one_in(400) {
            return self.burst(ledger, random);
        }
        let count = random.skewed(if self.writes_first { 1024 } else { 64 });
        for _ in 0..count {
            if self.end != End::Open || self.sent.len() >= self.manners.outstanding_max {
                return;
            }
            self.make_request(ledger, random);
        }
    }

    /// A great many small requests at once, more than may be under way otherwise.
    fn burst(&mut self, ledger: &mut Ledger, random: &mut Random) {
        let in_transaction = self.transaction.is_some();
        let is_special =
            self.subscriber.is_some() || self.tracker.is_some() || self.listener.is_some();
        if self.end != End::Open || is_special || in_transaction {
            return;
        }
        let texts = self.keys_of(Class::Text, ledger);
        let text = *random.pick(&texts);
        for _ in 0..random.skewed(5000) {
            match random.below(64) {
                0 => self.request(Kind::Missing, &[text], ledger, random),
                1 => self.request(Kind::Refused("ERR "), &[], ledger, random),
                _ => self.request(Kind::Ping, &[], ledger, random),
            }
        }
        self.request(Kind::Echo(LAST.to_vec()), &[], ledger, random);
    }

    /// A request of one that subscribes.
    fn make_change(&mut self, ledger: &mut Ledger, random: &mut Random) {
        match random.below(16) {
            0 => self.request(Kind::Ping, &[], ledger, random),
            1 => self.request(Kind::Reset, &[], ledger, random),
            // Only with nothing under way does it know whether it may.
            2 if self.sent.is_empty()
                && self.may_say_hello(ledger)
                && (self.resp3
                    || !self
                        .subscriber
                        .as_ref()
                        .is_some_and(Subscriber::is_subscribed)) =>
            {
                self.resp3 = !self.resp3;
                self.request(Kind::Hello, &[], ledger, random);
            }
            _ => {
                let subscriber = self.subscriber.as_ref().expect("it subscribes");
                let (bytes, change) = subscriber.change(ledger.tags, random);
                self.unwritten.extend(bytes);
                self.sent.push_back(Sent {
                    returns: ledger.returns,
                    held: ledger.held,
                    ..Sent::plain(Kind::Change(change), self.resp3)
                });
            }
        }
        if matches!(
            self.sent.back(),
            Some(Sent {
                kind: Kind::Reset,
                ..
            })
        ) {
            self.resp3 = false;
        }
    }

    fn make_request(&mut self, ledger: &mut Ledger, random: &mut Random) {
        if self.subscriber.is_some() {
            return self.make_change(ledger, random);
        }
        if self.listener.is_some() {
            if self.resp3 {
                self.request(Kind::Ping, &[], ledger, random);
            }
            return;
        }
        if self.changes_user(ledger) {
            return;
        }
        if !self.has_texts_only(ledger) && self.make_exclusive(ledger, random) {
            return;
        }
        if self.make_inside(ledger, random) {
            return;
        }
        if self.tracker.is_some() {
            return self.make_tracked(ledger, random);
        }
        if self.manners.staleness.is_some() && !random.one_in(6) {
            return self.read_hot(ledger, random);
        }
        // A few keys are written most, so that requests meet.
        let mut some = |class| {
            let keys = self.keys_of(class, ledger);
            let tops = random.skewed(keys.len());
            keys[random.below(tops)]
        };
        let keys = [
            some(Class::Text),
            some(Class::Sum),
            some(Class::Count),
            some(Class::Log),
        ];
        let [text, sum, count, log] = keys;
        match random.below(100) {
            // What concerns all masters is refused in a namespace, and what is in one has one slot.
            94 | 97 if self.inside.is_some() => self.request(Kind::Ping, &[], ledger, random),
            0..22 => self.set(&[text], ledger, random),
            22..40 => self.request(Kind::Get(text), &[text], ledger, random),
            40..46 => {
                let nonce = ledger.begin(sum);
                self.request(Kind::Sum(nonce), &[sum], ledger, random);
            }
            46..50 => self.run_script(sum, ledger, random),
            50..56 => self.request(Kind::Incr(count), &[count], ledger, random),
            56..67 => {
                let nonce = ledger.begin(log);
                self.request(Kind::Push(nonce), &[log], ledger, random);
            }
            67 => self.request(Kind::Range(log), &[log], ledger, random),
            68..72 => {
                let keys = self.several(ledger, random);
                let keys: Vec<usize> = keys.into_iter().take(3).collect();
                let nonces = keys.iter().map(|key| ledger.begin(*key)).collect();
                self.request(Kind::Del(nonces), &keys, ledger, random);
            }
            72..79 => {
                let keys = self.several(ledger, random);
                self.request(Kind::MGet(keys.clone()), &keys, ledger, random);
            }
            79..85 => {
                let keys = self.several(ledger, random);
                self.set(&keys, ledger, random);
            }
            85..88 => {
                let mut keys = self.several(ledger, random);
                if random.one_in(8) {
                    // A very long request.
                    let times = random.skewed(100);
                    keys = keys.repeat(times);
                }
                self.request(Kind::Exists(keys.clone()), &keys, ledger, random);
            }
            88..91 => {
                self.echoes += 1;
                let text = format!("echo {} {}", self.number, self.echoes).into_bytes();
                self.request(Kind::Echo(text), &[], ledger, random);
            }
            91 if random.one_in(2) => {
                let number = ledger.messages.begin();
                self.request(Kind::Publish(number), &[], ledger, random);
            }
            91 => self.request(Kind::Ping, &[], ledger, random),
            92 => self.request(Kind::Missing, &[text], ledger, random),
            93 => {
                let number = random.next();
                self.request(Kind::Grown(number), &[text], ledger, random);
            }
            94 => match random.below(4) {
                0 => {
                    let made = ledger.fans.made(&ledger.keys);
                    self.request(Kind::Keys(made), &[], ledger, random);
                }
                1 | 2 => {
                    let load = ledger.fans.load();
                    self.request(Kind::Load(load), &[], ledger, random);
                    self.load = Some(load);
                }
                _ => self.size(ledger, random),
            },
            95 => self.request(Kind::AnyNode, &[], ledger, random),
            96 if self.may_say_hello(ledger) => {
                self.resp3 = !self.resp3;
                // Its connection speaks another protocol then.
                let own = self.transaction.as_ref();
                ledger.promises.excuse(own.map_or(&[], |own| own.watches()));
                self.request(Kind::Hello, &[], ledger, random);
            }
            97 => self.request(Kind::Refused("CROSSSLOT"), &[], ledger, random),
            98 => self.request(Kind::Refused("ERR "), &[], ledger, random),
            _ if self.manners.garbage && random.one_in(8) => self.last_words(random),
            _ => self.request(Kind::Ping, &[], ledger, random),
        }
    }

    /// Reads one of a few keys that all read, and that are not written most.
    fn read_hot(&mut self, ledger: &mut Ledger, random: &mut Random) {
        let texts = self.keys_of(Class::Text, ledger);
        let text = texts[texts.len() - 1 - random.below(3)];
        let log = self.keys_of(Class::Log, ledger)[0];
        match random.below(8) {
            0 if random.one_in(80) => self.request(Kind::Flush, &[], ledger, random),
            0 => self.request(Kind::Range(log), &[log], ledger, random),
            1 => self.request(Kind::Exists(vec![text]), &[text], ledger, random),
            2 => {
                let other = texts[texts.len() - 1 - random.below(3)];
                let keys = [text, other, text];
                self.request(Kind::MGet(keys.to_vec()), &keys, ledger, random);
            }
            _ => self.request(Kind::Get(text), &[text], ledger, random),
        }
    }

    /// A script of one key or two, which may answer as a node does that has not run it.
    fn run_script(&mut self, sum: usize, ledger: &mut Ledger, random: &mut Random) {
        let nonce = ledger.begin(sum);
        let tag = ledger.keys[sum].tag;
        let lie = random.one_in(2).then(|| lie(ledger.slots[tag], random));
        let mut keys = vec![sum];
        if random.one_in(3) {
            let texts = self.keys_of(Class::Text, ledger);
            keys.extend(texts.into_iter().find(|key| ledger.keys[*key].tag == tag));
        }
        self.request(Kind::Script(nonce, lie), &keys, ledger, random);
    }

    /// Several different text keys; often of one slot.
    fn several(&self, ledger: &Ledger, random: &mut Random) -> Vec<usize> {
        let mut keys = self.keys_of(Class::Text, ledger);
        if random.one_in(2) && self.inside.is_none() {
            let tag = random.below(ledger.tags);
            keys.retain(|key| ledger.keys[*key].tag == tag);
        }
        let mut some = Vec::new();
        for _ in 0..random.skewed(keys.len().min(12)) {
            some.push(keys.swap_remove(random.below(keys.len())));
        }
        some
    }

    fn set(&mut self, keys: &[usize], ledger: &mut Ledger, random: &mut Random) {
        let nonces = keys.iter().map(|key| ledger.begin(*key)).collect();
        self.request(Kind::Set(nonces), keys, ledger, random);
    }

    fn size(&mut self, ledger: &mut Ledger, random: &mut Random) {
        let made = ledger.fans.made(&ledger.keys);
        self.request(Kind::Size(made), &[], ledger, random);
    }

    fn request(&mut self, kind: Kind, keys: &[usize], ledger: &mut Ledger, random: &mut Random) {
        let cached = match &kind {
            Kind::Get(_) | Kind::Start(..) | Kind::Range(_) | Kind::Exists(_) | Kind::MGet(_) => {
                self.manners.staleness
            }
            _ => None,
        };
        let floors = keys.iter().map(|key| match cached {
            Some(staleness) => {
                ledger.keys[*key].version_at(ledger.asked_now.saturating_sub(staleness))
            }
            None => ledger.keys[*key].version(),
        });
        let floors = floors.collect();
        let keeps = self.tracker.as_mut().is_some_and(Tracker::keeps);
        note_author(&kind, self.who_may_ask(ledger), ledger);
        let args = self.args(&kind, keys, ledger, random);
        let plain = |arg: &Vec<u8>| {
            !arg.is_empty()
                && arg
                    .iter()
                    .all(|byte| byte.is_ascii_graphic() && *byte != b'\'')
        };
        let short = args.iter().map(Vec::len).sum::<usize>() < 1000;
        if random.one_in(16) && short && args.iter().all(plain) {
            self.unwritten.extend(args.join(&b' '));
            let end: &[u8] = if random.one_in(2) { b"\r\n" } else { b"\n" };
            self.unwritten.extend(end);
        } else {
            let args: Vec<&[u8]> = args.iter().map(Vec::as_slice).collect();
            self.unwritten.extend(resp::command(&args));
        }
        self.sent.push_back(Sent {
            kind,
            floors,
            resp3: self.resp3,
            behind: self.load,
            returns: ledger.returns,
            held: ledger.held,
            keeps,
        });
    }

    /// Something after which the proxy closes.
    fn last_words(&mut self, random: &mut Random) {
        let words: [(&[u8], Option<Kind>); 7] = [
            (b"*1\r\n$4\r\nQUIT\r\n", Some(Kind::Quit)),
            (b"*abc\r\n", Some(Kind::Refused("ERR Protocol error"))),
            (b"*1\r\n$-5\r\n", Some(Kind::Refused("ERR Protocol error"))),
            (b"*1\r\n:5\r\n", Some(Kind::Refused("ERR Protocol error"))),
            (
                b"*1\r\n$4\r\nPINGxx",
                Some(Kind::Refused("ERR Protocol error")),
            ),
            (b"SET \"a b\r\n", Some(Kind::Refused("ERR Protocol error"))),
            (b"POST / HTTP/1.1\r\nHost: a\r\n\r\n", None),
        ];
        let (bytes, kind) = random.pick(&words);
        self.unwritten.extend(*bytes);
        if random.one_in(2) {
            // What comes behind is not read any more.
            self.unwritten.extend(resp::command(&[b"FLUSHALL"]));
        }
        if let Some(kind) = kind.clone() {
            self.sent.push_back(Sent::plain(kind, self.resp3));
        }
        self.end = End::Told;
    }

    /// Closes its side once all is written, perhaps within a request.
    pub fn half_close(&mut self, random: &mut Random) {
        if self.end == End::Open {
            self.end = End::Half;
            if random.one_in(2) {
                self.unwritten.extend(b"*2\r\n$4\r\nECHO\r\n$10\r\nabc");
            }
        }
    }

    /// Writes to the proxy; returns whether anything is news there.
    pub fn write(&mut self, random: &mut Random) -> bool {
        let room = self.to_proxy.room().min(self.unwritten.len());
        if room > 0 {
            let count = if random.one_in(2) {
                room
            } else {
                random.skewed(room)
            };
            let bytes: Vec<u8> = self.unwritten.drain(..count).collect();
            self.to_proxy.push(&bytes);
        }
        let ends = self.end == End::Half && self.unwritten.is_empty() && !self.to_proxy.ended;
        self.to_proxy.ended |= ends;
        room > 0 || ends
    }

    /// Reads from the proxy and checks what has come; returns whether it has been closed.
    pub fn read(&mut self, ledger: &mut Ledger, counts: &mut Counts, random: &mut Random) -> bool {
        let most = self.from_proxy.len();
        if most > 0 {
            let count = if random.one_in(2) {
                most
            } else {
                random.skewed(most)
            };
            self.from_proxy.read_to(&mut self.received, count);
        }
        let mut at = 0;
        while let Some((value, len)) = resp::take_reply(&self.received[at..]) {
            at += len;
            let is_told = self.is_refused_change(&value, ledger, counts)
                || self.hears(&value, counts)
                || self.hears_of_change(&value, ledger)
                || self.hears_for_others(&value, ledger);
            if is_told {
                continue;
            }
            counts.replies += 1;
            counts.big += u64::from(len > 16 << 10);
            let sent = self.sent.pop_front();
            let sent = sent.unwrap_or_else(|| panic!("a reply to nothing: {value:?}"));
            counts.grown += u64::from(matches!(&sent.kind, Kind::Grown(_)));
            counts.bursts += u64::from(matches!(&sent.kind, Kind::Echo(text) if text == LAST));
            self.check(sent, &value, ledger, counts);
        }
        self.received.drain(..at);
        let closed = self.from_proxy.ended && self.from_proxy.is_empty();
        if closed && counts.severed_seen < counts.severed && !self.has_all() {
            // It has got a part of a reply whose rest was lost with a node's connection.
            counts.severed_seen += 1;
            for sent in std::mem::take(&mut self.sent) {
                settle(&sent.kind, Outcome::Unknown, ledger);
            }
            self.abandon(ledger);
        } else if closed && !self.has_all() && self.may_be_ended(ledger) {
            counts.ended += 1;
            for sent in std::mem::take(&mut self.sent) {
                settle(&sent.kind, Outcome::Unknown, ledger);
            }
            self.abandon(ledger);
        } else if closed {
            assert!(self.received.is_empty(), "closed within a reply");
            assert_ne!(
                self.end,
                End::Open,
                "the proxy closed a client without cause"
            );
            let cut_off = ledger.users.is_some() && self.end == End::Told;
            assert!(
                self.sent.is_empty() || cut_off,
                "closed before all was answered"
            );
            for sent in std::mem::take(&mut self.sent) {
                settle(&sent.kind, Outcome::Failed, ledger);
            }
            self.abandon(ledger);
        }
        closed
    }

    /// Whether it was closed as it wished, with all that it is owed.
    fn has_all(&self) -> bool {
        self.end != End::Open && self.received.is_empty() && self.sent.is_empty()
    }

    /// Takes what a subscriber is told: messages, and the frames of its changes.
    fn hears(&mut self, value: &Value, counts: &mut Counts) -> bool {
        let Some(subscriber) = &mut self.subscriber else {
            return false;
        };
        if subscriber.take(value, self.heard_resp3) {
            counts.messages += 1;
            return true;
        }
        match self.sent.front_mut() {
            Some(Sent {
                kind: Kind::Change(change),
                ..
            }) => {
                counts.errors += u64::from(matches!(value, Value::Error(_)));
                if subscriber.told(change, value, self.heard_resp3) {
                    self.sent.pop_front();
                }
                true
            }
            Some(Sent {
                kind: Kind::Hello,
                resp3,
                ..
            }) => {
                self.heard_resp3 = *resp3;
                false
            }
            Some(Sent {
                kind: Kind::Reset, ..
            }) => {
                subscriber.reset();
                self.heard_resp3 = false;
                false
            }
            Some(Sent {
                kind: Kind::Ping, ..
            }) if subscriber.is_subscribed()
                && !self.heard_resp3
                && !matches!(value, Value::Error(_)) =>
            {
                let pong = [Value::Bulk(b"pong".to_vec()), Value::Bulk(Vec::new())];
                assert_eq!(*value, Value::Array(pong.to_vec()));
                self.sent.pop_front();
                true
            }
            _ => false,
        }
    }

    /// The client has vanished: the outcome of what it had sent is not known to it.
    pub fn vanish(mut self, ledger: &mut Ledger) {
        for sent in std::mem::take(&mut self.sent) {
            settle(&sent.kind, Outcome::Unknown, ledger);
        }
        self.abandon(ledger);
    }

    fn check(&mut self, sent: Sent, value: &Value, ledger: &mut Ledger, counts: &mut Counts) {
        // (Who waits for each reply before it asks again has no later read.)
        self.at_once = sent.held == ledger.held || self.is_reader;
        self.drop_own(&sent.kind, ledger);
        let fits = match (value, &sent.kind) {
            (Value::Error(text), Kind::Refused(start)) if text.starts_with(start) => true,
            (Value::Error(text), _) => {
                counts.errors += 1;
                return self.check_error(&sent, text, ledger, counts);
            }
            _ => self.check_success(&sent, value, ledger),
        };
        assert!(
            fits,
            "client {}: {:?} was answered {value:?}; it has been at {:?}; the keys: {:?}",
            self.number,
            sent,
            keys_of(&sent.kind, ledger)
                .iter()
                .map(|key| self.seen[*key])
                .collect::<Vec<_>>(),
            keys_of(&sent.kind, ledger)
                .iter()
                .map(|key| (ledger.keys[*key].version(), &ledger.keys[*key]))
                .map(|(version, key)| (version, key.name.escape_ascii().to_string()))
                .collect::<Vec<_>>(),
        );
    }

    fn check_error(&mut self, sent: &Sent, text: &str, ledger: &mut Ledger, counts: &mut Counts) {
        let said = matches!(&sent.kind, Kind::Script(_, Some(lie)) if lie == text);
        let unknown = said
            || text.ends_with("command may have been executed")
            || text.starts_with("ERR partial failure: ");
        let refused = ["CLUSTERDOWN ", "TRYAGAIN ", "LOADING ", "MASTERDOWN "];
        if self.is_judged(sent, text, ledger) {
            counts.judged += 1;
            self.refused_inside |= matches!(sent.kind, Kind::Queued);
            return settle(&sent.kind, Outcome::Failed, ledger);
        }
        if self.is_refused_redirect(&sent.kind, text) {
            return;
        }
        let is_exec = matches!(sent.kind, Kind::Exec(_));
        let aborted = is_exec && text.starts_with("EXECABORT ");
        // A node may take back what it has said to a script before it is asked whether it is true.
        let taken_back = matches!(sent.kind, Kind::Script(..))
            && (text.starts_with("MOVED ") || text.starts_with("ASK "));
        // The last word that a node had for a pop which no other has taken since.
        let thrown_out = matches!(sent.kind, Kind::Pop(_)) && text.starts_with("UNBLOCKED ");
        // Others have written it again and again.
        let changed = matches!(sent.kind, Kind::Inside(Asked::Move(_)))
            && text.starts_with("ERR the key was changed again and again");
        let failed = aborted
            || changed
            || taken_back
            || thrown_out
            || refused.iter().any(|word| text.starts_with(word))
            || text.starts_with("ERR backend unavailable, command was not executed")
            || text == "ERR max number of clients reached";
        assert!(unknown || failed, "{:?} was answered {text:?}", sent.kind);
        let local = matches!(
            sent.kind,
            Kind::Echo(_)
                | Kind::Ping
                | Kind::Hello
                | Kind::Track(_)
                | Kind::Caching(_)
                | Kind::Id
                | Kind::Quit
                | Kind::Reset
                | Kind::Refused(_)
                | Kind::Multi
                | Kind::Unwatch
                | Kind::Discard(_)
                | Kind::Inside(Asked::Select)
        );
        // Where the servers judge, they are asked whether it may be run.
        let local = local && ledger.users.is_none();
        assert!(!local, "{:?} was answered {text:?}", sent.kind);
        let doomed = matches!(&sent.kind, Kind::Exec(own) if own.is_doomed());
        assert!(!doomed || aborted, "{:?} was answered {text:?}", sent.kind);
        // Of two requests in one pipeline a node refused the first, then got the slot back and executed the second:
        // the first can no longer be executed in its turn.
        let overtaken = ledger.returns > sent.returns
            && text == "ERR backend unavailable, command was not executed";
        let excused = !self.manners.strict
            || matches!(sent.kind, Kind::Script(_, Some(_)))
            || text.contains("TRYAGAIN ")
            || taken_back
            || changed
            || overtaken
            || (aborted && (doomed || self.refused_inside));
        self.refused_inside |= matches!(sent.kind, Kind::Queued);
        assert!(excused, "in planned work {:?} got {text:?}", sent.kind);
        counts.unknown += u64::from(unknown);
        counts.try_again += u64::from(text.starts_with("TRYAGAIN"));
        let outcome = if unknown {
            Outcome::Unknown
        } else {
            Outcome::Failed
        };
        settle(&sent.kind, outcome, ledger);
        if let Kind::Inside(asked) = &sent.kind {
            self.gives_up(asked);
        }
    }

    fn check_success(&mut self, sent: &Sent, value: &Value, ledger: &mut Ledger) -> bool {
        match (&sent.kind, value) {
            (Kind::Set(nonces), Value::Simple(text)) => {
                self.wrote(nonces, sent, ledger);
                text == "OK"
            }
            (Kind::Del(nonces), Value::Integer(count)) => {
                self.wrote(nonces, sent, ledger);
                let found: i64 = nonces
                    .iter()
                    .map(|nonce| ledger.writes[*nonce].result)
                    .sum();
                *count == found
            }
            (Kind::Sum(nonce) | Kind::Script(nonce, None), Value::Integer(sum)) => {
                self.wrote(&[*nonce], sent, ledger);
                let write = &ledger.writes[*nonce];
                *sum == ledger.keys[write.key].state(write.version)
            }
            (Kind::Push(nonce), Value::Integer(len)) => {
                self.wrote(&[*nonce], sent, ledger);
                *len as u64 == ledger.writes[*nonce].version
            }
            (Kind::Incr(key), Value::Integer(count)) => {
                ledger.acknowledge(*key, *count);
                self.has_written(*key, *count as u64, sent.floors[0]);
                true
            }
            (Kind::Get(key), value) => self.saw_text(*key, value, sent.floors[0], sent, ledger),
            (Kind::Start(key, _), Value::Bulk(bytes)) => {
                let null = match sent.resp3 {
                    true => Value::Null,
                    false => Value::NullBulk,
                };
                // What is not there is empty.
                let value = if bytes.is_empty() { &null } else { value };
                self.saw_text(*key, value, sent.floors[0], sent, ledger)
            }
            (Kind::MGet(keys), Value::Array(values)) => {
                values.len() == keys.len()
                    && keys
                        .iter()
                        .zip(values)
                        .zip(&sent.floors)
                        .all(|((key, value), floor)| {
                            self.saw_text(*key, value, *floor, sent, ledger)
                        })
            }
            (Kind::Range(key), Value::Array(entries)) => {
                let known = ledger.keys[*key].entries();
                let same = known
                    .iter()
                    .zip(entries)
                    .all(|(nonce, entry)| *entry == Value::Bulk(ledger.value(*nonce as usize)));
                let len = entries.len() as u64;
                let version = self.saw(*key, sent.floors[0], ledger, |version| version == len);
                same && entries.len() <= known.len() && version
            }
            (Kind::Exists(keys), Value::Integer(count)) => match keys[..] {
                [key] => {
                    let states = ledger.keys[key].class;
                    debug_assert_eq!(states, Class::Text);
                    self.saw(key, sent.floors[0], ledger, |version| {
                        i64::from(ledger.keys[key].state(version) != ABSENT) == *count
                    })
                }
                _ => (0..=keys.len() as i64).contains(count),
            },
            (Kind::Echo(text), Value::Bulk(echo)) => text == echo,
            (Kind::Ping, Value::Simple(text)) => text == "PONG",
            (Kind::Flush | Kind::Track(_) | Kind::Caching(_), Value::Simple(text)) => text == "OK",
            (Kind::Id, Value::Integer(name)) => self.is_named(*name),
            (Kind::Listen, Value::Array(items)) => self.is_subscribed_for_others(items),
            (Kind::Quit, Value::Simple(text)) => text == "OK",
            (Kind::Reset, Value::Simple(text)) => {
                self.is = ledger.users.as_ref().map_or(0, |users| users.unnamed());
                text == "RESET"
            }
            (Kind::Missing, value) => is_null(value, sent.resp3),
            (Kind::Grown(number), value) => {
                let whole = resp::take_reply(&resp::grown(*number, sent.resp3));
                whole.is_some_and(|(whole, _)| whole == *value)
            }
            (Kind::Publish(number), Value::Integer(count)) => {
                ledger.messages.told(*number, Outcome::Done);
                // The proxy's own subscribers are counted, its connections are not.
                (receivers(*number) - 8..receivers(*number) + 8).contains(count)
            }
            (Kind::Size(made), Value::Integer(count)) => {
                ledger.fans.counted(made, *count, ledger.keys.len())
            }
            (Kind::Keys(made), Value::Array(names)) => ledger.fans.found(made, names),
            (Kind::Load(load), Value::Bulk(name)) => {
                ledger.fans.told(*load, &std::mem::take(&mut self.written));
                name == b"lib"
            }
            (Kind::AnyNode, Value::Bulk(text)) => text == b"some",
            (Kind::Hello, Value::Map(_)) => sent.resp3,
            (Kind::Hello, Value::Array(_)) => !sent.resp3,
            (Kind::Inside(asked), value) => self.check_inside(asked, sent, value, ledger),
            (Kind::Login(..), value) => {
                self.was_told_of_login(sent, true, ledger);
                match value {
                    Value::Simple(text) => text == "OK",
                    Value::Map(_) => sent.resp3,
                    Value::Array(_) => !sent.resp3,
                    _ => false,
                }
            }
            _ => self.check_exclusive(sent, value, ledger),
        }
    }

    fn wrote(&mut self, nonces: &[Nonce], sent: &Sent, ledger: &mut Ledger) {
        for (nonce, floor) in nonces.iter().zip(&sent.floors) {
            let key = ledger.writes[*nonce].key;
            if let Some(version) = ledger.told(*nonce, Outcome::Done) {
                self.has_written(key, version, *floor);
                self.written.push(*nonce);
                if let Some(load) = sent.behind {
                    ledger.fans.follows(*nonce, load);
                }
            }
        }
    }

    /// A write of known outcome made this version: it came after all that was sent before it.
    fn has_written(&mut self, key: usize, version: u64, floor: u64) {
        let seen = &mut self.seen[key];
        assert!(
            version > seen.written && version > floor,
            "client {}: a write of key {key} made version {version}, but an earlier one {}",
            self.number,
            seen.written
        );
        assert!(
            self.manners.replica_reads || version > seen.read,
            "client {}: a write of key {key} made version {version}, but an earlier read saw {}",
            self.number,
            seen.read
        );
        seen.written = version;
    }

    /// A read saw a version of which `fits` is true: is there one that it may have seen?
    fn saw(&mut self, key: usize, floor: u64, ledger: &Ledger, fits: impl Fn(u64) -> bool) -> bool {
        let seen = &mut self.seen[key];
        let floor = if self.manners.replica_reads {
            floor
        } else {
            // What a node has refused is asked again, and may then see what a later read has not seen.
            let newest = match self.manners.staleness {
                Some(_) if self.at_once => seen.read_at_once,
                _ => 0,
            };
            floor.max(seen.written).max(newest)
        };
        let Some(version) = (floor..=ledger.keys[key].version()).find(|version| fits(*version))
        else {
            return false;
        };
        if !self.manners.replica_reads {
            seen.read = seen.read.max(version);
            if self.at_once {
                seen.read_at_once = seen.read_at_once.max(version);
            }
        }
        true
    }

    fn saw_text(
        &mut self,
        key: usize,
        value: &Value,
        floor: u64,
        sent: &Sent,
        ledger: &Ledger,
    ) -> bool {
        let state = match value {
            Value::Bulk(bytes) => match Ledger::nonce_of(bytes) {
                Some(nonce) if nonce < ledger.writes.len() && *bytes == ledger.value(nonce) => {
                    nonce as i64
                }
                _ => return false,
            },
            other if is_null(other, sent.resp3) => ABSENT,
            _ => return false,
        };
        self.keep(sent, key, state, ledger);
        self.saw(key, floor, ledger, |version| {
            ledger.keys[key].state(version) == state
        })
    }

    /// Sends a write and a read of every tag, for a cluster that should be well.
    pub fn probe(&mut self, ledger: &mut Ledger, random: &mut Random) {
        for tag in 0..ledger.tags {
            let find = |class| {
                let mut own = ledger.keys_of(class).into_iter();
                own.find(|key| ledger.keys[*key].tag == tag)
                    .expect("a key of each class")
            };
            let (text, count) = (find(Class::Text), find(Class::Count));
            self.set(&[text], ledger, random);
            self.request(Kind::Get(text), &[text], ledger, random);
            self.request(Kind::Incr(count), &[count], ledger, random);
        }
        self.size(ledger, random);
    }
}

fn is_null(value: &Value, resp3: bool) -> bool {
    *value == if resp3 { Value::Null } else { Value::NullBulk }
}

fn keys_of(kind: &Kind, ledger: &Ledger) -> Vec<usize> {
    match kind {
        Kind::Set(nonces) | Kind::Del(nonces) => nonces
            .iter()
            .map(|nonce| ledger.writes[*nonce].key)
            .collect(),
        Kind::Sum(nonce) | Kind::Script(nonce, _) | Kind::Push(nonce) => {
            vec![ledger.writes[*nonce].key]
        }
        Kind::Incr(key) | Kind::Get(key) | Kind::Start(key, _) | Kind::Range(key) => vec![*key],
        Kind::MGet(keys) | Kind::Exists(keys) => keys.clone(),
        _ => Vec::new(),
    }
}

/// Notes who may have sent the writes of a request.
fn note_author(kind: &Kind, bits: u32, ledger: &mut Ledger) {
    let Some(users) = &mut ledger.users else {
        return;
    };
    match kind {
        Kind::Set(nonces) | Kind::Del(nonces) => {
            nonces.iter().for_each(|nonce| users.wrote(*nonce, bits));
        }
        Kind::Sum(nonce) | Kind::Script(nonce, _) | Kind::Push(nonce) | Kind::Token(nonce) => {
            users.wrote(*nonce, bits);
        }
        _ => {}
    }
}

fn settle(kind: &Kind, outcome: Outcome, ledger: &mut Ledger) {
    match kind {
        Kind::Set(nonces) | Kind::Del(nonces) => {
            for nonce in nonces {
                ledger.told(*nonce, outcome);
            }
        }
        Kind::Sum(nonce) | Kind::Script(nonce, _) | Kind::Push(nonce) | Kind::Token(nonce) => {
            ledger.told(*nonce, outcome);
        }
        Kind::Publish(number) => ledger.messages.told(*number, outcome),
        Kind::Exec(own) => own.settle(outcome, ledger),
        // It may not have come there, and yet nothing was executed.
        Kind::Discard(own) => own.settle(Outcome::Failed, ledger),
        Kind::Pop(own) => own.settle(outcome, ledger),
        Kind::Inside(asked) => asked.settle(outcome, ledger),
        Kind::Incr(key) if outcome == Outcome::Unknown => ledger.unsure(*key),
        _ => {}
    }
}
