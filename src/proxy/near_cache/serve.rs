//! A request meets the cache: a read that is there is answered, one whose key is hot goes by the tracking connection,
//! and all others are noted, since they reach their keys past the cache.

use crate::clock::Time;
use crate::cluster::slot::Slot;
use crate::command::{self, Cacheable, Class, Flags, KeysError, Runs};
use crate::proxy::client::Client;
use crate::proxy::client::step::Step;
use crate::proxy::ids::{ClientId, NodeKey, PartId, Seq};
use crate::proxy::near_cache::state::accesses::{Access, Lasts, Slots, Wide};
use crate::proxy::near_cache::state::flight::{Flight, NearStep, Progress, Waiter};
use crate::proxy::near_cache::state::store::Question;
use crate::proxy::near_cache::state::{Look, NearCache};
use crate::proxy::pipeline::{At, Completed, Pipeline};
use crate::proxy::planted_bugs;
use crate::proxy::request::{MOVED_FRAME, Request};
use crate::proxy::state::Proxy;
use crate::resp::encode;

/// A read that takes off beside more requests than these is nobody's but its own.
const BESIDE_MAX: usize = 8;

/// Keys of one request that are noted one by one; one of more reaches all of its slot.
pub(super) const KEYS_MAX: usize = 1024;

/// The argument that is the key of what may be cached.
const KEY: usize = 1;

/// A read, as the cache knows it.
#[derive(Clone, Copy)]
pub(super) struct Read<'a> {
    pub(super) hash: u64,
    pub(super) key: &'a [u8],
    pub(super) slot: Slot,
    pub(super) question: Question<'a>,
    pub(super) master: NodeKey,
}

/// Whether a client may be served from the cache, by its own state.
pub(in crate::proxy) fn may_serve(client: &Client) -> bool {
    let session = &client.session;
    !session.is_cache_off
        && session.database() == 0
        && !session.queueing
        && session.read_preference().is_none()
        // A node has to know what such a client has read.
        && session.tracking().is_none()
        // Nodes decide what such a client may read.
        && session.account().is_none()
        && client.lease.is_none()
        && client.execution.is_none()
        && client.streamed.is_none()
        && client.cut.is_none()
}

/// Whether nothing of a client is under way, at nodes or here.
fn is_idle(client: &Client) -> bool {
    client.pipeline.is_empty()
        && !client.session.queueing
        && client.lease.is_none()
        && client.execution.is_none()
        && client.streamed.is_none()
        && client.cut.is_none()
}

/// Whether an access is not over, by the state of its client.
pub(in crate::proxy) fn lasts_for(client: &Client, seq: Seq, lasts: Lasts) -> bool {
    match lasts {
        Lasts::Request | Lasts::Flight(_) => client.pipeline.is_open(seq),
        Lasts::Work => !is_idle(client),
    }
}

impl Proxy {
    fn lasts(&self, access: &Access) -> bool {
        let client = self.clients.get(access.client);
        client.is_some_and(|client| lasts_for(client, access.seq, access.lasts))
    }

    fn wide_lasts(&self, wide: &Wide) -> bool {
        let client = self.clients.get(wide.client);
        client.is_some_and(|client| lasts_for(client, wide.seq, wide.lasts))
    }

    /// Forgets accesses that are over.
    pub(in crate::proxy) fn prune_accesses(&mut self) {
        if let Some(mut near) = self.near.take() {
            let lasts = |access: &Access| self.lasts(access);
            let wide_lasts = |wide: &Wide| self.wide_lasts(wide);
            near.accesses.prune(lasts, wide_lasts);
            self.near = Some(near);
        }
    }

    /// A request is about to be queued or executed: unless it may be served from the cache, it reaches its keys past
    /// it.
    #[inline(never)]
    pub(in crate::proxy) fn note_request(&mut self, request: &Request<'_>) {
        let client = self.clients.get(request.client);
        let served = self.is_in_parts(request).is_some() || is_cacheable(request);
        if client.is_some_and(|client| !may_serve(client)) || !served {
            self.note_access(request);
        }
    }

    /// A request reaches its keys past the cache.
    fn note_access(&mut self, request: &Request<'_>) {
        let client = self.clients.get(request.client);
        let queued = client.is_some_and(|client| client.session.queueing);
        // It is noted when it takes its place (`note_cut`), or when it is known that it is not cut.
        if queued || !self.may_be_cut(request) {
            self.note_keys(request);
        }
    }

