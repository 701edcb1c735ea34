//! `PatternSet`: the patterns of a selector, each with what it allows. Whether one fits is found in a time that hardly grows
//! with their number: a user may have a pattern for each of ten thousand tenants, and name a hundred thousand keys in one
//! request.
//!
//! Most patterns are a plain beginning. Where there are many, beginnings are looked up by their lengths, of which there are
//! few, and names without a wildcard as they are; others are compared one by one, as all are where there are few.

use std::collections::{BTreeMap, HashMap};

use crate::resp::glob::{self, Case};

/// Patterns that are compared one by one, if there are no more: that is quicker than to look them up.
const FEW: usize = 16;

/// Patterns, each with what it allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PatternSet<A> {
    one_by_one: Vec<(Pattern, A)>,
    /// By length.
    beginnings: BTreeMap<usize, HashMap<Box<[u8]>, A>>,
    exact: HashMap<Box<[u8]>, A>,
}

impl<A> PatternSet<A> {
    pub(super) fn new(all: impl Iterator<Item = (Pattern, A)>) -> PatternSet<A> {
        let mut set = PatternSet {
            one_by_one: all.collect(),
            beginnings: BTreeMap::new(),
            exact: HashMap::new(),
        };
        if set.one_by_one.len() > FEW {
            for (pattern, allows) in std::mem::take(&mut set.one_by_one) {
                set.index(pattern, allows);
            }
        }
        set
    }

    fn index(&mut self, pattern: Pattern, allows: A) {
        let (table, text) = match &pattern {
            Pattern::Beginning(prefix) => {
                let table = self.beginnings.entry(prefix.whole.len()).or_default();
                (table, &prefix.whole)
            }
            Pattern::Exact(text) => (&mut self.exact, text),
            Pattern::Glob(_) => return self.one_by_one.push((pattern, allows)),
        };
        match table.contains_key(text) {
            // The same once more may allow something else.
            true => self.one_by_one.push((pattern, allows)),
            false => {
                table.insert(text.clone(), allows);
            }
        }
    }

    /// Whether some pattern fits this text, and allows what is asked.
    #[inline]
    pub(super) fn any(&self, text: &[u8], allows: impl Fn(&A) -> bool) -> bool {
        let mut others = self.one_by_one.iter();
        others.any(|(pattern, own)| allows(own) && pattern.fits(text))
            || (!(self.beginnings.is_empty() && self.exact.is_empty())
                && self.any_indexed(text, allows))
    }

    #[inline(never)]
    fn any_indexed(&self, text: &[u8], allows: impl Fn(&A) -> bool) -> bool {
        let mut beginnings = self.beginnings.range(..=text.len());
        self.exact.get(text).is_some_and(&allows)
            || beginnings.any(|(len, table)| table.get(&text[..*len]).is_some_and(&allows))
    }

    /// Whether some pattern was typed like this. It is compared with the patterns of PSUBSCRIBE as it is.
    pub(super) fn has(&self, typed: &[u8]) -> bool {
        let begins = |beginning: &[u8]| {
            let table = self.beginnings.get(&beginning.len());
            table.is_some_and(|table| table.contains_key(beginning))
        };
        self.one_by_one.iter().any(|(pattern, _)| pattern.is(typed))
            || self.exact.contains_key(typed)
            || typed.strip_suffix(b"*").is_some_and(begins)
    }

    /// The one pattern that there is.
    pub(super) fn only(&self) -> Option<&(Pattern, A)> {
        match &self.one_by_one[..] {
            [only] if self.beginnings.is_empty() && self.exact.is_empty() => Some(only),
            _ => None,
        }
    }
}

/// A pattern, in the form in which it is compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Pattern {
    /// What begins with this.
    Beginning(Prefix),
    /// This.
    Exact(Box<[u8]>),
    /// What fits this.
    Glob(Box<[u8]>),
}

/// A beginning. Its first eight bytes are compared as one number: most are no longer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Prefix {
    whole: Box<[u8]>,
    /// The first bytes, and where they are.
    head: u64,
    mask: u64,
}

impl Prefix {
    const HEAD: usize = 8;

    fn new(whole: &[u8]) -> Prefix {
        let (mut head, mut mask) = ([0; Prefix::HEAD], [0; Prefix::HEAD]);
        for ((byte, head), mask) in whole.iter().zip(&mut head).zip(&mut mask) {
            (*head, *mask) = (*byte, u8::MAX);
        }
        Prefix {
            whole: whole.into(),
            head: u64::from_ne_bytes(head),
            mask: u64::from_ne_bytes(mask),
        }
    }

