//! `Explanation`: how the table classifies one request, for `PROXY EXPLAIN`. The caller adds slots and nodes.

use super::document::how;
use super::{Class, Command, KeysError, Resolved, Table, keys, unbalanced};
use crate::resp::args::Args;

/// What becomes of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// The row's name, `container|subcommand`; the client's own word where there is no row.
    pub name: String,
    /// The class in a word.
    pub class: &'static str,
    /// How the class serves, where a word is not enough.
    pub how: &'static str,
    /// The keys' indices in the request.
    pub keys: Vec<u32>,
    /// Whether keys in several slots are cut into parts; otherwise they are CROSSSLOT.
    pub splits: bool,
    /// Whether this request may keep its connection waiting.
    pub blocks: bool,
    /// Why the class is what it is; for a request that is not served, the error text.
    pub reason: String,
    /// Whether it is not served at all.
    pub refused: bool,
}

impl Explanation {
    /// Explains the request `args`, the command's name first.
    pub fn of(table: &Table, args: &Args<'_>) -> Explanation {
        match table.resolve(args) {
            Resolved::Command(command) => Explanation::of_command(command, args),
            Resolved::Unknown => {
                let name = String::from_utf8_lossy(args.name()).into_owned();
                Explanation::without(name, "unknown", "no such command".to_string())
            }
            Resolved::UnknownSubcommand(container) => {
                let name = format!("{} {}", container.name, String::from_utf8_lossy(args.at(1)));
                Explanation::without(name, "unknown", "no such subcommand".to_string())
            }
        }
    }

    fn of_command(command: &Command, args: &Args<'_>) -> Explanation {
        let name = command.name.to_string();
        if !command.arity_ok(args.len()) {
            let text = format!("ERR wrong number of arguments for '{name}' command");
            return Explanation::without(name, word(command.class), text);
        }
        if let Some(refusal) = command.refusal() {
            return Explanation::without(name, word(command.class), refusal.to_string());
        }
        let mut found = Vec::new();
        let mut reason = command.why.to_string();
        match keys(command, args, &mut found) {
            Ok(()) => {}
            Err(KeysError::Unbalanced) => {
                return Explanation::without(name, word(command.class), unbalanced(command));
            }
            Err(KeysError::Invalid) => {
                reason = "its keys cannot be found: any master is asked, for the error's text"
                    .to_string();
            }
            Err(KeysError::Unknown) => {
                reason = "its keys are asked of a server, with COMMAND GETKEYS".to_string();
            }
        }
        let blocks = command.blocks(args);
        Explanation {
            name,
            class: if blocks {
                "leased"
            } else {
                word(command.class)
            },
            how: if blocks {
                "until its reply"
            } else {
                how(command.class)
            },
            keys: found,
            splits: matches!(command.class, Class::Split(_)),
            blocks,
            reason,
            refused: false,
        }
    }

    fn without(name: String, class: &'static str, reason: String) -> Explanation {
        Explanation {
            name,
            class,
            how: "",
            keys: Vec::new(),
            splits: false,
            blocks: false,
            reason,
            refused: true,
        }
    }

    /// Names and values, in order; the caller adds the keys with their slots, and the nodes.
    pub fn fields(&self) -> Vec<(&'static str, &str)> {
        let fields = [
            ("command", self.name.as_str()),
            ("class", self.class),
            ("how", self.how),
            (if self.refused { "error" } else { "reason" }, &self.reason),
        ];
        fields
            .into_iter()
            .filter(|(_, value)| !value.is_empty())
            .collect()
    }
}

/// A class in a word.
pub fn word(class: Class) -> &'static str {
    match class {
        Class::Routed => "routed",
        Class::AnyNode => "any master",
        Class::Publish => "the master that channels go by",
        Class::Split(_) => "split",
        Class::AllMasters(_) => "all masters",
        Class::AllNodes(_) => "all nodes",
        Class::Scan => "scan",
        Class::Local => "local",
        Class::Subscription => "subscription",
        Class::Leased(_) => "leased",
        Class::Refused(_) => "refused",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::args::Span;

    /// The explanation of `line` in one line.
    fn explained(line: &str) -> String {
        let (mut spans, mut at) = (Vec::new(), 0);
        for word in line.split(' ') {
            let len = word.len() as u32;
            spans.push(Span { start: at, len });
            at += len + 1;
        }
        let args = Args::new(line.as_bytes(), &spans);
        let explanation = Explanation::of(&Table::compiled(), &args);
        let fields = explanation.fields();
        let fields: Vec<String> = fields
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        format!("{} keys={:?}", fields.join(" "), explanation.keys)
    }

    #[test]
    fn requests_are_explained() {
        for (line, expected) in [
            ("GET a", "command=get class=routed keys=[1]"),
            (
                "mget a b",
                "command=mget class=split how=values in the order of the keys keys=[1, 2]",
            ),
            ("del a", "command=del class=split how=the sum keys=[1]"),
            (
                "blpop a 0",
                "command=blpop class=leased how=until its reply keys=[1]",
            ),
            (
                "xread block 0 streams a $",
                "command=xread class=leased how=until its reply reason=blocks only with BLOCK keys=[4]",
            ),
            (
                "config get x",
                "command=config|get class=local reason=asks a master, except for the proxy's own settings keys=[]",
            ),
            (
                "shutdown",
                "command=shutdown class=refused error=ERR command 'shutdown' is not supported through this \
                 proxy: it stops a server keys=[]",
            ),
            (
                "get",
                "command=get class=routed error=ERR wrong number of arguments for 'get' command keys=[]",
            ),
            (
                "mset a 1 b",
                "command=mset class=split error=ERR wrong number of arguments for 'mset' command keys=[]",
            ),
            (
                "zinter 0 a",
                "command=zinter class=routed reason=its keys cannot be found: any master is asked, for the \
                 error's text keys=[]",
            ),
            (
                "nope x",
                "command=nope class=unknown error=no such command keys=[]",
            ),
            (
                "config nope",
                "command=config nope class=unknown error=no such subcommand keys=[]",
            ),
        ] {
            assert_eq!(explained(line), expected, "{line}");
        }
    }
}
