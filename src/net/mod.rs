//! Sockets: listening, accepting, filling and flushing. Knows buffers; knows nothing of RESP or of what a
//! connection is for.

pub mod descriptor_channel;
pub mod holder;
pub mod listener;
pub mod page_stream;
pub mod proxy_header;
pub mod socket;
#[cfg_attr(not(feature = "tls"), path = "tls_absent.rs")]
pub mod tls;
mod tls_answers;
