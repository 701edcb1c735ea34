//! `ClientReply`: which of a client's requests get a reply (`CLIENT REPLY`).
//!
//! This is decided for each request when it is queued, so a change never affects outstanding requests, and never
//! reaches a node.

/// What becomes of the replies to the next requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ClientReply {
    /// They are sent.
    #[default]
    On,
    /// They are not sent.
    Off,
    /// The next one is not sent, those behind it are.
    SkipNext,
}

impl ClientReply {
    /// A request takes its place: whether it is muted.
    #[inline]
    pub fn take_muted(&mut self) -> bool {
        if *self == ClientReply::On {
            return false;
        }
        self.pass();
        true
    }

    /// A request goes by that has no reply at all: it uses up a skip.
    pub fn pass(&mut self) {
        if *self == ClientReply::SkipNext {
            *self = ClientReply::On;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_skip_is_used_up_and_off_is_not() {
        let check = |mut replies: ClientReply, muted, after| {
            assert_eq!(replies.take_muted(), muted);
            assert_eq!(replies, after);
        };
        check(ClientReply::On, false, ClientReply::On);
        check(ClientReply::Off, true, ClientReply::Off);
        check(ClientReply::SkipNext, true, ClientReply::On);
    }
}
