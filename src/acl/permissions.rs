//! `Permissions`: what a user's rules come to, made so that a request is quickly checked: a set of the commands' ids, and
//! patterns of which most are a plain beginning.
//!
//! A request is allowed if one selector allows all of it.

use super::commands::{Bits, Commands};
use super::selector::{self, Allowed, Channels, Selector};
use crate::command::{ChannelArguments, Command, Flags, KeyFlags, KeysError, getkeys};
use crate::resp::args::Args;
use crate::resp::glob::{self, Case};

/// What a request was not allowed to name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// The command.
    Command,
    /// A key.
    Key,
    /// The password was wrong, or the user.
    Auth,
    /// A channel.
    Channel,
    /// The user that a certificate names.
    Certificate,
}

impl Reason {
    /// As ACL LOG shows it.
    pub fn name(self) -> &'static str {
        match self {
            Reason::Command => "command",
            Reason::Key => "key",
            Reason::Auth => "auth",
            Reason::Channel => "channel",
            Reason::Certificate => "tls-cert",
        }
    }
}

/// A request that is not allowed: why, and which argument is to blame, if one is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Denied {
    /// What it must not name.
    pub reason: Reason,
    /// Where that stands among the arguments.
    pub at: usize,
}

/// What is done with a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Access {
    /// Its value is read.
    pub read: bool,
    /// Its value is written, or it is removed.
    pub write: bool,
}

impl Access {
    /// By the words of a key spec.
    pub fn of(flags: KeyFlags) -> Access {
        let writes = [KeyFlags::INSERT, KeyFlags::DELETE, KeyFlags::UPDATE];
        Access {
            read: flags.contains(KeyFlags::ACCESS),
            write: writes.into_iter().any(|word| flags.contains(word)),
        }
    }
}

/// A pattern, in the form in which it is compared.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Pattern {
    /// What begins with this.
    Beginning(Prefix),
    /// This.
    Exact(Box<[u8]>),
    /// What fits this.
    Glob(Box<[u8]>),
}

/// A beginning. Its first eight bytes are compared as one number: most are no longer.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Prefix {
    whole: Box<[u8]>,
    /// The first bytes, and where they are.
    head: u64,
    mask: u64,
}

impl Prefix {
    const HEAD: usize = 8;

    fn new(whole: &[u8]) -> Prefix {
        let (mut head, mut mask) = ([0; Prefix::HEAD], [0; Prefix::HEAD]);
        for ((byte, head), mask) in whole.iter().zip(&mut head).zip(&mut mask) {
            (*head, *mask) = (*byte, u8::MAX);
        }
        Prefix {
            whole: whole.into(),
            head: u64::from_ne_bytes(head),
            mask: u64::from_ne_bytes(mask),
        }
    }

    #[inline]
    fn begins(&self, text: &[u8]) -> bool {
        match text.first_chunk::<{ Prefix::HEAD }>() {
            Some(first) if (u64::from_ne_bytes(*first) ^ self.head) & self.mask != 0 => false,
            Some(_) if self.whole.len() <= Prefix::HEAD => true,
            Some(_) | None => text.starts_with(&self.whole),
        }
    }
}

impl Pattern {
    fn new(glob: &[u8]) -> Pattern {
        let is_plain = |text: &[u8]| !text.iter().any(|byte| b"*?[\\".contains(byte));
        match glob.strip_suffix(b"*") {
            Some(beginning) if is_plain(beginning) => Pattern::Beginning(Prefix::new(beginning)),
            None if is_plain(glob) => Pattern::Exact(glob.into()),
            Some(_) | None => Pattern::Glob(glob.into()),
        }
    }

    #[inline]
    fn fits(&self, text: &[u8]) -> bool {
        match self {
            Pattern::Beginning(prefix) => prefix.begins(text),
            Pattern::Exact(own) => **own == *text,
            Pattern::Glob(glob) => glob::matches(glob, text, Case::Sensitive),
        }
    }

    /// What was typed. It is compared with the patterns of PSUBSCRIBE as it is.
    fn is(&self, text: &[u8]) -> bool {
        match self {
            Pattern::Beginning(prefix) => text.strip_suffix(b"*") == Some(&prefix.whole),
            Pattern::Exact(own) | Pattern::Glob(own) => **own == *text,
        }
    }
}

