//! What the replies of parts become.

use super::*;
use crate::buffer::Chunk;
use crate::resp::frame::Scan;
use crate::resp::reply_frame::ReplyScanner;
use crate::testing::Random;

/// What the parts become, in as many steps as it takes; the same if they are put where they leave next.
fn finished(split: &mut Split, spares: &mut Spares) -> String {
    let (mut output, mut pool) = (WriteBuf::default(), Pool::default());
    output.push(b"before", &mut pool);
    let made = split.gather_into(&mut output, &mut pool);
    output.check();
    output.release(6, &mut pool);
    assert_eq!(made.unwrap_or(0), output.len());
    let bytes = loop {
        match split.finish(spares) {
            Finished::NotYet => {}
            Finished::Bytes(bytes) => break bytes,
            Finished::Rope(rope) => break rope.to_bytes(),
            Finished::Asks(plan) => panic!("{plan:?}"),
        }
    };
    assert!(made.is_none_or(|len| output.front(len) == bytes));
    String::from_utf8(bytes).expect("text")
}

fn check(merge: Merge, order: &[u16], parts: &[&str], expected: &str) {
    let mut spares = Spares::default();
    let write = matches!(merge, Merge::AllSucceeded);
    let mut split = Split::new(merge, write);
    for _ in parts {
        split.add(0);
    }
    split.set_order(order.to_vec());
    for (index, reply) in parts.iter().enumerate().rev() {
        assert!(!split.is_complete());
        split.fulfil(index as u16, reply.as_bytes(), &mut spares);
    }
    assert_eq!(finished(&mut split, &mut spares), expected);
}

#[test]
fn parts_become_one_reply() {
    check(
        Merge::Gather,
        &[1, 0, 1],
        &["*1\r\n$1\r\na\r\n", "*2\r\n$-1\r\n$1\r\nb\r\n"],
        "*3\r\n$-1\r\n$1\r\na\r\n$1\r\nb\r\n",
    );
    check(Merge::Sum, &[], &[":1\r\n", ":2\r\n", ":0\r\n"], ":3\r\n");
    check(Merge::Min, &[], &[":1\r\n", ":2\r\n", ":0\r\n"], ":0\r\n");
    check(
        Merge::And,
        &[],
        &["*2\r\n:1\r\n:1\r\n", "*2\r\n:1\r\n:0\r\n"],
        "*2\r\n:1\r\n:0\r\n",
    );
    check(
        Merge::Concat,
        &[],
        &["*1\r\n+a\r\n", "*0\r\n", "*1\r\n+b\r\n"],
        "*2\r\n+a\r\n+b\r\n",
    );
    check(
        Merge::OneSucceeded,
        &[],
        &["-NOTBUSY no\r\n", "+OK\r\n"],
        "+OK\r\n",
    );
    check(
        Merge::OneSucceeded,
        &[],
        &["-NOTBUSY no\r\n", "-ERR x\r\n"],
        "-NOTBUSY no\r\n",
    );
    check(
        Merge::Gather,
        &[0, 1],
        &["*0\r\n", "*1\r\n+b\r\n"],
        "-ERR a node answered with too few values\r\n",
    );
}

#[test]
fn a_part_that_is_left_out_is_not_in_the_reply() {
    check(Merge::Sum, &[], &["", ":2\r\n", ""], ":2\r\n");
    check(Merge::AllSucceeded, &[], &["", "+OK\r\n"], "+OK\r\n");
    check(Merge::AllSucceeded, &[], &["", "-OOM a\r\n"], "-OOM a\r\n");
    check(
        Merge::Sum,
        &[],
        &["", ""],
        "-CLUSTERDOWN The cluster is down\r\n",
    );
}

#[test]
fn a_failed_part_fails_the_whole_and_says_if_it_was_partial() {
    check(
        Merge::Sum,
        &[],
        &[":1\r\n", "-ERR a\r\n", "-ERR b\r\n"],
        "-ERR a\r\n",
    );
    check(Merge::AllSucceeded, &[], &["+OK\r\n", "+OK\r\n"], "+OK\r\n");
    check(
        Merge::AllSucceeded,
        &[],
        &["-OOM a\r\n", "-OOM b\r\n"],
        "-OOM a\r\n",
    );
    check(
        Merge::AllSucceeded,
        &[],
        &["+OK\r\n", "-OOM a\r\n"],
        "-ERR partial failure: OOM a\r\n",
    );
    let lost = "-ERR backend timeout, command may have been executed\r\n";
    check(
        Merge::AllSucceeded,
        &[],
        &["-OOM a\r\n", lost],
        "-ERR partial failure: OOM a\r\n",
    );
}

