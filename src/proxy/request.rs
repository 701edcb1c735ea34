//! `Request`: the arguments of every step of the request path. Also what these steps ask of a frame: its size, and
//! whether it is moved or copied.

use crate::clock::Time;
use crate::command::Command;
use crate::proxy::ids::ClientId;
use crate::resp::args::Args;
use crate::resp::frame::RequestLimits;

/// One request on its way, as it stands in its client's input. It lives for one step of the way only: what waits is
/// copied out of it.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// Who has sent it, and is to have the reply.
    pub client: ClientId,
    /// Its row of the command table.
    pub command: &'a Command,
    /// Its frame, and where the arguments lie in it.
    pub args: &'a Args<'a>,
    /// When this turn began.
    pub now: Time,
}

/// A frame at least this long is moved to its backend instead of copied, in bytes.
pub(in crate::proxy) const MOVED_FRAME: usize = 16 << 10;

/// What the scanner of requests is bounded by.
pub(in crate::proxy) fn request_limits(
    limits: &crate::config::Limits,
    authenticated: bool,
) -> RequestLimits {
    RequestLimits {
        bulk_bytes: limits.bulk_bytes,
        request_bytes: limits.request_bytes,
        inline_bytes: limits.inline_bytes,
        authenticated,
        unauthenticated_args: limits.unauthenticated_args,
        unauthenticated_bulk_bytes: limits.unauthenticated_bulk_bytes,
    }
}
