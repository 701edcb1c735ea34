//! The steady path allocates nothing: a worker of its own, with real sockets, between clients and a node that
//! themselves allocate nothing while they are counted.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

use redis_cluster_proxy::accept_balance::AcceptBalance;
use redis_cluster_proxy::clock::Clock;
use redis_cluster_proxy::cluster::topology::Topology;
use redis_cluster_proxy::command::Table;
use redis_cluster_proxy::config::{Config, Listen};
use redis_cluster_proxy::mailbox::Mail;
use redis_cluster_proxy::net::listener;
use redis_cluster_proxy::proxy::Proxy;
use redis_cluster_proxy::proxy::process::Process;
use redis_cluster_proxy::worker::{Parts, Worker};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<std::alloc::System> = &INSTRUMENTED_SYSTEM;

const REPLY: &[u8] = b"$8\r\nabcdefgh\r\n";
const CLIENTS: usize = 8;

/// Answers every request, which it knows by its `*`, with the same string.
fn serve_as_node(mut stream: TcpStream) {
    let (mut input, mut output) = ([0; 64 << 10], [0; 64 << 10]);
    loop {
        let count = stream.read(&mut input).unwrap_or(0);
        if count == 0 {
            return;
        }
        let requests = input[..count].iter().filter(|byte| **byte == b'*').count();
        for first in (0..requests).step_by(1000) {
            let some = (requests - first).min(1000);
            for reply in output[..some * REPLY.len()].chunks_exact_mut(REPLY.len()) {
                reply.copy_from_slice(REPLY);
            }
            if stream.write_all(&output[..some * REPLY.len()]).is_err() {
                return;
            }
        }
    }
}

fn node() -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let address = listener.local_addr().expect("an address");
    thread::spawn(move || {
        for stream in listener.incoming() {
            let stream = stream.expect("a connection");
            stream.set_nodelay(true).expect("a socket");
            thread::spawn(move || serve_as_node(stream));
        }
    });
    address
}

/// A worker in front of two nodes; where it listens.
fn start_worker() -> SocketAddr {
    let listen = Listen::Tcp(SocketAddr::from(([127, 0, 0, 1], 0)));
    let (mut listeners, listen) = listener::listen(&listen, 1, false, None).expect("a port");
    let Listen::Tcp(address) = listen else {
        panic!("it was TCP");
    };
    let config = Arc::new(Config {
        listen: vec![listen],
        // What is slow is written down, which allocates; on a busy machine anything may be slow.
        slowlog_log_slower_than: -1,
        ..Config::default()
    });
    let process = Arc::new(Process::new(1));
    let proxy = Proxy::new(config, Arc::new(Table::compiled()), process, 0, 1);
    let parts = Parts {
        listeners: vec![(0, listeners.remove(0))],
        accepts: true,
        tls: Default::default(),
        clock: Clock::start(),
        heartbeat: Arc::default(),
        accept_balance: Arc::new(AcceptBalance::new(1)),
    };
    let (worker, mailbox) = Worker::new(parts, proxy).expect("a poll");
    let topology = Topology::of_masters(&[node(), node()]);
    assert!(mailbox.send(Mail::Topology(Arc::new(topology))));
    thread::spawn(move || worker.run(&[mailbox], |_| {}));
    address
}

/// So many requests of each client, `pipeline` at a time, all replies read. Returns how often memory was
/// allocated, grown or freed meanwhile.
fn load(clients: &mut [TcpStream], request: &[u8], pipeline: usize, count: usize) -> usize {
    let requests = request.repeat(pipeline);
    let mut replies = vec![0; REPLY.len() * pipeline];
    let region = Region::new(ALLOCATOR);
    for _ in 0..count / pipeline {
        for client in &mut *clients {
            client.write_all(&requests).expect("it is read");
        }
        for client in &mut *clients {
            client.read_exact(&mut replies).expect("the replies");
            assert!(
                replies
                    .chunks_exact(REPLY.len())
                    .all(|reply| reply == REPLY)
            );
        }
    }
    let change = region.change();
    change.allocations + change.reallocations + change.deallocations
}

#[test]
fn a_load_that_goes_on_allocates_nothing() {
    let address = start_worker();
    let mut clients: Vec<TcpStream> = (0..CLIENTS)
        .map(|_| {
            let stream = TcpStream::connect(address).expect("it listens");
            stream.set_nodelay(true).expect("a socket");
            stream
        })
        .collect();
    let value = "x".repeat(64);
    let long = "x".repeat(8000);
    let requests = [
        "*2\r\n$3\r\nGET\r\n$5\r\nkey:1\r\n".to_string(),
        "*2\r\n$3\r\nGET\r\n$5\r\nkey:4\r\n".to_string(),
        format!("*3\r\n$3\r\nSET\r\n$5\r\nkey:2\r\n$64\r\n{value}\r\n"),
        format!("*3\r\n$3\r\nSET\r\n$5\r\nkey:3\r\n$8000\r\n{long}\r\n"),
        "*2\r\n$4\r\nINCR\r\n$5\r\nkey:9\r\n".to_string(),
    ];
    for pipeline in [1, 16] {
        for request in &requests {
            // Queues grow to what the load needs, and then no more.
            let mut counts = Vec::new();
            while counts.last() != Some(&0) && counts.len() < 6 {
                let count = 20_000 / CLIENTS;
                counts.push(load(&mut clients, request.as_bytes(), pipeline, count));
            }
            let shown = request[..40.min(request.len())].escape_debug();
            assert_eq!(
                counts.last(),
                Some(&0),
                "{shown} at pipeline {pipeline} goes on allocating: {counts:?}"
            );
        }
    }
}
