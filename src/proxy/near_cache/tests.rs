//! The near cache before one node: its promises, one by one and by chance.
//!
//! The node executes when it is told to, each connection for itself, and what it writes arrives when that is told: so a
//! push may be seen before or after what another connection brings, as between any two sockets.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Time;
use crate::config::{Config, NearCacheTracking};
use crate::proxy::actions::Action;
use crate::proxy::ids::{BackendId, ClientId, Peer};
use crate::proxy::planted_bugs;
use crate::proxy::state::Proxy;
use crate::proxy::tests::rig::{before_nodes, feed, flushed, known_client, next_action};
use crate::proxy::upstream::lost::Lost;
use crate::resp::args::Args;
use crate::resp::encode;
use crate::resp::frame::{RequestScanner, Scan};
use crate::testing::Random;

mod broadcast;
mod many_keys;
mod parts;
mod pipelined;

/// A connection to the node.
#[derive(Default)]
struct Link {
    tracks: bool,
    broadcast: bool,
    resp3: bool,
    requests: Vec<u8>,
    replies: Vec<u8>,
    executed: usize,
}

/// A proxy with a cache, one node, and clients.
struct Rig {
    proxy: Proxy,
    now: Time,
    links: BTreeMap<(u32, u32), (BackendId, Link)>,
    clients: Vec<(ClientId, Vec<u8>)>,
    /// Values, and when they end.
    values: BTreeMap<Vec<u8>, (u64, Option<Time>)>,
    /// Which keys the node tracks, for which connection.
    tracked: BTreeSet<(Vec<u8>, (u32, u32))>,
    reads: usize,
    /// Keys that have changed and are reported to those who hear of all keys, once the node writes.
    changed: Vec<Vec<u8>>,
    /// Whether the node refuses to track, or to let anybody subscribe.
    refuses: bool,
    refuses_subscribe: bool,
    connects: usize,
}

impl Rig {
    fn new(clients: usize) -> Rig {
        Rig::with(clients, |_| {})
    }

    fn with(clients: usize, set: impl FnOnce(&mut Config)) -> Rig {
        let mut config = Config {
            near_cache_bytes: 1 << 20,
            near_cache_min_reads: 1,
            near_cache_tracking: NearCacheTracking::Keys,
            ..Config::default()
        };
        config.limits.connection_requests = usize::MAX;
        set(&mut config);
        let config = Arc::new(config);
        let mut proxy = before_nodes(1, config);
        let now = Time::from_micros(1_000_000);
        let clients = (0..clients)
            .map(|_| (known_client(&mut proxy, None, now), Vec::new()))
            .collect();
        Rig {
            proxy,
            now,
            links: BTreeMap::new(),
            clients,
            values: BTreeMap::new(),
            tracked: BTreeSet::new(),
            reads: 0,
            changed: Vec::new(),
            refuses: false,
            refuses_subscribe: false,
            connects: 0,
        }
    }

    fn wait(&mut self, wait: Duration) {
        self.now = self.now.after(wait);
        self.proxy.tick(self.now);
        self.act();
    }

    fn act(&mut self) {
        self.proxy.begin_turn(self.now);
        while let Some(action) = next_action(&mut self.proxy) {
            match action {
                Action::Connect(id, _) => {
                    self.connects += 1;
                    let link = (id, Link::default());
                    self.links.insert((id.key(), id.generation()), link);
                    self.proxy.connected(id, self.now);
                }
                Action::Flush(peer) => {
                    let bytes = flushed(&mut self.proxy, peer, self.now);
                    match peer {
                        Peer::Client(id) => {
                            let mut all = self.clients.iter_mut();
                            let own = all.find(|(other, _)| *other == id);
                            own.unwrap().1.extend(bytes);
                        }
                        Peer::Backend(id) => {
                            if let Some(own) = self.links.get_mut(&(id.key(), id.generation())) {
                                own.1.requests.extend(bytes);
                            }
                        }
                    }
                }
                Action::Close(Peer::Backend(id)) => {
                    let name = (id.key(), id.generation());
                    self.links.remove(&name);
                    self.tracked.retain(|(_, link)| *link != name);
                }
                Action::Resume(id) => {
                    self.proxy.resume(id, self.now);
                }
                _ => {}
            }
        }
        self.proxy.check();
        let near = self.proxy.near.as_deref().unwrap();
        near.store.check();
    }

