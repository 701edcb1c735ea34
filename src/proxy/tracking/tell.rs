//! What a client is told of keys that have changed. It goes to the client's output as soon as every reply has gone there
//! that it has to come behind; replies to clients that are told anything never pass in pieces (see `path::large_reply`).

use crate::clock::Time;
use crate::command::{self, Class, Flags, KeysError, LeaseKind};
use crate::proxy::client::Client;
use crate::proxy::ids::{ClientId, Seq};
use crate::proxy::request::Request;
use crate::proxy::state::Proxy;
use crate::proxy::tracking::reads::behind;
use crate::proxy::tracking::state::OwnWrite;
use crate::proxy::tracking::state::again::Twice;
use crate::proxy::tracking::state::invalidation::Invalidation;
use crate::proxy::tracking::state::mode::Mode;
use crate::proxy::tracking::state::table::Reader;
use crate::resp::encode::Protocol;
use crate::sort;

impl Proxy {
    /// A key has changed, or is forgotten: those who have read it are told. `own` is the write that has just been
    /// answered, if the push came right behind it.
    pub(super) fn tell_readers(&mut self, key: &[u8], readers: &[Reader], own: Option<&OwnWrite>) {
        for reader in readers {
            let mut seq = reader.seq;
            if let Some(own) = own {
                if self.is_own_loop(reader.client, own, key) {
                    continue;
                }
                if own.by == reader.client && seq.before(own.seq) {
                    seq = own.seq;
                }
            }
            self.tell_client(
                reader.client,
                behind(seq),
                Invalidation::Keys(vec![key.into()]),
            );
        }
    }

    /// Tells a client something, behind the replies to all requests before `until`. Keys are named as the nodes have them.
    pub(super) fn tell_client(&mut self, id: ClientId, until: Seq, told: Invalidation) {
        let client = self.clients.get(id);
        if let Some(told) = client.and_then(|client| client.in_own_words(told)) {
            self.tell_in_own_words(id, until, told);
        }
    }

    /// The same, with keys as the client names them.
    fn tell_in_own_words(&mut self, id: ClientId, until: Seq, told: Invalidation) {
        let client = self.clients.get_mut(id);
        let Some(client) = client.filter(|client| client.session.tracking().is_some()) else {
            return;
        };
        let late = client.late.get_or_insert_default();
        late.add(until, told);
        if client.flush_queued {
            return;
        }
        if self.tracking.told < self.config.limits.turn_subscribers {
            self.tracking.told += 1;
            self.queue_flush(id);
        } else if !std::mem::replace(&mut late.is_queued, true) {
            self.tracking.to_tell.push_back(id);
        }
    }

    /// A turn has begun: of what is left of the last one its share is done.
    #[cold]
    pub(in crate::proxy) fn tell_on(&mut self) {
        let most = self.config.limits.turn_subscribers;
        while self.tracking.told < most
            && let Some(id) = self.tracking.to_tell.pop_front()
        {
            self.tracking.told += 1;
            let client = self.clients.get_mut(id);
            if let Some(late) = client.and_then(|client| client.late.as_mut()) {
                late.is_queued = false;
            }
            self.queue_flush(id);
        }
        self.tracking.free_some();
    }

    /// The same, of what nobody tracks: the client is told it once more, since nothing else will be said of it.
    pub(super) fn tell_client_twice(
        &mut self,
        id: ClientId,
        until: Seq,
        told: Invalidation,
        now: Time,
    ) {
        let client = self.clients.get(id);
        let Some(told) = client.and_then(|client| client.in_own_words(told)) else {
            return;
        };
        self.tell_twice(id, until, told, now);
    }

    /// What nobody tracks, with keys as the client names them.
    fn tell_twice(&mut self, client: ClientId, until: Seq, told: Invalidation, now: Time) {
        let twice = Twice {
            client,
            until,
            told,
        };
        self.tell_now(&twice);
        if let Some(early) = self.tracking.again.add(twice, now) {
            self.tell_now(&early);
        }
    }

    fn tell_now(&mut self, twice: &Twice) {
        self.tell_in_own_words(twice.client, twice.until, twice.told.clone());
    }

    /// Time passes: what clients were told behind a reply they are told again, unless they have not had that reply yet.
    #[cold]
    pub(in crate::proxy) fn tell_again(&mut self, now: Time) {
        while let Some(twice) = self.tracking.again.take(now) {
            let client = self.clients.get(twice.client);
            let waits = client.is_some_and(|own| own.pipeline.head().before(twice.until));
            let early = match waits {
                true => self.tracking.again.add(twice, now),
                false => Some(twice),
            };
            if let Some(twice) = early {
                self.tell_now(&twice);
            }
        }
    }

