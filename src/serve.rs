//! `run`: starts the threads of the program and connects them: workers, topology, control, signals, hand-over.

mod listening;

use std::env;
use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::thread;

use rustix::thread::{CpuSet, sched_setaffinity};

use crate::accept_balance::AcceptBalance;
use crate::acl::Store;
use crate::acl_files;
use crate::allocator;
use crate::clock::Clock;
use crate::cluster::topology::Topology;
use crate::command::{Servers, Table};
use crate::config::{AdminCommands, Config, Listen};
use crate::control::TERMINAL;
use crate::control::certificates;
use crate::control::http::{self, ControlHandle, Door};
use crate::control::learn_servers::{self, Surveyor};
use crate::control::namespace_keys;
use crate::control::outages;
use crate::control::refresh;
use crate::control::refresher::{Refresher, Trigger};
use crate::control::state::{ControlState, Latest, Sources};
use crate::handover::giving::{self, Giving};
use crate::handover::message::{Purpose, Role};
use crate::handover::taking::{self, Failure, Taking};
use crate::live_config::LiveConfig;
use crate::logging::LogHandle;
use crate::mailbox::{Mail, Mailbox};
use crate::net::holder;
use crate::net::listener::Passed;
use crate::net::tls::Context;
use crate::options;
use crate::proxy::Proxy;
use crate::proxy::actions::Wanted;
use crate::proxy::process::Process;
use crate::pulse::Pulse;
use crate::signals;
use crate::systemd;
use crate::turns::Heartbeat;
use crate::worker::{Parts, Worker};

use listening::Listening;