    fn ask(&mut self, client: usize, words: &[&str]) {
        let mut frame = Vec::new();
        encode::command(&mut frame, words.iter().map(|word| word.as_bytes()));
        let id = self.clients[client].0;
        feed(&mut self.proxy, Peer::Client(id), &frame, self.now);
        self.act();
    }

    /// What a client has heard since it was last looked at.
    fn heard(&mut self, client: usize) -> String {
        let bytes = std::mem::take(&mut self.clients[client].1);
        String::from_utf8(bytes).unwrap()
    }

    /// The node executes up to `most` requests of a connection.
    fn execute(&mut self, name: (u32, u32), most: usize) {
        for _ in 0..most {
            let Some((_, link)) = self.links.get_mut(&name) else {
                return;
            };
            let mut spans = Vec::new();
            let limits = crate::proxy::request::request_limits(&Config::default().limits, true);
            let found = RequestScanner::default().next(&link.requests, &limits, &mut spans);
            let Ok(Scan::Frame(len)) = found else { return };
            let frame: Vec<u8> = link.requests.drain(..len).collect();
            link.executed += 1;
            let args = Args::new(&frame, &spans);
            let mut words = (0..args.len()).map(|at| args.at(at).to_vec());
            let name_of = words.next().unwrap().to_ascii_uppercase();
            let words: Vec<Vec<u8>> = words.collect();
            self.run(name, &name_of, &words);
        }
    }

    fn run(&mut self, name: (u32, u32), command: &[u8], words: &[Vec<u8>]) {
        let now = self.now;
        let key = words.first().cloned().unwrap_or_default();
        if self
            .values
            .get(&key)
            .is_some_and(|(_, end)| end.is_some_and(|end| now >= end))
        {
            // Nobody is told until the node gets round to it.
            self.values.remove(&key);
        }
        let value = self.values.get(&key).copied();
        let mut reply = Vec::new();
        let link = &mut self.links.get_mut(&name).unwrap().1;
        let tracks = link.tracks && !link.broadcast;
        let protocol = if link.resp3 {
            encode::Protocol::Resp3
        } else {
            encode::Protocol::Resp2
        };
        let mut invalid = Vec::new();
        match command {
            b"HELLO" => {
                link.resp3 = true;
                reply.extend(b"%0\r\n");
            }
            b"CLIENT" if self.refuses => {
                reply.extend(b"-NOPERM this user has no permissions\r\n");
            }
            b"CLIENT" if words[0] == b"TRACKING" => {
                link.tracks = true;
                link.broadcast = words.get(2).is_some_and(|word| word == b"BCAST");
                reply.extend(b"+OK\r\n");
            }
            b"SUBSCRIBE" if self.refuses_subscribe => {
                reply.extend(b"-NOPERM No permissions to access a channel\r\n");
            }
            b"SUBSCRIBE" => {
                encode::push(&mut reply, 3, encode::Protocol::Resp3);
                encode::bulk(&mut reply, b"subscribe");
                encode::bulk(&mut reply, &words[0]);
                encode::integer(&mut reply, 1);
            }
            b"PING" => reply.extend(b"+PONG\r\n"),
            b"GET" | b"GETRANGE" => {
                if tracks {
                    self.tracked.insert((key, name));
                }
                self.reads += 1;
                match value {
                    Some((value, _)) => encode::bulk(&mut reply, value.to_string().as_bytes()),
                    None => encode::null(&mut reply, protocol),
                }
            }
            b"PTTL" => encode::integer(
                &mut reply,
                match value {
                    None => -2,
                    Some((_, None)) => -1,
                    Some((_, Some(end))) => end.since(now).as_millis() as i64,
                },
            ),
            b"EXISTS" => {
                if tracks {
                    self.tracked.insert((key, name));
                }
                let all = words.iter().filter(|key| self.values.contains_key(*key));
                encode::integer(&mut reply, all.count() as i64);
            }
            b"MGET" => {
                encode::array(&mut reply, words.len());
                for key in words {
                    self.reads += 1;
                    match self.values.get(key) {
                        Some((value, _)) => encode::bulk(&mut reply, value.to_string().as_bytes()),
                        None => encode::null(&mut reply, protocol),
                    }
                }
            }
            b"SET" => {
                let value = String::from_utf8(words[1].clone()).unwrap();
                let end = words.get(3).map(|millis| {
                    let millis = String::from_utf8(millis.clone()).unwrap();
                    now.after(Duration::from_millis(millis.parse().unwrap()))
                });
                self.values
                    .insert(key.clone(), (value.parse().unwrap(), end));
                invalid.push(key);
                reply.extend(b"+OK\r\n");
            }
            b"MSET" => {
                for pair in words.chunks(2) {
                    let value = String::from_utf8(pair[1].clone()).unwrap();
                    let value = (value.parse().unwrap(), None);
                    self.values.insert(pair[0].clone(), value);
                    invalid.push(pair[0].clone());
                }
                reply.extend(b"+OK\r\n");
            }
            b"INCR" => {
                let value = value.map_or(0, |(value, _)| value) + 1;
                self.values.insert(key.clone(), (value, None));
                invalid.push(key);
                encode::integer(&mut reply, value as i64);
            }
            other => panic!("{}", String::from_utf8_lossy(other)),
        }
        self.links.get_mut(&name).unwrap().1.replies.extend(reply);
        for key in invalid {
            self.invalidate(&key);
        }
    }

