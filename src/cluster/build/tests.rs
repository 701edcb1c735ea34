//! Tests of `cluster::build`.

use super::*;
use crate::cluster::topology::Orphan;

/// `a 10.0.0.1:7001@17001 master - 0 0 1 connected 0-5460`, with `|` for line ends; SLOTS says nothing.
fn view(nodes: &str) -> View {
    let nodes = nodes.replace('|', "\n");
    let nodes = format!("${}\r\n{nodes}\r\n", nodes.len());
    let reached = "10.0.0.1:7001".parse().unwrap();
    View::from_bytes(reached, b"-NOPERM\r\n", nodes.as_bytes()).unwrap()
}

const THREE: &str = "a 10.0.0.1:7001@1 myself,master - 0 0 1 connected 0-5460|\
                         b 10.0.0.2:7001@1 master - 0 0 2 connected 5461-10922|\
                         c 10.0.0.3:7001@1 master - 0 0 3 connected 10923-16383|\
                         r 10.0.0.4:7001@1 slave c 0 0 3 connected";

fn surroundings<'a>(node_map: &'a [(String, String)]) -> Surroundings<'a> {
    Surroundings {
        resolve: &|host| match host {
            "two.test" => vec!["::9".parse().unwrap(), "10.0.9.9".parse().unwrap()],
            "six.test" => vec!["::9".parse().unwrap()],
            _ => vec![],
        },
        node_map,
        allowed: &|_| true,
        same_idc: &|address, _| address.ip().to_string().starts_with("10.0."),
    }
}

fn from_view(view: &View, previous: Option<&Topology>) -> Result<Built, Rejected> {
    build(view, previous, &surroundings(&[]), Time::default())
}

fn built(nodes: &str, previous: Option<&Topology>) -> Result<Built, Rejected> {
    from_view(&view(nodes), previous)
}

fn table(nodes: &str) -> Topology {
    built(nodes, None).unwrap().topology
}

/// The id of the owner of a slot.
fn owner(topology: &Topology, slot: usize) -> &str {
    match topology.slots[slot] {
        NO_SHARD => "nobody",
        shard => {
            let master = topology.shards[usize::from(shard)].master;
            &topology.nodes[usize::from(master)].id
        }
    }
}

fn replicas(topology: &Topology) -> Vec<&str> {
    let all = topology.shards.iter().flat_map(|shard| &shard.replicas);
    all.map(|index| topology.nodes[usize::from(*index)].id.as_str())
        .collect()
}

#[test]
fn a_good_answer_is_a_table() {
    let topology = table(THREE);
    assert_eq!(topology.covered(), SLOTS);
    assert_eq!((topology.shards.len(), topology.epoch), (3, 3));
    assert_eq!(
        [0, 5460, 5461, 16383].map(|slot| owner(&topology, slot)),
        ["a", "a", "b", "c"]
    );
    assert_eq!(replicas(&topology), ["r"]);
    assert!(topology.nodes.iter().all(|node| node.same_idc));
    assert_eq!(topology.announced["10.0.0.2:7001"], 1);
    assert!(topology.same_as(&table(THREE)));
    let shuffled: Vec<&str> = THREE.rsplit('|').collect();
    assert!(
        topology.same_as(&table(&shuffled.join("|"))),
        "the order of the lines"
    );
}

#[test]
fn bad_answers_are_rejected_with_and_without_a_table_in_use() {
    let good = table(THREE);
    let check = |nodes: &str, expected: Rejected| {
        for previous in [None, Some(&good)] {
            assert_eq!(
                built(nodes, previous).unwrap_err(),
                expected,
                "{nodes} {}",
                previous.is_some()
            );
        }
    };
    let minority = |reached, masters| Rejected::Minority { reached, masters };
    check(
        "a 10.0.0.1:7001@1 myself,master - 0 0 1 connected",
        Rejected::NoMaster,
    );
    check(
        "a 10.0.0.1:7001@1 myself,slave b 0 0 1 connected|b :0@0 handshake - 0 0 1 connected",
        Rejected::NoMaster,
    );
    check(
        &THREE
            .replace(".2:7001@1 master", ".2:7001@1 master,fail?")
            .replace(".3:7001@1 master", ".3:7001@1 master,fail?"),
        minority(1, 3),
    );
    check(
        &THREE
            .replace(".1:7001@1 myself,master", ".1:7001@1 master,fail")
            .replace(".3:7001@1 master", ".3:7001@1 master,fail?"),
        minority(1, 3),
    );
    check(
        "a 10.0.0.1:7001@1 myself,master - 0 0 1 connected 0-8000|\
             b 10.0.0.2:7001@1 master,fail - 0 0 2 connected 8001-16383",
        minority(1, 2),
    );
    check(
        "a 10.0.0.1:7001@1 master,fail - 0 0 1 connected 0-16383|\
             r 10.0.0.2:7001@1 myself,slave a 0 0 1 connected",
        minority(0, 1),
    );
}

