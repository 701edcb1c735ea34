//! `Listings`: `CLIENT LIST` of more clients than one turn may list, a share of them in each turn.
//!
//! A client that comes meanwhile is not listed, and neither is one that has gone when its turn comes.

use crate::clock::Time;
use crate::proxy::ids::ClientId;
use crate::proxy::messages::client_filter::{Asker, Listing, Selection};
use crate::proxy::messages::worker_query::Letter;
use crate::proxy::state::Proxy;
use crate::resp::encode;

impl Proxy {
    /// Somebody wants to know of these clients.
    pub(in crate::proxy) fn list_for(&mut self, asker: Asker, selection: &Selection, now: Time) {
        // What is done in one step need not wait for the next turn.
        if self.listings.is_empty() && self.clients.len() <= self.config.limits.turn_listed {
            let mut reply = Vec::new();
            self.list_clients(selection, now, &mut reply);
            return self.listed(asker, reply, now);
        }
        let mut clients: Vec<ClientId> = self.clients.iter().map(|(id, _)| id).collect();
        clients.reverse();
        self.listings.0.push_back(Listing {
            asker,
            selection: selection.clone(),
            clients,
            listed: 0,
            lines: Vec::new(),
        });
    }

    /// A turn has begun: takes one step of the oldest list.
    #[cold]
    pub(in crate::proxy) fn list_on(&mut self, now: Time) {
        let Some(mut listing) = self.listings.0.pop_front() else {
            return;
        };
        let left = listing.clients.len();
        let at = left.saturating_sub(self.config.limits.turn_listed);
        for id in listing.clients.drain(at..).rev() {
            if let Some(client) = self.clients.get(id)
                && listing.selection.takes(client)
            {
                listing.listed += 1;
                self.list_client(client, now, &mut listing.lines);
            }
        }
        if !listing.clients.is_empty() {
            return self.listings.0.push_front(listing);
        }
        let mut reply = Vec::with_capacity(listing.lines.len() + 16);
        encode::array(&mut reply, 2 * listing.listed);
        reply.append(&mut listing.lines);
        self.listed(listing.asker, reply, now);
    }

    /// A list is made.
    fn listed(&mut self, asker: Asker, reply: Vec<u8>, now: Time) {
        let Asker {
            worker,
            client,
            seq,
            part,
        } = asker;
        if worker == self.worker {
            return self.fulfil(client, seq, part, &reply, now);
        }
        let answer = Letter::Answered {
            client,
            seq,
            part,
            reply,
        };
        self.actions.letter(worker, answer);
    }
}