    /// The node reports what has changed to those who hear of all keys, behind the replies to all that it has executed.
    fn report(&mut self) {
        let changed = std::mem::take(&mut self.changed);
        if changed.is_empty() {
            return;
        }
        for (_, link) in self.links.values_mut().filter(|own| own.1.broadcast) {
            let replies = &mut link.replies;
            encode::push(replies, 2, encode::Protocol::Resp3);
            encode::bulk(replies, b"invalidate");
            encode::array(replies, changed.len());
            changed.iter().for_each(|key| encode::bulk(replies, key));
        }
    }

    fn invalidate(&mut self, key: &[u8]) {
        self.changed.push(key.to_vec());
        let all: Vec<_> = self.tracked.iter().filter(|(own, _)| own == key).collect();
        let all: Vec<_> = all.into_iter().cloned().collect();
        for entry in all {
            self.tracked.remove(&entry);
            let link = &mut self.links.get_mut(&entry.1).unwrap().1;
            let replies = &mut link.replies;
            encode::push(replies, 2, encode::Protocol::Resp3);
            encode::bulk(replies, b"invalidate");
            encode::array(replies, 1);
            encode::bulk(replies, key);
        }
    }

    /// Somebody else writes.
    fn write(&mut self, key: &str, value: u64) {
        self.values.insert(key.as_bytes().to_vec(), (value, None));
        self.invalidate(key.as_bytes());
    }

    /// The first `most` bytes that the node has written on a connection arrive.
    fn deliver(&mut self, name: (u32, u32), most: usize) {
        self.report();
        let Some((id, link)) = self.links.get_mut(&name) else {
            return;
        };
        let (id, most) = (*id, most.min(link.replies.len()));
        let bytes: Vec<u8> = link.replies.drain(..most).collect();
        feed(&mut self.proxy, Peer::Backend(id), &bytes, self.now);
        self.act();
    }

    fn names(&self) -> Vec<(u32, u32)> {
        self.links.keys().copied().collect()
    }

    /// Everything happens until nothing is left to happen.
    fn settle(&mut self) {
        for _ in 0..20 {
            for name in self.names() {
                self.execute(name, usize::MAX);
                self.deliver(name, usize::MAX);
            }
        }
    }

    fn tracking(&self) -> (u32, u32) {
        let mut all = self.links.iter().filter(|(_, own)| own.1.tracks);
        *all.next().unwrap().0
    }

    fn usual(&self) -> (u32, u32) {
        let mut all = self.links.iter().filter(|(_, own)| !own.1.resp3);
        *all.next().unwrap().0
    }

    /// A key is in the cache, with this value.
    fn fill(&mut self, key: &str, value: u64) {
        self.write(key, value);
        for _ in 0..4 {
            self.ask(0, &["GET", key]);
            self.settle();
        }
        self.heard(0);
        let before = self.reads;
        self.ask(0, &["GET", key]);
        assert_eq!(self.heard(0), bulk(value));
        assert_eq!(self.reads, before);
    }

    fn stat(&self, name: &str) -> u64 {
        self.proxy.stats().counter(name).unwrap().get()
    }
}

fn bulk(value: u64) -> String {
    let text = value.to_string();
    format!("${}\r\n{text}\r\n", text.len())
}

