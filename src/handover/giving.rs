//! The old process of a hand-over: waits at `-take-over` for the new one, passes its listening sockets on, and stops when
//! the new one serves.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use crate::control::draining;
use crate::control::http::Door;
use crate::control::state::Sources;
use crate::handover::message::{self, Kind, Purpose, VERSION};
use crate::mailbox::{Mail, Mailbox};
use crate::net::descriptor_channel::DescriptorChannel;
use crate::proxy::handover::state::encode_topics;
use crate::proxy::stats::counted::Totals;
use crate::systemd;

/// How long the new process may take for each step, but to get ready.
const STEP: Duration = Duration::from_secs(10);
/// How long it may take to get ready.
const READY_MAX: Duration = Duration::from_secs(60);
/// How long the new process has to live, once it serves, until this one gives up what it has.
const PROBATION: Duration = Duration::from_millis(500);
/// How long a worker may take to answer.
const WORKER_MAX: Duration = Duration::from_secs(5);
/// Clients on their way from the workers to the new process.
const LEAVERS_MAX: usize = 64;
/// After a failed accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What is handed over, by whom.
#[derive(Debug)]
pub struct Giving {
    /// Where the new process asks.
    pub socket: UnixListener,
    /// What that is for.
    pub socket_purpose: Purpose,
    /// What the listeners of workers are for, by the places of their addresses.
    pub purposes: Vec<Purpose>,
    /// The debug address, and what stops its accepting.
    pub debug: Option<(OwnedFd, Purpose, Door)>,
    /// The workers.
    pub mailboxes: Vec<Mailbox>,
    /// What they count.
    pub sources: Sources,
}

/// The state of a hand-over that others look at.
#[derive(Debug, Clone, Default)]
pub struct HandedOver(Arc<Shared>);

/// The new process, and what it has been told was counted.
type Heir = (DescriptorChannel, Totals);

#[derive(Debug, Default)]
struct Shared {
    is_done: AtomicBool,
    /// Brings the new process when all clients have been passed to it.
    heir: Mutex<Option<Receiver<Heir>>>,
}

impl HandedOver {
    /// Whether the addresses belong to another process.
    pub fn is_done(&self) -> bool {
        self.0.is_done.load(Ordering::Acquire)
    }

    /// All clients have gone: the new process is told what has been counted for them.
    pub fn finish(&self, sources: &Sources) {
        let heir = self.0.heir.lock();
        let heir = heir.unwrap_or_else(PoisonError::into_inner).take();
        let Some(Ok((mut channel, before))) = heir.map(|heir| heir.recv_timeout(STEP)) else {
            return;
        };
        let counted = totals(sources).since(&before);
        if let Err(error) = channel.send(Kind::Counted.number(), &counted.encode(), None) {
            log::warn!("cannot pass on the last counters: {error}");
        }
    }
}

fn totals(sources: &Sources) -> Totals {
    let table = sources.latest.table();
    sources.process.counted(|command| {
        let row = table.rows().get(usize::from(command));
        row.map_or(String::new(), |row| row.name.to_string())
    })
}

/// Waits for a new process, on a thread that ends with this one.
pub fn spawn(giving: Giving, handed_over: HandedOver) -> io::Result<()> {
    let thread = thread::Builder::new().name("hand-over".to_string());
    thread
        .spawn(move || giving.wait(&handed_over))
        .map(|_detached| ())
}

impl Giving {
    fn wait(self, handed_over: &HandedOver) {
        if let Err(error) = self.socket.set_nonblocking(false) {
            return log::error!("cannot wait for a new process (-take-over): {error}");
        }
        while !handed_over.is_done() {
            match self.socket.accept() {
                Ok((stream, _)) => {
                    let channel = DescriptorChannel::new(stream);
                    if let Err(error) = self.hand_over(channel, handed_over) {
                        log::warn!("not handed over, serving on: {error}");
                    }
                }
                Err(error) => {
                    log::debug!("cannot accept at -take-over: {error}");
                    thread::sleep(ACCEPT_PAUSE);
                }
            }
        }
    }

