//! Clients that move from one process to another, without a socket or a node.

use std::collections::HashMap;
use std::sync::Arc;

use crate::acl::Store;
use crate::clock::{NEVER_STILL, Time};
use crate::cluster::topology::Topology;
use crate::command::Table;
use crate::config::{Config, Secret};
use crate::live_config::LiveConfig;
use crate::proxy::actions::Action;
use crate::proxy::handover::leave::Leave;
use crate::proxy::handover::state::MovedClient;
use crate::proxy::ids::{BackendId, ClientId, Peer};
use crate::proxy::process::Process;
use crate::proxy::pubsub::state::kind::Kind;
use crate::proxy::state::Proxy;
use crate::proxy::tests::rig::{feed, flushed, known_client};

const NOW: Time = Time::from_micros(7);

/// A process, and nodes that answer as they are told to.
struct Side {
    proxy: Proxy,
    to_nodes: HashMap<BackendId, Vec<u8>>,
    heard: HashMap<ClientId, Vec<u8>>,
}

impl Side {
    fn new(config: Config) -> Side {
        let acl = Store::of(&config);
        let process = Process::with(1, LiveConfig::default(), acl, &NEVER_STILL);
        let (config, table) = (Arc::new(config), Arc::new(Table::compiled()));
        let mut proxy = Proxy::new(config, table, Arc::new(process), 0, 1);
        let nodes = [1, 2, 3].map(|node| ([10, 0, 0, node], 6379).into());
        proxy.adopt(Arc::new(Topology::of_masters(&nodes)), NOW);
        Side {
            proxy,
            to_nodes: HashMap::new(),
            heard: HashMap::new(),
        }
    }

    /// One turn; nodes do not answer in it.
    fn turn(&mut self) {
        self.proxy.tick(NOW);
        while let Some(action) = self.proxy.next_action() {
            match action {
                Action::Connect(id, _) => self.proxy.connected(id, NOW),
                Action::Flush(Peer::Backend(id)) => {
                    let bytes = flushed(&mut self.proxy, Peer::Backend(id), NOW);
                    self.to_nodes.entry(id).or_default().extend(bytes);
                }
                Action::Flush(peer @ Peer::Client(id)) => {
                    let bytes = flushed(&mut self.proxy, peer, NOW);
                    self.heard.entry(id).or_default().extend(bytes);
                }
                Action::Resume(id) => {
                    self.proxy.resume(id, NOW);
                }
                Action::Close(_)
                | Action::Refresh(_)
                | Action::ToWorker(..)
                | Action::WorkOutside(_)
                | Action::Read(_) => {}
            }
        }
        self.proxy.check();
    }

    /// Nodes answer all that they have been sent. Returns whether they had been sent anything.
    fn answer(&mut self) -> bool {
        let sent = std::mem::take(&mut self.to_nodes);
        let mut any = false;
        for (id, bytes) in sent {
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                let (words, length) = request(rest);
                rest = &rest[length..];
                any = true;
                feed(&mut self.proxy, Peer::Backend(id), &reply(&words), NOW);
            }
        }
        any
    }

    /// Turns until nothing more happens.
    fn rest(&mut self) {
        loop {
            self.turn();
            if !self.answer() && !self.proxy.is_behind() {
                return;
            }
        }
    }

    /// A client sends bytes. Returns those that are not read.
    fn send<'b>(&mut self, client: ClientId, mut bytes: &'b [u8]) -> &'b [u8] {
        let peer = Peer::Client(client);
        while !bytes.is_empty() {
            let Some(room) = self.proxy.room(peer) else {
                return bytes;
            };
            let count = bytes.len().min(room.spare().len());
            room.spare()[..count].copy_from_slice(&bytes[..count]);
            room.filled(count);
            self.proxy.input(peer, count, NOW);
            bytes = &bytes[count..];
        }
        bytes
    }

    /// The connection that brings the messages of a channel.
    fn home_of(&self, channel: &str) -> BackendId {
        let carries = self.proxy.pubsub.carries(Kind::Channel, channel.as_bytes());
        carries.expect("it is subscribed to")
    }

    fn heard(&mut self, client: ClientId) -> String {
        let heard = self.heard.remove(&client).unwrap_or_default();
        String::from_utf8(heard).expect("text")
    }

    /// The client leaves as soon as it may.
    fn let_go(&mut self, client: ClientId) -> MovedClient {
        for _ in 0..100 {
            match self.proxy.freeze(client) {
                Leave::Free => {
                    let moved = self.proxy.let_go(client, NOW).expect("it is there");
                    self.rest();
                    self.proxy.check_idle();
                    return MovedClient::decode(&moved.encode()).expect("our own bytes");
                }
                Leave::Frozen => {
                    self.turn();
                    self.answer();
                }
                other => panic!("it is not to leave: {other:?}"),
            }
        }
        panic!("it never leaves");
    }
}

