//! What the two processes of a hand-over say to each other: the kinds of frames, and what stands in those of
//! listeners and greetings.

use std::fmt;

use crate::fields::{self, FieldReader, FieldWriter, Malformed};

/// The version of the state of clients and counters. A process passes on such state only to one of the same version.
pub const VERSION: u64 = 1;

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// New to old: who wants to take over.
    Hello,
    /// Old to new: a listening socket, with its descriptor.
    Listener,
    /// Old to new: that was all; who offers it.
    Offered,
    /// Old to new: no, and why, as text.
    Refused,
    /// New to old: it could serve.
    Ready,
    /// Old to new: nobody else accepts any more. What has been counted.
    Go,
    /// New to old: it accepts.
    Serves,
    /// Old to new: the service manager knows.
    Yours,
    /// Old to new: what clients are subscribed to, by worker.
    Topics,
    /// New to old: it is subscribed to that.
    Warm,
    /// Old to new: a client, with its descriptor.
    Client,
    /// Old to new: what has been counted since `Go`.
    Counted,
}

impl Kind {
    const ALL: [Kind; 12] = [
        Kind::Hello,
        Kind::Listener,
        Kind::Offered,
        Kind::Refused,
        Kind::Ready,
        Kind::Go,
        Kind::Serves,
        Kind::Yours,
        Kind::Topics,
        Kind::Warm,
        Kind::Client,
        Kind::Counted,
    ];

    /// As it stands in a frame.
    pub fn number(self) -> u8 {
        self as u8 + 1
    }

    /// What a number in a frame means. Later versions may have others.
    pub fn of(number: u8) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.number() == number)
    }
}

/// What an address is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// `-addr`.
    Plain,
    /// `-namespace-addrs`.
    Namespace,
    /// `-tls-addr`.
    Tls,
    /// `-debug-addr`.
    Debug,
    /// `-take-over`.
    TakeOver,
}

impl Role {
    const ALL: [Role; 5] = [
        Role::Plain,
        Role::Namespace,
        Role::Tls,
        Role::Debug,
        Role::TakeOver,
    ];

    /// The flag, which is also what stands in a frame.
    pub fn flag(self) -> &'static str {
        match self {
            Role::Plain => "-addr",
            Role::Namespace => "-namespace-addrs",
            Role::Tls => "-tls-addr",
            Role::Debug => "-debug-addr",
            Role::TakeOver => "-take-over",
        }
    }
}

/// What a listening socket is for: how the next process finds those that it wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Purpose {
    /// What for.
    pub role: Role,
    /// The address as the settings have it.
    pub asked: String,
    /// Whether the process was started with it (LISTEN_FDS), instead of `-addr`.
    pub is_units: bool,
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.asked, self.role.flag())
    }
}

mod field {
    pub const ROLE: u16 = 1;
    pub const ASKED: u16 = 2;
    pub const UNITS: u16 = 3;
    pub const VERSION: u16 = 1;
    pub const WORKER: u16 = 1;
    pub const STATE: u16 = 2;
}

impl Purpose {
    /// The body of a `Listener` frame.
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = FieldWriter::default();
        writer.bytes(field::ROLE, self.role.flag().as_bytes());
        writer.bytes(field::ASKED, self.asked.as_bytes());
        writer.flag(field::UNITS, self.is_units);
        writer.finish()
    }

    /// The same, read; nothing for a role that this version does not have.
    pub fn decode(body: &[u8]) -> Result<Option<Purpose>, Malformed> {
        let mut reader = FieldReader::new(body);
        let (mut role, mut asked, mut is_units) = (None, String::new(), false);
        while let Some((name, value)) = reader.next()? {
            match name {
                field::ROLE => {
                    let mut all = Role::ALL.into_iter();
                    role = all.find(|role| role.flag().as_bytes() == value);
                }
                field::ASKED => asked = fields::text(value)?,
                field::UNITS => is_units = true,
                _ => {}
            }
        }
        Ok(role.map(|role| Purpose {
            role,
            asked,
            is_units,
        }))
    }
}

