//! `Run`: one sequence of requests on one exclusive connection, with all its bytes, so that it can begin anew
//! at another node as long as nothing of it has been executed.
//!
//! It must never know what the requests are for.

use std::net::SocketAddr;

use crate::clock::Time;
use crate::cluster::slot::Slot;
use crate::proxy::actions::Wanted;
use crate::proxy::backend::{BackendId, Origin, Patience, Pin, Ticket};
use crate::proxy::client::ClientId;
use crate::proxy::pipeline::{At, Seq};
use crate::proxy::redirects::Redirect;
use crate::proxy::refusal::{self, Refusal};
use crate::proxy::retry::{ASKING, Goal};
use crate::proxy::upstream::Target;
use crate::proxy::{NO_SLOT, Proxy};
use crate::resp::reply::Reply;

/// Redirects that a run follows at once; later ones wait a little each.
const PROMPT_REDIRECTS: u8 = 5;
/// Redirects that a run follows at all.
const REDIRECTS_MAX: u8 = 16;

/// One sequence of requests on one exclusive connection.
#[derive(Debug)]
pub struct Run {
    /// The slot of its keys, or [`NO_SLOT`].
    pub slot: u16,
    /// The connection that carries it.
    pub backend: Option<BackendId>,
    /// Its requests, in order.
    pub lines: Vec<Line>,
    /// How many of them have been sent on the connection.
    sent: usize,
    /// How many of them the connection has answered.
    answered: usize,
    /// Whether the connection has refused MULTI.
    unopened: bool,
    /// What makes the connection clean, if no reply is outstanding; nothing if it is clean by then.
    pub cleaner: &'static [u8],
    /// Whether its connection is for nobody else after it.
    pub spoilt: bool,
    /// Whether its reply may take as long as a client wishes.
    pub patient: bool,
    /// Where it is to go.
    pub goal: Goal,
    /// Redirects followed.
    redirects: u8,
    /// Times that it was refused.
    tries: u8,
    /// Since when it has been trying to begin, if it has not been answered since.
    pub held_since: Option<Time>,
    /// When it is to begin, while it waits.
    pub due: Option<Time>,
    /// When it last began.
    begun_at: Time,
    /// The words of the last refusal; none after a redirect, which no client may see.
    refusal: Vec<u8>,
}

/// One request of a run.
#[derive(Debug)]
pub struct Line {
    /// Its bytes.
    pub frame: Vec<u8>,
    /// The bytes that the client sent, where they only name the script that the frame has.
    pub by_name: Option<Vec<u8>>,
    /// Its row.
    pub command: u16,
    /// Who waits for its reply.
    pub owed: Owed,
}

impl Line {
    /// A request that is sent as it came.
    pub fn new(frame: Vec<u8>, command: u16, owed: Owed) -> Line {
        Line {
            frame,
            by_name: None,
            command,
            owed,
        }
    }
}

/// Who waits for the reply to a line, and what it means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owed {
    /// Nobody: the client has its reply already, or has not asked for this.
    Nobody,
    /// This part of the request at this place: it is queued, or fails to be.
    Queued(Seq, u16),
    /// The request at this place, which is WATCH.
    Watch(Seq),
    /// This part of the request at this place, which is executed now: the run's last.
    Last(Seq, u16),
}

impl Owed {
    /// The place that waits.
    pub fn place(self) -> Option<(Seq, u16)> {
        match self {
            Owed::Nobody => None,
            Owed::Watch(seq) => Some((seq, 0)),
            Owed::Queued(seq, part) | Owed::Last(seq, part) => Some((seq, part)),
        }
    }
}

impl Run {
    /// A run without requests.
    pub fn new(slot: u16) -> Run {
        Run {
            slot,
            backend: None,
            lines: Vec::new(),
            sent: 0,
            answered: 0,
            unopened: false,
            cleaner: b"",
            spoilt: false,
            patient: false,
            goal: if slot == NO_SLOT {
                Goal::AnyMaster
            } else {
                Goal::Owner
            },
            redirects: 0,
            tries: 0,
            held_since: None,
            due: None,
            begun_at: Time::default(),
            refusal: Vec::new(),
        }
    }

    /// The first keyed request says where the run goes.
    pub fn set_slot(&mut self, slot: u16) {
        debug_assert!(self.slot == NO_SLOT && self.backend.is_none());
        self.slot = slot;
        self.goal = Goal::Owner;
    }

    /// The row of the request that is answered next; [`u16::MAX`] for MULTI, and for none.
    pub fn next_command(&self) -> u16 {
        let line = self.lines.get(self.answered);
        line.map_or(u16::MAX, |line| line.command)
    }

