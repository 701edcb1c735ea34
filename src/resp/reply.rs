//! `Reply<'a>`: what one reply frame says, without a copy.

use super::frame::Scan;
use super::reply_frame::ReplyScanner;
use super::short::short_reply;

/// A view of one whole reply frame.
#[derive(Debug, Clone, Copy)]
pub struct Reply<'a> {
    /// The frame, attributes included.
    frame: &'a [u8],
    /// The frame behind its attributes.
    body: &'a [u8],
}

impl<'a> Reply<'a> {
    /// Views a frame that [`ReplyScanner`] found whole.
    #[inline]
    pub fn new(frame: &'a [u8]) -> Reply<'a> {
        let body = if frame.first() == Some(&b'|') {
            skip_attribute(frame)
        } else {
            frame
        };
        Reply { frame, body }
    }

    /// All its bytes.
    #[inline]
    pub fn frame(&self) -> &'a [u8] {
        self.frame
    }

    /// The type byte.
    #[inline]
    pub fn kind(&self) -> u8 {
        self.body.first().copied().unwrap_or_default()
    }

    /// Whether it is an error.
    #[inline]
    pub fn is_error(&self) -> bool {
        matches!(self.kind(), b'-' | b'!')
    }

    /// Whether it is out of band: no request asked for it.
    #[inline]
    pub fn is_push(&self) -> bool {
        self.kind() == b'>'
    }

    /// The text of an error, its code first; nothing if it is none.
    pub fn error(&self) -> Option<&'a [u8]> {
        match self.kind() {
            b'-' => Some(line(self.body)),
            b'!' => Some(bulk(self.body)),
            _ => None,
        }
    }

    /// The text of a simple string, or the bytes of a bulk string.
    pub fn text(&self) -> Option<&'a [u8]> {
        match self.kind() {
            b'+' => Some(line(self.body)),
            b'$' if self.body.get(1) != Some(&b'-') => Some(bulk(self.body)),
            b'=' => bulk(self.body).get(4..),
            _ => None,
        }
    }

    /// The value of an integer.
    pub fn integer(&self) -> Option<i64> {
        match self.kind() {
            b':' => parse_number(line(self.body)),
            _ => None,
        }
    }

    /// The value of a number of any kind: an integer, a double, or in RESP2 the text of a double.
    pub fn number(&self) -> Option<f64> {
        let text = match self.kind() {
            b':' | b',' => line(self.body),
            _ => self.text()?,
        };
        std::str::from_utf8(text).ok()?.parse().ok()
    }

    /// Whether this is no value at all.
    pub fn is_null(&self) -> bool {
        matches!(self.body, b"$-1\r\n" | b"*-1\r\n" | b"_\r\n")
    }

    /// The values of an array, set or push (a map gives keys and values in turn); none of other types.
    pub fn items(&self) -> Items<'a> {
        let count = match self.kind() {
            b'*' | b'~' | b'>' => parse_number(line(self.body)).unwrap_or(0),
            b'%' => parse_number(line(self.body)).unwrap_or(0).saturating_mul(2),
            _ => 0,
        };
        let start = memchr::memchr(b'\n', self.body).map_or(self.body.len(), |end| end + 1);
        Items {
            rest: &self.body[start..],
            left: count.max(0) as u64,
        }
    }
}

/// The values of an aggregate, in order.
#[derive(Debug, Clone)]
pub struct Items<'a> {
    rest: &'a [u8],
    left: u64,
}

impl<'a> Items<'a> {
    /// How many are left.
    pub fn left(&self) -> u64 {
        self.left
    }

    /// The bytes of all that are left.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }
}

impl<'a> Iterator for Items<'a> {
    type Item = Reply<'a>;

    fn next(&mut self) -> Option<Reply<'a>> {
        if self.left == 0 {
            return None;
        }
        self.left -= 1;
        if let Some(len) = short_reply(self.rest, isize::MAX as usize) {
            let (item, rest) = self.rest.split_at(len);
            self.rest = rest;
            // In this form there are no attributes.
            return Some(Reply {
                frame: item,
                body: item,
            });
        }
        match ReplyScanner::default().next(self.rest, usize::MAX) {
            Ok(Scan::Frame(len)) => {
                let (item, rest) = self.rest.split_at(len);
                self.rest = rest;
                Some(Reply::new(item))
            }
            // The frame was whole when it was scanned, so this is not reached.
            _ => None,
        }
    }
}

/// What stands between the type byte and CR LF.
fn line(frame: &[u8]) -> &[u8] {
    let end = memchr::memchr(b'\r', frame).unwrap_or(frame.len());
    frame.get(1..end).unwrap_or_default()
}

fn bulk(frame: &[u8]) -> &[u8] {
    let start = memchr::memchr(b'\n', frame).map_or(frame.len(), |end| end + 1);
    frame
        .get(start..frame.len().saturating_sub(2))
        .unwrap_or_default()
}

/// A decimal number.
pub fn parse_number(text: &[u8]) -> Option<i64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

#[cold]
fn skip_attribute(frame: &[u8]) -> &[u8] {
    let mut rest = frame;
    while rest.first() == Some(&b'|') {
        let pairs = parse_number(line(rest)).unwrap_or(0).max(0) as u64;
        let start = memchr::memchr(b'\n', rest).map_or(rest.len(), |end| end + 1);
        let mut items = Items {
            rest: &rest[start..],
            left: pairs.saturating_mul(2),
        };
        while items.next().is_some() {}
        if items.rest.len() >= rest.len() {
            return items.rest;
        }
        rest = items.rest;
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_are_read() {
        assert_eq!(
            Reply::new(b"-MOVED 1 a:1\r\n").error(),
            Some(&b"MOVED 1 a:1"[..])
        );
        assert_eq!(Reply::new(b"!5\r\nERR x\r\n").error(), Some(&b"ERR x"[..]));
        assert_eq!(Reply::new(b":-5\r\n").integer(), Some(-5));
        assert_eq!(Reply::new(b"$3\r\nabc\r\n").text(), Some(&b"abc"[..]));
        assert_eq!(Reply::new(b"$0\r\n\r\n").text(), Some(&b""[..]));
        assert_eq!(Reply::new(b"=7\r\ntxt:abc\r\n").text(), Some(&b"abc"[..]));
        assert_eq!(Reply::new(b",1.5\r\n").number(), Some(1.5));
        assert_eq!(Reply::new(b"$3\r\n1.5\r\n").number(), Some(1.5));
        assert_eq!(Reply::new(b":-2\r\n").number(), Some(-2.0));
        assert_eq!(Reply::new(b"*1\r\n:2\r\n").number(), None);
        assert_eq!(Reply::new(b"").number(), None);
        assert!(Reply::new(b"$-1\r\n").is_null());
        assert_eq!(Reply::new(b"$-1\r\n").text(), None);
        let reply = Reply::new(b"*3\r\n:1\r\n*2\r\n+a\r\n+b\r\n$1\r\nx\r\n");
        let frames: Vec<_> = reply.items().map(|item| item.frame()).collect();
        assert_eq!(
            frames,
            [&b":1\r\n"[..], b"*2\r\n+a\r\n+b\r\n", b"$1\r\nx\r\n"]
        );
        assert_eq!(Reply::new(b"%1\r\n+a\r\n:1\r\n").items().count(), 2);
        assert_eq!(Reply::new(b"|1\r\n+ttl\r\n:3\r\n:7\r\n").integer(), Some(7));
        assert!(Reply::new(b">1\r\n+x\r\n").is_push());
    }
}
