//! What a client does on connections of its own: transactions, under WATCH or not, and pops that wait.

use super::{Asked, Client, Kind, Sent, is_null, note_author, settle};
use crate::databases::View;
use crate::ledger::{Class, Ledger, Nonce, Outcome};
use crate::random::Random;
use crate::resp::{self, Value};

/// A transaction that has begun, with WATCH or with MULTI.
#[derive(Debug, Clone, Default)]
pub struct Transaction {
    tag: usize,
    /// The numbers of its WATCHes.
    watches: Vec<usize>,
    /// Whether MULTI has been said.
    queueing: bool,
    /// What is queued, in order.
    items: Vec<Sent>,
    /// Something was queued that cannot be.
    doomed: bool,
}

/// A pop that may wait.
#[derive(Debug, Clone)]
pub struct Pop {
    key: usize,
    number: Option<usize>,
    /// Until when it waits at least.
    until: u64,
}

impl Transaction {
    fn nonces(&self) -> Vec<Nonce> {
        let nonce = |item: &Sent| match &item.kind {
            Kind::Set(nonces) => nonces[0],
            Kind::Sum(nonce) | Kind::Push(nonce) => *nonce,
            _ => usize::MAX,
        };
        let nonces = self.items.iter().map(nonce);
        nonces.filter(|nonce| *nonce != usize::MAX).collect()
    }

    /// The numbers of its WATCHes.
    pub fn watches(&self) -> &[usize] {
        &self.watches
    }

    /// Whether EXEC must fail.
    pub fn is_doomed(&self) -> bool {
        self.doomed
    }

    /// What became of all of it.
    pub fn settle(&self, outcome: Outcome, ledger: &mut Ledger) {
        self.items
            .iter()
            .for_each(|item| settle(&item.kind, outcome, ledger));
        if outcome == Outcome::Unknown {
            ledger.promises.unknown(self.nonces());
        }
    }
}

impl Pop {
    /// What became of it.
    pub fn settle(&self, outcome: Outcome, ledger: &mut Ledger) {
        if outcome == Outcome::Unknown {
            ledger.promises.unheard(self.key);
        }
    }
}

impl Client {
    /// Goes on with a transaction, begins one, or pops or pushes a token; or leaves that for another time.
    pub(super) fn make_exclusive(&mut self, ledger: &mut Ledger, random: &mut Random) -> bool {
        match &self.transaction {
            Some(own) if own.queueing => self.queue(ledger, random),
            Some(_) => match random.below(12) {
                0..4 => self.say(Kind::Multi, &[b"MULTI"]),
                4 => self.say(Kind::Unwatch, &[b"UNWATCH"]),
                5 => self.watch(ledger, random),
                _ => return false,
            },
            None => match random.below(120) {
                0..3 => {
                    self.begin(ledger, random);
                    self.say(Kind::Multi, &[b"MULTI"]);
                }
                3..6 => {
                    self.begin(ledger, random);
                    self.watch(ledger, random);
                }
                6..9 => self.pop(ledger, random),
                9..13 => {
                    let keys = self.keys_of(Class::Queue, ledger);
                    let key = *random.pick(&keys);
                    let nonce = ledger.begin(key);
                    self.request(Kind::Token(nonce), &[key], ledger, random);
                }
                _ => return false,
            },
        }
        if let (Some(own), Some(sent)) = (&mut self.transaction, self.sent.back()) {
            match sent.kind {
                Kind::Multi => own.queueing = true,
                Kind::Unwatch => self.transaction = None,
                _ => {}
            }
        }
        true
    }

    fn begin(&mut self, ledger: &Ledger, random: &mut Random) {
        let tag = match self.database() {
            Some(database) => ledger.place_of(&ledger.databases.all[database].tag),
            None => random.below(ledger.tags),
        };
        self.transaction = Some(Transaction {
            tag,
            ..Transaction::default()
        });
    }

    pub(super) fn say(&mut self, kind: Kind, args: &[&[u8]]) {
        self.unwritten.extend(resp::command(args));
        self.sent.push_back(Sent {
            behind: self.load,
            ..Sent::plain(kind, self.resp3)
        });
    }

