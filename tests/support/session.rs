//! Sessions of commands as text, and what makes two replies comparable.

use super::Reply;

/// One session of every family: a line is a command, `#` a family. A word of `$` is the text of the reply
/// before. The keys of one line stand in one slot, and those of different lines all over the cluster.
pub const SESSION: &str = include_str!("../routing/session.txt");

/// The order of what a set holds is the server's own secret.
pub const UNORDERED: &[&str] = &["SUNION", "SINTER", "SDIFF", "SMEMBERS", "HSCAN", "SSCAN"];

/// Words separated by spaces; `"a b"` is one word.
pub fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (index, part) in line.split('"').enumerate() {
        if index % 2 == 1 {
            words.push(part.to_string());
        } else {
            words.extend(part.split_whitespace().map(ToString::to_string));
        }
    }
    words
}

/// The reply with all that it holds in one order.
pub fn sorted(reply: Reply) -> Reply {
    match reply {
        Reply::Array(items) => Reply::Array(sort(items)),
        Reply::Set(items) => Reply::Set(sort(items)),
        Reply::Map(pairs) => {
            let sorted_pair = |(key, value)| (sorted(key), sorted(value));
            let mut pairs: Vec<(Reply, Reply)> = pairs.into_iter().map(sorted_pair).collect();
            pairs.sort_by_cached_key(|(key, _)| format!("{key:?}"));
            Reply::Map(pairs)
        }
        other => other,
    }
}

fn sort(items: Vec<Reply>) -> Vec<Reply> {
    let mut items: Vec<Reply> = items.into_iter().map(sorted).collect();
    items.sort_by_cached_key(|item| format!("{item:?}"));
    items
}
