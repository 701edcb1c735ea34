//! SCAN over all masters, one after the other, behind one integer. What the cursor promises is told in
//! `cluster::scan`; here it is kept: every cursor is made with the list of masters in use, and a scan ends
//! only if the last master, asked right behind its last reply, still names the same owners of all slots.

use super::{After, Context};
use crate::cluster::scan::{self, Position, ShardList};
use crate::cluster::slot::SLOTS;
use crate::cluster::topology::{NO_SHARD, Topology};
use crate::proxy::merge::Merge;
use crate::proxy::plan::{Ask, Plan};
use crate::proxy::routes::Routes;
use crate::proxy::upstream::Target;
use crate::resp::args::Args;
use crate::resp::encode;
use crate::resp::reply::Reply;

const OWNERS: &[u8] = b"*2\r\n$7\r\nCLUSTER\r\n$5\r\nSLOTS\r\n";

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
            let topology = topology.clone();
            let join = move |replies: &[Reply<'_>], out: &mut Vec<u8>| {
                answer(at, &list, &topology, replies, out);
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

/// The reply for the client: the cursor of what comes next, and the node's elements as they are.
fn answer(
    at: Position,
    list: &ShardList,
    topology: &Topology,
    replies: &[Reply<'_>],
    out: &mut Vec<u8>,
) {
    if let Some(error) = replies[0].error() {
        return encode::error(out, error);
    }
    let mut items = replies[0].items();
    let cursor = items.next().and_then(|cursor| cursor.text());
    let cursor = cursor.and_then(|text| std::str::from_utf8(text).ok()?.parse().ok());
    let (Some(node_cursor), Some(elements)) = (cursor, items.next()) else {
        return encode::error(out, b"ERR a node's reply to SCAN makes no sense");
    };
    let next = match at.next(node_cursor, list) {
        Some(next) => next.encode(list),
        None if replies.get(1).is_none_or(|owners| agrees(topology, owners)) => Ok(0),
        // Made with a list that is out of date: whatever it says, it means the beginning.
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
}

/// Whether a node's answer to CLUSTER SLOTS names the owners that we know, for every slot that we know an
/// owner of. A node that gives no such answer is not asked for more.
fn agrees(topology: &Topology, owners: &Reply<'_>) -> bool {
    let id_of = |shard: u16| {
        let master = topology.shards.get(usize::from(shard))?.master;
        Some(topology.nodes.get(usize::from(master))?.id.as_bytes())
    };
    owners.items().all(|range| {
        let mut fields = range.items();
        let mut bound = || fields.next().and_then(|bound| bound.integer());
        let (Some(first), Some(last)) = (bound(), bound()) else {
            return true;
        };
        let master = fields.next().and_then(|master| master.items().nth(2));
        let Some(id) = master.and_then(|id| id.text()) else {
            return true;
        };
        let last = last.clamp(0, SLOTS as i64 - 1);
        let mut known = NO_SHARD;
        (first.max(0)..=last).all(|slot| {
            let shard = topology.slots[slot as usize];
            let same = shard == NO_SHARD || shard == known || id_of(shard) == Some(id);
            known = if same { shard } else { known };
            same
        })
    })
}

#[cfg(test)]
mod tests {
    use super::super::nodes::joined;
    use super::*;
    use crate::clock::Time;
    use crate::cluster::topology::{NodeInfo, Shard};
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
            epoch: 0,
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

    fn owners(ranges: &[(u16, u16, &str)]) -> String {
        let range = |(first, last, id): &(u16, u16, &str)| {
            format!("*3\r\n:{first}\r\n:{last}\r\n*3\r\n$1\r\nh\r\n:7\r\n$1\r\n{id}\r\n")
        };
        let ranges: Vec<String> = ranges.iter().map(range).collect();
        format!("*{}\r\n{}", ranges.len(), ranges.concat())
    }

    #[test]
    fn owners_are_compared_where_we_know_one() {
        let check = |ranges: &[(u16, u16, &str)], expected: bool| {
            let owners = owners(ranges);
            let agree = agrees(&topology(), &Reply::new(owners.as_bytes()));
            assert_eq!(agree, expected, "{ranges:?}");
        };
        check(&[(0, 8191, "a"), (8192, 16383, "b")], true);
        check(&[(0, 4, "a"), (5, 5, "c"), (6, 8191, "a")], true);
        check(&[(0, 8192, "a"), (8193, 16383, "b")], false);
        check(&[(0, 8191, "c"), (8192, 16383, "b")], false);
        assert!(agrees(&topology(), &Reply::new(b"-NOPERM no\r\n")));
    }

    #[test]
    fn the_cursor_leads_from_master_to_master() {
        let topology = topology();
        let list = ShardList::new(&topology.slots, &["a", "b"]);
        let step = |at: Position, replies: &[&str]| {
            let join = |replies: &[Reply<'_>], out: &mut Vec<u8>| {
                answer(at, &list, &topology, replies, out)
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
        let same = owners(&[(0, 8191, "a"), (8192, 16383, "b")]);
        let other = owners(&[(0, 8190, "a"), (8191, 16383, "b")]);
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