    /// Keys of the transaction's slot, of these classes.
    fn keys(&self, classes: &[Class], ledger: &Ledger) -> Vec<usize> {
        let tag = self.transaction.as_ref().map_or(0, |own| own.tag);
        let fits = |key: &usize| {
            let key = &ledger.keys[*key];
            key.tag == tag && key.database == self.database() && classes.contains(&key.class)
        };
        (0..ledger.keys.len()).filter(fits).collect()
    }

    fn watch(&mut self, ledger: &mut Ledger, random: &mut Random) {
        let number = ledger.promises.watch();
        let mut keys = self.keys(&[Class::Text, Class::Sum, Class::Log], ledger);
        let mut args = vec![b"WATCH".to_vec()];
        for _ in 0..random.between(1, 3) {
            let key = keys.swap_remove(random.below(keys.len()));
            args.push(ledger.keys[key].shown.clone());
        }
        let own = self.transaction.as_mut().expect("it has begun");
        own.watches.push(number);
        let tag = own.tag;
        args.push(self.other_name(tag, &format!("w{number}")));
        let args: Vec<&[u8]> = args.iter().map(Vec::as_slice).collect();
        self.say(Kind::Watch(number), &args);
    }

    /// One more request inside MULTI, or its end.
    fn queue(&mut self, ledger: &mut Ledger, random: &mut Random) {
        let mut some = |classes: &[Class]| {
            let keys = self.keys(classes, ledger);
            *random.pick(&keys)
        };
        let (text, sum, log) = (
            some(&[Class::Text]),
            some(&[Class::Sum]),
            some(&[Class::Log]),
        );
        let (kind, keys) = match random.below(26) {
            0..5 => (Kind::Set(vec![ledger.begin(text)]), vec![text]),
            5..8 => (Kind::Sum(ledger.begin(sum)), vec![sum]),
            8..11 => (Kind::Push(ledger.begin(log)), vec![log]),
            11..14 => (Kind::Get(text), vec![text]),
            14 if random.one_in(3) => return self.queue_many_own(ledger, random),
            14 => (Kind::Echo(b"inside".to_vec()), Vec::new()),
            // A script, in a namespace.
            24 | 25 if self.inside.is_some() => return self.queue_count(ledger),
            // For all masters: one has it in the transaction, the others behind it.
            24 | 25 => (Kind::Size(ledger.fans.made(&ledger.keys)), Vec::new()),
            15 if random.one_in(4) => {
                self.transaction.as_mut().expect("it has begun").doomed = true;
                return self.say(Kind::Refused("ERR wrong number"), &[b"GET"]);
            }
            16 => {
                let own = self.transaction.take().expect("it has begun");
                return self.say(Kind::Discard(Box::new(own)), &[b"DISCARD"]);
            }
            _ => {
                let own = self.transaction.take().expect("it has begun");
                ledger.promises.guard(&own.nonces(), &own.watches);
                return self.say(Kind::Exec(Box::new(own)), &[b"EXEC"]);
            }
        };
        self.queue_one(kind, &keys, ledger, random);
    }

    /// A great many requests that the proxy answers itself.
    fn queue_many_own(&mut self, ledger: &mut Ledger, random: &mut Random) {
        for number in 0..random.skewed(1000) {
            let text = format!("inside {number}").into_bytes();
            self.queue_one(Kind::Echo(text), &[], ledger, random);
        }
    }

    /// The number of keys of its database.
    fn queue_count(&mut self, ledger: &Ledger) {
        if let Some(database) = self.database() {
            let kind = Kind::Inside(Asked::Count(View::of(database, ledger).queued()));
            self.queue_written(kind, Vec::new(), &[b"DBSIZE"], ledger);
        }
    }

    fn queue_one(&mut self, kind: Kind, keys: &[usize], ledger: &mut Ledger, random: &mut Random) {
        let floors = keys.iter().map(|key| ledger.keys[*key].version()).collect();
        note_author(&kind, self.who_may_ask(ledger), ledger);
        let args = self.args(&kind, keys, ledger, random);
        let args: Vec<&[u8]> = args.iter().map(Vec::as_slice).collect();
        self.queue_written(kind, floors, &args, ledger);
    }

