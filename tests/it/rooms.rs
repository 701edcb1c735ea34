//! The rooms of `src/proxy`, held by reading the sources. Their order is read from the table at the head of
//! `src/proxy/mod.rs`, so that there is one list of them.

use std::collections::HashMap;

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

/// The steps of each way: ``| GET, reply | `inputs::input`, `path/deliver::backend_input` |``, as module and name.
fn ways(table: &Source) -> Vec<(String, Vec<(String, String)>)> {
    let rows = table.text.lines().filter_map(|line| {
        let row = line.strip_prefix("//! | ")?;
        let (way, steps) = row.split_once(" | ")?;
        way.contains("GET, ").then(|| {
            let steps = steps.split('`').skip(1).step_by(2).map(|step| {
                let (file, name) = step.rsplit_once("::").expect("a file and a name");
                (format!("proxy::{}", file.replace('/', "::")), name.into())
            });
            (way.to_string(), steps.collect())
        })
    });
    rows.collect()
}

/// What is wrong with one way.
fn fault_of_way(
    steps: &[(String, String)],
    codes: &HashMap<String, String>,
    rooms: &[String],
) -> Option<String> {
    let mut entered: Vec<&str> = Vec::new();
    for (at, (file, name)) in steps.iter().enumerate() {
        let (Some(code), Some(room)) = (codes.get(file), room_of(file, rooms)) else {
            return Some(format!("there is no {file}"));
        };
        let kinds = ["fn", "struct", "enum"];
        if !kinds
            .iter()
            .any(|kind| has_word(code, &format!("{kind} {name}")))
        {
            return Some(format!("{file} has no {name}"));
        }
        let mut before = steps[..at].iter().map(|(file, _)| file);
        let calls = |file: &String| {
            let mut lines = codes[file].lines();
            lines.any(|line| has_word(line, name) && !line.contains(&format!("fn {name}")))
        };
        if at > 0 && !before.any(calls) {
            return Some(format!("no step before it names {file}::{name}"));
        }
        if entered.last() != Some(&room) {
            if entered.contains(&room) {
                return Some(format!(
                    "`{room}` is entered twice, again by {file}::{name}"
                ));
            }
            entered.push(room);
        }
    }
    None
}

#[test]
fn get_and_mget_enter_no_room_twice() {
    let (rooms, sources) = (rooms(), proxy_sources());
    let code = |source: &Source| {
        let lines: Vec<&str> = source.code().into_iter().map(|(_, line)| line).collect();
        (module(source), lines.join("\n"))
    };
    let codes: HashMap<String, String> = sources.iter().map(code).collect();
    let table = sources.iter().find(|source| source.path == "proxy/mod.rs");
    let ways = ways(table.expect("src/proxy/mod.rs"));
    assert_eq!(ways.len(), 4, "the ways of src/proxy/mod.rs");
    for (way, steps) in &ways {
        assert!(steps.len() > 4, "{way}: {steps:?}");
        assert_eq!(fault_of_way(steps, &codes, &rooms), None, "{way}");
        // The rule works: back to the first room, a step that is not there, one that nobody calls.
        let with = |step: (&str, &str)| {
            let step = (step.0.to_string(), step.1.to_string());
            let all: Vec<(String, String)> = steps.iter().cloned().chain([step]).collect();
            fault_of_way(&all, &codes, &rooms)
        };
        assert!(with(("proxy::inputs", "input")).is_some());
        assert!(with(("proxy::actions", "no_such")).is_some());
        assert!(with(("proxy::watchers", "any_other")).is_some());
    }
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
