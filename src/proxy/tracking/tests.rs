//! The order of replies and pushes, one byte at a time: what a node has said before its push is in front of it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::clock::Time;
use crate::cluster::slot::Slot;
use crate::cluster::topology::Topology;
use crate::config::Config;
use crate::proxy::actions::Action;
use crate::proxy::ids::{BackendId, ClientId, Peer};
use crate::proxy::state::Proxy;
use crate::proxy::tests::rig::{before_nodes, feed, flushed, known_client, next_action};
use crate::proxy::upstream::backend::State;
use crate::proxy::upstream::lost::Lost;

mod many;

/// Clients that track, before nodes that answer when they are told to.
struct Rig {
    proxy: Proxy,
    now: Time,
    /// What has been sent to each connection, and is not answered.
    sent: BTreeMap<u32, String>,
    ids: BTreeMap<u32, (BackendId, SocketAddr)>,
    received: BTreeMap<u32, String>,
    greetings: Vec<String>,
    /// What connections whose pushes go elsewhere hear in their handshake.
    redirect_answers: &'static str,
}

/// One key of each of three nodes.
const KEYS: [&str; 3] = ["c", "a", "b"];

fn get(key: &str) -> String {
    format!("*2\r\n$3\r\nGET\r\n${}\r\n{key}\r\n", key.len())
}

fn invalidate(key: &str) -> String {
    format!(
        ">2\r\n$10\r\ninvalidate\r\n*1\r\n${}\r\n{key}\r\n",
        key.len()
    )
}

impl Rig {
    fn new(config: Config) -> Rig {
        Rig {
            proxy: before_nodes(3, Arc::new(config)),
            now: Time::from_micros(1_000_000),
            sent: BTreeMap::new(),
            ids: BTreeMap::new(),
            received: BTreeMap::new(),
            greetings: Vec::new(),
            redirect_answers: "+OK\r\n+PONG\r\n",
        }
    }

    /// A client that has sent these lines, each with its answer.
    fn client(&mut self, lines: &[&str]) -> ClientId {
        let address = Some(SocketAddr::from(([127, 0, 0, 1], 1)));
        let id = known_client(&mut self.proxy, address, self.now);
        for line in ["HELLO 3"].iter().chain(lines) {
            self.say(id, &format!("{line}\r\n"));
        }
        self.received.insert(id.key(), String::new());
        id
    }

    fn say(&mut self, id: ClientId, text: &str) {
        feed(&mut self.proxy, Peer::Client(id), text.as_bytes(), self.now);
        self.turn();
    }

    fn turn(&mut self) {
        self.proxy.tick(self.now);
        while let Some(action) = next_action(&mut self.proxy) {
            match action {
                Action::Connect(id, address) => {
                    self.ids.insert(id.key(), (id, address));
                    self.proxy.connected(id, self.now);
                }
                Action::Resume(id) => {
                    self.proxy.resume(id, self.now);
                }
                Action::Flush(peer) => {
                    let bytes = flushed(&mut self.proxy, peer, self.now);
                    let text = String::from_utf8(bytes).expect("text");
                    match peer {
                        Peer::Client(id) => {
                            self.received.entry(id.key()).or_default().push_str(&text)
                        }
                        Peer::Backend(id) => {
                            let tracks = text.contains("TRACKING");
                            let asks = text.ends_with("CLIENT\r\n$2\r\nID\r\n");
                            let redirects = text.contains("REDIRECT");
                            if text.contains("HELLO") {
                                self.greetings.push(text.clone());
                                let greeting = ["%1\r\n+a\r\n+b\r\n", "+OK\r\n", ":7\r\n"];
                                let steps = 1 + usize::from(tracks) + usize::from(asks);
                                let greeting = greeting[..steps].concat();
                                feed(&mut self.proxy, peer, greeting.as_bytes(), self.now);
                            } else if redirects {
                                let steps = "REDIRECT\r\n$1\r\n7\r\n*1\r\n$4\r\nPING\r\n";
                                assert!(text.ends_with(steps), "{text}");
                                let answers = self.redirect_answers.as_bytes();
                                feed(&mut self.proxy, peer, answers, self.now);
                            } else {
                                self.sent.entry(id.key()).or_default().push_str(&text);
                            }
                        }
                    }
                }
                _ => {}
            }
        }
        self.proxy.check();
    }

