//! What the table says of the commands, beside what a real server says: COMMAND and its subcommands, byte for
//! byte but for the order in which a server lists what has none.

use crate::support::{Conn, Single};
use redis_cluster_proxy::command::describe::{Answer, Catalogue};
use redis_cluster_proxy::command::learn::learn;
use redis_cluster_proxy::command::{Known, Table};
use redis_cluster_proxy::resp::args::{Args, Span};
use redis_cluster_proxy::resp::encode::Protocol;
use redis_cluster_proxy::resp::reply::Reply;

/// The server's answer to a request.
fn ask(conn: &mut Conn, words: &[&str]) -> Vec<u8> {
    conn.send(Conn::encode(words));
    conn.read_frame()
}

/// The catalogue's answer to a request.
fn answer(catalogue: &Catalogue<'_>, words: &[&str]) -> (Answer, Vec<u8>) {
    let (mut frame, mut spans, mut out) = (Vec::new(), Vec::new(), Vec::new());
    for word in words {
        let (start, len) = (frame.len() as u32, word.len() as u32);
        frame.extend_from_slice(word.as_bytes());
        spans.push(Span { start, len });
    }
    let args = Args::new(&frame, &spans);
    let subcommand = args.at(1).to_ascii_lowercase();
    let answer = match subcommand.as_slice() {
        b"" => catalogue.all(&mut out),
        b"count" => catalogue.count(&mut out),
        b"info" => catalogue.info(args.from(2), args.len() - 2, &mut out),
        b"list" => catalogue.list(&args, &mut out),
        b"getkeys" => catalogue.keys(&args, false, &mut out),
        b"getkeysandflags" => catalogue.keys(&args, true, &mut out),
        other => panic!("{other:?}"),
    };
    (answer, out)
}

/// A reply with all that has no order in order: an entry and a map have one.
fn ordered(reply: &Reply<'_>) -> String {
    if !matches!(reply.kind(), b'*' | b'~' | b'%') {
        return String::from_utf8_lossy(reply.frame()).into_owned();
    }
    let mut items: Vec<String> = reply.items().map(|item| ordered(&item)).collect();
    let entry = items.len() == 10 && items[0].starts_with('$') && items[1].starts_with(':');
    if reply.kind() != b'%' && !entry {
        items.sort();
    }
    let kind = char::from(reply.kind());
    format!("{kind}{} {}", items.len(), items.concat())
}

/// What the server's reply to COMMAND teaches.
fn taught(table: &Table, server: &Single) -> Known {
    let learnt = learn(table, &ask(&mut server.conn(), &["COMMAND"])).unwrap();
    assert!(learnt.table.is_none(), "nothing of 7.0.15 is new");
    learnt.known
}

#[test]
fn the_catalogue_is_the_servers() {
    let (server, table) = (Single::start(), Table::compiled());
    let known = taught(&table, &server);
    assert_eq!(known.len(), 366);
    assert_eq!(known.described(), 0, "the table is 7.0.15's own");
    for protocol in [Protocol::Resp2, Protocol::Resp3] {
        let mut conn = server.conn();
        ask(&mut conn, &["HELLO", &protocol.version().to_string()]);
        let catalogue = Catalogue {
            table: &table,
            known: Some(&known),
            protocol,
        };
        for row in table.rows().iter().filter(|row| known.contains(row.id)) {
            let words = ["COMMAND", "INFO", &row.name];
            let (expected, (_, found)) = (ask(&mut conn, &words), answer(&catalogue, &words));
            assert_eq!(
                ordered(&Reply::new(&found)),
                ordered(&Reply::new(&expected)),
                "{words:?}"
            );
        }
        let mut wrong = Vec::new();
        for line in LINES {
            let words = line.split(' ');
            let words: Vec<&str> = words
                .map(|word| if word == "''" { "" } else { word })
                .collect();
            let (expected, (answer, found)) = (ask(&mut conn, &words), answer(&catalogue, &words));
            let (found, expected) = (
                ordered(&Reply::new(&found)),
                ordered(&Reply::new(&expected)),
            );
            if answer != Answer::Done || found != expected {
                wrong.push(format!("{line}\n  is  {found}\n  not {expected}"));
            }
        }
        assert!(wrong.is_empty(), "{protocol:?}\n{}", wrong.join("\n"));
    }
}

