//! `Table`: all commands, one row each, found by name.
//!
//! Rows are append-only and an id never changes: a table with learnt rows is the old one and more. Its size
//! is bounded, so whoever sends names or COMMAND replies cannot make it grow.

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

/// A place of the open-addressing table: a row, and the hash of its name to reject others early.
#[derive(Debug, Clone, Copy)]
struct Slot {
    hash: u32,
    id: u16,
}

/// The id in an empty slot; no row has it.
const EMPTY: u16 = u16::MAX;

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
            command.why = row.why;
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

    /// Appends `new` to `rows` and indexes them all. A name that is there already, or one too many, is
    /// dropped.
    fn index(rows: Vec<Command>, new: Vec<Command>) -> Table {
        let places = ((rows.len() + new.len()).min(ROWS_MAX) * 4).next_power_of_two();
        let empty = Slot { hash: 0, id: EMPTY };
        let slots = vec![empty; places].into_boxed_slice();
        let mut table = Table {
            rows: Vec::with_capacity(rows.len() + new.len()),
            slots,
        };
        rows.into_iter().chain(new).for_each(|row| table.push(row));
        for id in 0..table.rows.len() {
            let parent = table.rows[id].parent().map(str::as_bytes);
            if let Some(parent) = parent.and_then(|name| table.lookup(name)) {
                let parent = usize::from(parent.id);
                table.rows[parent].container = true;
            }
        }
        table.check();
        table
    }

    /// Appends a row, if there is no other of its name and room for it.
    fn push(&mut self, mut row: Command) {
        if self.rows.len() == ROWS_MAX || self.named(row.name.as_bytes()).is_some() {
            return;
        }
        if row.name.bytes().any(|byte| byte.is_ascii_uppercase()) {
            row.name.to_mut().make_ascii_lowercase();
        }
        row.id = self.rows.len() as u16;
        let hash = hash_of_full(row.name.as_bytes());
        let mask = self.slots.len() - 1;
        let mut at = hash as usize & mask;
        while self.slots[at].id != EMPTY {
            at = (at + 1) & mask;
        }
        self.slots[at] = Slot { hash, id: row.id };
        self.rows.push(row);
    }

    /// The command of this name, in any case. Subcommands are not found by it.
    #[inline]
    pub fn lookup(&self, name: &[u8]) -> Option<&Command> {
        self.find(hash(name), |row| row.eq_ignore_ascii_case(name))
    }

    /// The command or subcommand of this name, which for a subcommand is `container|subcommand`.
    pub fn named(&self, name: &[u8]) -> Option<&Command> {
        self.find(hash_of_full(name), |row| row.eq_ignore_ascii_case(name))
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
    pub fn subcommand(&self, container: &Command, name: &[u8]) -> Option<&Command> {
        let parent = container.name.as_bytes();
        let hash = hash_of_pair(hash(parent), hash(name));
        self.find(hash, |row| {
            row.len() == parent.len() + 1 + name.len()
                && row.starts_with(parent)
                && row[parent.len()] == b'|'
                && row[parent.len() + 1..].eq_ignore_ascii_case(name)
        })
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

    /// The row with this hash for which `same` holds of its name.
    #[inline]
    fn find(&self, hash: u32, same: impl Fn(&[u8]) -> bool) -> Option<&Command> {
        let mask = self.slots.len() - 1;
        let mut at = hash as usize & mask;
        loop {
            let slot = self.slots[at];
            let row = self.rows.get(usize::from(slot.id))?;
            if slot.hash == hash && same(row.name.as_bytes()) {
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

/// Setting this bit of a byte makes letters lower-case; what it does to other bytes is the same each time.
const LOWER: u64 = 0x2020_2020_2020_2020;

/// A hash of a name in any case: of its length, its first bytes and its last bytes.
#[inline]
fn hash(name: &[u8]) -> u32 {
    let (front, back) = match (name.first_chunk::<8>(), name.last_chunk::<8>()) {
        (Some(front), Some(back)) => (u64::from_le_bytes(*front), u64::from_le_bytes(*back)),
        _ => match (name.first_chunk::<4>(), name.last_chunk::<4>()) {
            (Some(front), Some(back)) => (
                u64::from(u32::from_le_bytes(*front)),
                u64::from(u32::from_le_bytes(*back)),
            ),
            _ => name.iter().fold((0, 0), |(front, _), byte| {
                (front << 8 | u64::from(*byte), 0)
            }),
        },
    };
    let front = ((front | LOWER) ^ name.len() as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let back = (back | LOWER).wrapping_mul(0xc2b2_ae3d_27d4_eb4f);
    let mixed = (front ^ back.rotate_left(32)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    (mixed >> 32) as u32
}

/// The hash of a subcommand, from those of its container's name and its own.
#[inline]
fn hash_of_pair(container: u32, name: u32) -> u32 {
    (container.rotate_left(15) ^ name).wrapping_mul(0x9e37_79b1)
}

/// The hash of a row's name: of a command, or of `container|subcommand`.
fn hash_of_full(name: &[u8]) -> u32 {
    match name.iter().position(|byte| *byte == b'|') {
        Some(bar) => hash_of_pair(hash(&name[..bar]), hash(&name[bar + 1..])),
        None => hash(name),
    }
}
