//! What a client of a namespace asks of its databases.

use super::{Client, Kind, Sent, is_null};
use crate::databases::View;
use crate::ledger::{ABSENT, Class, Ledger, Outcome};
use crate::random::Random;
use crate::resp::Value;

/// Where a client of a namespace is.
#[derive(Debug)]
pub struct Inside {
    /// The database that it has selected.
    pub database: usize,
    scan: Option<Scan>,
    scans: u64,
}

/// A scan that has begun.
#[derive(Debug)]
struct Scan {
    number: u64,
    view: View,
    cursor: Vec<u8>,
    found: Vec<Value>,
    /// Whether a reply is on its way.
    asked: bool,
}

/// What it has asked for.
#[derive(Debug, Clone)]
pub enum Asked {
    Select,
    Count(View),
    List(View),
    /// One step of the scan of this number.
    Scan(u64),
    Random(View),
    Flush(View),
    /// A key goes from one place to another, which had these versions.
    Move([(usize, u64); 2]),
    Copy([(usize, u64); 2]),
}

impl Asked {
    /// What became of it.
    pub fn settle(&self, outcome: Outcome, ledger: &mut Ledger) {
        if let Asked::Flush(view) = self {
            ledger.databases.told(view.database, outcome);
        }
    }
}

impl Client {
    /// It has come to the listener of a namespace, of which this is the first database.
    pub fn enters(mut self, database: usize) -> Client {
        self.inside = Some(Inside {
            database,
            scan: None,
            scans: 0,
        });
        self
    }

    /// The database whose keys it knows.
    pub fn database(&self) -> Option<usize> {
        self.inside.as_ref().map(|inside| inside.database)
    }

    /// Its keys of a class.
    pub(super) fn keys_of(&self, class: Class, ledger: &Ledger) -> Vec<usize> {
        ledger.keys_of_in(class, self.database())
    }

    /// Whether it is in a database that has texts only.
    pub(super) fn has_texts_only(&self, ledger: &Ledger) -> bool {
        let database = self.database();
        database.is_some_and(|database| ledger.databases.all[database].is_texts)
    }

    /// Asks something of a database, if it is in a namespace, or leaves that for another time.
    pub(super) fn make_inside(&mut self, ledger: &mut Ledger, random: &mut Random) -> bool {
        let Some(inside) = &self.inside else {
            return false;
        };
        let database = inside.database;
        let texts_only = self.has_texts_only(ledger);
        let view = View::of(database, ledger);
        match random.below(24) {
            0 => self.ask(Asked::Count(view), &[b"DBSIZE"]),
            1 => self.ask(Asked::List(view), &[b"KEYS", b"*"]),
            2 | 3 => self.scan(view),
            4 => self.ask(Asked::Random(view), &[b"randomkey"]),
            5 if texts_only => self.ask(Asked::Flush(view), &[b"FLUSHDB"]),
            6 if self.transaction.is_none() => self.select(database, ledger, random),
            7 | 8 => self.transfer(database, ledger, random),
            9 => {
                let words = *random.pick(&["SELECT 99", "SWAPDB 0 x", "MONITOR", "FUNCTION FLUSH"]);
                let args: Vec<&[u8]> = words.split(' ').map(str::as_bytes).collect();
                self.say(Kind::Refused("ERR "), &args);
            }
            10..20 if texts_only => self.use_texts(ledger, random),
            _ if texts_only => self.request(Kind::Ping, &[], ledger, random),
            _ => return false,
        }
        true
    }

    fn ask(&mut self, asked: Asked, args: &[&[u8]]) {
        self.say(Kind::Inside(asked), args);
    }

    /// What can be done where there are texts only.
    fn use_texts(&mut self, ledger: &mut Ledger, random: &mut Random) {
        let keys = self.keys_of(Class::Text, ledger);
        let (one, other) = (*random.pick(&keys), *random.pick(&keys));
        match random.below(8) {
            0..3 => self.set(&[one], ledger, random),
            3..5 => self.request(Kind::Get(one), &[one], ledger, random),
            5 => self.request(Kind::MGet(vec![one, other]), &[one, other], ledger, random),
            6 => {
                let nonces = vec![ledger.begin(one)];
                self.request(Kind::Del(nonces), &[one], ledger, random);
            }
            _ => self.request(Kind::Exists(vec![one]), &[one], ledger, random),
        }
    }

    fn select(&mut self, database: usize, ledger: &Ledger, random: &mut Random) {
        let beside = ledger.databases.beside(database);
        let chosen = *random.pick(&beside);
        let index = ledger.databases.all[chosen].index.to_string();
        self.ask(Asked::Select, &[b"SELECT", index.as_bytes()]);
        if let Some(inside) = &mut self.inside {
            inside.database = chosen;
            inside.scan = None;
        }
    }

    /// MOVE or COPY of a text to another database.
    fn transfer(&mut self, database: usize, ledger: &mut Ledger, random: &mut Random) {
        let beside = ledger.databases.beside(database);
        let to = *random.pick(&beside);
        if to == database {
            return self.say(Kind::Ping, &[b"PING"]);
        }
        let from = *random.pick(&self.keys_of(Class::Text, ledger));
        let others = ledger.keys_of_in(Class::Text, Some(to));
        let index = ledger.databases.all[to].index.to_string();
        let version = |key: usize| (key, ledger.keys[key].version());
        let name = |key: usize| ledger.keys[key].shown.clone();
        if random.one_in(2) {
            let mut same = others.iter();
            let same = same.find(|key| name(**key) == name(from));
            let there = *same.expect("the same texts are everywhere");
            let own = name(from);
            let asked = Asked::Move([version(from), version(there)]);
            return self.ask(asked, &[b"MOVE", &own, index.as_bytes()]);
        }
        let there = *random.pick(&others);
        let (own, other) = (name(from), name(there));
        let mut args = vec![&b"COPY"[..], &own, &other, b"DB", index.as_bytes()];
        args.extend(random.one_in(2).then_some(&b"REPLACE"[..]));
        self.ask(Asked::Copy([version(from), version(there)]), &args);
    }

