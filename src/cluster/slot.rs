//! `Slot`: the hash slot of a key.
//!
//! Rule: CRC16 (XMODEM) of the key modulo 16384; if the key has a `{` and a later `}` with something
//! between them, only that something is hashed (Redis Cluster specification, "Hash tags").

/// How many slots a cluster has.
pub const SLOTS: usize = 16384;

/// A hash slot, 0 to 16383.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(u16);

impl Slot {
    /// The slot of a key.
    #[inline]
    pub fn of(key: &[u8]) -> Slot {
        let (crc, may_have_tag) = crc16_and_braces(key);
        let crc = if may_have_tag { crc16(tag(key)) } else { crc };
        Slot(crc % SLOTS as u16)
    }

    /// The slot with this number, if there is one.
    pub fn new(number: u16) -> Option<Slot> {
        ((number as usize) < SLOTS).then_some(Slot(number))
    }

    /// Its number, always less than [`SLOTS`].
    #[inline]
    pub fn index(self) -> usize {
        self.0 as usize
    }

    /// Its number.
    #[inline]
    pub fn number(self) -> u16 {
        self.0
    }
}

/// The CRC of a key as it is, and whether there may be a `{` in it, in one pass, since most keys have none. It is looked
/// for eight bytes at a time: a byte of the difference that is zero borrows into its high bit. (So do bytes beyond ASCII,
/// which is not worth two more steps: whoever is told "maybe" looks again.)
#[inline(always)]
fn crc16_and_braces(key: &[u8]) -> (u16, bool) {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let (words, rest) = key.as_chunks::<8>();
    let (mut crc, mut borrowed) = (0, 0);
    for word in words {
        let difference = u64::from_le_bytes(*word) ^ (ONES * b'{' as u64);
        borrowed |= difference.wrapping_sub(ONES);
        crc = crc_of_word(crc, word);
    }
    let mut may_have_tag = borrowed & (ONES * 0x80) != 0;
    for &byte in rest {
        may_have_tag |= byte == b'{';
        crc = crc_of_byte(crc, byte);
    }
    (crc, may_have_tag)
}

/// The part of a key that is hashed.
#[cold]
fn tag(key: &[u8]) -> &[u8] {
    let Some(open) = memchr::memchr(b'{', key) else {
        return key;
    };
    let rest = &key[open + 1..];
    match memchr::memchr(b'}', rest) {
        Some(0) | None => key,
        Some(close) => &rest[..close],
    }
}

/// Slice-by-8 tables: `TABLES[k][b]` is the CRC of byte `b` followed by `k` zero bytes.
static TABLES: [[u16; 256]; 8] = tables();

const fn tables() -> [[u16; 256]; 8] {
    let mut tables = [[0u16; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = (byte as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 != 0 {
                (crc << 1) ^ 0x1021
            } else {
                crc << 1
            };
            bit += 1;
        }
        tables[0][byte] = crc;
        byte += 1;
    }
    let mut k = 1;
    while k < 8 {
        let mut byte = 0;
        while byte < 256 {
            let previous = tables[k - 1][byte];
            tables[k][byte] = (previous << 8) ^ tables[0][(previous >> 8) as usize];
            byte += 1;
        }
        k += 1;
    }
    tables
}

/// CRC16/XMODEM, eight bytes a step: a sixteen-byte key costs a third of the byte-wise loop of the `crc16`
/// crate, which stays the reference (test below).
fn crc16(bytes: &[u8]) -> u16 {
    crc16_and_braces(bytes).0
}

/// What a CRC becomes by eight bytes more.
#[inline(always)]
fn crc_of_word(crc: u16, word: &[u8; 8]) -> u16 {
    TABLES[7][(word[0] ^ (crc >> 8) as u8) as usize]
        ^ TABLES[6][(word[1] ^ crc as u8) as usize]
        ^ TABLES[5][word[2] as usize]
        ^ TABLES[4][word[3] as usize]
        ^ TABLES[3][word[4] as usize]
        ^ TABLES[2][word[5] as usize]
        ^ TABLES[1][word[6] as usize]
        ^ TABLES[0][word[7] as usize]
}

/// What a CRC becomes by one byte more.
#[inline(always)]
fn crc_of_byte(crc: u16, byte: u8) -> u16 {
    (crc << 8) ^ TABLES[0][((crc >> 8) as u8 ^ byte) as usize]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Random;

    #[test]
    fn agrees_with_the_reference_on_every_length() {
        let mut bytes = Vec::new();
        let mut random = Random::new(1);
        for _ in 0..300 {
            let reference = crc16::State::<crc16::XMODEM>::calculate(&bytes);
            assert_eq!(crc16(&bytes), reference, "{} bytes", bytes.len());
            bytes.push(random.below(256) as u8);
        }
        assert_eq!(crc16(b"123456789"), 0x31C3);
    }

    #[test]
    fn hashes_the_tag_only() {
        let same = |a: &str, b: &str| assert_eq!(Slot::of(a.as_bytes()), Slot::of(b.as_bytes()));
        same("{user1000}.following", "user1000");
        same("foo{bar}{zap}", "bar");
        assert_eq!(tag(b"foo{}{bar}"), b"foo{}{bar}");
        assert_eq!(tag(b"foo{{bar}}zap"), b"{bar");
        assert_eq!(tag(b"foo{bar"), b"foo{bar");
        assert_eq!(tag(b"}foo{bar}"), b"bar");
        assert_eq!(Slot::of(b"foo").number(), 12182);
    }

    #[test]
    fn a_tag_is_found_wherever_it_is() {
        for front in 0..40 {
            for back in 0..20 {
                let key = |tag: &str, filler: &str| {
                    format!("{}{tag}{}", filler.repeat(front), filler.repeat(back))
                };
                for filler in ["x", "\u{fb}", "z", "|"] {
                    assert_eq!(Slot::of(key("{bar}", filler).as_bytes()), Slot::of(b"bar"));
                    let plain = key("", filler);
                    let reference = crc16::State::<crc16::XMODEM>::calculate(plain.as_bytes());
                    assert_eq!(
                        Slot::of(plain.as_bytes()).number(),
                        reference % SLOTS as u16
                    );
                }
            }
        }
    }
}
