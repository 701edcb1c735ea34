//! `Sample`: the open, outstanding and in-flight work of a worker, computed once a second by looking at everything
//! instead of counting on the data path.

use crate::clock::Time;
use crate::proxy::state::Proxy;
use crate::proxy::stats::sample::NodeSample;
use crate::proxy::upstream::backend::{State, Usage};
use crate::proxy::upstream::large_reply::LargeReply;

impl Proxy {
    /// Looks at everything.
    pub(in crate::proxy) fn sample(&mut self, now: Time) {
        if !self.namespaces.is_empty() {
            self.count_for_namespaces();
        }
        let sample = &self.stats.sample;
        let (mut in_flight, mut owed, mut most, mut used) = (0, 0, 0, 0);
        for (_, client) in self.clients.iter() {
            let own = client.owed_bytes();
            in_flight += client.pipeline.len();
            owed += own;
            most = most.max(own);
            used += own + client.unexecuted_bytes() + client.free_input_bytes();
        }
        let nodes = &mut self.scratch.nodes;
        nodes.clear();
        for (_, backend) in self.upstream.backends.iter() {
            used += backend.output.len() + backend.input.len() + backend.input.free();
            used += backend.large_reply.as_ref().map_or(0, LargeReply::kept_len);
            let at = usize::from(backend.node.0);
            if nodes.len() <= at {
                nodes.resize(at + 1, NodeSample::default());
            }
            let node = &mut nodes[at];
            let lent = matches!(backend.usage, Usage::Lent { .. } | Usage::Cleaning);
            match backend.state {
                State::Connecting | State::Handshaking(_) => node.connecting += 1,
                State::Ready => node.busy += u64::from(lent || !backend.tickets.is_empty()),
            }
            node.in_flight += backend.tickets.len() as u64;
            node.silent = node.silent.max(backend.silence(now));
        }
        for (at, node) in &self.upstream.nodes {
            let seen = nodes.get(at).copied().unwrap_or_default();
            node.stats.connecting.set(seen.connecting);
            node.stats.busy.set(seen.busy);
            node.stats.in_flight.set(seen.in_flight);
            node.stats.silent.set(seen.silent.as_secs());
            node.forget_old_failure(now);
        }
        sample.requests_in_flight.set(in_flight as u64);
        sample.client_output_bytes.set(owed as u64);
        sample.client_output_bytes_max.set(most as u64);
        sample.buffer_used_bytes.set(used as u64);
        let free = self.pool.free_bytes();
        sample.buffer_free_bytes.set(free as u64);
        let slow = self.insight.slow.count;
        self.stats.slow_requests.add(slow - self.slow_counted);
        self.slow_counted = slow;
        let fallbacks = self.upstream.fallbacks.get();
        self.stats.replica_fallbacks.add(fallbacks);
        self.upstream.fallbacks.set(0);
    }

    /// Counts the clients of each namespace, and their bytes since the last time.
    fn count_for_namespaces(&mut self) {
        let all = self.stats.namespaces();
        all.iter().for_each(|counts| counts.clients.set(0));
        for (_, client) in self.clients.iter_mut() {
            client.count_bytes();
            if let Some(own) = &client.session.namespace {
                own.counts.clients.add(1);
            }
        }
    }
}
