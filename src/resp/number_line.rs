//! `Line`: the number between a type byte and CR LF, as all lengths and integers of the protocol have it.

/// A number line: what stands between a type byte and CR LF.
pub(super) enum Line {
    Number(i64, usize),
    Invalid,
    Incomplete,
}

/// Reads the number that starts at `from`, strictly: no plus, no spaces, no leading zeros.
#[inline(never)]
pub(super) fn number(bytes: &[u8], from: usize) -> Line {
    let mut position = from;
    let mut value: i64 = 0;
    while let Some(&byte) = bytes.get(position) {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 || position - from >= 10 {
            break;
        }
        value = value * 10 + i64::from(digit);
        position += 1;
    }
    match (bytes.get(position), bytes.get(position + 1)) {
        (Some(b'\r'), Some(b'\n'))
            if position > from && (bytes[from] != b'0' || position == from + 1) =>
        {
            Line::Number(value, position + 2)
        }
        _ => number_slow(bytes, from),
    }
}

/// Negative numbers, long numbers, and everything that is wrong.
#[cold]
fn number_slow(bytes: &[u8], from: usize) -> Line {
    let Some(rest) = bytes.get(from..) else {
        return Line::Incomplete;
    };
    let Some(end) = memchr::memchr(b'\r', rest) else {
        return Line::Incomplete;
    };
    let Some(after) = rest.get(end + 1) else {
        return Line::Incomplete;
    };
    let digits = &rest[..end];
    let plain = digits.strip_prefix(b"-").unwrap_or(digits);
    let strict = !plain.is_empty()
        && plain.iter().all(u8::is_ascii_digit)
        && (plain[0] != b'0' || digits.len() == 1);
    let value = std::str::from_utf8(digits)
        .ok()
        .and_then(|text| text.parse().ok());
    match value {
        Some(value) if strict && *after == b'\n' => Line::Number(value, from + end + 2),
        _ => Line::Invalid,
    }
}