    fn queue_written(&mut self, kind: Kind, floors: Vec<u64>, args: &[&[u8]], ledger: &Ledger) {
        let (resp3, behind) = (self.resp3, self.load);
        let item = Sent {
            kind,
            floors,
            resp3,
            behind,
            returns: ledger.returns,
            held: ledger.held,
            keeps: false,
        };
        let own = self.transaction.as_mut().expect("it has begun");
        own.items.push(item);
        self.say(Kind::Queued, args);
    }

    fn pop(&mut self, ledger: &mut Ledger, random: &mut Random) {
        let keys = self.keys_of(Class::Queue, ledger);
        let key = *random.pick(&keys);
        let millis = random.skewed(400) as u64;
        let mut args = vec![b"BLPOP".to_vec(), ledger.keys[key].shown.clone()];
        let number = random.one_in(2).then(|| ledger.promises.pop());
        if let Some(number) = number {
            args.push(self.other_name(ledger.keys[key].tag, &format!("p{number}")));
        }
        args.push(format!("{}.{:03}", millis / 1000, millis % 1000).into_bytes());
        let args: Vec<&[u8]> = args.iter().map(Vec::as_slice).collect();
        let until = self.now + millis * 1000;
        self.say(Kind::Pop(Pop { key, number, until }), &args);
    }

    /// The reply to one of these requests, which is no error.
    pub(super) fn check_exclusive(
        &mut self,
        sent: &Sent,
        value: &Value,
        ledger: &mut Ledger,
    ) -> bool {
        let nil = *value == Value::NullArray || is_null(value, true);
        match (&sent.kind, value) {
            (Kind::Multi, Value::Simple(text)) => {
                self.refused_inside = false;
                text == "OK"
            }
            (Kind::Unwatch, Value::Simple(text)) => text == "OK",
            (Kind::Watch(number), Value::Simple(text)) => {
                ledger.promises.told(*number);
                text == "OK"
            }
            (Kind::Queued, Value::Simple(text)) => text == "QUEUED",
            (Kind::Discard(own), Value::Simple(text)) => {
                own.settle(Outcome::Failed, ledger);
                text == "OK"
            }
            (Kind::Exec(own), _) if nil && sent.resp3 == is_null(value, true) => {
                ledger.promises.was_nil(&own.watches);
                own.settle(Outcome::Failed, ledger);
                !own.doomed
            }
            (Kind::Exec(own), Value::Array(values)) => {
                ledger.promises.long += u64::from(own.items.len() > 100);
                ledger.promises.was_executed(&own.watches);
                let mut items = own.items.iter().zip(values);
                let all = items.all(|(item, value)| match (&item.kind, value) {
                    // Another master was not there.
                    (Kind::Size(_), Value::Error(_)) => !self.manners.strict,
                    _ => self.check_success(item, value, ledger),
                });
                all && values.len() == own.items.len() && !own.doomed
            }
            (Kind::Token(nonce), Value::Integer(1..)) => {
                self.wrote(&[*nonce], sent, ledger);
                true
            }
            (Kind::Pop(own), _) if nil && sent.resp3 == is_null(value, true) => {
                self.now + 1000 >= own.until
            }
            (Kind::Pop(own), Value::Array(items)) => {
                let [Value::Bulk(key), Value::Bulk(token)] = &items[..] else {
                    return false;
                };
                let Some(nonce) = Ledger::nonce_of(token) else {
                    return false;
                };
                ledger.promises.delivered(nonce, own.key, own.number);
                *key == ledger.keys[own.key].shown && *token == ledger.value(nonce)
            }
            _ => false,
        }
    }

    /// It says RESET, which undoes each WATCH before it: what was watched guards no EXEC behind it, and excuses none.
    pub(super) fn forget_watches(&mut self) {
        if let Some(own) = &mut self.transaction {
            own.watches.clear();
        }
    }

    /// What was begun and not sent to its end was not executed, and will never be.
    pub(super) fn abandon(&mut self, ledger: &mut Ledger) {
        if let Some(own) = self.transaction.take() {
            own.settle(Outcome::Failed, ledger);
        }
    }
}
