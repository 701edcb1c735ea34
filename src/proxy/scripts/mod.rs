//! `Scripts`: the scripts and function libraries that were loaded through this proxy, so that a node that lost
//! one, or never had it, can be given it again. One store for all workers, bounded; it is looked into when
//! something is loaded or missing, never for a request that finds its script.
//!
//! `Seen` is a worker's own note of the bodies of EVAL that the store has: EVAL does not touch the store twice.
//!
//! It must never know which nodes there are.

pub mod flags;

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use crate::resp::encode;

/// Bodies that a worker notes as seen.
const SEEN_MAX: usize = 4096;
/// Libraries kept at once.
const LIBRARIES_MAX: usize = 256;

/// A request that loads a script or a library again, shared by all who send it.
pub type Remedy = Arc<[u8]>;

/// The name of a script: its SHA-1 in lower case hexadecimal.
type Digest = [u8; 40];

/// The scripts and libraries loaded through this proxy.
///
/// Invariant: `bytes` is the length of all that is kept, and at most `bytes_max`; `hashes` has every script.
#[derive(Debug)]
pub struct Scripts {
    bytes_max: usize,
    bytes: usize,
    scripts: HashMap<Digest, Vec<u8>>,
    /// Their names, oldest first.
    order: VecDeque<Digest>,
    /// Bodies of EVAL whose names nobody has asked for yet, oldest first.
    unnamed: VecDeque<Vec<u8>>,
    /// A quick hash of each body, and how many bodies have it.
    hashes: HashMap<u64, u32>,
    /// Libraries by name, oldest first.
    libraries: VecDeque<(Vec<u8>, Remedy)>,
    /// Changes when scripts are forgotten on purpose.
    scripts_epoch: u64,
    /// Changes when libraries are.
    libraries_epoch: u64,
    /// Whether a node has said that our user may name scripts, but not send them.
    by_name_only: bool,
}

impl Scripts {
    /// An empty store for so many bytes.
    pub fn new(bytes_max: usize) -> Scripts {
        Scripts {
            bytes_max,
            bytes: 0,
            scripts: HashMap::new(),
            order: VecDeque::new(),
            unnamed: VecDeque::new(),
            hashes: HashMap::new(),
            libraries: VecDeque::new(),
            scripts_epoch: 0,
            libraries_epoch: 0,
            by_name_only: false,
        }
    }

    /// A node has refused a script: from now on they are only named.
    pub fn name_only(&mut self) {
        self.by_name_only = true;
    }

    /// Whether scripts are only named.
    pub fn by_name_only(&self) -> bool {
        self.by_name_only
    }

    /// When scripts were last forgotten on purpose.
    pub fn scripts_epoch(&self) -> u64 {
        self.scripts_epoch
    }

    /// When libraries were last forgotten on purpose.
    pub fn libraries_epoch(&self) -> u64 {
        self.libraries_epoch
    }

    /// An EVAL with this body has been sent. Its name is found when it is asked for.
    pub fn evaluated(&mut self, body: &[u8]) {
        if self.make_room(body.len()) {
            self.bytes += body.len();
            *self.hashes.entry(hash(body)).or_default() += 1;
            self.unnamed.push_back(body.to_vec());
        }
    }

    /// How many different scripts there are.
    pub fn count(&self) -> usize {
        self.hashes.len()
    }

    /// A script has been loaded, at `epoch`: if scripts were forgotten since, it is too.
    pub fn loaded(&mut self, name: &[u8], body: &[u8], epoch: u64) {
        if epoch == self.scripts_epoch
            && let Some(digest) = digest(name)
            && !self.scripts.contains_key(&digest)
            && self.make_room(body.len())
        {
            self.bytes += body.len();
            *self.hashes.entry(hash(body)).or_default() += 1;
            self.keep(digest, body.to_vec());
        }
    }

    /// A library has been loaded, at `epoch`.
    pub fn library_loaded(&mut self, name: &[u8], code: &[u8], epoch: u64) {
        if epoch != self.libraries_epoch {
            return;
        }
        self.drop_library(name);
        let mut frame = Vec::new();
        encode::command(&mut frame, [&b"FUNCTION"[..], b"LOAD", b"REPLACE", code]);
        if self.libraries.len() < LIBRARIES_MAX && self.make_room(frame.len()) {
            self.bytes += frame.len();
            self.libraries.push_back((name.to_vec(), frame.into()));
        }
    }

