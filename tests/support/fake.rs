//! A node that says whatever a test wants: lies, garbage, nothing, half of it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// What is done with one request: these bytes are sent; `None` closes the connection.
pub type Play = dyn Fn(&[String]) -> Option<Vec<u8>> + Send + Sync;

/// What is done with a connection before anything else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// It is served.
    Open,
    /// It is closed at once.
    Closes,
    /// It is closed when it has sent something.
    ClosesBehind,
    /// It is told this, and closed.
    Says(&'static [u8]),
    /// It is told this once it has sent something, and closed.
    SaysBehind(&'static [u8]),
    /// Its handshake is answered, and it is closed.
    Greets,
    /// It is reset at once.
    Resets,
    /// It is never told anything.
    Silent,
    /// It is served if fewer than so many are; else it is told that there are too many clients, and closed.
    Room(usize),
}

/// What a node says that has as many clients as it may have.
pub const MAX_CLIENTS: &[u8] = b"-ERR max number of clients + cluster connections reached\r\n";

/// The door of each connection, by its number.
type Doors = dyn Fn(usize) -> Door + Send + Sync;

pub struct Fake {
    pub addr: SocketAddr,
    /// The text of CLUSTER NODES.
    pub nodes: Arc<Mutex<String>>,
    pub connections: Arc<AtomicUsize>,
    pub requests: Arc<AtomicUsize>,
}

impl Fake {
    pub fn start(play: impl Fn(&[String]) -> Option<Vec<u8>> + Send + Sync + 'static) -> Fake {
        Fake::behind(|_| Door::Open, play)
    }

    /// One that treats each new connection as `door` says, given how many came before it.
    pub fn behind(
        door: impl Fn(usize) -> Door + Send + Sync + 'static,
        play: impl Fn(&[String]) -> Option<Vec<u8>> + Send + Sync + 'static,
    ) -> Fake {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let fake = Fake {
            addr: listener.local_addr().expect("bound"),
            nodes: Arc::default(),
            connections: Arc::default(),
            requests: Arc::default(),
        };
        let (nodes, play): (_, Arc<Play>) = (fake.nodes.clone(), Arc::new(play));
        let (connections, requests) = (fake.connections.clone(), fake.requests.clone());
        let door: Box<Doors> = Box::new(door);
        let live = Arc::new(AtomicUsize::new(0));
        thread::spawn(move || {
            let mut silent = Vec::new();
            for stream in listener.incoming().map_while(Result::ok) {
                let door = door(connections.fetch_add(1, Ordering::Relaxed));
                if door == Door::Silent {
                    silent.push(stream);
                    continue;
                }
                let (nodes, play, requests) = (nodes.clone(), play.clone(), requests.clone());
                let live = live.clone();
                // Who comes first is counted first, as at a server, whichever thread runs first.
                let before = live.fetch_add(1, Ordering::Relaxed);
                let door = match door {
                    Door::Room(most) if before < most => Door::Open,
                    Door::Room(_) => Door::Says(MAX_CLIENTS),
                    other => other,
                };
                thread::spawn(move || {
                    if let Some(stream) = pass_door(stream, door) {
                        serve(stream, &nodes, &*play, &requests);
                    }
                    live.fetch_sub(1, Ordering::Relaxed);
                });
            }
        });
        fake
    }

    /// A cluster of these: each a master of an even share of the slots.
    pub fn unite(fakes: &[&Fake]) {
        let text = Fake::nodes_text(fakes);
        for fake in fakes {
            *fake.nodes.lock().expect("no panic") = text.clone();
        }
    }

    pub fn nodes_text(fakes: &[&Fake]) -> String {
        let mut text = String::new();
        for (index, fake) in fakes.iter().enumerate() {
            let first = index * 16384 / fakes.len();
            let last = (index + 1) * 16384 / fakes.len() - 1;
            text += &format!(
                "{:040x} {}@1 master - 0 0 {} connected {first}-{last}\n",
                index + 1,
                fake.addr,
                index + 1
            );
        }
        text
    }
}

/// The connection, if it is to be served.
fn pass_door(mut stream: TcpStream, door: Door) -> Option<TcpStream> {
    let mut first = [0; 4096];
    let behind = matches!(
        door,
        Door::ClosesBehind | Door::SaysBehind(_) | Door::Greets
    );
    let mut count = 0;
    if behind {
        count = stream.read(&mut first).ok().filter(|count| *count > 0)?;
    }
    match door {
        Door::Open => return Some(stream),
        Door::Says(words) | Door::SaysBehind(words) => {
            stream.write_all(words).ok();
        }
        Door::Greets => {
            let ping = first[..count].ends_with(b"PING\r\n");
            let answer: &[u8] = if ping { b"+PONG\r\n" } else { b":1\r\n" };
            stream.write_all(answer).ok();
        }
        Door::Resets => {
            let now = Some(Duration::ZERO);
            socket2::SockRef::from(&stream).set_linger(now).ok();
        }
        Door::Closes | Door::ClosesBehind | Door::Silent | Door::Room(_) => {}
    }
    None
}

fn serve(mut stream: TcpStream, nodes: &Mutex<String>, play: &Play, requests: &AtomicUsize) {
    let (mut input, mut chunk) = (Vec::new(), [0; 65536]);
    while let Ok(count @ 1..) = stream.read(&mut chunk) {
        input.extend_from_slice(&chunk[..count]);
        while let Some((args, len)) = request(&input) {
            input.drain(..len);
            let answer = match args[0].to_ascii_lowercase().as_str() {
                "cluster" if args[1].eq_ignore_ascii_case("nodes") => {
                    let text = nodes.lock().expect("no panic").clone();
                    Some(format!("${}\r\n{text}\r\n", text.len()).into_bytes())
                }
                "cluster" => Some(b"-ERR no\r\n".to_vec()),
                // What the proxy wants to know for itself.
                "command" | "info" | "readonly" => Some(b"-ERR no\r\n".to_vec()),
                // The handshake.
                "hello" => Some(b"%1\r\n+proto\r\n:3\r\n".to_vec()),
                "ping" if args.len() == 1 => Some(b"+PONG\r\n".to_vec()),
                "client" if args[1].eq_ignore_ascii_case("id") => Some(b":1\r\n".to_vec()),
                _ => {
                    requests.fetch_add(1, Ordering::Relaxed);
                    play(&args)
                }
            };
            match answer {
                Some(bytes) if stream.write_all(&bytes).is_ok() => {}
                _ => return,
            }
        }
    }
}

fn request(input: &[u8]) -> Option<(Vec<String>, usize)> {
    let line = |from: usize| {
        let end = input[from..].windows(2).position(|pair| pair == b"\r\n")? + from;
        let text = std::str::from_utf8(&input[from + 1..end]).ok()?;
        Some((text.parse::<usize>().ok()?, end + 2))
    };
    let (count, mut at) = line(0)?;
    let mut args = Vec::new();
    for _ in 0..count {
        if at >= input.len() {
            return None;
        }
        let (len, start) = line(at)?;
        let bytes = input.get(start..start + len + 2)?;
        args.push(String::from_utf8_lossy(&bytes[..len]).into_owned());
        at = start + len + 2;
    }
    Some((args, at))
}

/// Bytes are handed on between a client and a server, later or not at all.
pub struct Middle {
    pub addr: SocketAddr,
    /// Each chunk waits so long, in microseconds, in either direction.
    pub delay: Arc<AtomicUsize>,
    /// Of the next connection so many bytes pass to the server, then it is cut; `usize::MAX` is all.
    pub cut_request: Arc<AtomicUsize>,
    /// And so many bytes of its replies.
    pub cut_reply: Arc<AtomicUsize>,
}

impl Middle {
    pub fn start(server: String) -> Middle {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let all = || Arc::new(AtomicUsize::new(usize::MAX));
        let middle = Middle {
            addr: listener.local_addr().expect("bound"),
            delay: Arc::default(),
            cut_request: all(),
            cut_reply: all(),
        };
        let delay = middle.delay.clone();
        let (cut_request, cut_reply) = (middle.cut_request.clone(), middle.cut_reply.clone());
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let Ok(server) = TcpStream::connect(&server) else {
                    continue;
                };
                let take = |cut: &AtomicUsize| cut.swap(usize::MAX, Ordering::Relaxed);
                let (there, back) = (take(&cut_request), take(&cut_reply));
                let pairs = [
                    (client.try_clone(), server.try_clone(), there),
                    (server.try_clone(), client.try_clone(), back),
                ];
                for (from, to, cut) in pairs {
                    if let (Ok(from), Ok(to)) = (from, to) {
                        let delay = delay.clone();
                        thread::spawn(move || pass(from, to, cut, &delay));
                    }
                }
            }
        });
        middle
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, mut left: usize, delay: &AtomicUsize) {
    to.set_nodelay(true).ok();
    let mut chunk = [0; 65536];
    while let Ok(count @ 1..) = from.read(&mut chunk) {
        let wait = delay.load(Ordering::Relaxed) as u64;
        if wait > 0 {
            thread::sleep(Duration::from_micros(wait));
        }
        let some = count.min(left);
        if to.write_all(&chunk[..some]).is_err() || some < count {
            break;
        }
        left = left.saturating_sub(some);
    }
    to.shutdown(std::net::Shutdown::Both).ok();
    from.shutdown(std::net::Shutdown::Both).ok();
}
