//! redis-cluster-proxy: a Redis/Valkey Cluster behind one ordinary Redis port.
//!
//! # The path of a request and of its reply
//!
//! ```text
//!            Worker (sockets)              Proxy (state, no I/O)
//!  client ──► fill ──► client.input ──► dispatch ──► backend.output ──► flush ──► node
//!                        scanner, table, slot, route    │ ticket
//!                                                       ▼
//!  client ◄── flush ◄── client.output ◄── deliver ◄── backend.input ◄── fill ◄── node
//!                        pipeline: in order of requests
//! ```
//!
//! A client owns the order of its replies (`Pipeline`), a backend the matching of replies to requests
//! (`Ticket`s). They never point at each other; they name each other by ids that carry a generation.
//!
//! # The map
//!
//! A layer imports only from the layers above it; `tests/it/layers.rs` checks this.
//!
//! | layer | modules | knows |
//! |---|---|---|
//! | 0 | [`arena`], [`buffer`], [`clock`], [`config`], [`fields`], [`live_config`], [`log_throttle`], [`sort`], `testing` (of unit tests) | nothing |
//! | 1 | [`resp`] | the protocol: bytes to views and back |
//! | 2 | [`command`] | what each command is |
//! | 2' | [`acl`] | users, and what each of them may do |
//! | 3 | [`cluster`] | where keys live |
//! | 4 | [`proxy`] | the state of one worker, without I/O |
//! | 4' | [`net`] | sockets; neither RESP nor the proxy |
//! | 5 | [`worker`], [`coalesce`], [`turns`], [`allocator`], [`pending_sockets`], [`accept_balance`], [`mailbox`], [`pulse`], [`second_thread`], [`systemd`], [`control`] | the loop; the threads beside it |
//! | 6 | [`options`], [`logging`], [`descriptors`], [`handover`], [`machine_memory`], [`signals`], [`serve`], [`check`], [`acl_files`], [`top`], `main` | the program |

#![deny(unsafe_code)]

pub mod accept_balance;
pub mod acl;
pub mod acl_files;
pub mod allocator;
pub mod arena;
pub mod buffer;
pub mod check;
pub mod clock;
pub mod cluster;
pub mod coalesce;
pub mod command;
pub mod config;
pub mod control;
pub mod descriptors;
pub mod fields;
pub mod handover;
pub mod live_config;
pub mod log_throttle;
pub mod logging;
pub mod machine_memory;
pub mod mailbox;
pub mod net;
pub mod options;
pub mod pending_sockets;
pub mod proxy;
pub mod pulse;
pub mod resp;
pub mod second_thread;
pub mod serve;
pub mod signals;
pub mod sort;
pub mod systemd;
#[cfg(test)]
mod testing;
pub mod top;
pub mod turns;
pub mod worker;

pub use serve::run;
