//! A client that keeps what it reads and drops what it is told has changed (`CLIENT TRACKING`). What it keeps at the end is
//! what there is.

use std::collections::BTreeMap;

use super::{Client, Kind, Sent};
use crate::ledger::{Class, Ledger};
use crate::random::Random;
use crate::resp::Value;

/// Which of its reads a client keeps.
#[derive(Debug, Clone, PartialEq)]
enum Choice {
    All,
    OptIn,
    OptOut,
    /// Those of keys that begin so.
    Prefixes(Vec<Vec<u8>>),
}

/// What a client keeps.
#[derive(Debug, Default)]
pub struct Tracker {
    /// What it has asked for last.
    choice: Option<Choice>,
    noloop: bool,
    /// CLIENT CACHING was the last that it has sent.
    chosen: bool,
    /// Who may be told in its place.
    listener: Option<i64>,
    /// Whether that one is.
    redirects: bool,
    /// Whether it has to end what it has asked for before it asks for anything else.
    must_end: bool,
    /// What it has read of keys and has not been told of since.
    kept: BTreeMap<usize, i64>,
}

impl Tracker {
    /// Whether what the next request reads is kept.
    pub fn keeps(&mut self) -> bool {
        let chosen = std::mem::take(&mut self.chosen);
        match self.choice {
            None => false,
            Some(Choice::All | Choice::Prefixes(_)) => true,
            Some(Choice::OptIn) => chosen,
            Some(Choice::OptOut) => !chosen,
        }
    }

    fn forget(&mut self) {
        self.kept.clear();
    }
}

impl Client {
    /// It keeps what it reads, from now on; another one may be told in its place.
    pub fn tracks(
        mut self,
        listener: Option<i64>,
        ledger: &mut Ledger,
        random: &mut Random,
    ) -> Client {
        self.tracker = Some(Tracker {
            listener,
            ..Tracker::default()
        });
        self.begin_to_track(ledger, random);
        self
    }

    fn begin_to_track(&mut self, ledger: &mut Ledger, random: &mut Random) {
        let listener = self.tracker.as_ref().and_then(|own| own.listener);
        let redirects = listener.filter(|_| random.one_in(2));
        // Who is told itself has to speak RESP3.
        if !self.resp3 && (redirects.is_none() || random.one_in(2)) {
            self.resp3 = true;
            // What it watches since its RESET is on a connection that speaks the other protocol.
            let own = self.transaction.as_ref();
            ledger.promises.excuse(own.map_or(&[], |own| own.watches()));
            self.request(Kind::Hello, &[], ledger, random);
        }
        let choice = match random.below(7) {
            // (Whose listener has gone may not say CLIENT CACHING.)
            3..5 if redirects.is_some() => Choice::All,
            0..3 => Choice::All,
            3 => Choice::OptIn,
            4 => Choice::OptOut,
            5 => Choice::Prefixes(Vec::new()),
            _ => {
                let tags = [(); 2].map(|()| random.below(ledger.tags));
                let prefixes = tags.iter().map(|tag| format!("{{t{tag}}}").into_bytes());
                let mut prefixes: Vec<Vec<u8>> = prefixes.collect();
                prefixes.sort_unstable();
                prefixes.dedup();
                Choice::Prefixes(prefixes)
            }
        };
        let noloop = random.one_in(3);
        let mut words = words(&choice, noloop);
        if let Some(name) = redirects {
            words.extend([b"REDIRECT".to_vec(), name.to_string().into_bytes()]);
        }
        self.request(Kind::Track(words), &[], ledger, random);
        let tracker = self.tracker.as_mut().expect("it tracks");
        tracker.redirects = redirects.is_some();
        (tracker.choice, tracker.noloop) = (Some(choice), noloop);
    }

    /// A request of one that tracks.
    pub(super) fn make_tracked(&mut self, ledger: &mut Ledger, random: &mut Random) {
        let tracker = self.tracker.as_mut().expect("it tracks");
        if std::mem::take(&mut tracker.must_end) {
            return self.request(Kind::Track(vec![b"OFF".to_vec()]), &[], ledger, random);
        }
        let (choice, texts) = (tracker.choice.clone(), ledger.keys_of(Class::Text));
        let tops = random.skewed(texts.len());
        let text = texts[texts.len() - 1 - random.below(tops)];
        match random.below(200) {
            0 => {
                let kind = match random.one_in(3) {
                    true => Kind::Reset,
                    false => Kind::Track(vec![b"OFF".to_vec()]),
                };
                let is_reset = matches!(kind, Kind::Reset);
                tracker.choice = None;
                tracker.redirects = false;
                self.request(kind, &[], ledger, random);
                if is_reset {
                    self.resp3 = false;
                    self.forget_watches();
                }
            }
            1 => self.request(Kind::Ping, &[], ledger, random),
            2 => self.request(Kind::Flush, &[], ledger, random),
            3..30 => self.set(&[text], ledger, random),
            30..36 => {
                let keys = self.several(ledger, random);
                self.set(&keys, ledger, random);
            }
            36..42 => {
                let nonces = vec![ledger.begin(text)];
                self.request(Kind::Del(nonces), &[text], ledger, random);
            }
            _ if choice.is_none() => self.begin_to_track(ledger, random),
            rest => {
                let word = match choice {
                    Some(Choice::OptIn) => Some("YES"),
                    Some(Choice::OptOut) => Some("NO"),
                    _ => None,
                };
                if let Some(word) = word.filter(|_| random.one_in(2)) {
                    self.request(Kind::Caching(word), &[], ledger, random);
                    self.tracker.as_mut().expect("it tracks").chosen = true;
                }
                if rest < 60 {
                    let keys = self.several(ledger, random);
                    self.request(Kind::MGet(keys.clone()), &keys, ledger, random);
                } else {
                    self.request(Kind::Get(text), &[text], ledger, random);
                }
            }
        }
    }