    /// Notes the keys of a request that is not cut.
    pub(in crate::proxy) fn note_keys(&mut self, request: &Request<'_>) {
        let &Request { command, args, .. } = request;
        let (Some(client), Some(near)) =
            (self.clients.get(request.client), self.near.as_deref_mut())
        else {
            return;
        };
        let (id, seq) = (request.client, client.pipeline.tail());
        let wide = |slots, lasts| Wide {
            slots,
            client: id,
            seq,
            lasts,
        };
        let writes = command.flags.contains(Flags::WRITE);
        // A handler may have it executed on other keys than its own.
        if writes && self.handlers.get(command.id).is_some() {
            return near.access_wide(wide(Slots::All, Lasts::Work));
        }
        let leased = matches!(command.class, Class::Leased(_)) || command.blocks(args);
        let is_split = matches!(command.class, Class::Split(_)) && !client.session.queueing;
        let lasts = if leased || !may_serve(client) {
            Lasts::Work
        } else {
            Lasts::Request
        };
        let mut keys = std::mem::take(&mut self.scratch.near_keys);
        keys.clear();
        let found = command::keys(command, args, &mut keys);
        match (found, keys.first()) {
            (Ok(()), Some(first)) if command.runs != Runs::Nothing => {
                let slot = Slot::of(args.at(*first as usize));
                near.access_wide(wide(Slots::One(slot.number()), Lasts::Work));
            }
            // What is not split has all its keys in one slot, or is refused.
            (Ok(()), Some(first)) if keys.len() > KEYS_MAX && !is_split => {
                let slot = Slot::of(args.at(*first as usize));
                near.access_wide(wide(Slots::One(slot.number()), lasts));
            }
            (Ok(()), Some(_)) => {
                for at in &keys {
                    let hash = near.hash(args.at(*at as usize));
                    near.access(hash, id, seq, lasts);
                }
            }
            (Ok(()), None) if writes || command.runs != Runs::Nothing => {
                near.access_wide(wide(Slots::All, Lasts::Work));
            }
            (Err(KeysError::Unknown), _) => near.access_wide(wide(Slots::All, Lasts::Work)),
            (Ok(()), None) | (Err(_), _) => {}
        }
        self.scratch.near_keys = keys;
    }

    /// A request of very many keys has its place, and reaches all keys of these slots past the cache.
    #[cold]
    pub(in crate::proxy) fn note_cut(
        &mut self,
        client: ClientId,
        seq: Seq,
        slots: impl Iterator<Item = u16>,
    ) {
        if let Some(near) = self.near.as_deref_mut() {
            near.access_wide(Wide {
                slots: Slots::of(slots),
                client,
                seq,
                lasts: Lasts::Request,
            });
        }
    }

    /// A request that goes to its node as it comes reaches its key past the cache.
    pub(in crate::proxy) fn note_streamed(&mut self, id: ClientId, key: &[u8]) {
        if let (Some(client), Some(near)) = (self.clients.get(id), self.near.as_deref_mut()) {
            let hash = near.hash(key);
            near.access(hash, id, client.pipeline.tail(), Lasts::Work);
        }
    }

    /// Serves a read from the cache, or by the tracking connection. Nothing: it goes its usual way, and is noted.
    #[inline(never)]
    pub(in crate::proxy) fn serve_near(&mut self, request: &Request<'_>) -> Option<Step> {
        self.near.as_deref_mut()?.missed = false;
        let client = self.clients.get(request.client)?;
        if !may_serve(client) {
            return None;
        }
        let step = match self.is_in_parts(request) {
            Some(parts) => self.read_parts(request, parts),
            None if is_cacheable(request) => self.read_near(request),
            None => return None,
        };
        if step.is_none() {
            self.note_access(request);
        }
        step
    }

