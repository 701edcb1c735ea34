//! MGET and EXISTS of several keys: cut by slot as without a cache, but the parts that are kept are answered at once,
//! those of one hot key wait for a flight, and the others go their usual way.
//!
//! All keys of one slot are answered from the cache, or none of them is. A node answers them as of one moment, and so
//! does the cache: what came by one connection came in the order in which the node executed it.

use crate::command::{self, Cacheable, Class, Flags, ResponsePolicy};
use crate::proxy::client::step::Step;
use crate::proxy::ids::{NO_SLOT, PartId, Seq};
use crate::proxy::near_cache::state::Look;
use crate::proxy::near_cache::state::accesses::Lasts;
use crate::proxy::near_cache::state::flight::Waiter;
use crate::proxy::near_cache::state::hand::{Hand, Looked, Way};
use crate::proxy::near_cache::state::store::Question;
use crate::proxy::pipeline::At;
use crate::proxy::pipeline::by_slot::{SlotPart, merge_of, push_part, sort_by_slot};
use crate::proxy::pipeline::split::Split;
use crate::proxy::request::Request;
use crate::proxy::state::Proxy;
use crate::resp::encode;
use crate::resp::reply::Reply;

/// Bytes of one request that are answered from the cache at most.
const BYTES_MAX: usize = 1 << 20;
/// What stands behind the key of a read of one key.
const TAIL: &[u8] = b"\r\n";

/// How the parts of a request are read.
#[derive(Clone, Copy)]
pub(super) struct Parts {
    /// The row of the command that reads one key.
    single: u16,
    /// What becomes of the replies.
    policy: ResponsePolicy,
}

/// A request that is cut: its keys, and its parts.
struct Cut {
    hand: Hand,
    by_slot: Vec<(u16, u32)>,
    frames: Vec<u8>,
    parts: Vec<SlotPart>,
}

impl Proxy {
    /// Whether a request is one of several keys that may be served part by part, and how.
    pub(super) fn is_in_parts(&self, request: &Request<'_>) -> Option<Parts> {
        let &Request { command, args, .. } = request;
        let (Cacheable::Parts(single), Class::Split(policy)) = (command.cacheable, command.class)
        else {
            return None;
        };
        let few = (3..=self.config.limits.split_keys).contains(&args.len());
        let single = self.table.named(single.as_bytes()).filter(|_| few)?.id;
        Some(Parts { single, policy })
    }

    /// Serves a request part by part. Nothing: it goes its usual way.
    pub(super) fn read_parts(&mut self, request: &Request<'_>, parts: Parts) -> Option<Step> {
        if !self.upstream.routes.is_known() {
            return None;
        }
        let scratch = &mut self.scratch;
        let mut cut = Cut {
            hand: std::mem::take(&mut scratch.near_parts),
            by_slot: std::mem::take(&mut scratch.by_slot),
            frames: std::mem::take(&mut scratch.frames),
            parts: std::mem::take(&mut scratch.parts),
        };
        let step = self.read_cut(request, parts, &mut cut);
        let scratch = &mut self.scratch;
        (scratch.near_parts, scratch.by_slot) = (cut.hand, cut.by_slot);
        (scratch.frames, scratch.parts) = (cut.frames, cut.parts);
        step
    }

    fn read_cut(&mut self, request: &Request<'_>, parts: Parts, cut: &mut Cut) -> Option<Step> {
        let keys = &mut cut.hand.keys;
        keys.clear();
        command::keys(request.command, request.args, keys).ok()?;
        if self.look_for_all(request, parts, &mut cut.hand) {
            return Some(self.answer_all(request, parts, cut));
        }
        sort_by_slot(&cut.hand.keys, request.args, &mut cut.by_slot);
        cut.by_slot_and_way(request);
        if cut.hand.ways.iter().all(|way| *way == Way::Kept) {
            return Some(self.answer_all(request, parts, cut));
        }
        let all_past = cut.hand.ways.iter().all(|way| *way == Way::Past);
        if all_past && !cut.any_wanted() {
            return None;
        }
        self.find_backends(request, &mut cut.parts);
        let ways = cut.hand.ways.iter().zip(&cut.parts);
        for (_, part) in ways.filter(|(way, _)| **way == Way::Past) {
            if let Some(full) = self.full_backend_of(request.client, part, request.now) {
                return Some(self.wait_for(request.client, full));
            }
        }
        self.choose_flights(request, parts, cut);
        Some(self.send_parts(request, parts, cut))
    }

    /// Looks for each key. Returns whether all were found, and may be put beside each other.
    fn look_for_all(&mut self, request: &Request<'_>, parts: Parts, hand: &mut Hand) -> bool {
        hand.looked.clear();
        hand.found.clear();
        let mut all = true;
        for at in &hand.keys {
            let key = request.args.at(*at as usize);
            let looked = self.look_for_one(request, parts, key, &mut hand.found);
            all &= looked.found.is_some() && !looked.unsettled;
            hand.looked.push(looked);
        }
        all
    }

