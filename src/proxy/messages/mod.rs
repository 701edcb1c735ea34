//! What workers send each other, as data.

pub mod monitor_feed;