    /// The connection that tracks to the node of a key.
    fn node(&self, key: &str) -> BackendId {
        let routes = &self.proxy.upstream.routes;
        let shard = routes.shard(Slot::of(key.as_bytes())).expect("a shard");
        let address = self
            .proxy
            .upstream
            .node(shard.master)
            .expect("a node")
            .address;
        let tracks = |id| {
            let own = self.proxy.upstream.backends.get(id);
            own.is_some_and(|own| own.flavor.tracking)
        };
        let mut ids = self.ids.values();
        let own = ids.find(|(id, own)| *own == address && tracks(*id));
        own.expect("a connection").0
    }

    /// The node of this key says something.
    fn hear(&mut self, key: &str, text: &str) {
        let peer = Peer::Backend(self.node(key));
        feed(&mut self.proxy, peer, text.as_bytes(), self.now);
        self.turn();
    }

    fn received(&mut self, id: ClientId) -> String {
        std::mem::take(self.received.entry(id.key()).or_default())
    }
}

#[test]
fn a_push_waits_for_the_older_reply_that_waits_for_another_node() {
    let mut rig = Rig::new(Config::default());
    let id = rig.client(&["CLIENT TRACKING ON"]);
    let [first, second, third] = KEYS;
    rig.say(id, &[get(first), get(second), get(third)].concat());
    rig.hear(second, "$3\r\nold\r\n");
    rig.hear(second, &invalidate(second));
    // What nobody has read since is nobody's.
    rig.hear(second, &invalidate(second));
    assert_eq!(rig.received(id), "");
    rig.hear(first, "$1\r\n1\r\n");
    let expected = ["$1\r\n1\r\n$3\r\nold\r\n", &invalidate(second)].concat();
    assert_eq!(rig.received(id), expected);
    // One whose reply has left is told at once, whatever is outstanding.
    rig.hear(first, &invalidate(first));
    assert_eq!(rig.received(id), invalidate(first));
    rig.hear(third, "_\r\n");
    rig.hear(third, &invalidate(third));
    assert_eq!(rig.received(id), ["_\r\n", &invalidate(third)].concat());
    assert_eq!(rig.proxy.stats.tracking_keys.get(), 0);
}

#[test]
fn a_push_waits_for_the_other_parts_of_a_split_request() {
    let mut rig = Rig::new(Config::default());
    let id = rig.client(&["CLIENT TRACKING ON"]);
    let [first, second, third] = KEYS;
    rig.say(id, &format!("MGET {first} {second} {third}\r\n"));
    rig.hear(second, "*1\r\n$3\r\nold\r\n");
    rig.hear(second, &invalidate(second));
    rig.hear(first, "*1\r\n$1\r\n1\r\n");
    // Everything of a node: it is behind the part that has come.
    rig.hear(first, ">2\r\n$10\r\ninvalidate\r\n_\r\n");
    assert_eq!(rig.received(id), "");
    rig.hear(third, "*1\r\n_\r\n");
    let got = rig.received(id);
    let reply = "*3\r\n$1\r\n1\r\n$3\r\nold\r\n_\r\n";
    assert_eq!(
        got,
        [
            reply,
            &invalidate(second),
            ">2\r\n$10\r\ninvalidate\r\n_\r\n"
        ]
        .concat()
    );
}

#[test]
fn only_those_who_have_read_a_key_hear_of_it() {
    let mut rig = Rig::new(Config::default());
    let [key, other, _] = KEYS;
    let clients = [
        rig.client(&["CLIENT TRACKING ON"]),
        rig.client(&["CLIENT TRACKING ON"]),
        rig.client(&["CLIENT TRACKING ON OPTIN"]),
        rig.client(&["CLIENT TRACKING ON OPTIN", "CLIENT CACHING YES"]),
        rig.client(&["CLIENT TRACKING ON OPTOUT", "CLIENT CACHING NO"]),
        rig.client(&[]),
    ];
    for (index, id) in clients.into_iter().enumerate() {
        rig.say(id, &get(if index == 1 { other } else { key }));
    }
    let last = rig.node(key);
    // The one that does not track has a connection of another kind, and waits.
    rig.hear(other, "$1\r\n1\r\n");
    for _ in 0..4 {
        feed(&mut rig.proxy, Peer::Backend(last), b"$1\r\n1\r\n", rig.now);
    }
    rig.turn();
    rig.received.clear();
    feed(
        &mut rig.proxy,
        Peer::Backend(last),
        invalidate(key).as_bytes(),
        rig.now,
    );
    rig.turn();
    let heard = clients.map(|id| rig.received(id) == invalidate(key));
    assert_eq!(heard, [true, false, false, true, false, false]);
}

