//! Finds the process that already listens at an address (from /proc), for the error message when the address is
//! taken.

use std::fs;
use std::net::{IpAddr, SocketAddr};

/// The state LISTEN in /proc/net/tcp.
const LISTEN: &str = "0A";

/// The process that listens at this address, or at all addresses with its port: its number and its name. Nothing
/// if it cannot be known, as of another user.
pub fn holder(address: SocketAddr) -> Option<String> {
    let inodes: Vec<String> = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .filter_map(|path| fs::read_to_string(path).ok())
        .flat_map(|table| listeners(&table, address))
        .collect();
    let links: Vec<String> = inodes
        .iter()
        .map(|inode| format!("socket:[{inode}]"))
        .collect();
    let processes = fs::read_dir("/proc").ok()?;
    processes.filter_map(Result::ok).find_map(|process| {
        let pid: u32 = process.file_name().to_str()?.parse().ok()?;
        let mut descriptors = fs::read_dir(process.path().join("fd"))
            .ok()?
            .filter_map(Result::ok);
        descriptors.find(|descriptor| {
            let target = fs::read_link(descriptor.path()).ok();
            target
                .is_some_and(|target| links.iter().any(|link| target.as_os_str() == link.as_str()))
        })?;
        let name = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
        Some(format!("process {pid} ({})", name.trim().escape_debug()))
    })
}

/// The inodes of the sockets of a table that listen where `address` would.
fn listeners(table: &str, address: SocketAddr) -> Vec<String> {
    let lines = table.lines().skip(1);
    lines
        .filter_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let (local, state, inode) = (fields.get(1)?, fields.get(3)?, fields.get(9)?);
            let (host, port) = local.split_once(':')?;
            let port = u16::from_str_radix(port, 16).ok()?;
            let host = ip(host)?;
            let meets = host.is_unspecified()
                || address.ip().is_unspecified()
                || host.to_canonical() == address.ip().to_canonical();
            (*state == LISTEN && port == address.port() && meets).then(|| inode.to_string())
        })
        .collect()
}

/// An address as the kernel prints it: in words of 32 bits, each in the order of this machine's bytes.
fn ip(text: &str) -> Option<IpAddr> {
    let mut bytes = Vec::new();
    for at in (0..text.len()).step_by(8) {
        let word = u32::from_str_radix(text.get(at..at + 8)?, 16).ok()?;
        bytes.extend_from_slice(&word.to_ne_bytes());
    }
    match bytes.len() {
        4 => Some(IpAddr::from(<[u8; 4]>::try_from(bytes).ok()?)),
        16 => Some(IpAddr::from(<[u8; 16]>::try_from(bytes).ok()?)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn the_holder_of_a_port_is_found() {
        for bound in ["127.0.0.1:0", "0.0.0.0:0"] {
            let listener = TcpListener::bind(bound).expect("a port");
            let port = listener.local_addr().expect("bound").port();
            let own = format!("process {} (", std::process::id());
            for asked in ["127.0.0.1", "0.0.0.0", "::ffff:127.0.0.1"] {
                let address = SocketAddr::new(asked.parse().expect("an address"), port);
                let found = holder(address).expect("it listens");
                assert!(found.starts_with(&own), "{bound} {asked}: {found}");
            }
            drop(listener);
            let address = SocketAddr::from(([127, 0, 0, 1], port));
            assert_eq!(holder(address), None);
        }
    }
}
