//! `Cluster`: nodes, shards, slots and data as a Redis Cluster has them, with a store that loses nothing
//! (replicas share their master's data), so that whatever is lost or doubled was lost or doubled by the proxy.
//!
//! Slots migrate key by key; between the last key and the end the new owner knows and the old one does not.
//! Nodes that have no part in a change hear of it late. Refusals are those of the server (7.0,
//! `getNodeByQuery`), in its order.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;

use redis_cluster_proxy::clock::Time;
use redis_cluster_proxy::cluster::slot::SLOTS;
use redis_cluster_proxy::cluster::topology::Orphan;
use redis_cluster_proxy::cluster::topology::{NO_SHARD, NodeInfo, Shard as ShardInfo, Topology};
use redis_cluster_proxy::proxy::namespace::prelude;

use crate::fans::{self, COPIES, COPY};
use crate::ledger::{ABSENT, Ledger, Nonce};
use crate::messages::receivers;
use crate::random::Random;
use crate::resp;
use crate::subscriber::{self, VERBS};
use crate::users::Who;

#[path = "cluster/exclusive.rs"]
mod exclusive;
#[path = "cluster/scripts.rs"]
mod scripts;
#[path = "cluster/tracking.rs"]
pub mod tracking;

use exclusive::Exclusive;
use tracking::Tracks;

/// What a key holds.
#[derive(Debug, Clone)]
enum Data {
    Text(Vec<u8>),
    Number(i64),
    List(Vec<Vec<u8>>),
}

/// One server.
#[derive(Debug)]
pub struct Node {
    /// Where it listens.
    pub address: SocketAddr,
    /// The shard it belongs to.
    pub shard: usize,
    /// Whether its process runs.
    pub alive: bool,
    /// Until when it does nothing at all.
    pub hung_until: u64,
    /// Until when it loads its data.
    loading_until: u64,
    /// Until when it refuses to serve as a replica, its master being out of reach.
    pub masterless_until: u64,
    /// Until when it names an address that nobody has in its redirects.
    pub lying_until: u64,
    /// How it names others.
    endpoints: usize,
    /// Who it thinks owns each tag's slot.
    owners: Vec<usize>,
    /// Who it thinks is the master of each shard.
    masters: Vec<usize>,
}

/// One master and its replicas.
#[derive(Debug)]
pub struct Shard {
    /// The master's number.
    pub master: usize,
    /// When it became that.
    pub promoted_at: u64,
    data: BTreeMap<Vec<u8>, Data>,
}

#[derive(Debug, Clone, Copy)]
struct Migration {
    to: usize,
    /// The target knows that it owns the slot.
    handed_over: bool,
    /// One step in so many turns.
    pace: usize,
}

#[derive(Debug, Clone, Copy)]
struct SlotState {
    owner: usize,
    migration: Option<Migration>,
    /// When it last came to rest.
    settled_at: u64,
    /// How often it has begun or ended to move.
    unrest: u64,
    /// Bits of the shards that have given it away.
    left: u64,
}

/// What a node keeps of one connection.
#[derive(Debug, Default)]
pub struct Session {
    asking: bool,
    /// The key that this connection was asked about behind an ASKING just before, and which the node said it serves: a
    /// request that goes to its node as it comes follows behind one more.
    scouted: Option<Vec<u8>>,
    read_only: bool,
    resp3: bool,
    authenticated: bool,
    /// The user of the servers that it has logged in as.
    pub user: Option<Who>,
    /// Kinds and names that it is subscribed to.
    subscriptions: BTreeSet<(usize, Vec<u8>)>,
    /// Whether it last said that it is a master, when it was asked.
    said_master: bool,
    /// What one client has asked of it alone.
    pub own: Exclusive,
    /// Its number.
    pub id: u64,
    /// What is told of keys that it has read.
    pub tracks: Tracks,
    /// What scripts have said here that ran: their keys, their writes and the words.
    said: Vec<(Vec<Vec<u8>>, Nonce, String)>,
}

impl Session {
    /// Whether HELLO 3 was said.
    pub fn is_resp3(&self) -> bool {
        self.resp3
    }

    /// Whether it hears messages.
    pub fn has_subscribed(&self) -> bool {
        !self.subscriptions.is_empty()
    }

    /// What a connection is sent of a message to a channel, of a shard or of the cluster.
    pub fn pushes(&self, sharded: bool, channel: &[u8], number: u64) -> Vec<u8> {
        let mut out = Vec::new();
        for (kind, name) in &self.subscriptions {
            if (*kind == 2) != sharded || !subscriber::fits(*kind, name, channel) {
                continue;
            }
            let number = number.to_string();
            let mut words = vec![subscriber::MESSAGES[*kind].as_bytes(), name];
            words.extend((*kind == 1).then_some(channel));
            words.push(number.as_bytes());
            out.extend(format!(">{}\r\n", words.len()).bytes());
            words.iter().for_each(|word| out.extend(resp::bulk(word)));
        }
        out
    }

