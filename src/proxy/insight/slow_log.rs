//! `SlowLog`: the latest requests that took longer than `-slowlog-log-slower-than`, and where their time went.
//!
//! A split request has an entry for each part that was slow.

use std::collections::VecDeque;
use std::net::SocketAddr;

use crate::clock::Time;
use crate::command::redact;
use crate::proxy::insight::Sight;
use crate::resp::args::Args;
use crate::resp::encode;

/// Entries that are kept.
const ENTRIES: usize = 128;
/// Arguments of an entry (Redis: `SLOWLOG_ENTRY_MAX_ARGC`).
const ARGS_MAX: usize = 32;
/// Bytes of an argument (Redis: `SLOWLOG_ENTRY_MAX_STRING`).
const ARG_BYTES_MAX: usize = 128;

#[derive(Debug, Clone)]
struct Entry {
    number: u64,
    at: Time,
    micros: u64,
    backend_micros: u64,
    args: usize,
    /// Bytes of its arguments and of its client's name among the words.
    args_len: usize,
    name_len: usize,
    client: Option<SocketAddr>,
    node: SocketAddr,
}

/// The entries of one worker, oldest first.
///
/// Invariant: `words` is as long as its entries say together.
#[derive(Debug, Default)]
pub struct SlowLog {
    entries: VecDeque<Entry>,
    /// The arguments and the client's name of each entry, as a reply has them. They lie in one piece: a little of each
    /// request, kept for hours wherever there was room at that time, would hold a page of memory each.
    words: VecDeque<u8>,
    /// Requests ever noted.
    pub count: u64,
}

/// Appends the beginning of an argument, and how much more there is, in the words of Redis.
fn shortened(arg: &[u8], words: &mut Vec<u8>) {
    match arg.get(ARG_BYTES_MAX..) {
        None | Some([]) => encode::bulk(words, arg),
        Some(rest) => {
            let more = format!("... ({} more bytes)", rest.len());
            encode::bulk(words, &[&arg[..ARG_BYTES_MAX], more.as_bytes()].concat());
        }
    }
}

impl SlowLog {
    /// A request was slow.
    pub fn note(&mut self, sight: &Sight<'_>, args: &Args<'_>) {
        while self.entries.len() >= ENTRIES {
            let Some(oldest) = self.entries.pop_front() else {
                break;
            };
            self.words.drain(..oldest.args_len + oldest.name_len);
        }
        let shown = args.len().min(ARGS_MAX);
        let mut words = Vec::new();
        let whole = if args.len() > ARGS_MAX {
            shown - 1
        } else {
            shown
        };
        // Requests within requests are not sent to nodes.
        let mut hidden = redact::hidden(sight.command, args, None)
            .into_iter()
            .peekable();
        for (index, arg) in args.from(0).take(whole).enumerate() {
            let secret = hidden.next_if_eq(&index).is_some();
            shortened(if secret { redact::REDACTED } else { arg }, &mut words);
        }
        if whole < shown {
            let more = args.len() - ARGS_MAX + 1;
            encode::bulk(
                &mut words,
                format!("... ({more} more arguments)").as_bytes(),
            );
        }
        let args_len = words.len();
        let identity = sight.client.session.identity();
        encode::bulk(&mut words, identity.map_or(b"", |identity| &identity.name));
        self.entries.push_back(Entry {
            number: self.count,
            at: sight.now,
            micros: sight.micros(),
            backend_micros: sight.backend_micros(),
            args: shown,
            args_len,
            name_len: words.len() - args_len,
            client: sight.client.address,
            node: sight.node,
        });
        self.words.extend(words);
        self.count += 1;
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.entries = VecDeque::new();
        self.words = VecDeque::new();
    }

    /// The log as a reply, newest first. An entry is as in Redis (id, second, microseconds, arguments, client,
    /// its name) and then: the node, microseconds in the proxy, microseconds at the node. `second` tells the
    /// wall clock; ids differ over the `workers`.
    pub fn print(
        &self,
        worker: usize,
        workers: usize,
        second: impl Fn(Time) -> u64,
        reply: &mut Vec<u8>,
    ) {
        encode::array(reply, self.entries.len());
        let mut end = self.words.len();
        for entry in self.entries.iter().rev() {
            let name = end - entry.name_len;
            let args = name - entry.args_len;
            encode::array(reply, 9);
            let id = entry.number * workers as u64 + worker as u64;
            encode::integer(reply, id as i64);
            encode::integer(reply, second(entry.at) as i64);
            encode::integer(reply, entry.micros as i64);
            encode::array(reply, entry.args);
            reply.extend(self.words.range(args..name));
            let client = entry.client.map(|client| client.to_string());
            encode::bulk(reply, client.as_deref().unwrap_or("unix").as_bytes());
            reply.extend(self.words.range(name..end));
            encode::bulk(reply, entry.node.to_string().as_bytes());
            encode::integer(reply, (entry.micros - entry.backend_micros) as i64);
            encode::integer(reply, entry.backend_micros as i64);
            end = args;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_arguments_are_cut_in_the_words_of_redis() {
        let cut = |arg: &[u8]| {
            let mut words = Vec::new();
            shortened(arg, &mut words);
            String::from_utf8(words).expect("text")
        };
        assert_eq!(cut(b"short"), "$5\r\nshort\r\n");
        let most = "x".repeat(ARG_BYTES_MAX);
        assert_eq!(cut(most.as_bytes()), format!("$128\r\n{most}\r\n"));
        assert_eq!(
            cut(&[b'x'; 200]),
            format!("$147\r\n{most}... (72 more bytes)\r\n")
        );
    }
}
