//! Settings that take one of a few words: each choice, and the word for it.

use std::net::SocketAddr;

/// How much of the cluster has to be there for the proxy to be ready (`/readyz`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadyWhen {
    /// Every slot has a master that is up.
    AllSlots,
    /// Any slot has.
    AnySlot,
}

impl ReadyWhen {
    /// All choices.
    pub const ALL: [ReadyWhen; 2] = [ReadyWhen::AllSlots, ReadyWhen::AnySlot];

    /// As it is typed.
    pub fn name(self) -> &'static str {
        match self {
            ReadyWhen::AllSlots => "all-slots",
            ReadyWhen::AnySlot => "any-slot",
        }
    }
}

/// How lines of the log are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Time, level and message.
    Text,
    /// A JSON object.
    Json,
}

impl LogFormat {
    /// All choices.
    pub const ALL: [LogFormat; 2] = [LogFormat::Text, LogFormat::Json];

    /// As it is typed.
    pub fn name(self) -> &'static str {
        match self {
            LogFormat::Text => "text",
            LogFormat::Json => "json",
        }
    }
}

/// Who decides which users there are and what they may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Auth {
    /// The proxy, which has users of its own.
    Own,
    /// The servers.
    Backend,
}

impl Auth {
    /// All choices.
    pub const ALL: [Auth; 2] = [Auth::Own, Auth::Backend];

    /// As it is typed.
    pub fn name(self) -> &'static str {
        match self {
            Auth::Own => "proxy",
            Auth::Backend => "backend",
        }
    }
}

/// Who may send commands that change the servers or this proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AdminCommands {
    /// Everybody.
    Yes,
    /// Nobody.
    No,
    /// Clients from the loopback interface or over a Unix socket.
    Loopback,
}

impl AdminCommands {
    /// All choices.
    pub const ALL: [AdminCommands; 3] = [
        AdminCommands::Yes,
        AdminCommands::No,
        AdminCommands::Loopback,
    ];

    /// As it is typed.
    pub fn name(self) -> &'static str {
        match self {
            AdminCommands::Yes => "yes",
            AdminCommands::No => "no",
            AdminCommands::Loopback => "loopback",
        }
    }

    /// Whether a client from `address` (nothing for a Unix socket) may send them.
    pub fn allow(self, address: Option<SocketAddr>) -> bool {
        match self {
            AdminCommands::Yes => true,
            AdminCommands::No => false,
            AdminCommands::Loopback => is_local(address),
        }
    }
}

/// Whether a client from `address` (nothing for a Unix socket) is on this machine.
pub fn is_local(address: Option<SocketAddr>) -> bool {
    address.is_none_or(|address| address.ip().to_canonical().is_loopback())
}

/// What becomes of a transaction that names several slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CrossSlot {
    /// EXEC fails, as on one node.
    Refuse,
    /// One transaction in each slot.
    PerSlot,
}

impl CrossSlot {
    /// All choices.
    pub const ALL: [CrossSlot; 2] = [CrossSlot::Refuse, CrossSlot::PerSlot];

    /// As it is typed.
    pub fn name(self) -> &'static str {
        match self {
            CrossSlot::Refuse => "refuse",
            CrossSlot::PerSlot => "per-slot",
        }
    }

    /// Whether there is one transaction in each slot.
    pub fn is_per_slot(self) -> bool {
        self == CrossSlot::PerSlot
    }
}

/// Which messages of classic channels (not of shard channels) keep the order in which they are published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PubsubOrder {
    /// All of them, as on one server: one master carries them.
    All,
    /// Those of one channel: the owner of its slot carries them.
    Channel,
}

impl PubsubOrder {
    /// All choices.
    pub const ALL: [PubsubOrder; 2] = [PubsubOrder::All, PubsubOrder::Channel];

    /// As it is typed.
    pub fn name(self) -> &'static str {
        match self {
            PubsubOrder::All => "all",
            PubsubOrder::Channel => "channel",
        }
    }
}

/// What nodes are asked to report to the near cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NearCacheTracking {
    /// What costs less: all keys that change, unless these are many more than are cached.
    Auto,
    /// The keys that were read for the cache.
    Keys,
    /// All keys that change (`BCAST`).
    Broadcast,
}

impl NearCacheTracking {
    /// All choices.
    pub const ALL: [NearCacheTracking; 3] = [
        NearCacheTracking::Auto,
        NearCacheTracking::Keys,
        NearCacheTracking::Broadcast,
    ];

    /// As it is typed.
    pub fn name(self) -> &'static str {
        match self {
            NearCacheTracking::Auto => "auto",
            NearCacheTracking::Keys => "keys",
            NearCacheTracking::Broadcast => "broadcast",
        }
    }
}

/// Where read commands go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadPreference {
    /// To the master.
    Master,
    /// To a replica while one is up, else to the master.
    Replica,
    /// To a replica of our own data centre while one is up, else to the master.
    ReplicaSameIdc,
}