    /// The shard channels of a tag are no longer served here.
    pub fn evict(&mut self, tag: usize) -> Vec<u8> {
        let gone = |kind: usize, name: &[u8]| kind == 2 && tag_of(name) == tag;
        let own = std::mem::take(&mut self.subscriptions);
        let (out, kept): (BTreeSet<_>, BTreeSet<_>) =
            own.into_iter().partition(|(kind, name)| gone(*kind, name));
        self.subscriptions = kept;
        out.iter()
            .flat_map(|(_, name)| confirmation("sunsubscribe", name))
            .collect()
    }

    /// What scripts have said of these keys is put to the test.
    fn settle(&mut self, keys: &[&[u8]], refusal: Option<&str>, ledger: &mut Ledger) {
        self.said.retain(|(own, nonce, words)| {
            let theirs = own.iter().map(Vec::as_slice).eq(keys.iter().copied());
            if theirs && refusal.is_some_and(|refusal| is_alike(words, refusal)) {
                ledger.foretold(*nonce);
            }
            !theirs
        });
    }

    /// SUBSCRIBE and its like, for one name.
    fn change(&mut self, name: &str, args: &[Vec<u8>]) -> Option<Vec<u8>> {
        let mut all = VERBS.iter().enumerate();
        let (kind, act) = all
            .find_map(|(kind, verbs)| Some((kind, verbs.iter().position(|verb| *verb == name)?)))?;
        assert!(self.resp3 && args.len() == 2);
        let own = (kind, args[1].clone());
        if act == 0 {
            self.subscriptions.insert(own);
        } else {
            self.subscriptions.remove(&own);
        }
        Some(confirmation(&name.to_ascii_lowercase(), &args[1]))
    }
}

/// Whether what a script said may be taken for what its node says now.
fn is_alike(said: &str, refusal: &str) -> bool {
    let word = |text: &'_ str| text.split(' ').next().unwrap_or_default().to_string();
    let (said, refusal) = (word(said), word(refusal));
    let down = ["CLUSTERDOWN", "LOADING", "MASTERDOWN", "READONLY"];
    let is_down = |word: &str| down.contains(&word);
    match said.as_str() {
        "TRYAGAIN" => ["TRYAGAIN", "ASK", "MOVED"].contains(&refusal.as_str()),
        "ASK" => ["ASK", "MOVED"].contains(&refusal.as_str()),
        said if is_down(said) => is_down(&refusal) || refusal == "MOVED",
        said => said == refusal,
    }
}

/// What a connection is told of a subscription.
fn confirmation(word: &str, name: &[u8]) -> Vec<u8> {
    [
        b">3\r\n",
        &resp::bulk(word.as_bytes())[..],
        &resp::bulk(name),
        b":1\r\n",
    ]
    .concat()
}

/// Part of a shard in a slot's life.
#[derive(Clone, Copy, PartialEq)]
enum Role {
    Owner,
    Source(usize),
    Importer,
    Stranger,
}

/// What the cluster itself has counted.
#[derive(Debug, Default)]
pub struct Counts {
    /// Reads executed by replicas.
    pub replica_reads: u64,
    /// Redirects to an address that nobody has.
    pub lies: u64,
    /// Keys that have moved.
    pub moves: u64,
    /// Scripts that ran and answered like a node that had not run them.
    pub scripts_lied: u64,
    /// Migrations brought to their end.
    pub migrations: u64,
    /// Of these, to a shard that had given the slot away before.
    pub returns: u64,
    /// Pops that had to wait, that were thrown out by a failover, and that were sent on to another node.
    pub blocked: u64,
    pub thrown_out: u64,
    pub sent_on: u64,
}

/// The cluster.
#[derive(Debug)]
pub struct Cluster {
    /// The servers.
    pub nodes: Vec<Node>,
    /// The shards.
    pub shards: Vec<Shard>,
    slots: Vec<SlotState>,
    /// Until when all nodes say that the cluster is down.
    pub down_until: u64,
    password: Option<Vec<u8>>,
    /// Requests that were sent on with ASK and have not come behind an ASKING yet.
    asked: HashMap<Vec<Vec<u8>>, u32>,
    /// Keys that have left a shard since they were last taken.
    pub moved: Vec<(usize, Vec<u8>)>,
    /// Shards that have been flushed since they were last taken.
    pub flushed: Vec<usize>,
    /// When keys end, and their versions when that was said.
    expiries: BTreeMap<Vec<u8>, (u64, u64)>,
    /// How nodes make their replies to KEYS long, if they do.
    pub padding: Option<Random>,
    /// Keys that were looked at since they were last taken.
    pub touched: Vec<Vec<u8>>,
    /// What happened.
    pub counts: Counts,
}

