//! Where clients come in: sockets are bound at the addresses of the settings, or taken from whoever has them already:
//! a socket unit, or the process that this one takes over from.

use std::io;
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::cannot_listen;
use crate::config::{Config, Listen};
use crate::handover::giving::HandedOver;
use crate::handover::message::{Purpose, Role};
use crate::handover::taking::Offer;
use crate::net::listener::{self, Listener, Passed};
use crate::net::tls::Context;

/// All addresses at which clients are served.
#[derive(Debug)]
pub(super) struct Listening {
    /// The listeners of each worker, each with the place of its address.
    pub workers: Vec<Vec<(usize, Listener)>>,
    /// What the addresses are for, by their places.
    pub purposes: Vec<Purpose>,
    /// The files of Unix sockets.
    pub files: SocketFiles,
}

/// The sources of sockets: what is not taken is bound.
struct Sockets<'a> {
    config: &'a Config,
    tls: &'a Arc<Context>,
    offer: Option<&'a mut Offer>,
}

impl Listening {
    /// Binds or takes all of them. The config gets the addresses that they really have.
    pub fn begin(
        config: &mut Config,
        passed: Option<Passed>,
        offer: Option<&mut Offer>,
        tls: &Arc<Context>,
    ) -> io::Result<Listening> {
        let mut listening = Listening {
            workers: (0..config.workers).map(|_| Vec::new()).collect(),
            purposes: Vec::new(),
            files: SocketFiles::default(),
        };
        listening.fill(config, passed, offer, tls)?;
        Ok(listening)
    }

    fn fill(
        &mut self,
        config: &mut Config,
        passed: Option<Passed>,
        mut offer: Option<&mut Offer>,
        tls: &Arc<Context>,
    ) -> io::Result<()> {
        let units = offer.as_mut().and_then(|offer| offer.take_units());
        let old = config.clone();
        let mut sockets = Sockets {
            config: &old,
            tls,
            offer,
        };
        if let Some(units) = units {
            let inherited = listener::inherit(units, config.workers, None)?;
            config.listen = vec![self.add_units(config, inherited)];
        } else if let Some(passed) = passed {
            let (made, address) = listener::adopt(passed, config.workers)
                .map_err(|error| super::at("cannot use the passed socket (LISTEN_FDS)", error))?;
            let made = made.into_iter().map(|listener| vec![listener]).collect();
            config.listen = vec![self.add_units(config, (made, address))];
        } else {
            for address in &mut config.listen {
                *address = self.add(&mut sockets, Role::Plain, address)?;
            }
        }
        for (_, address) in &mut config.namespace_listen {
            *address = self.add(&mut sockets, Role::Namespace, address)?;
        }
        if let Some(address) = config.tls.listen {
            let real = self.add(&mut sockets, Role::Tls, &Listen::Tcp(address))?;
            if let Listen::Tcp(real) = real {
                config.tls.listen = Some(real);
            }
        }
        Ok(())
    }

    /// Adds the listeners of one address; they are bound if nobody has them. Returns the address that they have.
    fn add(
        &mut self,
        sockets: &mut Sockets<'_>,
        role: Role,
        address: &Listen,
    ) -> io::Result<Listen> {
        let Config {
            workers,
            reuse_port,
            unix_socket_perm,
            ..
        } = *sockets.config;
        let asked = address.to_string();
        let taken = match &mut sockets.offer {
            Some(offer) => offer.take(role, &asked),
            None => Vec::new(),
        };
        let is_new = taken.is_empty();
        let tls = (role == Role::Tls).then_some(sockets.tls);
        let (made, real) = if is_new {
            let cannot = |error| cannot_listen(address, role.flag(), error);
            let (made, real) = match (address, tls) {
                (Listen::Tcp(address), Some(tls)) => {
                    let bound = listener::listen_tls(*address, workers, reuse_port, tls);
                    let (made, real) = bound.map_err(cannot)?;
                    (made, Listen::Tcp(real))
                }
                _ => listener::listen(address, workers, reuse_port, unix_socket_perm)
                    .map_err(cannot)?,
            };
            let made = made.into_iter().map(|listener| vec![listener]).collect();
            (made, real)
        } else {
            let inherited = listener::inherit(taken, workers, tls);
            inherited.map_err(|error| cannot_listen(address, role.flag(), error))?
        };
        if let Listen::Unix(path) = &real {
            self.files.add(path, is_new);
        }
        let purpose = Purpose {
            role,
            asked,
            is_units: false,
        };
        self.give(made, purpose);
        Ok(real)
    }

