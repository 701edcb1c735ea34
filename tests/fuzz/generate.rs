//! Generators: shapes that cost much (many small elements, deep nests, long lines), shapes as clients and nodes send
//! them, and mutations of either.

use fastrand::Rng;

/// What is put into inputs: what parsers look for, and numbers at the ends of ranges.
const TOKENS: &[&[u8]] = &[
    b"\r\n",
    b"\r",
    b"\n",
    b"\0",
    b"*",
    b"$",
    b"-1",
    b"0",
    b"*0\r\n",
    b"*-1\r\n",
    b"$-1\r\n",
    b"$0\r\n\r\n",
    b"%1\r\n",
    b"|1\r\n",
    b">2\r\n",
    b"~1\r\n",
    b"_\r\n",
    b"#t\r\n",
    b",inf\r\n",
    b"(123\r\n",
    b"$?\r\n",
    b"*?\r\n",
    b";4\r\n",
    b".\r\n",
    b"2147483647",
    b"2147483648",
    b"4294967296",
    b"9223372036854775807",
    b"9223372036854775808",
    b"18446744073709551616",
    b"-9223372036854775808",
    b"\"",
    b"'",
    b"\\x0",
    b" ",
    b"\xff",
    b"=",
    b",",
    b":",
    b"@",
    b"[",
    b"]",
];

/// Changes an input in one of many ways; `other` is another that parts are taken from.
pub fn mutate(rng: &mut Rng, input: &mut Vec<u8>, other: &[u8]) {
    let at = rng.usize(..=input.len());
    let end = at + rng.usize(..=(input.len() - at).min(64));
    match rng.u8(..7) {
        0 if at < input.len() => input[at] = rng.u8(..),
        1 => drop(input.drain(at..end)),
        2 => {
            let part = input[at..end].to_vec();
            input.splice(at..at, part.repeat(rng.usize(1..4)));
        }
        3 => input.truncate(at),
        4 => {
            let from = rng.usize(..=other.len());
            input.splice(at..end, other[from..].iter().take(256).copied());
        }
        _ => {
            let token = TOKENS[rng.usize(..TOKENS.len())];
            input.splice(at..at, token.iter().copied());
        }
    }
}

/// This, until there are so many bytes.
fn repeated(part: &[u8], len: usize) -> Vec<u8> {
    part.repeat(len / part.len() + 1)
}

fn bytes(rng: &mut Rng, max: usize) -> Vec<u8> {
    let len = rng.usize(..=max);
    (0..len).map(|_| rng.u8(..)).collect()
}

fn bulk(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend(format!("${}\r\n", bytes.len()).bytes());
    out.extend(bytes);
    out.extend(b"\r\n");
}

pub fn multibulk(args: &[Vec<u8>], out: &mut Vec<u8>) {
    out.extend(format!("*{}\r\n", args.len()).bytes());
    args.iter().for_each(|arg| bulk(out, arg));
}

pub const REQUEST_SHAPES: usize = 9;

/// Requests.
pub fn requests(rng: &mut Rng, shape: usize, len: usize) -> Vec<u8> {
    match shape {
        // One of many empty arguments, many of one, many of none.
        0 => {
            let count = len / 6 + 1;
            let mut out = format!("*{count}\r\n").into_bytes();
            out.extend(b"$0\r\n\r\n".repeat(count));
            out
        }
        1 => repeated(b"*1\r\n$4\r\nPING\r\n", len),
        2 => repeated(b"*0\r\n", len),
        3 => repeated(b"\r\n", len),
        4 => repeated(b"PING\r\n", len),
        // One long argument, a long line of words, a line without an end.
        5 => {
            let mut out = Vec::new();
            multibulk(&[b"SET".to_vec(), b"k".to_vec(), vec![b'x'; len]], &mut out);
            out
        }
        6 => [repeated(b"a ", len), b"\r\n".to_vec()].concat(),
        7 => repeated(b"a", len),
        _ => {
            let mut out = Vec::new();
            while out.len() < len {
                let count = rng.usize(1..6);
                let args: Vec<Vec<u8>> = (0..count).map(|_| bytes(rng, 40)).collect();
                multibulk(&args, &mut out);
            }
            out
        }
    }
}

