//! The source layout, held by reading the sources: who may import whom, and what may be named where. The
//! layers are read from the table in `src/lib.rs`, so that there is one list of them.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

const LINES_MAX: usize = 1000;

/// Where a layer may do what the layers around it may not, with the reason.
const EXEMPT: &[(&str, &str, &str)] = &[
    (
        "proxy/process.rs",
        "Mutex",
        "the store of scripts, for when one is loaded or missing",
    ),
    (
        "proxy/stats/mod.rs",
        "Mutex",
        "the list of nodes, for when one comes or goes, and for those who show it",
    ),
    ("proxy/local/scripting.rs", "MutexGuard", "as above"),
    (
        "proxy/pubsub/state/announced.rs",
        "Mutex",
        "taken when a subscription is on its way, and by a PUBLISH only then",
    ),
    (
        "proxy/pubsub/state/register.rs",
        "Mutex",
        "taken when a subscription begins or ends, and by PUBLISH while there is one; not without",
    ),
    (
        "live_config.rs",
        "Mutex",
        "held when a setting changes and when copies are renewed, never on the data path",
    ),
    (
        "clock.rs",
        "Mutex",
        "taken when the process has stood still, and by those who show the wall clock",
    ),
    (
        "worker/accept.rs",
        "libc",
        "numbers of errors, which std does not name; no call",
    ),
    (
        "proxy/stats/key_tally.rs",
        "Mutex",
        "taken when a client begins or ends to watch or to wait for keys, and by INFO",
    ),
    (
        "proxy/stats/masters_info.rs",
        "Mutex",
        "what the masters said last, for all workers; INFO alone takes it",
    ),
    (
        "proxy/texts/node_words.rs",
        "Mutex",
        "taken when a node refuses a new connection, so that all workers tell of it once a second",
    ),
    (
        "proxy/local/sections.rs",
        "SystemTime::now",
        "INFO shows the wall clock",
    ),
    (
        "proxy/local/sections.rs",
        "std::fs",
        "INFO shows what /proc says of this process",
    ),
    (
        "proxy/local/server.rs",
        "SystemTime::now",
        "TIME shows the wall clock",
    ),
    (
        "proxy/process.rs",
        "SystemTime::now",
        "taken once, when the process starts",
    ),
];

pub struct Source {
    /// Below `src/`.
    pub path: String,
    /// What it holds.
    pub text: String,
}

impl Source {
    /// The module of the top level that it belongs to.
    fn module(&self) -> &str {
        let top = self.path.split('/').next().expect("never empty");
        top.strip_suffix(".rs").unwrap_or(top)
    }

    /// The code without comments and without its tests, line by line with numbers. What stands behind tests counts.
    pub fn code(&self) -> Vec<(usize, &str)> {
        let mut lines = (1..).zip(self.text.lines());
        let mut code = Vec::new();
        while let Some((number, line)) = lines.next() {
            if line != "#[cfg(test)]" {
                code.push((number, line.split("//").next().unwrap_or_default()));
                continue;
            }
            // The item that is only for tests: to its end, which rustfmt does not indent.
            let mut begun = false;
            for (_, line) in lines.by_ref() {
                begun |= !line.starts_with("#[");
                if begun && !line.starts_with(' ') && line.ends_with([';', '}']) {
                    break;
                }
            }
        }
        code
    }

    fn is_exempt(&self, word: &str) -> bool {
        let mut exempt = EXEMPT.iter();
        exempt.any(|(path, allowed, _)| *path == self.path && *allowed == word)
    }
}

/// All sources, in the order of their paths.
pub fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut folders = vec![root.clone()];
    let mut sources = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder") {
            let path: PathBuf = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let below = path.strip_prefix(&root).expect("below src");
                sources.push(Source {
                    path: below.to_str().expect("a plain name").to_string(),
                    text: std::fs::read_to_string(&path).expect("a source"),
                });
            }
        }
    }
    assert!(sources.len() > 20, "the sources were not found");
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    sources
}

