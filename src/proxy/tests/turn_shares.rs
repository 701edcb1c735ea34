//! What one turn does for one peer is bounded, whoever it is: many small requests, requests of many parts, messages of
//! many subscribers, lists of many clients. Work is counted here, turn by turn, and not timed.

use std::collections::HashMap;
use std::sync::Arc;

use crate::clock::Time;
use crate::config::{Config, Limits};
use crate::proxy::actions::{Action, OutsideWork};
use crate::proxy::ids::{BackendId, ClientId, Peer};
use crate::proxy::request::MOVED_FRAME;
use crate::proxy::state::Proxy;
use crate::proxy::tests::rig::{before_nodes, flushed, known_client};
use crate::resp::encode;

const NOW: Time = Time::from_micros(7);

struct Rig {
    proxy: Proxy,
    backends: Vec<BackendId>,
    to_nodes: HashMap<BackendId, Vec<u8>>,
    heard: HashMap<ClientId, Vec<u8>>,
    /// Whether clients read nothing.
    deaf: bool,
    now: Time,
}

/// What was done in a turn.
#[derive(Debug, Default)]
struct Done {
    clients_written: usize,
    messages: u64,
    work: usize,
    merges: Vec<OutsideWork>,
}

impl Rig {
    fn new(set: impl FnOnce(&mut Limits)) -> Rig {
        let mut config = Config::default();
        set(&mut config.limits);
        Rig {
            proxy: before_nodes(3, Arc::new(config)),
            backends: Vec::new(),
            to_nodes: HashMap::new(),
            heard: HashMap::new(),
            deaf: false,
            now: NOW,
        }
    }

    fn client(&mut self) -> ClientId {
        known_client(&mut self.proxy, None, NOW)
    }

    /// Bytes come from a peer, all of them before the turn ends.
    fn put(&mut self, peer: Peer, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let room = self
                .proxy
                .room(peer)
                .unwrap_or_else(|| panic!("{peer:?} is not read"));
            let count = bytes.len().min(room.spare().len());
            room.spare()[..count].copy_from_slice(&bytes[..count]);
            room.filled(count);
            bytes = &bytes[count..];
            self.proxy.input(peer, count, NOW);
        }
    }

    fn ask(&mut self, client: ClientId, words: &[&str]) {
        let mut bytes = Vec::new();
        encode::command(&mut bytes, words.iter().map(|word| word.as_bytes()));
        self.put(Peer::Client(client), &bytes);
    }

    /// Ends the turn, and begins the next one.
    fn turn(&mut self) -> Done {
        let (work, messages) = (self.proxy.work(), self.proxy.stats().messages.get());
        let mut done = Done::default();
        self.proxy.tick(self.now);
        while let Some(action) = self.proxy.next_action() {
            match action {
                Action::Connect(id, _) => {
                    self.backends.push(id);
                    self.proxy.connected(id, self.now);
                }
                Action::Flush(Peer::Backend(id)) => {
                    let bytes = flushed(&mut self.proxy, Peer::Backend(id), self.now);
                    self.to_nodes.entry(id).or_default().extend(bytes);
                }
                Action::Flush(peer @ Peer::Client(_)) if self.deaf => {
                    self.proxy.flush(peer, self.now, |_| 0);
                }
                Action::Flush(peer @ Peer::Client(id)) => {
                    let bytes = flushed(&mut self.proxy, peer, self.now);
                    done.clients_written += usize::from(!bytes.is_empty());
                    self.heard.entry(id).or_default().extend(bytes);
                }
                Action::Resume(id) => {
                    self.proxy.resume(id, self.now);
                }
                Action::WorkOutside(merge) => done.merges.push(merge),
                Action::Close(_) | Action::Read(_) | Action::Refresh(_) | Action::ToWorker(..) => {}
            }
        }
        self.proxy.check();
        done.messages = self.proxy.stats().messages.get() - messages;
        done.work = self.proxy.work_since(work);
        done
    }

    /// Turns until nothing is left to be done.
    fn turns(&mut self) -> Vec<Done> {
        let mut turns = vec![self.turn()];
        while self.proxy.is_behind() {
            turns.push(self.turn());
        }
        turns
    }

    fn heard(&mut self, client: ClientId) -> String {
        let heard = self.heard.remove(&client).unwrap_or_default();
        String::from_utf8(heard).expect("text")
    }

    /// So many clients, RESP3 and RESP2 in turns, subscribed to one channel. Returns also the node's connection.
    fn subscribers(&mut self, count: usize) -> (Vec<ClientId>, Peer) {
        let clients: Vec<ClientId> = (0..count).map(|_| self.client()).collect();
        for client in clients.iter().step_by(2) {
            self.ask(*client, &["HELLO", "3"]);
        }
        self.ask(clients[0], &["SUBSCRIBE", "news"]);
        self.turns();
        let link = Peer::Backend(*self.backends.last().expect("a link"));
        self.put(link, b"%1\r\n+proto\r\n:3\r\n");
        self.turns();
        self.put(link, b">3\r\n$9\r\nsubscribe\r\n$4\r\nnews\r\n:1\r\n");
        for client in &clients[1..] {
            self.ask(*client, &["SUBSCRIBE", "news"]);
        }
        self.turns();
        self.heard.clear();
        (clients, link)
    }
}

