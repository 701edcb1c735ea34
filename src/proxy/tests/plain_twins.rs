//! Twins: one proxy that takes the shorthands and one that may not, with the same clients and the same nodes.
//!
//! What the nodes answer is known, and so is what the client has to hear. Replies come cut anywhere, up to 200 KB
//! long, and connections break in the middle of them. Bytes both ways and everything that is counted have to be the
//! same.

use std::collections::VecDeque;
use std::net::SocketAddr;

use crate::clock::Time;
use crate::cluster::slot::Slot;
use crate::proxy::actions::Action;
use crate::proxy::ids::{BackendId, ClientId, Peer};
use crate::proxy::state::Proxy;
use crate::proxy::stats::calls::{of_commands, of_errors};
use crate::proxy::stats::node_stats::NodeTotals;
use crate::proxy::tests::rig::{before_three_nodes, flushed, next_action};
use crate::proxy::texts::refusal;
use crate::resp::args::Args;
use crate::resp::frame::{RequestLimits, RequestScanner, Scan};
use crate::testing::Random;

/// Lengths of values: none, short, longer than is kept together, longer than is copied, longer than a block.
const LENGTHS: [Option<usize>; 16] = [
    None,
    Some(0),
    Some(1),
    Some(9),
    Some(10),
    Some(100),
    Some(4085),
    Some(4086),
    Some(4097),
    Some(9000),
    Some(16_375),
    Some(16_376),
    Some(16_384),
    Some(33_000),
    Some(70_000),
    Some(200_000),
];

/// What a node says to any request that names the key `bad`.
const BAD: &str = "ERR bad";

/// The value of a key: `k<n>` or `k<n>{t}`, by its number.
fn value(key: &[u8]) -> Vec<u8> {
    let digits = key.iter().filter(|byte| byte.is_ascii_digit());
    let number = digits.fold(0, |number, byte| number * 10 + usize::from(byte - b'0'));
    let Some(len) = LENGTHS[number % LENGTHS.len()] else {
        return b"$-1\r\n".to_vec();
    };
    let mut random = Random::new(number as u64);
    let bytes = (0..len).map(|_| random.below(256) as u8);
    let mut reply = format!("${len}\r\n").into_bytes();
    reply.extend(bytes);
    reply.extend(b"\r\n");
    reply
}

/// What one server answers.
fn answer(args: &[Vec<u8>]) -> Vec<u8> {
    let stride = if args[0] == b"MSET" { 2 } else { 1 };
    let keys = || args[1..].iter().step_by(stride);
    if keys().any(|key| key == b"bad") {
        return format!("-{BAD}\r\n").into_bytes();
    }
    match &args[0][..] {
        b"GET" => value(&args[1]),
        b"SET" | b"MSET" => b"+OK\r\n".to_vec(),
        b"MGET" => {
            let mut reply = format!("*{}\r\n", args.len() - 1).into_bytes();
            keys().for_each(|key| reply.extend(value(key)));
            reply
        }
        _ => format!(":{}\r\n", args.len() - 1).into_bytes(),
    }
}

/// What the client hears of a proxy; and what it may hear instead if a connection breaks, which is no other thing of
/// what only reads: that is sent again.
fn expected(args: &[Vec<u8>]) -> [Vec<u8>; 2] {
    let stride = if args[0].ends_with(b"SET") { 2 } else { 1 };
    let keys = args[1..].iter().step_by(stride);
    let mut slots: Vec<_> = keys.map(|key| Slot::of(key)).collect();
    slots.sort_unstable_by_key(|slot| slot.number());
    slots.dedup();
    let write = matches!(&args[0][..], b"SET" | b"MSET" | b"DEL" | b"UNLINK");
    let reply = answer(args);
    if !write {
        return [reply.clone(), reply];
    }
    let front = match slots.len() {
        1 => "-",
        _ => "-ERR partial failure: ",
    };
    let lost = format!("{front}{}\r\n", refusal::LOST).into_bytes();
    if reply[0] == b'-' && slots.len() > 1 {
        return [format!("{front}{BAD}\r\n").into_bytes(), lost];
    }
    [reply, lost]
}

