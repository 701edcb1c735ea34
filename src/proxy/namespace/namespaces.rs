//! `Namespaces`: all namespaces of the proxy with their databases, and who is in which. Each worker has its own, so that
//! workers share no counter of references.
//!
//! It must never know a client.

use std::collections::HashMap;
use std::sync::Arc;

use crate::config::Config;
use crate::proxy::namespace::Namespace;
use crate::proxy::stats::namespace_counts::NamespaceCounts;

/// All namespaces that are served.
#[derive(Debug, Default)]
pub struct Namespaces {
    /// The databases of each name, in order.
    families: Vec<Vec<Arc<Namespace>>>,
    /// The namespace of clients whose listener says no other.
    common: Option<usize>,
    /// Places of listeners, and the namespace of each.
    listeners: Vec<(usize, usize)>,
    /// Names of users, and the namespace of each.
    users: HashMap<Box<[u8]>, usize>,
}

impl Namespaces {
    /// Those that the config names.
    pub fn new(config: &Config) -> Namespaces {
        let mut all = Namespaces::default();
        all.common = config
            .namespace
            .as_deref()
            .map(|name| all.add(name, config));
        for (place, (name, _)) in (config.listen.len()..).zip(&config.namespace_listen) {
            let family = all.add(name, config);
            all.listeners.push((place, family));
        }
        for (user, name) in &config.namespace_users {
            let family = all.add(name, config);
            all.users.insert(user.as_bytes().into(), family);
        }
        all
    }

    /// Adds a name, unless it is there.
    fn add(&mut self, name: &str, config: &Config) -> usize {
        let mut known = self.families.iter();
        if let Some(at) = known.position(|family| family[0].name() == name) {
            return at;
        }
        let first = Namespace::new(name, config.databases, config.namespace_channels);
        let databases = (0..config.databases.max(1)).filter_map(|index| first.of_database(index));
        self.families.push(databases.map(Arc::new).collect());
        self.families.len() - 1
    }

    /// What is counted of each database, in the order of the config.
    pub fn counts(&self) -> Box<[Arc<NamespaceCounts>]> {
        let all = self.families.iter().flatten();
        all.map(|namespace| namespace.counts.clone()).collect()
    }

    /// Whether there are none.
    #[inline(always)]
    pub fn is_empty(&self) -> bool {
        self.families.is_empty()
    }

    fn first(&self, family: usize) -> Option<Arc<Namespace>> {
        self.families.get(family)?.first().cloned()
    }

    /// Where clients begin that come to the listener at this place, if in a namespace.
    pub fn of_listener(&self, place: usize) -> Option<Arc<Namespace>> {
        let mut own = self.listeners.iter();
        match own.find(|(listener, _)| *listener == place) {
            Some((_, family)) => self.first(*family),
            None => self.common(),
        }
    }

    /// Whether users have namespaces, so that a login may change that of its client.
    pub fn has_users(&self) -> bool {
        !self.users.is_empty()
    }

    /// Where clients begin that log in as this user, if it has a namespace wherever it comes to.
    pub fn of_user(&self, name: &[u8]) -> Option<Arc<Namespace>> {
        self.first(*self.users.get(name)?)
    }

    /// Where clients begin that come to no listener with a namespace of its own.
    pub fn common(&self) -> Option<Arc<Namespace>> {
        self.first(self.common?)
    }

    /// The one whose keys have this tag.
    pub fn tagged(&self, tag: &[u8]) -> Option<Arc<Namespace>> {
        let mut all = self.families.iter().flatten();
        all.find(|namespace| namespace.tag() == tag).cloned()
    }

    /// All databases beside this one, itself included.
    pub fn databases_of(&self, own: &Namespace) -> &[Arc<Namespace>] {
        let mut all = self.families.iter();
        let found = all.find(|family| family[0].is_beside(own));
        found.map_or(&[], Vec::as_slice)
    }

    /// Another database of the same name.
    pub fn database(&self, own: &Namespace, index: u16) -> Option<Arc<Namespace>> {
        self.databases_of(own).get(usize::from(index)).cloned()
    }
}
