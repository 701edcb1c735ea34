//! `Run`: one sequence of requests on one exclusive connection, as far as it is (see `lease::run`).

use std::time::Duration;

use crate::clock::Time;
use crate::proxy::ids::{BackendId, NO_SLOT, NodeKey, Seq};
use crate::proxy::upstream::goal::Goal;
use crate::proxy::upstream::routes::everyone::Executor;
use crate::resp::reply::Reply;

pub(in crate::proxy::lease) const DISCARD: &[u8] = b"*1\r\n$7\r\nDISCARD\r\n";

/// How long a node takes at most to refuse a command that blocks.
const ACCEPTED: Duration = Duration::from_millis(100);

/// What became of the wish for a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::proxy) enum Obtained {
    /// Here it is.
    Connection(BackendId),
    /// There is none; whoever has one says so, but at the latest it is tried again then.
    Nothing(Time),
    /// There is none and others have waited in vain.
    InVain,
}

/// One sequence of requests on one exclusive connection.
#[derive(Debug)]
pub struct Run {
    /// The slot of its keys, or [`NO_SLOT`].
    pub slot: u16,
    /// The connection that carries it.
    pub backend: Option<BackendId>,
    /// Whose that connection is.
    pub(in crate::proxy::lease) executor: Option<Executor>,
    /// Its requests, in order.
    pub lines: Vec<Line>,
    /// How many of them have been sent on the connection.
    pub(in crate::proxy::lease) sent: usize,
    /// How many of them the connection has answered.
    pub(in crate::proxy::lease) answered: usize,
    /// Whether the connection has refused MULTI.
    pub(in crate::proxy::lease) unopened: bool,
    /// What makes the connection clean, if no reply is outstanding; nothing if it is clean by then.
    pub cleaner: &'static [u8],
    /// Whether its connection is for nobody else after it.
    pub spoilt: bool,
    /// Whether its reply may take as long as a client wishes.
    pub patient: bool,
    /// Where it is to go.
    pub goal: Goal,
    /// Whether its node serves it behind an ASKING only.
    pub(in crate::proxy::lease) asked: bool,
    /// Redirects followed.
    pub(in crate::proxy::lease) redirects: u8,
    /// Times that it was refused.
    pub(in crate::proxy::lease) tries: u8,
    /// Since when it has been trying to begin, if it has not been answered since.
    pub held_since: Option<Time>,
    /// When it is tried again, while it waits. To be set with `Leases::set_due` only.
    pub due: Option<Time>,
    /// Its number among all runs, in the order in which clients asked; 0 until it is first tried.
    pub order: u64,
    /// The node whose connections it waits for.
    pub(in crate::proxy::lease) queued: Option<NodeKey>,
    /// Whether it stands among the blocking requests that keep their order and are still to be sent.
    pub lined_up: bool,
    /// Connections lost in a row, without an answer.
    losses: u8,
    /// When it last began.
    pub(in crate::proxy::lease) begun_at: Time,
    /// The words of the last refusal; none after a redirect, which no client may see.
    pub(in crate::proxy::lease) refusal: Vec<u8>,
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
    /// What a request that is kept costs beside its bytes: its place, and that memory is had in pieces.
    pub const COST: usize = size_of::<Line>() + 32;

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
            executor: None,
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
            asked: false,
            redirects: 0,
            tries: 0,
            held_since: None,
            due: None,
            order: 0,
            queued: None,
            lined_up: false,
            losses: 0,
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

    /// The row of the request that was answered last.
    pub fn last_command(&self) -> u16 {
        let last = self
            .answered
            .checked_sub(1)
            .and_then(|at| self.lines.get(at));
        last.map_or(u16::MAX, |line| line.command)
    }

    /// The requests between MULTI and the one that was answered last, which is EXEC.
    pub fn queued(&self) -> &[Line] {
        let multi = self.lines.iter().position(|line| line.command == u16::MAX);
        let end = self.answered.saturating_sub(1);
        let queued = multi.and_then(|at| self.lines.get(at + 1..end));
        queued.unwrap_or_default()
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
        self.losses = 0;
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

    /// Its node serves it no more. The time that a client was blocked there was no waiting for a node.
    pub fn note_end(&mut self, now: Time) {
        if self.patient {
            let there = now.since(self.begun_at);
            self.held_since = self.held_since.map(|since| since.after(there));
        }
    }

    /// Its connection was lost before it was answered. Returns how often that has happened in a row.
    pub fn note_loss(&mut self) -> u8 {
        self.losses = self.losses.saturating_add(1);
        self.losses
    }

    /// Whether it keeps its place among the blocking requests for its slot.
    pub fn is_orderly(&self) -> bool {
        self.patient && self.slot != NO_SLOT
    }

    /// Whether its node lets it wait, and so serves its slot: it would have refused it by now.
    pub fn is_accepted(&self, now: Time) -> bool {
        self.patient
            && self.slot != NO_SLOT
            && self.backend.is_some()
            && now.since(self.begun_at) >= ACCEPTED
    }

    /// Whether a node has refused it when it was tried last.
    pub fn is_refused(&self) -> bool {
        !self.refusal.is_empty()
    }

    /// Whether it waits for a connection, and not for a node that has refused it.
    pub fn waits_for_connection(&self) -> bool {
        !self.is_refused() && (self.queued.is_some() || self.lined_up)
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
}

impl Run {
    /// MULTI goes before what is queued.
    pub(in crate::proxy::lease) fn open(&mut self) {
        if self.cleaner != DISCARD {
            self.cleaner = DISCARD;
            let multi = b"*1\r\n$5\r\nMULTI\r\n".to_vec();
            self.lines.push(Line::new(multi, u16::MAX, Owed::Nobody));
        }
    }

    /// Whether MULTI is among its requests.
    pub(in crate::proxy::lease) fn is_open(&self) -> bool {
        self.cleaner == DISCARD
    }
}