impl Cluster {
    /// So many shards, some with a replica.
    pub fn new(tags: usize, password: Option<Vec<u8>>, random: &mut Random) -> Cluster {
        let shards = random.between(2, 3) as usize;
        let replicas: Vec<bool> = (0..shards).map(|_| !random.one_in(4)).collect();
        let homes = (0..shards).chain((0..shards).filter(|shard| replicas[*shard]));
        let slots: Vec<SlotState> = (0..tags)
            .map(|_| SlotState {
                owner: random.below(shards),
                migration: None,
                settled_at: 0,
                unrest: 0,
                left: 0,
            })
            .collect();
        let nodes = homes.enumerate().map(|(index, shard)| Node {
            address: SocketAddr::from(([10, 0, 0, 1], 7001 + index as u16)),
            shard,
            alive: true,
            hung_until: 0,
            loading_until: 0,
            masterless_until: 0,
            lying_until: 0,
            endpoints: random.below(4),
            owners: slots.iter().map(|slot| slot.owner).collect(),
            masters: (0..shards).collect(),
        });
        Cluster {
            nodes: nodes.collect(),
            shards: (0..shards)
                .map(|master| Shard {
                    master,
                    promoted_at: 0,
                    data: BTreeMap::new(),
                })
                .collect(),
            slots,
            down_until: 0,
            password,
            asked: HashMap::new(),
            moved: Vec::new(),
            flushed: Vec::new(),
            expiries: BTreeMap::new(),
            padding: None,
            touched: Vec::new(),
            counts: Counts::default(),
        }
    }

    /// Whether a node is its shard's master.
    pub fn is_master(&self, node: usize) -> bool {
        self.shards[self.nodes[node].shard].master == node
    }

    /// The replicas of a shard that run.
    pub fn replicas(&self, shard: usize) -> Vec<usize> {
        (0..self.nodes.len())
            .filter(|node| {
                let own = &self.nodes[*node];
                own.shard == shard && own.alive && !self.is_master(*node)
            })
            .collect()
    }

    /// The node that listens at an address.
    pub fn node_at(&self, address: SocketAddr) -> Option<usize> {
        self.nodes.iter().position(|node| node.address == address)
    }

    /// A replica becomes master. All it takes part in is known to its own shard at once, to others late.
    pub fn promote(&mut self, node: usize, now: u64) {
        let shard = self.nodes[node].shard;
        self.shards[shard].master = node;
        self.shards[shard].promoted_at = now;
        for own in &mut self.nodes {
            if own.shard == shard {
                own.masters[shard] = node;
            }
        }
    }

    /// A node's process is started, and loads for a while.
    pub fn start(&mut self, node: usize, loading_until: u64) {
        self.nodes[node].alive = true;
        self.nodes[node].hung_until = 0;
        self.nodes[node].loading_until = loading_until;
    }

    /// Begins to move a tag's slot, unless it is on its way already, or came to rest after `rested`.
    pub fn begin_migration(&mut self, rested: u64, random: &mut Random) {
        let tag = random.below(self.slots.len());
        let to = random.below(self.shards.len());
        let slot = &mut self.slots[tag];
        if slot.migration.is_none() && slot.owner != to && slot.settled_at <= rested {
            slot.unrest += 1;
            slot.migration = Some(Migration {
                to,
                handed_over: false,
                pace: *random.pick(&[2, 4, 16, 64, 256]),
            });
        }
    }

    /// The shard that serves a tag's slot.
    pub fn owner_of(&self, tag: usize) -> usize {
        match self.slots[tag] {
            SlotState {
                migration:
                    Some(Migration {
                        to,
                        handed_over: true,
                        ..
                    }),
                ..
            } => to,
            SlotState { owner, .. } => owner,
        }
    }

    /// How often each slot has begun or ended to move.
    pub fn unrest(&self) -> Vec<u64> {
        self.slots.iter().map(|slot| slot.unrest).collect()
    }