/// The words of the first request, and its length.
fn request(bytes: &[u8]) -> (Vec<Vec<u8>>, usize) {
    let mut words = Vec::new();
    let mut lines = bytes;
    let line = |rest: &mut &[u8]| -> Vec<u8> {
        let end = rest
            .windows(2)
            .position(|two| two == b"\r\n")
            .expect("a line");
        let line = rest[..end].to_vec();
        *rest = &rest[end + 2..];
        line
    };
    let number = |line: &[u8]| -> usize {
        let text = std::str::from_utf8(&line[1..]).expect("text");
        text.parse().expect("a number")
    };
    for _ in 0..number(&line(&mut lines)) {
        let length = number(&line(&mut lines));
        words.push(lines[..length].to_vec());
        lines = &lines[length + 2..];
    }
    (words, bytes.len() - lines.len())
}

/// What a node says: the value of a key is its name.
fn reply(words: &[Vec<u8>]) -> Vec<u8> {
    let bulk = |word: &[u8]| {
        let text = String::from_utf8_lossy(word);
        format!("${}\r\n{text}\r\n", text.len())
    };
    let name = String::from_utf8_lossy(&words[0]).to_uppercase();
    match &*name {
        "HELLO" => "%1\r\n+proto\r\n:3\r\n".to_string(),
        "GET" => bulk(&words[1]),
        "MGET" => {
            let values: String = words[1..].iter().map(|word| bulk(word)).collect();
            format!("*{}\r\n{values}", words.len() - 1)
        }
        _ if name.ends_with("SUBSCRIBE") => {
            let word = name.to_lowercase();
            let all = words[1..].iter();
            all.map(|topic| format!(">3\r\n{}{}:1\r\n", bulk(word.as_bytes()), bulk(topic)))
                .collect()
        }
        _ => "+OK\r\n".to_string(),
    }
    .into_bytes()
}

/// A client's whole talk: what it sets, and requests of all kinds behind each other.
const TALK: &str = "CLIENT SETNAME me\r\nGET a\r\nGET b\r\nECHO one\r\nMGET a b c\r\n\
    *3\r\n$6\r\nCLIENT\r\n$5\r\nREPLY\r\n$4\r\nSKIP\r\nGET c\r\nCLIENT GETNAME\r\nHELLO 3\r\nGET d\r\n\
    CLIENT NO-TOUCH on\r\n*2\r\n$3\r\nGET\r\n$12\r\nlonger\r\nname\r\nPING\r\nCLIENT ID\r\nMGET e f\r\nECHO last\r\n";

#[test]
fn a_client_goes_on_in_another_process_wherever_it_is_cut() {
    let mut alone = Side::new(Config::default());
    let id = known_client(&mut alone.proxy, None, NOW);
    assert!(alone.send(id, TALK.as_bytes()).is_empty());
    alone.rest();
    let expected = alone.heard(id);
    assert!(expected.ends_with("$4\r\nlast\r\n"), "{expected}");
    for cut in 0..=TALK.len() {
        // What is in flight when it is frozen depends on how far the nodes have got.
        let is_answered = cut % 2 == 0;
        let (mut old, mut new) = (Side::new(Config::default()), Side::new(Config::default()));
        let id = known_client(&mut old.proxy, None, NOW);
        let (first, last) = TALK.as_bytes().split_at(cut);
        let mut unread = old.send(id, first).to_vec();
        if is_answered {
            old.rest();
            unread = old.send(id, &unread).to_vec();
            old.turn();
        }
        unread.extend(last);
        let moved = old.let_go(id);
        let mut heard = old.heard(id);
        let there = new.proxy.arrive(moved, NOW).expect("it may be here");
        new.rest();
        let mut left = &unread[..];
        while !left.is_empty() {
            left = new.send(there, left);
            new.rest();
        }
        heard += &new.heard(there);
        assert_eq!(heard, expected, "cut at {cut}, answered {is_answered}");
    }
}