/// A message as RESP3 has it, or RESP2.
fn message(kind: char, text: &str) -> String {
    let len = text.len();
    format!("{kind}3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n${len}\r\n{text}\r\n")
}

#[test]
fn many_small_requests_take_many_turns() {
    let mut rig = Rig::new(|limits| limits.turn_requests = 50);
    let (client, other) = (rig.client(), rig.client());
    rig.put(Peer::Client(client), "PING\r\n".repeat(5000).as_bytes());
    let first = rig.turn();
    // Another's requests are answered while these are not.
    rig.ask(other, &["ECHO", "hi"]);
    rig.turn();
    assert_eq!(rig.heard(other), "$2\r\nhi\r\n");
    let turns = rig.turns();
    assert!(turns.len() > 90, "{}", turns.len());
    let most = turns.iter().chain([&first]).map(|turn| turn.work).max();
    assert!(most <= Some(51), "{most:?}");
    assert_eq!(rig.heard(client), "+PONG\r\n".repeat(5000));
    rig.proxy.check_idle();
}

#[test]
fn parts_count_as_requests_do() {
    let mut rig = Rig::new(|limits| {
        (limits.turn_requests, limits.connection_requests) = (50, usize::MAX);
    });
    let client = rig.client();
    let keys: Vec<String> = (0..40).map(|key| format!("k{key}")).collect();
    let mut bytes = Vec::new();
    for _ in 0..30 {
        let words = std::iter::once("MGET").chain(keys.iter().map(String::as_str));
        let words: Vec<&[u8]> = words.map(str::as_bytes).collect();
        encode::command(&mut bytes, words);
    }
    rig.put(Peer::Client(client), &bytes);
    let turns = rig.turns();
    // A request of 40 parts is not stopped in its middle.
    assert!(turns.iter().all(|turn| turn.work <= 50 + 41), "{turns:?}");
    assert!(turns.len() >= 14, "{turns:?}");
}

