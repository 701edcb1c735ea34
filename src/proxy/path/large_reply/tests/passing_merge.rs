//! Replies made of the arrays of several nodes, which pass as they come: in any pieces and any order, with nodes and clients
//! that stop, leave, or are slow.

use super::*;
use crate::resp::reply::Reply;

const ROLE: &[u8] = b"*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n";
/// Bytes that a client may be owed before its nodes wait.
const MARK: usize = 256 << 10;
/// The blocks of one read, and what is in hand, for each of three nodes.
const MORE: usize = 3 * 4 * READ_BLOCK;

/// A client before three nodes, which has asked all of them for their keys; and their connections, on which the nodes have
/// said that they are masters.
fn asked(resp3: bool, set: impl FnOnce(&mut Config)) -> (Rig, usize, Vec<BackendId>) {
    let mut rig = Rig::before(3, |config| {
        config.limits.client_output_bytes = MARK;
        set(config);
    });
    let client = match resp3 {
        true => rig.client_of_resp3(),
        false => rig.client(),
    };
    rig.ask(client, &["KEYS", "*"]);
    let nodes = rig.backends.clone();
    assert_eq!(nodes.len(), 3);
    for node in &nodes {
        rig.put(Peer::Backend(*node), ROLE, usize::MAX);
    }
    (rig, client, nodes)
}

/// An array of these values.
fn array(values: &[Vec<u8>]) -> Vec<u8> {
    let mut out = format!("*{}\r\n", values.len()).into_bytes();
    values.iter().for_each(|value| out.extend(value));
    out
}

/// Values that say whose they are, and which.
fn values_of(node: usize, count: usize, random: &mut Random) -> Vec<Vec<u8>> {
    let all = (0..count).map(|index| {
        let length = match random.below(400) {
            0 => 100_000 + random.below(1 << 20),
            1..8 => random.below(70_000),
            _ => random.below(60),
        };
        let name = format!("{node}:{index}:{}", "x".repeat(length));
        let name = format!("${}\r\n{name}\r\n", name.len());
        let text = match random.below(12) {
            0 => format!("*3\r\n$-1\r\n{name}*1\r\n*0\r\n"),
            1 => format!("%1\r\n+a\r\n*2\r\n{name}_\r\n"),
            2 => format!("|1\r\n+ttl\r\n*1\r\n:3\r\n{name}"),
            3 => format!("*2\r\n*-1\r\n|1\r\n+b\r\n:3\r\n{name}"),
            _ => name,
        };
        text.into_bytes()
    });
    all.collect()
}

/// The values of a reply, each whole; and how often another node's comes behind one's.
fn heard_values(reply: &[u8]) -> (Vec<&[u8]>, usize) {
    let values = Reply::new(reply).items();
    let (count, rest) = (values.left(), values.rest());
    let values: Vec<&[u8]> = values.map(|value| value.frame()).collect();
    assert_eq!(values.len() as u64, count);
    assert_eq!(
        values.iter().map(|own| own.len()).sum::<usize>(),
        rest.len()
    );
    let node = |value: &[u8]| {
        let marks = ["\r\n0:", "\r\n1:", "\r\n2:"];
        let mut marks = marks.iter().map(|mark| mark.as_bytes());
        marks.position(|mark| memchr::memmem::find(value, mark).is_some())
    };
    let nodes: Vec<Option<usize>> = values.iter().map(|value| node(value)).collect();
    let switches = nodes.windows(2).filter(|two| two[0] != two[1]).count();
    (values, switches)
}

fn ways(rig: &Rig) -> usize {
    let backends = rig.proxy.upstream.backends.iter();
    let large_replies = backends.filter_map(|(_, own)| own.large_reply.as_ref());
    large_replies
        .filter(|own| own.way == super::super::Way::Merged)
        .count()
}