    /// Moves one key of a slot that migrates, or takes it one step nearer to its end. Returns the shard that has
    /// given the slot away, if it is at its end.
    pub fn migrate(
        &mut self,
        tag: usize,
        ledger: &Ledger,
        random: &mut Random,
        now: u64,
    ) -> Option<usize> {
        let SlotState {
            owner,
            migration: Some(migration),
            left,
            unrest,
            ..
        } = self.slots[tag]
        else {
            return None;
        };
        if !random.one_in(migration.pace) {
            return None;
        }
        let source = &mut self.shards[owner].data;
        let names: Vec<Vec<u8>> = source
            .keys()
            .filter(|name| ledger.place_of(name) == tag)
            .cloned()
            .collect();
        if !names.is_empty() {
            let name = random.pick(&names);
            let data = source.remove(name).expect("it was there");
            self.shards[migration.to].data.insert(name.clone(), data);
            self.moved.push((owner, name.clone()));
            self.counts.moves += 1;
        } else if !migration.handed_over {
            self.slots[tag].migration = Some(Migration {
                handed_over: true,
                ..migration
            });
        } else {
            self.counts.migrations += 1;
            self.slots[tag] = SlotState {
                owner: migration.to,
                migration: None,
                settled_at: now,
                unrest: unrest + 1,
                left: left | 1 << owner,
            };
            self.counts.returns += u64::from(left & 1 << migration.to != 0);
            for node in &mut self.nodes {
                if node.shard == owner || node.shard == migration.to {
                    node.owners[tag] = migration.to;
                }
            }
            return Some(owner);
        }
        None
    }

    /// The tags whose slots migrate.
    pub fn migrating(&self) -> Vec<usize> {
        (0..self.slots.len())
            .filter(|tag| self.slots[*tag].migration.is_some())
            .collect()
    }

    /// One node hears what is new.
    pub fn gossip(&mut self, node: usize) {
        self.nodes[node].owners = self.slots.iter().map(|slot| slot.owner).collect();
        self.nodes[node].masters = self.shards.iter().map(|shard| shard.master).collect();
    }

    /// The cluster as `node` describes it at `now`.
    pub fn topology(
        &self,
        node: usize,
        ledger: &Ledger,
        random: &mut Random,
        asked_at: Time,
    ) -> Topology {
        let view = &self.nodes[node];
        let listed: Vec<usize> = (0..self.nodes.len())
            .filter(|other| {
                let master = view.masters[self.nodes[*other].shard] == *other;
                let seen = self.nodes[*other].alive || random.one_in(2);
                seen && (master || !random.one_in(8))
            })
            .collect();
        let index = |node: usize| listed.iter().position(|listed| *listed == node);
        let mut shards = Vec::new();
        let mut places = Vec::new();
        for (shard, master) in view.masters.iter().enumerate() {
            let Some(master_index) = index(*master) else {
                places.push(NO_SHARD);
                continue;
            };
            places.push(shards.len() as u16);
            let replicas = listed
                .iter()
                .filter(|other| self.nodes[**other].shard == shard && **other != *master)
                .filter_map(|other| index(*other))
                .map(|index| index as u16);
            shards.push(ShardInfo {
                master: master_index as u16,
                replicas: replicas.collect(),
                epoch: 0,
            });
        }
        let mut owners: Vec<usize> = (0..SLOTS).map(|slot| slot * places.len() / SLOTS).collect();
        for (tag, slot) in ledger.slots.iter().enumerate() {
            let state = self.slots[tag];
            let knows = state.migration.is_some_and(|migration| {
                migration.handed_over && migration.to == self.nodes[node].shard
            });
            let owner = match state.migration {
                Some(migration) if knows => migration.to,
                _ => view.owners[tag],
            };
            owners[usize::from(*slot)] = owner;
        }
        let slots = Box::new(std::array::from_fn(|slot| places[owners[slot]]));
        let orphans = (0..places.len())
            .filter(|shard| places[*shard] == NO_SHARD && owners.contains(shard))
            .map(|shard| Orphan {
                id: format!("{:040x}", view.masters[shard]),
                slots: (0u16..)
                    .zip(&owners)
                    .filter(|(_, owner)| **owner == shard)
                    .map(|(slot, _)| (slot, slot))
                    .collect(),
                replicas: (0u16..)
                    .zip(&listed)
                    .filter(|(_, node)| self.nodes[**node].shard == shard)
                    .map(|(index, _)| index)
                    .collect(),
            });
        let mut announced = HashMap::new();
        for (index, node) in listed.iter().enumerate() {
            let address = self.nodes[*node].address;
            announced.insert(address.to_string(), index as u16);
            announced.insert(format!("node{node}.example:7000"), index as u16);
        }
        let nodes = listed.iter().map(|node| NodeInfo {
            address: self.nodes[*node].address,
            id: format!("{node:040x}"),
            hostname: None,
            same_idc: *node % 2 == 0,
        });
        Topology {
            nodes: nodes.collect(),
            shards,
            spare: Vec::new(),
            orphans: orphans.collect(),
            down: Vec::new(),
            slots,
            announced,
            epoch: 0,
            asked_at,
        }
    }

