//! Connections are set aside: before a node that answers what the test says, when it says so.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Time;
use crate::cluster::topology::Topology;
use crate::command::Table;
use crate::config::Config;
use crate::proxy::actions::Action;
use crate::proxy::ids::{BackendId, ClientId, NO_SLOT, Peer};
use crate::proxy::process::Process;
use crate::proxy::state::Proxy;
use crate::proxy::tests::rig::{self, flushed};
use crate::proxy::upstream::backend::{Origin, State, Ticket};
use crate::proxy::upstream::overdue::{ASIDE_MAX, KEPT};

const PONG: &[u8] = b"+PONG\r\n";

/// Bytes of a reply that nobody else waits for.
fn large() -> usize {
    Config::default().limits.aside_reply_bytes
}

/// A proxy before one node. Connections are made at once. A handshake is answered, unless it is one of a replacement;
/// nothing else is answered unless the test does.
struct Rig {
    proxy: Proxy,
    clients: Vec<ClientId>,
    now: Time,
    /// The connections in the order in which they were asked for, and what was written to each.
    nodes: Vec<(BackendId, String)>,
    /// What was written to each client.
    heard: Vec<String>,
    /// Whether new connections hang.
    hangs: bool,
}

impl Rig {
    fn new(clients: usize) -> Rig {
        let process = Arc::new(Process::new(1));
        let table = Arc::new(Table::compiled());
        let mut proxy = Proxy::new(Arc::new(Config::default()), table, process, 0, 1);
        let now = Time::from_micros(1_000_000);
        let node = SocketAddr::from(([10, 0, 0, 1], 6379));
        proxy.adopt(Arc::new(Topology::of_masters(&[node])), now);
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        Rig {
            clients: (0..clients)
                .map(|_| proxy.accept(Some(address), now))
                .collect(),
            proxy,
            now,
            nodes: Vec::new(),
            heard: vec![String::new(); clients],
            hangs: false,
        }
    }

    fn feed(&mut self, peer: Peer, bytes: &[u8]) {
        rig::feed(&mut self.proxy, peer, bytes, self.now);
    }

    fn turn(&mut self) {
        self.proxy.tick(self.now);
        while let Some(action) = self.proxy.next_action() {
            match action {
                Action::Connect(id, _) => {
                    self.nodes.push((id, String::new()));
                    if !self.hangs {
                        self.proxy.connected(id, self.now);
                    }
                }
                Action::Resume(id) => {
                    self.proxy.resume(id, self.now);
                }
                Action::Flush(peer) => {
                    let written = flushed(&mut self.proxy, peer, self.now);
                    let text = String::from_utf8(written).expect("text");
                    match peer {
                        Peer::Client(id) => {
                            let at = self.clients.iter().position(|own| *own == id);
                            self.heard[at.expect("a client of ours")].push_str(&text);
                        }
                        Peer::Backend(id) if self.is_first_greeting(id) => {
                            self.feed(peer, PONG);
                        }
                        Peer::Backend(id) => {
                            let mut all = self.nodes.iter_mut();
                            let own = all.find(|(own, _)| *own == id);
                            own.expect("it is connected").1.push_str(&text);
                        }
                    }
                }
                _ => {}
            }
        }
        self.proxy.check();
    }

    /// Whether a connection that replaces none has its handshake under way.
    fn is_first_greeting(&self, id: BackendId) -> bool {
        let backend = self.proxy.upstream.backends.get(id);
        backend.is_some_and(|own| own.state != State::Ready && !own.is_replacement)
    }

    fn wait(&mut self, millis: u64) {
        for _ in 0..millis / 10 {
            self.now = self.now.after(Duration::from_millis(10));
            self.turn();
        }
    }

    /// A client sends a frame, which is plain, unless it is no command of one key.
    fn ask(&mut self, client: usize, line: &str) {
        let words: Vec<&str> = line.split(' ').collect();
        let mut frame = format!("*{}\r\n", words.len());
        for word in words {
            frame.push_str(&format!("${}\r\n{word}\r\n", word.len()));
        }
        self.feed(Peer::Client(self.clients[client]), frame.as_bytes());
        self.turn();
    }

