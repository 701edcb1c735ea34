//! Escapes text of peers for a terminal and for one line of a log.
//!
//! Control characters drive a terminal. Format characters reverse or hide the text that follows, or break the line
//! (U+202E, U+200B, U+2028), so that a reader sees another text than there is. All of them are escaped.

/// Whether a character must not be shown as it is.
pub fn is_wild(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
            | '\u{180b}'..='\u{180f}'
            // Spaces without width, marks of direction, line and paragraph separators, embeddings, isolates.
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}'
            | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

/// A text with all such characters escaped, as Rust writes them: `\n`, `\u{202e}`.
pub fn tame(text: &str) -> String {
    let mut tamed = String::with_capacity(text.len());
    for c in text.chars() {
        if is_wild(c) {
            tamed.extend(c.escape_default());
        } else {
            tamed.push(c);
        }
    }
    tamed
}

/// The same inside of JSON, where escapes are of another form. Outside of its strings JSON has none of them.
pub(super) fn tame_json(json: &str) -> String {
    let mut tamed = String::with_capacity(json.len());
    for c in json.chars() {
        if is_wild(c) {
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                tamed += &format!("\\u{unit:04x}");
            }
        } else {
            tamed.push(c);
        }
    }
    tamed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_drives_a_terminal_or_turns_a_line_is_escaped() {
        for wild in [
            '\u{0}',
            '\u{1b}',
            '\n',
            '\r',
            '\u{7f}',
            '\u{9b}',
            '\u{85}',
            '\u{ad}',
            '\u{200b}',
            '\u{200f}',
            '\u{2028}',
            '\u{2029}',
            '\u{202a}',
            '\u{202e}',
            '\u{2066}',
            '\u{2069}',
            '\u{feff}',
            '\u{e0041}',
        ] {
            let text = format!("a{wild}b");
            let tamed = tame(&text);
            assert!(
                !tamed.contains(wild) && tamed.starts_with("a\\") && tamed.ends_with('b'),
                "{tamed}"
            );
            let json = tame_json(&format!("\"{text}\""));
            assert!(!json.contains(wild), "{json}");
            let read: String = serde_json::from_str(&json).expect("JSON");
            assert_eq!(read, text);
        }
        for plain in ["key:1", "schlüssel", "鍵", "ключ", "مفتاح", "🔑", "\"\\'"] {
            assert_eq!(tame(plain), plain);
            assert_eq!(tame_json(plain), plain);
        }
    }
}
