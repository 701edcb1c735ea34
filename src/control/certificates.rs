//! The thread that reloads certificates: once a minute if their files have changed, and on request (SIGHUP).
//!
//! If a new file is bad, the old certificate stays in use and the problem is logged once. The thread also warns of
//! certificates that expire soon. It must never know anything about a certificate except when it expires.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use crate::config::Config;
use crate::net::tls::Context;
use crate::proxy::process::{Expiry, Process};

/// How often the files are looked at.
const PERIOD: Duration = Duration::from_secs(60);
/// Certificates that are valid for less are told of.
const SOON_DAYS: f64 = 14.0;
/// How often they are told of.
const TELL_AGAIN: Duration = Duration::from_secs(86_400);

/// Asks for the files to be read again.
#[derive(Debug, Clone)]
pub struct Renewer(SyncSender<()>);

impl Renewer {
    /// Whatever has changed: it may be a file that a link leads to.
    pub fn renew(&self) {
        // A full channel says so already.
        self.0.try_send(()).ok();
    }
}

/// What tells that a file is another one: its device, inode, length and time of change; nothing if it is not there.
type Mark = Option<(u64, u64, u64, i64, i64)>;

struct Watch {
    tls: Arc<Context>,
    process: Arc<Process>,
    marks: Vec<Mark>,
    /// Why the files could not be read again, if they could not.
    failure: Option<String>,
    told_at: Option<Instant>,
}

/// Starts the thread, if there are certificates.
pub fn spawn(tls: Arc<Context>, process: Arc<Process>) -> io::Result<Option<Renewer>> {
    let config = process.live.config();
    if config.tls.listen.is_none() && !config.tls.debug && !config.backend_tls.on {
        return Ok(None);
    }
    let (sender, asked) = sync_channel(1);
    let mut watch = Watch {
        marks: marks(&config),
        tls,
        process,
        failure: None,
        told_at: None,
    };
    watch.note();
    thread::Builder::new()
        .name("certificates".to_string())
        .spawn(move || watch.run(&asked))?;
    Ok(Some(Renewer(sender)))
}

impl Watch {
    fn run(mut self, asked: &Receiver<()>) {
        loop {
            let is_asked = match asked.recv_timeout(PERIOD) {
                Ok(()) => true,
                Err(RecvTimeoutError::Timeout) => false,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            self.look(is_asked);
        }
    }

    fn look(&mut self, is_asked: bool) {
        let config = self.process.live.config();
        let marks = marks(&config);
        let has_changed = marks != self.marks;
        if is_asked || has_changed || self.failure.is_some() {
            self.marks = marks;
            self.reload(&config, is_asked || has_changed);
        }
        self.note();
    }

    fn reload(&mut self, config: &Config, is_news: bool) {
        match self.tls.reload(config) {
            Ok(()) => {
                self.failure = None;
                self.told_at = None;
                log::info!(
                    "TLS: reloaded certificates, keys and authorities: new connections use them"
                );
            }
            Err(error) => {
                if is_news || self.failure.as_ref() != Some(&error) {
                    log::error!("TLS: keeping the old certificates: {error}");
                }
                self.failure = Some(error);
            }
        }
    }

    /// Shows until when the certificates are valid, and tells of those that expire soon.
    fn note(&mut self) {
        let certificates = self.tls.certificates().into_iter();
        let expiries: Vec<Expiry> = certificates
            .map(|(flag, validity)| Expiry {
                flag,
                ends: validity.ends,
            })
            .collect();
        let now = SystemTime::now();
        let is_due = self.told_at.is_none_or(|at| at.elapsed() >= TELL_AGAIN);
        for expiry in &expiries {
            let days = expiry.days_left(now);
            if days < SOON_DAYS && is_due {
                self.told_at = Some(Instant::now());
                log::warn!(
                    "TLS: the certificate of -{} expires in {days:.1} days",
                    expiry.flag
                );
            }
        }
        self.process.set_certificates(expiries);
    }
}

fn marks(config: &Config) -> Vec<Mark> {
    let (clients, nodes) = (&config.tls, &config.backend_tls);
    let files = [
        &clients.certificate,
        &clients.key,
        &clients.authorities,
        &nodes.certificate,
        &nodes.key,
        &nodes.authorities,
    ];
    files.into_iter().flatten().map(|path| mark(path)).collect()
}

fn mark(path: &Path) -> Mark {
    let found = fs::metadata(path).ok()?;
    let changed = (found.mtime(), found.mtime_nsec());
    Some((found.dev(), found.ino(), found.len(), changed.0, changed.1))
}

#[cfg(all(test, feature = "tls"))]
mod tests {
    use super::*;
    use crate::clock::NEVER_STILL;
    use crate::config::AuthClients;
    use crate::live_config::{LiveConfig, Settings};
    use crate::testing::certificate;

    fn watch(config: Config) -> Watch {
        const NONE: Settings = Settings {
            list: |_| Vec::new(),
            change: |_, _, _| Err(crate::live_config::Unchanged::Unknown),
        };
        let tls = Arc::new(Context::load(&config).expect("good files"));
        let live = LiveConfig::new(Arc::new(config.clone()), NONE);
        let acl = crate::acl::Store::of(&live.config());
        let process = Process::with(1, live, acl, &NEVER_STILL);
        Watch {
            marks: marks(&config),
            tls,
            process: Arc::new(process),
            failure: None,
            told_at: None,
        }
    }

    #[test]
    fn files_are_read_again_when_they_have_changed_and_bad_ones_change_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let days = |count: &str| certificate(folder.path(), &["own", "IP:127.0.0.1", count]);
        days("30");
        let mut config = Config::default();
        config.tls.listen = Some(std::net::SocketAddr::from(([127, 0, 0, 1], 0)));
        config.tls.auth_clients = AuthClients::No;
        config.tls.certificate = Some(folder.path().join("own.crt"));
        config.tls.key = Some(folder.path().join("own.key"));
        let mut watch = watch(config);
        let left = |watch: &Watch| {
            let certificates = watch.process.certificates();
            let days = certificates
                .iter()
                .map(|own| own.days_left(SystemTime::now()).round());
            days.collect::<Vec<f64>>()
        };
        watch.look(false);
        assert_eq!((left(&watch), watch.told_at), (vec![30.0], None));
        days("7");
        watch.look(false);
        assert_eq!(left(&watch), [7.0]);
        assert!(watch.told_at.is_some());
        // A new certificate whose key is still on its way; and then it is there.
        let key = std::fs::read(folder.path().join("own.key")).expect("a key");
        days("90");
        let new = std::fs::read(folder.path().join("own.key")).expect("a key");
        std::fs::write(folder.path().join("own.key"), key).expect("a file");
        watch.look(false);
        assert_eq!(left(&watch), [7.0]);
        let failure = watch.failure.clone().expect("a reason");
        assert!(
            failure.contains("the key does not belong to the certificate"),
            "{failure}"
        );
        std::fs::write(folder.path().join("own.key"), new).expect("a file");
        watch.look(false);
        assert_eq!((left(&watch), watch.failure.clone()), (vec![90.0], None));
        std::fs::write(folder.path().join("own.crt"), "").expect("a file");
        watch.look(true);
        assert_eq!(left(&watch), [90.0]);
    }
}