    /// The next step of a scan, or the first.
    fn scan(&mut self, view: View) {
        let Some(inside) = &mut self.inside else {
            return;
        };
        let scan = inside.scan.get_or_insert_with(|| {
            inside.scans += 1;
            Scan {
                number: inside.scans,
                view,
                cursor: b"0".to_vec(),
                found: Vec::new(),
                asked: false,
            }
        });
        if scan.asked {
            return self.say(Kind::Ping, &[b"PING"]);
        }
        scan.asked = true;
        let (number, cursor) = (scan.number, scan.cursor.clone());
        self.ask(
            Asked::Scan(number),
            &[b"SCAN", &cursor, b"MATCH", b"*", b"COUNT", b"2"],
        );
    }

    /// A request of this client has failed.
    pub(super) fn gives_up(&mut self, asked: &Asked) {
        if let (Asked::Scan(number), Some(inside)) = (asked, &mut self.inside) {
            inside.scan.take_if(|scan| scan.number == *number);
        }
    }

    /// The reply to one of these requests, which is no error.
    pub(super) fn check_inside(
        &mut self,
        asked: &Asked,
        sent: &Sent,
        value: &Value,
        ledger: &mut Ledger,
    ) -> bool {
        match (asked, value) {
            (Asked::Select, Value::Simple(text)) => text == "OK",
            (Asked::Count(view), Value::Integer(count)) => view.counted(*count, ledger),
            (Asked::List(view), Value::Array(names)) => view.found(names, true, ledger),
            (Asked::Random(view), value) if is_null(value, sent.resp3) => view.found_none(ledger),
            (Asked::Random(view), name) => view.found_some(std::slice::from_ref(name), ledger),
            (Asked::Scan(number), Value::Array(parts)) => {
                let [Value::Bulk(cursor), Value::Array(names)] = &parts[..] else {
                    return false;
                };
                self.take_step(*number, cursor, names, ledger)
            }
            (Asked::Flush(view), Value::Simple(text)) => {
                for (key, version) in view.emptied(ledger) {
                    let seen = &mut self.seen[key];
                    seen.written = seen.written.max(version);
                }
                ledger.databases.told(view.database, Outcome::Done);
                text == "OK"
            }
            (Asked::Move(_) | Asked::Copy(_), Value::Integer(0)) => true,
            (Asked::Move([from, to]), Value::Integer(1)) => {
                ledger.databases.moved += 1;
                self.has_changed(*from, ledger, |state| state == ABSENT)
                    && self.has_changed(*to, ledger, |state| state != ABSENT)
            }
            (Asked::Copy([_, to]), Value::Integer(1)) => {
                ledger.databases.copied += 1;
                self.has_changed(*to, ledger, |state| state != ABSENT)
            }
            _ => false,
        }
    }

    /// A request has changed a key to such a state, and so since then: whatever this client has sent behind it sees that.
    fn has_changed(
        &mut self,
        (key, floor): (usize, u64),
        ledger: &Ledger,
        fits: impl Fn(i64) -> bool,
    ) -> bool {
        let own = &ledger.keys[key];
        let mut since = floor + 1..=own.version();
        let Some(version) = since.find(|version| fits(own.state(*version))) else {
            return false;
        };
        let seen = &mut self.seen[key];
        seen.written = seen.written.max(version);
        true
    }

    fn take_step(
        &mut self,
        number: u64,
        cursor: &[u8],
        names: &[Value],
        ledger: &mut Ledger,
    ) -> bool {
        let inside = self.inside.as_mut();
        let Some(inside) = inside.filter(|inside| {
            let scan = inside.scan.as_ref();
            scan.is_some_and(|scan| scan.number == number)
        }) else {
            // It has turned to another database.
            return true;
        };
        let Some(mut scan) = inside.scan.take() else {
            return true;
        };
        let fits = scan.view.found_some(names, ledger);
        scan.found.extend_from_slice(names);
        if cursor == b"0" {
            return fits && scan.view.found(&scan.found, false, ledger);
        }
        (scan.cursor, scan.asked) = (cursor.to_vec(), false);
        inside.scan = Some(scan);
        fits
    }

    /// Uses every database of its namespace, in a cluster that should be well.
    pub fn probe_inside(&mut self, ledger: &mut Ledger, random: &mut Random) {
        let Some(database) = self.database() else {
            return;
        };
        for database in ledger.databases.beside(database) {
            let index = ledger.databases.all[database].index.to_string();
            self.ask(Asked::Select, &[b"SELECT", index.as_bytes()]);
            if let Some(inside) = &mut self.inside {
                inside.database = database;
            }
            let text = self.keys_of(Class::Text, ledger)[0];
            self.set(&[text], ledger, random);
            self.request(Kind::Get(text), &[text], ledger, random);
            let view = View::of(database, ledger);
            self.ask(Asked::Count(view.clone()), &[b"DBSIZE"]);
            self.ask(Asked::List(view), &[b"KEYS", b"*"]);
        }
    }

    /// A name that no key has, of this client's own or of a slot.
    pub(super) fn other_name(&self, place: usize, name: &str) -> Vec<u8> {
        match self.inside {
            Some(_) => name.as_bytes().to_vec(),
            None => format!("{{t{place}}}{name}").into_bytes(),
        }
    }
}