#[test]
fn a_lost_connection_says_that_its_keys_have_changed() {
    let mut rig = Rig::new(Config::default());
    let id = rig.client(&["CLIENT TRACKING ON"]);
    let [first, second, _] = KEYS;
    rig.say(id, &[get(first), get(second)].concat());
    rig.hear(second, "$3\r\nold\r\n");
    let lost = rig.node(second);
    rig.proxy.lose_backend(lost, Lost::Closed, rig.now);
    rig.turn();
    assert_eq!(rig.received(id), "");
    rig.hear(first, "$1\r\n1\r\n");
    let expected = ["$1\r\n1\r\n$3\r\nold\r\n", &invalidate(second)].concat();
    assert_eq!(rig.received(id), expected);
    assert_eq!(rig.proxy.tracking.links.len(), 1);
    let lost = rig.node(first);
    rig.proxy.lose_backend(lost, Lost::Closed, rig.now);
    rig.turn();
    assert_eq!(rig.received(id), invalidate(first));
    assert!(rig.proxy.tracking.is_empty());
}

#[test]
fn a_slot_that_moves_says_that_its_keys_have_changed() {
    let mut rig = Rig::new(Config::default());
    let id = rig.client(&["CLIENT TRACKING ON"]);
    let [first, second, _] = KEYS;
    rig.say(id, &[get(first), get(second)].concat());
    rig.hear(first, "_\r\n");
    rig.hear(second, "_\r\n");
    rig.received(id);
    let nodes = [1, 2, 3].map(|node| SocketAddr::from(([10, 0, 0, node], 6379)));
    let mut topology = Topology::of_masters(&nodes);
    let slots = [first, second].map(|key| usize::from(Slot::of(key.as_bytes()).number()));
    topology.slots[slots[0]] = topology.slots[slots[1]];
    rig.proxy.adopt(Arc::new(topology), rig.now);
    rig.turn();
    assert_eq!(rig.received(id), invalidate(first));
    assert_eq!(rig.proxy.stats.tracking_keys.get(), 1);
}

#[test]
fn a_node_that_does_not_track_is_no_silence() {
    let mut rig = Rig::new(Config::default());
    let id = rig.client(&["CLIENT TRACKING ON"]);
    let key = KEYS[0];
    rig.say(id, &get(key));
    let backend = rig.node(key);
    rig.proxy
        .upstream
        .backends
        .get_mut(backend)
        .expect("it is there")
        .is_untracked = true;
    rig.hear(key, "$1\r\n1\r\n");
    assert_eq!(rig.received(id), ["$1\r\n1\r\n", &invalidate(key)].concat());
    // A client may have kept the reply after it has looked at the push.
    let mut heard = String::new();
    for _ in 0..100 {
        let due = rig.proxy.next_deadline().expect("it is told again");
        rig.now = due.max(rig.now);
        rig.turn();
        heard += &rig.received(id);
        if !heard.is_empty() {
            break;
        }
    }
    assert_eq!(heard, invalidate(key));
}

