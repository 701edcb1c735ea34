//! `RequestScanner`: where the next request ends. It resumes where it stopped, so a frame that comes byte by
//! byte costs as much as one that comes whole, and it never allocates from a declared length.
//!
//! Error texts are those of Redis (`networking.c`, `processMultibulkBuffer`); two cases are stricter than
//! Redis, because what we forward must mean the same to the node as to us: the bytes after a bulk string
//! must be CR LF, and so must the end of a length line.

use std::fmt;

use super::args::Span;
use super::number_line::{Line, number};
use super::short::short_request;

/// Redis refuses a multibulk of more arguments than this (`INT_MAX`).
const ARGS_MAX: i64 = i32::MAX as i64;

/// A peer sent what is not RESP. The connection is closed after the error has been told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProtocolError {
    /// `*` with no proper number behind it.
    MultibulkLength,
    /// As before, and the client may not send so many arguments yet.
    UnauthenticatedMultibulkLength,
    /// `$` with no proper number behind it.
    BulkLength,
    /// As before, and the client may not send such a long one yet.
    UnauthenticatedBulkLength,
    /// Something else where `$` had to stand.
    ExpectedBulk(u8),
    /// A bulk string not followed by CR LF.
    BulkEnd,
    /// An inline request without an end.
    InlineTooBig,
    /// A `*` line without an end.
    CountTooBig,
    /// A `$` line without an end.
    BulkCountTooBig,
    /// An inline request whose quotes do not match.
    UnbalancedQuotes,
    /// A request longer than the limit.
    RequestTooBig,
    /// The beginning of a TLS handshake.
    Tls,
    /// A reply that is not RESP.
    Reply,
}

impl fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            ProtocolError::MultibulkLength => "invalid multibulk length",
            ProtocolError::UnauthenticatedMultibulkLength => "unauthenticated multibulk length",
            ProtocolError::BulkLength => "invalid bulk length",
            ProtocolError::UnauthenticatedBulkLength => "unauthenticated bulk length",
            ProtocolError::ExpectedBulk(got) => {
                // A control byte must not end the error line early.
                let got = if got.is_ascii_graphic() || *got == b' ' {
                    *got as char
                } else {
                    ' '
                };
                return write!(f, "Protocol error: expected '$', got '{got}'");
            }
            ProtocolError::BulkEnd => "expected CRLF after bulk string",
            ProtocolError::InlineTooBig => "too big inline request",
            ProtocolError::CountTooBig => "too big mbulk count string",
            ProtocolError::BulkCountTooBig => "too big bulk count string",
            ProtocolError::UnbalancedQuotes => "unbalanced quotes in request",
            ProtocolError::RequestTooBig => "request exceeds the limit",
            ProtocolError::Tls => "this address does not speak TLS",
            ProtocolError::Reply => "invalid reply",
        };
        write!(f, "Protocol error: {text}")
    }
}

/// How a record of a TLS handshake begins, of any version: its type, and the major version.
const TLS_HANDSHAKE: &[u8] = &[22, 3];

/// What a scanner found at the front of the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scan {
    /// A whole frame of this many bytes; of a request, the spans of its arguments were set.
    Frame(usize),
    /// A whole inline request: this many bytes, its line end included.
    Inline(usize),
    /// So many bytes that mean nothing (`*0`, an empty line).
    Nothing(usize),
    /// At least this many bytes are still to come.
    Incomplete(usize),
}

/// Bounds on requests: they differ before and after authentication.
#[derive(Debug, Clone, Copy)]
pub struct RequestLimits {
    /// Longest bulk string.
    pub bulk_bytes: usize,
    /// Longest frame.
    pub request_bytes: usize,
    /// Longest inline request or length line.
    pub inline_bytes: usize,
    /// Whether the client has shown who it is; if not, see the next two.
    pub authenticated: bool,
    /// Most arguments before authentication.
    pub unauthenticated_args: usize,
    /// Longest bulk string before authentication.
    pub unauthenticated_bulk_bytes: usize,
}

/// Stands for the arguments left of a frame that was found whole and is asked for once more. No frame has so
/// many arguments.
const WHOLE: u32 = u32::MAX;

/// Finds requests.
#[derive(Debug, Default)]
pub struct RequestScanner {
    /// Where to go on, from the start of the frame. Of a frame that is [`WHOLE`], its length.
    position: usize,
    /// Arguments still to be found; 0 at the start of a frame.
    args_left: u32,
    /// Up to where the line under way is known to have no end, from the start of the frame; 0 if nothing is known.
    searched: usize,
    /// Spans found so far, while a frame is incomplete or is asked for once more.
    spans: Vec<Span>,
}