    fn reply(&mut self, node: usize, bytes: &[u8]) {
        for piece in bytes.chunks(self.proxy.config().limits.read_bytes) {
            self.feed(Peer::Backend(self.nodes[node].0), piece);
            self.turn();
        }
    }

    /// The requests that a connection was sent since the last look, in words.
    fn got(&mut self, node: usize) -> Vec<String> {
        let text = std::mem::take(&mut self.nodes[node].1);
        let requests = text.split('*').skip(1).map(|request| {
            let words = request.split("\r\n").skip(1);
            let words = words.filter(|word| !word.is_empty() && !word.starts_with('$'));
            words.collect::<Vec<_>>().join(" ")
        });
        requests.collect()
    }

    fn heard(&mut self, client: usize) -> String {
        std::mem::take(&mut self.heard[client])
    }

    fn counts(&self) -> (u64, u64, u64) {
        let stats = self.proxy.stats();
        (
            stats.heads_overdue.get(),
            stats.backend_replacements.get(),
            stats.reads_moved.get(),
        )
    }

    /// A client's request is overdue, and another client's has made a replacement ready.
    fn replaced() -> Rig {
        let mut rig = Rig::new(3);
        rig.ask(0, "INCR slow");
        rig.wait(200);
        rig.ask(1, "GET a");
        assert_eq!(rig.got(1), ["PING"]);
        rig.reply(1, PONG);
        assert_eq!(rig.got(1), ["GET a"]);
        assert_eq!(rig.got(0), ["INCR slow"]);
        rig
    }
}

#[test]
fn others_take_another_connection_and_whoever_waits_stays() {
    let mut rig = Rig::replaced();
    rig.ask(0, "SET a 1");
    rig.ask(0, "MGET b {b}c");
    rig.ask(0, "PING");
    rig.ask(2, "SET a 2");
    rig.ask(2, "DEL b a");
    assert_eq!(rig.got(0), ["SET a 1", "MGET b {b}c"]);
    assert_eq!(rig.got(1), ["SET a 2", "DEL b", "DEL a"]);
    rig.reply(1, b"$1\r\nx\r\n+OK\r\n:1\r\n:1\r\n");
    assert_eq!(rig.heard(1), "$1\r\nx\r\n");
    assert_eq!(rig.heard(2), "+OK\r\n:2\r\n");
    rig.reply(0, b":1\r\n+OK\r\n*2\r\n$-1\r\n$-1\r\n");
    assert_eq!(rig.heard(0), ":1\r\n+OK\r\n*2\r\n$-1\r\n$-1\r\n+PONG\r\n");
    // Now it has nothing outstanding there.
    rig.ask(0, "GET a");
    assert_eq!((rig.got(0).len(), rig.got(1).len()), (0, 1));
    rig.reply(1, b"$1\r\n2\r\n");
    assert_eq!(rig.counts(), (1, 1, 0));
    rig.wait(KEPT.as_millis() as u64 / 2);
    assert_eq!(rig.proxy.backends(), 2);
    rig.wait(KEPT.as_millis() as u64);
    assert_eq!(rig.proxy.backends(), 1);
    rig.proxy.check_idle();
}

#[test]
fn a_request_that_nobody_waits_behind_costs_no_connection() {
    let mut rig = Rig::new(2);
    rig.ask(0, "INCR slow");
    rig.ask(0, "GET a");
    rig.wait(2000);
    assert_eq!(rig.counts(), (1, 0, 0));
    rig.reply(0, b":1\r\n$-1\r\n");
    rig.ask(1, "GET a");
    rig.reply(0, b"$-1\r\n");
    assert_eq!(rig.nodes.len(), 1);
    rig.wait(100);
    rig.proxy.check_idle();
}

