//! `Value`: a whole RESP2 reply as a tree, for the control thread, which reads a few replies a second. The data path
//! never builds one.
//!
//! It must never know what a reply means. Nothing here allocates from a declared length: an array of a billion
//! elements costs only what has arrived of it.

/// How deep arrays may lie in arrays.
pub const DEPTH_MAX: usize = 128;

/// Longest line of a reply: a status, an error, a number or a length.
const LINE_BYTES_MAX: usize = 64 << 10;

/// Longest bulk string or array that a length may declare.
const DECLARED_MAX: i64 = 1 << 30;

/// One reply, borrowing the bytes that it came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value<'a> {
    /// `+OK`
    Status(&'a [u8]),
    /// `-ERR ...`, without the minus sign.
    Error(&'a [u8]),
    /// `:1`
    Integer(i64),
    /// `$3 foo`
    Bulk(&'a [u8]),
    /// `$-1` or `*-1`
    Null,
    /// `*2 ...`
    Array(Vec<Value<'a>>),
}

/// The bytes are no RESP2, or too deep, or too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed;

/// What starts at some place in the bytes.
enum Head<'a> {
    Leaf(Value<'a>),
    Array(usize),
}

/// Finds where a reply ends; it resumes where it stopped, so that a long reply is walked once however
/// small the pieces are in which it comes.
///
/// Invariant: `open` holds the number of elements still missing of every array begun, and no zero.
#[derive(Debug, Default)]
pub struct Extent {
    at: usize,
    open: Vec<usize>,
    done: bool,
}

impl Extent {
    /// Walks on. `bytes` is the whole reply so far, from its first byte. `Some(length)` once it is complete.
    pub fn advance(&mut self, bytes: &[u8]) -> Result<Option<usize>, Malformed> {
        while !self.done {
            let Some((head, next)) = head(bytes, self.at)? else {
                return Ok(None);
            };
            self.at = next;
            match head {
                Head::Array(0) | Head::Leaf(_) => self.close(),
                Head::Array(_) if self.open.len() == DEPTH_MAX => return Err(Malformed),
                Head::Array(count) => self.open.push(count),
            }
        }
        Ok(Some(self.at))
    }

    /// One element is complete, and with it every array of which it was the last.
    fn close(&mut self) {
        while let Some(missing) = self.open.last_mut() {
            *missing -= 1;
            if *missing > 0 {
                return;
            }
            self.open.pop();
        }
        self.done = true;
    }
}

impl<'a> Value<'a> {
    /// Reads the one reply that `bytes` begins with, and tells how long it is. `None` if it is not
    /// complete.
    pub fn parse(bytes: &'a [u8]) -> Result<Option<(Value<'a>, usize)>, Malformed> {
        let mut open: Vec<(usize, Vec<Value<'a>>)> = Vec::new();
        let mut at = 0;
        loop {
            let Some((head, next)) = head(bytes, at)? else {
                return Ok(None);
            };
            at = next;
            let mut value = match head {
                Head::Leaf(value) => value,
                Head::Array(0) => Value::Array(Vec::new()),
                Head::Array(_) if open.len() == DEPTH_MAX => return Err(Malformed),
                Head::Array(count) => {
                    open.push((count, Vec::new()));
                    continue;
                }
            };
            loop {
                let Some((missing, mut items)) = open.pop() else {
                    return Ok(Some((value, at)));
                };
                items.push(value);
                if missing > 1 {
                    open.push((missing - 1, items));
                    break;
                }
                value = Value::Array(items);
            }
        }
    }

    /// The elements, if it is an array.
    pub fn items(&self) -> Option<&[Value<'a>]> {
        match self {
            Value::Array(items) => Some(items),
            _ => None,
        }
    }

    /// The bytes, if it is a string of either kind.
    pub fn string(&self) -> Option<&'a [u8]> {
        match self {
            Value::Bulk(bytes) | Value::Status(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// The number, if it is one.
    pub fn integer(&self) -> Option<i64> {
        match self {
            Value::Integer(number) => Some(*number),
            _ => None,
        }
    }
}

/// Reads what starts at `at`, and where the next thing starts. `None` if it is not all there.
fn head(bytes: &[u8], at: usize) -> Result<Option<(Head<'_>, usize)>, Malformed> {
    let rest = &bytes[at..];
    let Some(&kind) = rest.first() else {
        return Ok(None);
    };
    if !b"+-:$*".contains(&kind) {
        return Err(Malformed);
    }
    let window = &rest[..rest.len().min(LINE_BYTES_MAX)];
    let Some(end) = memchr::memchr(b'\n', window) else {
        return if rest.len() < LINE_BYTES_MAX {
            Ok(None)
        } else {
            Err(Malformed)
        };
    };
    let line = rest[1..end].strip_suffix(b"\r").ok_or(Malformed)?;
    let next = at + end + 1;
    let leaf = |value| Ok(Some((Head::Leaf(value), next)));
    match kind {
        b'+' => leaf(Value::Status(line)),
        b'-' => leaf(Value::Error(line)),
        b':' => leaf(Value::Integer(integer(line)?)),
        b'*' => match length(line)? {
            None => leaf(Value::Null),
            Some(count) => Ok(Some((Head::Array(count), next))),
        },
        _ => match length(line)? {
            None => leaf(Value::Null),
            Some(len) => {
                let Some(tail) = bytes.get(next + len..) else {
                    return Ok(None);
                };
                match tail {
                    [b'\r', b'\n', ..] => Ok(Some((
                        Head::Leaf(Value::Bulk(&bytes[next..next + len])),
                        next + len + 2,
                    ))),
                    [] | [b'\r'] => Ok(None),
                    _ => Err(Malformed),
                }
            }
        },
    }
}

/// A length line: `None` for -1.
fn length(line: &[u8]) -> Result<Option<usize>, Malformed> {
    match integer(line)? {
        -1 => Ok(None),
        number @ 0..=DECLARED_MAX => Ok(Some(number as usize)),
        _ => Err(Malformed),
    }
}

/// A decimal number with nothing around it.
fn integer(line: &[u8]) -> Result<i64, Malformed> {
    if line.first() == Some(&b'+') {
        return Err(Malformed);
    }
    std::str::from_utf8(line)
        .ok()
        .and_then(|text| text.parse().ok())
        .ok_or(Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(bytes: &[u8]) -> Value<'_> {
        let (value, len) = Value::parse(bytes).unwrap().unwrap();
        assert_eq!(len, bytes.len());
        let mut extent = Extent::default();
        for cut in 0..bytes.len() {
            assert_eq!(Value::parse(&bytes[..cut]), Ok(None), "cut at {cut}");
            assert_eq!(extent.advance(&bytes[..cut]), Ok(None), "cut at {cut}");
        }
        assert_eq!(extent.advance(bytes), Ok(Some(bytes.len())));
        value
    }

    #[test]
    fn reads_every_kind_however_it_is_cut() {
        assert_eq!(whole(b"+OK\r\n"), Value::Status(b"OK"));
        assert_eq!(whole(b"-ERR no\r\n"), Value::Error(b"ERR no"));
        assert_eq!(whole(b":-42\r\n"), Value::Integer(-42));
        assert_eq!(whole(b"$3\r\na\r\n\r\n"), Value::Bulk(b"a\r\n"));
        assert_eq!(whole(b"$0\r\n\r\n"), Value::Bulk(b""));
        assert_eq!(whole(b"$-1\r\n"), Value::Null);
        assert_eq!(whole(b"*-1\r\n"), Value::Null);
        assert_eq!(whole(b"*0\r\n"), Value::Array(vec![]));
        assert_eq!(
            whole(b"*3\r\n*2\r\n:1\r\n*0\r\n$1\r\nx\r\n*1\r\n+y\r\n"),
            Value::Array(vec![
                Value::Array(vec![Value::Integer(1), Value::Array(vec![])]),
                Value::Bulk(b"x"),
                Value::Array(vec![Value::Status(b"y")]),
            ])
        );
    }

    #[test]
    fn refuses_what_is_no_reply() {
        for bytes in [
            &b"PONG\r\n"[..],
            b"$x\r\n",
            b"$-2\r\n",
            b"$+1\r\n",
            b"$9223372036854775807\r\n",
            b"*99999999999999999999\r\n",
            b":\r\n",
            b": 1\r\n",
            b"+OK\n",
            b"$3\r\nfooXY",
            b"\0",
            b"\r\n",
        ] {
            assert_eq!(Value::parse(bytes), Err(Malformed), "{bytes:?}");
            assert_eq!(
                Extent::default().advance(bytes),
                Err(Malformed),
                "{bytes:?}"
            );
        }
        let endless = vec![b'+'; LINE_BYTES_MAX];
        assert_eq!(Value::parse(&endless), Err(Malformed));
    }

    #[test]
    fn a_million_arrays_in_each_other_are_too_deep_and_a_declared_billion_costs_nothing() {
        let deep = b"*1\r\n".repeat(1_000_000);
        assert_eq!(Value::parse(&deep), Err(Malformed));
        assert_eq!(Extent::default().advance(&deep), Err(Malformed));
        let mut allowed = b"*1\r\n".repeat(DEPTH_MAX);
        allowed.extend_from_slice(b":1\r\n");
        whole(&allowed);
        assert_eq!(Value::parse(b"*1000000000\r\n:1\r\n"), Ok(None));
        assert_eq!(Value::parse(b"$1000000000\r\nabc"), Ok(None));
    }
}