    /// Looks at the next reply: if it refuses MULTI, the node executes what follows at once.
    pub fn note_unopened(&mut self, reply: Reply<'_>) {
        let opens = self.next_owed() == Some(Owed::Nobody) && self.next_command() == u16::MAX;
        self.unopened |= opens && reply.is_error();
    }

    /// Whether MULTI was refused on this connection.
    pub fn is_unopened(&self) -> bool {
        self.unopened
    }

    /// Who waits for the next reply.
    pub fn next_owed(&self) -> Option<Owed> {
        self.lines.get(self.answered).map(|line| line.owed)
    }

    /// The next reply has come and is handed on: nobody waits for it any more.
    pub fn note_answer(&mut self) {
        if let Some(line) = self.lines.get_mut(self.answered) {
            line.owed = Owed::Nobody;
            self.answered += 1;
        }
    }

    /// The request that is answered next has a script in it, which its client has only named.
    pub fn has_script(&self) -> bool {
        let line = self.lines.get(self.answered);
        line.is_some_and(|line| line.by_name.is_some())
    }

    /// All requests are again as their client sent them.
    pub fn name_scripts(&mut self) {
        for line in &mut self.lines {
            if let Some(frame) = line.by_name.take() {
                line.frame = frame;
            }
        }
    }

    /// Its node serves it no more. The time that it spent there, perhaps blocked, was no waiting for a node.
    pub fn note_end(&mut self, now: Time) {
        let there = now.since(self.begun_at);
        self.held_since = self.held_since.map(|since| since.after(there));
    }

    /// Whether a client waits for a reply of this run.
    pub fn is_waited_for(&self) -> bool {
        self.lines.iter().any(|line| line.owed != Owed::Nobody)
    }

    /// All places that wait; they wait no more.
    pub fn take_owed(&mut self) -> Vec<(Seq, u16)> {
        self.lines
            .iter_mut()
            .filter_map(|line| std::mem::replace(&mut line.owed, Owed::Nobody).place())
            .collect()
    }

    /// What the client hears when it is given up.
    pub fn give_up_text(&self) -> Vec<u8> {
        if self.refusal.is_empty() {
            refusal::SLOT_NOT_SERVED.into()
        } else {
            self.refusal.clone()
        }
    }
}

impl Proxy {
    /// Sends a run from its beginning on a connection of its own; or says when to try again.
    pub(super) fn begin(
        &mut self,
        id: ClientId,
        run: &mut Run,
        index: u16,
        now: Time,
    ) -> Result<(), Time> {
        debug_assert!(run.backend.is_none());
        let poll = self.due_after(4, now);
        let target = match run.goal {
            Goal::Owner => Slot::new(run.slot)
                .and_then(|slot| self.upstream.routes.shard(slot))
                .map(|shard| Target {
                    node: shard.master,
                    replica: false,
                }),
            Goal::Ask(node) | Goal::Node(node) => Some(Target {
                node,
                replica: false,
            }),
            Goal::Shard(id) => self.upstream.shard_master(id),
            Goal::AnyMaster => self.upstream.any_master(id.key() as usize),
        };
        let Some(target) = target else {
            self.want_refresh(Wanted::Trouble);
            return Err(poll);
        };
        let Some(backend) = self.lend(target.node, id, index, now) else {
            self.want_refresh(Wanted::Trouble);
            let retry_at = self.upstream.node(target.node).map(|node| node.retry_at());
            return Err(retry_at.map_or(poll, |at| at.min(poll)));
        };
        run.backend = Some(backend);
        if let Some(backend) = self.upstream.backends.get_mut(backend) {
            backend.patience = if run.patient {
                Patience::Endless
            } else {
                Patience::None
            };
        }
        (run.sent, run.answered, run.unopened) = (0, 0, false);
        run.due = None;
        run.begun_at = now;
        if matches!(run.goal, Goal::Ask(_)) {
            let ticket = self.ticket(run.slot, ASKING.len(), u16::MAX, Origin::Discard, now);
            let (pool, actions) = (&mut self.pool, &mut self.actions);
            self.upstream.send(backend, ASKING, ticket, pool, actions);
            // The next time it is the owner who is to be asked.
            run.goal = Goal::Owner;
        }
        self.send_unsent(id, run, index, now);
        Ok(())
    }

    /// Sends what a run that has its connection has not sent yet.
    pub(super) fn send_unsent(&mut self, id: ClientId, run: &mut Run, index: u16, now: Time) {
        while let (Some(backend), Some(line)) = (run.backend, run.lines.get(run.sent)) {
            self.send_line(id, (run.slot, line), index, backend, now);
            run.sent += 1;
        }
    }

