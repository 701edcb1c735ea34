//! The old process of a hand-over: a client is frozen, which means that no request of it is taken any more; when it
//! has been told all it is owed, it leaves.

use std::sync::Arc;

use crate::clock::Time;
use crate::proxy::client::Stall;
use crate::proxy::handover::state::MovedClient;
use crate::proxy::ids::ClientId;
use crate::proxy::namespace::Namespace;
use crate::proxy::pubsub::state::kind::Kind;
use crate::proxy::state::Proxy;

/// How a client that is to leave stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leave {
    /// It has gone.
    Gone,
    /// It is to be served on for now.
    Later,
    /// No request of it is taken any more; replies to it are still to come or to be written.
    Frozen,
    /// It may leave now.
    Free,
}

impl Proxy {
    /// Freezes a client that may be, and says how it stands.
    pub fn freeze(&mut self, id: ClientId) -> Leave {
        let hands_out = !self.pubsub.outbox.is_empty();
        let Some(client) = self.clients.get_mut(id) else {
            return Leave::Gone;
        };
        if !client.is_movable() {
            client.leaves_after_lease = client.lease.is_some();
            return Leave::Later;
        }
        client.leaving = true;
        if client.resume_queued {
            // The resume finds that it is leaving.
            return Leave::Frozen;
        }
        client.stall = Some(Stall::HandOver);
        let is_told = client.pipeline.is_empty()
            && client.output.is_empty()
            && client.held.is_empty()
            && !client.flush_queued;
        let hears = client.session.subscriptions().is_some();
        match is_told && !(hears && hands_out) {
            true => Leave::Free,
            false => Leave::Frozen,
        }
    }

    /// A client is about to be read. If its lease has ended since it was to leave, it is frozen instead: else a client
    /// that begins one lease after the other would never leave. Returns whether it is.
    pub fn freezes_after_lease(&mut self, id: ClientId) -> bool {
        let client = self.clients.get(id);
        let is_over = client.is_some_and(|client| {
            client.leaves_after_lease && !client.leaving && client.is_movable()
        });
        is_over && matches!(self.freeze(id), Leave::Frozen | Leave::Free)
    }

    /// A client that was frozen is served on: the hand-over has failed.
    pub fn stay(&mut self, id: ClientId) {
        if let Some(client) = self.clients.get_mut(id)
            && std::mem::take(&mut client.leaving)
            && !client.resume_queued
        {
            client.stall = Some(Stall::Behind);
            self.resume_later(id);
        }
    }

    /// A client that is free leaves; it is forgotten, and its socket is the caller's.
    pub fn let_go(&mut self, id: ClientId, now: Time) -> Option<MovedClient> {
        let client = self.clients.get_mut(id)?;
        debug_assert!(client.stall == Some(Stall::HandOver));
        let mut input = client.input.bytes().to_vec();
        if let Some(mut backlog) = client.backlog.take() {
            backlog.take_all(&mut input);
        }
        let session = &client.session;
        let own = session.subscriptions().into_iter();
        let topics = own.flat_map(|own| {
            let kinds = Kind::ALL.into_iter();
            kinds.flat_map(|kind| own.names(kind).map(move |name| (kind, name.to_vec())))
        });
        // One who is somebody without having said so is not somebody where that is not so.
        let is_unnamed = session.user().name == self.users.unnamed().name;
        // One who was turned away may find a place there.
        let is_somebody = session.is_authenticated() || session.is_turned_away();
        let logged_in = is_somebody && !(is_unnamed && self.users.unnamed().is_open());
        let topics: Vec<(Kind, Vec<u8>)> = topics.collect();
        let told = self.told_of(&topics);
        let client = self.clients.get(id)?;
        let session = &client.session;
        let moved = MovedClient {
            number: session.number,
            address: client.address,
            namespace: tag_of(&session.namespace),
            listener_namespace: tag_of(&session.listener_namespace),
            user: logged_in.then(|| session.user().name.to_vec()),
            password: session.account().map(|own| own.password.clone()),
            protocol: session.protocol,
            database: session.database(),
            monitor: session.is_monitor(),
            no_evict: session.no_evict,
            no_touch: session.no_touch,
            is_cache_off: session.is_cache_off,
            wants_debugger: session.wants_debugger,
            client_reply: client.pipeline.client_reply,
            identity: session.identity().cloned().unwrap_or_default(),
            topics,
            told,
            traffic: (client.bytes_in, client.bytes_out),
            input,
        };
        self.forget_client(id, now);
        Some(moved)
    }

    /// What the clients of this worker are subscribed to.
    pub fn topics(&self) -> Vec<(Kind, Vec<u8>)> {
        let kinds = Kind::ALL.into_iter();
        let names = kinds.flat_map(|kind| {
            let topics = self.pubsub.names(kind);
            topics.map(move |name| (kind, name.to_vec()))
        });
        names.collect()
    }

    /// Whether a client is subscribed to anything.
    pub fn hears(&self, id: ClientId) -> bool {
        let client = self.clients.get(id);
        client.is_some_and(|client| client.session.subscriptions().is_some())
    }
}

fn tag_of(namespace: &Option<Arc<Namespace>>) -> Option<Vec<u8>> {
    let namespace = namespace.as_ref();
    namespace.map(|namespace| namespace.tag().to_vec())
}
