//! SCAN over all masters, one after the other, behind one integer. What the cursor promises is told in
//! `cluster::scan`; here it is kept: every cursor is made with the list of masters in use, and a scan ends
//! only if the last master, asked right behind its last reply, still names the same owners of all slots; else it
//! begins again, and a newer topology is asked for.
//!
//! Not promised is a key that is moved by a migration which is not finished when the scan ends: its slot has the
//! owner that it had.

use std::sync::atomic::Ordering;

use super::{After, Context};
use crate::cluster::scan::{self, Position, ShardList};
use crate::cluster::topology::{NO_SHARD, Shard, Topology};
use crate::proxy::merge::Merge;
use crate::proxy::plan::{Ask, Plan};
use crate::proxy::routes::Routes;
use crate::proxy::upstream::Target;
use crate::resp::args::Args;
use crate::resp::encode;
use crate::resp::reply::Reply;

const OWNERS: &[u8] = b"*2\r\n$7\r\nCLUSTER\r\n$5\r\nNODES\r\n";

/// `SCAN cursor [MATCH pattern] [COUNT count] [TYPE type]`: the options are the node's to read.
pub fn scan(context: &mut Context<'_>, args: &Args<'_>, out: &mut Vec<u8>) -> After {
    let Some(cursor) = scan::parse(args.at(1)) else {
        encode::error(out, b"ERR invalid cursor");
        return After::Go;
    };
    let (asks, merge) = match context.routes.topology() {
        Some(topology) => {
            let list = context.routes.masters_in_order();
            let at = Position::decode(cursor, &list);
            let asks = ask(at, &list, topology, context.routes, args);
            let (topology, process) = (topology.clone(), context.process.clone());
            let join = move |replies: &[Reply<'_>], out: &mut Vec<u8>| {
                let up_to_date = answer(at, &list, &topology, replies, out);
                if !up_to_date {
                    process.stale.store(true, Ordering::Relaxed);
                }
            };
            (asks, Merge::JoinAll(Box::new(join)))
        }
        None => (Vec::new(), Merge::AllSucceeded),
    };
    After::Ask(Plan {
        asks,
        merge,
        write: false,
    })
}

/// The master at this place is asked to scan; the last one also who owns the slots, right behind.
fn ask(
    at: Position,
    list: &ShardList,
    topology: &Topology,
    routes: &Routes,
    args: &Args<'_>,
) -> Vec<Ask> {
    let Some(shard) = list.shard(at.place) else {
        return Vec::new();
    };
    let cursor = at.node_cursor.to_string();
    let words: Vec<&[u8]> = [args.name(), cursor.as_bytes()]
        .into_iter()
        .chain(args.from(2))
        .collect();
    let mut frame = Vec::new();
    encode::command(&mut frame, words);
    let is_last = usize::from(at.place) + 1 == list.len();
    let frames = std::iter::once(frame).chain(is_last.then(|| OWNERS.to_vec()));
    // By its slot a shard is found also while it fails over. Cursors of the old master are worth nothing on
    // the new one, but then the list is another, too.
    let slot = topology.slots.iter().position(|owner| *owner == shard);
    if let Some(slot) = slot {
        return frames.map(|frame| Ask::Slot(slot as u16, frame)).collect();
    }
    let master = topology.shards[usize::from(shard)].master;
    let address = topology.nodes[usize::from(master)].address;
    let Some(node) = routes.node_at(&address) else {
        return Vec::new();
    };
    let target = Target {
        node,
        replica: false,
    };
    frames.map(|frame| Ask::Node(target, frame)).collect()
}

/// The reply for the client: the cursor of what comes next, and the node's elements as they are. Returns
/// whether the list is up to date as far as can be told.
fn answer(
    at: Position,
    list: &ShardList,
    topology: &Topology,
    replies: &[Reply<'_>],
    out: &mut Vec<u8>,
) -> bool {
    let up_to_date = replies.get(1).is_none_or(|nodes| agrees(topology, nodes));
    if let Some(error) = replies[0].error() {
        encode::error(out, error);
        return up_to_date;
    }
    let mut items = replies[0].items();
    let cursor = items.next().and_then(|cursor| cursor.text());
    let cursor = cursor.and_then(|text| std::str::from_utf8(text).ok()?.parse().ok());
    let (Some(node_cursor), Some(elements)) = (cursor, items.next()) else {
        encode::error(out, b"ERR a node's reply to SCAN makes no sense");
        return up_to_date;
    };
    let next = match at.next(node_cursor, list) {
        Some(next) => next.encode(list),
        None if up_to_date => Ok(0),
        None => Position::FIRST.encode(list),
    };
    match next {
        Ok(next) => {
            encode::array(out, 2);
            encode::bulk(out, next.to_string().as_bytes());
            out.extend_from_slice(elements.frame());
        }
        Err(unfit) => encode::error(out, unfit.to_string().as_bytes()),
    }
    up_to_date
}

/// Whether a node's answer to CLUSTER NODES names the owners that we know, and their epochs: a slot cannot have
/// been elsewhere and be back with neither changed. What we know no owner of is not compared. A node that gives
/// no such answer is not asked for more.
fn agrees(topology: &Topology, nodes: &Reply<'_>) -> bool {
    let text = String::from_utf8_lossy(nodes.text().unwrap_or_default());
    let shards = topology.shards.iter().zip(0u16..);
    let known = |id: &str| {
        let is_own = |shard: &Shard| topology.nodes[usize::from(shard.master)].id == id;
        shards.clone().find(|(shard, _)| is_own(shard))
    };
    text.lines().all(|line| {
        // Id, address, flags, master, two times, epoch, link, slots (of those in migration: in brackets).
        let words: Vec<&str> = line.split(' ').collect();
        let (Some(id), Some(epoch)) = (words.first(), words.get(6)) else {
            return true;
        };
        let known = known(id);
        let epoch = epoch.parse().unwrap_or(0);
        let same_epoch = known.is_none_or(|(shard, _)| shard.epoch == epoch || shard.epoch == 0);
        let slots = words.get(8..).unwrap_or_default();
        let mut ranges = slots.iter().filter_map(|range| range_of(range));
        same_epoch
            && ranges.all(|(first, last)| {
                let owners = topology.slots.get(first..=last).unwrap_or_default();
                let own = known.map(|(_, index)| index);
                owners
                    .iter()
                    .all(|owner| *owner == NO_SHARD || Some(*owner) == own)
            })
    })
}

/// `7` or `0-8191`.
fn range_of(text: &str) -> Option<(usize, usize)> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let range = (first.parse().ok()?, last.parse().ok()?);
    (range.0 <= range.1).then_some(range)
}

