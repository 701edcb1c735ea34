//! What every step of the request path asks of a frame: how large it may be, and whether it is moved or copied.

use crate::resp::frame::RequestLimits;

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