#[test]
fn a_hot_key_is_read_once_until_it_changes() {
    let mut rig = Rig::new(2);
    rig.fill("k", 1);
    assert!(rig.stat("near_hits") >= 1 && rig.stat("near_fills") == 1);
    let before = rig.reads;
    for _ in 0..100 {
        rig.ask(1, &["GET", "k"]);
        assert_eq!(rig.heard(1), bulk(1));
    }
    assert_eq!(rig.reads, before);
    rig.write("k", 2);
    rig.settle();
    rig.ask(1, &["GET", "k"]);
    rig.settle();
    assert_eq!(rig.heard(1), bulk(2));
    assert_eq!(rig.stat("near_invalidations"), 1);
    rig.proxy.check_idle();
}

#[test]
fn a_client_sees_its_own_write_before_its_reply_and_behind_it() {
    if planted_bugs::is_on("own-write-not-dropped") {
        return;
    }
    let mut rig = Rig::new(2);
    rig.fill("k", 1);
    rig.ask(0, &["SET", "k", "2"]);
    // Another client's read cannot bring the old value back while the write is under way.
    rig.ask(1, &["GET", "k"]);
    let tracking = rig.tracking();
    rig.execute(tracking, usize::MAX);
    rig.deliver(tracking, usize::MAX);
    rig.ask(0, &["GET", "k"]);
    let usual = rig.usual();
    rig.execute(usual, usize::MAX);
    rig.deliver(usual, usize::MAX);
    rig.ask(0, &["GET", "k"]);
    rig.settle();
    assert_eq!(rig.heard(0), format!("+OK\r\n{}{}", bulk(2), bulk(2)));
}

#[test]
fn what_was_invalidated_on_its_way_is_answered_and_not_kept() {
    if planted_bugs::is_on("fill-after-invalidation") {
        return;
    }
    let mut rig = Rig::new(2);
    rig.fill("other", 7);
    rig.write("k", 1);
    rig.ask(1, &["GET", "k"]);
    let tracking = rig.tracking();
    // GET; then the write; then PTTL.
    rig.execute(tracking, 1);
    rig.write("k", 2);
    rig.settle();
    assert_eq!(rig.heard(1), bulk(1));
    assert_eq!(rig.stat("near_fills_spoiled"), 1);
    rig.ask(1, &["GET", "k"]);
    rig.settle();
    assert_eq!(rig.heard(1), bulk(2));
}

#[test]
fn who_has_seen_the_new_value_past_the_cache_does_not_see_the_old_one() {
    let mut rig = Rig::new(2);
    rig.fill("k", 1);
    rig.write("k", 2);
    // The push is on its way, and this goes past the cache.
    rig.ask(0, &["INCR", "k"]);
    let usual = rig.usual();
    rig.execute(usual, usize::MAX);
    rig.deliver(usual, usize::MAX);
    assert_eq!(rig.heard(0), ":3\r\n");
    rig.ask(0, &["GET", "k"]);
    rig.settle();
    assert_eq!(rig.heard(0), bulk(3));
}

#[test]
fn nothing_is_served_without_news_of_its_node() {
    if planted_bugs::is_on("entry-outlives-connection") {
        return;
    }
    let mut rig = Rig::new(1);
    rig.fill("k", 1);
    let before = rig.reads;
    // It is probed as long as it is used, and answers.
    for _ in 0..20 {
        rig.wait(Duration::from_millis(250));
        rig.settle();
        rig.ask(0, &["GET", "k"]);
        assert_eq!(rig.heard(0), bulk(1));
    }
    assert_eq!(rig.reads, before);
    // Now it does not.
    rig.write("k", 2);
    rig.wait(Duration::from_millis(500));
    rig.ask(0, &["GET", "k"]);
    assert_eq!(rig.heard(0), bulk(1), "within the staleness");
    rig.wait(Duration::from_millis(501));
    rig.ask(0, &["GET", "k"]);
    assert_eq!(rig.heard(0), "");
    assert_eq!(rig.stat("near_stale"), 1);
    rig.settle();
    assert_eq!(rig.heard(0), bulk(2));
}

