//! `Named`: scripts of namespaces by the names that their clients know. What nodes have is the script behind the prelude,
//! which has another name.
//!
//! A worker keeps names that it has used; all of them are in the store of all workers (`scripts::Scripts`), which is
//! asked when a worker does not know one.

use std::collections::HashMap;

use crate::proxy::namespace::prelude;
use crate::proxy::scripts::hash;

/// A script's name: its SHA-1 in lower case hexadecimal.
pub type Name = [u8; 40];

/// Names that a worker keeps.
const KEPT_MAX: usize = 4096;

/// The name of a script.
pub fn name_of(body: &[u8]) -> Name {
    let text = sha1_smol::Sha1::from(body).digest().to_string();
    text.as_bytes().try_into().unwrap_or([b'0'; 40])
}

/// A name as it is looked for: in lower case.
pub fn parse(name: &[u8]) -> Option<Name> {
    let name: Name = name.try_into().ok()?;
    Some(name.map(|byte| byte.to_ascii_lowercase()))
}

/// Names of scripts that a worker has used, by namespace. They hold for one epoch of the store.
#[derive(Debug, Default)]
pub struct Named {
    epoch: u64,
    names: HashMap<(u64, Name), Name>,
    /// Hashes of scripts whose names are in the store.
    seen: HashMap<(u64, u64), ()>,
}

impl Named {
    /// Forgets all if scripts were forgotten since, or too many are known.
    fn renew(&mut self, epoch: u64) {
        if self.epoch != epoch || self.names.len() + self.seen.len() >= KEPT_MAX {
            self.names.clear();
            self.seen.clear();
            self.epoch = epoch;
        }
    }

    /// A client of the namespace has sent a script. Returns whether the store is to be told.
    pub fn is_new(&mut self, tag: &[u8], body: &[u8], epoch: u64) -> bool {
        self.renew(epoch);
        self.seen.insert((hash(tag), hash(body)), ()).is_none()
    }

    /// What nodes call the script of this name, if this worker knows.
    pub fn get(&mut self, tag: &[u8], name: &Name, epoch: u64) -> Option<Name> {
        self.renew(epoch);
        self.names.get(&(hash(tag), *name)).copied()
    }

    /// Keeps a name.
    pub fn put(&mut self, tag: &[u8], name: Name, wrapped: Name) {
        self.names.insert((hash(tag), name), wrapped);
    }
}

/// The names of all scripts of all namespaces.
#[derive(Debug, Default)]
pub struct AllNamed {
    /// What nodes call them.
    names: HashMap<(Box<[u8]>, Name), Name>,
    /// What clients call them.
    own: HashMap<Name, Name>,
}

/// What stands before a script's name in an error: of Redis 7 and later, and of Redis 6.
const NAMED_AFTER: [&[u8]; 2] = [b" script: ", b"(call to f_"];

/// Names that are kept at all.
const ALL_MAX: usize = 65_536;

impl AllNamed {
    /// A client of the namespace has sent a script. Returns its name.
    pub fn note(&mut self, tag: &[u8], body: &[u8]) -> Name {
        let name = name_of(body);
        if self.names.len() >= ALL_MAX {
            *self = AllNamed::default();
        }
        let key = (tag.into(), name);
        let wrapped = self
            .names
            .entry(key)
            .or_insert_with(|| name_of(&prelude::wrap(body)));
        self.own.insert(*wrapped, name);
        name
    }

    /// What nodes call the script of this name.
    pub fn get(&self, tag: &[u8], name: &Name) -> Option<Name> {
        self.names.get(&(tag.into(), *name)).copied()
    }

    /// Gives the scripts that an error text names the names that clients know.
    pub fn rename(&self, text: &mut [u8]) {
        for before in NAMED_AFTER {
            let Some(at) = memchr::memmem::find(text, before) else {
                continue;
            };
            let place = text.get_mut(at + before.len()..at + before.len() + 40);
            let found = place.and_then(|place| Some((parse(place)?, place)));
            if let Some((name, place)) = found
                && let Some(own) = self.own.get(&name)
            {
                place.copy_from_slice(own);
            }
        }
    }

    /// The namespace's scripts are forgotten.
    pub fn forget(&mut self, tag: &[u8]) {
        self.names.retain(|(own, _), _| **own != *tag);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_is_known_to_its_namespace_only() {
        let mut all = AllNamed::default();
        let name = all.note(b"{a}", b"return 1");
        assert_eq!(&name, b"e0e1f9fabfc9d4800c877a703b823ac0578ff8db");
        let wrapped = all.get(b"{a}", &name);
        assert_eq!(wrapped, Some(name_of(&prelude::wrap(b"return 1"))));
        assert_eq!(all.get(b"{b}", &name), None);
        let mut text = [
            b"ERR x script: ",
            &wrapped.unwrap_or(name)[..],
            b", on @user",
        ]
        .concat();
        all.rename(&mut text);
        assert_eq!(text, [b"ERR x script: ", &name[..], b", on @user"].concat());
        all.note(b"{b}", b"return 1");
        all.forget(b"{a}");
        assert_eq!(all.get(b"{a}", &name), None);
        assert_eq!(all.get(b"{b}", &name), wrapped);
    }

    #[test]
    fn a_worker_forgets_with_the_store() {
        let mut named = Named::default();
        let name = name_of(b"return 1");
        assert!(named.is_new(b"{a}", b"return 1", 0) && !named.is_new(b"{a}", b"return 1", 0));
        assert!(named.is_new(b"{b}", b"return 1", 0));
        named.put(b"{a}", name, name);
        assert_eq!(named.get(b"{a}", &name, 0), Some(name));
        assert_eq!(named.get(b"{a}", &name, 1), None);
        assert!(named.is_new(b"{a}", b"return 1", 1));
    }
}
