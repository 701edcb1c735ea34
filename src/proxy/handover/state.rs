//! `MovedClient`: one client as the process that takes over needs it, as plain data and in bytes.
//!
//! It belongs to a version of the state (`handover::message::VERSION`): a field that changes its meaning needs another.
//! It must never know a descriptor.

use std::net::SocketAddr;

use crate::config::Secret;
use crate::fields::{self, FieldReader, FieldWriter, Malformed};
use crate::proxy::client::session::Identity;
use crate::proxy::pipeline::client_reply::ClientReply;
use crate::proxy::pubsub::state::kind::Kind;
use crate::proxy::pubsub::state::overlap::Told;
use crate::resp::encode::Protocol;

/// One client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MovedClient {
    /// `CLIENT ID`.
    pub number: u64,
    /// Where it comes from; nothing for a Unix socket.
    pub address: Option<SocketAddr>,
    /// The namespace that it is in, by its tag.
    pub namespace: Option<Vec<u8>>,
    /// That of the listener that it has come to.
    pub listener_namespace: Option<Vec<u8>>,
    /// The name of the user that it has logged in as; nothing if it has not had to, or has not.
    pub user: Option<Vec<u8>>,
    /// Its password at the servers, if they are the judges.
    pub password: Option<Secret>,
    /// What it speaks.
    pub protocol: Protocol,
    /// `SELECT`.
    pub database: u16,
    /// `MONITOR`.
    pub monitor: bool,
    /// `CLIENT NO-EVICT`.
    pub no_evict: bool,
    /// `CLIENT NO-TOUCH`.
    pub no_touch: bool,
    /// `PROXY CACHE OFF`.
    pub is_cache_off: bool,
    /// Whether it has asked for the debugger of scripts.
    pub wants_debugger: bool,
    /// `CLIENT REPLY`.
    pub client_reply: ClientReply,
    /// `CLIENT SETNAME`, `CLIENT SETINFO`.
    pub identity: Identity,
    /// What it is subscribed to, as the nodes know it.
    pub topics: Vec<(Kind, Vec<u8>)>,
    /// What it has been told last of each of them, by its place, as far as that was noted.
    pub told: Vec<(usize, Told)>,
    /// Bytes that have come from it and gone to it.
    pub traffic: (u64, u64),
    /// What it has sent and is not executed.
    pub input: Vec<u8>,
}

mod field {
    pub const NUMBER: u16 = 1;
    pub const ADDRESS: u16 = 2;
    pub const NAMESPACE: u16 = 3;
    pub const USER: u16 = 4;
    pub const RESP3: u16 = 5;
    pub const DATABASE: u16 = 6;
    pub const MONITOR: u16 = 7;
    pub const NO_EVICT: u16 = 8;
    pub const NO_TOUCH: u16 = 9;
    pub const DEBUGGER: u16 = 10;
    pub const REPLY_OFF: u16 = 11;
    pub const REPLY_SKIP: u16 = 12;
    pub const NAME: u16 = 13;
    pub const LIB_NAME: u16 = 14;
    pub const LIB_VER: u16 = 15;
    pub const CHANNEL: u16 = 16;
    pub const PATTERN: u16 = 17;
    pub const SHARD: u16 = 18;
    pub const BYTES_IN: u16 = 19;
    pub const BYTES_OUT: u16 = 20;
    pub const INPUT: u16 = 21;
    pub const LISTENER_NAMESPACE: u16 = 22;
    pub const CACHE_OFF: u16 = 23;
    pub const PASSWORD: u16 = 24;
    pub const TOLD: u16 = 25;
}

fn field_of(kind: Kind) -> u16 {
    match kind {
        Kind::Channel => field::CHANNEL,
        Kind::Pattern => field::PATTERN,
        Kind::Shard => field::SHARD,
    }
}

impl Default for MovedClient {
    fn default() -> MovedClient {
        MovedClient {
            number: 0,
            address: None,
            namespace: None,
            listener_namespace: None,
            user: None,
            password: None,
            protocol: Protocol::Resp2,
            database: 0,
            monitor: false,
            no_evict: false,
            no_touch: false,
            is_cache_off: false,
            wants_debugger: false,
            client_reply: ClientReply::On,
            identity: Identity::default(),
            topics: Vec::new(),
            told: Vec::new(),
            traffic: (0, 0),
            input: Vec::new(),
        }
    }
}