#[test]
fn messages_of_many_subscribers_are_handed_out_in_many_turns() {
    let mut rig = Rig::new(|limits| {
        (limits.turn_messages, limits.turn_subscribers) = (300, 20);
    });
    let (clients, link) = rig.subscribers(100);
    let texts: Vec<String> = (0..50).map(|number| format!("m{number}")).collect();
    let frames: String = texts.iter().map(|text| message('>', text)).collect();
    rig.put(link, frames.as_bytes());
    let mut turns = vec![rig.turn()];
    // One leaves, and another comes: neither disturbs the others.
    rig.ask(clients[50], &["UNSUBSCRIBE", "news"]);
    let late = rig.client();
    rig.ask(late, &["SUBSCRIBE", "news"]);
    turns.extend(rig.turns());
    assert!(turns.len() >= 16, "{}", turns.len());
    for turn in &turns {
        // What is left of a turn's share is used before the next one begins.
        assert!(
            turn.messages <= 600 && turn.clients_written <= 40 + 2,
            "{turn:?}"
        );
    }
    let all = |kind| -> String { texts.iter().map(|text| message(kind, text)).collect() };
    for (number, client) in clients.iter().enumerate() {
        let kind = if number % 2 == 0 { '>' } else { '*' };
        let heard = rig.heard(*client);
        match number {
            50 => {
                let (before, behind) = heard
                    .split_once(">3\r\n$11\r\nunsubscribe")
                    .expect("a word");
                assert!(
                    all(kind).starts_with(before) && behind.len() < 30,
                    "{heard}"
                );
            }
            _ => assert!(heard == all(kind), "{number}: {heard}"),
        }
    }
    let heard = rig.heard(late);
    let (_, behind) = heard.split_once(":1\r\n").expect("it is subscribed");
    assert!(all('*').ends_with(behind) && behind.len() > 300, "{heard}");
    rig.proxy.check_idle();
}

#[test]
fn a_long_message_counts_as_several() {
    let mut rig = Rig::new(|limits| limits.turn_messages = 300);
    let (clients, link) = rig.subscribers(100);
    rig.put(link, message('>', &"x".repeat(10_000)).as_bytes());
    let turns = rig.turns();
    // Each costs 40 of 300.
    assert!(turns.len() >= 100 / 8 - 1, "{turns:?}");
    assert!(turns.iter().all(|turn| turn.messages <= 16), "{turns:?}");
    assert!(
        clients
            .iter()
            .all(|client| rig.heard[client].len() > 10_000)
    );
}

#[test]
fn a_long_message_is_in_memory_once_however_many_do_not_read_it() {
    const LONG: usize = 100_000;
    let mut rig = Rig::new(|limits| limits.pubsub_output_bytes = 10 * LONG);
    let (clients, link) = rig.subscribers(60);
    rig.deaf = true;
    let (short, long) = (message('>', "short"), message('>', &"x".repeat(LONG)));
    for sent in 1..10 {
        rig.put(link, long.as_bytes());
        rig.put(link, short.as_bytes());
        rig.turns();
        let own = |id: &ClientId| rig.proxy.clients.get(*id).expect("it is there");
        let owed: usize = clients.iter().map(|id| own(id).owed_bytes()).sum();
        assert_eq!(owed, 60 * sent * (long.len() + short.len()));
        // Once for each protocol; and the short ones, for each.
        let held: usize = clients.iter().map(|id| own(id).output.memory()).sum();
        let most = sent * (2 * long.len() + 60 * short.len());
        assert!((most - 1000..=most).contains(&held), "{held} of {most}");
        // The blocks of the short ones are small.
        let storage = |id| own(id).output.storage_len() - sent * long.len();
        assert!(clients.iter().all(|id| storage(id) <= sent * (2 << 10)));
    }
    // Who is owed more than he may be is closed by that message, and not later.
    rig.put(link, long.as_bytes());
    rig.put(link, long.as_bytes());
    rig.turns();
    assert_eq!(rig.proxy.stats().subscribers_cut.get(), 60);
    assert_eq!(rig.proxy.clients(), 0);
}

#[test]
fn a_node_whose_messages_wait_is_not_read_and_then_read_on() {
    let mut rig = Rig::new(|limits| limits.turn_messages = 10);
    let (clients, link) = rig.subscribers(40);
    let frame = message('>', &"x".repeat(1000));
    let mut sent = 0;
    while rig.proxy.room(link).is_some() {
        rig.put(link, frame.as_bytes());
        sent += 1;
        assert!(sent < 2000, "memory is bounded");
    }
    let Peer::Backend(id) = link else {
        panic!("a link");
    };
    // Other nodes are.
    let others = rig.backends.iter().filter(|own| **own != id).copied();
    for other in others.collect::<Vec<_>>() {
        assert!(rig.proxy.room(Peer::Backend(other)).is_some());
    }
    rig.turns();
    assert!(rig.proxy.room(link).is_some());
    rig.put(link, frame.as_bytes());
    rig.turns();
    assert_eq!(rig.heard(clients[0]), frame.repeat(sent + 1));
}