#[test]
fn dead_and_half_known_nodes_are_left_out() {
    let topology = table(
        "a 10.0.0.1:7001@1 myself,master - 0 0 1 connected 0-5460|\
             b 10.0.0.2:7001@1 master,fail? - 0 0 2 disconnected 5461-10922|\
             c 10.0.0.3:7001@1 master - 0 0 3 connected 10923-16383|\
             d 10.0.0.4:7001@1 slave,fail a 0 0 1 connected|\
             e 10.0.0.5:7001@1 slave,fail? a 0 0 1 connected|\
             f 10.0.0.6:7001@1 slave a 0 0 1 disconnected|\
             g :0@0 slave,noaddr a 0 0 1 connected|\
             h 10.0.0.8:7001@1 handshake - 0 0 0 connected|\
             i 10.0.0.9:7001@1 slave a 0 0 1 connected|\
             j 10.0.0.10:7001@1 master - 0 0 0 connected|\
             k 10.0.0.11:7001@1 slave j 0 0 0 connected",
    );
    let ids: Vec<&str> = topology.nodes.iter().map(|node| node.id.as_str()).collect();
    assert_eq!(ids, ["a", "b", "c", "e", "f", "i", "j", "k"]);
    assert_eq!(
        topology.shards.len(),
        3,
        "a master without slots is no shard"
    );
    assert_eq!(owner(&topology, 6000), "b", "suspected by one only");
    let down = |topology: &Topology| -> Vec<String> {
        let down = topology.down.iter();
        down.map(|node| format!("{} {} {}", node.id, node.address, node.is_master))
            .collect()
    };
    let expected = [
        "b 10.0.0.2:7001 true",
        "d 10.0.0.4:7001 false",
        "e 10.0.0.5:7001 false",
    ];
    assert_eq!(down(&topology), expected);
    // One that has lost its address is where it was, and one that nobody lists any more is not down.
    let later = from_view(
        &view(
            "a 10.0.0.1:7001@1 myself,master - 0 0 1 connected 0-5460|\
                 b 10.0.0.2:7001@1 master - 0 0 2 connected 5461-10922|\
                 c 10.0.0.3:7001@1 master - 0 0 3 connected 10923-16383|\
                 d :0@0 slave,fail,noaddr a 0 0 1 connected|\
                 g :0@0 slave,fail,noaddr a 0 0 1 connected",
        ),
        Some(&topology),
    );
    let later = later.expect("a good answer").topology;
    assert_eq!(down(&later), ["d 10.0.0.4:7001 false"]);
    assert_eq!(replicas(&topology), ["i"]);
}

#[test]
fn the_highest_epoch_wins_in_one_answer_and_against_the_table_in_use() {
    let twice = THREE.replace("5461-10922", "5461-10922 100");
    assert_eq!(owner(&table(&twice), 100), "b", "claimed by epochs 1 and 2");
    let good = table(THREE);

    // c's slots at b: b's epoch is lower and c is up, so c keeps them until it says so itself.
    let lower = THREE
        .replace("5461-10922", "5461-11000")
        .replace("10923-", "11001-");
    let next = built(&lower, Some(&good)).unwrap();
    assert_eq!(owner(&next.topology, 10950), "c");
    assert_eq!(next.doubted, ["10.0.0.3:7001".parse().unwrap()]);
    let honest = lower
        .replace("myself,master", "master")
        .replace(".3:7001@1 master", ".3:7001@1 myself,master");
    let next = built(&honest, Some(&good)).unwrap();
    assert_eq!(owner(&next.topology, 10950), "b");
    assert_eq!(next.doubted, []);

    // The importing node raised its epoch, as Redis does.
    let raised = lower.replace("0 2 connected", "0 4 connected");
    let next = built(&raised, Some(&good)).unwrap();
    assert_eq!(owner(&next.topology, 10950), "b");
    assert_eq!(next.topology.epoch, 4);

    // The owner is dead: the claim counts.
    let dead = lower.replace(".3:7001@1 master", ".3:7001@1 master,fail");
    assert_eq!(
        owner(&built(&dead, Some(&good)).unwrap().topology, 10950),
        "b"
    );
}

