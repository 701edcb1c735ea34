//! A node has refused a request before it executed it: MOVED and ASK send it to another node, TRYAGAIN and the words of a
//! node that cannot serve say to come again.

use crate::clock::Time;
use crate::cluster::slot::Slot;
use crate::command::{Confined, Rewrite};
use crate::proxy::actions::Wanted;
use crate::proxy::client::held::Retry;
use crate::proxy::client::held_keys::runs_script;
use crate::proxy::ids::{NodeKey, PartId};
use crate::proxy::namespace::whole_database::is_emptying;
use crate::proxy::state::Proxy;
use crate::proxy::stats::slot_redirects::Redirect;
use crate::proxy::texts::refusal::{self, Refusal};
use crate::proxy::upstream::backend::{Origin, Ticket};
use crate::proxy::upstream::goal::{Goal, goal_of};
use crate::proxy::upstream::refused_request::Refused;

/// Redirects that one request follows at once; later ones wait a little each.
const PROMPT_REDIRECTS: u8 = 5;
/// Redirects that one request follows at all.
const REDIRECTS_MAX: u8 = 16;

impl Proxy {
    /// A node refused a request before it executed it: it is held, and goes elsewhere or again.
    #[cold]
    pub(in crate::proxy) fn turned_back(&mut self, refused: Refused<'_>, now: Time) {
        let Refused {
            node,
            replica,
            mut ticket,
            bytes,
            refusal,
            words,
            remedy,
        } = refused;
        let Origin::Part(part) = ticket.origin else {
            return;
        };
        if self.clients.get(part.client).is_none() {
            return;
        }
        let (refusal, words) = match refusal {
            Refusal::Ask(..) if self.needs_all_keys(part, &ticket, bytes) => {
                (Refusal::TryAgain, refusal::TRY_AGAIN.as_bytes())
            }
            other => (other, words),
        };
        let goal = goal_of(&ticket, node);
        let (goal, due, words) = match refusal {
            Refusal::Moved(..) | Refusal::Ask(..) => {
                match self.redirected(&mut ticket, node, refusal, now) {
                    Some((goal, due)) => (goal, due, &b""[..]),
                    None => {
                        let text = refusal::SLOT_NOT_SERVED.as_bytes();
                        return self.answer_error(part, text, now);
                    }
                }
            }
            Refusal::Missing(_) => {
                self.stats.healed.add(1);
                ticket.healed = !remedy.is_empty();
                (self.healed_goal(&ticket, node, replica), now, words)
            }
            Refusal::TryAgain => {
                self.stats.tryagain.add(1);
                self.stats
                    .redirects
                    .note(ticket.slot, Redirect::TryAgain, now);
                self.counted(node, |stats| &stats.errors_tryagain);
                // Both ends of a migration say so by turns until its keys are together: that is no loop of
                // redirects, and the park timeout bounds it.
                ticket.redirects = 0;
                if self.divide(part, &ticket, bytes, words, now) {
                    return;
                }
                (goal, self.due_after(ticket.tries.min(4), now), words)
            }
            Refusal::Unavailable(_) => {
                self.stats.unavailable.add(1);
                self.counted(node, |stats| &stats.errors_unavailable);
                self.want_refresh(Wanted::Trouble);
                // A replica that cannot serve leaves the master to be asked, at once the first time.
                let due = if replica && ticket.tries <= 1 {
                    now
                } else {
                    self.due_after(ticket.tries, now)
                };
                (goal, due, words)
            }
        };
        let retry = Retry {
            goal,
            due,
            refusal: words,
            prelude: remedy,
        };
        self.hold(ticket, bytes, retry, now);
    }

    /// Whether a request has to find all keys of its namespace at one node: a script may name keys that it has not
    /// declared, and where a slot comes to they seem not to be there as long as they are where it leaves.
    fn needs_all_keys(&self, part: PartId, ticket: &Ticket, bytes: &[u8]) -> bool {
        let row = self.table.rows().get(usize::from(ticket.command));
        let is_script = row.is_some_and(|row| {
            let scripts = [Rewrite::Script, Rewrite::NamedScript].map(Confined::Rewritten);
            scripts.contains(&row.confined)
        });
        self.namespace_of(part.client).is_some() && (is_script || runs_script(bytes, is_emptying))
    }

    /// Where a request goes that a node sent elsewhere, and when; nothing if it has been sent on too often.
    fn redirected(
        &mut self,
        ticket: &mut Ticket,
        node: NodeKey,
        refusal: Refusal<'_>,
        now: Time,
    ) -> Option<(Goal, Time)> {
        ticket.redirects += 1;
        if ticket.redirects > REDIRECTS_MAX {
            return None;
        }
        let (Refusal::Moved(slot, endpoint) | Refusal::Ask(slot, endpoint)) = refusal else {
            return None;
        };
        let goal = goal_of(ticket, node);
        if slot.number() != ticket.slot {
            // A redirect of another slot than the request's own is nonsense: ask the cluster.
            self.want_refresh(Wanted::Moved);
            return Some((goal, self.due_after(ticket.redirects, now)));
        }
        let answering = self.upstream.node(node).map(|node| node.address);
        let target =
            answering.and_then(|answering| self.upstream.routes.resolve(endpoint, answering));
        let prompt = ticket.redirects <= PROMPT_REDIRECTS && target.is_some();
        let due = if prompt {
            now
        } else {
            self.due_after(ticket.redirects, now)
        };
        let goal = match (refusal, target) {
            (Refusal::Ask(..), Some(target)) => {
                self.stats.ask.add(1);
                self.stats.redirects.note(ticket.slot, Redirect::Ask, now);
                self.counted(node, |stats| &stats.ask);
                Goal::Ask(target)
            }
            (Refusal::Moved(..), Some(target)) => {
                self.stats.moved.add(1);
                self.stats.redirects.note(ticket.slot, Redirect::Moved, now);
                self.counted(node, |stats| &stats.moved);
                self.want_refresh(Wanted::Moved);
                self.learn_owner(slot, target, now);
                Goal::Owner
            }
            // An address that no node has confirmed is not connected to; a refresh will tell.
            _ => {
                self.want_refresh(Wanted::Moved);
                goal
            }
        };
        Some((goal, due))
    }

    /// A redirect that no script can have made up.
    pub(in crate::proxy) fn learn_owner(&mut self, slot: Slot, node: NodeKey, now: Time) {
        let version = self.upstream.routes.version();
        self.upstream.routes.learn(slot, node, now);
        self.note_owner(slot);
        if self.upstream.routes.version() != version {
            self.hasten_held(now);
        }
    }
}
