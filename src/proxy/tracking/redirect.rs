//! REDIRECT: a client is told by another one, which may be a client of another worker. So are RESP2 clients, which cannot be
//! told among their replies: the other is subscribed to anything, and hears of keys as of messages of
//! `__redis__:invalidate`.
//!
//! Who is to be told is found once, by asking all workers; from then on each push goes straight there. When it finds nobody,
//! the redirection is broken, and its client hears so if it speaks RESP3.

use crate::clock::Time;
use crate::proxy::ids::{ClientId, PartId};
use crate::proxy::messages::worker_query::WorkerMessage;
use crate::proxy::state::Proxy;
use crate::proxy::tracking::state::invalidation::Invalidation;
use crate::proxy::tracking::state::mode::Target;
use crate::proxy::tracking::state::seek::{Found, Seek, Wanted};
use crate::resp::encode;

const NO_TARGET: &[u8] = b"-ERR The client ID you want redirect to does not exist\r\n";
/// How long other workers may take to say whether they have the client.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(5);

impl Proxy {
    /// A client wants to be told by the client of this number; it hears whether there is one.
    pub(in crate::proxy) fn seek_target(
        &mut self,
        id: ClientId,
        command: u16,
        number: u64,
        wanted: Wanted,
        now: Time,
    ) {
        let others = self.process.workers.len().saturating_sub(1);
        let Some(client) = self.clients.get_mut(id) else {
            return;
        };
        let seq = client.pipeline.push_heard(command, now);
        self.stats.commands.add(1);
        let seek = Seek {
            part: PartId::new(id, seq, 0),
            number,
            wanted,
            unheard: others,
            until: now.after(PATIENCE),
        };
        let here = self.client_of_number(number);
        if here.is_some() || others == 0 {
            let target = here.map(|client| self.target_here(number, client));
            return self.found_target(seek, target, now);
        }
        let part = seek.part;
        self.tracking.seeks.push(seek);
        for worker in (0..self.process.workers.len()).filter(|other| *other != self.worker) {
            let from = self.worker;
            let message = WorkerMessage::SeekClient { from, part, number };
            self.actions.send_to_worker(worker, message);
        }
    }

    fn target_here(&self, number: u64, client: ClientId) -> Target {
        Target {
            number,
            worker: self.worker,
            client,
        }
    }

    /// The client of this worker that has this number.
    fn client_of_number(&self, number: u64) -> Option<ClientId> {
        let mut all = self.clients.iter();
        let own = all.find(|(_, own)| own.session.number == number && own.closing.is_none());
        own.map(|(id, _)| id)
    }

    /// Another worker asks for the client of this number.
    pub(in crate::proxy) fn answer_seek(&mut self, from: usize, part: PartId, number: u64) {
        let client = self.client_of_number(number);
        let target = client.map(|client| self.target_here(number, client));
        let found = Found { part, target };
        self.actions
            .send_to_worker(from, WorkerMessage::FoundClient(found));
    }

    /// Another worker has found that client, or has none of that number.
    pub(in crate::proxy) fn take_found(&mut self, found: Found, now: Time) {
        let mut seeks = self.tracking.seeks.iter_mut();
        let Some(at) = seeks.position(|seek| seek.part == found.part) else {
            return;
        };
        let seek = &mut self.tracking.seeks[at];
        seek.unheard = seek.unheard.saturating_sub(1);
        if found.target.is_some() || seek.unheard == 0 {
            let seek = self.tracking.seeks.swap_remove(at);
            self.found_target(seek, found.target, now);
        }
    }

    /// It is known who tells the client.
    fn found_target(&mut self, seek: Seek, target: Option<Target>, now: Time) {
        let Seek { part, wanted, .. } = seek;
        let Some(target) = target else {
            return self.fulfil(part, NO_TARGET, now);
        };
        match wanted {
            Wanted::Refused(text) => {
                let mut reply = Vec::new();
                encode::error(&mut reply, &text);
                self.fulfil(part, &reply, now);
            }
            Wanted::Off => {
                self.set_tracking(part.client, None);
                self.fulfil(part, b"+OK\r\n", now);
            }
            Wanted::On(mut mode) => {
                mode.redirect = Some(target);
                if mode.is_broadcast() {
                    return self.join_feeds_at(part, mode, now);
                }
                self.set_tracking(part.client, Some(mode));
                self.fulfil(part, b"+OK\r\n", now);
            }
        }
    }

    /// Those wait no more whom no worker has answered.
    pub(super) fn give_up_seeks(&mut self, now: Time) {
        while let Some(at) = self.tracking.seeks.iter().position(|own| now >= own.until) {
            let seek = self.tracking.seeks.swap_remove(at);
            self.found_target(seek, None, now);
        }
    }

    /// A client is told something by another.
    pub(super) fn tell_target(&mut self, source: ClientId, target: Target, told: Invalidation) {
        if target.worker == self.worker {
            if !self.tell_for_another(target, told) {
                self.break_redirect(source, target.number);
            }
        } else {
            let message = WorkerMessage::Invalidated {
                from: (self.worker, source),
                target,
                told,
            };
            self.actions.send_to_worker(target.worker, message);
        }
    }

    /// A client of another worker is told something by one of ours.
    pub(in crate::proxy) fn take_invalidated(
        &mut self,
        from: (usize, ClientId),
        target: Target,
        told: Invalidation,
    ) {
        if !self.tell_for_another(target, told) {
            let (worker, source) = from;
            let number = target.number;
            let message = WorkerMessage::RedirectBroken { source, number };
            self.actions.send_to_worker(worker, message);
        }
    }

    /// Tells a client what another one asked it to be told. Returns whether it is there.
    fn tell_for_another(&mut self, target: Target, told: Invalidation) -> bool {
        let Some(client) = self.clients.get_mut(target.client) else {
            return false;
        };
        if client.session.number != target.number || client.closing.is_some() {
            return false;
        }
        // A reply may be passing to it in pieces; from now on none does.
        let until = match &client.late {
            None => client.pipeline.tail(),
            Some(_) => client.pipeline.head(),
        };
        client
            .late
            .get_or_insert_default()
            .add_for_another(until, told);
        self.queue_flush(target.client);
        true
    }

    /// The client that tells another has gone.
    pub(in crate::proxy) fn break_redirect(&mut self, source: ClientId, number: u64) {
        let Some(client) = self.clients.get_mut(source) else {
            return;
        };
        let head = client.pipeline.head();
        let Some(mode) = client.session.tracking_mut() else {
            return;
        };
        if !mode.broken && mode.redirect.is_some_and(|own| own.number == number) {
            mode.broken = true;
            client
                .late
                .get_or_insert_default()
                .add_for_another(head, Invalidation::Broken(number));
            self.queue_flush(source);
        }
    }
}