/// A pattern of keys.
#[derive(Debug, Clone, PartialEq, Eq)]
struct KeyPattern {
    pattern: Pattern,
    read: bool,
    write: bool,
}

/// What one selector allows.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Grant {
    allowed: Allowed,
    /// Nothing: all keys.
    keys: Option<Vec<KeyPattern>>,
    /// Nothing: all channels.
    channels: Option<Vec<Pattern>>,
}

/// What a user's rules come to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Permissions {
    /// Whether they are none.
    all: bool,
    grants: Vec<Grant>,
    /// What a short look at a plain request compares; so it is with most users who may not do everything.
    ///
    /// Invariant: it allows nothing that the grants do not.
    plain: Option<PlainGrant>,
}

/// A grant of keys with one beginning.
#[derive(Debug, Clone, PartialEq, Eq)]
struct PlainGrant {
    commands: Bits,
    prefix: Prefix,
    read: bool,
    write: bool,
}

impl PlainGrant {
    fn of(grant: &Grant) -> Option<PlainGrant> {
        let [only] = grant.keys.as_deref()? else {
            return None;
        };
        let Pattern::Beginning(prefix) = &only.pattern else {
            return None;
        };
        Some(PlainGrant {
            commands: grant.allowed.commands.clone(),
            prefix: prefix.clone(),
            read: only.read,
            write: only.write,
        })
    }

    #[inline]
    fn allows(&self, id: u16, key: &[u8], access: Access) -> bool {
        self.commands.has(id)
            && self.read >= access.read
            && self.write >= access.write
            && self.prefix.begins(key)
    }
}

/// The keys of one request, found when they are first asked for.
type Found = Option<Vec<(u32, KeyFlags)>>;

impl Permissions {
    /// Everything is allowed.
    pub fn all() -> Permissions {
        Permissions {
            all: true,
            grants: Vec::new(),
            plain: None,
        }
    }

    /// Nothing is.
    pub fn none() -> Permissions {
        Permissions {
            all: false,
            grants: Vec::new(),
            plain: None,
        }
    }

    /// What these selectors come to.
    pub fn of(selectors: &[Selector], commands: &Commands) -> Permissions {
        let grant = |selector: &Selector| Grant {
            allowed: selector.allowed(commands),
            keys: match &selector.keys {
                selector::Keys::All => None,
                selector::Keys::Patterns(patterns) => Some(
                    patterns
                        .iter()
                        .map(|own| KeyPattern {
                            pattern: Pattern::new(&own.glob),
                            read: own.read,
                            write: own.write,
                        })
                        .collect(),
                ),
            },
            channels: match &selector.channels {
                Channels::All => None,
                Channels::Patterns(patterns) => {
                    Some(patterns.iter().map(|own| Pattern::new(own)).collect())
                }
            },
        };
        let grants: Vec<Grant> = selectors.iter().map(grant).collect();
        let is_all = |grant: &Grant| {
            grant.allowed.commands.is_full() && grant.keys.is_none() && grant.channels.is_none()
        };
        if grants.iter().any(is_all) {
            return Permissions::all();
        }
        Permissions {
            all: false,
            plain: grants.iter().find_map(PlainGrant::of),
            grants,
        }
    }

    /// Whether everything is allowed.
    #[inline]
    pub fn are_all(&self) -> bool {
        self.all
    }

    /// Whether a command with one key is allowed, as far as a short look can tell: `false` says nothing.
    #[inline]
    pub fn allow_plainly(&self, id: u16, key: &[u8], access: Access) -> bool {
        let plain = self.plain.as_ref();
        plain.is_some_and(|plain| plain.allows(id, key, access)) || self.allow(id, key, access)
    }

    #[inline(never)]
    fn allow(&self, id: u16, key: &[u8], access: Access) -> bool {
        let mut grants = self.grants.iter();
        self.all
            || grants.any(|grant| {
                grant.allowed.commands.has(id)
                    && match &grant.keys {
                        None => true,
                        Some(patterns) => patterns.iter().any(|own| own.allows(key, access)),
                    }
            })
    }

