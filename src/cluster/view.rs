//! `View`: the cluster as one node describes it, read from its answers to `CLUSTER SLOTS` and
//! `CLUSTER NODES`. What is used of it, and what it is worth, is decided in `build`.
//!
//! NODES tells most: ids, addresses, flags, config epochs, links and slots. SLOTS adds two things: under
//! which name the nodes want to be reached (`cluster-preferred-endpoint-type`), and which replicas have
//! ever been in step with their master.
//!
//! It must never know how the answers were fetched, nor which topology is in use.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::net::SocketAddr;

use crate::cluster::slot::SLOTS;
use crate::resp::value::Value;
use crate::sort;

/// Longest host name of a node.
const HOST_BYTES_MAX: usize = 255;

/// Longest text of a node's error reply that is kept.
const REFUSAL_CHARS_MAX: usize = 200;

/// Why an answer is not used.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Rejected {
    /// The node does not run in cluster mode.
    NotCluster,
    /// The node answered with an error.
    Refused(String),
    /// The answer is not what a node answers.
    Malformed(&'static str),
    /// No master that is up has any slot.
    NoMaster,
    /// The node does not reach most masters: it is on the wrong side of a partition.
    Minority {
        /// Masters with slots that it reaches.
        reached: usize,
        /// Masters with slots.
        masters: usize,
    },
    /// The node knows too few masters of the table in use: it was reset, has just joined, or is in another cluster.
    Stranger {
        /// Masters in use that it knows.
        known: usize,
        /// Masters in use.
        masters: usize,
    },
    /// None of the names of the nodes could be resolved.
    Unresolved,
    /// More nodes than an index can name.
    TooMany,
}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Rejected::NotCluster => f.write_str(
                "the server is not a Redis Cluster node (it answers \"cluster support disabled\"): \
                 start it with cluster-enabled yes, or name other -startup-nodes",
            ),
            Rejected::Refused(text) => {
                write!(f, "the node answers an error: {text}")?;
                match text.split(' ').next() {
                    Some("NOAUTH") => f.write_str(
                        ": it demands a password: check -password, -backend-user and -backend-password",
                    ),
                    Some("NOPERM") => f.write_str(": check the ACL of -backend-user"),
                    _ => Ok(()),
                }
            }
            Rejected::Malformed(what) => write!(f, "the node's reply is malformed: {what}"),
            Rejected::NoMaster => f.write_str("the node knows no master with slots"),
            Rejected::Minority { reached, masters } => write!(
                f,
                "the node reaches {reached} of {masters} masters only, so it is on the minority side"
            ),
            Rejected::Stranger { known, masters } => write!(
                f,
                "the node knows {known} of the {masters} masters in use only: it was reset, has just \
                 joined, or is in another cluster"
            ),
            Rejected::Unresolved => f.write_str("no node's host name could be resolved"),
            Rejected::TooMany => f.write_str("the node names more nodes than can be served"),
        }
    }
}

impl std::error::Error for Rejected {}

/// Under which host CLUSTER SLOTS names a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// The node is not in CLUSTER SLOTS.
    Unlisted,
    /// Null or empty: at the host of the connection that answered.
    Unknown,
    /// `?`: hostnames are preferred, and it has none.
    Nameless,
    /// An address or a hostname, in lower case.
    Host(String),
}

/// One line of CLUSTER NODES.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its id, 40 hexadecimal digits from Redis and Valkey.
    pub id: String,
    /// Its address as the nodes write it, in lower case; the answering node may not know its own yet.
    pub ip: Option<String>,
    /// Its announced hostname, in lower case.
    pub hostname: Option<String>,
    /// Its name in CLUSTER SLOTS.
    pub endpoint: Endpoint,
    /// Its announced port; 0 if none is known.
    pub port: u16,
    /// Whether it is a master.
    pub is_master: bool,
    /// Whether it is the node that answered.
    pub is_myself: bool,
    /// `fail`: most masters agree that it is down.
    pub failed: bool,
    /// `fail?`: the answering node cannot reach it.
    pub suspected: bool,
    /// `handshake` or `noaddr`: it is not (or no longer) one that can be reached.
    pub incomplete: bool,
    /// The id of its master, if it is a replica.
    pub master: Option<String>,
    /// Its config epoch; a replica shows its master's.
    pub epoch: u64,
    /// Whether the answering node's bus link to it is up.
    pub linked: bool,
    /// The slots that it serves, as first and last of each range.
    pub slots: Vec<(u16, u16)>,
}

impl Member {
    /// Whether it can be asked: it has an address and most masters do not call it dead.
    ///
    /// `fail?` does not count against it: that is what one node suspects, and the slots stay with the
    /// suspect until a majority agrees (then it says `fail`) and a replica is promoted.
    pub fn usable(&self) -> bool {
        !self.failed && !self.incomplete && self.port != 0
    }
}

