//! The keys of held requests, as hashes: whether two requests name the same key.

use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;

use crate::command::{self, Table};
use crate::resp::args::Args;
use crate::resp::frame::{RequestLimits, RequestScanner, Scan};

/// The keys of a request, as their hashes in order; nothing if they cannot be told.
pub type Keys = Option<Box<[u64]>>;

/// Whether two requests name the same key. When that cannot be told, they do.
pub(in crate::proxy) fn share_a_key(one: &Keys, other: &Keys) -> bool {
    let (Some(one), Some(other)) = (one, other) else {
        return true;
    };
    let (few, many) = if one.len() < other.len() {
        (one, other)
    } else {
        (other, one)
    };
    few.iter().any(|key| many.binary_search(key).is_ok())
}

/// Hashes that nobody outside can foresee.
fn hash_of(key: &[u8]) -> u64 {
    static STATE: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    STATE.hash_one(key)
}

pub(in crate::proxy) fn keys_of(table: &Table, command: u16, frame: &[u8]) -> Keys {
    keys_in(table, command, frame, |args, keys| {
        let keys = keys.iter().map(|key| hash_of(args.at(*key as usize)));
        let mut keys: Box<[u64]> = keys.collect();
        keys.sort_unstable();
        keys
    })
}

/// What `look` makes of the keys of a request, a command's row and a frame, if they can be told.
pub(in crate::proxy) fn keys_in<T>(
    table: &Table,
    command: u16,
    frame: &[u8],
    look: impl FnOnce(&Args<'_>, &[u32]) -> T,
) -> Option<T> {
    let row = table.rows().get(usize::from(command))?;
    args_of(frame, |args| {
        let mut keys = Vec::new();
        command::keys(row, args, &mut keys).ok()?;
        Some(look(args, &keys))
    })?
}

/// What `look` finds in the arguments of a request that was scanned before.
pub(in crate::proxy) fn args_of<T>(frame: &[u8], look: impl FnOnce(&Args<'_>) -> T) -> Option<T> {
    let mut spans = Vec::new();
    let limits = RequestLimits {
        bulk_bytes: usize::MAX,
        request_bytes: usize::MAX - 2,
        inline_bytes: usize::MAX,
        authenticated: true,
        unauthenticated_args: 0,
        unauthenticated_bulk_bytes: 0,
    };
    match RequestScanner::default().next(frame, &limits, &mut spans) {
        Ok(Scan::Frame(_)) => Some(look(&Args::new(frame, &spans))),
        Ok(Scan::Inline(_) | Scan::Nothing(_) | Scan::Incomplete(_)) | Err(_) => None,
    }
}

/// Whether a request runs a script of which this holds.
pub(in crate::proxy) fn runs_script(frame: &[u8], is: impl FnOnce(&[u8]) -> bool) -> bool {
    args_of(frame, |args| args.get(1).is_some_and(is)).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::encode;

    #[test]
    fn requests_that_share_a_key_are_told_from_others() {
        let table = Table::compiled();
        let check = |one: &str, other: &str, expected: bool| {
            let frame = |line: &str| {
                let mut frame = Vec::new();
                let words: Vec<&str> = line.split(' ').collect();
                encode::command(&mut frame, words.iter().map(|word| word.as_bytes()));
                let name = words[0].to_ascii_lowercase();
                (table.named(name.as_bytes()).unwrap().id, frame)
            };
            let (one, other) = (frame(one), frame(other));
            let keys = |(command, frame): &(u16, Vec<u8>)| keys_of(&table, *command, frame);
            let shared = share_a_key(&keys(&one), &keys(&other));
            assert_eq!(shared, expected);
        };
        check("SET {a}1 x", "GET {a}1", true);
        check("SET {a}1 x", "GET {a}2", false);
        check("MSET {a}1 x {a}2 y", "INCR {a}2", true);
        check("MSET {a}1 {a}2 {a}3 y", "INCR {a}2", false);
        check("EVAL x 1 {a}1 {a}2", "DEL {a}2 {a}3", false);
        check("EVAL x nonsense {a}1", "DEL {a}2 {a}3", true);
    }
}
