//! `place`: the slots of a request's keys.
//!
//! It must never know which node serves a slot.

use crate::cluster::slot::Slot;
use crate::command::{self, Command, Keys, KeysError};
use crate::resp::args::Args;

/// Where the keys of a request lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// All in one slot.
    One(Slot),
    /// In several slots; the keys' argument indices were set.
    Many,
    /// There are no keys.
    Keyless,
    /// They cannot be found: a server has to say what is wrong.
    Invalid(KeysError),
}

/// Finds the keys of a request and their slots. `keys` is scratch; it holds the keys' argument indices when
/// the answer is [`Place::Many`].
#[inline]
pub fn place(command: &Command, args: &Args<'_>, keys: &mut Vec<u32>) -> Place {
    if let Keys::One(index) = command.keys {
        return match args.get(index as usize) {
            Some(key) => Place::One(Slot::of(key)),
            None => Place::Keyless,
        };
    }
    keys.clear();
    if let Err(error) = command::keys(command, args, keys) {
        return Place::Invalid(error);
    }
    let mut slots = keys.iter().map(|index| Slot::of(args.at(*index as usize)));
    match slots.next() {
        None => Place::Keyless,
        Some(first) if slots.all(|slot| slot == first) => Place::One(first),
        Some(_) => Place::Many,
    }
}
