//! `Names`: the plain commands by name, and what is to be known of each.
//!
//! It must never know a client or a node.

use crate::acl::permissions::Access;
use crate::command::{
    BeginSearch, Cacheable, Class, Command, Confined, FindKeys, Flags, KeyFlags, Keys, KeysInReply,
    ResponsePolicy, Table,
};
use crate::config::Limits;
use crate::proxy::local::Handlers;
use crate::proxy::local::plain_fronts::{Front, Fronts};
use crate::proxy::request::MOVED_FRAME;
use crate::resp::short::{SHORT_ARGS_MAX, ShortRequest, first_and_rest};

/// Places of the index; a power of two, so that a hash is cut to it.
const PLACES: usize = 1024;
/// Rows that the index takes, so that most places stay empty; further ones are declined.
const ROWS_MAX: usize = PLACES / 2;
/// The bit in which a letter's cases differ.
const CASE: u8 = 0x20;

/// What is to be known of a plain command. Its key is the first argument behind its name, which a request with a proper number
/// of arguments has.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// Its name in lower case, the first byte lowest.
    name: u64,
    /// [`CASE`] where the name has a letter.
    letters: u64,
    /// The command's row.
    pub id: u16,
    /// Length of its name in bytes; 0 in an empty place.
    name_len: u8,
    /// Arguments that it has at least, the name included.
    args_min: u8,
    /// How many more it may have.
    args_more: u8,
    /// Whether it changes nothing.
    pub readonly: bool,
    /// Whether a namespace needs no more than its tag before the key.
    pub tagged: bool,
    /// Whether a replica may serve it.
    pub on_replicas: bool,
    /// The most that it does with its key.
    pub access: Access,
    /// Whether the near cache may have its reply.
    pub cacheable: bool,
    /// Of a command that is split by slot: how it is.
    pub split: Option<SplitShape>,
}

/// How a command is split by slot whose arguments are keys, each with as many arguments behind it.
#[derive(Debug, Clone, Copy)]
pub struct SplitShape {
    /// Arguments of each key, the key included: 1 or 2.
    pub stride: u8,
    /// What becomes of the replies.
    pub policy: ResponsePolicy,
}

/// An empty place, which no name is equal to.
const EMPTY: Shape = Shape {
    name: 0,
    letters: u64::MAX,
    id: 0,
    name_len: 0,
    args_min: 0,
    args_more: 0,
    readonly: false,
    tagged: false,
    on_replicas: false,
    cacheable: false,
    split: None,
    access: Access {
        read: true,
        write: true,
    },
};

/// The plain commands whose names have at most eight bytes, by name.
///
/// Invariant: some place is empty.
#[derive(Debug)]
pub struct Names {
    places: Box<[Shape; PLACES]>,
    fronts: Fronts,
}

/// A request of a plain command, which has a proper number of arguments.
#[derive(Debug)]
pub struct PlainRequest<'n, 'b> {
    /// What is to be known of its command.
    pub shape: &'n Shape,
    /// Its key.
    pub key: &'b [u8],
    /// What is behind its frame.
    pub behind: &'b [u8],
}

/// Where to look for a name first. Names that differ in case only begin at one place.
#[inline(always)]
fn place(name: u64) -> usize {
    let folded = name & !u64::from_le_bytes([CASE; 8]);
    (folded.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - PLACES.trailing_zeros())) as usize
}

