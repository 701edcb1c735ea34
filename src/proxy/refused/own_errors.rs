//! Doubt: an error that reads like a refusal, from a request that may have been executed.
//!
//! A script, a function or a module command may do its work and then answer in the very words in which servers
//! refuse (`Command::own_errors`). To believe them would be to execute it again. So the connection that brought
//! such words is asked a question that only the server itself answers: a harmless request with the same keys. If
//! the server refuses that one in the same sense, the first one was refused, too; what is followed then is the
//! second answer, which nobody can have made up. Otherwise the client gets the first answer as it came; but a redirect that
//! may have been true a moment ago, while slots move, is nothing a client could use: it hears that nobody knows.
//!
//! What is known not to have been executed is preceded by the same question wherever it is sent again (it *scouts*),
//! so that it leaves only for a node that has just said that it would execute it.
//!
//! The request is held while the question is under way, and so in order (rule R4), and no longer than any other.
//!
//! One thing cannot be told apart: words that were made up and have come true before the question arrives. They would
//! have to be exact in every letter. `Suspects` sees to it that nothing gets a second chance: what has been caught is
//! not asked about again for a while.
//!
//! It must never act upon the words of such a request in any other way: they teach no route, ask for no refresh,
//! and fail no slot.

use std::time::Duration;

use crate::clock::Time;
use crate::config::ReadPreference;
use crate::proxy::client::held::Held;
use crate::proxy::client::held_keys::{args_of, keys_in, runs_script};
use crate::proxy::client::own_errors::{Probe, ProbeKind, Sign, kind};
use crate::proxy::ids::{BackendId, NO_SLOT, PartId};
use crate::proxy::namespace::whole_database::is_script;
use crate::proxy::pipeline::At;
use crate::proxy::planted_bugs;
use crate::proxy::scripts::hash;
use crate::proxy::state::Proxy;
use crate::proxy::texts::refusal::{self, Missing, Refusal, Trouble};
use crate::proxy::upstream::backend::{Origin, Pin, Ticket};
use crate::proxy::upstream::goal::{ASKING, Goal};
use crate::proxy::upstream::node_reply::NodeReply;
use crate::proxy::upstream::refused_request::Refused;
use crate::resp::encode;
use crate::resp::reply::Reply;

/// So long after a slot has got another master, nodes may not agree on where slots are.
const ON_THE_WAY: Duration = Duration::from_secs(5);

impl Proxy {
    /// Whether the words of an error to this request may be its own. The proxy's own scripts say nothing but what they are
    /// asked for.
    pub(in crate::proxy) fn has_own_errors(&self, ticket: &Ticket, bytes: &[u8]) -> bool {
        let row = self.table.rows().get(usize::from(ticket.command));
        let may = row.is_some_and(|row| row.own_errors) && !planted_bugs::is_on("words-believed");
        if !may || self.namespaces.is_empty() {
            return may;
        }
        !runs_script(bytes, is_script)
    }

    /// A request that may have been executed has got an error that reads like this refusal. It is held, and its
    /// node asked; or nothing is done, since nothing can be asked, and the reply is its client's.
    pub(in crate::proxy) fn doubt(&mut self, answer: &NodeReply<'_>, refusal: Refusal<'_>) -> bool {
        let &NodeReply {
            backend: id,
            ticket,
            reply,
            now,
            ..
        } = answer;
        let (Some(backend), Origin::Part(part)) = (self.upstream.backends.get(id), ticket.origin)
        else {
            return false;
        };
        let bytes = backend.output.front(ticket.len as usize).to_vec();
        let replica = backend.flavor.read_only;
        let who = suspect(&bytes, refusal);
        let missing = matches!(refusal, Refusal::Missing(_));
        if self.clients.get(part.client).is_none()
            || ticket.pin == Pin::May
            || self.is_holding_enough(bytes.len())
            || (self.suspects.knows(who, now) && !missing)
        {
            return false;
        }
        let asked = self.question(ticket, &bytes, refusal, replica);
        let Some((kind, frame)) = asked else {
            return false;
        };
        self.release(id, ticket);
        // Many ask for what a node has just lost; the first one's question answers for those right behind.
        let known = missing
            && !self.suspects.knows(who, now)
            && self.suspects.was_lacked(id, who, ticket.sent_at);
        let mut ticket = *ticket;
        let since = *ticket.held_since.get_or_insert(now);
        let expires = since.after(self.park_timeout());
        let probe = Probe {
            kind,
            backend: id,
            doubted: Some(reply.frame().into()),
        };
        let held = doubted(part, ticket, bytes, expires, probe);
        if known {
            let words = reply.error().unwrap_or_default();
            self.is_turned_back(id, held, refusal, words, now);
            self.release_held(part.client, ticket.slot, now);
        } else {
            self.stats.doubted.add(1);
            let asking = ticket.asked && kind == ProbeKind::Keys;
            self.send_probe(id, &ticket, asking, &frame, now);
            self.insert_held(held, At::Backend(id));
        }
        true
    }

