//! Addresses as they are typed: to serve at, of nodes, and from one to another.
//!
//! Only addresses to serve at are resolved here, once; those of nodes stay text, for a name may move.

use std::net::{IpAddr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::path::PathBuf;

use crate::config::{Face, Listen, Network};

/// Longest path of a Unix socket: `sun_path` without its final zero.
const UNIX_PATH_BYTES_MAX: usize = 107;

/// Where to serve: what [`tcp`] takes, or `unix:/path`.
pub(super) fn listen(text: &str) -> Result<Listen, String> {
    let Some(path) = text.strip_prefix("unix:") else {
        return tcp(text).map(Listen::Tcp);
    };
    match path.len() {
        0 => Err("missing path of the Unix socket".to_string()),
        1..=UNIX_PATH_BYTES_MAX => Ok(Listen::Unix(PathBuf::from(path))),
        _ => Err(format!(
            "path of the Unix socket is longer than {UNIX_PATH_BYTES_MAX} bytes"
        )),
    }
}

/// A comma list of where to serve. An empty one is nowhere.
pub(super) fn listens(text: &str) -> Result<Vec<Listen>, String> {
    let mut all: Vec<Listen> = Vec::new();
    for item in items(text) {
        let address = listen(item).map_err(|reason| match item == text {
            true => reason,
            false => format!("{reason} in {item:?}"),
        })?;
        // Of port 0 each one is another.
        let is_any = matches!(&address, Listen::Tcp(address) if address.port() == 0);
        if !is_any && all.contains(&address) {
            return Err(format!("{address} is listed twice"));
        }
        all.push(address);
    }
    match all.is_empty() && !text.is_empty() {
        true => Err("at least one address is needed, or an empty value".to_string()),
        false => Ok(all),
    }
}

/// Where to serve, as it is typed.
pub(super) fn show_listens(all: &[Listen]) -> String {
    let texts: Vec<String> = all.iter().map(Listen::to_string).collect();
    texts.join(",")
}

/// A TCP address to serve at: `host:port`, `:port`, `[v6]:port`. A name is resolved, IPv4 first, as Go does.
///
/// `:port` is every IPv4 address, as is the default: a socket on `::` would serve both families, but on a
/// machine without IPv6 it cannot be made, and IPv6 may be asked for as `[::]:port`.
pub(super) fn tcp(text: &str) -> Result<SocketAddr, String> {
    let (host, port) = split(text)?;
    if host.is_empty() {
        return Ok(SocketAddr::from(([0, 0, 0, 0], port)));
    }
    let found: Vec<SocketAddr> = (host, port)
        .to_socket_addrs()
        .map_err(|error| format!("cannot resolve the host: {error}"))?
        .collect();
    let first = found
        .iter()
        .find(|address| address.is_ipv4())
        .or(found.first());
    first
        .copied()
        .ok_or_else(|| "the host has no address".to_string())
}

/// Where clients find this proxy, as they are told: `host:port`, or nothing.
pub(super) fn face(text: &str) -> Result<Option<Face>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let text = node(text)?;
    let (host, port) = split(&text)?;
    Ok(Some(Face {
        host: host.to_string(),
        port,
    }))
}

/// A map of addresses as it is typed.
pub(super) fn show_node_map(map: &[(String, String)]) -> String {
    let pairs: Vec<String> = map.iter().map(|(a, b)| format!("{a}={b}")).collect();
    pairs.join(",")
}

/// A comma list of at least one `host:port`.
pub(super) fn nodes(text: &str) -> Result<Vec<String>, String> {
    let mut nodes = Vec::new();
    for item in items(text) {
        nodes.push(node(item)?);
    }
    if nodes.is_empty() {
        return Err("at least one host:port is needed".to_string());
    }
    Ok(nodes)
}

/// A comma list of `announced=reachable`, both `host:port` or both `host`.
pub(super) fn node_map(text: &str) -> Result<Vec<(String, String)>, String> {
    let mut map: Vec<(String, String)> = Vec::new();
    for item in items(text) {
        let (announced, reachable) = item
            .split_once('=')
            .ok_or_else(|| format!("{item:?} is not announced=reachable"))?;
        let (announced, announced_port) = host_or_node(announced.trim())?;
        let (reachable, reachable_port) = host_or_node(reachable.trim())?;
        if announced_port != reachable_port {
            return Err(format!(
                "{item:?}: either both sides have a port or neither has"
            ));
        }
        if map.iter().any(|(other, _)| *other == announced) {
            return Err(format!("{announced:?} is mapped twice"));
        }
        map.push((announced, reachable));
    }
    Ok(map)
}

