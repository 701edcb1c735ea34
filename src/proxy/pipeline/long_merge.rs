//! The replies to the parts of one request, of which the one reply is made outside the worker, since that takes longer than
//! a turn may.

use crate::proxy::actions::OutsideWork;
use crate::proxy::ids::{ClientId, NO_SLOT, PartId, Seq};
use crate::proxy::pipeline::merge::Merge;
use crate::proxy::pipeline::split::Split;
use crate::proxy::pipeline::{At, Spares};

/// Replies of so many bytes together are merged outside the worker, where that cannot be done in steps.
pub const LONG_BYTES: usize = 128 << 10;

impl Split {
    /// Whether its replies take long to become one, and nobody is asked anything then.
    pub(super) fn is_long_merge(&self) -> bool {
        self.kept_bytes() >= LONG_BYTES
            && match self.merge {
                Merge::Sum | Merge::Min | Merge::Max | Merge::And | Merge::Or => true,
                Merge::Join(_) | Merge::JoinAll(_) => true,
                // In steps, by looking at the heads of the replies only, or by asking others.
                Merge::Gather | Merge::Concat => false,
                Merge::AllSucceeded | Merge::OneSucceeded => false,
                Merge::Then(_) | Merge::ThenAll(_) => false,
            }
    }

    /// Has them merged outside the worker, for a client's request.
    pub fn merge_outside(mut self, client: ClientId, seq: Seq) -> OutsideWork {
        let part = PartId::new(client, seq, 0);
        OutsideWork::new(part, move || {
            let mut reply = Vec::new();
            self.finish_whole(&mut reply, &mut Spares::default());
            reply
        })
    }

    /// What waits in its place for the merged reply, which passes as it is.
    pub(super) fn awaiting_merge() -> Split {
        let mut split = Split::with_capacity(Merge::OneSucceeded, false, 1);
        split.add_at(NO_SLOT, At::Here);
        split
    }
}
