//! `Question`: what one worker asks of the others, since each knows its own clients only; and the letters
//! that carry questions and answers.
//!
//! An answer is a reply frame: it fills a part of the asking client's request like a node's reply does.

use std::sync::Arc;

use crate::clock::Time;
use crate::proxy::Proxy;
use crate::proxy::client::ClientId;
use crate::proxy::messages::monitor_feed::Lines;
use crate::proxy::pipeline::Seq;
use crate::proxy::workers::client_list::{Filter, Selection};
use crate::proxy::workers::client_list_in_turns::Asker;
use crate::proxy::workers::client_pause::Suspension;
use crate::proxy::workers::may_write::Functions;
use crate::resp::encode;

/// Something that every worker can answer for itself.
#[derive(Debug, Clone)]
pub enum Question {
    /// How many clients are connected: an integer.
    CountClients,
    /// How many clients there are of each library and address, see `Counts::print`.
    ClientCounts,
    /// To take the config that is in force now: OK.
    RenewConfig,
    /// The lines of these clients: an array of number and line in turns.
    List(Selection),
    /// These clients are closed: how many there were.
    Kill(Filter),
    /// Requests wait from now on.
    Suspend(Suspension),
    /// These are the functions of the nodes, of which those that cannot write do not wait.
    Functions(Arc<Functions>),
    /// They wait no more.
    Resume,
    /// The client of this number waits no more, and hears of it in an error if so wished: 1 if it waited.
    Unblock(i64, bool),
    /// To count from zero again: `OK`.
    ResetStats,
    /// Its hot keys, see `HotKeys::print`.
    HotKeys,
    /// Its big keys, see `BigKeys::print`.
    BigKeys,
    /// Its slow log, see `SlowLog::print`.
    SlowLog,
    /// To forget its slow log: `OK`.
    ResetSlowLog,
    /// What a cluster would refuse, see `Audit::print`.
    Audit,
}

/// A letter between workers.
#[derive(Debug, Clone)]
pub enum Letter {
    /// A question, and where its answer belongs.
    Asked {
        /// The worker that asks.
        from: usize,
        /// Its client.
        client: ClientId,
        /// The request of that client.
        seq: Seq,
        /// The part of that request.
        part: u16,
        /// What is asked.
        question: Question,
    },
    /// The answer to a part of a client's request.
    Answered {
        /// The client.
        client: ClientId,
        /// Its request.
        seq: Seq,
        /// The part of that request.
        part: u16,
        /// A reply frame.
        reply: Vec<u8>,
    },
    /// Lines for the monitors of this worker.
    Lines {
        /// The worker that they come from.
        from: usize,
        /// The lines.
        lines: Lines,
    },
    /// Subscriptions are confirmed or given up: publishers look again whether they have to wait.
    SubscribersSettled,
    /// The lines that this worker sent have been taken.
    LinesTaken {
        /// The worker that took them.
        by: usize,
    },
}

impl Proxy {
    /// A letter from another worker.
    pub fn letter(&mut self, letter: Letter, now: Time) {
        match letter {
            Letter::Asked {
                from,
                client,
                seq,
                part,
                question,
            } => {
                if let Question::List(selection) = &question {
                    let asker = Asker {
                        worker: from,
                        client,
                        seq,
                        part,
                    };
                    return self.list_for(asker, selection, now);
                }
                let reply = self.answer_question(&question, None, now);
                let answer = Letter::Answered {
                    client,
                    seq,
                    part,
                    reply,
                };
                self.actions.letter(from, answer);
            }
            Letter::Answered {
                client,
                seq,
                part,
                reply,
            } => self.fulfil(client, seq, part, &reply, now),
            Letter::Lines { from, lines } => {
                self.take_lines(&lines, now);
                let by = self.worker;
                self.actions.letter(from, Letter::LinesTaken { by });
            }
            Letter::SubscribersSettled => self.wake_publishers(),
            Letter::LinesTaken { by } => {
                let lines = self.feeds[by].acknowledged();
                self.send_lines(by, lines);
            }
        }
    }