impl MovedClient {
    /// In bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = FieldWriter::default();
        writer.number(field::NUMBER, self.number);
        if let Some(address) = self.address {
            writer.bytes(field::ADDRESS, address.to_string().as_bytes());
        }
        if let Some(tag) = &self.namespace {
            writer.bytes(field::NAMESPACE, tag);
        }
        if let Some(tag) = &self.listener_namespace {
            writer.bytes(field::LISTENER_NAMESPACE, tag);
        }
        if let Some(user) = &self.user {
            writer.bytes(field::USER, user);
        }
        if let Some(password) = &self.password {
            writer.bytes(field::PASSWORD, password.expose());
        }
        writer.flag(field::RESP3, self.protocol == Protocol::Resp3);
        writer.number(field::DATABASE, u64::from(self.database));
        writer.flag(field::MONITOR, self.monitor);
        writer.flag(field::NO_EVICT, self.no_evict);
        writer.flag(field::NO_TOUCH, self.no_touch);
        writer.flag(field::CACHE_OFF, self.is_cache_off);
        writer.flag(field::DEBUGGER, self.wants_debugger);
        writer.flag(field::REPLY_OFF, self.client_reply == ClientReply::Off);
        let skips = self.client_reply == ClientReply::SkipNext;
        writer.flag(field::REPLY_SKIP, skips);
        writer.bytes(field::NAME, &self.identity.name);
        writer.bytes(field::LIB_NAME, &self.identity.lib_name);
        writer.bytes(field::LIB_VER, &self.identity.lib_ver);
        for (kind, name) in &self.topics {
            writer.bytes(field_of(*kind), name);
        }
        for (place, hashes) in &self.told {
            let numbers = std::iter::once(*place as u64).chain(hashes.iter().copied());
            let bytes: Vec<u8> = numbers.flat_map(u64::to_le_bytes).collect();
            writer.bytes(field::TOLD, &bytes);
        }
        writer.number(field::BYTES_IN, self.traffic.0);
        writer.number(field::BYTES_OUT, self.traffic.1);
        writer.bytes(field::INPUT, &self.input);
        writer.finish()
    }

    /// From bytes.
    pub fn decode(bytes: &[u8]) -> Result<MovedClient, Malformed> {
        let mut client = MovedClient::default();
        let mut reader = FieldReader::new(bytes);
        while let Some((field, value)) = reader.next()? {
            match field {
                field::NUMBER => client.number = fields::number(value)?,
                field::ADDRESS => {
                    let text = fields::text(value)?;
                    client.address = Some(text.parse().map_err(|_| Malformed)?);
                }
                field::NAMESPACE => client.namespace = Some(value.to_vec()),
                field::LISTENER_NAMESPACE => client.listener_namespace = Some(value.to_vec()),
                field::USER => client.user = Some(value.to_vec()),
                field::PASSWORD => client.password = Some(Secret::new(value)),
                field::RESP3 => client.protocol = Protocol::Resp3,
                field::DATABASE => {
                    let number = fields::number(value)?;
                    client.database = u16::try_from(number).map_err(|_| Malformed)?;
                }
                field::MONITOR => client.monitor = true,
                field::NO_EVICT => client.no_evict = true,
                field::NO_TOUCH => client.no_touch = true,
                field::CACHE_OFF => client.is_cache_off = true,
                field::DEBUGGER => client.wants_debugger = true,
                field::REPLY_OFF => client.client_reply = ClientReply::Off,
                field::REPLY_SKIP => client.client_reply = ClientReply::SkipNext,
                field::NAME => client.identity.name = value.to_vec(),
                field::LIB_NAME => client.identity.lib_name = value.to_vec(),
                field::LIB_VER => client.identity.lib_ver = value.to_vec(),
                field::CHANNEL => client.topics.push((Kind::Channel, value.to_vec())),
                field::PATTERN => client.topics.push((Kind::Pattern, value.to_vec())),
                field::SHARD => client.topics.push((Kind::Shard, value.to_vec())),
                field::TOLD => client.told.push(told_of(value)?),
                field::BYTES_IN => client.traffic.0 = fields::number(value)?,
                field::BYTES_OUT => client.traffic.1 = fields::number(value)?,
                field::INPUT => client.input = value.to_vec(),
                _ => {}
            }
        }
        Ok(client)
    }
}

