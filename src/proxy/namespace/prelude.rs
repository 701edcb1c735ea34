//! The prelude of scripts: what stands before each script of a namespace (see `prelude.lua`). Through it a script sees
//! its keys as its client names them, and reaches no others, whether it has declared them or not.
//!
//! It is one line before the first line of the script, so that the lines of errors stay right, and the same for all
//! namespaces, so that they share scripts; the tag comes as the last argument.

use std::sync::LazyLock;

use crate::command::{
    BeginSearch, Class, Command, Confined, FindKeys, Flags, KeySpec, Keys, KeysInReply, Rewrite,
    Table,
};

const SOURCE: &str = include_str!("prelude.lua");

/// The prelude.
static PRELUDE: LazyLock<String> = LazyLock::new(|| {
    let lines = SOURCE.lines().filter(|line| !line.starts_with("--"));
    let code = lines.collect::<Vec<_>>().join(" ");
    code.replace("@COMMANDS@", &commands(&Table::compiled())) + " "
});

/// Where the keys of all commands are that scripts may call.
fn commands(table: &Table) -> String {
    let mut text = String::new();
    for row in table.rows() {
        if let Some(spec) = spec_of(row) {
            text.push(';');
            text.push_str(&row.name);
            text.push('=');
            text.push_str(&spec);
        }
    }
    text.push(';');
    text
}

/// The commands without keys that scripts may call. What the proxy answers a client itself may mean more at a node:
/// CLUSTER there lists keys of any slot, and changes the cluster.
const FREE: &[&str] = &[
    "asking",
    "echo",
    "info",
    "lastsave",
    "lolwut",
    "pfselftest",
    "ping",
    "publish",
    "readonly",
    "readwrite",
    "select",
    "spublish",
    "time",
    "waitaof",
];

fn is_free(name: &str) -> bool {
    FREE.contains(&name) || name.starts_with("command|") || name.ends_with("|help")
}

/// Where the keys of a command are, in the words of the prelude; nothing if scripts may not call it.
fn spec_of(row: &Command) -> Option<String> {
    if row.flags.contains(Flags::NOSCRIPT) || matches!(row.class, Class::Refused(_)) {
        return None;
    }
    if row.container {
        return Some("c".to_string());
    }
    match row.confined {
        Confined::Free | Confined::Rewritten(Rewrite::Select) => {
            return is_free(&row.name).then(|| "f".to_string());
        }
        Confined::Keys | Confined::Rewritten(Rewrite::Sort | Rewrite::Move | Rewrite::Copy) => {}
        Confined::Rewritten(_) | Confined::Refused(_) => return None,
    }
    let told = match row.keys_in_reply {
        KeysInReply::None => "",
        KeysInReply::First => "!f",
        KeysInReply::Fields => "!s",
    };
    let keys = match row.keys {
        Keys::One(at) => format!("{at}.{at}.1"),
        Keys::Specs => {
            let specs: Option<Vec<String>> = row.key_specs.iter().map(part_of).collect();
            specs?.join("/")
        }
        Keys::StoreOption(_) => "1.1.1/o".to_string(),
        Keys::Streams => "s".to_string(),
        Keys::None | Keys::Migrate | Keys::Unknown => return None,
    };
    Some(keys + told)
}

fn part_of(spec: &KeySpec) -> Option<String> {
    let BeginSearch::Index(first) = spec.begin else {
        return None;
    };
    match spec.find {
        FindKeys::Range {
            last,
            step,
            limit: 0 | 1,
        } => {
            let last = match last {
                0.. => first as i32 + last,
                _ => last,
            };
            Some(format!("{first}.{last}.{}", step.max(1)))
        }
        FindKeys::Keynum {
            num_index,
            first_key: 1,
            step,
        } => Some(format!("#{}.{}", first + num_index, step.max(1))),
        _ => None,
    }
}

/// How long the line that names the engine of a script is, its end included; scripts without one have none.
fn first_line_len(body: &[u8]) -> usize {
    match body.starts_with(b"#!") {
        true => memchr::memchr(b'\n', body).map_or(body.len(), |end| end + 1),
        false => 0,
    }
}

/// A script as nodes get it. One that is nothing but the line of its engine has no code to be confined.
pub fn wrap(body: &[u8]) -> Vec<u8> {
    if body.starts_with(b"#!") && !body.contains(&b'\n') {
        return body.to_vec();
    }
    let (engine, code) = body.split_at(first_line_len(body));
    [engine, PRELUDE.as_bytes(), code].concat()
}

/// A script as its client wrote it, of what nodes get.
pub fn unwrap(wrapped: &[u8]) -> Option<Vec<u8>> {
    let (engine, code) = wrapped.split_at(first_line_len(wrapped));
    let code = code.strip_prefix(PRELUDE.as_bytes())?;
    Some([engine, code].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_keeps_its_lines_and_its_engine() {
        for body in [&b"return 1"[..], b"", b"#!lua flags=no-writes\nreturn 1"] {
            let wrapped = wrap(body);
            assert_eq!(unwrap(&wrapped).as_deref(), Some(body));
            let lines = |text: &[u8]| text.iter().filter(|byte| **byte == b'\n').count();
            assert_eq!(lines(&wrapped), lines(body));
            assert!(body.starts_with(b"#!") == wrapped.starts_with(b"#!"));
        }
        assert_eq!(unwrap(b"return 1"), None);
        assert_eq!(wrap(b"#!lua"), b"#!lua");
    }

    #[test]
    fn scripts_may_call_what_has_keys() {
        let commands = commands(&Table::compiled());
        for part in [
            ";get=1.1.1;",
            ";mset=1.-1.2;",
            ";rename=1.1.1/2.2.1;",
            ";lmpop=#1.1!f;",
            ";xread=s!s;",
            ";object=c;",
            ";object|encoding=2.2.1;",
            ";zunionstore=1.1.1/#2.1;",
            ";time=f;",
            ";sort=1.1.1/o;",
            ";bitop=2.2.1/3.-1.1;",
        ] {
            assert!(commands.contains(part), "{part}: {commands}");
        }
        for name in [
            "flushall",
            "config|set",
            "eval",
            "script|load",
            "migrate",
            "monitor",
            "fcall",
        ] {
            assert!(!commands.contains(&format!(";{name}=")), "{name}");
        }
        assert!(!commands.contains('\''));
    }
}