    /// A read as the cache knows it, if it is for a key that is cached and has a node.
    fn read_of<'r>(&self, request: &Request<'r>) -> Option<Read<'r>> {
        let key = request.args.at(KEY);
        let frame = request.args.frame();
        let end = key.as_ptr() as usize - frame.as_ptr() as usize + key.len();
        let question = Question {
            command: request.command.id,
            tail: frame.get(end..)?,
        };
        self.read_of_key(key, question)
    }

    /// The same, of any key.
    pub(super) fn read_of_key<'r>(
        &self,
        key: &'r [u8],
        question: Question<'r>,
    ) -> Option<Read<'r>> {
        let near = self.near.as_deref()?;
        if !near.is_for(key) {
            return None;
        }
        let slot = Slot::of(key);
        Some(Read {
            hash: near.hash(key),
            key,
            slot,
            question,
            master: self.upstream.routes.shard(slot)?.master,
        })
    }

    fn read_near(&mut self, request: &Request<'_>) -> Option<Step> {
        let read = self.read_of(request)?;
        self.near.as_deref_mut()?.missed = true;
        match self.own_access(request.client, &read) {
            None => {}
            // Again what it waits for already.
            Some(Lasts::Flight(at)) => {
                let same = self.joinable(&read) == Some(at);
                self.stats.near_misses.add(u64::from(same));
                return same.then(|| self.join(request, &read, at));
            }
            Some(Lasts::Request | Lasts::Work) => return None,
        }
        if let Some(step) = self.answer_from_near(request, &read)? {
            return Some(step);
        }
        if request.command.cacheable == Cacheable::Fields && self.servers_expire_fields() {
            return None;
        }
        let frame = request.args.frame();
        let at = self.flight_for(&read, request.command.id, frame, request.now)?;
        self.stats.near_misses.add(1);
        Some(self.join(request, &read, at))
    }

    /// The flight that a read may wait for: one that is under way, or one of its own.
    pub(super) fn flight_for(
        &mut self,
        read: &Read<'_>,
        command: u16,
        frame: &[u8],
        now: Time,
    ) -> Option<u32> {
        let joinable = self.joinable(read);
        joinable.or_else(|| self.take_off(read, command, frame, now))
    }

    /// The flight that a read may join, if there is such a one: since it took off nobody has been answered who may have
    /// seen more than it will.
    fn joinable(&self, read: &Read<'_>) -> Option<u32> {
        let near = self.near.as_deref()?;
        let at = near.joinable(read.hash, read.key, read.question)?;
        let flight = near.flights.get(at)?;
        let mut beside = flight.beside.iter();
        beside.all(|access| self.lasts(access)).then_some(at)
    }

    /// Answers a read from the cache. If it is not there: nothing within, if the key is worth a fill; else nothing.
    fn answer_from_near(&mut self, request: &Request<'_>, read: &Read<'_>) -> Option<Option<Step>> {
        let (id, command, now) = (request.client, request.command.id, request.now);
        let (slot, near) = (read.slot.number(), self.near.as_deref_mut()?);
        let client = self.clients.get_mut(id)?;
        let protocol = client.session.protocol;
        let of = (read.hash, read.key);
        let knows_more = near.unsettled.has_reader(read.hash, id);
        match near.look(
            of,
            read.question,
            (protocol, true),
            |_| Some(read.master),
            now,
        ) {
            Look::Hit(..) if knows_more => Some(None),
            Look::Hit(bytes, _) => {
                let pipeline = &mut client.pipeline;
                let seq = pipeline.push_single(command, slot, At::Here, now);
                self.stats.commands.add(1);
                self.stats.near_hits.add(1);
                let (output, pool) = (&mut client.output, &mut self.pool);
                let completed = pipeline.fulfil(seq, 0, bytes, output, pool, &mut self.spares);
                self.fulfilled_here(id, completed, now);
                Some(Some(Step::Done))
            }
            Look::Cold => None,
            Look::Wanted { stale } => {
                self.stats.near_stale.add(u64::from(stale));
                Some(None)
            }
        }
    }

    /// How the last request of a client that reaches the key lasts, if one is under way.
    pub(super) fn own_access(&self, id: ClientId, read: &Read<'_>) -> Option<Lasts> {
        let near = self.near.as_deref()?;
        let mut wide = near.accesses.wide_of(read.slot.number());
        if wide.any(|wide| wide.client == id && self.wide_lasts(wide)) {
            return Some(Lasts::Work);
        }
        let mut all = near.accesses.of(read.hash).rev();
        let last = all.find(|access| access.client == id && self.lasts(access));
        last.map(|access| access.lasts)
    }

    /// Whether hashes may lose fields at any time, which no server tells of.
    fn servers_expire_fields(&self) -> bool {
        let row = self.table.named(b"hpexpire");
        match (&self.servers.known, row) {
            (Some(known), Some(row)) => known.contains(row.id),
            (Some(_), None) => false,
            (None, _) => true,
        }
    }

    /// A read waits for the reply to another that is the same.
    fn join(&mut self, request: &Request<'_>, read: &Read<'_>, at: u32) -> Step {
        let Some(near) = self.near.as_deref() else {
            return Step::Close;
        };
        let Some(flight) = near.flights.get(at) else {
            return Step::Close;
        };
        let backend = flight.backend;
        let seq = self.take_place(request, read.slot.number(), At::Backend(backend));
        let Some(client) = self.clients.get(request.client) else {
            return Step::Close;
        };
        let waiter = Waiter {
            part: PartId::new(request.client, seq, 0),
            protocol: client.session.protocol,
            listed: None,
        };
        self.wait_for_flight(waiter, read.hash, at);
        Step::Done
    }

    /// A request or a part of one, which has its place, waits for a flight.
    pub(super) fn wait_for_flight(&mut self, waiter: Waiter, hash: u64, at: u32) {
        let PartId {
            client: id, seq, ..
        } = waiter.part;
        let (Some(client), Some(near)) = (self.clients.get_mut(id), self.near.as_deref_mut())
        else {
            return;
        };
        // What it asks for next may go to other connections.
        client.unsettle();
        near.accesses.add(hash, id, seq, Lasts::Flight(at));
        if let Some(flight) = near.flights.get_mut(at) {
            flight.waiters.push(waiter);
        }
    }

    /// A read is sent by the tracking connection, to be kept unless others reach the key meanwhile.
    fn take_off(&mut self, read: &Read<'_>, command: u16, frame: &[u8], now: Time) -> Option<u32> {
        let near = self.near.as_deref()?;
        if !near.may_ask(frame, now) || frame.len() >= MOVED_FRAME {
            return None;
        }
        let backend = self.tracking_connection(read.master, now)?;
        if self.is_over_mark(backend) {
            return None;
        }
        let near = self.near.as_deref()?;
        let stamp = near.stamp(read.master, read.slot.number())?;
        let (mut beside, mut alone) = self.beside(near, read);
        if planted_bugs::is_on("own-write-not-dropped") {
            (beside, alone) = (Vec::new(), false);
        }
        let fills = beside.is_empty() && !alone;
        let flight = Flight {
            backend,
            stamp,
            sent_at: now,
            running_at: near.running(now),
            hash: read.hash,
            key: read.key.into(),
            slot: read.slot.number(),
            command,
            frame: frame.into(),
            tail_len: read.question.tail.len(),
            waiters: Vec::new(),
            shared: 0,
            fills,
            alone,
            beside,
            spoiled: false,
            progress: Progress::Sent,
            ends_at: None,
        };
        let near = self.near.as_deref_mut()?;
        let at = near.flights.insert(flight);
        self.send_near(backend, NearStep::Read(at), frame, now);
        if fills {
            let mut question = Vec::new();
            encode::command(&mut question, [&b"PTTL"[..], read.key]);
            self.send_near(backend, NearStep::Ttl(at), &question, now);
        }
        Some(at)
    }

    /// The requests under way that reach the key past the cache; and whether there is more of that than a list of them
    /// can say. (Of the reads that wait on the tracking connection itself none is newer than one that is sent there now.)
    fn beside(&self, near: &NearCache, read: &Read<'_>) -> (Vec<Access>, bool) {
        let past = |access: &&Access| !matches!(access.lasts, Lasts::Flight(_));
        let all = near.accesses.of(read.hash).filter(past);
        let open = all.filter(|access| self.lasts(access)).take(BESIDE_MAX + 1);
        let mut beside: Vec<Access> = open.copied().collect();
        let mut wide = near.accesses.wide_of(read.slot.number());
        let alone = beside.len() > BESIDE_MAX || wide.any(|wide| self.wide_lasts(wide));
        beside.truncate(BESIDE_MAX);
        (beside, alone)
    }

    /// A request was answered here.
    pub(super) fn fulfilled_here(&mut self, id: ClientId, completed: Option<Completed>, now: Time) {
        if let Some(completed) = completed {
            let calls = &self.stats.calls;
            let (command, started) = (completed.command, completed.started);
            self.turn_latencies.add(command, started, 1, calls, now);
            self.queue_flush(id);
        }
    }
}

/// Whether the command of a request may be served from the cache. (What takes several keys may if it has one.)
fn is_cacheable(request: &Request<'_>) -> bool {
    let command = request.command;
    command.cacheable != Cacheable::No
        && (command.class == Class::Routed || request.args.len() == KEY + 1)
}

impl NearCache {
    /// Whether a client that may be served is served this key: nothing of it is under way that reaches the key, and it has
    /// not seen more than what is kept. For the short way, which looks at no other client.
    #[inline]
    pub(in crate::proxy) fn is_clear(&self, hash: u64, id: ClientId, own: &Pipeline) -> bool {
        if self.unsettled.has_reader(hash, id) {
            return false;
        }
        if own.is_empty() {
            return true;
        }
        let own = |access: &Access| access.client == id && own.is_open(access.seq);
        self.accesses.wide.is_empty() && !self.accesses.of(hash).any(own)
    }
}
