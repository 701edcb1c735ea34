//! How long a request may wait until its slot has a reachable master (`-park-timeout`). The default is long enough
//! for a failover: the nodes mark a master as failed after their `cluster-node-timeout`, and then take some time to
//! elect a replica.
//!
//! It must never know which request waits, nor for which slot.

use std::time::Duration;

use crate::command::Servers;
use crate::config::Config;
use crate::proxy::state::Proxy;

/// `cluster-node-timeout` of a server that was never told one.
const NODE_TIMEOUT: Duration = Duration::from_secs(15);
/// What an election may take beyond one and a half node timeouts: its delay by the replicas' rank, a vote that is lost
/// and repeated, and the proxy's own refresh.
const ELECTION: Duration = Duration::from_secs(5);
/// No client waits longer, whatever the nodes say.
const LONGEST: Duration = Duration::from_secs(60);

/// How long a request may wait.
pub fn timeout(config: &Config, servers: &Servers) -> Duration {
    config.park_timeout.unwrap_or_else(|| {
        let node_timeout = servers.node_timeout.unwrap_or(NODE_TIMEOUT).min(LONGEST);
        (node_timeout * 3 / 2 + ELECTION).min(LONGEST)
    })
}

impl Proxy {
    /// How long a request may wait, by what is known of the nodes now.
    pub(in crate::proxy) fn park_timeout(&self) -> Duration {
        timeout(&self.config, &self.servers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::Table;
    use std::sync::Arc;

    #[test]
    fn a_request_waits_for_a_failover_and_never_longer_than_a_minute() {
        let mut servers = Servers::unknown(Arc::new(Table::compiled()));
        let mut config = Config::default();
        let seconds = |config: &Config, servers: &Servers| timeout(config, servers).as_secs_f64();
        assert_eq!(seconds(&config, &servers), 27.5);
        for (node_timeout, expected) in [
            (0, 5.0),
            (1000, 6.5),
            (8000, 17.0),
            (15_000, 27.5),
            (60_000, 60.0),
            (u64::MAX, 60.0),
        ] {
            servers.node_timeout = Some(Duration::from_millis(node_timeout));
            assert_eq!(seconds(&config, &servers), expected, "{node_timeout}");
        }
        config.park_timeout = Some(Duration::from_millis(1500));
        assert_eq!(seconds(&config, &servers), 1.5);
    }
}