#[test]
fn behind_a_standstill_nothing_is_served_until_its_node_has_answered_and_keys_have_ended() {
    if planted_bugs::is_on("entry-outlives-connection") {
        return;
    }
    let mut rig = Rig::new(1);
    rig.fill("k", 1);
    let end = rig.now.after(Duration::from_millis(9000));
    rig.values.insert(b"short".to_vec(), (5, Some(end)));
    for _ in 0..3 {
        rig.ask(0, &["GET", "short"]);
        rig.settle();
        assert_eq!(rig.heard(0), bulk(5));
    }
    let fills = rig.stat("near_fills");
    // A probe was sent before, and answered meanwhile.
    rig.wait(Duration::from_millis(250));
    let tracking = rig.tracking();
    rig.execute(tracking, usize::MAX);
    rig.write("k", 2);
    rig.values.remove(&b"short"[..]);
    let now = rig.now.after(Duration::from_millis(1));
    rig.now = now;
    let near = rig.proxy.near.as_deref_mut().unwrap();
    near.stood_still(Duration::from_secs(10), now);
    rig.ask(0, &["GET", "k"]);
    assert_eq!(rig.heard(0), "");
    rig.settle();
    assert_eq!(rig.heard(0), bulk(2));
    rig.ask(0, &["GET", "short"]);
    rig.settle();
    assert_eq!(rig.heard(0), "$-1\r\n");
    // What has not changed is there yet.
    rig.fill("other", 7);
    let reads = rig.reads;
    let near = rig.proxy.near.as_deref_mut().unwrap();
    near.stood_still(Duration::from_secs(20), now);
    rig.wait(Duration::from_millis(1));
    rig.settle();
    rig.ask(0, &["GET", "other"]);
    assert_eq!((rig.heard(0), rig.reads), (bulk(7), reads));
    assert_eq!(rig.stat("near_fills"), fills + 2);
}

#[test]
fn an_entry_does_not_outlive_its_connection() {
    if planted_bugs::is_on("entry-outlives-connection") {
        return;
    }
    let mut rig = Rig::new(1);
    rig.fill("k", 1);
    let (id, _) = rig.links[&rig.tracking()];
    rig.proxy.lose_backend(id, Lost::Closed, rig.now);
    rig.act();
    rig.values.insert(b"k".to_vec(), (2, None));
    rig.ask(0, &["GET", "k"]);
    rig.settle();
    assert_eq!(rig.heard(0), bulk(2));
}

#[test]
fn a_key_ends_on_time_whoever_says_so() {
    let mut rig = Rig::new(1);
    rig.fill("other", 1);
    let end = rig.now.after(Duration::from_millis(300));
    rig.values.insert(b"k".to_vec(), (1, Some(end)));
    for _ in 0..3 {
        rig.ask(0, &["GET", "k"]);
        rig.settle();
    }
    let before = rig.reads;
    rig.heard(0);
    rig.wait(Duration::from_millis(250));
    rig.settle();
    rig.ask(0, &["GET", "k"]);
    assert_eq!((rig.heard(0), rig.reads), (bulk(1), before));
    rig.wait(Duration::from_millis(60));
    rig.settle();
    rig.ask(0, &["GET", "k"]);
    rig.settle();
    assert_eq!(rig.heard(0), "$-1\r\n");
    // That there is no such key is not kept.
    rig.ask(0, &["GET", "k"]);
    rig.settle();
    assert_eq!((rig.heard(0).as_str(), rig.reads), ("$-1\r\n", before + 2));
}

#[test]
fn a_reply_is_read_anew_after_a_minute_although_its_node_says_nothing() {
    let mut rig = Rig::new(1);
    rig.write("k", 1);
    let mut last = String::new();
    for second in 0..200 {
        if second == 100 {
            // What nobody is told of: as a value it is none of the node's, but what its user may read is.
            rig.values.insert(b"k".to_vec(), (2, None));
        }
        for _ in 0..3 {
            rig.ask(0, &["GET", "k"]);
            rig.settle();
            last = rig.heard(0);
        }
        rig.wait(Duration::from_secs(1));
        rig.settle();
        if second == 99 {
            assert_eq!(last, "$1\r\n1\r\n");
        }
        if second == 162 {
            assert_eq!(last, "$1\r\n2\r\n");
        }
    }
    assert!((4..20).contains(&rig.reads), "{}", rig.reads);
}

