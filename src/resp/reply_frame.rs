//! `ReplyScanner`: where the next reply ends. It walks over each byte once, however the reply is cut: it stops
//! inside a string or a line as well as between two values, and goes on there.
//!
//! What it has walked over may be taken away before the rest is there ([`ReplyScanner::scanned`],
//! [`ReplyScanner::consumed`]), so a reply need not lie in memory as a whole. Only a length line, a number and a
//! line end have to be in one piece: they are at most 32 bytes.
//!
//! It never allocates, and nesting costs nothing: an aggregate is only more values to come.

use super::frame::{Line, ProtocolError, Scan, number};
use super::short::short_string;

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
    /// Values still to be found before the frame is whole; 0 at its start. Nesting needs no stack: an
    /// aggregate of n values takes one off and puts n on.
    values_left: u64,
    inside: Inside,
    /// The type byte of the reply itself, behind its attributes; 0 until it has been seen.
    kind: u8,
}

/// Whether this is a number as an integer reply has it.
fn is_integer(text: &[u8]) -> bool {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    !digits.is_empty() && digits.iter().all(u8::is_ascii_digit)
}

impl ReplyScanner {
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
    }

    /// Looks at `bytes`, which begin where the frame begins, or behind what was consumed of it.
    #[inline]
    pub fn next(&mut self, bytes: &[u8], bulk_max: usize) -> Result<Scan, ProtocolError> {
        if self.values_left == 0 {
            self.values_left = 1;
            self.kind = 0;
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
        let mut rest = bytes.get(self.position..).unwrap_or_default();
        let mut left = self.values_left;
        while left > 0
            && let Some(behind) = short_string(rest)
        {
            rest = behind;
            left -= 1;
        }
        self.values_left = left;
        self.position = bytes.len() - rest.len();
    }

    /// Walks over one value of any kind, or into an aggregate. Returns how many bytes are missing if it is not
    /// here to its end.
    fn value(&mut self, bytes: &[u8], bulk_max: usize) -> Result<Option<usize>, ProtocolError> {
        let Some(&kind) = bytes.get(self.position) else {
            return Ok(Some(1));
        };
        // What is left when all attributes have been seen is the reply itself.
        if self.kind == 0 && self.values_left == 1 && kind != b'|' {
            self.kind = kind;
        }
        match kind {
            b'$' | b'!' | b'=' => {
                let (len, start) = match number(bytes, self.position + 1) {
                    Line::Number(len, start) => (len, start),
                    Line::Invalid => return Err(ProtocolError::Reply),
                    Line::Incomplete => return self.number_incomplete(bytes),
                };
                self.position = start;
                match len {
                    -1 => self.values_left -= 1,
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
                self.values_left -= 1;
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
                let itself = u64::from(kind != b'|');
                self.values_left = (self.values_left - itself)
                    .checked_add(values)
                    .filter(|left| *left < 1 << 40)
                    .ok_or(ProtocolError::Reply)?;
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
            Inside::Line => match memchr::memchr(b'\n', rest) {
                Some(end) if end > 0 && rest[end - 1] == b'\r' => self.position += end + 1,
                Some(_) => return Err(ProtocolError::Reply),
                None => {
                    // A line end that is cut in two is looked at as a whole.
                    let cut = usize::from(rest.last() == Some(&b'\r'));
                    self.position = bytes.len() - cut;
                    return Ok(Some(1));
                }
            },
        }
        self.inside = Inside::Nothing;
        self.values_left -= 1;
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
mod tests {
    use super::*;
    use crate::testing::Random;

    /// What the scanner finds in `bytes` when they come in pieces of these lengths and what it has scanned is taken
    /// away after each: the frames' ends and kinds. Of a frame no more than a number line stays in memory.
    fn streamed(
        bytes: &[u8],
        mut piece: impl FnMut() -> usize,
    ) -> Result<Vec<(usize, u8)>, ProtocolError> {
        let (mut scanner, mut found) = (ReplyScanner::default(), Vec::new());
        let (mut from, mut to) = (0, 0);
        loop {
            match scanner.next(&bytes[from..to], 512 << 20)? {
                Scan::Frame(len) => {
                    from += len;
                    found.push((from, scanner.kind()));
                    continue;
                }
                Scan::Incomplete(missing) => assert!(missing > 0),
                other => panic!("{other:?}"),
            }
            from += scanner.scanned();
            scanner.consumed(scanner.scanned());
            assert!(to - from <= NUMBER_LINE_MAX, "{} bytes are kept", to - from);
            if to == bytes.len() {
                return Ok(found);
            }
            to = (to + piece()).min(bytes.len());
        }
    }

    /// A reply of this many values or a few more, of all kinds and nested.
    fn grown(values: usize, random: &mut Random) -> Vec<u8> {
        let mut out = Vec::new();
        let mut left = values;
        out.extend(format!("*{values}\r\n").bytes());
        while left > 0 {
            left -= 1;
            let text = "x\r\ny".repeat(random.below(4) * random.below(4) * random.below(30));
            let line = text.replace('\n', "");
            let piece = match random.below(14) {
                0 => format!("+{line}\r\n"),
                1 => format!("-ERR {line}\r\n"),
                2 => format!(":-{}\r\n", random.below(1 << 40)),
                3 => ",1.5\r\n".to_string(),
                4 => "#t\r\n".to_string(),
                5 => format!("({}\r\n", "7".repeat(1 + random.below(90))),
                6 => "_\r\n".to_string(),
                7 => "$-1\r\n".to_string(),
                8 => ["*-1\r\n", "*0\r\n", "%0\r\n", "~0\r\n"][random.below(4)].to_string(),
                9 => format!("={}\r\ntxt:{text}\r\n", text.len() + 4),
                10 => {
                    left += 2;
                    "%1\r\n".to_string()
                }
                11 => {
                    left += 3;
                    "|1\r\n".to_string()
                }
                _ => format!("${}\r\n{text}\r\n", text.len()),
            };
            out.extend(piece.bytes());
        }
        out
    }

    #[test]
    fn a_reply_is_found_in_pieces_that_are_taken_away() {
        let mut random = Random::new(11);
        for round in 0..60 {
            let one = grown([3, 30, 3000][round % 3], &mut random);
            let attribute = b"|1\r\n+a\r\n*2\r\n:1\r\n+b\r\n";
            let all = [&one[..], b":1\r\n", attribute, &one, b"$-1\r\n"].concat();
            let second = one.len() + 4;
            let third = second + attribute.len() + one.len();
            let ends = [
                (one.len(), b'*'),
                (second, b':'),
                (third, b'*'),
                (third + 5, b'$'),
            ];
            for step in [1, 2, 3, 31, 1448, all.len()] {
                assert_eq!(
                    streamed(&all, || step).as_deref(),
                    Ok(&ends[..]),
                    "by {step}"
                );
            }
            let pieces = streamed(&all, || 1 + random.below(200));
            assert_eq!(pieces.as_deref(), Ok(&ends[..]));
        }
    }

    #[test]
    fn a_reply_that_is_cut_anywhere_is_found() {
        let mut random = Random::new(12);
        for _ in 0..40 {
            let one = grown(6, &mut random);
            for cut in 0..one.len() {
                let mut lengths = [cut, one.len()].into_iter();
                let found = streamed(&one, || lengths.next().unwrap());
                assert_eq!(found, Ok(vec![(one.len(), b'*')]), "cut at {cut}");
            }
        }
    }

    #[test]
    fn each_byte_of_a_long_line_is_looked_at_once() {
        // Were the line looked at from its start for each piece, this would take minutes.
        let line = [b"+", &vec![b'x'; 16 << 20][..], b"\r\n"].concat();
        let (mut scanner, mut to, mut steps) = (ReplyScanner::default(), 0, 0);
        while to < line.len() {
            let before = scanner.scanned();
            to = (to + 64).min(line.len());
            match scanner.next(&line[..to], 512 << 20) {
                Ok(Scan::Incomplete(1)) => assert!(scanner.scanned() >= before + 62),
                other => assert_eq!(other, Ok(Scan::Frame(line.len()))),
            }
            steps += 1;
        }
        assert_eq!(steps, line.len().div_ceil(64));
    }

    #[test]
    fn nonsense_is_refused_however_it_is_cut() {
        for bad in [
            &b"*2\r\n:\r\n"[..],
            b"*1\r\n:1x\r\n",
            b"*3\r\n$5\r\nhelloXX",
            b"*1\r\n$5\r\nhello\rX",
            b"*1\r\n+OK\n",
            b"*1\r\n+O\r\r\n+\n",
            b"+\n",
            b"*1\r\nx",
            b"%1\r\n+a\r\n%-1\r\n",
            b":11111111111111111111111111111111111",
            b":11111111111111111111111111111111111\r\n",
            b"*11111111111111111111111111111111111",
        ] {
            let bad = [bad, b"\r\n*0\r\n"].concat();
            for step in [1, 2, 3, bad.len()] {
                assert_eq!(
                    streamed(&bad, || step),
                    Err(ProtocolError::Reply),
                    "{} by {step}",
                    bad.escape_ascii()
                );
            }
        }
    }

    fn replies(bytes: &[u8], step: usize) -> Result<Vec<Vec<u8>>, ProtocolError> {
        let (mut scanner, mut found) = (ReplyScanner::default(), Vec::new());
        let (mut from, mut to) = (0, 0);
        loop {
            match scanner.next(&bytes[from..to], 512 << 20)? {
                Scan::Frame(len) => {
                    found.push(bytes[from..from + len].to_vec());
                    from += len;
                }
                _ if to == bytes.len() => return Ok(found),
                _ => to = (to + step).min(bytes.len()),
            }
        }
    }

    #[test]
    fn replies_are_found_however_they_are_split() {
        let samples: &[&[u8]] = &[
            b"+OK\r\n",
            b"-ERR no\r\n",
            b":12\r\n",
            b"$5\r\nhello\r\n",
            b"$-1\r\n",
            b"*-1\r\n",
            b"$0\r\n\r\n",
            b"*0\r\n",
            b"*2\r\n$1\r\na\r\n*1\r\n:1\r\n",
            b"_\r\n",
            b",1.5\r\n",
            b"#t\r\n",
            b"(123\r\n",
            b"!5\r\nERR x\r\n",
            b"=7\r\ntxt:abc\r\n",
            b"%1\r\n+a\r\n*2\r\n:1\r\n:2\r\n",
            b"~2\r\n:1\r\n:2\r\n",
            b">3\r\n+message\r\n+a\r\n+b\r\n",
            b"|1\r\n+ttl\r\n:3\r\n$1\r\nx\r\n",
        ];
        let all = samples.concat();
        for step in [1, 2, 3, 4, 5, 6, 7, all.len()] {
            assert_eq!(
                replies(&all, step).as_deref(),
                Ok(&samples.iter().map(|s| s.to_vec()).collect::<Vec<_>>()[..])
            );
        }
        for bad in [
            &b":\r\n"[..],
            b":-\r\n",
            b":1x\r\n",
            b"x\r\n",
            b"$5\r\nhelloXX",
            b"*-2\r\n",
            b"$a\r\n",
            b"+OK\n",
            b"*9999999999999\r\n",
            b"$99999999999\r\n",
            b"$?\r\n",
            b"\r\n",
            b"$111111111111111111111111111111111111111",
        ] {
            assert_eq!(
                replies(bad, bad.len()),
                Err(ProtocolError::Reply),
                "{}",
                bad.escape_ascii()
            );
        }
    }
}