    /// It was told something that is no reply. Returns whether it is about its cache.
    pub(super) fn hears_of_change(&mut self, value: &Value, ledger: &Ledger) -> bool {
        let (Some(tracker), Value::Push(items)) = (&mut self.tracker, value) else {
            return false;
        };
        if items[0] == Value::Bulk(b"tracking-redir-broken".to_vec()) {
            // It knows already: both are of one program.
            return true;
        }
        assert_eq!(items[0], Value::Bulk(b"invalidate".to_vec()), "{items:?}");
        match &items[1] {
            Value::Null => tracker.forget(),
            Value::Array(names) => {
                for name in names {
                    let Value::Bulk(name) = name else {
                        panic!("a key is {name:?}");
                    };
                    // What nodes say that talk nonsense.
                    if let Some(key) = ledger.key(name) {
                        tracker.kept.remove(&key);
                    }
                }
            }
            other => panic!("keys are {other:?}"),
        }
        true
    }

    /// The one of this name was told something that is for those who have named it. Returns whether it has.
    pub fn hears_by(&mut self, name: i64, told: &[Option<Vec<usize>>]) -> bool {
        let own = self.tracker.as_mut();
        let Some(tracker) = own.filter(|own| own.redirects && own.listener == Some(name)) else {
            return false;
        };
        for keys in told {
            match keys {
                Some(keys) => keys.iter().for_each(|key| {
                    tracker.kept.remove(key);
                }),
                None => tracker.forget(),
            }
        }
        self.sent.iter_mut().for_each(|sent| sent.keeps = false);
        true
    }

    /// These are there to be named. Returns whether the one that it has named is there no more.
    pub fn looks_for_listener(&mut self, all: &[i64]) -> bool {
        let own = self.tracker.as_mut();
        let lost = |own: &&mut Tracker| own.listener.is_some_and(|name| !all.contains(&name));
        let Some(tracker) = own.filter(lost) else {
            return false;
        };
        tracker.listener = None;
        tracker.redirects && self.ends_redirect()
    }

    /// It was told that the one that it has named has gone.
    pub(super) fn is_refused_redirect(&mut self, kind: &Kind, text: &str) -> bool {
        let Kind::Track(words) = kind else {
            return false;
        };
        words.contains(&b"REDIRECT".to_vec())
            && text == "ERR The client ID you want redirect to does not exist"
            && self.ends_redirect()
    }

    fn ends_redirect(&mut self) -> bool {
        if let Some(tracker) = self.tracker.as_mut().filter(|own| own.redirects) {
            (tracker.redirects, tracker.must_end) = (false, true);
            tracker.choice = None;
            tracker.forget();
            self.sent.iter_mut().for_each(|sent| sent.keeps = false);
        }
        true
    }

    /// It has read a key.
    pub(super) fn keep(&mut self, sent: &Sent, key: usize, state: i64, ledger: &Ledger) {
        let Some(tracker) = self.tracker.as_mut().filter(|_| sent.keeps) else {
            return;
        };
        let name = &ledger.keys[key].name;
        let fits = match &tracker.choice {
            Some(Choice::Prefixes(own)) => {
                own.is_empty() || own.iter().any(|prefix| name.starts_with(prefix))
            }
            _ => true,
        };
        if fits {
            tracker.kept.insert(key, state);
        }
    }

    /// It was told of its own write, or that nobody knows of it: who does not hear of its own must know by itself.
    pub(super) fn drop_own(&mut self, kind: &Kind, ledger: &Ledger) {
        let Some(tracker) = &mut self.tracker else {
            return;
        };
        match kind {
            Kind::Set(nonces) | Kind::Del(nonces) if tracker.noloop => {
                for nonce in nonces {
                    tracker.kept.remove(&ledger.writes[*nonce].key);
                }
            }
            Kind::Track(words) if words[0] == b"OFF" => tracker.forget(),
            Kind::Reset => tracker.forget(),
            _ => {}
        }
    }

    /// Everything has been told: asserts that it keeps what there is. Returns how many keys it keeps.
    pub fn check_cache(&self, ledger: &Ledger) -> u64 {
        let tracker = self.tracker.iter();
        let kept = tracker.clone().flat_map(|tracker| &tracker.kept);
        let mut count = 0;
        for (key, state) in kept {
            let own = &ledger.keys[*key];
            assert_eq!(
                *state,
                own.state(own.version()),
                "client {} keeps an old value of {}: {:?}",
                self.number,
                own.name.escape_ascii(),
                self.tracker
            );
            count += 1;
        }
        count
    }
}

/// What is said behind CLIENT TRACKING.
fn words(choice: &Choice, noloop: bool) -> Vec<Vec<u8>> {
    let mut words = vec![b"ON".to_vec()];
    match choice {
        Choice::All => {}
        Choice::OptIn => words.push(b"OPTIN".to_vec()),
        Choice::OptOut => words.push(b"OPTOUT".to_vec()),
        Choice::Prefixes(prefixes) => {
            words.push(b"BCAST".to_vec());
            for prefix in prefixes {
                words.extend([b"PREFIX".to_vec(), prefix.clone()]);
            }
        }
    }
    words.extend(noloop.then(|| b"NOLOOP".to_vec()));
    words
}