    /// What to ask about a request that seems to be refused like this.
    fn question(
        &self,
        ticket: &Ticket,
        bytes: &[u8],
        refusal: Refusal<'_>,
        replica: bool,
    ) -> Option<(ProbeKind, Vec<u8>)> {
        let mut frame = Vec::new();
        let question = match refusal {
            // Servers speak of the request's own slot only.
            Refusal::Moved(slot, _) | Refusal::Ask(slot, _) if slot.number() != ticket.slot => {
                return None;
            }
            Refusal::Missing(missing) => {
                // What cannot be loaded again is for the client to hear.
                self.remedy(bytes, ticket, missing, replica)?;
                let name = name_of(bytes)?;
                match missing {
                    Missing::Script => {
                        encode::command(&mut frame, [&b"SCRIPT"[..], b"EXISTS", &name]);
                        ProbeKind::Script
                    }
                    Missing::Function => {
                        encode::command(&mut frame, [&b"FUNCTION"[..], b"LIST"]);
                        ProbeKind::Functions
                    }
                }
            }
            // A request with keys gets a redirect from a replica, or it is one for replicas.
            Refusal::Unavailable(Trouble::ReadOnly) if ticket.slot != NO_SLOT => return None,
            Refusal::Unavailable(Trouble::MasterDown) if ticket.slot != NO_SLOT && !replica => {
                return None;
            }
            Refusal::Unavailable(Trouble::ReadOnly) => {
                encode::command(&mut frame, [&b"ROLE"[..]]);
                ProbeKind::Role
            }
            // They are no answers to a request.
            Refusal::Unavailable(Trouble::Full | Trouble::ThrownOut) => return None,
            Refusal::Unavailable(Trouble::Loading | Trouble::MasterDown)
                if ticket.slot == NO_SLOT =>
            {
                encode::command(&mut frame, [&b"DBSIZE"[..]]);
                ProbeKind::Size
            }
            _ => {
                frame = self.key_question(ticket, bytes)?;
                ProbeKind::Keys
            }
        };
        Some((question, frame))
    }

    /// EXISTS with all keys of a request, if it has any that can be found.
    fn key_question(&self, ticket: &Ticket, bytes: &[u8]) -> Option<Vec<u8>> {
        keys_in(&self.table, ticket.command, bytes, |args, keys| {
            let mut frame = Vec::new();
            encode::array(&mut frame, keys.len() + 1);
            encode::bulk(&mut frame, b"EXISTS");
            for key in keys {
                encode::bulk(&mut frame, args.at(*key as usize));
            }
            (!keys.is_empty()).then_some(frame)
        })?
    }

    fn send_probe(
        &mut self,
        id: BackendId,
        ticket: &Ticket,
        asking: bool,
        frame: &[u8],
        now: Time,
    ) {
        let Origin::Part(part) = ticket.origin else {
            return;
        };
        let sign = Origin::Sign(part);
        let asking = asking.then_some((ASKING, Origin::Discard));
        for (frame, origin) in asking.into_iter().chain([(frame, sign)]) {
            let ticket = Ticket {
                origin,
                len: frame.len() as u32,
                sent_at: now,
                ..*ticket
            };
            let (pool, actions) = (&mut self.pool, &mut self.actions);
            self.upstream.send(id, frame, ticket, pool, actions);
            self.stats.backend_requests.add(1);
        }
    }

    /// Asks a node whether it would execute a held request that is about to be sent to it. Nothing if that cannot
    /// be asked.
    pub(in crate::proxy) fn scout(
        &mut self,
        held: &Held,
        backend: BackendId,
        now: Time,
    ) -> Option<Probe> {
        let frame = self.key_question(&held.ticket, &held.bytes)?;
        let asks = matches!(held.goal, Goal::Ask(_));
        self.send_probe(backend, &held.ticket, asks, &frame, now);
        Some(Probe {
            kind: ProbeKind::Keys,
            backend,
            doubted: None,
        })
    }