#[test]
fn requests_that_many_monitors_see_take_many_turns() {
    let mut rig = Rig::new(|limits| {
        (limits.turn_requests, limits.turn_subscribers) = (50, 7);
    });
    let monitors: Vec<ClientId> = (0..20).map(|_| rig.client()).collect();
    for monitor in &monitors {
        rig.ask(*monitor, &["MONITOR"]);
    }
    rig.turns();
    rig.heard.clear();
    let client = rig.client();
    let (requests, long) = (60, "x".repeat(1000));
    let mut bytes = Vec::new();
    for request in 0..requests {
        let text = format!("{request}{long}");
        encode::command(&mut bytes, [b"ECHO", text.as_bytes()]);
    }
    rig.put(Peer::Client(client), &bytes);
    let turns = rig.turns();
    // A line of four times the work of a short one for each of twenty, and the request: no turn takes two.
    assert!(turns.len() >= requests - 2, "{} turns", turns.len());
    for done in &turns {
        assert!(done.work <= 20 * 4 + 1 + 50 + 4, "{done:?}");
        // The first had a turn before it, in which the requests came.
        assert!(done.clients_written <= 2 * 7 + 2, "{done:?}");
    }
    let replies = rig.heard(client);
    assert_eq!(replies.matches("$10").count(), requests);
    for monitor in monitors {
        let lines = rig.heard(monitor);
        let seen = lines.lines().map(|line| line.split("\"ECHO\" \"").nth(1));
        let expected = (0..requests).map(|request| format!("{request}{long}\""));
        assert!(
            seen.map(|own| own.expect("a line of ECHO").to_string())
                .eq(expected)
        );
    }
    rig.proxy.check_idle();
}

#[test]
fn many_clients_are_listed_in_many_turns() {
    let mut texts = Vec::new();
    for share in [7, 1000] {
        let mut rig = Rig::new(|limits| limits.turn_listed = share);
        let clients: Vec<ClientId> = (0..100).map(|_| rig.client()).collect();
        rig.ask(clients[30], &["CLIENT", "LIST"]);
        rig.ask(clients[60], &["CLIENT", "LIST", "ID", "5", "77", "2"]);
        // Whoever comes or goes meanwhile disturbs nobody.
        let behind = rig.proxy.is_behind();
        assert_eq!(behind, share == 7);
        let turns = rig.turns();
        assert_eq!(
            turns.len(),
            if behind { 2 * 100_usize.div_ceil(7) } else { 1 }
        );
        let own = rig.heard(clients[30]);
        assert_eq!(own.matches("\nid=").count(), 100);
        // It alone has a request at hand, in whichever turn it is looked at.
        assert_eq!(own.matches(" qbuf=26 ").count(), 1);
        assert_eq!(own.matches(" qbuf=0 ").count(), 99);
        let some = rig.heard(clients[60]);
        assert_eq!(some.matches("\nid=").count(), 3);
        texts.push(own + &some);
        rig.proxy.check_idle();
    }
    // What was done between the two is all that differs.
    let lines = |text: &str| -> Vec<String> {
        let line = |line: &str| line.split(" laddr=").next().map(str::to_string);
        text.lines().filter_map(line).collect()
    };
    assert_eq!(lines(&texts[0])[1..], lines(&texts[1])[1..]);
}

#[test]
fn a_client_that_goes_is_not_listed_any_more() {
    let mut rig = Rig::new(|limits| limits.turn_listed = 3);
    let clients: Vec<ClientId> = (0..20).map(|_| rig.client()).collect();
    rig.ask(clients[0], &["CLIENT", "LIST"]);
    rig.turn();
    rig.proxy.closed(Peer::Client(clients[19]), NOW);
    rig.ask(clients[1], &["CLIENT", "LIST"]);
    rig.proxy.closed(Peer::Client(clients[1]), NOW);
    rig.turns();
    assert_eq!(rig.heard(clients[0]).matches("\nid=").count(), 19);
}

