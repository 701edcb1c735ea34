//! Keyspace notifications: each node publishes those of its own keys to its own subscribers only, while any
//! other message goes to every node. So they are taken from every master, and everything else from one node.

use std::borrow::Cow;
use std::sync::Arc;

use crate::proxy::namespace::Namespace;
use crate::proxy::pubsub::state::kind::Kind;
use crate::proxy::pubsub::state::subscriptions::Subscriptions;
use crate::resp::encode;
use crate::resp::glob::{self, Case};
use crate::resp::reply::Reply;

/// How the channels of keyspace notifications begin.
const PREFIXES: [&[u8]; 2] = [b"__keyspace@", b"__keyevent@"];

/// Whether a channel is one of keyspace notifications.
pub fn is_event(channel: &[u8]) -> bool {
    channel.starts_with(b"__key") && PREFIXES.iter().any(|prefix| channel.starts_with(prefix))
}

/// Whether a pattern may match channels of keyspace notifications.
pub fn may_match_events(pattern: &[u8]) -> bool {
    PREFIXES
        .iter()
        .any(|prefix| glob::may_begin(pattern, prefix, Case::Sensitive))
}

/// A message for a client of a namespace, with the names that the client knows; nothing if it is a keyspace notification
/// about a key of others.
pub fn confine<'f>(frame: &'f [u8], kind: Kind, own: &Namespace) -> Option<Cow<'f, [u8]>> {
    let items: Vec<Reply<'_>> = Reply::new(frame).items().collect();
    let [word, before @ .., channel, payload] = &items[..] else {
        return Some(frame.into());
    };
    let (Some(name), Some(text)) = (channel.text(), payload.text()) else {
        return Some(frame.into());
    };
    let event = kind != Kind::Shard && is_event(name);
    if !event && !own.has_channels() {
        return Some(frame.into());
    }
    let text = match event {
        true if name.starts_with(PREFIXES[1]) => own.own(text)?,
        true => {
            own.own(&name[key_at(name)?..])?;
            text
        }
        false => text,
    };
    // A pattern of numbers of databases fits database 0 at nodes, and may not fit the one that it is for its client.
    let fits = |pattern: &Reply<'_>| {
        let pattern = untagged(pattern.text().unwrap_or_default(), own);
        glob::matches(&pattern, &untagged(name, own), Case::Sensitive)
    };
    if event && own.database() > 0 && !before.iter().all(fits) {
        return None;
    }
    let head = memchr::memchr(b'\n', frame).map_or(0, |end| end + 1);
    let mut out = frame[..head].to_vec();
    out.extend_from_slice(word.frame());
    for name in before.iter().filter_map(|item| item.text()).chain([name]) {
        encode::bulk(&mut out, &untagged(name, own));
    }
    encode::bulk(&mut out, text);
    Some(out.into())
}

/// Where the key begins in the name of a channel that is about one.
fn key_at(channel: &[u8]) -> Option<usize> {
    let begins = channel.starts_with(PREFIXES[0]);
    let found = begins.then(|| memchr::memmem::find(channel, b"__:"));
    found.flatten().map(|at| at + 3)
}

/// The name of a channel of notifications with the other number of its database. Nodes know database 0 only, and a client
/// knows its own by the number that it has selected: these two take each other's place, so that the client's name for
/// database 0 is at nodes the name of one that does not exist.
fn renumbered<'n>(name: &'n [u8], own: &Namespace) -> Cow<'n, [u8]> {
    let number = own.database().to_string();
    let begins = PREFIXES.iter().find(|prefix| name.starts_with(prefix));
    let (Some(prefix), false) = (begins, own.database() == 0) else {
        return name.into();
    };
    let rest = &name[prefix.len()..];
    let end = rest.iter().position(|byte| !byte.is_ascii_digit());
    let (digits, rest) = rest.split_at(end.unwrap_or(rest.len()));
    let other: &[u8] = match digits {
        b"0" => number.as_bytes(),
        digits if digits == number.as_bytes() => b"0",
        _ => return name.into(),
    };
    match rest.starts_with(b"__:") {
        true => [*prefix, other, rest].concat().into(),
        false => name.into(),
    }
}