/// Serves until a signal says stop and what was in flight has been answered: at `passed` if the process was started with
/// it, else at `-addr`.
pub fn run(mut config: Config, passed: Option<Passed>, log: LogHandle) -> io::Result<()> {
    let clock = Clock::start();
    let tls = Arc::new(Context::load(&config).map_err(io::Error::other)?);
    let acl = Store::load(&config, acl_files::FILES).map_err(io::Error::other)?;
    let mut offer = match &config.take_over {
        Some(path) => taking::ask(path)?,
        None => None,
    };
    let mut listening = Listening::begin(&mut config, passed, offer.as_mut(), &tls)?;
    let debug = listening::debug(&config, offer.as_mut())?;
    let successor = listening::take_over(&config, offer.as_mut(), &mut listening.files)?;
    let Listening {
        workers: listeners,
        purposes,
        files,
    } = listening;
    let signals = signals::catch()?;
    let config = Arc::new(config);
    log::info!(
        target: TERMINAL,
        "listening on {}, cluster nodes {}, {} worker(s), log file {}",
        told_listens(&config),
        config.startup_nodes.join(","),
        config.workers,
        match &config.log_file {
            Some(path) => path.display().to_string(),
            None => "standard error".to_string(),
        }
    );
    if config.backend_tls.on && !config.backend_tls.verify {
        log::warn!(
            target: TERMINAL,
            "-backend-tls-verify is false: node certificates are not verified, so any host at a node's address gets \
             the password and the data"
        );
    }
    // As at a server, what the file does not say of this user stays as it is: an empty file opens all doors.
    let users = acl.users();
    let unnamed = users.unnamed();
    if config.acl_file.is_some() && unnamed.is_open() && unnamed.permissions().are_all() {
        log::warn!(
            target: TERMINAL,
            "-acl-file does not restrict the user default: clients that do not log in may do everything. Put \"user \
             default off\" into it"
        );
    }
    if config.admin_commands != AdminCommands::Yes && config.backend_user.is_none() {
        log::warn!(
            "-admin-commands {} does not cover scripts: EVAL \"redis.call('FLUSHALL')\" still runs, as the nodes' default \
             user. Set -backend-user to an ACL user without such commands (-@dangerous -@admin)",
            config.admin_commands.name()
        );
    }

    let live = LiveConfig::new(config.clone(), options::SETTINGS);
    let process = Arc::new(Process::with(
        config.workers,
        live,
        acl,
        clock.standstills(),
    ));
    let table = Arc::new(Table::compiled());
    let mut workers = Vec::new();
    let mut mailboxes = Vec::new();
    let mut heartbeats = Vec::new();
    let accept_balance = Arc::new(AcceptBalance::new(config.workers));
    for (index, listeners) in listeners.into_iter().enumerate() {
        let heartbeat = Arc::new(Heartbeat::ended_at(clock.now()));
        heartbeats.push(heartbeat.clone());
        let seed = process.run_id.bytes().fold(index as u64 + 1, |hash, byte| {
            hash.wrapping_mul(0x100_0000_01b3) ^ u64::from(byte)
        });
        let proxy = Proxy::new(config.clone(), table.clone(), process.clone(), index, seed);
        let parts = Parts {
            listeners,
            accepts: offer.is_none(),
            tls: tls.clone(),
            clock,
            heartbeat,
            accept_balance: accept_balance.clone(),
        };
        let (worker, mailbox) = Worker::new(parts, proxy)?;
        workers.push(worker);
        mailboxes.push(mailbox);
    }
    let servers = Servers::unknown(table);
    let latest = Arc::new(Latest::new(servers.clone()));
    let surveyor = start_survey(&process, servers, &tls, &latest, mailboxes.clone())?;
    namespace_keys::spawn(process.clone(), latest.clone(), tls.clone())?;
    let pulse = Arc::new(Pulse::default());
    let refresher = {
        let (mailboxes, pulse) = (mailboxes.clone(), pulse.clone());
        start_refresher(&process, clock, &tls, surveyor, &latest, mailboxes, pulse)?
    };
    let dropped = log.clone();
    let sources = Sources {
        clock,
        heartbeats,
        process,
        latest,
        refresher: refresher.clone(),
        window: Arc::default(),
        history: Arc::default(),
        log_dropped: Arc::new(move || dropped.dropped()),
    };
    outages::spawn(sources.clone(), pulse.clone())?;
    if let Err(error) = allocator::watch(clock, pulse) {
        log::warn!(
            "cannot watch the allocator: free memory is not returned to the system: {error}"
        );
    }
    systemd::guard(clock, sources.heartbeats.clone(), sources.process.clone())?;
    let debug_copy = match &debug {
        Some(listener) if successor.is_some() => Some(listener.try_clone()?.into()),
        _ => None,
    };
    let control = match debug {
        Some(listener) => {
            let accepts = offer.is_none();
            Some(start_control(
                listener, accepts, &tls, &sources, &mailboxes,
            )?)
        }
        None => None,
    };
    let renewer = certificates::spawn(tls, sources.process.clone())?;
    signals::watch(signals, sources.clone(), mailboxes.clone(), log, renewer)?;

    let giving = successor.map(|(socket, socket_purpose)| Giving {
        socket,
        socket_purpose,
        purposes,
        debug: debug_copy.zip(control.as_ref()).map(|(copy, control)| {
            let purpose = debug_purpose(&config);
            (copy, purpose, control.door())
        }),
        mailboxes: mailboxes.clone(),
        sources: sources.clone(),
    });
    let (handed_over, serving) = (files.handed_over.clone(), files.serving());
    let shown = config.shown_listens();
    let settle = move || {
        serving.store(true, Ordering::Release);
        systemd::ready(&shown);
        let begun = giving.map(|giving| giving::spawn(giving, handed_over));
        if let Some(Err(error)) = begun {
            log::error!("cannot wait for a new process (-take-over): {error}");
        }
    };
    let mut failure = Failure::default();
    let result = match offer {
        None => run_workers(workers, &mailboxes, &config, &refresher, settle),
        Some(offer) => {
            let door = control.as_ref().map(|control| control.door());
            let taking = Taking {
                mailboxes: mailboxes.clone(),
                sources: sources.clone(),
                accept_balance,
                open_debug: Box::new(move || door.iter().for_each(Door::open)),
                settle: Box::new(settle),
            };
            let begin = || failure = taking::spawn(offer, taking);
            run_workers(workers, &mailboxes, &config, &refresher, begin)
        }
    };
    refresher.stop();
    if let Some(control) = control {
        control.join();
    }
    files.handed_over.finish(&sources);
    log::info!("stopped");
    failure.take().map_or(result, Err)
}

fn debug_purpose(config: &Config) -> Purpose {
    Purpose {
        role: Role::Debug,
        asked: config
            .debug_addr
            .map_or(String::new(), |address| address.to_string()),
        is_units: false,
    }
}

/// Where clients are served, for the log.
fn told_listens(config: &Config) -> String {
    let plain = config.listen.iter().map(Listen::to_string);
    let encrypted = config.tls.listen.map(|address| format!("{address} (TLS)"));
    let own = config.namespace_listen.iter();
    let own = own.map(|(name, address)| format!("{address} (namespace {name})"));
    let all = plain.chain(own).chain(encrypted);
    all.collect::<Vec<_>>().join(" and ")
}

/// Why there is no listener; of an address that is taken, by whom.
pub(crate) fn cannot_listen(address: &Listen, flag: &str, error: io::Error) -> io::Error {
    let mut holder = String::new();
    if let (Listen::Tcp(address), io::ErrorKind::AddrInUse) = (address, error.kind()) {
        let found = holder::holder(*address);
        holder = found.map_or(String::new(), |found| format!(", by {found}"));
        if flag == "-addr" || flag == "-tls-addr" {
            holder += "; -reuse-port lets several proxies share it";
        }
    }
    let text = format!("cannot listen on {address} ({flag}): {error}{holder}");
    io::Error::new(error.kind(), text)
}

fn at(what: &str, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{what}: {error}"))
}