/// The place of a topic, and hashes of its last messages.
fn told_of(value: &[u8]) -> Result<(usize, Told), Malformed> {
    let (numbers, rest) = value.as_chunks::<8>();
    let mut numbers = numbers.iter().map(|bytes| u64::from_le_bytes(*bytes));
    let place = numbers.next().filter(|_| rest.is_empty());
    let place = place.and_then(|place| usize::try_from(place).ok());
    Ok((place.ok_or(Malformed)?, numbers.collect()))
}

/// Names that clients are subscribed to, in bytes.
pub fn encode_topics<'a>(topics: impl Iterator<Item = (Kind, &'a [u8])>) -> Vec<u8> {
    let mut writer = FieldWriter::default();
    for (kind, name) in topics {
        writer.bytes(field_of(kind), name);
    }
    writer.finish()
}

/// The same, from bytes.
pub fn decode_topics(bytes: &[u8]) -> Result<Vec<(Kind, Vec<u8>)>, Malformed> {
    let mut topics = Vec::new();
    let mut reader = FieldReader::new(bytes);
    while let Some((field, value)) = reader.next()? {
        let kind = Kind::ALL.into_iter().find(|kind| field_of(*kind) == field);
        topics.extend(kind.map(|kind| (kind, value.to_vec())));
    }
    Ok(topics)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Random;

    fn full() -> MovedClient {
        MovedClient {
            number: u64::MAX,
            address: Some("[::1]:7".parse().unwrap()),
            namespace: Some(b"{jobs}".to_vec()),
            listener_namespace: Some(b"{cache}".to_vec()),
            user: Some(b"al ice\r\n".to_vec()),
            password: Some(Secret::new("p\0w")),
            protocol: Protocol::Resp3,
            database: 15,
            monitor: true,
            no_evict: true,
            no_touch: true,
            is_cache_off: true,
            wants_debugger: true,
            client_reply: ClientReply::Off,
            identity: Identity {
                name: b"me".to_vec(),
                lib_name: b"lib".to_vec(),
                lib_ver: b"1".to_vec(),
            },
            topics: Kind::ALL.map(|kind| (kind, b"a\0b".to_vec())).to_vec(),
            told: vec![(2, vec![1, u64::MAX]), (0, Vec::new())],
            traffic: (7, 8),
            input: b"*1\r\n$4\r\nPI".to_vec(),
        }
    }

    #[test]
    fn a_client_comes_back_from_bytes() {
        for client in [
            full(),
            MovedClient::default(),
            MovedClient {
                client_reply: ClientReply::SkipNext,
                ..full()
            },
        ] {
            assert_eq!(MovedClient::decode(&client.encode()), Ok(client));
        }
        let topics = full().topics;
        let named = topics.iter().map(|(kind, name)| (*kind, &name[..]));
        assert_eq!(decode_topics(&encode_topics(named)), Ok(topics));
    }

    #[test]
    fn what_a_later_version_adds_is_left_out() {
        let mut bytes = full().encode();
        let mut writer = FieldWriter::default();
        writer.bytes(999, b"news");
        bytes.extend(writer.finish());
        assert_eq!(MovedClient::decode(&bytes), Ok(full()));
    }

    #[test]
    fn garbage_is_refused_or_read_and_never_panics() {
        let bytes = full().encode();
        for length in 0..bytes.len() {
            MovedClient::decode(&bytes[..length]).ok();
            decode_topics(&bytes[..length]).ok();
        }
        let mut random = Random::new(5);
        for _ in 0..20_000 {
            let mut other = bytes.clone();
            for _ in 0..=random.below(3) {
                let at = random.below(other.len());
                other[at] = random.next() as u8;
            }
            MovedClient::decode(&other).ok();
        }
        for (field, value) in [
            (field::ADDRESS, &b"nowhere"[..]),
            (field::DATABASE, &[0xff; 8]),
            (field::NUMBER, b"7"),
            (field::TOLD, b""),
            (field::TOLD, b"123456789"),
        ] {
            let mut writer = FieldWriter::default();
            writer.bytes(field, value);
            let decoded = MovedClient::decode(&writer.finish());
            assert_eq!(decoded, Err(Malformed), "field {field}");
        }
    }
}
