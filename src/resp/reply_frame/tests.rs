//! Tests of `resp::reply_frame`.

use super::*;
use crate::resp::reply::Reply;
use crate::testing::Random;

/// What the scanner finds in `bytes` when they come in pieces of these lengths and what it has scanned is taken
/// away after each: the frames' ends and kinds. Of a frame no more than a number line stays in memory.
fn streamed(
    bytes: &[u8],
    mut piece: impl FnMut() -> usize,
) -> Result<Vec<(usize, u8)>, ProtocolError> {
    let (mut scanner, mut found) = (ReplyScanner::default(), Vec::new());
    let (mut from, mut to) = (0, 0);
    loop {
        match scanner.next(&bytes[from..to], 512 << 20)? {
            Scan::Frame(len) => {
                from += len;
                found.push((from, scanner.kind()));
                continue;
            }
            Scan::Incomplete(missing) => assert!(missing > 0),
            other => panic!("{other:?}"),
        }
        from += scanner.scanned();
        scanner.consumed(scanner.scanned());
        assert!(to - from <= NUMBER_LINE_MAX, "{} bytes are kept", to - from);
        if to == bytes.len() {
            return Ok(found);
        }
        to = (to + piece()).min(bytes.len());
    }
}

/// A reply of this many values or a few more, of all kinds and nested.
fn grown(values: usize, random: &mut Random) -> Vec<u8> {
    let mut out = Vec::new();
    let mut left = values;
    out.extend(format!("*{values}\r\n").bytes());
    while left > 0 {
        left -= 1;
        let text = "x\r\ny".repeat(random.below(4) * random.below(4) * random.below(30));
        let line = text.replace(['\r', '\n'], "");
        let piece = match random.below(15) {
            0 => format!("+{line}\r\n"),
            1 => format!("-ERR {line}\r\n"),
            2 => format!(":-{}\r\n", random.below(1 << 40)),
            3 => ",1.5\r\n".to_string(),
            4 => "#t\r\n".to_string(),
            5 => format!("({}\r\n", "7".repeat(1 + random.below(90))),
            6 => "_\r\n".to_string(),
            7 => "$-1\r\n".to_string(),
            8 => ["*-1\r\n", "*0\r\n", "%0\r\n", "~0\r\n"][random.below(4)].to_string(),
            9 => format!("={}\r\ntxt:{text}\r\n", text.len() + 4),
            10 => {
                left += 2;
                "%1\r\n".to_string()
            }
            11 => {
                left += 3;
                "|1\r\n".to_string()
            }
            // Some of one length, as in most lists.
            12 => {
                let more = random.below(5).min(left);
                left -= more;
                let text = &"x\r\ny".repeat(25)[..random.below(101)];
                format!("${}\r\n{text}\r\n", text.len()).repeat(1 + more)
            }
            _ => format!("${}\r\n{text}\r\n", text.len()),
        };
        out.extend(piece.bytes());
    }
    out
}

#[test]
fn a_reply_is_found_in_pieces_that_are_taken_away() {
    let mut random = Random::new(11);
    for round in 0..60 {
        let one = grown([3, 30, 3000][round % 3], &mut random);
        let attribute = b"|1\r\n+a\r\n*2\r\n:1\r\n+b\r\n";
        let all = [&one[..], b":1\r\n", attribute, &one, b"$-1\r\n"].concat();
        let second = one.len() + 4;
        let third = second + attribute.len() + one.len();
        let ends = [
            (one.len(), b'*'),
            (second, b':'),
            (third, b'*'),
            (third + 5, b'$'),
        ];
        for step in [1, 2, 3, 31, 1448, all.len()] {
            assert_eq!(
                streamed(&all, || step).as_deref(),
                Ok(&ends[..]),
                "by {step}"
            );
        }
        let pieces = streamed(&all, || 1 + random.below(200));
        assert_eq!(pieces.as_deref(), Ok(&ends[..]));
    }
}

#[test]
fn a_reply_that_is_cut_anywhere_is_found() {
    let mut random = Random::new(12);
    for _ in 0..40 {
        let one = grown(6, &mut random);
        for cut in 0..one.len() {
            let mut lengths = [cut, one.len()].into_iter();
            let found = streamed(&one, || lengths.next().unwrap());
            assert_eq!(found, Ok(vec![(one.len(), b'*')]), "cut at {cut}");
        }
    }
}

