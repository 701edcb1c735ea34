//! `Known`: the nodes that can be asked, the address of each, and the names by which a redirect may refer to it.
//!
//! A node may announce an address that works only between the nodes. `-node-map` takes precedence; an unknown host is
//! the host of the connection that answered. Host names are resolved by a function that is an argument: this module
//! must never resolve a name or connect by itself.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use crate::cluster::topology::{DownNode, Topology};
use crate::cluster::view::{Endpoint, Member, View};
use crate::sort;

/// What `build` needs of the world outside.
#[derive(Clone, Copy)]
pub struct Surroundings<'a> {
    /// The addresses of a hostname; none if it cannot be resolved. Never asked for an IP address.
    pub resolve: &'a dyn Fn(&str) -> Vec<IpAddr>,
    /// Announced to reachable address (`-node-map`), each with or without a port.
    pub node_map: &'a [(String, String)],
    /// Whether a node may be at this address (`-nodes-allowed`).
    pub allowed: &'a dyn Fn(IpAddr) -> bool,
    /// Whether the node with this address, known under these names, is in our own data centre.
    pub same_idc: &'a dyn Fn(SocketAddr, &[&str]) -> bool,
}

/// A node that can be asked, and where. Its place in the list is its index in the table.
pub(super) struct Known<'a> {
    /// What the answer says of it.
    pub member: &'a Member,
    /// Where it is reached.
    pub address: SocketAddr,
}

impl Known<'_> {
    /// The hosts by which the cluster calls it.
    pub fn names(&self) -> Vec<&str> {
        let endpoint = match &self.member.endpoint {
            Endpoint::Host(host) => Some(host.as_str()),
            Endpoint::Unlisted | Endpoint::Unknown | Endpoint::Nameless => None,
        };
        [
            self.member.ip.as_deref(),
            self.member.hostname.as_deref(),
            endpoint,
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

/// The nodes of an answer.
#[derive(Default)]
pub(super) struct Found<'a> {
    /// All that can be asked.
    pub known: Vec<Known<'a>>,
    /// The names for which there is no address.
    pub unresolved: Vec<String>,
    /// The addresses where no node may be.
    pub forbidden: Vec<SocketAddr>,
}

/// The nodes of an answer, in its order.
pub(super) fn known_nodes<'a>(
    view: &'a View,
    previous: Option<&Topology>,
    surroundings: &Surroundings<'_>,
) -> Found<'a> {
    let style = Style::of(view);
    let mut all = Found::default();
    for member in view.members.iter().filter(|member| member.usable()) {
        match place(view, style, member, previous, surroundings) {
            Ok(address) => match (surroundings.allowed)(address.ip()) {
                true => all.known.push(Known { member, address }),
                false => all.forbidden.push(address),
            },
            Err(host) => all.unresolved.push(host),
        }
    }
    all
}

/// The nodes of an answer that are down: called dead by most masters, or suspected by the node that answered. One of
/// which nobody knows any more where it was is left out.
pub(super) fn down_nodes(
    view: &View,
    previous: Option<&Topology>,
    surroundings: &Surroundings<'_>,
) -> Vec<DownNode> {
    let style = Style::of(view);
    let members = view.members.iter();
    let down = members.filter(|member| member.failed || member.suspected);
    down.filter_map(|member| {
        let address = match member.incomplete || member.port == 0 {
            true => last_place(previous?, &member.id)?,
            false => place(view, style, member, previous, surroundings).ok()?,
        };
        Some(DownNode {
            address,
            id: member.id.clone(),
            is_master: member.is_master,
        })
    })
    .collect()
}

/// Where a node is reached; the host name, if there is no address for it.
fn place(
    view: &View,
    style: Style,
    member: &Member,
    previous: Option<&Topology>,
    surroundings: &Surroundings<'_>,
) -> Result<SocketAddr, String> {
    let (host, port) = style.target(view, member, surroundings.node_map);
    let found = address(&host, member, view.reached.ip(), surroundings).or_else(|| {
        let before = last_place(previous?, &member.id)?;
        Some(before.ip())
    });
    found.map(|ip| SocketAddr::new(ip, port)).ok_or(host)
}

/// Where a node was reached before.
fn last_place(previous: &Topology, id: &str) -> Option<SocketAddr> {
    let nodes = previous.nodes.iter().map(|node| (&node.id, node.address));
    let down = previous.down.iter().map(|node| (&node.id, node.address));
    let mut all = nodes.chain(down);
    all.find(|(own, _)| *own == id).map(|(_, address)| address)
}

/// How the nodes want to be reached (`cluster-preferred-endpoint-type`), guessed from the nodes that CLUSTER
/// SLOTS lists, and applied to those that it does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Style {
    Ip,
    Hostname,
    Unknown,
}

impl Style {
    fn of(view: &View) -> Style {
        let mut style = Style::Ip;
        for member in &view.members {
            match &member.endpoint {
                Endpoint::Unknown if member.ip.is_some() => return Style::Unknown,
                Endpoint::Nameless => style = Style::Hostname,
                Endpoint::Host(host) if Some(host) == member.hostname.as_ref() => {
                    style = Style::Hostname;
                }
                Endpoint::Host(_) | Endpoint::Unlisted | Endpoint::Unknown => {}
            }
        }
        style
    }

