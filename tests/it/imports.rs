//! What a file imports: what it names by `use`, over any number of lines, or by a path that begins with `crate::` or
//! `super::`. For the tests that hold the layout of the sources.

use crate::layers::Source;

/// The module that a file is: `control/api/mod.rs` is `control::api`.
pub fn module(source: &Source) -> String {
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
            // Not `pub(in crate::proxy::lease)`, which says who may look.
            if !code[..at].ends_with(is_part) && !code[..at].ends_with("in ") {
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

/// The paths from the root of the crate that the code of a module names.
pub fn imports(module: &str, code: &str) -> Vec<String> {
    let paths = paths(code);
    let paths = paths.iter().filter_map(|path| absolute(module, path));
    paths.collect()
}