    fn hand_over(
        &self,
        mut channel: DescriptorChannel,
        handed_over: &HandedOver,
    ) -> io::Result<()> {
        let (pid, user) = channel.peer()?;
        let own = rustix::process::geteuid().as_raw();
        if user != own && user != 0 {
            let text = format!("process {pid} belongs to another user, {user}");
            return Err(io::Error::other(text));
        }
        channel.set_patience(Some(STEP))?;
        let hello = expect(&mut channel, Kind::Hello)?;
        let is_same_version = message::version(&hello).unwrap_or(0) == VERSION;
        if self.sources.process.draining.load(Ordering::Relaxed) {
            channel.send(Kind::Refused.number(), b"it is stopping", None)?;
            return Err(io::Error::other("this process is stopping"));
        }
        let passed = self.pass_listeners(&mut channel)?;
        channel.send(Kind::Offered.number(), &message::greeting(VERSION), None)?;
        log::info!("process {pid} takes over: passed {passed} listening sockets to it");
        channel.set_patience(Some(READY_MAX))?;
        expect(&mut channel, Kind::Ready)
            .map_err(|error| wrong(&format!("process {pid} did not get ready"), error))?;
        channel.set_patience(Some(STEP))?;
        let counted = self.pause().and_then(|()| {
            let counted = totals(&self.sources);
            let state = match is_same_version {
                true => counted.since(&Totals::default()).encode(),
                false => Vec::new(),
            };
            channel.send(Kind::Go.number(), &state, None)?;
            expect(&mut channel, Kind::Serves)?;
            lives_on(&mut channel)?;
            channel.set_patience(Some(STEP))?;
            Ok(counted)
        });
        let counted = counted.inspect_err(|_| self.go_on())?;
        let (bring, heir) = sync_channel(1);
        *handed_over
            .0
            .heir
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(heir);
        handed_over.0.is_done.store(true, Ordering::Release);
        systemd::main_process(pid);
        // It serves: what it does not hear now it can do without.
        channel.send(Kind::Yours.number(), &[], None).ok();
        log::info!("handed over to process {pid}");
        self.sources.process.draining.store(true, Ordering::Relaxed);
        if !is_same_version {
            log::warn!("process {pid} is of another version: clients are not passed to it");
            draining::stop(&self.mailboxes);
            return Ok(());
        }
        match self.pass_clients(&mut channel) {
            Ok(passed) => log::info!("passed {passed} clients to process {pid}"),
            Err(error) => {
                log::warn!("cannot pass clients to process {pid}: {error}");
                draining::stop(&self.mailboxes);
            }
        }
        bring.send((channel, counted)).ok();
        Ok(())
    }

    /// Passes clients on until all have left or may not any more; how many did.
    fn pass_clients(&self, channel: &mut DescriptorChannel) -> io::Result<usize> {
        let topics = self.mailboxes.iter().map(|mailbox| {
            let (answer, topics) = sync_channel(1);
            mailbox.send(Mail::Topics(answer));
            let topics = topics.recv_timeout(WORKER_MAX).unwrap_or_default();
            let named = topics.iter().map(|(kind, name)| (*kind, &name[..]));
            encode_topics(named)
        });
        let topics: Vec<Vec<u8>> = topics.collect();
        let (exits, leavers) = sync_channel(LEAVERS_MAX);
        for mailbox in &self.mailboxes {
            mailbox.send(Mail::Leave(exits.clone()));
        }
        drop(exits);
        channel.send(Kind::Topics.number(), &message::topics(&topics), None)?;
        let (warm, mailboxes) = (channel.try_clone()?, self.mailboxes.clone());
        let thread = thread::Builder::new().name("hand-over-warm".to_string());
        thread.spawn(move || let_subscribers_leave(warm, &mailboxes))?;
        let mut passed = 0;
        for leaver in leavers {
            let body = message::client(leaver.worker, &leaver.client.encode());
            let descriptor = Some(leaver.descriptor.as_fd());
            channel.send(Kind::Client.number(), &body, descriptor)?;
            passed += 1;
        }
        Ok(passed)
    }