#[test]
fn many_who_miss_one_key_cause_one_read() {
    let mut rig = Rig::new(50);
    rig.fill("other", 1);
    rig.write("k", 1);
    let before = rig.reads;
    for client in 0..50 {
        for _ in 0..3 {
            rig.ask(client, &["GET", "k"]);
        }
    }
    rig.settle();
    for client in 0..50 {
        assert_eq!(rig.heard(client), bulk(1).repeat(3));
    }
    assert_eq!(rig.reads, before + 1);
}

#[test]
fn a_fill_that_several_have_shared_is_worth_another() {
    let mut rig = Rig::new(2);
    rig.fill("other", 1);
    rig.write("k", 0);
    let before = rig.stat("near_fills");
    for round in 1..9 {
        rig.ask(0, &["GET", "k"]);
        rig.ask(1, &["GET", "k"]);
        rig.settle();
        assert_eq!(rig.stat("near_fills"), before + round);
        // Nobody has hit it.
        rig.write("k", round);
        rig.settle();
    }
}

#[test]
fn what_would_push_out_another_key_is_read_once_more() {
    let mut rig = Rig::with(1, |config| config.near_cache_bytes = 1 << 14);
    rig.fill("k", 1);
    let read = |rig: &mut Rig, key: &str| {
        rig.ask(0, &["GET", key]);
        rig.settle();
        rig.stat("near_fills")
    };
    let is_full = |rig: &Rig| rig.proxy.near.as_deref().unwrap().store.is_full();
    let mut fills = rig.stat("near_fills");
    for key in 0..1000 {
        if is_full(&rig) {
            break;
        }
        let key = format!("k{key}");
        rig.write(&key, 1);
        fills += 1;
        assert_eq!(read(&mut rig, &key), fills);
    }
    assert!(is_full(&rig));
    rig.write("late", 1);
    assert_eq!(read(&mut rig, "late"), fills);
    assert_eq!(read(&mut rig, "late"), fills + 1);
}

#[test]
fn a_request_that_cannot_be_kept_leaves_others_for_its_key_alone() {
    let mut rig = Rig::new(1);
    rig.fill("other", 1);
    rig.write("k", 1);
    rig.ask(0, &["GETRANGE", "k", "0", "9"]);
    let tracking = rig.tracking();
    let link = &mut rig.links.get_mut(&tracking).unwrap().1;
    link.requests.clear();
    link.replies.extend(b"-ERR none of that\r\n:-1\r\n");
    rig.deliver(tracking, usize::MAX);
    let usual = rig.usual();
    let link = &mut rig.links.get_mut(&usual).unwrap().1;
    link.requests.clear();
    link.replies.extend(b"-ERR none of that\r\n");
    rig.deliver(usual, usize::MAX);
    assert_eq!(rig.heard(0), "-ERR none of that\r\n");
    for _ in 0..2 {
        rig.ask(0, &["GET", "k"]);
        rig.settle();
    }
    assert_eq!(rig.heard(0), bulk(1).repeat(2));
    assert_eq!(rig.stat("near_fills"), 2);
    rig.proxy.check_idle();
}

#[test]
fn what_waits_for_room_is_one_miss() {
    let mut rig = Rig::with(1, |config| {
        config.limits.backend_output_bytes = 200;
        config.near_cache_min_reads = 200;
    });
    rig.ask(0, &["GET", "k"]);
    rig.settle();
    rig.heard(0);
    let mut all = Vec::new();
    for key in 0..100 {
        encode::command(&mut all, [b"GET" as &[u8], key.to_string().as_bytes()]);
    }
    let id = rig.clients[0].0;
    feed(&mut rig.proxy, Peer::Client(id), &all, rig.now);
    assert!(rig.stat("near_misses") < 50, "it has to wait");
    rig.act();
    (0..10).for_each(|_| rig.settle());
    assert_eq!(rig.heard(0), "$-1\r\n".repeat(100));
    assert_eq!(rig.stat("near_misses"), 101);
    rig.proxy.check_idle();
}