/// Requests that the catalogue answers as the server does.
const LINES: &[&str] = &[
    "COMMAND",
    "COMMAND COUNT",
    "COMMAND INFO",
    "COMMAND INFO get nope CONFIG|GET config|nope get|x json.get",
    "COMMAND LIST",
    "COMMAND LIST x",
    "COMMAND LIST FILTERBY",
    "COMMAND LIST FILTERBY PATTERN",
    "COMMAND LIST FILTERBY NOPE x",
    "COMMAND LIST FILTERBY PATTERN x y",
    "COMMAND LIST filterby pattern xre*",
    "COMMAND LIST FILTERBY PATTERN XRE*",
    "COMMAND LIST FILTERBY PATTERN *|get",
    "COMMAND LIST FILTERBY PATTERN [a-c]*[^dt]",
    "COMMAND LIST FILTERBY ACLCAT nope",
    "COMMAND LIST FILTERBY ACLCAT GEO",
    "COMMAND LIST FILTERBY ACLCAT slow",
    "COMMAND LIST FILTERBY ACLCAT search",
    "COMMAND LIST FILTERBY MODULE x",
    "COMMAND GETKEYS nope a",
    "COMMAND GETKEYS json.get a",
    "COMMAND GETKEYS ping a",
    "COMMAND GETKEYS mset a 1 b 2",
    "COMMAND GETKEYS mset a 1 b",
    "COMMAND GETKEYS eval s 1x a",
    "COMMAND GETKEYS zdiff 2.0 a b",
    "COMMAND GETKEYS lmpop -4294967295 a left",
    "COMMAND GETKEYS get a b",
    "COMMAND GETKEYS set a",
    "COMMAND GETKEYS object nope a",
    "COMMAND GETKEYS object encoding",
    "COMMAND GETKEYS config|get a",
    "COMMAND GETKEYS eval s 0",
    "COMMAND GETKEYS eval s 5 a",
    "COMMAND GETKEYS eval s -1 a",
    "COMMAND GETKEYS eval s x a",
    "COMMAND GETKEYS fcall f 2 a b c",
    "COMMAND GETKEYS spublish a b",
    "COMMAND GETKEYS ssubscribe a b",
    "COMMAND GETKEYS publish a b",
    "COMMAND GETKEYS zinter 0 a",
    "COMMAND GETKEYS zinter 9223372036854775807 a",
    "COMMAND GETKEYS zinter 3 a b",
    "COMMAND GETKEYS pfmerge d",
    "COMMAND GETKEYS pfmerge d a b",
    "COMMAND GETKEYS sdiffstore d a",
    "COMMAND GETKEYS bitop and d",
    "COMMAND GETKEYS bitop and d a b",
    "COMMAND GETKEYS blpop a b 0",
    "COMMAND GETKEYS xread streams a b 0",
    "COMMAND GETKEYS xread streams a b 0 0",
    "COMMAND GETKEYS xread count 1 stream a 0 0",
    "COMMAND GETKEYS xread count 1 block streams",
    "COMMAND GETKEYS migrate h 1 '' 0 10 keys a",
    "COMMAND GETKEYS memory usage a",
    "COMMAND GETKEYSANDFLAGS set a 1",
    "COMMAND GETKEYSANDFLAGS set a 1 ex 5 GET",
    "COMMAND GETKEYSANDFLAGS bitfield a",
    "COMMAND GETKEYSANDFLAGS bitfield a get u8 0 overflow sat get u8 1",
    "COMMAND GETKEYSANDFLAGS bitfield a set u8 0 1",
    "COMMAND GETKEYSANDFLAGS bitfield a get u8",
    "COMMAND GETKEYSANDFLAGS copy a b",
    "COMMAND GETKEYSANDFLAGS sort l",
    "COMMAND GETKEYSANDFLAGS sort l by w store d store e",
    "COMMAND GETKEYSANDFLAGS sort_ro l by w",
    "COMMAND GETKEYSANDFLAGS georadius g 1 1 1 m",
    "COMMAND GETKEYSANDFLAGS georadius g 1 1 1 m STORE a",
    "COMMAND GETKEYSANDFLAGS georadius g 1 1 1 m STORE a STOREDIST b",
    "COMMAND GETKEYSANDFLAGS georadiusbymember g m 1 m STOREDIST b",
    "COMMAND GETKEYSANDFLAGS migrate h 1 '' 0 10 keys a b",
    "COMMAND GETKEYSANDFLAGS migrate h 1 a 0 10",
    "COMMAND GETKEYSANDFLAGS zunionstore d 2 a b weights 1 2",
    "COMMAND GETKEYSANDFLAGS eval s 1 a",
    "COMMAND GETKEYSANDFLAGS xreadgroup group g c streams a >",
    "COMMAND GETKEYSANDFLAGS watch a b",
];
