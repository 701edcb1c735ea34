//! Inline requests: a line of words becomes a multibulk frame, so that nodes and the rest of the proxy
//! see one shape only.
//!
//! Rule: words are split as `sdssplitargs` of Redis does; double quotes know `\n \r \t \b \a \xHH` and a
//! backslash before any other byte, single quotes know `\'`; a closing quote must end its word.

use super::encode;
use super::frame::ProtocolError;

/// Splits `line` (without or with its line end) and appends it to `out` as a multibulk frame. Returns the
/// number of words; zero appends nothing.
pub fn to_multibulk(line: &[u8], out: &mut Vec<u8>) -> Result<usize, ProtocolError> {
    let words = split(line).ok_or(ProtocolError::UnbalancedQuotes)?;
    if !words.is_empty() {
        encode::command(out, words.iter().map(Vec::as_slice));
    }
    Ok(words.len())
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c)
}

/// What ends a word: not all that is skipped before one.
fn ends_word(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

/// The words of a line; nothing if a quote is never closed, or does not end its word.
pub fn split(line: &[u8]) -> Option<Vec<Vec<u8>>> {
    let end = line.iter().position(|b| *b == b'\n').unwrap_or(line.len());
    let line = line[..end].strip_suffix(b"\r").unwrap_or(&line[..end]);
    // C strings end at NUL, and so does Redis' split.
    let line = line.split(|byte| *byte == 0).next().unwrap_or_default();
    let mut words = Vec::new();
    let mut rest = line;
    loop {
        let skip = rest.iter().take_while(|byte| is_space(**byte)).count();
        rest = &rest[skip..];
        if rest.is_empty() {
            return Some(words);
        }
        let (word, len) = one_word(rest)?;
        words.push(word);
        rest = &rest[len..];
    }
}

/// The first word of `text` and how many bytes it took.
fn one_word(text: &[u8]) -> Option<(Vec<u8>, usize)> {
    let mut word = Vec::new();
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        match byte {
            b'"' | b'\'' => {
                at = quoted(text, at, &mut word)?;
                if text.get(at).is_some_and(|next| !is_space(*next)) {
                    return None;
                }
                return Some((word, at));
            }
            _ if ends_word(byte) => break,
            _ => word.push(byte),
        }
        at += 1;
    }
    Some((word, at))
}

/// Reads the quoted text that opens at `at`; returns the place behind its closing quote.
fn quoted(text: &[u8], at: usize, word: &mut Vec<u8>) -> Option<usize> {
    let quote = text[at];
    let mut at = at + 1;
    loop {
        let byte = *text.get(at)?;
        if byte == quote {
            return Some(at + 1);
        }
        if byte == b'\\' && quote == b'\'' && text.get(at + 1) == Some(&b'\'') {
            word.push(b'\'');
            at += 2;
        } else if byte == b'\\' && quote == b'"' && text.get(at + 1).is_some() {
            let (value, len) = escape(&text[at + 1..]);
            word.push(value);
            at += 1 + len;
        } else {
            word.push(byte);
            at += 1;
        }
    }
}

/// The byte that an escape stands for, and the length of what follows the backslash.
fn escape(text: &[u8]) -> (u8, usize) {
    let hex = |index: usize| {
        text.get(index)
            .and_then(|byte| (*byte as char).to_digit(16))
    };
    match (text[0], hex(1), hex(2)) {
        (b'x', Some(high), Some(low)) => ((high * 16 + low) as u8, 3),
        (b'n', ..) => (b'\n', 1),
        (b'r', ..) => (b'\r', 1),
        (b't', ..) => (b'\t', 1),
        (b'b', ..) => (8, 1),
        (b'a', ..) => (7, 1),
        (other, ..) => (other, 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_split_as_redis_splits_them() {
        let check = |line: &str, words: Option<&[&str]>| {
            let expected = words.map(|w| {
                w.iter()
                    .map(|word| word.as_bytes().to_vec())
                    .collect::<Vec<_>>()
            });
            assert_eq!(split(line.as_bytes()), expected, "{line}");
        };
        check("PING\r\n", Some(&["PING"]));
        check("  SET  a\tb \n", Some(&["SET", "a", "b"]));
        check(
            r#"ECHO "\x41\n\"" 'it\'s' "" "#,
            Some(&["ECHO", "A\n\"", "it's", ""]),
        );
        check(r#"set "abc"#, None);
        check(r#"set "abc"d"#, None);
        check("set 'abc", None);
        check(r#"a"b c" d"#, Some(&["ab c", "d"]));
        check(r#"x "\q\\" "#, Some(&["x", "q\\"]));
        check("\u{b}a\u{b}b \u{c}c", Some(&["a\u{b}b", "c"]));
        check("\"a\"\u{b}b", Some(&["a", "b"]));
        check("", Some(&[]));
        let mut out = Vec::new();
        assert_eq!(to_multibulk(b"GET a\r\n", &mut out), Ok(2));
        assert_eq!(out, b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n");
    }
}
