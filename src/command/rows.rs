//! `ROWS`: the commands that are compiled in, one row each: those of Redis 7.0 to 8 and Valkey 8 and 9.
//!
//! Columns: name, arity, flags, ACL categories (without what the flags imply), key specs, class. Behind them,
//! where there is need: the server's tips; `keys`, where routing knows more than the specs; `blocks`, the
//! option that makes it block; `timeout`, the argument that says how long; `on_master`, where a read is never for a replica; `own_errors`, where what runs may answer in a server's words for "not executed" (what comes from a module may, too); `pushes`, where a node may push something beside its reply; `runs`, what kind of program it runs; `at_once` and `denied`, what a server does with it inside MULTI, where it does not queue it; `at_nodes`, where nodes execute what the proxy answers; `when_subscribed`, where a subscribed client may send it; `why`, the reason where class or keys are not what the server's words say.
//! Where versions differ a row is the union that routes all of them right: the widest arity, every key.
//!
//! A container's own class is for the container alone (`COMMAND`): with a subcommand, that one's row counts.

use super::Class::{self, *};
use super::Keys::{self, *};
use super::LeaseKind::*;
use super::ResponsePolicy::*;
use super::{
    AclCategories, BeginSearch, Cacheable, FindKeys, Flags, InMulti, KeyFlags, KeySpec, Runs, Verb,
};

/// One line of the table.
pub(super) struct Row {
    pub(super) name: &'static str,
    pub(super) arity: i16,
    pub(super) flags: u32,
    pub(super) acl: u32,
    pub(super) specs: &'static [KeySpec],
    pub(super) class: Class,
    pub(super) tips: &'static str,
    pub(super) keys: Option<Keys>,
    pub(super) block_token: Option<&'static str>,
    pub(super) timeout_at: Option<i8>,
    pub(super) on_master: bool,
    pub(super) own_errors: bool,
    pub(super) pushes: bool,
    pub(super) runs: Runs,
    pub(super) in_multi: InMulti,
    pub(super) cacheable: Cacheable,
    pub(super) at_nodes: bool,
    pub(super) when_subscribed: bool,
    pub(super) why: &'static str,
}

/// A line with all that every command has.
const fn row(
    name: &'static str,
    arity: i16,
    flags: u32,
    acl: u32,
    specs: &'static [KeySpec],
    class: Class,
) -> Row {
    Row {
        name,
        arity,
        flags,
        acl,
        specs,
        class,
        tips: "",
        keys: Option::None,
        block_token: Option::None,
        timeout_at: Option::None,
        on_master: false,
        own_errors: false,
        pushes: false,
        runs: Runs::Nothing,
        in_multi: InMulti::Queued,
        cacheable: Cacheable::No,
        at_nodes: false,
        when_subscribed: false,
        why: "",
    }
}

impl Row {
    /// The server's tips.
    const fn tips(self, tips: &'static str) -> Row {
        Row { tips, ..self }
    }

    /// Its reply says nothing but what its one key holds, so that the near cache may keep it.
    const fn cached(self) -> Row {
        let cacheable = Cacheable::Yes;
        Row { cacheable, ..self }
    }

    /// The same, of a hash, whose fields some servers let end one by one.
    const fn cached_fields(self) -> Row {
        let cacheable = Cacheable::Fields;
        Row { cacheable, ..self }
    }

    /// The same, of several keys, each of which is read as this command reads one.
    const fn cached_as(self, single: &'static str) -> Row {
        let cacheable = Cacheable::Parts(single);
        Row { cacheable, ..self }
    }

    /// Where the keys are, in place of what the specs say.
    const fn keys(self, keys: Keys) -> Row {
        let keys = Some(keys);
        Row { keys, ..self }
    }

    /// The option that makes it block.
    const fn blocks(self, token: &'static str) -> Row {
        let block_token = Some(token);
        Row {
            block_token,
            ..self
        }
    }

    /// The argument that says how long it blocks, in seconds; from the end if negative.
    const fn timeout(self, at: i8) -> Row {
        let timeout_at = Some(at);
        Row { timeout_at, ..self }
    }

    /// It reads, and yet never at a replica.
    const fn on_master(self) -> Row {
        Row {
            on_master: true,
            ..self
        }
    }

    /// It runs code that makes errors of its own.
    const fn own_errors(self) -> Row {
        Row {
            own_errors: true,
            ..self
        }
    }

    /// A node may push something beside its reply.
    const fn pushes(self) -> Row {
        Row {
            pushes: true,
            ..self
        }
    }

    /// It runs the program that is its first argument, which makes errors of its own.
    const fn runs(self, runs: Runs) -> Row {
        let row = self.own_errors();
        Row { runs, ..row }
    }

    /// A server executes it at once, even between MULTI and EXEC, which it ends.
    const fn at_once(self) -> Row {
        let in_multi = InMulti::AtOnce;
        Row { in_multi, ..self }
    }

    /// A server queues it, and does not do it in a transaction.
    const fn denied(self, error: &'static str) -> Row {
        let in_multi = InMulti::Denied(error);
        Row { in_multi, ..self }
    }

    /// Nodes execute it, though the proxy answers it.
    const fn at_nodes(self) -> Row {
        Row {
            at_nodes: true,
            ..self
        }
    }

    /// A subscribed client may send it.
    const fn when_subscribed(self) -> Row {
        Row {
            when_subscribed: true,
            ..self
        }
    }

    /// The reason for a class or keys that are not what the server's words say.
    const fn why(self, why: &'static str) -> Row {
        Row { why, ..self }
    }
}

/// The keys from argument `index` on, up to `last`, which counts from `index`, or if negative from the end.
const fn range(index: u32, last: i32, step: u32, flags: u32) -> KeySpec {
    KeySpec {
        flags: KeyFlags::from_bits(flags),
        begin: BeginSearch::Index(index),
        find: FindKeys::Range {
            last,
            step,
            limit: 0,
        },
    }
}

/// The one key at argument `index`.
const fn key(index: u32, flags: u32) -> KeySpec {
    range(index, 0, 1, flags)
}

/// As many keys, each `step` from the last, as argument `index` says.
const fn counted(index: u32, step: u32, flags: u32) -> KeySpec {
    let (num_index, first_key) = (0, 1);
    KeySpec {
        flags: KeyFlags::from_bits(flags),
        begin: BeginSearch::Index(index),
        find: FindKeys::Keynum {
            num_index,
            first_key,
            step,
        },
    }
}

/// The keys of `spec`, behind a word instead.
const fn after(word: &'static str, start_from: i32, spec: KeySpec) -> KeySpec {
    let begin = BeginSearch::Keyword { word, start_from };
    KeySpec { begin, ..spec }
}

/// The first half of the arguments.
const fn half(flags: u32) -> KeySpec {
    KeySpec {
        flags: KeyFlags::from_bits(flags),
        begin: BeginSearch::Unknown,
        find: FindKeys::Range {
            last: -1,
            step: 1,
            limit: 2,
        },
    }
}

/// Keys that the server knows of but does not say where.
const fn unknown(flags: u32) -> KeySpec {
    let (begin, find) = (BeginSearch::Unknown, FindKeys::Unknown);
    KeySpec {
        flags: KeyFlags::from_bits(flags),
        begin,
        find,
    }
}

/// No flag, no category.
const NONE: u32 = 0;

const WRITE: u32 = Flags::WRITE.bits();
const READONLY: u32 = Flags::READONLY.bits();
const DENYOOM: u32 = Flags::DENYOOM.bits();
const MODULE: u32 = Flags::MODULE.bits();
const ADMIN: u32 = Flags::ADMIN.bits();
const PUBSUB: u32 = Flags::PUBSUB.bits();
const NOSCRIPT: u32 = Flags::NOSCRIPT.bits();
const BLOCKING: u32 = Flags::BLOCKING.bits();
const LOADING: u32 = Flags::LOADING.bits();
const STALE: u32 = Flags::STALE.bits();
const SKIP_MONITOR: u32 = Flags::SKIP_MONITOR.bits();
const SKIP_SLOWLOG: u32 = Flags::SKIP_SLOWLOG.bits();
const ASKING: u32 = Flags::ASKING.bits();
const FAST: u32 = Flags::FAST.bits();
const NO_AUTH: u32 = Flags::NO_AUTH.bits();
const NO_MANDATORY_KEYS: u32 = Flags::NO_MANDATORY_KEYS.bits();
const NO_ASYNC_LOADING: u32 = Flags::NO_ASYNC_LOADING.bits();
const NO_MULTI: u32 = Flags::NO_MULTI.bits();
const ALLOW_BUSY: u32 = Flags::ALLOW_BUSY.bits();
const MOVABLEKEYS: u32 = Flags::MOVABLEKEYS.bits();

const KEYSPACE: u32 = AclCategories::KEYSPACE.bits();
const ACL_READ: u32 = AclCategories::READ.bits();
const SET: u32 = AclCategories::SET.bits();
const SORTEDSET: u32 = AclCategories::SORTEDSET.bits();
const LIST: u32 = AclCategories::LIST.bits();
const HASH: u32 = AclCategories::HASH.bits();
const STRING: u32 = AclCategories::STRING.bits();
const BITMAP: u32 = AclCategories::BITMAP.bits();
const HYPERLOGLOG: u32 = AclCategories::HYPERLOGLOG.bits();
const GEO: u32 = AclCategories::GEO.bits();
const STREAM: u32 = AclCategories::STREAM.bits();
const ACL_ADMIN: u32 = AclCategories::ADMIN.bits();
const DANGEROUS: u32 = AclCategories::DANGEROUS.bits();
const CONNECTION: u32 = AclCategories::CONNECTION.bits();
const TRANSACTION: u32 = AclCategories::TRANSACTION.bits();
const SCRIPTING: u32 = AclCategories::SCRIPTING.bits();
const VECTORSET: u32 = AclCategories::VECTORSET.bits();
const JSON: u32 = AclCategories::JSON.bits();
const BLOOM: u32 = AclCategories::BLOOM.bits();
const CUCKOO: u32 = AclCategories::CUCKOO.bits();
const CMS: u32 = AclCategories::CMS.bits();
const TOPK: u32 = AclCategories::TOPK.bits();
const TDIGEST: u32 = AclCategories::TDIGEST.bits();
const TIMESERIES: u32 = AclCategories::TIMESERIES.bits();

