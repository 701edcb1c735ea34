//! SCAN over all masters, one after the other, behind one integer. What the cursor promises, and what for that
//! has to be asked and when, is told in `cluster::scan`; here it is asked, and CLUSTER NODES is read.

use std::sync::atomic::Ordering;

use super::{After, Context};
use crate::cluster::line::Line;
use crate::cluster::scan::{self, Position, ShardList, Word};
use crate::cluster::topology::{NO_SHARD, Topology};
use crate::proxy::pipeline::merge::Merge;
use crate::proxy::pipeline::plan::{Ask, Plan};
use crate::proxy::upstream::Target;
use crate::proxy::upstream::routes::Routes;
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

/// The master at this place is asked to scan, and those whose visits are over, or end with this, what they are.
fn ask(
    at: Position,
    list: &ShardList,
    topology: &Topology,
    routes: &Routes,
    args: &Args<'_>,
) -> Vec<Ask> {
    let cursor = at.node_cursor.to_string();
    let words: Vec<&[u8]> = [args.name(), cursor.as_bytes()]
        .into_iter()
        .chain(args.from(2))
        .collect();
    let mut frame = Vec::new();
    encode::command(&mut frame, words);
    let owners = asked(at, list).map(|place| (place, OWNERS.to_vec()));
    std::iter::once((at.place, frame))
        .chain(owners)
        .filter_map(|(place, frame)| ask_place(place, list, topology, routes, frame))
        .collect()
}

/// The places whose masters are asked for their word with this call. The one here is asked behind its scan, over
/// the same connection.
fn asked(at: Position, list: &ShardList) -> impl Iterator<Item = u16> {
    let own = at.is_last(list).then_some(at.place);
    at.asks_previous().into_iter().chain(own)
}

/// By its slot a shard is found also while it fails over. Cursors of the old master are worth nothing on the new
/// one, but then the list is another, too.
fn ask_place(
    place: u16,
    list: &ShardList,
    topology: &Topology,
    routes: &Routes,
    frame: Vec<u8>,
) -> Option<Ask> {
    let index = list.shard(place)?;
    if let Some(slot) = topology.slots.iter().position(|owner| *owner == index) {
        return Some(Ask::Slot(slot as u16, frame));
    }
    let Some(master) = topology.masters().nth(usize::from(index)) else {
        let before = topology.masters().count();
        let orphan = topology
            .orphans
            .get(usize::from(index).checked_sub(before)?)?;
        let (slot, _) = orphan.slots.first()?;
        return Some(Ask::Slot(*slot, frame));
    };
    let address = topology.nodes[usize::from(master)].address;
    let target = Target {
        node: routes.node_at(&address)?,
        replica: false,
    };
    Some(Ask::Node(target, frame))
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
    let fail = |out: &mut Vec<u8>, error: &[u8]| {
        encode::error(out, error);
        true
    };
    let Some((scanned, said)) = replies.split_first() else {
        return fail(out, b"ERR the masters to scan are not known");
    };
    // Who may not ask is told nothing, and asks no more; any other error leaves the scan where it was.
    if let Some(error) = scanned.error().or_else(|| said.iter().find_map(trouble)) {
        return fail(out, error);
    }
    let mut items = scanned.items();
    let cursor = items.next().and_then(|cursor| cursor.text());
    let cursor = cursor.and_then(|text| std::str::from_utf8(text).ok()?.parse().ok());
    // There may be a million elements: they are not looked at.
    let elements = (items.left() == 1).then(|| items.rest());
    let (Some(node_cursor), Some(elements)) = (cursor, elements) else {
        return fail(out, b"ERR a node's reply to SCAN makes no sense");
    };
    let words: Vec<Word> = asked(at, list)
        .zip(said)
        .map(|(place, nodes)| word(place, list, topology, nodes))
        .collect();
    let next = at.next(node_cursor, &words, list);
    match next.map_or(Ok(0), |next| next.encode(list)) {
        Ok(next) => {
            encode::array(out, 2);
            encode::bulk(out, next.to_string().as_bytes());
            out.extend_from_slice(elements);
        }
        Err(unfit) => encode::error(out, unfit.to_string().as_bytes()),
    }
    !words.contains(&Word::Changed)
}

/// The error of a node that did not say what it is, other than that we may not ask.
fn trouble<'a>(reply: &Reply<'a>) -> Option<&'a [u8]> {
    reply.error().filter(|text| !text.starts_with(b"NOPERM"))
}

