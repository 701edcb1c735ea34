//! `ReplyScanner`: where the next reply ends. It walks over each byte once, however the reply is cut: it stops
//! inside a string or a line as well as between two values, and goes on there.
//!
//! What it has walked over may be taken away before the rest is there ([`ReplyScanner::scanned`],
//! [`ReplyScanner::consumed`]), so a reply need not lie in memory as a whole. Only a length line, a number and a
//! line end have to be in one piece: they are at most 32 bytes.
//!
//! It allocates for replies only that nest deeper than nearly all do (`nesting`).

use super::encode::Protocol;
use super::frame::{ProtocolError, Scan};
use super::nesting::Nesting;
use super::number_line::{Line, number};
use super::short::short_strings;

/// An integer has at most 20 characters, and so has a length; a line that goes on longer is neither.
const NUMBER_LINE_MAX: usize = 32;

/// What the scanner has stopped inside of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Inside {
    /// Nothing: it stands between two values.
    #[default]
    Nothing,
    /// A string of which so many bytes are still to come, and then its line end.
    Bulk(usize),
    /// A simple string, an error or the like: its line end is still to come.
    Line,
}

/// Finds replies of RESP2 and RESP3. Pushes are frames like any other; an attribute belongs to the reply
/// that follows it.
#[derive(Debug, Default)]
pub struct ReplyScanner {
    /// Where to go on, from the first byte that has not been taken away.
    position: usize,
    /// Values still to be found of the innermost aggregate; 0 at a frame's start.
    values_left: u64,
    /// Those of the aggregates around it.
    nesting: Nesting,
    /// Whether the types of RESP3 are none here.
    only_resp2: bool,
    inside: Inside,
    /// The type byte of the reply itself, behind its attributes; 0 until it has been seen.
    kind: u8,
    /// Of an aggregate: behind which byte the last of its values has ended that is known to be whole, from the first byte
    /// that has not been taken away; and how many of them it lacks from there on.
    value_end: usize,
    values_behind: u64,
}

/// Whether this is a number as an integer reply has it.
fn is_integer(text: &[u8]) -> bool {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    !digits.is_empty() && digits.iter().all(u8::is_ascii_digit)
}

impl ReplyScanner {
    /// For a connection that speaks this protocol.
    pub fn of(protocol: Protocol) -> ReplyScanner {
        ReplyScanner {
            only_resp2: protocol == Protocol::Resp2,
            ..ReplyScanner::default()
        }
    }

    /// Whether no part of a frame has been seen.
    #[inline]
    pub fn is_at_start(&self) -> bool {
        self.values_left == 0
    }

    /// The type byte of the reply under way, behind its attributes; 0 if it has not been seen.
    pub fn kind(&self) -> u8 {
        self.kind
    }

    /// How many of the bytes are known to belong to the reply under way.
    pub fn scanned(&self) -> usize {
        self.position
    }

    /// Says that so many of the scanned bytes have been taken away: what is handed in next begins behind them.
    pub fn consumed(&mut self, count: usize) {
        debug_assert!(count <= self.position);
        self.position -= count;
        self.value_end = self.value_end.saturating_sub(count);
    }

    /// How many of the bytes are whole values of the aggregate under way, and its head. They may be taken away apart from
    /// what stands behind them.
    pub fn whole_values(&self) -> usize {
        self.value_end
    }

    /// The scanner stands between two values: notes where, if that is behind a value of the outermost aggregate. (Behind an
    /// attribute it is not: the value that this belongs to is still to come.)
    #[inline]
    fn note_value_end(&mut self) {
        if self.nesting.depth() == 1 && self.values_left < self.values_behind {
            self.value_end = self.position;
            self.values_behind = self.values_left;
        }
    }

    /// Looks at `bytes`, which begin where the frame begins, or behind what was consumed of it.
    #[inline]
    pub fn next(&mut self, bytes: &[u8], bulk_max: usize) -> Result<Scan, ProtocolError> {
        if self.values_left == 0 {
            self.values_left = 1;
            self.kind = 0;
            (self.value_end, self.values_behind) = (0, u64::MAX);
        }
        if self.inside != Inside::Nothing
            && let Some(missing) = self.go_on(bytes)?
        {
            return Ok(Scan::Incomplete(missing));
        }
        while self.values_left > 0 {
            if self.kind != 0 {
                self.short_strings(bytes);
                if self.values_left == 0 {
                    break;
                }
                self.note_value_end();
            }
            if let Some(missing) = self.value(bytes, bulk_max)? {
                return Ok(Scan::Incomplete(missing));
            }
        }
        Ok(Scan::Frame(std::mem::take(&mut self.position)))
    }

    /// Walks over the strings in their common form, which most elements are.
    #[inline]
    fn short_strings(&mut self, bytes: &[u8]) {
        let mut left = self.values_left;
        let rest = short_strings(bytes.get(self.position..).unwrap_or_default(), &mut left);
        self.values_left = left;
        self.leave_ended();
        self.position = bytes.len() - rest.len();
    }