    /// Scripts are being flushed.
    pub fn forget_scripts(&mut self) {
        self.scripts_epoch += 1;
        self.bytes -= self
            .scripts
            .values()
            .map(|frame| frame.len())
            .sum::<usize>();
        self.bytes -= self.unnamed.iter().map(Vec::len).sum::<usize>();
        self.scripts.clear();
        self.order.clear();
        self.unnamed.clear();
        self.hashes.clear();
    }

    /// A library is being deleted; without a name, all are.
    pub fn forget_library(&mut self, name: Option<&[u8]>) {
        self.libraries_epoch += 1;
        match name {
            Some(name) => self.drop_library(name),
            None => {
                self.bytes -= self
                    .libraries
                    .iter()
                    .map(|(_, frame)| frame.len())
                    .sum::<usize>();
                self.libraries.clear();
            }
        }
    }

    /// What loads the script of this name, in either case.
    pub fn script(&mut self, name: &[u8]) -> Option<Remedy> {
        let body = self.body(name)?;
        let mut frame = Vec::new();
        encode::command(&mut frame, [&b"SCRIPT"[..], b"LOAD", body]);
        Some(frame.into())
    }

    /// The script of this name, in either case.
    pub fn body(&mut self, name: &[u8]) -> Option<&[u8]> {
        let wanted = digest(name)?;
        while !self.scripts.contains_key(&wanted) {
            let body = self.unnamed.pop_front()?;
            let name = sha1_smol::Sha1::from(&body).digest().to_string();
            match digest(name.as_bytes()) {
                Some(digest) if !self.scripts.contains_key(&digest) => self.keep(digest, body),
                _ => self.leave_out(&body),
            }
        }
        self.scripts.get(&wanted).map(Vec::as_slice)
    }

    /// What loads the libraries that may have this function: those whose code names it.
    pub fn libraries_with(&self, function: &[u8]) -> Vec<Remedy> {
        let may_have = |frame: &[u8]| memchr::memmem::find(frame, function).is_some();
        let libraries = self.libraries.iter().map(|(_, frame)| frame);
        libraries
            .filter(|frame| !function.is_empty() && may_have(frame))
            .cloned()
            .collect()
    }

    /// Keeps a script whose bytes have been counted.
    fn keep(&mut self, digest: Digest, body: Vec<u8>) {
        self.order.push_back(digest);
        self.scripts.insert(digest, body);
    }

    /// A body is kept no more.
    fn leave_out(&mut self, body: &[u8]) {
        self.bytes -= body.len();
        if let Entry::Occupied(mut count) = self.hashes.entry(hash(body)) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }

    fn drop_library(&mut self, name: &[u8]) {
        if let Some(at) = self.libraries.iter().position(|(own, _)| own == name)
            && let Some((_, frame)) = self.libraries.remove(at)
        {
            self.bytes -= frame.len();
        }
    }

    /// Makes room for so many bytes by forgetting the oldest scripts; libraries stay. What would take a
    /// quarter of all is not kept.
    fn make_room(&mut self, len: usize) -> bool {
        if len > self.bytes_max / 4 {
            return false;
        }
        while self.bytes + len > self.bytes_max {
            if let Some(body) = self.unnamed.pop_front() {
                self.leave_out(&body);
            } else if let Some(digest) = self.order.pop_front() {
                if let Some(body) = self.scripts.remove(&digest) {
                    self.leave_out(&body);
                }
            } else {
                return false;
            }
        }
        true
    }
}

/// A name in the form that the store uses.
fn digest(name: &[u8]) -> Option<Digest> {
    let digest: Digest = name.try_into().ok()?;
    Some(digest.map(|byte| byte.to_ascii_lowercase()))
}

/// The bodies of EVAL that a worker has handed to the store.
#[derive(Debug, Default)]
pub struct Seen {
    hashes: HashSet<u64>,
    epoch: u64,
}

impl Seen {
    /// Notes a body; `epoch` is that of the scripts. Returns whether the store is to be told of it.
    pub fn note(&mut self, body: &[u8], epoch: u64) -> bool {
        if self.epoch != epoch || self.hashes.len() >= SEEN_MAX {
            self.hashes.clear();
            self.epoch = epoch;
        }
        self.hashes.insert(hash(body))
    }
}