/// Binds this thread to a processor.
pub(crate) fn bind_to(processor: usize) -> io::Result<()> {
    let mut set = CpuSet::new();
    set.set(processor);
    sched_setaffinity(None, &set).map_err(|error| {
        let what = format!("cannot bind a worker to processor {processor} (-cpu-affinity)");
        at(&what, error.into())
    })
}

/// What the thread of a worker has to tell.
enum Told {
    /// It serves from now on.
    Serves,
    /// It has ended, or could not begin.
    Ended(io::Result<()>),
}

/// Runs each worker on a thread of its own, and says when all of them serve; returns when all have ended, or one has failed.
fn run_workers(
    workers: Vec<Worker>,
    mailboxes: &[Mailbox],
    config: &Config,
    refresher: &Refresher,
    ready: impl FnOnce(),
) -> io::Result<()> {
    let mut ready = Some(ready);
    let (sender, told) = mpsc::channel();
    let affinity = &config.cpu_affinity;
    let (count, mut serving, mut ended) = (workers.len(), 0, 0);
    for (index, worker) in workers.into_iter().enumerate() {
        let (sender, refresher, others) = (sender.clone(), refresher.clone(), mailboxes.to_vec());
        let processor = (!affinity.is_empty()).then(|| affinity[index % affinity.len()]);
        thread::Builder::new()
            .name(format!("worker-{index}"))
            .spawn(move || {
                let bound = processor.map_or(Ok(()), bind_to);
                let result = bound.and_then(|()| {
                    sender.send(Told::Serves).ok();
                    worker.run(&others, |why| {
                        refresher.request(match why {
                            Wanted::Moved => Trigger::Moved,
                            Wanted::Trouble => Trigger::Error,
                            Wanted::Asked => Trigger::Manual,
                        });
                    })
                });
                // The receiver is gone only when another worker has failed and the process ends.
                sender.send(Told::Ended(result)).ok();
            })?;
    }
    drop(sender);
    while ended < count {
        match told.recv() {
            Ok(Told::Serves) => {
                serving += 1;
                if serving == count
                    && let Some(ready) = ready.take()
                {
                    ready();
                }
            }
            Ok(Told::Ended(result)) => {
                result?;
                ended += 1;
            }
            Err(_) => return Err(io::Error::other("a worker has panicked")),
        }
    }
    Ok(())
}

fn start_refresher(
    process: &Arc<Process>,
    clock: Clock,
    tls: &Arc<Context>,
    surveyor: Surveyor,
    latest: &Arc<Latest>,
    mailboxes: Vec<Mailbox>,
    pulse: Arc<Pulse>,
) -> io::Result<Refresher> {
    let latest = latest.clone();
    let names = tls.clone();
    let publish = Box::new(move |topology: Arc<Topology>| {
        names.announced(topology.nodes.iter().filter_map(|node| {
            let name = node.hostname.clone()?;
            Some((node.address, name))
        }));
        latest.set_topology(Arc::clone(&topology));
        surveyor.tell(Arc::clone(&topology));
        for mailbox in &mailboxes {
            if !mailbox.send(Mail::Topology(Arc::clone(&topology))) {
                log::debug!("a worker does not read its messages");
            }
        }
    });
    let live = process.clone();
    refresh::spawn(
        Box::new(move || live.live.config()),
        clock,
        tls.clone(),
        publish,
        pulse,
    )
}

fn start_survey(
    process: &Arc<Process>,
    servers: Servers,
    tls: &Arc<Context>,
    latest: &Arc<Latest>,
    mailboxes: Vec<Mailbox>,
) -> io::Result<Surveyor> {
    let (latest, users) = (latest.clone(), process.clone());
    let publish = Box::new(move |servers: Arc<Servers>| {
        latest.set_servers(Servers::clone(&servers));
        users.acl.learn(&servers);
        let mut told = true;
        for mailbox in &mailboxes {
            if !mailbox.send(Mail::Servers(Arc::clone(&servers))) {
                log::debug!("a worker does not read its messages");
                told = false;
            }
        }
        told
    });
    let (live, told) = (process.clone(), process.clone());
    learn_servers::spawn(
        Box::new(move || live.live.config()),
        Box::new(move || told.altered.swap(false, Ordering::Relaxed)),
        servers,
        tls.clone(),
        publish,
    )
}

fn start_control(
    listener: TcpListener,
    accepts: bool,
    tls: &Arc<Context>,
    sources: &Sources,
    mailboxes: &[Mailbox],
) -> io::Result<ControlHandle> {
    let (sources, mailboxes) = (sources.clone(), mailboxes.to_vec());
    http::spawn(listener, accepts, tls.clone(), move |waker| ControlState {
        sources,
        mailboxes,
        command_line: options::command_line(env::args_os()),
        waker,
        profiling: Arc::default(),
    })
}