#[cfg(test)]
mod tests {
    use super::super::nodes::joined;
    use super::*;
    use crate::clock::Time;
    use crate::cluster::slot::SLOTS;
    use crate::cluster::topology::NodeInfo;
    use std::collections::HashMap;

    /// Two masters `a` and `b` with half of the slots each; slot 5 has no owner.
    fn topology() -> Topology {
        let mut slots = Box::new([0; SLOTS]);
        slots[8192..].fill(1);
        slots[5] = NO_SHARD;
        let node = |(id, port): (&str, u16)| NodeInfo {
            address: ([127, 0, 0, 1], port).into(),
            id: id.to_string(),
            same_idc: false,
        };
        let shard = |master| Shard {
            master,
            replicas: Vec::new(),
            epoch: 7,
        };
        Topology {
            nodes: [("a", 1), ("b", 2)].map(node).to_vec(),
            shards: vec![shard(0), shard(1)],
            slots,
            announced: HashMap::new(),
            epoch: 0,
            asked_at: Time::default(),
        }
    }

    /// An answer to CLUSTER NODES.
    fn nodes(lines: &[(&str, u64, &str)]) -> String {
        let line = |(id, epoch, slots): &(&str, u64, &str)| {
            format!("{id} h:1@2 master - 0 0 {epoch} connected {slots}\n")
        };
        let text: String = lines.iter().map(line).collect();
        format!("${}\r\n{text}\r\n", text.len())
    }

    #[test]
    fn owners_are_compared_where_we_know_one() {
        let check = |lines: &[(&str, u64, &str)], expected: bool| {
            let nodes = nodes(lines);
            let agree = agrees(&topology(), &Reply::new(nodes.as_bytes()));
            assert_eq!(agree, expected, "{lines:?}");
        };
        check(&[("a", 7, "0-8191"), ("b", 7, "8192-16383")], true);
        check(
            &[
                ("a", 7, "0-4 6-8191"),
                ("c", 1, "5"),
                ("b", 7, "8192-16383 [9->-c]"),
            ],
            true,
        );
        check(&[("a", 7, "0-8192"), ("b", 7, "8193-16383")], false);
        check(&[("c", 7, "0-8191"), ("b", 7, "8192-16383")], false);
        check(&[("a", 8, "0-8191"), ("b", 7, "8192-16383")], false);
        assert!(agrees(&topology(), &Reply::new(b"-NOPERM no\r\n")));
        assert!(agrees(&topology(), &Reply::new(b"$7\r\na 9-1 x\r\n")));
    }

    #[test]
    fn the_cursor_leads_from_master_to_master() {
        let topology = topology();
        let list = ShardList::new(&topology.slots, &["a", "b"]);
        let step = |at: Position, replies: &[&str]| {
            let join = |replies: &[Reply<'_>], out: &mut Vec<u8>| {
                answer(at, &list, &topology, replies, out);
            };
            joined(join, replies)
        };
        let at = |place, node_cursor| Position { place, node_cursor };
        let expected = |cursor: u64| {
            let text = cursor.to_string();
            format!("*2\r\n${}\r\n{text}\r\n*1\r\n$1\r\nk\r\n", text.len())
        };
        let after = |at: Position| expected(at.encode(&list).unwrap());
        let (more, end) = (
            "*2\r\n$2\r\n17\r\n*1\r\n$1\r\nk\r\n",
            "*2\r\n$1\r\n0\r\n*1\r\n$1\r\nk\r\n",
        );
        let same = nodes(&[("a", 7, "0-8191"), ("b", 7, "8192-16383")]);
        let other = nodes(&[("a", 8, "0-8191"), ("b", 7, "8192-16383")]);
        assert_eq!(step(at(0, 0), &[more]), after(at(0, 17)));
        assert_eq!(step(at(0, 17), &[end]), after(at(1, 0)));
        assert_eq!(step(at(1, 0), &[more, &same]), after(at(1, 17)));
        assert_eq!(step(at(1, 17), &[end, &same]), expected(0));
        assert_eq!(step(at(1, 17), &[end, &other]), after(Position::FIRST));
        assert_eq!(
            step(at(0, 0), &["-ERR syntax error\r\n"]),
            "-ERR syntax error\r\n"
        );
    }
}