const RO: u32 = KeyFlags::RO.bits();
const RW: u32 = KeyFlags::RW.bits();
const OW: u32 = KeyFlags::OW.bits();
const RM: u32 = KeyFlags::RM.bits();
const ACCESS: u32 = KeyFlags::ACCESS.bits();
const UPDATE: u32 = KeyFlags::UPDATE.bits();
const INSERT: u32 = KeyFlags::INSERT.bits();
const DELETE: u32 = KeyFlags::DELETE.bits();
const NOT_KEY: u32 = KeyFlags::NOT_KEY.bits();
const INCOMPLETE: u32 = KeyFlags::INCOMPLETE.bits();
const VARIABLE: u32 = KeyFlags::VARIABLE_FLAGS.bits();

/// The table. One command, one line, however long.
#[rustfmt::skip]
pub(super) static ROWS: &[Row] = &[
    // Strings
    row("append", 3, WRITE | DENYOOM | FAST, STRING, &[key(1, RW | INSERT)], Routed),
    row("decr", 2, WRITE | DENYOOM | FAST, STRING, &[key(1, RW | ACCESS | UPDATE)], Routed),
    row("decrby", 3, WRITE | DENYOOM | FAST, STRING, &[key(1, RW | ACCESS | UPDATE)], Routed),
    row("delex", -2, WRITE | FAST, STRING, &[key(1, RW | DELETE)], Routed),
    row("delifeq", 3, WRITE, STRING, &[key(1, RM | ACCESS | DELETE)], Routed),
    row("digest", 2, READONLY | FAST, STRING, &[key(1, RO | ACCESS)], Routed),
    row("get", 2, READONLY | FAST, STRING, &[key(1, RO | ACCESS)], Routed).cached(),
    row("getdel", 2, WRITE | FAST, STRING, &[key(1, RW | ACCESS | DELETE)], Routed),
    row("getex", -2, WRITE | FAST, STRING, &[key(1, RW | ACCESS | UPDATE)], Routed),
    row("getrange", 4, READONLY, STRING, &[key(1, RO | ACCESS)], Routed).cached(),
    row("getset", 3, WRITE | DENYOOM | FAST, STRING, &[key(1, RW | ACCESS | UPDATE)], Routed),
    row("incr", 2, WRITE | DENYOOM | FAST, STRING, &[key(1, RW | ACCESS | UPDATE)], Routed),
    row("incrby", 3, WRITE | DENYOOM | FAST, STRING, &[key(1, RW | ACCESS | UPDATE)], Routed),
    row("incrbyfloat", 3, WRITE | DENYOOM | FAST, STRING, &[key(1, RW | ACCESS | UPDATE)], Routed),
    row("lcs", -3, READONLY, STRING, &[range(1, 1, 1, RO | ACCESS)], Routed),
    row("mget", -2, READONLY | FAST, STRING, &[range(1, -1, 1, RO | ACCESS)], Split(Default)).tips("request_policy:multi_shard").cached_as("get"),
    row("mset", -3, WRITE | DENYOOM, STRING, &[range(1, -1, 2, OW | UPDATE)], Split(AllSucceeded)).tips("request_policy:multi_shard response_policy:all_succeeded"),
    row("msetex", -4, WRITE | DENYOOM, STRING, &[counted(1, 2, OW | UPDATE)], Routed).tips("request_policy:multi_shard response_policy:all_succeeded").why("atomic over all keys with NX or XX, so it is not split"),
    row("msetnx", -3, WRITE | DENYOOM, STRING, &[range(1, -1, 2, OW | INSERT)], Routed).tips("request_policy:multi_shard response_policy:agg_min").why("atomic over all keys, so it is not split"),
    row("psetex", 4, WRITE | DENYOOM, STRING, &[key(1, OW | UPDATE)], Routed),
    row("set", -3, WRITE | DENYOOM, STRING, &[key(1, RW | ACCESS | UPDATE | VARIABLE)], Routed),
    row("setex", 4, WRITE | DENYOOM, STRING, &[key(1, OW | UPDATE)], Routed),
    row("setnx", 3, WRITE | DENYOOM | FAST, STRING, &[key(1, OW | INSERT)], Routed),
    row("setrange", 4, WRITE | DENYOOM, STRING, &[key(1, RW | UPDATE)], Routed),
    row("strlen", 2, READONLY | FAST, STRING, &[key(1, RO)], Routed).cached(),
    row("substr", 4, READONLY, STRING, &[key(1, RO | ACCESS)], Routed).cached(),

    // Bitmaps
    row("bitcount", -2, READONLY, BITMAP, &[key(1, RO | ACCESS)], Routed).cached(),
    row("bitfield", -2, WRITE | DENYOOM, BITMAP, &[key(1, RW | ACCESS | UPDATE | VARIABLE)], Routed),
    row("bitfield_ro", -2, READONLY | FAST, BITMAP, &[key(1, RO | ACCESS)], Routed).cached(),
    row("bitop", -4, WRITE | DENYOOM, BITMAP, &[key(2, OW | UPDATE), range(3, -1, 1, RO | ACCESS)], Routed),
    row("bitpos", -3, READONLY, BITMAP, &[key(1, RO | ACCESS)], Routed).cached(),
    row("getbit", 3, READONLY | FAST, BITMAP, &[key(1, RO | ACCESS)], Routed).cached(),
    row("setbit", 4, WRITE | DENYOOM, BITMAP, &[key(1, RW | ACCESS | UPDATE)], Routed),

    // HyperLogLogs
    row("pfadd", -2, WRITE | DENYOOM | FAST, HYPERLOGLOG, &[key(1, RW | INSERT)], Routed),
    row("pfcount", -2, READONLY, HYPERLOGLOG, &[range(1, -1, 1, RW | ACCESS)], Routed),
    row("pfdebug", 3, WRITE | DENYOOM | ADMIN, HYPERLOGLOG, &[key(2, RW | ACCESS)], Routed),
    row("pfmerge", -2, WRITE | DENYOOM, HYPERLOGLOG, &[key(1, RW | ACCESS | INSERT), range(2, -1, 1, RO | ACCESS)], Routed),
    row("pfselftest", 1, ADMIN, HYPERLOGLOG, &[], AnyNode),

    // Hashes
    row("hdel", -3, WRITE | FAST, HASH, &[key(1, RW | DELETE)], Routed),
    row("hexists", 3, READONLY | FAST, HASH, &[key(1, RO)], Routed).cached_fields(),
    row("hexpire", -6, WRITE | DENYOOM | FAST, HASH, &[key(1, RW | UPDATE)], Routed),
    row("hexpireat", -6, WRITE | DENYOOM | FAST, HASH, &[key(1, RW | UPDATE)], Routed),
    row("hexpiretime", -5, READONLY | FAST, HASH, &[key(1, RO | ACCESS)], Routed),
    row("hget", 3, READONLY | FAST, HASH, &[key(1, RO | ACCESS)], Routed).cached_fields(),
    row("hgetall", 2, READONLY, HASH, &[key(1, RO | ACCESS)], Routed).tips("nondeterministic_output_order").cached_fields(),
    row("hgetdel", -5, WRITE | FAST, HASH, &[key(1, RW | ACCESS | DELETE)], Routed),
    row("hgetex", -5, WRITE | FAST, HASH, &[key(1, RW | ACCESS | UPDATE)], Routed),
    row("hincrby", 4, WRITE | DENYOOM | FAST, HASH, &[key(1, RW | ACCESS | UPDATE)], Routed),
    row("hincrbyfloat", 4, WRITE | DENYOOM | FAST, HASH, &[key(1, RW | ACCESS | UPDATE)], Routed),
    row("hkeys", 2, READONLY, HASH, &[key(1, RO | ACCESS)], Routed).tips("nondeterministic_output_order").cached_fields(),
    row("hlen", 2, READONLY | FAST, HASH, &[key(1, RO)], Routed).cached_fields(),
    row("hmget", -3, READONLY | FAST, HASH, &[key(1, RO | ACCESS)], Routed).cached_fields(),
    row("hmset", -4, WRITE | DENYOOM | FAST, HASH, &[key(1, RW | UPDATE)], Routed),
    row("hpersist", -5, WRITE | FAST, HASH, &[key(1, RW | UPDATE)], Routed),
    row("hpexpire", -6, WRITE | DENYOOM | FAST, HASH, &[key(1, RW | UPDATE)], Routed),
    row("hpexpireat", -6, WRITE | DENYOOM | FAST, HASH, &[key(1, RW | UPDATE)], Routed),
    row("hpexpiretime", -5, READONLY | FAST, HASH, &[key(1, RO | ACCESS)], Routed),
    row("hpttl", -5, READONLY | FAST, HASH, &[key(1, RO | ACCESS)], Routed).tips("nondeterministic_output"),
    row("hrandfield", -2, READONLY, HASH, &[key(1, RO | ACCESS)], Routed).tips("nondeterministic_output"),
    row("hscan", -3, READONLY, HASH, &[key(1, RO | ACCESS)], Routed).tips("nondeterministic_output").on_master().why("its cursor is valid on the key's node only, so it always goes to the master"),
    row("hset", -4, WRITE | DENYOOM | FAST, HASH, &[key(1, RW | UPDATE)], Routed),
    row("hsetex", -6, WRITE | DENYOOM | FAST, HASH, &[key(1, RW | UPDATE)], Routed),
    row("hsetnx", 4, WRITE | DENYOOM | FAST, HASH, &[key(1, RW | INSERT)], Routed),
    row("hstrlen", 3, READONLY | FAST, HASH, &[key(1, RO)], Routed).cached_fields(),
    row("httl", -5, READONLY | FAST, HASH, &[key(1, RO | ACCESS)], Routed).tips("nondeterministic_output"),
    row("hvals", 2, READONLY, HASH, &[key(1, RO | ACCESS)], Routed).tips("nondeterministic_output_order").cached_fields(),

    // Lists
    row("blmove", 6, WRITE | DENYOOM | NOSCRIPT | BLOCKING, LIST, &[key(1, RW | ACCESS | DELETE), key(2, RW | INSERT)], Leased(Blocking)).timeout(-1),
    row("blmpop", -5, WRITE | BLOCKING | MOVABLEKEYS, LIST, &[counted(2, 1, RW | ACCESS | DELETE)], Leased(Blocking)).timeout(1),
    row("blpop", -3, WRITE | NOSCRIPT | BLOCKING, LIST, &[range(1, -2, 1, RW | ACCESS | DELETE)], Leased(Blocking)).timeout(-1),
    row("brpop", -3, WRITE | NOSCRIPT | BLOCKING, LIST, &[range(1, -2, 1, RW | ACCESS | DELETE)], Leased(Blocking)).timeout(-1),
    row("brpoplpush", 4, WRITE | DENYOOM | NOSCRIPT | BLOCKING, LIST, &[key(1, RW | ACCESS | DELETE), key(2, RW | INSERT)], Leased(Blocking)).timeout(-1),
    row("lindex", 3, READONLY, LIST, &[key(1, RO | ACCESS)], Routed).cached(),
    row("linsert", 5, WRITE | DENYOOM, LIST, &[key(1, RW | INSERT)], Routed),
    row("llen", 2, READONLY | FAST, LIST, &[key(1, RO)], Routed).cached(),
    row("lmove", 5, WRITE | DENYOOM, LIST, &[key(1, RW | ACCESS | DELETE), key(2, RW | INSERT)], Routed),
    row("lmpop", -4, WRITE | MOVABLEKEYS, LIST, &[counted(1, 1, RW | ACCESS | DELETE)], Routed),
    row("lpop", -2, WRITE | FAST, LIST, &[key(1, RW | ACCESS | DELETE)], Routed),
    row("lpos", -3, READONLY, LIST, &[key(1, RO | ACCESS)], Routed).cached(),
    row("lpush", -3, WRITE | DENYOOM | FAST, LIST, &[key(1, RW | INSERT)], Routed),
    row("lpushx", -3, WRITE | DENYOOM | FAST, LIST, &[key(1, RW | INSERT)], Routed),
    row("lrange", 4, READONLY, LIST, &[key(1, RO | ACCESS)], Routed).cached(),
    row("lrem", 4, WRITE, LIST, &[key(1, RW | DELETE)], Routed),
    row("lset", 4, WRITE | DENYOOM, LIST, &[key(1, RW | UPDATE)], Routed),
    row("ltrim", 4, WRITE, LIST, &[key(1, RW | DELETE)], Routed),
    row("rpop", -2, WRITE | FAST, LIST, &[key(1, RW | ACCESS | DELETE)], Routed),
    row("rpoplpush", 3, WRITE | DENYOOM, LIST, &[key(1, RW | ACCESS | DELETE), key(2, RW | INSERT)], Routed),
    row("rpush", -3, WRITE | DENYOOM | FAST, LIST, &[key(1, RW | INSERT)], Routed),
    row("rpushx", -3, WRITE | DENYOOM | FAST, LIST, &[key(1, RW | INSERT)], Routed),

    // Sets
    row("sadd", -3, WRITE | DENYOOM | FAST, SET, &[key(1, RW | INSERT)], Routed),
    row("scard", 2, READONLY | FAST, SET, &[key(1, RO)], Routed).cached(),
    row("sdiff", -2, READONLY, SET, &[range(1, -1, 1, RO | ACCESS)], Routed).tips("nondeterministic_output_order"),
    row("sdiffstore", -3, WRITE | DENYOOM, SET, &[key(1, OW | UPDATE), range(2, -1, 1, RO | ACCESS)], Routed),
    row("sinter", -2, READONLY, SET, &[range(1, -1, 1, RO | ACCESS)], Routed).tips("nondeterministic_output_order"),
    row("sintercard", -3, READONLY | MOVABLEKEYS, SET, &[counted(1, 1, RO | ACCESS)], Routed),
    row("sinterstore", -3, WRITE | DENYOOM, SET, &[key(1, RW | UPDATE), range(2, -1, 1, RO | ACCESS)], Routed),
    row("sismember", 3, READONLY | FAST, SET, &[key(1, RO)], Routed).cached(),
    row("smembers", 2, READONLY, SET, &[key(1, RO | ACCESS)], Routed).tips("nondeterministic_output_order").cached(),
    row("smismember", -3, READONLY | FAST, SET, &[key(1, RO | ACCESS)], Routed).cached(),
    row("smove", 4, WRITE | FAST, SET, &[key(1, RW | ACCESS | DELETE), key(2, RW | INSERT)], Routed),
    row("spop", -2, WRITE | FAST, SET, &[key(1, RW | ACCESS | DELETE)], Routed).tips("nondeterministic_output"),
    row("srandmember", -2, READONLY, SET, &[key(1, RO | ACCESS)], Routed).tips("nondeterministic_output"),
    row("srem", -3, WRITE | FAST, SET, &[key(1, RW | DELETE)], Routed),
    row("sscan", -3, READONLY, SET, &[key(1, RO | ACCESS)], Routed).tips("nondeterministic_output").on_master().why("its cursor is valid on the key's node only, so it always goes to the master"),
    row("sunion", -2, READONLY, SET, &[range(1, -1, 1, RO | ACCESS)], Routed).tips("nondeterministic_output_order"),
    row("sunionstore", -3, WRITE | DENYOOM, SET, &[key(1, OW | UPDATE), range(2, -1, 1, RO | ACCESS)], Routed),

    // Sorted sets
    row("bzmpop", -5, WRITE | BLOCKING | MOVABLEKEYS, SORTEDSET, &[counted(2, 1, RW | ACCESS | DELETE)], Leased(Blocking)).timeout(1),
    row("bzpopmax", -3, WRITE | NOSCRIPT | BLOCKING | FAST, SORTEDSET, &[range(1, -2, 1, RW | ACCESS | DELETE)], Leased(Blocking)).timeout(-1),
    row("bzpopmin", -3, WRITE | NOSCRIPT | BLOCKING | FAST, SORTEDSET, &[range(1, -2, 1, RW | ACCESS | DELETE)], Leased(Blocking)).timeout(-1),
    row("zadd", -4, WRITE | DENYOOM | FAST, SORTEDSET, &[key(1, RW | UPDATE)], Routed),
    row("zcard", 2, READONLY | FAST, SORTEDSET, &[key(1, RO)], Routed).cached(),
    row("zcount", 4, READONLY | FAST, SORTEDSET, &[key(1, RO | ACCESS)], Routed).cached(),
    row("zdiff", -3, READONLY | MOVABLEKEYS, SORTEDSET, &[counted(1, 1, RO | ACCESS)], Routed),
    row("zdiffstore", -4, WRITE | DENYOOM | MOVABLEKEYS, SORTEDSET, &[key(1, OW | UPDATE), counted(2, 1, RO | ACCESS)], Routed),
    row("zincrby", 4, WRITE | DENYOOM | FAST, SORTEDSET, &[key(1, RW | ACCESS | UPDATE)], Routed),
    row("zinter", -3, READONLY | MOVABLEKEYS, SORTEDSET, &[counted(1, 1, RO | ACCESS)], Routed),
    row("zintercard", -3, READONLY | MOVABLEKEYS, SORTEDSET, &[counted(1, 1, RO | ACCESS)], Routed),
    row("zinterstore", -4, WRITE | DENYOOM | MOVABLEKEYS, SORTEDSET, &[key(1, OW | UPDATE), counted(2, 1, RO | ACCESS)], Routed),
    row("zlexcount", 4, READONLY | FAST, SORTEDSET, &[key(1, RO | ACCESS)], Routed).cached(),
    row("zmpop", -4, WRITE | MOVABLEKEYS, SORTEDSET, &[counted(1, 1, RW | ACCESS | DELETE)], Routed),
    row("zmscore", -3, READONLY | FAST, SORTEDSET, &[key(1, RO | ACCESS)], Routed).cached(),
    row("zpopmax", -2, WRITE | FAST, SORTEDSET, &[key(1, RW | ACCESS | DELETE)], Routed),
    row("zpopmin", -2, WRITE | FAST, SORTEDSET, &[key(1, RW | ACCESS | DELETE)], Routed),
    row("zrandmember", -2, READONLY, SORTEDSET, &[key(1, RO | ACCESS)], Routed).tips("nondeterministic_output"),
    row("zrange", -4, READONLY, SORTEDSET, &[key(1, RO | ACCESS)], Routed).cached(),
    row("zrangebylex", -4, READONLY, SORTEDSET, &[key(1, RO | ACCESS)], Routed).cached(),
    row("zrangebyscore", -4, READONLY, SORTEDSET, &[key(1, RO | ACCESS)], Routed).cached(),
    row("zrangestore", -5, WRITE | DENYOOM, SORTEDSET, &[key(1, OW | UPDATE), key(2, RO | ACCESS)], Routed),
    row("zrank", 3, READONLY | FAST, SORTEDSET, &[key(1, RO | ACCESS)], Routed).cached(),
    row("zrem", -3, WRITE | FAST, SORTEDSET, &[key(1, RW | DELETE)], Routed),
    row("zremrangebylex", 4, WRITE, SORTEDSET, &[key(1, RW | DELETE)], Routed),
    row("zremrangebyrank", 4, WRITE, SORTEDSET, &[key(1, RW | DELETE)], Routed),
    row("zremrangebyscore", 4, WRITE, SORTEDSET, &[key(1, RW | DELETE)], Routed),
    row("zrevrange", -4, READONLY, SORTEDSET, &[key(1, RO | ACCESS)], Routed).cached(),
    row("zrevrangebylex", -4, READONLY, SORTEDSET, &[key(1, RO | ACCESS)], Routed).cached(),
    row("zrevrangebyscore", -4, READONLY, SORTEDSET, &[key(1, RO | ACCESS)], Routed).cached(),
    row("zrevrank", 3, READONLY | FAST, SORTEDSET, &[key(1, RO | ACCESS)], Routed).cached(),
    row("zscan", -3, READONLY, SORTEDSET, &[key(1, RO | ACCESS)], Routed).tips("nondeterministic_output").on_master().why("its cursor is valid on the key's node only, so it always goes to the master"),
    row("zscore", 3, READONLY | FAST, SORTEDSET, &[key(1, RO | ACCESS)], Routed).cached(),
    row("zunion", -3, READONLY | MOVABLEKEYS, SORTEDSET, &[counted(1, 1, RO | ACCESS)], Routed),
    row("zunionstore", -4, WRITE | DENYOOM | MOVABLEKEYS, SORTEDSET, &[key(1, OW | UPDATE), counted(2, 1, RO | ACCESS)], Routed),

    // Geographic positions
    row("geoadd", -5, WRITE | DENYOOM, GEO, &[key(1, RW | UPDATE)], Routed),
    row("geodist", -4, READONLY, GEO, &[key(1, RO | ACCESS)], Routed).cached(),
    row("geohash", -2, READONLY, GEO, &[key(1, RO | ACCESS)], Routed).cached(),
    row("geopos", -2, READONLY, GEO, &[key(1, RO | ACCESS)], Routed),
    row("georadius", -6, WRITE | DENYOOM | MOVABLEKEYS, GEO, &[key(1, RO | ACCESS), after("STORE", 6, range(0, 0, 1, OW | UPDATE)), after("STOREDIST", 6, range(0, 0, 1, OW | UPDATE))], Routed).keys(StoreOption(6)).why("the last STORE wins"),
    row("georadius_ro", -6, READONLY, GEO, &[key(1, RO | ACCESS)], Routed),
    row("georadiusbymember", -5, WRITE | DENYOOM | MOVABLEKEYS, GEO, &[key(1, RO | ACCESS), after("STORE", 5, range(0, 0, 1, OW | UPDATE)), after("STOREDIST", 5, range(0, 0, 1, OW | UPDATE))], Routed).keys(StoreOption(5)).why("the last STORE wins"),
    row("georadiusbymember_ro", -5, READONLY, GEO, &[key(1, RO | ACCESS)], Routed),
    row("geosearch", -7, READONLY, GEO, &[key(1, RO | ACCESS)], Routed),
    row("geosearchstore", -8, WRITE | DENYOOM, GEO, &[key(1, OW | UPDATE), key(2, RO | ACCESS)], Routed),

    // Streams
    row("xack", -4, WRITE | FAST, STREAM, &[key(1, RW | UPDATE)], Routed),
    row("xackdel", -6, WRITE | FAST, STREAM, &[key(1, RW | UPDATE | DELETE)], Routed),
    row("xadd", -5, WRITE | DENYOOM | FAST, STREAM, &[key(1, RW | UPDATE)], Routed).tips("nondeterministic_output"),
    row("xautoclaim", -6, WRITE | FAST, STREAM, &[key(1, RW | DELETE)], Routed).tips("nondeterministic_output"),
    row("xcfgset", -2, WRITE | FAST, STREAM, &[key(1, RW | UPDATE)], Routed),
    row("xclaim", -6, WRITE | FAST, STREAM, &[key(1, RW | UPDATE)], Routed).tips("nondeterministic_output"),
    row("xdel", -3, WRITE | FAST, STREAM, &[key(1, RW | DELETE)], Routed),
    row("xdelex", -5, WRITE | FAST, STREAM, &[key(1, RW | DELETE)], Routed),
    row("xgroup", -2, NONE, NONE, &[], Local),
    row("xgroup|create", -5, WRITE | DENYOOM, STREAM, &[key(2, RW | INSERT)], Routed),
    row("xgroup|createconsumer", 5, WRITE | DENYOOM, STREAM, &[key(2, RW | INSERT)], Routed),
    row("xgroup|delconsumer", 5, WRITE, STREAM, &[key(2, RW | DELETE)], Routed),
    row("xgroup|destroy", 4, WRITE, STREAM, &[key(2, RW | DELETE)], Routed),
    row("xgroup|help", 2, LOADING | STALE, STREAM, &[], AnyNode),
    row("xgroup|setid", -5, WRITE, STREAM, &[key(2, RW | UPDATE)], Routed),
    row("xinfo", -2, NONE, NONE, &[], Local),
    row("xinfo|consumers", 4, READONLY, STREAM, &[key(2, RO | ACCESS)], Routed).tips("nondeterministic_output"),
    row("xinfo|groups", 3, READONLY, STREAM, &[key(2, RO | ACCESS)], Routed),
    row("xinfo|help", 2, LOADING | STALE, STREAM, &[], AnyNode),
    row("xinfo|stream", -3, READONLY, STREAM, &[key(2, RO | ACCESS)], Routed),
    row("xlen", 2, READONLY | FAST, STREAM, &[key(1, RO)], Routed).cached(),
    row("xpending", -3, READONLY, STREAM, &[key(1, RO | ACCESS)], Routed).tips("nondeterministic_output"),
    row("xrange", -4, READONLY, STREAM, &[key(1, RO | ACCESS)], Routed),
    row("xread", -4, READONLY | BLOCKING | MOVABLEKEYS, STREAM, &[after("STREAMS", 1, half(RO | ACCESS))], Routed).keys(Streams).blocks("block").why("blocks only with BLOCK"),
    row("xreadgroup", -7, WRITE | BLOCKING | MOVABLEKEYS, STREAM, &[after("STREAMS", 4, half(RO | ACCESS))], Routed).keys(Streams).blocks("block").why("blocks only with BLOCK"),
    row("xrevrange", -4, READONLY, STREAM, &[key(1, RO | ACCESS)], Routed),
    row("xsetid", -3, WRITE | DENYOOM | FAST, STREAM, &[key(1, RW | UPDATE)], Routed),
    row("xtrim", -4, WRITE, STREAM, &[key(1, RW | DELETE)], Routed).tips("nondeterministic_output"),

    // Keys of any type
    row("copy", -3, WRITE | DENYOOM, KEYSPACE, &[key(1, RO | ACCESS), key(2, OW | UPDATE)], Routed),
    row("del", -2, WRITE, KEYSPACE, &[range(1, -1, 1, RM | DELETE)], Split(AggSum)).tips("request_policy:multi_shard response_policy:agg_sum"),
    row("dump", 2, READONLY, KEYSPACE, &[key(1, RO | ACCESS)], Routed).tips("nondeterministic_output"),
    row("exists", -2, READONLY | FAST, KEYSPACE, &[range(1, -1, 1, RO)], Split(AggSum)).tips("request_policy:multi_shard response_policy:agg_sum").cached_as("exists"),
    row("expire", -3, WRITE | FAST, KEYSPACE, &[key(1, RW | UPDATE)], Routed),
    row("expireat", -3, WRITE | FAST, KEYSPACE, &[key(1, RW | UPDATE)], Routed),
    row("expiretime", 2, READONLY | FAST, KEYSPACE, &[key(1, RO | ACCESS)], Routed),
    row("keys", 2, READONLY, KEYSPACE | DANGEROUS, &[], AllMasters(Default)).tips("request_policy:all_shards nondeterministic_output_order"),
    row("migrate", -6, WRITE | MOVABLEKEYS, KEYSPACE | DANGEROUS, &[key(3, RW | ACCESS | DELETE), after("KEYS", -2, range(0, -1, 1, RW | ACCESS | DELETE | INCOMPLETE))], Routed).tips("nondeterministic_output").keys(Migrate).why("the proxy finds the keys itself: the servers' key specifications are incomplete"),
    row("move", 3, WRITE | FAST, KEYSPACE, &[key(1, RW | ACCESS | UPDATE)], Routed),
    row("object", -2, NONE, NONE, &[], Local),
    row("object|encoding", 3, READONLY, KEYSPACE, &[key(2, RO)], Routed).tips("nondeterministic_output"),
    row("object|freq", 3, READONLY, KEYSPACE, &[key(2, RO)], Routed).tips("nondeterministic_output"),
    row("object|help", 2, LOADING | STALE, KEYSPACE, &[], AnyNode),
    row("object|idletime", 3, READONLY, KEYSPACE, &[key(2, RO)], Routed).tips("nondeterministic_output"),
    row("object|refcount", 3, READONLY, KEYSPACE, &[key(2, RO)], Routed).tips("nondeterministic_output"),
    row("persist", 2, WRITE | FAST, KEYSPACE, &[key(1, RW | UPDATE)], Routed),
    row("pexpire", -3, WRITE | FAST, KEYSPACE, &[key(1, RW | UPDATE)], Routed),
    row("pexpireat", -3, WRITE | FAST, KEYSPACE, &[key(1, RW | UPDATE)], Routed),
    row("pexpiretime", 2, READONLY | FAST, KEYSPACE, &[key(1, RO | ACCESS)], Routed),
    row("pttl", 2, READONLY | FAST, KEYSPACE, &[key(1, RO | ACCESS)], Routed).tips("nondeterministic_output"),
    row("randomkey", 1, READONLY, KEYSPACE, &[], AllMasters(Special)).tips("request_policy:all_shards nondeterministic_output").why("shards are chosen by their size; nil only if all are empty"),
    row("rename", 3, WRITE, KEYSPACE, &[key(1, RW | ACCESS | DELETE), key(2, OW | UPDATE)], Routed),
    row("renamenx", 3, WRITE | FAST, KEYSPACE, &[key(1, RW | ACCESS | DELETE), key(2, OW | INSERT)], Routed),
    row("restore", -4, WRITE | DENYOOM, KEYSPACE | DANGEROUS, &[key(1, OW | UPDATE)], Routed),
    row("scan", -2, READONLY, KEYSPACE, &[], Scan).tips("nondeterministic_output request_policy:special").why("the cursor contains the master, and is valid only through the proxy").on_master(),
    row("sort", -2, WRITE | DENYOOM | MOVABLEKEYS, SET | SORTEDSET | LIST | DANGEROUS, &[key(1, RO | ACCESS), unknown(RO | ACCESS), unknown(OW | UPDATE)], Routed).keys(StoreOption(2)).why("STORE is treated as a key; BY and GET patterns are checked by the server"),
    row("sort_ro", -2, READONLY | MOVABLEKEYS, SET | SORTEDSET | LIST | DANGEROUS, &[key(1, RO | ACCESS), unknown(RO | ACCESS)], Routed).keys(One(1)).why("BY and GET patterns are checked by the server"),
    row("touch", -2, READONLY | FAST, KEYSPACE, &[range(1, -1, 1, RO)], Split(AggSum)).tips("request_policy:multi_shard response_policy:agg_sum"),
    row("ttl", 2, READONLY | FAST, KEYSPACE, &[key(1, RO | ACCESS)], Routed).tips("nondeterministic_output"),
    row("type", 2, READONLY | FAST, KEYSPACE, &[key(1, RO)], Routed).cached(),
    row("unlink", -2, WRITE | FAST, KEYSPACE, &[range(1, -1, 1, RM | DELETE)], Split(AggSum)).tips("request_policy:multi_shard response_policy:agg_sum"),
    row("wait", 3, NOSCRIPT, CONNECTION, &[], Leased(Wait)).tips("request_policy:all_shards response_policy:agg_min").why("WAIT counts the writes of its own connection only"),
    row("waitaof", 4, BLOCKING, CONNECTION, &[], Leased(Wait)).tips("request_policy:all_shards response_policy:agg_min").why("WAIT counts the writes of its own connection only"),

    // Publish and subscribe
    row("psubscribe", -2, PUBSUB | NOSCRIPT | LOADING | STALE, NONE, &[], Subscription),
    row("publish", 3, PUBSUB | LOADING | STALE | FAST, NONE, &[], Publish).why("by default all channels use one master, which keeps their messages in one order"),
    row("pubsub", -2, NONE, NONE, &[], Local),
    row("pubsub|channels", -2, PUBSUB | LOADING | STALE, NONE, &[], AllNodes(Special)).why("asks every node; lists each channel once"),
    row("pubsub|help", 2, LOADING | STALE, NONE, &[], AnyNode),
    row("pubsub|numpat", 2, PUBSUB | LOADING | STALE, NONE, &[], AllNodes(Special)).why("adds the subscribers of the nodes and of the proxy"),
    row("pubsub|numsub", -2, PUBSUB | LOADING | STALE, NONE, &[], AllNodes(Special)).why("adds the subscribers of the nodes and of the proxy"),
    row("pubsub|shardchannels", -2, PUBSUB | LOADING | STALE, NONE, &[], AllNodes(Special)).why("asks every node; lists each channel once"),
    row("pubsub|shardnumsub", -2, PUBSUB | LOADING | STALE, NONE, &[], AllNodes(Special)).why("adds the subscribers of the nodes and of the proxy"),
    row("punsubscribe", -1, PUBSUB | NOSCRIPT | LOADING | STALE, NONE, &[], Subscription),
    row("spublish", 3, PUBSUB | LOADING | STALE | FAST, NONE, &[key(1, NOT_KEY)], Routed),
    row("ssubscribe", -2, PUBSUB | NOSCRIPT | LOADING | STALE, NONE, &[range(1, -1, 1, NOT_KEY)], Subscription).denied("ERR SSUBSCRIBE isn't allowed for a DENY BLOCKING client"),
    row("subscribe", -2, PUBSUB | NOSCRIPT | LOADING | STALE, NONE, &[], Subscription),
    row("sunsubscribe", -1, PUBSUB | NOSCRIPT | LOADING | STALE, NONE, &[range(1, -1, 1, NOT_KEY)], Subscription),
    row("unsubscribe", -1, PUBSUB | NOSCRIPT | LOADING | STALE, NONE, &[], Subscription),

    // Transactions
    row("discard", 1, NOSCRIPT | LOADING | STALE | FAST | ALLOW_BUSY, TRANSACTION, &[], Leased(Transaction(Verb::Discard))),
    row("exec", 1, NOSCRIPT | LOADING | STALE | SKIP_SLOWLOG, TRANSACTION, &[], Leased(Transaction(Verb::Exec))).own_errors(),
    row("multi", 1, NOSCRIPT | LOADING | STALE | FAST | ALLOW_BUSY, TRANSACTION, &[], Leased(Transaction(Verb::Multi))),
    row("unwatch", 1, NOSCRIPT | LOADING | STALE | FAST | ALLOW_BUSY, TRANSACTION, &[], Leased(Transaction(Verb::Unwatch))),
    row("watch", -2, NOSCRIPT | LOADING | STALE | FAST | ALLOW_BUSY, TRANSACTION, &[range(1, -1, 1, RO)], Leased(Transaction(Verb::Watch))),

    // Scripts and functions
    row("eval", -3, NOSCRIPT | STALE | SKIP_MONITOR | NO_MANDATORY_KEYS | MOVABLEKEYS, SCRIPTING, &[counted(2, 1, RW | ACCESS | UPDATE)], Routed).runs(Runs::Script),
    row("eval_ro", -3, READONLY | NOSCRIPT | STALE | SKIP_MONITOR | NO_MANDATORY_KEYS | MOVABLEKEYS, SCRIPTING, &[counted(2, 1, RO | ACCESS)], Routed).runs(Runs::Script),
    row("evalsha", -3, NOSCRIPT | STALE | SKIP_MONITOR | NO_MANDATORY_KEYS | MOVABLEKEYS, SCRIPTING, &[counted(2, 1, RW | ACCESS | UPDATE)], Routed).runs(Runs::NamedScript("EVAL")),
    row("evalsha_ro", -3, READONLY | NOSCRIPT | STALE | SKIP_MONITOR | NO_MANDATORY_KEYS | MOVABLEKEYS, SCRIPTING, &[counted(2, 1, RO | ACCESS)], Routed).runs(Runs::NamedScript("EVAL_RO")),
    row("fcall", -3, NOSCRIPT | STALE | SKIP_MONITOR | NO_MANDATORY_KEYS | MOVABLEKEYS, SCRIPTING, &[counted(2, 1, RW | ACCESS | UPDATE)], Routed).runs(Runs::Function),
    row("fcall_ro", -3, READONLY | NOSCRIPT | STALE | SKIP_MONITOR | NO_MANDATORY_KEYS | MOVABLEKEYS, SCRIPTING, &[counted(2, 1, RO | ACCESS)], Routed).runs(Runs::Function),
    row("function", -2, NONE, NONE, &[], Local),
    row("function|delete", 3, WRITE | NOSCRIPT, SCRIPTING, &[], AllMasters(AllSucceeded)).tips("request_policy:all_shards response_policy:all_succeeded"),
    row("function|dump", 2, NOSCRIPT, SCRIPTING, &[], AnyNode),
    row("function|flush", -2, WRITE | NOSCRIPT, SCRIPTING, &[], AllMasters(AllSucceeded)).tips("request_policy:all_shards response_policy:all_succeeded"),
    row("function|help", 2, LOADING | STALE, SCRIPTING, &[], AnyNode),
    row("function|kill", 2, NOSCRIPT | ALLOW_BUSY, SCRIPTING, &[], AllMasters(OneSucceeded)).tips("request_policy:all_shards response_policy:one_succeeded"),
    row("function|list", -2, NOSCRIPT, SCRIPTING, &[], AnyNode).tips("nondeterministic_output_order"),
    row("function|load", -3, WRITE | DENYOOM | NOSCRIPT, SCRIPTING, &[], AllMasters(AllSucceeded)).tips("request_policy:all_shards response_policy:all_succeeded"),
    row("function|restore", -3, WRITE | DENYOOM | NOSCRIPT, SCRIPTING, &[], AllMasters(AllSucceeded)).tips("request_policy:all_shards response_policy:all_succeeded"),
    row("function|stats", 2, NOSCRIPT | ALLOW_BUSY, SCRIPTING, &[], AllMasters(Special)).tips("nondeterministic_output request_policy:all_shards response_policy:special").why("all masters have the same libraries; the reply is that of a master which runs a script"),
    row("script", -2, NONE, NONE, &[], Local),
    row("script|debug", 3, NOSCRIPT, SCRIPTING, &[], Refused("it turns the connection into a debugger")),
    row("script|exists", -3, NOSCRIPT, SCRIPTING, &[], AllMasters(AggLogicalAnd)).tips("request_policy:all_shards response_policy:agg_logical_and").why("a script exists if every master has it or the proxy can load it there"),
    row("script|flush", -2, NOSCRIPT, SCRIPTING, &[], AllNodes(AllSucceeded)).tips("request_policy:all_nodes response_policy:all_succeeded").why("each node has its own script cache; replicas serve EVALSHA_RO and may become masters"),
    row("script|help", 2, LOADING | STALE, SCRIPTING, &[], AnyNode),
    row("script|kill", 2, NOSCRIPT | ALLOW_BUSY, SCRIPTING, &[], AllMasters(OneSucceeded)).tips("request_policy:all_shards response_policy:one_succeeded"),
    row("script|load", 3, NOSCRIPT | STALE, SCRIPTING, &[], AllNodes(AllSucceeded)).tips("request_policy:all_nodes response_policy:all_succeeded").why("each node has its own script cache; replicas serve EVALSHA_RO and may become masters"),
    row("script|show", 3, NOSCRIPT | STALE, KEYSPACE | ACL_READ | SCRIPTING, &[], AnyNode),

    // The connection
    row("auth", -2, NOSCRIPT | LOADING | STALE | FAST | NO_AUTH | ALLOW_BUSY, CONNECTION, &[], Local),
    row("client", -2, NONE, NONE, &[], Local),
    row("client|caching", 3, NOSCRIPT | LOADING | STALE, CONNECTION, &[], Local),
    row("client|capa", -3, NOSCRIPT | LOADING | STALE, CONNECTION, &[], Local),
    row("client|getname", 2, NOSCRIPT | LOADING | STALE, CONNECTION, &[], Local),
    row("client|getredir", 2, NOSCRIPT | LOADING | STALE, CONNECTION, &[], Local),
    row("client|help", 2, LOADING | STALE, CONNECTION, &[], AnyNode),
    row("client|id", 2, NOSCRIPT | LOADING | STALE, CONNECTION, &[], Local),
    row("client|import-source", 3, NOSCRIPT | LOADING | STALE, CONNECTION, &[], Local),
    row("client|info", 2, NOSCRIPT | LOADING | STALE, CONNECTION, &[], Local).tips("nondeterministic_output"),
    row("client|kill", -3, ADMIN | NOSCRIPT | LOADING | STALE, CONNECTION, &[], Local),
    row("client|list", -2, ADMIN | NOSCRIPT | LOADING | STALE, CONNECTION, &[], Local).tips("nondeterministic_output"),
    row("client|no-evict", 3, ADMIN | NOSCRIPT | LOADING | STALE, CONNECTION, &[], Local),
    row("client|no-touch", 3, NOSCRIPT | LOADING | STALE, CONNECTION, &[], Local),
    row("client|pause", -3, ADMIN | NOSCRIPT | LOADING | STALE, CONNECTION, &[], Local),
    row("client|reply", 3, NOSCRIPT | LOADING | STALE, CONNECTION, &[], Local),
    row("client|setinfo", 4, NOSCRIPT | LOADING | STALE, CONNECTION, &[], Local),
    row("client|setname", 3, NOSCRIPT | LOADING | STALE, CONNECTION, &[], Local),
    row("client|tracking", -3, NOSCRIPT | LOADING | STALE, CONNECTION, &[], Local),
    row("client|trackinginfo", 2, NOSCRIPT | LOADING | STALE, CONNECTION, &[], Local),
    row("client|unblock", -3, ADMIN | NOSCRIPT | LOADING | STALE, CONNECTION, &[], Local),
    row("client|unpause", 2, ADMIN | NOSCRIPT | LOADING | STALE, CONNECTION, &[], Local),
    row("echo", 2, LOADING | STALE | FAST, CONNECTION, &[], Local),
    row("hello", -1, NOSCRIPT | LOADING | STALE | FAST | NO_AUTH | ALLOW_BUSY, CONNECTION, &[], Local),
    row("ping", -1, FAST, CONNECTION, &[], Local).tips("request_policy:all_shards response_policy:all_succeeded").why("tests this proxy").when_subscribed(),
    row("proxy", -2, LOADING | STALE, CONNECTION, &[], Local).why("this proxy's own"),
    row("quit", -1, NOSCRIPT | LOADING | STALE | FAST | NO_AUTH | ALLOW_BUSY, CONNECTION, &[], Local).at_once().when_subscribed(),
    row("reset", 1, NOSCRIPT | LOADING | STALE | FAST | NO_AUTH | ALLOW_BUSY, CONNECTION, &[], Local).at_once().when_subscribed(),
    row("select", 2, LOADING | STALE | FAST, CONNECTION, &[], Local),

    // The server
    row("acl", -2, NONE, NONE, &[], Local),
    row("acl|cat", -2, NOSCRIPT | LOADING | STALE, NONE, &[], Local).why("the users are the proxy's"),
    row("acl|deluser", -3, ADMIN | NOSCRIPT | LOADING | STALE, NONE, &[], Local).why("the users are the proxy's"),
    row("acl|dryrun", -4, ADMIN | NOSCRIPT | LOADING | STALE, NONE, &[], Local).why("the users are the proxy's"),
    row("acl|genpass", -2, NOSCRIPT | LOADING | STALE, NONE, &[], Local).why("the users are the proxy's"),
    row("acl|getuser", 3, ADMIN | NOSCRIPT | LOADING | STALE, NONE, &[], Local).why("the users are the proxy's"),
    row("acl|help", 2, LOADING | STALE, NONE, &[], Local).why("the users are the proxy's"),
    row("acl|list", 2, ADMIN | NOSCRIPT | LOADING | STALE, NONE, &[], Local).why("the users are the proxy's"),
    row("acl|load", 2, ADMIN | NOSCRIPT | LOADING | STALE, NONE, &[], Local).why("the users are the proxy's"),
    row("acl|log", -2, ADMIN | NOSCRIPT | LOADING | STALE, NONE, &[], Local).why("the users are the proxy's"),
    row("acl|save", 2, ADMIN | NOSCRIPT | LOADING | STALE, NONE, &[], Local).why("the users are the proxy's"),
    row("acl|setuser", -3, ADMIN | NOSCRIPT | LOADING | STALE, NONE, &[], Local).why("the users are the proxy's"),
    row("acl|users", 2, ADMIN | NOSCRIPT | LOADING | STALE, NONE, &[], Local).why("the users are the proxy's"),
    row("acl|whoami", 2, NOSCRIPT | LOADING | STALE, NONE, &[], Local).why("the users are the proxy's"),
    row("bgrewriteaof", 1, ADMIN | NOSCRIPT | NO_ASYNC_LOADING, NONE, &[], AllMasters(AllSucceeded)).why("every master has its own log"),
    row("bgsave", -1, ADMIN | NOSCRIPT | NO_ASYNC_LOADING, NONE, &[], AllMasters(AllSucceeded)).why("every master has its own snapshot"),
    row("command", -1, LOADING | STALE, CONNECTION, &[], Local).tips("nondeterministic_output_order"),
    row("commandlog", -2, NONE, NONE, &[], Local),
    row("commandlog|get", -4, ADMIN | LOADING | STALE, NONE, &[], AllNodes(Special)).tips("request_policy:all_nodes nondeterministic_output").why("each node logs what it executed; a request that went to several nodes is one entry; requests of nodes and proxies themselves are left out"),
    row("commandlog|help", 2, LOADING | STALE, NONE, &[], AnyNode),
    row("commandlog|len", -3, ADMIN | LOADING | STALE, NONE, &[], AllNodes(Special)).tips("request_policy:all_nodes response_policy:agg_sum nondeterministic_output").why("the number of entries of COMMANDLOG GET, which is less than the sum"),
    row("commandlog|reset", -3, ADMIN | LOADING | STALE, NONE, &[], AllNodes(AllSucceeded)).tips("request_policy:all_nodes response_policy:all_succeeded").why("each node has its own log; old entries must not come back after a failover"),
    row("command|count", 2, LOADING | STALE, CONNECTION, &[], Local),
    row("command|docs", -2, LOADING | STALE, CONNECTION, &[], Local).tips("nondeterministic_output_order"),
    row("command|getkeys", -4, LOADING | STALE, CONNECTION, &[], Local),
    row("command|getkeysandflags", -4, LOADING | STALE, CONNECTION, &[], Local),
    row("command|help", 2, LOADING | STALE, CONNECTION, &[], AnyNode),
    row("command|info", -2, LOADING | STALE, CONNECTION, &[], Local).tips("nondeterministic_output_order"),
    row("command|list", -2, LOADING | STALE, CONNECTION, &[], Local).tips("nondeterministic_output_order"),
    row("config", -2, NONE, NONE, &[], Local),
    row("config|get", -3, ADMIN | NOSCRIPT | LOADING | STALE, NONE, &[], Local).why("asks a master, except for the proxy's own settings"),
    row("config|help", 2, LOADING | STALE, NONE, &[], AnyNode),
    row("config|resetstat", 2, ADMIN | NOSCRIPT | LOADING | STALE, NONE, &[], AllNodes(Special)).why("resets the counters of all nodes and of this proxy"),
    row("config|rewrite", 2, ADMIN | NOSCRIPT | LOADING | STALE, NONE, &[], AllNodes(AllSucceeded)).why("each node has its own configuration file"),
    row("config|set", -4, ADMIN | NOSCRIPT | LOADING | STALE, NONE, &[], AllNodes(Special)).tips("request_policy:all_nodes response_policy:all_succeeded").why("sets every node, since a replica may become a master; settings of the proxy itself are not set on nodes"),
    row("dbsize", 1, READONLY | FAST, KEYSPACE, &[], AllMasters(AggSum)).tips("request_policy:all_shards response_policy:agg_sum"),
    row("debug", -2, ADMIN | NOSCRIPT | LOADING | STALE, NONE, &[], Local).why("by its subcommand: to the owner of its key, to all masters or nodes, or refused; from local clients only").own_errors().pushes().at_nodes(),
    row("failover", -1, ADMIN | NOSCRIPT | STALE, NONE, &[], Refused("it changes what a server is")),
    row("flushall", -1, WRITE, KEYSPACE | DANGEROUS, &[], AllMasters(AllSucceeded)).tips("request_policy:all_shards response_policy:all_succeeded"),
    row("flushdb", -1, WRITE, KEYSPACE | DANGEROUS, &[], AllMasters(AllSucceeded)).tips("request_policy:all_shards response_policy:all_succeeded"),
    row("info", -1, LOADING | STALE, DANGEROUS, &[], Local).tips("nondeterministic_output request_policy:all_shards response_policy:special").why("describes this proxy and summarizes the masters"),
    row("lastsave", 1, LOADING | STALE | FAST, ACL_ADMIN | DANGEROUS, &[], AllMasters(AggMin)).tips("nondeterministic_output").why("the data set is as old as its oldest part"),
    row("latency", -2, NONE, NONE, &[], Local),
    row("latency|doctor", 2, ADMIN | NOSCRIPT | LOADING | STALE, NONE, &[], AllNodes(Special)).tips("nondeterministic_output request_policy:all_nodes response_policy:special").why("asks the nodes that serve clients: masters, and replicas if `-read-prefer` sends reads there"),
    row("latency|graph", 3, ADMIN | NOSCRIPT | LOADING | STALE, NONE, &[], AllNodes(Special)).tips("nondeterministic_output request_policy:all_nodes response_policy:special").why("asks the nodes that serve clients: masters, and replicas if `-read-prefer` sends reads there"),
    row("latency|help", 2, LOADING | STALE, NONE, &[], AnyNode),
    row("latency|histogram", -2, ADMIN | NOSCRIPT | LOADING | STALE, NONE, &[], AllNodes(Special)).tips("nondeterministic_output request_policy:all_nodes response_policy:special").why("counts the calls of clients: all of them on masters, only reads on replicas (-read-prefer), whose writes repeat those of the masters"),
    row("latency|history", 3, ADMIN | NOSCRIPT | LOADING | STALE, NONE, &[], AllNodes(Special)).tips("nondeterministic_output request_policy:all_nodes response_policy:special").why("asks the nodes that serve clients: masters, and replicas if `-read-prefer` sends reads there"),
    row("latency|latest", 2, ADMIN | NOSCRIPT | LOADING | STALE, NONE, &[], AllNodes(Special)).tips("nondeterministic_output request_policy:all_nodes response_policy:special").why("asks the nodes that serve clients: masters, and replicas if `-read-prefer` sends reads there"),
    row("latency|reset", -2, ADMIN | NOSCRIPT | LOADING | STALE, NONE, &[], AllNodes(AggMax)).tips("request_policy:all_nodes response_policy:all_succeeded").why("the reply is the number of event types that were reset, which is the same on each node"),
    row("lolwut", -1, READONLY | FAST, NONE, &[], AnyNode),
    row("memory", -2, NONE, NONE, &[], Local),
    row("memory|doctor", 2, NONE, NONE, &[], AllMasters(Special)).tips("nondeterministic_output request_policy:all_shards response_policy:special").why("replicas hold the same data again"),
    row("memory|help", 2, LOADING | STALE, NONE, &[], AnyNode),
    row("memory|malloc-stats", 2, NONE, NONE, &[], AllMasters(Special)).tips("nondeterministic_output request_policy:all_shards response_policy:special").why("replicas hold the same data again"),
    row("memory|purge", 2, NONE, NONE, &[], AllMasters(AllSucceeded)).tips("request_policy:all_shards response_policy:all_succeeded").why("replicas hold the same data again"),
    row("memory|stats", 2, NONE, NONE, &[], AllMasters(Special)).tips("nondeterministic_output request_policy:all_shards response_policy:special").why("replicas hold the same data again"),
    row("memory|usage", -3, READONLY, NONE, &[key(2, RO)], Routed),
    row("module", -2, NONE, NONE, &[], Local),
    row("module|help", 2, LOADING | STALE, NONE, &[], AnyNode),
    row("module|list", 2, ADMIN | NOSCRIPT, NONE, &[], AnyNode).tips("nondeterministic_output_order"),
    row("module|load", -3, ADMIN | NOSCRIPT | NO_ASYNC_LOADING, NONE, &[], AllNodes(Special)).why("each node loads modules from its own files; local clients only").own_errors(),
    row("module|loadex", -3, ADMIN | NOSCRIPT | NO_ASYNC_LOADING, NONE, &[], AllNodes(Special)).why("each node loads modules from its own files; local clients only").own_errors(),
    row("module|unload", 3, ADMIN | NOSCRIPT | NO_ASYNC_LOADING, NONE, &[], AllNodes(Special)).why("each node loads modules from its own files; local clients only").own_errors(),
    row("monitor", 1, ADMIN | NOSCRIPT | LOADING | STALE, NONE, &[], Local).why("it shows what this proxy's clients send").denied("ERR MONITOR isn't allowed for DENY BLOCKING client"),
    row("psync", -3, ADMIN | NOSCRIPT | NO_ASYNC_LOADING | NO_MULTI, NONE, &[], Refused("it turns the connection into a replication stream")),
    row("replconf", -1, ADMIN | NOSCRIPT | LOADING | STALE | ALLOW_BUSY, NONE, &[], Refused("it turns the connection into a replication stream")),
    row("replicaof", 3, ADMIN | NOSCRIPT | STALE | NO_ASYNC_LOADING, NONE, &[], Refused("it changes what a server is")),
    row("restore-asking", -4, WRITE | DENYOOM | ASKING, KEYSPACE | DANGEROUS, &[key(1, OW | UPDATE)], Routed),
    row("role", 1, NOSCRIPT | LOADING | STALE | FAST, ACL_ADMIN | DANGEROUS, &[], Local).why("the client sees one master: this proxy"),
    row("save", 1, ADMIN | NOSCRIPT | NO_ASYNC_LOADING | NO_MULTI, NONE, &[], AllMasters(AllSucceeded)).why("every master has its own snapshot"),
    row("sflush", -3, WRITE, KEYSPACE | DANGEROUS, &[], Refused("slots of single nodes are not visible through this proxy")),
    row("shutdown", -1, ADMIN | NOSCRIPT | LOADING | STALE | NO_MULTI | ALLOW_BUSY, NONE, &[], Refused("it stops a server")),
    row("slaveof", 3, ADMIN | NOSCRIPT | STALE | NO_ASYNC_LOADING, NONE, &[], Refused("it changes what a server is")),
    row("slowlog", -2, NONE, NONE, &[], Local),
    row("slowlog|get", -2, ADMIN | LOADING | STALE, NONE, &[], AllNodes(Special)).tips("request_policy:all_nodes nondeterministic_output").why("each node logs what it executed; a request that went to several nodes is one entry; requests of nodes and proxies themselves are left out"),
    row("slowlog|help", 2, LOADING | STALE, NONE, &[], AnyNode),
    row("slowlog|len", 2, ADMIN | LOADING | STALE, NONE, &[], AllNodes(Special)).tips("request_policy:all_nodes response_policy:agg_sum nondeterministic_output").why("the number of entries of SLOWLOG GET, which is less than the sum"),
    row("slowlog|reset", 2, ADMIN | LOADING | STALE, NONE, &[], AllNodes(AllSucceeded)).tips("request_policy:all_nodes response_policy:all_succeeded").why("each node has its own log; old entries must not come back after a failover"),
    row("swapdb", 3, WRITE | FAST, KEYSPACE | DANGEROUS, &[], Refused("a cluster has one database")),
    row("sync", 1, ADMIN | NOSCRIPT | NO_ASYNC_LOADING | NO_MULTI, NONE, &[], Refused("it turns the connection into a replication stream")),
    row("time", 1, LOADING | STALE | FAST, NONE, &[], Local).tips("nondeterministic_output").why("independent of any node"),
    row("trimslots", -5, WRITE, KEYSPACE | DANGEROUS, &[], Refused("slots of single nodes are not visible through this proxy")),

    // The cluster
    row("asking", 1, FAST, CONNECTION, &[], Local),
    row("cluster", -2, NONE, NONE, &[], Local),
    row("clusterscan", -2, READONLY, KEYSPACE, &[key(1, NOT_KEY)], Routed).tips("nondeterministic_output request_policy:special response_policy:special").why("its cursor contains the slot as a hash tag, and is valid on that node only").on_master(),
    row("cluster|addslots", -3, ADMIN | STALE | NO_ASYNC_LOADING, NONE, &[], Local),
    row("cluster|addslotsrange", -4, ADMIN | STALE | NO_ASYNC_LOADING, NONE, &[], Local),
    row("cluster|bumpepoch", 2, ADMIN | STALE | NO_ASYNC_LOADING, NONE, &[], Local).tips("nondeterministic_output"),
    row("cluster|cancelslotmigrations", 2, ADMIN | STALE | NO_ASYNC_LOADING, NONE, &[], Local),
    row("cluster|count-failure-reports", 3, ADMIN | STALE, NONE, &[], Local).tips("nondeterministic_output"),
    row("cluster|countkeysinslot", 3, STALE, NONE, &[], Local),
    row("cluster|delslots", -3, ADMIN | STALE | NO_ASYNC_LOADING, NONE, &[], Local),
    row("cluster|delslotsrange", -4, ADMIN | STALE | NO_ASYNC_LOADING, NONE, &[], Local),
    row("cluster|failover", -2, ADMIN | STALE | NO_ASYNC_LOADING, NONE, &[], Local),
    row("cluster|flushslot", -3, WRITE | ADMIN | NO_ASYNC_LOADING, KEYSPACE, &[], Local),
    row("cluster|flushslots", 2, ADMIN | STALE | NO_ASYNC_LOADING, NONE, &[], Local),
    row("cluster|forget", 3, ADMIN | STALE | NO_ASYNC_LOADING, NONE, &[], Local),
    row("cluster|getkeysinslot", 4, STALE, NONE, &[], Local).tips("nondeterministic_output"),
    row("cluster|getslotmigrations", 2, ADMIN | STALE | NO_ASYNC_LOADING, NONE, &[], Local),
    row("cluster|help", 2, LOADING | STALE, NONE, &[], Local),
    row("cluster|info", 2, STALE, NONE, &[], Local).tips("nondeterministic_output"),
    row("cluster|keyslot", 3, STALE, NONE, &[], Local),
    row("cluster|links", 2, STALE, NONE, &[], Local).tips("nondeterministic_output"),
    row("cluster|meet", -4, ADMIN | STALE | NO_ASYNC_LOADING, NONE, &[], Local),
    row("cluster|migrateslots", -4, ADMIN | STALE | NO_ASYNC_LOADING, NONE, &[], Local),
    row("cluster|migration", -4, ADMIN | STALE | NO_ASYNC_LOADING, NONE, &[], Local),
    row("cluster|myid", 2, STALE, NONE, &[], Local),
    row("cluster|myshardid", 2, LOADING | STALE, NONE, &[], Local).tips("nondeterministic_output"),
    row("cluster|nodes", 2, STALE, NONE, &[], Local).tips("nondeterministic_output"),
    row("cluster|replicas", 3, ADMIN | STALE, NONE, &[], Local).tips("nondeterministic_output"),
    row("cluster|replicate", 3, ADMIN | STALE | NO_ASYNC_LOADING, NONE, &[], Local),
    row("cluster|reset", -2, ADMIN | NOSCRIPT | STALE, NONE, &[], Local),
    row("cluster|saveconfig", 2, ADMIN | STALE | NO_ASYNC_LOADING, NONE, &[], Local),
    row("cluster|set-config-epoch", 3, ADMIN | STALE | NO_ASYNC_LOADING, NONE, &[], Local),
    row("cluster|setslot", -4, ADMIN | STALE | NO_ASYNC_LOADING, NONE, &[], Local),
    row("cluster|shards", 2, STALE, NONE, &[], Local).tips("nondeterministic_output"),
    row("cluster|slaves", 3, ADMIN | STALE, NONE, &[], Local).tips("nondeterministic_output"),
    row("cluster|slot-stats", -4, LOADING | STALE, NONE, &[], Local).tips("nondeterministic_output request_policy:all_shards"),
    row("cluster|slots", 2, STALE, NONE, &[], Local).tips("nondeterministic_output"),
    row("cluster|syncslots", -2, ADMIN | STALE | NO_ASYNC_LOADING, NONE, &[], Local),
    row("readonly", 1, LOADING | STALE | FAST, CONNECTION, &[], Local),
    row("readwrite", 1, LOADING | STALE | FAST, CONNECTION, &[], Local),

    // Vector sets (Redis 8)
    row("vadd", -5, MODULE | WRITE | DENYOOM, VECTORSET, &[key(1, RW)], Routed),
    row("vcard", 2, MODULE | READONLY | FAST, VECTORSET, &[key(1, RO | ACCESS)], Routed),
    row("vdim", 2, MODULE | READONLY | FAST, VECTORSET, &[key(1, RO | ACCESS)], Routed),
    row("vemb", -3, MODULE | READONLY, VECTORSET, &[key(1, RO | ACCESS)], Routed),
    row("vgetattr", 3, MODULE | READONLY, VECTORSET, &[key(1, RO | ACCESS)], Routed),
    row("vinfo", 2, MODULE | READONLY | FAST, VECTORSET, &[key(1, RO | ACCESS)], Routed),
    row("vismember", 3, MODULE | READONLY, VECTORSET, &[key(1, RO | ACCESS)], Routed),
    row("vlinks", -3, MODULE | READONLY, VECTORSET, &[key(1, RO | ACCESS)], Routed),
    row("vrandmember", -2, MODULE | READONLY, VECTORSET, &[key(1, RO | ACCESS)], Routed),
    row("vrange", -4, MODULE | READONLY, VECTORSET, &[key(1, RO | ACCESS)], Routed),
    row("vrem", -3, MODULE | WRITE, VECTORSET, &[key(1, RW)], Routed),
    row("vsetattr", 4, MODULE | WRITE, VECTORSET, &[key(1, RW)], Routed),
    row("vsim", -4, MODULE | READONLY, VECTORSET, &[key(1, RO | ACCESS)], Routed),

    // Modules. Their arity is left to them, but for the least that a key needs.
    //
    // JSON documents
    row("json.arrappend", -2, MODULE | WRITE | DENYOOM, JSON, &[key(1, RW)], Routed),
    row("json.arrindex", -2, MODULE | READONLY, JSON, &[key(1, RO | ACCESS)], Routed),
    row("json.arrinsert", -2, MODULE | WRITE | DENYOOM, JSON, &[key(1, RW)], Routed),
    row("json.arrlen", -2, MODULE | READONLY, JSON, &[key(1, RO | ACCESS)], Routed),
    row("json.arrpop", -2, MODULE | WRITE | DENYOOM, JSON, &[key(1, RW)], Routed),
    row("json.arrtrim", -2, MODULE | WRITE | DENYOOM, JSON, &[key(1, RW)], Routed),
    row("json.clear", -2, MODULE | WRITE | DENYOOM, JSON, &[key(1, RW)], Routed),
    row("json.del", -2, MODULE | WRITE | DENYOOM, JSON, &[key(1, RW)], Routed),
    row("json.forget", -2, MODULE | WRITE | DENYOOM, JSON, &[key(1, RW)], Routed),
    row("json.get", -2, MODULE | READONLY, JSON, &[key(1, RO | ACCESS)], Routed),
    row("json.merge", -2, MODULE | WRITE | DENYOOM, JSON, &[key(1, RW)], Routed),
    row("json.mget", -3, MODULE | READONLY, JSON, &[range(1, -2, 1, RO | ACCESS)], Routed),
    row("json.mset", -4, MODULE | WRITE | DENYOOM, JSON, &[range(1, -1, 3, RW)], Routed),
    row("json.numincrby", -2, MODULE | WRITE | DENYOOM, JSON, &[key(1, RW)], Routed),
    row("json.nummultby", -2, MODULE | WRITE | DENYOOM, JSON, &[key(1, RW)], Routed),
    row("json.numpowby", -2, MODULE | WRITE | DENYOOM, JSON, &[key(1, RW)], Routed),
    row("json.objkeys", -2, MODULE | READONLY, JSON, &[key(1, RO | ACCESS)], Routed),
    row("json.objlen", -2, MODULE | READONLY, JSON, &[key(1, RO | ACCESS)], Routed),
    row("json.resp", -2, MODULE | READONLY, JSON, &[key(1, RO | ACCESS)], Routed),
    row("json.set", -2, MODULE | WRITE | DENYOOM, JSON, &[key(1, RW)], Routed),
    row("json.strappend", -2, MODULE | WRITE | DENYOOM, JSON, &[key(1, RW)], Routed),
    row("json.strlen", -2, MODULE | READONLY, JSON, &[key(1, RO | ACCESS)], Routed),
    row("json.toggle", -2, MODULE | WRITE | DENYOOM, JSON, &[key(1, RW)], Routed),
    row("json.type", -2, MODULE | READONLY, JSON, &[key(1, RO | ACCESS)], Routed),

    // Bloom filters
    row("bf.add", -2, MODULE | WRITE | DENYOOM, BLOOM, &[key(1, RW)], Routed),
    row("bf.card", -2, MODULE | READONLY, BLOOM, &[key(1, RO | ACCESS)], Routed),
    row("bf.exists", -2, MODULE | READONLY, BLOOM, &[key(1, RO | ACCESS)], Routed),
    row("bf.info", -2, MODULE | READONLY, BLOOM, &[key(1, RO | ACCESS)], Routed),
    row("bf.insert", -2, MODULE | WRITE | DENYOOM, BLOOM, &[key(1, RW)], Routed),
    row("bf.loadchunk", -2, MODULE | WRITE | DENYOOM, BLOOM, &[key(1, RW)], Routed),
    row("bf.madd", -2, MODULE | WRITE | DENYOOM, BLOOM, &[key(1, RW)], Routed),
    row("bf.mexists", -2, MODULE | READONLY, BLOOM, &[key(1, RO | ACCESS)], Routed),
    row("bf.reserve", -2, MODULE | WRITE | DENYOOM, BLOOM, &[key(1, RW)], Routed),
    row("bf.scandump", -2, MODULE | READONLY, BLOOM, &[key(1, RO | ACCESS)], Routed),

    // Cuckoo filters
    row("cf.add", -2, MODULE | WRITE | DENYOOM, CUCKOO, &[key(1, RW)], Routed),
    row("cf.addnx", -2, MODULE | WRITE | DENYOOM, CUCKOO, &[key(1, RW)], Routed),
    row("cf.count", -2, MODULE | READONLY, CUCKOO, &[key(1, RO | ACCESS)], Routed),
    row("cf.del", -2, MODULE | WRITE | DENYOOM, CUCKOO, &[key(1, RW)], Routed),
    row("cf.exists", -2, MODULE | READONLY, CUCKOO, &[key(1, RO | ACCESS)], Routed),
    row("cf.info", -2, MODULE | READONLY, CUCKOO, &[key(1, RO | ACCESS)], Routed),
    row("cf.insert", -2, MODULE | WRITE | DENYOOM, CUCKOO, &[key(1, RW)], Routed),
    row("cf.insertnx", -2, MODULE | WRITE | DENYOOM, CUCKOO, &[key(1, RW)], Routed),
    row("cf.loadchunk", -2, MODULE | WRITE | DENYOOM, CUCKOO, &[key(1, RW)], Routed),
    row("cf.mexists", -2, MODULE | READONLY, CUCKOO, &[key(1, RO | ACCESS)], Routed),
    row("cf.reserve", -2, MODULE | WRITE | DENYOOM, CUCKOO, &[key(1, RW)], Routed),
    row("cf.scandump", -2, MODULE | READONLY, CUCKOO, &[key(1, RO | ACCESS)], Routed),

    // Count-min sketches
    row("cms.incrby", -2, MODULE | WRITE | DENYOOM, CMS, &[key(1, RW)], Routed),
    row("cms.info", -2, MODULE | READONLY, CMS, &[key(1, RO | ACCESS)], Routed),
    row("cms.initbydim", -2, MODULE | WRITE | DENYOOM, CMS, &[key(1, RW)], Routed),
    row("cms.initbyprob", -2, MODULE | WRITE | DENYOOM, CMS, &[key(1, RW)], Routed),
    row("cms.merge", -4, MODULE | WRITE | DENYOOM, CMS, &[key(1, RW), counted(2, 1, RO | ACCESS)], Routed),
    row("cms.query", -2, MODULE | READONLY, CMS, &[key(1, RO | ACCESS)], Routed),

    // Top-k lists
    row("topk.add", -2, MODULE | WRITE | DENYOOM, TOPK, &[key(1, RW)], Routed),
    row("topk.count", -2, MODULE | READONLY, TOPK, &[key(1, RO | ACCESS)], Routed),
    row("topk.incrby", -2, MODULE | WRITE | DENYOOM, TOPK, &[key(1, RW)], Routed),
    row("topk.info", -2, MODULE | READONLY, TOPK, &[key(1, RO | ACCESS)], Routed),
    row("topk.list", -2, MODULE | READONLY, TOPK, &[key(1, RO | ACCESS)], Routed),
    row("topk.query", -2, MODULE | READONLY, TOPK, &[key(1, RO | ACCESS)], Routed),
    row("topk.reserve", -2, MODULE | WRITE | DENYOOM, TOPK, &[key(1, RW)], Routed),

    // t-digests
    row("tdigest.add", -2, MODULE | WRITE | DENYOOM, TDIGEST, &[key(1, RW)], Routed),
    row("tdigest.byrank", -2, MODULE | READONLY, TDIGEST, &[key(1, RO | ACCESS)], Routed),
    row("tdigest.byrevrank", -2, MODULE | READONLY, TDIGEST, &[key(1, RO | ACCESS)], Routed),
    row("tdigest.cdf", -2, MODULE | READONLY, TDIGEST, &[key(1, RO | ACCESS)], Routed),
    row("tdigest.create", -2, MODULE | WRITE | DENYOOM, TDIGEST, &[key(1, RW)], Routed),
    row("tdigest.info", -2, MODULE | READONLY, TDIGEST, &[key(1, RO | ACCESS)], Routed),
    row("tdigest.max", -2, MODULE | READONLY, TDIGEST, &[key(1, RO | ACCESS)], Routed),
    row("tdigest.merge", -4, MODULE | WRITE | DENYOOM, TDIGEST, &[key(1, RW), counted(2, 1, RO | ACCESS)], Routed),
    row("tdigest.min", -2, MODULE | READONLY, TDIGEST, &[key(1, RO | ACCESS)], Routed),
    row("tdigest.quantile", -2, MODULE | READONLY, TDIGEST, &[key(1, RO | ACCESS)], Routed),
    row("tdigest.rank", -2, MODULE | READONLY, TDIGEST, &[key(1, RO | ACCESS)], Routed),
    row("tdigest.reset", -2, MODULE | WRITE | DENYOOM, TDIGEST, &[key(1, RW)], Routed),
    row("tdigest.revrank", -2, MODULE | READONLY, TDIGEST, &[key(1, RO | ACCESS)], Routed),
    row("tdigest.trimmed_mean", -2, MODULE | READONLY, TDIGEST, &[key(1, RO | ACCESS)], Routed),

    // Time series
    row("ts.add", -2, MODULE | WRITE | DENYOOM, TIMESERIES, &[key(1, RW)], Routed),
    row("ts.alter", -2, MODULE | WRITE | DENYOOM, TIMESERIES, &[key(1, RW)], Routed),
    row("ts.create", -2, MODULE | WRITE | DENYOOM, TIMESERIES, &[key(1, RW)], Routed),
    row("ts.createrule", -6, MODULE | WRITE | DENYOOM, TIMESERIES, &[range(1, 1, 1, RW)], Routed),
    row("ts.decrby", -2, MODULE | WRITE | DENYOOM, TIMESERIES, &[key(1, RW)], Routed),
    row("ts.del", -2, MODULE | WRITE | DENYOOM, TIMESERIES, &[key(1, RW)], Routed),
    row("ts.deleterule", 3, MODULE | WRITE, TIMESERIES, &[range(1, 1, 1, RW)], Routed),
    row("ts.get", -2, MODULE | READONLY, TIMESERIES, &[key(1, RO | ACCESS)], Routed),
    row("ts.incrby", -2, MODULE | WRITE | DENYOOM, TIMESERIES, &[key(1, RW)], Routed),
    row("ts.info", -2, MODULE | READONLY, TIMESERIES, &[key(1, RO | ACCESS)], Routed),
    row("ts.madd", -4, MODULE | WRITE | DENYOOM, TIMESERIES, &[range(1, -1, 3, RW)], Routed),
    row("ts.range", -2, MODULE | READONLY, TIMESERIES, &[key(1, RO | ACCESS)], Routed),
    row("ts.revrange", -2, MODULE | READONLY, TIMESERIES, &[key(1, RO | ACCESS)], Routed),
];
