//! `User`: a name, passwords, and one or more selectors. It never changes: a changed user is another one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::commands::Commands;
use super::password::Hash;
use super::permissions::Permissions;
use super::selector::{Channels, Keys, PATTERNS_MAX, RuleError, Selector};
use super::settings::Settings;
use crate::resp::inline;

/// The name of the user that clients are who have not said who they are.
pub const DEFAULT: &[u8] = b"default";

/// Passwords that one user may have: all of them are looked at for each login. Redis has no such limit.
const PASSWORDS_MAX: usize = 1000;

/// Bytes of a password: whoever logs in has them hashed, in one turn. Redis has no such limit, but for the one of all strings.
const PASSWORD_MAX: usize = 64 << 10;

/// Selectors in parentheses that one user may have, and bytes that one of them may be described in. Redis has no such
/// limits.
const SELECTORS_MAX: usize = 1000;
const SELECTOR_BYTES_MAX: usize = 128 << 10;

/// Users ever made.
static SERIALS: AtomicU64 = AtomicU64::new(0);

/// What a user may have said of the payload of RESTORE. It is kept and shown, as Redis does; nodes see to payloads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sanitize {
    Unsaid,
    Yes,
    Skip,
}

/// One user.
#[derive(Debug, Clone)]
pub struct User {
    /// Its name.
    pub name: Box<[u8]>,
    /// Tells it from one that was there before under the same name.
    serial: u64,
    enabled: bool,
    any_password: bool,
    sanitize: Sanitize,
    passwords: Vec<Hash>,
    /// The first is the user's own, the others are those in parentheses.
    ///
    /// Invariant: there is a first.
    selectors: Vec<Selector>,
    /// What they come to.
    permissions: Permissions,
    /// What flags say of it.
    pub settings: Option<Arc<Settings>>,
}

/// Whether the rules are the same, whatever commands there are.
impl PartialEq for User {
    fn eq(&self, other: &User) -> bool {
        self.name == other.name
            && self.enabled == other.enabled
            && self.any_password == other.any_password
            && self.sanitize == other.sanitize
            && self.passwords == other.passwords
            && self.selectors == other.selectors
    }
}

impl Eq for User {}

/// The user who may do everything and is asked for no password.
impl Default for User {
    fn default() -> User {
        User::all_powerful()
    }
}

impl User {
    /// A new user, who may do nothing.
    pub fn new(name: &[u8]) -> User {
        User {
            name: name.into(),
            serial: SERIALS.fetch_add(1, Ordering::Relaxed),
            enabled: false,
            any_password: false,
            sanitize: Sanitize::Unsaid,
            passwords: Vec::new(),
            selectors: vec![Selector::default()],
            permissions: Permissions::none(),
            settings: None,
        }
    }

    /// The user `default` as long as nothing is said of it.
    pub fn all_powerful() -> User {
        let all = Selector {
            all: true,
            rules: Vec::new(),
            keys: Keys::All,
            channels: Channels::All,
        };
        User {
            enabled: true,
            any_password: true,
            selectors: vec![all],
            permissions: Permissions::all(),
            ..User::new(DEFAULT)
        }
    }

