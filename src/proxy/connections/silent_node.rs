//! Slow or gone (rule L8)? A silent node may be paused, or run a long script: the proxy waits for it. A node is gone
//! when a reply is overdue (`-request-timeout`), or when it has been silent for a while *and* the other nodes have
//! replaced it. So a silent node makes the proxy refresh the topology again and again.
//!
//! It must never know what happens to the requests of a node that is gone (that is `deliver`).

use std::time::Duration;

use crate::clock::Time;
use crate::cluster::slot::Slot;
use crate::proxy::actions::Wanted;
use crate::proxy::ids::BackendId;
use crate::proxy::state::Proxy;
use crate::proxy::upstream::backend::{Backend, Patience, State, Usage};
use crate::proxy::upstream::lost::Lost;

/// How long a node that owes a reply may send nothing before the others are asked about it.
const SILENCE: Duration = Duration::from_millis(500);

impl Backend {
    /// How long it has owed a reply and sent nothing. A client that is blocked there may wait for as long as it likes;
    /// and what is not read says nothing.
    pub fn silence(&self, now: Time) -> Duration {
        match self.tickets.front() {
            _ if self.is_paused() => Duration::ZERO,
            Some(oldest) if self.state == State::Ready && self.patience == Patience::None => {
                now.since(oldest.sent_at.max(self.heard_at))
            }
            Some(_) | None => Duration::ZERO,
        }
    }
}

impl Proxy {
    /// Whether a backend that owes replies, and is past its handshake, is lost by now, and why.
    pub(in crate::proxy) fn judge_silence(&mut self, id: BackendId, now: Time) -> Option<Lost> {
        let backend = self.upstream.backends.get(id)?;
        backend.tickets.front()?;
        let silence = backend.silence(now);
        if silence >= self.config.request_timeout {
            return Some(Lost::TimedOut);
        }
        if silence < SILENCE {
            return None;
        }
        let replaced = self.is_replaced(backend);
        self.want_refresh(Wanted::Trouble);
        replaced.then_some(Lost::Gone)
    }

    /// Whether a connection that is not ready yet is lost by now, and why. While its node owes us replies on one that
    /// is set aside and says nothing there either, the node is slow, and waited for; and when it speaks there again it
    /// gets to this one a little later, though it may owe nothing any more.
    pub(in crate::proxy) fn judge_opening(&mut self, id: BackendId, now: Time) -> Option<Lost> {
        let backend = self.upstream.backends.get(id)?;
        if now < backend.deadline {
            return None;
        }
        let node = self.upstream.node(backend.node);
        let aside = node.into_iter().flat_map(|node| node.aside());
        let aside = aside.filter_map(|own| self.upstream.backends.get(own.backend));
        let aside = aside.filter(|own| {
            let has_spoken = own.heard_at > backend.opened_at;
            has_spoken || !own.tickets.is_empty()
        });
        let heard_at = aside.map(|own| own.heard_at).max();
        let patience = match heard_at {
            _ if backend.usage != Usage::Shared => None,
            None => None,
            // Once it speaks again there is as much time as usual.
            Some(at) if at > backend.opened_at => Some(at.after(self.config.connect_timeout)),
            Some(_) => Some(backend.opened_at.after(self.config.request_timeout)),
        };
        if patience.is_none_or(|until| now >= until) {
            return Some(Lost::TimedOut);
        }
        self.is_replaced(backend).then_some(Lost::Gone)
    }

    /// Whether a backend on which a client is blocked is lost by now: its node ought to have refused the client
    /// by `at`.
    pub(in crate::proxy) fn judge_doubted(
        &mut self,
        id: BackendId,
        at: Time,
        now: Time,
    ) -> Option<Lost> {
        let replaced = self.is_replaced(self.upstream.backends.get(id)?);
        (replaced && now >= at).then_some(Lost::Gone)
    }

    /// Whether the cluster does without this backend's node: it is no member any more, or (as `fail`) not
    /// counted as one; or the slot of its oldest request has another master.
    fn is_replaced(&self, backend: &Backend) -> bool {
        let listed = self
            .upstream
            .node(backend.node)
            .is_some_and(|node| node.listed);
        let slot = backend
            .tickets
            .front()
            .and_then(|oldest| Slot::new(oldest.slot));
        let master = slot.and_then(|slot| self.upstream.routes.shard(slot));
        let another = master.is_some_and(|shard| shard.master != backend.node);
        !listed || (another && !backend.flavor.read_only)
    }
}
