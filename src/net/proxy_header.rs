//! The header of the PROXY protocol, versions 1 and 2, by which a load balancer says who its client is.
//!
//! It is parsed from the first bytes of a connection, which may end anywhere: each answer but [`Header::Incomplete`] is
//! final. What stands behind the addresses of version 2 (TLVs) is skipped, a checksum among it too.
//!
//! It must never know who may send a header.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str;

/// The longest header that is taken, in bytes. Addresses need 232 at most; the rest are TLVs.
pub const LENGTH_MAX: usize = 4096;

/// The longest header of version 1, with its line end.
const LINE_MAX: usize = 107;

/// How a header of version 1 begins.
const TEXT_START: &[u8] = b"PROXY ";

/// How a header of version 2 begins.
const BINARY_START: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// The bytes of version 2 before the addresses.
const FIXED: usize = 16;

/// What the first bytes of a connection are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Header {
    /// The beginning of a header.
    Incomplete,
    /// A whole header.
    Whole {
        /// Its bytes.
        length: usize,
        /// The client's address. Without it the client is who sent the header: a load balancer that checks whether we
        /// are alive, or one that does not know.
        client: Option<SocketAddr>,
    },
}

/// Parses the first bytes of a connection. Anything but a header, and the beginning of one, is an error.
pub fn parse(bytes: &[u8]) -> Result<Header, &'static str> {
    match start(bytes) {
        Start::Text => text(bytes),
        Start::Binary => binary(bytes),
        Start::Unclear => Ok(Header::Incomplete),
        Start::Other => Err("it does not begin with a header"),
    }
}

/// What some first bytes begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Start {
    Text,
    Binary,
    Unclear,
    Other,
}

fn start(bytes: &[u8]) -> Start {
    if bytes.starts_with(TEXT_START) {
        Start::Text
    } else if bytes.starts_with(BINARY_START) {
        Start::Binary
    } else if TEXT_START.starts_with(bytes) || BINARY_START.starts_with(bytes) {
        Start::Unclear
    } else {
        Start::Other
    }
}

/// `PROXY TCP4 192.0.2.1 192.0.2.2 51234 6379` and a line end.
fn text(bytes: &[u8]) -> Result<Header, &'static str> {
    let seen = &bytes[..bytes.len().min(LINE_MAX)];
    let Some(end) = memchr::memchr(b'\n', seen) else {
        return match seen.len() {
            LINE_MAX => Err("the line is longer than 107 bytes"),
            _ => Ok(Header::Incomplete),
        };
    };
    let line = seen[TEXT_START.len()..end].strip_suffix(b"\r");
    let line = line.and_then(|line| str::from_utf8(line).ok());
    let line = line.ok_or("the line is not text that ends with CR LF")?;
    let client = match line.split_once(' ') {
        None if line == "UNKNOWN" => None,
        // What stands behind is to be ignored.
        Some(("UNKNOWN", _)) => None,
        Some(("TCP4", rest)) => Some(addresses::<Ipv4Addr>(rest)?),
        Some(("TCP6", rest)) => Some(addresses::<Ipv6Addr>(rest)?),
        _ => return Err("the protocol is none of TCP4, TCP6 and UNKNOWN"),
    };
    Ok(Header::Whole {
        length: end + 1,
        client,
    })
}

/// Source, destination, and the port of each: returns the source.
fn addresses<A: str::FromStr + Into<IpAddr>>(text: &str) -> Result<SocketAddr, &'static str> {
    let mut words = text.split(' ');
    let mut next = || words.next().unwrap_or_default();
    let (source, destination) = (next().parse::<A>(), next().parse::<A>());
    let (port, other) = (port(next()), port(next()));
    let is_end = words.next().is_none();
    match (source, destination, port, other) {
        (Ok(source), Ok(_), Some(port), Some(_)) if is_end => {
            Ok(SocketAddr::new(source.into(), port))
        }
        _ => Err("the line does not have two addresses and two ports"),
    }
}

fn port(text: &str) -> Option<u16> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    let is_plain = is_number && (text.len() == 1 || !text.starts_with('0'));
    text.parse().ok().filter(|_| is_plain)
}

