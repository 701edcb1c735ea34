//! Load that checks itself: a client that knows what every one of its replies has to be, as its keys are its own
//! and its values name it.

use super::{Conn, Random, Reply};
use std::collections::HashMap;

/// Makes commands and knows their replies. The same seed makes the same commands.
#[derive(Debug)]
pub struct Model {
    name: String,
    tags: Vec<String>,
    random: Random,
    strings: HashMap<String, String>,
    counters: HashMap<String, i64>,
    lists: HashMap<String, Vec<String>>,
    made: usize,
}

/// One command and the reply that it has to have.
#[derive(Debug, Clone)]
pub struct Exchange {
    pub args: Vec<String>,
    pub reply: Reply,
}

/// Keys of one kind under each tag.
const KEYS: usize = 4;

fn bulk(text: impl AsRef<str>) -> Reply {
    Reply::Bulk(text.as_ref().as_bytes().to_vec())
}

fn ok() -> Reply {
    Reply::Simple("OK".to_string())
}

impl Model {
    /// `name` is in every key and value; `tags` are the hash tags of the keys.
    pub fn new(name: &str, tags: &[String], seed: u64) -> Model {
        Model {
            name: name.to_string(),
            tags: tags.to_vec(),
            random: Random::new(seed),
            strings: HashMap::new(),
            counters: HashMap::new(),
            lists: HashMap::new(),
            made: 0,
        }
    }

    fn below(&mut self, limit: usize) -> usize {
        self.random.below(limit)
    }

    fn tag(&mut self) -> String {
        let index = self.below(self.tags.len());
        self.tags[index].clone()
    }

    fn key(&mut self, kind: &str, tag: &str) -> String {
        let number = self.below(KEYS);
        format!("{{{tag}}}:{}:{kind}:{number}", self.name)
    }

    fn any_key(&mut self, kind: &str) -> String {
        let tag = self.tag();
        self.key(kind, &tag)
    }

    fn keys(&mut self, count: usize, same_tag: bool) -> Vec<String> {
        let tag = self.tag();
        (0..count)
            .map(|_| {
                let tag = if same_tag { tag.clone() } else { self.tag() };
                self.key("string", &tag)
            })
            .collect()
    }

    fn value(&self) -> String {
        format!("{}={}", self.name, self.made)
    }

    fn read(&self, key: &str) -> Reply {
        self.strings.get(key).map_or(Reply::NilBulk, bulk)
    }

    /// The next command, with the reply that it has after all those before it. One with several keys of one
    /// slot stands `last` in a pipeline: while the slot moves it may have to wait (TRYAGAIN), and one behind
    /// it for a key of its own would be executed, so that it could not be any more.
    pub fn next(&mut self, last: bool) -> Exchange {
        self.made += 1;
        let kind = match self.below(16) {
            7..=12 if !last => 0,
            kind => kind,
        };
        let (args, reply): (Vec<String>, Reply) = match kind {
            0 | 1 => {
                let (key, value) = (self.any_key("string"), self.value());
                self.strings.insert(key.clone(), value.clone());
                (vec!["SET".into(), key, value], ok())
            }
            2 | 3 => {
                let key = self.any_key("string");
                let reply = self.read(&key);
                (vec!["GET".into(), key], reply)
            }
            4 => {
                let key = self.any_key("counter");
                let count = self.counters.entry(key.clone()).or_default();
                *count += 1;
                (vec!["INCR".into(), key], Reply::Int(*count))
            }
            5 => {
                let (key, value) = (self.any_key("list"), self.value());
                let list = self.lists.entry(key.clone()).or_default();
                list.push(value.clone());
                let length = i64::try_from(list.len()).expect("small");
                (vec!["RPUSH".into(), key, value], Reply::Int(length))
            }
            6 => {
                let key = self.any_key("list");
                let list = self.lists.get(&key).cloned().unwrap_or_default();
                let tail = list.iter().skip(list.len().saturating_sub(5)).map(bulk);
                let args = ["LRANGE", &key, "-5", "-1"].map(String::from);
                (args.to_vec(), Reply::Array(tail.collect()))
            }
            7 | 8 => {
                let keys = self.keys(3, kind == 7);
                let mut args = vec!["MSET".to_string()];
                for (number, key) in keys.into_iter().enumerate() {
                    let value = format!("{}/{number}", self.value());
                    self.strings.insert(key.clone(), value.clone());
                    args.extend([key, value]);
                }
                (args, ok())
            }
            9 | 10 => {
                let keys = self.keys(4, kind == 9);
                let reply = Reply::Array(keys.iter().map(|key| self.read(key)).collect());
                ([vec!["MGET".to_string()], keys].concat(), reply)
            }
            11 => {
                let keys = self.keys(2, false);
                let gone = keys
                    .iter()
                    .filter(|key| self.strings.remove(*key).is_some());
                let reply = Reply::Int(i64::try_from(gone.count()).expect("small"));
                ([vec!["DEL".to_string()], keys].concat(), reply)
            }
            12 => {
                let keys = self.keys(3, true);
                let there = keys.iter().filter(|key| self.strings.contains_key(*key));
                let reply = Reply::Int(i64::try_from(there.count()).expect("small"));
                ([vec!["EXISTS".to_string()], keys].concat(), reply)
            }
            13 => {
                let value = self.value();
                (vec!["ECHO".into(), value.clone()], bulk(value))
            }
            14 => {
                let key = self.any_key("list");
                let reply = if self.lists.contains_key(&key) {
                    let text = "WRONGTYPE Operation against a key holding the wrong kind of value";
                    Reply::Error(text.to_string())
                } else {
                    Reply::NilBulk
                };
                (vec!["GET".into(), key], reply)
            }
            _ => {
                let (key, value) = (self.any_key("string"), self.value());
                let script = "return {KEYS[1],ARGV[1]}".to_string();
                let reply = Reply::Array(vec![bulk(&key), bulk(&value)]);
                (vec!["EVAL".into(), script, "1".into(), key, value], reply)
            }
        };
        Exchange { args, reply }
    }

    /// So many commands in one write; every reply is checked.
    #[track_caller]
    pub fn run(&mut self, conn: &mut Conn, count: usize) {
        let exchanges: Vec<Exchange> = (1..=count).map(|at| self.next(at == count)).collect();
        let bytes: Vec<u8> = exchanges
            .iter()
            .flat_map(|exchange| Conn::encode(&exchange.args))
            .collect();
        conn.send(bytes);
        for exchange in exchanges {
            let reply = conn.read_reply();
            assert_eq!(reply, exchange.reply, "{}", exchange.args.join(" "));
        }
    }

    /// A number from 1 to `most`, for the length of a pipeline.
    pub fn some(&mut self, most: usize) -> usize {
        1 + self.below(most)
    }

    /// Every list is what was pushed, in the order it was pushed.
    #[track_caller]
    pub fn check_lists(&self, conn: &mut Conn) {
        for (key, list) in &self.lists {
            let expected = Reply::Array(list.iter().map(bulk).collect());
            assert_eq!(conn.command(&["LRANGE", key, "0", "-1"]), expected, "{key}");
        }
    }
}
