//! Flags that say something of each of several names: a comma list of names and what is said of them.

use super::address;

/// Reads such a list; `mark` stands behind each name. A name that is listed twice is an error.
pub(super) fn read<T>(
    value: &str,
    mark: char,
    read: impl Fn(&str) -> Result<T, String>,
) -> Result<Vec<(String, T)>, String> {
    let mut all: Vec<(String, T)> = Vec::new();
    for item in address::items(value) {
        let (name, text) = item
            .rsplit_once(mark)
            .ok_or_else(|| format!("expected name{mark}value in {item:?}"))?;
        let (name, text) = (name.trim(), text.trim());
        if name.is_empty() {
            return Err(format!("the name is missing in {item:?}"));
        }
        if all.iter().any(|(other, _)| other == name) {
            return Err(format!("{name:?} is listed twice"));
        }
        let said = read(text).map_err(|reason| format!("{reason} in {item:?}"))?;
        all.push((name.to_string(), said));
    }
    Ok(all)
}

/// The list as it is typed.
pub(super) fn show<T>(all: &[(String, T)], mark: char, text: impl Fn(&T) -> String) -> String {
    let items: Vec<String> = all
        .iter()
        .map(|(name, said)| format!("{name}{mark}{}", text(said)))
        .collect();
    items.join(",")
}
