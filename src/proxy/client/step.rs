//! `Step`: what to do with the next frame of a client's input.

use crate::proxy::client::Stall;
use crate::proxy::ids::BackendId;
use crate::proxy::upstream::backend::Ticket;

/// What to do with the frame at the front of the client's input.
pub(in crate::proxy) enum Step {
    /// It goes to this backend as it is.
    Forward(BackendId, Ticket),
    /// It has been dealt with.
    Done,
    /// It has been dealt with, and nothing behind it is taken until it is answered.
    Alone,
    /// Its time has not come: the client is paused.
    Wait(Stall),
    /// It was the client's last.
    Close,
}