    /// The same, handed out.
    pub fn shared_topology(
        &self,
        node: usize,
        ledger: &Ledger,
        random: &mut Random,
        asked_at: Time,
    ) -> Arc<Topology> {
        Arc::new(self.topology(node, ledger, random, asked_at))
    }

    /// How a node writes another's address in a redirect: each in a way of its own (`cluster-preferred-endpoint-type`).
    fn endpoint(&mut self, from: usize, to: usize, now: u64) -> String {
        if now < self.nodes[from].lying_until {
            self.counts.lies += 1;
            return "10.99.99.99:6666".to_string();
        }
        let address = self.nodes[to].address;
        match self.nodes[from].endpoints {
            0 => format!(":{}", address.port()),
            1 => format!("node{to}.example:7000"),
            _ => address.to_string(),
        }
    }

    fn role(&self, shard: usize, tag: usize) -> Role {
        match self.slots[tag] {
            SlotState {
                owner,
                migration: Some(migration),
                ..
            } => match shard {
                _ if shard == owner => Role::Source(migration.to),
                _ if shard != migration.to => Role::Stranger,
                _ if migration.handed_over => Role::Owner,
                _ => Role::Importer,
            },
            SlotState { owner, .. } if owner == shard => Role::Owner,
            SlotState { .. } => Role::Stranger,
        }
    }

    /// `getNodeByQuery`: why `node` does not execute a request of these keys, if it does not.
    fn refusal(
        &mut self,
        node: usize,
        session: &Session,
        (tag, slot): (usize, u16),
        keys: &[&[u8]],
        read: bool,
        now: u64,
    ) -> Option<String> {
        let own = &self.nodes[node];
        if now < own.loading_until {
            return Some("LOADING Redis is loading the dataset in memory".to_string());
        }
        if now < self.down_until {
            return Some("CLUSTERDOWN The cluster is down".to_string());
        }
        let shard = own.shard;
        let role = self.role(shard, tag);
        let master = self.is_master(node);
        let present = keys
            .iter()
            .filter(|key| self.shards[shard].data.contains_key(**key))
            .count();
        let source = &self.shards[self.slots[tag].owner].data;
        let at_source = keys.iter().any(|key| source.contains_key(*key));
        let try_again =
            || Some("TRYAGAIN Multiple keys request during rehashing of slot".to_string());
        if (master || (session.read_only && read)) && role != Role::Stranger {
            if !master && now < own.masterless_until {
                let text = "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is \
                            set to 'no'.";
                return Some(text.to_string());
            }
            match role {
                Role::Owner => return None,
                Role::Source(_) if present == keys.len() => return None,
                Role::Source(_) if present > 0 => return try_again(),
                Role::Source(to) => {
                    let to = self.shards[to].master;
                    let endpoint = self.endpoint(node, to, now);
                    return Some(format!("ASK {slot} {endpoint}"));
                }
                Role::Importer if master && session.asking => {
                    if keys.len() > 1 && present < keys.len() {
                        return try_again();
                    }
                    // An ASK out of an earlier migration comes too late. A real node would not notice.
                    // What is only queued is looked at again by EXEC, all of it at once.
                    if !at_source || session.is_queueing() {
                        return None;
                    }
                }
                Role::Importer | Role::Stranger => {}
            }
        }
        let to = match role {
            Role::Owner | Role::Source(_) => self.shards[shard].master,
            Role::Importer => self.shards[self.slots[tag].owner].master,
            // It cannot mean itself: what it once owned it knows to be gone.
            Role::Stranger => match self.nodes[node].owners[tag] {
                owner if owner == shard => self.shards[self.slots[tag].owner].master,
                owner => self.nodes[node].masters[owner],
            },
        };
        let endpoint = self.endpoint(node, to, now);
        Some(format!("MOVED {slot} {endpoint}"))
    }

