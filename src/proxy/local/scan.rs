//! SCAN over all masters, one after the other, behind one integer. What the cursor promises, and what for that
//! has to be asked and when, is told in `cluster::scan`; here it is asked, and CLUSTER NODES is read.
//!
//! A call goes on to the next master when the visit of one is over and the page has fewer elements than COUNT: so a small
//! keyspace is one page, as on one server. It ends after [`VISITS`] masters or [`LONGEST`].

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::{After, Context};
use crate::clock::Time;
use crate::cluster::myself::Myself;
use crate::cluster::scan::{self, Position, ShardList, Unfit, Word};
use crate::cluster::topology::{NO_SHARD, Topology};
use crate::proxy::ids::NodeKey;
use crate::proxy::pipeline::merge::{Merge, Then};
use crate::proxy::pipeline::plan::{Ask, Plan};
use crate::proxy::process::Process;
use crate::proxy::stats::Stats;
use crate::proxy::upstream::Target;
use crate::resp::args::Args;
use crate::resp::encode;
use crate::resp::reply::Reply;

/// Asks a node for its own line, and for those of all others.
const NODES: &[u8] = b"*2\r\n$7\r\nCLUSTER\r\n$5\r\nNODES\r\n";
/// So many masters are visited in one call.
const VISITS: u32 = 64;
/// Behind this no further master is visited in the same call.
const LONGEST: Duration = Duration::from_millis(50);
/// The COUNT of a server.
const COUNT: u64 = 10;

/// `SCAN cursor [MATCH pattern] [COUNT count] [TYPE type]`: the options are the node's to read.
pub fn scan(context: &mut Context<'_>, args: &Args<'_>, out: &mut Vec<u8>) -> After {
    let Some(cursor) = scan::parse(args.at(1)) else {
        encode::error(out, b"ERR invalid cursor");
        return After::Go;
    };
    let Some(topology) = context.routes.topology() else {
        return After::Ask(Plan {
            asks: Vec::new(),
            merge: Merge::AllSucceeded,
            write: false,
        });
    };
    let list = context.routes.masters_in_order();
    let at = Position::decode(cursor, &list);
    let masters = topology.masters().map(|master| {
        let address = topology.nodes[usize::from(master)].address;
        context.routes.node_at(&address)
    });
    let scan = Box::new(Scan {
        masters: masters.collect(),
        topology: topology.clone(),
        list,
        words: [args.name()]
            .into_iter()
            .chain(args.from(2))
            .map(<[u8]>::to_vec)
            .collect(),
        process: context.process.clone(),
        stats: context.stats.clone(),
        until: context.now.after(LONGEST),
        visits: 0,
        elements: Vec::new(),
        count: 0,
    });
    if scan::is_plain(args.at(1)) {
        return After::Ask(scan.visit(at));
    }
    // Servers differ: one of these is asked whether it takes this for a cursor.
    let judged: Then = Box::new(move |replies, out| {
        if let Some(error) = replies.iter().find_map(Reply::error) {
            encode::error(out, error);
            return None;
        }
        Some(scan.visit(at))
    });
    After::Ask(Plan {
        asks: vec![Ask::AnyMaster(args.frame().to_vec())],
        merge: Merge::ThenAll(judged),
        write: false,
    })
}

/// One call of SCAN.
struct Scan {
    topology: Arc<Topology>,
    list: Arc<ShardList>,
    /// The masters of the topology, as it numbers them.
    masters: Vec<Option<NodeKey>>,
    /// The request without its cursor.
    words: Vec<Vec<u8>>,
    process: Arc<Process>,
    /// Of this worker, which has a clock.
    stats: Arc<Stats>,
    /// When no further master is visited.
    until: Time,
    /// Masters that have answered.
    visits: u32,
    /// The page so far: elements as they came, and how many.
    elements: Vec<u8>,
    count: u64,
}

/// What came of a visit.
struct Visit<'a> {
    /// The node's cursor.
    cursor: u64,
    /// Its elements; nothing if they do not count.
    elements: Option<Reply<'a>>,
    /// What those who were asked have said.
    words: Vec<Word>,
}

impl Scan {
    /// Asks the master at a place to scan, and those whose visits are over, or end with this, what they are.
    fn visit(self: Box<Scan>, at: Position) -> Plan {
        let cursor = at.node_cursor.to_string();
        let mut words: Vec<&[u8]> = self.words.iter().map(Vec::as_slice).collect();
        words.insert(1, cursor.as_bytes());
        let mut frame = Vec::new();
        encode::command(&mut frame, words);
        let is_there = usize::from(at.place) < self.list.len();
        let scans = is_there.then_some((at.place, frame));
        let asked = asked(at, &self.list).map(|place| (place, NODES.to_vec()));
        let asks = scans.into_iter().chain(asked);
        let asks = asks.filter_map(|(place, frame)| self.ask(place, frame));
        let asks: Vec<Ask> = asks.collect();
        let then: Then = Box::new(move |replies, out| self.go_on(at, replies, out));
        Plan {
            asks,
            merge: Merge::ThenAll(then),
            write: false,
        }
    }