    /// A letter that `worker` did not take: whoever waits for the answer hears of it.
    pub fn undelivered(&mut self, worker: usize, letter: Letter, now: Time) {
        match letter {
            Letter::Asked {
                client, seq, part, ..
            } => self.answer_error(client, seq, part, b"ERR a worker does not answer", now),
            // Somebody waits for it: it is sent again at the next sweep.
            Letter::Answered { .. }
            | Letter::Lines { .. }
            | Letter::LinesTaken { .. }
            | Letter::SubscribersSettled => {
                self.returned.push((worker, letter));
            }
        }
    }

    /// Sends the letters again that were not taken.
    pub(in crate::proxy) fn send_returned(&mut self) {
        for (worker, letter) in self.returned.drain(..) {
            self.actions.letter(worker, letter);
        }
    }

    /// Asks every worker, this one included; the answers fill the parts from `first` on.
    pub(in crate::proxy) fn ask_workers(
        &mut self,
        client: ClientId,
        seq: Seq,
        first: u16,
        question: &Question,
        now: Time,
    ) {
        for worker in 0..self.process.workers.len() {
            let part = first + worker as u16;
            if worker == self.worker
                && let Question::List(selection) = question
            {
                let asker = Asker {
                    worker,
                    client,
                    seq,
                    part,
                };
                self.list_for(asker, selection, now);
            } else if worker == self.worker {
                let reply = self.answer_question(question, Some(client), now);
                self.fulfil(client, seq, part, &reply, now);
            } else {
                let letter = Letter::Asked {
                    from: self.worker,
                    client,
                    seq,
                    part,
                    question: question.clone(),
                };
                self.actions.letter(worker, letter);
            }
        }
    }

    /// The answer for the control thread, as a reply frame.
    pub fn answer_control(&mut self, question: &Question, now: Time) -> Vec<u8> {
        self.answer_question(question, None, now)
    }

    /// This worker's own answer, as a reply frame. `asking` is the client that asks, if it is one of ours.
    fn answer_question(
        &mut self,
        question: &Question,
        asking: Option<ClientId>,
        now: Time,
    ) -> Vec<u8> {
        let mut reply = Vec::new();
        match question {
            Question::CountClients => encode::integer(&mut reply, self.clients.len() as i64),
            Question::ClientCounts => self.count_clients().print(&mut reply),
            Question::RenewConfig => {
                self.renew_config();
                encode::simple(&mut reply, "OK");
            }
            Question::List(selection) => self.list_clients(selection, now, &mut reply),
            Question::Kill(filter) => {
                let killed = self.kill_clients(filter, asking, now);
                encode::integer(&mut reply, killed);
            }
            Question::Suspend(suspension) => {
                self.suspend(*suspension, now);
                encode::simple(&mut reply, "OK");
            }
            Question::Functions(functions) => {
                self.tell_functions_apart(functions.clone());
                encode::simple(&mut reply, "OK");
            }
            Question::Resume => {
                self.lift_suspension();
                encode::simple(&mut reply, "OK");
            }
            Question::Unblock(number, with_error) => {
                let found = self.unblock(*number, *with_error, now);
                encode::integer(&mut reply, i64::from(found));
            }
            Question::ResetStats => {
                self.stats.reset();
                self.insight.reset();
                encode::simple(&mut reply, "OK");
            }
            Question::HotKeys => self.insight.hot.print(&mut reply),
            Question::BigKeys => self.insight.big.print(&mut reply),
            Question::SlowLog => {
                let second = |at| self.process.wall_clock(at).as_secs();
                let workers = self.process.workers.len();
                let log = &self.insight.slow;
                log.print(self.worker, workers, second, &mut reply);
            }
            Question::ResetSlowLog => {
                self.insight.slow.clear();
                encode::simple(&mut reply, "OK");
            }
            Question::Audit => self.insight.audit.print(&self.table, &mut reply),
        }
        reply
    }
}
