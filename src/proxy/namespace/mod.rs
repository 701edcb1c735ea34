//! `Namespace`: a tag before every key of a client, so that all its keys lie in one slot and the cluster is one server
//! for it. `jobs:1` of a client of the namespace `ns` is `{ns}jobs:1` at the nodes.
//!
//! A name may have several databases, as one server has: database 0 is `{ns}`, database 1 is `{ns:1}` in a slot of its own.
//!
//! It must never know a client or a node.

pub mod across_databases;
pub mod namespaces;
pub mod prelude;
pub mod reply;
pub mod request;
pub mod scripts;
pub mod whole_database;

use std::sync::Arc;

use crate::cluster::slot::Slot;
use crate::proxy::stats::namespace_counts::NamespaceCounts;

/// The name of a database of a namespace: what stands in its tag.
pub fn database_name(name: &str, index: u16) -> String {
    match index {
        0 => name.to_string(),
        _ => format!("{name}:{index}"),
    }
}

/// What the databases of one name share.
#[derive(Debug, PartialEq, Eq)]
struct Family {
    name: Box<str>,
    /// The tag of database 0.
    tag: Box<[u8]>,
    databases: u16,
    /// Whether channels have the tag, too.
    channels: bool,
}

/// Keys of fewer bytes have a front that is made beforehand.
const FRONTS: usize = 100;

/// The tag before the keys of some clients: a name, and one of the databases that it has.
#[derive(Debug, Clone)]
pub struct Namespace {
    tag: Box<[u8]>,
    /// What stands in a request before a key of so many bytes: the length of both, a line end and the tag.
    fronts: Arc<[Box<[u8]>]>,
    slot: Slot,
    database: u16,
    family: Arc<Family>,
    /// What is counted of it.
    pub counts: Arc<NamespaceCounts>,
}

/// The same database of the same name.
impl PartialEq for Namespace {
    fn eq(&self, other: &Namespace) -> bool {
        self.tag == other.tag && self.database == other.database && self.family == other.family
    }
}

impl Eq for Namespace {}

/// The fronts of keys that are not long: made once, as each request needs one.
fn fronts(tag: &[u8]) -> Arc<[Box<[u8]>]> {
    let front = |len: usize| {
        let mut front = format!("${}\r\n", len + tag.len()).into_bytes();
        front.extend_from_slice(tag);
        front.into_boxed_slice()
    };
    (0..FRONTS).map(front).collect()
}

impl Namespace {
    /// Database 0 of this name, which holds no braces. The name has so many databases; and channels of its own, if so
    /// wished.
    pub fn new(name: &str, databases: u16, channels: bool) -> Namespace {
        let tag: Box<[u8]> = format!("{{{name}}}").into_bytes().into();
        let slot = Slot::of(&tag);
        Namespace {
            slot,
            fronts: fronts(&tag),
            tag: tag.clone(),
            database: 0,
            counts: Arc::new(NamespaceCounts::new(name, 0, slot)),
            family: Arc::new(Family {
                name: name.into(),
                tag,
                databases: databases.max(1),
                channels,
            }),
        }
    }

    /// Another database of the same name.
    pub fn of_database(&self, index: u16) -> Option<Namespace> {
        if index >= self.family.databases {
            return None;
        }
        let tag: Box<[u8]> = match index {
            0 => self.family.tag.clone(),
            _ => format!("{{{}}}", database_name(&self.family.name, index))
                .into_bytes()
                .into(),
        };
        let slot = Slot::of(&tag);
        let counts = match index {
            0 => self.counts.clone(),
            _ => Arc::new(NamespaceCounts::new(self.name(), index, slot)),
        };
        Some(Namespace {
            slot,
            fronts: fronts(&tag),
            tag,
            database: index,
            family: self.family.clone(),
            counts,
        })
    }

    /// Its name, without the number of a database.
    pub fn name(&self) -> &str {
        &self.family.name
    }

    /// Which database of the name it is.
    #[inline]
    pub fn database(&self) -> u16 {
        self.database
    }

    /// How many databases the name has.
    pub fn databases(&self) -> u16 {
        self.family.databases
    }

    /// Whether both are databases of one name.
    pub fn is_beside(&self, other: &Namespace) -> bool {
        self.family.name == other.family.name
    }

    /// The tag of database 0: of what all databases of one server share, as channels and scripts.
    pub fn shared_tag(&self) -> &[u8] {
        &self.family.tag
    }

    /// What stands before its keys: the name in braces.
    #[inline]
    pub fn tag(&self) -> &[u8] {
        &self.tag
    }

    /// What stands in a request before a key of so many bytes, the tag included; nothing for long keys.
    #[inline]
    pub fn front(&self, key_len: usize) -> Option<&[u8]> {
        self.fronts.get(key_len).map(|front| &**front)
    }

    /// Where all its keys lie.
    #[inline]
    pub fn slot(&self) -> Slot {
        self.slot
    }

    /// Whether channels have the tag, too.
    pub fn has_channels(&self) -> bool {
        self.family.channels
    }

    /// A key as its clients know it; nothing if it is of no client of this namespace.
    pub fn own<'k>(&self, key: &'k [u8]) -> Option<&'k [u8]> {
        key.strip_prefix(self.tag())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_keys_lie_in_the_slot_of_the_name() {
        let own = Namespace::new("jobs", 1, false);
        assert_eq!(own.slot(), Slot::of(b"jobs"));
        for key in [&b""[..], b"a", b"{x}a", b"{jobs}a", b"}{", b"{}"] {
            let whole = [own.tag(), key].concat();
            assert_eq!(Slot::of(&whole), own.slot());
            assert_eq!(own.own(&whole), Some(key));
        }
        assert_eq!(own.own(b"a"), None);
        assert_eq!(own.own(b"{jobs"), None);
    }

    #[test]
    fn each_database_has_a_tag_of_its_own() {
        let own = Namespace::new("jobs", 3, false);
        assert_eq!(own.front(3), Some(&b"$9\r\n{jobs}"[..]));
        assert_eq!(
            own.of_database(1)
                .and_then(|own| own.front(99).map(<[u8]>::to_vec)),
            Some(b"$107\r\n{jobs:1}".to_vec())
        );
        assert_eq!(own.front(100), None);
        let tags: Vec<Vec<u8>> = (0..4)
            .map_while(|index| own.of_database(index))
            .map(|own| own.tag().to_vec())
            .collect();
        assert_eq!(tags, [&b"{jobs}"[..], b"{jobs:1}", b"{jobs:2}"]);
        let two = own.of_database(2).expect("a database");
        assert_eq!((two.database(), two.databases()), (2, 3));
        assert_eq!((two.shared_tag(), two.name()), (own.tag(), "jobs"));
        assert_eq!(two.slot(), Slot::of(b"jobs:2"));
        assert_eq!(two.of_database(0), Some(own.clone()));
        assert!(two.is_beside(&own) && !own.is_beside(&Namespace::new("jobs:2", 3, false)));
    }
}
