//! The nemesis: what is done to the cluster, the network, the proxy and its clients, each with a proof that it
//! was done.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use super::random::Random;
use crate::support::{Conn, Ground, signal, slot_of};

/// The shards, as pairs of nodes: one of them is the master.
pub const SHARDS: usize = 3;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    KillMaster,
    KillReplica,
    Restart,
    FreezeLong,
    FreezeShort,
    Failover,
    ForcedFailover,
    Takeover,
    RollingRestart,
    LinkDown,
    OneWayLoss,
    KillConnections,
    Pause,
    Busy,
    Password,
    FreezeProxy,
    VanishingClients,
    HalfMigrated,
}

impl Fault {
    pub const ALL: [Fault; 18] = [
        Fault::KillMaster,
        Fault::KillReplica,
        Fault::Restart,
        Fault::FreezeLong,
        Fault::FreezeShort,
        Fault::Failover,
        Fault::ForcedFailover,
        Fault::Takeover,
        Fault::RollingRestart,
        Fault::LinkDown,
        Fault::OneWayLoss,
        Fault::KillConnections,
        Fault::Pause,
        Fault::Busy,
        Fault::Password,
        Fault::FreezeProxy,
        Fault::VanishingClients,
        Fault::HalfMigrated,
    ];

    /// Whether clients may see errors of it.
    pub fn is_unplanned(self) -> bool {
        match self {
            Fault::KillMaster
            | Fault::Restart
            | Fault::FreezeLong
            | Fault::ForcedFailover
            | Fault::Takeover
            | Fault::LinkDown
            | Fault::OneWayLoss
            | Fault::KillConnections
            | Fault::Password => true,
            Fault::KillReplica
            | Fault::FreezeShort
            | Fault::Failover
            | Fault::RollingRestart
            | Fault::Pause
            | Fault::Busy
            | Fault::FreezeProxy
            | Fault::VanishingClients
            | Fault::HalfMigrated => false,
        }
    }

    /// Whether the nodes may lose what they have acknowledged: a master is gone with its memory, or another is
    /// made one without its consent.
    pub fn loses_data(self) -> bool {
        matches!(
            self,
            Fault::KillMaster
                | Fault::Restart
                | Fault::FreezeLong
                | Fault::ForcedFailover
                | Fault::Takeover
                | Fault::LinkDown
                | Fault::OneWayLoss
        )
    }

    /// Whether a replica becomes the master.
    pub fn is_failover(self) -> bool {
        matches!(
            self,
            Fault::KillMaster
                | Fault::FreezeLong
                | Fault::Failover
                | Fault::ForcedFailover
                | Fault::Takeover
                | Fault::RollingRestart
                | Fault::LinkDown
        )
    }

    /// What the outage at the nodes, seen over connections that are open already, does not tell of.
    pub fn apart(self) -> &'static str {
        match self {
            Fault::Password => {
                "  nobody new is let in for 0.5 to 1.5 s, which who is in does not see"
            }
            Fault::FreezeProxy => "  the proxy is stopped for 0.5 to 3 s",
            _ => "",
        }
    }

    pub fn needs_links(self) -> bool {
        matches!(self, Fault::LinkDown | Fault::OneWayLoss)
    }
}

pub struct Nemesis {
    pub ground: Arc<Ground>,
    pub proxy_pid: u32,
    pub proxy_addr: String,
    pub password: String,
    pub tags: Vec<String>,
    /// Nodes that the mover keeps away from.
    pub reserved: Arc<Mutex<HashSet<usize>>>,
    /// Held while a slot moves.
    pub moving: Arc<Mutex<()>>,
}

fn until(limit: Duration, mut is: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + limit;
    loop {
        if is() {
            return true;
        }
        if Instant::now() > deadline {
            return false;
        }
        thread::sleep(Duration::from_millis(20));
    }
}

fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

impl Nemesis {
    /// The shard's master and replica just now.
    fn pair(&self, shard: usize) -> Option<(usize, usize)> {
        let claims = self.ground.claims();
        let of = |index: usize| claims.iter().find(|claim| claim.index == index);
        let (a, b) = (of(shard)?, of(shard + SHARDS)?);
        let is_master =
            |claim: &&crate::support::ground::Claim| claim.is_master && !claim.slots.is_empty();
        if is_master(&a) && (!is_master(&b) || a.epoch > b.epoch) {
            Some((a.index, b.index))
        } else {
            is_master(&b).then_some((b.index, a.index))
        }
    }

    /// Keeps slots from moving to or from this shard until [`Nemesis::free`].
    fn reserve(&self, shard: usize) {
        let mut reserved = self.reserved.lock().expect("no panic holds it");
        reserved.extend([shard, shard + SHARDS]);
        drop(reserved);
        drop(self.moving.lock().expect("no panic holds it"));
    }

