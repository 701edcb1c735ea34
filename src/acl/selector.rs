//! `Selector`: one set of permissions: which commands, which keys, which channels. A user has one, and may have more.
//!
//! Rules on commands are kept as they were given, so that they can be applied anew when the servers have said which
//! commands they have. A rule that a later one makes void is dropped: there are never more rules than names.

use super::commands::{Bits, Category, Commands};
use super::distinct::Distinct;
use crate::command::Command;

/// Rules on first arguments that one selector may have: all of them are looked at for each rule that comes. Redis has
/// no such limit, and takes minutes for 100,000.
const ARGUMENTS_MAX: usize = 1000;

/// Patterns of keys, and of channels, that one selector may have: each key that a request names is held against all of
/// them. Redis has no such limit.
pub(super) const PATTERNS_MAX: usize = 10_000;

/// Why a rule is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RuleError {
    /// It makes no sense.
    Syntax,
    /// There is no such command or category.
    Unknown,
    /// There are all keys already.
    AllKeys,
    /// There are all channels already.
    AllChannels,
    /// This password is not there to be taken away.
    NoSuchPassword,
    /// This is no hash of a password.
    NoHash,
    /// Of a subcommand no first argument can be told.
    FirstArgument,
    /// There are as many of this kind as one user may have.
    TooMany,
    /// No password is so long.
    TooLong,
}

impl RuleError {
    /// In Redis' words.
    pub fn text(self) -> &'static str {
        match self {
            RuleError::Syntax => "Syntax error",
            RuleError::Unknown => "Unknown command or category name in ACL",
            RuleError::AllKeys => {
                "Adding a pattern after the * pattern (or the 'allkeys' flag) is not valid and does not have any \
                 effect. Try 'resetkeys' to start with an empty list of patterns"
            }
            RuleError::AllChannels => {
                "Adding a pattern after the * pattern (or the 'allchannels' flag) is not valid and does not have any \
                 effect. Try 'resetchannels' to start with an empty list of channels"
            }
            RuleError::NoSuchPassword => {
                "The password you are trying to remove from the user does not exist"
            }
            RuleError::NoHash => {
                "The password hash must be exactly 64 characters and contain only lowercase hexadecimal characters"
            }
            RuleError::FirstArgument => "Allowing first-arg of a subcommand is not supported",
            RuleError::TooMany => "Too many rules of this kind for one user",
            RuleError::TooLong => "The password is too long",
        }
    }
}

/// A rule on commands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Rule {
    /// `+command`, `-command`, and the same with a subcommand.
    Command { name: Box<str>, allow: bool },
    /// `+@category`, `-@category`.
    Category { name: &'static str, allow: bool },
    /// `+command|argument`: with this first argument only.
    FirstArgument { name: Box<str>, argument: Box<[u8]> },
}

/// A pattern of keys, and what may be done with them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyPattern {
    /// As KEYS takes it.
    pub glob: Box<[u8]>,
    /// Whether their values may be read.
    pub read: bool,
    /// Whether they may be written.
    pub write: bool,
}

impl KeyPattern {
    /// As a rule.
    pub fn describe(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(match (self.read, self.write) {
            (true, false) => b"%R~",
            (false, true) => b"%W~",
            (true, true) | (false, false) => b"~",
        });
        out.extend_from_slice(&self.glob);
    }
}

/// Which keys may be named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Keys {
    /// All.
    All,
    /// Those that fit one of these.
    Patterns(Distinct<KeyPattern>),
}

/// Which channels may be named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Channels {
    /// All.
    All,
    /// Those that fit one of these.
    Patterns(Distinct<Box<[u8]>>),
}

/// One set of permissions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selector {
    /// Whether it began with all commands (`+@all`).
    pub(super) all: bool,
    /// What came behind that, in order.
    pub(super) rules: Vec<Rule>,
    /// Which keys.
    pub keys: Keys,
    /// Which channels.
    pub channels: Channels,
}

impl Default for Selector {
    fn default() -> Selector {
        Selector {
            all: false,
            rules: Vec::new(),
            keys: Keys::Patterns(Distinct::default()),
            channels: Channels::Patterns(Distinct::default()),
        }
    }
}

