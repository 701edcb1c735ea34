//! `Packed`: a command name as two integers, so that names are compared at once and without regard to case.

/// A name in lower case, packed: all of it up to 16 bytes, else its ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Packed {
    front: u64,
    back: u64,
    len: u32,
    parent: u16,
}

impl Packed {
    /// Packs the name of a command, or of a subcommand within its parent.
    #[inline]
    pub(super) fn new(parent: u16, name: &[u8]) -> Packed {
        let (front, back) = match *name {
            [] => (0, 0),
            [a] => (u64::from(a), 0),
            [a, b] => (u64::from_le_bytes([a, b, 0, 0, 0, 0, 0, 0]), 0),
            [a, b, c] => (u64::from_le_bytes([a, b, c, 0, 0, 0, 0, 0]), 0),
            _ => match (name.first_chunk(), name.last_chunk()) {
                (Some(front), Some(back)) => {
                    (u64::from_le_bytes(*front), u64::from_le_bytes(*back))
                }
                // Four to seven bytes: the two words overlap.
                _ => (word(name.first_chunk()), word(name.last_chunk())),
            },
        };
        Packed {
            front: lower(front),
            back: lower(back),
            len: name.len().min(u32::MAX as usize) as u32,
            parent,
        }
    }

    /// Whether all of the name is in it: what is equal to it then has the same name.
    #[inline]
    pub(super) fn is_whole(self) -> bool {
        self.len <= 16
    }

    /// Where to look for it first.
    #[inline]
    pub(super) fn hash(self) -> usize {
        let salt = u64::from(self.len) << 16 | u64::from(self.parent);
        let front = (self.front ^ salt.rotate_left(40)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let back = (self.back ^ salt).wrapping_mul(0xc2b2_ae3d_27d4_eb4f);
        let mixed = front.rotate_left(29) ^ back;
        (mixed.wrapping_mul(0xff51_afd7_ed55_8ccd) >> 40) as usize
    }
}

/// Four bytes as a number; none as 0.
#[inline]
fn word(bytes: Option<&[u8; 4]>) -> u64 {
    bytes.map_or(0, |bytes| u64::from(u32::from_le_bytes(*bytes)))
}

/// The eight bytes of a word with `A` to `Z` made `a` to `z`.
#[inline]
fn lower(word: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let low = word & (0x7f * ONES);
    // The high bit of each byte: from `A` on; beyond `Z`; below 128. No byte carries into the next.
    let from_a = low + (0x80 - b'A' as u64) * ONES;
    let beyond_z = low + (0x7f - b'Z' as u64) * ONES;
    let upper = from_a & !beyond_z & !word & (0x80 * ONES);
    word | upper >> 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_letters_change_their_case() {
        for byte in 0..=255u8 {
            let expected = u64::from(byte.to_ascii_lowercase());
            for shift in [0, 24, 56] {
                assert_eq!(lower(u64::from(byte) << shift), expected << shift, "{byte}");
            }
        }
        assert_eq!(lower(u64::MAX), u64::MAX);
    }

    #[test]
    fn names_of_any_length_keep_their_ends() {
        let name = b"abcdefghijklmnopqrstuvwxyz";
        for len in 0..name.len() {
            let (name, upper) = (&name[..len], name[..len].to_ascii_uppercase());
            assert_eq!(Packed::new(1, name), Packed::new(1, &upper));
            assert_ne!(Packed::new(1, name), Packed::new(2, name));
            for index in 0..len.min(16) {
                let mut other = name.to_vec();
                other[index] = b'?';
                let seen = index < 8 || index + 8 >= len;
                assert_eq!(Packed::new(1, name) != Packed::new(1, &other), seen);
            }
        }
    }
}