pub const REPLY_SHAPES: usize = 10;

/// Replies.
pub fn replies(rng: &mut Rng, shape: usize, len: usize) -> Vec<u8> {
    let count = len / 4 + 1;
    match shape {
        0 => [
            format!("*{count}\r\n").into_bytes(),
            b":1\r\n".repeat(count),
        ]
        .concat(),
        1 => repeated(b"+OK\r\n", len),
        2 => repeated(b"*0\r\n", len),
        // Nests: arrays, attributes, pushes, maps.
        3 => [repeated(b"*1\r\n", len), b":1\r\n".to_vec()].concat(),
        4 => [repeated(b"|1\r\n+a\r\n", len), b":1\r\n:1\r\n".to_vec()].concat(),
        5 => [repeated(b"%1\r\n+a\r\n", len), b":1\r\n".to_vec()].concat(),
        6 => repeated(b">2\r\n+a\r\n*0\r\n", len),
        7 => [b"+".to_vec(), vec![b'x'; len], b"\r\n".to_vec()].concat(),
        8 => {
            let mut out = Vec::new();
            bulk(&mut out, &vec![b'\r'; len]);
            out
        }
        _ => {
            let mut out = Vec::new();
            while out.len() < len {
                value(rng, &mut out, 4);
            }
            out
        }
    }
}

/// A value of any type.
fn value(rng: &mut Rng, out: &mut Vec<u8>, depth: usize) {
    let count = rng.usize(..5);
    match rng.u8(..if depth == 0 { 9 } else { 13 }) {
        0 => out.extend(b"+OK\r\n"),
        1 => out.extend(b"-ERR no\r\n"),
        2 => out.extend(format!(":{}\r\n", rng.i64(..)).bytes()),
        3 => out.extend(b"$-1\r\n"),
        4 => out.extend(b"_\r\n"),
        5 => out.extend(b",1.5\r\n"),
        6 => out.extend(b"#f\r\n"),
        7 => out.extend(b"=7\r\ntxt:abc\r\n"),
        8 => bulk(out, &bytes(rng, 60)),
        kind => {
            let kind = b"*~%|"[usize::from(kind) - 9];
            let each = if matches!(kind, b'%' | b'|') { 2 } else { 1 };
            out.push(kind);
            out.extend(format!("{count}\r\n").bytes());
            // An attribute is followed by what it belongs to.
            for _ in 0..count * each + usize::from(kind == b'|') {
                value(rng, out, depth - 1);
            }
        }
    }
}

pub const INLINE_SHAPES: usize = 6;

/// Lines of words.
pub fn inline(rng: &mut Rng, shape: usize, len: usize) -> Vec<u8> {
    match shape {
        0 => repeated(b"a ", len),
        1 => repeated(b"\"\" ", len),
        2 => [b"\"".to_vec(), repeated(b"\\x41", len), b"\"".to_vec()].concat(),
        3 => [b"'".to_vec(), repeated(b"\\'", len), b"'".to_vec()].concat(),
        4 => repeated(b" ", len),
        _ => {
            let mut line = Vec::new();
            while line.len() < len {
                match rng.u8(..5) {
                    0 => line.extend(b"\"a\\r\\n*1\\xff\" "),
                    1 => line.extend(b"'a\\'b' "),
                    2 => line.extend(bytes(rng, 8)),
                    _ => line.extend(b"word "),
                }
            }
            line
        }
    }
}

pub const TOPOLOGY_SHAPES: usize = 4;

