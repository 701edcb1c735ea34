//! What a near cache is about: who writes past the proxy, and what the nodes tell of it.

use crate::ledger::{Class, Outcome};

use super::World;

impl World {
    /// Somebody writes directly at a node.
    pub(super) fn write_past(&mut self) {
        if !self.of_foreigner.one_in(16) {
            return;
        }
        let keys = self.ledger.keys_of(Class::Text);
        let tops = self.of_foreigner.skewed(keys.len());
        let key = keys[keys.len() - 1 - self.of_foreigner.below(tops)];
        let shard = self.cluster.owner_of(self.ledger.keys[key].tag);
        let node = self.cluster.shards[shard].master;
        let own = &self.cluster.nodes[node];
        if !own.alive || self.now < own.hung_until {
            return;
        }
        let password = self.proxy.config().backend_password.as_ref();
        let hello = password.map(|secret| [b"AUTH".to_vec(), secret.expose().to_vec()]);
        let nonce = self.ledger.begin(key);
        let name = self.ledger.keys[key].name.clone();
        let set = [b"SET".to_vec(), name, self.ledger.value(nonce)];
        let mut reply = Vec::new();
        for args in hello.iter().map(|hello| &hello[..]).chain([&set[..]]) {
            let (session, ledger) = (&mut self.foreigner, &mut self.ledger);
            reply = self.cluster.execute(node, session, args, ledger, self.now);
        }
        let done = reply == b"+OK\r\n";
        self.note(|_| format!("past the proxy: {} {done}", key));
        let outcome = if done { Outcome::Done } else { Outcome::Failed };
        self.ledger.told(nonce, outcome);
        self.events.written_past += u64::from(done);
        self.invalidate_at(node);
    }

    /// What has been written at a node is told to those who track it there.
    pub(super) fn invalidate_at(&mut self, node: usize) {
        let shard = self.cluster.nodes[node].shard;
        for key in std::mem::take(&mut self.ledger.changed) {
            let name = self.ledger.keys[key].name.clone();
            self.invalidate(shard, &name);
        }
    }

    /// A key of a shard has changed, or has gone elsewhere.
    pub(super) fn invalidate(&mut self, shard: usize, name: &[u8]) {
        for link in &mut self.links {
            if self.cluster.nodes[link.node].shard == shard
                && let Some(push) = link.session.invalidate(name)
            {
                link.unwritten.extend(push);
            }
        }
    }
}
