//! The life of the cluster: the trouble that is made, what nodes do with their connections, and what they say of
//! the cluster.

use redis_cluster_proxy::proxy::Peer;

use super::{MILLIS, Phase, World, shown};
use crate::doors::Door;
use crate::resp;
use crate::subscriber;
use crate::users::Who;

impl World {
    pub(super) fn make_trouble(&mut self) {
        let troubles = self.troubles.clone();
        let now = self.now;
        let node = self.random.below(self.cluster.nodes.len());
        // What comes back to a node at once lets it refuse a request and take the next one: planned work has
        // no such haste.
        let rest = if self.manners.strict {
            1000 * MILLIS
        } else {
            0
        };
        let rested = now.saturating_sub(rest);
        if self.random.one_in(troubles.migrate) {
            self.cluster.begin_migration(rested, &mut self.random);
        }
        if self.random.one_in(troubles.planned_failover) {
            self.plan_failover(self.cluster.nodes[node].shard, rested);
        }
        if self.random.one_in(troubles.crash) && self.cluster.nodes[node].alive {
            self.crash(node);
        }
        if self.random.one_in(troubles.hang) {
            let timeout = self.proxy.config().request_timeout.as_micros() as u64;
            let longest = *self.random.pick(&[10 * MILLIS, 300 * MILLIS, timeout * 2]);
            let until = now + self.random.between(1, longest);
            let hung = &mut self.cluster.nodes[node].hung_until;
            *hung = until.max(*hung);
            self.events.hangs += 1;
            self.note(|_| format!("node {node} hangs"));
        }
        if self.random.one_in(troubles.cut) && !self.links.is_empty() {
            let link = self.random.below(self.links.len());
            self.cut(link);
            self.events.links_cut += 1;
        }
        if self.random.one_in(troubles.shut) {
            let door = Door::any(&mut self.random);
            let until = now + self.random.between(1, 2000 * MILLIS);
            self.doors.shut(node, door, now, until);
            self.events.nodes_shut += 1;
            self.note(|_| format!("node {node} is shut until {until}: {door:?}"));
        }
        if self.random.one_in(troubles.garbage) && !self.links.is_empty() {
            let link = self.random.below(self.links.len());
            self.talk_nonsense(link);
        }
        if self.random.one_in(troubles.down) {
            self.cluster.down_until = now + self.random.between(1, 300 * MILLIS);
            self.events.cluster_downs += 1;
        }
        if self.random.one_in(troubles.masterless) {
            self.cluster.nodes[node].masterless_until = now + self.random.between(1, 100 * MILLIS);
            self.events.masterless += 1;
        }
        if self.random.one_in(troubles.liar) {
            self.cluster.nodes[node].lying_until = now + self.random.between(1, 30 * MILLIS);
            self.events.liars += 1;
        }
        if self.random.one_in(troubles.vanish) && !self.clients.is_empty() {
            let client = self.random.below(self.clients.len());
            self.vanish(client);
        }
        if self.random.one_in(troubles.long_head) && !self.links.is_empty() {
            self.take_long();
        }
        if self.random.one_in(troubles.standstill) {
            self.stand_still();
        }
        if self.random.one_in(100) && !self.clients.is_empty() {
            let client = self.random.below(self.clients.len());
            self.clients[client].half_close(&mut self.random);
            self.events.clients_half_closed += 1;
        }
    }

    /// One connection is served no more for a while, or is not told; the others of its node are.
    fn take_long(&mut self) {
        let now = self.now;
        let at = self.random.below(self.links.len());
        // Who is silent for half a second while its slot goes to another is taken for gone, and that is no planned
        // work.
        let longest = if self.manners.strict { 400 } else { 1500 };
        let until = now + self.random.between(1, longest * MILLIS);
        let link = &mut self.links[at];
        if self.manners.strict && now < link.idle_until.max(link.mute_until) + 100 * MILLIS {
            return;
        }
        if self.random.one_in(2) {
            link.idle_until = until;
        } else {
            link.mute_until = until;
        }
        self.events.long_heads += 1;
        let id = link.backend;
        self.note(|_| format!("{id:?} has a long head until {until}"));
    }

