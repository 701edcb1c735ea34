//! Closes connections to nodes that are no longer needed: at once if the node has left the cluster, and after
//! `-backend-idle-timeout` if the connection is unused and unlikely to be needed soon.
//!
//! Nothing is lost: no reply is outstanding, and a new connection is made when one is needed. The shared connection
//! to a master that serves slots always stays, so that the first request after a quiet night finds it. Connections
//! for subscriptions are handled in `pubsub`.

use crate::clock::Time;
use crate::proxy::ids::BackendId;
use crate::proxy::state::Proxy;
use crate::proxy::upstream::backend::{Backend, State, Usage};
use crate::proxy::upstream::lost::Lost;

impl Proxy {
    /// Closes connections to nodes that have left the cluster, once nothing is outstanding there.
    pub(in crate::proxy) fn retire_unlisted(&mut self, now: Time) {
        for id in self.upstream.backends.ids() {
            let unlisted = self.upstream.backends.get(id).is_some_and(|backend| {
                let node = self.upstream.node(backend.node);
                backend.tickets.is_empty() && node.is_none_or(|node| !node.listed)
            });
            if unlisted {
                self.lose_backend(id, Lost::Retired, now);
            }
        }
    }

    /// Closes connections that have carried nothing for too long and that nobody will miss.
    pub(in crate::proxy) fn retire_idle(&mut self, now: Time) {
        let longest = self.config.backend_idle_timeout;
        if longest.is_zero() {
            return;
        }
        let mut late = std::mem::take(&mut self.scratch.backends);
        let backends = self.upstream.backends.iter();
        late.extend(
            backends
                .filter(|(_, backend)| {
                    backend.state == State::Ready
                        && backend.tickets.is_empty()
                        && now.since(backend.heard_at) >= longest
                })
                .filter(|(id, backend)| self.is_dispensable(*id, backend))
                .map(|(id, _)| id),
        );
        for id in late.drain(..) {
            self.lose_backend(id, Lost::Retired, now);
        }
        self.scratch.backends = late;
    }

    /// Whether a connection that carries nothing is one that requests will hardly miss.
    fn is_dispensable(&self, id: BackendId, backend: &Backend) -> bool {
        match backend.usage {
            Usage::Idle => true,
            Usage::Lent { .. } | Usage::Cleaning => false,
            Usage::Shared => {
                let Some(node) = self.upstream.node(backend.node) else {
                    return true;
                };
                node.subscription != Some(id)
                    && !node.bcast.contains(&id)
                    && (node.is_beside(id, self.config.backend_connections)
                        || !self.is_for_routes(backend))
            }
        }
    }

