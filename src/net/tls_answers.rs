//! Return types of TLS streams, and what is known about a certificate. They also exist in a build without TLS.

use std::time::SystemTime;

/// What a read found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Got {
    /// So many bytes of plaintext, and whether there may be more without an event.
    Bytes(usize, bool),
    /// Nothing for now.
    Nothing,
    /// The end of the stream.
    End,
}

/// How far a handshake has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Handshake {
    /// It is complete.
    Done,
    /// The peer has to say more.
    Waits,
}

/// From when until when a certificate is valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// Not before.
    pub begins: SystemTime,
    /// Not after.
    pub ends: SystemTime,
}