    /// This user with other passwords; without any it is asked for none.
    pub fn with_passwords<'a>(&self, passwords: impl Iterator<Item = &'a [u8]>) -> User {
        let mut user = self.clone();
        user.passwords = passwords.map(Hash::of).collect();
        user.any_password = user.passwords.is_empty();
        user
    }

    /// This user without any password by which somebody could be it.
    pub fn closed(mut self) -> User {
        self.passwords.clear();
        self.any_password = false;
        self
    }

    /// Whether clients are this user without a word.
    pub fn is_open(&self) -> bool {
        self.enabled && self.any_password
    }

    /// Whether it may log in at all.
    pub fn is_on(&self) -> bool {
        self.enabled
    }

    /// Whether every password is right.
    pub fn takes_any_password(&self) -> bool {
        self.any_password
    }

    /// Whether somebody may log in. All passwords are looked at in any case.
    pub fn admits(&self, password: &[u8]) -> bool {
        if password.len() > PASSWORD_MAX {
            return self.enabled & self.any_password;
        }
        let attempt = Hash::of(password);
        let own = self.passwords.iter();
        let right = own.fold(false, |right, own| right | (*own == attempt));
        self.enabled & (self.any_password | right)
    }

    /// What it may do.
    pub fn permissions(&self) -> &Permissions {
        &self.permissions
    }

    /// Its own selector, and those in parentheses.
    pub fn selectors(&self) -> (&Selector, &[Selector]) {
        (&self.selectors[0], &self.selectors[1..])
    }

    /// Whether both are one user, perhaps with other rules, and not two of one name.
    pub fn is_same(&self, other: &User) -> bool {
        self.serial == other.serial
    }

    /// It is the user that there was before under its name.
    pub fn succeed(&mut self, before: &User) {
        self.serial = before.serial;
    }

    /// Applies rules, one after the other. With an error nothing is to be done with what it returns but to show the rule
    /// that is wrong.
    pub fn with_rules<'r>(
        &self,
        rules: impl IntoIterator<Item = &'r [u8]>,
        commands: &Commands,
    ) -> Result<User, (&'r [u8], RuleError)> {
        let mut user = self.clone();
        for rule in rules {
            user.apply(rule, commands).map_err(|error| (rule, error))?;
        }
        user.settle(commands);
        Ok(user)
    }

    /// Its rules have changed, or the commands that there are.
    pub fn settle(&mut self, commands: &Commands) {
        self.permissions = Permissions::of(&self.selectors, commands);
    }

    /// Applies one rule. What it may do is known again after [`User::settle`].
    pub fn apply(&mut self, rule: &[u8], commands: &Commands) -> Result<(), RuleError> {
        let is = |word: &str| rule.eq_ignore_ascii_case(word.as_bytes());
        if rule.is_empty() {
            return Ok(());
        } else if is("on") {
            self.enabled = true;
        } else if is("off") {
            self.enabled = false;
        } else if is("skip-sanitize-payload") {
            self.sanitize = Sanitize::Skip;
        } else if is("sanitize-payload") {
            self.sanitize = Sanitize::Yes;
        } else if is("nopass") {
            (self.any_password, self.passwords) = (true, Vec::new());
        } else if is("resetpass") {
            (self.any_password, self.passwords) = (false, Vec::new());
        } else if is("clearselectors") {
            self.selectors.truncate(1);
        } else if is("reset") {
            let fresh = User::new(&self.name);
            let before = std::mem::replace(self, fresh);
            self.succeed(&before);
            self.sanitize = Sanitize::Yes;
        } else {
            match rule {
                [b'>', password @ ..] if password.len() > PASSWORD_MAX => {
                    return Err(RuleError::TooLong);
                }
                [b'>', password @ ..] => return self.add_password(Hash::of(password)),
                [b'#', hex @ ..] => {
                    return self.add_password(Hash::from_hex(hex).ok_or(RuleError::NoHash)?);
                }
                [b'<', password @ ..] => return self.remove_password(Hash::of(password)),
                [b'!', hex @ ..] => {
                    return self.remove_password(Hash::from_hex(hex).ok_or(RuleError::NoHash)?);
                }
                [b'(', inner @ .., b')'] => {
                    let others = self.selectors.iter().skip(1);
                    let patterns: usize = others.map(Selector::patterns).sum();
                    if self.selectors.len() > SELECTORS_MAX
                        || inner.len() > SELECTOR_BYTES_MAX
                        || patterns > PATTERNS_MAX
                    {
                        return Err(RuleError::TooMany);
                    }
                    let mut selector = Selector::default();
                    // Of what has an odd quote, Redis takes nothing.
                    for rule in inline::split(inner).unwrap_or_default() {
                        selector.apply(&rule, commands)?;
                    }
                    self.selectors.push(selector);
                }
                _ => return self.selectors[0].apply(rule, commands),
            }
        }
        Ok(())
    }

    fn add_password(&mut self, hash: Hash) -> Result<(), RuleError> {
        if !self.passwords.contains(&hash) {
            if self.passwords.len() >= PASSWORDS_MAX {
                return Err(RuleError::TooMany);
            }
            self.passwords.push(hash);
        }
        self.any_password = false;
        Ok(())
    }

    fn remove_password(&mut self, hash: Hash) -> Result<(), RuleError> {
        let at = self.passwords.iter().position(|own| *own == hash);
        self.passwords.remove(at.ok_or(RuleError::NoSuchPassword)?);
        Ok(())
    }

    /// Its flags, in Redis' order.
    pub fn flags(&self) -> Vec<&'static str> {
        let mut flags = vec![if self.enabled { "on" } else { "off" }];
        if self.any_password {
            flags.push("nopass");
        }
        match self.sanitize {
            Sanitize::Unsaid => {}
            Sanitize::Yes => flags.push("sanitize-payload"),
            Sanitize::Skip => flags.push("skip-sanitize-payload"),
        }
        flags
    }

    /// Its passwords' hashes.
    pub fn hashes(&self) -> impl ExactSizeIterator<Item = String> {
        self.passwords.iter().map(Hash::hex)
    }

    /// The user as a line of the ACL file, without a line end.
    pub fn describe(&self, commands: &Commands) -> Vec<u8> {
        let mut line = b"user ".to_vec();
        line.extend_from_slice(&self.name);
        for flag in self.flags() {
            line.extend([b" ", flag.as_bytes()].concat());
        }
        for hash in self.hashes() {
            line.extend([b" #", hash.as_bytes()].concat());
        }
        for (index, selector) in self.selectors.iter().enumerate() {
            line.extend_from_slice(if index == 0 { b" " } else { b" (" });
            selector.describe(commands, &mut line);
            if index > 0 {
                line.push(b')');
            }
        }
        line
    }
}

