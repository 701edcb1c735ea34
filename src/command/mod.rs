//! `Command`: what one command is, in the server's own vocabulary: arity, flags, key specs, request and
//! response policy; and its `Class`: how this proxy serves it.
//!
//! It must never know of clients, nodes or slots, nor build a reply.

mod admin;
mod channels;
mod conduct;
pub mod describe;
pub mod document;
pub mod explain;
pub mod flags;
mod found_keys;
pub mod getkeys;
mod idempotent;
pub mod keys;
pub mod known;
pub mod learn;
pub mod namespace;
mod notes;
pub mod options;
mod packed;
pub mod redact;
mod rows;
pub mod servers;
mod specs;
pub mod table;

use std::borrow::Cow;
use std::fmt;

use crate::resp::args::Args;
pub use channels::ChannelArguments;
pub use conduct::{Cacheable, InMulti, Runs, Verb};
pub use flags::{AclCategories, Flags, KeyFlags};
pub use found_keys::KeysError;
pub use idempotent::Idempotent;
pub use keys::{flagged_keys, keys, unbalanced};
pub use known::Known;
pub use namespace::{Confined, KeysInReply, Rewrite};
pub use options::{Timeout, blocks};
pub use servers::Servers;
pub use table::{Resolved, Table};

/// One row of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// Its place in the table; never changes, so counters may share it.
    pub id: u16,
    /// Lower case; a subcommand's name is `container|subcommand`.
    pub name: Cow<'static, str>,
    /// Redis' convention: `n` arguments exactly, or at least `n` when it is `-n`; the name counts.
    pub arity: i16,
    /// The server's flags.
    pub flags: Flags,
    /// The server's ACL categories, implied ones included.
    pub acl: AclCategories,
    /// Where its keys are, as the server says it.
    pub key_specs: Cow<'static, [KeySpec]>,
    /// Where its keys are, in the form that routing uses. It may know more than the specs do.
    pub keys: Keys,
    /// The server's tips, words separated by spaces.
    pub tips: Cow<'static, str>,
    /// The tip on where to send it.
    pub request: RequestPolicy,
    /// The tip on how to merge its replies.
    pub response: ResponsePolicy,
    /// How this proxy serves it.
    pub class: Class,
    /// The option that makes it block (`BLOCK` of XREAD), if an option does.
    pub block_token: Option<&'static str>,
    /// Which argument says, in seconds, how long it blocks; counted from the end if negative.
    pub timeout_at: Option<i8>,
    /// Whether it runs code that makes errors of its own, in any words: it may have run although its answer reads
    /// like a server's refusal to run it.
    pub own_errors: bool,
    /// Whether a node may push something beside its reply (`DEBUG PROTOCOL push`), which is for the same client.
    pub pushes: bool,
    /// The program that it runs.
    pub runs: Runs,
    /// What a server does with it between MULTI and EXEC.
    pub in_multi: InMulti,
    /// Whether nodes execute it for clients although the proxy answers it (`Class::Local`): DEBUG goes to a node, or to
    /// several, by its subcommand.
    pub at_nodes: bool,
    /// Whether a RESP2 client that is subscribed may send it, beside what changes subscriptions.
    pub when_subscribed: bool,
    /// Which arguments are channels.
    pub channels: ChannelArguments,
    /// Whether it may be sent to a replica: it reads, and what it reads is not bound to the master.
    pub on_replicas: bool,
    /// When it may be executed twice although it does more than to read keys.
    pub idempotent: Idempotent,
    /// Why `class` or `keys` is not what flags, specs and tips say; empty where it is.
    pub why: &'static str,
    /// Whether subcommands have rows of their own.
    pub container: bool,
    /// Whether it changes the servers (or this proxy) rather than the data a client works on: what
    /// `-admin-commands` is about.
    pub changes_servers: bool,
    /// What becomes of it for a client of a namespace.
    pub confined: Confined,
    /// Where its reply has keys.
    pub keys_in_reply: KeysInReply,
    /// Whether its reply may be kept by the near cache.
    pub cacheable: Cacheable,
}

