//! `Commands`: the commands that ACL rules speak of: the rows of the table, with the categories that the servers give
//! them; and `Bits`, a set of them.

use std::collections::HashMap;
use std::sync::Arc;

use crate::command::{AclCategories, Command, Flags, Known, Servers, Table};

/// A set of commands by their ids. What is behind its end is as `beyond` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bits {
    words: Box<[u64]>,
    beyond: bool,
}

impl Bits {
    /// All commands, or none.
    pub fn new(commands: &Commands, all: bool) -> Bits {
        let mut bits = Bits::empty(commands.rows.len());
        if all {
            bits.words.fill(u64::MAX);
            bits.beyond = true;
        }
        bits
    }

    fn empty(rows: usize) -> Bits {
        Bits {
            words: vec![0; rows.div_ceil(64)].into(),
            beyond: false,
        }
    }

    /// Whether a command is in it.
    #[inline]
    pub fn has(&self, id: u16) -> bool {
        match self.words.get(usize::from(id / 64)) {
            Some(word) => word >> (id % 64) & 1 == 1,
            None => self.beyond,
        }
    }

    /// Puts a command in, or takes it out.
    pub fn set(&mut self, id: u16, value: bool) {
        let Some(word) = self.words.get_mut(usize::from(id / 64)) else {
            debug_assert!(false, "a command of another table");
            return;
        };
        *word &= !(1 << (id % 64));
        *word |= u64::from(value) << (id % 64);
    }

    /// Puts all of another set in, or takes them out.
    pub fn set_all(&mut self, others: &Bits, value: bool) {
        for (word, other) in self.words.iter_mut().zip(&others.words) {
            *word = if value { *word | other } else { *word & !other };
        }
    }

    /// How many commands are in both.
    pub fn common(&self, other: &Bits) -> usize {
        let pairs = self.words.iter().zip(&other.words);
        pairs
            .map(|(own, other)| (own & other).count_ones() as usize)
            .sum()
    }

    /// How many commands it names.
    pub fn count(&self) -> usize {
        self.common(self)
    }

    /// The commands that it names.
    pub fn ids(&self) -> impl Iterator<Item = u16> {
        (0..self.words.len() as u16 * 64).filter(|id| self.has(*id))
    }

    /// Whether every command is in it, those too that come later.
    pub fn is_full(&self) -> bool {
        self.beyond && self.words.iter().all(|word| *word == u64::MAX)
    }
}

/// A category.
#[derive(Debug)]
pub struct Category {
    /// Its name.
    pub name: &'static str,
    /// The servers' commands that are in it.
    pub within: Bits,
    /// The commands that a rule on it is about: those in it, and the subcommands of these.
    pub touched: Bits,
}

/// What is to be known of one command.
#[derive(Debug, Clone, Copy)]
struct Row {
    parent: Option<u16>,
    acl: AclCategories,
    /// Rules on categories do not reach commands of modules, as in Redis 7.0.
    module: bool,
    /// Whether the servers have it, as far as they have said it.
    known: bool,
}

/// The commands that rules speak of.
#[derive(Debug)]
pub struct Commands {
    table: Arc<Table>,
    known: Option<Arc<Known>>,
    rows: Vec<Row>,
    /// By their parents.
    subcommands: HashMap<u16, Vec<u16>>,
    /// In Redis' order: those that every server has, and those of the commands that these servers have.
    categories: Vec<Category>,
}

impl Commands {
    /// What the servers have.
    pub fn of(servers: &Servers) -> Commands {
        Commands::new(servers.table.clone(), servers.known.clone())
    }

    /// The rows of a table; `known` are those that the servers have, once they have said it.
    pub fn new(table: Arc<Table>, known: Option<Arc<Known>>) -> Commands {
        let row = |row: &Command| {
            let has = known.as_deref().filter(|known| known.contains(row.id));
            let parent = row.parent();
            Row {
                parent: parent.and_then(|parent| Some(table.named(parent.as_bytes())?.id)),
                acl: has.map_or(row, |known| known.said(row)).acl,
                module: row.flags.contains(Flags::MODULE),
                known: known.is_none() || has.is_some(),
            }
        };
        let rows: Vec<Row> = table.rows().iter().map(row).collect();
        let mut subcommands: HashMap<u16, Vec<u16>> = HashMap::new();
        for (id, row) in rows.iter().enumerate() {
            if let Some(parent) = row.parent {
                subcommands.entry(parent).or_default().push(id as u16);
            }
        }
        let categories = categories(&rows);
        Commands {
            table,
            known,
            rows,
            subcommands,
            categories,
        }
    }

    /// The table.
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// Whether the servers have not said yet which commands they have.
    pub fn are_guessed(&self) -> bool {
        self.known.is_none()
    }

    /// Whether the servers have this command.
    pub fn has(&self, id: u16) -> bool {
        self.rows.get(usize::from(id)).is_some_and(|row| row.known)
    }

    /// The row as the servers describe it.
    pub fn said<'a>(&'a self, row: &'a Command) -> &'a Command {
        match &self.known {
            Some(known) if known.contains(row.id) => known.said(row),
            Some(_) | None => row,
        }
    }

    /// The command, or subcommand as `container|subcommand`, of this name.
    pub fn named(&self, name: &[u8]) -> Option<&Command> {
        self.table.named(name).filter(|row| self.has(row.id))
    }

    /// The category of this name, if a command may be in it.
    pub fn category(&self, name: &[u8]) -> Option<&Category> {
        let mut categories = self.categories.iter();
        categories.find(|own| own.name.as_bytes().eq_ignore_ascii_case(name))
    }

    /// All categories.
    pub fn categories(&self) -> &[Category] {
        &self.categories
    }

    /// A command and its subcommands.
    pub fn family(&self, id: u16) -> impl Iterator<Item = u16> {
        let subcommands = self.subcommands.get(&id).into_iter().flatten().copied();
        std::iter::once(id).chain(subcommands)
    }

    /// The ids of all commands that are no subcommands.
    pub fn parents(&self) -> impl Iterator<Item = u16> {
        let rows = self.rows.iter().enumerate();
        rows.filter_map(|(id, row)| row.parent.is_none().then_some(id as u16))
    }
}

/// The categories of these rows.
fn categories(rows: &[Row]) -> Vec<Category> {
    let used = rows.iter().filter(|row| row.known);
    let every = AclCategories::of_every_server();
    let used = used.fold(every, |all, row| all.with(row.acl));
    let category = |name: &'static str| {
        let bit = AclCategories::from_name(name)?;
        let is_in = |row: &Row| !row.module && row.acl.contains(bit);
        let parent = |row: &Row| row.parent.and_then(|id| rows.get(usize::from(id)));
        let (mut within, mut touched) = (Bits::empty(rows.len()), Bits::empty(rows.len()));
        for (id, row) in rows.iter().enumerate() {
            within.set(id as u16, row.known && is_in(row));
            touched.set(id as u16, is_in(row) || parent(row).is_some_and(is_in));
        }
        Some(Category {
            name,
            within,
            touched,
        })
    };
    used.names().filter_map(category).collect()
}
