//! The crew: everyone who works through the proxy. It works for a while and goes home, as often as is wanted, so
//! that the proxy can be looked at while it rests; what its members know stays with them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::bank::{self, BANKERS, Banks};
use super::client::{Client, Load};
use super::fans::{self, Fans};
use super::handoff::{self, PRODUCERS, Queues};
use super::ledger::Ledger;
use super::near::{self, Near};
use super::probe::{self, Probe};
use super::pubsub::{self, Press};
use super::random::Random;

pub const CLIENTS: usize = 16;

/// Of these so many are in each namespace: the first ones.
pub const EACH: usize = 3;

pub struct Crew {
    addr: String,
    /// The address of each namespace.
    namespaces: Vec<String>,
    clients: Vec<Client>,
    pub probes: Vec<Probe>,
    pub banks: Arc<Banks>,
    pub queues: Arc<Queues>,
    pub press: Arc<Press>,
    pub fans: Arc<Fans>,
    pub near: Arc<Near>,
    tags: Vec<String>,
    pub ledger: Arc<Ledger>,
}

impl Crew {
    /// They work through the proxy at `addr`, but for those who read from the one with a cache, at `near`. Some come to the
    /// addresses of namespaces, which have the names of tags and move as those do.
    pub fn new(
        (addr, near): (&str, &str),
        namespaces: &[(String, String)],
        load: &Load,
        probes: Vec<Probe>,
        random: &mut Random,
    ) -> Crew {
        let ledger = Arc::new(Ledger::new(CLIENTS + BANKERS + PRODUCERS));
        let client = |number: usize| {
            let own = namespaces.get(number / EACH);
            let tag = own.map_or(String::new(), |(name, _)| format!("{{{name}}}"));
            Client::new(number, tag, load.clone(), random.next(), ledger.clone())
        };
        let clients = (0..CLIENTS).map(client).collect();
        // A few tags of each shard; like all of them they move.
        let some = |first: usize| -> Vec<String> {
            load.tags.iter().skip(first).step_by(4).cloned().collect()
        };
        Crew {
            addr: addr.to_string(),
            namespaces: namespaces.iter().map(|(_, addr)| addr.clone()).collect(),
            clients,
            probes,
            banks: Arc::new(Banks::found(addr, &some(0))),
            queues: Arc::new(Queues::new(&some(1), CLIENTS + BANKERS)),
            press: Arc::new(Press::default()),
            fans: Arc::new(Fans::found(addr, &load.tags)),
            near: Arc::new(Near::new(near, &load.tags)),
            tags: load.tags.clone(),
            ledger,
        }
    }

    /// Has all of them work until `act` is done.
    pub fn work<T>(&mut self, random: &mut Random, act: impl FnOnce(&Crew, &mut Random) -> T) -> T {
        let stop = Arc::new(AtomicBool::new(false));
        let (addr, ledger) = (self.addr.clone(), self.ledger.clone());
        let mut others: Vec<_> = self
            .probes
            .iter()
            .flat_map(|own| probe::start(own, &addr, &stop))
            .collect();
        let clients: Vec<_> = self
            .clients
            .drain(..)
            .enumerate()
            .map(|(number, mut client)| {
                let own = self.namespaces.get(number / EACH).unwrap_or(&addr);
                let (addr, stop) = (own.clone(), stop.clone());
                thread::spawn(move || {
                    client.run(&addr, &stop);
                    client
                })
            })
            .collect();
        let seed = random.next();
        others.extend(bank::start(
            &addr,
            &self.banks,
            CLIENTS,
            seed,
            &ledger,
            &stop,
        ));
        let seed = random.next();
        others.extend(handoff::start(&addr, &self.queues, seed, &ledger, &stop));
        others.extend(pubsub::start(
            &addr,
            &self.tags,
            &self.press,
            &ledger,
            &stop,
        ));
        others.extend(fans::start(&addr, &self.fans, &ledger, &stop));
        let seed = random.next();
        others.extend(near::start(&addr, &self.near, seed, &ledger, &stop));
        let result = act(self, random);
        stop.store(true, Ordering::Relaxed);
        for client in clients {
            let client = client.join().expect("a client does not panic");
            self.clients.push(client);
        }
        for other in others {
            other.join().expect("nobody of the crew panics");
        }
        handoff::empty(&addr, &self.queues, &ledger);
        result
    }

    /// The work is done: what each has counted is handed in.
    pub fn disband(&mut self) {
        self.clients.iter().for_each(Client::hand_in);
    }
}