/// Rows of the table in lib.rs: ``| 4' | [`net`] | sockets |``.
fn layers() -> HashMap<String, String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs");
    let text = std::fs::read_to_string(path).expect("lib.rs");
    let rows = text.lines().filter_map(|line| line.strip_prefix("//! | "));
    let mut layers = HashMap::new();
    for row in rows {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        if !cells[0].starts_with(|first: char| first.is_ascii_digit()) {
            continue;
        }
        for name in cells[1].split('`').skip(1).step_by(2) {
            layers.insert(name.to_string(), cells[0].to_string());
        }
    }
    assert!(layers.len() > 10, "the table of lib.rs was not understood");
    layers
}

/// Whether a module of layer `from` may import one of layer `to`.
fn may_import(from: &str, to: &str) -> bool {
    match (from, to) {
        // Beside the proxy, and blind to it and to the protocol.
        ("4'", to) => to == "0" || to == "4'",
        ("4", "4'") => false,
        _ => to.trim_end_matches('\'') <= from.trim_end_matches('\''),
    }
}

/// The modules that a line names: `crate::resp`, `redis_cluster_proxy::config`, `crate::{a, b}`.
fn imports(line: &str) -> Vec<&str> {
    let mut names = Vec::new();
    for prefix in ["crate::", "redis_cluster_proxy::"] {
        for (at, _) in line.match_indices(prefix) {
            let rest = &line[at + prefix.len()..];
            let rest = match rest.strip_prefix('{') {
                Some(list) => list.split('}').next().unwrap_or_default(),
                None => rest.split(',').next().unwrap_or_default(),
            };
            names.extend(rest.split(',').map(|item| {
                let item = item.trim();
                let end = item.find(|byte: char| !byte.is_alphanumeric() && byte != '_');
                &item[..end.unwrap_or(item.len())]
            }));
        }
    }
    names
}

pub fn has_word(line: &str, word: &str) -> bool {
    let is_part = |byte: char| byte.is_alphanumeric() || byte == '_';
    line.match_indices(word).any(|(at, _)| {
        !line[..at].ends_with(is_part) && !line[at + word.len()..].starts_with(is_part)
    })
}

/// Fails with all the places at once.
fn check(what: &str, mut find: impl FnMut(&Source, &str) -> Option<String>) {
    let mut found = Vec::new();
    for source in sources() {
        for (number, line) in source.code() {
            if let Some(why) = find(&source, line) {
                let path = &source.path;
                found.push(format!("src/{path}:{number}: {why}: {}", line.trim()));
            }
        }
    }
    assert!(found.is_empty(), "{what}\n{}", found.join("\n"));
}

/// No line names `word` where `allowed` says no.
fn check_word(word: &str, allowed: impl Fn(&Source) -> bool) {
    check(&format!("`{word}` is not for everybody"), |source, line| {
        (has_word(line, word) && !allowed(source) && !source.is_exempt(word))
            .then(|| format!("names {word}"))
    });
}

fn is_below(source: &Source, places: &[&str]) -> bool {
    places.contains(&source.module()) || places.contains(&source.path.as_str())
}

/// The layers that know no I/O: 0 to 4.
fn is_core(source: &Source, layers: &HashMap<String, String>) -> bool {
    layers
        .get(source.module())
        .is_some_and(|layer| ["0", "1", "2", "3", "4"].contains(&layer.as_str()))
}

#[test]
fn every_module_has_a_layer() {
    let layers = layers();
    for source in sources() {
        let module = source.module();
        assert!(
            module == "lib" || layers.contains_key(module),
            "src/{} is not on the map in lib.rs",
            source.path
        );
    }
}

#[test]
fn a_layer_imports_only_from_those_above() {
    let layers = layers();
    check("a layer imports from below", |source, line| {
        let own = layers.get(source.module())?;
        let imported = imports(line);
        let mut wrong = imported
            .iter()
            .filter_map(|name| layers.get_key_value(*name));
        wrong
            .find(|(_, layer)| !may_import(own, layer))
            .map(|(name, layer)| format!("layer {own} imports {name} of layer {layer}"))
    });
}