#[test]
fn many_clients_are_killed_in_many_turns() {
    for (share, skips) in [(7, true), (7, false), (1000, true), (1000, false)] {
        let mut rig = Rig::new(|limits| limits.turn_listed = share);
        let clients: Vec<ClientId> = (0..100).map(|_| rig.client()).collect();
        let skip = if skips { "yes" } else { "no" };
        rig.ask(
            clients[30],
            &["CLIENT", "KILL", "TYPE", "normal", "SKIPME", skip],
        );
        let mut left = vec![rig.proxy.clients()];
        let mut late = Vec::new();
        while rig.proxy.is_behind() {
            // Whoever comes meanwhile is spared, and whoever goes is not counted.
            if late.is_empty() {
                late.push(rig.client());
                rig.proxy.closed(Peer::Client(clients[99]), NOW);
            }
            let before = rig.proxy.clients();
            rig.turn();
            left.push(rig.proxy.clients());
            assert!(before - rig.proxy.clients() <= share);
        }
        assert_eq!(left.len() > 10, share == 7, "{left:?}");
        rig.turns();
        let killed = 100 - usize::from(skips) - late.len();
        assert_eq!(rig.heard(clients[30]), format!(":{killed}\r\n"));
        assert_eq!(rig.proxy.clients(), usize::from(skips) + late.len());
        rig.proxy.check_idle();
    }
}

#[test]
fn a_request_of_many_channels_takes_many_turns() {
    const NAMES: usize = 1000;
    let mut rig = Rig::new(|limits| limits.turn_names = 50);
    let (client, other) = (rig.client(), rig.client());
    let names: Vec<String> = (0..NAMES).map(|name| format!("c{name:05}")).collect();
    let words = |verb| -> Vec<&str> {
        let names = names.iter().map(String::as_str);
        std::iter::once(verb).chain(names).collect()
    };
    let told = |verb: &str, names: &[String], count: &dyn Fn(usize) -> usize| -> String {
        let line = |(index, name): (usize, &String)| {
            let (verbs, len, count) = (verb.len(), name.len(), count(index));
            format!("*3\r\n${verbs}\r\n{verb}\r\n${len}\r\n{name}\r\n:{count}\r\n")
        };
        names.iter().enumerate().map(line).collect()
    };
    rig.ask(client, &words("SUBSCRIBE"));
    rig.turns();
    let link = *rig.backends.last().expect("a link");
    rig.put(Peer::Backend(link), b"%1\r\n+proto\r\n:3\r\n");
    let mut asked = 0;
    for step in 0.. {
        for turn in rig.turns() {
            assert!(turn.work <= 60, "{turn:?}");
        }
        let requests = rig.to_nodes.remove(&link).unwrap_or_default();
        let requests = String::from_utf8(requests).expect("text");
        let new = requests.matches("subscribe").count();
        if new == 0 {
            break;
        }
        assert!(new <= 50 + 1, "{new} in step {step}");
        let frames: String = names[asked..NAMES.min(asked + 50)]
            .iter()
            .map(|name| {
                let len = name.len();
                format!(">3\r\n$9\r\nsubscribe\r\n${len}\r\n{name}\r\n:1\r\n")
            })
            .collect();
        asked += 50;
        rig.ask(other, &["ECHO", "hi"]);
        rig.turn();
        assert_eq!(rig.heard(other), "$2\r\nhi\r\n");
        rig.put(Peer::Backend(link), frames.as_bytes());
    }
    assert_eq!(asked, NAMES);
    let pong = "*2\r\n$4\r\npong\r\n$0\r\n\r\n";
    let all = told("subscribe", &names, &|index| index + 1);
    assert_eq!(rig.heard(client), all);
    rig.ask(client, &["PING"]);
    rig.turns();
    assert_eq!(rig.heard(client), pong);
    // It leaves half of them by name, in its order, and the others without.
    let half = &words("UNSUBSCRIBE")[..1 + NAMES / 2];
    rig.ask(client, half);
    assert!(rig.turns().len() >= NAMES / 2 / 50 - 1);
    let left = told("unsubscribe", &names[..NAMES / 2], &|index| {
        NAMES - 1 - index
    });
    assert_eq!(rig.heard(client), left);
    rig.ask(client, &["UNSUBSCRIBE"]);
    assert!(rig.turns().len() >= NAMES / 2 / 50 - 1);
    assert_eq!(rig.heard(client).matches("unsubscribe").count(), NAMES / 2);
    rig.ask(client, &["ECHO", "it may send all commands"]);
    rig.turns();
    assert!(rig.heard(client).starts_with("$24\r\n"));
    assert_eq!(rig.proxy.stats().commands.get(), 20 + 1 + 1 + 1 + 1 + 1);
}

