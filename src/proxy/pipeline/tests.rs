//! The order of one client's replies, however they come.

use super::*;
use crate::arena::Id;
use crate::proxy::pipeline::merge::Merge;
use std::io::IoSlice;

struct Rig {
    pipeline: Pipeline,
    output: WriteBuf,
    pool: Pool,
    spares: Spares,
}

impl Rig {
    fn new() -> Rig {
        Rig {
            pipeline: Pipeline {
                head: Seq(u32::MAX - 1), // the places wrap at once
                ..Pipeline::default()
            },
            output: WriteBuf::default(),
            pool: Pool::default(),
            spares: Spares::default(),
        }
    }

    fn single(&mut self) -> Seq {
        let at = At::Backend(Id::from_parts(0, 1));
        self.pipeline.push_single(0, 7, at, Time::default())
    }

    fn fulfil(&mut self, seq: Seq, part: u16, reply: &str) -> bool {
        self.pipeline
            .fulfil(
                seq,
                part,
                reply.as_bytes(),
                &mut self.output,
                &mut self.pool,
                &mut self.spares,
            )
            .is_some()
    }

    fn check(&mut self, expected: &str) {
        let mut slices = [IoSlice::new(&[]); 8];
        let count = self.output.unsent(&mut slices);
        let sent: Vec<u8> = slices[..count].iter().flat_map(|s| s.to_vec()).collect();
        assert_eq!(String::from_utf8_lossy(&sent), expected);
    }
}

#[test]
fn replies_leave_in_the_order_of_requests() {
    let mut rig = Rig::new();
    let (a, b, c) = (rig.single(), rig.single(), rig.single());
    rig.fulfil(c, 0, "c");
    rig.check("");
    rig.fulfil(a, 0, "a");
    rig.check("a");
    rig.pipeline
        .answer(0, b"d", &mut rig.output, &mut rig.pool, Time::default());
    rig.fulfil(b, 0, "b");
    rig.check("abcd");
    assert!(rig.pipeline.is_empty());
    assert_eq!(rig.pipeline.ready_bytes(), 0);
    rig.pipeline
        .answer(0, b"e", &mut rig.output, &mut rig.pool, Time::default());
    rig.check("abcde");
}

#[test]
fn a_muted_request_keeps_its_place_and_says_nothing() {
    let mut rig = Rig::new();
    let a = rig.single();
    rig.pipeline.client_reply = ClientReply::SkipNext;
    let (b, c) = (rig.single(), rig.single());
    rig.fulfil(b, 0, "b");
    rig.fulfil(c, 0, "c");
    rig.check("");
    rig.fulfil(a, 0, "a");
    rig.check("ac");
    rig.pipeline.client_reply = ClientReply::Off;
    let d = rig.single();
    assert!(!rig.pipeline.is_single_head(d));
    let mut split = Split::new(Merge::Sum, true);
    split.add(1);
    let sum = rig.pipeline.push_split(0, Box::new(split), Time::default());
    rig.pipeline
        .answer(0, b"e", &mut rig.output, &mut rig.pool, Time::default());
    rig.pipeline.client_reply = ClientReply::On;
    let f = rig.single();
    assert!(rig.fulfil(sum, 0, ":2\r\n"));
    rig.fulfil(f, 0, "f");
    rig.fulfil(d, 0, "d");
    rig.check("acf");
    assert!(rig.pipeline.is_empty());
    assert_eq!(rig.pipeline.ready_bytes(), 0);
}

#[test]
fn a_split_request_leaves_when_all_its_parts_have_come() {
    let mut rig = Rig::new();
    let first = rig.single();
    let mut split = Split::new(Merge::Sum, true);
    split.add(1);
    split.add(2);
    let sum = rig.pipeline.push_split(0, Box::new(split), Time::default());
    assert!(!rig.fulfil(sum, 1, ":2\r\n"));
    assert!(rig.fulfil(sum, 0, ":40\r\n"));
    rig.check("");
    assert!(rig.fulfil(first, 0, "+OK\r\n"));
    rig.check("+OK\r\n:42\r\n");
    assert_eq!(rig.pipeline.ready_bytes(), 0);
}

#[test]
fn a_part_may_be_cut_once_more_and_keys_keep_their_order() {
    let mut rig = Rig::new();
    let whole = |slot| {
        let mut split = Split::new(Merge::Gather, false);
        split.add(slot);
        split.set_order(vec![0, 0, 0]);
        split
    };
    let single = rig.single();
    assert_eq!(rig.pipeline.divide(single, 0, 3, whole), Some(1));
    rig.fulfil(single, 2, "*1\r\n+c\r\n");
    rig.fulfil(single, 0, "*1\r\n+a\r\n");
    assert!(rig.fulfil(single, 1, "*1\r\n+b\r\n"));
    rig.check("*3\r\n+a\r\n+b\r\n+c\r\n");

    let mut split = Split::new(Merge::Gather, false);
    split.add(1);
    split.add(2);
    split.set_order(vec![1, 0, 1]);
    let many = rig.pipeline.push_split(0, Box::new(split), Time::default());
    assert_eq!(rig.pipeline.divide(many, 1, 2, whole), Some(2));
    rig.fulfil(many, 0, "*1\r\n+y\r\n");
    rig.fulfil(many, 2, "*1\r\n+z\r\n");
    assert!(rig.fulfil(many, 1, "*1\r\n+x\r\n"));
    rig.check("*3\r\n+a\r\n+b\r\n+c\r\n*3\r\n+x\r\n+y\r\n+z\r\n");
    assert!(rig.pipeline.is_empty() && rig.pipeline.ready_bytes() == 0);
}

#[test]
fn a_request_that_asks_again_keeps_its_place() {
    let mut rig = Rig::new();
    let mut split = Split::new(
        Merge::Then(Box::new(|replies, _| {
            assert!(replies[0].is_error());
            Some(Plan {
                asks: Vec::new(),
                merge: Merge::Sum,
                write: false,
            })
        })),
        false,
    );
    split.add(1);
    let asking = rig.pipeline.push_split(9, Box::new(split), Time::default());
    let behind = rig.single();
    assert!(rig.fulfil(behind, 0, "+b\r\n"));
    assert!(!rig.fulfil(asking, 0, "-ERR a\r\n"));
    rig.check("");
    let (seq, command, plan) = rig.pipeline.take_next().unwrap();
    assert_eq!((seq, command), (asking, 9));
    assert!(rig.pipeline.take_next().is_none());
    let mut parts = Split::new(plan.merge, plan.write);
    parts.add(2);
    rig.pipeline.renew_split(seq, parts);
    assert!(rig.fulfil(asking, 0, ":7\r\n"));
    rig.check(":7\r\n+b\r\n");
    assert_eq!(rig.pipeline.ready_bytes(), 0);
}