    fn look_for_one(
        &mut self,
        request: &Request<'_>,
        parts: Parts,
        key: &[u8],
        out: &mut Vec<u8>,
    ) -> Looked {
        let nothing = Looked::default();
        let read = self.read_of_key(key, parts.question());
        // What waits for a flight already joins it by its own request only.
        let read = read.filter(|read| self.own_access(request.client, read).is_none());
        let (Some(read), Some(client), Some(near)) = (
            read,
            self.clients.get(request.client),
            self.near.as_deref_mut(),
        ) else {
            return nothing;
        };
        let protocol = client.session.protocol;
        let of = (read.hash, read.key);
        let master = |_| Some(read.master);
        let unsettled = near.unsettled.has_key(read.hash);
        let knows_more = near.unsettled.has_reader(read.hash, request.client);
        match near.look(of, read.question, (protocol, true), master, request.now) {
            Look::Hit(..) if knows_more => Looked {
                wanted: true,
                ..nothing
            },
            Look::Hit(bytes, _) if out.len() + bytes.len() <= BYTES_MAX => {
                let start = out.len();
                out.extend_from_slice(bytes);
                Looked {
                    found: Some((start, out.len())),
                    unsettled,
                    ..nothing
                }
            }
            Look::Hit(..) | Look::Cold => nothing,
            Look::Wanted { stale } => {
                self.stats.near_stale.add(u64::from(stale));
                Looked {
                    wanted: true,
                    ..nothing
                }
            }
        }
    }

    /// Answers a request whose keys were all found.
    fn answer_all(&mut self, request: &Request<'_>, parts: Parts, cut: &Cut) -> Step {
        let (id, command, now) = (request.client, request.command.id, request.now);
        let mut reply = std::mem::take(&mut self.scratch.reply);
        reply.clear();
        parts.write(cut, 0..cut.hand.keys.len(), &mut reply);
        if let Some(client) = self.clients.get_mut(id) {
            let pipeline = &mut client.pipeline;
            let seq = pipeline.push_single(command, NO_SLOT, At::Here, now);
            self.stats.commands.add(1);
            self.stats.near_hits.add(cut.hand.keys.len() as u64);
            let (output, pool) = (&mut client.output, &mut self.pool);
            let completed = pipeline.fulfil(seq, 0, &reply, output, pool, &mut self.spares);
            self.fulfilled_here(id, completed, now);
        }
        self.scratch.reply = reply;
        Step::Done
    }

    /// Flights for the parts of one hot key.
    fn choose_flights(&mut self, request: &Request<'_>, parts: Parts, cut: &mut Cut) {
        let Some(single) = self.table.rows().get(usize::from(parts.single)) else {
            return;
        };
        let name = single.name.clone();
        let mut frame = Vec::new();
        let hand = &mut cut.hand;
        let groups = cut.by_slot.chunk_by(|a, b| a.0 == b.0);
        for (group, way) in groups.zip(&mut hand.ways) {
            let [(_, key)] = group else { continue };
            if *way != Way::Past || !hand.looked[*key as usize].wanted {
                continue;
            }
            let key = request.args.at(hand.keys[*key as usize] as usize);
            let Some(read) = self.read_of_key(key, parts.question()) else {
                continue;
            };
            frame.clear();
            encode::command(&mut frame, [name.as_bytes(), key]);
            if let Some(at) = self.flight_for(&read, parts.single, &frame, request.now) {
                *way = Way::Flight(at);
            }
        }
    }