impl Command {
    /// A row made of what a server says of a command. Its id is given by the table.
    pub fn new(
        name: impl Into<Cow<'static, str>>,
        arity: i16,
        flags: Flags,
        acl: AclCategories,
        key_specs: impl Into<Cow<'static, [KeySpec]>>,
        tips: impl Into<Cow<'static, str>>,
        class: Class,
    ) -> Command {
        let (key_specs, tips) = (key_specs.into(), tips.into());
        let (request, response) = policies(&tips);
        let (name, keys) = (name.into(), Keys::from_specs(&key_specs));
        Command {
            id: 0,
            cacheable: Cacheable::No,
            confined: namespace::confined(&name, keys),
            keys_in_reply: namespace::keys_in_reply(&name),
            name,
            arity,
            flags,
            acl: acl.with_implied(flags),
            keys,
            key_specs,
            tips,
            request,
            response,
            class,
            block_token: None,
            timeout_at: None,
            own_errors: flags.contains(Flags::MODULE),
            pushes: false,
            runs: Runs::Nothing,
            in_multi: InMulti::Queued,
            at_nodes: false,
            when_subscribed: false,
            channels: ChannelArguments::None,
            on_replicas: flags.contains(Flags::READONLY),
            idempotent: Idempotent::Never,
            why: "",
            container: false,
            changes_servers: false,
        }
    }

    /// Whether a request of `args_len` arguments, the name included, has the right number of them.
    #[inline]
    pub fn arity_ok(&self, args_len: usize) -> bool {
        let wanted = usize::from(self.arity.unsigned_abs());
        if self.arity < 0 {
            args_len >= wanted
        } else {
            args_len == wanted
        }
    }

    /// Whether this request may keep its connection waiting (see [`options::blocks`]).
    pub fn blocks(&self, args: &Args<'_>) -> bool {
        options::blocks(self, args)
    }

    /// Which argument of this request says how long it blocks, and in what unit.
    pub fn timeout(&self, args: &Args<'_>) -> Option<(usize, Timeout)> {
        options::timeout(self, args)
    }

    /// Whether this request may be executed twice, so that it may be sent again when nobody knows whether it was
    /// executed.
    pub fn may_run_again(&self, args: &Args<'_>) -> bool {
        let has = |word: &&str| {
            args.from(1)
                .any(|arg| arg.eq_ignore_ascii_case(word.as_bytes()))
        };
        match self.idempotent {
            Idempotent::Never => self.flags.contains(Flags::READONLY),
            Idempotent::Always => true,
            Idempotent::With(words) => words.iter().any(has),
        }
    }

    /// Whether a server may pass it on to replicas: a write, or what a server counts as one. Servers do not
    /// tell of the latter (`may_replicate` is not in their COMMAND reply), so they are named here.
    pub fn may_replicate(&self) -> bool {
        let counted = matches!(
            &*self.name,
            "eval" | "evalsha" | "fcall" | "pfcount" | "publish" | "spublish"
        );
        counted || self.flags.contains(Flags::WRITE) || self.flags.contains(Flags::MAY_REPLICATE)
    }

    /// Whether it asks of all masters what they have of the whole's keys, or does something to them all: a master
    /// that serves no slot yet, or none any more, has a part in that, too.
    pub fn concerns_all_keys(&self) -> bool {
        let counted = matches!(
            &*self.name,
            "bgrewriteaof" | "bgsave" | "debug" | "info" | "memory|stats" | "save"
        );
        counted || self.acl.contains(AclCategories::KEYSPACE)
    }

    /// The name of the command that this is a subcommand of.
    pub fn parent(&self) -> Option<&str> {
        self.name.split_once('|').map(|(parent, _)| parent)
    }

