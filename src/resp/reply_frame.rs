//! `ReplyScanner`: where the next reply ends. It resumes where it stopped, as `frame` does for requests.

use super::frame::{Line, ProtocolError, Scan, number};

/// Whether this is a number as an integer reply has it.
fn is_integer(text: &[u8]) -> bool {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    !digits.is_empty() && digits.iter().all(u8::is_ascii_digit)
}

/// Finds replies of RESP2 and RESP3. Pushes are frames like any other; an attribute belongs to the reply
/// that follows it.
#[derive(Debug, Default)]
pub struct ReplyScanner {
    /// Where to go on, from the start of the frame.
    position: usize,
    /// Values still to be found before the frame is whole; 0 at its start. Nesting needs no stack: an
    /// aggregate of n values takes one off and puts n on.
    values_left: u64,
}

impl ReplyScanner {
    /// Whether no part of a frame has been seen.
    #[inline]
    pub fn is_at_start(&self) -> bool {
        self.values_left == 0
    }

    /// Looks at `bytes`, which begin where the frame begins.
    #[inline]
    pub fn next(&mut self, bytes: &[u8], bulk_max: usize) -> Result<Scan, ProtocolError> {
        if self.values_left == 0 {
            self.values_left = 1;
        }
        while self.values_left > 0 {
            let Some(&kind) = bytes.get(self.position) else {
                return Ok(Scan::Incomplete(self.position + 1 - bytes.len()));
            };
            match kind {
                b'$' | b'!' | b'=' => {
                    let (len, start) = match number(bytes, self.position + 1) {
                        Line::Number(len, start) => (len, start),
                        Line::Invalid => return Err(ProtocolError::Reply),
                        Line::Incomplete => return self.line_incomplete(bytes),
                    };
                    let end = match len {
                        -1 => start,
                        0.. if len as u64 <= bulk_max as u64 => start + len as usize + 2,
                        _ => return Err(ProtocolError::Reply),
                    };
                    if end > bytes.len() {
                        return Ok(Scan::Incomplete(end - bytes.len()));
                    }
                    if len >= 0 && bytes[end - 2..end] != *b"\r\n" {
                        return Err(ProtocolError::Reply);
                    }
                    self.position = end;
                    self.values_left -= 1;
                }
                b'+' | b'-' | b':' | b'_' | b',' | b'#' | b'(' => {
                    let Some(end) = memchr::memchr(b'\n', &bytes[self.position..]) else {
                        return Ok(Scan::Incomplete(1));
                    };
                    let line = &bytes[self.position + 1..][..end - 1];
                    match line.split_last() {
                        Some((b'\r', digits)) if kind != b':' || is_integer(digits) => {}
                        _ => return Err(ProtocolError::Reply),
                    }
                    self.position += end + 1;
                    self.values_left -= 1;
                }
                b'*' | b'~' | b'>' | b'%' | b'|' => {
                    let (len, start) = match number(bytes, self.position + 1) {
                        Line::Number(len, start) => (len, start),
                        Line::Invalid => return Err(ProtocolError::Reply),
                        Line::Incomplete => return self.line_incomplete(bytes),
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
        }
        Ok(Scan::Frame(std::mem::take(&mut self.position)))
    }

    /// A length line has at most 20 digits; one that goes on longer is none.
    fn line_incomplete(&self, bytes: &[u8]) -> Result<Scan, ProtocolError> {
        if bytes.len() - self.position > 32 {
            Err(ProtocolError::Reply)
        } else {
            Ok(Scan::Incomplete(1))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
