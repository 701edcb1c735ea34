//! `RequestTail`: where a request ends whose bytes are handed on while they come. It keeps none of them: each byte is
//! looked at once, and nothing grows with the request.
//!
//! It is as strict as [`super::frame::RequestScanner`]: what is handed on means the same to a node as to us.

use super::frame::{ProtocolError, RequestLimits};
use super::number_line::{Line, number};

/// A length line is no longer than this: a dollar, digits, and the line's end.
const LINE_MAX: usize = 32;

/// Finds the end of a request, of which the first arguments have been taken already.
#[derive(Debug)]
pub struct RequestTail {
    /// Arguments of which the end has not come.
    args_left: u32,
    /// Bytes that are still to come of the bulk string under way, its line end included; 0 before its length line.
    bulk_left: usize,
    /// Bytes of the whole request up to here.
    total: usize,
}

impl RequestTail {
    /// Behind the first `taken` bytes of a request, which are whole arguments: so many are left.
    pub fn new(taken: usize, args_left: u32) -> RequestTail {
        RequestTail {
            args_left,
            bulk_left: 0,
            total: taken,
        }
    }

    /// Looks at what has come behind all that it was shown before. Returns how many bytes of it belong to the request
    /// and are not to be shown again, and whether the request ends with them.
    pub fn next(
        &mut self,
        bytes: &[u8],
        limits: &RequestLimits,
    ) -> Result<(usize, bool), ProtocolError> {
        let mut at = 0;
        while self.args_left > 0 {
            let rest = &bytes[at..];
            let step = match self.bulk_left {
                0 => self.length_line(rest, limits)?,
                1 | 2 => self.line_end(rest)?,
                left => {
                    let step = rest.len().min(left - 2);
                    self.bulk_left -= step;
                    step
                }
            };
            if step == 0 {
                break;
            }
            at += step;
            self.total = self.total.saturating_add(step);
        }
        Ok((at, self.args_left == 0))
    }

    /// One of the two bytes behind a bulk string.
    fn line_end(&mut self, bytes: &[u8]) -> Result<usize, ProtocolError> {
        let Some(byte) = bytes.first() else {
            return Ok(0);
        };
        let expected = b"\n\r"[self.bulk_left - 1];
        if *byte != expected {
            return Err(ProtocolError::BulkEnd);
        }
        self.bulk_left -= 1;
        if self.bulk_left == 0 {
            self.args_left -= 1;
        }
        Ok(1)
    }

    /// A length line, if it has come.
    fn length_line(
        &mut self,
        bytes: &[u8],
        limits: &RequestLimits,
    ) -> Result<usize, ProtocolError> {
        match bytes.first() {
            None => return Ok(0),
            Some(b'$') => {}
            Some(&got) => return Err(ProtocolError::ExpectedBulk(got)),
        }
        let (len, step) = match number(bytes, 1) {
            Line::Number(len, step) => (len, step),
            Line::Invalid => return Err(ProtocolError::BulkLength),
            Line::Incomplete if bytes.len() > LINE_MAX => return Err(ProtocolError::BulkLength),
            Line::Incomplete => return Ok(0),
        };
        let len = usize::try_from(len).map_err(|_| ProtocolError::BulkLength)?;
        if len > limits.bulk_bytes {
            return Err(ProtocolError::BulkLength);
        }
        let total = self.total.saturating_add(step).saturating_add(len);
        if total > limits.request_bytes {
            return Err(ProtocolError::RequestTooBig);
        }
        self.bulk_left = len + 2;
        Ok(step)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::encode;
    use crate::resp::frame::{RequestScanner, Scan};
    use crate::testing::Random;

    const LIMITS: RequestLimits = RequestLimits {
        bulk_bytes: 1000,
        request_bytes: 3000,
        inline_bytes: 100,
        authenticated: true,
        unauthenticated_args: 10,
        unauthenticated_bulk_bytes: 100,
    };

    /// Hands bytes on in pieces; returns how many belonged to the request when it ended.
    fn in_pieces(
        tail: &mut RequestTail,
        bytes: &[u8],
        mut piece: impl FnMut() -> usize,
    ) -> Result<Option<usize>, ProtocolError> {
        let (mut taken, mut shown) = (0, 0);
        while shown < bytes.len() {
            shown = (shown + piece()).min(bytes.len());
            let (count, ends) = tail.next(&bytes[taken..shown], &LIMITS)?;
            taken += count;
            if ends {
                return Ok(Some(taken));
            }
        }
        Ok(None)
    }

    #[test]
    fn it_ends_where_the_scanner_of_whole_requests_says_however_it_is_cut() {
        let mut random = Random::new(9);
        for _ in 0..2000 {
            let lengths: Vec<usize> = (0..1 + random.below(4))
                .map(|_| random.below(300))
                .collect();
            let words: Vec<Vec<u8>> = lengths
                .iter()
                .map(|len| (0..*len).map(|_| b"$\r\n1x"[random.below(5)]).collect())
                .collect();
            let mut rest = Vec::new();
            words.iter().for_each(|word| encode::bulk(&mut rest, word));
            let mut whole = format!("*{}\r\n$3\r\nSET\r\n", words.len() + 1).into_bytes();
            let head = whole.len();
            whole.extend_from_slice(&rest);
            let end = rest.len();
            rest.extend_from_slice(b"*1\r\n$4\r\nPING\r\n");
            // Something is wrong with some of them.
            if random.below(3) == 0 {
                let (at, byte) = (random.below(end), b"$\r\n19x-"[random.below(7)]);
                rest[at] = byte;
                whole[head + at] = byte;
            }
            whole.extend_from_slice(b"*1\r\n$4\r\nPING\r\n");
            let mut spans = Vec::new();
            let expected = RequestScanner::default().next(&whole, &LIMITS, &mut spans);
            let mut tail = RequestTail::new(head, words.len() as u32);
            let got = in_pieces(&mut tail, &rest, || {
                let most = 1 + 200 * random.below(2);
                1 + random.below(most)
            });
            match expected {
                Ok(Scan::Frame(len)) => assert_eq!(got, Ok(Some(len - head))),
                Ok(_) => assert!(!matches!(got, Ok(Some(_))), "{:?}", rest.escape_ascii()),
                Err(_) => assert!(got.is_err(), "{got:?} {}", rest.escape_ascii()),
            }
        }
    }

    #[test]
    fn a_request_that_is_longer_than_it_may_be_is_refused_before_it_comes() {
        let mut tail = RequestTail::new(100, 9);
        assert_eq!(
            tail.next(b"$1001\r\n", &LIMITS),
            Err(ProtocolError::BulkLength)
        );
        let mut tail = RequestTail::new(2500, 9);
        assert_eq!(
            tail.next(b"$600\r\n", &LIMITS),
            Err(ProtocolError::RequestTooBig)
        );
        let mut tail = RequestTail::new(100, 9);
        let line = [b"$".as_slice(), &[b'1'; 40]].concat();
        assert_eq!(tail.next(&line, &LIMITS), Err(ProtocolError::BulkLength));
    }
}
