//! `Cut`: a request of many keys on its way to its parts, a share in each turn: it finds the slot of each key, puts the
//! keys in the order of their slots, and then sends part after part. What is done is kept with the client, of which
//! nothing else is taken meanwhile, and the request stays where it was read; so each key is looked at once in each
//! of these steps, and others have their turn between.
//!
//! A request of few keys is cut at once (`split`), to the same parts.

use crate::clock::Time;
use crate::cluster::slot::{SLOTS, Slot};
use crate::command::{self, Command, Flags, ResponsePolicy};
use crate::proxy::Proxy;
use crate::proxy::client::{ClientId, Pause};
use crate::proxy::insight::audit::Reason;
use crate::proxy::path::dispatch::Step;
use crate::proxy::path::split::{SlotPart, merge_of};
use crate::proxy::pipeline::merge::{Merge, Split};
use crate::proxy::pipeline::{At, Seq};
use crate::proxy::texts::refusal;
use crate::resp::args::Args;
use crate::resp::encode;

/// Keys that are looked at in a turn, for one that could be sent.
const LOOKED_AT: usize = 4;
/// Bytes of parts that are sent in a turn.
const SENT_BYTES: usize = 256 << 10;

/// How far a request is.
#[derive(Debug)]
pub struct Cut {
    /// The arguments that are keys.
    keys: Vec<u32>,
    /// Arguments from one key to the next.
    stride: usize,
    /// The slots of the keys that have been looked at.
    slots: Vec<u16>,
    /// For each slot how many keys it has; then where the next of them goes in `by_slot`.
    places: Vec<u32>,
    /// Of each key, slot by slot, where it lies in the frame with what belongs to it: from where to where. (The parts
    /// are made in this order, which is none in the frame: one look there for each key, and no other.)
    by_slot: Vec<(u32, u32)>,
    /// Of each part the slot, and where its keys end in `by_slot`.
    parts: Vec<(u16, u32)>,
    /// Keys that have been put in their place.
    placed: usize,
    /// For each key its part, if the replies are put together by key.
    order: Vec<u16>,
    /// The request's place in its client's pipeline, once it has one.
    seq: Option<Seq>,
    /// Parts that have been sent.
    sent: usize,
}

impl Cut {
    fn new(keys: Vec<u32>) -> Cut {
        let stride = keys.get(1).map_or(1, |second| (second - keys[0]) as usize);
        Cut {
            slots: Vec::with_capacity(keys.len()),
            stride,
            keys,
            places: vec![0; SLOTS],
            by_slot: Vec::new(),
            parts: Vec::new(),
            placed: 0,
            order: Vec::new(),
            seq: None,
            sent: 0,
        }
    }

    /// Finds the slots of up to `count` more keys; returns whether all are known.
    fn look(&mut self, args: &Args<'_>, count: usize) -> bool {
        let next = self.keys.iter().skip(self.slots.len()).take(count);
        for key in next {
            let slot = Slot::of(args.at(*key as usize)).number();
            self.slots.push(slot);
            self.places[usize::from(slot)] += 1;
        }
        self.slots.len() == self.keys.len()
    }

    /// All slots are known: makes the parts. Returns the slot if there is only one.
    fn arrange(&mut self, gathers: bool) -> Option<Slot> {
        let mut end = 0;
        for (place, slot) in self.places.iter_mut().zip(0..) {
            if *place > 0 {
                let start = end;
                end += *place;
                self.parts.push((slot, end));
                *place = start;
            }
        }
        if let [(slot, _)] = self.parts[..] {
            return Slot::new(slot);
        }
        self.by_slot = vec![(0, 0); self.keys.len()];
        if gathers {
            self.order = vec![0; self.keys.len()];
        }
        None
    }

    /// Puts up to `count` more keys in their places; returns whether all are there.
    fn place(&mut self, args: &Args<'_>, count: usize) -> bool {
        let end = self.keys.len().min(self.placed + count);
        for key in self.placed..end {
            let slot = self.slots[key];
            let place = &mut self.places[usize::from(slot)];
            let range = args.encoded_range(self.keys[key] as usize, self.stride);
            self.by_slot[*place as usize] = (range.start as u32, range.end as u32);
            *place += 1;
            if let Some(part) = self.order.get_mut(key) {
                // A part of this slot there is.
                let found = self.parts.binary_search_by_key(&slot, |part| part.0);
                *part = found.unwrap_or_default() as u16;
            }
        }
        self.placed = end;
        end == self.keys.len()
    }

