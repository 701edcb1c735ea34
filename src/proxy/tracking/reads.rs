//! A reply has come on a connection that tracks: from now on the node pushes when one of its keys changes.

use crate::clock::Time;
use crate::command::{self, Command, Flags, KeysError};
use crate::proxy::ids::{BackendId, NO_SLOT, NodeKey, PartId, Seq};
use crate::proxy::request::request_limits;
use crate::proxy::state::Proxy;
use crate::proxy::tracking::state::doubts::Doubts;
use crate::proxy::tracking::state::invalidation::Invalidation;
use crate::proxy::tracking::state::table::{Forgotten, Reader, Table};
use crate::proxy::tracking::state::{Link, OwnWrite};
use crate::proxy::upstream::backend::{Origin, Ticket};
use crate::resp::args::Args;
use crate::resp::frame::RequestScanner;

/// Arguments of a request whose keys are remembered one by one.
pub(super) const ARGUMENTS_MAX: usize = 1024;

/// What is to be remembered of an answered request.
enum Keys {
    /// These.
    Known(Vec<Box<[u8]>>),
    /// Perhaps more than are looked at in one turn, all in one slot.
    Many,
    /// Some, and it is not known which.
    Unknown,
}

impl Proxy {
    /// A request on a connection that tracks is answered; its bytes are still there.
    #[cold]
    pub(in crate::proxy) fn note_answer(&mut self, id: BackendId, ticket: &Ticket, now: Time) {
        let Some(backend) = self.upstream.backends.get(id) else {
            return;
        };
        let (node, untracked) = (backend.node, backend.is_untracked);
        if let Some(link) = self.tracking.links.get_mut(&id) {
            link.own_write = None;
            link.doubts.settle(ticket.sent_at);
        }
        let Origin::Part(part) = ticket.origin else {
            return;
        };
        let Some(client) = self.clients.get(part.client) else {
            return;
        };
        let (Some(mode), true) = (client.session.tracking(), ticket.command != u16::MAX) else {
            return;
        };
        let command = self.table.row(ticket.command);
        let writes = command.flags.contains(Flags::WRITE);
        if !writes && !mode.tracks(part.seq) {
            return;
        }
        let request = backend.output.front(ticket.len as usize);
        // A client that hears of its own writes need not be told which were its.
        let many = ticket.slot != NO_SLOT && has_many(request);
        let keys = match writes && (!mode.noloop || many) {
            // Nor is one that writes so many keys at once.
            true => Keys::Known(Vec::new()),
            false if many => Keys::Many,
            false => self.keys_of(command, request),
        };
        if let Keys::Known(keys) = &keys {
            self.beside_requests += keys.len() as u64;
        }
        match keys {
            Keys::Known(keys) if writes => {
                let link = self.tracking_link(id, node);
                link.own_write = Some(OwnWrite {
                    by: part.client,
                    seq: part.seq,
                    keys,
                });
            }
            Keys::Known(keys) if untracked => {
                let told = Invalidation::Keys(keys);
                self.tell_client_twice(part.client, behind(part.seq), told, now);
            }
            Keys::Known(mut keys) => {
                self.remember(id, node, part, ticket.slot, &keys);
                let link = self.tracking.links.get(&id);
                keys.retain(|key| link.is_some_and(|link| link.doubts.has(key)));
                if !keys.is_empty() {
                    self.tell_client(part.client, behind(part.seq), Invalidation::Keys(keys));
                }
            }
            Keys::Many if untracked => {
                self.tell_client_twice(part.client, behind(part.seq), Invalidation::All, now);
            }
            Keys::Many => self.remember_many(id, node, part, ticket.slot),
            Keys::Unknown if writes => {}
            Keys::Unknown => {
                self.tell_client_twice(part.client, behind(part.seq), Invalidation::All, now);
            }
        }
    }

    /// The keys of a request, as its node has them.
    fn keys_of(&self, command: &Command, request: &[u8]) -> Keys {
        let (mut spans, mut keys) = (Vec::new(), Vec::new());
        let limits = request_limits(&self.config.limits, true);
        if RequestScanner::default()
            .next(request, &limits, &mut spans)
            .is_err()
        {
            debug_assert!(false, "a request that cannot be read");
            return Keys::Unknown;
        }
        let args = Args::new(request, &spans);
        match command::keys(command, &args, &mut keys) {
            Ok(()) => {
                let keys = keys.iter().map(|index| args.at(*index as usize).into());
                Keys::Known(keys.collect())
            }
            // The node has found the same fault.
            Err(KeysError::Invalid | KeysError::Unbalanced) => Keys::Known(Vec::new()),
            Err(KeysError::Unknown) => Keys::Unknown,
        }
    }