/// A reply as it is kept when it comes in pieces of about this length.
fn rope_of(reply: &[u8], piece: usize) -> Rope {
    let (mut rope, mut scanner) = (Rope::default(), ReplyScanner::default());
    let (mut from, mut to) = (0, 0);
    while from < reply.len() {
        to = (to + piece).min(reply.len());
        let count = match scanner.next(&reply[from..to], usize::MAX) {
            Ok(Scan::Frame(len)) => len,
            _ => scanner.scanned(),
        };
        if !scanner.is_at_start() {
            scanner.consumed(count);
        }
        rope.push(Chunk::of(reply[from..from + count].to_vec()));
        from += count;
    }
    rope
}

#[test]
fn values_of_any_size_come_back_in_the_order_of_their_keys() {
    let mut random = Random::new(17);
    for round in 0..40 {
        let (keys, parts) = [(9, 3), (200, 7), (20_000, 3000), (300, 300)][round % 4];
        let mut split = Split::new(Merge::Gather, false);
        split.add_parts(0, parts);
        let order: Vec<u16> = (0..keys).map(|_| random.below(parts) as u16).collect();
        let mut replies = vec![(0, Vec::new()); parts];
        let mut expected = format!("*{keys}\r\n").into_bytes();
        for (key, part) in order.iter().enumerate() {
            let len = [3, 100, 9000, 200_000][random.below(2) + random.below(80) / 79 * 2];
            let value = match random.below(5) {
                0 => "$-1\r\n".to_string(),
                1 => format!("*2\r\n:{key}\r\n*0\r\n"),
                _ => format!("${len}\r\n{}\r\n", "v".repeat(len)),
            };
            let (count, reply) = &mut replies[usize::from(*part)];
            *count += 1;
            reply.extend(value.bytes());
            expected.extend(value.bytes());
        }
        split.set_order(order);
        let mut spares = Spares::default();
        for (part, (count, values)) in replies.iter().enumerate().rev() {
            let reply = [format!("*{count}\r\n").as_bytes(), values].concat();
            if reply.len() > 2000 && random.below(2) == 0 {
                split.fulfil_rope(part as u16, rope_of(&reply, 1 + random.below(70_000)));
            } else {
                split.fulfil(part as u16, &reply, &mut spares);
            }
        }
        assert!(
            finished(&mut split, &mut spares).as_bytes() == expected,
            "{round}"
        );
    }
}

#[test]
fn no_step_of_a_merge_is_long_and_large_lists_are_not_copied() {
    let keys = 100_000;
    let mut split = Split::new(Merge::Gather, false);
    let mut spares = Spares::default();
    split.add_parts(0, 10_000);
    split.set_order((0..keys).map(|key| (key % 10_000) as u16).collect());
    let part = format!("*10\r\n{}", "$1\r\nx\r\n".repeat(10));
    (0..10_000).for_each(|number| split.fulfil(number, part.as_bytes(), &mut spares));
    let mut steps = 1;
    while let Finished::NotYet = split.finish(&mut spares) {
        steps += 1;
    }
    assert_eq!(steps, usize::div_ceil(keys, STEP_VALUES));

    let mut split = Split::new(Merge::Concat, false);
    split.add_parts(0, 3);
    let part = format!("*200000\r\n{}", "$1\r\nx\r\n".repeat(200_000));
    let ropes = [(); 2].map(|()| rope_of(part.as_bytes(), 65_536));
    let storage = ropes.each_ref().map(|rope| rope.piece(1).as_ptr());
    for (number, rope) in (0..).zip(ropes) {
        split.fulfil_rope(2 * number, rope);
    }
    split.fulfil(1, b"*1\r\n+y\r\n", &mut spares);
    let Finished::Rope(rope) = split.finish(&mut spares) else {
        panic!("it is large");
    };
    let pieces: Vec<_> = (0..rope.pieces())
        .map(|at| rope.piece(at).as_ptr())
        .collect();
    assert!(storage.iter().all(|own| pieces.contains(own)));
    let values = "$1\r\nx\r\n".repeat(200_000);
    let expected = format!("*400001\r\n{values}+y\r\n{values}");
    assert!(rope.to_bytes() == expected.as_bytes());
}
