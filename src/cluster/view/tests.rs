//! Tests of `cluster::view`.

use super::*;

const A: &str = "7299efa99290a315887c00620d4cd19adec22b75";
const B: &str = "8dc9eedd3e991073d4578480b520490bec8b6321";

fn reached() -> SocketAddr {
    "10.0.0.9:7001".parse().unwrap()
}

fn bulk(text: &str) -> String {
    format!("${}\r\n{text}\r\n", text.len())
}

/// CLUSTER SLOTS of one range and one node.
fn slots(endpoint: &str, id: &str) -> String {
    format!(
        "*1\r\n*3\r\n:0\r\n:5460\r\n*4\r\n{endpoint}:7001\r\n{}*0\r\n",
        bulk(id)
    )
}

fn view(nodes: &str) -> Result<View, Rejected> {
    View::from_bytes(
        reached(),
        b"-ERR unknown command\r\n",
        bulk(nodes).as_bytes(),
    )
}

fn one(line: &str) -> Member {
    view(line).unwrap().members.remove(0)
}

#[test]
fn a_line_says_all_about_a_node() {
    let member = one(&format!(
        "{A} 127.0.0.1:7001@17001,Node-A.test,shard-id=77 myself,master,nofailover - 0 5 3 connected \
             0-5460 6000 [77->-{B}] [78-<-{B}]\n"
    ));
    assert_eq!(
        member,
        Member {
            id: A.to_string(),
            ip: Some("127.0.0.1".to_string()),
            hostname: Some("node-a.test".to_string()),
            endpoint: Endpoint::Unlisted,
            port: 7001,
            is_master: true,
            is_myself: true,
            failed: false,
            suspected: false,
            incomplete: false,
            master: None,
            epoch: 3,
            linked: true,
            slots: vec![(0, 5460), (6000, 6000)],
        }
    );
}

#[test]
fn addresses_in_every_spelling() {
    let check = |text: &str, ip: Option<&str>, port: u16, hostname: Option<&str>| {
        let member = one(&format!("{A} {text} master - 0 0 1 connected 1"));
        let found = (
            member.ip.as_deref(),
            member.port,
            member.hostname.as_deref(),
        );
        assert_eq!(found, (ip, port, hostname), "{text}");
    };
    check("10.0.0.1:7001", Some("10.0.0.1"), 7001, None); // before 4.0
    check("10.0.0.1:7001@17001", Some("10.0.0.1"), 7001, None);
    check("10.0.0.1:7001@17001,", Some("10.0.0.1"), 7001, None);
    check(":7001@17001", None, 7001, None);
    check(":7001@17001,h", None, 7001, Some("h"));
    check("::1:7001@17001", Some("::1"), 7001, None);
    check("FE80::A:7001@17001,", Some("fe80::a"), 7001, None);
    check("[::1]:7001@17001", Some("::1"), 7001, None);
    check("h.test:7001@17001,?", Some("h.test"), 7001, None);
    check(
        "10.0.0.1:7001@17001,shard-id=1",
        Some("10.0.0.1"),
        7001,
        None,
    );
    check(":0@0", None, 0, None);
}

#[test]
fn flags_decide_who_can_be_asked() {
    let check = |flags: &str, usable: bool, suspected: bool| {
        let member = one(&format!("{A} 1.1.1.1:7001@17001 {flags} - 0 0 1 connected"));
        assert_eq!(
            (member.usable(), member.suspected),
            (usable, suspected),
            "{flags}"
        );
    };
    check("master", true, false);
    check("slave", true, false);
    check("master,fail?", true, true);
    check("master,fail", false, false);
    check("slave,fail,noaddr", false, false);
    check("handshake", false, false);
    check("master,noaddr", false, false);
    check("noflags", true, false);
}

#[test]
fn endpoints_come_from_slots() {
    let nodes = bulk(&format!(
        "{A} 10.0.0.1:7001@17001 myself,master - 0 0 1 connected 0-5460"
    ));
    let check = |endpoint: &str, expected: Endpoint| {
        let view =
            View::from_bytes(reached(), slots(endpoint, A).as_bytes(), nodes.as_bytes()).unwrap();
        assert_eq!(
            (view.listed, &view.members[0].endpoint),
            (true, &expected),
            "{endpoint}"
        );
    };
    check("$-1\r\n", Endpoint::Unknown);
    check("$0\r\n\r\n", Endpoint::Unknown);
    check("$1\r\n?\r\n", Endpoint::Nameless);
    check("$8\r\n10.0.0.1\r\n", Endpoint::Host("10.0.0.1".to_string()));
    check("$6\r\nH.Test\r\n", Endpoint::Host("h.test".to_string()));
    check("$3\r\n::1\r\n", Endpoint::Host("::1".to_string()));
    let none = View::from_bytes(
        reached(),
        b"-NOPERM this user has no permissions\r\n",
        nodes.as_bytes(),
    );
    assert!(!none.unwrap().listed);
    let ancient = b"*1\r\n*3\r\n:0\r\n:5460\r\n*2\r\n$8\r\n10.0.0.1\r\n:7001\r\n";
    assert!(
        !View::from_bytes(reached(), ancient, nodes.as_bytes())
            .unwrap()
            .listed
    );
}

