//! The new process of a hand-over: takes the listening sockets of the old one, and begins to accept when it has shown
//! that it can serve.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use crate::accept_balance::AcceptBalance;
use crate::clock::Clock;
use crate::control::state::Sources;
use crate::fields::Malformed;
use crate::handover::message::{self, Kind, Purpose, Role, VERSION};
use crate::mailbox::{Leaver, Mail, Mailbox};
use crate::net::descriptor_channel::{DescriptorChannel, Frame};
use crate::proxy::handover::state::{MovedClient, decode_topics};
use crate::proxy::pubsub::state::kind as topics;
use crate::proxy::stats::counted::Counted;

/// How long the old process may take for each step.
const STEP: Duration = Duration::from_secs(10);
/// How long the cluster may take to say where its slots are, in times of `-connect-timeout`.
const TOPOLOGY_TIMES: u32 = 20;
/// How often that is looked at.
const TOPOLOGY_LOOK: Duration = Duration::from_millis(5);
/// How long the nodes may take to confirm subscriptions.
const WARM_MAX: Duration = Duration::from_secs(2);
/// How often, and how many times, a worker is asked to take a client that has no room for it.
const HAND_AGAIN: Duration = Duration::from_millis(1);
const HAND_TRIES: usize = 5000;

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
    /// How clients are spread over the workers.
    pub accept_balance: Arc<AcceptBalance>,
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
    let accepting = taking.mailboxes.iter().map(|mailbox| {
        let (begun, wait) = sync_channel(1);
        mailbox.send(Mail::Accept(begun));
        wait
    });
    for wait in accepting.collect::<Vec<_>>() {
        let begun = wait.recv_timeout(STEP / 2);
        begun.map_err(|_| io::Error::other("a worker does not accept"))??;
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
    let mailboxes = &taking.mailboxes;
    let arrivals = Arrivals {
        mailboxes,
        accept_balance: &taking.accept_balance,
        clock: taking.sources.clock,
    };
    if let Err(error) = follow(&mut offer, &arrivals) {
        log::warn!("the old process ended too early: {error}");
    }
    for mailbox in mailboxes {
        mailbox.send(Mail::CoolDown);
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
fn follow(offer: &mut Offer, arrivals: &Arrivals<'_>) -> io::Result<()> {
    offer.channel.set_patience(None)?;
    let mut clients = 0;
    while let Some(frame) = offer.channel.receive()? {
        match Kind::of(frame.kind) {
            Some(Kind::Counted) => count(&frame, offer.is_same_version, arrivals.mailboxes),
            Some(Kind::Topics) => arrivals.warm_up(&frame, offer.channel.try_clone()?)?,
            Some(Kind::Client) => match arrivals.take_in(frame) {
                Ok(()) => clients += 1,
                Err(Malformed) => {
                    log::warn!("closing a client that was handed over: its state is malformed")
                }
            },
            _ => {}
        }
    }
    let pid = offer.pid;
    log::info!("process {pid} has ended; {clients} clients came from it");
    Ok(())
}

/// Where clients go that come from the old process.
struct Arrivals<'a> {
    mailboxes: &'a [Mailbox],
    accept_balance: &'a AcceptBalance,
    clock: Clock,
}

impl Arrivals<'_> {
    /// The worker for the subscribers of a worker of the old process.
    fn of_subscribers(&self, worker: usize) -> usize {
        worker % self.mailboxes.len()
    }

    /// Subscribes at the nodes to what subscribers will come for, and tells the old process when that is so.
    fn warm_up(&self, frame: &Frame, mut channel: DescriptorChannel) -> io::Result<()> {
        let garbage = |_| io::Error::other("topics are malformed");
        let mut all: Vec<Vec<(topics::Kind, Vec<u8>)>> = vec![Vec::new(); self.mailboxes.len()];
        let workers = message::read_topics(&frame.body).map_err(garbage)?;
        for (worker, body) in workers.into_iter().enumerate() {
            let topics = decode_topics(body).map_err(garbage)?;
            all[self.of_subscribers(worker)].extend(topics);
        }
        let mut waits = Vec::new();
        for (mailbox, topics) in self.mailboxes.iter().zip(all) {
            let (done, wait) = sync_channel(1);
            mailbox.send(Mail::WarmUp(topics, done));
            waits.push(wait);
        }
        let clock = self.clock;
        let tell = move || {
            let begun = clock.now();
            for wait in waits {
                // Those that are not warm by then come all the same.
                let left = WARM_MAX.saturating_sub(clock.now().since(begun));
                wait.recv_timeout(left).ok();
            }
            channel.send(Kind::Warm.number(), &[], None).ok();
        };
        let thread = thread::Builder::new().name("take-over-warm".to_string());
        thread.spawn(tell).map(|_detached| ())
    }

    /// Passes a client to a worker.
    fn take_in(&self, frame: Frame) -> Result<(), Malformed> {
        let (worker, state) = message::read_client(&frame.body)?;
        let client = Box::new(MovedClient::decode(state)?);
        let descriptor = frame.descriptor.ok_or(Malformed)?;
        let worker = if client.topics.is_empty() {
            self.accept_balance.assign(0)
        } else {
            let worker = self.of_subscribers(worker);
            self.accept_balance.kept(worker);
            worker
        };
        let mut mail = Mail::Arrive(Leaver {
            client,
            descriptor,
            worker,
        });
        for _ in 0..HAND_TRIES {
            match self.mailboxes[worker].hand(mail) {
                Ok(()) => return Ok(()),
                Err(back) => mail = back,
            }
            thread::sleep(HAND_AGAIN);
        }
        log::warn!("worker {worker} does not read its messages: a client is closed");
        self.accept_balance.left(worker);
        Ok(())
    }
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
