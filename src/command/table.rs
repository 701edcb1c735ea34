//! `Table`: all commands, one row each, found by name.
//!
//! Rows are append-only and an id never changes: a table with learnt rows is the old one and more. Its size
//! is bounded, so whoever sends names or COMMAND replies cannot make it grow.

use super::admin::changes_servers;
use super::channels::channels;
use super::idempotent::idempotent;
use super::packed::Packed;
use super::rows::ROWS;
use super::{AclCategories, Command, Flags};
use crate::resp::args::Args;

/// No table has more rows than this.
pub const ROWS_MAX: usize = 8192;

/// All commands that the proxy knows.
///
/// Invariant: `rows[i].id == i`; every row is found by its name; more than half of `slots` is empty.
#[derive(Debug, Clone)]
pub struct Table {
    rows: Vec<Command>,
    slots: Box<[Slot]>,
}

/// A place of the open-addressing table: a row's id, and its key so that the row itself need not be read.
#[derive(Debug, Clone, Copy)]
struct Slot {
    key: Packed,
    id: u16,
}

/// The id in an empty slot, and the parent of what is no subcommand; no row has it.
const NO_ROW: u16 = u16::MAX;

/// What a request's first arguments name.
#[derive(Debug, Clone, Copy)]
pub enum Resolved<'t> {
    /// This command or subcommand.
    Command(&'t Command),
    /// No command.
    Unknown,
    /// This command, but none of its subcommands.
    UnknownSubcommand(&'t Command),
}

impl Table {
    /// The table of the rows that are compiled in.
    pub fn compiled() -> Table {
        let rows = ROWS.iter().map(|row| {
            let (flags, acl) = (
                Flags::from_bits(row.flags),
                AclCategories::from_bits(row.acl),
            );
            let mut command = Command::new(
                row.name, row.arity, flags, acl, row.specs, row.tips, row.class,
            );
            command.keys = row.keys.unwrap_or(command.keys);
            command.block_token = row.block_token;
            command.timeout_at = row.timeout_at;
            command.on_replicas &= !row.on_master;
            command.own_errors |= row.own_errors;
            command.pushes = row.pushes;
            command.runs = row.runs;
            command.in_multi = row.in_multi;
            command.at_nodes = row.at_nodes;
            command.cacheable = row.cacheable;
            command.when_subscribed = row.when_subscribed;
            command.channels = channels(row.name);
            command.why = row.why;
            command.idempotent = idempotent(row.name);
            command.changes_servers = changes_servers(row.name);
            command
        });
        Table::index(Vec::new(), rows.collect())
    }

    /// This table and, behind its rows, those of `learnt` that it does not have. Its own rows win; a
    /// subcommand of a command that has none here is left out, since that command takes it as an argument.
    pub fn learn(&self, learnt: Vec<Command>) -> Table {
        let new = learnt.into_iter().filter(|row| {
            let parent = row.parent().map(|parent| self.lookup(parent.as_bytes()));
            let fits = !matches!(parent, Some(Some(parent)) if !parent.container);
            fits && self.named(row.name.as_bytes()).is_none()
        });
        Table::index(self.rows.clone(), new.collect())
    }

    /// Appends `new` to `rows` and indexes them all. A name that is there already, a subcommand of nothing,
    /// or one row too many, is dropped.
    fn index(rows: Vec<Command>, new: Vec<Command>) -> Table {
        let count = (rows.len() + new.len()).min(ROWS_MAX);
        let empty = Slot {
            key: Packed::new(NO_ROW, b""),
            id: NO_ROW,
        };
        let mut table = Table {
            rows: Vec::with_capacity(count),
            slots: vec![empty; (count * 4).next_power_of_two()].into_boxed_slice(),
        };
        rows.into_iter().for_each(|row| table.push(row));
        // A parent has to be there before its subcommands.
        let (parents, subcommands): (Vec<_>, Vec<_>) =
            new.into_iter().partition(|row| row.parent().is_none());
        let new = parents.into_iter().chain(subcommands);
        new.for_each(|row| table.push(row));
        table.check();
        table
    }

    /// Appends a row, if it has a place.
    fn push(&mut self, mut row: Command) {
        if row.name.bytes().any(|byte| byte.is_ascii_uppercase()) {
            row.name.to_mut().make_ascii_lowercase();
        }
        let Some((parent, name)) = self.split(row.name.as_bytes()) else {
            return;
        };
        let key = Packed::new(parent, name);
        if self.rows.len() == ROWS_MAX || self.find(key, name).is_some() {
            return;
        }
        row.id = self.rows.len() as u16;
        let mask = self.slots.len() - 1;
        let mut at = key.hash() & mask;
        while self.slots[at].id != NO_ROW {
            at = (at + 1) & mask;
        }
        self.slots[at] = Slot { key, id: row.id };
        self.rows.push(row);
        if let Some(parent) = self.rows.get_mut(usize::from(parent)) {
            parent.container = true;
        }
    }

    /// The parent's id and the rest of a full name; nothing if there is no such parent.
    fn split<'n>(&self, name: &'n [u8]) -> Option<(u16, &'n [u8])> {
        match name.iter().position(|byte| *byte == b'|') {
            Some(bar) => Some((self.lookup(&name[..bar])?.id, &name[bar + 1..])),
            None => Some((NO_ROW, name)),
        }
    }

    /// The command of this name, in any case. Subcommands are not found by it.
    #[inline]
    pub fn lookup(&self, name: &[u8]) -> Option<&Command> {
        self.find(Packed::new(NO_ROW, name), name)
    }

    /// The command or subcommand of this name, which for a subcommand is `container|subcommand`.
    pub fn named(&self, name: &[u8]) -> Option<&Command> {
        let (parent, name) = self.split(name)?;
        self.find(Packed::new(parent, name), name)
    }

    /// The command or subcommand that a request names.
    #[inline]
    pub fn resolve(&self, args: &Args<'_>) -> Resolved<'_> {
        let Some(command) = self.lookup(args.name()) else {
            return Resolved::Unknown;
        };
        if !command.container {
            return Resolved::Command(command);
        }
        let Some(subcommand) = args.get(1) else {
            return Resolved::Command(command);
        };
        match self.subcommand(command, subcommand) {
            Some(subcommand) => Resolved::Command(subcommand),
            None => Resolved::UnknownSubcommand(command),
        }
    }

    /// The subcommand of this name, in any case.
    #[inline]
    pub fn subcommand(&self, container: &Command, name: &[u8]) -> Option<&Command> {
        self.find(Packed::new(container.id, name), name)
    }

    /// All subcommands of a command.
    pub fn subcommands<'t>(&'t self, container: &'t Command) -> impl Iterator<Item = &'t Command> {
        let of = move |row: &&Command| row.parent() == Some(&*container.name);
        self.rows.iter().filter(of)
    }

    /// The row of this id.
    #[inline]
    pub fn row(&self, id: u16) -> &Command {
        &self.rows[usize::from(id)]
    }

    /// All rows, in the order of their ids.
    pub fn rows(&self) -> &[Command] {
        &self.rows
    }

    /// The row of this key; `name` is what the key was made of.
    #[inline]
    fn find(&self, key: Packed, name: &[u8]) -> Option<&Command> {
        let mask = self.slots.len() - 1;
        let mut at = key.hash() & mask;
        loop {
            let slot = &self.slots[at];
            let row = self.rows.get(usize::from(slot.id))?;
            if slot.key == key && (key.is_whole() || ends_with(&row.name, name)) {
                return Some(row);
            }
            at = (at + 1) & mask;
        }
    }

    /// Asserts the invariants.
    fn check(&self) {
        assert!(self.rows.len() <= ROWS_MAX && self.rows.len() * 2 < self.slots.len());
        for (id, row) in self.rows.iter().enumerate() {
            let found = self.named(row.name.as_bytes());
            assert_eq!(found.map(|row| usize::from(row.id)), Some(id));
        }
    }
}

/// Whether a row's name ends with `name`, which is as long as its last part.
fn ends_with(row: &str, name: &[u8]) -> bool {
    let end = row.len().checked_sub(name.len());
    end.is_some_and(|end| row.as_bytes()[end..].eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{BeginSearch, Class, KeySpec, Keys, LeaseKind, RequestPolicy};
    use crate::resp::args::Span;

    /// All commands and subcommands of redis-server 7.0.15.
    const REDIS_7_0_15: &str = "\
        acl acl|cat acl|deluser acl|dryrun acl|genpass acl|getuser acl|help acl|list acl|load acl|log \
        acl|save acl|setuser acl|users acl|whoami append asking auth bgrewriteaof bgsave bitcount \
        bitfield bitfield_ro bitop bitpos blmove blmpop blpop brpop brpoplpush bzmpop bzpopmax bzpopmin \
        client client|caching client|getname client|getredir client|help client|id client|info \
        client|kill client|list client|no-evict client|pause client|reply client|setname client|tracking \
        client|trackinginfo client|unblock client|unpause cluster cluster|addslots cluster|addslotsrange \
        cluster|bumpepoch cluster|count-failure-reports cluster|countkeysinslot cluster|delslots \
        cluster|delslotsrange cluster|failover cluster|flushslots cluster|forget cluster|getkeysinslot \
        cluster|help cluster|info cluster|keyslot cluster|links cluster|meet cluster|myid cluster|nodes \
        cluster|replicas cluster|replicate cluster|reset cluster|saveconfig cluster|set-config-epoch \
        cluster|setslot cluster|shards cluster|slaves cluster|slots command command|count command|docs \
        command|getkeys command|getkeysandflags command|help command|info command|list config config|get \
        config|help config|resetstat config|rewrite config|set copy dbsize debug decr decrby del discard \
        dump echo eval eval_ro evalsha evalsha_ro exec exists expire expireat expiretime failover fcall \
        fcall_ro flushall flushdb function function|delete function|dump function|flush function|help \
        function|kill function|list function|load function|restore function|stats geoadd geodist geohash \
        geopos georadius georadius_ro georadiusbymember georadiusbymember_ro geosearch geosearchstore \
        get getbit getdel getex getrange getset hdel hello hexists hget hgetall hincrby hincrbyfloat \
        hkeys hlen hmget hmset hrandfield hscan hset hsetnx hstrlen hvals incr incrby incrbyfloat info \
        keys lastsave latency latency|doctor latency|graph latency|help latency|histogram \
        latency|history latency|latest latency|reset lcs lindex linsert llen lmove lmpop lolwut lpop \
        lpos lpush lpushx lrange lrem lset ltrim memory memory|doctor memory|help memory|malloc-stats \
        memory|purge memory|stats memory|usage mget migrate module module|help module|list module|load \
        module|loadex module|unload monitor move mset msetnx multi object object|encoding object|freq \
        object|help object|idletime object|refcount persist pexpire pexpireat pexpiretime pfadd pfcount \
        pfdebug pfmerge pfselftest ping psetex psubscribe psync pttl publish pubsub pubsub|channels \
        pubsub|help pubsub|numpat pubsub|numsub pubsub|shardchannels pubsub|shardnumsub punsubscribe \
        quit randomkey readonly readwrite rename renamenx replconf replicaof reset restore \
        restore-asking role rpop rpoplpush rpush rpushx sadd save scan scard script script|debug \
        script|exists script|flush script|help script|kill script|load sdiff sdiffstore select set \
        setbit setex setnx setrange shutdown sinter sintercard sinterstore sismember slaveof slowlog \
        slowlog|get slowlog|help slowlog|len slowlog|reset smembers smismember smove sort sort_ro spop \
        spublish srandmember srem sscan ssubscribe strlen subscribe substr sunion sunionstore \
        sunsubscribe swapdb sync time touch ttl type unlink unsubscribe unwatch wait watch xack xadd \
        xautoclaim xclaim xdel xgroup xgroup|create xgroup|createconsumer xgroup|delconsumer \
        xgroup|destroy xgroup|help xgroup|setid xinfo xinfo|consumers xinfo|groups xinfo|help \
        xinfo|stream xlen xpending xrange xread xreadgroup xrevrange xsetid xtrim zadd zcard zcount \
        zdiff zdiffstore zincrby zinter zintercard zinterstore zlexcount zmpop zmscore zpopmax zpopmin \
        zrandmember zrange zrangebylex zrangebyscore zrangestore zrank zrem zremrangebylex \
        zremrangebyrank zremrangebyscore zrevrange zrevrangebylex zrevrangebyscore zrevrank zscan zscore \
        zunion zunionstore";

    /// What `words` name: the name of a row, "" for no command, or `?` and the command for no subcommand.
    fn resolved(table: &Table, words: &[&str]) -> String {
        let (mut frame, mut spans) = (Vec::new(), Vec::new());
        for word in words {
            let (start, len) = (frame.len() as u32, word.len() as u32);
            frame.extend_from_slice(word.as_bytes());
            spans.push(Span { start, len });
        }
        match table.resolve(&Args::new(&frame, &spans)) {
            Resolved::Command(command) => command.name.to_string(),
            Resolved::Unknown => String::new(),
            Resolved::UnknownSubcommand(command) => format!("?{}", command.name),
        }
    }

    /// A row as one learns it.
    fn learnt(name: &'static str) -> Command {
        let (flags, acl) = (Flags::WRITE, AclCategories::NONE);
        Command::new(name, -2, flags, acl, &[][..], "", Class::Routed)
    }

    #[test]
    fn every_command_of_the_server_has_a_row() {
        let table = Table::compiled();
        let mut count = 0;
        for name in REDIS_7_0_15.split_whitespace() {
            assert!(table.named(name.as_bytes()).is_some(), "{name}");
            count += 1;
        }
        assert_eq!(count, 366);
        assert_eq!(table.rows().len(), ROWS.len(), "a name is there twice");
    }

    #[test]
    fn a_row_is_found_in_any_case_and_nothing_else_is() {
        let table = Table::compiled();
        for row in table.rows() {
            let upper = row.name.to_ascii_uppercase();
            assert_eq!(table.named(upper.as_bytes()).unwrap().id, row.id);
            assert_eq!(table.row(row.id).name, row.name);
            let plain = table.lookup(upper.as_bytes()).map(|found| found.id);
            let expected = row.parent().is_none().then_some(row.id);
            assert_eq!(plain, expected, "{}", row.name);
            let longer = format!("{}?", row.name);
            assert!(table.named(longer.as_bytes()).is_none(), "{longer}");
        }
        let long = [b'g'; 1 << 20];
        for name in [
            &b""[..],
            b"g",
            b"ge",
            b"g\0t",
            b"G\xc5T",
            b"|",
            b"get|",
            b"|get",
            &long,
        ] {
            assert!(table.lookup(name).is_none() && table.named(name).is_none());
        }
    }

    #[test]
    fn subcommands_have_rows_of_their_own() {
        let table = Table::compiled();
        for (words, expected) in [
            (&["CONFIG", "get", "port"][..], "config|get"),
            (&["config", "GOT"], "?config"),
            (&["config"], "config"),
            (&["config|get"], ""),
            (&["get", "config"], "get"),
            (&["command"], "command"),
            (&["command", "Docs"], "command|docs"),
            (&["proxy", "explain"], "proxy"),
            (&["debug", "sleep"], "debug"),
            (&["nonsense"], ""),
            (
                &["cluster", "COUNT-failure-REPORTS"],
                "cluster|count-failure-reports",
            ),
        ] {
            assert_eq!(resolved(&table, words), expected, "{words:?}");
        }
        let memory = table.lookup(b"memory").unwrap();
        assert_eq!(table.subcommands(memory).count(), 6);
    }

    #[test]
    fn learnt_rows_are_appended_and_never_win() {
        let old = Table::compiled();
        let rows = [
            "GET",
            "My.Command",
            "my.box",
            "my.box|open",
            "config|new",
            "get|new",
            "my.box",
        ];
        let new = old.learn(rows.map(learnt).to_vec());
        assert_eq!(new.rows().len(), old.rows().len() + 4);
        for row in old.rows() {
            assert_eq!(new.row(row.id).name, row.name);
        }
        assert_eq!(new.lookup(b"get").unwrap().arity, 2);
        assert_eq!(resolved(&new, &["MY.COMMAND", "x"]), "my.command");
        assert_eq!(resolved(&new, &["my.box", "Open"]), "my.box|open");
        assert_eq!(resolved(&new, &["my.box", "shut"]), "?my.box");
        assert_eq!(resolved(&new, &["config", "new"]), "config|new");
        assert_eq!(resolved(&new, &["get", "new"]), "get");
        let many = (0..ROWS_MAX * 2).map(|n| {
            let mut row = learnt("");
            row.name = format!("many{n}").into();
            row
        });
        assert_eq!(old.learn(many.collect()).rows().len(), ROWS_MAX);
    }

    #[test]
    fn classes_agree_with_the_rest_of_the_row() {
        for row in Table::compiled().rows() {
            let name = &*row.name;
            let keyed = row.keys != Keys::None;
            let first = |spec: &KeySpec| spec.begin == BeginSearch::Index(1);
            match row.class {
                Class::Routed | Class::Leased(LeaseKind::Blocking) => assert!(keyed, "{name}"),
                Class::Split(policy) => {
                    assert!(
                        row.key_specs.len() == 1 && first(&row.key_specs[0]),
                        "{name}"
                    );
                    assert_eq!(row.request, RequestPolicy::MultiShard, "{name}");
                    assert_eq!(row.response, policy, "{name}");
                }
                Class::AnyNode
                | Class::Publish
                | Class::AllMasters(_)
                | Class::AllNodes(_)
                | Class::Scan
                | Class::Local => assert!(!keyed, "{name}"),
                Class::Leased(_) | Class::Subscription | Class::Refused(_) => {}
            }
            // Whoever departs from the server's policies says why.
            let departs = match row.class {
                Class::AllNodes(policy) => {
                    row.request != RequestPolicy::AllNodes || row.response != policy
                }
                Class::AllMasters(policy) => {
                    row.request != RequestPolicy::AllShards || row.response != policy
                }
                Class::Routed => row.request != RequestPolicy::Default,
                _ => false,
            };
            assert!(!departs || !row.why.is_empty(), "{name}: {row:?}");
            let blocking = row.flags.contains(Flags::BLOCKING);
            let leased = matches!(row.class, Class::Leased(_)) || row.block_token.is_some();
            assert!(!blocking || leased, "{name}");
        }
    }

    #[test]
    fn only_what_is_safe_is_split() {
        let table = Table::compiled();
        let split = |row: &&Command| matches!(row.class, Class::Split(_));
        let names = table.rows().iter().filter(split).map(|row| &*row.name);
        let mut names: Vec<_> = names.collect();
        names.sort_unstable();
        assert_eq!(names, ["del", "exists", "mget", "mset", "touch", "unlink"]);
    }

    /// What runs code may say anything; what a server does itself may not.
    #[test]
    fn who_makes_errors_of_its_own_is_told() {
        let table = Table::compiled();
        let is = |name: &str| table.named(name.as_bytes()).unwrap().own_errors;
        let scripts = [
            "eval",
            "eval_ro",
            "evalsha",
            "evalsha_ro",
            "fcall",
            "fcall_ro",
        ];
        let others = ["exec", "debug", "module|load", "json.get", "vadd"];
        assert!(scripts.into_iter().chain(others).all(is));
        let plain = ["get", "set", "blpop", "watch", "script|load", "publish"];
        assert!(!plain.into_iter().any(is));
    }
}
