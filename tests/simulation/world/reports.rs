//! What nodes owe to connections that are told of all keys that change: how late they tell of it, that very many may change at
//! once, and that no node keeps very much for one that subscribes.

use super::{MILLIS, World};
use crate::random::{Random, mix};

/// How nodes report: from numbers of its own, so that worlds without all this stay what they are.
#[derive(Debug)]
pub struct Reports {
    random: Random,
    /// Which nodes write with threads: what has changed is told of behind the replies to what is executed next.
    late: Vec<bool>,
    /// Very many keys change once in so many turns, or never (0).
    many: usize,
    /// What a node keeps for a connection that has subscribed, if there is a limit, which is one of the troubles.
    pub output_max: usize,
    /// For how long a late node has kept anything back.
    longest: u64,
}

impl Reports {
    /// Those of a seed, in a world of so many nodes.
    pub fn new(seed: u64, nodes: usize) -> Reports {
        let mut random = Random::new(mix(!seed.rotate_left(40)));
        let any_late = !random.one_in(3);
        let late = (0..nodes).map(|_| any_late && !random.one_in(3)).collect();
        let many = match random.one_in(3) {
            true => random.between(100, 1000) as usize,
            false => 0,
        };
        let output_max = match random.one_in(3) {
            true => 128 + random.skewed(8192),
            false => 0,
        };
        Reports {
            random,
            late,
            many,
            output_max,
            longest: 0,
        }
    }

    /// Whether a node reports late.
    pub fn are_late(&self, node: usize) -> bool {
        self.late[node]
    }
}

impl World {
    /// Somebody changes very many keys at once, of which nobody here knows.
    pub(super) fn change_many(&mut self) {
        if !self.reports.random.one_in(self.reports.many) {
            return;
        }
        let tag = self.reports.random.below(self.ledger.tags);
        let count = self.reports.random.skewed(500);
        let shard = self.cluster.owner_of(tag);
        if self.master_past(shard).is_none() {
            return;
        }
        self.note(|_| format!("past the proxy: {count} keys change"));
        for number in 0..count {
            self.invalidate(shard, format!("{{t{tag}}}many{number}").as_bytes());
        }
        self.events.changed_at_once += u64::from(count > 100);
    }

    /// Time has passed: for how long has anything been kept back? What is read may be older by that.
    pub(super) fn note_late_reports(&mut self) {
        let owed = self.links.iter().filter_map(|link| {
            let is_heard = link.late && link.backend.is_some() && !link.replies.ended;
            is_heard.then(|| link.session.tracks.owed_since())?
        });
        let longest = owed.map(|since| self.now - since).max();
        let longest = longest.unwrap_or(0).max(self.reports.longest);
        self.reports.longest = longest;
        self.ledger.asked_now = self.now.saturating_sub(longest);
    }

    /// A node reports what has changed, behind the replies to what it has executed.
    pub(super) fn report(&mut self, index: usize) {
        let link = &mut self.links[index];
        let tracks = &mut link.session.tracks;
        if !link.late {
            link.unwritten.extend(tracks.report().unwrap_or_default());
        } else if tracks.owed_since().is_none() {
            link.answered = false;
        } else if !tracks.is_late() {
            // Replies to what was executed in this turn of its loop come first, too.
            if link.answered || self.reports.random.one_in(16) {
                tracks.begin_late();
                link.answered = false;
            }
        } else if self.now >= link.busy_until {
            match self.reports.random.below(32) {
                0 => self.report_late(index),
                1..5 if link.answered => self.report_late(index),
                // Something long is executed before it is told: the replies are written meanwhile.
                5..28 if link.answered => {
                    link.busy_until = self.now + self.reports.random.between(1, 5 * MILLIS);
                }
                _ => {}
            }
        }
    }

    /// A late node reports what it has kept back: at the latest before it executes anything more behind the replies that
    /// are to come first.
    pub(super) fn report_late(&mut self, index: usize) {
        let link = &mut self.links[index];
        let tracks = &mut link.session.tracks;
        if let Some(report) = tracks.end_late() {
            self.events.late_reports += u64::from(link.answered);
            link.unwritten.extend(report);
        }
        link.answered = false;
    }

    /// A long time passes for nodes: nothing is kept back.
    pub(super) fn report_all(&mut self) {
        for link in &mut self.links {
            let report = link.session.tracks.report();
            link.unwritten.extend(report.unwrap_or_default());
        }
    }

    /// A node closes a connection that has subscribed and takes too little of what it is owed. Returns whether it does.
    pub(super) fn close_if_owed_too_much(&mut self, index: usize) -> bool {
        let link = &mut self.links[index];
        let most = self.troubles.output_max;
        let is_over = most > 0 && link.unwritten.len() > most && link.session.has_subscribed();
        if !is_over || link.backend.is_none() || link.replies.ended {
            return false;
        }
        // Nothing of what it owes is written any more, and nothing is executed.
        link.unwritten.clear();
        link.pending.clear();
        link.replies.ended = true;
        link.requests.cut(0);
        link.reset = self.reports.random.one_in(2);
        link.queued = true;
        let tracks = link.session.tracks.hears_of_all();
        self.events.subscribers_closed += 1;
        self.events.trackers_closed += u64::from(tracks);
        let backend = link.backend;
        self.note(|_| format!("{backend:?} is owed too much"));
        true
    }
}