    /// The error for a command that is refused; its `Display` is the text after the `-`.
    pub fn refusal(&self) -> Option<Refusal<'_>> {
        match self.class {
            Class::Refused(reason) => Some(Refusal {
                name: &self.name,
                reason,
            }),
            _ => None,
        }
    }
}

/// How this proxy serves a command, with what dispatch needs to do it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// To the one node that owns its keys' slot; two slots are CROSSSLOT, no key at all is any master.
    Routed,
    /// It has no keys and every master gives the same answer: any master.
    AnyNode,
    /// PUBLISH: it has no keys, and the cluster carries it to every node. To the one master that all channels go by,
    /// or to the owner of its channel's slot (`-pubsub-order`).
    Publish,
    /// Cut by slot; the parts' replies are merged so. All or nothing is kept by Redis' own contract.
    Split(ResponsePolicy),
    /// To every master; the replies are merged so.
    AllMasters(ResponsePolicy),
    /// To every node, replicas included; the replies are merged so.
    AllNodes(ResponsePolicy),
    /// SCAN: to one master after the other; the cursor says which.
    Scan,
    /// Answered by the proxy (which may ask a node for a part of the answer).
    Local,
    /// Needs a connection of its own, or ends the need.
    Leased(LeaseKind),
    /// By a subscription of the proxy's own, which all subscribers share.
    Subscription,
    /// Refused, for this reason.
    Refused(&'static str),
}

/// What a command needs a connection of its own for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseKind {
    /// Until its reply, which may take as long as the client wishes.
    Blocking,
    /// MULTI, WATCH and what ends them.
    Transaction(Verb),
    /// WAIT and WAITAOF: of the connection that wrote.
    Wait,
}

/// The `request_policy` tip.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestPolicy {
    /// None is given: by the keys, or any shard.
    Default,
    /// Every node.
    AllNodes,
    /// Every master.
    AllShards,
    /// Cut by the keys' slots.
    MultiShard,
    /// Not to be said in a word.
    Special,
}

/// The `response_policy` tip, and how a class merges replies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResponsePolicy {
    /// None is given: lists are joined; by key the order of the keys is kept.
    Default,
    /// The first reply that is no error, else an error.
    OneSucceeded,
    /// The first reply if none is an error, else an error.
    AllSucceeded,
    /// Element by element, 1 only if all are 1.
    AggLogicalAnd,
    /// Element by element, 1 if any is 1.
    AggLogicalOr,
    /// The least integer.
    AggMin,
    /// The greatest integer.
    AggMax,
    /// The sum of the integers.
    AggSum,
    /// Not to be said in a word: the command's own merge.
    Special,
}

/// Where a command's keys are among its arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeySpec {
    /// What is done to these keys, and how far the spec is to be trusted.
    pub flags: KeyFlags,
    /// Where to begin.
    pub begin: BeginSearch,
    /// How to go on from there.
    pub find: FindKeys,
}

/// Where the arguments of a key spec begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BeginSearch {
    /// At this argument.
    Index(u32),
    /// After this word. The search starts at argument `start_from`, or so many from the end, backwards.
    Keyword {
        /// The word, in any case.
        word: &'static str,
        /// Where the search starts.
        start_from: i32,
    },
    /// The server does not say.
    Unknown,
}

/// Which arguments after the beginning are keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FindKeys {
    /// Up to a last argument.
    Range {
        /// Counted from the beginning; negative: from the end of the arguments.
        last: i32,
        /// From one key to the next.
        step: u32,
        /// With a negative `last`: only the first one part in so many is searched; 0 and 1 mean all.
        limit: u32,
    },
    /// As many as an argument says.
    Keynum {
        /// Where that argument is, from the beginning.
        num_index: u32,
        /// Where the first key is, from the beginning.
        first_key: u32,
        /// From one key to the next.
        step: u32,
    },
    /// The server does not say.
    Unknown,
}

