//! The rooms of `src/proxy`, held by reading the sources. Their order is read from the table at the head of
//! `src/proxy/mod.rs`, so that there is one list of them.

use crate::imports::{imports, module};
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

/// The room that a path below `crate::proxy` leads into: the longest name that it begins with.
fn room_of<'a>(path: &str, rooms: &'a [String]) -> Option<&'a str> {
    let path = path.strip_prefix("proxy::")?;
    let begins = |room: &&String| {
        let rest = path.strip_prefix(room.as_str());
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
    };
    let longest = rooms.iter().filter(begins).max_by_key(|room| room.len());
    longest.map(String::as_str)
}

/// What is wrong with the code of a file.
fn fault(code: &str, source: &Source, rooms: &[String]) -> Option<String> {
    let file = module(source);
    let own = room_of(&file, rooms)?;
    let place = |room: &str| rooms.iter().position(|other| other == room);
    // Not in what clients read.
    let mut unquoted = code.lines().flat_map(|line| line.split('"').step_by(2));
    if place(own) < place(STATE) && unquoted.any(|part| has_word(part, "Proxy")) {
        return Some(format!("`{own}` is state, and names Proxy"));
    }
    let named = imports(&file, code).into_iter();
    let mut named = named.filter(|path| path.starts_with("proxy::"));
    named.find_map(|path| match room_of(&path, rooms) {
        Some(room) if place(room) <= place(own) => None,
        Some(room) => Some(format!(
            "`{own}` imports {path} from `{room}`, which stands behind it"
        )),
        None => Some(format!("{path} is in no room")),
    })
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
        let module = module(source);
        assert!(
            module == "proxy" || room_of(&module, &rooms).is_some(),
            "src/{} lies in no room of the table in src/proxy/mod.rs",
            source.path
        );
    }
    for room in &rooms {
        let mut files = sources.iter().map(module);
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
        let code: Vec<&str> = source.code().into_iter().map(|(_, line)| line).collect();
        if let Some(why) = fault(&code.join("\n"), &source, &rooms) {
            found.push(format!("src/{path}: {why}"));
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
    assert!(is_wrong(
        "low.rs",
        "use crate::proxy::{\n    low,\n    lease::run::Run,\n};"
    ));
    assert!(is_wrong("lease/run.rs", "use crate::proxy::Proxy;"));
}