/// A comma list of ranges of addresses.
pub(super) fn networks(text: &str) -> Result<Vec<Network>, String> {
    items(text).map(network).collect()
}

fn network(text: &str) -> Result<Network, String> {
    let wrong =
        || format!("{text:?} is not a range of addresses such as 10.0.0.0/8, fd00::/8 or 10.1.2.3");
    let (address, prefix) = match text.split_once('/') {
        Some((address, prefix)) => (address, Some(prefix)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().map_err(|_| wrong())?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    let prefix = match prefix {
        None => most,
        Some(prefix) => prefix
            .parse()
            .ok()
            .filter(|prefix| *prefix <= most)
            .ok_or_else(wrong)?,
    };
    Ok(Network { address, prefix })
}

/// Ranges of addresses as they are typed.
pub(super) fn show_networks(networks: &[Network]) -> String {
    let texts: Vec<String> = networks.iter().map(Network::to_string).collect();
    texts.join(",")
}

/// The items of a comma list, trimmed; empty ones are skipped.
pub(super) fn items(text: &str) -> impl Iterator<Item = &str> {
    text.split(',')
        .map(str::trim)
        .filter(|item| !item.is_empty())
}

/// A `host`, or a `host:port` if the second of the pair says so, as the topology writes them: an IPv6 host
/// alone has no brackets.
fn host_or_node(text: &str) -> Result<(String, bool), String> {
    let bare = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'))
        .unwrap_or(text);
    if bare.parse::<Ipv6Addr>().is_ok() {
        return Ok((bare.to_string(), false));
    }
    if text.contains(':') {
        return Ok((node(text)?, true));
    }
    check_host(text)?;
    Ok((text.to_string(), false))
}

/// A `host:port` that can be connected to.
fn node(text: &str) -> Result<String, String> {
    let in_node = |reason: String| format!("{reason} in {text:?}");
    let (host, port) = split(text).map_err(in_node)?;
    check_host(host).map_err(in_node)?;
    if port == 0 {
        return Err(in_node("invalid port".to_string()));
    }
    Ok(if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    })
}

fn check_host(host: &str) -> Result<(), String> {
    if host.is_empty() {
        return Err("missing host".to_string());
    }
    let unfit = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '/' | '@' | '=' | '[');
    if host.contains(unfit) {
        return Err("invalid host".to_string());
    }
    Ok(())
}

