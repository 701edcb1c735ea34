//! Finds the end of common, complete frames in one pass without any state. Nearly all frames are like that.
//!
//! Frames that it declines are scanned from their start by `frame`, which handles all others and the errors. It
//! accepts nothing that `frame` would not.

use super::args::Span;
use super::number_line::{Line, number};

/// A length line `<kind><digits>\r\n` of one or two digits, which nearly all are, read from one load. Returns
/// the length and what is behind the line; nothing for any other line, or near the end of the bytes.
#[inline(always)]
fn short_length(bytes: &[u8], kind: u8) -> Option<(usize, &[u8])> {
    let &[front @ .., last] = bytes.first_chunk::<5>()?;
    let line = u32::from_le_bytes(front);
    // What differs from the digit 0 in each form, byte by byte: nothing but the digits' values, if it has it.
    if line >> 16 == u32::from(u16::from_le_bytes(*b"\r\n")) {
        let one = line ^ u32::from_le_bytes([kind, b'0', b'\r', b'\n']);
        // The kind's byte goes to the top, so that the number is too great if it differs.
        let digit = one.rotate_right(8);
        return (digit <= 9).then(|| (digit as usize, &bytes[4..]));
    }
    let two = line ^ u32::from_le_bytes([kind, b'0', b'0', b'\r']);
    // No more than four bits in each digit's byte, and none of them above 9: six more would then overflow.
    let digits = (two | two.wrapping_add(0x0006_0600)) & 0xfff0_f0ff == 0;
    let (first, second) = (two >> 8 & 0xf, two >> 16);
    // A number of two digits begins with 1 to 9.
    if digits && first != 0 && last == b'\n' {
        return Some(((first * 10 + second) as usize, &bytes[5..]));
    }
    None
}

/// A length line of any length, of a length that is not negative and less than `max`.
#[inline(never)]
fn other_length(bytes: &[u8], kind: u8, max: usize) -> Option<(usize, &[u8])> {
    match number(bytes, 1) {
        Line::Number(len, next) if bytes[0] == kind && (0..max as i64).contains(&len) => {
            Some((len as usize, bytes.get(next..)?))
        }
        Line::Number(..) | Line::Invalid | Line::Incomplete => None,
    }
}

/// Cuts off a string of `len` bytes and the line end behind it, if they are here.
#[inline(always)]
fn string(bytes: &[u8], len: usize) -> Option<(&[u8], &[u8])> {
    let (string, rest) = bytes.split_at_checked(len)?;
    let (end, rest) = rest.split_first_chunk::<2>()?;
    (end == b"\r\n").then_some((string, rest))
}

/// Cuts off a bulk string shorter than `max`, if it is here to its end.
#[inline(always)]
fn short_bulk(bytes: &[u8], max: usize) -> Option<(&[u8], &[u8])> {
    let (len, rest) = match short_length(bytes, b'$') {
        Some(found) => found,
        None => other_length(bytes, b'$', max)?,
    };
    string(rest, len)
}

/// What is behind the strings of at most 99 bytes at the front of `bytes`, as many as are here to their end and at most
/// `left`, which is lowered by as many.
#[inline(always)]
pub(super) fn short_strings<'b>(bytes: &'b [u8], left: &mut u64) -> &'b [u8] {
    let mut rest = bytes;
    let mut last = 0;
    while *left > 0
        && let Some((len, behind)) = short_length(rest, b'$')
        && let Some((_, behind)) = string(behind, len)
    {
        let frame = rest.len() - behind.len();
        *left -= 1;
        // Two of one length: others may follow.
        if frame == last {
            let equal = equal_strings(rest, frame, *left);
            *left -= equal;
            rest = &behind[equal as usize * frame..];
        } else {
            rest = behind;
        }
        last = frame;
    }
    rest
}

/// How many strings follow the one at the front of `bytes` and have its length, at most `max`. `frame` is the length of the whole
/// string, of which the content has at most 99 bytes. Where each begins is known before the one in front of it has been read: the
/// processor looks at many at once.
#[inline(never)]
fn equal_strings(bytes: &[u8], frame: usize, max: u64) -> u64 {
    let Some(line) = bytes.first_chunk::<8>().filter(|_| frame >= 8) else {
        return 0;
    };
    // `$9\r\n` or `$99\r\n`.
    let mask = if line[3] == b'\n' {
        u32::MAX as u64
    } else {
        (1 << 40) - 1
    };
    let line = u64::from_le_bytes(*line) & mask;
    let is_equal = |string: &&[u8]| {
        string
            .first_chunk::<8>()
            .is_some_and(|front| u64::from_le_bytes(*front) & mask == line)
            && string.last_chunk::<2>() == Some(b"\r\n")
    };
    let max = usize::try_from(max).unwrap_or(usize::MAX);
    bytes[frame..]
        .chunks_exact(frame)
        .take(max)
        .take_while(is_equal)
        .count() as u64
}