    /// The proxy is stopped and goes on again. Meanwhile requests come, nodes answer, the cluster changes, and
    /// nothing is read. Then it takes what waits for it, and its clock is where it was, or nearly.
    fn stand_still(&mut self) {
        let longest = if self.manners.strict { 120_000 } else { 8000 };
        let until = self.now + self.random.between(100, longest) * MILLIS;
        self.note(|_| format!("the proxy stands still until {until}"));
        self.events.standstills += 1;
        self.report_all();
        let before = self.lost;
        while self.now < until {
            let step = (until - self.now).div_ceil(20).max(MILLIS);
            let step = step.min(until - self.now);
            self.now += step;
            self.lost += step;
            self.ledger.now = self.now;
            self.note_late_reports();
            self.pass_time();
            self.clients_act(true);
            self.nodes_act();
            self.report_all();
        }
        // As much as a watch lets pass.
        self.lost -= self.random.between(0, 100 * MILLIS);
        // The worker tells of it before it serves anybody.
        let known = self.standstills.total().as_micros() as u64;
        self.standstills.add(self.time(), self.lost - before, known);
        self.proxy.note_standstills(self.time());
        for link in 0..self.links.len() {
            self.serve_link(link);
        }
        self.serve_clients();
        self.act();
    }

    /// A replica takes over, once its master has paused long enough for it to catch up.
    pub(super) fn plan_failover(&mut self, shard: usize, rested: u64) {
        let under_way = |(_, node): &(u64, usize)| self.cluster.nodes[*node].shard == shard;
        let busy = self.promotions.iter().any(under_way);
        let replicas = self.cluster.replicas(shard);
        let Some(replica) = replicas.first().filter(|_| !busy) else {
            return;
        };
        let own = &self.cluster.shards[shard];
        if own.promoted_at > rested {
            return;
        }
        let until = self.now + self.random.between(1, 20 * MILLIS);
        let hung = &mut self.cluster.nodes[own.master].hung_until;
        *hung = until.max(*hung);
        self.promotions.push((until, *replica));
        self.events.planned_failovers += 1;
    }

    pub(super) fn crash(&mut self, node: usize) {
        self.note(|_| format!("node {node} crashes"));
        self.events.crashes += 1;
        self.cluster.nodes[node].alive = false;
        for index in 0..self.links.len() {
            if self.links[index].node == node {
                self.cut(index);
                self.links[index].requests.cut(0);
                self.links[index].pending.clear();
            }
        }
        let shard = self.cluster.nodes[node].shard;
        if self.cluster.is_master(node)
            && let Some(replica) = self.cluster.replicas(shard).first()
        {
            let at = self.now + self.random.between(10 * MILLIS, 400 * MILLIS);
            self.promotions.push((at, *replica));
            self.events.failovers += 1;
        }
        let at = self.now + self.random.between(5 * MILLIS, 600 * MILLIS);
        self.restarts.push((at, node));
    }

    /// A connection is lost: of what is under way in either direction, some arrives.
    pub(super) fn cut(&mut self, index: usize) {
        let link = &mut self.links[index];
        if link.phase != Phase::Open || link.backend.is_none() {
            return;
        }
        self.ledger.promises.excuse(&link.session.own.watches);
        let random = &mut self.random;
        link.requests.cut(random.below(link.requests.len() + 1));
        let unwritten = std::mem::take(&mut link.unwritten);
        link.replies.push(&unwritten);
        link.replies.cut(random.below(link.replies.len() + 1));
        link.replies.ended = true;
        link.reset = random.one_in(2);
        link.queued = true;
        let (backend, reset) = (link.backend, link.reset);
        self.note(|_| format!("link {backend:?} is cut, reset {reset}"));
    }

