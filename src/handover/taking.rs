//! The new process of a hand-over: takes the listening sockets of the old one, and begins to accept when it has shown
//! that it can serve.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use crate::control::state::Sources;
use crate::handover::message::{self, Kind, Purpose, Role, VERSION};
use crate::mailbox::{Mail, Mailbox};
use crate::net::descriptor_channel::{DescriptorChannel, Frame};
use crate::proxy::stats::counted::Counted;

/// How long the old process may take for each step.
const STEP: Duration = Duration::from_secs(10);
/// How long the cluster may take to say where its slots are, in times of `-connect-timeout`.
const TOPOLOGY_TIMES: u32 = 20;
/// How often that is looked at.
const TOPOLOGY_LOOK: Duration = Duration::from_millis(5);

/// What an old process offers: its listening sockets, and what they are for.
#[derive(Debug)]
pub struct Offer {
    channel: DescriptorChannel,
    /// The old process.
    pid: i32,
    sockets: Vec<(Purpose, OwnedFd)>,
    /// Whether it has the same version of state.
    is_same_version: bool,
}

/// Asks the process that listens at `path` for all it has; nothing if there is none.
pub fn ask(path: &Path) -> io::Result<Option<Offer>> {
    let stream = match UnixStream::connect(path) {
        Ok(stream) => stream,
        Err(error) => {
            return match error.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => Ok(None),
                _ => Err(wrong(
                    &format!("cannot connect to {}", path.display()),
                    error,
                )),
            };
        }
    };
    let mut channel = DescriptorChannel::new(stream);
    let offer = listen_to(&mut channel);
    let (sockets, version) =
        offer.map_err(|error| wrong("the process that serves does not hand over", error))?;
    let (pid, _) = channel.peer()?;
    log::info!(
        "taking over from process {pid}, which has {} listening sockets",
        sockets.len()
    );
    Ok(Some(Offer {
        channel,
        pid,
        sockets,
        is_same_version: version == VERSION,
    }))
}

fn listen_to(channel: &mut DescriptorChannel) -> io::Result<(Vec<(Purpose, OwnedFd)>, u64)> {
    channel.set_patience(Some(STEP))?;
    channel.send(Kind::Hello.number(), &message::greeting(VERSION), None)?;
    let mut sockets = Vec::new();
    loop {
        let frame = next(channel)?;
        match (Kind::of(frame.kind), frame.descriptor) {
            (Some(Kind::Listener), Some(socket)) => {
                let purpose = Purpose::decode(&frame.body);
                let purpose = purpose.map_err(|_| io::Error::other("a listener is malformed"))?;
                sockets.extend(purpose.map(|purpose| (purpose, socket)));
            }
            (Some(Kind::Offered), _) => {
                let version = message::version(&frame.body).unwrap_or(0);
                return Ok((sockets, version));
            }
            (Some(Kind::Refused), _) => {
                let why = String::from_utf8_lossy(&frame.body).into_owned();
                return Err(io::Error::other(why));
            }
            _ => {}
        }
    }
}

/// The next frame; there must be one.
fn next(channel: &mut DescriptorChannel) -> io::Result<Frame> {
    let frame = channel.receive()?;
    frame.ok_or_else(|| io::Error::other("it has closed the connection"))
}

fn wrong(what: &str, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("-take-over: {what}: {error}"))
}

impl Offer {
    /// The sockets of one address.
    pub fn take(&mut self, role: Role, asked: &str) -> Vec<OwnedFd> {
        self.take_those(|purpose| {
            purpose.role == role && purpose.asked == asked && !purpose.is_units
        })
    }

    /// The sockets that the old process was started with, if it was started with any.
    pub fn take_units(&mut self) -> Option<Vec<OwnedFd>> {
        let units = self.take_those(|purpose| purpose.is_units);
        (!units.is_empty()).then_some(units)
    }

    fn take_those(&mut self, are: impl Fn(&Purpose) -> bool) -> Vec<OwnedFd> {
        let all = std::mem::take(&mut self.sockets);
        let (taken, left): (Vec<_>, Vec<_>) =
            all.into_iter().partition(|(purpose, _)| are(purpose));
        self.sockets = left;
        taken.into_iter().map(|(_, socket)| socket).collect()
    }

