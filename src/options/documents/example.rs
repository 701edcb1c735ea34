//! The example configuration: every setting as a comment.

use super::{FLAGS, is_setting, sample};

/// How wide a comment may be.
const WIDTH: usize = 78;

const HEAD: &str = "\
# Configuration of redis-cluster-proxy: redis-cluster-proxy -config THIS-FILE
#
# Each line is the name of a flag and its value. Lines that begin with \"#\" are
# comments. A value may be in double quotes. Flags on the command line and
# environment variables (REDIS_PROXY_ADDR for addr) take precedence over this file.
#
# SIGHUP reloads this file. Settings marked \"can be changed while running\" and
# passwords take effect then; all others at the next start. Check a changed file
# with: redis-cluster-proxy -config THIS-FILE -check
#
# Every setting is listed with its default, or with an example if it has none.
# Remove the \"#\" before a name to set it. Most installations need startup-nodes,
# addr and a password, and debug-addr for health checks and metrics.
";

/// The text of the file.
pub fn example() -> String {
    let mut text = HEAD.to_string();
    for flag in FLAGS.iter().filter(|flag| is_setting(flag)) {
        text.push('\n');
        for line in wrapped(flag.help) {
            text.push_str(&format!("# {line}\n"));
        }
        let mut notes = Vec::new();
        if flag.default != sample(flag) {
            notes.push("not set by default");
        }
        if flag.live {
            notes.push("can be changed while running");
        }
        if !notes.is_empty() {
            text.push_str(&format!("# ({})\n", notes.join("; ")));
        }
        text.push_str(&format!("#{} {}\n", flag.name, sample(flag)));
    }
    text
}

/// The text in lines of at most [`WIDTH`], but for longer words.
fn wrapped(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = vec![String::new()];
    for word in text.split_whitespace() {
        let Some(line) = lines.last_mut() else { break };
        if line.is_empty() {
            line.push_str(word);
        } else if line.len() + 1 + word.len() <= WIDTH {
            line.push(' ');
            line.push_str(word);
        } else {
            lines.push(word.to_string());
        }
    }
    lines
}
