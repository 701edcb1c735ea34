//! Whether a client can go to the process that takes over.

use crate::proxy::client::{Client, Stall};

/// A client moves with so many bytes that are not executed; one that has sent more is served until there are fewer.
const INPUT_MAX: usize = 1 << 20;

impl Client {
    /// Whether it may be frozen: there is nothing of it that another process could not go on with.
    pub(in crate::proxy) fn is_movable(&self) -> bool {
        let waits = match self.stall {
            None | Some(Stall::HandOver) => false,
            // Its next request has not been taken, or not been looked at. What nodes say of it they say again.
            Some(Stall::Full | Stall::Barrier | Stall::Behind | Stall::Verdict) => false,
            Some(
                Stall::Backend(_)
                | Stall::ClientPause
                | Stall::Login
                | Stall::Subscribers
                | Stall::Connection
                | Stall::Memory,
            ) => true,
        };
        !waits
            && self.lease.is_none()
            // What it has read is tracked over connections of this process.
            && self.session.tracking().is_none()
            && self.execution.is_none()
            && self.cut.is_none()
            && self.names_done == 0
            && self.streamed.is_none()
            && self.closing.is_none()
            && !self.ended
            && !self.paused
            && self.session.login_due.is_none()
            && self.unexecuted_bytes() <= INPUT_MAX
    }
}