#[test]
fn bad_answers_are_refused_by_kind() {
    let check = |nodes: &str, expected: &str| {
        let result = View::from_bytes(reached(), b"*0\r\n", nodes.as_bytes());
        let text = result.expect_err(nodes).to_string();
        assert!(text.contains(expected), "{nodes:?}: {text}");
    };
    let good = format!("{A} 10.0.0.1:7001@17001 myself,master - 0 0 1 connected 0-5460");
    check(
        "-ERR This instance has cluster support disabled\r\n",
        "not a Redis Cluster node",
    );
    check("-NOAUTH Authentication required.\r\n", "error: NOAUTH");
    check("$0\r\n\r\n", "no master");
    check("$-1\r\n", "not a string");
    check("*0\r\n", "not a string");
    check(":1\r\n", "not a string");
    check("$3\r\n\u{fffd}\r\n", "a node ID is not valid");
    check("HTTP/1.1 200 OK\r\n", "not a RESP reply");
    check(&bulk(&good), "CLUSTER SLOTS is empty");
    check(&bulk(&format!("{good}\n{good}")), "occurs twice");
    check(
        &bulk(&format!("{good}\n{}", good.replace(A, B))),
        "themselves myself",
    );
    check(&bulk(&good.replace("0-5460", "0-16384")), "slot range");
    check(&bulk(&good.replace("0-5460", "9-3")), "slot range");
    check(&bulk(&good.replace("0-5460", "+1")), "SLOTS is empty"); // u16 takes a plus sign
    check(&bulk(&good.replace("0-5460", "x")), "slot range");
    check(&bulk(&good.replace(" 1 conn", " one conn")), "epoch");
    check(&bulk(&good.replace(" 1 conn", " -1 conn")), "epoch");
    check(&bulk(&good.replace("connected", "maybe")), "link");
    check(&bulk(&good.replace(":7001", "")), "no port");
    check(&bulk(&good.replace(":7001", ":70011")), "no port");
    check(
        &bulk(&good.replace(A, "id\x1b[1m")),
        "a node ID is not valid",
    );
    check(&bulk("vars currentEpoch 6 lastVoteEpoch 0"), "too short");
    check(&bulk("lorem ipsum dolor sit amet consetetur"), "too short");
}

#[test]
fn bad_tables_of_slots_are_refused() {
    let nodes = bulk(&format!(
        "{A} 10.0.0.1:7001@17001 myself,master - 0 0 1 connected 0-5460"
    ));
    for slots in [
        "*1\r\n*0\r\n",
        "*1\r\n*2\r\n:0\r\n:5\r\n",
        "*1\r\n:1\r\n",
        "+OK\r\n",
        "$-1\r\n",
        "*1\r\n*3\r\n:0\r\n:16384\r\n*3\r\n$1\r\nh\r\n:1\r\n$1\r\na\r\n",
        "*1\r\n*3\r\n:9\r\n:3\r\n*3\r\n$1\r\nh\r\n:1\r\n$1\r\na\r\n",
        "*1\r\n*3\r\n:-1\r\n:3\r\n*3\r\n$1\r\nh\r\n:1\r\n$1\r\na\r\n",
        "*1\r\n*3\r\n:0\r\n:3\r\n*1\r\n$1\r\nh\r\n",
        "*1\r\n*3\r\n:0\r\n:3\r\n*3\r\n:1\r\n:1\r\n$1\r\na\r\n",
        "*1\r\n*3\r\n:0\r\n:3\r\n*3\r\n$3\r\na b\r\n:1\r\n$1\r\na\r\n",
    ] {
        let result = View::from_bytes(reached(), slots.as_bytes(), nodes.as_bytes());
        assert!(
            matches!(result, Err(Rejected::Malformed(_))),
            "{slots:?}: {result:?}"
        );
    }
}

#[test]
fn no_cut_and_no_flipped_byte_ends_the_process() {
    let slots = slots("$8\r\n10.0.0.1\r\n", A);
    let lines = format!(
        "{A} 10.0.0.1:7001@17001,h myself,master - 0 0 1 connected 0-5460 [1->-{B}]\n\
             {B} ::1:7002@17002 slave {A} 0 0 1 connected\n"
    );
    let nodes = bulk(&lines);
    for cut in 0..lines.len() {
        let _ = view(&lines[..cut]);
    }
    for cut in 0..nodes.len() {
        assert!(View::from_bytes(reached(), slots.as_bytes(), &nodes.as_bytes()[..cut]).is_err());
    }
    for cut in 0..slots.len() {
        assert!(View::from_bytes(reached(), &slots.as_bytes()[..cut], nodes.as_bytes()).is_err());
    }
    for (at, byte) in (0..slots.len()).flat_map(|at| [0, b'9', b'\n', 0xff].map(|b| (at, b))) {
        let mut flipped = slots.clone().into_bytes();
        flipped[at] = byte;
        let _ = View::from_bytes(reached(), &flipped, nodes.as_bytes());
    }
    for (at, byte) in (0..nodes.len()).flat_map(|at| [0, b'9', b' ', 0xff].map(|b| (at, b))) {
        let mut flipped = nodes.clone().into_bytes();
        flipped[at] = byte;
        let _ = View::from_bytes(reached(), slots.as_bytes(), &flipped);
    }
}