/// Takes from the front of `heard` the replies that are whole, which must be what is expected. Returns how many were
/// the other ones.
fn check(heard: &mut Vec<u8>, expected: &mut VecDeque<[Vec<u8>; 2]>) -> usize {
    let (mut taken, mut others) = (0, 0);
    while let Some([usual, other]) = expected.front() {
        let rest = &heard[taken..];
        let reply = if rest.starts_with(usual) {
            usual
        } else if rest.starts_with(other) {
            others += 1;
            other
        } else {
            let begun = usual.starts_with(rest) || other.starts_with(rest);
            let show =
                |bytes: &[u8]| String::from_utf8_lossy(&bytes[..bytes.len().min(90)]).into_owned();
            assert!(begun, "{:?} is not {:?}", show(rest), show(usual));
            break;
        };
        taken += reply.len();
        expected.pop_front();
    }
    heard.drain(..taken);
    assert!(!expected.is_empty() || heard.is_empty(), "a reply too many");
    others
}

fn encode(args: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", args.len()).into_bytes();
    for arg in args {
        bytes.extend(format!("${}\r\n", arg.len()).into_bytes());
        bytes.extend(arg);
        bytes.extend(b"\r\n");
    }
    bytes
}

/// One proxy, its client, and its nodes.
struct Twin {
    proxy: Proxy,
    client: ClientId,
    now: Time,
    /// What the client has written and the proxy has not read.
    unread: VecDeque<u8>,
    /// For each connection what has come from the proxy, and what is to go there.
    nodes: Vec<(BackendId, Vec<u8>, VecDeque<u8>)>,
    to_client: Vec<u8>,
    /// Whether nodes read nothing.
    deaf: bool,
}

const PING: &[u8] = b"*1\r\n$4\r\nPING\r\n";

impl Twin {
    fn new(plain: bool) -> Twin {
        let mut proxy = before_three_nodes(plain);
        let now = Time::from_micros(7);
        Twin {
            client: Twin::accept(&mut proxy, now),
            proxy,
            now,
            unread: VecDeque::new(),
            nodes: Vec::new(),
            to_client: Vec::new(),
            deaf: false,
        }
    }

    fn accept(proxy: &mut Proxy, now: Time) -> ClientId {
        proxy.accept(Some(SocketAddr::from(([127, 0, 0, 1], 1))), now)
    }

    /// Puts up to `count` bytes of `bytes` into a peer's room, as often as there is room.
    fn put(proxy: &mut Proxy, peer: Peer, bytes: &mut VecDeque<u8>, count: usize, now: Time) {
        let mut left = count.min(bytes.len());
        while left > 0 {
            let Some(room) = proxy.room(peer) else {
                return;
            };
            let step = left.min(room.spare().len());
            let own = bytes.drain(..step);
            own.zip(room.spare())
                .for_each(|(byte, place)| *place = byte);
            room.filled(step);
            left -= step;
            proxy.input(peer, step, now);
        }
    }

    fn request(&mut self, bytes: &[u8], cut: usize) {
        self.unread.extend(bytes);
        let all = self.unread.len();
        let peer = Peer::Client(self.client);
        Twin::put(&mut self.proxy, peer, &mut self.unread, cut, self.now);
        self.act();
        Twin::put(&mut self.proxy, peer, &mut self.unread, all, self.now);
        self.act();
    }

    /// `count` bytes more come from the node behind a connection.
    fn reply(&mut self, place: usize, count: usize) {
        let (id, _, bytes) = &mut self.nodes[place];
        Twin::put(&mut self.proxy, Peer::Backend(*id), bytes, count, self.now);
        self.act();
        let all = self.unread.len();
        let peer = Peer::Client(self.client);
        Twin::put(&mut self.proxy, peer, &mut self.unread, all, self.now);
        self.act();
    }

    /// A connection breaks. Returns whether that was in the middle of a large reply.
    fn cut(&mut self, place: usize) -> bool {
        let (id, ..) = self.nodes.remove(place);
        let backend = self.proxy.upstream.backends.get(id);
        let carries = backend.is_some_and(|backend| backend.large_reply.is_some());
        self.proxy.closed(Peer::Backend(id), self.now);
        self.act();
        carries
    }

