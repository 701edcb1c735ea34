//! The flags of who stands before the proxy: rows of the [table](super::table) as the others are.

use super::address;
use super::flag::{Flag, Kind};

/// The flags.
pub(super) const FLAGS: [Flag; 1] = [Flag {
    name: "proxy-protocol",
    kind: Kind::String,
    default: "",
    help: "addresses of load balancers that send a PROXY protocol header (version 1 or 2), such as 10.0.0.0/8,fd00::/8. \
           Connections from there must begin with a header, and the client's address is the one in it. A header from \
           another address closes the connection",
    apply: |options, value| {
        let ranges = value.strip_prefix("from=").unwrap_or(value);
        options.config.proxy_protocol = address::networks(ranges)?;
        Ok(())
    },
    show: |config| address::show_networks(&config.proxy_protocol),
    live: true,
}];
