//! `Listings`: `CLIENT LIST` and `CLIENT KILL` over more clients than one turn may look at: a share in each turn.
//!
//! Clients that connect meanwhile are not included, nor those that have left when their turn comes.

use crate::clock::Time;
use crate::proxy::ids::ClientId;
use crate::proxy::messages::client_filter::{Aim, Asker, Filter, Listing, Selection};
use crate::proxy::messages::worker_query::WorkerMessage;
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
        let aim = Aim::List {
            selection: selection.clone(),
            listed: 0,
            lines: Vec::new(),
        };
        self.look_at_all(asker, aim);
    }

    /// Somebody wants these clients to be closed.
    pub(in crate::proxy) fn kill_for(&mut self, asker: Asker, filter: &Filter, now: Time) {
        if self.listings.is_empty() && self.clients.len() <= self.config.limits.turn_listed {
            let ids: Vec<ClientId> = self.clients.iter().map(|(id, _)| id).collect();
            let killed = self.kill_clients(&ids, filter, self.asking(asker), now);
            return self.killed(asker, killed, now);
        }
        let (filter, killed) = (filter.clone(), 0);
        self.look_at_all(asker, Aim::Kill { filter, killed });
    }

    fn look_at_all(&mut self, asker: Asker, aim: Aim) {
        let mut clients: Vec<ClientId> = self.clients.iter().map(|(id, _)| id).collect();
        clients.reverse();
        let asking = self.asking(asker).and_then(|id| self.clients.get(id));
        let at_hand = asking.map_or((0, 0), |client| client.at_hand);
        self.listings.0.push_back(Listing {
            asker,
            at_hand,
            aim,
            clients,
        });
    }

    /// The client that asks, if it is one of this worker.
    pub(in crate::proxy) fn asking(&self, asker: Asker) -> Option<ClientId> {
        (asker.worker == self.worker).then_some(asker.part.client)
    }

    /// A turn has begun: takes one step of the oldest list.
    #[cold]
    pub(in crate::proxy) fn list_on(&mut self, now: Time) {
        let Some(mut listing) = self.listings.0.pop_front() else {
            return;
        };
        let left = listing.clients.len();
        let at = left.saturating_sub(self.config.limits.turn_listed);
        let share: Vec<ClientId> = listing.clients.drain(at..).rev().collect();
        match &mut listing.aim {
            Aim::List {
                selection,
                listed,
                lines,
            } => {
                self.set_at_hand(listing.asker, listing.at_hand);
                for client in share.into_iter().filter_map(|id| self.clients.get(id)) {
                    if selection.takes(client) {
                        *listed += 1;
                        self.list_client(client, now, lines);
                    }
                }
                self.set_at_hand(listing.asker, (0, 0));
            }
            Aim::Kill { filter, killed } => {
                let asking = self.asking(listing.asker);
                *killed += self.kill_clients(&share, filter, asking, now);
            }
        }
        if !listing.clients.is_empty() {
            return self.listings.0.push_front(listing);
        }
        match listing.aim {
            Aim::List {
                listed, mut lines, ..
            } => {
                let mut reply = Vec::with_capacity(lines.len() + 16);
                encode::array(&mut reply, 2 * listed);
                reply.append(&mut lines);
                self.listed(listing.asker, reply, now);
            }
            Aim::Kill { killed, .. } => self.killed(listing.asker, killed, now),
        }
    }

    /// The one that asks is listed with the bytes of its request, as if it were answered in one step.
    fn set_at_hand(&mut self, asker: Asker, bytes: (usize, usize)) {
        let asking = self.asking(asker);
        if let Some(client) = asking.and_then(|id| self.clients.get_mut(id)) {
            client.at_hand = bytes;
        }
    }

    fn killed(&mut self, asker: Asker, killed: i64, now: Time) {
        let mut reply = Vec::new();
        encode::integer(&mut reply, killed);
        self.listed(asker, reply, now);
    }

    /// All have been looked at.
    pub(in crate::proxy) fn listed(&mut self, asker: Asker, reply: Vec<u8>, now: Time) {
        let Asker { worker, part } = asker;
        if worker == self.worker {
            return self.fulfil(part, &reply, now);
        }
        let answer = WorkerMessage::Answered { part, reply };
        self.actions.send_to_worker(worker, answer);
    }
}