    pub fn free(&self) {
        self.reserved.lock().expect("no panic holds it").clear();
    }

    /// Ends moves that were left half done, and has the nodes agree. Not within a move: it would be torn apart.
    pub fn mend(&self) {
        let _moving = self.moving.lock().expect("no panic holds it");
        self.ground.mend();
        let slots: Vec<u16> = self.tags.iter().map(slot_of).collect();
        self.ground.agree(&slots);
    }

    /// Whether a node of another shard says that `replica` is a master with slots.
    fn is_promoted(&self, shard: usize, replica: usize) -> bool {
        let view = self
            .pair((shard + 1) % SHARDS)
            .and_then(|(observer, _)| self.ground.view(observer));
        view.is_some_and(|view| {
            view.iter()
                .any(|claim| claim.index == replica && claim.is_master && !claim.slots.is_empty())
        })
    }

    /// The tags whose slots are at this shard.
    pub fn tags_of(&self, shard: usize) -> Vec<String> {
        let claims = self.ground.claims();
        let owns = |slot: u16| {
            let mut own = claims.iter().filter(|claim| claim.index % SHARDS == shard);
            own.any(|claim| {
                let within = |range: &(u16, u16)| (range.0..=range.1).contains(&slot);
                claim.is_master && claim.slots.iter().any(within)
            })
        };
        let tags = self.tags.iter().filter(|tag| owns(slot_of(tag)));
        tags.cloned().collect()
    }

    /// Does it to this shard, undoes it, and says whether it took effect.
    pub fn strike(&self, fault: Fault, shard: usize, random: &mut Random) -> bool {
        self.reserve(shard);
        let Some((master, replica)) = self.pair(shard) else {
            return false;
        };
        let (ground, node) = (&self.ground, &self.ground.nodes[master]);
        match fault {
            Fault::KillMaster => {
                node.kill();
                let promoted = until(ms(8000), || self.is_promoted(shard, replica));
                node.launch();
                promoted
            }
            Fault::KillReplica => {
                let node = &ground.nodes[replica];
                let before = node.pid();
                node.kill();
                thread::sleep(ms(random.within(100, 2500)));
                node.launch();
                node.pid() != before
            }
            Fault::Restart => {
                let before = node.pid();
                node.kill();
                thread::sleep(ms(random.within(0, 300)));
                node.launch();
                node.pid() != before
            }
            Fault::FreezeLong => {
                node.signal("STOP");
                let promoted = until(ms(8000), || self.is_promoted(shard, replica));
                thread::sleep(ms(random.within(0, 1500)));
                node.signal("CONT");
                promoted
            }
            Fault::FreezeShort => {
                let mut conn = node.conn(ms(300));
                node.signal("STOP");
                let deaf = conn
                    .as_mut()
                    .is_some_and(|conn| conn.try_command(&["PING"]).is_err());
                thread::sleep(ms(random.within(50, 200)));
                node.signal("CONT");
                deaf
            }
            Fault::Failover => ground.failover(replica, &[]),
            Fault::ForcedFailover => ground.failover(replica, &["FORCE"]),
            Fault::Takeover => ground.failover(replica, &["TAKEOVER"]),
            Fault::RollingRestart => {
                let promoted =
                    ground.failover(replica, &[]) && until(ms(5000), || ground.is_settled());
                if promoted {
                    node.stop();
                    thread::sleep(ms(300));
                    node.launch();
                }
                promoted
            }
            Fault::LinkDown => {
                let down = node.link(false);
                let promoted = until(ms(8000), || self.is_promoted(shard, replica));
                node.link(true);
                down && promoted
            }
            Fault::OneWayLoss => {
                let mut conn = node.conn(ms(1000));
                let on = node.blackhole(true);
                let deaf = conn
                    .as_mut()
                    .is_some_and(|conn| conn.try_command(&["PING"]).is_err());
                thread::sleep(ms(random.within(0, 2000)));
                node.blackhole(false) && on && deaf
            }
            Fault::KillConnections => ground.kill_proxy_connections(master) > 0,
            Fault::Pause => {
                let mut conn = node.conn(ms(500));
                let paused = node
                    .ask(&["CLIENT", "PAUSE", "1500", "ALL"])
                    .is_some_and(|reply| reply == "OK");
                let deaf = conn
                    .as_mut()
                    .is_some_and(|conn| conn.try_command(&["PING"]).is_err());
                thread::sleep(ms(1200));
                paused && deaf
            }
            Fault::Busy => {
                let began = Instant::now();
                let slept = node.ask(&["DEBUG", "SLEEP", "0.7"]);
                slept.is_some() && began.elapsed() >= ms(700)
            }
            Fault::Password => {
                let set = |rule: &str| {
                    node.ask(&["ACL", "SETUSER", "default", rule])
                        .is_some_and(|reply| reply == "OK")
                };
                let rotated = set(">other") && set(&format!("<{}", self.password));
                let killed = ground.kill_proxy_connections(master);
                thread::sleep(ms(random.within(500, 1500)));
                set(&format!(">{}", self.password)) && set("<other") && rotated && killed > 0
            }
            Fault::FreezeProxy => {
                signal(self.proxy_pid, "STOP");
                thread::sleep(ms(random.within(500, 3000)));
                let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.proxy_pid));
                let stopped = stat.is_ok_and(|stat| stat.contains(") T "));
                signal(self.proxy_pid, "CONT");
                stopped
            }
            Fault::VanishingClients => self.vanish(random),
            Fault::HalfMigrated => self.half_migrate(shard, random),
        }
    }

    /// Clients that die with requests in flight and replies unread.
    fn vanish(&self, random: &mut Random) -> bool {
        let mut gone = 0;
        for _ in 0..300 {
            let Ok(mut conn) = Conn::try_connect(&self.proxy_addr) else {
                continue;
            };
            let mut bytes = Vec::new();
            for _ in 0..random.within(1, 200) {
                let tag = &self.tags[random.below(self.tags.len() as u64) as usize];
                let key = format!("v:{{{tag}}}");
                bytes.extend(Conn::encode(&["GET", &key]));
                bytes.extend(Conn::encode(&["ECHO", "vanished"]));
            }
            let end = bytes.len() - random.below(20) as usize;
            if conn.try_send(&bytes[..end]).is_ok() {
                gone += 1;
            }
            if random.once_in(3) {
                thread::sleep(ms(random.below(3)));
            }
        }
        gone >= 250
    }

    /// A slot whose keys lie apart for a while: ASK for some, TRYAGAIN for pairs.
    fn half_migrate(&self, shard: usize, random: &mut Random) -> bool {
        let target = (shard + 1) % SHARDS;
        self.reserve(target);
        let owned = self.tags.iter().map(slot_of).find_map(|slot| {
            let owner = self.ground.owner(slot)?;
            (owner % SHARDS == shard).then_some((slot, owner))
        });
        let (Some((slot, from)), Some((to, _))) = (owned, self.pair(target)) else {
            return false;
        };
        let begun = self.ground.begin_move(slot, from, to).is_some();
        let mut moved = 0;
        // One in three stays so for longer than redirects may go round: who is sent to and fro gives up then.
        let rests = random.once_in(3).then_some(3);
        for step in 0..5 {
            moved += self.ground.move_keys(slot, from, to, 12).unwrap_or(0);
            let rest = if rests == Some(step) { 3500 } else { 0 };
            thread::sleep(ms(rest + random.within(100, 250)));
        }
        while self
            .ground
            .move_keys(slot, from, to, 100)
            .is_some_and(|count| count > 0)
        {}
        begun && moved > 0 && self.ground.end_move(slot, from, to).is_some()
    }
}

