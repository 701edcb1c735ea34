//! The protocol as the ends see it: independent of the parsers under test, and as simple as can be.

use super::random::Random;

/// What an end receives.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// `+`
    Simple(String),
    /// `-`
    Error(String),
    /// `:`
    Integer(i64),
    /// `$`
    Bulk(Vec<u8>),
    /// `$-1`
    NullBulk,
    /// `*-1`
    NullArray,
    /// `_`
    Null,
    /// `*`
    Array(Vec<Value>),
    /// `%`
    Map(Vec<Value>),
    /// `~`
    Set(Vec<Value>),
    /// `,` and `#`
    Other(String),
    /// `>`
    Push(Vec<Value>),
}

/// A reply made of a number: an aggregate, wide or nested, of values of all kinds that the protocol has, and of all
/// lengths. The same number is the same reply.
pub fn grown(number: u64, resp3: bool) -> Vec<u8> {
    let mut random = Random::new(number);
    let most = *random.pick(&[20, 20, 200, 2000]);
    let mut left = random.skewed(most);
    let mut out = format!("*{left}\r\n").into_bytes();
    while left > 0 {
        left -= 1;
        // An aggregate is so many values more.
        let (kind, inner) = match random.below(if resp3 { 16 } else { 12 }) {
            0 => ("*", random.below(5)),
            1 => ("*1\r\n*1\r\n*", random.below(3)),
            2 => (":-7\r\n", 0),
            3 => ("+a line\r\n", 0),
            4 if resp3 => ("_\r\n", 0),
            4 => (["$-1\r\n", "*-1\r\n"][random.below(2)], 0),
            12 => ("%", 2 * random.below(4)),
            13 => ("~", random.below(4)),
            14 => (",1.5\r\n", 0),
            15 => ("#t\r\n", 0),
            _ => {
                let top = *random.pick(&[8, 8, 8, 8, 8, 8, 8, 100, 100, 20_000]);
                let len = random.below(top);
                out.extend(bulk(&vec![b'a' + (left % 26) as u8; len]));
                continue;
            }
        };
        out.extend(kind.bytes());
        if !kind.ends_with('\n') {
            let count = if kind == "%" { inner / 2 } else { inner };
            out.extend(format!("{count}\r\n").bytes());
            left += inner;
        }
    }
    out
}

/// A request as clients write it.
pub fn command(args: &[&[u8]]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", args.len()).into_bytes();
    for arg in args {
        bytes.extend(format!("${}\r\n", arg.len()).bytes());
        bytes.extend(*arg);
        bytes.extend(b"\r\n");
    }
    bytes
}

/// A bulk string.
pub fn bulk(bytes: &[u8]) -> Vec<u8> {
    let mut out = format!("${}\r\n", bytes.len()).into_bytes();
    out.extend(bytes);
    out.extend(b"\r\n");
    out
}

fn line(bytes: &[u8], at: usize) -> Option<(&str, usize)> {
    let end = at + memchr::memmem::find(&bytes[at..], b"\r\n")?;
    let text = std::str::from_utf8(&bytes[at..end]).expect("a line is text");
    Some((text, end + 2))
}

fn number(text: &str) -> i64 {
    text.parse()
        .unwrap_or_else(|_| panic!("not a number: {text:?}"))
}

fn string(bytes: &[u8], at: usize, len: usize) -> Option<(Vec<u8>, usize)> {
    let end = at + len;
    if bytes.len() < end + 2 {
        return None;
    }
    assert_eq!(&bytes[end..end + 2], b"\r\n", "a string ends in CRLF");
    Some((bytes[at..end].to_vec(), end + 2))
}

/// The first request of `bytes` and its length, if it is whole. Only what is strictly RESP is accepted.
pub fn take_request(bytes: &[u8]) -> Option<(Vec<Vec<u8>>, usize)> {
    let (head, mut at) = line(bytes, 0)?;
    let count = number(
        head.strip_prefix('*')
            .unwrap_or_else(|| panic!("a node got {head:?} instead of a request")),
    );
    let mut args = Vec::new();
    for _ in 0..count {
        let (head, next) = line(bytes, at)?;
        let len = number(head.strip_prefix('$').expect("an argument is a string"));
        let (arg, next) = string(bytes, next, usize::try_from(len).expect("a length"))?;
        args.push(arg);
        at = next;
    }
    Some((args, at))
}

/// The first reply of `bytes` and its length, if it is whole.
pub fn take_reply(bytes: &[u8]) -> Option<(Value, usize)> {
    value(bytes, 0)
}

fn value(bytes: &[u8], at: usize) -> Option<(Value, usize)> {
    let (head, next) = line(bytes, at)?;
    assert!(!head.is_empty(), "a client got an empty line");
    let (kind, rest) = head.split_at(1);
    let many = |count: i64| {
        let (mut items, mut at) = (Vec::new(), next);
        for _ in 0..count {
            let (item, next) = value(bytes, at)?;
            items.push(item);
            at = next;
        }
        Some((items, at))
    };
    Some(match (kind, rest) {
        ("+", text) => (Value::Simple(text.to_string()), next),
        ("-", text) => (Value::Error(text.to_string()), next),
        (":", text) => (Value::Integer(number(text)), next),
        ("$", "-1") => (Value::NullBulk, next),
        ("*", "-1") => (Value::NullArray, next),
        ("_", "") => (Value::Null, next),
        ("$", text) => {
            let (text, next) = string(bytes, next, number(text) as usize)?;
            (Value::Bulk(text), next)
        }
        ("*", text) => {
            let (items, next) = many(number(text))?;
            (Value::Array(items), next)
        }
        ("~", text) => {
            let (items, next) = many(number(text))?;
            (Value::Set(items), next)
        }
        ("," | "#", _) => (Value::Other(head.to_string()), next),
        (">", text) => {
            let (items, next) = many(number(text))?;
            (Value::Push(items), next)
        }
        ("%", text) => {
            let (items, next) = many(number(text) * 2)?;
            (Value::Map(items), next)
        }
        _ => panic!("a client got {head:?} instead of a reply"),
    })
}