#[test]
fn a_quiet_connection_is_asked_whether_it_is_there() {
    let mut rig = Rig::new(Config::default());
    let id = rig.client(&["CLIENT TRACKING ON"]);
    let key = KEYS[0];
    rig.say(id, &get(key));
    rig.hear(key, "$1\r\n1\r\n");
    rig.sent.clear();
    let mut asked = 0;
    for _ in 0..40 {
        rig.now = rig
            .proxy
            .next_deadline()
            .expect("it is looked after")
            .max(rig.now.after(std::time::Duration::from_millis(100)));
        rig.turn();
        for (_, text) in std::mem::take(&mut rig.sent) {
            assert_eq!(text, "*1\r\n$4\r\nPING\r\n");
            asked += 1;
            rig.hear(key, "+PONG\r\n");
        }
    }
    assert!((4..=40).contains(&asked), "{asked}");
    // One that does not answer is lost within the time that every reply has.
    rig.received(id);
    for _ in 0..1000 {
        rig.now = rig.now.after(std::time::Duration::from_millis(100));
        rig.turn();
    }
    assert_eq!(rig.received(id), invalidate(key));
}

#[test]
fn a_key_more_than_may_be_remembered_is_said_to_have_changed() {
    let mut config = Config::default();
    config.limits.tracking_keys = 3;
    let mut rig = Rig::new(config);
    let id = rig.client(&["CLIENT TRACKING ON"]);
    for number in 0..20 {
        let key = format!("{{a}}{number}");
        rig.say(id, &get(&key));
        rig.hear(&key, "$1\r\n1\r\n");
        let got = rig.received(id);
        assert_eq!(
            got.matches("invalidate").count(),
            usize::from(number >= 3),
            "{got}"
        );
        assert!(rig.proxy.tracking.keys() <= 3);
    }
    assert_eq!(rig.proxy.stats.tracking_evictions.get(), 17);
    // A client that goes leaves its keys to be forgotten.
    rig.proxy.closed(Peer::Client(id), rig.now);
    rig.hear("{a}", &invalidate("{a}19"));
    assert!(rig.proxy.tracking.keys() <= 3);
}

/// The connections that tell of keys, one of each node.
fn bcast(rig: &Rig) -> Vec<BackendId> {
    let all = rig.proxy.tracking.bcast.all.keys();
    all.copied().collect()
}

impl Rig {
    fn tell(&mut self, feed: BackendId, text: &str) {
        feed_bytes(self, feed, text);
        self.turn();
    }
}

fn feed_bytes(rig: &mut Rig, id: BackendId, text: &str) {
    feed(&mut rig.proxy, Peer::Backend(id), text.as_bytes(), rig.now);
}

#[test]
fn what_is_told_by_prefix_comes_behind_all_that_may_be_older() {
    let mut rig = Rig::new(Config::default());
    let id = rig.client(&["CLIENT TRACKING ON BCAST PREFIX a PREFIX b"]);
    let own = bcast(&rig);
    assert_eq!(own.len(), 3);
    rig.say(id, &get("a"));
    // The reply is older than what the node tells on another connection.
    rig.tell(own[0], &invalidate("a"));
    assert_eq!(rig.received(id), "");
    let mut nodes = rig.ids.values().map(|(id, _)| *id);
    let has_ticket = |id: &BackendId| {
        let own = rig.proxy.upstream.backends.get(*id);
        own.is_some_and(|own| !own.tickets.is_empty())
    };
    let node = nodes.find(has_ticket).expect("a request is on its way");
    rig.tell(node, "$3\r\nold\r\n");
    assert_eq!(
        rig.received(id),
        ["$3\r\nold\r\n", &invalidate("a")].concat()
    );
    // One push for each prefix, none for others.
    let keys = ">2\r\n$10\r\ninvalidate\r\n*4\r\n$2\r\na1\r\n$2\r\na2\r\n$2\r\nb1\r\n$1\r\nc\r\n";
    rig.tell(own[1], keys);
    let first = ">2\r\n$10\r\ninvalidate\r\n*2\r\n$2\r\na1\r\n$2\r\na2\r\n";
    assert_eq!(rig.received(id), [first, &invalidate("b1")].concat());
    // Every master says that it was flushed; the client hears it once, and once again when it has asked something since.
    let all = ">2\r\n$10\r\ninvalidate\r\n_\r\n";
    own.iter().for_each(|feed| rig.tell(*feed, all));
    assert_eq!(rig.received(id), all);
    rig.say(id, "ECHO x\r\n");
    rig.tell(own[2], all);
    assert_eq!(rig.received(id), ["$1\r\nx\r\n", all].concat());
}

