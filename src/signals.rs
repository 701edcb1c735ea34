//! Signals: TERM and INT end the program, HUP reopens the log and reads `-config` again, USR1 writes a summary of
//! the status to the log.

use std::env;
use std::io;
use std::sync::mpsc::sync_channel;
use std::thread;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook::iterator::Signals;

use crate::config::Config;
use crate::control::state::Sources;
use crate::control::status::Status;
use crate::control::summary;
use crate::live::Unchanged;
use crate::logging::LogHandle;
use crate::mailbox::{Letter, Mailbox};
use crate::options::{self, Parsed};
use crate::proxy::question::Question;

/// The signals that are waited for.
pub fn catch() -> io::Result<Signals> {
    Signals::new([SIGTERM, SIGINT, SIGHUP, SIGUSR1])
}

/// Does what signals ask for, on a thread of its own. The first TERM or INT lets every worker finish; a second
/// one ends the process at once.
pub fn watch(
    mut signals: Signals,
    sources: Sources,
    mailboxes: Vec<Mailbox>,
    log: LogHandle,
) -> io::Result<()> {
    thread::Builder::new()
        .name("signals".into())
        .spawn(move || {
            let mut stopping = false;
            for signal in signals.forever() {
                match signal {
                    SIGHUP => {
                        log::info!("SIGHUP: reopening the log");
                        log.reopen();
                        reload(&sources, &mailboxes);
                    }
                    SIGUSR1 => {
                        for line in summary::lines(&Status::of(&sources)) {
                            log::info!("status: {line}");
                        }
                    }
                    _ if stopping => {
                        log::warn!("second signal: ending at once");
                        log.flush();
                        std::process::exit(0);
                    }
                    _ => {
                        stopping = true;
                        log::info!("stopping: no new clients, finishing what is in flight");
                        for mailbox in &mailboxes {
                            mailbox.send(Letter::Stop);
                        }
                    }
                }
            }
        })?;
    Ok(())
}

/// Reads the file of `-config` again, if there is one. What it says is then in force, also where PROXY CONFIG SET
/// had said otherwise; what is decided at start is told of and stays.
fn reload(sources: &Sources, mailboxes: &[Mailbox]) {
    let live = &sources.process.live;
    let old = live.config();
    let Some(path) = &old.config_file else {
        return;
    };
    let new = match options::parse(env::args_os().skip(1), |name| env::var_os(name)) {
        Ok(Parsed::Run(config)) => config,
        // The command line is the one that has started us.
        Ok(Parsed::Help(_) | Parsed::Version(_) | Parsed::Check(_)) => return,
        Err(error) => {
            log::error!("-config is not taken: {}", error.reason());
            return;
        }
    };
    let mut same = true;
    for (name, before, value) in options::differences(&old, &new) {
        same = false;
        match live.change(&[(name, &value)]) {
            Ok(()) => log::info!("{}: {name} is {value:?}, was {before:?}", path.display()),
            Err((_, Unchanged::Fixed)) => log::warn!(
                "{}: {name} stays {before:?} until the next start, which makes it {value:?}",
                path.display()
            ),
            Err((_, unchanged)) => log::error!("{}: {name}: {unchanged:?}", path.display()),
        }
    }
    if secrets(&old) != secrets(&new) {
        same = false;
        log::warn!("{}: a password stays until the next start", path.display());
    }
    if same {
        log::info!("{}: nothing has changed", path.display());
    }
    // Nobody waits for the answers.
    let (answer, _) = sync_channel(1);
    for mailbox in mailboxes {
        mailbox.send(Letter::Control {
            question: Question::RenewConfig,
            answer: answer.clone(),
        });
    }
}

fn secrets(config: &Config) -> [&Option<crate::config::Secret>; 3] {
    [
        &config.client_password,
        &config.backend_password,
        &config.debug_token,
    ]
}
