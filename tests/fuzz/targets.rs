//! What is fuzzed, and what must hold for any bytes.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::sync::{Arc, LazyLock};

use fastrand::Rng;
use redis_cluster_proxy::acl::{Commands, Users};
use redis_cluster_proxy::cluster::view::View;
use redis_cluster_proxy::command::Table;
use redis_cluster_proxy::net::proxy_header::{self, Guard, Header};
use redis_cluster_proxy::options;
use redis_cluster_proxy::proxy::texts::refusal::Refusal;
use redis_cluster_proxy::resp::args::Args;
use redis_cluster_proxy::resp::encode::{self, Protocol};
use redis_cluster_proxy::resp::frame::{ProtocolError, RequestLimits, RequestScanner, Scan};
use redis_cluster_proxy::resp::inline;
use redis_cluster_proxy::resp::reply::Reply;
use redis_cluster_proxy::resp::reply_frame::ReplyScanner;
use redis_cluster_proxy::resp::value::Value;

use super::{Target, generate};

/// How many bytes come with one read when the cost is measured.
const READ: usize = 256;

pub const REQUESTS: Target = Target {
    name: "requests",
    generate: generate::requests,
    shapes: generate::REQUEST_SHAPES,
    check: |bytes, rng| {
        // Limits as they may be set at most, too: no sum of lengths is too large for its type then.
        let most = RequestLimits {
            bulk_bytes: usize::MAX,
            request_bytes: u32::MAX as usize,
            ..limits(true)
        };
        for limits in [limits(true), limits(false), most] {
            let whole = scan_requests(bytes, &[], &limits);
            let chopped = scan_requests(bytes, &cuts(rng, bytes.len()), &limits);
            compare(whole, chopped);
        }
    },
    work: |bytes| drop(scan_requests(bytes, &reads(bytes.len()), &limits(true))),
};

pub const REPLIES: Target = Target {
    name: "replies",
    generate: generate::replies,
    shapes: generate::REPLY_SHAPES,
    check: |bytes, rng| {
        for protocol in [Protocol::Resp2, Protocol::Resp3] {
            let whole = scan_replies(bytes, &[], protocol);
            let chopped = scan_replies(bytes, &cuts(rng, bytes.len()), protocol);
            compare(whole, chopped);
        }
        let read = Value::parse(bytes);
        assert!(!matches!(read, Ok(Some((_, len))) if len > bytes.len()));
    },
    work: |bytes| drop(scan_replies(bytes, &reads(bytes.len()), Protocol::Resp3)),
};

pub const INLINE: Target = Target {
    name: "inline",
    generate: generate::inline,
    shapes: generate::INLINE_SHAPES,
    check: |line, _| {
        let mut frame = Vec::new();
        let words = inline::split(line);
        let count = inline::to_multibulk(line, &mut frame);
        let Some(words) = words else {
            assert_eq!(
                (count, frame.len()),
                (Err(ProtocolError::UnbalancedQuotes), 0)
            );
            return;
        };
        assert_eq!(count, Ok(words.len()));
        // Nothing is smuggled: what a node sees is one request of these words.
        let (events, end) = scan_requests(&frame, &[], &limits(true));
        assert_eq!(end, End::Waits);
        match words.is_empty() {
            true => assert!(events.is_empty()),
            false => assert_eq!(events, [Event::Request(words)]),
        }
    },
    work: |line| {
        inline::to_multibulk(line, &mut Vec::new()).ok();
    },
};

pub const TOPOLOGY: Target = Target {
    name: "topology",
    generate: generate::topology,
    shapes: generate::TOPOLOGY_SHAPES,
    check: |bytes, _| read_topology(bytes),
    work: read_topology,
};

/// What nodes say instead of executing a request: redirects and other words, with hostile text in them.
pub const REFUSALS: Target = Target {
    name: "refusals",
    generate: generate::refusals,
    shapes: generate::REFUSAL_SHAPES,
    check: |text, _| check_refusal(text),
    work: read_refusal,
};

pub const FLAGS: Target = Target {
    name: "flags",
    generate: generate::flags,
    shapes: generate::FLAG_SHAPES,
    check: |bytes, _| read_flags(bytes),
    work: read_flags,
};

