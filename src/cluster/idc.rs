//! Whether a node is in the proxy's own data center (`-read-prefer 2`).
//!
//! It must never know how the local address was found: it is an argument.

use std::net::IpAddr;

/// Whether the node at `address` is near us: `local`, the address from which we reach it, has the same
/// first two octets (IPv6: the same first 32 bits), or one of the `texts` by which the node is known starts
/// with one of `prefixes`.
pub fn same_idc(
    local: Option<IpAddr>,
    address: IpAddr,
    texts: &[&str],
    prefixes: &[String],
) -> bool {
    let near = match (
        local.map(|local| local.to_canonical()),
        address.to_canonical(),
    ) {
        (Some(IpAddr::V4(local)), IpAddr::V4(node)) => local.octets()[..2] == node.octets()[..2],
        (Some(IpAddr::V6(local)), IpAddr::V6(node)) => local.octets()[..4] == node.octets()[..4],
        _ => false,
    };
    let starts = |text: &str| {
        prefixes
            .iter()
            .any(|prefix| !prefix.is_empty() && text.starts_with(prefix.as_str()))
    };
    near || starts(&address.to_string()) || texts.iter().any(|text| starts(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(local: &str, node: &str, texts: &[&str], prefixes: &[&str], expected: bool) {
        let prefixes: Vec<String> = prefixes.iter().map(|prefix| prefix.to_string()).collect();
        let result = same_idc(local.parse().ok(), node.parse().unwrap(), texts, &prefixes);
        assert_eq!(result, expected, "{local} {node} {texts:?} {prefixes:?}");
    }

    #[test]
    fn two_octets_or_a_prefix() {
        check("10.1.2.3", "10.1.200.1", &[], &[], true);
        check("10.1.2.3", "10.2.2.3", &[], &[], false);
        check("10.1.2.3", "10.2.2.3", &[], &["10.2."], true);
        check("10.1.2.3", "10.2.2.3", &["dc7-node"], &["dc7-"], true);
        check("10.1.2.3", "10.2.2.3", &["dc7-node"], &[""], false);
        check("none", "10.2.2.3", &[], &[], false);
        check("2001:db8:1::1", "2001:db8:2::1", &[], &[], true);
        check("2001:db8::1", "2001:db9::1", &[], &[], false);
        check("::ffff:10.1.0.1", "10.1.2.3", &[], &[], true);
        check("10.1.0.1", "2001:db8::1", &[], &["2001:"], true);
    }
}
