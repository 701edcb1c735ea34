//! redis-cluster-proxy: a Redis/Valkey Cluster behind one ordinary Redis port.

pub mod arena;
pub mod clock;
pub mod cluster;
pub mod config;
pub mod control;
pub mod resp;