#[test]
fn values_of_all_nodes_are_whole_and_there_however_they_come() {
    let mut random = Random::new(5);
    let (mut merged, mut switched) = (0, 0);
    for round in 0..30 {
        let least = [0, 0, 200_000][round % 3];
        let (mut rig, client, nodes) = asked(true, |config| {
            config.limits.pass_bytes = least;
        });
        let behind = rig.client_of_resp3();
        let most = [3, 300, 1000, 4000];
        let values: Vec<Vec<Vec<u8>>> = (0..3)
            .map(|node| {
                let most = most[random.below(4)];
                let count = random.below(most);
                values_of(node, count, &mut random)
            })
            .collect();
        let replies: Vec<Vec<u8>> = values.iter().map(|own| array(own)).collect();
        let mut rests: Vec<&[u8]> = replies.iter().map(|own| &own[..]).collect();
        while rests.iter().any(|rest| !rest.is_empty()) {
            let node = random.below(3);
            let most = [1, 100, 1448, 40_000, 200_000][random.below(5)];
            let count = rests[node].len().min(1 + random.below(most));
            let read = rig.offer(nodes[node], &rests[node][..count]);
            rests[node] = &rests[node][read..];
            if read == 0 {
                // It waits for the others' heads. A short reply is found to be the last one by a sweep.
                rig.wait(1);
            }
            merged = merged.max(ways(&rig));
        }
        let heard = rig.heard(client);
        let (mut found, switches) = heard_values(&heard);
        switched += usize::from(switches > 2);
        for own in &values {
            // Each node's are in its order.
            let mut all = found.iter();
            assert!(
                own.iter()
                    .all(|value| all.any(|heard| *heard == &value[..]))
            );
        }
        let mut all: Vec<&[u8]> = values.iter().flatten().map(Vec::as_slice).collect();
        all.sort_unstable();
        found.sort_unstable();
        assert!(found == all, "round {round}");
        // What is asked next is answered behind it.
        for client in [client, behind] {
            rig.ask(client, &["GET", "bar"]);
            let owing = owing(&rig);
            rig.put(owing, b"$1\r\na\r\n", usize::MAX);
            assert_eq!(rig.heard(client), b"$1\r\na\r\n");
        }
        rig.proxy.check_idle();
    }
    assert!(merged == 3 && switched > 5, "{merged} {switched}");
}

/// Who owes a reply.
fn owing(rig: &Rig) -> Peer {
    let mut backends = rig.proxy.upstream.backends.iter();
    let owing = backends.find(|(_, own)| !own.tickets.is_empty());
    Peer::Backend(owing.expect("it was asked").0)
}

#[test]
fn a_list_of_all_keys_takes_little_memory_and_is_counted_as_one_reply() {
    let reply = list(300_000);
    let (mut rig, client, nodes) = asked(false, |config| config.limits.pass_bytes = 1 << 20);
    let (mut most, mut at) = (0, 0);
    while at < reply.len() {
        let end = reply.len().min(at + READ_BLOCK);
        for node in &nodes {
            rig.put(Peer::Backend(*node), &reply[at..end], usize::MAX);
            most = most.max(rig.storage());
        }
        at = end;
    }
    let heard = rig.heard(client);
    assert!(heard.starts_with(b"*900000\r\n"));
    let (_, values) = reply.split_at(b"*300000\r\n".len());
    assert_eq!(heard.len(), b"*900000\r\n".len() + 3 * values.len());
    assert!(most <= (1 << 20) + MORE, "{most} bytes are kept");
    let id = rig.clients[client].0;
    let window = rig.proxy.clients.get(id).expect("it is there").window;
    assert_eq!(window, 1, "such replies come one at a time");
    rig.proxy.check_idle();
}

