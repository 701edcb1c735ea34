//! One redis-server, and the port it has to itself.

use super::{Conn, reaper, signal, wait_for};
use std::collections::BTreeSet;
use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A TCP port on loopback that no other test, in this process or another, has, and that none in this process has had:
/// files are named for ports, and a cluster of before may still look for its nodes.
///
/// The reservation is a UDP socket on the same number: exclusive, of no use to anybody else, and gone with
/// its process.
#[derive(Debug)]
pub struct Port {
    number: u16,
    _reservation: UdpSocket,
}

impl Port {
    /// Below the ephemeral range together with the cluster bus, which is at +10000.
    const FIRST: u16 = 11_000;
    const COUNT: u64 = 10_000;
    /// Of those that have been given away; when there are so many, all may be given again.
    const GIVEN_MAX: usize = 8000;

    pub fn reserve() -> Port {
        for _ in 0..1000 {
            let random = RandomState::new().hash_one(0_u8);
            let number = Port::FIRST + u16::try_from(random % Port::COUNT).expect("fits");
            let Ok(reservation) = UdpSocket::bind((Ipv4Addr::LOCALHOST, number)) else {
                continue;
            };
            let free = |port| TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok();
            if free(number) && free(number + 10_000) && Port::is_new(number) {
                return Port {
                    number,
                    _reservation: reservation,
                };
            }
        }
        panic!(
            "no free port between {} and {}",
            Port::FIRST,
            u64::from(Port::FIRST) + Port::COUNT
        );
    }

    /// Whether it has not been given away, which it now is.
    fn is_new(number: u16) -> bool {
        static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
        let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
        if given.len() >= Port::GIVEN_MAX {
            given.clear();
        }
        given.insert(number)
    }

    pub fn number(&self) -> u16 {
        self.number
    }
}

/// In a server's folder; its arguments win over what is in it.
const CONFIG_FILE: &str = "server.conf";

/// One redis-server process; may be killed, frozen and started again at the same port and folder.
#[derive(Debug)]
pub struct Server {
    port: Port,
    /// Where it speaks TLS, if it does (`--tls-cert-file`); its cluster bus is named for this port then.
    tls_port: Option<Port>,
    folder: PathBuf,
    args: Vec<String>,
    state: Mutex<State>,
}

#[derive(Debug)]
enum State {
    Running(Child),
    Frozen(Child),
    Dead,
}

impl Server {
    /// Starts one and waits until it answers. `args` come after our own and so win over them.
    pub fn start(args: &[&str]) -> Server {
        for _ in 0..5 {
            let server = Server::spawn(args);
            if server.came_up() {
                return server;
            }
            eprintln!(
                "redis-server did not come up at port {}: another one",
                server.port()
            );
        }
        panic!("redis-server does not start; is it installed (`make test` does that)?");
    }

    /// Starts `count` at once, as waiting for them one by one takes its time.
    pub fn start_many(count: usize, args: &[&str]) -> Vec<Server> {
        let servers: Vec<Server> = (0..count).map(|_| Server::spawn(args)).collect();
        servers
            .into_iter()
            .map(|server| {
                if server.came_up() {
                    server
                } else {
                    Server::start(args)
                }
            })
            .collect()
    }

    fn spawn(args: &[&str]) -> Server {
        let port = Port::reserve();
        let folder = reaper::folder().join(port.number().to_string());
        std::fs::create_dir_all(&folder).expect("a folder for the server");
        // An empty file of each, so that CONFIG REWRITE and, with `--aclfile users.acl`, ACL SAVE have one.
        for name in [CONFIG_FILE, "users.acl"] {
            std::fs::write(folder.join(name), "").expect("a file for the server");
        }
        let tls_port = args.contains(&"--tls-cert-file").then(Port::reserve);
        let mut args: Vec<String> = args.iter().map(ToString::to_string).collect();
        if let Some(port) = &tls_port {
            args.extend(["--tls-port".to_string(), port.number().to_string()]);
        }
        let server = Server {
            port,
            tls_port,
            folder,
            args,
            state: Mutex::new(State::Dead),
        };
        server.launch();
        server
    }

