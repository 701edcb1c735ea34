//! Replies of many parts that take more than one turn to merge: one step in each turn, for one client after another,
//! so that a hundred such clients make a turn no longer than one does. What has no steps is merged outside the worker.
//!
//! It must never know how replies are merged (that is `merge`).

use crate::buffer::Rope;
use crate::clock::Time;
use crate::proxy::ids::{ClientId, PartId};
use crate::proxy::state::Proxy;

impl Proxy {
    /// The reply to a client's request is not merged to its end: it goes on in the next turn.
    #[inline]
    pub(in crate::proxy) fn merge_later(&mut self, id: ClientId) {
        let client = self.clients.get_mut(id);
        match client.and_then(|client| client.pipeline.take_unmerged()) {
            None => {}
            Some((seq, None)) => self.unmerged.0.push_back((id, seq)),
            Some((seq, Some(split))) => {
                self.actions.work_outside(split.merge_outside(id, seq));
            }
        }
    }

    /// The reply to a request that was merged outside the worker. Its client may have gone.
    pub fn done_outside(&mut self, part: PartId, reply: Vec<u8>, now: Time) {
        self.fulfil_rope(part, Rope::of(reply), now);
    }

    /// Takes one step of the oldest.
    pub(in crate::proxy) fn merge_on(&mut self, now: Time) {
        while let Some((id, seq)) = self.unmerged.0.pop_front() {
            let Some(client) = self.clients.get_mut(id) else {
                continue;
            };
            let (output, pool) = (&mut client.output, &mut self.pool);
            let completed = client.pipeline.merge(seq, output, pool, &mut self.spares);
            return self.fulfilled(id, completed, now);
        }
    }
}