/// What the master at a place says of itself by its own line of CLUSTER NODES: whether it has the slots and the
/// epoch that we know of (a slot cannot have been elsewhere and be back with neither changed), and to whom it is
/// moving slots. Slots that we know no owner of are not compared.
fn word(place: u16, list: &ShardList, topology: &Topology, nodes: &Reply<'_>) -> Word {
    let Some(index) = list.shard(place) else {
        return Word::Changed;
    };
    let Some(text) = nodes.text() else {
        return Word::Settled;
    };
    let text = String::from_utf8_lossy(text);
    let lines: Vec<Line<'_>> = text.lines().filter_map(Line::read).collect();
    let Some(own) = lines.iter().find(|line| line.has_flag("myself")) else {
        return Word::Settled;
    };
    let id_of = |node: u16| topology.nodes[usize::from(node)].id.as_str();
    let is_own = topology.masters().nth(usize::from(index)).map(id_of) == Some(own.id);
    let epoch = topology
        .shards
        .get(usize::from(index))
        .map_or(0, |shard| shard.epoch);
    let mut owned = vec![false; topology.slots.len()];
    for (first, last) in own.owned() {
        if let Some(owned) = owned.get_mut(first..=last) {
            owned.fill(true);
        }
    }
    let as_known =
        |(owned, owner): (&bool, &u16)| *owner == NO_SHARD || *owned == (*owner == index);
    if !is_own
        || !own.has_flag("master")
        || !(epoch == own.epoch || epoch == 0)
        || !owned.iter().zip(topology.slots.iter()).all(as_known)
    {
        return Word::Changed;
    }
    let mut word = Word::Settled;
    for target in own.targets() {
        let mut known = (0u16..).zip(topology.masters());
        let known = known.find(|(_, node)| id_of(*node) == target);
        match known.and_then(|(index, _)| list.place(index)) {
            Some(target) if target > place => {}
            Some(_) => word = Word::Moving,
            // Keys at a node that is dead to its source are out of reach; any other is news.
            None if lines.iter().any(|line| line.id == target && line.is_up()) => {
                return Word::Changed;
            }
            None => {}
        }
    }
    word
}

#[cfg(test)]
mod tests {
    use super::super::nodes::joined;
    use super::*;
    use crate::clock::Time;
    use crate::cluster::scan::Round;
    use crate::cluster::slot::SLOTS;
    use crate::cluster::topology::{NodeInfo, Shard};
    use std::collections::HashMap;

    /// Two masters `a` and `b` with half of the slots each, `c` without; slot 5 has no owner.
    fn topology() -> Topology {
        let mut slots = Box::new([0; SLOTS]);
        slots[8192..].fill(1);
        slots[5] = NO_SHARD;
        let node = |(id, port): (&str, u16)| NodeInfo {
            address: ([127, 0, 0, 1], port).into(),
            id: id.to_string(),
            hostname: None,
            same_idc: false,
        };
        let shard = |master| Shard {
            master,
            replicas: Vec::new(),
            epoch: 7,
        };
        Topology {
            nodes: [("a", 1), ("b", 2), ("c", 3)].map(node).to_vec(),
            shards: vec![shard(0), shard(1)],
            spare: vec![2],
            orphans: Vec::new(),
            down: Vec::new(),
            slots,
            announced: HashMap::new(),
            epoch: 0,
            asked_at: Time::default(),
        }
    }