    /// By its slot a shard is found also while it fails over. Cursors of the old master are worth nothing on the new
    /// one, but then the list is another, too.
    fn ask(&self, place: u16, frame: Vec<u8>) -> Option<Ask> {
        let index = self.list.shard(place)?;
        let topology = &self.topology;
        if let Some(slot) = topology.slots.iter().position(|owner| *owner == index) {
            return Some(Ask::Slot(slot as u16, frame));
        }
        let Some(master) = self.masters.get(usize::from(index)) else {
            let orphan = usize::from(index) - self.masters.len();
            let (slot, _) = topology.orphans.get(orphan)?.slots.first()?;
            return Some(Ask::Slot(*slot, frame));
        };
        let target = Target {
            node: (*master)?,
            replica: false,
        };
        Some(Ask::IfUp(target, frame))
    }

    /// The masters have answered: the reply for the client, the cursor of what comes next and the elements as they
    /// are; or the next visit.
    fn go_on(
        mut self: Box<Scan>,
        at: Position,
        replies: &[Reply<'_>],
        out: &mut Vec<u8>,
    ) -> Option<Plan> {
        let visit = match read(at, &self.list, &self.topology, replies) {
            Ok(visit) => visit,
            // The page so far is not lost; the next call hears the error.
            Err(_) if self.visits > 0 => {
                self.print(Some(at), out);
                return None;
            }
            Err(error) => {
                encode::error(out, error);
                return None;
            }
        };
        if let Some(elements) = visit.elements {
            let items = elements.items();
            self.count += items.left();
            self.elements.extend_from_slice(items.rest());
        }
        self.visits += 1;
        if visit.words.contains(&Word::Changed) {
            self.process.stale.store(true, Ordering::Relaxed);
        }
        let next = at.next(visit.cursor, &visit.words, &self.list);
        match next {
            Some(next) if next.place == at.place + 1 && self.has_room() => Some(self.visit(next)),
            next => {
                self.print(next, out);
                None
            }
        }
    }

    /// Whether the call may go on.
    fn has_room(&self) -> bool {
        self.count < self.wanted()
            && self.visits < VISITS
            && Time::from_micros(self.stats.turn_at.get()) < self.until
    }

    /// The COUNT of the request. (If it is none, the node has said so.)
    fn wanted(&self) -> u64 {
        let options = self.words[1..].chunks_exact(2);
        let mut counts = options.filter(|option| option[0].eq_ignore_ascii_case(b"COUNT"));
        let last = counts.next_back().map(|option| &option[1]);
        let number = last.and_then(|text| std::str::from_utf8(text).ok()?.parse().ok());
        number.unwrap_or(COUNT)
    }

    fn print(&self, next: Option<Position>, out: &mut Vec<u8>) {
        match next.map_or(Ok(0), |next| next.encode(&self.list)) {
            Ok(next) => {
                encode::array(out, 2);
                encode::bulk(out, next.to_string().as_bytes());
                encode::array(out, self.count as usize);
                out.extend_from_slice(&self.elements);
            }
            Err(unfit @ Unfit) => encode::error(out, unfit.to_string().as_bytes()),
        }
    }
}

/// The places whose masters are asked for their word with this call. The one here is asked behind its scan, over
/// the same connection; one without slots always is, as it may have become a replica.
fn asked(at: Position, list: &ShardList) -> impl Iterator<Item = u16> {
    let is_there = usize::from(at.place) < list.len();
    let own = is_there && (at.is_last(list) || !list.has_slots(at.place));
    let own = own.then_some(at.place);
    at.asks_previous().into_iter().chain(own)
}

/// What the replies to one visit say, or the error that the client hears.
fn read<'a>(
    at: Position,
    list: &ShardList,
    topology: &Topology,
    replies: &[Reply<'a>],
) -> Result<Visit<'a>, &'a [u8]> {
    let is_there = usize::from(at.place) < list.len();
    let (scanned, said) = match replies.split_first() {
        Some((scanned, said)) if is_there => (Some(*scanned), said),
        _ if is_there => return Err(b"ERR the masters to scan are not known"),
        _ => (None, replies),
    };
    // Masters without slots that are not there are left out.
    let scanned = scanned.filter(|reply| !reply.frame().is_empty());
    // Who may not ask is told nothing, and asks no more; any other error leaves the scan where it was.
    let error = scanned.and_then(|reply| reply.error());
    if let Some(error) = error.or_else(|| said.iter().find_map(trouble)) {
        return Err(error);
    }
    let mut visit = Visit {
        cursor: 0,
        elements: None,
        words: Vec::new(),
    };
    let mut counts = true;
    for (place, nodes) in asked(at, list).zip(said) {
        if list.has_slots(place) || has_keys(nodes, topology) {
            visit.words.push(word(place, list, topology, nodes));
        } else {
            counts &= place != at.place;
            visit.words.push(Word::Settled);
        }
    }
    let Some(scanned) = scanned.filter(|_| counts) else {
        return Ok(visit);
    };
    let mut items = scanned.items();
    let cursor = items.next().and_then(|cursor| cursor.text());
    let cursor = cursor.and_then(|text| std::str::from_utf8(text).ok()?.parse().ok());
    // There may be a million elements: they are not looked at.
    let elements = (items.left() == 1).then(|| Reply::new(items.rest()));
    let (Some(cursor), Some(elements)) = (cursor, elements) else {
        return Err(b"ERR a node sent an invalid reply to SCAN");
    };
    (visit.cursor, visit.elements) = (cursor, Some(elements));
    Ok(visit)
}

/// Whether a master without slots has keys that count, by its own word; or we may not ask.
fn has_keys(nodes: &Reply<'_>, topology: &Topology) -> bool {
    if nodes.is_error() {
        return true;
    }
    let text = nodes.text().map(String::from_utf8_lossy);
    let own = text.as_deref().and_then(Myself::own);
    own.is_some_and(|own| own.has_keys_that_count(topology))
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
    let lines: Vec<Myself<'_>> = text.lines().filter_map(Myself::read).collect();
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

    /// A scan of these masters, whose page is full with one element, or has so much room.
    fn scan(topology: &Topology, list: &ShardList, count: &str) -> Box<Scan> {
        Box::new(Scan {
            topology: Arc::new(topology.clone()),
            list: Arc::new(list.clone()),
            masters: (0..3).map(|node| Some(NodeKey(node))).collect(),
            words: [b"SCAN", &b"count"[..], count.as_bytes()]
                .map(<[u8]>::to_vec)
                .to_vec(),
            process: Arc::new(Process::new(1)),
            stats: Arc::default(),
            until: Time::from_micros(1),
            visits: 0,
            elements: Vec::new(),
            count: 0,
        })
    }

    /// The reply to a call, or whom it asks next.
    fn step(scan: Box<Scan>, at: Position, replies: &[&str]) -> Result<Plan, String> {
        let replies = replies.iter().map(|reply| Reply::new(reply.as_bytes()));
        let mut out = Vec::new();
        match scan.go_on(at, &replies.collect::<Vec<_>>(), &mut out) {
            Some(plan) => Ok(plan),
            None => Err(String::from_utf8(out).expect("text")),
        }
    }

    const MORE: &str = "*2\r\n$2\r\n17\r\n*1\r\n$1\r\nk\r\n";
    const END: &str = "*2\r\n$1\r\n0\r\n*1\r\n$1\r\nk\r\n";

    fn says(id: &str, epoch: u64, slots: &str) -> String {
        let text = format!("{id} h:1@2 myself,master - 0 0 {epoch} connected {slots}\n");
        format!("${}\r\n{text}\r\n", text.len())
    }

    fn expected(cursor: u64, elements: usize) -> String {
        let text = cursor.to_string();
        let keys = "$1\r\nk\r\n".repeat(elements);
        format!("*2\r\n${}\r\n{text}\r\n*{elements}\r\n{keys}", text.len())
    }

    #[test]
    fn the_cursor_leads_from_master_to_master() {
        let topology = topology();
        let list = ShardList::new(&topology.slots, &["a", "b", "c"]);
        let step = |at: Position, replies: &[&str]| {
            let reply = step(scan(&topology, &list, "1"), at, replies);
            reply.expect_err("the page is full")
        };
        let at = |round, place, node_cursor| Position {
            round,
            place,
            node_cursor,
        };
        let only = |place, node_cursor| at(Round::Only, place, node_cursor);
        let after = |at: Position| expected(at.encode(&list).unwrap(), 1);
        let (a, b) = (says("a", 7, "0-8191"), says("b", 7, "8192-16383"));
        let c = says("c", 0, "[5-<-b]");
        let moving = says("b", 7, "8192-16383 [9000->-a]");
        let other = says("a", 8, "0-8191");
        assert_eq!(step(only(0, 0), &[MORE]), after(only(0, 17)));
        assert_eq!(step(only(0, 17), &[END]), after(only(1, 0)));
        assert_eq!(step(only(1, 0), &[MORE, &a]), after(only(1, 17)));
        assert_eq!(step(only(1, 0), &[MORE, &other]), after(Position::FIRST));
        assert_eq!(step(only(1, 17), &[END]), after(only(2, 0)));
        assert_eq!(step(only(2, 0), &[END, &b, &c]), expected(0, 1));
        assert_eq!(step(only(2, 0), &[MORE, &b, &c]), after(only(2, 17)));
        assert_eq!(step(only(2, 0), &[END, &other, &c]), after(Position::FIRST));
        let second = |place| at(Round::Second, place, 0);
        assert_eq!(step(only(2, 0), &[END, &moving, &c]), after(second(0)));
        assert_eq!(step(second(2), &[END, &moving, &c]), expected(0, 1));
        for error in ["-ERR syntax error\r\n", "-CLUSTERDOWN x\r\n"] {
            assert_eq!(step(only(0, 0), &[error]), error);
            assert_eq!(step(only(2, 0), &[END, &b, error]), error);
        }
    }

    /// A node that joins is a master without slots until it is told whose replica it is. Nothing of it counts, it does
    /// not begin the scan again, and whether it is there does not matter to a cursor.
    #[test]
    fn nothing_is_taken_of_a_master_without_keys_that_count() {
        let topology = topology();
        let list = ShardList::new(&topology.slots, &["a", "b", "c"]);
        let b = says("b", 7, "8192-16383");
        let at = Position {
            place: 2,
            ..Position::FIRST
        };
        let replica = "$46\r\nc h:1@2 myself,slave a 0 0 7 connected 0-8191\n\r\n";
        let rejoining = says("c", 3, "8192-16383");
        for word in [replica, &says("c", 3, ""), &rejoining, ""] {
            for scanned in [MORE, END, "*0\r\n", ""] {
                let reply = step(scan(&topology, &list, "1"), at, &[scanned, &b, word]);
                assert_eq!(reply.unwrap_err(), expected(0, 0), "{word}");
            }
        }
        let without = ShardList::new(&topology.slots, &["a", "b"]);
        let cursor = at.encode(&list).unwrap();
        assert_eq!(Position::decode(cursor, &without), at);
        let reply = step(scan(&topology, &without, "1"), at, &[&b]);
        assert_eq!(reply.unwrap_err(), expected(0, 0));
        let within = Position {
            node_cursor: 17,
            ..at
        };
        let cursor = within.encode(&list).unwrap();
        assert_eq!(Position::decode(cursor, &list), within);
        assert_eq!(Position::decode(cursor, &without), Position::FIRST);
    }

    #[test]
    fn a_call_goes_on_while_its_page_has_room() {
        let topology = topology();
        let list = ShardList::new(&topology.slots, &["a", "b", "c"]);
        let (a, b) = (says("a", 7, "0-8191"), says("b", 7, "8192-16383"));
        let c = says("c", 0, "");
        let mut at = Position::FIRST;
        let mut own = scan(&topology, &list, "3");
        let pages: [(&str, &[&str]); 2] = [(END, &[]), (END, &[&a])];
        for (page, words) in pages {
            let replies = [&[page], words].concat();
            let plan = step(own, at, &replies).expect("it goes on");
            assert_eq!(plan.asks.len(), if at.place == 0 { 2 } else { 3 });
            at.place += 1;
            own = scan(&topology, &list, "3");
            (own.visits, own.count) = (u32::from(at.place), u64::from(at.place));
            own.elements = "$1\r\nk\r\n".repeat(usize::from(at.place)).into_bytes();
        }
        let reply = step(own, at, &[END, &b, &c]);
        assert_eq!(reply.unwrap_err(), expected(0, 2));
        // It has been going on for too long, or the visit of one is not over, or the next one has an error to tell.
        let first = || scan(&topology, &list, "3");
        let second = Position {
            place: 1,
            ..Position::FIRST
        };
        let cursor = second.encode(&list).unwrap();
        let late = first();
        late.stats.turn_at.set(1);
        assert_eq!(
            step(late, Position::FIRST, &[END]).unwrap_err(),
            expected(cursor, 1)
        );
        assert!(step(first(), Position::FIRST, &[MORE]).is_err());
        let mut failing = first();
        failing.visits = 1;
        let reply = step(failing, second, &["-CLUSTERDOWN x\r\n", &a]);
        assert_eq!(reply.unwrap_err(), expected(cursor, 0));
    }
}