#[test]
fn a_queue_of_prompt_replies_is_no_reason() {
    let mut rig = Rig::new(2);
    for _ in 0..10 {
        rig.ask(0, "INCR a");
    }
    rig.ask(1, "GET a");
    for _ in 0..10 {
        rig.reply(0, b":1\r\n");
        rig.wait(50);
    }
    rig.reply(0, b"$1\r\n1\r\n");
    assert_eq!((rig.nodes.len(), rig.counts()), (1, (0, 0, 0)));
}

/// What is usual at a node is not overdue.
#[test]
fn a_node_whose_replies_usually_take_long_is_given_longer() {
    let mut rig = Rig::new(2);
    for _ in 0..10 {
        rig.ask(0, "INCR slow");
        rig.wait(90);
        rig.reply(0, b":1\r\n");
    }
    rig.ask(0, "INCR slow");
    rig.wait(170);
    assert_eq!(rig.counts().0, 0);
    rig.wait(100);
    assert_eq!(rig.counts().0, 1);
}

#[test]
fn reads_that_are_stuck_are_sent_again_once_the_node_is_seen_to_answer() {
    let mut rig = Rig::new(4);
    rig.ask(0, "EVAL while 1 a");
    rig.ask(1, "GET a");
    rig.ask(1, "GET b");
    rig.ask(2, "GET a");
    rig.ask(2, "INCR a");
    rig.wait(3000);
    assert_eq!(rig.got(0).len(), 5);
    // The replacement is made for those who wait; nothing is known of the node yet.
    assert_eq!(rig.got(1), ["PING"]);
    rig.reply(1, b"-BUSY Redis is busy running a script.\r\n");
    rig.wait(60);
    assert_eq!(rig.got(1), ["GET a", "GET b"]);
    rig.reply(1, b"-BUSY x\r\n$1\r\n2\r\n");
    assert_eq!(rig.heard(1), "-BUSY x\r\n$1\r\n2\r\n");
    assert_eq!(rig.counts(), (1, 1, 2));
    // A client that is gone needs nothing.
    rig.reply(0, b"+DONE\r\n$1\r\n8\r\n$1\r\n9\r\n$1\r\n1\r\n:2\r\n");
    assert_eq!(
        (rig.heard(0), rig.heard(1)),
        ("+DONE\r\n".into(), String::new())
    );
    assert_eq!(rig.heard(2), "$1\r\n1\r\n:2\r\n");
    rig.wait(60);
    rig.proxy.check_idle();
}

/// What a node says of itself comes with the reply to the request behind it, if that takes long.
#[test]
fn what_is_asked_before_a_slow_request_is_not_what_it_is_stuck_with() {
    let mut rig = Rig::new(2);
    rig.ask(0, "KEYS a");
    assert_eq!(rig.got(0), ["ROLE", "KEYS a"]);
    rig.wait(2000);
    // Nobody waits behind it.
    assert_eq!((rig.nodes.len(), rig.counts()), (1, (1, 0, 0)));
    rig.ask(1, "GET a");
    assert_eq!(rig.got(1), ["PING"]);
    rig.reply(1, PONG);
    rig.wait(60);
    assert_eq!(rig.got(1), ["GET a"]);
    assert_eq!(rig.counts(), (1, 1, 0));
    rig.reply(1, b"$1\r\n1\r\n");
    rig.reply(0, b"*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n*1\r\n$1\r\na\r\n");
    assert_eq!(rig.heard(0), "*1\r\n$1\r\na\r\n");
    assert_eq!(rig.heard(1), "$1\r\n1\r\n");
    rig.wait(60);
    rig.proxy.check_idle();
}

#[test]
fn one_that_answers_again_is_the_next_replacement() {
    let mut rig = Rig::replaced();
    rig.reply(0, b":1\r\n");
    // Now the second is stuck, with `GET a`: the first takes its place.
    rig.wait(350);
    rig.ask(2, "INCR a");
    assert_eq!(rig.got(0), ["INCR a"]);
    rig.ask(1, "INCR a");
    assert_eq!(rig.got(1), ["INCR a"]);
    assert_eq!((rig.nodes.len(), rig.counts().0), (2, 2));
}