impl RequestScanner {
    /// Whether no part of a frame has been seen.
    #[inline]
    pub fn is_at_start(&self) -> bool {
        self.args_left == 0 && self.searched == 0
    }

    /// The frame of `len` bytes that was found last stays where it is: the next look finds it at once. Its spans
    /// are taken out of `spans`.
    pub fn put_back(&mut self, len: usize, spans: &mut Vec<Span>) {
        debug_assert!(self.args_left == 0 && !spans.is_empty());
        self.position = len;
        self.args_left = WHOLE;
        std::mem::swap(&mut self.spans, spans);
    }

    /// Whether the line under way, whose end begins with `end`, has still none. What was searched before is not
    /// searched again, so that a line that comes byte by byte costs as much as one that comes whole.
    #[inline]
    fn lacks_end(&mut self, bytes: &[u8], end: u8) -> bool {
        if self.searched == 0 {
            return false;
        }
        let found = memchr::memchr(end, bytes.get(self.searched..).unwrap_or_default());
        // The byte behind the end's first one may be missing: it is looked at once more.
        self.searched = found.map_or(bytes.len(), |_| 0);
        found.is_none()
    }

    /// Looks at `bytes`, which begin where the frame begins. The spans of a whole frame are in `spans`.
    #[inline]
    pub fn next(
        &mut self,
        bytes: &[u8],
        limits: &RequestLimits,
        spans: &mut Vec<Span>,
    ) -> Result<Scan, ProtocolError> {
        if self.args_left == 0 {
            if limits.authenticated
                && let Some(len) = short_request(bytes, spans)
            {
                self.searched = 0;
                return Ok(Scan::Frame(len));
            }
            match bytes.first() {
                None => return Ok(Scan::Incomplete(1)),
                Some(b'*') => {}
                Some(_) => return self.inline(bytes, limits),
            }
            let line = if self.lacks_end(bytes, b'\r') {
                Line::Incomplete
            } else {
                number(bytes, 1)
            };
            match line {
                Line::Number(count, next) => {
                    if count > ARGS_MAX {
                        return Err(ProtocolError::MultibulkLength);
                    }
                    if count <= 0 {
                        return Ok(Scan::Nothing(next));
                    }
                    if !limits.authenticated && count as usize > limits.unauthenticated_args {
                        return Err(ProtocolError::UnauthenticatedMultibulkLength);
                    }
                    self.args_left = count as u32;
                    self.position = next;
                }
                Line::Invalid => return Err(ProtocolError::MultibulkLength),
                Line::Incomplete if bytes.len() > limits.inline_bytes => {
                    return Err(ProtocolError::CountTooBig);
                }
                Line::Incomplete => {
                    self.searched = line_searched(bytes);
                    return Ok(Scan::Incomplete(1));
                }
            }
            spans.clear();
        } else if self.args_left == WHOLE {
            std::mem::swap(&mut self.spans, spans);
            self.spans.clear();
            self.args_left = 0;
            return Ok(Scan::Frame(std::mem::take(&mut self.position)));
        } else {
            std::mem::swap(&mut self.spans, spans);
            // What came in exchange is of another frame, and must not be taken for this one's.
            self.spans.clear();
        }
        let scan = self.bulks(bytes, limits, spans);
        // Also when none was found yet: what is kept here may be of another frame.
        if let Ok(Scan::Incomplete(_)) = scan {
            std::mem::swap(&mut self.spans, spans);
        }
        scan
    }