/// What the rules on commands come to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allowed {
    /// Commands that may be run.
    pub commands: Bits,
    /// Commands that may be run with one of these first arguments.
    pub with_argument: Vec<(u16, Vec<Box<[u8]>>)>,
}

impl Allowed {
    /// The first arguments that a command may be run with.
    pub fn arguments(&self, id: u16) -> &[Box<[u8]>] {
        let found = self.with_argument.iter().find(|(own, _)| *own == id);
        found.map_or(&[], |(_, arguments)| arguments)
    }

    /// Applies a rule on a category.
    pub(super) fn change_category(&mut self, category: &Category, allow: bool) {
        self.commands.set_all(&category.touched, allow);
        self.with_argument
            .retain(|(own, _)| !category.touched.has(*own));
    }

    /// Allows a command and its subcommands, or does not.
    pub(super) fn change_family(&mut self, id: u16, allow: bool, commands: &Commands) {
        for id in commands.family(id) {
            self.commands.set(id, allow);
        }
        self.with_argument.retain(|(own, _)| *own != id);
    }
}

impl Selector {
    /// How many patterns it has.
    pub(super) fn patterns(&self) -> usize {
        let keys = match &self.keys {
            Keys::All => 0,
            Keys::Patterns(patterns) => patterns.len(),
        };
        let channels = match &self.channels {
            Channels::All => 0,
            Channels::Patterns(patterns) => patterns.len(),
        };
        keys + channels
    }

    /// Applies one rule; without an error it is applied, with one nothing has changed.
    pub fn apply(&mut self, rule: &[u8], commands: &Commands) -> Result<(), RuleError> {
        let is = |word: &str| rule.eq_ignore_ascii_case(word.as_bytes());
        if is("allkeys") || is("~*") {
            self.keys = Keys::All;
        } else if is("resetkeys") {
            self.keys = Keys::Patterns(Distinct::default());
        } else if is("allchannels") || is("&*") {
            self.channels = Channels::All;
        } else if is("resetchannels") {
            self.channels = Channels::Patterns(Distinct::default());
        } else if is("allcommands") || is("+@all") {
            (self.all, self.rules) = (true, Vec::new());
        } else if is("nocommands") || is("-@all") {
            (self.all, self.rules) = (false, Vec::new());
        } else {
            match rule {
                [b'~' | b'%', ..] => return self.add_keys(rule),
                [b'&', glob @ ..] => return self.add_channels(glob),
                [sign @ (b'+' | b'-'), b'@', name @ ..] => {
                    let category = commands.category(name).ok_or(RuleError::Unknown)?;
                    let (name, allow) = (category.name, *sign == b'+');
                    self.rules.retain(
                        |own| !matches!(own, Rule::Category { name: known, .. } if *known == name),
                    );
                    self.rules.push(Rule::Category { name, allow });
                }
                [b'-', name @ ..] => self.add_command(name, false, commands)?,
                [b'+', name @ ..] => return self.allow_command(name, commands),
                _ => return Err(RuleError::Syntax),
            }
        }
        Ok(())
    }

    fn add_keys(&mut self, rule: &[u8]) -> Result<(), RuleError> {
        let Keys::Patterns(patterns) = &mut self.keys else {
            return Err(RuleError::AllKeys);
        };
        let (mut read, mut write) = (true, true);
        let glob = match rule.strip_prefix(b"%") {
            None => &rule[1..],
            Some(rest) => {
                (read, write) = (false, false);
                // Redis takes a rule that ends before its `~`, too.
                let end = rest.iter().position(|byte| *byte == b'~');
                let (letters, glob) = match end {
                    Some(end) => (&rest[..end], &rest[end + 1..]),
                    None => (rest, &b""[..]),
                };
                for letter in letters {
                    let right = match letter {
                        b'R' | b'r' => &mut read,
                        b'W' | b'w' => &mut write,
                        _ => return Err(RuleError::Syntax),
                    };
                    if std::mem::replace(right, true) {
                        return Err(RuleError::Syntax);
                    }
                }
                if letters.is_empty() {
                    return Err(RuleError::Syntax);
                }
                glob
            }
        };
        if has_spaces(glob) {
            return Err(RuleError::Syntax);
        }
        if patterns.len() >= PATTERNS_MAX && !patterns.has(glob) {
            return Err(RuleError::TooMany);
        }
        let own = patterns.get_or_add(glob, || KeyPattern {
            glob: glob.into(),
            read,
            write,
        });
        own.read |= read;
        own.write |= write;
        Ok(())
    }