#[test]
fn who_holds_a_lease_is_served_until_it_ends() {
    let mut old = Side::new(Config::default());
    let id = known_client(&mut old.proxy, None, NOW);
    for (line, leave) in [("WATCH a", Leave::Later), ("UNWATCH", Leave::Free)] {
        assert!(old.send(id, format!("{line}\r\n").as_bytes()).is_empty());
        old.rest();
        // Before another request is read.
        assert_eq!(old.proxy.freezes_after_lease(id), leave == Leave::Free);
        assert_eq!(old.proxy.freeze(id), leave, "{line}");
    }
    assert_eq!(old.heard(id), "+OK\r\n+OK\r\n");
    assert_eq!(
        old.proxy.let_go(id, NOW).map(|moved| moved.input),
        Some(Vec::new())
    );
    assert_eq!(old.proxy.freeze(id), Leave::Gone);
}

#[test]
fn who_sends_more_than_can_move_is_served_on_and_a_freeze_can_end() {
    let mut old = Side::new(Config::default());
    let id = known_client(&mut old.proxy, None, NOW);
    let mut value = b"*2\r\n$4\r\nECHO\r\n$2000000\r\n".to_vec();
    value.extend(vec![b'x'; 1_500_000]);
    assert!(old.send(id, &value).is_empty());
    assert_eq!(old.proxy.freeze(id), Leave::Later);
    let mut rest = vec![b'x'; 500_000];
    rest.extend(b"\r\nPING\r\n");
    // The reply is so long that nothing is read behind it until it has left.
    let unread = old.send(id, &rest);
    old.rest();
    assert!(old.send(id, unread).is_empty());
    old.rest();
    assert_eq!(old.proxy.freeze(id), Leave::Free);
    // Nothing is read of it while it is frozen, and all is when it stays.
    assert_eq!(old.send(id, b"PING\r\n"), b"PING\r\n");
    old.proxy.stay(id);
    old.heard.clear();
    old.rest();
    assert!(old.send(id, b"PING\r\n").is_empty());
    old.rest();
    assert_eq!(old.heard(id), "+PONG\r\n");
}

#[test]
fn subscribers_are_heard_for_before_they_come() {
    let (mut old, mut new) = (Side::new(Config::default()), Side::new(Config::default()));
    let id = known_client(&mut old.proxy, None, NOW);
    for line in ["SUBSCRIBE news", "PSUBSCRIBE n*", "SSUBSCRIBE shard"] {
        assert!(old.send(id, format!("{line}\r\n").as_bytes()).is_empty());
        old.rest();
    }
    let topics = old.proxy.topics();
    assert_eq!(topics.len(), 3);
    new.proxy.warm_up(topics.clone(), NOW);
    assert!(!new.proxy.is_warm());
    new.rest();
    assert!(new.proxy.is_warm());
    assert!(old.proxy.hears(id));
    let moved = old.let_go(id);
    assert_eq!(moved.topics, topics);
    let there = new.proxy.arrive(moved, NOW).expect("it may be here");
    new.rest();
    assert_eq!(new.heard(there), "", "it is told nothing that it knows");
    new.proxy.cool_down(NOW);
    new.rest();
    assert!(
        new.send(
            there,
            b"UNSUBSCRIBE\r\nPUNSUBSCRIBE\r\nSUNSUBSCRIBE\r\nGET a\r\n"
        )
        .is_empty()
    );
    new.rest();
    assert!(new.heard(there).ends_with("$1\r\na\r\n"));
    assert_eq!(new.proxy.topics(), []);
    // Those that nobody comes for are given up.
    new.proxy
        .warm_up(vec![(Kind::Channel, b"nobody".to_vec())], NOW);
    new.rest();
    new.proxy.cool_down(NOW);
    new.rest();
    assert_eq!(new.proxy.topics(), []);
}

