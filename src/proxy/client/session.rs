//! `Session`: who a client is and what it has set for itself. None of it is ever state of a shared connection.

use std::sync::Arc;

use crate::acl::User;
use crate::clock::Time;
use crate::command::{Command, Flags};
use crate::proxy::namespace::Namespace;
use crate::proxy::pubsub::state::subscriptions::Subscriptions;
use crate::proxy::upstream::dialect::Dialect;
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
    /// Who it is; who has not said it is `default`.
    user: Arc<User>,
    /// Whether it may run commands.
    authenticated: bool,
    /// Whether it may run all commands on all keys and channels: nothing of a request is to be looked at.
    ///
    /// Invariant: it is authenticated then, and its user may do everything.
    free: bool,
    /// When its login is tried, which waits since many from its address have failed.
    pub login_due: Option<Time>,
    /// Whether it has said MULTI, so that requests are queued.
    pub queueing: bool,
    /// The tag before its keys; most clients have none.
    pub namespace: Option<Arc<Namespace>>,
    /// What it speaks.
    pub protocol: Protocol,
    /// `SELECT`: 0 but where the cluster has databases.
    pub database: u16,
    /// Whether it is shown every request.
    pub monitor: bool,
    /// `CLIENT NO-EVICT`. The proxy closes clients by limits of their own only, so that nothing follows.
    pub no_evict: bool,
    /// `CLIENT NO-TOUCH`. Nodes are not told: their connections are shared.
    pub no_touch: bool,
    /// Whether it has asked for the debugger of scripts, which it was refused: it does not mean the scripts that it
    /// sends now to be executed as others are.
    pub wants_debugger: bool,
    /// What it has told us; most clients tell nothing.
    identity: Option<Box<Identity>>,
    /// What it is subscribed to; nothing is no box.
    subscriptions: Option<Box<Subscriptions>>,
    /// Whether it may send a few commands only: a RESP2 client could not tell replies from messages.
    ///
    /// Invariant: it is so while it is subscribed and speaks RESP2.
    subscriber_only: bool,
}

impl Session {
    /// The session of a new client; `user` is `default`.
    pub fn new(number: u64, user: Arc<User>) -> Session {
        Session {
            number,
            free: user.is_open() && user.permissions().are_all(),
            authenticated: user.is_open(),
            user,
            login_due: None,
            queueing: false,
            namespace: None,
            protocol: Protocol::Resp2,
            database: 0,
            monitor: false,
            no_evict: false,
            no_touch: false,
            wants_debugger: false,
            identity: None,
            subscriptions: None,
            subscriber_only: false,
        }
    }

    /// `RESET`: as if it had just come. What library it uses, and that it is not to be evicted, remains.
    /// Returns what it was subscribed to.
    pub fn reset(&mut self, unnamed: &Arc<User>) -> Option<Box<Subscriptions>> {
        self.leave(unnamed.clone());
        self.protocol = Protocol::Resp2;
        self.database = 0;
        self.monitor = false;
        self.no_touch = false;
        self.wants_debugger = false;
        if let Some(identity) = &mut self.identity {
            identity.name.clear();
        }
        self.take_subscriptions()
    }

    /// Who it is.
    pub fn user(&self) -> &Arc<User> {
        &self.user
    }

    /// Whether it may run commands.
    #[inline]
    pub fn is_authenticated(&self) -> bool {
        self.authenticated
    }

    /// Whether nothing of its requests is to be looked at.
    #[inline]
    pub fn is_free(&self) -> bool {
        self.free
    }

    /// It has logged in.
    pub fn enter(&mut self, user: Arc<User>) {
        self.user = user;
        self.authenticated = true;
        self.free = self.user.permissions().are_all();
    }

    /// It is as one who has just come; `unnamed` is `default`.
    pub fn leave(&mut self, unnamed: Arc<User>) {
        self.authenticated = unnamed.is_open();
        self.user = unnamed;
        self.free = self.authenticated && self.user.permissions().are_all();
    }

    /// Its user has other rules.
    pub fn renew(&mut self, user: Arc<User>) {
        if self.authenticated {
            self.enter(user);
        } else {
            self.leave(user);
        }
    }

    /// What it is subscribed to; nothing at all if to nothing.
    pub fn subscriptions(&self) -> Option<&Subscriptions> {
        self.subscriptions.as_deref()
    }

    /// To change what it is subscribed to; [`Session::settle`] comes behind it.
    pub fn subscriptions_mut(&mut self) -> &mut Subscriptions {
        self.subscriptions.get_or_insert_default()
    }

    /// Takes what it is subscribed to; it is subscribed to nothing then.
    pub fn take_subscriptions(&mut self) -> Option<Box<Subscriptions>> {
        let taken = self.subscriptions.take();
        self.settle();
        taken
    }

    /// Gives it what it is subscribed to.
    pub fn put_subscriptions(&mut self, subscriptions: Box<Subscriptions>) {
        self.subscriptions = Some(subscriptions);
        self.settle();
    }

    /// Its subscriptions or its protocol have changed.
    pub fn settle(&mut self) {
        self.subscriptions = self.subscriptions.take().filter(|own| !own.is_empty());
        self.subscriber_only = self.subscriptions.is_some() && self.protocol == Protocol::Resp2;
    }

    /// Whether it may send a few commands only.
    #[inline]
    pub fn is_subscriber_only(&self) -> bool {
        self.subscriber_only
    }

    /// Whether it may send a command even so: what changes subscriptions, and PING, QUIT and RESET.
    pub fn may_send_as_subscriber(command: &Command) -> bool {
        let subscribes =
            command.flags.contains(Flags::PUBSUB) && command.flags.contains(Flags::NOSCRIPT);
        subscribes || command.when_subscribed
    }

    /// Whether it is in a database of the same name.
    pub fn is_beside(&self, own: &Namespace) -> bool {
        let namespace = self.namespace.as_ref();
        namespace.is_some_and(|namespace| namespace.is_beside(own))
    }

    /// The database that it knows itself to be in.
    pub fn shown_database(&self) -> u16 {
        let own = self.namespace.as_ref();
        match own.filter(|own| own.databases() > 1) {
            Some(own) => own.database(),
            None => self.database,
        }
    }

    /// What it asks of the connections that carry its requests.
    pub fn dialect(&self) -> Dialect {
        Dialect {
            protocol: self.protocol,
            database: self.database,
        }
    }

    /// What it has told us of itself.
    pub fn identity(&self) -> Option<&Identity> {
        self.identity.as_deref()
    }

    /// To change what it has told us of itself.
    pub fn identity_mut(&mut self) -> &mut Identity {
        self.identity.get_or_insert_default()
    }
}