#[test]
fn what_is_read_before_the_nodes_tell_of_prefixes_may_be_old() {
    let mut rig = Rig::new(Config::default());
    let id = rig.client(&[]);
    // The request behind is sent at once, on another connection.
    rig.say(id, &["CLIENT TRACKING ON BCAST\r\n", &get("a")].concat());
    let waits = |(id, _): &&(BackendId, SocketAddr)| {
        let own = rig.proxy.upstream.backends.get(*id);
        own.is_some_and(|own| !own.tickets.is_empty())
    };
    let node = rig.ids.values().find(waits).expect("it is sent").0;
    rig.tell(node, "$3\r\nold\r\n");
    let all = ">2\r\n$10\r\ninvalidate\r\n_\r\n";
    assert_eq!(rig.received(id), ["+OK\r\n$3\r\nold\r\n", all].concat());
    // Who reads when it has heard OK is not told.
    let other = rig.client(&["CLIENT TRACKING ON BCAST PREFIX a"]);
    rig.say(other, &get("a"));
    assert_eq!(rig.received(other), "");
}

#[test]
fn who_asks_for_more_prefixes_still_hears_of_those_it_has() {
    let mut rig = Rig::new(Config::default());
    let id = rig.client(&["CLIENT TRACKING ON BCAST PREFIX a"]);
    let before = bcast(&rig);
    feed(
        &mut rig.proxy,
        Peer::Client(id),
        b"CLIENT TRACKING ON BCAST PREFIX b\r\n",
        rig.now,
    );
    // Its OK waits for other connections; meanwhile one of those that tell of its first prefix is lost.
    rig.proxy.lose_backend(before[0], Lost::Closed, rig.now);
    rig.turn();
    let heard = rig.received(id);
    assert!(heard.contains("invalidate\r\n_\r\n"), "{heard}");
}

#[test]
fn another_prefix_is_asked_for_before_the_old_connection_is_closed() {
    let mut rig = Rig::new(Config::default());
    let first = rig.client(&["CLIENT TRACKING ON BCAST PREFIX a"]);
    let before = bcast(&rig);
    let second = rig.client(&["CLIENT TRACKING ON BCAST PREFIX b"]);
    let after = bcast(&rig);
    assert_eq!(after.len(), 3);
    assert!(after.iter().all(|id| !before.contains(id)));
    let last = rig.greetings.last().expect("a greeting");
    assert!(
        last.ends_with("PREFIX\r\n$1\r\na\r\n$6\r\nPREFIX\r\n$1\r\nb\r\n"),
        "{last}"
    );
    // Nothing was missed.
    assert_eq!(rig.received(first), "");
    rig.tell(after[0], &invalidate("b"));
    assert_eq!(rig.received(second), invalidate("b"));
    // A lost one is another matter, before and after the next.
    rig.say(first, "ECHO x\r\n");
    rig.received(first);
    rig.proxy.lose_backend(after[1], Lost::Closed, rig.now);
    rig.turn();
    assert_eq!(rig.received(first), ">2\r\n$10\r\ninvalidate\r\n_\r\n");
    assert_eq!(rig.received(second), ">2\r\n$10\r\ninvalidate\r\n_\r\n");
    // It is tried again soon; who has asked for anything meanwhile is told again, since that may have changed.
    rig.say(second, "ECHO x\r\n");
    for _ in 0..20 {
        rig.now = rig.now.after(std::time::Duration::from_millis(50));
        rig.turn();
    }
    assert_eq!(bcast(&rig).len(), 3);
    assert_eq!(rig.received(first), "");
    assert!(rig.received(second).ends_with("invalidate\r\n_\r\n"));
    // Nobody is left.
    rig.proxy.closed(Peer::Client(first), rig.now);
    rig.say(second, "RESET\r\n");
    rig.now = rig.now.after(std::time::Duration::from_millis(50));
    rig.turn();
    assert_eq!(bcast(&rig), []);
}

