//! Clients that cache for themselves (`CLIENT TRACKING`): they are told when a key changes that they have read.
//!
//! | file | what |
//! |---|---|
//! | `state` | who has read what, what is to be told |
//! | `reads` | the way in: a reply comes on a connection that tracks, and its keys are remembered |
//! | `receive` | the way out: a node says that a key has changed. **Whoever else is to hear of it is told there** |
//! | `bcast` | BCAST: one connection to each master tells of all keys with the prefixes of any client |
//! | `lost` | a connection is lost, a slot moves: what was read there is not known any more |
//! | `tell` | what a client is told, and behind which of its replies |
//! | `redirect` | REDIRECT: what is told goes to another client, perhaps of another worker |
//! | `quiet` | a connection on which nothing is said is asked whether it is still there |
//!
//! Requests of clients that track travel on connections of a flavour of their own (`Flavor::tracking`): one for each
//! worker and node, shared as others are, on which the node pushes which keys have changed of those that were read there.
//! A node pushes in the order of its replies: what was read before is older, what comes behind is newer. So keys are
//! remembered when the reply is read ([`Proxy::note_answer`]), and forgotten when the push is.
//!
//! Rules:
//! - A client gets a push behind every reply with an older value, even if that reply waits for another node's
//!   (`state::late`); and never later than that.
//! - A client is never left in silence. Where it is not known whether a key has changed, it is said to have: a connection
//!   is lost, a slot moves, the table is full (`-tracking-max-keys`), a node refuses CLIENT TRACKING.
//! - What is read or written in transactions, by blocking commands and on other connections of the client's own is not
//!   tracked there: its keys are said to have changed, behind the reply; and once more a while later (`state::again`).
//! - Clients that track read from masters only.

mod bcast;
mod lost;
mod quiet;
pub(in crate::proxy) mod reads;
mod receive;
mod redirect;
pub mod state;
mod tell;
#[cfg(test)]
mod tests;

use crate::proxy::state::Proxy;

impl Proxy {
    /// Asserts what must hold of connections that track.
    pub(super) fn check_tracking(&self) {
        for (id, link) in &self.tracking.links {
            let backend = self
                .upstream
                .backends
                .get(*id)
                .expect("a link has its backend");
            assert_eq!(backend.node, link.node);
            link.table.check();
        }
        for id in self.tracking.bcast.all.keys() {
            assert!(self.upstream.backends.get(*id).is_some());
        }
        let tracking = self.clients.iter();
        let tracking = tracking.filter(|(_, client)| client.session.tracking().is_some());
        assert_eq!(tracking.count(), self.tracking.clients);
    }
}