    /// A node has answered a question about a request that is held for it; or is not there any more to answer. What
    /// its client holds may be released.
    pub(in crate::proxy) fn answered(
        &mut self,
        id: BackendId,
        part: PartId,
        slot: u16,
        reply: Option<Reply<'_>>,
        now: Time,
    ) {
        let Some(owner) = self.clients.get_mut(part.client) else {
            return;
        };
        let about = |held: &Held| held.probe.as_ref().is_some_and(|own| own.backend == id);
        // It may have been given up since.
        let Some(mut held) = owner.held.take_one(slot, part, about) else {
            return;
        };
        self.unhold(&held);
        if held.is_doubted() {
            return self.judge(id, held, reply, now);
        }
        // It scouts.
        held.probe = None;
        match reply.map(|reply| ProbeKind::Keys.sign(reply, None, b"")) {
            Some(Sign::Refuses(refusal, words)) => {
                held.ticket.tries = held.ticket.tries.saturating_add(1);
                self.is_turned_back(id, held, refusal, words, now);
            }
            Some(Sign::Serves | Sign::Unclear) => {
                held.cleared = Some(id);
                held.due = now;
                self.insert_held(held, At::Held);
            }
            None => {
                held.due = now;
                self.insert_held(held, At::Held);
            }
        }
    }

    /// Decides about a request whose reply is doubted.
    fn judge(&mut self, id: BackendId, mut held: Held, reply: Option<Reply<'_>>, now: Time) {
        let Some(probe) = held.probe.as_ref() else {
            return;
        };
        let doubted = probe.doubted().unwrap_or_default().to_vec();
        let words = Reply::new(&doubted).error().unwrap_or_default();
        let (first, name) = (Refusal::parse(words), name_of(&held.bytes));
        let sign = reply.map_or(Sign::Unclear, |reply| {
            let name = name.as_deref().unwrap_or_default();
            probe.kind.sign(reply, first, name)
        });
        match (first, sign) {
            (Some(first), Sign::Refuses(second, said)) if self.agree(id, first, second) => {
                if held.is_overtaken {
                    let redirected = matches!(first, Refusal::Moved(..) | Refusal::Ask(..));
                    held.refusal = if redirected { b"" } else { words }.to_vec();
                    return self.tell_overtaken(&held, now);
                }
                let said = if said.is_empty() { words } else { said };
                if matches!(first, Refusal::Missing(_)) {
                    let who = suspect(&held.bytes, first);
                    self.suspects.note_lack(id, who, now);
                }
                return self.is_turned_back(id, held, second, said, now);
            }
            (Some(first), Sign::Serves) if self.was_true_perhaps(id, first, now) => {
                return self.tell_unsure(&held, now);
            }
            (Some(first), Sign::Serves | Sign::Refuses(..)) => {
                self.stats.disbelieved.add(1);
                self.suspects.note(suspect(&held.bytes, first), now);
                if sign == Sign::Serves {
                    self.upstream.succeeded(held.ticket.slot);
                }
            }
            (_, Sign::Unclear) | (None, _) => {}
        }
        self.pass_on(&held, now);
    }

    /// Whether two refusals from one connection, one right after the other, are about one and the same.
    fn agree(&self, id: BackendId, first: Refusal<'_>, second: Refusal<'_>) -> bool {
        let backend = self.upstream.backends.get(id);
        let node = backend.and_then(|backend| self.upstream.node(backend.node));
        // A shard may fail over in between: another of its nodes is named then.
        let same = |one: &str, other: &str| {
            let routes = &self.upstream.routes;
            let node = |endpoint| node.and_then(|node| routes.resolve(endpoint, node.address));
            match (node(one), node(other)) {
                (Some(one), Some(other)) => routes.are_of_one_shard(one, other),
                _ => one == other,
            }
        };
        match (first, second) {
            (Refusal::Moved(_, one), Refusal::Moved(_, other))
            | (Refusal::Ask(_, one), Refusal::Ask(_, other) | Refusal::Moved(_, other)) => {
                same(one, other)
            }
            // Its keys are together again, elsewhere.
            (Refusal::TryAgain, Refusal::TryAgain | Refusal::Ask(..) | Refusal::Moved(..)) => true,
            // It has heard more of the cluster since.
            (Refusal::Unavailable(_), Refusal::Unavailable(_) | Refusal::Moved(..)) => true,
            (Refusal::Missing(_), Refusal::Missing(_)) => true,
            _ => false,
        }
    }

