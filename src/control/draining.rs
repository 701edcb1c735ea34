//! What SIGTERM and `POST /api/v1/drain` begin: the process says that it is not ready any more, serves for
//! `-drain-grace` as before, and then tells the workers to stop.

use std::io;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use crate::mailbox::{Mail, Mailbox};
use crate::proxy::process::Process;

/// Begins it. Returns without waiting. Who asks again ends the grace.
pub fn begin(process: &Process, mailboxes: &[Mailbox]) {
    let grace = process.live.config().limits.drain_grace;
    let again = process.draining.swap(true, Ordering::Relaxed);
    if again || grace.is_zero() {
        return stop(mailboxes);
    }
    log::info!("stopping: no longer ready, accepting clients for another {grace:?} (-drain-grace)");
    if let Err(error) = stop_after(grace, mailboxes.to_vec()) {
        log::error!("cannot wait for -drain-grace: {error}");
        stop(mailboxes);
    }
}

fn stop_after(grace: Duration, mailboxes: Vec<Mailbox>) -> io::Result<()> {
    let wait = move || {
        thread::sleep(grace);
        stop(&mailboxes);
    };
    let thread = thread::Builder::new().name("drain".to_string());
    thread.spawn(wait).map(|_detached| ())
}

/// Tells the workers to stop. One that stops already takes no notice.
pub fn stop(mailboxes: &[Mailbox]) {
    log::info!("stopping: not accepting new clients, finishing requests in flight");
    for mailbox in mailboxes {
        mailbox.send(Mail::Stop);
    }
}
