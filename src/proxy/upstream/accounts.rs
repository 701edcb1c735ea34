//! `Accounts`: the users of the servers that clients of this worker have logged in as (`-auth backend`). Connections to
//! nodes log in as them, so that the servers decide what their clients may do.
//!
//! A name with another password is another account: while a password is changed both may be valid, and whoever knows one
//! of them must not be served on the word of the other.
//!
//! An account lives as long as a client has it, and a while longer, since clients come back. Its number is never used
//! again, so that no connection and no held request can be taken for one of another user's.
//!
//! It must never know a client, nor who is right: nodes have accepted what is here.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Time;
use crate::config::Secret;
use crate::proxy::ids::{NodeKey, UserId};

/// How long connections are kept after the last client of a user has gone.
const UNUSED: Duration = Duration::from_secs(60);
/// A node that has refused a user is not asked again before this: each attempt is a connection.
const REFUSED_WAIT: Duration = Duration::from_millis(100);
/// How long it is remembered that the servers want a password of everybody.
const CLOSED: Duration = Duration::from_secs(1);

/// A user of the servers, and the password that it has logged in with.
#[derive(Debug, PartialEq, Eq)]
pub struct Account {
    /// Its number.
    pub id: UserId,
    /// Its name.
    pub name: Box<[u8]>,
    /// Its password: for handshakes, and to tell accounts apart.
    pub password: Secret,
}

/// What nodes have said of an account.
#[derive(Debug)]
struct Entry {
    account: Arc<Account>,
    /// Since when no client has it.
    unused_since: Option<Time>,
    /// The nodes that it has logged in at.
    known_by: Vec<NodeKey>,
    /// The nodes that have refused it, and when they last did.
    refused_by: Vec<(NodeKey, Time)>,
}

/// Whether clients may be `default` without a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Unnamed {
    /// Nobody has asked.
    #[default]
    Unknown,
    /// They may, as far as is known.
    Welcome,
    /// They must log in; it was last said then.
    Refused(Time),
}

/// The accounts of one worker.
#[derive(Debug, Default)]
pub struct Accounts {
    entries: BTreeMap<u32, Entry>,
    last: u32,
    /// Whether clients may be `default` without a word.
    pub unnamed: Unnamed,
}

