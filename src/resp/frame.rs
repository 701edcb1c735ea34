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

    /// Of the frame that is incomplete: where its arguments lie that have come, behind how many bytes they end, and how
    /// many are left. Nothing if none has come.
    pub fn under_way(&self) -> Option<(&[Span], usize, u32)> {
        let known = self.args_left > 0 && self.args_left != WHOLE && !self.spans.is_empty();
        known.then_some((&self.spans, self.position, self.args_left))
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
mod tests;
