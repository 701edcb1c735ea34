//! The flags by which a script or a function says whether it may write (7.0: `evalGetCommandFlags`, `fcallGetCommandFlags`).

use std::collections::HashMap;
use std::sync::Arc;

use crate::resp::reply::Reply;

/// The flags that a script may have. Another one makes it invalid.
const FLAGS: &[&str] = &[
    NO_WRITES,
    "allow-oom",
    "allow-stale",
    "no-cluster",
    "allow-cross-slot-keys",
];

const NO_WRITES: &str = "no-writes";

/// The functions of the nodes, in lower case, and whether each has the flag `no-writes`.
pub type Functions = HashMap<Vec<u8>, bool>;

/// Whether a script cannot write; nothing if it has no flags, or is invalid.
pub(in crate::proxy) fn cannot_write(script: &[u8]) -> Option<bool> {
    let end = memchr::memchr(b'\n', script.strip_prefix(b"#!")?)?;
    let line = std::str::from_utf8(&script[..end + 2]).ok()?;
    let mut words = line.split_ascii_whitespace();
    if words.next() != Some("#!lua") {
        return None;
    }
    let mut no_writes = false;
    for word in words {
        for flag in word.strip_prefix("flags=")?.split(',') {
            if !FLAGS.contains(&flag) {
                return None;
            }
            no_writes |= flag == NO_WRITES;
        }
    }
    Some(no_writes)
}

/// The functions that a node lists (FUNCTION LIST).
pub fn functions_of(list: &Reply<'_>) -> Arc<Functions> {
    let mut found = Functions::new();
    for library in list.items() {
        let functions = field(&library, b"functions");
        for function in functions.iter().flat_map(|list| list.items()) {
            let name = field(&function, b"name");
            let Some(name) = name.as_ref().and_then(|name| name.text()) else {
                continue;
            };
            let flags = field(&function, b"flags");
            let mut flags = flags.iter().flat_map(|flags| flags.items());
            let no_writes = flags.any(|flag| flag.text() == Some(NO_WRITES.as_bytes()));
            found.insert(name.to_ascii_lowercase(), no_writes);
        }
    }
    Arc::new(found)
}

/// The value of this name, of names and values in turn.
fn field<'a>(pairs: &Reply<'a>, name: &[u8]) -> Option<Reply<'a>> {
    let mut items = pairs.items();
    while let (Some(own), Some(value)) = (items.next(), items.next()) {
        if own.text() == Some(name) {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_says_whether_it_cannot_write() {
        for (script, expected) in [
            ("return 1", None),
            ("#!lua flags=no-writes", None),
            ("#!lua flags=no-writes\nreturn 1", Some(true)),
            ("#!lua  flags=allow-oom,no-writes\nreturn 1", Some(true)),
            ("#!lua flags=allow-oom flags=no-writes\n", Some(true)),
            ("#!lua\nreturn 1", Some(false)),
            ("#!lua flags=allow-oom\nreturn 1", Some(false)),
            ("#!lua flags=no-writes,nosuch\nreturn 1", None),
            ("#!lua name=x flags=no-writes\nreturn 1", None),
            ("#!js flags=no-writes\nreturn 1", None),
            ("#!lua flags=\nreturn 1", None),
            ("", None),
        ] {
            assert_eq!(cannot_write(script.as_bytes()), expected, "{script}");
        }
    }

    #[test]
    fn functions_are_listed_with_their_flag() {
        let function = |name: &str, flag: &str| {
            format!(
                "*4\r\n$4\r\nname\r\n${}\r\n{name}\r\n$5\r\nflags\r\n*1\r\n+{flag}\r\n",
                name.len()
            )
        };
        let (one, two) = (function("Reads", "no-writes"), function("w", "allow-oom"));
        let list = format!("*1\r\n*4\r\n+library_name\r\n+x\r\n+functions\r\n*2\r\n{one}{two}");
        let found = functions_of(&Reply::new(list.as_bytes()));
        let expected = [(b"reads".to_vec(), true), (b"w".to_vec(), false)];
        assert_eq!(*found, Functions::from(expected));
        assert!(functions_of(&Reply::new(b"-ERR unknown command\r\n")).is_empty());
    }
}
