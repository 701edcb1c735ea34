//! `Gathering`: puts the values of many keys, which arrive by part, back into the order of the keys, in steps. A
//! hundred thousand keys may be in ten thousand parts, and sorting them takes milliseconds, so the worker serves
//! others in between.
//!
//! Before the first step it is checked that every part has as many values as keys, so no step can fail.

use crate::buffer::{Rope, RopeBuilder};
use crate::proxy::pipeline::split::{Kept, Split};
use crate::resp::encode;
use crate::resp::frame::Scan;
use crate::resp::reply::Reply;
use crate::resp::reply_frame::ReplyScanner;
use crate::resp::short::short_reply;

/// Values put in order in one step: half a millisecond of work.
pub const STEP_VALUES: usize = 8192;
/// Bytes put in order in one step, the last value aside.
const STEP_BYTES: usize = 1 << 20;

/// A part has fewer values than keys.
#[derive(Debug)]
pub struct TooFew;

/// What is in order so far.
#[derive(Debug)]
pub struct Gathering {
    /// The next value of each part.
    cursors: Vec<Cursor>,
    /// The next key.
    next: usize,
    out: RopeBuilder,
}

/// Where the next value of a part is.
#[derive(Debug, Clone, Copy)]
struct Cursor {
    /// The piece, of a long reply.
    piece: usize,
    /// From the beginning of the piece, or of all short replies.
    at: usize,
}

impl Gathering {
    /// Looks whether each part has its values.
    pub(super) fn begin(split: &Split) -> Result<Gathering, TooFew> {
        let mut wanted = vec![0u64; split.parts.len()];
        for part in &split.order {
            *wanted.get_mut(usize::from(*part)).ok_or(TooFew)? += 1;
        }
        let mut cursors = Vec::with_capacity(split.parts.len());
        for (part, wanted) in split.parts.iter().zip(wanted) {
            let front = split.reply(part);
            let items = Reply::new(front).items();
            if items.left() < wanted {
                return Err(TooFew);
            }
            let head = front.len() - items.rest().len();
            let start = match part.reply {
                Kept::Short { start, .. } => start as usize,
                Kept::Long(_) => 0,
            };
            cursors.push(Cursor {
                piece: 0,
                at: start + head,
            });
        }
        let mut head = Vec::new();
        encode::array(&mut head, split.order.len());
        let mut out = RopeBuilder::default();
        out.push(&head);
        Ok(Gathering {
            cursors,
            next: 0,
            out,
        })
    }

    /// Puts some values more in order. Returns whether those were the last.
    pub(super) fn step(&mut self, split: &Split) -> Result<bool, TooFew> {
        let most = self.out.len() + STEP_BYTES;
        let end = split.order.len().min(self.next + STEP_VALUES);
        while self.next < end && self.out.len() < most {
            let part = usize::from(split.order[self.next]);
            let (Some(cursor), Some(own)) = (self.cursors.get_mut(part), split.parts.get(part))
            else {
                return Err(TooFew);
            };
            match own.reply {
                Kept::Short { start, len } => {
                    let all = split.short.get(cursor.at..(start + len) as usize);
                    let rest = all.ok_or(TooFew)?;
                    let len = value_len(rest).ok_or(TooFew)?;
                    self.out.push(&rest[..len]);
                    cursor.at += len;
                }
                Kept::Long(index) => {
                    let rope = split.long.get(index as usize).ok_or(TooFew)?;
                    cursor.take_value(rope, &mut self.out)?;
                }
            }
            self.next += 1;
        }
        Ok(self.next == split.order.len())
    }

    /// The one reply.
    pub(super) fn finish(self) -> Rope {
        self.out.finish()
    }
}

impl Cursor {
    /// Appends the next value of a long reply, which may lie over several pieces.
    fn take_value(&mut self, rope: &Rope, out: &mut RopeBuilder) -> Result<(), TooFew> {
        let mut scanner = ReplyScanner::default();
        while self.piece < rope.pieces() {
            let rest = rope.piece(self.piece).get(self.at..).unwrap_or_default();
            let (count, ends) = match scanner.next(rest, usize::MAX) {
                Ok(Scan::Frame(len)) => (len, true),
                Ok(Scan::Incomplete(_)) => (scanner.scanned(), false),
                _ => return Err(TooFew),
            };
            out.push_part(rope, self.piece, self.at, self.at + count);
            if ends {
                self.at += count;
                return Ok(());
            }
            // A piece ends where the scanner stopped when the reply came.
            debug_assert_eq!(count, rest.len());
            scanner.consumed(count);
            (self.piece, self.at) = (self.piece + 1, 0);
        }
        Err(TooFew)
    }
}

/// The length of the value at the front of these bytes.
fn value_len(bytes: &[u8]) -> Option<usize> {
    if let Some(len) = short_reply(bytes, isize::MAX as usize) {
        return Some(len);
    }
    match ReplyScanner::default().next(bytes, usize::MAX) {
        Ok(Scan::Frame(len)) => Some(len),
        _ => None,
    }
}