    /// Takes the place of a request, answers what is kept, and sends the rest.
    fn send_parts(&mut self, request: &Request<'_>, parts: Parts, cut: &Cut) -> Step {
        let command = request.command;
        let Some(client) = self.clients.get_mut(request.client) else {
            return Step::Close;
        };
        let write = command.flags.contains(Flags::WRITE);
        let mut split = Split::with_capacity(merge_of(parts.policy), write, cut.parts.len());
        for (part, way) in cut.parts.iter().zip(&cut.hand.ways) {
            let near = self.near.as_deref();
            let at = match way {
                Way::Kept => At::Here,
                Way::Flight(at) => {
                    let flight = near.and_then(|near| near.flights.get(*at));
                    flight.map_or(At::Here, |flight| At::Backend(flight.backend))
                }
                Way::Past => part.at(),
            };
            split.add_at(part.slot, at);
        }
        if parts.lists() {
            let mut order = vec![0; cut.hand.keys.len()];
            let groups = cut.by_slot.chunk_by(|a, b| a.0 == b.0);
            for (group, part) in groups.zip(0..) {
                for (_, key) in group {
                    order[*key as usize] = part;
                }
            }
            split.set_order(order);
        }
        let pipeline = &mut client.pipeline;
        let seq = pipeline.push_split(command.id, Box::new(split), request.now);
        self.count_cut(command, cut.parts.len());
        let mut first = 0;
        for (index, part) in (0u16..).zip(&cut.parts) {
            let next = cut.by_slot[first..].partition_point(|(slot, _)| *slot == part.slot);
            let group = first..first + next;
            first = group.end;
            match cut.hand.ways[usize::from(index)] {
                Way::Kept => self.answer_part(request, parts, (seq, index), cut, group),
                Way::Flight(at) => {
                    let protocol = self.clients.get(request.client);
                    let Some(protocol) = protocol.map(|client| client.session.protocol) else {
                        return Step::Close;
                    };
                    let key = request.args.at(cut.key_of(group.start));
                    let hash = self.near.as_deref().map_or(0, |near| near.hash(key));
                    let waiter = Waiter {
                        part: PartId::new(request.client, seq, index),
                        protocol,
                        listed: parts.lists().then_some(command.id),
                    };
                    self.stats.near_misses.add(1);
                    self.wait_for_flight(waiter, hash, at);
                }
                Way::Past => {
                    self.stats.near_misses.add(group.len() as u64);
                    self.note_parts(request, seq, cut, group);
                    let own = (std::slice::from_ref(part), index);
                    self.send_slot_parts(request, seq, own, &cut.frames);
                }
            }
        }
        Step::Done
    }

    /// Answers one part from what was found.
    fn answer_part(
        &mut self,
        request: &Request<'_>,
        parts: Parts,
        (seq, index): (Seq, u16),
        cut: &Cut,
        group: std::ops::Range<usize>,
    ) {
        let mut reply = std::mem::take(&mut self.scratch.reply);
        reply.clear();
        self.stats.near_hits.add(group.len() as u64);
        parts.write(cut, group, &mut reply);
        let part = PartId::new(request.client, seq, index);
        self.fulfil(part, &reply, request.now);
        self.scratch.reply = reply;
    }

    /// The keys of a part are reached past the cache.
    fn note_parts(
        &mut self,
        request: &Request<'_>,
        seq: Seq,
        cut: &Cut,
        group: std::ops::Range<usize>,
    ) {
        if let Some(near) = self.near.as_deref_mut() {
            for place in group {
                let hash = near.hash(request.args.at(cut.key_of(place)));
                near.access(hash, request.client, seq, Lasts::Request);
            }
        }
    }
}

impl Parts {
    fn question(self) -> Question<'static> {
        Question {
            command: self.single,
            tail: TAIL,
        }
    }

    /// Whether the reply to a part is a list of values; else it is a number.
    fn lists(self) -> bool {
        self.policy == ResponsePolicy::Default
    }

    /// Writes the reply to these keys, all of which were found. They are numbered as they are sorted by slot; where they
    /// are not sorted, all of them are meant.
    fn write(self, cut: &Cut, group: std::ops::Range<usize>, reply: &mut Vec<u8>) {
        let all = group.len() == cut.hand.keys.len();
        let found = group.clone().filter_map(|place| {
            let key = if all {
                place
            } else {
                cut.by_slot[place].1 as usize
            };
            let (start, end) = cut.hand.looked[key].found?;
            cut.hand.found.get(start..end)
        });
        if self.lists() {
            encode::array(reply, group.len());
            found.for_each(|bytes| reply.extend_from_slice(bytes));
        } else {
            let numbers = found.filter_map(|bytes| Reply::new(bytes).integer());
            encode::integer(reply, numbers.sum());
        }
    }
}

impl Cut {
    /// Cuts a request by slot, and says of each part whether it is kept.
    fn by_slot_and_way(&mut self, request: &Request<'_>) {
        self.frames.clear();
        self.parts.clear();
        let hand = &mut self.hand;
        hand.ways.clear();
        for group in self.by_slot.chunk_by(|a, b| a.0 == b.0) {
            let start = self.frames.len();
            push_part(&hand.keys, request.args, group, &mut self.frames);
            let own = SlotPart::new(group[0].0, start..self.frames.len());
            self.parts.push(own);
            let mut looked = group.iter().map(|(_, key)| hand.looked[*key as usize]);
            let alone = group.len() == 1;
            hand.ways.push(
                match looked.all(|own| own.found.is_some() && (alone || !own.unsettled)) {
                    true => Way::Kept,
                    false => Way::Past,
                },
            );
        }
    }

    fn any_wanted(&self) -> bool {
        let mut groups = self.by_slot.chunk_by(|a, b| a.0 == b.0);
        let looked = &self.hand.looked;
        groups.any(|group| matches!(group, [(_, key)] if looked[*key as usize].wanted))
    }

    /// The argument that is the key at this place of those sorted by slot.
    fn key_of(&self, place: usize) -> usize {
        self.hand.keys[self.by_slot[place].1 as usize] as usize
    }
}