#[test]
fn a_stale_answer_after_a_failover_changes_nothing() {
    let after = THREE
        .replace(
            ".3:7001@1 master - 0 0 3 connected 10923-16383",
            ".3:7001@1 master,fail - 0 0 3 connected",
        )
        .replace(
            "slave c 0 0 3 connected",
            "master - 0 0 9 connected 10923-16383",
        );
    let after = built(&after, Some(&table(THREE))).unwrap().topology;
    assert_eq!(owner(&after, 16383), "r");
    assert_eq!(after.orphans, [], "somebody has been promoted");
    let stale = built(THREE, Some(&after)).unwrap();
    assert_eq!(owner(&stale.topology, 16383), "r");
    assert_eq!(stale.topology.shards[2].epoch, 9);
    assert_eq!(stale.doubted, ["10.0.0.4:7001".parse().unwrap()]);
    assert_eq!(replicas(&stale.topology), Vec::<&str>::new());
}

#[test]
fn uncovered_slots_stay_with_an_owner_that_is_up() {
    let good = table(THREE);
    let partial = THREE.replace(" 10923-16383", " 10923-16000");
    let next = built(&partial, Some(&good)).unwrap();
    assert_eq!(next.topology.covered(), SLOTS);
    assert_eq!(next.doubted.len(), 1);
    assert_eq!(owner(&table(&partial), 16383), "nobody");
    let dead = partial.replace(".3:7001@1 master", ".3:7001@1 master,fail");
    let next = built(&dead, Some(&good)).unwrap().topology;
    assert_eq!((owner(&next, 16383), next.covered()), ("nobody", 10923));
    let replica = next.nodes.iter().position(|node| node.id == "r");
    let orphan = Orphan {
        id: "c".to_string(),
        slots: vec![(10923, 16000)],
        replicas: vec![replica.unwrap() as u16],
    };
    assert_eq!(next.orphans, [orphan], "16001 and up are nobody's");
    let forgotten: Vec<&str> = THREE.split('|').take(2).collect();
    let next = built(&forgotten.join("|"), Some(&good)).unwrap().topology;
    assert_eq!(owner(&next, 16383), "nobody");
    assert_eq!(next.orphans, []);
}

#[test]
fn a_stranger_counts_only_without_a_table_in_use() {
    let good = table(THREE);
    let other = THREE.replace("a 10", "x 10").replace("b 10", "y 10");
    assert_eq!(
        built(&other, Some(&good)).unwrap_err(),
        Rejected::Stranger {
            known: 1,
            masters: 3
        }
    );
    assert_eq!(table(&other).covered(), SLOTS);
}

fn with_slots(reached: &str, endpoints: &[(&str, &str)], nodes: &str) -> View {
    let bulk = |text: &str| match text {
        "null" => "$-1\r\n".to_string(),
        text => format!("${}\r\n{text}\r\n", text.len()),
    };
    let mut slots = format!("*{}\r\n", endpoints.len());
    for (endpoint, id) in endpoints {
        slots += &format!(
            "*3\r\n:0\r\n:1\r\n*3\r\n{}:7001\r\n{}",
            bulk(endpoint),
            bulk(id)
        );
    }
    let nodes = bulk(&nodes.replace('|', "\n"));
    View::from_bytes(reached.parse().unwrap(), slots.as_bytes(), nodes.as_bytes()).unwrap()
}

/// Where the nodes are reached, in the order of their ids.
fn addresses(view: &View, node_map: &[(&str, &str)]) -> Vec<String> {
    let node_map: Vec<(String, String)> = node_map
        .iter()
        .map(|(from, to)| (from.to_string(), to.to_string()))
        .collect();
    let built = build(view, None, &surroundings(&node_map), Time::default()).unwrap();
    let nodes = built.topology.nodes.iter();
    nodes.map(|node| node.address.to_string()).collect()
}

