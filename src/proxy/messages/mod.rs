//! Messages between workers, as data.

pub mod client_filter;
pub mod client_pause;
pub mod monitor_feed;
pub mod worker_query;
