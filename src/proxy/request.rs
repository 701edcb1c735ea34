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

/// What a client costs in a turn beside its requests, in the work of one: its socket is read and written.
pub const WORK_OF_PEER: usize = 8;

/// A frame at least this long is moved to its backend instead of copied, in bytes.
pub(in crate::proxy) const MOVED_FRAME: usize = 16 << 10;

/// The longest request that is taken, whatever the query buffer limit: places in a frame, and the lengths of tickets, are
/// numbers of 32 bits.
const REQUEST_BYTES_MAX: usize = u32::MAX as usize - 4;

/// What the scanner of requests is bounded by.
pub(in crate::proxy) fn request_limits(
    limits: &crate::config::Limits,
    authenticated: bool,
) -> RequestLimits {
    RequestLimits {
        bulk_bytes: limits.bulk_bytes,
        request_bytes: limits.request_bytes.min(REQUEST_BYTES_MAX),
        inline_bytes: limits.inline_bytes,
        authenticated,
        unauthenticated_args: limits.unauthenticated_args,
        unauthenticated_bulk_bytes: limits.unauthenticated_bulk_bytes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Limits;

    #[test]
    fn no_place_in_a_request_needs_more_than_32_bits() {
        let limits = Limits {
            request_bytes: usize::MAX,
            ..Limits::default()
        };
        let bounds = request_limits(&limits, true);
        // The scanner takes the end of a line more than that.
        assert!(u32::try_from(bounds.request_bytes + 2).is_ok());
    }
}
