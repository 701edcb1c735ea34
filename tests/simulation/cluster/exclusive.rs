//! What a node does with a connection that one client has for itself: transactions, watched keys, and pops that
//! wait. As the server does (7.0: `processCommand`, `execCommand`, `disconnectAllBlockedClients`).

use super::{Cluster, Data, Role, Session, null, run, scripts};
use crate::ledger::{Ledger, Nonce};
use crate::resp;

const THROWN_OUT: &str =
    "UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)";

/// The state of such a connection.
#[derive(Debug, Default)]
pub struct Exclusive {
    /// What is queued since MULTI.
    queued: Option<Vec<Vec<Vec<u8>>>>,
    /// Something could not be queued.
    doomed: bool,
    /// Keys watched, with their versions, and the numbers of the WATCHes.
    watched: Vec<(usize, u64)>,
    pub watches: Vec<usize>,
    /// The pop that waits.
    pub blocked: Option<Blocked>,
}

/// A pop that waits.
#[derive(Debug)]
pub struct Blocked {
    args: Vec<Vec<u8>>,
    until: Option<u64>,
}

/// The number behind a letter in a key that is none: `{t1}w17`.
fn mark(key: &[u8], letter: u8) -> Option<usize> {
    let end = key.iter().position(|byte| *byte == b'}')?;
    let rest = key.get(end + 1..)?;
    let digits = rest.strip_prefix(&[letter])?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

fn error(text: &str) -> Vec<u8> {
    format!("-{text}\r\n").into_bytes()
}

fn ok() -> Vec<u8> {
    b"+OK\r\n".to_vec()
}

fn null_array(resp3: bool) -> Vec<u8> {
    if resp3 {
        null(true)
    } else {
        b"*-1\r\n".to_vec()
    }
}

/// The key of a queued command.
fn key_of(args: &[Vec<u8>]) -> Option<&[u8]> {
    let at = match args[0].eq_ignore_ascii_case(b"eval") {
        true => 3,
        false => 1,
    };
    args.get(at).map(Vec::as_slice)
}

/// The write of a queued command.
fn nonce(args: &[Vec<u8>]) -> Option<Nonce> {
    match args[0].to_ascii_uppercase().as_slice() {
        b"SET" | b"RPUSH" => Ledger::nonce_of(&args[2]),
        b"INCRBY" => std::str::from_utf8(&args[2]).ok()?.parse().ok(),
        _ => None,
    }
}

impl Session {
    fn unwatch(&mut self) {
        self.own.watched.clear();
        self.own.watches.clear();
    }

    /// MULTI is over, one way or the other.
    fn close_multi(&mut self) {
        self.unwatch();
        self.asking = false;
        self.own.doomed = false;
        self.own.queued = None;
    }

    /// Something that was to be queued is refused.
    pub(super) fn doom(&mut self) {
        self.own.doomed = true;
    }

    /// Whether it is in MULTI, and not at its end.
    pub(super) fn is_queueing(&self) -> bool {
        self.own.queued.is_some()
    }
}

impl Cluster {
    /// Executes what only such a connection is asked, or nothing.
    pub(super) fn execute_exclusive(
        &mut self,
        node: usize,
        session: &mut Session,
        name: &str,
        args: &[Vec<u8>],
        ledger: &mut Ledger,
        now: u64,
    ) -> Option<Vec<u8>> {
        let reply = match name {
            "MULTI" => {
                assert!(session.own.queued.is_none(), "MULTI was left over");
                session.own.queued = Some(Vec::new());
                ok()
            }
            // Behind an EXEC that was refused.
            "DISCARD" if session.own.queued.is_none() => error("ERR DISCARD without MULTI"),
            "DISCARD" => {
                session.close_multi();
                ok()
            }
            "UNWATCH" => {
                session.unwatch();
                ok()
            }
            "EXEC" => self.execute_all(node, session, ledger, now),
            "WATCH" => self.watch(node, session, args, ledger, now),
            "BLPOP" => self.pop(node, session, args, ledger, now),
            _ if session.own.queued.is_some() => {
                // Without a key it is queued anywhere.
                let keys: Vec<&[u8]> = key_of(args).into_iter().collect();
                let refusal = match keys.is_empty() {
                    true => None,
                    false => self.refuse(node, session, &keys, ledger, now),
                };
                match refusal {
                    Some(text) => {
                        session.own.doomed = true;
                        error(&text)
                    }
                    None => {
                        let queued = session.own.queued.as_mut();
                        queued.expect("in MULTI").push(args.to_vec());
                        b"+QUEUED\r\n".to_vec()
                    }
                }
            }
            _ => return None,
        };
        Some(reply)
    }

    /// Why a request on such a connection is not executed. What is watched there is so no more for its client.
    fn refuse(
        &mut self,
        node: usize,
        session: &mut Session,
        keys: &[&[u8]],
        ledger: &mut Ledger,
        now: u64,
    ) -> Option<String> {
        let tag = ledger.place_of(keys[0]);
        let slot = ledger.slots[tag];
        let refusal = self.refusal(node, session, (tag, slot), keys, false, now);
        if refusal.is_some() {
            ledger.promises.excuse(&session.own.watches);
        }
        refusal
    }

    fn watch(
        &mut self,
        node: usize,
        session: &mut Session,
        args: &[Vec<u8>],
        ledger: &mut Ledger,
        now: u64,
    ) -> Vec<u8> {
        let names: Vec<&[u8]> = args[1..].iter().map(Vec::as_slice).collect();
        let known = |name: &&&[u8]| ledger.key(name).is_some();
        let keys: Vec<&[u8]> = names.iter().filter(known).copied().collect();
        let refusal = self.refuse(node, session, &keys, ledger, now);
        session.asking = false;
        if let Some(text) = refusal {
            return error(&text);
        }
        let number = names.iter().find_map(|name| mark(name, b'w'));
        let number = number.expect("it has a number");
        let keys = keys.iter().filter_map(|name| ledger.key(name));
        let seen: Vec<(usize, u64)> = keys.map(|key| (key, ledger.keys[key].version())).collect();
        session.own.watched.extend(&seen);
        session.own.watches.push(number);
        ledger.promises.watched(number, seen);
        ok()
    }

    fn execute_all(
        &mut self,
        node: usize,
        session: &mut Session,
        ledger: &mut Ledger,
        now: u64,
    ) -> Vec<u8> {
        if session.own.doomed {
            session.close_multi();
            return error("EXECABORT Transaction discarded because of previous errors.");
        }
        let queued = session.own.queued.take().expect("EXEC without MULTI");
        let mut keys: Vec<&[u8]> = queued.iter().filter_map(|args| key_of(args)).collect();
        keys.sort_unstable();
        keys.dedup();
        let refusal = match keys.is_empty() {
            true => None,
            false => self.refuse(node, session, &keys, ledger, now),
        };
        let changed = |(key, version): &(usize, u64)| ledger.keys[*key].version() != *version;
        let changed = session.own.watched.iter().any(changed);
        if changed && refusal.is_none() {
            ledger.promises.excuse(&session.own.watches);
            ledger.promises.nil_at_nodes += 1;
        }
        let resp3 = session.resp3;
        session.close_multi();
        match refusal {
            Some(text) if text.starts_with("LOADING") || text.starts_with("MASTERDOWN") => {
                return error(&format!(
                    "EXECABORT Transaction discarded because of: {text}"
                ));
            }
            Some(text) => return error(&text),
            None if changed => return null_array(resp3),
            None => {}
        }
        let nonces: Vec<Nonce> = queued.iter().filter_map(|args| nonce(args)).collect();
        let versions = &ledger.keys;
        ledger
            .promises
            .executes(&nonces, |key| versions[key].version());
        let data = &mut self.shards[self.nodes[node].shard].data;
        let mut out = format!("*{}\r\n", queued.len()).into_bytes();
        for args in &queued {
            let name = String::from_utf8(args[0].to_ascii_uppercase()).expect("a name");
            match key_of(args) {
                Some(_) if name == "EVAL" => {
                    let reply = scripts::run(data, node, args, resp3, ledger);
                    out.extend(reply.expect("a script of the proxy"));
                }
                Some(key) => out.extend(run(data, &name, args, &[key], resp3, ledger)),
                None => {
                    assert_eq!(name, "DBSIZE");
                    out.extend(format!(":{}\r\n", data.len()).into_bytes());
                }
            }
        }
        out
    }

    fn pop(
        &mut self,
        node: usize,
        session: &mut Session,
        args: &[Vec<u8>],
        ledger: &mut Ledger,
        now: u64,
    ) -> Vec<u8> {
        let refusal = self.refuse(node, session, &[&args[1][..]], ledger, now);
        session.asking = false;
        if let Some(text) = refusal {
            return error(&text);
        }
        if let Some(reply) = self.take(node, args, ledger) {
            return reply;
        }
        let seconds = std::str::from_utf8(&args[args.len() - 1]).expect("a number");
        let seconds: f64 = seconds.parse().expect("a number");
        session.own.blocked = Some(Blocked {
            args: args.to_vec(),
            until: (seconds > 0.0).then_some(now + (seconds * 1e6) as u64),
        });
        self.counts.blocked += 1;
        Vec::new()
    }

    /// The first of a list, for this pop.
    fn take(&mut self, node: usize, args: &[Vec<u8>], ledger: &mut Ledger) -> Option<Vec<u8>> {
        let data = &mut self.shards[self.nodes[node].shard].data;
        let Some(Data::List(list)) = data.get_mut(&args[1]) else {
            return None;
        };
        let token = list.remove(0);
        if list.is_empty() {
            data.remove(&args[1]);
        }
        let key = ledger.key(&args[1]).expect("a key of ours");
        let nonce = Ledger::nonce_of(&token).expect("a token of ours");
        ledger.promises.popped(nonce, key, mark(&args[2], b'p'));
        Some([b"*2\r\n".to_vec(), resp::bulk(&args[1]), resp::bulk(&token)].concat())
    }

    /// What a pop that waits is told now, if anything; and whether its connection is closed behind that.
    pub fn wake(
        &mut self,
        node: usize,
        session: &mut Session,
        ledger: &mut Ledger,
        now: u64,
    ) -> Option<(Vec<u8>, bool)> {
        let blocked = session.own.blocked.as_ref()?;
        let (args, until) = (blocked.args.clone(), blocked.until);
        let tag = ledger.place_of(&args[1]);
        let reply = if !self.is_master(node) {
            self.counts.thrown_out += 1;
            (error(THROWN_OUT), true)
        } else if now < self.down_until {
            (error("CLUSTERDOWN The cluster is down"), false)
        } else if self.role(self.nodes[node].shard, tag) == Role::Stranger {
            self.counts.sent_on += 1;
            let slot = ledger.slots[tag];
            let text = self.refusal(node, session, (tag, slot), &[&args[1]], false, now)?;
            (error(&text), false)
        } else if let Some(reply) = self.take(node, &args, ledger) {
            (reply, false)
        } else if until.is_some_and(|until| now >= until) {
            (null_array(session.resp3), false)
        } else {
            return None;
        };
        session.own.blocked = None;
        Some(reply)
    }
}