    /// The host and port at which to reach a node.
    fn target(self, view: &View, member: &Member, node_map: &[(String, String)]) -> (String, u16) {
        let reached = view.reached.ip().to_string();
        let ip = member.ip.as_deref().filter(|ip| {
            // A node that calls itself 127.0.0.1 means its own machine, which is ours only if we reach it so.
            let loopback = |ip: IpAddr| ip.to_canonical().is_loopback();
            !ip.parse().is_ok_and(loopback) || loopback(view.reached.ip())
        });
        let listed = match &member.endpoint {
            Endpoint::Host(host) if Some(host) == member.ip.as_ref() => ip,
            Endpoint::Host(host) => Some(host.as_str()),
            Endpoint::Unknown => None,
            Endpoint::Nameless => ip,
            Endpoint::Unlisted => match self {
                Style::Ip => ip.or(member.hostname.as_deref()),
                Style::Hostname => member.hostname.as_deref().or(ip),
                Style::Unknown => None,
            },
        };
        let host = listed.unwrap_or(&reached);
        let names = [Some(host), member.hostname.as_deref(), member.ip.as_deref()];
        if let Some(mapped) = names
            .into_iter()
            .flatten()
            .find_map(|name| mapped(name, member.port, node_map))
        {
            return mapped;
        }
        if listed.is_none() && member.is_myself {
            // It answered there, so that is where it is, whatever port it announces.
            return (reached, view.reached.port());
        }
        (host.to_string(), member.port)
    }
}

/// What `-node-map` says of a node: an entry with its port comes before one without.
fn mapped(host: &str, port: u16, node_map: &[(String, String)]) -> Option<(String, u16)> {
    let spellings = [format!("{host}:{port}"), format!("[{host}]:{port}")];
    let entry = |spelling: &str| {
        node_map
            .iter()
            .find(|(announced, _)| announced.eq_ignore_ascii_case(spelling))
    };
    let (_, reachable) = spellings
        .iter()
        .find_map(|spelling| entry(spelling))
        .or_else(|| entry(host))
        .or_else(|| entry(&format!("[{host}]")))?;
    let (host, mapped_port) = split_port(reachable);
    Some((host.to_ascii_lowercase(), mapped_port.unwrap_or(port)))
}

/// Splits `host`, `host:port`, `::1`, `[::1]` and `[::1]:port`.
pub fn split_port(text: &str) -> (&str, Option<u16>) {
    if let Some((host, rest)) = text.strip_prefix('[').and_then(|t| t.split_once(']')) {
        return (host, rest.strip_prefix(':').and_then(|p| p.parse().ok()));
    }
    match text.rsplit_once(':') {
        Some((host, port)) if text.parse::<IpAddr>().is_err() => match port.parse() {
            Ok(port) => (host, Some(port)),
            Err(_) => (text, None),
        },
        _ => (text, None),
    }
}

/// The IP address of a node: of several that its name has, the one that the nodes use among themselves,
/// else one of the family over which the answer came. A name that cannot be resolved falls back to the
/// address that the nodes use.
fn address(
    host: &str,
    member: &Member,
    reached: IpAddr,
    surroundings: &Surroundings<'_>,
) -> Option<IpAddr> {
    if let Ok(ip) = host.parse() {
        return Some(ip);
    }
    let own: Option<IpAddr> = member.ip.as_ref().and_then(|ip| ip.parse().ok());
    let found = (surroundings.resolve)(host);
    own.filter(|own| found.is_empty() || found.contains(own))
        .or_else(|| {
            found
                .iter()
                .copied()
                .find(|ip| ip.is_ipv4() == reached.is_ipv4())
        })
        .or_else(|| found.first().copied())
}

/// Every spelling under which MOVED and ASK may name a node.
pub(super) fn announced(view: &View, known: &[Known<'_>]) -> HashMap<String, u16> {
    let mut announced: HashMap<String, u16> = HashMap::new();
    // If two nodes claim one name (one was replaced at the same address), the one that matters has it.
    let mut order: Vec<usize> = (0..known.len()).collect();
    sort::by_key(&mut order, |&index| {
        let member = known[index].member;
        (
            member.slots.is_empty(),
            member.suspected,
            u64::MAX - member.epoch,
        )
    });
    for &index in &order {
        let port = known[index].member.port;
        for name in known[index].names() {
            announced
                .entry(format!("{name}:{port}"))
                .or_insert(index as u16);
            if let Ok(ip) = name.parse::<IpAddr>() {
                announced
                    .entry(format!("{ip}:{port}"))
                    .or_insert(index as u16);
            }
        }
    }
    // Spellings that follow from others: an unknown host, or the address at which we reach the node. They
    // count only if they mean one node.
    let mut derived: HashMap<String, Option<u16>> = HashMap::new();
    for (index, node) in known.iter().enumerate() {
        let (ip, port) = (node.address.ip(), node.member.port);
        let mut spellings = vec![
            format!(":{port}"),
            format!("?:{port}"),
            format!("{ip}:{port}"),
            format!("{ip}:{}", node.address.port()),
        ];
        if node.member.is_myself {
            spellings.push(format!("{}:{port}", view.reached.ip()));
        }
        sort::all(&mut spellings);
        spellings.dedup();
        for spelling in spellings {
            derived
                .entry(spelling)
                .and_modify(|owner| *owner = None)
                .or_insert(Some(index as u16));
        }
    }
    for (spelling, owner) in derived {
        if let Some(owner) = owner {
            announced.entry(spelling).or_insert(owner);
        }
    }
    announced
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_ports_are_split() {
        let check = |text: &str, host: &str, port: Option<u16>| {
            assert_eq!(split_port(text), (host, port), "{text}");
        };
        check("h", "h", None);
        check("h:1", "h", Some(1));
        check("::1", "::1", None);
        check("[::1]", "::1", None);
        check("[::1]:1", "::1", Some(1));
        check("h:x", "h:x", None);
        check("10.0.0.1", "10.0.0.1", None);
    }
}
