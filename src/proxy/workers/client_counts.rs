//! The number of clients by library and by address, for the status page.

use std::collections::HashMap;
use std::net::IpAddr;

use crate::proxy::state::Proxy;
use crate::resp::encode;

/// Clients of a worker that are looked at: more would make a turn long.
const LOOKED_AT: usize = 20_000;
/// Libraries, and addresses, that are told apart; the rest is not counted.
const KINDS: usize = 1000;

/// The clients of one worker.
#[derive(Debug, Default)]
pub(in crate::proxy) struct Counts {
    /// All clients.
    clients: usize,
    /// Those that were looked at.
    counted: usize,
    /// By library and version, as CLIENT SETINFO said them; empty if it said nothing.
    libraries: HashMap<Vec<u8>, usize>,
    /// By address; none is a Unix socket.
    addresses: HashMap<Option<IpAddr>, usize>,
}

fn count<K: std::hash::Hash + Eq>(kinds: &mut HashMap<K, usize>, kind: K) {
    let full = kinds.len() >= KINDS;
    if let Some(count) = kinds.get_mut(&kind) {
        *count += 1;
    } else if !full {
        kinds.insert(kind, 1);
    }
}

impl Counts {
    /// As a reply: clients, clients that were counted, then so many libraries, each with its count, then addresses
    /// likewise.
    pub fn print(&self, reply: &mut Vec<u8>) {
        encode::array(reply, 4);
        encode::integer(reply, self.clients as i64);
        encode::integer(reply, self.counted as i64);
        encode::array(reply, self.libraries.len() * 2);
        for (library, clients) in &self.libraries {
            encode::bulk(reply, library);
            encode::integer(reply, *clients as i64);
        }
        encode::array(reply, self.addresses.len() * 2);
        for (address, clients) in &self.addresses {
            let address = address.map_or_else(|| "unix".to_string(), |address| address.to_string());
            encode::bulk(reply, address.as_bytes());
            encode::integer(reply, *clients as i64);
        }
    }
}

impl Proxy {
    /// Counts this worker's clients.
    pub(in crate::proxy) fn count_clients(&self) -> Counts {
        let mut counts = Counts {
            clients: self.clients.len(),
            ..Counts::default()
        };
        for (_, client) in self.clients.iter().take(LOOKED_AT) {
            counts.counted += 1;
            let mut library = Vec::new();
            if let Some(identity) = client.session.identity() {
                library.extend_from_slice(&identity.lib_name);
                if !identity.lib_ver.is_empty() {
                    library.push(b' ');
                    library.extend_from_slice(&identity.lib_ver);
                }
            }
            count(&mut counts.libraries, library);
            let address = client.address.map(|address| address.ip());
            count(&mut counts.addresses, address);
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_bounded() {
        let mut kinds = HashMap::new();
        for number in 0..3 * KINDS {
            count(&mut kinds, number % (KINDS + 1));
        }
        assert_eq!(kinds.len(), KINDS);
        assert_eq!(kinds[&1], 3);
    }
}
