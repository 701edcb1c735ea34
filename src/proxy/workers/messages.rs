//! Workers ask each other, since each knows its own clients only: a question goes to all of them, and their answers come back
//! (see [`crate::proxy::messages`]).
//!
//! An answer is a reply frame: it fills a part of the asking client's request as a node's reply does.

use crate::clock::Time;
use crate::proxy::ids::{ClientId, PartId};
use crate::proxy::messages::client_filter::Asker;
use crate::proxy::messages::worker_query::{WorkerMessage, WorkerQuery};
use crate::proxy::state::Proxy;
use crate::resp::encode;

impl Proxy {
    /// A message from another worker.
    pub fn worker_message(&mut self, message: WorkerMessage, now: Time) {
        match message {
            WorkerMessage::Asked {
                from,
                part,
                question,
            } => {
                let asker = Asker { worker: from, part };
                if self.answers_in_turns(asker, &question, now) {
                    return;
                }
                let reply = self.answer_question(&question, now);
                let answer = WorkerMessage::Answered { part, reply };
                self.actions.send_to_worker(from, answer);
            }
            WorkerMessage::Answered { part, reply } => self.fulfil(part, &reply, now),
            WorkerMessage::Lines { from, lines } => {
                self.take_lines(&lines, now);
                let by = self.worker;
                self.actions
                    .send_to_worker(from, WorkerMessage::LinesTaken { by });
            }
            WorkerMessage::SubscribersSettled(publishers) => {
                publishers
                    .into_iter()
                    .for_each(|id| self.wake_publisher(id));
            }
            WorkerMessage::SeekClient { from, part, number } => {
                self.answer_seek(from, part, number);
            }
            WorkerMessage::FoundClient(found) => self.take_found(found, now),
            WorkerMessage::Invalidated { from, target, told } => {
                self.take_invalidated(from, target, told);
            }
            WorkerMessage::RedirectBroken { source, number } => {
                self.break_redirect(source, number);
            }
            WorkerMessage::LinesTaken { by } => {
                let lines = self.monitor_feeds[by].acknowledged();
                self.send_lines(by, lines);
            }
        }
    }

    /// A message that `worker` did not take: whoever waits for the answer hears of it.
    pub fn undelivered(&mut self, worker: usize, message: WorkerMessage, now: Time) {
        match message {
            WorkerMessage::Asked { part, .. } => {
                self.answer_error(part, b"ERR a worker does not answer", now)
            }
            // Somebody waits for it: it is sent again at the next sweep.
            WorkerMessage::Answered { .. }
            | WorkerMessage::Lines { .. }
            | WorkerMessage::LinesTaken { .. }
            | WorkerMessage::SeekClient { .. }
            | WorkerMessage::FoundClient(_)
            | WorkerMessage::Invalidated { .. }
            | WorkerMessage::RedirectBroken { .. }
            | WorkerMessage::SubscribersSettled(_) => {
                self.returned.push((worker, message));
            }
        }
    }

    /// Sends the messages again that were not taken.
    pub(in crate::proxy) fn send_returned(&mut self) {
        for (worker, message) in self.returned.drain(..) {
            self.actions.send_to_worker(worker, message);
        }
    }

    /// Asks every worker, this one included; the answers fill the parts from `first` on.
    pub(in crate::proxy) fn ask_workers(
        &mut self,
        first: PartId,
        question: &WorkerQuery,
        now: Time,
    ) {
        for worker in 0..self.process.workers.len() {
            let part = PartId {
                index: first.index + worker as u16,
                ..first
            };
            if worker == self.worker {
                let asker = Asker { worker, part };
                if !self.answers_in_turns(asker, question, now) {
                    let reply = self.answer_question(question, now);
                    self.fulfil(part, &reply, now);
                }
            } else {
                let message = WorkerMessage::Asked {
                    from: self.worker,
                    part,
                    question: question.clone(),
                };
                self.actions.send_to_worker(worker, message);
            }
        }
    }

