//! `Users`: all users, by their names. It never changes: with a changed user it is another one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::commands::Commands;
use super::selector::{RuleError, has_spaces};
use super::settings::Named;
use super::user::{DEFAULT, User, join_selectors};

/// All users, and the commands that their rules speak of.
#[derive(Debug, Clone)]
pub struct Users {
    by_name: BTreeMap<Box<[u8]>, Arc<User>>,
    /// The user of those who have not said who they are.
    ///
    /// Invariant: it is the one of that name.
    unnamed: Arc<User>,
    /// The commands.
    pub commands: Arc<Commands>,
    /// What flags say of single users.
    settings: Arc<Named>,
}

/// Why a user was not changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unchanged {
    /// No user can have such a name.
    Name,
    /// A selector is never closed: the place of the word that opens it.
    Open(usize),
    /// This rule is not taken.
    Rule(Vec<u8>, RuleError),
}

impl Users {
    /// The one user that there is without a file: `default`, with these passwords, or, without any, for everybody.
    pub fn of_passwords<'a>(
        passwords: impl Iterator<Item = &'a [u8]>,
        commands: Arc<Commands>,
    ) -> Users {
        let user = User::all_powerful().with_passwords(passwords);
        Users::default_alone(user, commands, Arc::default())
    }

    /// The one user that there is where the servers have the users: `default`, whom nobody is without the servers' word.
    pub fn of_servers(commands: Arc<Commands>) -> Users {
        Users::default_alone(User::all_powerful().closed(), commands, Arc::default())
    }

    /// A user of the servers, who judge what it may do: here it may do everything.
    pub fn of_server(&self, name: &[u8]) -> User {
        let mut user = User::all_powerful().closed();
        user.name = name.into();
        user.settings = self.settings.get(name).cloned();
        user
    }

    fn default_alone(user: User, commands: Arc<Commands>, settings: Arc<Named>) -> Users {
        let mut users = Users {
            by_name: BTreeMap::new(),
            unnamed: Arc::default(),
            commands,
            settings,
        };
        users.put(user);
        users
    }

    /// With these settings of users.
    pub fn with_settings(mut self, settings: Named) -> Users {
        self.settings = Arc::new(settings);
        for user in std::mem::take(&mut self.by_name).into_values() {
            self.put(User::clone(&user));
        }
        self
    }

    /// The user of those who have not said who they are.
    #[inline]
    pub fn unnamed(&self) -> &Arc<User> {
        &self.unnamed
    }

    /// The user of this name.
    pub fn get(&self, name: &[u8]) -> Option<&Arc<User>> {
        self.by_name.get(name)
    }

    /// All, in the order of their names.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Arc<User>> {
        self.by_name.values()
    }

    /// The user of this name, if this is its password. A user that is not there takes as long as one that is.
    pub fn admit(&self, name: &[u8], password: &[u8]) -> Option<&Arc<User>> {
        match self.by_name.get(name) {
            Some(user) => user.admits(password).then_some(user),
            None => {
                std::hint::black_box(self.unnamed.admits(password));
                None
            }
        }
    }

    /// With this user in the place of the one of its name.
    pub fn with(&self, user: User) -> Users {
        let mut users = self.clone();
        users.put(user);
        users
    }

    fn put(&mut self, mut user: User) {
        user.settings = self.settings.get(&user.name).cloned();
        let user = Arc::new(user);
        if *user.name == *DEFAULT {
            self.unnamed = user.clone();
        }
        self.by_name.insert(user.name.clone(), user);
    }

    /// Without these; and how many of them there were. `default` is never among them.
    pub fn without<'a>(&self, names: impl Iterator<Item = &'a [u8]>) -> (Users, usize) {
        let mut users = self.clone();
        let gone = names.filter(|name| *name != DEFAULT && users.by_name.remove(*name).is_some());
        let count = gone.count();
        (users, count)
    }

    /// With a user to which these rules have been applied, made if need be.
    pub fn with_rules<'a>(
        &self,
        name: &[u8],
        words: impl Iterator<Item = &'a [u8]>,
    ) -> Result<Users, Unchanged> {
        if has_spaces(name) {
            return Err(Unchanged::Name);
        }
        let rules = join_selectors(words).map_err(Unchanged::Open)?;
        let fresh = || User::new(name);
        let known = self.by_name.get(name);
        let user = known.map_or_else(fresh, |user| User::clone(user));
        let rules = rules.iter().map(Vec::as_slice);
        match user.with_rules(rules, &self.commands) {
            Ok(user) => Ok(self.with(user)),
            Err((rule, error)) => Err(Unchanged::Rule(rule.to_vec(), error)),
        }
    }

    /// The same users before these commands.
    pub fn before(&self, commands: Arc<Commands>) -> Users {
        let settled = |user: &Arc<User>| {
            let mut user = User::clone(user);
            user.settle(&commands);
            Arc::new(user)
        };
        let by_name = self.by_name.iter();
        let by_name = sort::map(by_name.map(|(name, user)| (name.clone(), settled(user))));
        let unnamed = by_name.get(DEFAULT).unwrap_or(&self.unnamed).clone();
        Users {
            by_name,
            unnamed,
            commands,
            settings: self.settings.clone(),
        }
    }

    /// The users of a file's text; `path` is how the file is named in errors, all of which are in the text returned, in
    /// Redis' words.
    /// They succeed these users: those of the same name are the same, with other rules.
    pub fn parse(&self, text: &str, path: &str) -> Result<Users, String> {
        let mut first = User::all_powerful();
        first.succeed(&self.unnamed);
        let mut users = Users::default_alone(first, self.commands.clone(), self.settings.clone());
        let mut named = BTreeSet::new();
        let mut errors = String::new();
        for (number, line) in text.split('\n').enumerate() {
            let number = number + 1;
            let line = line.trim_matches([' ', '\t', '\r', '\n']);
            if line.is_empty() {
                continue;
            }
            let mut words = line.split(' ').map(str::as_bytes);
            let (Some(b"user"), Some(name)) = (words.next(), words.next()) else {
                errors += &format!(
                    "{path}:{number} should start with user keyword followed by the username. "
                );
                continue;
            };
            let shown = String::from_utf8_lossy(name);
            if has_spaces(name) {
                errors +=
                    &format!("'{path}:{number}: username '{shown}' contains invalid characters. ");
                continue;
            }
            if !named.insert(name) {
                errors += &format!("WARNING: Duplicate user '{shown}' found on line {number}. ");
                continue;
            }
            match user_of(name, words, &users.commands) {
                Ok(mut user) => {
                    if let Some(before) = self.by_name.get(name) {
                        user.succeed(before);
                    }
                    users.put(user);
                }
                Err(Fault::Open) => {
                    errors +=
                        &format!("{path}:{number}: Unmatched parenthesis in selector definition.");
                }
                Err(Fault::Rules(faults)) => {
                    for fault in faults {
                        errors += &format!("{path}:{number}: {fault}. ");
                    }
                }
            }
        }
        if errors.is_empty() {
            return Ok(users);
        }
        Err(errors
            + "WARNING: ACL errors detected, no change to the previously active ACL rules was performed")
    }

    /// The text of a file of these users.
    pub fn file(&self) -> Vec<u8> {
        let mut text = Vec::new();
        for user in self.iter() {
            text.extend(user.describe(&self.commands));
            text.push(b'\n');
        }
        text
    }
}

/// What is wrong with a line.
enum Fault {
    /// A selector is never closed.
    Open,
    /// What is wrong with its rules.
    Rules(Vec<String>),
}

/// The user of a line.
fn user_of<'a>(
    name: &[u8],
    words: impl Iterator<Item = &'a [u8]>,
    commands: &Commands,
) -> Result<User, Fault> {
    let rules = join_selectors(words).map_err(|_| Fault::Open)?;
    let mut user = User::new(name);
    let mut faults = Vec::new();
    let mut is_first = true;
    for rule in &rules {
        let rule = rule.trim_ascii();
        match user.apply(rule, commands) {
            Ok(()) => {}
            // The rule is no secret, and the others can still be judged.
            Err(error @ RuleError::Unknown) => {
                let rule = String::from_utf8_lossy(rule);
                let text = error.text();
                faults.push(format!("Error in applying operation '{rule}': {text}"));
            }
            Err(error) if is_first => {
                is_first = false;
                faults.push(error.text().to_string());
            }
            Err(_) => {}
        }
    }
    if !faults.is_empty() {
        return Err(Fault::Rules(faults));
    }
    user.settle(commands);
    Ok(user)
}
use crate::sort;
