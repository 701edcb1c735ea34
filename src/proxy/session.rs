//! `Session`: who a client is and what it has set for itself. Nothing of it is ever state of a shared
//! connection.

use crate::resp::encode::Protocol;

/// What a client has told us of itself.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Identity {
    /// `CLIENT SETNAME`.
    pub name: Vec<u8>,
    /// `CLIENT SETINFO lib-name`.
    pub lib_name: Vec<u8>,
    /// `CLIENT SETINFO lib-ver`.
    pub lib_ver: Vec<u8>,
}

/// Who a client is and what it has set for itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// `CLIENT ID`: unique over all workers.
    pub number: u64,
    /// Whether it may run commands.
    pub authenticated: bool,
    /// What it speaks.
    pub protocol: Protocol,
    /// What it has told us; most clients tell nothing.
    identity: Option<Box<Identity>>,
}

impl Session {
    /// The session of a new client.
    pub fn new(number: u64, authenticated: bool) -> Session {
        Session {
            number,
            authenticated,
            protocol: Protocol::Resp2,
            identity: None,
        }
    }

    /// What it has told us of itself.
    pub fn identity(&self) -> Identity {
        self.identity.as_deref().cloned().unwrap_or_default()
    }

    /// To change what it has told us of itself.
    pub fn identity_mut(&mut self) -> &mut Identity {
        self.identity.get_or_insert_default()
    }
}