    fn add_channels(&mut self, glob: &[u8]) -> Result<(), RuleError> {
        let Channels::Patterns(patterns) = &mut self.channels else {
            return Err(RuleError::AllChannels);
        };
        if has_spaces(glob) {
            return Err(RuleError::Syntax);
        }
        if patterns.len() >= PATTERNS_MAX && !patterns.has(glob) {
            return Err(RuleError::TooMany);
        }
        patterns.get_or_add(glob, || glob.into());
        Ok(())
    }

    /// `+command`, and what may stand behind a bar.
    fn allow_command(&mut self, name: &[u8], commands: &Commands) -> Result<(), RuleError> {
        let Some(bar) = name.iter().rposition(|byte| *byte == b'|') else {
            return self.add_command(name, true, commands);
        };
        let (parent, argument) = (&name[..bar], &name[bar + 1..]);
        let row = commands.named(parent).ok_or(RuleError::Unknown)?;
        if row.parent().is_some() {
            return Err(RuleError::FirstArgument);
        }
        if argument.is_empty() {
            return Err(RuleError::Syntax);
        }
        if row.container {
            return self.add_command(name, true, commands);
        }
        if !self.allows_argument(row, argument, commands) {
            let first = |own: &&Rule| matches!(own, Rule::FirstArgument { .. });
            if self.rules.iter().filter(first).count() >= ARGUMENTS_MAX {
                return Err(RuleError::TooMany);
            }
            self.rules.retain(|own| {
                !matches!(own, Rule::FirstArgument { name, argument: known }
                    if **name == *row.name && known.eq_ignore_ascii_case(argument))
            });
            self.rules.push(Rule::FirstArgument {
                name: row.name.as_ref().into(),
                argument: argument.into(),
            });
        }
        Ok(())
    }

    /// Whether a rule on the first argument of a command is in force.
    fn allows_argument(&self, row: &Command, argument: &[u8], commands: &Commands) -> bool {
        for rule in self.rules.iter().rev() {
            match rule {
                Rule::FirstArgument {
                    name,
                    argument: own,
                } if **name == *row.name && own.eq_ignore_ascii_case(argument) => {
                    return true;
                }
                Rule::Category { name, .. } => {
                    let category = commands.category(name.as_bytes());
                    if category.is_some_and(|category| category.touched.has(row.id)) {
                        return false;
                    }
                }
                // One on this command has made those before it void.
                Rule::FirstArgument { .. } | Rule::Command { .. } => {}
            }
        }
        false
    }

    fn add_command(
        &mut self,
        name: &[u8],
        allow: bool,
        commands: &Commands,
    ) -> Result<(), RuleError> {
        let name: Box<str> = match commands.named(name) {
            Some(row) => row.name.as_ref().into(),
            None if commands.are_guessed() && may_be_of_module(name) => {
                String::from_utf8_lossy(name).to_ascii_lowercase().into()
            }
            None => return Err(RuleError::Unknown),
        };
        self.rules.retain(|own| !own.is_about(&name));
        self.rules.push(Rule::Command { name, allow });
        Ok(())
    }

    /// What the rules on commands come to.
    pub fn allowed(&self, commands: &Commands) -> Allowed {
        let mut allowed = Allowed {
            commands: Bits::new(commands, self.all),
            with_argument: Vec::new(),
        };
        for rule in &self.rules {
            match rule {
                Rule::Category { name, allow } => {
                    if let Some(category) = commands.category(name.as_bytes()) {
                        allowed.change_category(category, *allow);
                    }
                }
                // One that is not in the table may be learnt yet.
                Rule::Command { name, allow } => {
                    if let Some(row) = commands.table().named(name.as_bytes()) {
                        allowed.change_family(row.id, *allow, commands);
                    }
                }
                Rule::FirstArgument { name, argument } => {
                    let Some(row) = commands.table().named(name.as_bytes()) else {
                        continue;
                    };
                    let known = &mut allowed.with_argument;
                    match known.iter_mut().find(|(id, _)| *id == row.id) {
                        Some((_, arguments)) => arguments.push(argument.clone()),
                        None => known.push((row.id, vec![argument.clone()])),
                    }
                }
            }
        }
        allowed
    }