impl Accounts {
    /// An account by its number.
    pub fn get(&self, user: UserId) -> Option<&Arc<Account>> {
        self.entries.get(&user.0).map(|entry| &entry.account)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The account of this name and password, which a node has just accepted.
    pub fn find(&mut self, name: &[u8], password: &[u8]) -> Option<Arc<Account>> {
        let is_it = |own: &Account| *own.name == *name && own.password.matches(password);
        let mut entries = self.entries.values_mut();
        let entry = entries.find(|entry| is_it(&entry.account))?;
        entry.unused_since = None;
        Some(entry.account.clone())
    }

    /// A new account, which a node has just accepted.
    pub fn add(&mut self, name: &[u8], password: &[u8]) -> Arc<Account> {
        loop {
            self.last = self.last.wrapping_add(1);
            if UserId(self.last).is_client() && !self.entries.contains_key(&self.last) {
                break;
            }
        }
        let account = Arc::new(Account {
            id: UserId(self.last),
            name: name.into(),
            password: Secret::new(password),
        });
        let entry = Entry {
            account: account.clone(),
            unused_since: None,
            known_by: Vec::new(),
            refused_by: Vec::new(),
        };
        self.entries.insert(self.last, entry);
        account
    }

    /// The account that no client has had for longest, if there is one.
    pub fn longest_unused(&mut self, now: Time) -> Option<UserId> {
        self.note_unused(now);
        let unused = self.entries.iter();
        let unused = unused.filter_map(|(id, entry)| Some((entry.unused_since?, *id)));
        unused.min().map(|(_, id)| UserId(id))
    }

    /// Those that no client has had for long.
    pub fn long_unused(&mut self, now: Time) -> Vec<UserId> {
        self.note_unused(now);
        let late = |since: Time| now.since(since) >= UNUSED;
        let entries = self.entries.iter();
        let unused = entries.filter(|(_, entry)| entry.unused_since.is_some_and(late));
        unused.map(|(id, _)| UserId(*id)).collect()
    }

    /// Notes which of them no client has: whoever has one holds a part of it.
    fn note_unused(&mut self, now: Time) {
        for entry in self.entries.values_mut() {
            match Arc::strong_count(&entry.account) {
                1 => {
                    entry.unused_since.get_or_insert(now);
                }
                _ => entry.unused_since = None,
            }
        }
    }

    /// Forgets an account.
    pub fn remove(&mut self, user: UserId) {
        self.entries.remove(&user.0);
    }

    /// A node has accepted an account.
    pub fn accepted(&mut self, user: UserId, node: NodeKey) {
        if let Some(entry) = self.entries.get_mut(&user.0) {
            entry.refused_by.retain(|(own, _)| *own != node);
            if !entry.known_by.contains(&node) {
                entry.known_by.push(node);
            }
        }
    }

    /// A node has refused an account. Returns whether it had accepted it before: the user is another now, or is no more.
    pub fn refused(&mut self, user: UserId, node: NodeKey, now: Time) -> bool {
        let Some(entry) = self.entries.get_mut(&user.0) else {
            return false;
        };
        entry.refused_by.retain(|(own, _)| *own != node);
        entry.refused_by.push((node, now));
        entry.known_by.contains(&node)
    }

    /// Nodes have left, and their keys may come back for others.
    pub fn keep_nodes(&mut self, mut is_there: impl FnMut(NodeKey) -> bool) {
        for entry in self.entries.values_mut() {
            entry.known_by.retain(|node| is_there(*node));
            entry.refused_by.retain(|(node, _)| is_there(*node));
        }
    }

    /// Whether a connection of this user to a node may be tried: not just after the node has refused one.
    #[inline]
    pub fn may_try(&self, user: UserId, node: NodeKey, now: Time) -> bool {
        !user.is_client() || self.may_try_account(user, node, now)
    }

    fn may_try_account(&self, user: UserId, node: NodeKey, now: Time) -> bool {
        self.entries.get(&user.0).is_some_and(|entry| {
            let mut refused = entry.refused_by.iter();
            !refused.any(|(own, at)| *own == node && now.since(*at) < REFUSED_WAIT)
        })
    }

    /// Whether a node is to be asked if clients may be `default` without a word: it has not just said that they may not.
    pub fn asks_for_unnamed(&self, now: Time) -> bool {
        match self.unnamed {
            Unnamed::Unknown | Unnamed::Welcome => true,
            Unnamed::Refused(at) => now.since(at) >= CLOSED,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Time {
        Time::from_micros(millis * 1000)
    }

    #[test]
    fn a_name_with_another_password_is_another_account() {
        let mut accounts = Accounts::default();
        let old = accounts.add(b"app", b"old");
        let new = accounts.add(b"app", b"new");
        assert_ne!(old.id, new.id);
        assert_eq!(accounts.find(b"app", b"old"), Some(old));
        assert_eq!(accounts.find(b"app", b"new"), Some(new));
        assert_eq!(accounts.find(b"app", b"ol"), None);
        assert_eq!(accounts.find(b"ap", b"old"), None);
    }

    #[test]
    fn an_account_outlives_its_last_client_for_a_while() {
        let mut accounts = Accounts::default();
        let first = accounts.add(b"first", b"");
        let second = accounts.add(b"second", b"");
        assert!(accounts.long_unused(at(0)).is_empty());
        assert_eq!(accounts.longest_unused(at(0)), None);
        let (first_id, second_id) = (first.id, second.id);
        drop(first);
        assert_eq!(accounts.longest_unused(at(1)), Some(first_id));
        drop(second);
        assert_eq!(accounts.longest_unused(at(2)), Some(first_id));
        assert!(accounts.long_unused(at(60_000)).is_empty());
        assert_eq!(accounts.long_unused(at(60_001)), [first_id]);
        // Somebody comes back.
        let again = accounts.find(b"first", b"").expect("it is there");
        assert_eq!(accounts.long_unused(at(60_002)), [second_id]);
        drop(again);
        assert_eq!(accounts.long_unused(at(60_003)), [second_id]);
        accounts.remove(second_id);
        assert_eq!(accounts.len(), 1);
        assert_eq!(accounts.find(b"second", b""), None);
    }

    #[test]
    fn numbers_are_never_those_of_the_proxy_nor_of_an_account_that_is_there() {
        let mut accounts = Accounts {
            last: u32::MAX - 2,
            ..Accounts::default()
        };
        let own: Vec<_> = (0..4).map(|_| accounts.add(b"a", b"b")).collect();
        let ids: Vec<u32> = own.iter().map(|own| own.id.0).collect();
        assert_eq!(ids, [u32::MAX - 1, 1, 2, 3]);
        accounts.last = 0;
        assert_eq!(accounts.add(b"a", b"b").id, UserId(4));
    }

    #[test]
    fn a_node_that_refuses_is_not_asked_again_at_once() {
        let mut accounts = Accounts::default();
        let user = accounts.add(b"app", b"pw").id;
        let (one, other) = (NodeKey(1), NodeKey(2));
        assert!(accounts.may_try(user, one, at(0)));
        assert!(!accounts.refused(user, one, at(0)));
        assert!(!accounts.may_try(user, one, at(99)));
        assert!(accounts.may_try(user, other, at(99)) && accounts.may_try(user, one, at(100)));
        accounts.accepted(user, one);
        assert!(accounts.may_try(user, one, at(0)));
        assert!(accounts.refused(user, one, at(200)), "it knew the user");
        accounts.keep_nodes(|node| node == other);
        assert!(!accounts.refused(user, one, at(300)), "it is another node");
        // The proxy itself is not concerned, and who is not there is not tried.
        assert!(accounts.may_try(UserId::OWN, one, at(200)));
        assert!(accounts.may_try(UserId::LOGINS, one, at(200)));
        accounts.remove(user);
        assert!(!accounts.may_try(user, one, at(900)));
    }
}