#[test]
fn those_who_read_beside_a_write_share_a_read_until_the_write_is_answered() {
    let mut rig = Rig::new(50);
    rig.fill("k", 1);
    rig.ask(0, &["INCR", "k"]);
    let before = rig.reads;
    (1..40).for_each(|client| rig.ask(client, &["GET", "k"]));
    let (tracking, usual) = (rig.tracking(), rig.usual());
    rig.execute(tracking, usize::MAX);
    assert_eq!(rig.reads, before + 1);
    // The read came first, and its reply is on its way. Who asks now may have heard of the write.
    rig.execute(usual, usize::MAX);
    rig.deliver(usual, usize::MAX);
    assert_eq!(rig.heard(0), ":2\r\n");
    rig.ask(40, &["GET", "k"]);
    rig.ask(0, &["GET", "k"]);
    rig.settle();
    for client in 1..40 {
        assert_eq!(rig.heard(client), bulk(1));
    }
    assert_eq!((rig.heard(40), rig.heard(0)), (bulk(2), bulk(2)));
    rig.proxy.check_idle();
}

#[test]
fn those_who_wait_for_a_connection_that_is_lost_or_silent_are_answered_by_another() {
    for silent in [false, true] {
        let mut rig = Rig::new(2);
        rig.fill("other", 1);
        rig.write("k", 5);
        rig.ask(0, &["GET", "k"]);
        rig.ask(1, &["GET", "k"]);
        let tracking = rig.tracking();
        if silent {
            rig.wait(Duration::from_millis(1100));
        } else {
            let (id, _) = rig.links[&tracking];
            rig.proxy.lose_backend(id, Lost::Closed, rig.now);
            rig.act();
        }
        let usual = rig.usual();
        rig.execute(usual, usize::MAX);
        rig.deliver(usual, usize::MAX);
        assert_eq!((rig.heard(0), rig.heard(1)), (bulk(5), bulk(5)), "{silent}");
        rig.settle();
        rig.ask(0, &["GET", "k"]);
        rig.settle();
        assert_eq!(rig.heard(0), bulk(5));
        rig.proxy.check_idle();
    }
}

#[test]
fn a_node_that_does_not_track_is_served_without() {
    let mut rig = Rig::new(1);
    rig.refuses = true;
    rig.write("k", 1);
    let mut connects = 0;
    for _ in 0..20 {
        rig.ask(0, &["GET", "k"]);
        rig.settle();
        assert_eq!(rig.heard(0), bulk(1));
        rig.wait(Duration::from_secs(1));
        connects = rig.connects;
    }
    assert_eq!(connects, 2, "the usual one, and one in vain");
    rig.refuses = false;
    rig.wait(Duration::from_secs(30));
    rig.fill("k", 2);
}

#[test]
fn a_flush_drops_everything_at_once() {
    let mut rig = Rig::new(1);
    rig.fill("a", 1);
    rig.fill("b", 1);
    rig.values.clear();
    let tracking = rig.tracking();
    let link = &mut rig.links.get_mut(&tracking).unwrap().1;
    link.replies.extend(b">2\r\n$10\r\ninvalidate\r\n_\r\n");
    rig.settle();
    for key in ["a", "b"] {
        rig.ask(0, &["GET", key]);
        rig.settle();
        assert_eq!(rig.heard(0), "$-1\r\n");
    }
}

/// What a client has asked for and not heard: the key, and when.
type Asked = VecDeque<(usize, Time)>;

/// Clients that read and write a few keys, others who write behind the proxy's back, and connections that execute and
/// deliver in any order, and are lost. The node counts each key up, so that a value says how old it is.
struct World {
    rig: Rig,
    asked: Vec<Asked>,
    /// The newest value of each key that each client has heard.
    newest: Vec<[u64; KEYS.len()]>,
    /// When each value of each key came to be.
    since: [Vec<Time>; KEYS.len()],
    seed: u64,
}

const KEYS: [&str; 3] = ["a", "b", "c"];
const STALENESS: Duration = Duration::from_secs(1);

impl World {
    fn new(seed: u64) -> World {
        const CLIENTS: usize = 4;
        let choices = NearCacheTracking::ALL;
        let choice = choices[seed as usize % choices.len()];
        World {
            rig: Rig::with(CLIENTS, |config| config.near_cache_tracking = choice),
            asked: vec![Asked::default(); CLIENTS],
            newest: vec![[0; KEYS.len()]; CLIENTS],
            since: Default::default(),
            seed,
        }
    }

    fn ask(&mut self, client: usize, command: &str, key: usize) {
        self.rig.ask(client, &[command, KEYS[key]]);
        self.asked[client].push_back((key, self.rig.now));
    }

    /// The same value by another request.
    fn ask_range(&mut self, client: usize, key: usize) {
        self.rig.ask(client, &["GETRANGE", KEYS[key], "0", "-1"]);
        self.asked[client].push_back((key, self.rig.now));
    }

