//! `glob`: Redis' glob-style patterns, as `KEYS`, `CONFIG GET` and `COMMAND LIST` take them.
//!
//! The rules of the server's `stringmatchlen`: `*`, `?`, `[a-c]`, `[^x]`, `\` takes away a meaning, also
//! inside of brackets; brackets without an end reach to the end. Never slower than pattern times text.

/// Whether upper and lower case are the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Case {
    /// They differ.
    Sensitive,
    /// They are the same, for ASCII letters.
    Insensitive,
}

impl Case {
    /// A byte as it is compared.
    fn fold(self, byte: u8) -> u8 {
        match self {
            Case::Sensitive => byte,
            Case::Insensitive => byte.to_ascii_lowercase(),
        }
    }
}

/// Whether all of `text` fits `pattern`.
pub fn matches(pattern: &[u8], text: &[u8], case: Case) -> bool {
    // Where to go on when what follows the last star does not fit: the star takes one byte more.
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        let step = match pattern.get(p) {
            Some(b'*') => {
                star = Some((p + 1, t));
                p += 1;
                continue;
            }
            Some(_) => one(&pattern[p..], text[t], case),
            None => None,
        };
        match (step, star) {
            (Some(len), _) => {
                p += len;
                t += 1;
            }
            (None, Some((after, from))) => {
                star = Some((after, from + 1));
                p = after;
                t = from + 1;
            }
            (None, None) => return false,
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

/// Whether a text that begins with `beginning` and is longer may fit `pattern`; the rest of the pattern is not
/// looked at, so that this may say yes where nothing fits.
pub fn may_begin(pattern: &[u8], beginning: &[u8], case: Case) -> bool {
    let mut p = 0;
    for byte in beginning {
        match pattern.get(p) {
            None => return false,
            Some(b'*') => return true,
            Some(_) => match one(&pattern[p..], *byte, case) {
                Some(len) => p += len,
                None => return false,
            },
        }
    }
    p < pattern.len()
}

/// How long the first item of `pattern` is, if it takes `byte`. The pattern is not empty.
fn one(pattern: &[u8], byte: u8, case: Case) -> Option<usize> {
    let same = |other: u8| case.fold(other) == case.fold(byte);
    match pattern[0] {
        b'?' => Some(1),
        b'\\' if pattern.len() > 1 => same(pattern[1]).then_some(2),
        b'[' => brackets(pattern, byte, case),
        other => same(other).then_some(1),
    }
}

/// How long the brackets at the start of `pattern` are, if they take `byte`.
fn brackets(pattern: &[u8], byte: u8, case: Case) -> Option<usize> {
    let negated = pattern.get(1) == Some(&b'^');
    let mut at = 1 + usize::from(negated);
    let mut hit = false;
    loop {
        match pattern[at..] {
            [] => break,
            [b']', ..] => {
                at += 1;
                break;
            }
            // What is escaped keeps its case, as in the server.
            [b'\\', escaped, ..] => {
                hit |= escaped == byte;
                at += 2;
            }
            [first, b'-', last, ..] => {
                let (low, high) = (first.min(last), first.max(last));
                hit |= (case.fold(low)..=case.fold(high)).contains(&case.fold(byte));
                at += 3;
            }
            [single, ..] => {
                hit |= case.fold(single) == case.fold(byte);
                at += 1;
            }
        }
    }
    (hit != negated).then_some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_in_redis() {
        let check = |pattern: &str, text: &str, expected: bool| {
            let found = matches(pattern.as_bytes(), text.as_bytes(), Case::Insensitive);
            assert_eq!(found, expected, "{pattern} {text}");
        };
        check("*", "save", true);
        check("SAVE", "save", true);
        check("max*", "maxmemory", true);
        check("*mem*y", "maxmemory", true);
        check("*x", "maxmemory", false);
        check("m?x*", "maxclients", true);
        check("[a-n]ax*", "maxclients", true);
        check("[N-A]ax*", "maxclients", true);
        check("[^m]ax*", "maxclients", false);
        check("[^a-l]ax*", "maxclients", true);
        check("[\\]]x", "]x", true);
        check("[a\\-z]x", "bx", false);
        check("[a\\-z]x", "-x", true);
        check("[ma", "m", true);
        check("[", "a", false);
        check("[^", "a", true);
        check("[]", "a", false);
        check("save\\*", "save*", true);
        check("save\\*", "saves", false);
        check("\\", "\\", true);
        check("", "save", false);
        check("", "", true);
        check("a*a*a*a*a*a*a*a*b", &"a".repeat(1000), false);
    }

    #[test]
    fn case_counts_where_it_is_asked_to() {
        let check = |pattern: &str, text: &str, expected: bool| {
            let found = matches(pattern.as_bytes(), text.as_bytes(), Case::Sensitive);
            assert_eq!(found, expected, "{pattern} {text}");
        };
        check("GET", "get", false);
        check("[G-g]et", "get", true);
        check("[A-G]et", "get", false);
        check("x*", "xread", true);
    }
}