/// Twelve bytes as a mark; version and command; family and transport; the length of what follows: addresses, then TLVs.
fn binary(bytes: &[u8]) -> Result<Header, &'static str> {
    let byte = |at: usize| bytes.get(at).copied();
    let is_local = match byte(12) {
        None => return Ok(Header::Incomplete),
        Some(0x20) => true,
        Some(0x21) => false,
        Some(_) => return Err("version or command is unknown"),
    };
    let (Some(family), Some(high), Some(low)) = (byte(13), byte(14), byte(15)) else {
        return Ok(Header::Incomplete);
    };
    let length = FIXED + usize::from(u16::from_be_bytes([high, low]));
    if length > LENGTH_MAX {
        return Err("it is longer than 4096 bytes");
    }
    let needed = match (family >> 4, family & 15) {
        // The family of a connection of the load balancer's own says nothing.
        _ if is_local => 0,
        (0, 0..=2) => 0,
        (1, 0..=2) => 12,
        (2, 0..=2) => 36,
        (3, 0..=2) => 216,
        _ => return Err("the address family or the transport is unknown"),
    };
    if length < FIXED + needed {
        return Err("it is too short for its addresses");
    }
    let Some(body) = bytes.get(FIXED..length) else {
        return Ok(Header::Incomplete);
    };
    Ok(Header::Whole {
        length,
        client: match family {
            _ if is_local => None,
            0x11 => source(body, 4, 8),
            0x21 => source(body, 16, 32),
            // A path at the load balancer's host, or datagrams: no address that a client of ours has.
            _ => None,
        },
    })
}

/// The source: its address stands first, `bytes` long; its port at `port`.
fn source(body: &[u8], bytes: usize, port: usize) -> Option<SocketAddr> {
    let address = body.get(..bytes)?;
    let ip = match <[u8; 4]>::try_from(address) {
        Ok(four) => IpAddr::from(four),
        Err(_) => IpAddr::from(<[u8; 16]>::try_from(address).ok()?),
    };
    let port = <[u8; 2]>::try_from(body.get(port..port + 2)?).ok()?;
    Some(SocketAddr::new(ip, u16::from_be_bytes(port)))
}

/// Notices a header at the beginning of a connection that must not have one, in pieces as they come.
#[derive(Debug, Default)]
pub struct Guard {
    /// The first bytes, while they may begin a header.
    seen: Vec<u8>,
    /// Whether they began none.
    settled: bool,
}

