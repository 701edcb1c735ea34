//! `Permissions`: what a user's rules come to, made so that a request is quickly checked: a set of the commands' ids, and
//! patterns of which most are a plain beginning.
//!
//! A request is allowed if one selector allows all of it.

use super::commands::{Bits, Commands};
use super::pattern_set::{Pattern, PatternSet, Prefix};
use super::selector::{self, Allowed, Channels, Selector};
use crate::command::{ChannelArguments, Command, Flags, KeyFlags, KeysError, getkeys};
use crate::resp::args::Args;

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

    /// Whether who may do this may do that.
    #[inline]
    fn covers(self, asked: Access) -> bool {
        self.read >= asked.read && self.write >= asked.write
    }
}

/// What one selector allows.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Grant {
    allowed: Allowed,
    /// Nothing: all keys.
    keys: Option<PatternSet<Access>>,
    /// Nothing: all channels.
    channels: Option<PatternSet<()>>,
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
        let (Pattern::Beginning(prefix), access) = grant.keys.as_ref()?.only()? else {
            return None;
        };
        Some(PlainGrant {
            commands: grant.allowed.commands.clone(),
            prefix: prefix.clone(),
            read: access.read,
            write: access.write,
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
                selector::Keys::Patterns(patterns) => {
                    Some(PatternSet::new(patterns.iter().map(|own| {
                        let (read, write) = (own.read, own.write);
                        (Pattern::new(&own.glob), Access { read, write })
                    })))
                }
            },
            channels: match &selector.channels {
                Channels::All => None,
                Channels::Patterns(patterns) => {
                    let patterns = patterns.iter().map(|own| (Pattern::new(own), ()));
                    Some(PatternSet::new(patterns))
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
                        Some(patterns) => patterns.any(key, |own| own.covers(access)),
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
                Some(own) if is_pattern => own.has(name),
                Some(own) => own.any(name, |()| true),
            })
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
                if !patterns.any(args.at(at), |own| own.covers(access)) {
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
                let allowed = match is_pattern {
                    true => patterns.has(name),
                    false => patterns.any(name, |()| true),
                };
                if !allowed {
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
