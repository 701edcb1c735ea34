//! `Namespace`: a tag before every key of a client, so that all its keys lie in one slot and the cluster is one server
//! for it. `jobs:1` of a client of the namespace `ns` is `{ns}jobs:1` at the nodes.
//!
//! It must never know a client or a node.

pub mod prelude;
pub mod reply;
pub mod request;
pub mod scripts;
pub mod whole;

use crate::cluster::slot::Slot;

/// The tag before the keys of some clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Namespace {
    tag: Box<[u8]>,
    slot: Slot,
    /// Whether channels have the tag, too.
    channels: bool,
}

impl Namespace {
    /// The namespace of this name, which holds no braces; of its own channels, too, if so wished.
    pub fn new(name: &str, channels: bool) -> Namespace {
        let tag = format!("{{{name}}}").into_bytes();
        Namespace {
            slot: Slot::of(&tag),
            tag: tag.into(),
            channels,
        }
    }

    /// What stands before its keys: the name in braces.
    #[inline]
    pub fn tag(&self) -> &[u8] {
        &self.tag
    }

    /// Where all its keys lie.
    #[inline]
    pub fn slot(&self) -> Slot {
        self.slot
    }

    /// Whether channels have the tag, too.
    pub fn has_channels(&self) -> bool {
        self.channels
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
        let own = Namespace::new("jobs", false);
        assert_eq!(own.slot(), Slot::of(b"jobs"));
        for key in [&b""[..], b"a", b"{x}a", b"{jobs}a", b"}{", b"{}"] {
            let whole = [own.tag(), key].concat();
            assert_eq!(Slot::of(&whole), own.slot());
            assert_eq!(own.own(&whole), Some(key));
        }
        assert_eq!(own.own(b"a"), None);
        assert_eq!(own.own(b"{jobs"), None);
    }
}
