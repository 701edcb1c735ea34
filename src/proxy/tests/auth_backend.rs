//! `-auth backend` before nodes that have users: whatever happens to users, connections and nodes, no client is served as
//! somebody else, and each request gets one reply, in order.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::acl::Store;
use crate::clock::{NEVER_STILL, Time};
use crate::cluster::topology::Topology;
use crate::command::Table;
use crate::config::{Auth, Config, Secret};
use crate::live_config::LiveConfig;
use crate::proxy::actions::Action;
use crate::proxy::ids::{BackendId, ClientId, Peer};
use crate::proxy::process::Process;
use crate::proxy::state::Proxy;
use crate::proxy::tests::rig::{feed, flushed, next_action};
use crate::resp::args::Args;
use crate::resp::encode::Protocol;
use crate::resp::frame::{RequestLimits, RequestScanner, Scan};
use crate::resp::reply::Reply;
use crate::resp::reply_frame::ReplyScanner;
use crate::testing::Random;

const NODES: usize = 3;
const NAMES: [&str; 3] = ["ann", "bob", "default"];

/// A connection as its node sees it.
struct Link {
    node: usize,
    user: Option<String>,
    scanner: RequestScanner,
    input: Vec<u8>,
    /// What the node says and has not been given to the proxy.
    says: VecDeque<Vec<u8>>,
}

/// A client: the requests that wait for their replies, and who the last successful login made it.
struct Guest {
    id: ClientId,
    asked: VecDeque<Vec<String>>,
    user: Option<String>,
    output: Vec<u8>,
    replies: ReplyScanner,
    /// The last reply.
    told: String,
}

/// All of it.
struct World {
    proxy: Proxy,
    now: Time,
    /// The users of each node and their passwords; one without a password takes any.
    users: Vec<BTreeMap<String, Option<String>>>,
    links: BTreeMap<u64, (BackendId, Link)>,
    guests: Vec<Guest>,
    served: usize,
    frozen: Option<usize>,
}

fn limits() -> RequestLimits {
    RequestLimits {
        bulk_bytes: 1 << 20,
        request_bytes: 1 << 20,
        inline_bytes: 1 << 16,
        authenticated: true,
        unauthenticated_args: 10,
        unauthenticated_bulk_bytes: 16384,
    }
}

fn bulk(text: &str) -> Vec<u8> {
    format!("${}\r\n{text}\r\n", text.len()).into_bytes()
}

impl Link {
    /// What a node says to a request.
    fn answer(&mut self, words: &[String], users: &BTreeMap<String, Option<String>>) -> Vec<u8> {
        let admits = |name: &str, password: &str| {
            let own = users.get(name);
            own.is_some_and(|own| own.as_deref().is_none_or(|own| own == password))
        };
        let wrong =
            || b"-WRONGPASS invalid username-password pair or user is disabled.\r\n".to_vec();
        let all: Vec<&str> = words.iter().map(String::as_str).collect();
        match all[..] {
            ["AUTH", name, password] => match admits(name, password) {
                true => {
                    self.user = Some(name.to_string());
                    b"+OK\r\n".to_vec()
                }
                false => wrong(),
            },
            ["PING"] => b"+PONG\r\n".to_vec(),
            ["CLIENT", "ID"] => b":1\r\n".to_vec(),
            ["ACL", "DRYRUN", name, ..] => {
                assert_eq!(self.user.as_deref(), Some("proxy"), "{all:?}");
                match users.contains_key(name) {
                    true => b"+OK\r\n".to_vec(),
                    false => format!("-ERR User '{name}' not found\r\n").into_bytes(),
                }
            }
            // A key's value is the name of whoever asks for it.
            ["GET", _] => bulk(self.user.as_deref().unwrap_or("nobody")),
            ["MGET", ..] => {
                let user = bulk(self.user.as_deref().unwrap_or("nobody"));
                let head = format!("*{}\r\n", all.len() - 1).into_bytes();
                [head, user.repeat(all.len() - 1)].concat()
            }
            _ => panic!("{all:?} is not expected"),
        }
    }
}