    /// A node writes what no server writes, or what it need not.
    pub(super) fn talk_nonsense(&mut self, index: usize) {
        let link = &mut self.links[index];
        let Some(backend) = link.backend else {
            return;
        };
        if link.phase != Phase::Open || link.replies.ended {
            return;
        }
        self.ledger.promises.excuse(&link.session.own.watches);
        let quiet = link.session.own.blocked.is_none()
            && link.requests.is_empty()
            && link.pending.is_empty()
            && link.replies.is_empty()
            && link.unwritten.is_empty();
        match self.random.below(3) {
            0 if link.session.is_resp3() => {
                self.events.pushes += 1;
                link.unwritten
                    .extend(b">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\na\r\n");
            }
            // A reply too many can be told from the next one only while nothing is under way.
            1 if quiet && !self.proxy.wants_flush(Peer::Backend(backend)) => {
                self.events.surplus += 1;
                link.replies.push(b"+SURPLUS\r\n");
                link.queued = true;
                self.note(|_| format!("surplus on {backend:?}"));
                while self
                    .links
                    .iter()
                    .any(|link| link.backend == Some(backend) && link.queued)
                {
                    self.serve_link(index);
                }
            }
            _ => {
                self.events.garbage += 1;
                let nonsense: [&[u8]; 6] = [
                    b"HTTP/1.1 400\r\n",
                    b"+O\rK\r\n",
                    b"\r\n",
                    b"$-7\r\n",
                    b"*x\r\n",
                    b"\0\0\0\0\r\n",
                ];
                link.unwritten.extend(*self.random.pick(&nonsense));
                self.note(|_| format!("garbage on {backend:?}"));
            }
        }
    }

    /// Admins are at work: nodes close the connections of users that they delete.
    pub(super) fn change_users(&mut self, talking: bool) {
        let now = self.now;
        let gone = match &mut self.ledger.users {
            Some(users) => users.pass_time(now, talking),
            None => return,
        };
        self.end_users(&gone);
    }

    /// Nodes close the connections of these users.
    pub(super) fn end_users(&mut self, gone: &[(usize, Who)]) {
        for (node, who) in gone {
            self.note(|_| format!("node {node} deletes user {who}"));
            for link in 0..self.links.len() {
                let own = &self.links[link];
                if own.node == *node && own.session.user == Some(*who) {
                    self.links[link].session.user = None;
                    self.cut(link);
                    self.links[link].requests.cut(0);
                    self.links[link].pending.clear();
                }
            }
        }
    }

    pub(super) fn pass_time(&mut self) {
        let now = self.now;
        self.end_keys();
        while let Some(at) = self.promotions.iter().position(|(due, _)| *due <= now) {
            let (_, node) = self.promotions.swap_remove(at);
            if self.cluster.nodes[node].alive {
                self.cluster.promote(node, now);
                self.note(|_| format!("node {node} is promoted"));
            }
        }
        while let Some(at) = self.restarts.iter().position(|(due, _)| *due <= now) {
            let (_, node) = self.restarts.swap_remove(at);
            let loading = now + self.random.between(0, 50 * MILLIS);
            self.cluster.start(node, loading);
            self.events.restarts += 1;
            self.note(|_| format!("node {node} is back"));
        }
        for tag in self.cluster.migrating() {
            let given_away = self
                .cluster
                .migrate(tag, &self.ledger, &mut self.random, now);
            for (shard, name) in std::mem::take(&mut self.cluster.moved) {
                self.invalidate(shard, &name);
            }
            self.ledger.fans.moves = self.cluster.counts.moves;
            self.ledger.returns = self.cluster.counts.returns;
            if let Some(shard) = given_away {
                self.evict(shard, tag);
            }
        }
        self.ledger.databases.unrest = self.cluster.unrest();
        if self.random.one_in(if self.troubles.stale { 16 } else { 2 }) {
            let node = self.random.below(self.cluster.nodes.len());
            if self.cluster.nodes[node].alive {
                self.cluster.gossip(node);
            }
        }
    }