#[test]
fn nothing_leaves_before_all_heads_are_known_and_errors_are_merged() {
    let reply = list(50_000);
    for end in [&b"-ERR no\r\n"[..], b"*1\r\n:1\r\n", b"*-1\r\n"] {
        let (mut rig, client, nodes) = asked(false, |_| {});
        let (front, rest) = reply.split_at(200_000);
        for node in &nodes[..2] {
            rig.put(Peer::Backend(*node), front, usize::MAX);
        }
        assert_eq!(rig.heard(client), b"");
        rig.put(Peer::Backend(nodes[2]), end, usize::MAX);
        for node in &nodes[..2] {
            rig.put(Peer::Backend(*node), rest, usize::MAX);
        }
        let heard = rig.heard(client);
        if end.starts_with(b"-") {
            assert_eq!(heard, end);
        } else {
            let count = 100_000 + usize::from(end.ends_with(b":1\r\n"));
            assert!(heard.starts_with(format!("*{count}\r\n").as_bytes()));
            assert_eq!(heard_values(&heard).0.len(), count);
        }
        rig.proxy.check_idle();
    }
}

#[test]
fn a_part_that_is_lost_before_the_head_has_left_is_asked_for_again() {
    let reply = list(50_000);
    let (mut rig, client, nodes) = asked(false, |_| {});
    for node in &nodes[..2] {
        rig.put(Peer::Backend(*node), &reply[..200_000], usize::MAX);
    }
    rig.proxy.closed(Peer::Backend(nodes[0]), rig.now);
    rig.wait(50);
    let again = *rig.backends.last().expect("the next connection");
    assert!(!nodes.contains(&again));
    // The other one's head is not taken for that of this one.
    rig.put(Peer::Backend(nodes[2]), &reply[..200_000], usize::MAX);
    assert_eq!(rig.heard(client), b"");
    rig.put(
        Peer::Backend(again),
        &[ROLE, b"*0\r\n"].concat(),
        usize::MAX,
    );
    for node in &nodes[1..] {
        rig.put(Peer::Backend(*node), &reply[200_000..], usize::MAX);
    }
    let heard = rig.heard(client);
    assert!(heard.starts_with(b"*100000\r\n"));
    assert_eq!(heard_values(&heard).0.len(), 100_000);
    rig.proxy.check_idle();
}

#[test]
fn a_part_that_is_lost_behind_the_head_costs_the_client_its_connection() {
    let reply = list(50_000);
    for (lost, times) in [(0, 1), (1, 1), (2, 2)] {
        let (mut rig, client, nodes) = asked(false, |_| {});
        let other = rig.client();
        rig.ask(other, &["GET", "bar"]);
        // It has nothing to wait for.
        for node in &nodes {
            rig.put(Peer::Backend(*node), &reply[..200_000], usize::MAX);
        }
        for node in &nodes[lost..(lost + times).min(3)] {
            rig.proxy.closed(Peer::Backend(*node), rig.now);
        }
        rig.turn();
        assert!(rig.is_closed(client) && !rig.is_closed(other));
        assert!(rig.heard(client).starts_with(b"*150000\r\n"));
        assert_eq!(rig.proxy.stats().clients_severed.get(), 1);
        for node in &nodes {
            rig.put(Peer::Backend(*node), &reply[200_000..], usize::MAX);
        }
        rig.now = rig.now.after(OVERDUE_MIN / 2);
        rig.turn();
        let owing = owing(&rig);
        rig.put(owing, b"$1\r\nb\r\n", usize::MAX);
        assert_eq!(rig.heard(other), b"$1\r\nb\r\n");
        rig.proxy.check_idle();
    }
}

#[test]
fn a_node_that_stops_behind_its_head_holds_up_nobodys_values_and_is_given_up_in_time() {
    let reply = list(50_000);
    let (mut rig, client, nodes) = asked(false, |_| {});
    for node in &nodes {
        rig.put(Peer::Backend(*node), &reply[..100_000], usize::MAX);
    }
    rig.heard(client);
    for node in &nodes[1..] {
        rig.put(Peer::Backend(*node), &reply[100_000..], usize::MAX);
    }
    assert!(rig.heard(client).len() > 2 * (reply.len() - 200_000));
    let timeout = rig.proxy.config().request_timeout;
    rig.now = rig.now.after(timeout - Duration::from_millis(100));
    rig.turn();
    assert!(!rig.is_closed(client));
    for _ in 0..4 {
        rig.now = rig.now.after(Duration::from_millis(100));
        rig.turn();
    }
    assert!(rig.is_closed(client));
    assert_eq!(rig.proxy.stats().clients_severed.get(), 1);
    rig.proxy.check_idle();
}