impl World {
    fn new(config: Config) -> World {
        let config = Config {
            auth: Auth::Backend,
            backend_user: Some("proxy".to_string()),
            backend_password: Some(Secret::new("own")),
            // Time passes quickly here.
            login_timeout: Duration::ZERO,
            ..config
        };
        let acl = Store::of(&config);
        let process = Process::with(1, LiveConfig::default(), acl, &NEVER_STILL);
        let table = Arc::new(Table::compiled());
        let mut proxy = Proxy::new(Arc::new(config), table, Arc::new(process), 0, 1);
        let nodes = (0..NODES as u8).map(|node| SocketAddr::from(([10, 0, 0, node], 6379)));
        let now = Time::from_micros(1_000_000);
        let topology = Topology::of_masters(&nodes.collect::<Vec<_>>());
        proxy.adopt(Arc::new(topology), now);
        let mut users = BTreeMap::new();
        for (name, password) in [
            ("proxy", "own"),
            ("ann", "1"),
            ("bob", "1"),
            ("default", "1"),
        ] {
            users.insert(name.to_string(), Some(password.to_string()));
        }
        World {
            proxy,
            now,
            users: vec![users; NODES],
            links: BTreeMap::new(),
            guests: Vec::new(),
            served: 0,
            frozen: None,
        }
    }

    fn come(&mut self) -> usize {
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        self.guests.push(Guest {
            id: self.proxy.accept(Some(address), self.now),
            asked: VecDeque::new(),
            user: None,
            output: Vec::new(),
            replies: ReplyScanner::of(Protocol::Resp2),
            told: String::new(),
        });
        self.guests.len() - 1
    }

    fn ask(&mut self, guest: usize, line: &str) {
        let words: Vec<String> = line.split(' ').map(str::to_string).collect();
        let guest = &mut self.guests[guest];
        guest.asked.push_back(words);
        let peer = Peer::Client(guest.id);
        if self.proxy.room(peer).is_some() {
            feed(
                &mut self.proxy,
                peer,
                format!("{line}\r\n").as_bytes(),
                self.now,
            );
        } else {
            // It is not read for now: it would have to write later.
            guest.asked.pop_back();
        }
    }

    fn key(id: BackendId) -> u64 {
        u64::from(id.key()) << 32 | u64::from(id.generation())
    }

    /// Does what there is to do; nodes answer so many requests at most.
    fn act(&mut self, mut answers: usize) {
        self.proxy.tick(self.now);
        loop {
            while let Some(action) = next_action(&mut self.proxy) {
                self.carry_out(action);
            }
            let frozen = self.frozen;
            let mut ready = self.links.values_mut();
            let says = ready.find_map(|(id, link)| {
                let says = (frozen != Some(link.node)).then(|| link.says.pop_front());
                says.flatten().map(|says| (*id, says))
            });
            let Some((id, says)) = says.filter(|_| answers > 0) else {
                break;
            };
            answers -= 1;
            feed(&mut self.proxy, Peer::Backend(id), &says, self.now);
        }
        self.proxy.check();
    }

    fn carry_out(&mut self, action: Action) {
        match action {
            Action::Connect(id, address) => {
                let SocketAddr::V4(address) = address else {
                    panic!("no such node");
                };
                let link = Link {
                    node: usize::from(address.ip().octets()[3]),
                    user: None,
                    scanner: RequestScanner::default(),
                    input: Vec::new(),
                    says: VecDeque::new(),
                };
                self.links.insert(World::key(id), (id, link));
                self.proxy.connected(id, self.now);
            }
            Action::Resume(id) => {
                self.proxy.resume(id, self.now);
            }
            Action::Flush(peer @ Peer::Client(id)) => {
                let bytes = flushed(&mut self.proxy, peer, self.now);
                if let Some(at) = self.guests.iter().position(|guest| guest.id == id) {
                    self.guests[at].output.extend(bytes);
                    self.read(at);
                }
            }
            Action::Flush(peer @ Peer::Backend(id)) => {
                let bytes = flushed(&mut self.proxy, peer, self.now);
                if let Some((_, link)) = self.links.get_mut(&World::key(id)) {
                    link.input.extend(bytes);
                    loop {
                        let mut spans = Vec::new();
                        let scan = link.scanner.next(&link.input, &limits(), &mut spans);
                        let Ok(Scan::Frame(len)) = scan else {
                            break;
                        };
                        let args = Args::new(&link.input[..len], &spans);
                        let words = args
                            .from(0)
                            .map(|word| String::from_utf8_lossy(word).into());
                        let words: Vec<String> = words.collect();
                        let answer = link.answer(&words, &self.users[link.node]);
                        link.says.push_back(answer);
                        link.input.drain(..len);
                    }
                }
            }
            Action::Close(Peer::Backend(id)) => {
                self.links.remove(&World::key(id));
            }
            Action::Close(Peer::Client(id)) => self.guests.retain(|guest| guest.id != id),
            _ => {}
        }
    }