/// The cluster as one node describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// The address at which the answering node was reached.
    pub reached: SocketAddr,
    /// All nodes that it knows, by id.
    ///
    /// Invariant: sorted by id, each id once.
    pub members: Vec<Member>,
    /// Whether there was an answer to CLUSTER SLOTS at all; some ACLs and some servers do not allow it.
    pub listed: bool,
}

impl View {
    /// Reads the answers as they came, each one whole RESP2 reply.
    pub fn from_bytes(reached: SocketAddr, slots: &[u8], nodes: &[u8]) -> Result<View, Rejected> {
        let whole = |bytes, what| match Value::parse(bytes) {
            Ok(Some((value, len))) if len == bytes.len() => Ok(value),
            _ => Err(Rejected::Malformed(what)),
        };
        View::read(
            reached,
            &whole(slots, "CLUSTER SLOTS is not a RESP reply")?,
            &whole(nodes, "CLUSTER NODES is not a RESP reply")?,
        )
    }

    /// Reads the answers to `CLUSTER SLOTS` and `CLUSTER NODES` of the node reached at `reached`.
    pub fn read(
        reached: SocketAddr,
        slots: &Value<'_>,
        nodes: &Value<'_>,
    ) -> Result<View, Rejected> {
        let text = match nodes {
            Value::Error(text) => return Err(refusal(text)),
            other => other
                .string()
                .ok_or(Rejected::Malformed("CLUSTER NODES is not a string"))?,
        };
        let text = std::str::from_utf8(text)
            .map_err(|_| Rejected::Malformed("CLUSTER NODES is not text"))?;
        let mut members = text
            .split('\n')
            .map(|line| line.strip_suffix('\r').unwrap_or(line))
            .filter(|line| !line.is_empty())
            .map(member)
            .collect::<Result<Vec<Member>, Rejected>>()?;
        sort::by(&mut members, |a, b| a.id.cmp(&b.id));
        if members.windows(2).any(|pair| pair[0].id == pair[1].id) {
            return Err(Rejected::Malformed(
                "a node ID occurs twice in CLUSTER NODES",
            ));
        }
        if members.iter().filter(|member| member.is_myself).count() > 1 {
            return Err(Rejected::Malformed("two nodes call themselves myself"));
        }
        if members.is_empty() {
            return Err(Rejected::NoMaster);
        }

        let mut view = View {
            reached,
            members,
            listed: false,
        };
        if matches!(slots, Value::Error(_)) {
            return Ok(view);
        }
        let endpoints = endpoints(slots)?;
        let empty = slots.items().is_some_and(|entries| entries.is_empty());
        if empty && view.members.iter().any(|member| !member.slots.is_empty()) {
            return Err(Rejected::Malformed("CLUSTER SLOTS is empty, NODES is not"));
        }
        view.list(endpoints);
        Ok(view)
    }

    /// The member with this id.
    pub fn member(&self, id: &str) -> Option<&Member> {
        self.members
            .binary_search_by(|member| member.id.as_str().cmp(id))
            .ok()
            .map(|index| &self.members[index])
    }

    /// Enters what CLUSTER SLOTS says. Ids that NODES does not have are of no use.
    fn list(&mut self, mut endpoints: HashMap<String, Endpoint>) {
        for member in &mut self.members {
            if let Some(endpoint) = endpoints.remove(&member.id) {
                member.endpoint = endpoint;
                self.listed = true;
            }
        }
    }
}

/// What an error reply to CLUSTER NODES means. Control characters never get into a log line.
fn refusal(text: &[u8]) -> Rejected {
    let text: String = String::from_utf8_lossy(text)
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(REFUSAL_CHARS_MAX)
        .collect();
    if text.contains("cluster support disabled") {
        Rejected::NotCluster
    } else {
        Rejected::Refused(text)
    }
}