    /// Whether a rule is about the command of this name, and not about a category.
    pub(super) fn names(&self, command: &str) -> bool {
        self.rules.iter().any(|rule| rule.is_about(command))
    }

    /// Rules on commands that the table does not have.
    pub(super) fn unlearnt<'a>(
        &'a self,
        commands: &'a Commands,
    ) -> impl Iterator<Item = (&'a str, bool)> {
        self.rules.iter().filter_map(|rule| match rule {
            Rule::Command { name, allow } if commands.table().named(name.as_bytes()).is_none() => {
                Some((&**name, *allow))
            }
            Rule::Command { .. } | Rule::Category { .. } | Rule::FirstArgument { .. } => None,
        })
    }
}

impl Rule {
    /// Whether a rule on the command of this name makes it void: it is about the same, or about a part of it.
    fn is_about(&self, name: &str) -> bool {
        match self {
            Rule::Command { name: own, .. } | Rule::FirstArgument { name: own, .. } => {
                let rest = own.strip_prefix(name);
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('|'))
            }
            Rule::Category { .. } => false,
        }
    }
}

/// Whether a text has what may not be in a pattern or a user's name.
pub fn has_spaces(text: &[u8]) -> bool {
    let space = |byte: &u8| matches!(byte, 0 | b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c);
    text.iter().any(space)
}

/// Whether a command of this name may be a module's, which the servers have not told us of yet.
fn may_be_of_module(name: &[u8]) -> bool {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"._-|".contains(byte);
    name.len() <= 64 && name.contains(&b'.') && name.iter().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::Table;

    fn rules(rules: &[String], commands: &Commands) -> Result<Selector, RuleError> {
        let mut selector = Selector::default();
        for rule in rules {
            selector.apply(rule.as_bytes(), commands)?;
        }
        Ok(selector)
    }

    #[test]
    fn first_arguments_are_in_force_until_a_category_takes_them_back() {
        let commands = Commands::new(Table::compiled().into(), None);
        let get = commands.named(b"get").expect("a row").id;
        let list = ["+get|a", "+get|b", "+get|A", "-@read", "+get|a", "-@write"];
        let list = list.map(String::from);
        for (count, expected) in [
            (3, vec!["a", "b"]),
            (4, vec![]),
            (5, vec!["a"]),
            (6, vec!["a"]),
        ] {
            let selector = rules(&list[..count], &commands).expect("right");
            let allowed = selector.allowed(&commands);
            let own: Vec<&[u8]> = allowed.arguments(get).iter().map(|own| &**own).collect();
            assert_eq!(
                own,
                expected
                    .iter()
                    .map(|own| own.as_bytes())
                    .collect::<Vec<_>>()
            );
        }
    }

    #[test]
    fn there_are_only_so_many_patterns() {
        let commands = Commands::new(Table::compiled().into(), None);
        for sign in ["~", "&"] {
            let mut list: Vec<String> = (0..PATTERNS_MAX)
                .map(|own| format!("{sign}{own}"))
                .collect();
            // One that is there is none more.
            list.push(format!("{sign}0"));
            let selector = rules(&list, &commands).expect("each is there once");
            assert_eq!(selector.patterns(), PATTERNS_MAX);
            list.push(format!("{sign}more"));
            assert_eq!(rules(&list, &commands), Err(RuleError::TooMany));
        }
    }

    #[test]
    fn there_are_only_so_many_first_arguments() {
        let commands = Commands::new(Table::compiled().into(), None);
        let mut list: Vec<String> = (0..ARGUMENTS_MAX)
            .map(|own| format!("+get|{own}"))
            .collect();
        list.extend(list.clone());
        let selector = rules(&list, &commands).expect("each is there once");
        assert_eq!(selector.rules.len(), ARGUMENTS_MAX);
        list.push("+set|one".to_string());
        assert_eq!(rules(&list, &commands), Err(RuleError::TooMany));
    }
}