    /// Adds the listeners of a socket unit, to which the file belongs if there is one.
    fn add_units(
        &mut self,
        config: &Config,
        (made, address): (Vec<Vec<Listener>>, Listen),
    ) -> Listen {
        let instead = config.listen.iter().map(Listen::to_string);
        log::info!(
            "listening on {address}, the passed socket (LISTEN_FDS), instead of -addr {}",
            instead.collect::<Vec<_>>().join(",")
        );
        let purpose = Purpose {
            role: Role::Plain,
            asked: address.to_string(),
            is_units: true,
        };
        self.give(made, purpose);
        address
    }

    fn give(&mut self, made: Vec<Vec<Listener>>, purpose: Purpose) {
        let place = self.purposes.len();
        self.purposes.push(purpose);
        for (own, listeners) in self.workers.iter_mut().zip(made) {
            own.extend(listeners.into_iter().map(|listener| (place, listener)));
        }
    }
}

/// The listener of the debug address, if there is to be one.
pub(super) fn debug(config: &Config, offer: Option<&mut Offer>) -> io::Result<Option<TcpListener>> {
    let Some(address) = config.debug_addr else {
        return Ok(None);
    };
    let taken = offer.map(|offer| offer.take(Role::Debug, &address.to_string()));
    let taken = taken.and_then(|sockets| sockets.into_iter().next());
    let listener = match taken {
        Some(socket) => TcpListener::from(socket),
        None => TcpListener::bind(address)
            .map_err(|error| cannot_listen(&Listen::Tcp(address), Role::Debug.flag(), error))?,
    };
    Ok(Some(listener))
}

/// The socket at which a new process will ask for all this one has, if it may.
pub(super) fn take_over(
    config: &Config,
    offer: Option<&mut Offer>,
    files: &mut SocketFiles,
) -> io::Result<Option<(UnixListener, Purpose)>> {
    let Some(path) = &config.take_over else {
        return Ok(None);
    };
    let address = Listen::Unix(path.clone());
    let asked = path.display().to_string();
    let taken = offer.map(|offer| offer.take(Role::TakeOver, &asked));
    let taken = taken.and_then(|sockets| sockets.into_iter().next());
    files.add(path, taken.is_none());
    let listener = match taken {
        Some(socket) => UnixListener::from(socket),
        // Whoever connects gets the clients.
        None => listener::unix(path, Some(0o600)).map_err(|error| {
            files.forget(path);
            cannot_listen(&address, Role::TakeOver.flag(), error)
        })?,
    };
    let purpose = Purpose {
        role: Role::TakeOver,
        asked,
        is_units: false,
    };
    Ok(Some((listener, purpose)))
}

/// The files of Unix sockets. They are removed when the process ends, unless another one serves there by then.
#[derive(Debug, Default)]
pub(super) struct SocketFiles {
    /// Those that this process has made.
    made: Vec<PathBuf>,
    /// Those that it has taken over. They are its own once it serves.
    taken: Vec<PathBuf>,
    is_serving: Arc<AtomicBool>,
    /// Whether another process has them all.
    pub handed_over: HandedOver,
}

impl SocketFiles {
    fn add(&mut self, path: &Path, is_new: bool) {
        match is_new {
            true => self.made.push(path.to_path_buf()),
            false => self.taken.push(path.to_path_buf()),
        }
    }

    fn forget(&mut self, path: &Path) {
        self.made.retain(|made| made != path);
    }

    /// To be set when the process serves.
    pub fn serving(&self) -> Arc<AtomicBool> {
        self.is_serving.clone()
    }
}

impl Drop for SocketFiles {
    fn drop(&mut self) {
        if self.handed_over.is_done() {
            return;
        }
        self.made.iter().for_each(|path| listener::remove(path));
        if self.is_serving.load(Ordering::Acquire) {
            self.taken.iter().for_each(|path| listener::remove(path));
        }
    }
}