/// What makes a command plain, if it is.
fn shape(command: &Command, handlers: &Handlers) -> Option<Shape> {
    let split = split_shape(command);
    let is_routed = command.class == Class::Routed && command.keys == Keys::One(1);
    let plain = (is_routed || split.is_some())
        && command.block_token.is_none()
        && command.parent().is_none()
        && !command.container
        && !command.changes_servers
        && handlers.get(command.id).is_none();
    let most = SHORT_ARGS_MAX as u8;
    let args_min = u8::try_from(command.arity.unsigned_abs()).ok()?;
    let access = match &*command.key_specs {
        [spec] => Access::of(spec.flags),
        _ => EMPTY.access,
    };
    let name = command.name.as_bytes();
    if !plain || args_min > most || args_min < 2 || !(1..=8).contains(&name.len()) {
        return None;
    }
    let (mut bytes, mut letters) = ([0; 8], [0; 8]);
    bytes[..name.len()].copy_from_slice(name);
    bytes.make_ascii_lowercase();
    for (letter, byte) in letters.iter_mut().zip(bytes) {
        *letter = if byte.is_ascii_alphabetic() { CASE } else { 0 };
    }
    Some(Shape {
        name: u64::from_le_bytes(bytes),
        letters: u64::from_le_bytes(letters),
        id: command.id,
        name_len: name.len() as u8,
        // What is split is no request of one key, whatever it has.
        args_min: if split.is_some() { u8::MAX } else { args_min },
        args_more: if command.arity < 0 && split.is_none() {
            most - args_min
        } else {
            0
        },
        readonly: command.flags.contains(Flags::READONLY),
        tagged: command.confined == Confined::Keys
            && command.keys_in_reply == KeysInReply::None
            && matches!(&*command.key_specs, [spec] if !spec.flags.contains(KeyFlags::NOT_KEY)),
        on_replicas: command.on_replicas,
        cacheable: command.cacheable != Cacheable::No,
        split,
        access,
    })
}

/// How a command is split, if all its arguments are its keys and what belongs to them.
fn split_shape(command: &Command) -> Option<SplitShape> {
    let (Class::Split(policy), [spec]) = (command.class, &*command.key_specs) else {
        return None;
    };
    let from_first = matches!(spec.begin, BeginSearch::Index(1));
    match spec.find {
        FindKeys::Range {
            last: -1,
            step: stride @ 1..=2,
            limit: 0 | 1,
        } if from_first => Some(SplitShape {
            stride: stride as u8,
            policy,
        }),
        _ => None,
    }
}

impl Names {
    /// The plain commands of a table, but for those that a handler looks at. There are none if a request that is short
    /// enough to be plain may be too long for these limits.
    pub fn new(table: &Table, handlers: &Handlers, limits: &Limits) -> Names {
        let mut places = Box::new([EMPTY; PLACES]);
        let may_be_plain = limits.bulk_bytes.min(limits.request_bytes) >= MOVED_FRAME;
        let rows = table.rows().iter().filter(|_| may_be_plain);
        let shapes = rows.filter_map(|row| shape(row, handlers));
        for shape in shapes.take(ROWS_MAX) {
            let mut at = place(shape.name);
            while places[at].name_len != 0 {
                at = (at + 1) % PLACES;
            }
            places[at] = shape;
        }
        Names {
            places,
            fronts: Fronts::default(),
        }
    }

    /// The plain request at the front of these bytes, if it is here to its end and none of its arguments has `max` bytes or
    /// more. What is split is none.
    #[inline(always)]
    pub fn request<'b>(&mut self, bytes: &'b [u8], max: usize) -> Option<PlainRequest<'_, 'b>> {
        let front = match self.fronts.find(bytes) {
            Some(front) => front,
            None => self.read_front(bytes, max)?,
        };
        let shape = &self.places[usize::from(front.place) % PLACES];
        let named = bytes.get(usize::from(front.len)..)?;
        let (key, behind) = first_and_rest(named, front.key_len as usize, front.args_len, max)?;
        Some(PlainRequest { shape, key, behind })
    }

    /// Reads what is before the key of a plain request, and keeps that.
    #[inline(never)]
    fn read_front(&mut self, bytes: &[u8], max: usize) -> Option<Front> {
        let request = ShortRequest::find(bytes)?;
        let place = self.place_of(request.name, request.name_len)?;
        let (key_len, key) = request.first_length(max)?;
        if !self.places[place].arity_ok(request.args_len) {
            return None;
        }
        let front = Front {
            place: place as u16,
            args_len: request.args_len as u8,
            len: (bytes.len() - key.len()) as u8,
            key_len: key_len as u32,
        };
        self.fronts.keep(bytes, front);
        Some(front)
    }

    /// The plain command of this name: its bytes in any case, the first one lowest, and their number.
    #[inline(always)]
    pub fn find(&self, name: u64, len: usize) -> Option<&Shape> {
        self.place_of(name, len).map(|at| &self.places[at])
    }

    #[inline(always)]
    fn place_of(&self, name: u64, len: usize) -> Option<usize> {
        let mut at = place(name);
        loop {
            let shape = &self.places[at];
            if name | shape.letters == shape.name && usize::from(shape.name_len) == len {
                return Some(at);
            }
            if shape.name_len == 0 {
                return None;
            }
            at = (at + 1) % PLACES;
        }
    }
}