    /// Whether requests are routed to a shared connection by their keys: one to a master, or to a replica that is
    /// read from. (Those for all nodes go to other replicas, too.)
    fn is_for_routes(&self, backend: &Backend) -> bool {
        let mut shards = self.upstream.routes.shards().iter();
        if backend.flavor.read_only {
            self.config.reads_replicas()
                && shards.any(|shard| shard.replicas.contains(&backend.node))
        } else {
            shards.any(|shard| shard.master == backend.node)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::sync::Arc;

    use crate::config::ReadPreference;
    use std::time::Duration;

    use super::*;
    use crate::cluster::topology::Topology;
    use crate::command::Table;
    use crate::config::Config;
    use crate::proxy::actions::Action;
    use crate::proxy::ids::ClientId;
    use crate::proxy::ids::Peer;
    use crate::proxy::process::Process;
    use crate::proxy::tests::rig::{self, flushed, next_action};

    /// A proxy with one client, before one master and one replica that answer at once.
    struct Rig {
        proxy: Proxy,
        client: ClientId,
        now: Time,
    }

    /// One shard: `master` of the nodes that are listed, the others are its replicas.
    fn topology(master: u16, listed: u16) -> Arc<Topology> {
        let nodes = (0..listed).map(|node| SocketAddr::from(([10, 0, 0, 1], node + 1)));
        let mut topology = Topology::of_masters(&nodes.collect::<Vec<_>>());
        topology.slots.fill(0);
        topology.shards.truncate(1);
        let shard = &mut topology.shards[0];
        shard.master = master;
        shard.replicas = (0..listed).filter(|node| *node != master).collect();
        Arc::new(topology)
    }

    /// What a node says to this request.
    fn reply(request: &str) -> &'static [u8] {
        let words = request.split("\r\n").filter(|word| !word.starts_with('$'));
        match words.collect::<Vec<_>>()[1] {
            "CLIENT" => b":1\r\n",
            "PING" => b"+PONG\r\n",
            "GET" => b"$-1\r\n",
            "BLPOP" => b"*-1\r\n",
            "READONLY" | "WATCH" | "UNWATCH" => b"+OK\r\n",
            other => panic!("{other} is not expected"),
        }
    }

    impl Rig {
        fn new(config: Config) -> Rig {
            let table = Arc::new(Table::compiled());
            let process = Arc::new(Process::new(1));
            let mut proxy = Proxy::new(Arc::new(config), table, process, 0, 1);
            let now = Time::from_micros(1_000_000);
            proxy.adopt(topology(0, 2), now);
            let client = proxy.accept(Some(SocketAddr::from(([127, 0, 0, 1], 1))), now);
            Rig { proxy, client, now }
        }

        fn feed(&mut self, peer: Peer, bytes: &[u8]) {
            rig::feed(&mut self.proxy, peer, bytes, self.now);
        }

        /// Turns, until nothing is left to do; nodes connect and answer.
        fn turn(&mut self) {
            self.turn_once();
            while self.proxy.next_deadline().is_some_and(|at| self.now >= at) {
                self.turn_once();
            }
        }

        fn turn_once(&mut self) {
            self.proxy.tick(self.now);
            self.proxy.begin_turn(self.now);
            while let Some(action) = next_action(&mut self.proxy) {
                match action {
                    Action::Connect(id, _) => self.proxy.connected(id, self.now),
                    Action::Resume(id) => {
                        self.proxy.resume(id, self.now);
                    }
                    Action::Flush(peer) => {
                        let written = flushed(&mut self.proxy, peer, self.now);
                        let text = String::from_utf8(written).expect("text");
                        if matches!(peer, Peer::Backend(_)) {
                            for request in text.split('*').skip(1) {
                                self.feed(peer, reply(request));
                            }
                        }
                    }
                    _ => {}
                }
            }
            self.proxy.check();
        }

        fn ask(&mut self, line: &str) {
            self.feed(Peer::Client(self.client), format!("{line}\r\n").as_bytes());
            self.turn();
        }

        /// Lets time pass. Returns how many connections to nodes there are then.
        fn rest(&mut self, millis: u64) -> usize {
            self.now = self.now.after(Duration::from_millis(millis));
            self.turn();
            self.proxy.backends()
        }
    }

    fn config(backend_idle_timeout: u64) -> Config {
        Config {
            backend_idle_timeout: Duration::from_secs(backend_idle_timeout),
            ..Config::default()
        }
    }

    #[test]
    fn a_shared_connection_stays_while_its_node_is_master() {
        let mut rig = Rig::new(config(10));
        rig.ask("GET a");
        assert_eq!(rig.rest(1_000_000), 1);
        rig.ask("GET a");
        rig.proxy.adopt(topology(1, 2), rig.now);
        rig.ask("GET a");
        assert_eq!(rig.proxy.backends(), 2);
        assert_eq!(rig.rest(9_000), 2);
        assert_eq!(rig.rest(1_500), 1);
        // The one that is left is the new master's.
        rig.ask("GET a");
        assert_eq!(rig.proxy.backends(), 1);
        rig.proxy.adopt(topology(0, 1), rig.now);
        assert_eq!(rig.proxy.backends(), 0);
    }

    #[test]
    fn a_connection_to_a_replica_stays_while_it_is_read_from() {
        let mut rig = Rig::new(Config {
            read_preference: ReadPreference::Replica,
            ..config(10)
        });
        rig.ask("GET a");
        assert_eq!(rig.rest(1_000_000), 1);
        rig.proxy.adopt(topology(1, 2), rig.now);
        assert_eq!(rig.rest(1_000), 0);
    }

    #[test]
    fn exclusive_connections_are_closed_when_they_were_not_lent_for_so_long() {
        let mut rig = Rig::new(config(10));
        rig.ask("BLPOP a 1");
        // One of them is shared, and stays.
        assert_eq!(rig.rest(9_000), 6);
        // The one that was used last is used again.
        rig.ask("BLPOP a 1");
        assert_eq!(rig.rest(2_000), 2);
        // As long as one is lent it says nothing that nothing is said on it.
        rig.ask("WATCH a");
        assert_eq!(rig.rest(50_000), 2);
        rig.ask("UNWATCH");
        assert_eq!(rig.rest(9_000), 2);
        assert_eq!(rig.rest(2_000), 1);
    }

    #[test]
    fn all_are_kept_when_there_is_no_limit() {
        let mut rig = Rig::new(config(0));
        rig.ask("BLPOP a 1");
        assert_eq!(rig.rest(1_000_000), 6);
        rig.proxy.adopt(topology(1, 2), rig.now);
        assert_eq!(rig.rest(1_000_000), 6);
    }
}
