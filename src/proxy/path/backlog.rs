//! Requests are put aside while their client must wait, and are taken again later.

use crate::clock::Time;
use crate::proxy::client::{Parting, Stall};
use crate::proxy::ids::ClientId;
use crate::proxy::request::WORK_OF_PEER;
use crate::proxy::state::Proxy;

impl Proxy {
    /// So many bytes have come from a client of which no request is taken: they wait.
    #[cold]
    pub(in crate::proxy) fn put_aside(&mut self, id: ClientId, count: usize, now: Time) {
        let Some(client) = self.clients.get_mut(id) else {
            return;
        };
        debug_assert!(self.inbox.is_empty());
        if let Some(backlog) = &mut client.backlog {
            backlog.filled(count, &mut self.pool);
        }
        if client.query_bytes() > self.config.limits.request_bytes {
            return self.close_unread(id, now);
        }
        self.note_growth(count, now);
    }

    /// More waits of a client than may: it is closed at once, as in Redis.
    #[cold]
    pub(in crate::proxy) fn close_unread(&mut self, id: ClientId, now: Time) {
        if let Some(client) = self.clients.get(id) {
            let line = client.line(&self.table, now);
            log::warn!(
                "closing client that reached max query buffer length (-client-query-buffer-limit): {}",
                line.trim_end()
            );
        }
        self.drop_client(id, Parting::Unread, now);
    }

    /// Takes what a client has sent while it was paused, up to its share of this turn.
    pub(in crate::proxy) fn take_backlog(&mut self, id: ClientId, now: Time) {
        let mut taken = 0;
        while taken < self.config.limits.read_bytes {
            let Some(client) = self.clients.get_mut(id) else {
                return;
            };
            if client.stall.is_some() || client.closing.is_some() {
                return;
            }
            let Some(backlog) = &mut client.backlog else {
                return;
            };
            taken += backlog.hand_on(&mut client.input, client.missing, &mut self.pool);
            if backlog.is_empty() {
                client.backlog = None;
            }
            self.client_input(id, 0, now);
        }
        let client = self.clients.get(id);
        if client.is_some_and(|client| client.backlog.is_some()) {
            self.go_on_later(id);
        }
    }

    /// A client has had its share of this turn: no more is taken of it until the next one.
    #[cold]
    pub(in crate::proxy) fn go_on_later(&mut self, id: ClientId) {
        if let Some(client) = self.clients.get_mut(id)
            && client.stall.is_none()
            && client.closing.is_none()
        {
            client.stall = Some(Stall::Behind);
            self.resume_later(id);
        }
    }

    /// A client is to be resumed in the next turn.
    pub(in crate::proxy) fn resume_later(&mut self, id: ClientId) {
        if let Some(client) = self.clients.get_mut(id) {
            client.resume_queued = true;
            self.behind.push(id);
        }
    }

    /// A client may be read again: takes what it had sent already. Returns whether it is to be read on.
    pub fn resume(&mut self, id: ClientId, now: Time) -> bool {
        let Some(client) = self.clients.get_mut(id) else {
            return false;
        };
        if client.resume_queued && self.resumed_work >= self.config.limits.turn_work {
            // It has been too much for one turn: it comes before those who have had their share of this one.
            self.unreached.push(id);
            return false;
        }
        let before = self.work();
        let reads_on = self.take_up(id, now);
        self.resumed_work += self.work_since(before) + WORK_OF_PEER;
        reads_on
    }

    fn take_up(&mut self, id: ClientId, now: Time) -> bool {
        let Some(client) = self.clients.get_mut(id) else {
            return false;
        };
        if client.execution.is_some() && client.resume_queued {
            client.resume_queued = false;
            self.go_on_executing(id, now);
            let Some(client) = self.clients.get_mut(id) else {
                return false;
            };
            if client.execution.is_some() || client.closing.is_some() {
                return false;
            }
            client.resume_queued = true;
        }
        let Some(client) = self.clients.get_mut(id) else {
            return false;
        };
        // If nothing has changed for its requests, it is only to be read.
        if client.resume_queued {
            if client.resumed_in == self.turn {
                // It has had its share of this turn.
                self.behind.push(id);
                return false;
            }
            client.resumed_in = self.turn;
            client.resume_queued = false;
            if client.leaving || (client.leaves_after_lease && client.is_movable()) {
                client.leaving = true;
                client.stall = Some(Stall::HandOver);
                return false;
            }
            if client.stall == Some(Stall::Full) {
                client.window = (client.window * 2).min(self.config.limits.pipeline_requests);
            }
            client.stall = None;
            self.client_input(id, 0, now);
            self.take_backlog(id, now);
        }
        let Some(client) = self.clients.get(id) else {
            return false;
        };
        if client.stall.is_none() && client.ended {
            self.close_when_told(id, Parting::Left);
            return false;
        }
        client.closing.is_none() && (client.stall.is_none() || client.reads_on())
    }
}
