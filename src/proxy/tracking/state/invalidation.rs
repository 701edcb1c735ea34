//! `Invalidation`: what a node pushes to a connection that tracks, and the same for a client.

use crate::resp::encode::{self, Protocol};
use crate::resp::reply::Reply;

/// What has changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Invalidation {
    /// These keys.
    Keys(Vec<Box<[u8]>>),
    /// Everything may have: what was read before is not known any more.
    All,
    /// Nothing; but the client of this number, which was to be told, has gone.
    Broken(u64),
}

/// The channel of which a RESP2 client hears.
const CHANNEL: &[u8] = b"__redis__:invalidate";

impl Invalidation {
    /// What a push says, if it is one of these.
    pub fn of(push: Reply<'_>) -> Option<Invalidation> {
        if push.frame().first() != Some(&b'>') {
            return None;
        }
        let mut items = push.items();
        if items.next()?.text()? != b"invalidate" {
            return None;
        }
        let keys = items.next()?;
        if keys.is_null() {
            return Some(Invalidation::All);
        }
        let keys = keys.items().filter_map(|key| key.text().map(Box::from));
        Some(Invalidation::Keys(keys.collect()))
    }

    /// Appends it as a push.
    pub fn push(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b">2\r\n");
        if let Invalidation::Broken(number) = self {
            encode::bulk(out, b"tracking-redir-broken");
            return encode::integer(out, *number as i64);
        }
        encode::bulk(out, b"invalidate");
        self.payload(out, Protocol::Resp3);
    }

    /// Appends it as a message to a RESP2 client that is subscribed.
    pub fn message(&self, out: &mut Vec<u8>) {
        if matches!(self, Invalidation::Broken(_)) {
            return;
        }
        encode::array(out, 3);
        encode::bulk(out, b"message");
        encode::bulk(out, CHANNEL);
        self.payload(out, Protocol::Resp2);
    }

    fn payload(&self, out: &mut Vec<u8>, protocol: Protocol) {
        match self {
            Invalidation::All | Invalidation::Broken(_) => encode::null(out, protocol),
            Invalidation::Keys(keys) => {
                encode::array(out, keys.len());
                keys.iter().for_each(|key| encode::bulk(out, key));
            }
        }
    }

    /// The bytes of its keys.
    pub fn key_bytes(&self) -> usize {
        match self {
            Invalidation::All | Invalidation::Broken(_) => 0,
            Invalidation::Keys(keys) => keys.iter().map(|key| key.len()).sum(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_is_what_is_written() {
        let keys = Invalidation::Keys(vec![b"a".as_slice().into(), b"".as_slice().into()]);
        for (told, frame) in [
            (Invalidation::All, ">2\r\n$10\r\ninvalidate\r\n_\r\n"),
            (
                keys,
                ">2\r\n$10\r\ninvalidate\r\n*2\r\n$1\r\na\r\n$0\r\n\r\n",
            ),
        ] {
            let mut out = Vec::new();
            told.push(&mut out);
            assert_eq!(String::from_utf8_lossy(&out), frame);
            assert_eq!(Invalidation::of(Reply::new(&out)), Some(told));
        }
    }

    #[test]
    fn other_pushes_say_nothing() {
        for frame in [
            ">2\r\n$7\r\nmessage\r\n$1\r\na\r\n",
            ">1\r\n$10\r\ninvalidate\r\n",
            ">0\r\n",
            ">2\r\n:1\r\n_\r\n",
            "|1\r\n+a\r\n+b\r\n>2\r\n$10\r\ninvalidate\r\n_\r\n",
        ] {
            assert_eq!(
                Invalidation::of(Reply::new(frame.as_bytes())),
                None,
                "{frame}"
            );
        }
    }
}
