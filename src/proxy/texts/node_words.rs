//! A node's own words when it refuses a connection, made fit for the log and for an error line: one line, printable,
//! short, without secrets.
//!
//! It must never know why the words are wanted.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::Duration;

use crate::clock::Time;
use crate::config::{Config, Secret};

/// What is said of a node that says nothing.
pub const WORDLESS: &str = "closes new connections without a word";
/// What is said of a node that is there and serves nothing.
pub const UNANSWERED: &str = "closes new connections before it has answered a request";

/// Longest part of what a node says that is repeated, in bytes.
const WORDS_MAX: usize = 160;
/// Servers repeat what they were sent behind this.
const ARGUMENTS: &[u8] = b", with args beginning with";
/// So many bytes of a secret give it away: servers repeat the beginning of long arguments.
const TELLING: usize = 8;
/// How often one node's words are told.
const INTERVAL: Duration = Duration::from_secs(1);
/// The most nodes that are told of in one interval.
const TOLD_MAX: usize = 1024;

/// `says: ...`, of the first line of `bytes`.
pub fn said(bytes: &[u8], config: &Config) -> Box<str> {
    let line = bytes.split(|byte| matches!(byte, b'\r' | b'\n')).next();
    let line = line.unwrap_or_default();
    let line = line.strip_prefix(b"ERR ").unwrap_or(line);
    let end = memchr::memmem::find(line, ARGUMENTS).unwrap_or(line.len());
    let mut line = &line[..end];
    let repeats = |secret: &Secret| {
        let secret = secret.expose();
        let telling = &secret[..secret.len().min(TELLING)];
        !telling.is_empty() && memchr::memmem::find(line, telling).is_some()
    };
    if config.secrets().any(repeats) {
        line = b"something that has a password in it";
    }
    let mut text = String::from("says: ");
    let shown = &line[..line.len().min(WORDS_MAX)];
    for byte in shown {
        let printable = byte.is_ascii_graphic() || *byte == b' ';
        text.push(if printable { char::from(*byte) } else { '?' });
    }
    if shown.len() < line.len() {
        text.push_str("...");
    }
    text.into_boxed_str()
}

/// When the words of a node were last told to the log. For all workers.
#[derive(Debug, Default)]
pub struct Told(Mutex<HashMap<SocketAddr, Time>>);

impl Told {
    /// Whether a node's words may be told now; they count as told then.
    pub fn may_tell(&self, node: SocketAddr, now: Time) -> bool {
        let mut told = self.0.lock().unwrap_or_else(|poison| poison.into_inner());
        let last = told.get(&node).copied();
        if last.is_some_and(|last| now.since(last) < INTERVAL) {
            return false;
        }
        if told.len() >= TOLD_MAX {
            told.retain(|_, last| now.since(*last) < INTERVAL);
        }
        if told.len() >= TOLD_MAX {
            return false;
        }
        told.insert(node, now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_one_printable_line_without_a_secret() {
        let secret = |text: &str| Some(Secret::new(text));
        let config = Config {
            backend_password: secret("sesame"),
            backend_password_old: secret("old-and-long-enough"),
            client_password: secret("for-clients"),
            client_password_old: secret("of-yore"),
            debug_token: secret("token"),
            ..Config::default()
        };
        let check = |bytes: &[u8], expected: &str| {
            assert_eq!(&*said(bytes, &config), expected);
        };
        check(
            b"ERR max number of clients reached",
            "says: max number of clients reached",
        );
        check(
            b"NOAUTH Authentication required.",
            "says: NOAUTH Authentication required.",
        );
        check(b"HTTP/1.1 400 Bad\r\nX: y\r\n", "says: HTTP/1.1 400 Bad");
        check(b"a\x00\x1b[2J\xff", "says: a??[2J?");
        check(
            b"ERR unknown command 'AUTH', with args beginning with: 'x' ",
            "says: unknown command 'AUTH'",
        );
        for repeated in [
            "sesame is wrong",
            "no 'old-and-long...'",
            "xfor-clientsx",
            "of-yore",
            "WRONGPASS token",
        ] {
            let hidden = "says: something that has a password in it";
            check(repeated.as_bytes(), hidden);
        }
        check(b"", "says: ");
        let long = said(&[b'x'; 4000], &config);
        assert_eq!(long.len(), "says: ".len() + WORDS_MAX + "...".len());
    }

    #[test]
    fn a_node_is_told_of_once_a_second() {
        let told = Told::default();
        let node = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let at = |millis: u64| Time::from_micros(millis * 1000);
        assert!(told.may_tell(node(1), at(1)));
        assert!(!told.may_tell(node(1), at(1000)));
        assert!(told.may_tell(node(2), at(1000)));
        assert!(told.may_tell(node(1), at(1001)));
        let mut count = 0;
        for port in 0..u16::MAX {
            count += usize::from(told.may_tell(node(port), at(5000)));
        }
        assert_eq!(count, TOLD_MAX, "the log is not filled");
        assert!(told.0.lock().expect("no panic").len() <= TOLD_MAX);
        assert!(told.may_tell(node(9000), at(6000)));
    }
}
