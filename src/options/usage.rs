//! The texts made from the table: the usage as Go prints it, the table of the reference page, the version line.

use super::flag::{Flag, Kind};
use super::table::FLAGS;
use crate::sort;

/// The usage, as Go's `flag.PrintDefaults` lays it out: sorted by name, defaults shown unless zero.
pub fn usage() -> String {
    let mut flags: Vec<&Flag> = FLAGS.iter().collect();
    sort::by_key(&mut flags, |flag| flag.name);
    let mut text = format!("Usage of {}:\n", env!("CARGO_PKG_NAME"));
    for flag in flags {
        text.push_str("  -");
        text.push_str(flag.name);
        if let Some(type_name) = flag.kind.type_name() {
            text.push(' ');
            text.push_str(type_name);
        }
        text.push_str("\n    \t");
        text.push_str(flag.help);
        if !flag.has_zero_default() {
            text.push_str(&match flag.kind {
                Kind::String | Kind::Secret => format!(" (default {:?})", flag.default),
                Kind::Int | Kind::Duration | Kind::Bool | Kind::Action => {
                    format!(" (default {})", flag.default)
                }
            });
        }
        text.push('\n');
    }
    text
}

/// The table in `dist/docs/flags.md` between `<!-- flags -->` and `<!-- /flags -->`, each on its own line.
/// `UPDATE_README=1 cargo test --test it options::` writes it there.
pub fn reference_table() -> String {
    let mut text = String::from(
        "| flag | environment variable | default | meaning |\n\
         |---|---|---|---|\n",
    );
    for flag in FLAGS {
        let code = |text: &str| match text {
            "" => String::new(),
            text => format!("`{text}`"),
        };
        let variable = flag.variable().unwrap_or_default();
        let default = match flag.kind {
            Kind::Action => "",
            Kind::String | Kind::Secret | Kind::Int | Kind::Duration | Kind::Bool => flag.default,
        };
        text.push_str(&format!(
            "| `-{}` | {} | {} | {} |\n",
            flag.name,
            code(&variable),
            code(default),
            flag.help
        ));
    }
    text
}

/// What `-version` prints: of a build for tests, and one without git, the commit is unknown.
pub fn version() -> String {
    concat!(
        env!("CARGO_PKG_NAME"),
        " ",
        env!("CARGO_PKG_VERSION"),
        " (commit ",
        env!("BUILD_COMMIT"),
        ")\n"
    )
    .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usage_is_laid_out_as_go_does() {
        let usage = usage();
        let lines: Vec<&str> = usage.lines().collect();
        assert_eq!(lines[0], "Usage of redis-cluster-proxy:");
        assert_eq!(lines.len(), 1 + 2 * FLAGS.len());
        let check = |head: &str, help_ends: &str| {
            let at = lines.iter().position(|line| *line == head);
            let help = lines[at.unwrap_or_else(|| panic!("no line {head:?}")) + 1];
            assert!(help.starts_with("    \t"), "{help:?}");
            assert!(help.ends_with(help_ends), "{help:?}");
        };
        check("  -addr string", " (default \"0.0.0.0:8088\")");
        check("  -backend-connections int", " (default 1)");
        check("  -connect-timeout duration", " (default 250ms)");
        check("  -protected-mode", " (default true)");
        check("  -password string", "clients of the proxy must give too");
        check("  -version", "print the version and exit");
        let heads: Vec<&str> = lines[1..].iter().step_by(2).copied().collect();
        assert!(heads.is_sorted());
    }
}