/// A quick hash. Two bodies with one hash cost no more than that one of them is not healed.
pub(in crate::proxy) fn hash(bytes: &[u8]) -> u64 {
    let mut chunks = bytes.chunks_exact(8);
    let mix =
        |hash: u64, word: u64| (hash.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95);
    let mut state = bytes.len() as u64;
    for chunk in &mut chunks {
        let word = chunk.try_into().map_or(0, u64::from_le_bytes);
        state = mix(state, word);
    }
    let rest = chunks.remainder().iter().rev();
    mix(
        state,
        rest.fold(0, |word, byte| word << 8 | u64::from(*byte)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SHA-1 of `return 1`.
    const RETURN_1: &[u8] = b"e0e1f9fabfc9d4800c877a703b823ac0578ff8db";
    const LOAD: &[u8] = b"*3\r\n$6\r\nSCRIPT\r\n$4\r\nLOAD\r\n$8\r\nreturn 1\r\n";

    #[test]
    fn a_script_is_found_by_its_name_however_it_came() {
        let mut scripts = Scripts::new(1000);
        assert!(scripts.script(RETURN_1).is_none());
        scripts.evaluated(b"return 2");
        scripts.evaluated(b"return 1");
        assert_eq!(&*scripts.script(RETURN_1).unwrap(), LOAD);
        assert_eq!(
            &*scripts.script(&RETURN_1.to_ascii_uppercase()).unwrap(),
            LOAD
        );
        scripts.forget_scripts();
        assert_eq!(scripts.bytes, 0);
        assert!(scripts.script(RETURN_1).is_none());
        scripts.loaded(RETURN_1, b"return 1", 0);
        assert!(scripts.script(RETURN_1).is_none(), "it was forgotten since");
        scripts.loaded(RETURN_1, b"return 1", scripts.scripts_epoch());
        assert_eq!(&*scripts.script(RETURN_1).unwrap(), LOAD);
        assert!(scripts.script(b"short").is_none());
        scripts.evaluated(b"return 1");
        scripts.evaluated(b"return 3");
        assert_eq!(scripts.count(), 2);
        assert!(scripts.script(&[b'0'; 40]).is_none());
        assert_eq!(scripts.count(), 2, "it is counted once, named or not");
    }

    #[test]
    fn the_oldest_make_room() {
        let mut scripts = Scripts::new(400);
        for number in 0..100 {
            scripts.evaluated(format!("return {number}").as_bytes());
            assert!(scripts.bytes <= 400);
        }
        assert!(scripts.script(RETURN_1).is_none());
        let last = sha1_smol::Sha1::from("return 99").digest().to_string();
        assert!(scripts.script(last.as_bytes()).is_some());
        assert!(scripts.bytes <= 400);
        scripts.evaluated(&[b'x'; 101]);
        assert!(scripts.unnamed.is_empty());
        let kept = scripts.count();
        assert_eq!(kept, scripts.scripts.len());
        scripts.evaluated(b"return 99");
        assert!(scripts.count() <= kept, "it is counted once");
    }

    #[test]
    fn libraries_are_known_by_what_their_code_names() {
        let mut scripts = Scripts::new(4000);
        scripts.library_loaded(b"one", b"register('f')", 0);
        scripts.library_loaded(b"two", b"register('g')", 0);
        scripts.library_loaded(b"one", b"register('h')", 0);
        assert!(scripts.libraries_with(b"'f'").is_empty());
        assert_eq!(scripts.libraries_with(b"'g'").len(), 1);
        assert_eq!(scripts.libraries_with(b"register").len(), 2);
        assert!(scripts.libraries_with(b"").is_empty());
        scripts.forget_library(Some(b"two"));
        assert!(scripts.libraries_with(b"'g'").is_empty());
        scripts.library_loaded(b"two", b"register('g')", 0);
        assert!(scripts.libraries_with(b"'g'").is_empty(), "deleted since");
        scripts.forget_library(None);
        assert_eq!(scripts.bytes, 0);
    }

    #[test]
    fn a_body_is_told_of_once() {
        let mut seen = Seen::default();
        assert!(seen.note(b"return 1", 0) && !seen.note(b"return 1", 0));
        assert!(seen.note(b"return 2", 0) && seen.note(b"", 0) && seen.note(b"\0", 0));
        assert!(seen.note(b"return 1", 1));
    }
}
