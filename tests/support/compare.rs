//! What makes two replies comparable that are not the same bytes: the order of a set is the server's own, values
//! depend on the time, on chance or on who is asked. Names, kinds and order are compared then.

use std::collections::BTreeSet;

use super::Reply;

/// The reply with all that it holds in one order.
pub fn sorted(reply: Reply) -> Reply {
    match reply {
        Reply::Array(items) => Reply::Array(sort(items)),
        Reply::Set(items) => Reply::Set(sort(items)),
        Reply::Map(pairs) => {
            let sorted_pair = |(key, value)| (sorted(key), sorted(value));
            let mut pairs: Vec<(Reply, Reply)> = pairs.into_iter().map(sorted_pair).collect();
            pairs.sort_by_cached_key(|(key, _)| format!("{key:?}"));
            Reply::Map(pairs)
        }
        other => other,
    }
}

fn sort(items: Vec<Reply>) -> Vec<Reply> {
    let mut items: Vec<Reply> = items.into_iter().map(sorted).collect();
    items.sort_by_cached_key(|item| format!("{item:?}"));
    items
}

/// The first text in a reply.
pub fn first_text(reply: &Reply) -> Option<Vec<u8>> {
    match reply {
        Reply::Bulk(bytes) | Reply::Verbatim(_, bytes) => Some(bytes.clone()),
        Reply::Simple(text) => Some(text.clone().into_bytes()),
        Reply::Array(items) => items.iter().find_map(first_text),
        _ => None,
    }
}

/// What a reply is.
pub fn kind(reply: &Reply) -> String {
    let text = format!("{reply:?}");
    text.split('(').next().unwrap_or_default().to_string()
}

/// The kinds of all that the reply holds, and the names of fields.
pub fn shape(reply: &Reply) -> String {
    let list = |items: &[Reply]| items.iter().map(shape).collect::<Vec<_>>().join(",");
    match reply {
        Reply::Bulk(bytes) => {
            let text = String::from_utf8_lossy(bytes);
            if text.contains(":") && text.contains("\r\n") {
                let names = text
                    .lines()
                    .map(|line| line.split(':').next().unwrap_or(line));
                return format!("fields {:?}", names.collect::<BTreeSet<_>>());
            }
            let name = |c: char| c.is_ascii_lowercase() || c == '-' || c == '_';
            if !text.is_empty() && text.chars().all(name) {
                return format!("{text:?}");
            }
            "Bulk".to_string()
        }
        Reply::Array(items) => format!("Array[{}]", list(items)),
        Reply::Set(items) => format!("Set[{}]", list(items)),
        Reply::Push(items) => format!("Push[{}]", list(items)),
        Reply::Map(pairs) => {
            let pair = |(key, value): &(Reply, Reply)| format!("{}={}", shape(key), shape(value));
            format!(
                "Map[{}]",
                pairs.iter().map(pair).collect::<Vec<_>>().join(",")
            )
        }
        other => kind(other),
    }
}

/// What a reply looks like, numbers and long texts left out.
pub fn outline(reply: &Reply) -> String {
    match reply {
        Reply::Int(_) => "int".to_string(),
        Reply::Double(_) => "double".to_string(),
        Reply::Bulk(bytes)
            if std::str::from_utf8(bytes).is_ok_and(|text| text.parse::<f64>().is_ok()) =>
        {
            "number".to_string()
        }
        Reply::Bulk(bytes) if bytes.len() > 99 => "text".to_string(),
        Reply::Array(items) => format!("{:?}", items.iter().map(outline).collect::<Vec<_>>()),
        Reply::Map(pairs) => {
            let pair = |(name, value): &(Reply, Reply)| (format!("{name:?}"), outline(value));
            format!(
                "{:?}",
                pairs
                    .iter()
                    .map(pair)
                    .collect::<std::collections::BTreeMap<_, _>>()
            )
        }
        Reply::Verbatim(format, _) => format!("verbatim {format}"),
        other => format!("{other:?}"),
    }
}