    /// A request for a whole shard, which has no key: a replica answers reads, too, and nobody is redirected. On a
    /// connection that reads from replicas it is asked since its master cannot be.
    fn as_a_whole(
        &mut self,
        node: usize,
        session: &Session,
        name: &str,
        args: &[Vec<u8>],
        ledger: &mut Ledger,
        now: u64,
    ) -> Vec<u8> {
        if now < self.nodes[node].loading_until {
            return b"-LOADING Redis is loading the dataset in memory\r\n".to_vec();
        }
        let data = &self.shards[self.nodes[node].shard].data;
        let is_whole = session.said_master || session.read_only || self.is_master(node);
        match (name, is_whole) {
            ("DBSIZE", true) => format!(":{}\r\n", data.len()).into_bytes(),
            ("DBSIZE", false) => format!(":{COPIES}\r\n").into_bytes(),
            ("KEYS", is_whole) => {
                let names: Vec<&[u8]> = match is_whole {
                    true => data.keys().map(Vec::as_slice).collect(),
                    false => vec![COPY],
                };
                let shard = self.nodes[node].shard;
                let padding = self.padding.as_mut().filter(|_| is_whole);
                let padding = padding.map_or_else(Vec::new, |random| fans::padding(shard, random));
                let mut out = format!("*{}\r\n", names.len() + padding.len()).into_bytes();
                names.iter().for_each(|name| out.extend(resp::bulk(name)));
                out.extend(padding.concat());
                out
            }
            _ if !self.is_master(node) => {
                b"-READONLY You can't write against a read only replica.\r\n".to_vec()
            }
            ("FLUSHALL" | "FLUSHDB", _) => {
                let shard = self.nodes[node].shard;
                self.flush(shard, ledger);
                b"+OK\r\n".to_vec()
            }
            _ => {
                ledger.fans.loaded(load_of(&args[3]));
                resp::bulk(b"lib")
            }
        }
    }

    /// A node refuses a request since it knows its user: within MULTI that dooms the rest.
    fn refuse_as_judged(
        &mut self,
        session: &mut Session,
        name: &str,
        reply: Vec<u8>,
        ledger: &mut Ledger,
    ) -> Vec<u8> {
        if session.is_queueing() && name != "ACL" {
            session.doom();
            ledger.promises.excuse(&session.own.watches);
        }
        session.asking = false;
        reply
    }