    fn launch(&self) {
        let program = std::env::var("REDIS_SERVER").unwrap_or_else(|_| "redis-server".to_string());
        let log = || {
            File::options()
                .append(true)
                .create(true)
                .open(self.folder.join("log"))
                .expect("a log file")
        };
        let child = Command::new(&program)
            .arg(self.folder.join(CONFIG_FILE))
            .args([
                "--port",
                &self.port().to_string(),
                "--bind",
                "127.0.0.1",
                "--dir",
            ])
            .arg(&self.folder)
            .args([
                "--save",
                "",
                "--appendonly",
                "no",
                "--daemonize",
                "no",
                "--enable-debug-command",
                "yes",
            ])
            .args(&self.args)
            .stdin(Stdio::null())
            .stdout(log())
            .stderr(log())
            .spawn()
            .unwrap_or_else(|error| {
                panic!("{program} cannot be started ({error}); `make test` installs it")
            });
        reaper::started(child.id());
        *self.state() = State::Running(child);
    }

    /// Whether it answers, and is the one we started, before it exits.
    fn came_up(&self) -> bool {
        wait_for(
            "redis-server to answer or exit",
            Duration::from_secs(60),
            || {
                if let State::Running(child) = &mut *self.state()
                    && child
                        .try_wait()
                        .expect("a child can be waited for")
                        .is_some()
                {
                    return Some(false);
                }
                let mut conn = self.try_conn().ok()?;
                let info = conn.try_command(&["INFO", "server"]).ok()?;
                info.bulk_text()?
                    .contains(&format!("process_id:{}\r\n", self.pid()))
                    .then_some(true)
            },
        )
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .unwrap_or_else(|poison| poison.into_inner())
    }

    pub fn port(&self) -> u16 {
        self.port.number()
    }

    pub fn addr(&self) -> String {
        format!("127.0.0.1:{}", self.port())
    }

    /// The port that other nodes and the proxy use.
    pub fn cluster_port(&self) -> u16 {
        self.tls_port.as_ref().map_or(self.port(), Port::number)
    }

    /// A connection of its own to this server, that has shown the password if there is one (`--requirepass`).
    #[track_caller]
    pub fn conn(&self) -> Conn {
        self.try_conn()
            .unwrap_or_else(|error| panic!("cannot connect to {}: {error}", self.addr()))
    }

    pub fn try_conn(&self) -> std::io::Result<Conn> {
        let mut conn = Conn::try_connect(&self.addr())?;
        if let Some(at) = self.args.iter().position(|arg| arg == "--requirepass") {
            conn.try_command(&["AUTH", &self.args[at + 1]])?;
        }
        Ok(conn)
    }

    #[track_caller]
    pub fn pid(&self) -> u32 {
        match &*self.state() {
            State::Running(child) | State::Frozen(child) => child.id(),
            State::Dead => panic!("the server at port {} is dead", self.port()),
        }
    }

    /// Runs and is not frozen.
    pub fn is_alive(&self) -> bool {
        matches!(*self.state(), State::Running(_))
    }

    /// SIGKILL, and waits for the end.
    pub fn kill(&self) {
        let mut state = self.state();
        if let State::Running(child) | State::Frozen(child) = &mut *state {
            child.kill().expect("a child can be killed");
            child.wait().expect("a child can be waited for");
            reaper::ended(child.id());
        }
        *state = State::Dead;
    }

    /// SIGSTOP: the kernel still accepts and acknowledges, nobody answers.
    pub fn freeze(&self) {
        let mut state = self.state();
        *state = match std::mem::replace(&mut *state, State::Dead) {
            State::Running(child) => {
                signal(child.id(), "STOP");
                State::Frozen(child)
            }
            other => other,
        };
    }

    /// SIGCONT.
    pub fn thaw(&self) {
        let mut state = self.state();
        *state = match std::mem::replace(&mut *state, State::Dead) {
            State::Frozen(child) => {
                signal(child.id(), "CONT");
                State::Running(child)
            }
            other => other,
        };
    }

    /// Killed if it runs; started again at the same port with the same folder, and so as the same cluster node.
    pub fn restart(&self) {
        self.kill();
        self.launch();
        assert!(
            self.came_up(),
            "the server at port {} does not start again:\n{}",
            self.port(),
            self.log()
        );
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
        // The reaper removes the folder anyway.
        std::fs::remove_dir_all(&self.folder).ok();
    }
}