#[test]
fn only_so_many_are_set_aside() {
    let mut rig = Rig::new(ASIDE_MAX + 3);
    for client in 0..ASIDE_MAX + 2 {
        rig.ask(client, "INCR a");
        if (1..=ASIDE_MAX).contains(&client) {
            rig.reply(client, PONG);
        }
        rig.wait(200);
    }
    assert_eq!(rig.nodes.len(), ASIDE_MAX + 1);
    rig.ask(ASIDE_MAX + 2, "GET a");
    assert_eq!(rig.nodes.len(), ASIDE_MAX + 1);
    assert_eq!(rig.got(ASIDE_MAX).last().expect("it waits there"), "GET a");
    // One is free again; it takes that read over.
    rig.reply(0, b":1\r\n");
    rig.wait(100);
    rig.ask(0, "GET b");
    assert_eq!(rig.got(0), ["INCR a", "GET a", "GET b"]);
}

#[test]
fn a_large_reply_is_overdue_as_soon_as_it_begins() {
    let mut rig = Rig::new(2);
    rig.ask(0, "GET large");
    let whole = large() + 100_000;
    rig.reply(0, format!("${whole}\r\n").as_bytes());
    rig.reply(0, &vec![b'x'; 70_000]);
    assert_eq!(rig.counts().0, 1);
    rig.ask(1, "GET a");
    rig.reply(1, PONG);
    rig.reply(1, b"$-1\r\n");
    assert_eq!(rig.heard(1), "$-1\r\n");
    rig.reply(0, &vec![b'x'; whole - 70_000]);
    rig.reply(0, b"\r\n");
    assert!(rig.heard(0).ends_with("xx\r\n"));
    rig.wait(50);
    rig.proxy.check_idle();
}

/// The header of an aggregate tells how many elements it has, and not how many bytes.
#[test]
fn a_large_aggregate_is_overdue_when_much_of_it_has_come() {
    let mut rig = Rig::new(2);
    rig.ask(0, "HGETALL large");
    let element = format!("$40000\r\n{}\r\n", "x".repeat(40_000));
    let half = large() / element.len() + 1;
    rig.reply(0, format!("*{}\r\n", 2 * half).as_bytes());
    rig.reply(0, element.as_bytes());
    assert_eq!(rig.counts().0, 0);
    for _ in 1..half + 2 {
        rig.reply(0, element.as_bytes());
    }
    assert_eq!(rig.counts().0, 1);
    rig.ask(1, "GET a");
    rig.reply(1, PONG);
    rig.reply(1, b"$-1\r\n");
    assert_eq!(rig.heard(1), "$-1\r\n");
    for _ in half + 2..2 * half {
        rig.reply(0, element.as_bytes());
    }
    rig.wait(50);
    assert_eq!(
        rig.heard(0).len(),
        format!("*{}\r\n", 2 * half).len() + 2 * half * element.len()
    );
    rig.proxy.check_idle();
}

/// The node says nothing at all: it is slow, and the connection to it is waited for as long as a reply is.
#[test]
fn a_replacement_is_waited_for_while_the_node_is_silent() {
    let mut rig = Rig::new(2);
    rig.ask(0, "INCR slow");
    rig.wait(200);
    rig.hangs = true;
    rig.ask(1, "INCR a");
    rig.wait(10_000);
    assert_eq!((rig.nodes.len(), rig.proxy.backends()), (2, 2));
    let late = rig.nodes[1].0;
    rig.reply(0, b":1\r\n");
    // It owes nothing on the first one any more, and comes to the second a little later.
    rig.wait(200);
    rig.proxy.connected(late, rig.now);
    rig.turn();
    rig.reply(1, PONG);
    assert_eq!(rig.got(1), ["PING", "INCR a"]);
    rig.reply(1, b":1\r\n");
    assert_eq!(rig.heard(1), ":1\r\n");
    assert_eq!(rig.proxy.stats().backend_failures.get(), 0);
}

