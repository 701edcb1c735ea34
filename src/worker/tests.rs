//! Tests of `worker`.

use super::*;
use crate::arena::{GENERATION_BITS, Id};

#[test]
fn turns_that_all_take_long_put_off_no_deadline_for_ever() {
    let mut grace = Grace::default();
    let late = [false, true, true, true, false, true];
    let put_off = late.map(|late| grace.puts_off(late));
    assert_eq!(put_off, [false, true, false, true, false, true]);
}

#[test]
fn a_token_is_its_peer() {
    let top = (1 << GENERATION_BITS) - 1;
    for peer_ in [
        Peer::Client(Id::from_parts(0, 0)),
        Peer::Client(Id::from_parts(u32::MAX, top)),
        Peer::Backend(Id::from_parts(7, 9)),
        Peer::Backend(Id::from_parts(u32::MAX, top)),
    ] {
        assert_eq!(peer(token(peer_)), Some(peer_));
    }
    assert_eq!(peer(LISTENER), None);
    assert_eq!(peer(WAKER), None);
}
