//! What must hold of a whole proxy, for tests to assert between turns and at their end.

use crate::proxy::state::Proxy;
use crate::proxy::upstream::backend::{State, Usage};
use crate::proxy::upstream::overdue::ASIDE_STREAMING_MAX;

impl Proxy {
    /// Asserts what must hold between turns. Linear in everything: for tests.
    pub fn check(&self) {
        assert!(self.inbox.is_empty());
        for (_, client) in self.clients.iter() {
            client.check();
        }
        for (id, client) in self.clients.iter() {
            assert_eq!(client.session.is_monitor(), self.monitors.contains(&id));
        }
        assert!(
            self.monitors
                .iter()
                .all(|id| self.clients.get(*id).is_some())
        );
        self.check_subscriptions();
        self.check_tracking();
        for (id, backend) in self.upstream.backends.iter() {
            backend.check();
            assert!(
                !backend.is_paused() || self.upstream.paused.contains(&id),
                "what is not read is looked after"
            );
            let node = self
                .upstream
                .node(backend.node)
                .expect("a backend has its node");
            assert!(
                backend.usage != Usage::Shared || node.backends().any(|own| own == id),
                "a node knows its backends"
            );
            assert_eq!(
                (backend.usage, backend.state) == (Usage::Idle, State::Ready),
                node.exclusive.is_idle(id),
                "a node knows who is idle"
            );
        }
        for (key, node) in &self.upstream.nodes {
            let backends = self.upstream.backends.iter();
            let own = backends.filter(|(_, own)| usize::from(own.node.0) == key);
            let (mut connecting, mut exclusive) = (0, 0);
            for (_, own) in own {
                connecting += usize::from(own.state != State::Ready);
                exclusive += usize::from(own.usage != Usage::Shared);
            }
            assert_eq!(
                (node.connecting, node.exclusive.len()),
                (connecting, exclusive)
            );
            node.exclusive.check();
        }
        self.check_leases();
        self.check_aside();
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

    /// Asserts that connections are set aside as `overdue` says, and rule R3: of the connections of one kind to one node a
    /// client has requests on one only.
    fn check_aside(&self) {
        let mut count = 0;
        for (_, node) in self.upstream.nodes.iter() {
            count += node.aside().len();
            assert!(node.aside().len() <= ASIDE_STREAMING_MAX);
            for (at, own) in node.aside().iter().enumerate() {
                let backend = self.upstream.backends.get(own.backend);
                let backend = backend.expect("what is set aside is there");
                assert!(backend.is_aside);
                let before = node.aside()[..at].iter();
                let same = before
                    .filter(|other| (other.flavor, other.affinity) == (own.flavor, own.affinity));
                let others = same.map(|other| other.backend);
                let others = others.chain(node.shared(own.flavor, own.affinity));
                let others: Vec<_> = others.collect();
                for (_, client) in self.clients.iter() {
                    if client.pipeline.stands_at(own.backend) {
                        assert!(client.unsettled_until.is_some(), "who stays is unsettled");
                        assert!(
                            !others.iter().any(|id| client.pipeline.stands_at(*id)),
                            "a client's requests to a node are on one connection"
                        );
                    }
                }
            }
        }
        assert_eq!(count, self.upstream.aside);
        let all = self.upstream.backends.iter();
        assert_eq!(count, all.filter(|(_, own)| own.is_aside).count());
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