    /// Whether a request is allowed. `said` is the command as the servers describe it.
    pub fn check(&self, command: &Command, said: &Command, args: &Args<'_>) -> Result<(), Denied> {
        if self.all {
            return Ok(());
        }
        let mut found: Found = None;
        let mut worst = Denied {
            reason: Reason::Command,
            at: 0,
        };
        for grant in &self.grants {
            match grant.check(command, said, args, &mut found) {
                Ok(()) => return Ok(()),
                Err(denied) if (denied.reason, denied.at) > (worst.reason, worst.at) => {
                    worst = denied;
                }
                Err(_) => {}
            }
        }
        Err(worst)
    }

    /// Whether somebody may stay subscribed to a channel, or, if `is_pattern`, to a pattern: the channels of all selectors
    /// count together.
    pub fn allow_channel(&self, name: &[u8], is_pattern: bool) -> bool {
        self.all
            || self.grants.iter().any(|grant| match &grant.channels {
                None => true,
                Some(own) => own.iter().any(|own| own.allows_channel(name, is_pattern)),
            })
    }
}

impl KeyPattern {
    #[inline]
    fn allows(&self, key: &[u8], access: Access) -> bool {
        self.read >= access.read && self.write >= access.write && self.pattern.fits(key)
    }
}

impl Pattern {
    fn allows_channel(&self, name: &[u8], is_pattern: bool) -> bool {
        if is_pattern {
            self.is(name)
        } else {
            self.fits(name)
        }
    }
}

impl Grant {
    fn check(
        &self,
        command: &Command,
        said: &Command,
        args: &Args<'_>,
        found: &mut Found,
    ) -> Result<(), Denied> {
        let denied = |reason, at| Err(Denied { reason, at });
        let id = command.id;
        if !said.flags.contains(Flags::NO_AUTH) && !self.allowed.commands.has(id) {
            let mut arguments = self.allowed.arguments(id).iter();
            let first = args.get(1);
            let named =
                first.is_some_and(|first| arguments.any(|own| own.eq_ignore_ascii_case(first)));
            if !named {
                return denied(Reason::Command, 0);
            }
        }
        if let Some(patterns) = &self.keys {
            let keys = match found {
                Some(keys) => keys,
                None => match keys_of(command, said, args) {
                    Ok(keys) => found.insert(keys),
                    // Nobody here can tell what it touches.
                    Err(at) => return denied(Reason::Key, at),
                },
            };
            for (at, flags) in keys {
                let (at, access) = (*at as usize, Access::of(*flags));
                if !patterns.iter().any(|own| own.allows(args.at(at), access)) {
                    return denied(Reason::Key, at);
                }
            }
        }
        if let Some(patterns) = &self.channels {
            let (count, is_pattern) = match command.channels {
                ChannelArguments::None => (0, false),
                ChannelArguments::One => (1, false),
                ChannelArguments::All => (usize::MAX, false),
                ChannelArguments::Patterns => (usize::MAX, true),
            };
            for (at, name) in args.from(1).enumerate().take(count) {
                if !patterns
                    .iter()
                    .any(|own| own.allows_channel(name, is_pattern))
                {
                    return denied(Reason::Channel, at + 1);
                }
            }
        }
        Ok(())
    }
}

/// The keys of a request; or where the blame lies if only a server can tell them.
fn keys_of(
    command: &Command,
    said: &Command,
    args: &Args<'_>,
) -> Result<Vec<(u32, KeyFlags)>, usize> {
    let mut keys = Vec::new();
    match getkeys::flagged(command, said, args, &mut keys) {
        Ok(()) => Ok(keys),
        Err(KeysError::Unknown) => Err(args.len().saturating_sub(1).min(1)),
        // A node refuses it for its keys, and does nothing.
        Err(KeysError::Invalid | KeysError::Unbalanced) => Ok(Vec::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_beginning_of_any_length_is_found_in_texts_of_any_length() {
        let bytes = b"abcdefghijklmnop";
        for prefix in 0..=bytes.len() {
            let glob = [&bytes[..prefix], b"*"].concat();
            let pattern = Pattern::new(&glob);
            assert!(matches!(pattern, Pattern::Beginning(_)) && pattern.is(&glob));
            for length in 0..=bytes.len() {
                let mut text = bytes[..length].to_vec();
                assert_eq!(pattern.fits(&text), length >= prefix);
                for at in 0..length {
                    text[at] ^= 0x80;
                    assert_eq!(pattern.fits(&text), length >= prefix && at >= prefix);
                    text[at] ^= 0x80;
                }
            }
        }
    }
}
