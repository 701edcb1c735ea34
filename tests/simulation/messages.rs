//! `Messages`: what PUBLISH promises, held against what nodes did. Whatever must not be, panics here.
//!
//! The message is its own number, and each client publishes to a channel of its own. A node executes it once at most, and not
//! at all if its client is told so; subscribers (see `subscriber`) hear the messages of one client in their order.

use crate::ledger::Outcome;

/// One message.
#[derive(Debug)]
struct Message {
    executed: bool,
    outcome: Outcome,
}

/// All of a run.
#[derive(Debug, Default)]
pub struct Messages {
    all: Vec<Message>,
    /// What nodes have taken and not sent to all nodes yet: the channel and the number.
    pub taken: Vec<(Vec<u8>, u64)>,
    /// How many clients were told that theirs was published.
    pub done: u64,
}

/// What a client's channel is called.
pub fn channel_of(client: u64) -> String {
    format!("p{client}")
}

/// What a node answers: the number of those that hear it, as if that depended on the message.
pub fn receivers(number: u64) -> i64 {
    (number % 100) as i64
}

impl Messages {
    /// The number of a new message.
    pub fn begin(&mut self) -> u64 {
        self.all.push(Message {
            executed: false,
            outcome: Outcome::Open,
        });
        self.all.len() as u64 - 1
    }

    /// A node executes PUBLISH.
    pub fn executed(&mut self, channel: &[u8], number: u64) {
        let own = &mut self.all[number as usize];
        assert!(!own.executed, "message {number} was published twice");
        assert_ne!(
            own.outcome,
            Outcome::Failed,
            "message {number} was published after its client was told that it was not"
        );
        own.executed = true;
        self.taken.push((channel.to_vec(), number));
    }

    /// A client is told.
    pub fn told(&mut self, number: u64, outcome: Outcome) {
        let own = &mut self.all[number as usize];
        assert_eq!(
            own.outcome,
            Outcome::Open,
            "message {number} answered twice"
        );
        own.outcome = outcome;
        let sound = match outcome {
            Outcome::Done => own.executed,
            Outcome::Failed => !own.executed,
            Outcome::Open | Outcome::Unknown => true,
        };
        assert!(
            sound,
            "message {number}: its client was told that it was {outcome:?}"
        );
        self.done += u64::from(outcome == Outcome::Done);
    }
}
