//! The integration tests, one module for each subject. They are one binary, because each binary links the whole
//! crate: `cargo test --test it pubsub::` runs one module of it.
//!
//! What must have a process to itself stands beside this folder: `allocations` (its own allocator), `profile` (its signals),
//! `logging` (the one logger of a process), `simulation`, `chaos` and `fuzz` (long runs, with variables and builds of their
//! own).

#[path = "../support/mod.rs"]
mod support;

mod backlog;
mod blocking;
mod circles;
mod client_commands;
mod clients;
mod cluster;
mod command;
mod conformance;
mod connect;
mod databases;
mod deadlines;
mod debugging;
mod dependencies;
mod deploy;
mod dist;
mod doors;
mod endless;
mod faces;
mod fault_catalogue;
mod faults;
mod guards;
mod handover;
mod huge;
mod imports;
mod info;
mod insight;
mod large;
mod layers;
mod leases;
mod least_acl;
mod limits;
mod listeners;
mod logs;
mod memory;
mod metrics;
mod namespace_databases;
mod namespaces;
mod near_cache;
mod nodes;
mod options;
mod overdue;
mod own_errors;
mod page;
mod pause;
mod piled_up;
mod program;
mod programs;
mod proxy_command;
mod proxy_protocol;
mod pubsub;
mod pubsub_order;
mod regressions;
mod rooms;
mod routing;
mod rs_cache;
mod scan;
mod scripts;
mod secrets;
mod server_users;
mod shards;
mod soak;
mod support_selftest;
mod systemd;
mod time_split;
#[cfg(feature = "tls")]
mod tls;
mod tracking;
mod transactions;
mod transactions_whole;
mod turns;
mod typed;
mod user_limits;
mod users;
mod wire;
