//! `Tagged`: a request written anew, with the tag before its keys. Its memory serves one request after the other.

use crate::resp::args::{Args, Span};
use crate::resp::encode;

/// Memory that is kept for the next request, in bytes.
const KEPT: usize = 64 << 10;

/// A request that has been written anew.
#[derive(Debug, Default)]
pub struct Tagged {
    frame: Vec<u8>,
    spans: Vec<Span>,
    /// Which arguments are keys: scratch.
    pub keys: Vec<u32>,
}

impl Tagged {
    /// Begins a request of so many arguments.
    pub fn begin(&mut self, args_len: usize) {
        self.frame.clear();
        self.spans.clear();
        encode::array(&mut self.frame, args_len);
    }

    /// Appends an argument, made of these pieces.
    pub fn push(&mut self, pieces: &[&[u8]]) {
        let len: usize = pieces.iter().map(|piece| piece.len()).sum();
        self.frame.push(b'$');
        encode::decimal(&mut self.frame, len as i64);
        self.frame.extend_from_slice(b"\r\n");
        self.spans.push(Span {
            start: self.frame.len() as u32,
            len: len as u32,
        });
        pieces
            .iter()
            .for_each(|piece| self.frame.extend_from_slice(piece));
        self.frame.extend_from_slice(b"\r\n");
    }

    /// Writes a request anew, with `tag` before the arguments in `keys`, which are in ascending order.
    pub fn tag_keys(&mut self, args: &Args<'_>, tag: &[u8]) {
        let keys = std::mem::take(&mut self.keys);
        let mut next = keys.iter().map(|key| *key as usize).peekable();
        self.begin(args.len());
        for (index, argument) in args.from(0).enumerate() {
            match next.next_if_eq(&index) {
                Some(_) => self.push(&[tag, argument]),
                None => self.push(&[argument]),
            }
        }
        drop(next);
        self.keys = keys;
    }

    /// The request.
    pub fn args(&self) -> Args<'_> {
        Args::new(&self.frame, &self.spans)
    }

    /// Its bytes.
    pub fn frame(&self) -> &[u8] {
        &self.frame
    }

    /// The request has gone: memory of a large one is given back.
    pub fn settle(&mut self) {
        if self.frame.capacity() > KEPT {
            *self = Tagged::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_written_anew() {
        let mut whole = Vec::new();
        encode::command(&mut whole, [&b"MSET"[..], b"a", b"1", b"", b"2"]);
        let spans = [(8, 4), (18, 1), (25, 1), (32, 0), (38, 1)];
        let spans = spans.map(|(start, len)| Span { start, len });
        let args = Args::new(&whole, &spans);
        let mut tagged = Tagged {
            keys: vec![1, 3],
            ..Tagged::default()
        };
        tagged.tag_keys(&args, b"{n}");
        let mut expected = Vec::new();
        encode::command(&mut expected, [&b"MSET"[..], b"{n}a", b"1", b"{n}", b"2"]);
        assert_eq!(tagged.frame(), expected);
        let words: Vec<&[u8]> = tagged.args().from(0).collect();
        assert_eq!(words, [&b"MSET"[..], b"{n}a", b"1", b"{n}", b"2"]);
    }
}
