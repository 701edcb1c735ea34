//! Worlds of a few hot keys: clients read them again and again, in several ways, and somebody writes and deletes them past the
//! proxy. There is little trouble beside planned work, so that what the proxy keeps is of use.

use redis_cluster_proxy::config::{Config, Limits, NearCacheTracking, ReadPreference};

use super::{Troubles, World};
use crate::client::Client;
use crate::ledger::Class;
use crate::random::{Random, mix};

/// From numbers of its own, so that worlds without hot keys stay what they are.
#[derive(Debug)]
pub struct Hot {
    random: Random,
    is_on: bool,
    /// How many clients do nothing but read them.
    readers: usize,
}

impl Hot {
    /// Those of a seed, in a world whose proxy has a cache or not.
    pub fn new(seed: u64, has_cache: bool, config: &mut Config) -> Hot {
        let mut random = Random::new(mix(!seed.rotate_left(48)));
        let is_on = has_cache && !random.one_in(4);
        if is_on {
            config.limits = Limits::default();
            // (What replicas say has no order that could be checked.)
            config.read_preference = ReadPreference::Master;
            config.near_cache_tracking = *random.pick(&[
                NearCacheTracking::Keys,
                NearCacheTracking::Auto,
                NearCacheTracking::Broadcast,
                NearCacheTracking::Broadcast,
            ]);
            config.near_cache_bytes = 1 << random.between(16, 20);
            config.near_cache_min_reads = random.skewed(2) as u32;
        }
        Hot {
            readers: random.between(3, 6) as usize,
            random,
            is_on,
        }
    }

    /// Whether there are hot keys.
    pub fn is_on(&self) -> bool {
        self.is_on
    }

    /// As much trouble as there is to be.
    pub fn lessen(&self, troubles: Troubles) -> Troubles {
        match self.is_on {
            true => troubles.less(32),
            false => troubles,
        }
    }
}

impl World {
    /// What happens to hot keys in one turn.
    pub(super) fn heat(&mut self) {
        if !self.hot.is_on {
            return;
        }
        let random = &mut self.hot.random;
        let texts = self.ledger.keys_of(Class::Text);
        let key = texts[texts.len() - 1 - random.below(2)];
        match random.below(200) {
            0..4 => self.set_past(key),
            4..6 => self.delete_past(key),
            _ => {}
        }
        let all = self.clients.iter_mut();
        let readers: Vec<&mut Client> = all.filter(|client| client.is_reader).collect();
        let has_all = readers.len() >= self.hot.readers;
        let random = &mut self.hot.random;
        for reader in readers {
            if random.one_in(4) {
                let key = texts[texts.len() - 1 - random.below(2)];
                reader.read_again(key, &mut self.ledger, random);
            }
        }
        if !has_all {
            let at = self.accept(false);
            let reader = self.clients.remove(at).reads_again();
            self.clients.push(reader);
        }
    }

    /// Somebody deletes a key directly at a node.
    fn delete_past(&mut self, key: usize) {
        let shard = self.cluster.owner_of(self.ledger.keys[key].tag);
        let Some(node) = self.master_past(shard) else {
            return;
        };
        let name = self.ledger.keys[key].name.clone();
        if self.cluster.delete(shard, &name, &mut self.ledger) {
            self.note(|_| format!("past the proxy: {key} is deleted"));
            self.events.deleted_past += 1;
            self.invalidate_at(node);
        }
    }
}