/// Names and values, in either protocol.
pub fn pairs(reply: &Reply) -> Vec<(String, Reply)> {
    match reply {
        Reply::Map(pairs) => pairs
            .iter()
            .map(|(name, value)| (name.text(), value.clone()))
            .collect(),
        Reply::Array(items) => items
            .chunks(2)
            .map(|pair| (pair[0].text(), pair[1].clone()))
            .collect(),
        other => panic!("no pairs: {other:?}"),
    }
}

/// A name and what its value is.
pub type Field = (String, String);

/// The fields of a reply in their order: of a map, of a list of names and values, of a text of lines as INFO has
/// them, and of one as CLIENT LIST has them (where the first line speaks for all).
pub fn fields(reply: &Reply) -> Vec<Field> {
    let mut found = Vec::new();
    collect("", reply, &mut found);
    found
}

fn collect(prefix: &str, reply: &Reply, found: &mut Vec<Field>) {
    let mut pair = |name: &Reply, value: &Reply| {
        let name = format!("{prefix}{}", name.text());
        match value {
            Reply::Map(_) | Reply::Array(_) => {
                found.push((name.clone(), "fields".to_string()));
                collect(&format!("{name}."), value, found);
            }
            Reply::Int(_) => found.push((name, "integer".to_string())),
            Reply::Double(_) => found.push((name, "float".to_string())),
            other => found.push((name, kind_of_text(&other.text()))),
        }
    };
    match reply {
        Reply::Map(pairs) => pairs.iter().for_each(|(name, value)| pair(name, value)),
        Reply::Array(items) => items.chunks_exact(2).for_each(|two| pair(&two[0], &two[1])),
        other => {
            let text = other.text();
            let is_list = text.starts_with("id=");
            let of_list = text.lines().take(usize::from(is_list));
            let of_list = of_list.flat_map(|line| line.split(' ').map(|word| word.split_once('=')));
            let of_info = text.lines().skip(usize::MAX * usize::from(is_list));
            let of_info = of_info.map(|line| line.split_once(':'));
            for (name, value) in of_list.chain(of_info).flatten() {
                found.push((name.to_string(), kind_of_text(value)));
            }
        }
    }
}

/// `integer`, `float`, `text`, or the names in `a=1,b=2`. A text of nothing may be anything.
fn kind_of_text(text: &str) -> String {
    let text = text.trim();
    let parts = text.split(',').map(|part| part.split_once('='));
    if let Some(parts) = parts.collect::<Option<Vec<_>>>() {
        return parts
            .iter()
            .map(|(name, _)| *name)
            .collect::<Vec<_>>()
            .join(",");
    }
    match (text, text.parse::<i128>(), text.parse::<f64>()) {
        ("", ..) => "nothing",
        // Of fixed length: digits of a hash.
        (hash, ..) if hash.len() > 1 && hash.bytes().all(|byte| byte == b'0') => "text",
        (_, Ok(_), _) => "integer",
        (_, _, Ok(_)) => "float",
        _ => "text",
    }
    .to_string()
}

/// Counters of what happened to be done: of each family one is as good as another.
const FAMILIES: &[&str] = &["cmdstat_", "errorstat_", "latency_percentiles_usec_"];

/// What is wrong with `ours` where `theirs` is right: fields that are missing, of another kind, or not in their
/// order. More fields are not wrong.
pub fn compare_fields(ours: &[Field], theirs: &[Field]) -> Vec<String> {
    let family = |name: &str| FAMILIES.iter().find(|family| name.starts_with(**family));
    let (mut wrong, mut at) = (Vec::new(), 0);
    for (name, kind) in theirs {
        if let Some(family) = family(name) {
            let own = ours.iter().find(|(own, _)| own.starts_with(family));
            if own.is_none_or(|(_, own)| own != kind) {
                wrong.push(format!("of {family}: {own:?} for {kind}"));
            }
            continue;
        }
        let place = ours.iter().position(|(own, _)| own == name);
        match place {
            None => wrong.push(format!("no {name}")),
            Some(place) => {
                let own = &ours[place].1;
                if own != kind && own != "nothing" && kind != "nothing" {
                    wrong.push(format!("{name} is {own}, not {kind}"));
                }
                if place < at {
                    wrong.push(format!("{name} is not where it belongs"));
                }
                at = place;
            }
        }
    }
    wrong
}
