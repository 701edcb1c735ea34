//! Tests of `resp::frame`.

use super::*;

const LIMITS: RequestLimits = RequestLimits {
    bulk_bytes: 512 << 20,
    request_bytes: 1 << 30,
    inline_bytes: 64 << 10,
    authenticated: true,
    unauthenticated_args: 10,
    unauthenticated_bulk_bytes: 16384,
};

/// Scans all of `bytes`, handing in `step` more bytes at a time: frames as lists of arguments.
fn requests(bytes: &[u8], step: usize, limits: &RequestLimits) -> (Vec<Vec<Vec<u8>>>, String) {
    let (mut scanner, mut spans, mut found) = (RequestScanner::default(), Vec::new(), Vec::new());
    let (mut from, mut to) = (0, 0);
    loop {
        match scanner.next(&bytes[from..to], limits, &mut spans) {
            Ok(Scan::Frame(len)) => {
                let args = super::super::args::Args::new(&bytes[from..from + len], &spans);
                found.push(args.from(0).map(<[u8]>::to_vec).collect());
                from += len;
            }
            Ok(Scan::Inline(len)) => {
                found.push(vec![bytes[from..from + len].to_vec()]);
                from += len;
            }
            Ok(Scan::Nothing(len)) => from += len,
            Ok(Scan::Incomplete(missing)) => {
                assert!(missing > 0);
                if to == bytes.len() {
                    return (found, String::new());
                }
                to = (to + step).min(bytes.len());
            }
            Err(error) => return (found, error.to_string()),
        }
    }
}

fn check_requests(bytes: &[u8], commands: usize, error: &str) {
    let whole = requests(bytes, bytes.len().max(1), &LIMITS);
    assert_eq!(
        (whole.0.len(), &whole.1[..]),
        (commands, error),
        "{}",
        bytes.escape_ascii()
    );
    for step in [1, 2, 3, 5, 7] {
        let split = requests(bytes, step, &LIMITS);
        assert_eq!(split, whole, "{} by {step}", bytes.escape_ascii());
    }
}

/// The list of spans is shared by all clients: one that was cut short must find its own again.
#[test]
fn clients_that_share_the_list_of_spans_do_not_mix_their_requests() {
    let frame = b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n";
    let mut spans = Vec::new();
    let mut scanners = [RequestScanner::default(), RequestScanner::default()];
    for cuts in [[6, 6], [15, 6], [6, 15], [4, 4], [15, 15]] {
        for _ in 0..3 {
            for (scanner, cut) in scanners.iter_mut().zip(cuts) {
                let scan = scanner.next(&frame[..cut], &LIMITS, &mut spans);
                assert!(matches!(scan, Ok(Scan::Incomplete(_))));
                // Someone else's turn, with a list that is used up.
                spans = Vec::new();
            }
            for scanner in &mut scanners {
                let scan = scanner.next(frame, &LIMITS, &mut spans);
                assert!(matches!(scan, Ok(Scan::Frame(20))), "{scan:?}");
                assert_eq!(spans.len(), 2, "{cuts:?}");
            }
        }
    }
}

#[test]
fn a_line_that_comes_byte_by_byte_is_searched_once() {
    let long = "1".repeat(60_000);
    for (line, place) in [
        (format!("*{long}"), "a count"),
        (format!("*1\r\n${long}"), "a length"),
        (format!("*1\r\nx{long}"), "no length"),
        (format!("PING {long}"), "an inline request"),
    ] {
        let (mut scanner, mut spans) = (RequestScanner::default(), Vec::new());
        for len in 8..line.len() {
            let scan = scanner.next(&line.as_bytes()[..len], &LIMITS, &mut spans);
            assert_eq!(scan, Ok(Scan::Incomplete(1)), "{place}");
            // What it has seen, it need not see again.
            assert_eq!(scanner.searched, len, "{place}");
            assert!(!scanner.is_at_start());
        }
        let end = [line.as_bytes(), b"\r"].concat();
        let scan = scanner.next(&end, &LIMITS, &mut spans);
        assert_eq!(scan, Ok(Scan::Incomplete(1)), "{place}");
        let end = [line.as_bytes(), b"\r\n"].concat();
        let scan = scanner.next(&end, &LIMITS, &mut spans);
        let whole = RequestScanner::default().next(&end, &LIMITS, &mut spans);
        assert!(
            scan == whole && !matches!(scan, Ok(Scan::Incomplete(_))),
            "{scan:?}"
        );
    }
}