    /// The answer for the control thread, as a reply frame.
    pub fn answer_control(&mut self, question: &WorkerQuery, now: Time) -> Vec<u8> {
        self.answer_question(question, now)
    }

    /// Begins to answer what takes a look at every client: the answer comes when all have been looked at. Returns whether
    /// it is such a question.
    fn answers_in_turns(&mut self, asker: Asker, question: &WorkerQuery, now: Time) -> bool {
        match question {
            WorkerQuery::List(selection) => self.list_for(asker, selection, now),
            WorkerQuery::Kill(filter) => self.kill_for(asker, filter, now),
            // The one who asks may be among those that are closed.
            WorkerQuery::RenewUsers => self.renew_users_for(asker, now),
            _ => return false,
        }
        true
    }

    /// This worker's own answer, as a reply frame.
    fn answer_question(&mut self, question: &WorkerQuery, now: Time) -> Vec<u8> {
        let mut reply = Vec::new();
        match question {
            WorkerQuery::CountClients => encode::integer(&mut reply, self.clients.len() as i64),
            WorkerQuery::ClientCounts => self.count_clients().print(&mut reply),
            WorkerQuery::RenewConfig => {
                self.renew_config();
                encode::simple(&mut reply, "OK");
            }
            WorkerQuery::RenewUsers => {
                self.renew_users(None, now);
                encode::simple(&mut reply, "OK");
            }
            WorkerQuery::List(selection) => self.list_clients(selection, now, &mut reply),
            WorkerQuery::Kill(filter) => {
                let ids: Vec<ClientId> = self.clients.iter().map(|(id, _)| id).collect();
                let killed = self.kill_clients(&ids, filter, None, now);
                encode::integer(&mut reply, killed);
            }
            WorkerQuery::PauseClients(pause) => {
                self.pause_clients(*pause, now);
                encode::simple(&mut reply, "OK");
            }
            WorkerQuery::Functions(functions) => {
                self.tell_functions_apart(functions.clone());
                encode::simple(&mut reply, "OK");
            }
            WorkerQuery::UnpauseClients => {
                self.end_client_pause();
                encode::simple(&mut reply, "OK");
            }
            WorkerQuery::Unblock(number, with_error) => {
                let found = self.unblock(*number, *with_error, now);
                encode::integer(&mut reply, i64::from(found));
            }
            WorkerQuery::ResetStats => {
                self.stats.reset();
                self.insight.reset();
                encode::simple(&mut reply, "OK");
            }
            WorkerQuery::HotKeys => self.insight.hot.print(&mut reply),
            WorkerQuery::BigKeys => self.insight.big.print(&mut reply),
            WorkerQuery::NearKeys(most) => self.list_near_keys(*most, &mut reply),
            WorkerQuery::NearFlush => {
                self.forget_near();
                encode::simple(&mut reply, "OK");
            }
            WorkerQuery::SlowLog => {
                let second = |at| self.process.wall_clock(at).as_secs();
                let workers = self.process.workers.len();
                let log = &self.insight.slow;
                log.print(self.worker, workers, second, &mut reply);
            }
            WorkerQuery::ResetSlowLog => {
                self.insight.slow.clear();
                encode::simple(&mut reply, "OK");
            }
            WorkerQuery::Audit => self.insight.audit.print(&self.table, &mut reply),
        }
        reply
    }
}

#[cfg(test)]
mod tests {
    use crate::config::Config;
    use crate::proxy::tests::two_workers::TwoWorkers;

    #[test]
    fn all_workers_hear_of_one_turn_in_one_order() {
        let mut rig = TwoWorkers::new(Config::default());
        let (client, other) = (rig.accept(0), rig.accept(0));
        rig.hear(0, client, "CLIENT PAUSE 100000 WRITE\r\n");
        rig.hear(0, other, "CLIENT UNPAUSE\r\n");
        rig.end_turn(0);
        rig.read_messages();
        assert_eq!(rig.received(0, other), "+OK\r\n");
        for worker in 0..2 {
            assert!(rig.workers[worker].client_pause.is_none(), "{worker}");
        }
    }
}