    /// The parts of one turn, of about `count` keys, from the first on that has not been sent: appends their bytes
    /// to `frames`.
    fn frames(
        &self,
        args: &Args<'_>,
        count: usize,
        frames: &mut Vec<u8>,
        parts: &mut Vec<SlotPart>,
    ) {
        let mut start = match self.sent {
            0 => 0,
            sent => self.parts[sent - 1].1 as usize,
        };
        let first = start;
        for (slot, end) in &self.parts[self.sent..] {
            if start - first >= count || frames.len() >= SENT_BYTES {
                break;
            }
            let keys = &self.by_slot[start..*end as usize];
            start = *end as usize;
            let from = frames.len();
            encode::array(frames, 1 + keys.len() * self.stride);
            encode::bulk(frames, args.name());
            for key in keys {
                let range = key.0 as usize..key.1 as usize;
                frames.extend_from_slice(args.frame().get(range).unwrap_or_default());
            }
            parts.push(SlotPart::new(*slot, from..frames.len()));
        }
    }
}

impl Proxy {
    /// Goes on with a request of many keys, for one turn. Nothing if it is none, or its keys cannot be found.
    #[cold]
    #[inline(never)]
    pub(in crate::proxy) fn cut(
        &mut self,
        id: ClientId,
        command: &Command,
        policy: ResponsePolicy,
        args: &Args<'_>,
        now: Time,
    ) -> Option<Step> {
        let known = self.clients.get_mut(id)?.cut.take();
        let mut cut = match known {
            Some(cut) => cut,
            None => {
                let mut keys = Vec::new();
                command::keys(command, args, &mut keys).ok()?;
                if keys.len() <= self.config.limits.split_keys {
                    return None;
                }
                Box::new(Cut::new(keys))
            }
        };
        let step = self.cut_on(id, command, policy, &mut cut, args, now);
        if let (Step::Wait(pause), Some(client)) = (&step, self.clients.get_mut(id)) {
            client.cut = Some(cut);
            if *pause == Pause::Behind {
                self.resume_later(id);
            }
        }
        Some(step)
    }

    fn cut_on(
        &mut self,
        id: ClientId,
        command: &Command,
        policy: ResponsePolicy,
        cut: &mut Cut,
        args: &Args<'_>,
        now: Time,
    ) -> Step {
        let next_turn = Step::Wait(Pause::Behind);
        let looked_at = LOOKED_AT * self.config.limits.split_keys;
        let merge = merge_of(policy);
        if cut.slots.len() < cut.keys.len() {
            if cut.look(args, looked_at)
                && let Some(slot) = cut.arrange(matches!(merge, Merge::Gather))
            {
                return self.send_to_slot(id, command, slot, args, now);
            }
            return next_turn;
        }
        if cut.parts.len() == 1 {
            // It has waited for its backend.
            return match Slot::new(cut.parts[0].0) {
                Some(slot) => self.send_to_slot(id, command, slot, args, now),
                None => Step::Close,
            };
        }
        if cut.placed < cut.keys.len() {
            cut.place(args, looked_at);
            return next_turn;
        }
        let seq = match cut.seq {
            Some(seq) => seq,
            None if !self.upstream.routes.is_known() => {
                return self.reject(id, command, refusal::CLUSTER_DOWN, now);
            }
            None => match self.place_of_cut(id, command, merge, cut, now) {
                Some(seq) => seq,
                None => return Step::Close,
            },
        };
        cut.seq = Some(seq);
        let full = self.send_cut(id, command, seq, cut, args, now);
        if cut.sent == cut.parts.len() {
            return Step::Done;
        }
        match full {
            Some(backend) => self.wait_for(id, backend),
            None => next_turn,
        }
    }

    /// Takes the place of a request in its client's pipeline, with all parts, none of them sent.
    fn place_of_cut(
        &mut self,
        id: ClientId,
        command: &Command,
        merge: Merge,
        cut: &mut Cut,
        now: Time,
    ) -> Option<Seq> {
        let client = self.clients.get_mut(id)?;
        let write = command.flags.contains(Flags::WRITE);
        let mut split = Split::with_capacity(merge, write, cut.parts.len());
        for (slot, _) in &cut.parts {
            split.add_at(*slot, At::Here);
        }
        split.set_order(std::mem::take(&mut cut.order));
        let seq = client.pipeline.push_split(command.id, Box::new(split), now);
        self.count_cut(command, cut.parts.len());
        Some(seq)
    }

