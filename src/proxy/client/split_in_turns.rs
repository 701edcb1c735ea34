//! `Cut`: the state of a request with many keys that is being split over several turns (see `path::split_in_turns`).

use crate::cluster::slot::{SLOTS, Slot};
use crate::proxy::ids::Seq;
use crate::proxy::pipeline::by_slot::SlotPart;
use crate::resp::args::Args;
use crate::resp::encode;

/// Bytes of parts that are sent in a turn.
pub(in crate::proxy) const SENT_BYTES: usize = 256 << 10;
/// Keys that are looked at in a turn, for one that could be sent.
pub(in crate::proxy) const LOOKED_AT: usize = 4;

/// How far a request is.
#[derive(Debug)]
pub struct Cut {
    /// The arguments that are keys.
    pub(in crate::proxy) keys: Vec<u32>,
    /// Arguments from one key to the next.
    stride: usize,
    /// The slots of the keys that have been looked at.
    pub(in crate::proxy) slots: Vec<u16>,
    /// For each slot how many keys it has; then where the next of them goes in `by_slot`.
    places: Vec<u32>,
    /// Of each slot its part, if the replies are put together by key.
    part_of: Vec<u16>,
    /// Of each key, slot by slot, where it lies in the frame with what belongs to it: from where to where. (The parts
    /// are made in this order, which is none in the frame: one look there for each key, and no other.)
    by_slot: Vec<(u32, u32)>,
    /// Of each part the slot, and where its keys end in `by_slot`.
    pub(in crate::proxy) parts: Vec<(u16, u32)>,
    /// Keys that have been put in their place.
    pub(in crate::proxy) placed: usize,
    /// For each key its part, if the replies are put together by key.
    pub(in crate::proxy) order: Vec<u16>,
    /// The request's place in its client's pipeline, once it has one.
    pub(in crate::proxy) seq: Option<Seq>,
    /// Parts that have been sent.
    pub(in crate::proxy) sent: usize,
}

impl Cut {
    pub(in crate::proxy) fn new(keys: Vec<u32>) -> Cut {
        let stride = keys.get(1).map_or(1, |second| (second - keys[0]) as usize);
        Cut {
            slots: Vec::with_capacity(keys.len()),
            stride,
            keys,
            places: vec![0; SLOTS],
            part_of: Vec::new(),
            by_slot: Vec::new(),
            parts: Vec::new(),
            placed: 0,
            order: Vec::new(),
            seq: None,
            sent: 0,
        }
    }

    /// Finds the slots of up to `count` more keys; returns whether all are known.
    pub(in crate::proxy) fn look(&mut self, args: &Args<'_>, count: usize) -> bool {
        let next = self.keys.iter().skip(self.slots.len()).take(count);
        for key in next {
            let slot = Slot::of(args.at(*key as usize)).number();
            self.slots.push(slot);
            self.places[usize::from(slot)] += 1;
        }
        self.slots.len() == self.keys.len()
    }

    /// All slots are known: makes the parts. Returns the slot if there is only one.
    pub(in crate::proxy) fn arrange(&mut self, gathers: bool) -> Option<Slot> {
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
            self.part_of = vec![0; SLOTS];
            for ((slot, _), part) in self.parts.iter().zip(0..) {
                self.part_of[usize::from(*slot)] = part;
            }
        }
        None
    }

    /// Puts up to `count` more keys in their places; returns whether all are there.
    pub(in crate::proxy) fn place(&mut self, args: &Args<'_>, count: usize) -> bool {
        let end = self.keys.len().min(self.placed + count);
        for key in self.placed..end {
            let slot = self.slots[key];
            let place = &mut self.places[usize::from(slot)];
            let range = args.encoded_range(self.keys[key] as usize, self.stride);
            self.by_slot[*place as usize] = (range.start as u32, range.end as u32);
            *place += 1;
            if let Some(part) = self.order.get_mut(key) {
                *part = self.part_of[usize::from(slot)];
            }
        }
        self.placed = end;
        end == self.keys.len()
    }

    /// The parts of one turn, of about `count` keys, from the first on that has not been sent: appends their bytes
    /// to `frames`.
    pub(in crate::proxy) fn frames(
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