/// The name of a channel, or a pattern of such names, as nodes have it for clients of a namespace.
pub fn tagged<'n>(name: &'n [u8], own: &Namespace) -> Cow<'n, [u8]> {
    if is_event(name) {
        let name = renumbered(name, own);
        return match key_at(&name) {
            Some(at) => [&name[..at], own.tag(), &name[at..]].concat().into(),
            None => name,
        };
    }
    match own.has_channels() {
        true => [own.shared_tag(), name].concat().into(),
        false => name.into(),
    }
}

/// The same for a client of this namespace, if of any.
pub fn name_at_nodes(name: &[u8], own: Option<&Namespace>) -> Arc<[u8]> {
    match own {
        Some(own) => Arc::from(&*tagged(name, own)),
        None => Arc::from(name),
    }
}

/// The same as a client of this namespace has it, if of any.
pub fn name_of_client<'n>(name: &'n [u8], own: Option<&Namespace>) -> Cow<'n, [u8]> {
    own.map_or(name.into(), |own| untagged(name, own))
}

/// The same as its clients have it.
pub fn untagged<'n>(name: &'n [u8], own: &Namespace) -> Cow<'n, [u8]> {
    if is_event(name) {
        let name = match key_at(name) {
            Some(at) => match own.own(&name[at..]) {
                Some(rest) => [&name[..at], rest].concat().into(),
                None => return name.into(),
            },
            None => Cow::from(name),
        };
        return renumbered(&name, own).into_owned().into();
    }
    match name.strip_prefix(own.shared_tag()) {
        Some(rest) if own.has_channels() => rest.into(),
        _ => name.into(),
    }
}

/// Whether clients of a namespace may hear that there is a channel of this name: it is not about a key of others, nor a
/// channel of others.
pub fn is_visible(name: &[u8], own: &Namespace) -> bool {
    match key_at(name) {
        Some(at) => own.own(&name[at..]).is_some(),
        None => !own.has_channels() || is_event(name) || name.starts_with(own.shared_tag()),
    }
}