    fn act(&mut self) {
        let now = self.now;
        self.proxy.begin_turn(self.now);
        while let Some(action) = next_action(&mut self.proxy) {
            match action {
                Action::Connect(id, _) => self.proxy.connected(id, now),
                Action::Flush(Peer::Backend(_)) if self.deaf => {}
                Action::Flush(peer) => self.flush(peer),
                Action::Resume(id) => {
                    self.proxy.resume(id, now);
                }
                _ => {}
            }
        }
        self.proxy.check();
    }

    fn flush(&mut self, peer: Peer) {
        let bytes = flushed(&mut self.proxy, peer, self.now);
        match peer {
            Peer::Client(id) if id == self.client => self.to_client.extend(bytes),
            Peer::Client(_) => {}
            Peer::Backend(id) => self.serve(id, &bytes),
        }
    }

    /// A node takes requests. The handshake it answers at once.
    fn serve(&mut self, id: BackendId, bytes: &[u8]) {
        if bytes == PING {
            let mut reply: VecDeque<u8> = b"+PONG\r\n".iter().copied().collect();
            return Twin::put(&mut self.proxy, Peer::Backend(id), &mut reply, 7, self.now);
        }
        let place = self.nodes.iter().position(|(own, ..)| *own == id);
        let place = place.unwrap_or_else(|| {
            self.nodes.push((id, Vec::new(), VecDeque::new()));
            self.nodes.len() - 1
        });
        let (_, input, output) = &mut self.nodes[place];
        input.extend(bytes);
        let limits = RequestLimits {
            bulk_bytes: 1 << 20,
            request_bytes: 16 << 20,
            inline_bytes: 1 << 16,
            authenticated: true,
            unauthenticated_args: 0,
            unauthenticated_bulk_bytes: 0,
        };
        let mut spans = Vec::new();
        while let Ok(Scan::Frame(len)) = RequestScanner::default().next(input, &limits, &mut spans)
        {
            let args = Args::new(&input[..len], &spans);
            let args: Vec<Vec<u8>> = args.from(0).map(<[u8]>::to_vec).collect();
            output.extend(answer(&args));
            input.drain(..len);
        }
    }

    /// Everything that is counted.
    fn counted(&mut self) -> String {
        let stats = self.proxy.stats.clone();
        self.proxy.turn_latencies.settle(&stats.calls, self.now);
        let nodes = self.proxy.upstream.nodes.iter().map(|(_, node)| {
            let mut totals = NodeTotals::default();
            totals.add(&node.stats);
            format!("{totals:?}\n")
        });
        let nodes: String = nodes.collect();
        let calls = of_commands(&[&stats.calls]);
        let calls: Vec<String> = calls.iter().map(|call| format!("{call:?}\n")).collect();
        let errors = of_errors(&[&stats.calls]);
        let (in_flight, until) = (self.proxy.upstream.in_flight, self.proxy.until_looked);
        let slow = self.proxy.insight.slow.count;
        let client = self.proxy.clients.get(self.client).expect("it is there");
        let bytes = (client.bytes_in, client.bytes_out);
        let values = stats.values();
        format!(
            "{values:?}\n{nodes}{}{errors:?} {in_flight} {until} {slow} {bytes:?}",
            calls.concat()
        )
    }
}

