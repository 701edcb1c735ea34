//! The new process of a hand-over: a client arrives, and goes on with what it had set and sent.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::clock::Time;
use crate::config::Secret;
use crate::proxy::client::session::Session;
use crate::proxy::client::{Client, Stall};
use crate::proxy::handover::state::MovedClient;
use crate::proxy::ids::ClientId;
use crate::proxy::namespace::Namespace;
use crate::proxy::pubsub::state::kind::Kind;
use crate::proxy::state::Proxy;

impl Proxy {
    /// A client arrives. Nothing if it may not be here: its user or its namespace is no more, or its user may not hear
    /// any more what it is subscribed to.
    pub fn arrive(&mut self, moved: MovedClient, now: Time) -> Option<ClientId> {
        let session = self.session_of(&moved, now)?;
        let (monitor, is_subscriber) = (session.is_monitor(), !moved.topics.is_empty());
        self.process
            .client_ids
            .fetch_max(moved.number, Ordering::Relaxed);
        self.process.clients.fetch_add(1, Ordering::Relaxed);
        self.stats.clients_connected.add(1);
        let mut client = Client::new(moved.address, session, now);
        client.window = client.window.min(self.config.limits.pipeline_requests);
        client.pipeline.client_reply = moved.client_reply;
        (client.bytes_in, client.bytes_out) = moved.traffic;
        client.counted_bytes = moved.traffic;
        if !moved.input.is_empty() {
            let backlog = client.backlog.get_or_insert_default();
            backlog.put(&moved.input, &mut self.pool);
            client.stall = Some(Stall::Behind);
        }
        let id = self.clients.insert(client);
        if !moved.input.is_empty() {
            self.resume_later(id);
        }
        if monitor {
            self.add_monitor(id);
        }
        if is_subscriber {
            self.subscribe_again(id, &moved.topics, now);
            self.catch_up(id, &moved, now);
        }
        Some(id)
    }

    /// What the client had set, by the rules of this process.
    fn session_of(&mut self, moved: &MovedClient, now: Time) -> Option<Session> {
        let namespace = self.namespace_tagged(&moved.namespace)?;
        let of_listener = self.namespace_tagged(&moved.listener_namespace)?;
        let mut session = Session::new(moved.number, self.users.unnamed().clone());
        if let Some(name) = &moved.user {
            // Who was somebody by the word of other judges is nobody here.
            match (&moved.password, self.servers_judge()) {
                (Some(password), true) => self.enter_again(&mut session, name, password, now)?,
                (None, false) => {
                    let user = self.users.get(name).filter(|user| user.is_on())?;
                    session.enter(user.clone());
                }
                (Some(_), false) | (None, true) => return None,
            }
        }
        let rules = session.user().permissions();
        let mut topics = moved.topics.iter();
        if !topics.all(|(kind, name)| rules.allow_channel(name, *kind == Kind::Pattern)) {
            return None;
        }
        if moved.monitor && !session.is_authenticated() {
            return None;
        }
        // By its user it may belong elsewhere now.
        session.namespace = namespace;
        session.listener_namespace = of_listener;
        if session.is_astray(&session.user().name, &self.namespaces) {
            return None;
        }
        session.protocol = moved.protocol;
        session.select(moved.database);
        session.set_monitor(moved.monitor);
        session.no_evict = moved.no_evict;
        session.no_touch = moved.no_touch;
        session.is_cache_off = moved.is_cache_off;
        session.wants_debugger = moved.wants_debugger;
        if moved.identity != Default::default() {
            *session.identity_mut() = moved.identity.clone();
        }
        Some(session)
    }

    /// A client is who it was by the servers' word, which they repeat when its connections are made.
    fn enter_again(
        &mut self,
        session: &mut Session,
        name: &[u8],
        password: &Secret,
        now: Time,
    ) -> Option<()> {
        let account = self.account(name, password.expose(), now)?;
        let user = Arc::new(self.users.of_server(name));
        session.try_enter_as(user, account).then_some(())
    }

    /// The namespace with this tag, if there is one; none at all if that is no more.
    fn namespace_tagged(&self, tag: &Option<Vec<u8>>) -> Option<Option<Arc<Namespace>>> {
        match tag {
            Some(tag) => self.namespaces.tagged(tag).map(Some),
            None => Some(None),
        }
    }
}