    /// The keys of a connection that tracks.
    fn tracking_link(&mut self, id: BackendId, node: NodeKey) -> &mut Link {
        if self.tracking.is_empty() {
            self.tracking.routes_version = self.upstream.routes.version();
        }
        let redirect = self.upstream.backends.get(id).and_then(|own| own.redirect);
        self.tracking.links.entry(id).or_insert_with(|| Link {
            node,
            table: Table::default(),
            sink: redirect.map(|(sink, _)| sink),
            doubts: Doubts::default(),
            own_write: None,
        })
    }

    /// A client has read these keys, which lie in one slot.
    fn remember(
        &mut self,
        id: BackendId,
        node: NodeKey,
        part: PartId,
        slot: u16,
        keys: &[Box<[u8]>],
    ) {
        if keys.is_empty() {
            return;
        }
        self.note_in_table(id, node, part, |table, reader| {
            keys.iter().for_each(|key| table.note(slot, key, reader));
        });
    }

    /// A client has read many keys of a slot. They are not looked at one by one.
    fn remember_many(&mut self, id: BackendId, node: NodeKey, part: PartId, slot: u16) {
        self.note_in_table(id, node, part, |table, reader| {
            table.note_many(slot, reader);
        });
        let link = self.tracking.links.get(&id);
        let doubted = link.and_then(|link| link.doubts.of_slot(slot));
        let told = match doubted {
            None => Invalidation::All,
            Some(keys) if keys.is_empty() => return,
            Some(keys) => Invalidation::Keys(keys),
        };
        self.tell_client(part.client, behind(part.seq), told);
    }

    fn note_in_table(
        &mut self,
        id: BackendId,
        node: NodeKey,
        part: PartId,
        note: impl FnOnce(&mut Table, Reader),
    ) {
        let client = self.clients.get_mut(part.client);
        if let Some(mode) = client.and_then(|client| client.session.tracking_mut()) {
            mode.forgot_all = false;
        }
        let reader = Reader {
            client: part.client,
            seq: part.seq,
        };
        let table = &mut self.tracking_link(id, node).table;
        let before = table.len();
        note(table, reader);
        let more = table.len() - before;
        self.stats.tracking_keys.add(more as u64);
        if self.stats.tracking_keys.get() > self.config.limits.tracking_keys as u64 {
            self.forget_some_keys(more);
        }
    }

    /// There are more keys than may be remembered: some are forgotten, and their readers told.
    #[cold]
    fn forget_some_keys(&mut self, added: usize) {
        let most = self.config.limits.tracking_keys;
        // Where the limit has become lower, it is reached over many requests.
        for _ in 0..added + 1 {
            if self.tracking.keys() <= most {
                break;
            }
            let random = self.random();
            let largest = self.tracking.largest();
            let Some(forgotten) = largest.and_then(|link| link.table.take_any(random)) else {
                break;
            };
            self.stats.tracking_keys.sub(1);
            self.stats.tracking_evictions.add(1);
            match forgotten {
                Forgotten::Key(key, readers) => self.tell_readers(&key, &readers, None),
                Forgotten::Many(readers) => {
                    for reader in readers {
                        self.tell_client(reader.client, behind(reader.seq), Invalidation::All);
                    }
                }
            }
        }
    }
}

/// What stands behind the reply to this place.
pub(super) fn behind(seq: Seq) -> Seq {
    Seq(seq.0.wrapping_add(1))
}

/// Whether a request has more arguments than are looked at one by one. (It is written as the proxy writes requests.)
fn has_many(request: &[u8]) -> bool {
    let digits = request
        .iter()
        .skip(1)
        .take_while(|byte| byte.is_ascii_digit());
    let count = digits.fold(0usize, |count, digit| {
        count
            .saturating_mul(10)
            .saturating_add(usize::from(digit - b'0'))
    });
    count > ARGUMENTS_MAX
}