#[test]
fn hosts_are_where_the_nodes_want_to_be_reached() {
    let two = "a 10.0.0.1:7001@1,one.test myself,master - 0 0 1 connected 0-8000|\
                   b 10.0.0.2:7002@1,two.test master - 0 0 2 connected 8001-16383|\
                   z 10.0.0.3:7003@1,six.test master - 0 0 0 connected";
    let check = |endpoints: [&str; 2], expected: [&str; 3]| {
        let [a, b] = endpoints;
        let view = with_slots("10.7.7.7:7009", &[(a, "a"), (b, "b")], two);
        assert_eq!(addresses(&view, &[]), expected, "{endpoints:?}");
    };
    check(
        ["10.0.0.1", "10.0.0.2"],
        ["10.0.0.1:7001", "10.0.0.2:7002", "10.0.0.3:7003"],
    );
    check(
        ["one.test", "two.test"], // one.test does not resolve
        ["10.0.0.1:7001", "10.0.9.9:7002", "[::9]:7003"],
    );
    check(
        ["null", ""],
        ["10.7.7.7:7009", "10.7.7.7:7002", "10.7.7.7:7003"],
    );
    check(
        ["?", "two.test"],
        ["10.0.0.1:7001", "10.0.9.9:7002", "[::9]:7003"],
    );
}

#[test]
fn an_unknown_or_local_host_is_that_of_the_answer() {
    let lone = "a :7001@1 myself,master - 0 0 1 connected 0-16383|\
                    b 127.0.0.1:7002@1 slave a 0 0 1 connected";
    let view = |reached: &str| with_slots(reached, &[("", "a"), ("127.0.0.1", "b")], lone);
    assert_eq!(
        addresses(&view("127.0.0.1:7001"), &[]),
        ["127.0.0.1:7001", "127.0.0.1:7002"]
    );
    assert_eq!(
        addresses(&view("[::1]:7001"), &[]),
        ["[::1]:7001", "127.0.0.1:7002"]
    );
    assert_eq!(
        addresses(&view("10.1.1.1:9001"), &[]),
        ["10.1.1.1:9001", "10.1.1.1:7002"]
    );
}

#[test]
fn the_node_map_decides() {
    let view = view(
        "a 10.0.0.1:7001@1,one.test myself,master - 0 0 1 connected 0-16383|\
             b fd::1:7002@1 slave a 0 0 1 connected",
    );
    let check = |node_map: &[(&str, &str)], expected: [&str; 2]| {
        assert_eq!(addresses(&view, node_map), expected, "{node_map:?}");
    };
    check(&[], ["10.0.0.1:7001", "[fd::1]:7002"]);
    check(
        &[("10.0.0.1:7001", "192.0.2.1:9001"), ("fd::1", "192.0.2.2")],
        ["192.0.2.1:9001", "192.0.2.2:7002"],
    );
    check(
        &[("10.0.0.1", "192.0.2.1"), ("10.0.0.1:7001", "192.0.2.3:1")],
        ["192.0.2.3:1", "[fd::1]:7002"],
    );
    check(
        &[("ONE.test:7001", "[::7]:1"), ("[fd::1]:7002", "two.test:2")],
        ["[::7]:1", "10.0.9.9:2"],
    );
    check(&[("fd::1:7002", "::8")], ["10.0.0.1:7001", "[::8]:7002"]);
    check(
        &[("10.0.0.1:7002", "192.0.2.1")],
        ["10.0.0.1:7001", "[fd::1]:7002"],
    );
}

