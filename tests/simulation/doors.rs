//! `Doors`: what nodes do with new connections that they do not serve: a node at `maxclients`, a sidecar that has lost
//! its node, a node that speaks TLS or wants a password. And what must then hold: no request leaves on such a
//! connection, and nobody connects in a storm.

use crate::random::Random;
use crate::resp;

/// What is done with one connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// It is told this, which may be nothing, and closed.
    Tells(&'static [u8]),
    /// The same, once it has sent something.
    TellsBehind(&'static [u8]),
    /// It is never told anything.
    Silent,
}

const LINES: &[&[u8]] = &[
    b"",
    b"",
    b"-ERR max number of clients reached\r\n",
    b"-ERR max number of clients + cluster connections reached\r\n",
    b"-DENIED Redis is running in protected mode\r\n",
    b"-ERR upstream is gone\r\n",
    b"-no upstream host\r\n",
    b"-LOADING Redis is loading the dataset in memory\r\n",
    b"\x15\x03\x01\x00\x02\x02\x28",
    b"HTTP/1.1 503 Service Unavailable\r\n\r\n",
];

impl Door {
    /// Any.
    pub fn any(random: &mut Random) -> Door {
        let line = *random.pick(LINES);
        match random.below(8) {
            0 => Door::Silent,
            1..4 => Door::Tells(line),
            _ => Door::TellsBehind(line),
        }
    }
}

/// Connections begun before the first is seen to fail, and some more.
const BURST: u64 = 100;
/// The least time between two of them later, in microseconds: the shortest back-off less its jitter.
const PACE: u64 = 37_500;

/// A node that serves no new connections.
#[derive(Debug, Clone, Copy)]
pub struct Shut {
    door: Door,
    until: u64,
    /// Since when connections are counted.
    since: u64,
    begun: u64,
}

/// The doors of all nodes.
#[derive(Debug, Default)]
pub struct Doors(Vec<Option<Shut>>);

impl Doors {
    /// All open.
    pub fn open(nodes: usize) -> Doors {
        Doors(vec![None; nodes])
    }

    /// A node serves no new connections for a while.
    pub fn shut(&mut self, node: usize, door: Door, now: u64, until: u64) {
        self.0[node] = Some(Shut {
            door,
            until,
            since: now,
            begun: 0,
        });
    }

    /// The proxy may have forgotten what it knows of nodes.
    pub fn count_anew(&mut self, now: u64) {
        for shut in self.0.iter_mut().flatten() {
            (shut.since, shut.begun) = (now, 0);
        }
    }

    /// What becomes of a new connection to a node, if it is not served. There must not be too many of them.
    pub fn met(&mut self, node: usize, now: u64) -> Option<Door> {
        let shut = self.0[node].as_mut().filter(|shut| now < shut.until)?;
        shut.begun += 1;
        let most = BURST + (now - shut.since) / PACE;
        assert!(
            shut.begun <= most,
            "{} connections to node {node} in {} us, and all were refused",
            shut.begun,
            now - shut.since
        );
        Some(shut.door)
    }
}

/// Takes whole requests from what a connection was sent that was not served: they must be handshake only.
pub fn check_sent(sent: &mut Vec<u8>) {
    while let Some((args, len)) = resp::take_request(sent) {
        let words: Vec<&[u8]> = args.iter().map(Vec::as_slice).collect();
        let is_handshake = matches!(
            words[..],
            [b"AUTH" | b"HELLO" | b"READONLY" | b"SELECT", ..]
                | [b"PING"]
                | [b"CLIENT", b"ID"]
                | [b"CLIENT", b"TRACKING", ..]
        );
        assert!(
            is_handshake,
            "{} was sent to a node that had not answered",
            args.join(&b' ').escape_ascii()
        );
        sent.drain(..len);
    }
}
