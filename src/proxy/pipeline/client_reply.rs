//! `Replies`: which of a client's coming requests are answered (`CLIENT REPLY`).
//!
//! It is settled for each request when the request takes its place, so that a change never touches requests
//! that are outstanding, and a mute never reaches a node.

/// What becomes of the replies to the next requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Replies {
    /// They are sent.
    #[default]
    On,
    /// They are not sent.
    Off,
    /// The next one is not sent, those behind it are.
    SkipNext,
}

impl Replies {
    /// A request takes its place: whether it is muted.
    #[inline]
    pub fn take_muted(&mut self) -> bool {
        if *self == Replies::On {
            return false;
        }
        self.pass();
        true
    }

    /// A request goes by that has no reply at all: it uses up a skip.
    pub fn pass(&mut self) {
        if *self == Replies::SkipNext {
            *self = Replies::On;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_skip_is_used_up_and_off_is_not() {
        let check = |mut replies: Replies, muted, after| {
            assert_eq!(replies.take_muted(), muted);
            assert_eq!(replies, after);
        };
        check(Replies::On, false, Replies::On);
        check(Replies::Off, true, Replies::Off);
        check(Replies::SkipNext, true, Replies::On);
    }
}
