//! `Flags`, `AclCategories` and `KeyFlags`: sets of the words that servers use of commands and keys.
//!
//! A bit's place is the place of its word in a server's COMMAND reply, so that `names` gives the server's order.

/// Defines a set of named bits.
macro_rules! bitset {
    ($(#[$doc:meta])* $type:ident { $($(#[$word_doc:meta])* $bit:ident = $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
        pub struct $type(u32);

        impl $type {
            /// The empty set.
            pub const NONE: $type = $type(0);
            /// The servers' words, each at the place of its bit.
            const WORDS: &'static [&'static str] = &[$($word),*];
            bitset!(@bits 0, $($(#[$word_doc])* $bit,)*);

            /// The set as bits.
            pub const fn bits(self) -> u32 {
                self.0
            }

            /// The set of these bits.
            pub const fn from_bits(bits: u32) -> $type {
                $type(bits)
            }

            /// Whether all of `other` is in this set.
            #[inline]
            pub const fn contains(self, other: $type) -> bool {
                self.0 & other.0 == other.0
            }

            /// This set and `other` together.
            pub const fn with(self, other: $type) -> $type {
                $type(self.0 | other.0)
            }

            /// The set of one word, if it is known.
            pub fn from_name(name: &str) -> Option<$type> {
                let index = Self::WORDS.iter().position(|word| *word == name)?;
                Some($type(1 << index))
            }

            /// The servers' words for what is in the set, in the servers' order.
            pub fn names(self) -> impl Iterator<Item = &'static str> {
                let words = Self::WORDS.iter().enumerate();
                words.filter_map(move |(index, word)| (self.0 >> index & 1 == 1).then_some(*word))
            }
        }
    };
    (@bits $at:expr,) => {};
    (@bits $at:expr, $(#[$doc:meta])* $bit:ident, $($rest:tt)*) => {
        $(#[$doc])*
        pub const $bit: Self = Self(1 << ($at));
        bitset!(@bits $at + 1, $($rest)*);
    };
}

bitset! {
    /// What a server says of a command.
    Flags {
        /// It may change data.
        WRITE = "write",
        /// It reads data and changes none.
        READONLY = "readonly",
        /// Refused when memory is out.
        DENYOOM = "denyoom",
        /// It comes from a module.
        MODULE = "module",
        /// For administrators.
        ADMIN = "admin",
        /// Of publish and subscribe.
        PUBSUB = "pubsub",
        /// Not in scripts.
        NOSCRIPT = "noscript",
        /// It may keep its client waiting.
        BLOCKING = "blocking",
        /// Also while the data set is loaded.
        LOADING = "loading",
        /// Also on a replica with stale data.
        STALE = "stale",
        /// Not shown by MONITOR.
        SKIP_MONITOR = "skip_monitor",
        /// Not in the slow log.
        SKIP_SLOWLOG = "skip_slowlog",
        /// As if ASKING had been sent before it.
        ASKING = "asking",
        /// In constant or logarithmic time.
        FAST = "fast",
        /// Also before authentication.
        NO_AUTH = "no_auth",
        /// It may be replicated though it is no write.
        MAY_REPLICATE = "may_replicate",
        /// It may have no key at all though it has key specs.
        NO_MANDATORY_KEYS = "no_mandatory_keys",
        /// Not while the data set is loaded in the background.
        NO_ASYNC_LOADING = "no_async_loading",
        /// Not inside of MULTI.
        NO_MULTI = "no_multi",
        /// Also while a script has run for too long.
        ALLOW_BUSY = "allow_busy",
        /// Its keys are not always at the same places.
        MOVABLEKEYS = "movablekeys",
    }
}

bitset! {
    /// The ACL categories that a command is in.
    AclCategories {
        /// Keys as such.
        KEYSPACE = "keyspace",
        /// Reads data.
        READ = "read",
        /// Writes data.
        WRITE = "write",
        /// Sets.
        SET = "set",
        /// Sorted sets.
        SORTEDSET = "sortedset",
        /// Lists.
        LIST = "list",
        /// Hashes.
        HASH = "hash",
        /// Strings.
        STRING = "string",
        /// Bitmaps.
        BITMAP = "bitmap",
        /// HyperLogLogs.
        HYPERLOGLOG = "hyperloglog",
        /// Geographic positions.
        GEO = "geo",
        /// Streams.
        STREAM = "stream",
        /// Publish and subscribe.
        PUBSUB = "pubsub",
        /// For administrators.
        ADMIN = "admin",
        /// In constant or logarithmic time.
        FAST = "fast",
        /// Not fast.
        SLOW = "slow",
        /// May keep its client waiting.
        BLOCKING = "blocking",
        /// May do harm.
        DANGEROUS = "dangerous",
        /// Of the connection itself.
        CONNECTION = "connection",
        /// Transactions.
        TRANSACTION = "transaction",
        /// Scripts and functions.
        SCRIPTING = "scripting",
        /// Vector sets.
        VECTORSET = "vectorset",
        /// JSON documents.
        JSON = "json",
        /// Bloom filters.
        BLOOM = "bloom",
        /// Cuckoo filters.
        CUCKOO = "cuckoo",
        /// Count-min sketches.
        CMS = "cms",
        /// Top-k lists.
        TOPK = "topk",
        /// t-digests.
        TDIGEST = "tdigest",
        /// Time series.
        TIMESERIES = "timeseries",
        /// Search indexes.
        SEARCH = "search",
    }
}

bitset! {
    /// What a command does to the keys of one key spec.
    KeyFlags {
        /// Read-only.
        RO = "RO",
        /// Read and written.
        RW = "RW",
        /// Overwritten.
        OW = "OW",
        /// Removed.
        RM = "RM",
        /// The value, or a part of it, is given back or copied.
        ACCESS = "access",
        /// The value is changed.
        UPDATE = "update",
        /// Something is added to the value.
        INSERT = "insert",
        /// Something is taken out of the value.
        DELETE = "delete",
        /// It is routed like a key and is none.
        NOT_KEY = "not_key",
        /// The spec may miss keys.
        INCOMPLETE = "incomplete",
        /// What is done depends on the arguments.
        VARIABLE_FLAGS = "variable_flags",
    }
}

impl AclCategories {
    /// Those that commands of every server are in: the first of the words.
    pub fn of_every_server() -> AclCategories {
        AclCategories::from_bits(2 * AclCategories::SCRIPTING.bits() - 1)
    }

    /// This set with what a server adds by itself for a command with these flags.
    pub fn with_implied(self, flags: Flags) -> AclCategories {
        let scripting = self.contains(AclCategories::SCRIPTING);
        let mut acl = self;
        if flags.contains(Flags::WRITE) {
            acl = acl.with(AclCategories::WRITE);
        }
        if flags.contains(Flags::READONLY) && !scripting {
            acl = acl.with(AclCategories::READ);
        }
        if flags.contains(Flags::ADMIN) {
            acl = acl.with(AclCategories::ADMIN.with(AclCategories::DANGEROUS));
        }
        if flags.contains(Flags::PUBSUB) {
            acl = acl.with(AclCategories::PUBSUB);
        }
        if flags.contains(Flags::BLOCKING) {
            acl = acl.with(AclCategories::BLOCKING);
        }
        if flags.contains(Flags::FAST) {
            acl.with(AclCategories::FAST)
        } else {
            acl.with(AclCategories::SLOW)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_bits_agree() {
        let flags = Flags::FAST.with(Flags::WRITE);
        assert_eq!(flags.names().collect::<Vec<_>>(), ["write", "fast"]);
        assert!(flags.contains(Flags::FAST) && !flags.contains(Flags::ADMIN));
        assert_eq!(Flags::from_name("movablekeys"), Some(Flags::MOVABLEKEYS));
        assert_eq!(Flags::from_name("new"), None);
        assert_eq!(AclCategories::from_name("geo"), Some(AclCategories::GEO));
        assert_eq!(KeyFlags::from_bits(flags.bits()).bits(), flags.bits());
    }

    #[test]
    fn implied_categories_are_added() {
        let shutdown = AclCategories::NONE.with_implied(Flags::ADMIN);
        let names: Vec<_> = shutdown.names().collect();
        assert_eq!(names, ["admin", "slow", "dangerous"]);
    }
}