/// A RESP2 client that has asked for `key`, and who is told for it.
fn redirected_client(rig: &mut Rig, key: &str) -> (ClientId, ClientId) {
    let target = rig.client(&[]);
    let source = rig.client(&["HELLO 2"]);
    let number = rig
        .proxy
        .clients
        .get(target)
        .expect("it is there")
        .session
        .number;
    rig.say(source, &format!("CLIENT TRACKING ON REDIRECT {number}\r\n"));
    assert_eq!(rig.received(source), "+OK\r\n");
    rig.say(source, &get(key));
    // It has waited for the connection that tells.
    rig.now = rig.now.after(std::time::Duration::from_millis(1));
    rig.turn();
    (source, target)
}

/// The same, and the two connections to the node: the one that tells, and the one that reads.
fn redirected(rig: &mut Rig, key: &str) -> (ClientId, ClientId, BackendId, BackendId) {
    let (source, target) = redirected_client(rig, key);
    let sink = rig.node(key);
    let mut all = rig.proxy.upstream.backends.iter();
    let own = all.find(|(_, own)| own.redirect == Some((sink, 7)));
    let reads = own.expect("a connection that reads").0;
    (source, target, sink, reads)
}

#[test]
fn a_reply_that_may_be_older_than_what_was_told_on_another_connection_is_told_again() {
    let mut rig = Rig::new(Config::default());
    let key = KEYS[0];
    let (source, target, sink, reads) = redirected(&mut rig, key);
    // The node has read the key for a client, and it was changed: the reply comes behind what is told.
    rig.tell(reads, "$3\r\nold\r\n");
    assert_eq!(rig.received(source), "$3\r\nold\r\n");
    rig.say(source, &get(key));
    rig.tell(sink, &invalidate(key));
    assert_eq!(rig.received(target), invalidate(key));
    rig.tell(reads, "$3\r\nold\r\n");
    assert_eq!(rig.received(source), "$3\r\nold\r\n");
    assert_eq!(rig.received(target), invalidate(key));
    // What is asked for later is newer.
    rig.now = rig.now.after(std::time::Duration::from_millis(1));
    rig.say(source, &get(key));
    rig.tell(reads, "$3\r\nnew\r\n");
    assert_eq!(rig.received(target), "");
    rig.tell(sink, &invalidate(key));
    assert_eq!(rig.received(target), invalidate(key));
}

/// An error to the command that begins to track says nothing about that: what is asked last does.
#[test]
fn a_node_that_serves_nobody_yet_is_sent_nothing_on_a_connection_that_tells_elsewhere() {
    let loading = "-LOADING it loads\r\n-LOADING it loads\r\n";
    for (answers, ready) in [(loading, false), ("-ERR no\r\n+PONG\r\n", true)] {
        let mut rig = Rig::new(Config::default());
        rig.redirect_answers = answers;
        redirected_client(&mut rig, KEYS[0]);
        let mut all = rig.proxy.upstream.backends.iter();
        let own = all.find(|(_, own)| own.redirect.is_some());
        let is_ready = own.is_some_and(|(_, own)| own.state == State::Ready);
        assert_eq!(is_ready, ready, "{answers}");
        let asked = rig.sent.values().any(|text| text.contains("GET"));
        assert_eq!(asked, ready, "{answers}");
    }
}

#[test]
fn without_the_connection_that_tells_nothing_is_tracked() {
    let mut rig = Rig::new(Config::default());
    let key = KEYS[0];
    let (source, target, sink, reads) = redirected(&mut rig, key);
    rig.tell(reads, "$3\r\nold\r\n");
    rig.proxy.lose_backend(sink, Lost::Closed, rig.now);
    rig.turn();
    assert_eq!(rig.received(target), invalidate(key));
    rig.say(source, &get(key));
    rig.tell(reads, "$3\r\nold\r\n");
    assert_eq!(rig.received(target), invalidate(key));
    // It is replaced when nothing is outstanding there.
    for _ in 0..40 {
        rig.now = rig.now.after(std::time::Duration::from_millis(100));
        rig.turn();
    }
    assert!(rig.proxy.upstream.backends.get(reads).is_none());
    rig.say(source, &get(key));
    for _ in 0..10 {
        rig.now = rig.now.after(std::time::Duration::from_millis(100));
        rig.turn();
    }
    let sink = rig.node(key);
    let mut all = rig.proxy.upstream.backends.iter();
    assert!(all.any(|(_, own)| own.redirect == Some((sink, 7))));
}
