//! `SecondThread`: what takes longer than a turn may, or waits for a disk, is done beside the worker, which goes on serving
//! others: long replies are merged, the file of users is read and written.
//!
//! The thread is started by the first long merge. Merges wait in a bounded queue; what has no room there is the worker's own.
//! What waits for a disk has a thread for itself, so that a disk that hangs holds up no merge; there are few of these.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;

use crate::mailbox::{Mail, Mailbox};
use crate::proxy::actions::OutsideWork;

/// Work that may wait for the thread.
const QUEUE_MAX: usize = 64;
/// Clients of a worker for whom a disk is waited at once.
const WAITING_MAX: usize = 16;

/// The worker's side.
#[derive(Debug)]
pub struct SecondThread {
    worker: usize,
    mailbox: Mailbox,
    queue: Option<SyncSender<OutsideWork>>,
    /// Each thread that waits for a disk holds a part of it.
    waiting: Arc<()>,
}

impl SecondThread {
    /// That of a worker, by its place, and its mailbox. It has no thread yet.
    pub fn new(worker: usize, mailbox: Mailbox) -> SecondThread {
        SecondThread {
            worker,
            mailbox,
            queue: None,
            waiting: Arc::new(()),
        }
    }

    /// Hands work to the thread, or to one of its own. It comes back if there is no room for it.
    pub fn hand(&mut self, work: OutsideWork) -> Result<(), OutsideWork> {
        if work.waits() {
            return self.wait_for(work);
        }
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

    /// Does work that waits for a disk on a thread that does nothing else.
    fn wait_for(&self, work: OutsideWork) -> Result<(), OutsideWork> {
        if Arc::strong_count(&self.waiting) > WAITING_MAX {
            return Err(work);
        }
        let (hand, handed) = sync_channel(1);
        let (mailbox, counted) = (self.mailbox.clone(), self.waiting.clone());
        let wait = move || {
            run_all(&handed, &mailbox);
            drop(counted);
        };
        let thread = thread::Builder::new().name(format!("disk-{}", self.worker));
        match thread.spawn(wait) {
            // There is room for one.
            Ok(_detached) => hand.try_send(work).map_err(|error| match error {
                TrySendError::Full(work) | TrySendError::Disconnected(work) => work,
            }),
            Err(error) => {
                log::warn!("cannot start a thread that waits for the disk: {error}");
                Err(work)
            }
        }
    }
}

/// Starts the thread, which ends with its worker.
fn start(worker: usize, mailbox: Mailbox) -> Option<SyncSender<OutsideWork>> {
    let (sender, queue) = sync_channel(QUEUE_MAX);
    let thread = thread::Builder::new().name(format!("second-{worker}"));
    match thread.spawn(move || run_all(&queue, &mailbox)) {
        Ok(_detached) => Some(sender),
        Err(error) => {
            log::warn!("cannot start a second thread: {error}");
            None
        }
    }
}

fn run_all(queue: &Receiver<OutsideWork>, mailbox: &Mailbox) {
    for work in queue {
        let (part, reply) = work.run();
        mailbox.send_when_there_is_room(Mail::DoneOutside(part, reply));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex, PoisonError};

    use mio::{Poll, Token, Waker};

    use super::*;
    use crate::proxy::actions::OutsideAnswer;
    use crate::proxy::ids::{ClientId, PartId, Seq};

    fn part(number: u16) -> PartId {
        PartId::new(ClientId::from_parts(0, 0), Seq(0), number)
    }

    /// The disk hangs: few clients wait for it, the next ones are refused, and merges are made as before.
    #[test]
    fn a_disk_that_hangs_holds_up_nobody_else() {
        let poll = Poll::new().expect("a poll");
        let waker = Waker::new(poll.registry(), Token(0)).expect("a waker");
        let (mailbox, mail) = Mailbox::new(waker);
        let mut second = SecondThread::new(0, mailbox);
        let disk = Arc::new(Mutex::new(()));
        let hangs = disk.lock().expect("it is free");
        let waits = {
            let disk = disk.clone();
            OutsideAnswer::new(move || {
                drop(disk.lock().unwrap_or_else(PoisonError::into_inner));
                b"+OK\r\n".to_vec()
            })
        };
        for number in 0..WAITING_MAX as u16 {
            assert!(second.hand(waits.of(part(number))).is_ok());
        }
        let refused = second.hand(waits.of(part(99))).expect_err("too many");
        let (at, reply) = refused.refuse();
        assert_eq!(at, part(99));
        assert!(reply.starts_with(b"-ERR too many clients wait "));
        let merge = OutsideWork::new(part(77), || b":1\r\n".to_vec());
        assert!(second.hand(merge).is_ok());
        let merged = mail.recv().expect("a merge");
        assert!(
            matches!(merged, Mail::DoneOutside(at, reply) if at == part(77) && reply == b":1\r\n")
        );
        // The disk is back, and all hear of it.
        drop(hangs);
        for _ in 0..WAITING_MAX {
            let saved = mail.recv().expect("an answer");
            assert!(matches!(saved, Mail::DoneOutside(_, reply) if reply == b"+OK\r\n"));
        }
    }
}