#[test]
fn io_stays_at_the_edge() {
    let layers = layers();
    check_word("mio", |source| {
        is_below(source, &["net", "worker", "mailbox", "control"])
    });
    check_word("socket2", |source| is_below(source, &["net"]));
    check_word("libc", calls_the_c_library);
    for word in [
        "std::fs",
        "std::thread",
        "TcpStream",
        "UdpSocket",
        "UnixStream",
        "TcpListener",
    ] {
        check_word(word, |source| !is_core(source, &layers));
    }
    check("I/O in a layer without I/O", |source, line| {
        let rest = line.split("std::io").nth(1)?;
        let is_slice = rest.starts_with("::IoSlice") && !rest.contains(',');
        (is_core(source, &layers) && !is_slice).then(|| "more than IoSlice".to_string())
    });
}

#[test]
fn time_is_an_argument() {
    check_word("Instant::now", |source| {
        // `top` is a client of its own, which waits for another process.
        source.path == "clock.rs" || is_below(source, &["control", "logging", "top"])
    });
    let layers = layers();
    check_word("SystemTime::now", |source| !is_core(source, &layers));
}

/// The two files with calls that no Rust library wraps.
fn calls_the_c_library(source: &Source) -> bool {
    ["allocator.rs", "control/profile/interrupt.rs"].contains(&source.path.as_str())
}

#[test]
fn memory_is_owned_in_one_place() {
    let layers = layers();
    check_word("unsafe", calls_the_c_library);
    check_word("Rc", |_| false);
    check_word("RefCell", |source| {
        !is_core(source, &layers) && !is_below(source, &["net", "worker"])
    });
    check_word("Mutex", |source| !is_core(source, &layers));
}

#[test]
fn every_file_says_what_it_is_and_stays_small() {
    for source in sources() {
        let (path, lines) = (&source.path, source.text.lines().count());
        assert!(
            source.text.starts_with("//! "),
            "src/{path} does not begin with what it is"
        );
        assert!(
            lines <= LINES_MAX,
            "src/{path} has {lines} lines, more than {LINES_MAX}"
        );
    }
}

#[test]
fn the_rules_themselves_work() {
    assert_eq!(imports("use crate::resp::args::Args;"), ["resp"]);
    assert_eq!(
        imports("use crate::{arena::Id, buffer};"),
        ["arena", "buffer"]
    );
    assert_eq!(
        imports("x: crate::net::Y, y: crate::proxy::Z"),
        ["net", "proxy"]
    );
    assert!(may_import("5", "4'") && may_import("6", "6") && may_import("3", "0"));
    assert!(!may_import("4'", "1") && !may_import("4", "4'") && !may_import("2", "3"));
    assert!(has_word("Rc<RefCell<u8>>", "Rc") && !has_word("Arc<u8>", "Rc"));
    assert!(!has_word("#![deny(unsafe_code)]", "unsafe"));
    for (path, word, why) in EXEMPT {
        let source = sources().into_iter().find(|source| source.path == *path);
        let source = source.unwrap_or_else(|| panic!("{path} is exempt, and gone"));
        assert!(
            source.code().iter().any(|(_, line)| has_word(line, word)),
            "src/{path} names no {word} ({why}): take it off the list"
        );
    }
}

#[test]
fn code_behind_tests_is_read() {
    let text = "use a;\n#[cfg(test)]\n#[path = \"x.rs\"]\nmod x;\n#[cfg(test)]\nmod tests {\n    use b;\n\n    fn f() {}\n}\nuse c; // d\n\
                #[cfg(test)]\nfn g(\n    a: u8,\n) {\n    h();\n}\n#[cfg(test)]\nfn i() {}\nuse e;\n";
    let source = Source {
        path: "a.rs".to_string(),
        text: text.to_string(),
    };
    assert_eq!(
        source.code(),
        [(1, "use a;"), (11, "use c; "), (20, "use e;")]
    );
}
