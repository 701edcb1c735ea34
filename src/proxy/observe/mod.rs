//! What is sampled for observers: the access log, gauges, the masters' INFO.

pub mod access_log;
pub mod masters_info;
pub mod sample;
