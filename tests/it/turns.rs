//! Long work and standstills are told apart: by a worker of its own, whose request for a refresh takes long, for one
//! reason or for the other.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use redis_cluster_proxy::accept_balance::AcceptBalance;
use redis_cluster_proxy::clock::{Clock, Time};
use redis_cluster_proxy::cluster::topology::Topology;
use redis_cluster_proxy::command::Table;
use redis_cluster_proxy::config::{Config, Listen};
use redis_cluster_proxy::mailbox::{Mail, Mailbox};
use redis_cluster_proxy::net::listener;
use redis_cluster_proxy::proxy::Proxy;
use redis_cluster_proxy::proxy::process::Process;
use redis_cluster_proxy::turns::{Heartbeat, Stuck};
use redis_cluster_proxy::worker::{Parts, Worker};

const LONG: Duration = Duration::from_millis(1500);

/// Uses the processor for so long, however long that takes.
fn work(much: Duration) {
    let time = || {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
    };
    let began = time();
    while time() - began < much {
        std::hint::black_box(began);
    }
}

/// Two workers of one process, before a node that is not there. The first turn that asks for a topology does `act`.
struct Rig {
    clock: Clock,
    process: Arc<Process>,
    heartbeats: Vec<Arc<Heartbeat>>,
    client: TcpStream,
}

impl Rig {
    fn start(act: impl Fn() + Send + 'static) -> Rig {
        let clock = Clock::start();
        let listen = Listen::Tcp(SocketAddr::from(([127, 0, 0, 1], 0)));
        let (listeners, listen) = listener::listen(&listen, 2, false, None).expect("a port");
        let Listen::Tcp(address) = listen else {
            panic!("it was TCP");
        };
        let config = Arc::new(Config {
            listen: vec![listen],
            park_timeout: Some(Duration::from_secs(1)),
            ..Config::default()
        });
        let process = Arc::new(Process::new(2));
        let heartbeats: Vec<Arc<Heartbeat>> = (0..2)
            .map(|_| Arc::new(Heartbeat::ended_at(clock.now())))
            .collect();
        let table = Arc::new(Table::compiled());
        let balance = Arc::new(AcceptBalance::new(2));
        let (mut workers, mut mailboxes) = (Vec::new(), Vec::<Mailbox>::new());
        for (index, listener) in listeners.into_iter().enumerate() {
            let proxy = Proxy::new(config.clone(), table.clone(), process.clone(), index, 1);
            let parts = Parts {
                listeners: vec![(0, listener)],
                accepts: true,
                tls: Default::default(),
                clock,
                heartbeat: heartbeats[index].clone(),
                accept_balance: balance.clone(),
            };
            let (worker, mailbox) = Worker::new(parts, proxy).expect("a poll");
            workers.push(worker);
            mailboxes.push(mailbox);
        }
        // Nobody listens there.
        let node = SocketAddr::from(([127, 0, 0, 1], 1));
        let topology = Arc::new(Topology::of_masters(&[node]));
        for mailbox in &mailboxes {
            assert!(mailbox.send(Mail::Topology(topology.clone())));
        }
        let (act, acted) = (
            Arc::new(std::sync::Mutex::new(act)),
            Arc::new(AtomicBool::new(false)),
        );
        for worker in workers {
            let (mailboxes, act, acted) = (mailboxes.clone(), act.clone(), acted.clone());
            thread::spawn(move || {
                worker.run(&mailboxes, |_| {
                    if !acted.swap(true, Ordering::Relaxed) {
                        act.lock().expect("nobody panics")();
                    }
                })
            });
        }
        let client = TcpStream::connect(address).expect("it listens");
        let wait = Some(Duration::from_secs(30));
        client.set_read_timeout(wait).expect("a socket");
        Rig {
            clock,
            process,
            heartbeats,
            client,
        }
    }

    /// Asks for what nobody can give; returns the answer.
    fn ask(&mut self) -> String {
        self.client.write_all(b"GET a\r\n").expect("sent");
        let mut reply = [0; 200];
        let count = self.client.read(&mut reply).expect("an answer");
        String::from_utf8_lossy(&reply[..count]).into_owned()
    }

    fn longest(&self) -> Duration {
        let workers = self.process.workers.iter();
        let longest = workers.map(|stats| stats.longest_turn.get()).max();
        Duration::from_micros(longest.unwrap_or(0))
    }
}

#[test]
fn long_work_is_counted_seen_from_outside_and_moves_no_deadline() {
    let began = Instant::now();
    let mut rig = Rig::start(|| work(LONG));
    let (heartbeats, clock) = (rig.heartbeats.clone(), rig.clock);
    // What /healthz asks, while the turn goes on.
    let watcher = thread::spawn(move || {
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(20) {
            let now: Time = clock.now();
            let stuck = heartbeats.iter().find_map(|beat| beat.stuck(now));
            if stuck.is_some() {
                return stuck;
            }
            thread::sleep(Duration::from_millis(5));
        }
        None
    });
    assert!(rig.ask().starts_with("-CLUSTERDOWN"));
    let took = began.elapsed();
    assert!(matches!(watcher.join(), Ok(Some(Stuck::Turn(_)))));
    assert!(rig.longest() >= LONG, "{:?}", rig.longest());
    let total = |counter: fn(&redis_cluster_proxy::proxy::stats::Stats) -> u64| -> u64 {
        rig.process.workers.iter().map(|stats| counter(stats)).sum()
    };
    assert_eq!(total(|stats| stats.turns_1000_ms.get()), 1);
    assert!(total(|stats| stats.turns_10_ms.get()) >= total(|stats| stats.turns_100_ms.get()));
    // Only what others had of the processor meanwhile may be left out.
    let lost = rig.clock.standstills().total();
    assert!(lost <= took - LONG, "{lost:?} of {took:?}");
    for beat in &rig.heartbeats {
        assert_eq!(beat.stuck(rig.clock.now()), None);
    }
}

#[test]
fn a_standstill_moves_every_deadline_and_is_no_long_turn() {
    let mut rig = Rig::start(|| thread::sleep(LONG));
    let began = Instant::now();
    assert!(rig.ask().starts_with("-CLUSTERDOWN"));
    // The request was held for as long as without it.
    assert!(began.elapsed() >= LONG + Duration::from_millis(800));
    let lost = rig.clock.standstills().total();
    assert!(lost >= LONG - Duration::from_millis(300), "{lost:?}");
    assert!(rig.longest() < LONG - Duration::from_millis(800));
}
