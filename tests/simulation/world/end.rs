//! The end of a run: the trouble is over, all is answered, everything is served, and nothing is left behind.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use redis_cluster_proxy::proxy::Peer;

use super::{Link, MILLIS, Phase, Troubles, World};
use crate::client::{Client, End};
use crate::doors::{Door, Doors};

impl World {
    /// No more trouble: what is down comes back, what is under way ends.
    pub(super) fn heal(&mut self) {
        self.note(|_| "the trouble is over".to_string());
        self.troubles = Troubles::default();
        self.cluster.down_until = 0;
        for node in 0..self.cluster.nodes.len() {
            if !self.cluster.nodes[node].alive {
                self.cluster.start(node, 0);
            }
            self.cluster.nodes[node].hung_until = 0;
            self.cluster.nodes[node].lying_until = 0;
            self.cluster.nodes[node].masterless_until = 0;
        }
        let now = self.now;
        if let Some(users) = &mut self.ledger.users {
            users.rest();
            let gone = users.agree(now);
            self.end_users(&gone);
        }
        self.doors = Doors::open(self.cluster.nodes.len());
        self.restarts.clear();
        self.swift = true;
        self.capacity = 1 << 17;
        for client in &mut self.clients {
            client.hurry(self.capacity);
        }
        for link in &mut self.links {
            (link.idle_until, link.mute_until) = (0, 0);
            if link.door == Some(Door::Silent) {
                link.door = None;
            }
            link.requests.widen(self.capacity);
            link.replies.widen(self.capacity);
        }
    }

    /// Runs until every client has its answers.
    pub(super) fn settle(&mut self, when: &str) {
        let config = self.proxy.config().clone();
        // Since the last reply: a long pipeline of requests that block has a long time of its own.
        let (mut start, mut replies) = (self.now, self.counts.replies);
        let park_timeout = config.park_timeout.expect("the world sets it");
        let longest =
            (park_timeout + config.request_timeout + Duration::from_secs(5)).as_micros() as u64;
        loop {
            self.turn(false);
            if self.counts.replies > replies {
                (start, replies) = (self.now, self.counts.replies);
            }
            let waiting = self
                .clients
                .iter()
                .any(|client| !client.sent.is_empty() || client.end != End::Open);
            let still =
                self.links.iter().all(Link::is_still) && self.clients.iter().all(Client::is_still);
            let open = |link: &Link| link.backend.is_none() || link.phase == Phase::Open;
            if !waiting && still && self.links.iter().all(open) {
                break;
            }
            if self.now > start + longest {
                let mut text = String::new();
                for client in &self.clients {
                    let _ = write!(text, "\n{:?} owes {:?}", client.id, client.sent.front());
                }
                panic!("{when}, clients still wait: {text}");
            }
            if still && self.random.one_in(4) {
                self.wait_for_the_proxy();
            }
        }
        for _ in 0..20 {
            self.turn(false);
        }
        self.let_links_rest();
        self.proxy.check_idle();
    }

    /// Runs until nothing is under way to nodes: the proxy asks them things of its own.
    pub(super) fn let_links_rest(&mut self) {
        let open = |link: &Link| link.backend.is_none() || link.phase == Phase::Open;
        for _ in 0..100_000 {
            if !self.links.iter().all(Link::is_still) {
                self.turn(false);
                continue;
            }
            if self.links.iter().all(open) {
                return;
            }
            self.wait_for_the_proxy();
            self.turn(false);
        }
        panic!("there is always something under way");
    }

    /// Nothing moves: time passes until the proxy, or the shell's own idle beat, wakes it.
    pub(super) fn wait_for_the_proxy(&mut self) {
        let idle = self.now + 4000 * MILLIS;
        let next = self.proxy.next_deadline();
        let next = next.map(|at| at.as_micros() + self.lost + MILLIS);
        self.now = next.unwrap_or(idle).clamp(self.now, idle);
    }

    /// In a cluster that is well again, every subscriber hears everything.
    pub(super) fn probe_subscribers(&mut self) {
        let mut published = BTreeMap::new();
        for _ in 0..60 {
            let (sharded, channel, number) = self.publish();
            published.insert(channel, (sharded, number));
            self.turn(false);
        }
        let published: Vec<(bool, Vec<u8>, u64)> = published
            .into_iter()
            .map(|(channel, (sharded, number))| (sharded, channel, number))
            .collect();
        self.settle("while messages come");
        for _ in 0..200 {
            self.turn(false);
        }
        for client in &self.clients {
            let own = client.subscriber.as_ref();
            let missed = own.map_or(Vec::new(), |own| own.missed(&published));
            assert!(missed.is_empty(), "{:?} has missed {missed:?}", client.id);
        }
    }

    /// In a cluster that is well again, everything is served without an error.
    pub(super) fn probe(&mut self) {
        for node in 0..self.cluster.nodes.len() {
            self.cluster.gossip(node);
        }
        while !self.cluster.migrating().is_empty() {
            self.turn(false);
        }
        self.ask_topology();
        // There may be so many users at once, and the next one is to come in.
        let users_max = self.proxy.config().users_max;
        while self.ledger.users.is_some() && self.clients.len() >= users_max {
            self.vanish(0);
        }
        let first = self.accept(false);
        for namespace in 0..self.ledger.databases.namespaces {
            let at = self.accept(false);
            let client = self.clients.remove(at);
            let client = self.enter(client, namespace);
            self.clients.insert(at, client);
        }
        for strict in [false, false, true] {
            self.now += 1500 * MILLIS;
            for _ in 0..20 {
                self.turn(false);
            }
            for client in &mut self.clients[first..] {
                client.set_strict(strict);
                match client.inside {
                    None => client.probe(&mut self.ledger, &mut self.random),
                    Some(_) => client.probe_inside(&mut self.ledger, &mut self.random),
                }
            }
            self.settle(if strict {
                "in the probe"
            } else {
                "before the probe"
            });
        }
        self.probe_subscribers();
    }

    pub(super) fn leave(&mut self) {
        while !self.clients.is_empty() {
            self.vanish(0);
        }
        self.turn(false);
        while self.proxy.is_behind() {
            self.turn(false);
        }
        self.let_links_rest();
        assert_eq!(self.proxy.clients(), 0);
        self.proxy.check_idle();
        for link in &self.links {
            if let Some(id) = link.backend {
                let now = self.time();
                self.proxy.closed(Peer::Backend(id), now);
            }
        }
        self.act();
        assert_eq!(self.proxy.backends(), 0, "seed {}", self.seed);
        self.proxy.check_idle();
        let here = &self.process.clients;
        assert_eq!(here.load(std::sync::atomic::Ordering::Relaxed), 0);
    }
}
