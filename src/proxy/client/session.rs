//! `Session`: who a client is and what it has set for itself. None of it is ever state of a shared connection.

use std::sync::Arc;

use crate::acl::User;
use crate::acl::settings::{Place, Settings};
use crate::clock::Time;
use crate::command::{Command, Flags};
use crate::config::ReadPreference;
use crate::proxy::ids::UserId;
use crate::proxy::namespace::Namespace;
use crate::proxy::namespace::namespaces::Namespaces;
use crate::proxy::pubsub::state::subscriptions::Subscriptions;
use crate::proxy::tracking::state::mode::Mode;
use crate::proxy::upstream::accounts::Account;
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

impl Identity {
    /// Bytes of all of it.
    pub fn bytes(&self) -> usize {
        self.name.len() + self.lib_name.len() + self.lib_ver.len()
    }
}

/// Who a client is and what it has set for itself.
#[derive(Debug)]
pub struct Session {
    /// `CLIENT ID`: unique over all workers.
    pub number: u64,
    /// Who it is; who has not said it is `default`.
    user: Arc<User>,
    /// Who it is at the servers, if they are the judges: its requests travel on connections of that user.
    ///
    /// Invariant: it has logged in then.
    account: Option<Arc<Account>>,
    /// Whether it may run commands.
    authenticated: bool,
    /// Whether it may run all commands on all keys and channels: nothing of a request is to be looked at.
    ///
    /// Invariant: it is authenticated then, and its user may do everything.
    free: bool,
    /// Whether its user lets its requests be plain ones: nothing is to be counted, the user has no read preference and no
    /// connections of its own, and it does not track.
    ///
    /// Invariant: it is authenticated then.
    plain_user: bool,
    /// Whether its requests may be taken as plain ones, as far as the session is concerned.
    ///
    /// Invariant: `plain_user` and database 0, and it may send all commands and is no monitor.
    plain: bool,
    /// Its place among the clients of its user, if there may be so many only.
    place: Option<Place>,
    /// Whether it is its user, and not served since that has as many clients as it may have.
    ///
    /// Invariant: it is not authenticated then.
    turned_away: bool,
    /// Whether its last request was counted for the rate of its user.
    charged: bool,
    /// When its login is tried, which waits since many from its address have failed.
    pub login_due: Option<Time>,
    /// Whether it has said MULTI, so that requests are queued.
    pub queueing: bool,
    /// The tag before its keys; most clients have none.
    pub namespace: Option<Arc<Namespace>>,
    /// The namespace of the listener that it has come to, which it is in unless its user has one.
    pub listener_namespace: Option<Arc<Namespace>>,
    /// What it speaks.
    pub protocol: Protocol,
    /// `SELECT`: 0 but where the cluster has databases.
    database: u16,
    /// Whether it is shown every request.
    monitor: bool,
    /// `CLIENT NO-EVICT`. The proxy closes clients by limits of their own only, so that nothing follows.
    pub no_evict: bool,
    /// `CLIENT NO-TOUCH`. Nodes are not told: their connections are shared.
    pub no_touch: bool,
    /// `PROXY CACHE OFF`: it is not served from the near cache.
    pub is_cache_off: bool,
    /// Whether it has asked for the debugger of scripts, which it was refused: it does not mean the scripts that it
    /// sends now to be executed as others are.
    pub wants_debugger: bool,
    /// What it has asked for with `CLIENT TRACKING ON`; nothing is no box.
    tracking: Option<Box<Mode>>,
    /// What it has told us; most clients tell nothing.
    identity: Option<Box<Identity>>,
    /// What it is subscribed to; nothing is no box.
    subscriptions: Option<Box<Subscriptions>>,
    /// Whether it may send a few commands only: a RESP2 client could not tell replies from messages.
    ///
    /// Invariant: it is so while it is subscribed and speaks RESP2.
    subscriber_only: bool,
}

/// What is counted of the clients of a user, if there may be so many only.
fn limited(user: &User) -> Option<&Arc<Settings>> {
    user.settings
        .as_ref()
        .filter(|own| own.clients_max.is_some())
}