    /// Passes all listening sockets on; how many there were.
    fn pass_listeners(&self, channel: &mut DescriptorChannel) -> io::Result<usize> {
        let mut passed = 1;
        for mailbox in &self.mailboxes {
            let (answer, listeners) = sync_channel(1);
            mailbox.send(Mail::Listeners(answer));
            let listeners = listeners.recv_timeout(WORKER_MAX);
            let listeners = listeners.map_err(|_| io::Error::other("a worker does not answer"))?;
            for (place, listener) in listeners? {
                let purpose = self.purposes.get(place);
                let purpose = purpose.ok_or_else(|| io::Error::other("an address is unknown"))?;
                let listener = Some(listener.as_fd());
                channel.send(Kind::Listener.number(), &purpose.encode(), listener)?;
                passed += 1;
            }
        }
        if let Some((debug, purpose, _)) = &self.debug {
            let debug = Some(debug.as_fd());
            channel.send(Kind::Listener.number(), &purpose.encode(), debug)?;
            passed += 1;
        }
        let (own, purpose) = (Some(self.socket.as_fd()), &self.socket_purpose);
        channel.send(Kind::Listener.number(), &purpose.encode(), own)?;
        Ok(passed)
    }

    /// Nobody is accepted here when this returns.
    fn pause(&self) -> io::Result<()> {
        if let Some((_, _, door)) = &self.debug {
            door.shut();
        }
        let waits = self.mailboxes.iter().map(|mailbox| {
            let (done, wait) = sync_channel(1);
            mailbox.send(Mail::Pause(done));
            wait
        });
        for wait in waits.collect::<Vec<_>>() {
            if wait.recv_timeout(WORKER_MAX).is_err() {
                return Err(io::Error::other("a worker does not stop accepting"));
            }
        }
        Ok(())
    }

    /// Clients are accepted again.
    fn go_on(&self) {
        for mailbox in &self.mailboxes {
            mailbox.send(Mail::Accept(sync_channel(1).0));
        }
        if let Some((_, _, door)) = &self.debug {
            door.open();
        }
    }
}

/// Subscribers leave when the new process listens for them, or does not say that it does.
fn let_subscribers_leave(mut channel: DescriptorChannel, mailboxes: &[Mailbox]) {
    if let Err(error) = expect(&mut channel, Kind::Warm) {
        log::warn!("subscribers may miss messages: the new process is not subscribed: {error}");
    }
    for mailbox in mailboxes {
        mailbox.send(Mail::LeaveSubscribed);
    }
}

/// The body of the next frame, which must be of this kind.
fn expect(channel: &mut DescriptorChannel, kind: Kind) -> io::Result<Vec<u8>> {
    match channel.receive()? {
        Some(frame) if Kind::of(frame.kind) == Some(kind) => Ok(frame.body),
        Some(_) => Err(io::Error::other("it says something else than it should")),
        None => Err(io::Error::other("it has closed the connection")),
    }
}

/// Whether the new process is still there a while after it began to serve: what ends a program at its first clients ends it
/// then. It says nothing meanwhile.
fn lives_on(channel: &mut DescriptorChannel) -> io::Result<()> {
    channel.set_patience(Some(PROBATION))?;
    match channel.receive() {
        Ok(Some(_)) => Ok(()),
        Err(error) if is_timeout(&error) => Ok(()),
        Ok(None) => Err(io::Error::other("it ended as soon as it served")),
        Err(error) => Err(wrong("it ended as soon as it served", error)),
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
    )
}

fn wrong(what: &str, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{what}: {error}"))
}