/// Moves slots to and fro, those with keys among them, until told to stop.
pub fn keep_moving(nemesis: Arc<Nemesis>, seed: u64, moved: Arc<AtomicU64>, stop: Arc<AtomicBool>) {
    let mut random = Random::new(seed);
    while !stop.load(Ordering::Relaxed) {
        thread::sleep(ms(random.within(5, 60)));
        let moving = nemesis.moving.lock().expect("no panic holds it");
        let reserved = nemesis.reserved.lock().expect("no panic holds it").clone();
        let tag = random.below(nemesis.tags.len() as u64) as usize;
        let slot = slot_of(&nemesis.tags[tag]);
        let Some(from) = nemesis.ground.owner(slot) else {
            continue;
        };
        let step = random.within(1, SHARDS as u64 - 1) as usize;
        let shard = (from + step) % SHARDS;
        if reserved.contains(&from) || reserved.contains(&shard) {
            continue;
        }
        let Some((to, _)) = nemesis.pair(shard) else {
            continue;
        };
        let Some(()) = nemesis.ground.begin_move(slot, from, to) else {
            continue;
        };
        let mut left = None;
        for _ in 0..1000 {
            let count = random.within(5, 60) as usize;
            left = nemesis.ground.move_keys(slot, from, to, count);
            if left == Some(0) {
                break;
            }
            thread::sleep(ms(random.below(10)));
        }
        // A move that failed half-way stays open until it is mended.
        if left == Some(0) && nemesis.ground.end_move(slot, from, to).is_some() {
            moved.fetch_add(1, Ordering::Relaxed);
        }
        drop(moving);
    }
}