/// Whether any of these names is about keys of the database that the client has selected.
pub fn has_any(own: &Subscriptions) -> bool {
    let mut names = own.names(Kind::Channel).chain(own.names(Kind::Pattern));
    names.any(|name| is_event(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_hears_of_its_own_keys_only() {
        let own = Namespace::new("n", 1, false);
        let message = |words: &[&str]| {
            let mut frame = Vec::new();
            encode::command(&mut frame, words.iter().map(|word| word.as_bytes()));
            frame
        };
        let check = |kind, words: &[&str], expected: Option<&[&str]>| {
            let frame = message(words);
            let got = confine(&frame, kind, &own).map(Cow::into_owned);
            assert_eq!(got, expected.map(message), "{words:?}");
        };
        let pattern = Kind::Pattern;
        check(
            Kind::Channel,
            &["message", "news", "{m}a"],
            Some(&["message", "news", "{m}a"]),
        );
        check(
            pattern,
            &["pmessage", "*", "__keyevent@0__:set", "{n}k"],
            Some(&["pmessage", "*", "__keyevent@0__:set", "k"]),
        );
        check(
            pattern,
            &["pmessage", "*", "__keyevent@0__:set", "{m}k"],
            None,
        );
        check(pattern, &["pmessage", "*", "__keyevent@0__:set", "k"], None);
        check(
            pattern,
            &[
                "pmessage",
                "__keyspace@0__:{n}k*",
                "__keyspace@0__:{n}k1",
                "set",
            ],
            Some(&["pmessage", "__keyspace@0__:k*", "__keyspace@0__:k1", "set"]),
        );
        check(
            pattern,
            &["pmessage", "*", "__keyspace@0__:{m}k", "set"],
            None,
        );
        check(Kind::Channel, &["message", "__keyspace@0__:k", "set"], None);
        assert_eq!(&*tagged(b"__keyspace@0__:k", &own), b"__keyspace@0__:{n}k");
        assert_eq!(
            &*untagged(b"__keyspace@0__:{n}k", &own),
            b"__keyspace@0__:k"
        );
        assert_eq!(&*tagged(b"news", &own), b"news");
        assert!(is_visible(b"news", &own) && !is_visible(b"__keyspace@0__:{m}k", &own));
    }

    #[test]
    fn a_namespace_may_have_channels_of_its_own() {
        let own = Namespace::new("n", 1, true);
        for (name, at_nodes) in [
            ("news", "{n}news"),
            ("*", "{n}*"),
            ("{n}a", "{n}{n}a"),
            ("__keyspace@0__:k*", "__keyspace@0__:{n}k*"),
            ("__keyevent@0__:set", "__keyevent@0__:set"),
        ] {
            assert_eq!(&*tagged(name.as_bytes(), &own), at_nodes.as_bytes());
            assert_eq!(&*untagged(at_nodes.as_bytes(), &own), name.as_bytes());
            assert!(is_visible(at_nodes.as_bytes(), &own));
        }
        assert!(!is_visible(b"news", &own) && !is_visible(b"{m}news", &own));
        let mut frame = Vec::new();
        encode::command(&mut frame, [&b"message"[..], b"{n}news", b"{n}text"]);
        let mut expected = Vec::new();
        encode::command(&mut expected, [&b"message"[..], b"news", b"{n}text"]);
        let got = confine(&frame, Kind::Channel, &own).map(Cow::into_owned);
        assert_eq!(got, Some(expected));
    }

    #[test]
    fn notifications_have_the_number_of_the_database() {
        let own = Namespace::new("n", 3, true).of_database(2).expect("2");
        for (name, at_nodes) in [
            ("__keyspace@2__:k", "__keyspace@0__:{n:2}k"),
            ("__keyspace@0__:k", "__keyspace@2__:{n:2}k"),
            ("__keyspace@1__:k", "__keyspace@1__:{n:2}k"),
            ("__keyspace@*__:k*", "__keyspace@*__:{n:2}k*"),
            ("__keyevent@2__:set", "__keyevent@0__:set"),
            ("__keyevent@0__:set", "__keyevent@2__:set"),
            ("__keyevent@22__:set", "__keyevent@22__:set"),
            ("__keyspace@2", "__keyspace@2"),
            ("news", "{n}news"),
        ] {
            assert_eq!(
                &*tagged(name.as_bytes(), &own),
                at_nodes.as_bytes(),
                "{name}"
            );
            assert_eq!(
                &*untagged(at_nodes.as_bytes(), &own),
                name.as_bytes(),
                "{at_nodes}"
            );
        }
        let mut frame = Vec::new();
        encode::command(
            &mut frame,
            [&b"pmessage"[..], b"*", b"__keyevent@0__:set", b"{n:2}k"],
        );
        let mut expected = Vec::new();
        encode::command(
            &mut expected,
            [&b"pmessage"[..], b"*", b"__keyevent@2__:set", b"k"],
        );
        let confined = |own: &Namespace| {
            let got = confine(&frame, Kind::Pattern, own);
            got.map(Cow::into_owned)
        };
        // The pattern is no name of this namespace's channels, and so is told as it is.
        assert_eq!(confined(&own), Some(expected));
        assert_eq!(confined(&own.of_database(0).expect("0")), None);
    }

    #[test]
    fn patterns_that_may_match_events_are_known() {
        for pattern in [
            "*",
            "__key*",
            "__key*__:*",
            "?*",
            "__keyspace@0__:foo",
            "__keyevent@[0-9]__:set",
            "[_]_key*",
            "\\__key*",
            "*foo",
        ] {
            assert!(may_match_events(pattern.as_bytes()), "{pattern}");
        }
        for pattern in [
            "",
            "news.*",
            "__keyspac",
            "__keyspac?",
            "[^_]*",
            "_",
            "__keyspace-*",
        ] {
            assert!(!may_match_events(pattern.as_bytes()), "{pattern}");
        }
        assert!(is_event(b"__keyspace@0__:k") && is_event(b"__keyevent@0__:set"));
        assert!(!is_event(b"__keyspace") && !is_event(b"news"));
    }
}