    /// A client reads its replies.
    fn read(&mut self, at: usize) {
        let guest = &mut self.guests[at];
        while let Ok(Scan::Frame(len)) = guest.replies.next(&guest.output, 1 << 20) {
            let frame: Vec<u8> = guest.output.drain(..len).collect();
            let asked = guest.asked.pop_front().expect("a reply for each request");
            let text = String::from_utf8_lossy(&frame).into_owned();
            guest.told.clone_from(&text);
            let reply = Reply::new(&frame);
            match (asked[0].as_str(), reply.is_error()) {
                ("AUTH", false) => guest.user = Some(asked[1].clone()),
                ("RESET", false) => guest.user = None,
                ("GET" | "MGET", false) => {
                    let served_as = guest.user.clone().unwrap_or("default".to_string());
                    let count = asked.len() - 1;
                    assert_eq!(text.matches(&served_as).count(), count, "{asked:?}: {text}");
                    self.served += 1;
                }
                ("GET" | "MGET", true) => assert!(
                    ["NOAUTH", "WRONGPASS", "ERR", "CLUSTERDOWN"]
                        .iter()
                        .any(|code| text[1..].starts_with(code)),
                    "{asked:?}: {text}"
                ),
                _ => {}
            }
        }
    }

    /// A node closes a connection.
    fn cut(&mut self, is_it: impl Fn(&Link) -> bool) {
        let cut = self.links.values().filter(|(_, link)| is_it(link));
        let cut: Vec<BackendId> = cut.map(|(id, _)| *id).collect();
        for id in cut {
            self.links.remove(&World::key(id));
            self.proxy.closed(Peer::Backend(id), self.now);
        }
    }

    fn pass(&mut self, millis: u64) {
        self.now = self.now.after(Duration::from_millis(millis));
    }

    /// Lets all that is under way come to its end.
    fn settle(&mut self) {
        for _ in 0..400 {
            self.act(usize::MAX);
            self.pass(50);
        }
    }

    fn last(&self, guest: usize) -> usize {
        self.guests[guest].asked.len()
    }
}

#[test]
fn nobody_is_served_as_somebody_else() {
    let mut served = 0;
    for seed in 1..=40 {
        let mut random = Random::new(seed);
        let mut world = World::new(Config {
            users_max: 3,
            ..Config::default()
        });
        for _ in 0..300 {
            match random.below(40) {
                0 if world.guests.len() < 6 => {
                    world.come();
                }
                1 => {
                    let name = NAMES[random.below(NAMES.len())];
                    let password = match random.below(4) {
                        0 => None,
                        number => Some(number.to_string()),
                    };
                    for node in 0..NODES {
                        // Now and then one of them is forgotten.
                        if random.below(8) > 0 {
                            world.users[node].insert(name.to_string(), password.clone());
                        }
                    }
                }
                2 => {
                    let name = NAMES[random.below(2)];
                    let node = random.below(NODES);
                    world.users[node].remove(name);
                    world.cut(|link| link.node == node && link.user.as_deref() == Some(name));
                }
                3 => {
                    let node = random.below(NODES);
                    world.cut(|link| link.node == node);
                }
                4 => world.frozen = (random.below(4) == 0).then(|| random.below(NODES)),
                5 => world.pass(1 << random.below(12)),
                6..=19 => world.act(random.below(20)),
                _ if world.guests.is_empty() => {
                    world.come();
                }
                _ => {
                    let guest = random.below(world.guests.len());
                    let line = match random.below(8) {
                        0..=1 => {
                            let name = NAMES[random.below(3)];
                            let right = world.users[0].get(name).cloned().flatten();
                            let other = random.below(4).to_string();
                            let right = right.filter(|_| random.below(4) > 0);
                            format!("AUTH {name} {}", right.unwrap_or(other))
                        }
                        2 => "RESET".to_string(),
                        3 => "PING".to_string(),
                        4 => format!("MGET k{} k{}", random.below(99), random.below(99)),
                        _ => format!("GET k{}", random.below(99)),
                    };
                    world.ask(guest, &line);
                }
            }
        }
        world.frozen = None;
        world.settle();
        for guest in 0..world.guests.len() {
            assert_eq!(world.last(guest), 0, "seed {seed}: a request got no reply");
        }
        let ids: Vec<ClientId> = world.guests.iter().map(|guest| guest.id).collect();
        for id in ids {
            world.proxy.closed(Peer::Client(id), world.now);
        }
        // A minute later nothing is left of any user.
        world.pass(61_000);
        world.settle();
        world.pass(61_000);
        world.settle();
        assert!(world.proxy.upstream.accounts.is_empty(), "seed {seed}");
        let users = world
            .links
            .values()
            .filter_map(|(_, link)| link.user.clone());
        let others: Vec<String> = users.filter(|user| user != "proxy").collect();
        // The connection for logins is who has logged in last.
        assert!(others.len() <= NODES, "seed {seed}: {others:?}");
        served += world.served;
    }
    assert!(served > 200, "{served}");
}

