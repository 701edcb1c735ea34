//! CONFIG GET, for what tools ask at start.

use super::{After, Context};
use crate::resp::args::Args;
use crate::resp::encode;

pub fn get(context: &mut Context<'_>, args: &Args<'_>, out: &mut Vec<u8>) -> After {
    let found: Vec<_> = parameters(context)
        .into_iter()
        .filter(|(name, _)| {
            args.from(2)
                .any(|pattern| matches(pattern, name.as_bytes()))
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

/// Glob-style match in any case, as `stringmatchlen` of Redis: `*`, `?`, `[a-c]`, `[^x]`, `\`.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    // Where to go on when what follows the last star does not fit: the star takes one byte more.
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        let step = match pattern.get(p) {
            Some(b'*') => {
                star = Some((p + 1, t));
                p += 1;
                continue;
            }
            Some(_) => one(&pattern[p..], text[t]),
            None => None,
        };
        match (step, star) {
            (Some(len), _) => {
                p += len;
                t += 1;
            }
            (None, Some((after, from))) => {
                star = Some((after, from + 1));
                p = after;
                t = from + 1;
            }
            (None, None) => return false,
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

/// Whether the first item of `pattern` takes `byte`, and how long it is.
fn one(pattern: &[u8], byte: u8) -> Option<usize> {
    let same = |a: u8| a.eq_ignore_ascii_case(&byte);
    match pattern[0] {
        b'?' => Some(1),
        b'\\' if pattern.len() > 1 => same(pattern[1]).then_some(2),
        b'[' => {
            let close = pattern
                .iter()
                .position(|b| *b == b']')
                .unwrap_or(pattern.len());
            let inside = &pattern[1..close];
            let (negated, inside) = match inside.strip_prefix(b"^") {
                Some(rest) => (true, rest),
                None => (false, inside),
            };
            let mut hit = false;
            let mut at = 0;
            while at < inside.len() {
                if inside.get(at + 1) == Some(&b'-') && at + 2 < inside.len() {
                    let (low, high) = (
                        inside[at].min(inside[at + 2]),
                        inside[at].max(inside[at + 2]),
                    );
                    let lower = byte.to_ascii_lowercase();
                    hit |= (low.to_ascii_lowercase()..=high.to_ascii_lowercase()).contains(&lower);
                    at += 3;
                } else {
                    hit |= same(inside[at]);
                    at += 1;
                }
            }
            (hit != negated).then_some((close + 1).min(pattern.len()))
        }
        other => same(other).then_some(1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_in_redis() {
        let check = |pattern: &str, text: &str, expected| {
            assert_eq!(
                matches(pattern.as_bytes(), text.as_bytes()),
                expected,
                "{pattern} {text}"
            );
        };
        check("*", "save", true);
        check("SAVE", "save", true);
        check("max*", "maxmemory", true);
        check("*mem*y", "maxmemory", true);
        check("*x", "maxmemory", false);
        check("m?x*", "maxclients", true);
        check("[a-n]ax*", "maxclients", true);
        check("[^m]ax*", "maxclients", false);
        check("save\\*", "save*", true);
        check("", "save", false);
        check("a*a*a*a*a*a*a*a*b", &"a".repeat(1000), false);
        check("[", "a", false);
    }
}