    /// An aggregate of so many values begins. An attribute is no value itself.
    fn enter(&mut self, kind: u8, values: u64) -> Result<(), ProtocolError> {
        let lacking = self.values_left - u64::from(kind != b'|');
        if values >= 1 << 40 || !self.nesting.enter(lacking) {
            return Err(ProtocolError::Reply);
        }
        self.values_left = values;
        self.leave_ended();
        Ok(())
    }

    #[inline]
    fn value_ends(&mut self) {
        self.values_left -= 1;
        self.leave_ended();
    }

    /// Leaves all aggregates of which the last value has ended.
    #[inline]
    fn leave_ended(&mut self) {
        while self.values_left == 0
            && let Some(lacking) = self.nesting.leave()
        {
            self.values_left = lacking;
        }
    }

    /// Walks over one value of any kind, or into an aggregate. Returns how many bytes are missing if it is not
    /// here to its end.
    fn value(&mut self, bytes: &[u8], bulk_max: usize) -> Result<Option<usize>, ProtocolError> {
        let Some(&kind) = bytes.get(self.position) else {
            return Ok(Some(1));
        };
        // What is left when all attributes have been seen is the reply itself.
        if self.kind == 0 && self.nesting.is_outside() && kind != b'|' {
            self.kind = kind;
        }
        match kind {
            b'!' | b'=' | b'_' | b',' | b'#' | b'(' | b'~' | b'>' | b'%' | b'|'
                if self.only_resp2 =>
            {
                return Err(ProtocolError::Reply);
            }
            b'$' | b'!' | b'=' => {
                let (len, start) = match number(bytes, self.position + 1) {
                    Line::Number(len, start) => (len, start),
                    Line::Invalid => return Err(ProtocolError::Reply),
                    Line::Incomplete => return self.number_incomplete(bytes),
                };
                self.position = start;
                match len {
                    -1 => self.value_ends(),
                    0.. if len as u64 <= bulk_max as u64 => {
                        self.inside = Inside::Bulk(len as usize);
                        return self.go_on(bytes);
                    }
                    _ => return Err(ProtocolError::Reply),
                }
            }
            b':' => {
                let rest = &bytes[self.position..];
                let line = &rest[..rest.len().min(NUMBER_LINE_MAX)];
                let Some(end) = memchr::memchr(b'\n', line) else {
                    return self.number_incomplete(bytes);
                };
                match line[1..end].split_last() {
                    Some((b'\r', digits)) if is_integer(digits) => {}
                    _ => return Err(ProtocolError::Reply),
                }
                self.position += end + 1;
                self.value_ends();
            }
            b'+' | b'-' | b'_' | b',' | b'#' | b'(' => {
                self.position += 1;
                self.inside = Inside::Line;
                return self.go_on(bytes);
            }
            b'*' | b'~' | b'>' | b'%' | b'|' => {
                let (len, start) = match number(bytes, self.position + 1) {
                    Line::Number(len, start) => (len, start),
                    Line::Invalid => return Err(ProtocolError::Reply),
                    Line::Incomplete => return self.number_incomplete(bytes),
                };
                let values = match (kind, len) {
                    (b'*', -1) => 0,
                    (_, ..0) => return Err(ProtocolError::Reply),
                    (b'%' | b'|', len) => 2 * len as u64,
                    (_, len) => len as u64,
                };
                self.position = start;
                self.enter(kind, values)?;
            }
            _ => return Err(ProtocolError::Reply),
        }
        Ok(None)
    }

    /// Goes on inside a string or a line. Returns how many bytes are missing if it does not end here.
    fn go_on(&mut self, bytes: &[u8]) -> Result<Option<usize>, ProtocolError> {
        let rest = bytes.get(self.position..).unwrap_or_default();
        match self.inside {
            Inside::Nothing => return Ok(None),
            Inside::Bulk(left) if rest.len() < left => {
                self.inside = Inside::Bulk(left - rest.len());
                self.position = bytes.len();
                return Ok(Some(left - rest.len() + 2));
            }
            Inside::Bulk(left) => {
                self.inside = Inside::Bulk(0);
                self.position += left;
                match rest[left..] {
                    [b'\r', b'\n', ..] => self.position += 2,
                    [] => return Ok(Some(2)),
                    [b'\r'] => return Ok(Some(1)),
                    [..] => return Err(ProtocolError::Reply),
                }
            }
            // The first CR or LF must be the line end: one inside would be passed on.
            Inside::Line => {
                let end = memchr::memchr2(b'\r', b'\n', rest).unwrap_or(rest.len());
                match rest[end..] {
                    [b'\r', b'\n', ..] => self.position += end + 2,
                    // A line end that is cut in two is looked at as a whole.
                    [] | [b'\r'] => {
                        self.position += end;
                        return Ok(Some(1));
                    }
                    [..] => return Err(ProtocolError::Reply),
                }
            }
        }
        self.inside = Inside::Nothing;
        self.value_ends();
        Ok(None)
    }

    fn number_incomplete(&self, bytes: &[u8]) -> Result<Option<usize>, ProtocolError> {
        if bytes.len() - self.position >= NUMBER_LINE_MAX {
            Err(ProtocolError::Reply)
        } else {
            Ok(Some(1))
        }
    }
}

#[cfg(test)]
mod tests;