impl Guard {
    /// Looks at what came next; whether the connection has begun with a header.
    pub fn finds(&mut self, bytes: &[u8]) -> bool {
        if self.settled {
            return false;
        }
        let room = BINARY_START.len() - self.seen.len();
        self.seen.extend_from_slice(&bytes[..bytes.len().min(room)]);
        let start = start(&self.seen);
        self.settled = start == Start::Other;
        if self.settled {
            self.seen = Vec::new();
        }
        matches!(start, Start::Text | Start::Binary)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A header of version 2.
    fn binary(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let length = (body.len() as u16).to_be_bytes();
        [BINARY_START, &[command, family], &length, body].concat()
    }

    /// All of it is a header of this client, and no part of it is anything but its beginning.
    fn check(header: &[u8], client: Option<&str>) {
        let client = client.map(|text| text.parse().expect("an address"));
        let length = header.len();
        let whole = Ok(Header::Whole { length, client });
        for count in 0..length {
            assert_eq!(parse(&header[..count]), Ok(Header::Incomplete), "{count}");
        }
        assert_eq!(parse(header), whole, "{header:?}");
        assert_eq!(parse(&[header, b"PROXY \n\0"].concat()), whole);
    }

    fn check_bad(header: &[u8], reason: &str) {
        let refused = parse(header).expect_err(reason);
        assert!(refused.contains(reason), "{refused} of {header:?}");
    }

    #[test]
    fn version_1_says_who_the_client_is() {
        let longest = format!("PROXY UNKNOWN {}\r\n", "f".repeat(LINE_MAX - 16));
        for (header, client) in [
            (
                "PROXY TCP4 192.0.2.1 192.0.2.2 51234 6379\r\n",
                Some("192.0.2.1:51234"),
            ),
            (
                "PROXY TCP4 255.255.255.255 0.0.0.0 65535 0\r\n",
                Some("255.255.255.255:65535"),
            ),
            (
                "PROXY TCP6 2001:db8::1 ::1 1 2\r\n",
                Some("[2001:db8::1]:1"),
            ),
            ("PROXY UNKNOWN\r\n", None),
            ("PROXY UNKNOWN what ever\r\n", None),
            (longest.as_str(), None),
        ] {
            check(header.as_bytes(), client);
        }
    }

    #[test]
    fn version_1_is_refused_when_it_is_wrong() {
        let long = [b"PROXY UNKNOWN ", &[b'f'; LINE_MAX][..]].concat();
        check_bad(&long, "longer than 107 bytes");
        let long = format!("PROXY UNKNOWN {}\r\n", "f".repeat(LINE_MAX - 15));
        check_bad(long.as_bytes(), "longer than 107 bytes");
        for line in ["PROXY UNKNOWN\n", "PROXY \n", "PROXY TCP4 \u{7}\n"] {
            check_bad(line.as_bytes(), "ends with CR LF");
        }
        check_bad(b"PROXY UNKNOWN \xff\r\n", "not text");
        for protocol in [
            "", "TCP", "TCP5 ", "tcp4 ", "UNKNOWNS", " TCP4 ", "TCP4", "UDP4 ",
        ] {
            let line = format!("PROXY {protocol}\r\n");
            check_bad(line.as_bytes(), "none of TCP4");
        }
        for rest in [
            "TCP4 ",
            "TCP4 1.1.1.1 2.2.2.2 1",
            "TCP4 1.1.1.1 2.2.2.2 1 ",
            "TCP4 1.1.1.1 2.2.2.2 1 2 ",
            "TCP4 1.1.1.1 2.2.2.2 1 2 3",
            "TCP4 1.1.1.1  2.2.2.2 1 2",
            "TCP4 1.1.1.1 2.2.2.2 01 2",
            "TCP4 1.1.1.1 2.2.2.2 +1 2",
            "TCP4 1.1.1.1 2.2.2.2 1 65536",
            "TCP4 1.1.1 2.2.2.2 1 2",
            "TCP4 ::1 ::1 1 2",
            "TCP6 1.1.1.1 2.2.2.2 1 2",
            "TCP4 1.1.1.1 ::1 1 2",
        ] {
            let line = format!("PROXY {rest}\r\n");
            check_bad(line.as_bytes(), "two addresses and two ports");
        }
    }

    #[test]
    fn version_2_says_who_the_client_is() {
        let four = [192, 0, 2, 1, 192, 0, 2, 2, 0xc8, 0x22, 0x18, 0xeb];
        check(&binary(0x21, 0x11, &four), Some("192.0.2.1:51234"));
        let tlv = [&four[..], &[0x04, 0, 2, 0, 0]].concat();
        check(&binary(0x21, 0x11, &tlv), Some("192.0.2.1:51234"));
        let mut six = [0; 36];
        (six[0], six[1], six[15], six[33]) = (0x20, 0x01, 1, 7);
        check(&binary(0x21, 0x21, &six), Some("[2001::1]:7"));
        let most = vec![0; LENGTH_MAX - FIXED];
        check(&binary(0x21, 0x11, &most), Some("0.0.0.0:0"));
        // No address of a client: not known, a path, datagrams; and the load balancer's own connections.
        check(&binary(0x21, 0x00, &[]), None);
        check(&binary(0x21, 0x00, &[1, 2, 3]), None);
        check(&binary(0x21, 0x31, &[b'/'; 216]), None);
        check(&binary(0x21, 0x12, &four), None);
        for family in [0, 0x11, 0xff] {
            check(&binary(0x20, family, &[]), None);
            check(&binary(0x20, family, &four), None);
        }
    }

    #[test]
    fn version_2_is_refused_when_it_is_wrong() {
        for command in [0x11, 0x22, 0x2f, 0x00, 0x31] {
            check_bad(&[BINARY_START, &[command]].concat(), "version or command");
        }
        for family in [0x13, 0x41, 0xff, 0x0f] {
            check_bad(&binary(0x21, family, &[0; 300]), "family or the transport");
        }
        for (family, needed) in [(0x11, 12), (0x12, 12), (0x21, 36), (0x31, 216)] {
            let body = vec![0; needed - 1];
            check_bad(&binary(0x21, family, &body), "too short");
        }
        let long = binary(0x21, 0x11, &vec![0; LENGTH_MAX - FIXED + 1]);
        // Before any of it has come.
        check_bad(&long[..FIXED], "longer than 4096 bytes");
        check_bad(
            &[BINARY_START, &[0x20, 0, 0xff, 0xff]].concat(),
            "longer than",
        );
    }

    #[test]
    fn anything_else_is_refused_at_its_first_wrong_byte() {
        assert_eq!(parse(b""), Ok(Header::Incomplete));
        for other in [
            "*1\r\n",
            "PING\r\n",
            "PROXY\t",
            "proxy ",
            "\r\n\r\n\r",
            "\n",
            "\x16\x03\x01",
        ] {
            check_bad(other.as_bytes(), "does not begin");
        }
    }

    #[test]
    fn a_guard_finds_a_header_however_it_comes_and_nothing_else() {
        let found = |bytes: &[u8], step: usize| {
            let mut guard = Guard::default();
            bytes.chunks(step).any(|piece| guard.finds(piece))
        };
        for step in 1..20 {
            assert!(found(b"PROXY TCP4 1.1.1.1", step));
            assert!(found(&binary(0x21, 0x00, &[]), step));
            for other in [
                "PING\r\nPROXY TCP4 ",
                "*1\r\n$4\r\nPING\r\n",
                "\r\n\r\n",
                "PROX",
                "\r\nPROXY UNKNOWN\r\n",
                "PROXY\r\n",
            ] {
                assert!(!found(other.as_bytes(), step), "{other:?}");
            }
        }
    }
}
