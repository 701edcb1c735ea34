//! CONFIG GET, for what tools ask at start.

use super::{After, Context};
use crate::resp::args::Args;
use crate::resp::encode;
use crate::resp::glob::{self, Case};

pub fn get(context: &mut Context<'_>, args: &Args<'_>, out: &mut Vec<u8>) -> After {
    let found: Vec<_> = parameters(context)
        .into_iter()
        .filter(|(name, _)| {
            args.from(2)
                .any(|pattern| glob::matches(pattern, name.as_bytes(), Case::Insensitive))
        })
        .collect();
    encode::map(out, found.len(), context.session.protocol);
    for (name, value) in found {
        encode::bulk(out, name.as_bytes());
        encode::bulk(out, value.as_bytes());
    }
    After::Go
}

/// What a client may want to know of the server it believes to talk to.
fn parameters(context: &Context<'_>) -> Vec<(&'static str, String)> {
    let port = match &context.config.listen {
        crate::config::Listen::Tcp(address) => address.port(),
        crate::config::Listen::Unix(_) => 0,
    };
    let fixed = |name, value: &str| (name, value.to_string());
    vec![
        fixed("appendonly", "no"),
        fixed("databases", "1"),
        fixed("maxmemory", "0"),
        fixed("maxmemory-policy", "noeviction"),
        fixed("replica-read-only", "yes"),
        fixed("save", ""),
        fixed("slave-read-only", "yes"),
        fixed("tcp-keepalive", "300"),
        fixed("timeout", "0"),
        ("maxclients", context.config.limits.clients.to_string()),
        ("port", port.to_string()),
        (
            "proto-max-bulk-len",
            context.config.limits.bulk_bytes.to_string(),
        ),
    ]
}