#[test]
fn a_frame_that_is_put_back_is_not_scanned_again() {
    let frame = b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n";
    let (mut scanner, mut spans) = (RequestScanner::default(), Vec::new());
    let found = Ok(Scan::Frame(frame.len()));
    assert_eq!(scanner.next(frame, &LIMITS, &mut spans), found);
    let expected = spans.clone();
    for _ in 0..2 {
        scanner.put_back(frame.len(), &mut spans);
        assert!(!scanner.is_at_start());
        // Others use the same list meanwhile; and none of the bytes is looked at.
        spans = Vec::new();
        assert_eq!(scanner.next(&[0; 20], &LIMITS, &mut spans), found);
        assert_eq!(spans, expected);
    }
    assert!(scanner.is_at_start());
    assert_eq!(scanner.next(frame, &LIMITS, &mut spans), found);
}

#[test]
fn requests_are_found_however_they_are_split() {
    check_requests(b"*1\r\n$4\r\nPING\r\n*2\r\n$3\r\nGET\r\n$0\r\n\r\n", 2, "");
    check_requests(b"*0\r\n*-1\r\n*-10\r\n\r\n  \r\nPING\r\n", 1, "");
    check_requests(b"PING a b\n*1\r\n$4\r\nPING\r\n", 2, "");
    check_requests(b"*2147483647\r\n", 0, "");
    check_requests(b"*1\r\n$536870912\r\n", 0, "");
    check_requests(b"*1\n", 0, "");
}

#[test]
fn scanners_that_share_their_spans_keep_them_apart() {
    let frame = b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n";
    let (mut one, mut other) = (RequestScanner::default(), RequestScanner::default());
    let mut spans = Vec::new();
    let mut cut = |scanner: &mut RequestScanner, at: usize| {
        let scan = scanner.next(&frame[..at], &LIMITS, &mut spans);
        let found = if at == frame.len() { spans.len() } else { 2 };
        (scan.is_ok(), found)
    };
    let whole = frame.len();
    // Each frame ends after the other scanner has taken the storage that this one had.
    for at in [5, 9, 13, 16] {
        for (scanner, at) in [(0, at), (1, whole), (0, whole), (1, 5), (0, 5), (0, whole)] {
            let scanner = if scanner == 0 { &mut one } else { &mut other };
            assert_eq!(cut(scanner, at), (true, 2), "cut at {at}");
        }
        assert_eq!(cut(&mut other, whole), (true, 2));
    }
}

#[test]
fn nonsense_is_refused_with_the_words_of_redis() {
    for count in [
        "3000000000",
        "abc",
        "",
        "+1",
        "01",
        " 1",
        "1 ",
        "99999999999999999999",
    ] {
        let bytes = format!("*1\r\n$4\r\nPING\r\n*{count}\r\n");
        check_requests(
            bytes.as_bytes(),
            1,
            "Protocol error: invalid multibulk length",
        );
    }
    for length in [
        "-1",
        "-10",
        "536870913",
        "2147483645",
        "9223372036854775807",
        "9223372036854775808",
        "18446744073709551615",
        "abc",
        "",
        "+4",
        "04",
    ] {
        let bytes = format!("*1\r\n${length}\r\n");
        check_requests(bytes.as_bytes(), 0, "Protocol error: invalid bulk length");
    }
    check_requests(b"*1\r\nfoo\r\n", 0, "Protocol error: expected '$', got 'f'");
    check_requests(b"*1\r\n:1\r\n", 0, "Protocol error: expected '$', got ':'");
    check_requests(
        b"*1\r\n$4\r\nPINGXX",
        0,
        "Protocol error: expected CRLF after bulk string",
    );
    check_requests(
        b"*1\rX$4\r\nPING\r\n",
        0,
        "Protocol error: invalid multibulk length",
    );
    check_requests(b"*1\n*1\r\n", 0, "Protocol error: invalid multibulk length");
}

#[test]
fn lines_without_end_are_refused() {
    let long = vec![b'1'; 70 << 10];
    let check = |prefix: &[u8], error| {
        let bytes = [prefix, &long].concat();
        assert_eq!(
            requests(&bytes, bytes.len(), &LIMITS).1,
            format!("Protocol error: {error}")
        );
    };
    check(b"", "too big inline request");
    check(b"*", "too big mbulk count string");
    check(b"*1\r\n$", "too big bulk count string");
}

#[test]
fn before_authentication_little_is_taken() {
    let limits = RequestLimits {
        authenticated: false,
        ..LIMITS
    };
    let error = |bytes: &[u8]| requests(bytes, 1, &limits).1;
    assert_eq!(
        error(b"*11\r\n"),
        "Protocol error: unauthenticated multibulk length"
    );
    assert_eq!(
        error(b"*1\r\n$16385\r\n"),
        "Protocol error: unauthenticated bulk length"
    );
    assert_eq!(error(b"*10\r\n$16384\r\n"), "");
}
