//! The users have changed: this worker takes them, and its clients are what they have become.

use std::sync::Arc;

use crate::acl::User;
use crate::clock::Time;
use crate::proxy::client::Parting;
use crate::proxy::client::session::Session;
use crate::proxy::ids::ClientId;
use crate::proxy::messages::client_filter::Asker;
use crate::proxy::pubsub::state::kind::Kind;
use crate::proxy::state::Proxy;

/// What becomes of a client.
enum Fate {
    /// It stays as it is.
    Same,
    /// Its user has other rules.
    Renewed(Arc<User>),
    /// Its user is no more, or may not hear what it is subscribed to: it is closed.
    Closed,
}

impl Proxy {
    /// A client wants all workers to take the users.
    pub(in crate::proxy) fn renew_users_for(&mut self, asker: Asker, now: Time) {
        self.renew_users(self.asking(asker), now);
        self.listed(asker, b"+OK\r\n".to_vec(), now);
    }

    /// Takes the users that are in force. All clients are looked at in this turn: no request may come between.
    pub(in crate::proxy) fn renew_users(&mut self, asking: Option<ClientId>, now: Time) {
        let users = self.process.acl.users();
        if Arc::ptr_eq(&users, &self.users) {
            return;
        }
        self.users = users;
        if self.servers_judge() {
            return;
        }
        // Many clients are one user, who may have very many rules: these are compared once.
        let mut compared: Option<(Arc<User>, Arc<User>, bool)> = None;
        for id in self.clients.ids() {
            let Some(client) = self.clients.get_mut(id) else {
                continue;
            };
            match fate(&client.session, self.users.get(&client.session.user().name)) {
                Fate::Same => {}
                Fate::Renewed(user) => {
                    let before = client.session.user();
                    let known = compared.as_ref().filter(|(old, new, _)| {
                        Arc::ptr_eq(old, before) && Arc::ptr_eq(new, &user)
                    });
                    let same = match known {
                        Some((_, _, same)) => *same,
                        None => user.permissions() == before.permissions(),
                    };
                    compared = Some((before.clone(), user.clone(), same));
                    client.session.renew(user);
                    // What is queued may not be allowed any more.
                    if !same && !client.session.is_free() {
                        self.doom(id);
                    }
                }
                Fate::Closed => {
                    client.session.leave(self.users.unnamed().clone());
                    if Some(id) == asking {
                        self.close_when_told(id, Parting::Killed);
                    } else if self.forget_client(id, now) {
                        self.stats.clients_killed.add(1);
                    }
                }
            }
        }
    }
}

/// What becomes of a client for whose user there is `now`.
fn fate(session: &Session, now: Option<&Arc<User>>) -> Fate {
    let before = session.user();
    let Some(now) = now.filter(|now| now.is_same(before)) else {
        return Fate::Closed;
    };
    if Arc::ptr_eq(now, before) {
        return Fate::Same;
    }
    let may_hear =
        |kind, name: &Arc<[u8]>| now.permissions().allow_channel(name, kind == Kind::Pattern);
    let hears = session.subscriptions().is_none_or(|own| {
        let mut kinds = Kind::ALL.into_iter();
        kinds.all(|kind| own.names(kind).all(|name| may_hear(kind, name)))
    });
    if hears {
        Fate::Renewed(now.clone())
    } else {
        Fate::Closed
    }
}
