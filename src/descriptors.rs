//! Descriptors: the limit of the process is raised at start, and shared out: first what the program itself needs, then
//! connections to nodes, then clients. So clients can never take the descriptor that a connection to a node needs, and
//! one client too many hears `-ERR max number of clients reached`.
//!
//! It must never know a socket.

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::{Config, Limits};

/// Standard streams, log files, the signal pipe, the control thread's connections to nodes.
const PROCESS: usize = 32;
/// For each worker: its poll, its waker, its listeners, and clients that are being turned away.
const WORKER: usize = 36;
/// Connections to the debug address.
const DEBUG: usize = 64;
/// Connections to nodes that are neither in a transaction nor blocked.
const SHARED: usize = 1024;

/// Raises the soft limit of open files to the hard one. Returns the limit before and after; nothing is no limit.
pub fn raise() -> io::Result<(Option<u64>, Option<u64>)> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        let raised = Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        };
        setrlimit(Resource::Nofile, raised)?;
    }
    Ok((limit.current, limit.maximum))
}

/// The descriptors that the process may have now; nothing is no limit.
pub fn limit() -> Option<usize> {
    let limit = getrlimit(Resource::Nofile).current?;
    Some(usize::try_from(limit).unwrap_or(usize::MAX))
}

/// Who may have how many of them.
#[derive(Debug, PartialEq, Eq)]
struct Shares {
    nodes: usize,
    /// Connections to nodes that may be in transactions, and as many that may be blocked.
    exclusive: usize,
    clients: usize,
}

/// Shares `limit` descriptors out. Of what the program itself leaves, nodes get a third, or less if they need less.
fn shares(limit: usize, config: &Config) -> Shares {
    let debug = config.debug_addr.map_or(0, |_| DEBUG.min(limit / 8));
    let own = PROCESS + (WORKER * config.workers).min(limit / 4) + debug;
    let rest = limit.saturating_sub(own);
    let Limits {
        blocking_leases,
        transaction_leases,
        ..
    } = config.limits;
    let needed = blocking_leases
        .saturating_add(transaction_leases)
        .saturating_add(SHARED);
    let nodes = (rest / 3).min(needed);
    let exclusive = match nodes == needed {
        true => blocking_leases.max(transaction_leases),
        false => (nodes * 3 / 8).max(1),
    };
    Shares {
        nodes,
        exclusive,
        clients: (rest - nodes).max(1),
    }
}

/// Lowers what `limit` descriptors do not allow. Returns what was lowered, for the log.
pub fn fit(config: &mut Config, limit: usize) -> Vec<String> {
    let Shares {
        nodes,
        exclusive,
        clients,
    } = shares(limit, config);
    let limits = &mut config.limits;
    limits.clients_max = clients;
    let lower = |flag: &str, value: &mut usize, allowed: usize| {
        (*value > allowed).then(|| {
            let before = std::mem::replace(value, allowed);
            format!(
                "-{flag} is {allowed}, not {before}: the limit of file descriptors is {limit}, of which {nodes} are \
                 reserved for nodes. Raise the limit (ulimit -n, LimitNOFILE)"
            )
        })
    };
    let lowered = [
        lower("max-clients", &mut limits.clients, clients),
        lower(
            "max-blocked-clients",
            &mut limits.blocking_leases,
            exclusive,
        ),
        lower(
            "max-transactions",
            &mut limits.transaction_leases,
            exclusive,
        ),
    ];
    lowered.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_leave_nodes_and_the_program_their_descriptors() {
        for limit in [0, 1, 64, 120, 256, 1024, 4096, 65_536, 1 << 20] {
            for workers in [1, 4, 64] {
                let config = Config {
                    workers,
                    debug_addr: Some(([127, 0, 0, 1], 0).into()),
                    ..Config::default()
                };
                let Shares {
                    nodes,
                    exclusive,
                    clients,
                } = shares(limit, &config);
                assert!(clients >= 1);
                assert!(limit < 120 || nodes >= 7, "{limit} {workers}: {nodes}");
                assert!(limit < 120 || clients + nodes + PROCESS < limit);
                assert!(nodes < 3 || 2 * exclusive < nodes);
            }
        }
    }

    #[test]
    fn a_low_limit_lowers_what_it_does_not_allow_and_says_so() {
        let mut config = Config::default();
        let lines = fit(&mut config, 256);
        assert_eq!(lines.len(), 3);
        assert!(lines[0].starts_with("-max-clients is 126, not 10000: "));
        assert_eq!(config.limits.clients, 126);
        assert_eq!(config.limits.clients_max, 126);
        let mut config = Config::default();
        assert_eq!(fit(&mut config, 65_536).len(), 0);
        assert_eq!(
            config.limits,
            Limits {
                clients_max: config.limits.clients_max,
                ..Limits::default()
            }
        );
    }
}
