//! Overtaken requests: a node refused one request and then executed a later one of the same client. If the two share
//! a key, sending the first one now would reverse them (rule R4), so the client gets the refusal. Requests for other
//! keys of the slot go on: while a slot migrates they may be at different nodes.
//!
//! Two reads of one key may change places: MGET is told TRYAGAIN and sent again after a GET behind it was answered, and
//! if somebody writes in between, the first reply of the pipeline is newer than the second. One server never does that;
//! clients of Redis Cluster do, as they send again what was refused of a pipeline. The other ways are worse: the refusal
//! would be an error during planned work, and the second read, asked again, could see what its own client wrote behind it.
//!
//! It must never know when a held request is sent (that is `retry`).

use std::cell::OnceCell;

use crate::clock::Time;
use crate::config::ReadPreference;
use crate::proxy::client::held::Held;
use crate::proxy::client::held_keys::{keys_of, runs_script, share_a_key};
use crate::proxy::ids::{BackendId, ClientId, NO_SLOT, PartId};
use crate::proxy::namespace::whole_database::is_emptying;
use crate::proxy::planted_bugs;
use crate::proxy::state::Proxy;
use crate::proxy::texts::refusal;
use crate::proxy::upstream::backend::{Origin, Ticket};
use crate::proxy::upstream::node_reply::NodeReply;

impl Proxy {
    /// The bytes of a request that has been answered, if its client holds others that it may have overtaken.
    #[inline]
    pub(in crate::proxy) fn bytes_if_held(
        &self,
        id: BackendId,
        client: ClientId,
        ticket: &Ticket,
    ) -> Option<Vec<u8>> {
        if !self.clients.get(client)?.held.has(ticket.slot) {
            return None;
        }
        let backend = self.upstream.backends.get(id)?;
        Some(backend.output.front(ticket.len as usize).to_vec())
    }

    /// Whether the node has not executed a request since its user may not: it has overtaken nothing. A script, the proxy's
    /// own too, may say so of what it has done in part.
    pub(in crate::proxy) fn was_denied(&self, answer: &NodeReply<'_>) -> bool {
        let error = answer.reply.error();
        let is_denied = error.is_some_and(|text| text.starts_with(b"NOPERM "));
        let row = self.table.rows().get(usize::from(answer.ticket.command));
        is_denied && row.is_some_and(|row| !row.own_errors)
    }

    /// This part was executed: what was sent before it for one of its keys and is still held must
    /// not follow it.
    pub(in crate::proxy) fn overtaken(
        &mut self,
        part: PartId,
        executed: &Ticket,
        bytes: &[u8],
        now: Time,
    ) {
        let preference = self.read_preference(part.client);
        let Some(client) = self.clients.get_mut(part.client) else {
            return;
        };
        if executed.slot == NO_SLOT || planted_bugs::is_on("refused-resent-late") {
            return;
        }
        let first = client.held.front(executed.slot);
        if first.is_none_or(|first| !first.part.seq.before(part.seq)) {
            return;
        }
        let (table, has_namespaces) = (&self.table, !self.namespaces.is_empty());
        // What empties a namespace is about all keys: they cannot be told.
        let keys_of =
            |command: u16, bytes: &[u8]| match has_namespaces && runs_script(bytes, is_emptying) {
                true => None,
                false => keys_of(table, command, bytes),
            };
        // A read that may go to a replica has no place among the writes (rule R5).
        let anywhere = preference != ReadPreference::Master;
        // Looked for once, however many are held.
        let keys = OnceCell::new();
        let overtaken = client.held.take_if(executed.slot, |held| {
            let own = held.part.seq.before(part.seq)
                && !(held.ticket.readonly && (executed.readonly || anywhere))
                && {
                    let executed = keys.get_or_init(|| keys_of(executed.command, bytes));
                    let command = held.ticket.command;
                    let own = held
                        .keys
                        .get_or_insert_with(|| keys_of(command, &held.bytes));
                    share_a_key(executed, own)
                };
            // Whether a doubted one was executed before will soon be known.
            held.is_overtaken |= own && held.is_doubted();
            own && !held.is_doubted()
        });
        for held in overtaken {
            self.unhold(&held);
            self.tell_overtaken(&held, now);
        }
    }

    /// A request that was refused and then overtaken hears its own refusal.
    pub(in crate::proxy) fn tell_overtaken(&mut self, held: &Held, now: Time) {
        let Origin::Part(part) = held.ticket.origin else {
            return;
        };
        let text = if held.refusal.is_empty() {
            refusal::NOT_EXECUTED.as_bytes()
        } else {
            &held.refusal
        };
        self.answer_error(part, text, now);
    }
}

#[cfg(test)]
mod tests;
