//! Sessions of commands as text.

use super::{Conn, Reply};

/// One session of every family: a line is a command, `#` a family. A word of `$` is the text of the reply
/// before. The keys of one line stand in one slot, and those of different lines all over the cluster.
pub const SESSION: &str = include_str!("../it/routing/session.txt");

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

/// What two clients hear in a sequence of requests, ` | ` between them, those of the second marked by `2: `: one request
/// after the other, or what the first sends between the other's at once. The second one clears the ground before.
pub fn replies(
    addr: &str,
    sequence: &str,
    protocol: &str,
    at_once: bool,
    clear: fn(&mut Conn),
) -> Vec<Reply> {
    let mut clients = [Conn::connect(addr), Conn::connect(addr)];
    clear(&mut clients[1]);
    clients[0].command(&["HELLO", protocol]);
    let mut heard = Vec::new();
    let mut unsent: Vec<Vec<String>> = Vec::new();
    for request in sequence.split(" | ") {
        match request.strip_prefix("2: ") {
            Some(request) => {
                heard.extend(clients[0].pipeline(&std::mem::take(&mut unsent)));
                heard.push(clients[1].command(&words(request)));
            }
            None if at_once => unsent.push(words(request)),
            None => heard.push(
                clients[0]
                    .try_command(&words(request))
                    .unwrap_or_else(|error| panic!("{sequence}: {request}: {error} {heard:?}")),
            ),
        }
    }
    heard.extend(clients[0].pipeline(&unsent));
    heard
}
