//! The handshake of a connection to a node, from the node's first reply to `Ready`.
//!
//! No request is sent before the handshake is answered. So a request that waits for such a connection has certainly
//! not been executed, whatever happens to the connection: the node closes it, has too many clients, sends a TLS
//! alert, or never answers.
//!
//! It must never know which requests wait for the connection.

use crate::clock::Time;
use crate::proxy::ids::{BackendId, NodeKey};
use crate::proxy::state::Proxy;
use crate::proxy::texts::node_words;
use crate::proxy::upstream::backend::{Backend, LastStep, State, Usage};
use crate::proxy::upstream::lost::Lost;
use crate::resp::reply::Reply;

/// The first byte of a TLS alert.
const TLS_ALERT: u8 = 0x15;

/// Codes of errors by which a node refuses the connection, or says that it serves nobody for now.
const REFUSALS: &[&[u8]] = &[
    b"NOAUTH",
    b"WRONGPASS",
    b"DENIED",
    b"LOADING",
    b"MASTERDOWN",
];

/// What a node says that is up and will serve soon.
const SOON: &[&str] = &["says: LOADING", "says: MASTERDOWN"];

impl Proxy {
    /// An answer to the handshake, of which so many steps are outstanding. Returns why the backend is lost, if it is.
    pub(in crate::proxy) fn greeting_answered(
        &mut self,
        id: BackendId,
        steps: u8,
        reply: Reply<'_>,
        now: Time,
    ) -> Option<Lost> {
        let backend = self.upstream.backends.get_mut(id)?;
        let asked = backend.question.filter(|_| steps == 1);
        let refused = backend.is_tracking_step(steps) && reply.error().is_some();
        if refused {
            // It serves requests as any other connection does: readers are told at once that what they read has changed.
            backend.is_untracked = true;
            log::warn!(
                "a node refuses CLIENT TRACKING: {}",
                String::from_utf8_lossy(reply.error().unwrap_or_default())
            );
        }
        if let Some(error) = reply.error()
            && !refused
            && (asked.is_none() || !is_an_answer(error))
        {
            backend.words = Some(node_words::said(error, &self.config));
            if backend.flavor.user.is_client() && is_about_user(error) {
                backend.denial = Some(error.into());
                return Some(Lost::Denied);
            }
            let denied = self.config.backend_password.is_some() && is_about_password(error);
            return Some(if denied { Lost::Denied } else { Lost::Refused });
        }
        if backend.greeting.sent_len() == 0 {
            return Some(self.broken(id, "a reply to a handshake that has not left"));
        }
        if steps > 1 {
            backend.state = State::Handshaking(steps - 1);
            return None;
        }
        if asked == Some(LastStep::Number) {
            backend.number = reply.integer();
        }
        backend.state = State::Ready;
        (backend.heard_at, backend.ready_at) = (now, now);
        let len = backend.greeting.len();
        backend.greeting.release(len, &mut self.pool);
        self.ready(id, now);
        None
    }

    /// The handshake is answered by bytes that are no reply.
    pub(in crate::proxy) fn greeting_unreadable(&mut self, id: BackendId, bytes: &[u8]) -> Lost {
        self.stats.backend_protocol_errors.add(1);
        if let Some(backend) = self.upstream.backends.get_mut(id) {
            backend.words = Some(match bytes.first() {
                Some(&TLS_ALERT) => "answers with a TLS alert: it speaks TLS".into(),
                _ => node_words::said(bytes, &self.config),
            });
        }
        Lost::Refused
    }

    /// A backend takes requests from now on.
    fn ready(&mut self, id: BackendId, now: Time) {
        self.stats.backend_connects.add(1);
        let Some(backend) = self.upstream.backends.get_mut(id) else {
            return;
        };
        // Their time begins now: what they waited for until here was the connection.
        backend
            .tickets
            .iter_mut()
            .for_each(|ticket| ticket.sent_at = now);
        let micros = now.since(backend.opened_at).as_micros() as u64;
        self.stats.connect_times.record(micros, 1);
        let (key, usage, flavor) = (backend.node, backend.usage, backend.flavor);
        self.upstream.accounts.accepted(flavor.user, key);
        let replaces = backend.is_replacement;
        let mut back = false;
        if let Some(node) = self.upstream.node_mut(key) {
            node.connecting -= 1;
            back = node.greeted();
            node.stats.connects.add(1);
            node.stats.connections.add(1);
            if usage != Usage::Shared {
                node.exclusive.arrived(flavor, id);
            }
        }
        if back || flavor.tracking {
            self.hasten_held(now);
        }
        if replaces {
            self.replaced(key, now);
        }
        self.leases.tend(key);
        if self
            .upstream
            .backends
            .get(id)
            .is_some_and(|own| own.broadcast.is_some())
        {
            self.feed_ready(id, now);
        }
        self.queue_backend_flush(id);
    }