    /// A node executes one request; returns its reply.
    pub fn execute(
        &mut self,
        node: usize,
        session: &mut Session,
        args: &[Vec<u8>],
        ledger: &mut Ledger,
        now: u64,
    ) -> Vec<u8> {
        let name = String::from_utf8(args[0].to_ascii_uppercase()).expect("a command's name");
        (ledger.fans.shards, ledger.fans.shard) = (self.shards.len(), self.nodes[node].shard);
        if let Some(users) = &mut ledger.users {
            if let Some(reply) = users.judge(node, &mut session.user, &name, args) {
                return self.refuse_as_judged(session, &name, reply, ledger);
            }
        } else if !session.authenticated {
            let expected = self.password.as_deref();
            session.authenticated = match (name.as_str(), args.last()) {
                _ if expected.is_none() => true,
                ("AUTH", password) => password.map(Vec::as_slice) == expected,
                ("HELLO", _) => args.get(4).map(Vec::as_slice) == expected,
                _ => false,
            };
            assert!(session.authenticated, "{name} came before the password");
        }
        let is_tracked = session.tracks.begin();
        if name == "CLIENT" {
            return session.client(args);
        }
        if let Some(reply) = self.execute_exclusive(node, session, &name, args, ledger, now) {
            return reply;
        }
        let ok = || b"+OK\r\n".to_vec();
        let (stride, read) = match name.as_str() {
            "AUTH" => return ok(),
            "HELLO" => {
                session.resp3 = args[1] == b"3";
                return b"%1\r\n$5\r\nproto\r\n:3\r\n".to_vec();
            }
            "READONLY" => {
                session.read_only = true;
                return ok();
            }
            "ASKING" => {
                session.asking = true;
                return ok();
            }
            "ROLE" => {
                session.said_master = self.is_master(node);
                let word = if session.said_master {
                    "master"
                } else {
                    "slave"
                };
                return [b"*1\r\n", &resp::bulk(word.as_bytes())[..]].concat();
            }
            "DBSIZE" | "KEYS" | "FUNCTION" | "FLUSHALL" | "FLUSHDB" => {
                return self.as_a_whole(node, session, &name, args, ledger, now);
            }
            "CLUSTER" => {
                assert_eq!(args[1].to_ascii_uppercase(), b"NODES");
                let role = if self.is_master(node) {
                    "master"
                } else {
                    "slave"
                };
                let line = format!("{node:040x} h:1@2 myself,{role} - 0 0 0 connected\n");
                return resp::bulk(line.as_bytes());
            }
            "PUBLISH" => {
                // Whatever the node's part in the cluster, all hear it.
                let number = std::str::from_utf8(&args[2]).expect("digits");
                let number = number.parse().expect("digits");
                ledger.messages.executed(&args[1], number);
                return format!(":{}\r\n", receivers(number)).into_bytes();
            }
            "MODULE" => return resp::bulk(b"some"),
            "PING" => return b"+PONG\r\n".to_vec(),
            "SSUBSCRIBE" => {
                let tag = tag_of(&args[1]);
                let slot = ledger.slots[tag];
                // No key is looked for: nothing is asked for elsewhere.
                if self.is_master(node) && self.owner_of(tag) == self.nodes[node].shard {
                    return session.change(&name, args).expect("it subscribes");
                }
                let refusal = self.refusal(node, session, (tag, slot), &[], false, now);
                let text = refusal.unwrap_or("CLUSTERDOWN Hash slot not served".to_string());
                let text = match text.strip_prefix("ASK ") {
                    Some(rest) => format!("MOVED {rest}"),
                    None => text,
                };
                return format!("-{text}\r\n").into_bytes();
            }
            _ if name.ends_with("SUBSCRIBE") => {
                return session.change(&name, args).expect("it subscribes");
            }
            "EVAL" => (1, false),
            "GET" | "GETRANGE" | "LRANGE" | "XRANGE" | "PTTL" => (0, true),
            "SET" | "INCR" | "INCRBY" | "RPUSH" | "RESTORE" => (0, false),
            "MGET" | "EXISTS" => (1, true),
            "DEL" | "UNLINK" => (1, false),
            "MSET" => (2, false),
            _ => panic!("a node got {name}"),
        };
        let keys: Vec<&[u8]> = match stride {
            _ if name == "EVAL" => {
                let count = std::str::from_utf8(&args[2]).expect("digits");
                let count: usize = count.parse().expect("digits");
                args[3..3 + count].iter().map(Vec::as_slice).collect()
            }
            0 => vec![&args[1][..]],
            _ => args[1..]
                .iter()
                .step_by(stride)
                .map(Vec::as_slice)
                .collect(),
        };
        let tag = ledger.place_of(keys[0]);
        assert!(
            keys.iter().all(|key| ledger.place_of(key) == tag),
            "a node got keys of several slots"
        );
        let slot = ledger.slots[tag];
        let refusal = self.refusal(node, session, (tag, slot), &keys, read, now);
        // A script goes where the proxy has asked for its keys before, as it asks again when it doubts a reply.
        let question: Vec<Vec<u8>> = std::iter::once(b"EXISTS".to_vec())
            .chain(keys.iter().map(|key| key.to_vec()))
            .collect();
        let of_script = name == "EVAL" || (name == "EXISTS" && ledger.is_of_scripts(keys[0]));
        let asking = std::mem::take(&mut session.asking);
        let scouted = session.scouted.take();
        if asking && name == "EXISTS" && refusal.is_none() {
            session.scouted = Some(keys[0].to_vec());
        }
        let follows = name != "EXISTS" && scouted.as_deref() == Some(keys[0]);
        if asking && follows {
            // It has been sent on already.
        } else if asking && of_script {
            let known = [&question[..], args]
                .iter()
                .any(|sent| self.asked.contains_key(*sent));
            assert!(known, "ASKING before {name}, which nobody sent on");
        } else if asking {
            let asked = self.asked.get_mut(args).filter(|asked| **asked > 0);
            *asked.unwrap_or_else(|| panic!("ASKING before {name}, which nobody sent on")) -= 1;
        }
        if name == "EXISTS" {
            session.settle(&keys, refusal.as_deref(), ledger);
        }
        if let Some(text) = refusal {
            if text.starts_with("ASK ") {
                *self.asked.entry(args.to_vec()).or_default() += 1;
            }
            return format!("-{text}\r\n").into_bytes();
        }
        if !self.is_master(node) {
            self.counts.replica_reads += 1;
        }
        if is_tracked && read {
            session.tracks.remember(&keys);
        }
        self.touched.extend(keys.iter().map(|key| key.to_vec()));
        let data = &mut self.shards[self.nodes[node].shard].data;
        if name == "PTTL" && data.contains_key(keys[0]) {
            return format!(":{}\r\n", self.ttl(keys[0], ledger, now)).into_bytes();
        }
        if name != "EVAL" {
            return run(data, &name, args, &keys, session.resp3, ledger);
        }
        if let Some(reply) = scripts::run(data, node, args, session.resp3, ledger) {
            return reply;
        }
        // In a namespace the tag comes behind all.
        let behind = usize::from(prelude::unwrap(&args[1]).is_some());
        let (nonce, words) = match args[..args.len() - behind] {
            [.., ref nonce, ref words] => (nonce, words),
            _ => panic!("a script without arguments"),
        };
        let count = [b"INCRBY".to_vec(), keys[0].to_vec(), nonce.clone()];
        let reply = run(data, "INCRBY", &count, &keys[..1], session.resp3, ledger);
        if words.is_empty() {
            return reply;
        }
        self.counts.scripts_lied += 1;
        let nonce = std::str::from_utf8(nonce).expect("digits");
        let nonce = nonce.parse().expect("digits");
        let words = String::from_utf8(words.clone()).expect("text");
        let reply = format!("-{words}\r\n").into_bytes();
        let keys = keys.iter().map(|key| key.to_vec()).collect();
        session.said.push((keys, nonce, words));
        reply
    }
}