/// The body of `Hello` and `Offered`: the version of the state.
pub fn greeting(version: u64) -> Vec<u8> {
    let mut writer = FieldWriter::default();
    writer.number(field::VERSION, version);
    writer.finish()
}

/// The body of `Client`: the worker that it comes from, and its state.
pub fn client(worker: usize, state: &[u8]) -> Vec<u8> {
    let mut writer = FieldWriter::default();
    writer.number(field::WORKER, worker as u64);
    writer.bytes(field::STATE, state);
    writer.finish()
}

/// The same, read.
pub fn read_client(body: &[u8]) -> Result<(usize, &[u8]), Malformed> {
    let (mut worker, mut state) = (0, &[][..]);
    let mut reader = FieldReader::new(body);
    while let Some((name, value)) = reader.next()? {
        match name {
            field::WORKER => {
                let number = fields::number(value)?;
                worker = usize::try_from(number).map_err(|_| Malformed)?;
            }
            field::STATE => state = value,
            _ => {}
        }
    }
    Ok((worker, state))
}

/// The body of `Topics`: those of each worker.
pub fn topics(workers: &[Vec<u8>]) -> Vec<u8> {
    let mut writer = FieldWriter::default();
    for topics in workers {
        writer.bytes(field::STATE, topics);
    }
    writer.finish()
}

/// The same, read.
pub fn read_topics(body: &[u8]) -> Result<Vec<&[u8]>, Malformed> {
    let mut workers = Vec::new();
    let mut reader = FieldReader::new(body);
    while let Some((name, value)) = reader.next()? {
        workers.extend((name == field::STATE).then_some(value));
    }
    Ok(workers)
}

/// The version in such a body; 0 if there is none.
pub fn version(body: &[u8]) -> Result<u64, Malformed> {
    let mut reader = FieldReader::new(body);
    while let Some((name, value)) = reader.next()? {
        if name == field::VERSION {
            return fields::number(value);
        }
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_and_purposes_come_back() {
        for kind in Kind::ALL {
            assert_eq!(Kind::of(kind.number()), Some(kind));
        }
        assert_eq!(Kind::of(0), None);
        assert_eq!(Kind::of(200), None);
        for role in Role::ALL {
            for is_units in [false, true] {
                let purpose = Purpose {
                    role,
                    asked: "127.0.0.1:0".to_string(),
                    is_units,
                };
                assert_eq!(Purpose::decode(&purpose.encode()), Ok(Some(purpose)));
            }
        }
    }

    #[test]
    fn what_another_version_adds_is_left_out_and_garbage_is_refused() {
        let mut writer = FieldWriter::default();
        writer.bytes(field::ROLE, b"-carrier-pigeon");
        assert_eq!(Purpose::decode(&writer.finish()), Ok(None));
        let mut writer = FieldWriter::default();
        writer.bytes(900, b"news");
        writer.number(field::VERSION, 7);
        assert_eq!(version(&writer.finish()), Ok(7));
        assert_eq!(version(b""), Ok(0));
        assert_eq!(version(b"garbage"), Err(Malformed));
        assert_eq!(Purpose::decode(b"\x02\0\x01\0\0\0\xff"), Err(Malformed));
        assert_eq!(Purpose::decode(b"\x02\0\xff\xff\xff\xff"), Err(Malformed));
        assert_eq!(read_client(b"\x01\0\x01\0\0\0\x07"), Err(Malformed));
        assert_eq!(read_topics(b"\x02\0\x09\0\0\0"), Err(Malformed));
    }

    #[test]
    fn clients_and_topics_come_back_with_their_workers() {
        assert_eq!(read_client(&client(3, b"state")), Ok((3, &b"state"[..])));
        let workers = [b"one".to_vec(), Vec::new(), b"three".to_vec()];
        let body = topics(&workers);
        assert_eq!(read_topics(&body), Ok(vec![&b"one"[..], b"", b"three"]));
    }
}