/// The node lets no other connection in: requests wait where they would have waited.
#[test]
fn what_a_failed_replacement_had_goes_to_the_one_set_aside() {
    for how in ["closed", "refused", "silent"] {
        let mut rig = Rig::new(3);
        rig.ask(0, "INCR slow");
        rig.wait(200);
        rig.hangs = how == "silent";
        rig.ask(1, "INCR a");
        let second = Peer::Backend(rig.nodes[1].0);
        match how {
            "closed" => rig.proxy.closed(second, rig.now),
            "refused" => rig.reply(1, b"-ERR max number of clients reached\r\n"),
            _ => {
                // The first one speaks: so the node does, and not to us.
                rig.reply(0, b":1\r\n");
                rig.ask(0, "INCR slow");
                rig.wait(1000);
            }
        }
        rig.turn();
        assert!(rig.got(0).contains(&"INCR a".into()), "{how}");
        rig.ask(2, "GET a");
        assert_eq!(rig.got(0), ["GET a"], "{how}");
        assert_eq!(rig.proxy.backends(), 1);
        assert_eq!(rig.proxy.stats().expired.get(), 0);
        // After a while it is tried again.
        rig.hangs = false;
        rig.wait(1500);
        assert_eq!(rig.nodes.len(), 3, "{how}");
        rig.reply(2, PONG);
        rig.wait(60);
        rig.ask(2, "GET b");
        assert_eq!(rig.got(2), ["PING", "GET a", "GET b"], "{how}");
    }
}

/// When the time of the oldest request is over, its connection is lost; its node is not, and neither is what others ask.
#[test]
fn the_loss_of_one_set_aside_says_nothing_against_its_node() {
    let mut rig = Rig::replaced();
    rig.reply(1, b"$-1\r\n");
    rig.ask(0, "INCR b");
    for _ in 0..20 {
        rig.wait(1000);
        rig.ask(2, "INCR a");
        rig.reply(1, b":1\r\n");
    }
    let timed_out = "-ERR backend timeout, command may have been executed\r\n";
    assert_eq!(rig.heard(0), timed_out.repeat(2));
    assert_eq!(rig.heard(2), ":1\r\n".repeat(20));
    let mut nodes = rig.proxy.upstream.nodes.iter();
    assert!(nodes.all(|(_, node)| !node.is_failing()));
    assert_eq!((rig.proxy.backends(), rig.nodes.len()), (1, 2));
}

/// What the proxy asks a node for itself belongs to no command, and may stand on a connection that carries scripts.
#[test]
fn scripts_are_watched_beside_what_the_proxy_asks_itself() {
    let mut rig = Rig::new(2);
    rig.ask(0, "GET a");
    rig.reply(0, b"$-1\r\n");
    let (id, now) = (rig.nodes[0].0, rig.now);
    let backend = rig
        .proxy
        .upstream
        .backends
        .get_mut(id)
        .expect("it is there");
    let ping = b"*1\r\n$4\r\nPING\r\n";
    backend.output.push(ping, &mut rig.proxy.pool);
    let ticket = Ticket::here(Origin::Discard, NO_SLOT, u16::MAX, ping.len(), now);
    backend.tickets.push_back(ticket);
    rig.proxy.upstream.in_flight += 1;
    rig.ask(0, "EVAL return(1) 1 a");
    rig.wait(30);
    rig.reply(0, b"+PONG\r\n:1\r\n");
    assert_eq!(rig.heard(0), "$-1\r\n:1\r\n");
}