    /// Connections subscribed to what a shard serves no more are told so.
    pub(super) fn evict(&mut self, shard: usize, tag: usize) {
        for link in &mut self.links {
            if self.cluster.nodes[link.node].shard == shard {
                let told = link.session.evict(tag);
                self.events.evictions += u64::from(!told.is_empty());
                link.unwritten.extend(told);
            }
        }
    }

    /// Somebody publishes to a channel of all, or of a shard; or a key of a shard changes. Returns what.
    pub(super) fn publish(&mut self) -> (bool, Vec<u8>, u64) {
        let tags = self.ledger.tags;
        let (channel, sharded, shard) = match self.random.below(4) {
            0 | 1 => (
                format!("c{}", self.random.below(subscriber::CHANNELS)),
                false,
                None,
            ),
            2 => {
                let shard = self.random.below(self.cluster.shards.len());
                (format!("__keyevent@0__:{shard}"), false, Some(shard))
            }
            _ => {
                let tag = self.random.below(tags);
                (
                    format!("{{t{tag}}}s"),
                    true,
                    Some(self.cluster.owner_of(tag)),
                )
            }
        };
        self.events.published += 1;
        self.number += 1;
        let mail = (sharded, channel.into_bytes(), self.number);
        for (node, own) in self.cluster.nodes.iter().enumerate() {
            if own.alive && shard.is_none_or(|shard| shard == own.shard) {
                self.mail[node].push(mail.clone());
            }
        }
        self.note(|_| format!("published {} {}", mail.1.escape_ascii(), mail.2));
        mail
    }

    /// Nodes that do not hang hand out what was published.
    pub(super) fn hand_out(&mut self) {
        for (channel, number) in std::mem::take(&mut self.ledger.messages.taken) {
            for (node, own) in self.cluster.nodes.iter().enumerate() {
                if own.alive {
                    self.mail[node].push((false, channel.clone(), number));
                }
            }
        }
        for (node, mail) in self.mail.iter_mut().enumerate() {
            let own = &self.cluster.nodes[node];
            if !own.alive {
                mail.clear();
            }
            if self.now < own.hung_until {
                continue;
            }
            for (sharded, channel, number) in mail.drain(..) {
                for link in self.links.iter_mut().filter(|link| link.node == node) {
                    link.unwritten
                        .extend(link.session.pushes(sharded, &channel, number));
                }
            }
        }
    }

    /// Pops that wait are told what there is to tell.
    fn wake(&mut self) {
        // Of what is popped nothing is kept: nobody reads a queue.
        for link in &mut self.links {
            let awake = self.cluster.nodes[link.node].alive
                && self.now >= self.cluster.nodes[link.node].hung_until;
            if !awake || link.session.own.blocked.is_none() {
                continue;
            }
            if link.backend.is_none() {
                // Whoever waited has hung up.
                link.session.own.blocked = None;
                continue;
            }
            let told = self
                .cluster
                .wake(link.node, &mut link.session, &mut self.ledger, self.now);
            if let Some((reply, closes)) = told {
                link.unwritten.extend(reply);
                link.closing |= closes;
            }
        }
    }

    pub(super) fn nodes_act(&mut self) {
        self.hand_out();
        self.wake();
        for index in 0..self.links.len() {
            let node = &self.cluster.nodes[self.links[index].node];
            let awake = node.alive && self.now >= node.hung_until;
            if awake
                && self.now
                    >= self.links[index]
                        .idle_until
                        .max(self.links[index].busy_until)
                && self.links[index].phase == Phase::Open
                && (self.swift || self.random.one_in(2))
            {
                self.node_reads(index);
            }
            self.node_writes(index);
        }
        self.links.retain(|link| {
            let done = link.requests.is_empty() && resp::take_request(&link.pending).is_none();
            link.backend.is_some() || (link.phase == Phase::Open && !done)
        });
    }