/// The number in the code of a function library.
fn load_of(code: &[u8]) -> usize {
    let digits = code.rsplit(|byte| *byte == b' ').next().expect("a word");
    let digits = std::str::from_utf8(digits).expect("digits");
    digits.parse().expect("digits")
}

fn tag_of(key: &[u8]) -> usize {
    let end = key.iter().position(|byte| *byte == b'}').expect("a tag");
    let digits = std::str::from_utf8(&key[2..end]).expect("a tag is text");
    digits.parse().expect("a tag is a number")
}

fn null(resp3: bool) -> Vec<u8> {
    if resp3 { b"_\r\n" } else { &b"$-1\r\n"[..] }.to_vec()
}

/// The command itself, on the data of one shard.
fn run(
    data: &mut BTreeMap<Vec<u8>, Data>,
    name: &str,
    args: &[Vec<u8>],
    keys: &[&[u8]],
    resp3: bool,
    ledger: &mut Ledger,
) -> Vec<u8> {
    let known = |ledger: &Ledger| ledger.key(keys[0]).expect("a key of ours");
    let text = |data: &BTreeMap<Vec<u8>, Data>, key: &[u8]| match data.get(key) {
        Some(Data::Text(value)) => resp::bulk(value),
        Some(other) => panic!("{key:?} holds {other:?}"),
        None => null(resp3),
    };
    match name {
        "GET" => text(data, keys[0]),
        // Of what is shorter.
        "GETRANGE" if !data.contains_key(keys[0]) => resp::bulk(b""),
        "GETRANGE" => text(data, keys[0]),
        "XRANGE" => {
            let number = std::str::from_utf8(&args[2]).expect("digits");
            resp::grown(number.parse().expect("digits"), resp3)
        }
        "MGET" => {
            let mut out = format!("*{}\r\n", keys.len()).into_bytes();
            keys.iter().for_each(|key| out.extend(text(data, key)));
            out
        }
        "PTTL" => b":-2\r\n".to_vec(),
        "EXISTS" => {
            let count = keys.iter().filter(|key| data.contains_key(**key)).count();
            format!(":{count}\r\n").into_bytes()
        }
        "RESTORE" => scripts::restore(data, args, ledger),
        "SET" | "MSET" => {
            for pair in args[1..].chunks(2) {
                let nonce = Ledger::nonce_of(&pair[1]).expect("a value of ours");
                assert_eq!(pair[1], ledger.value(nonce), "the value was changed");
                let key = ledger.key(&pair[0]).expect("a key of ours");
                ledger.executed(nonce, key, nonce as i64, 0);
                data.insert(pair[0].clone(), Data::Text(pair[1].clone()));
            }
            b"+OK\r\n".to_vec()
        }
        "DEL" | "UNLINK" => {
            let mut found = 0;
            for name in keys {
                let key = ledger.key(name).expect("a key of ours");
                let nonce = ledger.deletion(&args[0], key);
                let existed = i64::from(data.remove(*name).is_some());
                ledger.executed(nonce, key, ABSENT, existed);
                found += existed;
            }
            format!(":{found}\r\n").into_bytes()
        }
        "INCR" | "INCRBY" => {
            let number = data.entry(keys[0].to_vec()).or_insert(Data::Number(0));
            let Data::Number(number) = number else {
                panic!("no number")
            };
            if name == "INCR" {
                *number += 1;
                ledger.counted(known(ledger), *number);
            } else {
                let by = std::str::from_utf8(&args[2]).expect("digits");
                let nonce: usize = by.parse().expect("digits");
                *number += nonce as i64;
                ledger.executed(nonce, known(ledger), *number, 0);
            }
            format!(":{number}\r\n").into_bytes()
        }
        "RPUSH" => {
            let nonce = Ledger::nonce_of(&args[2]).expect("an entry of ours");
            let list = data
                .entry(keys[0].to_vec())
                .or_insert(Data::List(Vec::new()));
            let Data::List(list) = list else {
                panic!("no list")
            };
            list.push(args[2].clone());
            let len = list.len();
            ledger.executed(nonce, known(ledger), nonce as i64, 0);
            format!(":{len}\r\n").into_bytes()
        }
        "LRANGE" => {
            let list = match data.get(keys[0]) {
                Some(Data::List(list)) => &list[..],
                _ => &[],
            };
            let mut out = format!("*{}\r\n", list.len()).into_bytes();
            list.iter().for_each(|entry| out.extend(resp::bulk(entry)));
            out
        }
        _ => panic!("a node got {name}"),
    }
}