    /// What is counted of a request that is cut.
    pub(in crate::proxy) fn count_cut(&mut self, command: &Command, parts: usize) {
        self.stats.commands.add(1);
        self.stats.splits.add(1);
        self.insight.audit.note(command.id, Reason::Cut);
        self.stats.split_parts.add(parts as u64);
        self.stats.calls.cut(command.id, parts as u64);
    }

    /// Sends the parts of one turn. They end before one whose backend has too much to send already, which is then
    /// told.
    fn send_cut(
        &mut self,
        id: ClientId,
        command: &Command,
        seq: Seq,
        cut: &mut Cut,
        args: &Args<'_>,
        now: Time,
    ) -> Option<crate::proxy::upstream::backend::BackendId> {
        let mut frames = std::mem::take(&mut self.scratch.frames);
        let mut parts = std::mem::take(&mut self.scratch.parts);
        frames.clear();
        parts.clear();
        let count = self.config.limits.split_keys;
        cut.frames(args, count, &mut frames, &mut parts);
        self.find_backends(id, command, &mut parts, now);
        let full = parts.iter().enumerate().find_map(|(index, part)| {
            let full = self.full_backend_of(id, part, now)?;
            Some((index, full))
        });
        parts.truncate(full.map_or(parts.len(), |(index, _)| index));
        if let Some(client) = self.clients.get_mut(id) {
            for (part, own) in parts.iter().zip(cut.sent as u16..) {
                let at = part.at();
                client.pipeline.set_at(seq, own, at);
            }
        }
        self.send_slot_parts(id, command, seq, (&parts, cut.sent as u16), &frames, now);
        cut.sent += parts.len();
        (self.scratch.frames, self.scratch.parts) = (frames, parts);
        full.map(|(_, backend)| backend)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::frame::{RequestLimits, RequestScanner, Scan};

    const LIMITS: RequestLimits = RequestLimits {
        bulk_bytes: 1 << 20,
        request_bytes: 1 << 30,
        inline_bytes: 1 << 16,
        authenticated: true,
        unauthenticated_args: 0,
        unauthenticated_bulk_bytes: 0,
    };

    fn words(frame: &[u8]) -> Vec<Vec<u8>> {
        let mut spans = Vec::new();
        let scan = RequestScanner::default().next(frame, &LIMITS, &mut spans);
        assert_eq!(scan, Ok(Scan::Frame(frame.len())));
        Args::new(frame, &spans)
            .from(0)
            .map(<[u8]>::to_vec)
            .collect()
    }

    #[test]
    fn each_key_is_in_the_part_of_its_slot_in_its_order() {
        let count = 100_000;
        let mut frame = Vec::new();
        encode::array(&mut frame, 1 + 2 * count);
        encode::bulk(&mut frame, b"MSET");
        for key in 0..count {
            encode::bulk(&mut frame, format!("key:{key}").as_bytes());
            encode::bulk(&mut frame, key.to_string().as_bytes());
        }
        let mut spans = Vec::new();
        let scan = RequestScanner::default().next(&frame, &LIMITS, &mut spans);
        assert!(matches!(scan, Ok(Scan::Frame(_))));
        let args = Args::new(&frame, &spans);
        let mut cut = Cut::new((0..count as u32).map(|key| 1 + 2 * key).collect());
        let (mut looks, mut places, mut sends) = (1, 1, 0);
        while !cut.look(&args, 16384) {
            looks += 1;
        }
        assert!(cut.arrange(true).is_none());
        while !cut.place(&args, 16384) {
            places += 1;
        }
        assert_eq!((looks, places), (7, 7));
        let order = cut.order.clone();
        let mut seen = vec![false; count];
        while cut.sent < cut.parts.len() {
            let (mut frames, mut parts) = (Vec::new(), Vec::new());
            cut.frames(&args, 4096, &mut frames, &mut parts);
            assert!(!parts.is_empty() && frames.len() < SENT_BYTES + (64 << 10));
            sends += 1;
            for (part, number) in parts.iter().zip(cut.sent as u16..) {
                let words = words(&frames[part.range()]);
                assert_eq!(words[0], b"MSET");
                let mut last = None;
                for pair in words[1..].chunks(2) {
                    let key: usize = String::from_utf8_lossy(&pair[1]).parse().unwrap();
                    assert_eq!(pair[0], format!("key:{key}").into_bytes());
                    assert_eq!(Slot::of(&pair[0]).number(), part.slot());
                    assert_eq!(order[key], number);
                    assert!(last < Some(key) && !std::mem::replace(&mut seen[key], true));
                    last = Some(key);
                }
            }
            cut.sent += parts.len();
        }
        assert!(seen.iter().all(|seen| *seen) && sends < 40, "{sends} turns");
    }
}
