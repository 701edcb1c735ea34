//! `BigKeys`: the keys with the largest requests or replies.

use crate::resp::encode;

/// Keys that are remembered.
const KEYS: usize = 32;
/// Bytes of a key that are kept.
const KEY_BYTES_MAX: usize = 256;

#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    key: Box<[u8]>,
    bytes: u64,
    command: String,
}

/// The keys of one worker, each with its longest request or reply.
#[derive(Debug, Default)]
pub struct BigKeys(Vec<Entry>);

impl BigKeys {
    /// A request for this key, or its reply, was so long.
    pub fn note(&mut self, key: &[u8], bytes: u64, command: &str) {
        let key = &key[..key.len().min(KEY_BYTES_MAX)];
        if let Some(entry) = self.0.iter_mut().find(|entry| *entry.key == *key) {
            if bytes > entry.bytes {
                entry.bytes = bytes;
                entry.command = command.to_string();
            }
            return;
        }
        let entry = Entry {
            key: key.into(),
            bytes,
            command: command.to_string(),
        };
        if self.0.len() < KEYS {
            self.0.push(entry);
        } else if let Some(least) = self.0.iter_mut().min_by_key(|entry| entry.bytes)
            && least.bytes < bytes
        {
            *least = entry;
        }
    }

    /// The list as a reply: key, bytes and command of each, in turns.
    pub fn print(&self, reply: &mut Vec<u8>) {
        encode::array(reply, 3 * self.0.len());
        for entry in &self.0 {
            encode::bulk(reply, &entry.key);
            encode::integer(reply, entry.bytes as i64);
            encode::bulk(reply, entry.command.as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_stay() {
        let mut keys = BigKeys::default();
        for bytes in 0..100u64 {
            keys.note(format!("key:{bytes}").as_bytes(), bytes, "get");
        }
        keys.note(b"key:99", 50, "set");
        assert_eq!(keys.0.len(), KEYS);
        assert!(
            keys.0
                .iter()
                .all(|entry| entry.bytes >= 68 && entry.command == "get")
        );
    }
}