/// All of them come back at once, to a node that was away.
#[test]
fn many_who_wait_for_one_channel_are_answered_in_many_turns() {
    for confirmed in [true, false] {
        let mut rig = Rig::new(|limits| limits.turn_names = 20);
        let clients: Vec<ClientId> = (0..500).map(|_| rig.client()).collect();
        for client in &clients {
            rig.ask(*client, &["SUBSCRIBE", "news", "other"]);
        }
        rig.turns();
        let link = Peer::Backend(*rig.backends.last().expect("a link"));
        rig.put(link, b"%1\r\n+proto\r\n:3\r\n");
        rig.turns();
        if confirmed {
            let confirmation = ">3\r\n$9\r\nsubscribe\r\n$4\r\nnews\r\n:1\r\n";
            rig.put(link, confirmation.as_bytes());
            rig.turns();
            rig.put(
                link,
                confirmation.replace("$4\r\nnews", "$5\r\nother").as_bytes(),
            );
        } else {
            rig.now = rig.now.after(rig.proxy.park_timeout() * 2);
        }
        let mut turns = vec![rig.turn()];
        while rig.proxy.next_deadline().is_some_and(|at| at <= rig.now) {
            turns.push(rig.turn());
        }
        let most = turns.iter().map(|turn| turn.clients_written).max();
        assert!(
            turns.len() >= 25 && most <= Some(20),
            "{confirmed} {turns:?}"
        );
        for client in &clients {
            let heard = rig.heard(*client);
            match confirmed {
                true => assert_eq!(heard.matches("subscribe").count(), 2, "{heard}"),
                false => assert!(heard.starts_with("-ERR"), "{heard}"),
            }
        }
        rig.proxy.check();
    }
}

#[test]
fn who_leaves_many_channels_leaves_them_in_many_turns() {
    const NAMES: usize = 1000;
    let mut rig = Rig::new(|limits| limits.turn_names = 50);
    let (clients, link) = rig.subscribers(2);
    for start in (0..NAMES).step_by(50) {
        let names: Vec<String> = (start..start + 50)
            .map(|name| format!("c{name:05}"))
            .collect();
        let words = std::iter::once("SUBSCRIBE").chain(names.iter().map(String::as_str));
        rig.ask(clients[0], &words.collect::<Vec<_>>());
        rig.turns();
        for name in &names {
            let len = name.len();
            let frame = format!(">3\r\n$9\r\nsubscribe\r\n${len}\r\n{name}\r\n:1\r\n");
            rig.put(link, frame.as_bytes());
        }
        rig.turns();
    }
    let Peer::Backend(backend) = link else {
        panic!("a link");
    };
    rig.to_nodes.clear();
    rig.proxy.closed(Peer::Client(clients[0]), NOW);
    let (mut turns, mut left) = (0, 0);
    while rig.proxy.is_behind() {
        rig.turn();
        let asked = rig.to_nodes.remove(&backend).unwrap_or_default();
        let asked = String::from_utf8(asked).expect("text");
        left += asked.matches("unsubscribe").count();
        assert!(asked.matches("unsubscribe").count() <= 50, "{asked}");
        // A message for who is there still.
        rig.put(link, message('>', "on").as_bytes());
        turns += 1;
    }
    assert!(turns >= NAMES / 50, "{turns}");
    rig.turns();
    assert_eq!(left, NAMES);
    assert!(rig.heard(clients[1]).matches("on\r\n").count() >= turns);
}