pub const ACL: Target = Target {
    name: "acl",
    generate: generate::acl,
    shapes: generate::ACL_SHAPES,
    check: |bytes, _| read_acl(bytes),
    work: read_acl,
};

pub const PROXY_HEADERS: Target = Target {
    name: "proxy-headers",
    generate: generate::proxy_headers,
    shapes: generate::PROXY_HEADER_SHAPES,
    check: |bytes, rng| check_proxy_header(bytes, rng),
    work: |bytes| {
        proxy_header::parse(bytes).ok();
    },
};

/// The first answer that is no "incomplete" stands, whatever comes next; it is given by all parts from there on, and
/// what must have no header is told of the same connections.
fn check_proxy_header(bytes: &[u8], rng: &mut Rng) {
    let whole = proxy_header::parse(bytes);
    if let Ok(Header::Whole { length, .. }) = whole {
        assert!(length <= bytes.len().min(proxy_header::LENGTH_MAX));
        assert_eq!(proxy_header::parse(&bytes[..length]), whole);
        assert_eq!(
            proxy_header::parse(&bytes[..length - 1]),
            Ok(Header::Incomplete)
        );
    }
    let cuts = cuts(rng, bytes.len().min(proxy_header::LENGTH_MAX + 1));
    let mut answers = cuts.iter().map(|cut| proxy_header::parse(&bytes[..*cut]));
    let first = answers.find(|answer| *answer != Ok(Header::Incomplete));
    assert!(
        first.is_none_or(|first| first == whole),
        "{first:?}, {whole:?}"
    );
    if bytes.len() >= proxy_header::LENGTH_MAX {
        assert_ne!(whole, Ok(Header::Incomplete));
    }
    let mut guard = Guard::default();
    let ends = cuts.iter().skip(1).copied().chain([bytes.len()]);
    let found = cuts
        .iter()
        .zip(ends)
        .any(|(from, to)| guard.finds(&bytes[*from..to]));
    let is_begun = bytes.starts_with(b"PROXY ") || bytes.starts_with(b"\r\n\r\n\0\r\nQUIT\n");
    assert_eq!(found, is_begun);
}

fn read_refusal(text: &[u8]) {
    std::hint::black_box(Refusal::parse(text));
    encode::error(&mut Vec::new(), text);
}

/// A redirect is believed if it is one to the letter, and whatever the text is, a client is told one error.
fn check_refusal(text: &[u8]) {
    if let Some(Refusal::Moved(slot, endpoint) | Refusal::Ask(slot, endpoint)) =
        Refusal::parse(text)
    {
        assert!(endpoint.bytes().all(|byte| byte.is_ascii_graphic()));
        let (host, port) = endpoint.rsplit_once(':').expect("a port");
        assert!(port.parse::<u16>().is_ok() && !host.contains(' '));
        let text = std::str::from_utf8(text).expect("text");
        let words: Vec<&str> = text.split(' ').collect();
        assert_eq!((words.len(), words[2]), (3, endpoint));
        assert_eq!(words[1].parse::<u16>(), Ok(slot.number()));
    }
    let mut frame = Vec::new();
    encode::error(&mut frame, text);
    for protocol in [Protocol::Resp2, Protocol::Resp3] {
        let found = scan_replies(&frame, &[], protocol);
        assert_eq!(found, (vec![Event::Reply(frame.clone())], End::Waits));
    }
}

/// What a parser found.
#[derive(Debug, PartialEq, Eq)]
enum Event {
    /// The arguments of a request.
    Request(Vec<Vec<u8>>),
    /// A whole reply.
    Reply(Vec<u8>),
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// It waits for more.
    Waits,
    /// The connection is closed.
    Error(ProtocolError),
}

type Found = (Vec<Event>, End);

/// Where bytes are cut: at every byte, or at some.
fn cuts(rng: &mut Rng, len: usize) -> Vec<usize> {
    let step = match rng.u8(..3) {
        0 => 1,
        1 => 2 + rng.usize(..16),
        _ => 1 + rng.usize(..=len),
    };
    (0..len).step_by(step).collect()
}

fn reads(len: usize) -> Vec<usize> {
    (0..len).step_by(READ).collect()
}