    #[test]
    fn a_master_speaks_for_itself() {
        let topology = topology();
        let list = ShardList::new(&topology.slots, &["a", "b", "c"]);
        let check = |place: u16, own: (&str, &str, u64, &str), expected: Word| {
            let (id, flags, epoch, slots) = own;
            let text = format!(
                "{id} h:1@2 myself,{flags} - 0 0 {epoch} connected {slots}\n\
                 new h:3@4 master - 0 0 9 connected\n\
                 dead h:5@6 master,fail - 0 0 9 disconnected\n"
            );
            let nodes = format!("${}\r\n{text}\r\n", text.len());
            let word = word(place, &list, &topology, &Reply::new(nodes.as_bytes()));
            assert_eq!(word, expected, "{place} {own:?}");
        };
        let (a, b) = ("0-4 6-8191", "8192-16383");
        check(0, ("a", "master", 7, a), Word::Settled);
        check(0, ("a", "master", 7, "0-8191"), Word::Settled);
        check(1, ("b", "master", 7, b), Word::Settled);
        check(2, ("c", "master", 3, ""), Word::Settled);
        check(0, ("a", "master", 7, "0-8192"), Word::Changed);
        check(0, ("a", "master", 7, "0-4 7-8191"), Word::Changed);
        check(0, ("a", "master", 8, a), Word::Changed);
        check(0, ("a", "slave", 7, ""), Word::Changed);
        check(0, ("b", "master", 7, a), Word::Changed);
        check(2, ("c", "master", 3, "5 6"), Word::Changed);
        let with = |slots: &str, open: &str| format!("{slots} {open}");
        check(
            0,
            ("a", "master", 7, &with(a, "[9->-b] [10->-c]")),
            Word::Settled,
        );
        check(0, ("a", "master", 7, &with(a, "[9-<-b]")), Word::Settled);
        check(1, ("b", "master", 7, &with(b, "[8192->-c]")), Word::Settled);
        check(
            1,
            ("b", "master", 7, &with(b, "[8192->-c] [8193->-a]")),
            Word::Moving,
        );
        check(
            1,
            ("b", "master", 7, &with(b, "[8192->-new]")),
            Word::Changed,
        );
        check(
            1,
            ("b", "master", 7, &with(b, "[8192->-dead]")),
            Word::Settled,
        );
        for odd in ["-NOPERM no\r\n", "$7\r\na 9-1 x\r\n", "*0\r\n"] {
            let word = word(0, &list, &topology, &Reply::new(odd.as_bytes()));
            assert_eq!(word, Word::Settled, "{odd}");
        }
    }

    #[test]
    fn the_cursor_leads_from_master_to_master() {
        let topology = topology();
        let list = ShardList::new(&topology.slots, &["a", "b", "c"]);
        let step = |at: Position, replies: &[&str]| {
            let join = |replies: &[Reply<'_>], out: &mut Vec<u8>| {
                answer(at, &list, &topology, replies, out);
            };
            joined(join, replies)
        };
        let at = |round, place, node_cursor| Position {
            round,
            place,
            node_cursor,
        };
        let only = |place, node_cursor| at(Round::Only, place, node_cursor);
        let expected = |cursor: u64| {
            let text = cursor.to_string();
            format!("*2\r\n${}\r\n{text}\r\n*1\r\n$1\r\nk\r\n", text.len())
        };
        let after = |at: Position| expected(at.encode(&list).unwrap());
        let (more, end) = (
            "*2\r\n$2\r\n17\r\n*1\r\n$1\r\nk\r\n",
            "*2\r\n$1\r\n0\r\n*1\r\n$1\r\nk\r\n",
        );
        let says = |id: &str, epoch: u64, slots: &str| {
            let text = format!("{id} h:1@2 myself,master - 0 0 {epoch} connected {slots}\n");
            format!("${}\r\n{text}\r\n", text.len())
        };
        let (a, b, c) = (
            says("a", 7, "0-8191"),
            says("b", 7, "8192-16383"),
            says("c", 0, ""),
        );
        let moving = says("b", 7, "8192-16383 [9000->-a]");
        let other = says("a", 8, "0-8191");
        assert_eq!(step(only(0, 0), &[more]), after(only(0, 17)));
        assert_eq!(step(only(0, 17), &[end]), after(only(1, 0)));
        assert_eq!(step(only(1, 0), &[more, &a]), after(only(1, 17)));
        assert_eq!(step(only(1, 0), &[more, &other]), after(Position::FIRST));
        assert_eq!(step(only(1, 17), &[end]), after(only(2, 0)));
        assert_eq!(step(only(2, 0), &[end, &b, &c]), expected(0));
        assert_eq!(step(only(2, 0), &[end, &b, &other]), after(Position::FIRST));
        let second = |place| at(Round::Second, place, 0);
        assert_eq!(step(only(2, 0), &[end, &moving, &c]), after(second(0)));
        assert_eq!(step(second(2), &[end, &moving, &c]), expected(0));
        for error in ["-ERR syntax error\r\n", "-CLUSTERDOWN x\r\n"] {
            assert_eq!(step(only(0, 0), &[error]), error);
            assert_eq!(step(only(2, 0), &[end, &b, error]), error);
        }
    }
}
