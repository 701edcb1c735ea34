//! `NamespaceCounts`: what one worker counts of one database of a namespace, so that a hot one and a large one are seen.
//!
//! The numbers of requests are counted on the way of each request; clients and bytes are looked at once a second (see
//! `observe::sample`), since each client counts its bytes anyway.

use std::net::SocketAddr;

use crate::cluster::slot::Slot;
use crate::proxy::stats::Counter;

/// What one worker counts of a database of a namespace. One writer, its worker.
#[derive(Debug)]
pub struct NamespaceCounts {
    /// The name of the namespace.
    pub name: Box<str>,
    /// The number of the database.
    pub database: u16,
    /// Where its keys lie.
    pub slot: Slot,
    /// Clients that are in it.
    pub clients: Counter,
    /// Requests of its clients.
    pub requests: Counter,
    /// Bytes from its clients.
    pub bytes_in: Counter,
    /// Bytes to its clients.
    pub bytes_out: Counter,
}

impl NamespaceCounts {
    /// Nothing was counted yet.
    pub fn new(name: &str, database: u16, slot: Slot) -> NamespaceCounts {
        NamespaceCounts {
            name: name.into(),
            database,
            slot,
            clients: Counter::default(),
            requests: Counter::default(),
            bytes_in: Counter::default(),
            bytes_out: Counter::default(),
        }
    }

    /// Counts from zero again, but for the clients that are here.
    pub fn reset(&self) {
        for counter in [&self.requests, &self.bytes_in, &self.bytes_out] {
            counter.set(0);
        }
    }
}

/// How many keys a slot has, and the node that says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlotKeys {
    /// The keys, of whomever they are.
    pub keys: u64,
    /// The master of the slot.
    pub node: SocketAddr,
}

/// What all workers have counted of a database of a namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamespaceTotals {
    /// The name of the namespace.
    pub name: String,
    /// The number of the database.
    pub database: u16,
    /// Where its keys lie.
    pub slot: Slot,
    /// Clients that were in it when workers last looked.
    pub clients: u64,
    /// Requests of its clients.
    pub requests: u64,
    /// Bytes from its clients.
    pub bytes_in: u64,
    /// Bytes to its clients.
    pub bytes_out: u64,
    /// The keys of its slot, if its node has been asked.
    pub keys: Option<SlotKeys>,
}

impl NamespaceTotals {
    /// What one worker has counted.
    pub fn of(counts: &NamespaceCounts, keys: Option<SlotKeys>) -> NamespaceTotals {
        NamespaceTotals {
            name: counts.name.to_string(),
            database: counts.database,
            slot: counts.slot,
            clients: counts.clients.get(),
            requests: counts.requests.get(),
            bytes_in: counts.bytes_in.get(),
            bytes_out: counts.bytes_out.get(),
            keys,
        }
    }

    /// Adds what another worker has counted of the same.
    pub fn add(&mut self, counts: &NamespaceCounts) {
        debug_assert_eq!(
            (&*self.name, self.database),
            (&*counts.name, counts.database)
        );
        self.clients += counts.clients.get();
        self.requests = self.requests.wrapping_add(counts.requests.get());
        self.bytes_in = self.bytes_in.wrapping_add(counts.bytes_in.get());
        self.bytes_out = self.bytes_out.wrapping_add(counts.bytes_out.get());
    }

    /// Whether there is anything to tell: a name has up to 256 databases, of which most are never used. The first is
    /// always told.
    pub fn is_told(&self) -> bool {
        self.database == 0 || self.clients > 0 || self.requests > 0
    }
}
