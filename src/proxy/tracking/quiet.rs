//! A connection that tracks and on which nothing is said: a node that has gone without a word says nothing either. It is
//! asked every second; what it owes has the deadlines of every reply.

use std::time::Duration;

use crate::clock::Time;
use crate::proxy::ids::{BackendId, NO_SLOT};
use crate::proxy::state::Proxy;
use crate::proxy::upstream::backend::{Origin, State, Ticket};
use crate::proxy::upstream::lost::Lost;
use crate::resp::encode;

/// How long a connection may be quiet.
const QUIET: Duration = Duration::from_secs(1);

impl Proxy {
    /// Whether there may be connections to be asked.
    #[inline]
    pub(in crate::proxy) fn is_anything_tracked(&self) -> bool {
        !self.tracking.is_empty()
            || !self.tracking.bcast.is_empty()
            || !self.tracking.seeks.is_empty()
    }

    /// When [`Proxy::ask_quiet`] is due.
    pub(in crate::proxy) fn tracking_deadline(&self) -> Option<Time> {
        let quiet = self.is_anything_tracked().then_some(self.tracking.look_at);
        let again = self.tracking.again.due();
        let all = quiet.into_iter().chain(self.feeds_deadline()).chain(again);
        all.min()
    }

    /// A turn has begun, and keys are remembered.
    #[cold]
    #[inline(never)]
    pub(in crate::proxy) fn tend_tracking(&mut self) {
        if self.tracking.routes_version != self.upstream.routes.version() {
            self.forget_moved_slots();
        }
    }

    /// Closes connections whose keys are told of nowhere any more, once nothing is outstanding there: another one takes
    /// their place.
    fn retire_without_sink(&mut self, now: Time) {
        let all = self.upstream.backends.iter();
        let done = all.filter(|(_, own)| {
            own.redirect.is_some() && own.is_untracked && own.tickets.is_empty()
        });
        let done: Vec<BackendId> = done.map(|(id, _)| id).collect();
        for id in done {
            self.lose_backend(id, Lost::Retired, now);
        }
    }

    /// Asks the connections on which nothing was said for a while.
    #[cold]
    pub(in crate::proxy) fn ask_quiet(&mut self, now: Time) {
        self.tracking.look_at = now.after(QUIET / 2);
        self.tell_of_deaf_feeds();
        self.give_up_seeks(now);
        self.retire_without_sink(now);
        let links = self.tracking.links.iter();
        let links = links.filter(|(_, link)| !link.table.is_empty());
        let bcast = self.tracking.bcast.all.keys();
        let ids: Vec<BackendId> = links.map(|(id, _)| id).chain(bcast).copied().collect();
        for id in ids {
            let backend = self.upstream.backends.get(id);
            let is_quiet = backend.is_some_and(|own| {
                own.state == State::Ready
                    && own.tickets.is_empty()
                    && now.since(own.heard_at) >= QUIET / 2
            });
            if is_quiet {
                let mut frame = Vec::new();
                encode::command(&mut frame, [&b"PING"[..]]);
                let ticket = Ticket::here(Origin::Discard, NO_SLOT, u16::MAX, frame.len(), now);
                let (pool, actions) = (&mut self.pool, &mut self.actions);
                self.upstream.send(id, &frame, ticket, pool, actions);
            }
        }
    }
}
