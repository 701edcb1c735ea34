//! Suggests the known name that differs from an unknown one in a few letters.

/// The name of these that is nearest to `text`, if one is near: a third of its letters may be wrong, at most three.
pub(super) fn nearest<'a>(text: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    // What is much longer than any name is not looked at letter by letter.
    let text: Vec<char> = text.chars().take(LETTERS_MAX).collect();
    let most = (text.len() / 3).min(3);
    let near = names.map(|name| (distance(&text, name), name));
    let best = near.min_by_key(|(distance, _)| *distance);
    best.filter(|(distance, _)| *distance <= most)
        .map(|(_, name)| name)
}

/// Letters that are compared.
const LETTERS_MAX: usize = 100;

/// How many letters must be added, left out, changed, or swapped with their neighbours.
fn distance(text: &[char], name: &str) -> usize {
    let name: Vec<char> = name.chars().collect();
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=name.len()).collect();
    for (row, letter) in text.iter().enumerate() {
        let mut next = vec![row + 1];
        for (column, other) in name.iter().enumerate() {
            let changed = last[column] + usize::from(letter != other);
            let mut least = changed.min(last[column + 1] + 1).min(next[column] + 1);
            let swapped =
                row > 0 && column > 0 && text[row - 1] == *other && name[column - 1] == *letter;
            if swapped {
                least = least.min(before[column - 1] + 1);
            }
            next.push(least);
        }
        before = std::mem::replace(&mut last, next);
    }
    last[name.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_found_if_few_letters_are_wrong() {
        let names = ["addr", "max-procs", "max-clients", "log-file", "log-level"];
        for (text, expected) in [
            ("adr", Some("addr")),
            ("adrd", Some("addr")),
            ("max-proc", Some("max-procs")),
            ("max_clients", Some("max-clients")),
            ("maxclients", Some("max-clients")),
            ("log-fiel", Some("log-file")),
            ("x", None),
            ("", None),
            ("colour", None),
        ] {
            assert_eq!(nearest(text, names.into_iter()), expected, "{text}");
        }
        assert_eq!(nearest(&"a".repeat(1 << 20), names.into_iter()), None);
    }
}