/// Reads one line of CLUSTER NODES:
/// `<id> <ip:port@cport[,hostname[,name=value]...]> <flags> <master> <ping> <pong> <epoch> <link> <slot>...`
fn member(line: &str) -> Result<Member, Rejected> {
    const SHORT: Rejected = Rejected::Malformed("a line of CLUSTER NODES is too short");
    let mut fields = line.split(' ').filter(|field| !field.is_empty());
    let mut field = || fields.next().ok_or(SHORT);
    let id = id(field()?)?;
    let address = field()?;
    let flags: HashSet<&str> = field()?.split(',').collect();
    let master = match field()? {
        "-" => None,
        master => Some(self::id(master)?),
    };
    let (_ping, _pong) = (field()?, field()?);
    let epoch = field()?
        .parse()
        .map_err(|_| Rejected::Malformed("a config epoch is not a number"))?;
    let linked = match field()? {
        "connected" => true,
        "disconnected" => false,
        _ => return Err(Rejected::Malformed("a link is neither up nor down")),
    };
    let slots = fields
        .filter(|token| !token.starts_with('['))
        .map(range)
        .collect::<Result<Vec<(u16, u16)>, Rejected>>()?;
    let (ip, port, hostname) = self::address(address)?;
    Ok(Member {
        id,
        ip,
        hostname,
        endpoint: Endpoint::Unlisted,
        port,
        is_master: flags.contains("master"),
        is_myself: flags.contains("myself"),
        failed: flags.contains("fail"),
        suspected: flags.contains("fail?"),
        incomplete: flags.contains("handshake") || flags.contains("noaddr"),
        master,
        epoch,
        linked,
        slots,
    })
}

/// A node id: short, and nothing that could garble a log.
fn id(text: &str) -> Result<String, Rejected> {
    let good =
        (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
    good.then(|| text.to_string())
        .ok_or(Rejected::Malformed("a node ID is not valid"))
}

/// Address, port and hostname. The last colon before the `@` splits, since an IPv6 address has its own.
fn address(text: &str) -> Result<(Option<String>, u16, Option<String>), Rejected> {
    const BAD: Rejected = Rejected::Malformed("a node's address has no port");
    let mut parts = text.split(',');
    let main = parts.next().unwrap_or_default();
    let hostname = parts.next().filter(|name| !name.contains('='));
    let main = main.split_once('@').map_or(main, |(main, _)| main);
    let (ip, port) = main.rsplit_once(':').ok_or(BAD)?;
    let port = port.parse().map_err(|_| BAD)?;
    Ok((host(ip)?, port, hostname.map(host).transpose()?.flatten()))
}

/// A host in lower case and without brackets; `None` if it is empty or `?`.
fn host(text: &str) -> Result<Option<String>, Rejected> {
    let text = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'))
        .unwrap_or(text);
    if text.is_empty() || text == "?" {
        return Ok(None);
    }
    if text.len() > HOST_BYTES_MAX || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Rejected::Malformed("a node's host is not valid"));
    }
    Ok(Some(text.to_ascii_lowercase()))
}

/// `5460` or `0-5460`.
fn range(text: &str) -> Result<(u16, u16), Rejected> {
    const BAD: Rejected = Rejected::Malformed("a slot range is invalid");
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let slot = |text: &str| text.parse::<u16>().map_err(|_| BAD);
    let (first, last) = (slot(first)?, slot(last)?);
    if first <= last && usize::from(last) < SLOTS {
        Ok((first, last))
    } else {
        Err(BAD)
    }
}

/// Reads CLUSTER SLOTS: `[first, last, node...]...`, a node being `[endpoint, port, id, metadata]`. Servers
/// before 4.0 give no id; such nodes are left out.
fn endpoints(slots: &Value<'_>) -> Result<HashMap<String, Endpoint>, Rejected> {
    const BAD: Rejected = Rejected::Malformed("CLUSTER SLOTS is not a table of slots");
    let mut endpoints = HashMap::new();
    for entry in slots.items().ok_or(BAD)? {
        let [first, last, nodes @ ..] = entry.items().ok_or(BAD)? else {
            return Err(BAD);
        };
        let (first, last) = (first.integer().ok_or(BAD)?, last.integer().ok_or(BAD)?);
        if first < 0 || first > last || last >= SLOTS as i64 || nodes.is_empty() {
            return Err(BAD);
        }
        for node in nodes {
            let [endpoint, port, rest @ ..] = node.items().ok_or(BAD)? else {
                return Err(BAD);
            };
            port.integer().ok_or(BAD)?;
            let Some(id) = rest.first() else { continue };
            let id = std::str::from_utf8(id.string().ok_or(BAD)?).map_err(|_| BAD)?;
            endpoints.insert(self::id(id)?, self::endpoint(endpoint)?);
        }
    }
    Ok(endpoints)
}

/// The first element of a node in CLUSTER SLOTS.
fn endpoint(value: &Value<'_>) -> Result<Endpoint, Rejected> {
    const BAD: Rejected = Rejected::Malformed("an endpoint in CLUSTER SLOTS is not a host");
    match value {
        Value::Null => Ok(Endpoint::Unknown),
        Value::Bulk(b"?") | Value::Status(b"?") => Ok(Endpoint::Nameless),
        other => {
            let text = std::str::from_utf8(other.string().ok_or(BAD)?).map_err(|_| BAD)?;
            Ok(host(text)?.map_or(Endpoint::Unknown, Endpoint::Host))
        }
    }
}

#[cfg(test)]
mod tests;
