//! The rooms of `src/proxy`, held by reading the sources. Their order is read from the table at the head of
//! `src/proxy/mod.rs`, so that there is one list of them.

use crate::layers::{Source, has_word, sources};

/// The room in which `struct Proxy` lies.
const STATE: &str = "state";

/// Rows of the table: ``| state | `ids`, `texts` | ... |``. Since a room imports only from those before it, there is no
/// circle between rooms.
fn rooms() -> Vec<String> {
    let all = sources();
    let table = all.iter().find(|source| source.path == "proxy/mod.rs");
    let table = table.expect("src/proxy/mod.rs");
    let rows = table.text.lines().filter_map(|line| {
        let row = line.strip_prefix("//! | ")?;
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        ["state", "acts"]
            .contains(&cells[0])
            .then(|| cells[1].to_string())
    });
    let rooms: Vec<String> = rows
        .flat_map(|cell| {
            let names = cell.split('`').skip(1).step_by(2).map(str::to_string);
            names.collect::<Vec<_>>()
        })
        .collect();
    assert!(
        rooms.len() > 15,
        "the table of src/proxy/mod.rs was not understood"
    );
    rooms
}

/// The modules that lead to a file below `src/proxy`; none for `mod.rs` itself.
fn module(path: &str) -> Vec<&str> {
    let below = path.strip_prefix("proxy/").expect("below src/proxy");
    let below = below.trim_end_matches(".rs");
    let mut names: Vec<&str> = below.split('/').collect();
    if names.last() == Some(&"mod") {
        names.pop();
    }
    names
}

/// The room that a path leads into: the longest name that it begins with.
fn room_of<'a>(path: &[&str], rooms: &'a [String]) -> Option<&'a str> {
    let path = path.join("::");
    let begins = |room: &&String| {
        let rest = path.strip_prefix(room.as_str());
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
    };
    let longest = rooms.iter().filter(begins).max_by_key(|room| room.len());
    longest.map(String::as_str)
}

/// The words of a path: `a::b::{c, d}` is `a`, `b`.
fn words(path: &str) -> Vec<&str> {
    let end = path.find(|byte: char| !byte.is_alphanumeric() && byte != '_' && byte != ':');
    let path = path[..end.unwrap_or(path.len())].trim_end_matches(':');
    path.split("::").collect()
}

/// The paths below `crate::proxy` that a line of a file names.
fn paths<'a>(line: &'a str, file: &[&'a str]) -> Vec<Vec<&'a str>> {
    let mut found = Vec::new();
    for (at, prefix) in line.match_indices("crate::proxy::") {
        // Not `pub(in crate::proxy::lease)`, which says who may look.
        if !line[..at].ends_with("in ") {
            let rest = &line[at + prefix.len()..];
            match rest.strip_prefix('{') {
                Some(list) => found.extend(list.split(',').map(|item| words(item.trim()))),
                None => found.push(words(rest)),
            }
        }
    }
    for (at, prefix) in line.match_indices("super::") {
        if !line[..at].ends_with(|byte: char| byte.is_alphanumeric() || byte == '_' || byte == ':')
        {
            let mut rest = &line[at + prefix.len()..];
            let mut path = file[..file.len().saturating_sub(1)].to_vec();
            while let Some(further) = rest.strip_prefix("super::") {
                rest = further;
                path.pop();
            }
            path.extend(words(rest));
            found.push(path);
        }
    }
    found
}

/// What is wrong with a line of a file.
fn fault(line: &str, source: &Source, rooms: &[String]) -> Option<String> {
    let file = module(&source.path);
    let own = room_of(&file, rooms)?;
    let place = |room: &str| rooms.iter().position(|other| other == room);
    // Not in what clients read.
    let mut unquoted = line.split('"').step_by(2);
    if place(own) < place(STATE) && unquoted.any(|part| has_word(part, "Proxy")) {
        return Some(format!("`{own}` is state, and names Proxy"));
    }
    let named = paths(line, &file).into_iter();
    let mut wrong = named.filter_map(|path| match room_of(&path, rooms) {
        Some(room) if place(room) <= place(own) => None,
        Some(room) => Some(format!(
            "`{own}` imports from `{room}`, which stands behind it"
        )),
        None => Some(format!("`{}` is in no room", path.join("::"))),
    });
    wrong.next()
}

fn proxy_sources() -> Vec<Source> {
    let mut all = sources();
    all.retain(|source| source.path.starts_with("proxy/"));
    all
}

#[test]
fn every_file_of_the_proxy_lies_in_a_room() {
    let rooms = rooms();
    let sources = proxy_sources();
    for source in &sources {
        let module = module(&source.path);
        assert!(
            module.is_empty() || room_of(&module, &rooms).is_some(),
            "src/{} lies in no room of the table in src/proxy/mod.rs",
            source.path
        );
    }
    for room in &rooms {
        let mut files = sources.iter().map(|source| module(&source.path));
        assert!(
            files.any(|file| room_of(&file, &rooms) == Some(room)),
            "nothing lies in the room `{room}`"
        );
    }
}

#[test]
fn a_room_imports_only_from_those_before_it() {
    let rooms = rooms();
    let mut found = Vec::new();
    for source in proxy_sources() {
        let path = &source.path;
        // Tests that are files of their own may use what they like.
        if path.ends_with("/tests.rs") {
            continue;
        }
        for (number, line) in source.code() {
            if let Some(why) = fault(line, &source, &rooms) {
                found.push(format!("src/{path}:{number}: {why}: {}", line.trim()));
            }
        }
    }
    assert!(
        found.is_empty(),
        "the rooms of src/proxy\n{}",
        found.join("\n")
    );
}

#[test]
fn the_rules_themselves_work() {
    let rooms: Vec<String> = ["low", "lease::state", "state", "lease"]
        .map(String::from)
        .into();
    let file = |path: &str| Source {
        path: format!("proxy/{path}"),
        text: String::new(),
    };
    let is_wrong = |path: &str, line: &str| fault(line, &file(path), &rooms).is_some();
    assert!(!is_wrong("lease/run.rs", "use crate::proxy::state::Proxy;"));
    assert!(!is_wrong(
        "lease/run.rs",
        "use crate::proxy::lease::state::{run, wait};"
    ));
    assert!(!is_wrong("lease/state/run.rs", "use super::wait::Wait;"));
    assert!(!is_wrong(
        "lease/state/run.rs",
        "pub(in crate::proxy::lease) fn open(&self) {"
    ));
    assert!(is_wrong("lease/state/run.rs", "use super::super::wait;"));
    assert!(is_wrong("lease/state/mod.rs", "use super::wait;"));
    assert!(is_wrong(
        "lease/state/run.rs",
        "    x: crate::proxy::lease::wait::Wait,"
    ));
    assert!(is_wrong(
        "low.rs",
        "use crate::proxy::lease::state::run::Run;"
    ));
    assert!(is_wrong("low.rs", "impl Proxy {"));
    assert!(!is_wrong("lease/run.rs", "use crate::proxy::{state, low};"));
    assert!(is_wrong("low.rs", "use crate::proxy::{low, state};"));
    assert!(is_wrong("lease/run.rs", "use crate::proxy::Proxy;"));
}