#[test]
fn who_reads_slowly_gets_all_and_little_is_held_and_others_go_elsewhere() {
    let reply = list(200_000);
    let (mut rig, client, nodes) = asked(false, |config| config.limits.pass_bytes = 100_000);
    let other = rig.client();
    rig.appetite = 0;
    let mut rests = vec![&reply[..]; 3];
    let (mut most, mut heard) = (0, Vec::new());
    for step in 0.. {
        for (node, rest) in nodes.iter().zip(&mut rests) {
            let read = rig.offer(*node, rest);
            *rest = &rest[read..];
        }
        most = most.max(rig.held());
        if step == 3 {
            // All of the nodes wait for the client by now.
            assert_eq!(rig.pauses(), 3);
            rig.ask(other, &["GET", "bar"]);
            let elsewhere = rig.backend_of(other);
            assert!(!nodes.contains(&elsewhere));
            for answer in ["+PONG\r\n", "$1\r\na\r\n"] {
                rig.put(Peer::Backend(elsewhere), answer.as_bytes(), usize::MAX);
            }
            rig.eat(other, usize::MAX);
            assert_eq!(rig.heard(other), b"$1\r\na\r\n");
        }
        rig.eat(client, 50_000);
        heard.extend(rig.heard(client));
        rig.wait(500);
        if rests.iter().all(|rest| rest.is_empty()) && rig.held() < READ_BLOCK {
            break;
        }
        assert!(!rig.is_closed(client));
    }
    rig.eat(client, usize::MAX);
    heard.extend(rig.heard(client));
    assert_eq!(heard_values(&heard).0.len(), 600_000);
    assert!(most <= MARK + 300_000 + MORE, "{most} bytes are held");
    rig.proxy.check_idle();
}

#[test]
fn nodes_wait_for_the_heads_of_the_others() {
    let reply = list(200_000);
    let (mut rig, client, nodes) = asked(false, |config| config.limits.pass_bytes = 100_000);
    let first = rig.offer(nodes[0], &reply);
    let second = rig.offer(nodes[1], &reply);
    assert!(first < reply.len() && second < reply.len());
    assert!(rig.held() <= 2 * (MARK + 100_000) + MORE);
    assert_eq!((rig.pauses(), rig.heard(client).len()), (2, 0));
    // However long that takes.
    rig.now = rig.now.after(Duration::from_secs(4));
    rig.turn();
    assert_eq!(rig.offer(nodes[0], &reply[first..]), 0);
    // One that has few says so.
    rig.put(Peer::Backend(nodes[2]), b"*1\r\n$1\r\na\r\n", usize::MAX);
    rig.wait(100);
    let mut rests = [&reply[first..], &reply[second..]];
    while rests.iter().any(|rest| !rest.is_empty()) {
        for (node, rest) in nodes.iter().zip(&mut rests) {
            let read = rig.offer(*node, rest);
            *rest = &rest[read..];
        }
    }
    assert_eq!(heard_values(&rig.heard(client)).0.len(), 400_001);
    rig.proxy.check_idle();
}

/// Each node answers another client first, so that all would wait for each other if they waited.
#[test]
fn clients_that_wait_for_each_others_heads_do_not_wait_for_ever() {
    let reply = list(100_000);
    let mut rig = Rig::before(2, |config| config.limits.client_output_bytes = MARK);
    let clients = [rig.client(), rig.client()];
    for client in clients {
        rig.ask(client, &["KEYS", "*"]);
    }
    let nodes = rig.backends.clone();
    for node in &nodes {
        rig.put(Peer::Backend(*node), ROLE, usize::MAX);
    }
    let all = [&reply[..], ROLE, &reply].concat();
    let mut rests = [&all[..]; 2];
    while rests.iter().any(|rest| !rest.is_empty()) {
        let before = rests.map(<[u8]>::len);
        for (node, rest) in nodes.iter().zip(&mut rests) {
            let read = rig.offer(*node, rest);
            *rest = &rest[read..];
        }
        assert_ne!(rests.map(<[u8]>::len), before);
    }
    for client in clients {
        assert_eq!(heard_values(&rig.heard(client)).0.len(), 200_000);
    }
    rig.proxy.check_idle();
}

