//! Listeners, for TCP and Unix sockets.
//!
//! Every worker has a TCP listener of its own on the same address (SO_REUSEPORT), so that the kernel spreads
//! clients over workers. A Unix socket cannot be shared so; its one listener is cloned. So is a listener that the process
//! was started with, of either kind: another socket at its address could not be bound. Those of a process that hands
//! over are used as they are.
//!
//! The same option would let a second proxy take half of the clients, unnoticed. So the first listener is made
//! without it, which fails if anybody listens there; it gets the option when it listens, for those of the other
//! workers. (Linux looks at the option of a listening socket only when another one is bound.)

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use mio::net::{TcpListener, UnixListener};
use socket2::{Domain, Protocol, SockAddr, SockRef, Socket as RawSocket, Type};

use super::socket::{Socket, tune};
use super::tls::Context;
use crate::config::Listen;

/// Connections that the kernel keeps for us until we accept them.
const BACKLOG: i32 = 4096;

/// A listening socket.
///
/// The kernel gives a connection the options of its listener, so they are set once there, and not six system calls a
/// client. Those who came before that still wait in its queue, without.
#[derive(Debug)]
pub struct Listener {
    kind: Kind,
    /// The address of ours that all its connections have come to, if there is but one.
    own: Option<SocketAddr>,
    /// The bound on unacknowledged bytes that it has been tuned for.
    tuned_for: Option<Duration>,
    /// Whether all have been accepted that came before it was tuned.
    is_settled: bool,
}

#[derive(Debug)]
enum Kind {
    /// On a TCP address.
    Tcp(TcpListener),
    /// On a Unix socket.
    Unix(UnixListener),
    /// On a TCP address, for clients that speak TLS.
    Tls(TcpListener, Arc<Context>),
}

/// A listening socket that the process was started with.
#[derive(Debug)]
pub enum Passed {
    /// On a TCP address.
    Tcp(std::net::TcpListener),
    /// On a Unix socket.
    Unix(std::os::unix::net::UnixListener),
}

/// The listeners of `count` workers at one address, made of those that another process has had there; also the address.
///
/// None of them is closed, even if there are fewer workers now: that would reset what waits in its queue. So a worker
/// may get several. If there are more workers, some share one.
pub fn inherit(
    sockets: Vec<OwnedFd>,
    count: usize,
    tls: Option<&Arc<Context>>,
) -> io::Result<(Vec<Vec<Listener>>, Listen)> {
    let mut workers: Vec<Vec<Listener>> = (0..count).map(|_| Vec::new()).collect();
    let mut all: Vec<OwnedFd> = Vec::new();
    for at in 0..count.saturating_sub(sockets.len()) {
        all.push(sockets[at % sockets.len()].try_clone()?);
    }
    let mut address = None;
    for (at, socket) in sockets.into_iter().chain(all).enumerate() {
        let raw = RawSocket::from(socket);
        if !raw.is_listener()? {
            return Err(invalid("a passed socket is not listening"));
        }
        raw.set_nonblocking(true)?;
        let own = raw.local_addr()?;
        let (listener, own) = match (own.as_socket(), own.as_pathname()) {
            (Some(own), _) => {
                let listener = TcpListener::from_std(raw.into());
                let listener = match tls {
                    Some(context) => Kind::Tls(listener, context.clone()),
                    None => Kind::Tcp(listener),
                };
                (listener, Listen::Tcp(own))
            }
            (None, path) => {
                let path = path.map(Path::to_path_buf).unwrap_or_default();
                let listener = UnixListener::from_std(raw.into());
                (Kind::Unix(listener), Listen::Unix(path))
            }
        };
        address = Some(own);
        workers[at % count].push(Listener::new(listener));
    }
    let address = address.ok_or_else(|| invalid("no socket was passed"))?;
    Ok((workers, address))
}

fn invalid(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, why)
}