/// A node sends each message to both processes, but not at one moment: whichever is faster when a subscriber goes, it hears
/// each of them once.
#[test]
fn a_subscriber_hears_each_message_once_whichever_process_is_ahead() {
    const COUNT: usize = 8;
    let message =
        |number: usize| format!(">3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$1\r\n{number}\r\n");
    let expected: String = (0..COUNT).map(message).collect();
    // The new process listens from the second message on.
    for (old_has, new_has) in (1..=COUNT).flat_map(|old| (2..=COUNT).map(move |new| (old, new))) {
        let (mut old, mut new) = (Side::new(Config::default()), Side::new(Config::default()));
        let id = known_client(&mut old.proxy, None, NOW);
        let hello = old.send(id, b"HELLO 3\r\nSUBSCRIBE news\r\n");
        assert!(hello.is_empty());
        old.rest();
        old.heard(id);
        old.proxy.note_messages();
        let hears = |side: &mut Side, number: usize| {
            let home = side.home_of("news");
            feed(
                &mut side.proxy,
                Peer::Backend(home),
                message(number).as_bytes(),
                NOW,
            );
            side.rest();
        };
        hears(&mut old, 0);
        new.proxy.warm_up(old.proxy.topics(), NOW);
        new.rest();
        (1..old_has).for_each(|number| hears(&mut old, number));
        (1..new_has).for_each(|number| hears(&mut new, number));
        let moved = old.let_go(id);
        let there = new.proxy.arrive(moved, NOW).expect("it may be here");
        new.rest();
        (new_has..COUNT).for_each(|number| hears(&mut new, number));
        let heard = old.heard(id) + &new.heard(there);
        assert_eq!(heard, expected, "{old_has} and {new_has}");
    }
}

#[test]
fn the_rules_of_the_new_process_hold() {
    let with_password = || Config {
        client_password: Some(Secret::new("sesame")),
        ..Config::default()
    };
    let moved = |config: Config, lines: &[&str]| {
        let mut old = Side::new(config);
        let id = known_client(&mut old.proxy, None, NOW);
        for line in lines {
            assert!(old.send(id, format!("{line}\r\n").as_bytes()).is_empty());
            old.rest();
        }
        old.let_go(id)
    };
    let ask = |config: Config, moved: MovedClient| {
        let mut new = Side::new(config);
        let there = new.proxy.arrive(moved, NOW)?;
        new.send(there, b"ECHO in\r\n");
        new.rest();
        Some(new.heard(there))
    };
    let (inside, outside) = ("$2\r\nin\r\n", "-NOAUTH Authentication required.\r\n");
    let is = |heard: Option<String>, expected: &str| assert_eq!(heard.as_deref(), Some(expected));
    // Logged in, not yet logged in, and never asked to.
    is(
        ask(with_password(), moved(with_password(), &["AUTH sesame"])),
        inside,
    );
    is(ask(with_password(), moved(with_password(), &[])), outside);
    is(ask(with_password(), moved(Config::default(), &[])), outside);
    is(ask(Config::default(), moved(with_password(), &[])), inside);
    // A user, a namespace that is no more.
    let gone = |change: fn(&mut MovedClient)| {
        let mut client = moved(Config::default(), &[]);
        change(&mut client);
        assert_eq!(ask(Config::default(), client), None);
    };
    gone(|client| client.user = Some(b"alice".to_vec()));
    gone(|client| client.namespace = Some(b"{jobs}".to_vec()));
    gone(|client| client.listener_namespace = Some(b"{jobs}".to_vec()));
    // Whose user belongs elsewhere now.
    let of_user = |name: &str| Config {
        namespace_users: vec![("default".to_string(), name.to_string())],
        ..Config::default()
    };
    assert_eq!(ask(of_user("jobs"), moved(Config::default(), &[])), None);
    assert_eq!(ask(of_user("jobs"), moved(of_user("cache"), &[])), None);
    is(
        ask(of_user("jobs"), moved(of_user("jobs"), &["SELECT 3"])),
        inside,
    );
}