#[test]
fn who_leaves_costs_nothing() {
    let reply = list(100_000);
    for cut in [300_000, 900_000] {
        let (mut rig, client, nodes) = asked(false, |config| config.limits.pass_bytes = 500_000);
        rig.appetite = 0;
        let mut read = Vec::new();
        for node in &nodes {
            read.push(rig.offer(*node, &reply[..cut]));
        }
        let id = rig.clients[client].0;
        rig.proxy.closed(Peer::Client(id), rig.now);
        rig.turn();
        for (node, read) in nodes.iter().zip(read) {
            assert_eq!(rig.offer(*node, &reply[read..]), reply.len() - read);
        }
        assert!(rig.held() <= 3 * READ_BLOCK);
        rig.proxy.check_idle();
    }
}

#[test]
fn requests_behind_it_are_answered_in_their_order() {
    let reply = list(50_000);
    let mut rig = Rig::before(2, |_| {});
    let client = rig.client();
    let mut requests = Vec::new();
    for words in [&["KEYS", "*"][..], &["GET", "bar"], &["KEYS", "*"]] {
        encode::command(&mut requests, words.iter().map(|word| word.as_bytes()));
    }
    let peer = Peer::Client(rig.clients[client].0);
    rig.put(peer, &requests, usize::MAX);
    let nodes = rig.backends.clone();
    let mut heard = Vec::new();
    for _ in 0..2 {
        for node in &nodes {
            rig.put(Peer::Backend(*node), ROLE, usize::MAX);
        }
        for piece in reply.chunks(60_000) {
            for node in &nodes {
                rig.put(Peer::Backend(*node), piece, usize::MAX);
            }
        }
        let values = rig.heard(client);
        assert_eq!(heard_values(&values).0.len(), 100_000);
        heard.push(values);
        rig.turn();
        if heard.len() == 1 {
            let owing = owing(&rig);
            rig.put(owing, b"$1\r\na\r\n", usize::MAX);
            assert_eq!(rig.heard(client), b"$1\r\na\r\n");
        }
    }
    rig.proxy.check_idle();
}

#[test]
fn a_client_that_wants_no_reply_gets_none_and_one_that_is_told_more_gets_it_whole() {
    let reply = list(50_000);
    for words in [&["CLIENT", "REPLY", "SKIP"][..], &["SUBSCRIBE", "news"]] {
        let mut rig = Rig::before(2, |_| {});
        let client = rig.client_of_resp3();
        rig.ask(client, words);
        let hears = words[0] == "SUBSCRIBE";
        if hears {
            let link = owing(&rig);
            let confirmed = b">3\r\n$9\r\nsubscribe\r\n$4\r\nnews\r\n:1\r\n";
            rig.put(link, confirmed, usize::MAX);
        }
        rig.heard(client);
        rig.ask(client, &["KEYS", "*"]);
        let backends = rig.proxy.upstream.backends.iter();
        let nodes: Vec<BackendId> = backends
            .filter(|(_, own)| own.tickets.len() > 1)
            .map(|(id, _)| id)
            .collect();
        assert_eq!(nodes.len(), 2);
        for node in &nodes {
            rig.put(Peer::Backend(*node), ROLE, usize::MAX);
            rig.put(Peer::Backend(*node), &reply[..400_000], usize::MAX);
        }
        assert_eq!(rig.heard(client), b"");
        for node in &nodes {
            rig.put(Peer::Backend(*node), &reply[400_000..], usize::MAX);
        }
        let heard = rig.heard(client);
        assert_eq!(hears, !heard.is_empty());
        if hears {
            assert_eq!(heard_values(&heard).0.len(), 100_000);
        }
        rig.proxy.check_idle();
    }
}
