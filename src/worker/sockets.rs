//! `Sockets`: the sockets of a worker by the ids of their peers, and the tokens by which the poll names them.
//!
//! A token carries the generation of its peer, so that an event that is too late finds nobody.

use mio::Token;

use crate::arena::{GENERATION_BITS, Id};
use crate::net::socket::Socket;
use crate::pending_sockets::PendingId;
use crate::proxy::Peer;

const KIND_CLIENT: usize = 0;

const KIND_BACKEND: usize = 1;

const KIND_OTHER: usize = 2;

const KIND_PENDING: usize = 3;

pub(super) const WAKER: Token = Token(KIND_OTHER << 62);

/// The first listener; the others follow.
pub(super) const LISTENER: Token = Token((KIND_OTHER << 62) | 1);

pub(super) fn token(peer: Peer) -> Token {
    let (kind, generation, key) = match peer {
        Peer::Client(id) => (KIND_CLIENT, id.generation(), id.key()),
        Peer::Backend(id) => (KIND_BACKEND, id.generation(), id.key()),
    };
    Token((kind << 62) | ((generation as usize) << 32) | key as usize)
}

pub(super) fn pending_token(id: PendingId) -> Token {
    Token((KIND_PENDING << 62) | ((id.generation() as usize) << 32) | id.key() as usize)
}

pub(super) fn pending_socket(token: Token) -> Option<PendingId> {
    let generation = ((token.0 >> 32) & ((1 << GENERATION_BITS) - 1)) as u32;
    (token.0 >> 62 == KIND_PENDING).then(|| Id::from_parts(token.0 as u32, generation))
}

pub(super) fn peer(token: Token) -> Option<Peer> {
    let key = token.0 as u32;
    let generation = ((token.0 >> 32) & ((1 << GENERATION_BITS) - 1)) as u32;
    match token.0 >> 62 {
        KIND_CLIENT => Some(Peer::Client(Id::from_parts(key, generation))),
        KIND_BACKEND => Some(Peer::Backend(Id::from_parts(key, generation))),
        _ => None,
    }
}

/// The sockets of one kind of peer, by the keys of their ids.
#[derive(Debug, Default)]
pub(super) struct Sockets(Vec<Option<(u32, Socket)>>);

impl Sockets {
    pub(super) fn put(&mut self, key: u32, generation: u32, socket: Socket) {
        let index = key as usize;
        if self.0.len() <= index {
            self.0.resize_with(index + 1, || None);
        }
        // The key may be that of a peer that went in this very turn, whose `Close` is still to come: its
        // socket is dropped here then, and that `Close` finds another generation.
        self.0[index] = Some((generation, socket));
    }

    #[inline]
    pub(super) fn get(&mut self, key: u32, generation: u32) -> Option<&mut Socket> {
        match self.0.get_mut(key as usize) {
            Some(Some((own, socket))) if *own == generation => Some(socket),
            _ => None,
        }
    }

    /// Gives memory back after a storm.
    pub(super) fn shrink(&mut self) {
        while let Some(None) = self.0.last() {
            self.0.pop();
        }
        if self.0.len() < self.0.capacity() / 4 {
            self.0.shrink_to_fit();
        }
    }

    pub(super) fn take(&mut self, key: u32, generation: u32) -> Option<Socket> {
        self.get(key, generation)?;
        self.0
            .get_mut(key as usize)?
            .take()
            .map(|(_, socket)| socket)
    }
}