    /// Says which addresses are not served any more.
    fn tell_of_rest(&self) {
        let mut told: Vec<&Purpose> = Vec::new();
        for (purpose, _) in &self.sockets {
            if !told.contains(&purpose) {
                log::warn!("no longer listening on {purpose}: the settings do not name it");
                told.push(purpose);
            }
        }
    }
}

/// What the new process takes over with.
pub struct Taking {
    /// Its workers.
    pub mailboxes: Vec<Mailbox>,
    /// What it knows and counts.
    pub sources: Sources,
    /// Begins to accept at the debug address.
    pub open_debug: Box<dyn FnOnce() + Send>,
    /// The addresses are its own from now on.
    pub settle: Box<dyn FnOnce() + Send>,
}

/// Why a process could not take over, if it could not.
#[derive(Debug, Clone, Default)]
pub struct Failure(Arc<Mutex<Option<io::Error>>>);

impl Failure {
    fn note(&self, error: io::Error, mailboxes: &[Mailbox]) {
        let error = wrong("the old process serves on", error);
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
        for mailbox in mailboxes {
            mailbox.send(Mail::Stop);
        }
    }

    /// Takes it out.
    pub fn take(&self) -> Option<io::Error> {
        let mut own = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        own.take()
    }
}

/// Takes over, on a thread of its own. If that fails, the workers are told to stop, and the failure is noted.
pub fn spawn(offer: Offer, taking: Taking) -> Failure {
    let failure = Failure::default();
    let (noted, mailboxes) = (failure.clone(), taking.mailboxes.clone());
    let run = move || {
        let mailboxes = taking.mailboxes.clone();
        if let Err(error) = take_over(offer, taking) {
            noted.note(error, &mailboxes);
        }
    };
    let thread = thread::Builder::new().name("take-over".to_string());
    if let Err(error) = thread.spawn(run) {
        failure.note(error, &mailboxes);
    }
    failure
}

fn take_over(mut offer: Offer, taking: Taking) -> io::Result<()> {
    await_topology(&taking.sources)?;
    let channel = &mut offer.channel;
    channel.send(Kind::Ready.number(), &[], None)?;
    let go = next(channel)?;
    if Kind::of(go.kind) != Some(Kind::Go) {
        return Err(io::Error::other("it does not let go"));
    }
    count(&go, offer.is_same_version, &taking.mailboxes);
    for mailbox in &taking.mailboxes {
        if !mailbox.send(Mail::Accept) {
            return Err(io::Error::other("a worker does not read its messages"));
        }
    }
    (taking.open_debug)();
    // From now on it serves, whatever becomes of the old process.
    let told = channel.send(Kind::Serves.number(), &[], None);
    let told = told.and_then(|()| next(channel));
    if let Err(error) = told {
        log::warn!("the old process did not end the hand-over: {error}");
    }
    (taking.settle)();
    taking.sources.forget_recent();
    offer.tell_of_rest();
    offer.sockets.clear();
    log::info!("took over from process {}", offer.pid);
    if let Err(error) = follow(&mut offer, &taking.mailboxes) {
        log::warn!("the old process ended too early: {error}");
    }
    Ok(())
}

fn await_topology(sources: &Sources) -> io::Result<()> {
    let limit = sources.process.live.config().connect_timeout * TOPOLOGY_TIMES;
    let (clock, begun) = (sources.clock, sources.clock.now());
    while sources.latest.topology().is_none() {
        if clock.now().since(begun) > limit {
            let text = format!("no node has said within {limit:?} where the slots are");
            return Err(io::Error::other(text));
        }
        thread::sleep(TOPOLOGY_LOOK);
    }
    Ok(())
}

/// Hears the old process out.
fn follow(offer: &mut Offer, mailboxes: &[Mailbox]) -> io::Result<()> {
    offer.channel.set_patience(None)?;
    while let Some(frame) = offer.channel.receive()? {
        if Kind::of(frame.kind) == Some(Kind::Counted) {
            count(&frame, offer.is_same_version, mailboxes);
        }
    }
    log::info!("process {} has ended", offer.pid);
    Ok(())
}

/// Adds what the old process has counted.
fn count(frame: &Frame, is_same_version: bool, mailboxes: &[Mailbox]) {
    if !is_same_version {
        return;
    }
    let Ok(counted) = Counted::decode(&frame.body) else {
        return log::warn!("what the old process has counted cannot be read");
    };
    if let Some(first) = mailboxes.first() {
        first.send(Mail::Counted(Box::new(counted)));
    }
}
