//! BCAST: clients are told of every key that has one of their prefixes. Each master tells one connection of the worker, which
//! was asked for all prefixes of its clients; when these change, another connection takes its place before it is closed, so
//! that nothing is missed.
//!
//! What is told comes on another connection than replies: it is put behind everything that a client has asked for and not
//! been answered, of which any may be older. The node cannot know which client has written: NOLOOP changes nothing here.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::clock::Time;
use crate::proxy::client::Client;
use crate::proxy::ids::{BackendId, ClientId, NodeKey, PartId, Seq};
use crate::proxy::state::Proxy;
use crate::proxy::tracking::reads::behind;
use crate::proxy::tracking::state::bcast::{BcastConnection, Joining};
use crate::proxy::tracking::state::invalidation::Invalidation;
use crate::proxy::tracking::state::mode::Mode;
use crate::proxy::upstream::lost::Lost;
use crate::resp::reply::Reply;
use crate::sort;

/// How long an OK waits for masters that do not answer. What changes there meanwhile, nobody is told; so everybody is told
/// that everything may have changed once they do.
const PATIENCE: Duration = Duration::from_secs(1);
/// How soon a connection that is missing is tried again.
const RETRY: Duration = Duration::from_millis(100);

/// Where a client is told something of which any reply that it is owed may be older. The reply to a blocking command, which
/// is alone then, may come never.
fn behind_all(client: &Client) -> Seq {
    match client.is_blocked() {
        true => client.pipeline.head(),
        false => client.pipeline.tail(),
    }
}

impl Client {
    /// The prefixes that it is told of, as the nodes have keys.
    pub(in crate::proxy) fn prefixes_at_nodes(&self) -> Vec<Vec<u8>> {
        let prefixes = self.session.tracking().map(|mode| &mode.prefixes);
        let prefixes = prefixes.into_iter().flatten();
        prefixes.map(|own| name_at_nodes(self, own)).collect()
    }
}

/// A prefix of a client, as the nodes have keys.
fn name_at_nodes(client: &Client, prefix: &[u8]) -> Vec<u8> {
    let namespace = client.session.namespace.as_ref();
    let tag = namespace.map_or(&b""[..], |own| own.tag());
    [tag, prefix].concat()
}

impl Proxy {
    /// A client is told of keys with its prefixes from now on; it hears OK once all masters tell of them.
    pub(in crate::proxy) fn join_feeds(
        &mut self,
        id: ClientId,
        command: u16,
        mode: Box<Mode>,
        now: Time,
    ) {
        let Some(client) = self.clients.get_mut(id) else {
            return;
        };
        let seq = client.pipeline.push_heard(command, now);
        self.stats.commands.add(1);
        self.join_feeds_at(PartId::new(id, seq, 0), mode, now);
    }

    /// The same, at a place that the request has already.
    pub(super) fn join_feeds_at(&mut self, part: PartId, mode: Box<Mode>, now: Time) {
        let id = part.client;
        let Some(client) = self.clients.get(id) else {
            return;
        };
        let before = client.session.tracking();
        let is_first = !before.is_some_and(Mode::is_broadcast);
        for prefix in &mode.prefixes {
            let prefix = name_at_nodes(client, prefix);
            self.tracking.bcast.join(&prefix, id);
        }
        self.set_tracking(id, Some(mode));
        let until = now.after(PATIENCE);
        let joining = Joining {
            part,
            until,
            is_first,
        };
        self.tracking.bcast.joining.push(joining);
        self.arrange_feeds(now);
    }

    /// A client is told of keys with these prefixes no more.
    pub(in crate::proxy) fn leave_feeds(&mut self, id: ClientId, prefixes: &[Vec<u8>]) {
        for prefix in prefixes {
            self.tracking.bcast.leave(prefix, id);
            // The nodes are asked for less at the next turn.
            self.tracking.bcast.retry_at = Some(Time::default());
        }
    }

    /// Sees to it that every master tells of what clients want to hear of.
    pub(in crate::proxy) fn arrange_feeds(&mut self, now: Time) {
        let cover = self.tracking.bcast.cover();
        let mut masters: Vec<NodeKey> = Vec::new();
        if !cover.is_empty() {
            let shards = self.upstream.routes.shards().iter();
            masters.extend(shards.map(|shard| shard.master));
            sort::all(&mut masters);
            masters.dedup();
        }
        let mut retry_at = None;
        for node in &masters {
            let bcast = &self.tracking.bcast;
            if bcast.at(*node).any(|own| own.prefixes == cover) {
                continue;
            }
            // One at a time: what has changed meanwhile is seen when it is ready.
            if bcast.at(*node).any(|own| !own.is_ready) {
                continue;
            }
            // Another one tells of all that clients have heard OK to, if there is one.
            let gap = !bcast.at(*node).any(|own| own.is_ready);
            let (config, actions) = (&self.config, &mut self.actions);
            let opened = self
                .upstream
                .open_feed(*node, cover.clone(), config, actions, now);
            match opened {
                Some(id) => {
                    let connection = BcastConnection {
                        node: *node,
                        prefixes: cover.clone(),
                        is_ready: false,
                        gap,
                    };
                    self.tracking.bcast.all.insert(id, connection);
                }
                None => retry_at = Some(now.after(RETRY)),
            }
        }
        let bcast = &self.tracking.bcast;
        let is_done = |connection: &BcastConnection| {
            let mut others = bcast
                .at(connection.node)
                .filter(|own| own.prefixes == cover);
            !masters.contains(&connection.node)
                || (connection.prefixes != cover && others.any(|own| own.is_ready))
        };
        let done = bcast
            .all
            .iter()
            .filter(|(_, connection)| is_done(connection));
        let done: Vec<BackendId> = done.map(|(id, _)| *id).collect();
        for id in done {
            self.tracking.bcast.all.remove(&id);
            self.lose_backend(id, Lost::Retired, now);
        }
        self.tracking.bcast.retry_at = retry_at;
        self.answer_joining(now);
    }