    /// Somebody else counts a key up.
    fn write(&mut self, key: usize) {
        let value = self.rig.values.get(KEYS[key].as_bytes());
        let next = value.map_or(0, |(value, _)| *value) + 1;
        self.rig.write(KEYS[key], next);
    }

    /// MGET of two keys: two values.
    fn ask_both(&mut self, client: usize, keys: [usize; 2]) {
        let words = keys.map(|key| KEYS[key]);
        self.rig.ask(client, &["MGET", words[0], words[1]]);
        let all = keys.map(|key| (key, self.rig.now));
        self.asked[client].extend(all);
    }

    fn step(&mut self, random: &mut Random) {
        let (client, key) = (random.below(self.asked.len()), random.below(KEYS.len()));
        let names = self.rig.names();
        let name = match names.len() {
            0 => (0, 0),
            len => names[random.below(len)],
        };
        match random.below(64) {
            0..2 => self.ask(client, "INCR", key),
            2..4 => {
                self.write(key);
                if random.below(2) == 0 {
                    // The node executes what has come, and not all of what it writes then arrives at once.
                    self.rig.execute(name, usize::MAX);
                    self.rig.deliver(name, random.below(60));
                    for client in 0..self.asked.len() {
                        for _ in 0..2 {
                            match random.below(2) {
                                0 => self.ask(client, "GET", key),
                                _ => self.ask_range(client, key),
                            }
                            self.hear();
                        }
                    }
                }
            }
            4..14 => self.ask(client, "GET", key),
            14..18 => self.ask_range(client, key),
            18..24 => self.ask_both(client, [key, random.below(KEYS.len())]),
            24..40 => self.rig.execute(name, 1 + random.below(4)),
            40..58 => self.rig.deliver(name, 1 + random.below(80)),
            58..60 => self.rig.settle(),
            60 if random.below(6) == 0 => {
                if let Some((id, link)) = self.rig.links.get(&name)
                    && link.tracks
                {
                    let id = *id;
                    self.rig.proxy.lose_backend(id, Lost::Closed, self.rig.now);
                    self.rig.act();
                }
            }
            _ => {
                let micros = [10, 1000, 300_000][random.below(3)];
                self.rig.wait(Duration::from_micros(micros));
            }
        }
        for (key, since) in KEYS.iter().zip(&mut self.since) {
            let value = self.rig.values.get(key.as_bytes());
            let value = value.map_or(0, |(value, _)| *value);
            since.resize(value as usize + 1, self.rig.now);
        }
        self.hear();
    }

    fn hear(&mut self) {
        let seed = self.seed;
        for client in 0..self.asked.len() {
            let heard = self.rig.heard(client);
            let mut lines = heard.split_terminator("\r\n");
            while let Some(line) = lines.next() {
                if line.starts_with('*') {
                    continue;
                }
                let (key, asked_at) = self.asked[client].pop_front().expect("asked for");
                let text = match line.split_at(1) {
                    (":", text) => text,
                    ("$", "-1" | "0") if line == "$-1" || lines.next() == Some("") => "0",
                    ("$", _) => lines.next().expect("a value"),
                    _ => panic!("seed {seed}: {line}"),
                };
                let value: u64 = text.parse().expect("a number");
                let newest = &mut self.newest[client][key];
                assert!(value >= *newest, "seed {seed}: {value} after {newest}");
                *newest = value;
                if let Some(since) = self.since[key].get(value as usize + 1) {
                    let old = asked_at.since(*since);
                    assert!(old <= STALENESS, "seed {seed}: a value {old:?} old");
                }
            }
        }
    }
}

#[test]
fn no_client_ever_sees_an_older_value() {
    let (mut hits, mut fills) = (0, 0);
    for seed in 0..42 {
        let mut world = World::new(seed);
        let mut random = Random::new(seed);
        for _ in 0..1500 {
            world.step(&mut random);
        }
        world.rig.settle();
        world.hear();
        assert!(world.asked.iter().all(|asked| asked.is_empty()), "{seed}");
        world.rig.proxy.check_idle();
        hits += world.rig.stat("near_hits");
        fills += world.rig.stat("near_fills");
    }
    assert!(hits > 500 && fills > 500, "{hits} {fills}");
}
