//! `Question`: what one worker asks of the others, since each knows its own clients only; and the letters
//! that carry questions and answers.
//!
//! An answer is a reply frame: it fills a part of the asking client's request like a node's reply does.

use crate::clock::Time;
use crate::proxy::Proxy;
use crate::proxy::client::ClientId;
use crate::proxy::pipeline::Seq;
use crate::resp::encode;

/// Something that every worker can answer for itself.
#[derive(Debug, Clone)]
pub enum Question {
    /// How many clients are connected: an integer.
    CountClients,
    /// To count from zero again: `OK`.
    ResetStats,
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
                let reply = self.answer_question(&question, now);
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
        }
    }

    /// A letter that its worker did not take: whoever waits for the answer hears of it.
    pub fn undelivered(&mut self, letter: Letter, now: Time) {
        if let Letter::Asked {
            client, seq, part, ..
        } = letter
        {
            self.answer_error(client, seq, part, b"ERR a worker does not answer", now);
        }
    }

    /// Asks every worker, this one included; the answers fill the parts from `first` on.
    pub(super) fn ask_workers(
        &mut self,
        client: ClientId,
        seq: Seq,
        first: u16,
        question: &Question,
        now: Time,
    ) {
        for worker in 0..self.process.workers.len() {
            let part = first + worker as u16;
            if worker == self.worker {
                let reply = self.answer_question(question, now);
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

    /// This worker's own answer, as a reply frame.
    fn answer_question(&mut self, question: &Question, _now: Time) -> Vec<u8> {
        let mut reply = Vec::new();
        match question {
            Question::CountClients => encode::integer(&mut reply, self.clients.len() as i64),
            Question::ResetStats => {
                self.stats.reset();
                encode::simple(&mut reply, "OK");
            }
        }
        reply
    }
}