    /// Clients hear OK whose prefixes all masters tell of by now, or that have waited long enough.
    fn answer_joining(&mut self, now: Time) {
        if self.tracking.bcast.joining.is_empty() {
            return;
        }
        let cover = self.tracking.bcast.cover();
        let bcast = &self.tracking.bcast;
        let tells = |node: NodeKey| {
            let mut own = bcast.at(node);
            own.any(|own| own.is_ready && own.prefixes == cover)
        };
        let mut shards = self.upstream.routes.shards().iter();
        let all = shards.all(|shard| tells(shard.master));
        let joining = std::mem::take(&mut self.tracking.bcast.joining);
        let (ready, late): (Vec<_>, Vec<_>) =
            joining.into_iter().partition(|own| all || now >= own.until);
        self.tracking.bcast.joining = late;
        if !all && !ready.is_empty() {
            // Until they are ready something may be missed.
            let bcast = self.tracking.bcast.all.values_mut();
            let late = bcast.filter(|connection| !connection.is_ready);
            late.for_each(|connection| connection.gap = true);
        }
        for Joining { part, .. } in ready {
            // What it has asked for behind this may have been answered before its node told of keys.
            if let Some(client) = self.clients.get(part.client)
                && client.pipeline.tail() != behind(part.seq)
            {
                let until = behind_all(client);
                self.tell_client(part.client, until, Invalidation::All);
            }
            self.fulfil(part, b"+OK\r\n", now);
        }
    }

    /// A connection is ready.
    pub(in crate::proxy) fn feed_ready(&mut self, id: BackendId, now: Time) {
        let Some(connection) = self.tracking.bcast.all.get_mut(&id) else {
            return;
        };
        connection.is_ready = true;
        if std::mem::take(&mut connection.gap) {
            self.tell_feeds_all();
        }
        self.arrange_feeds(now);
    }

    /// A connection has gone: what changes until there is another is not told.
    pub(super) fn feed_lost(&mut self, id: BackendId, now: Time) {
        if self.tracking.bcast.all.remove(&id).is_some() {
            self.tell_feeds_all();
            self.tracking.bcast.retry_at = Some(now);
        }
    }

    /// What is due is done.
    #[cold]
    #[inline(never)]
    pub(in crate::proxy) fn tend_feeds(&mut self, now: Time) {
        let bcast = &self.tracking.bcast;
        let late = bcast.joining.first().is_some_and(|own| now >= own.until);
        let retry = bcast.retry_at.is_some_and(|at| now >= at);
        let moved = bcast.routes_version != self.upstream.routes.version();
        if late || retry || moved {
            self.tracking.bcast.routes_version = self.upstream.routes.version();
            self.arrange_feeds(now);
        }
    }

    /// When [`Proxy::tend_feeds`] has something to do.
    pub(super) fn feeds_deadline(&self) -> Option<Time> {
        let bcast = &self.tracking.bcast;
        let late = bcast.joining.first().map(|own| own.until);
        bcast.retry_at.into_iter().chain(late).min()
    }

    /// Where a node refuses to tell of keys, everything may have changed at any time.
    pub(super) fn tell_of_deaf_feeds(&mut self) {
        let mut bcast = self.tracking.bcast.all.keys();
        let is_deaf = |id: &BackendId| {
            let own = self.upstream.backends.get(*id);
            own.is_some_and(|own| own.is_untracked)
        };
        if bcast.any(is_deaf) {
            self.tell_feeds_all();
        }
    }

    /// A push on a connection that tells of keys.
    pub(in crate::proxy) fn take_broadcast(&mut self, push: Reply<'_>) {
        let Some(told) = Invalidation::of(push) else {
            return;
        };
        self.stats.tracking_pushes_in.add(1);
        let Invalidation::Keys(keys) = told else {
            return self.tell_feeds_all();
        };
        // As on a server: one push to each client for each prefix.
        let mut of: BTreeMap<_, Vec<Box<[u8]>>> = BTreeMap::new();
        for key in &keys {
            for (prefix, clients) in self.tracking.bcast.of(key) {
                for id in clients {
                    let own = of.entry((prefix, *id));
                    own.or_default().push(key.clone());
                }
            }
        }
        let of = of.into_iter();
        let of = of.map(|((_, id), keys)| (id, keys));
        let of: Vec<(ClientId, Vec<Box<[u8]>>)> = of.collect();
        for (id, keys) in of {
            if let Some(client) = self.clients.get(id) {
                let until = behind_all(client);
                self.tell_client(id, until, Invalidation::Keys(keys));
            }
        }
    }

    /// Every client with prefixes is told that everything may have changed, unless it was told so and has asked for nothing
    /// since: when a cluster is flushed, every master says so.
    fn tell_feeds_all(&mut self) {
        let joining = self.tracking.bcast.joining.iter();
        let joining = joining.filter(|own| own.is_first);
        let joining: Vec<ClientId> = joining.map(|own| own.part.client).collect();
        for id in self.tracking.bcast.everybody() {
            // It has not heard OK.
            if joining.contains(&id) {
                continue;
            }
            let Some(client) = self.clients.get_mut(id) else {
                continue;
            };
            let until = behind_all(client);
            let tail = client.pipeline.tail();
            let Some(mode) = client.session.tracking_mut() else {
                continue;
            };
            if mode.forgot_at != Some(tail) {
                mode.forgot_at = Some(tail);
                self.tell_client(id, until, Invalidation::All);
            }
        }
    }
}