    pub(super) fn node_reads(&mut self, index: usize) {
        let link = &mut self.links[index];
        let available = link.requests.len();
        match link.door {
            Some(Door::TellsBehind(words)) if available > 0 => return link.turn_away(words),
            Some(_) => return,
            None => {}
        }
        if available > 0 {
            let count = if self.swift || self.random.one_in(2) {
                available
            } else {
                self.random.skewed(available)
            };
            link.requests.read_to(&mut link.pending, count);
        }
        let most = if self.swift {
            64
        } else {
            self.random.skewed(64)
        };
        if self.links[index].answered && self.links[index].session.tracks.is_late() {
            self.report_late(index);
        }
        let mut at = 0;
        for _ in 0..most {
            let link = &mut self.links[index];
            if link.session.own.blocked.is_some() || link.closing {
                break;
            }
            let Some((args, len)) = resp::take_request(&link.pending[at..]) else {
                break;
            };
            at += len;
            let late = link.backend.is_none();
            let reply = self.cluster.execute(
                link.node,
                &mut link.session,
                &args,
                &mut self.ledger,
                self.now,
            );
            self.events.late_executions += u64::from(late);
            if self.trace {
                eprintln!(
                    "{:>9} node {} {:?}{}: {} -> {}",
                    self.now,
                    link.node,
                    link.backend,
                    if late { " late" } else { "" },
                    shown(&args.join(&b' ')),
                    shown(&reply)
                );
            }
            let node = link.node;
            link.unwritten.extend(reply);
            link.answered = true;
            self.invalidate_at(node);
            if self.close_if_owed_too_much(index) {
                return;
            }
        }
        self.links[index].pending.drain(..at);
    }

    pub(super) fn node_writes(&mut self, index: usize) {
        let link = &mut self.links[index];
        if link.backend.is_none() || link.replies.ended {
            link.unwritten.clear();
            return;
        }
        self.report(index);
        if self.close_if_owed_too_much(index) {
            return;
        }
        let link = &mut self.links[index];
        let mut room = link.replies.room().min(link.unwritten.len());
        if self.now < link.mute_until {
            room = room.min(usize::from(self.random.one_in(64)));
        }
        if link.phase == Phase::Open && room > 0 && (self.swift || !self.random.one_in(4)) {
            let count = if self.swift || self.random.one_in(2) {
                room
            } else {
                self.random.skewed(room)
            };
            link.replies.push(&link.unwritten[..count]);
            link.unwritten.drain(..count);
            link.queued = true;
            // Thrown out: what comes behind is not read any more.
            if link.closing && link.unwritten.is_empty() {
                link.replies.ended = true;
                link.requests.cut(0);
                link.pending.clear();
            }
        }
    }

    pub(super) fn deliver_topologies(&mut self) {
        let now = self.now;
        let interval = if self.refresh_wanted { 100 } else { 3000 } * MILLIS;
        if now >= self.asked_at + interval || (self.asked_at == 0 && self.random.one_in(8)) {
            self.ask_topology();
        }
        while let Some(at) = self.topologies.iter().position(|(due, _)| *due <= now) {
            let (_, topology) = self.topologies.remove(at);
            self.events.topologies += 1;
            self.adopted_at = self.now;
            self.doors.count_anew(now);
            self.note(|_| "a topology is adopted".to_string());
            let now = self.time();
            self.proxy.adopt(topology, now);
        }
    }

    pub(super) fn ask_topology(&mut self) {
        let up: Vec<usize> = (0..self.cluster.nodes.len())
            .filter(|node| {
                let node = &self.cluster.nodes[*node];
                node.alive && self.now >= node.hung_until
            })
            .collect();
        if up.is_empty() {
            return;
        }
        let node = *self.random.pick(&up);
        if self.troubles.stale && self.random.one_in(3) {
            self.events.stale_topologies += 1;
        } else {
            self.cluster.gossip(node);
        }
        self.asked_at = self.now;
        self.refresh_wanted = false;
        let asked_at = self.time();
        let topology = self
            .cluster
            .shared_topology(node, &self.ledger, &mut self.random, asked_at);
        if topology.shards.is_empty() {
            return;
        }
        let latest = if self.random.one_in(4) { 300 } else { 5 } * MILLIS;
        let due = self.now + self.random.between(100, latest);
        self.topologies.push((due, topology));
    }
}
