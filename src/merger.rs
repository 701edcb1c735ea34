//! `Merger`: a worker's second thread, which merges long replies so that the worker goes on serving others.
//!
//! It is started by the first long reply. Work waits in a bounded queue; what has no room there is the worker's own.

use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;

use crate::mailbox::{Mail, Mailbox};
use crate::proxy::actions::LongMerge;

/// Replies that may wait for the thread.
const QUEUE_MAX: usize = 64;

/// The worker's side.
#[derive(Debug)]
pub struct Merger {
    worker: usize,
    mailbox: Mailbox,
    queue: Option<SyncSender<LongMerge>>,
}

impl Merger {
    /// That of a worker, by its place, and its mailbox. It has no thread yet.
    pub fn new(worker: usize, mailbox: Mailbox) -> Merger {
        Merger {
            worker,
            mailbox,
            queue: None,
        }
    }

    /// Hands work to the thread. It comes back if the thread has no room for it.
    pub fn hand(&mut self, merge: LongMerge) -> Result<(), LongMerge> {
        if self.queue.is_none() {
            self.queue = start(self.worker, self.mailbox.clone());
        }
        let Some(queue) = &self.queue else {
            return Err(merge);
        };
        queue.try_send(merge).map_err(|error| match error {
            TrySendError::Full(merge) | TrySendError::Disconnected(merge) => merge,
        })
    }
}

/// Starts the thread, which ends with its worker.
fn start(worker: usize, mailbox: Mailbox) -> Option<SyncSender<LongMerge>> {
    let (sender, queue) = sync_channel(QUEUE_MAX);
    let thread = thread::Builder::new().name(format!("merger-{worker}"));
    match thread.spawn(move || work(&queue, &mailbox)) {
        Ok(_detached) => Some(sender),
        Err(error) => {
            log::warn!("cannot start a thread that merges long replies: {error}");
            None
        }
    }
}

fn work(queue: &Receiver<LongMerge>, mailbox: &Mailbox) {
    for merge in queue {
        let (part, reply) = merge.run();
        mailbox.send_when_there_is_room(Mail::Merged(part, reply));
    }
}