    /// Whether a redirect for the request's own slot may have been the node's own, though the node serves the slot now: slots are
    /// on their way, and it names another node of the cluster. A script that would say that is hard to think of.
    fn was_true_perhaps(&self, id: BackendId, redirect: Refusal<'_>, now: Time) -> bool {
        let routes = &self.upstream.routes;
        let (Refusal::Moved(_, endpoint) | Refusal::Ask(_, endpoint)) = redirect else {
            return false;
        };
        let backend = self.upstream.backends.get(id);
        let own = backend.map(|backend| backend.node);
        let node = own.and_then(|own| self.upstream.node(own));
        let named = node.and_then(|node| routes.resolve(endpoint, node.address));
        named.is_some() && named != own && routes.changed_within(ON_THE_WAY, now)
    }

    /// A client hears that nobody knows whether its request was executed. It is taken for executed.
    fn tell_unsure(&mut self, held: &Held, now: Time) {
        let Origin::Part(part) = held.ticket.origin else {
            return;
        };
        self.answer_error(part, refusal::SLOT_CAME.as_bytes(), now);
        self.overtaken(part, &held.ticket, &held.bytes, now);
    }

    /// A request that is known not to have been executed.
    fn is_turned_back(
        &mut self,
        id: BackendId,
        held: Held,
        refusal: Refusal<'_>,
        words: &[u8],
        now: Time,
    ) {
        let Some(backend) = self.upstream.backends.get(id) else {
            return debug_assert!(false, "the node has answered on it");
        };
        let (node, replica) = (backend.node, backend.flavor.read_only);
        let remedy = match refusal {
            Refusal::Missing(missing) => self.remedy(&held.bytes, &held.ticket, missing, replica),
            _ => None,
        };
        let refused = Refused {
            node,
            replica,
            ticket: held.ticket,
            bytes: &held.bytes,
            refusal,
            words,
            remedy: remedy.unwrap_or_default(),
        };
        self.turned_back(refused, now);
    }

    /// The client of a doubted reply gets it as it came. The request is taken for executed: nothing earlier that
    /// is still held may follow it.
    pub(in crate::proxy) fn pass_on(&mut self, held: &Held, now: Time) {
        let doubted = held.probe.as_ref().and_then(Probe::doubted);
        let (Some(doubted), Origin::Part(part)) = (doubted, held.ticket.origin) else {
            return;
        };
        self.count_error(part, Reply::new(doubted).error().unwrap_or_default());
        self.fulfil(part, doubted, now);
        let replica =
            held.ticket.readonly && self.read_preference(part.client) != ReadPreference::Master;
        if !replica {
            self.overtaken(part, &held.ticket, &held.bytes, now);
        }
    }
}

/// A request that is held while its node is asked about it.
fn doubted(part: PartId, ticket: Ticket, bytes: Vec<u8>, expires: Time, probe: Probe) -> Held {
    Held {
        part,
        ticket,
        bytes,
        goal: Goal::Owner,
        due: expires,
        expires,
        refusal: Vec::new(),
        prelude: Vec::new(),
        scouts: true,
        probe: Some(probe),
        keys: None,
        cleared: None,
        is_overtaken: false,
    }
}

/// The name of the script or function that a request names: its first argument.
fn name_of(bytes: &[u8]) -> Option<Vec<u8>> {
    args_of(bytes, |args| args.get(1).map(<[u8]>::to_vec))?
}

/// Who says what: which script or function, and the refusal with all that it names. A script that has made up one
/// redirect is believed about every other, or its own mistakes would let true redirects through to clients.
fn suspect(bytes: &[u8], refusal: Refusal<'_>) -> u64 {
    let who = args_of(bytes, |args| args.get(1).map_or(0, hash));
    let place = match refusal {
        Refusal::Moved(slot, addr) | Refusal::Ask(slot, addr) => {
            hash(addr.as_bytes()).rotate_left(16) ^ u64::from(slot.number())
        }
        Refusal::TryAgain | Refusal::Missing(_) | Refusal::Unavailable(_) => 0,
    };
    who.unwrap_or_default() ^ place.rotate_left(8) ^ kind(refusal)
}

#[cfg(test)]
mod tests;
