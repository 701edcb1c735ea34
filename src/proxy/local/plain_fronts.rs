//! `Fronts`: how plain requests have begun lately, up to their first argument.
//!
//! What stands before a key is one of a few texts again and again: `*2\r\n$3\r\nGET\r\n$16\r\n`. One that is known need not be
//! read: three words are compared, and what it says is at hand.
//!
//! It must never know what a front says; whoever keeps one says that.

/// How many fronts are kept; a power of two.
const KEPT: usize = 64;
/// Bytes that are compared.
const WORDS: usize = 3 * 8;
/// A front of fewer bytes is not kept: the words before the last are compared whole.
const LEN_MIN: usize = 2 * 8;

/// What a front says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Front {
    /// Where the shape of its command is.
    pub place: u16,
    /// Arguments, the name included.
    pub args_len: u8,
    /// Bytes up to the first argument behind the name.
    pub len: u8,
    /// Bytes of that argument.
    pub key_len: u32,
}

/// A front and what it says.
#[derive(Debug, Clone, Copy)]
struct Kept {
    words: [u64; 3],
    /// The bytes of the last word that are the front's.
    mask: u64,
    front: Front,
}

/// Nothing: should it be found, its argument is longer than any that there is.
const EMPTY: Kept = Kept {
    words: [0; 3],
    mask: 0,
    front: Front {
        place: 0,
        args_len: 0,
        len: 0,
        key_len: u32::MAX,
    },
};

/// The fronts that came last.
#[derive(Debug)]
pub struct Fronts(Box<[Kept; KEPT]>);

/// The words that a front lies in, and where it is kept. Of the last word only two bytes decide: behind the front is a key.
#[inline(always)]
fn words(bytes: &[u8; WORDS]) -> ([u64; 3], usize) {
    let ([a, b, c], []) = bytes.as_chunks::<8>() else {
        return ([0; 3], 0);
    };
    let words = [a, b, c].map(|word| u64::from_le_bytes(*word));
    let mixed = words[0] ^ words[1] ^ u64::from(words[2] as u16);
    let hash = mixed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (words, (hash >> (64 - KEPT.trailing_zeros())) as usize)
}

impl Default for Fronts {
    fn default() -> Fronts {
        Fronts(Box::new([EMPTY; KEPT]))
    }
}

impl Fronts {
    /// What the front of these bytes says, if it is known.
    #[inline(always)]
    pub fn find(&self, bytes: &[u8]) -> Option<Front> {
        let (words, at) = words(bytes.first_chunk()?);
        let kept = &self.0[at];
        let differs = (words[0] ^ kept.words[0])
            | (words[1] ^ kept.words[1])
            | (words[2] ^ kept.words[2]) & kept.mask;
        (differs == 0).then_some(kept.front)
    }

    /// The front of these bytes says this.
    pub fn keep(&mut self, bytes: &[u8], front: Front) {
        let len = usize::from(front.len);
        if let Some(first) = bytes.first_chunk()
            && (LEN_MIN..=WORDS).contains(&len)
        {
            let (words, at) = words(first);
            let bits = 8 * (len - LEN_MIN) as u32;
            let mask = 1u64.checked_shl(bits).map_or(u64::MAX, |end| end - 1);
            self.0[at] = Kept { words, mask, front };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_front_is_known_by_all_of_its_bytes_and_by_no_others() {
        for name in ["GET", "HGET", "LPUSH", "EXISTS", "SETRANGE"] {
            for key_len in [1, 7, 16, 99, 100, 1000] {
                let text = format!("*2\r\n${}\r\n{name}\r\n${key_len}\r\n", name.len());
                let front = Front {
                    place: 3,
                    args_len: 2,
                    len: text.len() as u8,
                    key_len,
                };
                let mut fronts = Fronts::default();
                let bytes = [text.as_bytes(), b"key:012345678"].concat();
                assert_eq!(fronts.find(&bytes), None);
                fronts.keep(&bytes, front);
                let is_kept = (LEN_MIN..=WORDS).contains(&text.len());
                assert_eq!(fronts.find(&bytes), is_kept.then_some(front), "{text}");
                assert_eq!(fronts.find(&bytes[..WORDS - 1]), None);
                for at in 0..text.len() {
                    for byte in (0..=255).filter(|byte| *byte != bytes[at]) {
                        let mut other = bytes.clone();
                        other[at] = byte;
                        assert_eq!(fronts.find(&other), None, "{text} {at} {byte}");
                    }
                }
            }
        }
    }

    #[test]
    fn what_is_behind_a_front_is_no_part_of_it() {
        let mut fronts = Fronts::default();
        let front = Front {
            len: 18,
            ..EMPTY.front
        };
        fronts.keep(b"*2\r\n$3\r\nGET\r\n$16\r\nkey:00", front);
        assert_eq!(
            fronts.find(b"*2\r\n$3\r\nGET\r\n$16\r\nabcdefgh"),
            Some(front)
        );
        // Before any were kept only zeros are found, and they have no argument.
        assert_eq!(Fronts::default().find(&[0; WORDS]), Some(EMPTY.front));
        assert_eq!(Fronts::default().find(&[b'*'; WORDS]), None);
    }
}
