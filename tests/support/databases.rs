//! A cluster whose servers have databases (`cluster-databases`, Valkey 9). No such server is at hand everywhere: a
//! plain one with its 16 databases stands behind a relay that speaks as a node.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use super::{Conn, Reply, Server};

/// A master of a cluster with databases: what only a node can say is answered here, all else by a server, over
/// a connection to it for each connection.
pub struct Node {
    pub addr: SocketAddr,
    pub server: Server,
    /// What it says to CLUSTER NODES.
    nodes: Arc<Mutex<String>>,
}

impl Node {
    fn start(databases: &'static str) -> Node {
        let server = Server::start(&[]);
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let node = Node {
            addr: listener.local_addr().expect("bound"),
            nodes: Arc::default(),
            server,
        };
        let (nodes, server) = (node.nodes.clone(), node.server.addr());
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let (nodes, server) = (nodes.clone(), Conn::connect(&server));
                thread::spawn(move || relay(client, server, &nodes, databases));
            }
        });
        node
    }
}

/// What Valkey says of its clients besides; a listener, which stands elsewhere, too.
const CLIENTS: &str = "\r\nwatching_clients:0\r\ntotal_watched_keys:0\r\ntotal_blocking_keys:0\r\n\
    total_blocking_keys_on_nokey:0\r\npaused_reason:none\r\nlistener0:name=tcp\r\nclients_in_timeout_table:";
const MODULES: &str = "# Modules\r\nmodule:name=lua,ver=7,api=1\r\n";

/// The reply to COMMAND with one flag more of MULTI and WATCH, which they have in Valkey.
fn never_queued(reply: Vec<u8>) -> Vec<u8> {
    let mut text = String::from_utf8(reply).expect("names and numbers");
    for head in ["$5\r\nmulti\r\n:1\r\n", "$5\r\nwatch\r\n:-2\r\n"] {
        let at = text.find(head).expect("every server has it") + head.len();
        let flags = &text[at + 1..];
        let (count, _) = flags.split_once("\r\n").expect("a number");
        let more = count.parse::<usize>().expect("a number") + 1;
        let end = at + 1 + count.len();
        text.replace_range(at + 1..end, &format!("{more}\r\n+no_multi"));
    }
    text.into_bytes()
}

fn relay(client: TcpStream, mut server: Conn, nodes: &Mutex<String>, databases: &str) {
    let mut client = Conn::from_stream(client);
    while let Ok((request, _)) = client.frame() {
        let words: Vec<String> = request.items().iter().map(Reply::text).collect();
        let lower: Vec<String> = words.iter().map(|word| word.to_lowercase()).collect();
        let lower: Vec<&str> = lower.iter().map(String::as_str).collect();
        let reply = match lower.as_slice() {
            ["cluster", "nodes"] => {
                let text = nodes.lock().expect("no panic").clone();
                format!("${}\r\n{text}\r\n", text.len()).into_bytes()
            }
            ["cluster", ..] => b"-ERR no\r\n".to_vec(),
            ["config", "get", "cluster-databases"] => {
                Conn::encode(&["cluster-databases", databases])
            }
            ["info", ..] => {
                let text = server.command(&words).text();
                let names = "\r\nserver_name:valkey\r\nvalkey_version:9.0.1\r\nredis_git_sha1:";
                let text = text.replace("\r\nredis_git_sha1:", names);
                let text = text.replace("\r\nredis_mode:", "\r\nserver_mode:");
                let text = text.replace("\r\nclients_in_timeout_table:", CLIENTS);
                let text = text.replace("# Modules\r\n", MODULES);
                format!("${}\r\n{text}\r\n", text.len()).into_bytes()
            }
            ["readonly"] => b"+OK\r\n".to_vec(),
            ["command"] => {
                server.send(Conn::encode(&words));
                match server.frame() {
                    Ok((_, bytes)) => never_queued(bytes),
                    Err(_) => return,
                }
            }
            _ => {
                server.send(Conn::encode(&words));
                match server.frame() {
                    Ok((_, bytes)) => bytes,
                    Err(_) => return,
                }
            }
        };
        if client.try_send(&reply).is_err() {
            return;
        }
    }
}

/// Masters with equal shares of the slots, each saying that it has so many databases.
pub fn cluster(databases: &[&'static str]) -> Vec<Node> {
    let all: Vec<Node> = databases.iter().map(|count| Node::start(count)).collect();
    let share = |index: usize| 16384 * index / all.len();
    for own in &all {
        let line = |(index, node): (usize, &Node)| {
            let (first, last) = (share(index), share(index + 1) - 1);
            let myself = if node.addr == own.addr { "myself," } else { "" };
            let rest = format!(
                "{myself}master - 0 0 {} connected {first}-{last}",
                index + 1
            );
            format!("{index:040x} {}@1 {rest}\n", node.addr)
        };
        *own.nodes.lock().expect("no panic") = all.iter().enumerate().map(line).collect();
    }
    all
}
