//! Parses key specifications and words of a server's COMMAND reply. Nothing in them is trusted: what is malformed is
//! skipped, or becomes a specification that is marked as incomplete.

use super::{BeginSearch, FindKeys, Flags, KeyFlags, KeySpec};
use crate::resp::value::Value;

/// Longest note on a key spec.
const NOTE_BYTES_MAX: usize = 512;
/// The words that a key spec may search for; keys behind another word are asked of a server.
const KEYWORDS: &[&str] = &[
    "STREAMS",
    "KEYS",
    "STORE",
    "STOREDIST",
    "COUNTKEYS",
    "NUMKEYS",
];

/// A spec that tells nothing.
pub(super) const UNKNOWN: KeySpec = KeySpec {
    flags: KeyFlags::INCOMPLETE,
    begin: BeginSearch::Unknown,
    find: FindKeys::Unknown,
};

/// The spec of a server that has none: the range between first and last key.
pub(super) fn legacy_spec(legacy: [Option<i64>; 3], flags: Flags) -> Option<KeySpec> {
    let [first, last, step] = legacy;
    if first == Some(0) {
        return None;
    }
    let access = KeyFlags::ACCESS;
    let flags = if flags.contains(Flags::WRITE) {
        KeyFlags::RW.with(access).with(KeyFlags::UPDATE)
    } else {
        KeyFlags::RO.with(access)
    };
    let spec = || {
        let (first, last) = (first?, last?);
        let last = if last < 0 {
            last
        } else {
            last.checked_sub(first).filter(|last| *last >= 0)?
        };
        let find = FindKeys::Range {
            last: i32::try_from(last).ok()?,
            step: u32::try_from(step?).ok().filter(|step| *step > 0)?,
            limit: 0,
        };
        let begin = BeginSearch::Index(u32::try_from(first).ok()?);
        Some(KeySpec { flags, begin, find })
    };
    Some(spec().unwrap_or(UNKNOWN))
}

/// One key spec; what it does not say in words that are known here is unknown.
pub(super) fn key_spec(spec: &Value<'_>, place: usize, notes: &mut Vec<(u8, Box<str>)>) -> KeySpec {
    if let Some(note) = field(spec, "notes").and_then(Value::string) {
        let plain = |text: &&str| text.len() <= NOTE_BYTES_MAX && !text.contains(['\r', '\n']);
        if let Some(note) = std::str::from_utf8(note).ok().filter(plain) {
            notes.push((place as u8, note.into()));
        }
    }
    let flags = field(spec, "flags").map_or(KeyFlags::NONE, |flags| {
        union(flags, KeyFlags::from_name, KeyFlags::with)
    });
    let begin = field(spec, "begin_search")
        .and_then(begin)
        .unwrap_or(BeginSearch::Unknown);
    let find = field(spec, "find_keys")
        .and_then(find)
        .unwrap_or(FindKeys::Unknown);
    KeySpec { flags, begin, find }
}

/// `begin_search` of a key spec.
fn begin(value: &Value<'_>) -> Option<BeginSearch> {
    let spec = field(value, "spec")?;
    match field(value, "type")?.string()? {
        // The name of the command is no key.
        b"index" => Some(BeginSearch::Index(
            number(spec, "index").filter(|index| *index > 0)?,
        )),
        b"keyword" => {
            let keyword = field(spec, "keyword")?.string()?;
            let same = |word: &&&str| word.as_bytes().eq_ignore_ascii_case(keyword);
            let word = KEYWORDS.iter().find(same)?;
            let start_from = number(spec, "startfrom")?;
            Some(BeginSearch::Keyword { word, start_from })
        }
        _ => None,
    }
}

/// `find_keys` of a key spec.
fn find(value: &Value<'_>) -> Option<FindKeys> {
    let spec = field(value, "spec")?;
    let step = number(spec, "keystep").filter(|step| *step > 0);
    match field(value, "type")?.string()? {
        b"range" => Some(FindKeys::Range {
            last: number(spec, "lastkey")?,
            step: step?,
            limit: number(spec, "limit")?,
        }),
        b"keynum" => Some(FindKeys::Keynum {
            num_index: number(spec, "keynumidx")?,
            first_key: number(spec, "firstkey")?,
            step: step?,
        }),
        _ => None,
    }
}

/// A field of a map.
fn field<'v, 'a>(map: &'v Value<'a>, name: &str) -> Option<&'v Value<'a>> {
    let pairs = map.items()?.chunks_exact(2);
    pairs
        .into_iter()
        .find(|pair| pair[0].string() == Some(name.as_bytes()))
        .map(|pair| &pair[1])
}

/// A number of a map, if it fits.
fn number<T: TryFrom<i64>>(map: &Value<'_>, name: &str) -> Option<T> {
    T::try_from(field(map, name)?.integer()?).ok()
}

/// All that is known of a list of words.
pub(super) fn union<T: Default>(
    words: &Value<'_>,
    known: impl Fn(&str) -> Option<T>,
    with: impl Fn(T, T) -> T,
) -> T {
    let words = words.items().unwrap_or_default().iter();
    let words = words.filter_map(|word| known(std::str::from_utf8(word.string()?).ok()?));
    words.fold(T::default(), with)
}

/// A plain word: printable, without spaces, not too long.
pub(super) fn word<'a>(value: &Value<'a>, bytes_max: usize) -> Option<&'a str> {
    let bytes = value.string()?;
    let plain = (1..=bytes_max).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_graphic);
    std::str::from_utf8(bytes).ok().filter(|_| plain)
}