    #[inline]
    pub(super) fn begins(&self, text: &[u8]) -> bool {
        match text.first_chunk::<{ Prefix::HEAD }>() {
            Some(first) if (u64::from_ne_bytes(*first) ^ self.head) & self.mask != 0 => false,
            Some(_) if self.whole.len() <= Prefix::HEAD => true,
            Some(_) | None => text.starts_with(&self.whole),
        }
    }
}

impl Pattern {
    pub(super) fn new(glob: &[u8]) -> Pattern {
        let is_plain = |text: &[u8]| !text.iter().any(|byte| b"*?[\\".contains(byte));
        match glob.strip_suffix(b"*") {
            Some(beginning) if is_plain(beginning) => Pattern::Beginning(Prefix::new(beginning)),
            None if is_plain(glob) => Pattern::Exact(glob.into()),
            Some(_) | None => Pattern::Glob(glob.into()),
        }
    }

    #[inline]
    fn fits(&self, text: &[u8]) -> bool {
        match self {
            Pattern::Beginning(prefix) => prefix.begins(text),
            Pattern::Exact(own) => **own == *text,
            Pattern::Glob(glob) => glob::matches(glob, text, Case::Sensitive),
        }
    }

    /// What was typed. It is compared with the patterns of PSUBSCRIBE as it is.
    fn is(&self, text: &[u8]) -> bool {
        match self {
            Pattern::Beginning(prefix) => text.strip_suffix(b"*") == Some(&prefix.whole),
            Pattern::Exact(own) | Pattern::Glob(own) => **own == *text,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_beginning_of_any_length_is_found_in_texts_of_any_length() {
        let bytes = b"abcdefghijklmnop";
        for prefix in 0..=bytes.len() {
            let glob = [&bytes[..prefix], b"*"].concat();
            let pattern = Pattern::new(&glob);
            assert!(matches!(pattern, Pattern::Beginning(_)) && pattern.is(&glob));
            for length in 0..=bytes.len() {
                let mut text = bytes[..length].to_vec();
                assert_eq!(pattern.fits(&text), length >= prefix);
                for at in 0..length {
                    text[at] ^= 0x80;
                    assert_eq!(pattern.fits(&text), length >= prefix && at >= prefix);
                    text[at] ^= 0x80;
                }
            }
        }
    }

    #[test]
    fn many_patterns_are_found_as_few_are() {
        let globs = [
            "", "a*", "ab*", "abc", "a?c*", "*", "abc*", "x", "xyz*", "k[12]*", "q\\*", "q\\*",
        ];
        let texts = [
            "", "a", "ab", "abc", "abcd", "axc", "x", "xy", "xyz", "xyzz", "k1", "k3", "q*", "q",
            "z",
        ];
        // Each for itself, beside many that fit nothing.
        for (at, glob) in globs.iter().enumerate() {
            let fillers = (0..100).map(|filler| format!("never{filler}*"));
            let all = fillers.chain([glob.to_string()]);
            let all = all.map(|glob| (Pattern::new(glob.as_bytes()), glob));
            let set = PatternSet::new(all);
            assert!(set.only().is_none());
            let pattern = Pattern::new(glob.as_bytes());
            for text in texts.iter().chain(&globs).map(|text| text.as_bytes()) {
                assert_eq!(
                    set.any(text, |_| true),
                    pattern.fits(text),
                    "{glob} {text:?}"
                );
                assert_eq!(set.any(text, |own| own == glob), pattern.fits(text));
                assert!(!set.any(text, |own| own != glob), "{at}");
                assert_eq!(set.has(text), pattern.is(text), "{glob} {text:?}");
            }
        }
    }

    #[test]
    fn of_two_patterns_that_are_alike_either_may_allow() {
        let fillers = (0..100).map(|filler| format!("never{filler}*"));
        let all = fillers
            .chain(["a*", "a*", "b", "b"].map(String::from))
            .enumerate();
        let set = PatternSet::new(all.map(|(at, glob)| (Pattern::new(glob.as_bytes()), at)));
        for (text, first) in [(&b"ab"[..], 100), (b"b", 102)] {
            assert!(set.any(text, |at| *at == first) && set.any(text, |at| *at == first + 1));
            assert!(!set.any(text, |at| *at < first || *at > first + 1));
        }
    }
}
