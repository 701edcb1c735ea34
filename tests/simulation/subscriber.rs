//! `Subscriber`: what a client that subscribes does and has seen. It holds every message against what it is
//! subscribed to, and its number against those before it: none may come twice, or late, or to the wrong one.

use std::collections::{BTreeMap, BTreeSet};

use crate::messages::channel_of;
use crate::random::Random;
use crate::resp::{self, Value};

/// Channels that anybody publishes to.
pub const CHANNELS: usize = 4;
const PATTERNS: [&str; 4] = ["*", "c*", "p*", "__key*"];

/// What a name is: a channel, a pattern or a shard channel.
pub type Kind = usize;

/// The first words of messages, by kind.
pub const MESSAGES: [&str; 3] = ["message", "pmessage", "smessage"];
/// The commands by kind.
pub const VERBS: [[&str; 2]; 3] = [
    ["SUBSCRIBE", "UNSUBSCRIBE"],
    ["PSUBSCRIBE", "PUNSUBSCRIBE"],
    ["SSUBSCRIBE", "SUNSUBSCRIBE"],
];

/// Whether a channel fits one of the patterns above, or is the name itself.
pub fn fits(kind: Kind, name: &[u8], channel: &[u8]) -> bool {
    match name.strip_suffix(b"*") {
        Some(start) if kind == 1 => channel.starts_with(start),
        _ => name == channel,
    }
}

/// A request to subscribe or unsubscribe.
#[derive(Debug, Clone)]
pub struct Change {
    kind: Kind,
    /// 0 to subscribe, 1 to unsubscribe.
    act: usize,
    /// None: all that there are, in any order.
    names: Vec<Vec<u8>>,
    /// How many frames have come for it.
    told: usize,
    /// For those without names, how many will come.
    all: Option<usize>,
}

/// What one client is subscribed to, as it has been told.
#[derive(Debug, Default)]
pub struct Subscriber {
    names: [BTreeSet<Vec<u8>>; 3],
    /// The last number heard, by what it was heard through, and the channel.
    heard: BTreeMap<(Kind, Vec<u8>, Vec<u8>), u64>,
    /// Messages that came.
    pub messages: u64,
}

fn text(value: &Value) -> &[u8] {
    match value {
        Value::Bulk(text) => text,
        other => panic!("no text: {other:?}"),
    }
}

impl Subscriber {
    /// A random request, as bytes, and what is to come for it.
    pub fn change(&self, tags: usize, random: &mut Random) -> (Vec<u8>, Change) {
        let kind = random.below(3);
        let act = random.below(2);
        let mut names = Vec::new();
        let most = if act == 1 && random.one_in(4) {
            0
        } else {
            random.skewed(4)
        };
        for _ in 0..most {
            names.push(match kind {
                0 if random.one_in(4) => format!("__keyevent@0__:{}", random.below(3)),
                0 if random.one_in(3) => channel_of(random.below(6) as u64),
                0 => format!("c{}", random.below(CHANNELS)),
                1 => random.pick(&PATTERNS).to_string(),
                _ => format!("{{t{}}}s", random.below(tags)),
            });
        }
        let names: Vec<Vec<u8>> = names.into_iter().map(String::into_bytes).collect();
        let verb = VERBS[kind][act].as_bytes();
        let mut args = vec![verb];
        args.extend(names.iter().map(Vec::as_slice));
        let bytes = resp::command(&args);
        let change = Change {
            kind,
            act,
            names,
            told: 0,
            all: None,
        };
        (bytes, change)
    }

    /// Whether it is subscribed to anything.
    pub fn is_subscribed(&self) -> bool {
        self.names.iter().any(|names| !names.is_empty())
    }

    /// RESET has been answered.
    pub fn reset(&mut self) {
        self.names = Default::default();
    }

    /// Takes a message, if it is one.
    pub fn take(&mut self, value: &Value, resp3: bool) -> bool {
        let items = match value {
            Value::Push(items) if resp3 => items,
            Value::Array(items) if !resp3 => items,
            _ => return false,
        };
        let word = |kind: &Kind| matches!(&items[0], Value::Bulk(word) if word == MESSAGES[*kind].as_bytes());
        let Some(kind) = (0..3).find(word) else {
            return false;
        };
        let name = text(&items[1]).to_vec();
        let channel = text(&items[items.len() - 2]).to_vec();
        let number = std::str::from_utf8(text(&items[items.len() - 1])).expect("digits");
        let number: u64 = number.parse().expect("a number");
        assert!(
            self.names[kind].contains(&name),
            "a message for {kind} {name:?}, which it is not subscribed to: {value:?}"
        );
        assert!(fits(kind, &name, &channel), "not for it: {value:?}");
        let before = self.heard.insert((kind, name, channel), number);
        assert!(
            before < Some(number),
            "{number} came behind {before:?}: {value:?}"
        );
        self.messages += 1;
        true
    }

    /// Takes what is told of a request; returns whether there is no more.
    pub fn told(&mut self, change: &mut Change, value: &Value, resp3: bool) -> bool {
        let items = match value {
            Value::Error(text) => {
                let known = ["CLUSTERDOWN ", "LOADING ", "MASTERDOWN "]
                    .iter()
                    .any(|word| text.starts_with(word))
                    || text.starts_with("ERR backend unavailable, command was not executed")
                    || text == "ERR max number of clients reached";
                // A request of many names is executed in steps: a later one may fail.
                assert!(known && change.act == 0, "{change:?}: {text}");
                return true;
            }
            Value::Push(items) if resp3 => items,
            Value::Array(items) if !resp3 => items,
            other => panic!("{change:?} was answered {other:?}"),
        };
        let verb = VERBS[change.kind][change.act].to_ascii_lowercase();
        assert_eq!(text(&items[0]), verb.as_bytes(), "{change:?}");
        let own = &mut self.names[change.kind];
        let count = match change.names.len() {
            0 => *change.all.get_or_insert(own.len().max(1)),
            count => count,
        };
        match &items[1] {
            Value::NullBulk | Value::Null => assert!(change.names.is_empty() && own.is_empty()),
            name => {
                let name = text(name).to_vec();
                let expected = change.names.get(change.told);
                assert!(
                    expected.is_none_or(|expected| *expected == name),
                    "{change:?}: {name:?}"
                );
                if change.act == 0 {
                    own.insert(name);
                } else {
                    let was = own.remove(&name);
                    assert!(was || expected.is_some(), "{change:?}: {name:?}");
                }
            }
        }
        let told = match change.kind {
            2 => self.names[2].len(),
            _ => self.names[0].len() + self.names[1].len(),
        };
        assert_eq!(items[2], Value::Integer(told as i64), "{change:?}");
        change.told += 1;
        change.told == count
    }

    /// What it has not heard of these, which it should have.
    pub fn missed(&self, published: &[(bool, Vec<u8>, u64)]) -> Vec<String> {
        let mut missed = Vec::new();
        for (sharded, channel, number) in published {
            for (kind, names) in self.names.iter().enumerate() {
                for name in names.iter().filter(|name| fits(kind, name, channel)) {
                    let key = (kind, name.clone(), channel.clone());
                    if (kind == 2) == *sharded && self.heard.get(&key) != Some(number) {
                        let heard = self.heard.get(&key);
                        let (name, channel) = (name.escape_ascii(), channel.escape_ascii());
                        missed.push(format!("{number} of {channel} by {kind} {name}: {heard:?}"));
                    }
                }
            }
        }
        missed
    }
}