impl Shape {
    /// Whether it may have so many arguments, of at most [`SHORT_ARGS_MAX`], the name included.
    #[inline(always)]
    pub fn arity_ok(&self, args_len: usize) -> bool {
        args_len.wrapping_sub(usize::from(self.args_min)) <= usize::from(self.args_more)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Auth;

    #[test]
    fn names_are_found_in_any_case_and_no_others_are() {
        let table = Table::compiled();
        let names = Names::new(
            &table,
            &Handlers::new(&table, Auth::Own),
            &Limits::default(),
        );
        let find = |name: &[u8]| {
            let mut bytes = [0; 8];
            bytes[..name.len()].copy_from_slice(name);
            let shape = names.find(u64::from_le_bytes(bytes), name.len());
            shape.map(|shape| shape.id)
        };
        let id = |name: &str| {
            table
                .rows()
                .iter()
                .find(|row| &*row.name == name)
                .map(|row| row.id)
        };
        for (name, row) in [
            ("GET", "get"),
            ("gEt", "get"),
            ("SetRange", "setrange"),
            ("sort_RO", "sort_ro"),
        ] {
            let found = find(name.as_bytes());
            let plain = table.rows().iter().find(|own| &*own.name == row);
            if plain.is_some_and(|own| shape(own, &Handlers::new(&table, Auth::Own)).is_some()) {
                assert_eq!(found, id(row), "{name}");
            } else {
                assert_eq!(found, None, "{name}");
            }
        }
        assert!(find(b"get").is_some() && find(b"setrange").is_some());
        // A byte that differs from a letter or another byte in one bit only is another one.
        for name in [&b"get"[..], b"hset", b"setrange"] {
            for at in 0..name.len() {
                for bit in (0..8).filter(|bit| 1 << bit != CASE) {
                    let mut other = name.to_vec();
                    other[at] ^= 1 << bit;
                    let lower = other.to_ascii_lowercase();
                    let known = std::str::from_utf8(&lower).ok().and_then(id);
                    assert!(known.is_some() || find(&other).is_none(), "{other:?}");
                }
            }
            assert_eq!(
                find(&name[..name.len() - 1]),
                std::str::from_utf8(&name[..name.len() - 1])
                    .ok()
                    .and_then(id)
            );
        }
        // What is split by slot is known, and is never taken for a request of one key.
        for name in [&b"mget\0\0\0\0"[..], b"MSET\0\0\0\0"] {
            let name = u64::from_le_bytes(name.try_into().expect("eight bytes"));
            let shape = names.find(name, 4).expect("a shape");
            assert!(shape.split.is_some());
            assert!((0..=SHORT_ARGS_MAX).all(|args_len| !shape.arity_ok(args_len)));
        }
        for name in [&b"ping"[..], b"nosuch", b"get\0", b"", b"multi"] {
            assert_eq!(find(name), None);
        }
    }
}