/// Makes `count` listeners of one that was passed; also the address that it has.
pub fn adopt(passed: Passed, count: usize) -> io::Result<(Vec<Listener>, Listen)> {
    let mut listeners = Vec::new();
    let is_listener = match &passed {
        Passed::Tcp(socket) => SockRef::from(socket).is_listener()?,
        Passed::Unix(socket) => SockRef::from(socket).is_listener()?,
    };
    if !is_listener {
        // A socket unit with Accept=yes passes on a connection.
        let text = "the socket is not listening: a socket unit must have Accept=no";
        return Err(invalid(text));
    }
    let address = match passed {
        Passed::Tcp(first) => {
            first.set_nonblocking(true)?;
            for _ in 0..count {
                let clone = TcpListener::from_std(first.try_clone()?);
                listeners.push(Listener::new(Kind::Tcp(clone)));
            }
            Listen::Tcp(first.local_addr()?)
        }
        Passed::Unix(first) => {
            first.set_nonblocking(true)?;
            for _ in 0..count {
                let clone = UnixListener::from_std(first.try_clone()?);
                listeners.push(Listener::new(Kind::Unix(clone)));
            }
            let address = first.local_addr()?;
            let path = address.as_pathname();
            Listen::Unix(path.map(Path::to_path_buf).unwrap_or_default())
        }
    };
    Ok((listeners, address))
}

/// Makes `count` listeners on one address; also the address that they really have (a port 0 is chosen once).
/// `shared` lets other processes that want it, too, listen there. `mode` is who may connect to a Unix socket.
pub fn listen(
    address: &Listen,
    count: usize,
    shared: bool,
    mode: Option<u32>,
) -> io::Result<(Vec<Listener>, Listen)> {
    match address {
        Listen::Tcp(address) => {
            let first = tcp(*address, shared)?;
            if count > 1 {
                SockRef::from(&first).set_reuse_port(true)?;
            }
            let address = first.local_addr()?;
            let mut listeners = vec![Listener::new(Kind::Tcp(first))];
            for _ in 1..count {
                listeners.push(Listener::new(Kind::Tcp(tcp(address, true)?)));
            }
            Ok((listeners, Listen::Tcp(address)))
        }
        Listen::Unix(path) => {
            let first = unix(path, mode)?;
            let mut listeners = Vec::new();
            for _ in 0..count {
                let clone = first.try_clone()?;
                listeners.push(Listener::new(Kind::Unix(UnixListener::from_std(clone))));
            }
            Ok((listeners, Listen::Unix(path.clone())))
        }
    }
}

/// The same for clients that speak TLS.
pub fn listen_tls(
    address: SocketAddr,
    count: usize,
    shared: bool,
    context: &Arc<Context>,
) -> io::Result<(Vec<Listener>, SocketAddr)> {
    let (listeners, bound) = listen(&Listen::Tcp(address), count, shared, None)?;
    let encrypted = listeners.into_iter().map(|listener| {
        Listener::new(match listener.kind {
            Kind::Tcp(listener) => Kind::Tls(listener, context.clone()),
            other => other,
        })
    });
    let address = match bound {
        Listen::Tcp(bound) => bound,
        Listen::Unix(_) => address,
    };
    Ok((encrypted.collect(), address))
}

fn tcp(address: SocketAddr, shared: bool) -> io::Result<TcpListener> {
    let socket = RawSocket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shared)?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.bind(&SockAddr::from(address))?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(TcpListener::from_std(socket.into()))
}

