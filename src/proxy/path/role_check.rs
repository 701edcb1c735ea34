//! Vouching: what a node says of itself right before a request that speaks for a whole shard.
//!
//! A request with a key is redirected by a node that does not serve the key. DBSIZE has none: a master that has become a
//! replica answers it with a replica's count, and one that has just joined and is about to be a replica as if its keys were
//! more than copies. So the node is asked what it is, adjacent before the request, and its reply to the request counts only
//! if the word that came before it is good. Where the word cannot be had (our user may not ask, a script keeps the node busy),
//! the reply counts as it is.
//!
//! - A master of a shard is asked ROLE. If it is none any more, the request goes to whoever took over, as if it had been
//!   refused.
//! - A master without slots is asked for its line of CLUSTER NODES. Unless it has keys that count (see `cluster::myself`), its
//!   part is left out.

use crate::clock::Time;
use crate::cluster::myself::keys_count;
use crate::proxy::actions::Wanted;
use crate::proxy::client::held::Retry;
use crate::proxy::ids::{BackendId, NO_SLOT, PartId};
use crate::proxy::pipeline::by_slot::is_urgent;
use crate::proxy::state::Proxy;
use crate::proxy::texts::refusal::Refusal;
use crate::proxy::upstream::backend::{Origin, Pin, Ticket};
use crate::proxy::upstream::goal::Goal;
use crate::proxy::upstream::node_reply::NodeReply;
use crate::proxy::upstream::routes::ShardId;
use crate::resp::reply::Reply;

const ROLE: &[u8] = b"*1\r\n$4\r\nROLE\r\n";
/// Asks a node for its own line, and for those of all others.
pub(in crate::proxy) const NODES: &[u8] = b"*2\r\n$7\r\nCLUSTER\r\n$5\r\nNODES\r\n";

impl Proxy {
    /// Sends a request, and before it what it needs a word on.
    pub(in crate::proxy) fn send_vouched(&mut self, id: BackendId, frame: &[u8], ticket: Ticket) {
        let backend = self.upstream.backends.get(id);
        let to_replica = backend.is_some_and(|backend| backend.flavor.read_only);
        let question = match ticket.pin {
            // It was sought because no master could be asked.
            Pin::Shard(_) if to_replica => None,
            // What is to end a request that keeps the node busy does not wait for a word.
            Pin::Shard(_) if is_urgent(self.table.row(ticket.command)) => None,
            Pin::Shard(_) => Some(ROLE),
            Pin::Spare => Some(NODES),
            Pin::Free | Pin::Must | Pin::May | Pin::Member | Pin::Astray(_) => None,
        };
        let (pool, actions) = (&mut self.pool, &mut self.actions);
        if let Some(question) = question {
            let asks = Ticket {
                origin: Origin::Vouch,
                len: question.len() as u32,
                ..ticket
            };
            self.upstream.send(id, question, asks, pool, actions);
        }
        self.upstream.send(id, frame, ticket, pool, actions);
    }

    /// A node has said what it is: if that is not what the request behind it wants, so its ticket says from now on.
    #[cold]
    pub(in crate::proxy) fn vouched(&mut self, id: BackendId, word: Reply<'_>, now: Time) {
        let topology = self.upstream.routes.topology();
        let Some(backend) = self.upstream.backends.get_mut(id) else {
            return;
        };
        let Some(ticket) = backend.tickets.front_mut() else {
            debug_assert!(false, "nothing follows a question of what a node is");
            return;
        };
        match ticket.pin {
            Pin::Shard(shard) if !is_master(word) => ticket.pin = Pin::Astray(shard),
            Pin::Spare if !topology.is_none_or(|topology| keys_count(word.text(), topology)) => {
                let origin = std::mem::replace(&mut ticket.origin, Origin::Discard);
                if let Origin::Part(part) = origin {
                    self.leave_out(part, now);
                }
            }
            _ => {}
        }
    }

    /// The reply of a node that has just said that it is no master: the request is held, for the one that is.
    #[cold]
    pub(in crate::proxy) fn led_astray(&mut self, answer: &NodeReply<'_>, shard: ShardId) {
        let &NodeReply {
            backend: id,
            ticket,
            reply,
            now,
            ..
        } = answer;
        let Some(backend) = self.upstream.backends.get_mut(id) else {
            return;
        };
        let bytes = backend.output.front(ticket.len as usize).to_vec();
        backend.output.release(ticket.len as usize, &mut self.pool);
        let Origin::Part(PartId { client, .. }) = ticket.origin else {
            return;
        };
        if self.clients.get(client).is_none() {
            return;
        }
        self.stats.unavailable.add(1);
        self.want_refresh(Wanted::Trouble);
        let refused = reply.error().filter(|text| Refusal::parse(text).is_some());
        let ticket = Ticket {
            pin: Pin::Shard(shard),
            ..*ticket
        };
        let words = refused.unwrap_or_default().to_vec();
        let retry = Retry {
            goal: Goal::Shard(shard),
            due: self.due_after(ticket.tries, now),
            refusal: &words,
            prelude: Vec::new(),
        };
        self.hold(ticket, &bytes, retry, now);
        self.release_held(client, NO_SLOT, now);
    }
}

/// Whether a node says in its answer to ROLE that it is a master, or says nothing.
fn is_master(role: Reply<'_>) -> bool {
    let first = role.items().next().and_then(|first| first.text());
    first.is_none_or(|first| first == b"master")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::topology::Topology;

    #[test]
    fn a_node_vouches_for_itself() {
        let check = |role: &str, expected: bool| {
            assert_eq!(is_master(Reply::new(role.as_bytes())), expected, "{role}");
        };
        check("*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n", true);
        check("*2\r\n$5\r\nslave\r\n$1\r\nx\r\n", false);
        check("-NOPERM no\r\n", true);
        check("-BUSY a script\r\n", true);
        let topology = Topology::of_masters(&[([127, 0, 0, 1], 1).into()]);
        let check = |nodes: &str, expected: bool| {
            let reply = format!("${}\r\n{nodes}\r\n", nodes.len());
            assert_eq!(
                keys_count(Reply::new(reply.as_bytes()).text(), &topology),
                expected
            );
        };
        check("me h:1@2 myself,master - 0 0 0 connected", false);
        check("me h:1@2 myself,master - 0 0 0 connected [7-<-x]", true);
        check("nonsense", true);
        assert!(keys_count(Reply::new(b"-NOPERM no\r\n").text(), &topology));
    }
}
