//! An open-loop load: GETs at a steady rate, whether replies come or not, and how long each took from when it
//! was *due*. A closed loop such as redis-benchmark's waits with a slow server and so hides its worst moments.
//!
//! Arguments: `ADDRESS RATE SECONDS CLIENTS`; prints microseconds.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

/// How long it looks for no replies.
const NAP: Duration = Duration::from_micros(15);
const KEYS: u64 = 100_000;

struct Client {
    stream: TcpStream,
    /// When each outstanding request was due.
    due: VecDeque<Instant>,
    output: Vec<u8>,
}

impl Client {
    /// Writes what can be written now.
    fn flush(&mut self) {
        while !self.output.is_empty() {
            match self.stream.write(&self.output) {
                Ok(count) => drop(self.output.drain(..count)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => panic!("cannot write: {error}"),
            }
        }
    }

    /// Reads what has come; every reply is a nil or a string without a `$` in it, and so known by its `$`. An error
    /// would be found missing at the end.
    fn read(&mut self, input: &mut [u8], took: &mut Vec<u64>) {
        loop {
            let count = match self.stream.read(input) {
                Ok(0) => panic!("closed"),
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => panic!("cannot read: {error}"),
            };
            let now = Instant::now();
            for _ in memchr::memchr_iter(b'$', &input[..count]) {
                let due = self.due.pop_front().expect("a reply to a request");
                took.push(now.duration_since(due).as_micros() as u64);
            }
        }
    }
}

fn run(address: SocketAddr, rate: f64, seconds: f64, clients: usize) -> Vec<u64> {
    let mut poll = Poll::new().expect("a poll");
    let mut clients: Vec<Client> = (0..clients)
        .map(|index| {
            let stream = std::net::TcpStream::connect(address).expect("it listens");
            stream.set_nodelay(true).expect("a socket");
            stream.set_nonblocking(true).expect("a socket");
            let mut stream = TcpStream::from_std(stream);
            let interest = Interest::READABLE | Interest::WRITABLE;
            poll.registry()
                .register(&mut stream, Token(index), interest)
                .expect("a poll");
            Client {
                stream,
                due: VecDeque::new(),
                output: Vec::new(),
            }
        })
        .collect();
    let gap = Duration::from_secs_f64(1.0 / rate);
    let start = Instant::now();
    let end = start + Duration::from_secs_f64(seconds);
    let mut next = start;
    let (mut number, mut took) = (0u64, Vec::with_capacity((rate * seconds) as usize + 1));
    let mut events = Events::with_capacity(1024);
    let mut input = vec![0; 64 << 10];
    loop {
        let now = Instant::now();
        if now > end && clients.iter().all(|client| client.due.is_empty()) {
            return took;
        }
        assert!(now < end + Duration::from_secs(10), "replies are missing");
        while next <= now && next < end {
            let index = (number % clients.len() as u64) as usize;
            let client = &mut clients[index];
            let key = format!("key:{:012}", number.wrapping_mul(2654435761) % KEYS);
            write!(
                client.output,
                "*2\r\n$3\r\nGET\r\n${}\r\n{key}\r\n",
                key.len()
            )
            .expect("memory");
            client.due.push_back(next);
            client.flush();
            number += 1;
            next += gap;
        }
        poll.poll(&mut events, Some(Duration::ZERO))
            .expect("a poll");
        if events.is_empty() {
            // The nodes run on this core, too. A load that spins would keep it from them for whole slices of the scheduler,
            // milliseconds, which then are the tail of every figure; a nap adds its length to each.
            std::thread::sleep(NAP.min(next.saturating_duration_since(Instant::now())));
        }
        for event in &events {
            let client = &mut clients[event.token().0];
            client.flush();
            client.read(&mut input, &mut took);
        }
    }
}

fn main() {
    // Naps end when they should, and not up to 50 microseconds later.
    std::fs::write("/proc/self/timerslack_ns", "1").expect("Linux");
    let args: Vec<String> = std::env::args()
        .skip(1)
        .filter(|arg| arg != "--bench")
        .collect();
    let [address, rate, seconds, clients] = &args[..] else {
        println!("usage: cargo bench --bench latency -- ADDRESS RATE SECONDS CLIENTS");
        return;
    };
    let number = |text: &String| text.parse::<f64>().expect("a number");
    let address = address.parse().expect("an address");
    // What is needed once comes first: connections to nodes, memory.
    run(address, number(rate) / 4.0, 1.0, number(clients) as usize);
    let mut took = run(
        address,
        number(rate),
        number(seconds),
        number(clients) as usize,
    );
    took.sort_unstable();
    let at = |share: f64| took[((took.len() - 1) as f64 * share) as usize];
    println!(
        "{} commands p50 {} p99 {} p99.9 {} p99.99 {} max {}",
        took.len(),
        at(0.5),
        at(0.99),
        at(0.999),
        at(0.9999),
        at(1.0)
    );
}
