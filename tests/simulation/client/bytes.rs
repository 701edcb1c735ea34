//! How a client writes its requests, and what its scripts say.

use super::{Client, Kind};
use crate::ledger::Ledger;
use crate::messages::channel_of;
use crate::random::Random;

impl Client {
    /// The arguments of a request of `kind` for `keys`.
    pub(super) fn args(
        &self,
        kind: &Kind,
        keys: &[usize],
        ledger: &mut Ledger,
        random: &mut Random,
    ) -> Vec<Vec<u8>> {
        let name = |key: usize, ledger: &Ledger| ledger.keys[key].shown.clone();
        let verb = |verb: &str| match verb.len() % 2 {
            0 => verb.as_bytes().to_vec(),
            _ => verb.to_ascii_lowercase().into_bytes(),
        };
        let mut args = Vec::new();
        match kind {
            Kind::Set(nonces) => {
                let single = nonces.len() == 1;
                args.push(verb(if single { "SET" } else { "MSET" }));
                for (key, nonce) in keys.iter().zip(nonces) {
                    args.extend([name(*key, ledger), ledger.value(*nonce)]);
                }
            }
            Kind::Del(nonces) => {
                args.push(ledger.spell_deletion(nonces));
                args.extend(keys.iter().map(|key| name(*key, ledger)));
            }
            Kind::Sum(nonce) => {
                args.extend([
                    verb("INCRBY"),
                    name(keys[0], ledger),
                    nonce.to_string().into_bytes(),
                ]);
            }
            Kind::Script(nonce, lie) => {
                // What has lied before may not be believed when it is refused.
                let what = lie.as_deref().unwrap_or("nothing");
                let body = format!("count and say {what} -- {}", random.below(20));
                args.extend([verb("EVAL"), body.into_bytes()]);
                args.push(keys.len().to_string().into_bytes());
                args.extend(keys.iter().map(|key| name(*key, ledger)));
                args.push(nonce.to_string().into_bytes());
                args.push(lie.clone().unwrap_or_default().into_bytes());
            }
            Kind::Push(nonce) | Kind::Token(nonce) => {
                args.extend([verb("RPUSH"), name(keys[0], ledger), ledger.value(*nonce)]);
            }
            Kind::Incr(key) => args.extend([verb("INCR"), name(*key, ledger)]),
            Kind::Get(key) => args.extend([verb("GET"), name(*key, ledger)]),
            Kind::Start(key, end) => {
                let ends = [b"0".to_vec(), end.to_string().into_bytes()];
                args.extend([verb("GETRANGE"), name(*key, ledger)]);
                args.extend(ends);
            }
            Kind::Range(key) => {
                args.extend([
                    verb("LRANGE"),
                    name(*key, ledger),
                    b"0".to_vec(),
                    b"-1".to_vec(),
                ]);
            }
            Kind::MGet(keys) => {
                args.push(verb("MGET"));
                args.extend(keys.iter().map(|key| name(*key, ledger)));
            }
            Kind::Exists(keys) => {
                args.push(verb("EXISTS"));
                args.extend(keys.iter().map(|key| name(*key, ledger)));
            }
            Kind::Echo(text) => args.extend([verb("ECHO"), text.clone()]),
            Kind::Ping => args.push(verb("PING")),
            Kind::Missing => {
                let tag = ledger.keys[keys[0]].tag;
                let missing = format!("missing{}", random.below(1000));
                args.extend([verb("GET"), self.other_name(tag, &missing)]);
            }
            Kind::Publish(number) => {
                args.extend([verb("PUBLISH"), channel_of(self.number).into_bytes()]);
                args.push(number.to_string().into_bytes());
            }
            Kind::Grown(number) => {
                let number = number.to_string().into_bytes();
                args.extend([verb("XRANGE"), name(keys[0], ledger), number, b"+".to_vec()]);
            }
            Kind::Size(_) => args.push(verb("DBSIZE")),
            Kind::Keys(_) => args.extend([verb("KEYS"), b"*".to_vec()]),
            Kind::Load(load) => {
                args.extend([&b"FUNCTION"[..], b"LOAD", b"REPLACE"].map(<[u8]>::to_vec));
                args.push(format!("#!lua name=lib {load}").into_bytes());
            }
            Kind::AnyNode => args.extend([verb("MODULE"), b"LIST".to_vec()]),
            Kind::Hello => {
                let version = if self.resp3 { b"3" } else { b"2" };
                args.extend([verb("HELLO"), version.to_vec()]);
            }
            Kind::Refused("CROSSSLOT") => {
                args.extend([&b"RENAME"[..], b"{t0}0", b"{t1}0"].map(<[u8]>::to_vec));
            }
            Kind::Refused(_) => {
                let wrong = [&b"GET"[..], b"NOSUCH", b"BLPOP"];
                args.push(random.pick(&wrong).to_vec());
            }
            Kind::Flush => args.push(verb(["FLUSHALL", "FLUSHDB"][random.below(2)])),
            Kind::Track(words) => {
                args.extend([&b"CLIENT"[..], b"TRACKING"].map(<[u8]>::to_vec));
                args.extend(words.iter().cloned());
            }
            Kind::Caching(word) => {
                args.extend([&b"CLIENT"[..], b"CACHING", word.as_bytes()].map(<[u8]>::to_vec));
            }
            Kind::Id => args.extend([verb("CLIENT"), verb("ID")]),
            Kind::Listen => {
                args.extend([verb("SUBSCRIBE"), b"__redis__:invalidate".to_vec()]);
            }
            Kind::Quit => args.push(verb("QUIT")),
            Kind::Reset => args.push(verb("RESET")),
            Kind::Change(_)
            | Kind::Login(..)
            | Kind::Multi
            | Kind::Watch(_)
            | Kind::Unwatch
            | Kind::Queued
            | Kind::Exec(_)
            | Kind::Discard(_)
            | Kind::Inside(_)
            | Kind::Pop(_) => unreachable!("they have bytes of their own"),
        }
        args
    }
}

/// What a node says when it has not run a request, in its own words or nearly so.
pub(super) fn lie(slot: u16, random: &mut Random) -> String {
    let port = 7001 + random.below(6);
    let other = slot ^ 1;
    match random.below(16) {
        0..3 => format!("MOVED {slot} 10.0.0.1:{port}"),
        3..6 => format!("ASK {slot} :{port}"),
        6 => format!("MOVED {other} 10.0.0.1:{port}"),
        7 => format!("ASK {other} 10.0.0.1:{port}"),
        _ => {
            let words = [
                "TRYAGAIN Multiple keys request during rehashing of slot",
                "CLUSTERDOWN The cluster is down",
                "CLUSTERDOWN Hash slot not served",
                "LOADING Redis is loading the dataset in memory",
                "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
                "READONLY You can't write against a read only replica.",
                "NOSCRIPT No matching script. Please use EVAL.",
                "ERR Function not found",
                "ERR max number of clients reached",
                "READONLY x",
                "LOADING x",
                "CLUSTERDOWN x",
                "TRYAGAIN x",
                "MOVED 1 host:port",
            ];
            random.pick(&words).to_string()
        }
    }
}
