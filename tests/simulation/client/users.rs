//! Who a client is, as far as it can know: it logs in, may be refused, and may be closed since its user is no more.

use super::{Client, Counts, End, Kind, Sent};
use crate::ledger::Ledger;
use crate::resp::{self, Value};
use crate::users::{NAMES, UNNAMED, bit};

/// What no node has answered.
const NO_VERDICT: &str = "ERR no node answered whether this command is allowed";
const TOO_MANY: &str = "ERR too many users are logged in at this proxy";

/// The name of a command that not all may run.
fn name_of(kind: &Kind) -> &'static str {
    match kind {
        Kind::Incr(_) => "INCR",
        Kind::Set(nonces) if nonces.len() > 1 => "MSET",
        Kind::Grown(_) => "XRANGE",
        Kind::MGet(_) => "MGET",
        Kind::Range(_) => "LRANGE",
        // All else that is queued, all may.
        Kind::Size(_) | Kind::Queued => "DBSIZE",
        _ => "",
    }
}

impl Client {
    /// Who it may be when the request is executed that it makes now.
    pub(super) fn who_may_ask(&self, ledger: &Ledger) -> u32 {
        let all = self.sent.iter();
        all.fold(self.is, |bits, sent| match &sent.kind {
            Kind::Login((who, _), _) => bits | bit(*who),
            Kind::Reset => bits | ledger.users.as_ref().map_or(0, |users| users.unnamed()),
            _ => bits,
        })
    }

    /// It has just connected, and logs in, or not.
    pub fn arrives(&mut self, ledger: &mut Ledger, talking: bool) {
        let Some(users) = &mut ledger.users else {
            return;
        };
        self.is = users.unnamed();
        if talking && users.random.one_in(8) {
            return;
        }
        self.log_in(ledger, talking);
    }

    /// It logs in as somebody; as who may do everything, if it is not only talking.
    fn log_in(&mut self, ledger: &mut Ledger, talking: bool) {
        let Some(users) = &mut ledger.users else {
            return;
        };
        let credentials = match talking {
            true => users.credentials(),
            false => users.of_default(),
        };
        let password = format!("pw{}", credentials.1);
        let version: &[u8] = if self.resp3 { b"3" } else { b"2" };
        let mut words = match users.random.below(4) {
            0 => vec![b"HELLO", version, b"AUTH"],
            _ => vec![&b"AUTH"[..]],
        };
        words.extend([NAMES[credentials.0].as_bytes(), password.as_bytes()]);
        self.unwritten.extend(resp::command(&words));
        let login = Kind::Login(credentials, self.now);
        self.sent.push_back(Sent::plain(login, self.resp3));
    }

    /// It becomes somebody else, now and then. Not while it watches keys, which it would lose.
    pub(super) fn changes_user(&mut self, ledger: &mut Ledger) -> bool {
        let Some(users) = &mut ledger.users else {
            return false;
        };
        let is_free = self.transaction.is_none() && self.end == End::Open;
        if !is_free || !users.random.one_in(60) {
            return false;
        }
        self.log_in(ledger, true);
        true
    }

    /// A login was answered.
    pub(super) fn was_told_of_login(&mut self, sent: &Sent, is_right: bool, ledger: &mut Ledger) {
        let (Kind::Login(credentials, since), Some(users)) = (&sent.kind, &mut ledger.users) else {
            return;
        };
        users.told(*credentials, *since, is_right);
        if is_right {
            self.is = bit(credentials.0);
        }
    }

    /// Whether this may be said where the servers know users: it was not executed then.
    pub(super) fn is_judged(&mut self, sent: &Sent, text: &str, ledger: &mut Ledger) -> bool {
        if ledger.users.is_none() {
            return false;
        }
        let is_login = matches!(sent.kind, Kind::Login(..));
        if is_login && text.starts_with("WRONGPASS ") {
            self.was_told_of_login(sent, false, ledger);
            return true;
        }
        // Of leaving a channel, nodes are asked, too.
        let of_change = matches!(sent.kind, Kind::Change(_)) && text.starts_with("CLUSTERDOWN ");
        if text.starts_with(NO_VERDICT) || of_change {
            return !self.manners.strict;
        }
        if text.starts_with(TOO_MANY) {
            return is_login || self.is & UNNAMED != 0;
        }
        // All that it sent before is answered: it knows who it was.
        if text.starts_with("ERR Protocol error: unauthenticated ") && self.is & UNNAMED != 0 {
            self.end = End::Told;
            return true;
        }
        let aborted = "EXECABORT Transaction discarded because of: ";
        let text = text.strip_prefix(aborted).unwrap_or(text);
        let users = ledger.users.as_ref();
        users.is_some_and(|users| users.excuse(self.is, text, name_of(&sent.kind)))
    }

    /// Whether it may change the protocol: who has not logged in may be refused, and would not know.
    pub(super) fn may_say_hello(&self, ledger: &Ledger) -> bool {
        ledger.users.is_none() || self.who_may_ask(ledger) & UNNAMED == 0
    }

    /// Takes a refusal of what one that subscribes asked for.
    pub(super) fn is_refused_change(
        &mut self,
        value: &Value,
        ledger: &mut Ledger,
        counts: &mut Counts,
    ) -> bool {
        let (Value::Error(text), Some(sent)) = (value, self.sent.front().cloned()) else {
            return false;
        };
        let is_it = matches!(sent.kind, Kind::Change(_)) && self.is_judged(&sent, text, ledger);
        if is_it {
            counts.judged += 1;
            self.sent.pop_front();
        }
        is_it
    }

    /// Whether it may be closed since its user is no more.
    pub(super) fn may_be_ended(&self, ledger: &Ledger) -> bool {
        let users = ledger.users.as_ref();
        users.is_some_and(|users| users.have_changed(self.who_may_ask(ledger)))
    }
}