/// The answer to CLUSTER SLOTS, and behind it that to CLUSTER NODES.
pub fn topology(rng: &mut Rng, shape: usize, len: usize) -> Vec<u8> {
    let count = (len / 200).clamp(1, 16_384);
    let id = |node: usize| format!("{node:040x}");
    let mut slots = format!("*{count}\r\n").into_bytes();
    let mut nodes = String::new();
    for node in 0..count {
        let (first, last) = (node * 16_384 / count, (node + 1) * 16_384 / count - 1);
        let port = 1024 + node % 60_000;
        slots.extend(format!("*3\r\n:{first}\r\n:{last}\r\n*3\r\n").bytes());
        bulk(&mut slots, b"10.0.0.1");
        slots.extend(format!(":{port}\r\n").bytes());
        bulk(&mut slots, id(node).as_bytes());
        let myself = if node == 0 { "myself," } else { "" };
        nodes += &format!(
            "{} 10.0.0.1:{port}@{} {myself}master - 0 0 {node} connected {first}-{last}",
            id(node),
            port + 1
        );
        match shape {
            1 => nodes += &format!(" [{first}->-{}]", id(rng.usize(..count))),
            2 => nodes += &" 1".repeat(rng.usize(..20)),
            _ => {}
        }
        nodes.push('\n');
    }
    if shape == 3 {
        // One long line.
        nodes += &format!("{} 10.0.0.1:1@2 master - 0 0 1 connected", id(count));
        nodes += &" 16383".repeat(len / 6);
    }
    bulk(&mut slots, nodes.as_bytes());
    slots
}

pub const REFUSAL_SHAPES: usize = 6;

/// Texts of errors that nodes give.
pub fn refusals(rng: &mut Rng, shape: usize, len: usize) -> Vec<u8> {
    const WORDS: &[&str] = &[
        "MOVED",
        "ASK",
        "TRYAGAIN",
        "CLUSTERDOWN",
        "LOADING",
        "ERR",
        "3999",
        "16384",
        "-1",
        "99999999999999999999",
        "127.0.0.1:7000",
        "[::1]:7000",
        ":7000",
        "?:0",
        "a:65536",
        "host\r\n+OK\r\n:1",
        "\u{202e}host:1",
        "Hash slot not served",
        " is loading the dataset in memory",
        "\r\n$-1\r\n",
    ];
    match shape {
        // A long host, many colons, many words, a long number.
        0 => [b"MOVED 1 ".to_vec(), vec![b'h'; len], b":7000".to_vec()].concat(),
        1 => [b"ASK 1 ".to_vec(), repeated(b":1", len)].concat(),
        2 => repeated(b"MOVED ", len),
        3 => [b"MOVED ".to_vec(), vec![b'0'; len], b" a:1".to_vec()].concat(),
        // Lines that would be replies of their own.
        4 => [b"MOVED 1 a:1".to_vec(), repeated(b"\r\n+OK", len)].concat(),
        _ => {
            let count = rng.usize(1..6);
            let words = (0..count).map(|_| WORDS[rng.usize(..WORDS.len())]);
            let text = words.collect::<Vec<_>>().join(" ");
            text.bytes().chain(bytes(rng, 3)).collect()
        }
    }
}

pub const FLAG_SHAPES: usize = 3;

/// Arguments of a command line, each ended by a NUL.
pub fn flags(rng: &mut Rng, shape: usize, len: usize) -> Vec<u8> {
    match shape {
        0 => [
            b"-startup-nodes\0".to_vec(),
            repeated(b"127.0.0.1:7001,", len),
        ]
        .concat(),
        1 => [b"-request-timeout\0".to_vec(), repeated(b"1h", len)].concat(),
        _ => {
            const VALUES: &[&str] = &[
                "1", "0", "-1", "1h", "64mb", "true", "a:1", "[::1]:1", "", "x",
            ];
            let mut out = Vec::new();
            while out.len() < len.min(2000) {
                let flags = redis_cluster_proxy::options::table::FLAGS;
                let flag = flags[rng.usize(..flags.len())].name;
                let value = VALUES[rng.usize(..VALUES.len())];
                out.extend(format!("-{flag}={value}\0").bytes());
            }
            out
        }
    }
}

pub const PROXY_HEADER_SHAPES: usize = 4;

