//! `Bcast`: clients that are told of every key with a prefix (`BCAST`), whoever has read it; and the connections that tell of
//! those keys, one to each master for all such clients of a worker.

use std::collections::BTreeMap;

use crate::clock::Time;
use crate::proxy::ids::{BackendId, ClientId, NodeKey, PartId};

/// A connection that tells of keys (`CLIENT TRACKING ON BCAST`).
#[derive(Debug)]
pub struct BcastConnection {
    /// Its node.
    pub node: NodeKey,
    /// The prefixes that it was asked for.
    pub prefixes: Vec<Box<[u8]>>,
    /// Whether the node tells of them by now.
    pub is_ready: bool,
    /// Whether keys may have changed at the node before it was ready, of which nobody was told.
    pub gap: bool,
}

/// A client whose OK waits for connections.
#[derive(Debug, Clone, Copy)]
pub struct Joining {
    /// The place of the OK.
    pub part: PartId,
    /// Until when it waits at most.
    pub until: Time,
    /// Whether it has no other prefixes, of which it is told already.
    pub is_first: bool,
}

/// Of more prefixes than these a node is not asked: it is asked for all keys.
const COVER_MAX: usize = 256;

/// The clients and the connections.
#[derive(Debug, Default)]
pub struct Bcast {
    /// By prefix, as the nodes have keys, those who are to hear of it.
    clients: BTreeMap<Box<[u8]>, Vec<ClientId>>,
    /// How many prefixes there are of each length.
    lengths: BTreeMap<usize, usize>,
    /// The connections.
    pub all: BTreeMap<BackendId, BcastConnection>,
    /// Clients whose OK waits for connections.
    pub joining: Vec<Joining>,
    /// The version of the routes that the connections have been compared with.
    pub routes_version: u32,
    /// When connections that are missing are to be tried again, if any are.
    pub retry_at: Option<Time>,
}

impl Bcast {
    /// Whether nobody is to be told, and no connection is there.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.clients.is_empty() && self.all.is_empty()
    }

    /// Whether nobody is to be told.
    pub fn has_no_clients(&self) -> bool {
        self.clients.is_empty()
    }

    /// A client is to hear of keys with this prefix.
    pub fn join(&mut self, prefix: &[u8], client: ClientId) {
        if !self.clients.contains_key(prefix) {
            self.clients.insert(prefix.into(), Vec::new());
            *self.lengths.entry(prefix.len()).or_default() += 1;
        }
        if let Some(own) = self.clients.get_mut(prefix)
            && !own.contains(&client)
        {
            own.push(client);
        }
    }

    /// It is not any more.
    pub fn leave(&mut self, prefix: &[u8], client: ClientId) {
        let Some(own) = self.clients.get_mut(prefix) else {
            return;
        };
        own.retain(|other| *other != client);
        if own.is_empty() {
            self.clients.remove(prefix);
            if let Some(count) = self.lengths.get_mut(&prefix.len()) {
                *count -= 1;
            }
            self.lengths.retain(|_, count| *count > 0);
        }
    }

    /// The prefixes that begin a key, and who is to hear of each.
    pub fn of(&self, key: &[u8]) -> impl Iterator<Item = (&[u8], &[ClientId])> {
        let lengths = self
            .lengths
            .keys()
            .take_while(move |len| **len <= key.len());
        lengths.filter_map(move |len| {
            let (prefix, clients) = self.clients.get_key_value(&key[..*len])?;
            Some((&**prefix, &**clients))
        })
    }

    /// The prefixes that nodes are to be asked for.
    pub fn cover(&self) -> Vec<Box<[u8]>> {
        cover(self.clients.keys().map(|prefix| &**prefix))
    }

    /// The connections to this node.
    pub fn at(&self, node: NodeKey) -> impl Iterator<Item = &BcastConnection> {
        self.all.values().filter(move |own| own.node == node)
    }

    /// Everybody.
    pub fn everybody(&self) -> Vec<ClientId> {
        let mut all: Vec<ClientId> = self.clients.values().flatten().copied().collect();
        all.sort_unstable();
        all.dedup();
        all
    }
}

/// Those of some prefixes, which come in order, that no shorter one covers. (A node takes no others of one connection, and looks
/// long at many.)
pub fn cover<'a>(in_order: impl Iterator<Item = &'a [u8]>) -> Vec<Box<[u8]>> {
    let mut cover: Vec<Box<[u8]>> = Vec::new();
    // What a prefix covers comes right behind it.
    for prefix in in_order {
        if cover.last().is_none_or(|last| !prefix.starts_with(last)) {
            cover.push(prefix.into());
        }
    }
    // A node compares each with each.
    match cover.len() > COVER_MAX {
        true => vec![Box::default()],
        false => cover,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(key: u32) -> ClientId {
        ClientId::from_parts(key, 1)
    }

    #[test]
    fn a_key_is_for_all_its_prefixes_and_nodes_are_asked_for_the_shortest() {
        let mut bcast = Bcast::default();
        for (prefix, own) in [
            ("user:", 1),
            ("user:1", 2),
            ("user:1", 1),
            ("a", 3),
            ("user:", 1),
        ] {
            bcast.join(prefix.as_bytes(), client(own));
        }
        let told = |bcast: &Bcast, key: &str| {
            let of = bcast.of(key.as_bytes());
            let of =
                of.map(|(prefix, own)| (String::from_utf8_lossy(prefix).into_owned(), own.len()));
            of.collect::<Vec<_>>()
        };
        assert_eq!(
            told(&bcast, "user:12"),
            [("user:".into(), 1), ("user:1".into(), 2)]
        );
        assert_eq!(told(&bcast, "user"), []);
        let cover = |bcast: &Bcast| {
            let cover = bcast.cover().into_iter();
            cover
                .map(|own| String::from_utf8_lossy(&own).into_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(cover(&bcast), ["a", "user:"]);
        assert_eq!(bcast.everybody(), [client(1), client(2), client(3)]);
        bcast.leave(b"user:", client(1));
        assert_eq!(cover(&bcast), ["a", "user:1"]);
        bcast.join(b"", client(4));
        assert_eq!(cover(&bcast), [""]);
        assert_eq!(told(&bcast, ""), [(String::new(), 1)]);
        for (prefix, own) in [("user:1", 1), ("user:1", 2), ("a", 3), ("", 4)] {
            bcast.leave(prefix.as_bytes(), client(own));
        }
        assert!(bcast.is_empty() && bcast.lengths.is_empty());
    }
}