/// Where a command's keys are, in the form that routing uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keys {
    /// Nowhere: it has none.
    None,
    /// One, at this argument.
    One(u8),
    /// Where the key specs say.
    Specs,
    /// One at argument 1, and the operand of the last STORE or STOREDIST among the options from here on.
    StoreOption(u8),
    /// The first half of what follows STREAMS.
    Streams,
    /// MIGRATE: argument 3, or when that is empty all that follows KEYS.
    Migrate,
    /// Only a server can tell: the command finds them by code of its own.
    Unknown,
}

impl Keys {
    /// The fastest form that says what `specs` say.
    pub fn from_specs(specs: &[KeySpec]) -> Keys {
        match specs {
            [] => Keys::None,
            [
                KeySpec {
                    begin: BeginSearch::Index(index @ 1..=255),
                    find: FindKeys::Range { last: 0, .. },
                    ..
                },
            ] => Keys::One(*index as u8),
            _ => Keys::Specs,
        }
    }
}

/// The error text for a refused command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal<'a> {
    name: &'a str,
    reason: &'static str,
}

impl fmt::Display for Refusal<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Refusal { name, reason } = self;
        write!(
            f,
            "ERR command '{name}' is not supported through this proxy: {reason}"
        )
    }
}

/// The two policies among a command's tips.
fn policies(tips: &str) -> (RequestPolicy, ResponsePolicy) {
    let (mut request, mut response) = (RequestPolicy::Default, ResponsePolicy::Default);
    for tip in tips.split(' ') {
        match tip.split_once(':') {
            Some(("request_policy", policy)) => {
                request = match policy {
                    "all_nodes" => RequestPolicy::AllNodes,
                    "all_shards" => RequestPolicy::AllShards,
                    "multi_shard" => RequestPolicy::MultiShard,
                    _ => RequestPolicy::Special,
                }
            }
            Some(("response_policy", policy)) => {
                response = match policy {
                    "one_succeeded" => ResponsePolicy::OneSucceeded,
                    "all_succeeded" => ResponsePolicy::AllSucceeded,
                    "agg_logical_and" => ResponsePolicy::AggLogicalAnd,
                    "agg_logical_or" => ResponsePolicy::AggLogicalOr,
                    "agg_min" => ResponsePolicy::AggMin,
                    "agg_max" => ResponsePolicy::AggMax,
                    "agg_sum" => ResponsePolicy::AggSum,
                    _ => ResponsePolicy::Special,
                }
            }
            _ => {}
        }
    }
    (request, response)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(arity: i16, tips: &'static str, class: Class) -> Command {
        let (flags, acl) = (Flags::NONE, AclCategories::NONE);
        Command::new("test|me", arity, flags, acl, &[][..], tips, class)
    }

    #[test]
    fn arity_is_exact_or_a_minimum() {
        let get = command(2, "", Class::Routed);
        assert!(get.arity_ok(2) && !get.arity_ok(1) && !get.arity_ok(3));
        let del = command(-2, "", Class::Routed);
        assert!(del.arity_ok(2) && del.arity_ok(1_000_000) && !del.arity_ok(1));
    }

    #[test]
    fn policies_come_from_the_tips() {
        let tips = "nondeterministic_output request_policy:all_shards response_policy:agg_sum";
        let dbsize = command(1, tips, Class::AllMasters(ResponsePolicy::AggSum));
        assert_eq!(dbsize.request, RequestPolicy::AllShards);
        assert_eq!(dbsize.response, ResponsePolicy::AggSum);
        assert_eq!(policies("request_policy:new").0, RequestPolicy::Special);
        assert_eq!(
            policies(""),
            (RequestPolicy::Default, ResponsePolicy::Default)
        );
    }

    #[test]
    fn a_refusal_is_built_from_the_name() {
        let refused = command(1, "", Class::Refused("it stops a server"));
        assert_eq!(refused.parent(), Some("test"));
        assert_eq!(
            refused.refusal().unwrap().to_string(),
            "ERR command 'test|me' is not supported through this proxy: it stops a server"
        );
        assert_eq!(command(1, "", Class::Local).refusal(), None);
    }
}
