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
    /// Values still to be found of the innermost aggregate; 0 at a frame's start.
    values_left: u64,
    /// Those of the aggregates around it.
    nesting: Nesting,
    /// Whether the types of RESP3 are none here.
    only_resp2: bool,
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
            let line = text.replace(['\r', '\n'], "");
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
            b"+O\rK\r\n",
            b"-ERR a\r+OK\r\n",
            b"-ERR a\n\r\n",
            b"+\r\r\n",
            b":1\r2\r\n",
            b",1\r.5\r\n",
            b"*2\r\n+a\r\n+b\rc\r\n",
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
    fn a_connection_of_resp2_has_no_types_of_resp3() {
        let types: [(&[u8], bool); 16] = [
            (b"+OK\r\n", true),
            (b"-ERR\r\n", true),
            (b":1\r\n", true),
            (b"$1\r\na\r\n", true),
            (b"$-1\r\n", true),
            (b"*1\r\n:1\r\n", true),
            (b"_\r\n", false),
            (b",1.5\r\n", false),
            (b"#t\r\n", false),
            (b"(1\r\n", false),
            (b"!3\r\nERR\r\n", false),
            (b"=5\r\ntxt:a\r\n", false),
            (b"~1\r\n:1\r\n", false),
            (b"%1\r\n:1\r\n:1\r\n", false),
            (b">1\r\n:1\r\n", false),
            (b"|1\r\n:1\r\n:1\r\n:1\r\n", false),
        ];
        for (reply, in_resp2) in types {
            let inside = [b"*1\r\n", reply].concat();
            for bytes in [reply, &inside] {
                for (protocol, fits) in [(Protocol::Resp2, in_resp2), (Protocol::Resp3, true)] {
                    let found = ReplyScanner::of(protocol).next(bytes, 100);
                    let expected = if fits {
                        Ok(Scan::Frame(bytes.len()))
                    } else {
                        Err(ProtocolError::Reply)
                    };
                    assert_eq!(found, expected, "{protocol:?} {}", bytes.escape_ascii());
                }
            }
        }
    }

    #[test]
    fn replies_nest_as_deep_as_a_script_can_make_them() {
        let nested =
            |open: &[u8], depth: usize, inner: &[u8]| [&open.repeat(depth), inner].concat();
        for open in [
            &b"*1\r\n"[..],
            b"*2\r\n:1\r\n",
            b"%1\r\n:1\r\n",
            b"|1\r\n:1\r\n",
        ] {
            let sample = nested(open, 7996, b"*0\r\n");
            // An attribute is followed by its value.
            let sample = match open[0] {
                b'|' => [sample, b":1\r\n".repeat(7996)].concat(),
                _ => sample,
            };
            for step in [1000, sample.len()] {
                assert_eq!(replies(&sample, step), Ok(vec![sample.clone()]));
            }
            let deep = nested(open, 1_000_000, b"*0\r\n");
            assert_eq!(replies(&deep, deep.len()), Err(ProtocolError::Reply));
        }
        // Many beside each other are not deep, and each level is left.
        let beside = [
            b"*9000\r\n".to_vec(),
            b"*1\r\n*1\r\n*1\r\n*0\r\n".repeat(9000),
        ]
        .concat();
        assert_eq!(replies(&beside, beside.len()), Ok(vec![beside.clone()]));
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
