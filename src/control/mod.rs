//! What is slow or shared, on threads of its own: the topology's refresh, the survey of the servers, and
//! the debug address.

pub mod access;
pub mod api;
pub mod certificates;
pub mod connection;
pub mod draining;
pub mod history;
pub mod http;
pub mod learn_servers;
pub mod message;
pub mod metrics;
pub mod namespace_keys;
mod node_connection;
pub mod outages;
pub mod page;
mod password_refusals;
pub mod process;
pub mod profile;
pub mod refresh;
mod refresh_order;
pub mod refresher;
mod resolver;
pub mod state;
pub mod status;
pub mod summary;
pub mod window;

/// The target of the few records of the log that whoever starts the program at a terminal is to see there, too.
pub const TERMINAL: &str = "terminal";