/// A connection that carries a script is watched until the last script that was sent is answered.
#[test]
fn a_script_is_overdue_soon_and_none_is_forgotten() {
    let mut rig = Rig::new(3);
    rig.ask(1, "EVAL return(1) 1 a");
    rig.ask(0, "GET a");
    rig.wait(20);
    assert_eq!(rig.proxy.stats.heads_overdue.get(), 1);
    // The one that replaces it carries two scripts; the second is not forgotten when the first is answered.
    rig.reply(1, PONG);
    rig.ask(2, "EVAL return(1) 1 a");
    rig.reply(1, b":1\r\n");
    rig.ask(2, "EVAL return(2) 1 a");
    rig.wait(30);
    assert_eq!(rig.proxy.stats.heads_overdue.get(), 2);
    rig.reply(1, b":2\r\n");
    rig.reply(0, b":1\r\n$-1\r\n");
    rig.wait(20);
    assert!(rig.proxy.scripts_due.is_none());
    assert_eq!(rig.heard(2), ":1\r\n:2\r\n");
}

/// A node that has read a request and a script behind it in one go keeps its reply to the first until the script has run, also
/// while it tells everybody else that it is busy.
#[test]
fn what_is_right_before_a_script_is_not_what_it_is_stuck_with() {
    let mut rig = Rig::new(5);
    rig.ask(0, "GET a");
    rig.ask(1, "INCR a");
    rig.ask(2, "EVAL while 1 a");
    rig.wait(20);
    assert_eq!(rig.counts(), (1, 0, 0));
    // Who comes after that does not wait.
    rig.ask(3, "INCR a");
    assert_eq!(rig.got(0), ["GET a", "INCR a", "EVAL while 1 a"]);
    rig.wait(400);
    assert_eq!(rig.got(1), ["PING"]);
    rig.reply(1, b"-BUSY a script\r\n");
    assert_eq!(rig.got(1), ["INCR a"]);
    rig.reply(1, b"-BUSY a script\r\n");
    assert_eq!(rig.heard(3), "-BUSY a script\r\n");
    rig.wait(60);
    assert_eq!(rig.got(1), ["GET a"]);
    rig.reply(1, b"-BUSY a script\r\n");
    assert_eq!(rig.heard(0), "-BUSY a script\r\n");
    assert_eq!(rig.counts(), (1, 1, 1));
    rig.reply(0, b"$1\r\n1\r\n:1\r\n+DONE\r\n");
    assert_eq!(rig.heard(1), ":1\r\n");
    assert_eq!(rig.heard(2), "+DONE\r\n");
    rig.wait(60);
    rig.proxy.check_idle();
}

/// A read that takes long itself is not asked for twice because a script is behind it.
#[test]
fn a_slow_read_before_a_script_stays_while_the_node_says_nothing() {
    let mut rig = Rig::new(4);
    rig.ask(1, "EVAL return(1) 1 a");
    rig.wait(20);
    rig.ask(3, "GET a");
    rig.reply(1, PONG);
    rig.reply(1, b"$-1\r\n");
    rig.reply(0, b":1\r\n");
    // Now there is a connection that answers, beside the one that is in use.
    rig.ask(0, "SINTER a");
    rig.ask(2, "EVAL return(1) 1 a");
    rig.wait(500);
    assert_eq!(rig.counts(), (2, 1, 0));
}

/// What comes already is not asked for again.
#[test]
fn a_reply_under_way_before_a_script_stays() {
    let mut rig = Rig::new(3);
    rig.ask(0, "KEYS a");
    rig.ask(1, "EVAL return(1) 1 a");
    let element = format!("$40000\r\n{}\r\n", "x".repeat(40_000));
    let count = 2 * large() / element.len();
    rig.reply(0, b"*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n");
    rig.reply(0, format!("*{count}\r\n").as_bytes());
    for _ in 1..count {
        rig.reply(0, element.as_bytes());
    }
    rig.ask(2, "GET a");
    rig.reply(1, PONG);
    rig.wait(200);
    rig.reply(1, b"$-1\r\n");
    rig.wait(200);
    assert_eq!(rig.counts().2, 0);
    rig.reply(0, element.as_bytes());
    rig.reply(0, b":1\r\n");
    assert!(rig.heard(0).ends_with("xx\r\n"));
    assert_eq!(rig.heard(1), ":1\r\n");
    rig.wait(60);
    rig.proxy.check_idle();
}