#[test]
fn long_replies_without_steps_are_merged_outside_the_worker() {
    let mut rig = Rig::new(|_| {});
    let (client, other) = (rig.client(), rig.client());
    let names: Vec<String> = (0..20_000).map(|name| format!("c{name:05}")).collect();
    let mut words = vec!["PUBSUB", "NUMSUB"];
    words.extend(names.iter().map(String::as_str));
    rig.ask(client, &words);
    rig.ask(client, &["ECHO", "behind"]);
    rig.turns();
    let mut reply = format!("*{}\r\n", 2 * names.len());
    for name in &names {
        reply.push_str(&format!("${}\r\n{name}\r\n:2\r\n", name.len()));
    }
    let asked: Vec<BackendId> = rig.to_nodes.drain().map(|(id, _)| id).collect();
    assert_eq!(asked.len(), 3);
    for backend in &asked {
        rig.put(Peer::Backend(*backend), b"+PONG\r\n");
    }
    rig.turns();
    for backend in asked {
        rig.put(Peer::Backend(backend), reply.as_bytes());
    }
    let turns = rig.turns();
    assert_eq!(rig.heard(client), "");
    let mut merges = turns.into_iter().flat_map(|turn| turn.merges);
    let merge = merges.next().expect("work for another thread");
    rig.ask(other, &["ECHO", "hi"]);
    rig.turn();
    assert_eq!(rig.heard(other), "$2\r\nhi\r\n");
    let (part, merged) = merge.run();
    rig.proxy.done_outside(part, merged, NOW);
    rig.turn();
    let sums = reply.replace(":2\r\n", ":6\r\n") + "$6\r\nbehind\r\n";
    assert!(rig.heard(client) == sums);
    rig.proxy.check_idle();
}

#[test]
fn what_is_answered_in_one_turn_takes_only_so_many_arguments() {
    let mut rig = Rig::new(|_| {});
    for (front, name) in [
        (&["CLIENT", "KILL", "ID", "1"][..], "client|kill"),
        (&["CLIENT", "LIST", "ID"], "client|list"),
        (&["CLIENT", "TRACKING", "ON", "BCAST"], "client|tracking"),
        (&["COMMAND", "GETKEYS", "MGET"], "command|getkeys"),
        (&["CONFIG", "SET"], "config|set"),
        (&["ACL", "SETUSER", "joe"], "acl|setuser"),
        (&["INFO"], "info"),
        (&["PROXY", "EXPLAIN", "MGET"], "proxy"),
        (&["SCRIPT", "EXISTS"], "script|exists"),
    ] {
        let (client, other) = (rig.client(), rig.client());
        let mut words = front.to_vec();
        words.resize(10_000, "12");
        rig.ask(client, &words);
        rig.turns();
        assert!(!rig.heard(client).contains("too many arguments"), "{name}");
        words.push("12");
        rig.ask(other, &words);
        rig.turns();
        let expected = format!("-ERR too many arguments for '{name}' command\r\n");
        assert_eq!(rig.heard(other), expected);
    }
}

#[test]
fn a_request_for_one_slot_has_only_so_many_keys() {
    let long = "k".repeat(MOVED_FRAME / 50);
    for (front, behind, passes) in [
        (&["EVAL", "return 1", "51"][..], &[][..], false),
        (&["EVAL", "return 1", "50"], &["argument", "argument"], true),
        (&["SINTER"], &[], false),
        (&["SINTERCARD", "51"], &["LIMIT", "1"], false),
        (&["BLPOP"], &["0"], false),
        (&["WATCH"], &[], false),
        (&["RENAME"], &[], true),
        (&["RPUSH"], &[], true),
        (&["MGET"], &[], true),
        (&["DEL"], &[], true),
    ] {
        let mut rig = Rig::new(|limits| limits.slot_keys = 50);
        let client = rig.client();
        let mut words = front.to_vec();
        words.extend(std::iter::repeat_n(long.as_str(), 51));
        words.extend(behind);
        rig.ask(client, &words);
        rig.turns();
        let name = front[0].to_lowercase();
        let expected = format!("-ERR too many keys for '{name}' command\r\n");
        assert_eq!(rig.heard(client) == expected, !passes, "{name}");
    }
}

