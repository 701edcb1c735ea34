//! No circles: of two files that import each other, neither can be read, tested or changed alone. `layers` holds the
//! order of the modules of the top level; this holds that within a module there is one, too, whatever it is.
//!
//! What a file names is an import of the deepest module of that path that is a file. Tests within a file do not
//! count, nor does `src/proxy`, whose acts are methods of one type and call each other: `rooms` has a rule for it.

use std::collections::{BTreeMap, BTreeSet};

use crate::imports::{imports, module};
use crate::layers::{Source, sources};

/// The files that each file imports, by their modules: `control::state`.
type Graph = BTreeMap<String, BTreeSet<String>>;

fn graph(sources: &[Source]) -> Graph {
    let modules: BTreeSet<String> = sources.iter().map(module).collect();
    let mut graph = Graph::new();
    for source in sources {
        let own = module(source);
        // A file of tests of its own belongs to the file that it tests.
        if own.ends_with("tests") {
            continue;
        }
        let code: Vec<&str> = source.code().into_iter().map(|(_, line)| line).collect();
        let named = graph.entry(own.clone()).or_default();
        for mut path in imports(&own, &code.join("\n")) {
            while !path.is_empty() && !modules.contains(&path) {
                path = path
                    .rsplit_once("::")
                    .map_or("", |(parent, _)| parent)
                    .to_string();
            }
            if !path.is_empty() && path != own {
                named.insert(path);
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