    #[inline]
    fn bulks(
        &mut self,
        bytes: &[u8],
        limits: &RequestLimits,
        spans: &mut Vec<Span>,
    ) -> Result<Scan, ProtocolError> {
        let bulk_max = if limits.authenticated {
            limits.bulk_bytes
        } else {
            limits.unauthenticated_bulk_bytes
        };
        while self.args_left > 0 {
            match bytes.get(self.position) {
                None => return self.incomplete(bytes.len(), self.position + 1, limits),
                Some(b'$') => {}
                Some(&got) => return self.not_a_bulk(bytes, got, limits),
            }
            let line = if self.lacks_end(bytes, b'\r') {
                Line::Incomplete
            } else {
                number(bytes, self.position + 1)
            };
            let (len, start) = match line {
                Line::Number(len, start) => (len, start),
                Line::Invalid => return Err(ProtocolError::BulkLength),
                Line::Incomplete if bytes.len() - self.position > limits.inline_bytes => {
                    return Err(ProtocolError::BulkCountTooBig);
                }
                Line::Incomplete => {
                    self.searched = line_searched(bytes);
                    return self.incomplete(bytes.len(), bytes.len() + 1, limits);
                }
            };
            if len < 0 || len as u64 > limits.bulk_bytes as u64 {
                return Err(ProtocolError::BulkLength);
            }
            let len = len as usize;
            if len > bulk_max {
                return Err(ProtocolError::UnauthenticatedBulkLength);
            }
            let end = start + len;
            match bytes.get(end..end + 2) {
                Some(b"\r\n") => {}
                Some(_) => return Err(ProtocolError::BulkEnd),
                None if bytes.get(end).is_some_and(|byte| *byte != b'\r') => {
                    return Err(ProtocolError::BulkEnd);
                }
                None => return self.incomplete(bytes.len(), end + 2, limits),
            }
            if end > limits.request_bytes {
                return Err(ProtocolError::RequestTooBig);
            }
            spans.push(Span {
                start: start as u32,
                len: len as u32,
            });
            self.position = end + 2;
            self.args_left -= 1;
        }
        Ok(Scan::Frame(std::mem::take(&mut self.position)))
    }

    /// Something else stands where a length line had to. As in Redis, it is judged when its line is there.
    #[cold]
    fn not_a_bulk(
        &mut self,
        bytes: &[u8],
        got: u8,
        limits: &RequestLimits,
    ) -> Result<Scan, ProtocolError> {
        let from = self.position.max(self.searched);
        match memchr::memchr(b'\r', &bytes[from..]) {
            Some(end) if from + end + 1 < bytes.len() => Err(ProtocolError::ExpectedBulk(got)),
            None if bytes.len() - self.position > limits.inline_bytes => {
                Err(ProtocolError::BulkCountTooBig)
            }
            _ => {
                self.searched = line_searched(bytes);
                self.incomplete(bytes.len(), bytes.len() + 1, limits)
            }
        }
    }

    fn inline(&mut self, bytes: &[u8], limits: &RequestLimits) -> Result<Scan, ProtocolError> {
        // No word begins so; and it need not have an end of line for long.
        if bytes.starts_with(TLS_HANDSHAKE) {
            return Err(ProtocolError::Tls);
        }
        let from = std::mem::take(&mut self.searched);
        match memchr::memchr(b'\n', &bytes[from..]) {
            Some(end) if from + end > limits.inline_bytes => Err(ProtocolError::InlineTooBig),
            Some(end)
                if bytes[..from + end]
                    .iter()
                    .all(|byte| byte.is_ascii_whitespace() || *byte == 0x0b) =>
            {
                Ok(Scan::Nothing(from + end + 1))
            }
            Some(end) => Ok(Scan::Inline(from + end + 1)),
            None if bytes.len() > limits.inline_bytes => Err(ProtocolError::InlineTooBig),
            None => {
                self.searched = bytes.len();
                Ok(Scan::Incomplete(1))
            }
        }
    }

    fn incomplete(
        &self,
        have: usize,
        need: usize,
        limits: &RequestLimits,
    ) -> Result<Scan, ProtocolError> {
        if have > limits.request_bytes || need > limits.request_bytes + 2 {
            return Err(ProtocolError::RequestTooBig);
        }
        debug_assert!(need > have);
        Ok(Scan::Incomplete(need - have))
    }
}

