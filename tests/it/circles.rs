//! No circles: of two files that import each other, neither can be read, tested or changed alone. `layers` holds the
//! order of the modules of the top level; this holds that within a module there is one, too, whatever it is.
//!
//! What a file names by `use`, or by a path that begins with `crate::` or `super::`, is an import of the file in which
//! it lies: of the deepest module of that path that is a file. Tests at the foot of a file do not count, nor does
//! `src/proxy`, whose acts are methods of one type and call each other: its rooms have a rule of their own.

use std::collections::{BTreeMap, BTreeSet};

use crate::layers::{Source, sources};

/// The files that each file imports, by their modules: `control::state`.
type Graph = BTreeMap<String, BTreeSet<String>>;

/// The module that a file is: `control/api/mod.rs` is `control::api`.
fn module(source: &Source) -> String {
    let path = source.path.strip_suffix(".rs").unwrap_or(&source.path);
    let path = path.strip_suffix("/mod").unwrap_or(path);
    path.replace('/', "::")
}

/// The paths of `a::{b, c::{d, e as f}}`.
fn expand(prefix: &str, tree: &str, paths: &mut Vec<String>) {
    let tree = tree.trim();
    let Some((before, list)) = tree.split_once('{') else {
        let path = tree.split(" as ").next().unwrap_or_default();
        paths.push(format!("{prefix}{}", path.trim()));
        return;
    };
    let prefix = format!("{prefix}{}", before.trim());
    let list = list.strip_suffix('}').unwrap_or(list);
    let (mut depth, mut from) = (0, 0);
    for (at, byte) in list.bytes().enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' => depth -= 1,
            b',' if depth == 0 => {
                expand(&prefix, &list[from..at], paths);
                from = at + 1;
            }
            _ => {}
        }
    }
    if !list[from..].trim().is_empty() {
        expand(&prefix, &list[from..], paths);
    }
}

/// All paths that the code of a file names.
fn paths(code: &str) -> Vec<String> {
    let mut paths = Vec::new();
    for (at, _) in code.match_indices("use ") {
        let begins = code[..at].ends_with(['\n', ' ', ')']) || at == 0;
        if let Some(end) = code[at..].find(';').filter(|_| begins) {
            expand("", &code[at + 4..at + end], &mut paths);
        }
    }
    for root in ["crate::", "super::"] {
        for (at, _) in code.match_indices(root) {
            let is_part = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
            if !code[..at].ends_with(is_part) {
                let rest = &code[at..];
                let end = rest.find(|c: char| !is_part(c)).unwrap_or(rest.len());
                // A list of names was taken with its `use`.
                if !rest[end..].starts_with('{') {
                    paths.push(rest[..end].to_string());
                }
            }
        }
    }
    paths
}

/// What a path that stands in `from` means, from the root of the crate; nothing if it leads out of the crate.
fn absolute(from: &str, path: &str) -> Option<String> {
    let mut words = path.split("::").peekable();
    let mut base: Vec<&str> = match *words.peek()? {
        "crate" => Vec::new(),
        "self" | "super" => from.split("::").collect(),
        _ => return None,
    };
    while let Some(word) = words.next_if(|word| ["crate", "self", "super"].contains(word)) {
        if word == "super" {
            base.pop();
        }
    }
    base.extend(words);
    Some(base.join("::"))
}

fn graph(sources: &[Source]) -> Graph {
    let modules: BTreeSet<String> = sources.iter().map(module).collect();
    let mut graph = Graph::new();
    for source in sources {
        let own = module(source);
        // A file of tests of its own belongs to the file that it tests.
        if own.ends_with("tests") {
            continue;
        }
        let lines = source.code().into_iter().map(|(_, line)| line);
        let code = lines.collect::<Vec<_>>().join("\n");
        let imports = graph.entry(own.clone()).or_default();
        for path in paths(&code) {
            let mut path = absolute(&own, &path).unwrap_or_default();
            while !path.is_empty() && !modules.contains(&path) {
                path = path
                    .rsplit_once("::")
                    .map_or("", |(parent, _)| parent)
                    .to_string();
            }
            if !path.is_empty() && path != own {
                imports.insert(path);
            }
        }
    }
    graph
}

/// A circle, as the modules on it; nothing if there is none.
fn circle(graph: &Graph) -> Option<Vec<String>> {
    let mut left = graph.clone();
    // Whoever imports nothing that is left is on no circle.
    loop {
        let free: Vec<String> = left
            .iter()
            .filter(|(_, imports)| imports.iter().all(|import| !left.contains_key(import)))
            .map(|(module, _)| module.clone())
            .collect();
        if free.is_empty() {
            break;
        }
        for module in free {
            left.remove(&module);
        }
    }
    // From any of the rest one comes to a circle.
    let mut walk = vec![left.keys().next()?.clone()];
    loop {
        let imports = &left[&walk[walk.len() - 1]];
        let next = imports.iter().find(|import| left.contains_key(*import))?;
        if let Some(at) = walk.iter().position(|module| module == next) {
            return Some(walk.split_off(at));
        }
        walk.push(next.clone());
    }
}

#[test]
fn no_two_files_import_each_other() {
    let mut graph = graph(&sources());
    graph.retain(|module, _| module != "lib" && module.split("::").next() != Some("proxy"));
    assert!(graph.len() > 50, "the imports were not understood");
    if let Some(circle) = circle(&graph) {
        panic!("these files import each other: {}", circle.join(" -> "));
    }
}

#[test]
fn a_circle_is_found() {
    let source = |path: &str, text: &str| Source {
        path: path.to_string(),
        text: text.to_string(),
    };
    let a = source("a/mod.rs", "//! A.\nmod b;\nuse std::fmt;\npub struct A;\n");
    let b = source(
        "a/b.rs",
        "//! B.\npub(crate) use super::{A, c::{self, C as D}};\n",
    );
    let c = source("a/c.rs", "//! C.\nfn c(c: crate::d::D) {}\n");
    let back = source(
        "d.rs",
        "//! D.\nuse crate::a::{\n    c::C, // a comment\n    b::B,\n};\n",
    );
    let all = [a, b, c, back];
    let whole = graph(&all);
    let imports = |module: &str| whole[module].iter().cloned().collect::<Vec<_>>().join(" ");
    assert_eq!(imports("a"), "");
    assert_eq!(imports("a::b"), "a a::c");
    assert_eq!(imports("a::c"), "d");
    assert_eq!(imports("d"), "a::b a::c");
    let mut found = circle(&whole).expect("a circle");
    found.sort();
    assert!(
        found == ["a::b", "a::c", "d"] || found == ["a::c", "d"],
        "{found:?}"
    );
    assert_eq!(circle(&graph(&all[..3])), None);
}