#[test]
fn redirects_find_a_node_under_every_spelling() {
    let view = with_slots(
        "10.0.0.1:7001",
        &[("One.test", "a"), ("two.test", "b")],
        "a 10.0.0.1:7001@1,one.test myself,master - 0 0 1 connected 0-8000|\
             b 2001:DB8:0::2:7002@1,two.test master - 0 0 2 connected 8001-16383|\
             c 10.0.0.3:7001@1 master - 0 0 3 connected",
    );
    let topology = from_view(&view, None).unwrap().topology;
    let id = |name: &str| {
        let index = topology.announced.get(name)?;
        Some(topology.nodes[usize::from(*index)].id.as_str())
    };
    for (name, expected) in [
        ("10.0.0.1:7001", Some("a")),
        ("one.test:7001", Some("a")),
        ("2001:db8:0::2:7002", Some("b")),
        ("2001:db8::2:7002", Some("b")),
        ("two.test:7002", Some("b")),
        ("10.0.9.9:7002", Some("b")), // where two.test resolves to
        (":7002", Some("b")),
        ("?:7002", Some("b")),
        ("10.0.0.3:7001", Some("c")),
        (":7001", None), // two nodes have that port
        ("10.0.0.1:7002", None),
        ("169.254.169.254:80", None),
    ] {
        assert_eq!(id(name), expected, "{name}");
    }
}

#[test]
fn a_node_replaced_at_the_same_address_loses_the_name() {
    let topology = table(
        "a 10.0.0.1:7001@1 myself,master - 0 0 1 connected 0-16383|\
             b 10.0.0.2:7001@1 slave,fail? a 0 0 1 disconnected|\
             c 10.0.0.2:7001@1 slave a 0 0 1 connected",
    );
    let index = topology.announced["10.0.0.2:7001"];
    assert_eq!(topology.nodes[usize::from(index)].id, "c");
}

#[test]
fn names_that_do_not_resolve_keep_the_address_in_use() {
    let nodes = "a 10.0.0.1:7001@1 myself,master - 0 0 1 connected 0-8000|\
                     b host.test:7002@1 master - 0 0 2 connected 8001-16383";
    let next = built(nodes, None).unwrap();
    assert_eq!(next.unresolved, ["host.test"]);
    assert_eq!(next.topology.covered(), 8001);
    let before = table(&nodes.replace("host.test", "10.0.0.2"));
    let next = built(nodes, Some(&before)).unwrap();
    assert_eq!(next.unresolved, Vec::<String>::new());
    assert_eq!(
        next.topology.nodes[1].address,
        "10.0.0.2:7002".parse().unwrap()
    );
    assert_eq!(
        built("a h.test:1@1 master - 0 0 1 connected 0-16383", None).unwrap_err(),
        Rejected::Unresolved
    );
}

#[test]
fn a_line_in_the_log_says_what_moved() {
    let good = table(THREE);
    assert_eq!(
        good.describe(None),
        "3 shards, 4 nodes, 16384 of 16384 slots covered, epoch 3"
    );
    let moved = THREE
        .replace("5461-10922", "5461-11922")
        .replace("10923-", "11923-")
        .replace("0 2 connected", "0 4 connected")
        .replace("r 10.0.0.4", "s 10.0.0.5");
    assert_eq!(
        table(&moved).describe(Some(&good)),
        "3 shards, 4 nodes, 16384 of 16384 slots covered, epoch 4; 1000 slots from 10.0.0.3:7001 to \
             10.0.0.2:7001; new node 10.0.0.5:7001; removed 10.0.0.4:7001"
    );
}

#[test]
fn a_node_that_has_not_heard_of_a_master_says_nothing_of_its_slots() {
    // One that has just joined: it knows most masters, and not yet all.
    let joining = "n 10.0.0.9:7001@1 myself,master - 0 0 0 connected|\
                   a 10.0.0.1:7001@1 master - 0 0 1 connected 0-5460|\
                   b 10.0.0.2:7001@1 master - 0 0 2 connected 5461-10922";
    let table = table(THREE);
    let refused = built(joining, Some(&table)).err();
    let expected = Rejected::Stranger {
        known: 2,
        masters: 3,
    };
    assert_eq!(refused, Some(expected.clone()));
    // Some of its slots are somebody else's by now, not all.
    let partly = joining.replace("5461-10922", "5461-10930");
    assert_eq!(built(&partly, Some(&table)).err(), Some(expected));
    // All are: it was forgotten behind a failover.
    let taken = joining.replace("5461-10922", "5461-16383");
    let topology = built(&taken, Some(&table)).unwrap().topology;
    assert_eq!(owner(&topology, 16383), "b");
    // If every node says so, it is so: the caller then builds without a table in use.
    assert_eq!(built(joining, None).unwrap().topology.covered(), 10923);
}
