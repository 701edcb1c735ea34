//! `ClientPause`: `CLIENT PAUSE`. While it lasts, requests that it holds stay unread in their clients' inputs,
//! in order; each worker has its own copy and lifts it by itself when it is over.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::clock::Time;
use crate::proxy::client::Stall;
use crate::proxy::ids::ClientId;
use crate::proxy::messages::client_pause::ClientPause;
use crate::proxy::request::Request;
use crate::proxy::scripts::flags::Functions;
use crate::proxy::state::Proxy;

impl Proxy {
    /// Begins, or widens, a pause.
    pub(in crate::proxy) fn pause_clients(&mut self, wanted: ClientPause, now: Time) {
        match &mut self.client_pause {
            Some(present) => *present = present.joined(wanted),
            None if wanted.until > now => {
                self.client_pause = Some(wanted);
                self.process.watchers.add();
            }
            None => {}
        }
    }

    /// Whether the pause holds a request. It is looked at by whoever sees each request.
    pub(in crate::proxy) fn is_held(&self, request: &Request<'_>) -> bool {
        let present = self.client_pause.filter(|pause| request.now < pause.until);
        present.is_some_and(|pause| pause.all || self.may_write(request.command, request.args))
    }

    /// The functions of the nodes are known: who waits to call one that cannot write goes on.
    pub(in crate::proxy) fn tell_functions_apart(&mut self, functions: Arc<Functions>) {
        if self.client_pause.is_some() {
            self.functions = Some(functions);
            self.wake_suspended();
        }
    }

    /// A request of this client waits for the end of the pause: the client counts as blocked until then.
    #[cold]
    pub(in crate::proxy) fn count_paused(&mut self, id: ClientId) {
        if let Some(client) = self.clients.get_mut(id)
            && !client.paused
        {
            client.paused = true;
            self.process.paused_clients.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Ends the pause: those who waited are served again.
    pub(in crate::proxy) fn end_client_pause(&mut self) {
        if self.client_pause.take().is_none() {
            return;
        }
        self.functions = None;
        self.process.watchers.sub();
        self.wake_suspended();
    }

    /// Those who wait look again.
    fn wake_suspended(&mut self) {
        for id in self.clients.ids() {
            let Some(client) = self.clients.get_mut(id) else {
                continue;
            };
            if std::mem::take(&mut client.paused) {
                self.process.paused_clients.fetch_sub(1, Ordering::Relaxed);
            }
            if client.stall == Some(Stall::ClientPause) {
                self.queue_resume(id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_pause_only_grows() {
        let make = |until, all| ClientPause {
            until: Time::from_micros(until),
            all,
        };
        assert_eq!(make(5, true).joined(make(3, false)), make(5, true));
        assert_eq!(make(5, false).joined(make(9, true)), make(9, true));
    }
}