    fn send_line(
        &mut self,
        id: ClientId,
        (slot, line): (u16, &Line),
        index: u16,
        backend: BackendId,
        now: Time,
    ) {
        let origin = Origin::Lease {
            client: id,
            run: index,
        };
        let ticket = self.ticket(slot, line.frame.len(), line.command, origin, now);
        let (pool, actions) = (&mut self.pool, &mut self.actions);
        self.stats.backend_requests.add(1);
        self.upstream
            .send(backend, &line.frame, ticket, pool, actions);
        if let (Some((seq, part)), Some(client)) = (line.owed.place(), self.clients.get_mut(id)) {
            client.pipeline.set_at(seq, part, At::Backend(backend));
        }
    }

    /// A ticket of a connection that is no shared one.
    pub(super) fn ticket(
        &self,
        slot: u16,
        len: usize,
        command: u16,
        origin: Origin,
        now: Time,
    ) -> Ticket {
        Ticket {
            origin,
            slot,
            command,
            len: len as u32,
            redirects: 0,
            tries: 1,
            losses: 0,
            readonly: false,
            pin: Pin::Must,
            healed: false,
            asked: false,
            held_since: None,
            sent_at: now,
        }
    }

    /// Parts a run from its connection, which goes back if it is clean, or can be made so.
    pub(super) fn leave(&mut self, run: &mut Run, now: Time) {
        let (cleaner, spoilt) = (run.cleaner, run.spoilt);
        match run.backend.take() {
            Some(backend) if spoilt => self.throw_away(backend, now),
            Some(backend) => self.give_back(backend, cleaner, now),
            None => {}
        }
    }

    /// What a refusal teaches.
    pub(super) fn note_refusal(
        &mut self,
        slot: u16,
        refusal: Refusal<'_>,
        from: Option<SocketAddr>,
        now: Time,
    ) {
        let mut run = Run::new(slot);
        // Where it would go and when is of no use: it does not.
        let _when = self.follow(&mut run, refusal, b"", from, now);
    }

    /// Where a run goes after a refusal from that node, and when; or what the client is told.
    pub(super) fn follow(
        &mut self,
        run: &mut Run,
        refusal: Refusal<'_>,
        words: &[u8],
        from: Option<SocketAddr>,
        now: Time,
    ) -> Result<Time, Vec<u8>> {
        run.tries = run.tries.saturating_add(1);
        run.refusal.clear();
        run.goal = if run.slot == NO_SLOT {
            Goal::AnyMaster
        } else {
            Goal::Owner
        };
        match refusal {
            Refusal::Moved(slot, endpoint) | Refusal::Ask(slot, endpoint) => {
                run.redirects += 1;
                if run.redirects > REDIRECTS_MAX {
                    return Err(refusal::SLOT_NOT_SERVED.into());
                }
                let routes = &self.upstream.routes;
                let node = from.and_then(|from| routes.resolve(endpoint, from));
                let node = node.filter(|_| slot.number() == run.slot);
                match (refusal, node) {
                    (Refusal::Ask(..), Some(node)) => {
                        self.stats.ask.add(1);
                        self.stats.redirects.note(run.slot, Redirect::Ask, now);
                        self.counted_at(from, |stats| &stats.ask);
                        run.goal = Goal::Ask(node);
                    }
                    (Refusal::Moved(..), Some(node)) => {
                        self.stats.moved.add(1);
                        self.stats.redirects.note(run.slot, Redirect::Moved, now);
                        self.counted_at(from, |stats| &stats.moved);
                        self.want_refresh(Wanted::Moved);
                        self.learn_owner(slot, node, now);
                    }
                    // An address that no node has confirmed, or another slot: a refresh will tell.
                    _ => self.want_refresh(Wanted::Moved),
                }
                if run.redirects <= PROMPT_REDIRECTS && node.is_some() {
                    Ok(now)
                } else {
                    Ok(self.due_after(run.redirects, now))
                }
            }
            Refusal::TryAgain => {
                self.stats.tryagain.add(1);
                self.stats.redirects.note(run.slot, Redirect::TryAgain, now);
                self.counted_at(from, |stats| &stats.errors_tryagain);
                run.redirects = 0;
                run.refusal = words.to_vec();
                Ok(self.due_after(run.tries.min(4), now))
            }
            Refusal::Unavailable(_) | Refusal::Missing(_) => {
                self.stats.unavailable.add(1);
                self.counted_at(from, |stats| &stats.errors_unavailable);
                self.want_refresh(Wanted::Trouble);
                run.refusal = words.to_vec();
                Ok(self.due_after(run.tries, now))
            }
        }
    }
}
