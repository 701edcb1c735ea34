//! What is looked at from time to time, for whoever watches: the access log, samples, the masters' INFO.

pub mod access_log;
pub mod masters_info;
pub mod sample;
