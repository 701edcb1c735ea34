//! Connections of clients' users (`-auth backend`): what it means that one is refused or lost, and when they are closed.
//!
//! A server that deletes a user closes its connections. So when one is closed it is made again at once, which shows whether
//! the user is still there. If a server refuses a user whom it has admitted before, the user's clients are closed, as the
//! server itself would have closed them. A server that has never admitted the user knows others than its peers: whoever asks
//! it for something gets its words.

use crate::clock::Time;
use crate::proxy::ids::{ClientId, UserId};
use crate::proxy::state::Proxy;
use crate::proxy::upstream::Target;
use crate::proxy::upstream::backend::{Backend, State};
use crate::proxy::upstream::exclusive::Waiter;
use crate::proxy::upstream::lost::Lost;

impl Proxy {
    /// A connection of a client's user has gone.
    #[cold]
    pub(super) fn account_lost(&mut self, backend: &Backend, lost: Lost, now: Time) {
        match (&backend.denial, lost, backend.state) {
            (Some(denial), ..) => self.account_denied(backend, denial, now),
            (None, Lost::Closed, State::Ready) => self.make_again(backend, now),
            _ => {}
        }
    }

    /// A node has refused a client's user.
    fn account_denied(&mut self, backend: &Backend, denial: &[u8], now: Time) {
        let (key, flavor) = (backend.node, backend.flavor);
        let was_known = self.upstream.accounts.refused(flavor.user, key, now);
        if was_known && denial.starts_with(b"WRONGPASS") {
            return self.end_account(flavor.user, now);
        }
        let waiters = self.upstream.node(key).map(|node| {
            let own = node.exclusive.waiters().map(|(_, waiter)| waiter);
            let own = own.filter(|waiter| waiter.flavor == flavor);
            own.collect::<Vec<Waiter>>()
        });
        for waiter in waiters.unwrap_or_default() {
            self.deny_run(waiter.client, waiter.run, denial, now);
        }
    }

    /// A node has closed a connection of a client's user.
    fn make_again(&mut self, backend: &Backend, now: Time) {
        let flavor = backend.flavor;
        if self.clients_of(flavor.user).is_empty() {
            return;
        }
        let target = Target {
            node: backend.node,
            replica: flavor.read_only,
        };
        let is_listed = self
            .upstream
            .node(backend.node)
            .is_some_and(|node| node.listed);
        if is_listed {
            let (config, actions) = (&self.config, &mut self.actions);
            let upstream = &mut self.upstream;
            upstream.backend(target, flavor.dialect(), 0, config, actions, now);
        }
    }

    fn clients_of(&self, user: UserId) -> Vec<ClientId> {
        let clients = self.clients.iter();
        let own = clients.filter(|(_, client)| client.session.dialect().user == user);
        own.map(|(id, _)| id).collect()
    }

    /// A user is no more, or its password is another: its clients are closed.
    fn end_account(&mut self, user: UserId, now: Time) {
        let Some(account) = self.upstream.accounts.get(user).cloned() else {
            return;
        };
        let clients = self.clients_of(user);
        self.retire_account(user, now);
        for id in &clients {
            if self.forget_client(*id, now) {
                self.stats.clients_killed.add(1);
            }
        }
        self.stats.users_ended.add(1);
        let text = format!(
            "a node does not admit user {:?} any more: closed {} clients",
            crate::proxy::texts::printed(&account.name, 128),
            clients.len()
        );
        self.login_log.warn(&text, now);
    }

    /// Closes the connections of a user, and forgets it.
    pub(in crate::proxy) fn retire_account(&mut self, user: UserId, now: Time) {
        self.upstream.accounts.remove(user);
        for id in self.upstream.backends.ids() {
            let backend = self.upstream.backends.get(id);
            if backend.is_some_and(|backend| backend.flavor.user == user) {
                self.lose_backend(id, Lost::Retired, now);
            }
        }
    }

    /// Closes the connections of users that no client has been for long.
    pub(in crate::proxy) fn retire_accounts(&mut self, now: Time) {
        if self.upstream.accounts.is_empty() {
            return;
        }
        for user in self.upstream.accounts.long_unused(now) {
            self.retire_account(user, now);
        }
    }
}