#[test]
fn parts_and_large_values_are_treated_as_on_the_general_path() {
    let mut twins = [Twin::new(true), Twin::new(false)];
    let mut numbers = Random::new(11);
    let mut random = |below: usize| numbers.below(below);
    let mut hears = VecDeque::new();
    let (mut cuts, mut lost, mut cut_at) = (0, 0, 0);
    for round in 0..1500 {
        // No request stands first on two connections that break: that one would be given up.
        if round % 20 == 0 {
            cut_at = round + random(19);
        }
        twins.iter_mut().for_each(|twin| {
            twin.now = Time::from_micros(twin.now.as_micros() + 1700);
        });
        let (mut requests, mut skip) = (Vec::new(), false);
        for _ in 0..random(6) {
            if !skip && random(12) == 0 {
                requests.extend(encode(&["CLIENT", "REPLY", "SKIP"].map(Vec::from)));
                skip = true;
            }
            let names = [
                "GET", "GET", "SET", "MGET", "MGET", "MSET", "DEL", "EXISTS", "UNLINK", "TOUCH",
            ];
            let name = names[random(names.len())];
            let count = if name.len() == 3 && name != "DEL" {
                1
            } else {
                let most = [7, 7, 7, 60][random(4)];
                1 + random(most)
            };
            let mut args = vec![name.into()];
            for _ in 0..count {
                let number = random(64);
                args.push(match random(60) {
                    0 => b"bad".to_vec(),
                    // Keys of one slot, which come in one part.
                    1..12 => format!("k{}{{t}}", number / 16).into_bytes(),
                    _ => format!("k{}", if random(3) > 0 { number & !8 } else { number })
                        .into_bytes(),
                });
                if matches!(name, "SET" | "MSET") {
                    let len = [3, 50, 5000, 16_000, 16_500, 40_000][random(6) * random(2)];
                    args.push(vec![b'v'; len]);
                }
            }
            requests.extend(encode(&args));
            if !std::mem::take(&mut skip) {
                hears.push_back(expected(&args));
            }
        }
        if skip {
            requests.extend(encode(&["GET", "k1"].map(Vec::from)));
        }
        let cut = random(requests.len() + 1);
        twins
            .iter_mut()
            .for_each(|twin| twin.request(&requests, cut));
        // Another who asks and leaves, before or while he is answered.
        let leaves = random(8) == 0;
        let others = twins.each_mut().map(|twin| {
            let id = Twin::accept(&mut twin.proxy, twin.now);
            if leaves {
                let mut bytes: VecDeque<u8> = encode(&["GET", "k14"].map(Vec::from)).into();
                let count = bytes.len();
                Twin::put(
                    &mut twin.proxy,
                    Peer::Client(id),
                    &mut bytes,
                    count,
                    twin.now,
                );
                twin.act();
            }
            id
        });
        let drained = round % 20 == 19;
        let steps = if drained { 0 } else { 1 + random(4) };
        for _ in 0..steps {
            let Some(last) = twins[0].nodes.len().checked_sub(1) else {
                break;
            };
            let place = random(last + 1);
            let most = twins[0].nodes[place].2.len();
            let count = [1, 40, 1448, 70_000, most][random(5)].min(most);
            twins.iter_mut().for_each(|twin| twin.reply(place, count));
        }
        if round == cut_at {
            let places = 0..twins[0].nodes.len();
            if let Some(place) = places.max_by_key(|place| twins[0].nodes[*place].2.len()) {
                let count = random(twins[0].nodes[place].2.len() + 1);
                twins.iter_mut().for_each(|twin| twin.reply(place, count));
                let [one, other] = twins.each_mut().map(|twin| twin.cut(place));
                assert_eq!(one, other);
                cuts += usize::from(one);
            }
        }
        for (twin, other) in twins.iter_mut().zip(others) {
            twin.proxy.closed(Peer::Client(other), twin.now);
            twin.act();
        }
        while drained && twins[0].nodes.iter().any(|(_, _, bytes)| !bytes.is_empty()) {
            for place in 0..twins[0].nodes.len() {
                let count = 1 + random(100_000);
                twins.iter_mut().for_each(|twin| twin.reply(place, count));
            }
        }
        let [plain, general] = &mut twins;
        assert!(plain.to_client == general.to_client, "round {round}");
        let same = |(one, other): (&(BackendId, Vec<u8>, VecDeque<u8>), &_)| one == other;
        assert!(
            plain.nodes.iter().zip(&general.nodes).all(same),
            "round {round}"
        );
        lost += check(&mut plain.to_client, &mut hears);
        general.to_client.clone_from(&plain.to_client);
        assert!(!drained || hears.is_empty(), "round {round}");
        let [one, other] = twins.each_mut().map(Twin::counted);
        assert!(one == other, "round {round}:\n{one}\n{other}");
    }
    let [plain, _] = twins;
    assert!(plain.proxy.stats().splits.get() > 1000);
    assert!(cuts > 10 && lost > 10, "{cuts} {lost}");
    assert!(plain.proxy.insight.slow.count > 100);
}