/// Host (without brackets, maybe empty) and port.
fn split(text: &str) -> Result<(&str, u16), String> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, after) = rest.split_once(']').ok_or("missing ']' in address")?;
            let port = after.strip_prefix(':').ok_or("missing port in address")?;
            (host, port)
        }
        None => {
            let (host, port) = text.rsplit_once(':').ok_or("missing port in address")?;
            if host.contains(':') {
                return Err("too many colons in address (IPv6 needs brackets)".to_string());
            }
            (host, port)
        }
    };
    let digits_only = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    match port.parse() {
        Ok(port) if digits_only => Ok((host, port)),
        _ => Err("invalid port".to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_to_serve_at() {
        let check = |text: &str, expected: &str| {
            assert_eq!(
                listen(text).map(|listen| listen.to_string()),
                Ok(expected.to_string()),
                "{text:?}"
            );
        };
        check("0.0.0.0:8088", "0.0.0.0:8088");
        check(":8088", "0.0.0.0:8088");
        check("[::]:8088", "[::]:8088");
        check("[::1]:0", "[::1]:0");
        check("127.0.0.1:65535", "127.0.0.1:65535");
        check("unix:/run/proxy.sock", "unix:/run/proxy.sock");
        check("unix:relative.sock", "unix:relative.sock");
    }

    #[test]
    fn a_name_is_resolved() {
        assert!(tcp("localhost:8088").unwrap().ip().is_loopback());
    }

    #[test]
    fn addresses_not_to_serve_at() {
        let check = |text: &str, expected: &str| {
            assert_eq!(listen(text), Err(expected.to_string()), "{text:?}");
        };
        check("", "missing port in address");
        check("localhost", "missing port in address");
        check("8088", "missing port in address");
        check("[::1]", "missing port in address");
        check("[::1", "missing ']' in address");
        check("localhost:", "invalid port");
        check("localhost:+1", "invalid port");
        check("localhost:http", "invalid port");
        check("localhost:65536", "invalid port");
        check(
            "::1:8088",
            "too many colons in address (IPv6 needs brackets)",
        );
        check("unix:", "missing path of the Unix socket");
        check(
            &format!("unix:/{}", "x".repeat(107)),
            "path of the Unix socket is longer than 107 bytes",
        );
    }

    #[test]
    fn lists_of_addresses_to_serve_at() {
        let check = |text: &str, expected: Result<&str, &str>| {
            let shown = listens(text).map(|all| show_listens(&all));
            let expected = expected.map(str::to_string).map_err(str::to_string);
            assert_eq!(shown, expected, "{text:?}");
        };
        check("", Ok(""));
        check(":1, [::1]:2,unix:/s", Ok("0.0.0.0:1,[::1]:2,unix:/s"));
        check(":0,:0", Ok("0.0.0.0:0,0.0.0.0:0"));
        let none = "at least one address is needed, or an empty value";
        check(" , ", Err(none));
        check("nowhere", Err("missing port in address"));
        check(":1,nowhere", Err("missing port in address in \"nowhere\""));
        check(":1,0.0.0.0:1", Err("0.0.0.0:1 is listed twice"));
        check("unix:/s,unix:/s", Err("unix:/s is listed twice"));
    }

    #[test]
    fn lists_of_nodes() {
        let check = |text: &str, expected: Result<&[&str], &str>| {
            let expected = expected
                .map(|nodes| nodes.iter().map(|node| node.to_string()).collect())
                .map_err(str::to_string);
            assert_eq!(nodes(text), expected, "{text:?}");
        };
        check("a:1", Ok(&["a:1"]));
        check(
            "a.example:7001, 10.0.0.1:7002,,[::1]:7003,",
            Ok(&["a.example:7001", "10.0.0.1:7002", "[::1]:7003"]),
        );
        check("", Err("at least one host:port is needed"));
        check(",", Err("at least one host:port is needed"));
        check("a", Err("missing port in address in \"a\""));
        check("a:0", Err("invalid port in \"a:0\""));
        check(":1", Err("missing host in \":1\""));
        check("a:1,b/c:2", Err("invalid host in \"b/c:2\""));
    }

    #[test]
    fn ranges_of_addresses() {
        let shown = |text: &str| networks(text).map(|found| show_networks(&found));
        assert_eq!(shown(""), Ok(String::new()));
        let text = "10.0.0.0/8, fd00::/8,127.0.0.1";
        assert_eq!(
            shown(text),
            Ok("10.0.0.0/8,fd00::/8,127.0.0.1/32".to_string())
        );
        for text in [
            "x",
            "10.0.0.0/33",
            "10.0.0.0/-1",
            "10.0.0/8",
            "::/129",
            "10.0.0.0/",
            "host/8",
        ] {
            let refused = networks(text).expect_err(text);
            assert!(refused.contains("is not a range of addresses"), "{refused}");
        }
    }

    #[test]
    fn maps_of_nodes() {
        let check = |text: &str, expected: Result<&[(&str, &str)], &str>| {
            let expected = expected
                .map(|map| {
                    map.iter()
                        .map(|(a, r)| (a.to_string(), r.to_string()))
                        .collect()
                })
                .map_err(str::to_string);
            assert_eq!(node_map(text), expected, "{text:?}");
        };
        check("", Ok(&[]));
        check(
            "10.0.0.1:7001=127.0.0.1:17001, redis-2=192.168.0.2",
            Ok(&[
                ("10.0.0.1:7001", "127.0.0.1:17001"),
                ("redis-2", "192.168.0.2"),
            ]),
        );
        check("[fd00::1]=::1", Ok(&[("fd00::1", "::1")]));
        check("[fd00::1]:1=[::1]:2", Ok(&[("[fd00::1]:1", "[::1]:2")]));
        check("a", Err("\"a\" is not announced=reachable"));
        check("=b", Err("missing host"));
        check("a=", Err("missing host"));
        check("a=b=c", Err("invalid host"));
        check("a:1=b:x", Err("invalid port in \"b:x\""));
        check(
            "a:1=b",
            Err("\"a:1=b\": either both sides have a port or neither has"),
        );
        check("a=b,a=c", Err("\"a\" is mapped twice"));
    }
}
