//! Where keys live: slots, the topology, and the route of a request.

pub mod route;
pub mod slot;
pub mod topology;