    /// A client is about to be written to: what it may be told by now goes behind its replies.
    #[cold]
    #[inline(never)]
    pub(in crate::proxy) fn tell_late(&mut self, id: ClientId) {
        let Some(client) = self.clients.get_mut(id) else {
            return;
        };
        let head = client.pipeline.head();
        let Some(late) = &mut client.late else {
            return;
        };
        let (mut frame, mut elsewhere) = (Vec::new(), Vec::new());
        while let Some(told) = late.take(head) {
            let mode = client.session.tracking();
            if let Some(target) = mode.and_then(|mode| mode.redirect) {
                elsewhere.push((target, told));
                continue;
            }
            // A RESP2 client cannot be told on the connection of its replies, as in Redis.
            if client.session.protocol == Protocol::Resp3 && client.closing.is_none() {
                told.push(&mut frame);
                self.stats.tracking_pushes.add(1);
            }
        }
        while let Some(told) = late.take_for_another(head) {
            match client.session.protocol {
                Protocol::Resp3 => told.push(&mut frame),
                Protocol::Resp2 if client.session.subscriptions().is_some() => {
                    told.message(&mut frame);
                }
                Protocol::Resp2 => continue,
            }
            self.stats.tracking_pushes.add(1);
        }
        client.output.push(&frame, &mut self.pool);
        for (target, told) in elsewhere {
            self.tell_target(id, target, told);
        }
    }

    /// A client's connections of its own go back: what it did there was not tracked.
    pub(in crate::proxy) fn tell_apart(&mut self, id: ClientId, now: Time) {
        let Some(client) = self.clients.get_mut(id) else {
            return;
        };
        let until = client.pipeline.tail();
        let Some(mode) = client.session.tracking_mut() else {
            return;
        };
        let mut keys = std::mem::take(&mut mode.apart);
        sort::all(&mut keys);
        keys.dedup();
        let told = match std::mem::take(&mut mode.apart_overflow) {
            true => Invalidation::All,
            false if keys.is_empty() => return,
            false => Invalidation::Keys(keys),
        };
        self.tell_twice(id, until, told, now);
    }

    /// A client has said `CLIENT CACHING`, about its next request.
    pub(in crate::proxy) fn choose_next(&mut self, id: ClientId) {
        let Some(client) = self.clients.get_mut(id) else {
            return;
        };
        let (next, head) = (client.pipeline.tail(), client.pipeline.head());
        if let Some(mode) = client.session.tracking_mut() {
            mode.choose(next, head);
        }
    }

    /// Looks at a request of a client that tracks: whether it travels on a connection of the client's own. Its keys are
    /// remembered as the client names them.
    #[cold]
    #[inline(never)]
    pub(in crate::proxy) fn look_for_apart(&mut self, request: &Request<'_>) {
        let &Request {
            client: id,
            command,
            args,
            ..
        } = request;
        let Some(client) = self.clients.get_mut(id) else {
            return;
        };
        let apart = client.session.queueing
            || command.class == Class::Leased(LeaseKind::Blocking)
            || (command.block_token.is_some() && command.blocks(args));
        let Some(mode) = client.session.tracking_mut() else {
            return;
        };
        if !apart || mode.is_broadcast() || (mode.noloop && command.flags.contains(Flags::WRITE)) {
            return;
        }
        let mut keys = Vec::new();
        match command::keys(command, args, &mut keys) {
            Ok(()) => {
                let keys = keys.iter();
                keys.for_each(|index| mode.note_apart(args.at(*index as usize)));
            }
            Err(KeysError::Unknown) => mode.apart_overflow = true,
            Err(KeysError::Invalid | KeysError::Unbalanced) => {}
        }
    }

    /// A client tracks from now on, or otherwise than before, or no more.
    pub(in crate::proxy) fn set_tracking(&mut self, id: ClientId, mode: Option<Box<Mode>>) {
        let Some(client) = self.clients.get_mut(id) else {
            return;
        };
        let before = client.session.tracking().is_some();
        match (before, mode.is_some()) {
            (false, true) => {
                self.tracking.clients += 1;
                self.stats.tracking_clients.add(1);
            }
            (true, false) => {
                self.tracking.clients -= 1;
                self.stats.tracking_clients.sub(1);
            }
            (false, false) | (true, true) => {}
        }
        if mode.is_none()
            && let Some(client) = self.clients.get(id)
        {
            let prefixes = client.prefixes_at_nodes();
            self.leave_feeds(id, &prefixes);
        }
        let Some(client) = self.clients.get_mut(id) else {
            return;
        };
        match mode.is_some() {
            true => {
                client.late.get_or_insert_default();
            }
            false => client.late = None,
        }
        client.session.set_tracking(mode);
    }
}

impl Client {
    /// What it is told, with keys as it names them; nothing if none of them is its.
    fn in_own_words(&self, told: Invalidation) -> Option<Invalidation> {
        let told = match (told, &self.session.namespace) {
            (Invalidation::Keys(keys), Some(own)) => {
                let keys = keys.iter().filter_map(|key| own.own(key).map(Box::from));
                Invalidation::Keys(keys.collect())
            }
            (told, _) => told,
        };
        let is_nothing = matches!(&told, Invalidation::Keys(keys) if keys.is_empty());
        (!is_nothing).then_some(told)
    }

    /// It tracks, and a request of it at this place was answered here; it spoke `protocol` before.
    pub(in crate::proxy) fn answered_to_tracker(&mut self, place: Seq, protocol: Protocol) {
        let next = self.pipeline.tail();
        let mut spoke_otherwise = self.session.protocol != protocol;
        if let Some(mode) = self.session.tracking_mut() {
            mode.pass_on(place, next);
            spoke_otherwise &= mode.redirect.is_none();
        }
        // What it has read in RESP2 was not tracked, or it was not told.
        if spoke_otherwise && self.session.protocol == Protocol::Resp3 {
            self.late
                .get_or_insert_default()
                .add(next, Invalidation::All);
        }
    }
}