/// Up to where bytes whose last line has no end need not be searched again. Their last byte may be the first of
/// that end.
fn line_searched(bytes: &[u8]) -> usize {
    bytes.len() - usize::from(bytes.last() == Some(&b'\r'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: RequestLimits = RequestLimits {
        bulk_bytes: 512 << 20,
        request_bytes: 1 << 30,
        inline_bytes: 64 << 10,
        authenticated: true,
        unauthenticated_args: 10,
        unauthenticated_bulk_bytes: 16384,
    };

    /// Scans all of `bytes`, handing in `step` more bytes at a time: frames as lists of arguments.
    fn requests(bytes: &[u8], step: usize, limits: &RequestLimits) -> (Vec<Vec<Vec<u8>>>, String) {
        let (mut scanner, mut spans, mut found) =
            (RequestScanner::default(), Vec::new(), Vec::new());
        let (mut from, mut to) = (0, 0);
        loop {
            match scanner.next(&bytes[from..to], limits, &mut spans) {
                Ok(Scan::Frame(len)) => {
                    let args = super::super::args::Args::new(&bytes[from..from + len], &spans);
                    found.push(args.from(0).map(<[u8]>::to_vec).collect());
                    from += len;
                }
                Ok(Scan::Inline(len)) => {
                    found.push(vec![bytes[from..from + len].to_vec()]);
                    from += len;
                }
                Ok(Scan::Nothing(len)) => from += len,
                Ok(Scan::Incomplete(missing)) => {
                    assert!(missing > 0);
                    if to == bytes.len() {
                        return (found, String::new());
                    }
                    to = (to + step).min(bytes.len());
                }
                Err(error) => return (found, error.to_string()),
            }
        }
    }

    fn check_requests(bytes: &[u8], commands: usize, error: &str) {
        let whole = requests(bytes, bytes.len().max(1), &LIMITS);
        assert_eq!(
            (whole.0.len(), &whole.1[..]),
            (commands, error),
            "{}",
            bytes.escape_ascii()
        );
        for step in [1, 2, 3, 5, 7] {
            let split = requests(bytes, step, &LIMITS);
            assert_eq!(split, whole, "{} by {step}", bytes.escape_ascii());
        }
    }

    /// The list of spans is shared by all clients: one that was cut short must find its own again.
    #[test]
    fn clients_that_share_the_list_of_spans_do_not_mix_their_requests() {
        let frame = b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n";
        let mut spans = Vec::new();
        let mut scanners = [RequestScanner::default(), RequestScanner::default()];
        for cuts in [[6, 6], [15, 6], [6, 15], [4, 4], [15, 15]] {
            for _ in 0..3 {
                for (scanner, cut) in scanners.iter_mut().zip(cuts) {
                    let scan = scanner.next(&frame[..cut], &LIMITS, &mut spans);
                    assert!(matches!(scan, Ok(Scan::Incomplete(_))));
                    // Someone else's turn, with a list that is used up.
                    spans = Vec::new();
                }
                for scanner in &mut scanners {
                    let scan = scanner.next(frame, &LIMITS, &mut spans);
                    assert!(matches!(scan, Ok(Scan::Frame(20))), "{scan:?}");
                    assert_eq!(spans.len(), 2, "{cuts:?}");
                }
            }
        }
    }

    #[test]
    fn a_line_that_comes_byte_by_byte_is_searched_once() {
        let long = "1".repeat(60_000);
        for (line, place) in [
            (format!("*{long}"), "a count"),
            (format!("*1\r\n${long}"), "a length"),
            (format!("*1\r\nx{long}"), "no length"),
            (format!("PING {long}"), "an inline request"),
        ] {
            let (mut scanner, mut spans) = (RequestScanner::default(), Vec::new());
            for len in 8..line.len() {
                let scan = scanner.next(&line.as_bytes()[..len], &LIMITS, &mut spans);
                assert_eq!(scan, Ok(Scan::Incomplete(1)), "{place}");
                // What it has seen, it need not see again.
                assert_eq!(scanner.searched, len, "{place}");
                assert!(!scanner.is_at_start());
            }
            let end = [line.as_bytes(), b"\r"].concat();
            let scan = scanner.next(&end, &LIMITS, &mut spans);
            assert_eq!(scan, Ok(Scan::Incomplete(1)), "{place}");
            let end = [line.as_bytes(), b"\r\n"].concat();
            let scan = scanner.next(&end, &LIMITS, &mut spans);
            let whole = RequestScanner::default().next(&end, &LIMITS, &mut spans);
            assert!(
                scan == whole && !matches!(scan, Ok(Scan::Incomplete(_))),
                "{scan:?}"
            );
        }
    }

    #[test]
    fn a_frame_that_is_put_back_is_not_scanned_again() {
        let frame = b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n";
        let (mut scanner, mut spans) = (RequestScanner::default(), Vec::new());
        let found = Ok(Scan::Frame(frame.len()));
        assert_eq!(scanner.next(frame, &LIMITS, &mut spans), found);
        let expected = spans.clone();
        for _ in 0..2 {
            scanner.put_back(frame.len(), &mut spans);
            assert!(!scanner.is_at_start());
            // Others use the same list meanwhile; and none of the bytes is looked at.
            spans = Vec::new();
            assert_eq!(scanner.next(&[0; 20], &LIMITS, &mut spans), found);
            assert_eq!(spans, expected);
        }
        assert!(scanner.is_at_start());
        assert_eq!(scanner.next(frame, &LIMITS, &mut spans), found);
    }

    #[test]
    fn requests_are_found_however_they_are_split() {
        check_requests(b"*1\r\n$4\r\nPING\r\n*2\r\n$3\r\nGET\r\n$0\r\n\r\n", 2, "");
        check_requests(b"*0\r\n*-1\r\n*-10\r\n\r\n  \r\nPING\r\n", 1, "");
        check_requests(b"PING a b\n*1\r\n$4\r\nPING\r\n", 2, "");
        check_requests(b"*2147483647\r\n", 0, "");
        check_requests(b"*1\r\n$536870912\r\n", 0, "");
        check_requests(b"*1\n", 0, "");
    }

    #[test]
    fn scanners_that_share_their_spans_keep_them_apart() {
        let frame = b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n";
        let (mut one, mut other) = (RequestScanner::default(), RequestScanner::default());
        let mut spans = Vec::new();
        let mut cut = |scanner: &mut RequestScanner, at: usize| {
            let scan = scanner.next(&frame[..at], &LIMITS, &mut spans);
            let found = if at == frame.len() { spans.len() } else { 2 };
            (scan.is_ok(), found)
        };
        let whole = frame.len();
        // Each frame ends after the other scanner has taken the storage that this one had.
        for at in [5, 9, 13, 16] {
            for (scanner, at) in [(0, at), (1, whole), (0, whole), (1, 5), (0, 5), (0, whole)] {
                let scanner = if scanner == 0 { &mut one } else { &mut other };
                assert_eq!(cut(scanner, at), (true, 2), "cut at {at}");
            }
            assert_eq!(cut(&mut other, whole), (true, 2));
        }
    }

    #[test]
    fn nonsense_is_refused_with_the_words_of_redis() {
        for count in [
            "3000000000",
            "abc",
            "",
            "+1",
            "01",
            " 1",
            "1 ",
            "99999999999999999999",
        ] {
            let bytes = format!("*1\r\n$4\r\nPING\r\n*{count}\r\n");
            check_requests(
                bytes.as_bytes(),
                1,
                "Protocol error: invalid multibulk length",
            );
        }
        for length in [
            "-1",
            "-10",
            "536870913",
            "2147483645",
            "9223372036854775807",
            "9223372036854775808",
            "18446744073709551615",
            "abc",
            "",
            "+4",
            "04",
        ] {
            let bytes = format!("*1\r\n${length}\r\n");
            check_requests(bytes.as_bytes(), 0, "Protocol error: invalid bulk length");
        }
        check_requests(b"*1\r\nfoo\r\n", 0, "Protocol error: expected '$', got 'f'");
        check_requests(b"*1\r\n:1\r\n", 0, "Protocol error: expected '$', got ':'");
        check_requests(
            b"*1\r\n$4\r\nPINGXX",
            0,
            "Protocol error: expected CRLF after bulk string",
        );
        check_requests(
            b"*1\rX$4\r\nPING\r\n",
            0,
            "Protocol error: invalid multibulk length",
        );
        check_requests(b"*1\n*1\r\n", 0, "Protocol error: invalid multibulk length");
    }

    #[test]
    fn lines_without_end_are_refused() {
        let long = vec![b'1'; 70 << 10];
        let check = |prefix: &[u8], error| {
            let bytes = [prefix, &long].concat();
            assert_eq!(
                requests(&bytes, bytes.len(), &LIMITS).1,
                format!("Protocol error: {error}")
            );
        };
        check(b"", "too big inline request");
        check(b"*", "too big mbulk count string");
        check(b"*1\r\n$", "too big bulk count string");
    }

    #[test]
    fn before_authentication_little_is_taken() {
        let limits = RequestLimits {
            authenticated: false,
            ..LIMITS
        };
        let error = |bytes: &[u8]| requests(bytes, 1, &limits).1;
        assert_eq!(
            error(b"*11\r\n"),
            "Protocol error: unauthenticated multibulk length"
        );
        assert_eq!(
            error(b"*1\r\n$16385\r\n"),
            "Protocol error: unauthenticated bulk length"
        );
        assert_eq!(error(b"*10\r\n$16384\r\n"), "");
    }
}
