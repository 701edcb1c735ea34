//! `SlowLog`: the last requests that took longer than `-slowlog-log-slower-than`, and where their time went.
//!
//! A request that was cut in parts has an entry for each part that was slow.

use std::collections::VecDeque;
use std::net::SocketAddr;

use crate::clock::Time;
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
    args: Vec<Vec<u8>>,
    client: Option<SocketAddr>,
    client_name: Vec<u8>,
    node: SocketAddr,
}

/// The entries of one worker, oldest first.
#[derive(Debug, Default)]
pub struct SlowLog {
    entries: VecDeque<Entry>,
    /// Requests ever noted.
    pub count: u64,
}

/// The beginning of an argument, and how much more there is, in the words of Redis.
fn shortened(arg: &[u8]) -> Vec<u8> {
    if arg.len() <= ARG_BYTES_MAX {
        return arg.to_vec();
    }
    let more = format!("... ({} more bytes)", arg.len() - ARG_BYTES_MAX);
    [&arg[..ARG_BYTES_MAX], more.as_bytes()].concat()
}

impl SlowLog {
    /// A request was slow.
    pub fn note(&mut self, sight: &Sight<'_>, args: &Args<'_>) {
        let mut words: Vec<Vec<u8>> = args.from(0).take(ARGS_MAX).map(shortened).collect();
        if args.len() > ARGS_MAX {
            let more = args.len() - ARGS_MAX + 1;
            words[ARGS_MAX - 1] = format!("... ({more} more arguments)").into_bytes();
        }
        if self.entries.len() == ENTRIES {
            self.entries.pop_front();
        }
        let identity = sight.client.session.identity();
        self.entries.push_back(Entry {
            number: self.count,
            at: sight.now,
            micros: sight.micros(),
            backend_micros: sight.backend_micros(),
            args: words,
            client: sight.client.address,
            client_name: identity.map_or(Vec::new(), |identity| identity.name.clone()),
            node: sight.node,
        });
        self.count += 1;
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.entries.clear();
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
        for entry in self.entries.iter().rev() {
            encode::array(reply, 9);
            let id = entry.number * workers as u64 + worker as u64;
            encode::integer(reply, id as i64);
            encode::integer(reply, second(entry.at) as i64);
            encode::integer(reply, entry.micros as i64);
            encode::array(reply, entry.args.len());
            entry.args.iter().for_each(|arg| encode::bulk(reply, arg));
            let client = entry.client.map(|client| client.to_string());
            encode::bulk(reply, client.as_deref().unwrap_or("unix").as_bytes());
            encode::bulk(reply, &entry.client_name);
            encode::bulk(reply, entry.node.to_string().as_bytes());
            encode::integer(reply, (entry.micros - entry.backend_micros) as i64);
            encode::integer(reply, entry.backend_micros as i64);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_arguments_are_cut_in_the_words_of_redis() {
        assert_eq!(shortened(b"short"), b"short");
        let long = shortened(&[b'x'; 200]);
        assert!(long.ends_with(b"x... (72 more bytes)"));
    }
}