/// A header of the PROXY protocol, and what is nearly one.
pub fn proxy_headers(rng: &mut Rng, shape: usize, len: usize) -> Vec<u8> {
    const START: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
    match shape {
        // A long line, a long body, which both are cut off somewhere.
        0 => [b"PROXY UNKNOWN ".to_vec(), vec![b'f'; len]].concat(),
        1 => {
            let length = (len.min(0xffff) as u16).to_be_bytes();
            [START, &[0x21, 0x11], &length, &vec![0; len]].concat()
        }
        2 => {
            let mut word = |words: &[&str]| words[rng.usize(..words.len())].to_string();
            let addresses = [
                "192.0.2.1",
                "::1",
                "2001:db8::ffff",
                "256.1.1.1",
                "",
                "1.1.1.01",
            ];
            let ports = ["0", "6379", "65535", "65536", "-1", "007"];
            let line = [
                word(&["TCP4", "TCP6", "UNKNOWN", "UDP4", ""]),
                word(&addresses),
                word(&addresses),
                word(&ports),
                word(&ports),
            ];
            format!(
                "PROXY {}{}PING\r\n",
                line.join(" "),
                word(&["\r\n", "\n", ""])
            )
            .into_bytes()
        }
        _ => {
            let family = [0, 0x11, 0x12, 0x21, 0x31, 0x41, 0x13][rng.usize(..7)];
            let command = [0x20, 0x21, 0x22, 0x11][rng.usize(..4)];
            let body = vec![rng.u8(..); rng.usize(..300)];
            let length = body.len().saturating_sub(rng.usize(..3)) as u16;
            [START, &[command, family], &length.to_be_bytes(), &body].concat()
        }
    }
}

#[cfg(feature = "tls")]
pub const TLS_SHAPES: usize = 4;

/// What is sent through TLS, or in its place. The first byte says how large the records are whose cost is measured.
#[cfg(feature = "tls")]
pub fn tls(rng: &mut Rng, shape: usize, len: usize) -> Vec<u8> {
    match shape {
        // A byte costs a hundred times as much in a record of its own.
        0 => repeated(b"1", len / 64),
        1 => repeated(b"c", len / 8),
        2 => repeated(b"*1\r\n$4\r\nPING\r\n", len),
        // Records, as far as their heads say.
        _ => {
            let mut out = Vec::new();
            while out.len() < len {
                let (kind, size) = (20 + rng.u8(..6), rng.u16(..) >> rng.u8(..16));
                out.extend([kind, 3, rng.u8(..5)]);
                out.extend(size.to_be_bytes());
                out.extend(bytes(rng, usize::from(size).min(len)));
            }
            out
        }
    }
}

pub const ACL_SHAPES: usize = 4;

/// Lines of an ACL file.
pub fn acl(rng: &mut Rng, shape: usize, len: usize) -> Vec<u8> {
    const RULES: &[&str] = &[
        "on",
        "off",
        ">secret",
        "nopass",
        "~a*",
        "%R~b*",
        "allkeys",
        "&c*",
        "+@all",
        "-@all",
        "+get",
        "-client|list",
        "+@read",
        "(~x +get)",
        "resetkeys",
        "reset",
        "clearselectors",
        "#00",
        "+nosuch",
    ];
    match shape {
        // Many users, many selectors of one, one long rule.
        0 => {
            let user = |n| format!("user u{n} on >p ~k* +@read\n");
            (0..len / 28 + 1).map(user).collect::<String>().into_bytes()
        }
        1 => [
            b"user a on".to_vec(),
            repeated(b" (~x +get)", len.min(40_000)),
        ]
        .concat(),
        2 => [b"user a on ~".to_vec(), vec![b'*'; len]].concat(),
        _ => {
            let mut out = String::new();
            while out.len() < len.min(40_000) {
                out += &format!("user u{} ", rng.usize(..100));
                for _ in 0..rng.usize(..8) {
                    out += RULES[rng.usize(..RULES.len())];
                    out.push(' ');
                }
                out.push('\n');
            }
            out.into_bytes()
        }
    }
}
