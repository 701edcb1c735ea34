//! Signals: TERM and INT stop the program, HUP reopens the log and reloads `-config`, USR1 writes a summary of the
//! status to the log, USR2 starts a new process that takes over.

use std::env;
use std::io;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::iterator::Signals;

use crate::acl::store::FileError;
use crate::config::Config;
use crate::control::certificates::Renewer;
use crate::control::draining;
use crate::control::state::Sources;
use crate::control::status::Status;
use crate::control::summary;
use crate::descriptors;
use crate::handover::successor;
use crate::live_config::Unchanged;
use crate::logging::LogHandle;
use crate::mailbox::{Mail, Mailbox};
use crate::options::{self, Parsed};
use crate::proxy::messages::worker_query::WorkerQuery;
use crate::systemd;

/// The signals that are waited for.
pub fn catch() -> io::Result<Signals> {
    Signals::new([SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2])
}

/// Does what signals ask for, on a thread of its own. The first TERM or INT drains; a second
/// one ends the process at once.
pub fn watch(
    mut signals: Signals,
    sources: Sources,
    mailboxes: Vec<Mailbox>,
    log: LogHandle,
    renewer: Option<Renewer>,
) -> io::Result<()> {
    let reloads = {
        let (sources, mailboxes, log) = (sources.clone(), mailboxes.clone(), log.clone());
        reload_when_told(move || {
            log::info!("SIGHUP: reopening the log");
            systemd::reloading();
            log.reopen();
            reload(&sources, &mailboxes);
            reload_users(&sources, &mailboxes);
            if let Some(renewer) = &renewer {
                renewer.renew();
            }
            systemd::reloaded();
        })?
    };
    thread::Builder::new()
        .name("signals".into())
        .spawn(move || {
            let mut stopping = false;
            for signal in signals.forever() {
                match signal {
                    // If there is no room, another reload is still to begin, which sees what this one would.
                    SIGHUP => drop(reloads.try_send(())),
                    SIGUSR1 => {
                        for line in summary::lines(&Status::of(&sources)) {
                            log::info!("status: {line}");
                        }
                    }
                    SIGUSR2 if stopping => {}
                    SIGUSR2 => match sources.process.live.config().take_over {
                        Some(_) => successor::start(),
                        None => log::warn!("SIGUSR2: nothing is handed over without -take-over"),
                    },
                    _ if stopping => {
                        log::warn!("second signal: exiting at once");
                        log.flush();
                        std::process::exit(0);
                    }
                    _ => {
                        stopping = true;
                        systemd::stopping();
                        draining::begin(&sources.process, &mailboxes);
                    }
                }
            }
        })?;
    Ok(())
}

/// Flags that name a file of secrets. What another file says counts at once, as the secrets do.
const FILES_OF_SECRETS: [&str; 2] = ["password-file", "password-old-file"];

/// Reloads, as often as it is told to, on a thread of its own: a disk that hangs must not keep TERM from being heard.
fn reload_when_told(reload: impl Fn() + Send + 'static) -> io::Result<SyncSender<()>> {
    let (tell, told) = sync_channel(1);
    let work = move || told.iter().for_each(|()| reload());
    thread::Builder::new().name("reload".into()).spawn(work)?;
    Ok(tell)
}

/// Reads the files of `-config` and `-password-file` again, if there are any. What they say is then in force, also
/// where PROXY CONFIG SET had said otherwise; what is decided at start is told of and stays. Passwords count for new
/// logins, and new connections to the nodes.
fn reload(sources: &Sources, mailboxes: &[Mailbox]) {
    let live = &sources.process.live;
    let old = live.config();
    let Some(path) = old.config_file.as_ref().or(old.password_file.as_ref()) else {
        return;
    };
    let mut new = match options::parse(env::args_os().skip(1), |name| env::var_os(name)) {
        Ok(Parsed::Run(config)) => config,
        // The command line is the one that has started us.
        Ok(Parsed::Help(_) | Parsed::Version(_) | Parsed::Check(_)) => return,
        Err(error) => {
            log::error!("SIGHUP: keeping the old settings: {}", error.reason());
            return;
        }
    };
    if let Some(limit) = descriptors::limit() {
        // As at start: what is lowered is no difference.
        descriptors::fit(&mut new, limit);
    }
    let mut same = true;
    for (name, before, value) in options::differences(&old, &new) {
        same = false;
        let changed = match FILES_OF_SECRETS.contains(&name) {
            true => Ok(()),
            false => live.change(&[(name, &value)]),
        };
        match changed {
            Ok(()) => log::info!(
                "{}: {name} changed from {before:?} to {value:?}",
                path.display()
            ),
            Err((_, Unchanged::Fixed)) => log::warn!(
                "{}: {name} stays {before:?}: the new value {value:?} takes effect at the next start",
                path.display()
            ),
            Err((_, unchanged)) => log::error!("{}: {name}: {unchanged:?}", path.display()),
        }
    }
    let (_, kept) = old.with_secrets_of(&new);
    for name in kept {
        same = false;
        log::warn!(
            "{name} was removed from the settings: clients still need it until the next start"
        );
    }
    let changed = secrets(&old, &new).into_iter();
    let changed: Vec<_> = changed.filter(|(_, is_same)| !is_same).collect();
    same &= changed.is_empty();
    live.renew(|config| config.with_secrets_of(&new).0);
    if !same {
        sources.process.acl.renew_passwords(&live.config());
    }
    tell(mailboxes, &WorkerQuery::RenewConfig);
    // Said once everybody has been told: whoever has read it may use the new one.
    for (name, _) in changed {
        log::info!("{name} changed: new logins use it");
    }
    if same {
        log::info!("{}: nothing changed", path.display());
    }
}

/// Reads the file of users again, if there is one. If anything in it is wrong, the users stay as they are.
fn reload_users(sources: &Sources, mailboxes: &[Mailbox]) {
    match sources.process.acl.reload() {
        Ok(()) => log::info!("the users are those of -acl-file as it is now"),
        Err(FileError::None) => {}
        Err(FileError::Failed(error)) => log::error!("the users stay as they are: {error}"),
    }
    tell(mailboxes, &WorkerQuery::RenewUsers);
}

/// Tells all workers to take what is in force now. Nobody waits for the answers.
fn tell(mailboxes: &[Mailbox], question: &WorkerQuery) {
    let (answer, _) = sync_channel(1);
    for mailbox in mailboxes {
        mailbox.send(Mail::Control {
            question: question.clone(),
            answer: answer.clone(),
        });
    }
}

/// The secrets, and whether they are the same in both.
fn secrets(old: &Config, new: &Config) -> [(&'static str, bool); 3] {
    let of_clients = |config: &Config| {
        let old = config.client_password_old.clone();
        (config.client_password.clone(), old)
    };
    [
        ("the client password", of_clients(old) == of_clients(new)),
        ("the node password", old.has_backend_passwords_of(new)),
        ("-debug-token", old.debug_token == new.debug_token),
    ]
}
