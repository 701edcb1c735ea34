//! Two workers of one process, and what becomes of what one sends to the other.

use std::sync::Arc;

use crate::clock::Time;
use crate::command::Table;
use crate::config::Config;
use crate::proxy::actions::Action;
use crate::proxy::ids::{ClientId, Peer};
use crate::proxy::messages::worker_query::WorkerMessage;
use crate::proxy::process::Process;
use crate::proxy::state::Proxy;
use crate::proxy::tests::rig::flushed;

pub struct TwoWorkers {
    pub workers: Vec<Proxy>,
    /// What has been sent and not been read, in the order in which it was sent.
    pub messages: Vec<(usize, WorkerMessage)>,
}

impl TwoWorkers {
    pub fn new(mut config: Config) -> TwoWorkers {
        config.protected_mode = false;
        let (config, table) = (Arc::new(config), Arc::new(Table::compiled()));
        let process = Arc::new(Process::new(2));
        let make = |index| Proxy::new(config.clone(), table.clone(), process.clone(), index, 1);
        TwoWorkers {
            workers: (0..2).map(make).collect(),
            messages: Vec::new(),
        }
    }

    pub fn accept(&mut self, worker: usize) -> ClientId {
        let address = Some("10.0.0.1:9".parse().unwrap());
        self.workers[worker].accept(address, Time::default())
    }

    /// A client sends a line, and its worker's turn ends.
    pub fn send(&mut self, worker: usize, id: ClientId, line: &str) {
        self.hear(worker, id, line);
        self.end_turn(worker);
    }

    /// A worker reads a client's line.
    pub fn hear(&mut self, worker: usize, id: ClientId, line: &str) {
        let (proxy, peer) = (&mut self.workers[worker], Peer::Client(id));
        let room = proxy.room(peer).expect("it is read");
        room.spare()[..line.len()].copy_from_slice(line.as_bytes());
        room.filled(line.len());
        proxy.input(peer, line.len(), Time::default());
        proxy.check();
    }

    /// What a worker has for the other one is sent.
    pub fn end_turn(&mut self, worker: usize) {
        while let Some(action) = self.workers[worker].next_action() {
            if let Action::ToWorker(to, message) = action {
                self.messages.push((to, message));
            }
        }
    }

    /// Hands over one message.
    pub fn read_message(&mut self) {
        let (to, message) = self.messages.remove(0);
        self.workers[to].worker_message(message, Time::default());
        self.workers[to].check();
        self.end_turn(to);
    }

    /// Hands over all messages, and those that they bring.
    pub fn read_messages(&mut self) {
        while !self.messages.is_empty() {
            self.read_message();
        }
    }

    pub fn received(&mut self, worker: usize, id: ClientId) -> String {
        let peer = Peer::Client(id);
        let bytes = flushed(&mut self.workers[worker], peer, Time::default());
        String::from_utf8(bytes).unwrap()
    }
}
