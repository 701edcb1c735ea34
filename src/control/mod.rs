//! What is slow or shared, on threads of its own: the topology's refresh, the survey of the servers, and
//! the debug address.

pub mod access;
pub mod actions;
pub mod connection;
pub mod history;
pub mod http;
mod inquiry;
pub mod insight;
mod link;
pub mod message;
pub mod metrics;
mod names;
pub mod outages;
pub mod page;
pub mod process;
pub mod profile;
mod random;
pub mod refresh;
pub mod refresher;
mod refusals;
pub mod routes;
pub mod slots;
pub mod state;
pub mod status;
pub mod summary;
pub mod survey;
pub mod window;

/// The target of the few records of the log that whoever starts the program at a terminal is to see there, too.
pub const TERMINAL: &str = "terminal";
