//! `Suspension`: `CLIENT PAUSE`. While it lasts, requests that it holds stay unread in their clients' inputs,
//! in order; each worker has its own copy and lifts it by itself when it is over.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::clock::Time;
use crate::proxy::client::Pause;
use crate::proxy::ids::ClientId;
use crate::proxy::messages::client_pause::Suspension;
use crate::proxy::request::Request;
use crate::proxy::scripts::flags::Functions;
use crate::proxy::state::Proxy;

impl Proxy {
    /// Begins, or widens, a suspension.
    pub(in crate::proxy) fn suspend(&mut self, wanted: Suspension, now: Time) {
        match &mut self.suspension {
            Some(present) => *present = present.joined(wanted),
            None if wanted.until > now => {
                self.suspension = Some(wanted);
                self.process.attention.add();
            }
            None => {}
        }
    }

    /// Whether the suspension holds a request. It is looked at by whoever sees each request.
    pub(in crate::proxy) fn is_held(&self, request: &Request<'_>) -> bool {
        let present = self
            .suspension
            .filter(|suspension| request.now < suspension.until);
        present.is_some_and(|suspension| {
            suspension.all || self.may_write(request.command, request.args)
        })
    }

    /// The functions of the nodes are known: who waits to call one that cannot write goes on.
    pub(in crate::proxy) fn tell_functions_apart(&mut self, functions: Arc<Functions>) {
        if self.suspension.is_some() {
            self.functions = Some(functions);
            self.wake_suspended();
        }
    }

    /// A request of this client waits for the end of the suspension: the client counts as blocked until then.
    #[cold]
    pub(in crate::proxy) fn count_suspended(&mut self, id: ClientId) {
        if let Some(client) = self.clients.get_mut(id)
            && !client.suspended
        {
            client.suspended = true;
            self.process.suspended.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Ends the suspension: those who waited are served again.
    pub(in crate::proxy) fn lift_suspension(&mut self) {
        if self.suspension.take().is_none() {
            return;
        }
        self.functions = None;
        self.process.attention.sub();
        self.wake_suspended();
    }

    /// Those who wait look again.
    fn wake_suspended(&mut self) {
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
