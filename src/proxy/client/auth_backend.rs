//! `Judgement`: what nodes are asked of a client's next request, before it is taken (`-auth backend`).
//!
//! It must never know what the question means.

use crate::clock::Time;

/// How often a question is asked again whose connection was lost.
const TRIES_MAX: u8 = 3;

/// One question, and its answer once there is one.
#[derive(Debug)]
pub struct Judgement {
    /// Its number: an answer to an earlier one, which was given up, is nobody's.
    pub question: u32,
    /// When the request began to wait.
    pub since: Time,
    /// Times that it was asked.
    pub tries: u8,
    /// How far it is.
    pub state: State,
}

/// How far a question is.
#[derive(Debug, PartialEq, Eq)]
pub enum State {
    /// It is to be asked, for the first time or again.
    Unasked,
    /// A node has it.
    Asked,
    /// A node's reply, as it came.
    Answered(Vec<u8>),
}

impl Judgement {
    /// A request begins to wait.
    pub fn new(question: u32, now: Time) -> Judgement {
        Judgement {
            question,
            since: now,
            tries: 0,
            state: State::Unasked,
        }
    }

    /// A node has answered this question. Returns whether anybody waits for that.
    pub fn answer(&mut self, question: u32, reply: &[u8]) -> bool {
        let waits = self.question == question && self.state == State::Asked;
        if waits {
            self.state = State::Answered(reply.to_vec());
        }
        waits
    }

    /// The connection with this question is lost. Returns whether anybody waits for it.
    pub fn lose(&mut self, question: u32) -> bool {
        let waits = self.question == question && self.state == State::Asked;
        if waits {
            self.state = State::Unasked;
        }
        waits
    }

    /// Whether it has been asked often enough.
    pub fn is_worn(&self) -> bool {
        self.tries >= TRIES_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An answer to a login that timed out must not be taken for the answer to the next login.
    #[test]
    fn only_the_answer_to_its_own_question_is_taken() {
        let mut judgement = Judgement::new(7, Time::default());
        assert!(!judgement.answer(7, b"+OK\r\n"), "nobody was asked");
        judgement.state = State::Asked;
        assert!(!judgement.answer(6, b"+OK\r\n") && !judgement.lose(6));
        assert_eq!(judgement.state, State::Asked);
        assert!(judgement.lose(7));
        assert!(!judgement.answer(7, b"+OK\r\n"), "it is asked again");
        judgement.state = State::Asked;
        assert!(judgement.answer(7, b"-NO\r\n"));
        assert!(!judgement.answer(7, b"+OK\r\n"), "the first one counts");
        assert_eq!(judgement.state, State::Answered(b"-NO\r\n".to_vec()));
    }
}
