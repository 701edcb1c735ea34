//! DEBUG, and MODULE LOAD, LOADEX and UNLOAD: commands that servers protect (`enable-debug-command`,
//! `enable-module-command`).
//!
//! A server that allows them to local clients cannot tell the proxy's clients apart if the proxy runs on the same
//! machine. So that nobody gains rights through the proxy, it forwards these commands for its own local clients only.

use std::sync::atomic::Ordering;

use super::{After, Context, fail};
use crate::cluster::slot::Slot;
use crate::proxy::local::nodes;
use crate::proxy::pipeline::merge::Merge;
use crate::proxy::pipeline::plan::{Ask, Plan};
use crate::proxy::texts::refusal;
use crate::resp::args::Args;
use crate::resp::encode;
use crate::resp::reply::Reply;

/// Whom a subcommand of DEBUG is for.
#[derive(Debug, Clone, Copy)]
enum Reach {
    /// The owner of the key at argument 2.
    Key,
    /// The owner of the keys from argument 2 on.
    Keys,
    /// Any master: all say the same.
    Any,
    /// All masters, which all must succeed.
    Masters,
    /// All nodes, which all must succeed.
    Nodes,
    /// All masters; each one's words under its address.
    Report,
    /// All masters; digests of the parts make that of the whole.
    Digest,
    /// Nobody, for this reason.
    Nobody(&'static str),
}

const STOPS: Reach = Reach::Nobody("it stops or corrupts a server");
const IDENTITY: Reach = Reach::Nobody("it changes what a server is");

/// The subcommands of DEBUG, of Redis 7.0 to 8 and Valkey. What is not here is answered as what no server knows.
#[rustfmt::skip]
const DEBUG: &[(&str, Reach)] = &[
    ("aof-flush-sleep", Reach::Nodes),
    ("assert", STOPS),
    ("change-repl-id", IDENTITY),
    ("client-eviction", Reach::Any),
    ("clusterlink", IDENTITY),
    ("config-rewrite-force-all", Reach::Nodes),
    ("crash-and-recover", STOPS),
    ("dict-resizing", Reach::Nodes),
    ("dict-stats", Reach::Report),
    ("digest", Reach::Digest),
    ("digest-value", Reach::Keys),
    ("drop-cluster-packet-filter", IDENTITY),
    ("error", Reach::Any),
    ("help", Reach::Any),
    ("hexpire", Reach::Key),
    ("htstats", Reach::Report),
    ("htstats-key", Reach::Key),
    ("leak", STOPS),
    ("listpack", Reach::Key),
    ("loadaof", Reach::Masters),
    ("log", Reach::Nodes),
    ("mallctl", STOPS),
    ("mallctl-str", STOPS),
    ("object", Reach::Key),
    ("oom", STOPS),
    ("panic", STOPS),
    ("pause-cron", Reach::Nodes),
    ("populate", Reach::Nobody("its keys would not be where their slots are")),
    ("protocol", Reach::Any),
    ("quicklist", Reach::Key),
    ("quicklist-packed-threshold", Reach::Nodes),
    ("reload", Reach::Masters),
    ("replicate", IDENTITY),
    ("replybuffer", Reach::Nodes),
    ("restart", STOPS),
    ("sdslen", Reach::Key),
    ("segfault", STOPS),
    ("set-active-expire", Reach::Nodes),
    ("set-disable-deny-scripts", Reach::Nodes),
    ("set-skip-checksum-validation", Reach::Nodes),
    ("sleep", Reach::Masters),
    ("stringmatch-len", Reach::Any),
    ("structsize", Reach::Any),
    ("ziplist", Reach::Key),
];

/// What a server says that lets only local clients do it.
fn protected(what: &str) -> String {
    format!(
        "ERR {what} command not allowed. If the enable-{}-command option is set to \"local\", you can run it \
         from a local connection, otherwise you need to set this option in the configuration file, and then \
         restart the server.",
        what.to_lowercase()
    )
}

/// `DEBUG subcommand [argument ...]`
pub fn debug(context: &mut Context<'_>, args: &Args<'_>, out: &mut Vec<u8>) -> After {
    if !context.is_local {
        return fail(out, protected("DEBUG").as_bytes());
    }
    let name = args.at(1).to_ascii_lowercase();
    let Some((name, reach)) = DEBUG.iter().find(|(own, _)| own.as_bytes() == name) else {
        let text = format!(
            "ERR unknown subcommand or wrong number of arguments for '{}'. Try DEBUG HELP.",
            String::from_utf8_lossy(args.at(1))
        );
        return fail(out, text.as_bytes());
    };
    match *reach {
        // Without a key a server says how it is used.
        Reach::Key | Reach::Keys if args.len() == 2 => After::AskAnyMaster,
        Reach::Key => owner(Slot::of(args.at(2)), args),
        Reach::Keys => {
            let slot = Slot::of(args.at(2));
            if args.from(2).any(|key| Slot::of(key) != slot) {
                return fail(out, refusal::CROSS_SLOT.as_bytes());
            }
            owner(slot, args)
        }
        Reach::Any => After::AskAnyMaster,
        Reach::Masters => everyone(context, false, args, Merge::AllSucceeded),
        Reach::Nodes => everyone(context, true, args, Merge::AllSucceeded),
        Reach::Report => nodes::report(context, args, out),
        Reach::Digest if context.servers.databases > 1 => {
            unserved(name, "digests of several databases do not add up", out)
        }
        Reach::Digest => nodes::join_all(context, args, digest),
        Reach::Nobody(reason) => unserved(name, reason, out),
    }
}

/// `MODULE LOAD path [argument ...]`, `MODULE LOADEX path [CONFIG name value ...] [ARGS argument ...]` and
/// `MODULE UNLOAD name`: the file is each node's own. What commands it brings is surveyed then.
pub fn module(context: &mut Context<'_>, args: &Args<'_>, out: &mut Vec<u8>) -> After {
    if !context.is_local {
        return fail(out, protected("MODULE").as_bytes());
    }
    let process = context.process.clone();
    let done = move |replies: &[Reply<'_>], out: &mut Vec<u8>| {
        process.altered.store(true, Ordering::Relaxed);
        // The next topology has the survey look at that.
        process.stale.store(true, Ordering::Relaxed);
        let first = replies.iter().find(|reply| !reply.frame().is_empty());
        first
            .iter()
            .for_each(|reply| out.extend_from_slice(reply.frame()));
    };
    everyone(context, true, args, Merge::Join(Box::new(done)))
}

fn everyone(context: &Context<'_>, replicas: bool, args: &Args<'_>, merge: Merge) -> After {
    let everyone = context.routes.everyone(context.command, replicas);
    let asks = everyone.map(|asked| Ask::each(asked, args.frame().to_vec()));
    After::Ask(Plan {
        asks: asks.collect(),
        merge,
        write: true,
    })
}

fn owner(slot: Slot, args: &Args<'_>) -> After {
    After::Ask(Plan {
        asks: vec![Ask::Slot(slot.number(), args.frame().to_vec())],
        merge: Merge::AllSucceeded,
        write: false,
    })
}

fn unserved(name: &str, reason: &str, out: &mut Vec<u8>) -> After {
    let text = format!("ERR command 'debug|{name}' is not supported through this proxy: {reason}");
    fail(out, text.as_bytes())
}

/// The digest of one server with all keys of these: that is the digests of its keys, and of the number of the
/// database unless that is empty, all joined by XOR (`computeDatasetDigest` of the server).
fn digest(replies: &[Reply<'_>], out: &mut Vec<u8>) {
    // Of what a database with the number 0 begins with.
    let beginning = sha1_smol::Sha1::from(sha1_smol::Sha1::from([0; 4]).digest().bytes())
        .digest()
        .bytes();
    let mut whole = [0; 20];
    let mut parts = 0;
    for part in replies
        .iter()
        .filter_map(|reply| hexadecimal(reply.text()?))
    {
        if part != [0; 20] {
            join(&mut whole, part);
            parts += 1;
        }
    }
    // It is in each part, and an even number of them have undone it.
    if parts > 0 && parts % 2 == 0 {
        join(&mut whole, beginning);
    }
    let text: String = whole.iter().map(|byte| format!("{byte:02x}")).collect();
    encode::simple(out, &text);
}

fn join(whole: &mut [u8; 20], part: [u8; 20]) {
    whole.iter_mut().zip(part).for_each(|(a, b)| *a ^= b);
}

fn hexadecimal(text: &[u8]) -> Option<[u8; 20]> {
    let text = std::str::from_utf8(text)
        .ok()
        .filter(|text| text.len() == 40 && text.is_ascii())?;
    let mut bytes = [0; 20];
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subcommands_stand_in_order() {
        assert!(DEBUG.is_sorted_by_key(|(name, _)| *name));
    }

    #[test]
    fn digests_are_joined() {
        let of_empty = format!("+{}\r\n", "0".repeat(40));
        let joined = |replies: &[&str]| nodes::joined(digest, replies);
        assert_eq!(joined(&[&of_empty, &of_empty]), of_empty);
        // Redis 7.0.15: of `SET a 1`, of `SET b 2`, and of both.
        let one = "+943d800368fb9c0e951138f1bc0e313ac769d91f\r\n";
        let other = "+43f25254b30b4502d35b14b8588d2be6bac05311\r\n";
        let both = "+7dff4aa4711992a6870417c26949f355d23a7cac\r\n";
        assert_eq!(joined(&[one, &of_empty, other]), both);
        assert_eq!(joined(&[one, &of_empty]), one);
        assert_eq!(joined(&[&of_empty, "$-1\r\n", "+x\r\n", one]), one);
    }
}