#[test]
fn a_node_that_never_answers_a_login_is_waited_for_no_longer_than_the_deadline() {
    let mut world = World::new(Config::default());
    let guest = world.come();
    for node in 0..NODES {
        world.users[node].insert("default".to_string(), Some("1".to_string()));
    }
    world.ask(guest, "AUTH ann 1");
    // The connection is greeted, and no more.
    world.act(1);
    // All are silent from now on.
    for _ in 0..2000 {
        world.act(0);
        world.pass(50);
        if world.last(guest) == 0 {
            break;
        }
    }
    assert_eq!(world.last(guest), 0, "it waits for ever");
    assert_eq!(world.guests[guest].user, None);
    // The answer that comes too late is not taken for that of the next login.
    world.ask(guest, "AUTH ann wrong");
    world.settle();
    assert_eq!(
        (world.last(guest), world.guests[guest].user.clone()),
        (0, None)
    );
    world.ask(guest, "AUTH ann 1");
    world.settle();
    assert_eq!(world.guests[guest].user.as_deref(), Some("ann"));
}

/// What stands behind a MULTI in a pipeline is executed as a whole or not at all, even if no node could be asked about MULTI.
#[test]
fn a_multi_that_no_node_has_judged_begins_a_transaction_that_is_aborted() {
    let mut world = World::new(Config::default());
    let guest = world.come();
    let asks = |world: &mut World, line: &str| {
        world.ask(guest, line);
        world.settle();
        assert_eq!(world.last(guest), 0, "{line}");
        world.guests[guest].told.clone()
    };
    assert_eq!(asks(&mut world, "AUTH ann 1"), "+OK\r\n");
    // All nodes are silent until MULTI has waited long enough.
    world.ask(guest, "MULTI");
    for _ in 0..2000 {
        world.act(0);
        world.pass(50);
    }
    assert_eq!(world.last(guest), 0, "it waits for ever");
    assert_eq!(world.guests[guest].told, "+OK\r\n");
    assert_eq!(asks(&mut world, "PING"), "+QUEUED\r\n");
    let told = asks(&mut world, "EXEC");
    assert!(told.starts_with("-EXECABORT "), "{told}");
    assert_eq!(asks(&mut world, "PING"), "+PONG\r\n");
}

/// Ten thousand wrong passwords take one connection to a node for each of the clients' masters, and no user's place.
#[test]
fn wrong_passwords_cost_no_connections() {
    let mut world = World::new(Config {
        auth_failure_delay: Duration::ZERO,
        ..Config::default()
    });
    let guests: Vec<usize> = (0..10).map(|_| world.come()).collect();
    for round in 0..1000 {
        for guest in &guests {
            world.ask(*guest, &format!("AUTH ann x{round}"));
        }
        world.act(usize::MAX);
    }
    world.settle();
    assert!(guests.iter().all(|guest| world.last(*guest) == 0));
    assert!(world.proxy.upstream.accounts.is_empty());
    assert!(world.links.len() <= NODES, "{}", world.links.len());
    assert_eq!(world.proxy.stats.auth_failures.get(), 10_000);
}
