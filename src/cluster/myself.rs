//! `Myself`: a node's own line in its CLUSTER NODES reply. It is the most reliable source for whether that node is a
//! master, and the only one that lists slots which are migrating to it or from it.
//!
//! `view` parses the whole reply strictly, for the topology. This parser skips what it does not understand.

use crate::cluster::slot::SLOTS;
use crate::cluster::topology::{NO_SHARD, Topology};

/// What is used of a line: id, address, flags, master, two times, epoch, link, slots (those in migration in brackets).
#[derive(Debug)]
pub struct Myself<'a> {
    /// The node's id.
    pub id: &'a str,
    flags: &'a str,
    /// Its config epoch.
    pub epoch: u64,
    slots: Vec<&'a str>,
}

impl<'a> Myself<'a> {
    /// Reads a line.
    pub fn read(line: &'a str) -> Option<Myself<'a>> {
        let mut words = line.split(' ');
        Some(Myself {
            id: words.next()?,
            flags: words.nth(1)?,
            epoch: words.nth(3)?.parse().ok()?,
            slots: words.skip(1).collect(),
        })
    }

    /// The line of the node that answered.
    pub fn own(text: &'a str) -> Option<Myself<'a>> {
        let mut lines = text.lines().filter_map(Myself::read);
        lines.find(|line| line.has_flag("myself"))
    }

    /// Whether the node has this flag.
    pub fn has_flag(&self, name: &str) -> bool {
        self.flags.split(',').any(|flag| flag == name)
    }

    /// Whether it can be asked, as far as the node that answered knows.
    pub fn is_up(&self) -> bool {
        !["fail", "noaddr", "handshake"]
            .iter()
            .any(|flag| self.has_flag(flag))
    }

    /// The slots that it owns, as first and last of each range.
    pub fn owned(&self) -> impl Iterator<Item = (usize, usize)> {
        self.slots.iter().filter_map(|word| range_of(word))
    }

    /// The ids of the nodes to which slots of it are on their way.
    pub fn targets(&self) -> impl Iterator<Item = &'a str> {
        let moving = self.slots.iter().filter_map(|word| ends_of(word, "->-"));
        moving.map(|(_, target)| target)
    }

    /// Whether slots of others are on their way to it.
    pub fn imports(&self) -> bool {
        self.slots.iter().any(|word| ends_of(word, "-<-").is_some())
    }

    /// Whether a master that has no slot by the topology has keys that count all the same: slots are on their way to it,
    /// or it has just got one, so that its epoch is higher than that of the owner known so far. (A master that was
    /// replaced and does not know it yet also claims slots, but with its old epoch. What else it may have is keys of
    /// slots that are another's, which no client can reach there.)
    pub fn has_keys_that_count(&self, topology: &Topology) -> bool {
        let is_news = |slot: &u16| match *slot {
            NO_SHARD => true,
            shard => {
                let owner = topology.shards.get(usize::from(shard));
                owner.is_none_or(|owner| owner.epoch < self.epoch)
            }
        };
        let mut claims = self
            .owned()
            .filter_map(|(first, last)| topology.slots.get(first..=last));
        self.has_flag("master")
            && (self.imports() || claims.any(|owners| owners.iter().any(is_news)))
    }
}

/// Whether the keys of a master without slots count, by its answer to CLUSTER NODES, or it says nothing.
pub fn keys_count(answer: Option<&[u8]>, topology: &Topology) -> bool {
    let text = answer.map(String::from_utf8_lossy);
    let own = text.as_deref().and_then(Myself::own);
    own.is_none_or(|own| own.has_keys_that_count(topology))
}

/// The slot and the id in `[7->-id]` or `[7-<-id]`.
fn ends_of<'a>(text: &'a str, arrow: &str) -> Option<(&'a str, &'a str)> {
    text.strip_prefix('[')?.strip_suffix(']')?.split_once(arrow)
}

/// `7` or `0-8191`.
fn range_of(text: &str) -> Option<(usize, usize)> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let range: (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
    (range.0 <= range.1 && range.1 < SLOTS).then_some(range)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::SocketAddr;

    #[test]
    fn a_master_without_slots_tells_whether_its_keys_count() {
        let addresses = [1, 2].map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
        let mut topology = Topology::of_masters(&addresses);
        topology.shards[0].epoch = 7;
        topology.slots[5] = NO_SHARD;
        let check = |flags: &str, epoch: u64, slots: &str, expected: bool| {
            let text = format!(
                "other h:1@2 master - 0 0 9 connected 0-16383\n\
                 me h:3@4 {flags} - 0 0 {epoch} connected{slots}\n"
            );
            let line = Myself::own(&text).expect("its own line");
            assert_eq!(line.id, "me");
            let counts = line.has_keys_that_count(&topology);
            assert_eq!(counts, expected, "{flags} {epoch}{slots}");
        };
        check("myself,master", 0, "", false);
        check("myself,slave", 7, "", false);
        check("myself,master", 0, " [9-<-other]", true);
        check("myself,master", 0, " [9->-other]", false);
        // It was replaced, and does not know it yet.
        check("myself,master", 6, " 0-100", true); // slot 5 has no owner
        check("myself,master", 6, " 10-100", false);
        check("myself,master", 7, " 10-100", false);
        check("myself,master", 8, " 10", true);
        check("myself,slave", 8, " 10", false);
        check("myself,master", 8, " 16384 x 3-2", false);
    }
}
