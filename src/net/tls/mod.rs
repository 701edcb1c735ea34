//! TLS, by rustls: what this process shows and whom it trusts ([`Context`]), and streams that encrypt
//! ([`TlsStream`] for a worker, [`Channel`] for a thread that may wait).
//!
//! A `TlsStream` is a transport inside [`Socket`](super::socket::Socket): nobody above `net` knows that bytes are
//! encrypted. It must never know what the bytes mean.

mod context;
mod der;
mod expiry;
mod files;
mod names;
mod stream;
#[cfg(test)]
mod tests;

pub use crate::net::tls_answers::{Got, Handshake, Validity};
pub use context::{Channel, Context, open};
pub use stream::{TlsStream, Transport};
