//! `Suspension`: `CLIENT PAUSE`. While it lasts, requests that it holds stay unread in their clients' inputs,
//! in order; each worker has its own copy and lifts it by itself when it is over.

use std::sync::atomic::Ordering;

use crate::clock::Time;
use crate::command::Command;
use crate::proxy::Proxy;
use crate::proxy::client::{ClientId, Pause};

/// What waits, and until when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Suspension {
    /// When it is over by itself.
    pub until: Time,
    /// Whether all commands wait, or those only that may change data.
    pub all: bool,
}

impl Suspension {
    /// Whether a command waits.
    pub fn holds(&self, command: &Command) -> bool {
        self.all || command.may_replicate()
    }

    /// This one and another: as in Redis, a pause is only ever made longer and wider.
    fn joined(self, other: Suspension) -> Suspension {
        Suspension {
            until: self.until.max(other.until),
            all: self.all || other.all,
        }
    }
}

impl Proxy {
    /// Begins, or widens, a suspension.
    pub(super) fn suspend(&mut self, wanted: Suspension, now: Time) {
        match &mut self.suspension {
            Some(present) => *present = present.joined(wanted),
            None if wanted.until > now => {
                self.suspension = Some(wanted);
                self.process.attention.add();
            }
            None => {}
        }
    }

    /// A request of this client waits for the end of the suspension: the client counts as blocked until then.
    #[cold]
    pub(super) fn count_suspended(&mut self, id: ClientId) {
        if let Some(client) = self.clients.get_mut(id)
            && !client.suspended
        {
            client.suspended = true;
            self.process.suspended.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Ends the suspension: those who waited are served again.
    pub(super) fn lift_suspension(&mut self) {
        if self.suspension.take().is_none() {
            return;
        }
        self.process.attention.sub();
        for id in self.clients.ids() {
            let Some(client) = self.clients.get_mut(id) else {
                continue;
            };
            if std::mem::take(&mut client.suspended) {
                self.process.suspended.fetch_sub(1, Ordering::Relaxed);
            }
            if client.pause == Some(Pause::Suspended) {
                self.queue_resume(id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::Table;

    #[test]
    fn only_what_may_change_data_is_held_in_write_mode() {
        let table = Table::compiled();
        let check = |name: &str, expected| {
            let command = table.named(name.as_bytes()).unwrap();
            let until = Time::from_micros(1);
            let (some, all) = (false, true);
            assert_eq!(
                Suspension { until, all: some }.holds(command),
                expected,
                "{name}"
            );
            assert!(Suspension { until, all }.holds(command), "{name}");
        };
        for name in [
            "set", "eval", "evalsha", "fcall", "pfcount", "publish", "spublish",
        ] {
            check(name, true);
        }
        for name in ["get", "eval_ro", "fcall_ro", "ping", "client|unpause"] {
            check(name, false);
        }
    }

    #[test]
    fn a_suspension_only_grows() {
        let make = |until, all| Suspension {
            until: Time::from_micros(until),
            all,
        };
        assert_eq!(make(5, true).joined(make(3, false)), make(5, true));
        assert_eq!(make(5, false).joined(make(9, true)), make(9, true));
    }
}