#[test]
fn of_long_answers_few_are_made_in_one_turn() {
    for (words, most) in [(&["ACL", "CAT", "read"][..], 90), (&["PROXY", "HELP"], 40)] {
        let mut rig = Rig::new(|_| {});
        let client = rig.client();
        let mut bytes = Vec::new();
        for _ in 0..400 {
            encode::command(&mut bytes, words.iter().map(|word| word.as_bytes()));
        }
        let calls = |rig: &Rig| rig.proxy.stats().commands.get();
        let mut before = calls(&rig);
        rig.put(Peer::Client(client), &bytes);
        let mut turns = 0;
        loop {
            let taken = calls(&rig) - before;
            assert!(taken <= most, "{words:?}: {taken}");
            if !rig.proxy.is_behind() {
                break;
            }
            before = calls(&rig);
            rig.turn();
            turns += 1;
            rig.heard.clear();
        }
        assert!(turns > 0, "{words:?}");
    }
}

#[test]
fn what_nobody_needs_so_long_is_refused_or_goes_to_a_node() {
    let mut rig = Rig::new(|_| {});
    let client = rig.client();
    let long = "x".repeat(1 << 20);
    let half = &long[..65_537];
    for (words, refused) in [
        (
            &["CLIENT", "SETNAME", half][..],
            "-ERR Client names cannot be so long.\r\n",
        ),
        (
            &["CLIENT", "SETINFO", "lib-ver", half],
            "-ERR lib-ver cannot be so long.\r\n",
        ),
        (&["AUTH", "default", half], "+OK\r\n"),
        (
            &["AUTH", "nobody", half],
            "-WRONGPASS invalid username-password pair or user is disabled.\r\n",
        ),
        (&["CLIENT", "SETNAME", &half[1..]], "+OK\r\n"),
        (&["PING", &long], ""),
        (&["ECHO", &long], ""),
    ] {
        rig.ask(client, words);
        rig.turns();
        assert_eq!(rig.heard(client), refused);
    }
    for backend in rig.backends.clone() {
        rig.put(Peer::Backend(backend), b"+PONG\r\n");
    }
    rig.turns();
    let sent: usize = rig.to_nodes.values().map(Vec::len).sum();
    assert!(sent > long.len(), "{sent}");
}

#[test]
fn clients_that_go_on_at_once_do_so_over_many_turns_and_none_is_left_out() {
    let mut rig = Rig::new(|limits| (limits.turn_requests, limits.turn_work) = (50, 200));
    let clients: Vec<ClientId> = (0..30).map(|_| rig.client()).collect();
    for client in &clients {
        rig.put(Peer::Client(*client), "PING\r\n".repeat(500).as_bytes());
    }
    rig.turn();
    let mut heard = HashMap::new();
    let mut turns = 0;
    while rig.proxy.is_behind() {
        let done = rig.turn();
        assert!(done.work < 300, "{done:?}");
        turns += 1;
        for (client, bytes) in rig.heard.drain() {
            *heard.entry(client).or_insert(0) += bytes.len();
        }
        // Those who have had their share wait for the others.
        if turns == 30 {
            let most = heard.values().max().copied().unwrap_or_default();
            assert_eq!(heard.len(), clients.len());
            assert!(
                heard.values().all(|own| *own + 3 * 7 * 51 >= most),
                "{heard:?}"
            );
        }
    }
    assert!(turns >= 30 * 9 / 5, "{turns}");
    assert!(heard.values().all(|own| *own >= 7 * 450), "{heard:?}");
    rig.proxy.check_idle();
}
