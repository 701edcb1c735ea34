//! What must hold of a whole proxy, for tests to assert between turns and at their end.

use super::Proxy;
use super::backend::Usage;

impl Proxy {
    /// Asserts what must hold between turns. Linear in everything: for tests.
    pub fn check(&self) {
        assert!(self.inbox.is_empty());
        for (_, client) in self.clients.iter() {
            client.check();
        }
        for (id, client) in self.clients.iter() {
            assert_eq!(client.session.monitor, self.monitors.contains(&id));
        }
        assert!(
            self.monitors
                .iter()
                .all(|id| self.clients.get(*id).is_some())
        );
        self.check_subscriptions();
        for (id, backend) in self.upstream.backends.iter() {
            backend.check();
            let node = self
                .upstream
                .node(backend.node)
                .expect("a backend has its node");
            assert!(
                backend.usage != Usage::Shared || node.backends().any(|own| own == id),
                "a node knows its backends"
            );
            assert_eq!(
                backend.usage == Usage::Idle,
                node.idle.iter().any(|(_, own)| *own == id),
                "a node knows who is idle"
            );
        }
        self.check_leases();
        let held: Vec<_> = self
            .clients
            .iter()
            .flat_map(|(_, client)| client.held.iter())
            .collect();
        assert_eq!(held.len(), self.held_requests);
        assert_eq!(
            held.iter().map(|held| held.bytes.len()).sum::<usize>(),
            self.held_bytes
        );
    }

    /// Asserts that nothing is outstanding anywhere: for the end of a test.
    pub fn check_idle(&self) {
        self.check();
        assert_eq!((self.held_requests, self.held_bytes), (0, 0));
        for (_, client) in self.clients.iter() {
            assert!(client.pipeline.is_empty() && client.output.is_empty());
        }
        for (_, backend) in self.upstream.backends.iter() {
            assert!(backend.tickets.is_empty() && backend.output.is_empty());
        }
    }
}