/// A request of short arguments: their spans, and the length of the frame.
#[inline]
pub(super) fn short_request(bytes: &[u8], spans: &mut Vec<Span>) -> Option<usize> {
    let (count, mut rest) = short_length(bytes, b'*')?;
    spans.clear();
    for _ in 0..count {
        let (len, behind) = short_length(rest, b'$')?;
        spans.push(Span {
            start: (bytes.len() - behind.len()) as u32,
            len: len as u32,
        });
        rest = string(behind, len)?.1;
    }
    (count > 0).then_some(bytes.len() - rest.len())
}

/// Arguments of a [`ShortRequest`] at most, the name included.
pub const SHORT_ARGS_MAX: usize = 9;

/// The bytes of a name of so many bytes among eight, the first one lowest; of nine, too, only eight.
const NAMES: [u64; 16] = {
    let mut masks = [u64::MAX; 16];
    let mut len = 0;
    while len < 8 {
        masks[len] = (1 << (8 * len)) - 1;
        len += 1;
    }
    masks
};

/// The front of a request of at most [`SHORT_ARGS_MAX`] arguments with a name of at most nine bytes.
#[derive(Debug, Clone, Copy)]
pub struct ShortRequest<'b> {
    /// Arguments, the name included.
    pub args_len: usize,
    /// The first eight bytes of the name, the first one lowest; zeros behind its end.
    pub name: u64,
    /// Length of the name in bytes.
    pub name_len: usize,
    /// What is behind the name.
    rest: &'b [u8],
}