#[test]
fn whole_values_are_known_wherever_a_reply_stops() {
    let mut random = Random::new(13);
    for round in 0..200 {
        let one = grown([6, 60, 600][round % 3], &mut random);
        let values = Reply::new(&one).items();
        // Behind the head, and behind each value with its attributes.
        let mut ends = vec![one.len() - values.rest().len()];
        for value in values {
            ends.push(ends[ends.len() - 1] + value.frame().len());
        }
        assert_eq!(ends.last(), Some(&one.len()));
        let (mut scanner, mut from, mut to) = (ReplyScanner::default(), 0, 0);
        while to < one.len() {
            to = (to + 1 + random.below([3, 40, 3000][round / 3 % 3])).min(one.len());
            let scan = scanner.next(&one[from..to], 512 << 20);
            if scan == Ok(Scan::Frame(to - from)) {
                break;
            }
            assert!(matches!(scan, Ok(Scan::Incomplete(_))));
            let mut before = ends.iter().filter(|end| **end <= from + scanner.scanned());
            let known = from + scanner.whole_values();
            // What was taken away is not told of again.
            assert_eq!(before.next_back().copied().unwrap_or(0).max(from), known);
            let taken = [0, scanner.whole_values(), scanner.scanned()][random.below(3)];
            scanner.consumed(taken);
            from += taken;
        }
        assert_eq!(to, one.len());
    }
}

#[test]
fn each_byte_of_a_long_line_is_looked_at_once() {
    // Were the line looked at from its start for each piece, this would take minutes.
    let line = [b"+", &vec![b'x'; 16 << 20][..], b"\r\n"].concat();
    let (mut scanner, mut to, mut steps) = (ReplyScanner::default(), 0, 0);
    while to < line.len() {
        let before = scanner.scanned();
        to = (to + 64).min(line.len());
        match scanner.next(&line[..to], 512 << 20) {
            Ok(Scan::Incomplete(1)) => assert!(scanner.scanned() >= before + 62),
            other => assert_eq!(other, Ok(Scan::Frame(line.len()))),
        }
        steps += 1;
    }
    assert_eq!(steps, line.len().div_ceil(64));
}

#[test]
fn nonsense_is_refused_however_it_is_cut() {
    for bad in [
        &b"*2\r\n:\r\n"[..],
        b"*1\r\n:1x\r\n",
        b"*3\r\n$5\r\nhelloXX",
        b"*1\r\n$5\r\nhello\rX",
        b"*1\r\n+OK\n",
        b"*1\r\n+O\r\r\n+\n",
        b"+\n",
        b"*1\r\nx",
        b"+O\rK\r\n",
        b"-ERR a\r+OK\r\n",
        b"-ERR a\n\r\n",
        b"+\r\r\n",
        b":1\r2\r\n",
        b",1\r.5\r\n",
        b"*2\r\n+a\r\n+b\rc\r\n",
        b"%1\r\n+a\r\n%-1\r\n",
        b":11111111111111111111111111111111111",
        b":11111111111111111111111111111111111\r\n",
        b"*11111111111111111111111111111111111",
    ] {
        let bad = [bad, b"\r\n*0\r\n"].concat();
        for step in [1, 2, 3, bad.len()] {
            assert_eq!(
                streamed(&bad, || step),
                Err(ProtocolError::Reply),
                "{} by {step}",
                bad.escape_ascii()
            );
        }
    }
}

fn replies(bytes: &[u8], step: usize) -> Result<Vec<Vec<u8>>, ProtocolError> {
    let (mut scanner, mut found) = (ReplyScanner::default(), Vec::new());
    let (mut from, mut to) = (0, 0);
    loop {
        match scanner.next(&bytes[from..to], 512 << 20)? {
            Scan::Frame(len) => {
                found.push(bytes[from..from + len].to_vec());
                from += len;
            }
            _ if to == bytes.len() => return Ok(found),
            _ => to = (to + step).min(bytes.len()),
        }
    }
}