/// A socket file that nobody listens on any more is replaced; one that somebody does is not.
pub fn unix(path: &Path, mode: Option<u32>) -> io::Result<std::os::unix::net::UnixListener> {
    use std::os::unix::fs::{FileTypeExt, PermissionsExt};
    if let Ok(found) = fs::symlink_metadata(path)
        && found.file_type().is_socket()
        && StdUnixStream::connect(path).is_err()
    {
        fs::remove_file(path)?;
    }
    let socket = RawSocket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.bind(&SockAddr::unix(path)?)?;
    // Before it listens, nobody can connect: there is no time in which those may who may not.
    if let Some(mode) = mode
        && let Err(error) = fs::set_permissions(path, fs::Permissions::from_mode(mode))
    {
        remove(path);
        return Err(error);
    }
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// Takes the file of a Unix socket away at the end.
pub fn remove(path: &Path) {
    if let Err(error) = fs::remove_file(path) {
        log::warn!("cannot remove {}: {error}", path.display());
    }
}

impl Listener {
    fn new(kind: Kind) -> Listener {
        let own = match &kind {
            Kind::Tcp(listener) | Kind::Tls(listener, _) => listener.local_addr().ok(),
            Kind::Unix(_) => None,
        };
        Listener {
            kind,
            own: own.filter(|own| !own.ip().is_unspecified()),
            tuned_for: None,
            is_settled: false,
        }
    }

    /// The next client that waits, tuned with this bound on unacknowledged bytes, and where it comes from.
    pub fn accept(&mut self, user_timeout: Duration) -> io::Result<(Socket, Option<SocketAddr>)> {
        if self.tuned_for != Some(user_timeout) {
            self.tune(user_timeout);
        }
        let accepted = self.next();
        match &accepted {
            Ok((socket, _)) if !self.is_settled => {
                if let Err(error) = socket.tune(user_timeout) {
                    log::debug!("cannot tune a client's socket: {error}");
                }
            }
            Ok(_) => {}
            Err(error) => self.is_settled |= error.kind() == io::ErrorKind::WouldBlock,
        }
        accepted
    }

    fn tune(&mut self, user_timeout: Duration) {
        self.tuned_for = Some(user_timeout);
        self.is_settled = false;
        if let Kind::Tcp(listener) | Kind::Tls(listener, _) = &self.kind
            && let Err(error) = tune(SockRef::from(listener), user_timeout)
        {
            log::warn!("cannot set the options of a listener: {error}");
        }
    }

    fn next(&self) -> io::Result<(Socket, Option<SocketAddr>)> {
        match &self.kind {
            Kind::Tcp(listener) => {
                let (stream, address) = listener.accept()?;
                Ok((Socket::from_tcp(stream), Some(address)))
            }
            Kind::Unix(listener) => {
                let (stream, _) = listener.accept()?;
                Ok((Socket::from_unix(stream), None))
            }
            Kind::Tls(listener, context) => {
                let (stream, address) = listener.accept()?;
                Ok((Socket::from_tls(context.accept(stream)?), Some(address)))
            }
        }
    }

    /// The address of ours that all its connections have come to, if there is but one.
    pub fn only_address(&self) -> Option<SocketAddr> {
        self.own
    }

    /// Another handle on the same socket, for another process.
    pub fn duplicate(&self) -> io::Result<OwnedFd> {
        match &self.kind {
            Kind::Tcp(listener) | Kind::Tls(listener, _) => listener.as_fd().try_clone_to_owned(),
            Kind::Unix(listener) => listener.as_fd().try_clone_to_owned(),
        }
    }

    /// For registration with a poll.
    pub fn source(&mut self) -> &mut dyn mio::event::Source {
        match &mut self.kind {
            Kind::Tcp(listener) | Kind::Tls(listener, _) => listener,
            Kind::Unix(listener) => listener,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::KEEPALIVE;

    /// A listener at this address, and its port's address.
    fn listening(ip: [u8; 4]) -> (Listener, SocketAddr) {
        let address = Listen::Tcp(SocketAddr::from((ip, 0)));
        let (mut listeners, bound) = listen(&address, 1, false, None).unwrap();
        let Listen::Tcp(bound) = bound else {
            panic!("not a TCP address")
        };
        (listeners.remove(0), bound)
    }

    #[test]
    fn every_client_is_tuned_once_the_first_ones_by_hand_and_later_ones_by_the_listener() {
        let (mut listener, bound) = listening([127, 0, 0, 1]);
        let mut come = |count: usize, user_timeout: Duration, settled: bool| {
            let clients: Vec<_> = (0..count)
                .map(|_| std::net::TcpStream::connect(bound).unwrap())
                .collect();
            for _ in &clients {
                let (socket, _) = listener.accept(user_timeout).unwrap();
                let tuned = SockRef::from(socket.tcp().unwrap());
                assert!(tuned.tcp_nodelay().unwrap());
                assert!(tuned.keepalive().unwrap());
                assert_eq!(tuned.tcp_keepalive_time().unwrap(), KEEPALIVE);
                assert_eq!(tuned.tcp_user_timeout().unwrap(), Some(user_timeout));
                assert_eq!(listener.only_address(), Some(bound));
                assert_eq!(listener.is_settled, settled);
            }
            let error = listener.accept(user_timeout).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
            assert!(listener.is_settled);
        };
        come(2, Duration::from_secs(5), false);
        come(2, Duration::from_secs(5), true);
        // The flag is changed while the proxy runs, before somebody else comes and behind them.
        come(2, Duration::from_secs(7), false);
        come(1, Duration::from_secs(7), true);
    }

    #[test]
    fn where_any_address_is_listened_on_a_client_is_asked_for_the_one_it_came_to() {
        let (mut listener, bound) = listening([0, 0, 0, 0]);
        let here = SocketAddr::from(([127, 0, 0, 3], bound.port()));
        let _client = std::net::TcpStream::connect(here).unwrap();
        let (socket, _) = listener.accept(Duration::from_secs(5)).unwrap();
        assert_eq!(listener.only_address(), None);
        assert_eq!(socket.local_address(), Some(Listen::Tcp(here)));
    }
}