impl<'b> ShortRequest<'b> {
    /// Looks at `bytes`, which begin where a frame begins. Nothing for whatever is not in the common form.
    #[inline(always)]
    pub fn find(bytes: &'b [u8]) -> Option<ShortRequest<'b>> {
        // `*<n>\r\n$<n>\r\n`. As in `short_length`, of two lines at once.
        const FORM: u64 = u64::from_le_bytes(*b"*0\r\n$0\r\n");
        const SIX: u64 = 0x0000_0600_0000_0600;
        const SAME: u64 = 0xffff_f0ff_ffff_f0ff;
        let front = u128::from_le_bytes(*bytes.first_chunk::<16>()?);
        let digits = front as u64 ^ FORM;
        if (digits | digits.wrapping_add(SIX)) & SAME != 0 {
            return None;
        }
        let (args_len, name_len) = ((digits as u32 >> 8) as usize, (digits >> 40) as usize);
        let name = (front >> 64) as u64 & NAMES[name_len & 0xf];
        let (_, rest) = string(&bytes[8..], name_len)?;
        Some(ShortRequest {
            args_len,
            name,
            name_len,
            rest,
        })
    }

    /// As `find`, of a request of at most 99 arguments.
    #[inline]
    pub fn find_long(bytes: &'b [u8]) -> Option<ShortRequest<'b>> {
        let (args_len, rest) = short_length(bytes, b'*')?;
        let (name_len, named) = short_length(rest, b'$')?;
        let front = u64::from_le_bytes(*named.first_chunk::<8>()?);
        let (_, rest) = string(named, name_len)?;
        (name_len <= 9).then_some(ShortRequest {
            args_len,
            name: front & NAMES[name_len & 0xf],
            name_len,
            rest,
        })
    }

    /// What is behind the name.
    pub fn behind_name(&self) -> &'b [u8] {
        self.rest
    }

    /// The length of the first argument behind the name, and what is behind its length line. Nothing if there is no such
    /// argument, or it has `max` bytes or more.
    pub fn first_length(&self, max: usize) -> Option<(usize, &'b [u8])> {
        if self.args_len < 2 {
            return None;
        }
        short_length(self.rest, b'$').or_else(|| other_length(self.rest, b'$', max))
    }
}

/// The first argument behind the name of a request, which has `len` bytes and begins here, and what is behind the frame of
/// `args_len` arguments. Nothing if the frame is not here to its end, or another argument has `max` bytes or more.
#[inline(always)]
pub fn first_and_rest(
    bytes: &[u8],
    len: usize,
    args_len: u8,
    max: usize,
) -> Option<(&[u8], &[u8])> {
    let (first, mut rest) = string(bytes, len)?;
    for _ in 2..args_len {
        (_, rest) = short_bulk(rest, max)?;
    }
    Some((first, rest))
}

/// As `short_reply`, of an array of one string or nil.
fn array_of_one(bytes: &[u8], max: usize) -> Option<usize> {
    let value = bytes.strip_prefix(b"*1\r\n")?;
    match short_bulk(value, max) {
        Some((_, rest)) => Some(bytes.len() - rest.len()),
        None => value.starts_with(b"$-1\r\n").then_some(9),
    }
}

/// As `short_reply`, where most are arrays of one string.
#[inline(always)]
pub fn short_part_reply(bytes: &[u8], max: usize) -> Option<usize> {
    if let Some((b"*1\r\n", value)) = bytes.split_first_chunk::<4>()
        && let Some((_, rest)) = short_bulk(value, max)
    {
        return Some(bytes.len() - rest.len());
    }
    short_reply(bytes, max)
}

/// The argument shorter than `max` at the front of `bytes`, and what is behind it, if it is here to its end.
#[inline(always)]
pub fn short_argument(bytes: &[u8], max: usize) -> Option<(&[u8], &[u8])> {
    short_bulk(bytes, max)
}

/// The length of the reply at the front of `bytes`, if it is a string shorter than `max`, an integer, nil, `+OK`, or
/// an array of one string or nil, and here to its end.
#[inline(always)]
pub fn short_reply(bytes: &[u8], max: usize) -> Option<usize> {
    if *bytes.first()? == b'$'
        && let Some((_, rest)) = short_bulk(bytes, max)
    {
        return Some(bytes.len() - rest.len());
    }
    if bytes.starts_with(OK) {
        return Some(OK.len());
    }
    other_short_reply(bytes, max)
}

/// What most writes are answered with.
const OK: &[u8] = b"+OK\r\n";

/// As `short_reply`, of what is neither a string nor `+OK`. Apart, since nearly all replies are one of these.
#[inline(never)]
fn other_short_reply(bytes: &[u8], max: usize) -> Option<usize> {
    match bytes[0] {
        b'$' => bytes.starts_with(b"$-1\r\n").then_some(5),
        b'*' => array_of_one(bytes, max),
        b':' => match number(bytes, 1) {
            Line::Number(_, next) => Some(next),
            Line::Invalid | Line::Incomplete => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_length_is_read_as_any_other() {
        for front in 0..=u16::MAX {
            let [a, b] = front.to_le_bytes();
            for tail in [&b"\r\n"[..], b"\n", b"\n\n", b"\r\r", b"5\r\n"] {
                let line = [b"$", &[a, b][..], tail, b"    "].concat();
                let expected = match number(&line, 1) {
                    Line::Number(len @ 0..100, next) => Some((len as usize, &line[next..])),
                    _ => None,
                };
                assert_eq!(short_length(&line, b'$'), expected, "{line:?}");
            }
        }
        for kind in (0..=255).filter(|kind| *kind != b'$') {
            assert_eq!(short_length(&[kind, b'1', b'\r', b'\n', b' '], b'$'), None);
        }
    }

    #[test]
    fn strings_of_one_length_are_found_as_any_others() {
        for len in [0, 1, 2, 3, 9, 10, 16, 99, 100] {
            let one = format!("${len}\r\n{}\r\n", "x\r\n$".repeat(25).split_at(len).0);
            // How many of the strings are found, and what is behind them: of as many as are asked for, here to their end and in order.
            let found = |bytes: &[u8], max| {
                let mut left = max;
                let rest = short_strings(bytes, &mut left);
                (max - left, bytes.len() - rest.len())
            };
            let short = if len < 100 { 1 } else { 0 };
            let six = one.repeat(6);
            for cut in 0..six.len() {
                let whole = cut / one.len() * short;
                let bytes = &six.as_bytes()[..cut];
                assert_eq!(found(bytes, 9), (whole as u64, whole * one.len()));
            }
            for max in 0..7 {
                let whole = max * short as u64;
                assert_eq!(
                    found(six.as_bytes(), max),
                    (whole, whole as usize * one.len())
                );
            }
            // One that is not in form, at each place: in its length line, or at its end.
            for place in 0..6 {
                let lines = [0, 1, 2, one.len() - 2, one.len() - 1];
                for at in lines.map(|at| place * one.len() + at) {
                    let mut bytes = six.clone().into_bytes();
                    bytes[at] = b'*';
                    let whole = place * short;
                    assert_eq!(
                        found(&bytes, 9),
                        (whole as u64, whole * one.len()),
                        "{len} {at}"
                    );
                }
                // One that is a byte longer.
                let longer = format!("${}\r\nx{}", len + 1, one.split_once('\n').unwrap().1);
                let bytes = [&one.repeat(place), &longer[..], &six].concat();
                let all = if len < 99 { 7 + place } else { place * short };
                let end = if len < 99 {
                    bytes.len()
                } else {
                    place * short * one.len()
                };
                assert_eq!(
                    found(bytes.as_bytes(), 20),
                    (all as u64, end),
                    "{len} {place}"
                );
            }
        }
    }

    #[test]
    fn a_reply_to_a_part_is_found_as_any_reply_is() {
        for reply in [
            "*1\r\n$3\r\nabc\r\n",
            "*1\r\n$-1\r\n",
            "*1\r\n$0\r\n\r\n",
            "*1\r\n:5\r\n",
            "*2\r\n$1\r\na\r\n$1\r\nb\r\n",
            "$3\r\nabc\r\n",
            "+OK\r\n",
            ":12\r\n",
            "-ERR\r\n",
        ] {
            for len in 0..=reply.len() {
                let bytes = [&reply.as_bytes()[..len], b"rest"].concat();
                for bytes in [&bytes[..len], &bytes] {
                    for max in [3, 100] {
                        assert_eq!(
                            short_part_reply(bytes, max),
                            short_reply(bytes, max),
                            "{reply}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn the_front_of_a_request_is_read_in_its_own_form_only() {
        let whole = b"*2\r\n$3\r\nGET\r\n$3\r\nkey\r\nrest";
        let request = ShortRequest::find(whole).unwrap();
        assert_eq!((request.args_len, request.name_len), (2, 3));
        assert_eq!(request.name, u64::from_le_bytes(*b"GET\0\0\0\0\0"));
        let both = |request: &ShortRequest<'static>| {
            let (len, behind) = request.first_length(99)?;
            first_and_rest(behind, len, request.args_len as u8, 99)
        };
        assert_eq!(both(&request), Some((&b"key"[..], &b"rest"[..])));
        let none = ShortRequest::find(b"*1\r\n$4\r\nPING\r\n*1\r\n").unwrap();
        assert_eq!(both(&none), None);
        for at in 0..whole.len() - 8 {
            assert!(
                ShortRequest::find(&whole[..at])
                    .is_none_or(|request| at < 22 && both(&request).is_none()),
                "{at}"
            );
            // Every other byte in the two length lines and behind the name.
            for byte in (0..=255).filter(|byte| *byte != whole[at]) {
                let mut other = whole.to_vec();
                other[at] = byte;
                let front = at < 8 || (11..13).contains(&at);
                // Another count of arguments; and a name of seven bytes, which ends at a line end, too.
                let proper = at == 1 && byte.is_ascii_digit() || (at, byte) == (5, b'7');
                let found = ShortRequest::find(&other);
                assert_eq!(found.is_none(), front && !proper, "{at} {byte}");
            }
        }
        for len in 1..10 {
            let name = "x".repeat(len);
            let bytes = format!("*2\r\n${len}\r\n{name}\r\n$3\r\nkey\r\n");
            let mut expected = [0; 8];
            expected[..len.min(8)].fill(b'x');
            let long = bytes.replace("*2", "*99");
            for (request, args_len) in [
                (ShortRequest::find(bytes.as_bytes()), 2),
                (ShortRequest::find_long(bytes.as_bytes()), 2),
                (ShortRequest::find_long(long.as_bytes()), 99),
            ] {
                let request = request.unwrap();
                assert_eq!(request.name, u64::from_le_bytes(expected));
                assert_eq!((request.args_len, request.name_len), (args_len, len));
                assert_eq!(request.behind_name(), b"$3\r\nkey\r\n");
            }
        }
        for none in [
            "*100\r\n$4\r\nMGET\r\n$3\r\nkey\r\n",
            "*2\r\n$10\r\nxxxxxxxxxx\r\n$3\r\nkey\r\n",
            "*2\r\n$4\r\nMGET.\n$3\r\nkey\r\n",
            "*2\r\n$4\r\nMGET\r",
            "MGET key and some more\r\n",
        ] {
            assert!(ShortRequest::find_long(none.as_bytes()).is_none(), "{none}");
        }
    }
}