#[test]
fn a_large_reply_for_a_client_that_has_gone_is_dropped_as_it_comes() {
    let mut twin = Twin::new(true);
    let len = 4 << 20;
    let other = Twin::accept(&mut twin.proxy, twin.now);
    let mut bytes: VecDeque<u8> = encode(&["GET", "k1"].map(Vec::from)).into();
    let count = bytes.len();
    Twin::put(
        &mut twin.proxy,
        Peer::Client(other),
        &mut bytes,
        count,
        twin.now,
    );
    twin.act();
    // The node's value is a long one instead.
    let mut reply = format!("${len}\r\n").into_bytes();
    reply.resize(reply.len() + len, b'x');
    reply.extend(b"\r\n");
    twin.nodes[0].2 = reply.into();
    twin.reply(0, len / 4);
    twin.proxy.closed(Peer::Client(other), twin.now);
    twin.act();
    let id = twin.nodes[0].0;
    loop {
        twin.reply(0, 100_000);
        let backend = twin.proxy.upstream.backends.get(id).expect("it is there");
        let Some(large_reply) = &backend.large_reply else {
            break;
        };
        assert!(
            large_reply.storage_len() <= 256 << 10,
            "{}",
            large_reply.storage_len()
        );
    }
    // The connection goes on with whoever asks next.
    assert_eq!(twin.proxy.in_flight(), 0);
    twin.request(&encode(&["GET", "k1"].map(Vec::from)), 3);
    twin.reply(0, usize::MAX);
    assert_eq!(twin.to_client, value(b"k1"));
}

#[test]
fn a_reply_that_begins_before_anyone_asked_is_nobodys() {
    for surplus in ["$9\r\nsur", "$70000\r\nsur", "*2\r\n:1\r\n", ":1", "-ERR"] {
        let mut twin = Twin::new(true);
        let get = encode(&["GET", "k1"].map(Vec::from));
        twin.request(&get, 0);
        twin.reply(0, usize::MAX);
        assert_eq!(std::mem::take(&mut twin.to_client), value(b"k1"));
        twin.nodes[0].2.extend(surplus.bytes());
        twin.reply(0, usize::MAX);
        // Its end would be taken for the reply to this.
        twin.request(&get, 0);
        twin.nodes[0].2.extend(b"plus!!\r\n:2\r\n");
        for place in 0..twin.nodes.len() {
            twin.reply(place, usize::MAX);
        }
        assert_eq!(twin.to_client, value(b"k1"), "{surplus}");
    }
}

#[test]
fn requests_that_are_cut_wait_for_a_node_that_does_not_read() {
    for calm in [true, false] {
        let mut twin = Twin::new(true);
        twin.request(&encode(&["MGET", "k1", "k2", "k3"].map(Vec::from)), 0);
        (0..twin.nodes.len()).for_each(|place| twin.reply(place, usize::MAX));
        twin.to_client.clear();
        twin.deaf = true;
        let mut hears = Vec::new();
        if !calm {
            // As if the routes had changed behind it.
            twin.request(&encode(&["GET", "k9"].map(Vec::from)), 0);
            hears = value(b"k9");
            let client = twin.proxy.clients.get_mut(twin.client);
            client.expect("it is there").unsettle();
        }
        let long = "v".repeat(400_000);
        let request = encode(&["MSET", "k1", &long, "k2", &long, "k3", &long].map(Vec::from));
        let count = 50;
        twin.request(&request.repeat(count), 0);
        let unsent = |twin: &Twin| {
            let backends = twin.proxy.upstream.backends.iter();
            backends.map(|(_, own)| own.output.unsent_len()).max()
        };
        let most = twin.proxy.config().limits.backend_output_bytes + request.len();
        assert!(unsent(&twin) <= Some(most), "{:?}", unsent(&twin));
        assert!(!twin.unread.is_empty());
        twin.deaf = false;
        while !twin.unread.is_empty() || twin.proxy.in_flight() > 0 {
            for place in 0..twin.nodes.len() {
                twin.flush(Peer::Backend(twin.nodes[place].0));
                twin.reply(place, usize::MAX);
            }
        }
        hears.extend(b"+OK\r\n".repeat(count));
        assert!(twin.to_client == hears);
    }
}
