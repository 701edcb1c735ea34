//! Sessions of commands as text.

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
