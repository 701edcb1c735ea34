//! `Store`: the users in force, for all workers. Each worker has the snapshot that it last took; who changes the users
//! tells the workers.
//!
//! It reads and writes the file by functions that it is given: it must never know how files are read.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::commands::Commands;
use super::disk::Disk;
use super::failures::Failures;
use super::log::Log;
use super::settings::Settings;
use super::users::{Unchanged, Users};
use crate::command::{Servers, Table};
use crate::config::{Auth, Config};

/// How the file is read and written; errors are texts.
#[derive(Debug, Clone, Copy)]
pub struct Files {
    /// The text of a file.
    pub read: fn(&Path) -> Result<String, String>,
    /// Puts a text in the place of a file's.
    pub write: fn(&Path, &[u8]) -> Result<(), String>,
}

/// Why the file could not be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileError {
    /// There is none.
    None,
    /// In Redis' words.
    Failed(String),
}

/// The users in force.
#[derive(Debug)]
pub struct Store {
    /// Held for a moment only: workers take the users in the middle of a turn.
    users: Arc<Mutex<Arc<Users>>>,
    /// Held while the next users are made, which takes long if there are many. It has those before the ones in force, so
    /// that they are not freed by the worker that has them longest.
    changing: Mutex<Option<Arc<Users>>>,
    file: Option<(PathBuf, Files)>,
    disk: Disk,
    log: Mutex<Log>,
    failures: Mutex<Failures>,
}

impl Store {
    /// The one user that a config without a file has.
    pub fn of(config: &Config) -> Store {
        let commands = Arc::new(Commands::new(Arc::new(Table::compiled()), None));
        let users = match config.auth {
            Auth::Own => Users::of_passwords(passwords(config), commands),
            Auth::Backend => Users::of_servers(commands),
        };
        let users = users.with_settings(Settings::named(config));
        Store {
            users: Arc::new(Mutex::new(Arc::new(users))),
            changing: Mutex::default(),
            file: None,
            disk: Disk::default(),
            log: Mutex::default(),
            failures: Mutex::default(),
        }
    }

    /// The users of the config's file, if it has one.
    pub fn load(config: &Config, files: Files) -> Result<Store, String> {
        let mut store = Store::of(config);
        if let Some(path) = &config.acl_file {
            store.file = Some((path.clone(), files));
            store.reload().map_err(|error| match error {
                FileError::None => String::new(),
                FileError::Failed(text) => text,
            })?;
        }
        Ok(store)
    }

    /// The users in force. It takes a lock: not for the data path.
    pub fn users(&self) -> Arc<Users> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Arc<Users>> {
        self.users.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts what `change` makes of the users in their place.
    fn change<R, E>(&self, change: impl FnOnce(&Users) -> Result<(Users, R), E>) -> Result<R, E> {
        let changing = self.changing.lock();
        let mut before = changing.unwrap_or_else(PoisonError::into_inner);
        let users = self.users();
        let (next, result) = change(&users)?;
        *self.lock() = Arc::new(next);
        *before = Some(users);
        Ok(result)
    }

    /// ACL LOG.
    pub fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Failed logins. It takes a lock: for logins only.
    pub fn failures(&self) -> MutexGuard<'_, Failures> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// ACL SETUSER.
    pub fn set_user<'a>(
        &self,
        name: &[u8],
        words: impl Iterator<Item = &'a [u8]>,
    ) -> Result<(), Unchanged> {
        self.change(|users| Ok((users.with_rules(name, words)?, ())))
    }

    /// ACL DELUSER: how many there were.
    pub fn delete<'a>(&self, names: impl Iterator<Item = &'a [u8]>) -> usize {
        let change = self.change(|users| Ok::<_, Infallible>(users.without(names)));
        change.unwrap_or_default()
    }

    /// ACL LOAD: the users of the file, or, if anything in it is wrong, those that there were. It may wait for the disk.
    pub fn reload(&self) -> Result<(), FileError> {
        let (path, files) = self.file.as_ref().ok_or(FileError::None)?;
        let shown = path.display().to_string();
        let (own, read) = (path.clone(), files.read);
        let text = self.disk.does(move || read(&own)).map_err(|error| {
            FileError::Failed(format!(
                "Error loading ACLs, opening file '{shown}': {error}"
            ))
        })?;
        self.change(|users| {
            let read = users.parse(&text, &shown);
            Ok((read.map_err(FileError::Failed)?, ()))
        })
    }

    /// ACL SAVE. It may wait for the disk.
    pub fn save(&self) -> Result<(), FileError> {
        let (path, files) = self.file.as_ref().ok_or(FileError::None)?;
        let (own, write, users) = (path.clone(), files.write, self.users.clone());
        let save = move || {
            // As they are when it has its turn: of two who save, the later one has the later users.
            let users = users.lock().unwrap_or_else(PoisonError::into_inner).clone();
            write(&own, &users.file())
        };
        self.disk.does(save).map_err(FileError::Failed)
    }

    /// The passwords of a config without a file have changed. What else was said of `default` stays.
    pub fn renew_passwords(&self, config: &Config) {
        if self.file.is_none() && config.auth == Auth::Own {
            let renew = |users: &Users| {
                let user = users.unnamed().with_passwords(passwords(config));
                Ok::<_, Infallible>((users.with(user), ()))
            };
            self.change(renew).unwrap_or_default();
        }
    }

    /// The servers have said which commands they have.
    pub fn learn(&self, servers: &Servers) {
        let learn = |users: &Users| {
            let commands = Arc::new(Commands::of(servers));
            Ok::<_, Infallible>((users.before(commands), ()))
        };
        self.change(learn).unwrap_or_default();
    }
}

/// The passwords of clients.
fn passwords(config: &Config) -> impl Iterator<Item = &[u8]> {
    let all = config
        .client_password
        .iter()
        .chain(&config.client_password_old);
    all.map(|secret| secret.expose())
}