impl Selector {
    fn describe(&self, commands: &Commands, line: &mut Vec<u8>) {
        let keys = self.describe_keys();
        if !keys.is_empty() {
            line.extend_from_slice(&keys);
            line.push(b' ');
        }
        match &self.channels {
            Channels::All => line.extend_from_slice(b"&* "),
            Channels::Patterns(patterns) => {
                line.extend_from_slice(b"resetchannels ");
                if !patterns.is_empty() {
                    line.extend_from_slice(&self.describe_channels());
                    line.push(b' ');
                }
            }
        }
        line.extend_from_slice(self.describe_commands(commands).as_bytes());
    }

    /// The patterns of keys.
    pub fn describe_keys(&self) -> Vec<u8> {
        let Keys::Patterns(patterns) = &self.keys else {
            return b"~*".to_vec();
        };
        let mut out = Vec::new();
        for (index, pattern) in patterns.iter().enumerate() {
            if index > 0 {
                out.push(b' ');
            }
            pattern.describe(&mut out);
        }
        out
    }

    /// The patterns of channels.
    pub fn describe_channels(&self) -> Vec<u8> {
        let Channels::Patterns(patterns) = &self.channels else {
            return b"&*".to_vec();
        };
        let patterns = patterns.iter().map(|pattern| [b"&", &**pattern].concat());
        patterns.collect::<Vec<_>>().join(&b' ')
    }
}

/// Joins the rules of a selector that was cut at its spaces. An opening parenthesis that is never closed is an error: its
/// place.
pub fn join_selectors<'a>(words: impl Iterator<Item = &'a [u8]>) -> Result<Vec<Vec<u8>>, usize> {
    let mut rules = Vec::new();
    let mut open: Option<(usize, Vec<u8>)> = None;
    for (at, word) in words.enumerate() {
        let closes = word.ends_with(b")");
        if word.starts_with(b"(") && !closes {
            open = Some((at, word.to_vec()));
            continue;
        }
        match &mut open {
            None => rules.push(word.to_vec()),
            Some((_, selector)) => {
                selector.push(b' ');
                selector.extend_from_slice(word);
                if closes {
                    rules.extend(open.take().map(|(_, selector)| selector));
                }
            }
        }
    }
    match open {
        None => Ok(rules),
        Some((at, _)) => Err(at),
    }
}
