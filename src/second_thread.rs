//! `SecondThread`: what takes longer than a turn may, or waits for a disk, is done beside the worker, which goes on serving
//! others: long replies are workd, the file of users is read and written.
//!
//! It is started by the first of these. Work waits in a bounded queue; what has no room there is the worker's own.

use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;

use crate::mailbox::{Mail, Mailbox};
use crate::proxy::actions::OutsideWork;

/// Work that may wait for the thread.
const QUEUE_MAX: usize = 64;

/// The worker's side.
#[derive(Debug)]
pub struct SecondThread {
    worker: usize,
    mailbox: Mailbox,
    queue: Option<SyncSender<OutsideWork>>,
}

impl SecondThread {
    /// That of a worker, by its place, and its mailbox. It has no thread yet.
    pub fn new(worker: usize, mailbox: Mailbox) -> SecondThread {
        SecondThread {
            worker,
            mailbox,
            queue: None,
        }
    }

    /// Hands work to the thread. It comes back if the thread has no room for it.
    pub fn hand(&mut self, work: OutsideWork) -> Result<(), OutsideWork> {
        if self.queue.is_none() {
            self.queue = start(self.worker, self.mailbox.clone());
        }
        let Some(queue) = &self.queue else {
            return Err(work);
        };
        queue.try_send(work).map_err(|error| match error {
            TrySendError::Full(work) | TrySendError::Disconnected(work) => work,
        })
    }
}

/// Starts the thread, which ends with its worker.
fn start(worker: usize, mailbox: Mailbox) -> Option<SyncSender<OutsideWork>> {
    let (sender, queue) = sync_channel(QUEUE_MAX);
    let thread = thread::Builder::new().name(format!("second-{worker}"));
    match thread.spawn(move || work(&queue, &mailbox)) {
        Ok(_detached) => Some(sender),
        Err(error) => {
            log::warn!("cannot start a second thread: {error}");
            None
        }
    }
}

fn work(queue: &Receiver<OutsideWork>, mailbox: &Mailbox) {
    for work in queue {
        let (part, reply) = work.run();
        mailbox.send_when_there_is_room(Mail::DoneOutside(part, reply));
    }
}