impl Session {
    /// The session of a new client; `user` is `default`.
    pub fn new(number: u64, user: Arc<User>) -> Session {
        let is_open = user.is_open();
        let mut session = Session {
            number,
            user,
            account: None,
            authenticated: false,
            free: false,
            plain_user: false,
            plain: false,
            place: None,
            turned_away: false,
            charged: false,
            login_due: None,
            queueing: false,
            namespace: None,
            listener_namespace: None,
            protocol: Protocol::Resp2,
            database: 0,
            monitor: false,
            no_evict: false,
            no_touch: false,
            is_cache_off: false,
            wants_debugger: false,
            tracking: None,
            identity: None,
            subscriptions: None,
            subscriber_only: false,
        };
        session.admit(is_open);
        session
    }

    /// `RESET`: as if it had just come. What library it uses, and that it is not to be evicted, remains.
    /// Returns what it was subscribed to.
    pub fn reset(&mut self, unnamed: &Arc<User>) -> Option<Box<Subscriptions>> {
        self.leave(unnamed.clone());
        self.protocol = Protocol::Resp2;
        self.select(0);
        self.set_monitor(false);
        self.no_touch = false;
        self.is_cache_off = false;
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

    /// Whether nothing of its requests is to be counted, nothing but the settings of all holds for it, and it is in no special
    /// state.
    #[inline]
    pub fn is_plain(&self) -> bool {
        self.plain
    }

    /// Whether it is not served since its user has as many clients as it may have.
    pub fn is_turned_away(&self) -> bool {
        self.turned_away
    }

    /// It has logged in. It is turned away if its user has no place left.
    pub fn enter(&mut self, user: Arc<User>) {
        self.user = user;
        self.admit(true);
    }

    /// Logs it in, if the user has a place left; else nothing changes.
    pub fn try_enter(&mut self, user: Arc<User>) -> bool {
        if let Some(limited) = limited(&user)
            && !self.place.as_ref().is_some_and(|own| own.is_of(limited))
        {
            let Some(place) = Place::take(limited) else {
                return false;
            };
            self.place = Some(place);
        }
        self.enter(user);
        true
    }

    /// The same, of a user of the servers, who have admitted it.
    pub fn try_enter_as(&mut self, user: Arc<User>, account: Arc<Account>) -> bool {
        let before = self.account.replace(account);
        let entered = self.try_enter(user);
        if !entered {
            self.account = before;
        }
        entered
    }

    /// Who it is at the servers, if they are the judges.
    pub fn account(&self) -> Option<&Arc<Account>> {
        self.account.as_ref()
    }

    /// It is as one who has just come; `unnamed` is `default`.
    pub fn leave(&mut self, unnamed: Arc<User>) {
        self.account = None;
        let is_open = unnamed.is_open();
        self.user = unnamed;
        self.admit(is_open);
    }

    /// Its user has other rules.
    pub fn renew(&mut self, user: Arc<User>) {
        if self.authenticated || self.turned_away {
            self.enter(user);
        } else {
            self.leave(user);
        }
    }

    /// Tries again whether there is a place, if it was turned away. Returns whether it is served now.
    pub fn come_back(&mut self) -> bool {
        if self.turned_away {
            self.admit(true);
        }
        self.authenticated
    }

    /// It is its user, if this says so and that has a place for it.
    fn admit(&mut self, is_user: bool) {
        let limited = limited(&self.user).filter(|_| is_user);
        let own = self.place.take();
        // Another user's is given back before one is taken.
        let own = own.filter(|own| limited.is_some_and(|limited| own.is_of(limited)));
        self.place = own.or_else(|| limited.and_then(Place::take));
        self.authenticated = is_user && self.place.is_some() == limited.is_some();
        self.turned_away = is_user && !self.authenticated;
        let settings = self.user.settings.as_ref();
        let is_counted = settings.is_some_and(|own| own.rate.is_some());
        self.free = self.authenticated && self.user.permissions().are_all() && !is_counted;
        let is_apart = settings.is_some_and(|own| own.read_preference.is_some());
        let has_own = self.account.is_some() || self.tracking.is_some();
        self.plain_user = self.authenticated && !is_counted && !is_apart && !has_own;
        self.settle_plain();
    }

    /// What `plain` depends on has changed.
    fn settle_plain(&mut self) {
        let is_special = self.monitor || self.subscriber_only || self.database != 0;
        self.plain = self.plain_user && !is_special;
    }

    /// The database of the nodes that it has chosen.
    #[inline]
    pub fn database(&self) -> u16 {
        self.database
    }

    /// Chooses a database of the nodes.
    pub fn select(&mut self, database: u16) {
        self.database = database;
        self.settle_plain();
    }

    /// Whether it gets a line for every request of all clients.
    #[inline]
    pub fn is_monitor(&self) -> bool {
        self.monitor
    }

    /// It gets a line for every request of all clients from now on, or no more.
    pub fn set_monitor(&mut self, monitor: bool) {
        self.monitor = monitor;
        self.settle_plain();
    }

    /// What it has asked for with `CLIENT TRACKING ON`, if it tracks.
    #[inline]
    pub fn tracking(&self) -> Option<&Mode> {
        self.tracking.as_deref()
    }

    /// The client that is told for it, as `CLIENT GETREDIR` says it: itself is 0, and nobody -1.
    pub fn redirection(&self) -> i64 {
        let target = |mode: &Mode| mode.redirect.map_or(0, |target| target.number as i64);
        self.tracking().map_or(-1, target)
    }

    /// To change what it has chosen.
    pub fn tracking_mut(&mut self) -> Option<&mut Mode> {
        self.tracking.as_deref_mut()
    }

    /// It tracks so from now on, or no more.
    pub fn set_tracking(&mut self, mode: Option<Box<Mode>>) {
        self.tracking = mode;
        let is_user = self.authenticated || self.turned_away;
        self.admit(is_user);
    }

    /// Counts a request for the rate of its user. Returns whether it may be run.
    pub fn charge(&mut self, now: Time) -> bool {
        let settings = self.user.settings.as_ref();
        self.charged = settings.is_none_or(|own| own.take(now));
        self.charged
    }

    /// Its last request is taken again later.
    pub fn uncharge(&mut self) {
        if std::mem::take(&mut self.charged)
            && let Some(own) = &self.user.settings
        {
            own.give_back();
        }
    }

    /// Where its reads go, if that is not where those of all do. A replica may serve an old value long after the master
    /// has said that it changed: who tracks reads from masters.
    #[inline]
    pub fn read_preference(&self) -> Option<ReadPreference> {
        if self.tracking.is_some() {
            return Some(ReadPreference::Master);
        }
        self.user.settings.as_ref()?.read_preference
    }

    /// Whether it may send admin commands, if that is not said of all.
    pub fn administers(&self) -> Option<bool> {
        self.user.settings.as_ref()?.admin
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
        self.settle_plain();
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

    /// The namespace that it would be in as this user.
    pub fn namespace_as(&self, user: &[u8], all: &Namespaces) -> Option<Arc<Namespace>> {
        all.of_user(user)
            .or_else(|| self.listener_namespace.clone())
    }

    /// Whether it would be in another namespace as this user than it is in.
    pub fn is_astray(&self, user: &[u8], all: &Namespaces) -> bool {
        match self.namespace_as(user, all) {
            Some(own) => !self.is_beside(&own),
            None => self.namespace.is_some(),
        }
    }

    /// It has come, or its user is another: it is in the namespace of that, in database 0 unless it has been in this
    /// namespace before.
    pub fn settle_namespace(&mut self, all: &Namespaces) {
        let own = self.namespace_as(&self.user.name, all);
        if !own.as_ref().is_some_and(|own| self.is_beside(own)) {
            self.namespace = own;
        }
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
            // A RESP2 client could not be told.
            tracking: self.tracking().is_some_and(|own| {
                let is_told = self.protocol == Protocol::Resp3 || own.redirect.is_some();
                is_told && !own.is_broadcast()
            }),
            user: self.account.as_ref().map_or(UserId::OWN, |own| own.id),
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
