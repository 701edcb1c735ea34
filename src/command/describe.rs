//! `Catalogue`: the replies of COMMAND and of its subcommands COUNT, INFO and LIST, byte for byte those of
//! redis-server 7.0.15 but for the order of the commands, which no server promises.
//!
//! What is a set or a map in RESP3 is an array in RESP2: flags, categories, tips and key specs are sets, a key
//! spec and its parts are maps; the commands, and a command's subcommands if it has any, are arrays.
//! COMMAND DOCS is not here: summaries and arguments are data that only the servers have.

use super::getkeys::{self, Found};
use super::{
    AclCategories, BeginSearch, Command, FindKeys, Flags, KeyFlags, KeySpec, Known, Table,
};
use crate::resp::args::Args;
use crate::resp::encode::{self, Protocol};
use crate::resp::glob::{self, Case};

/// The error text for options that make no sense.
const SYNTAX: &[u8] = b"ERR syntax error";

/// Whether a reply was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Answer {
    /// It was appended.
    Done,
    /// Nothing was appended: a server has to be asked, with the request as it is.
    AskNode,
}

/// All commands, as one client is to see them.
#[derive(Debug, Clone, Copy)]
pub struct Catalogue<'a> {
    /// The rows.
    pub table: &'a Table,
    /// Those that the cluster's servers have; without it, all.
    pub known: Option<&'a Known>,
    /// The client's protocol.
    pub protocol: Protocol,
}

/// What COMMAND LIST lists.
enum Filter<'a> {
    All,
    Module,
    Category(Option<AclCategories>),
    Pattern(&'a [u8]),
}

impl<'a> Catalogue<'a> {
    /// COMMAND.
    pub fn all(&self, out: &mut Vec<u8>) -> Answer {
        encode::array(out, self.commands().count());
        self.commands().for_each(|row| self.entry(row, out));
        Answer::Done
    }

    /// COMMAND COUNT.
    pub fn count(&self, out: &mut Vec<u8>) -> Answer {
        encode::integer(out, self.commands().count() as i64);
        Answer::Done
    }

