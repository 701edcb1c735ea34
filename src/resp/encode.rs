//! Values and requests to bytes, appended to a buffer.
//!
//! What differs between RESP2 and RESP3 (maps, nulls, booleans, doubles) takes the [`Protocol`].

/// The protocol that a connection speaks, chosen by `HELLO`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Protocol {
    /// RESP2, the protocol of a new connection.
    #[default]
    Resp2,
    /// RESP3.
    Resp3,
}

impl Protocol {
    /// How many there are.
    pub const COUNT: usize = 2;

    /// 0 or 1, to index a table by protocol.
    pub fn index(self) -> usize {
        match self {
            Protocol::Resp2 => 0,
            Protocol::Resp3 => 1,
        }
    }

    /// 2 or 3.
    pub fn version(self) -> i64 {
        2 + self.index() as i64
    }
}

fn line(out: &mut Vec<u8>, kind: u8, value: i64) {
    out.push(kind);
    decimal(out, value);
    out.extend_from_slice(b"\r\n");
}

/// A number in decimal, without a formatter.
pub fn decimal(out: &mut Vec<u8>, value: i64) {
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    let mut left = value.unsigned_abs();
    loop {
        at -= 1;
        digits[at] = b'0' + (left % 10) as u8;
        left /= 10;
        if left == 0 {
            break;
        }
    }
    if value < 0 {
        out.push(b'-');
    }
    out.extend_from_slice(&digits[at..]);
}

/// `+text`.
pub fn simple(out: &mut Vec<u8>, text: &str) {
    out.push(b'+');
    push_line_safe(out, text.as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// `-text`; the text begins with its code, and what could end the line early becomes a space.
pub fn error(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'-');
    push_line_safe(out, text);
    out.extend_from_slice(b"\r\n");
}

fn push_line_safe(out: &mut Vec<u8>, text: &[u8]) {
    out.extend(text.iter().map(|byte| match byte {
        b'\r' | b'\n' => b' ',
        other => *other,
    }));
}

/// `:value`.
pub fn integer(out: &mut Vec<u8>, value: i64) {
    line(out, b':', value);
}

/// A string of so many bytes has room behind it for what is short, at once: else the line end doubles the storage.
const LONG: usize = 64 << 10;
const BEHIND: usize = 256;

/// `$len` and the bytes.
pub fn bulk(out: &mut Vec<u8>, bytes: &[u8]) {
    line(out, b'$', bytes.len() as i64);
    if bytes.len() >= LONG {
        out.reserve(bytes.len() + BEHIND);
    }
    out.extend_from_slice(bytes);
    out.extend_from_slice(b"\r\n");
}

/// The head of an array of `count` values.
pub fn array(out: &mut Vec<u8>, count: usize) {
    line(out, b'*', count as i64);
}

/// The head of a map of `count` pairs; an array of `2 * count` in RESP2.
pub fn map(out: &mut Vec<u8>, count: usize, protocol: Protocol) {
    match protocol {
        Protocol::Resp2 => array(out, 2 * count),
        Protocol::Resp3 => line(out, b'%', count as i64),
    }
}

/// The head of a set of `count` values; an array in RESP2.
pub fn set(out: &mut Vec<u8>, count: usize, protocol: Protocol) {
    match protocol {
        Protocol::Resp2 => array(out, count),
        Protocol::Resp3 => line(out, b'~', count as i64),
    }
}

/// The head of a push of `count` values, which no request asked for; in RESP2 an array.
pub fn push(out: &mut Vec<u8>, count: usize, protocol: Protocol) {
    match protocol {
        Protocol::Resp2 => array(out, count),
        Protocol::Resp3 => line(out, b'>', count as i64),
    }
}

/// A double; its text as a bulk string in RESP2.
pub fn double(out: &mut Vec<u8>, value: f64, protocol: Protocol) {
    let text = value.to_string();
    match protocol {
        Protocol::Resp2 => bulk(out, text.as_bytes()),
        Protocol::Resp3 => {
            out.push(b',');
            out.extend_from_slice(text.as_bytes());
            out.extend_from_slice(b"\r\n");
        }
    }
}

/// No value.
pub fn null(out: &mut Vec<u8>, protocol: Protocol) {
    out.extend_from_slice(match protocol {
        Protocol::Resp2 => b"$-1\r\n",
        Protocol::Resp3 => b"_\r\n",
    });
}

/// Text of several lines (INFO and its like): a bulk string, in RESP3 a verbatim string as Redis sends it.
pub fn verbatim(out: &mut Vec<u8>, text: &str, protocol: Protocol) {
    match protocol {
        Protocol::Resp2 => bulk(out, text.as_bytes()),
        Protocol::Resp3 => {
            line(out, b'=', text.len() as i64 + 4);
            out.extend_from_slice(b"txt:");
            out.extend_from_slice(text.as_bytes());
            out.extend_from_slice(b"\r\n");
        }
    }
}

/// A request: a multibulk of the arguments.
pub fn command<'a>(
    out: &mut Vec<u8>,
    args: impl IntoIterator<Item = &'a [u8], IntoIter: ExactSizeIterator>,
) {
    let args = args.into_iter();
    array(out, args.len());
    for arg in args {
        bulk(out, arg);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_string_is_kept_once() {
        let text = vec![b'x'; 1 << 20];
        let mut out = Vec::new();
        array(&mut out, 3);
        bulk(&mut out, b"subscribe");
        bulk(&mut out, &text);
        integer(&mut out, 1);
        assert!(out.capacity() < text.len() + 1024, "{}", out.capacity());
    }

    #[test]
    fn values_have_their_shape() {
        let check = |write: &dyn Fn(&mut Vec<u8>), expected: &str| {
            let mut out = Vec::new();
            write(&mut out);
            assert_eq!(String::from_utf8_lossy(&out), expected);
        };
        check(&|out| simple(out, "OK"), "+OK\r\n");
        check(&|out| error(out, b"ERR a\r\nb"), "-ERR a  b\r\n");
        check(&|out| integer(out, i64::MIN), ":-9223372036854775808\r\n");
        check(&|out| integer(out, 0), ":0\r\n");
        check(&|out| bulk(out, b"ab"), "$2\r\nab\r\n");
        check(&|out| map(out, 2, Protocol::Resp2), "*4\r\n");
        check(&|out| map(out, 2, Protocol::Resp3), "%2\r\n");
        check(&|out| push(out, 3, Protocol::Resp2), "*3\r\n");
        check(&|out| push(out, 3, Protocol::Resp3), ">3\r\n");
        check(&|out| null(out, Protocol::Resp3), "_\r\n");
        check(&|out| double(out, 1.5, Protocol::Resp3), ",1.5\r\n");
        check(&|out| double(out, 1.5, Protocol::Resp2), "$3\r\n1.5\r\n");
        check(
            &|out| verbatim(out, "a", Protocol::Resp3),
            "=5\r\ntxt:a\r\n",
        );
        check(
            &|out| command(out, [&b"GET"[..], b"k"]),
            "*2\r\n$3\r\nGET\r\n$1\r\nk\r\n",
        );
    }
}
