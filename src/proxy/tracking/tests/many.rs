//! Very many keys, and very many clients that are told: no turn pays for all of them.

use super::*;
use crate::proxy::tracking::reads::ARGUMENTS_MAX;

/// A request for keys of the slot of "c".
fn many(command: &str, keys: usize) -> String {
    let keys: String = (0..keys)
        .map(|key| format!("{{c}}{key:06}"))
        .map(|key| format!("${}\r\n{key}\r\n", key.len()))
        .collect();
    let count = keys.matches('$').count() + 1;
    format!("*{count}\r\n${}\r\n{command}\r\n{keys}", command.len())
}

impl Rig {
    /// A client reads so many keys, which are there in no node.
    fn reads(&mut self, client: ClientId, keys: usize) {
        self.say(client, &many("MGET", keys));
        let nothing = "_\r\n".repeat(keys);
        self.hear("c", &format!("*{keys}\r\n{nothing}"));
        self.received(client);
    }

    fn keys(&self) -> u64 {
        self.proxy.stats().tracking_keys.get()
    }
}

#[test]
fn a_read_of_many_keys_is_noted_as_one_and_each_of_them_is_told() {
    let mut rig = Rig::new(Config::default());
    let (one, other) = (
        rig.client(&["CLIENT TRACKING ON"]),
        rig.client(&["CLIENT TRACKING ON"]),
    );
    rig.reads(other, 2);
    rig.reads(one, ARGUMENTS_MAX);
    assert_eq!(rig.keys(), 3);
    for key in ["{c}000001", "{c}000900", "{c}000900"] {
        rig.hear("c", &invalidate(key));
        assert_eq!(rig.received(one), invalidate(key));
    }
    assert_eq!(rig.received(other), invalidate("{c}000001"));
    assert_eq!(rig.keys(), 2);
    // Behind a reply that waits for another node's.
    rig.say(one, "MGET a b\r\n");
    rig.say(one, &many("MGET", ARGUMENTS_MAX));
    let reply = format!("*{ARGUMENTS_MAX}\r\n{}", "_\r\n".repeat(ARGUMENTS_MAX));
    rig.hear("c", &reply);
    rig.hear("c", &invalidate("{c}000005"));
    assert_eq!(rig.received(one), "");
    rig.hear("a", "*1\r\n_\r\n");
    rig.hear("b", "*1\r\n_\r\n");
    let heard = rig.received(one);
    assert!(
        heard.ends_with(&format!("{reply}{}", invalidate("{c}000005"))),
        "{}",
        heard.len()
    );
    // A connection that is lost is told as one that has lost everything.
    let lost = rig.node("c");
    rig.proxy.lose_backend(lost, Lost::Closed, rig.now);
    rig.turn();
    assert_eq!(rig.received(one), ">2\r\n$10\r\ninvalidate\r\n_\r\n");
    assert_eq!(rig.received(other), invalidate("{c}000000"));
    // Those of the other nodes.
    assert_eq!(rig.keys(), 2);
}

#[test]
fn who_writes_many_keys_at_once_hears_of_them_whatever_it_has_asked_for() {
    let mut rig = Rig::new(Config::default());
    let own = rig.client(&["CLIENT TRACKING ON NOLOOP"]);
    rig.reads(own, 2);
    for (keys, loops) in [(2, false), (ARGUMENTS_MAX, true)] {
        rig.say(own, &many("DEL", keys));
        let told = invalidate("{c}000001");
        rig.hear("c", &format!(":{keys}\r\n{told}"));
        let told = if loops { &*told } else { "" };
        assert_eq!(rig.received(own), format!(":{keys}\r\n{told}"));
        rig.reads(own, 2);
    }
}

#[test]
fn keys_that_nobody_knows_of_any_more_are_freed_over_many_turns() {
    const NULL: &str = ">2\r\n$10\r\ninvalidate\r\n_\r\n";
    let mut rig = Rig::new(Config::default());
    for flushed in [true, false] {
        let own = rig.client(&["CLIENT TRACKING ON"]);
        for first in 0..24 {
            let keys = (first * 1000..(first + 1) * 1000).map(|key| format!("{{c}}k{key:06}"));
            rig.say(
                own,
                &format!("MGET {}\r\n", keys.collect::<Vec<_>>().join(" ")),
            );
            rig.hear("c", &format!("*1000\r\n{}", "_\r\n".repeat(1000)));
        }
        assert_eq!(rig.keys(), 24_000);
        rig.received(own);
        let before = rig.proxy.turn;
        match flushed {
            true => rig.hear("c", NULL),
            false => {
                let lost = rig.node("c");
                rig.proxy.lose_backend(lost, Lost::Closed, rig.now);
                rig.turn();
            }
        }
        assert_eq!((rig.keys(), rig.received(own)), (0, NULL.to_string()));
        // Of a connection that is lost some were looked at.
        let turns = rig.proxy.turn - before;
        assert!((7..=25).contains(&turns), "{turns}");
        rig.say(own, "QUIT\r\n");
    }
}

#[test]
fn very_many_clients_are_told_over_many_turns_and_each_of_them_is() {
    let mut config = Config::default();
    config.limits.turn_subscribers = 8;
    let mut rig = Rig::new(config);
    let clients: Vec<ClientId> = (0..50)
        .map(|_| rig.client(&["CLIENT TRACKING ON"]))
        .collect();
    for client in &clients {
        rig.say(*client, &get("c"));
        rig.hear("c", "_\r\n");
        rig.received(*client);
    }
    let before = rig.proxy.turn;
    rig.proxy.begin_turn(rig.now);
    let node = Peer::Backend(rig.node("c"));
    feed(&mut rig.proxy, node, invalidate("c").as_bytes(), rig.now);
    // Who has a reply in the same turn is told behind it, and once.
    let last = clients[49];
    feed(&mut rig.proxy, Peer::Client(last), b"PING\r\n", rig.now);
    rig.turn();
    assert_eq!(rig.received(last), format!("+PONG\r\n{}", invalidate("c")));
    for client in &clients[..49] {
        assert_eq!(rig.received(*client), invalidate("c"));
    }
    // Eight in the first turn, and in each of the others.
    assert_eq!(rig.proxy.turn - before, 7);
}