    /// A connection is lost that was not ready. `backend` has left the arena already. If `excused`, that says nothing
    /// against the node.
    pub(in crate::proxy) fn greeting_failed(
        &mut self,
        backend: &Backend,
        lost: Lost,
        excused: bool,
        now: Time,
    ) {
        let passwords = self.config.backend_passwords().count();
        let jitter = self.random();
        let Some(node) = self.upstream.node_mut(backend.node) else {
            return;
        };
        node.connecting -= 1;
        // That a client's user is not admitted says nothing of the node.
        if lost == Lost::Retired || backend.denial.is_some() {
            return;
        }
        node.words = match (&backend.words, lost, backend.state) {
            (Some(words), ..) => Some(words.clone()),
            (None, Lost::Closed, State::Handshaking(_)) => Some(node_words::WORDLESS.into()),
            (None, ..) => None,
        };
        let soon = node
            .words
            .as_ref()
            .is_some_and(|words| SOON.iter().any(|own| words.starts_with(own)));
        if lost == Lost::Denied {
            node.refused(backend.password, passwords, now, jitter);
        } else if excused {
            // Another connection serves meanwhile.
        } else if soon {
            node.failed_for_now(now, jitter);
        } else {
            node.failed(now, jitter);
        }
        // It speaks to us, and serves what is connected: it takes no more connections, but it is up.
        let serves =
            matches!(lost, Lost::Refused | Lost::Closed) && node.stats.connections.get() > 0;
        let mut idle = None;
        if serves {
            node.stats.failing.set(0);
            idle = node.exclusive.make_room(backend);
        }
        if let Some(idle) = idle {
            self.lose_backend(idle, Lost::Retired, now);
        }
        self.tell_words(backend.node, now);
    }

    /// The log hears what a node says instead of serving us, once a second.
    pub(in crate::proxy) fn tell_words(&self, node: NodeKey, now: Time) {
        if let Some(node) = self.upstream.node(node)
            && let Some(words) = &node.words
            && self.process.told.may_tell(node.address, now)
        {
            log::warn!("node {} {words}", node.address);
        }
    }
}

/// Whether an error in answer to a question shows that the node serves the connection: our user may not ask it, the node
/// does not know it, or is busy with a script. Of anything else it is not known who says so.
fn is_an_answer(error: &[u8]) -> bool {
    let says = |words: &[u8]| memchr::memmem::find(error, words).is_some();
    let word = error.split(|byte| *byte == b' ').next();
    match word.unwrap_or_default() {
        b"ERR" => says(b"nknown ") || says(b"yntax error"),
        code => {
            let named = !code.is_empty() && code.iter().all(u8::is_ascii_uppercase);
            named && !REFUSALS.contains(&code)
        }
    }
}

/// Whether an error to the handshake of a client's user says that this user may not be connected so, in the words of Redis
/// 6 and later: wrong password, or no right to READONLY or SELECT.
fn is_about_user(error: &[u8]) -> bool {
    let code = error.split(|byte| *byte == b' ').next();
    matches!(
        code.unwrap_or_default(),
        b"WRONGPASS" | b"NOPERM" | b"NOAUTH"
    )
}

/// Whether an error to a handshake says that the password is wrong, in the words of Redis 5 to 8 and Valkey.
fn is_about_password(error: &[u8]) -> bool {
    let says = |words: &[u8]| memchr::memmem::find(error, words).is_some();
    error.starts_with(b"WRONGPASS") || says(b"invalid password") || says(b"AUTH")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_the_server_to_a_question_are_told_from_those_of_a_door() {
        for answer in [
            "NOPERM this user has no permissions to run the 'ping' command",
            "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
            "MISCONF Redis is configured to save RDB snapshots",
            "ERR unknown command 'PING', with args beginning with: ",
            "ERR Unknown subcommand or wrong number of arguments for 'ID'. Try CLIENT HELP.",
            "ERR unknown subcommand 'ID'. Try CLIENT HELP.",
            "ERR syntax error",
        ] {
            assert!(is_an_answer(answer.as_bytes()), "{answer}");
        }
        for refusal in [
            "ERR max number of clients reached",
            "ERR max number of clients + cluster connections reached",
            "NOAUTH Authentication required.",
            "WRONGPASS invalid username-password pair or user is disabled.",
            "DENIED Redis is running in protected mode",
            "LOADING Redis is loading the dataset in memory",
            "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
            "ERR upstream is gone",
            "no upstream host",
            "",
        ] {
            assert!(!is_an_answer(refusal.as_bytes()), "{refusal}");
        }
    }
}
