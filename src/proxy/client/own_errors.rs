//! `Probe`: a question to a node that tells whether an error reply is the server's own or was made up by a script
//! (see `refused::own_errors`). `Suspects`: which requests have made up such errors.

use std::collections::HashMap;
use std::time::Duration;

use crate::clock::Time;
use crate::proxy::ids::BackendId;
use crate::proxy::texts::refusal::Refusal;
use crate::resp::reply::Reply;

/// How long what has made words up is not believed.
const SUSPECTED: Duration = Duration::from_secs(10);

/// How many are suspected at once.
const SUSPECTS_MAX: usize = 1024;

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::proxy) enum ProbeKind {
    /// EXISTS with the keys of the request: a server refuses it for their sake as it refuses the request.
    Keys,
    /// DBSIZE: refused while the server loads its data, or has lost its master.
    Size,
    /// ROLE: a replica takes no writes.
    Role,
    /// SCRIPT EXISTS.
    Script,
    /// FUNCTION LIST.
    Functions,
}

/// A question under way.
#[derive(Debug)]
pub struct Probe {
    pub(in crate::proxy) kind: ProbeKind,
    /// The connection that carries it.
    pub(in crate::proxy) backend: BackendId,
    /// The reply that is doubted; nothing if the request is known not to have been executed.
    pub(in crate::proxy) doubted: Option<Box<[u8]>>,
}

/// What an answer says of the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::proxy) enum Sign<'a> {
    /// The server would refuse it, so; in words of its own if there are any.
    Refuses(Refusal<'a>, &'a [u8]),
    /// It would execute it.
    Serves,
    /// Nothing.
    Unclear,
}

/// What has answered in a server's words without cause, and until when that is remembered.
#[derive(Debug, Default)]
pub struct Suspects {
    until: HashMap<u64, Time>,
    /// What a node was found to lack, on which connection, and when that was heard.
    lacked: HashMap<(BackendId, u64), Time>,
}

impl Suspects {
    pub(in crate::proxy) fn knows(&self, who: u64, now: Time) -> bool {
        self.until.get(&who).is_some_and(|until| now < *until)
    }

    pub(in crate::proxy) fn note(&mut self, who: u64, now: Time) {
        if self.until.len() >= SUSPECTS_MAX {
            self.until.clear();
        }
        self.until.insert(who, now.after(SUSPECTED));
    }

    pub(in crate::proxy) fn note_lack(&mut self, id: BackendId, who: u64, now: Time) {
        if self.lacked.len() >= SUSPECTS_MAX {
            self.lacked.clear();
        }
        self.lacked.insert((id, who), now);
    }

    /// Whether what was sent on this connection then found missing what was found missing there since: it stands
    /// before what was sent to load it.
    pub(in crate::proxy) fn was_lacked(&self, id: BackendId, who: u64, sent_at: Time) -> bool {
        self.lacked
            .get(&(id, who))
            .is_some_and(|heard_at| sent_at < *heard_at)
    }
}

impl Probe {
    /// The reply that is doubted.
    pub fn doubted(&self) -> Option<&[u8]> {
        self.doubted.as_deref()
    }
}

impl ProbeKind {
    /// What the answer to it says of a request; `first` is the refusal that is doubted, if one is, and `name` the
    /// name of what it runs.
    pub(in crate::proxy) fn sign<'a>(
        self,
        reply: Reply<'a>,
        first: Option<Refusal<'a>>,
        name: &[u8],
    ) -> Sign<'a> {
        let as_before = first.map_or(Sign::Unclear, |first| Sign::Refuses(first, b""));
        match (self, reply.error()) {
            (ProbeKind::Keys | ProbeKind::Size, Some(words)) => match Refusal::parse(words) {
                Some(refusal) => Sign::Refuses(refusal, words),
                None => Sign::Unclear,
            },
            (ProbeKind::Keys | ProbeKind::Size, None) => Sign::Serves,
            (ProbeKind::Role | ProbeKind::Script | ProbeKind::Functions, Some(_)) => Sign::Unclear,
            (ProbeKind::Role, None) => match reply.items().next().and_then(|role| role.text()) {
                Some(b"slave" | b"replica") => as_before,
                _ => Sign::Serves,
            },
            (ProbeKind::Script, None) => match reply.items().next().and_then(|own| own.integer()) {
                Some(0) => as_before,
                _ => Sign::Serves,
            },
            // Wherever the name stands in it, in either case: this errs on the safe side.
            (ProbeKind::Functions, None)
                if reply.kind() != b'_' && !contains(reply.frame(), name) =>
            {
                as_before
            }
            (ProbeKind::Functions, None) => Sign::Serves,
        }
    }
}

/// Whether `name` stands anywhere in `text`, in upper or lower case.
fn contains(text: &[u8], name: &[u8]) -> bool {
    let (text, name) = (text.to_ascii_lowercase(), name.to_ascii_lowercase());
    memchr::memmem::find(&text, &name).is_some()
}

/// Which words they are, whatever they name.
pub(in crate::proxy) fn kind(refusal: Refusal<'_>) -> u64 {
    match refusal {
        Refusal::Moved(..) => 0,
        Refusal::Ask(..) => 1,
        Refusal::TryAgain => 2,
        Refusal::Missing(_) => 3,
        Refusal::Unavailable(trouble) => 4 + trouble as u64,
    }
}