/// A line that is too long is told as soon as that is seen: how much of it has come then, the cuts decide. All other
/// answers are the same.
fn compare(whole: Found, chopped: Found) {
    let late = [
        ProtocolError::InlineTooBig,
        ProtocolError::CountTooBig,
        ProtocolError::BulkCountTooBig,
    ];
    if late.iter().any(|error| chopped.1 == End::Error(*error)) {
        assert!(whole.0.len() >= chopped.0.len());
        return assert_eq!(whole.0[..chopped.0.len()], chopped.0);
    }
    assert_eq!(whole, chopped);
}

/// The limits of requests by default.
pub fn limits(authenticated: bool) -> RequestLimits {
    RequestLimits {
        bulk_bytes: 512 << 20,
        request_bytes: 1 << 30,
        inline_bytes: 64 << 10,
        authenticated,
        unauthenticated_args: 10,
        unauthenticated_bulk_bytes: 16 << 10,
    }
}

fn scan_requests(bytes: &[u8], cuts: &[usize], limits: &RequestLimits) -> Found {
    let mut scanner = RequestScanner::default();
    let (mut events, mut spans, mut start) = (Vec::new(), Vec::new(), 0);
    for end in cuts.iter().copied().chain([bytes.len()]) {
        while start < end {
            let here = &bytes[start..end];
            let (event, len) = match scanner.next(here, limits, &mut spans) {
                Err(error) => return (events, End::Error(error)),
                Ok(Scan::Incomplete(missing)) => {
                    assert!(missing > 0);
                    break;
                }
                Ok(Scan::Nothing(len)) => (None, len),
                Ok(Scan::Frame(len)) => {
                    let args = Args::new(&here[..len], &spans);
                    let args = (0..args.len()).map(|index| args.at(index).to_vec());
                    (Some(args.collect()), len)
                }
                Ok(Scan::Inline(len)) => match inline::split(&here[..len]) {
                    None => return (events, End::Error(ProtocolError::UnbalancedQuotes)),
                    Some(words) => (Some(words).filter(|words| !words.is_empty()), len),
                },
            };
            assert!(len > 0 && len <= here.len());
            events.extend(event.map(Event::Request));
            start += len;
        }
    }
    (events, End::Waits)
}

fn scan_replies(bytes: &[u8], cuts: &[usize], protocol: Protocol) -> Found {
    let mut scanner = ReplyScanner::of(protocol);
    let (mut events, mut start) = (Vec::new(), 0);
    for end in cuts.iter().copied().chain([bytes.len()]) {
        while start < end {
            let here = &bytes[start..end];
            match scanner.next(here, 512 << 20) {
                Err(error) => return (events, End::Error(error)),
                Ok(Scan::Incomplete(missing)) => {
                    assert!(missing > 0 && scanner.scanned() <= here.len());
                    break;
                }
                Ok(Scan::Frame(len)) => {
                    let frame = &here[..len];
                    let reply = Reply::new(frame);
                    let items = reply.items().map(|item| item.frame().len()).sum::<usize>();
                    assert!(items <= len);
                    events.push(Event::Reply(frame.to_vec()));
                    start += len;
                }
                Ok(other) => panic!("a reply is {other:?}"),
            }
        }
    }
    (events, End::Waits)
}

fn read_topology(bytes: &[u8]) {
    let len = match Value::parse(bytes) {
        Ok(Some((_, len))) => len,
        _ => 0,
    };
    let reached = "127.0.0.1:7001".parse().expect("an address");
    drop(View::from_bytes(reached, &bytes[..len], &bytes[len..]));
}

fn read_flags(bytes: &[u8]) {
    let args = bytes.split(|byte| *byte == 0);
    let args = args.map(|arg| OsString::from_vec(arg.to_vec()));
    if let Err(error) = options::parse(args, |_| None) {
        assert!(!error.reason().trim().is_empty());
    }
}

fn read_acl(bytes: &[u8]) {
    static USERS: LazyLock<Users> = LazyLock::new(|| {
        let commands = Arc::new(Commands::new(Arc::new(Table::compiled()), None));
        Users::of_passwords([].into_iter(), commands)
    });
    let text = String::from_utf8_lossy(bytes);
    if let Err(errors) = USERS.parse(&text, "users.acl") {
        assert!(!errors.is_empty());
    }
}
