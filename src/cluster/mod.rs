//! Where keys live: slots, the topology, and the route of a request.

pub mod build;
pub mod change;
pub mod idc;
pub mod myself;
pub mod node_addresses;
pub mod orphan;
pub mod request_slots;
pub mod scan;
pub mod slot;
pub mod topology;
pub mod view;