    /// COMMAND INFO of these names, so many. Without names it is COMMAND.
    pub fn info<'n>(
        &self,
        names: impl Iterator<Item = &'n [u8]>,
        count: usize,
        out: &mut Vec<u8>,
    ) -> Answer {
        if count == 0 {
            return self.all(out);
        }
        encode::array(out, count);
        for name in names {
            match self.table.named(name).filter(|row| self.shows(row)) {
                Some(row) => self.entry(row, out),
                None => encode::null(out, self.protocol),
            }
        }
        Answer::Done
    }

    /// COMMAND LIST [FILTERBY MODULE|ACLCAT|PATTERN value]; `args` is the whole request.
    pub fn list(&self, args: &Args<'_>, out: &mut Vec<u8>) -> Answer {
        let Some(filter) = Filter::read(args) else {
            encode::error(out, SYNTAX);
            return Answer::Done;
        };
        if matches!(filter, Filter::Module)
            && self.rows().any(|row| row.flags.contains(Flags::MODULE))
        {
            // Servers do not tell others which module a command is from.
            return Answer::AskNode;
        }
        let listed = |row: &&Command| filter.takes(self.said(row));
        encode::array(out, self.rows().filter(listed).count());
        for row in self.rows().filter(listed) {
            encode::bulk(out, row.name.as_bytes());
        }
        Answer::Done
    }

    /// COMMAND GETKEYS, and with `with_flags` COMMAND GETKEYSANDFLAGS; `args` is the whole request.
    pub fn keys(&self, args: &Args<'_>, with_flags: bool, out: &mut Vec<u8>) -> Answer {
        let shown = |row: &'a Command| self.shows(row).then(move || self.said(row));
        let keys = match getkeys::find(self.table, args, shown) {
            Ok(Found::Keys(keys)) => keys,
            Ok(Found::AskNode) => return Answer::AskNode,
            Err(text) => {
                encode::error(out, text.as_bytes());
                return Answer::Done;
            }
        };
        encode::array(out, keys.len());
        for (index, flags) in keys {
            if with_flags {
                encode::array(out, 2);
            }
            encode::bulk(out, args.at(index as usize));
            if with_flags {
                self.key_flags(flags, out);
            }
        }
        Answer::Done
    }

    /// The rows that are shown, subcommands included.
    fn rows(&self) -> impl Iterator<Item = &'a Command> {
        let view = *self;
        self.table.rows().iter().filter(move |row| view.shows(row))
    }

    /// The commands that are shown, without subcommands.
    fn commands(&self) -> impl Iterator<Item = &'a Command> {
        self.rows().filter(|row| row.parent().is_none())
    }

    /// Whether the servers have this row.
    fn shows(&self, row: &Command) -> bool {
        self.known.is_none_or(|known| known.contains(row.id))
    }

    /// A row as the servers describe it.
    fn said(&self, row: &'a Command) -> &'a Command {
        self.known.map_or(row, |known| known.said(row))
    }

    /// All that COMMAND says of one command.
    fn entry(&self, row: &'a Command, out: &mut Vec<u8>) {
        let said = self.said(row);
        encode::array(out, 10);
        encode::bulk(out, row.name.as_bytes());
        encode::integer(out, i64::from(said.arity));
        self.words(said.flags.names().map(str::to_string), out);
        let (first, last, step) = legacy_range(&said.key_specs);
        for number in [first, last, step] {
            encode::integer(out, number);
        }
        self.words(said.acl.names().map(|name| format!("@{name}")), out);
        let tips = || said.tips.split(' ').filter(|tip| !tip.is_empty());
        self.set(tips().count(), out);
        tips().for_each(|tip| encode::bulk(out, tip.as_bytes()));
        self.set(said.key_specs.len(), out);
        for (place, spec) in said.key_specs.iter().enumerate() {
            let note = self.known.and_then(|known| known.note_on(row.id, place));
            self.key_spec(spec, note, out);
        }
        self.subcommands(row, out);
    }

    /// The subcommands of a command; none at all are an empty set.
    fn subcommands(&self, row: &'a Command, out: &mut Vec<u8>) {
        let shown = || self.table.subcommands(row).filter(|row| self.shows(row));
        match if row.container { shown().count() } else { 0 } {
            0 => self.set(0, out),
            count => {
                encode::array(out, count);
                shown().for_each(|row| self.entry(row, out));
            }
        }
    }

    /// One key spec.
    fn key_spec(&self, spec: &KeySpec, note: Option<&str>, out: &mut Vec<u8>) {
        let protocol = self.protocol;
        encode::map(out, 3 + usize::from(note.is_some()), protocol);
        if let Some(note) = note {
            pair(out, "notes", note);
        }
        encode::bulk(out, b"flags");
        self.key_flags(spec.flags, out);
        encode::bulk(out, b"begin_search");
        encode::map(out, 2, protocol);
        match spec.begin {
            BeginSearch::Index(index) => {
                pair(out, "type", "index");
                self.numbers(&[("index", i64::from(index))], out);
            }
            BeginSearch::Keyword { word, start_from } => {
                pair(out, "type", "keyword");
                encode::bulk(out, b"spec");
                encode::map(out, 2, protocol);
                pair(out, "keyword", word);
                encode::bulk(out, b"startfrom");
                encode::integer(out, i64::from(start_from));
            }
            BeginSearch::Unknown => {
                pair(out, "type", "unknown");
                self.numbers(&[], out);
            }
        }
        encode::bulk(out, b"find_keys");
        encode::map(out, 2, protocol);
        match spec.find {
            FindKeys::Range { last, step, limit } => {
                pair(out, "type", "range");
                let (last, step) = (i64::from(last), i64::from(step));
                let numbers = [
                    ("lastkey", last),
                    ("keystep", step),
                    ("limit", i64::from(limit)),
                ];
                self.numbers(&numbers, out);
            }
            FindKeys::Keynum {
                num_index,
                first_key,
                step,
            } => {
                pair(out, "type", "keynum");
                let (num_index, first) = (i64::from(num_index), i64::from(first_key));
                let numbers = [
                    ("keynumidx", num_index),
                    ("firstkey", first),
                    ("keystep", i64::from(step)),
                ];
                self.numbers(&numbers, out);
            }
            FindKeys::Unknown => {
                pair(out, "type", "unknown");
                self.numbers(&[], out);
            }
        }
    }

    /// The flags of a key.
    fn key_flags(&self, flags: KeyFlags, out: &mut Vec<u8>) {
        self.words(flags.names().map(str::to_string), out);
    }

    /// `spec` and a map of numbers.
    fn numbers(&self, numbers: &[(&str, i64)], out: &mut Vec<u8>) {
        encode::bulk(out, b"spec");
        encode::map(out, numbers.len(), self.protocol);
        for (name, number) in numbers {
            encode::bulk(out, name.as_bytes());
            encode::integer(out, *number);
        }
    }

    /// A set of simple strings.
    fn words(&self, words: impl Iterator<Item = String>, out: &mut Vec<u8>) {
        let words: Vec<String> = words.collect();
        self.set(words.len(), out);
        words.iter().for_each(|word| encode::simple(out, word));
    }

    /// The head of a set; an array in RESP2.
    fn set(&self, count: usize, out: &mut Vec<u8>) {
        let start = out.len();
        encode::array(out, count);
        if self.protocol == Protocol::Resp3 {
            out[start] = b'~';
        }
    }
}

