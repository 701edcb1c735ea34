//! Tests of `control::status`.

use super::collect::stuck;
use super::*;
use crate::clock::Time;
use crate::control::state::ControlState;
use crate::turns::Heartbeat;
use crate::turns::Stuck;
use std::sync::Arc;
use std::time::Duration;

#[test]
fn a_worker_that_does_not_turn_is_found() {
    let poll = mio::Poll::new().unwrap();
    let waker = mio::Waker::new(poll.registry(), mio::Token(0)).unwrap();
    let mut sources = ControlState::for_tests(Arc::new(waker)).sources;
    let time = |second: u64| Time::from_micros(second * 1_000_000);
    sources.heartbeats = [19, 16]
        .map(|second| Arc::new(Heartbeat::ended_at(time(second))))
        .to_vec();
    let at = |second: u64| stuck(&sources, time(second));
    assert_eq!(at(15), None);
    assert_eq!(at(25), None);
    assert_eq!(at(26), Some((1, Stuck::Wait(Duration::from_secs(10)))));
    assert_eq!(at(30), Some((0, Stuck::Wait(Duration::from_secs(11)))));
    // A turn that does not end is noticed sooner.
    sources.heartbeats[0].begin(time(20));
    let found = stuck(&sources, time(21));
    assert_eq!(found, Some((0, Stuck::Turn(Duration::from_secs(1)))));
}

#[test]
fn it_is_the_same_after_a_journey_as_json() {
    let poll = mio::Poll::new().unwrap();
    let waker = mio::Waker::new(poll.registry(), mio::Token(0)).unwrap();
    let sources = ControlState::for_tests(Arc::new(waker)).sources;
    sources.process.workers[0].calls.answered(3, 70, 1);
    let status = Status::of(&sources);
    assert_eq!(status.commands[0].latency.at_most[..3], [0, 1, 1]);
    assert!(!status.ready.ready && status.ready.healthy);
    let json = serde_json::to_string(&status).unwrap();
    let again: Status = serde_json::from_str(&json).unwrap();
    assert_eq!(again.commands, status.commands);
    assert_eq!(again.counters, status.counters);
}