#[test]
fn a_connection_of_resp2_has_no_types_of_resp3() {
    let types: [(&[u8], bool); 16] = [
        (b"+OK\r\n", true),
        (b"-ERR\r\n", true),
        (b":1\r\n", true),
        (b"$1\r\na\r\n", true),
        (b"$-1\r\n", true),
        (b"*1\r\n:1\r\n", true),
        (b"_\r\n", false),
        (b",1.5\r\n", false),
        (b"#t\r\n", false),
        (b"(1\r\n", false),
        (b"!3\r\nERR\r\n", false),
        (b"=5\r\ntxt:a\r\n", false),
        (b"~1\r\n:1\r\n", false),
        (b"%1\r\n:1\r\n:1\r\n", false),
        (b">1\r\n:1\r\n", false),
        (b"|1\r\n:1\r\n:1\r\n:1\r\n", false),
    ];
    for (reply, in_resp2) in types {
        let inside = [b"*1\r\n", reply].concat();
        for bytes in [reply, &inside] {
            for (protocol, fits) in [(Protocol::Resp2, in_resp2), (Protocol::Resp3, true)] {
                let found = ReplyScanner::of(protocol).next(bytes, 100);
                let expected = if fits {
                    Ok(Scan::Frame(bytes.len()))
                } else {
                    Err(ProtocolError::Reply)
                };
                assert_eq!(found, expected, "{protocol:?} {}", bytes.escape_ascii());
            }
        }
    }
}

#[test]
fn replies_nest_as_deep_as_a_script_can_make_them() {
    let nested = |open: &[u8], depth: usize, inner: &[u8]| [&open.repeat(depth), inner].concat();
    for open in [
        &b"*1\r\n"[..],
        b"*2\r\n:1\r\n",
        b"%1\r\n:1\r\n",
        b"|1\r\n:1\r\n",
    ] {
        let sample = nested(open, 7996, b"*0\r\n");
        // An attribute is followed by its value.
        let sample = match open[0] {
            b'|' => [sample, b":1\r\n".repeat(7996)].concat(),
            _ => sample,
        };
        for step in [1000, sample.len()] {
            assert_eq!(replies(&sample, step), Ok(vec![sample.clone()]));
        }
        let deep = nested(open, 1_000_000, b"*0\r\n");
        assert_eq!(replies(&deep, deep.len()), Err(ProtocolError::Reply));
    }
    // Many beside each other are not deep, and each level is left.
    let beside = [
        b"*9000\r\n".to_vec(),
        b"*1\r\n*1\r\n*1\r\n*0\r\n".repeat(9000),
    ]
    .concat();
    assert_eq!(replies(&beside, beside.len()), Ok(vec![beside.clone()]));
}

#[test]
fn replies_are_found_however_they_are_split() {
    let samples: &[&[u8]] = &[
        b"+OK\r\n",
        b"-ERR no\r\n",
        b":12\r\n",
        b"$5\r\nhello\r\n",
        b"$-1\r\n",
        b"*-1\r\n",
        b"$0\r\n\r\n",
        b"*0\r\n",
        b"*2\r\n$1\r\na\r\n*1\r\n:1\r\n",
        b"_\r\n",
        b",1.5\r\n",
        b"#t\r\n",
        b"(123\r\n",
        b"!5\r\nERR x\r\n",
        b"=7\r\ntxt:abc\r\n",
        b"%1\r\n+a\r\n*2\r\n:1\r\n:2\r\n",
        b"~2\r\n:1\r\n:2\r\n",
        b">3\r\n+message\r\n+a\r\n+b\r\n",
        b"|1\r\n+ttl\r\n:3\r\n$1\r\nx\r\n",
    ];
    let all = samples.concat();
    for step in [1, 2, 3, 4, 5, 6, 7, all.len()] {
        assert_eq!(
            replies(&all, step).as_deref(),
            Ok(&samples.iter().map(|s| s.to_vec()).collect::<Vec<_>>()[..])
        );
    }
    for bad in [
        &b":\r\n"[..],
        b":-\r\n",
        b":1x\r\n",
        b"x\r\n",
        b"$5\r\nhelloXX",
        b"*-2\r\n",
        b"$a\r\n",
        b"+OK\n",
        b"*9999999999999\r\n",
        b"$99999999999\r\n",
        b"$?\r\n",
        b"\r\n",
        b"$111111111111111111111111111111111111111",
    ] {
        assert_eq!(
            replies(bad, bad.len()),
            Err(ProtocolError::Reply),
            "{}",
            bad.escape_ascii()
        );
    }
}