impl<'a> Filter<'a> {
    /// The filter of COMMAND LIST; nothing if the options make no sense.
    fn read(args: &Args<'a>) -> Option<Filter<'a>> {
        if args.len() == 2 {
            return Some(Filter::All);
        }
        let is = |index: usize, word: &[u8]| args.at(index).eq_ignore_ascii_case(word);
        if args.len() != 5 || !is(2, b"FILTERBY") {
            return None;
        }
        let value = args.at(4);
        if is(3, b"MODULE") {
            Some(Filter::Module)
        } else if is(3, b"ACLCAT") {
            let name = std::str::from_utf8(value).ok().map(str::to_ascii_lowercase);
            Some(Filter::Category(
                name.and_then(|name| AclCategories::from_name(&name)),
            ))
        } else if is(3, b"PATTERN") {
            Some(Filter::Pattern(value))
        } else {
            None
        }
    }

    /// Whether a row, as the servers describe it, is listed.
    fn takes(&self, row: &Command) -> bool {
        match self {
            Filter::All => true,
            // Where there are module commands a server is asked.
            Filter::Module => false,
            Filter::Category(category) => category.is_some_and(|wanted| row.acl.contains(wanted)),
            Filter::Pattern(pattern) => {
                glob::matches(pattern, row.name.as_bytes(), Case::Insensitive)
            }
        }
    }
}

/// A name and a text.
fn pair(out: &mut Vec<u8>, name: &str, text: &str) {
    encode::bulk(out, name.as_bytes());
    encode::bulk(out, text.as_bytes());
}

/// First key, last key and step, as servers before 7.0 said it and later ones still do: of one range, or of
/// several with step 1 that follow each other; what is no such range is passed over.
fn legacy_range(specs: &[KeySpec]) -> (i64, i64, i64) {
    let range = |spec: &KeySpec| match (spec.begin, spec.find) {
        (BeginSearch::Index(first), FindKeys::Range { last, step, .. }) => {
            let (first, last) = (i64::from(first), i64::from(last));
            let last = if last < 0 { last } else { first + last };
            Some((first, last, i64::from(step)))
        }
        _ => None,
    };
    if let [spec] = specs {
        return range(spec).unwrap_or_default();
    }
    let mut whole: Option<(i64, i64, i64)> = None;
    for (first, last, step) in specs.iter().filter_map(range) {
        whole = match whole {
            _ if step != 1 => whole,
            None => Some((first, last, 1)),
            Some((start, end, _)) if end + 1 == first => {
                // From the end of the arguments is further than any number.
                let last = if last < 0 || end < 0 {
                    last.min(end)
                } else {
                    last.max(end)
                };
                Some((start, last, 1))
            }
            Some(_) => whole,
        };
    }
    whole.unwrap_or_default()
}
