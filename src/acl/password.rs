//! `Hash`: a password as it is kept: its SHA-256, which is compared in constant time.

use std::fmt;

use rustix::rand::{GetRandomFlags, getrandom};
use sha2::{Digest, Sha256};

/// The SHA-256 of a password.
#[derive(Clone, Copy)]
pub struct Hash([u8; 32]);

impl Hash {
    /// Of a password.
    pub fn of(password: &[u8]) -> Hash {
        Hash(Sha256::digest(password).into())
    }

    /// Of 64 hexadecimal digits, which are lower case.
    pub fn from_hex(text: &[u8]) -> Option<Hash> {
        let digit = |byte: u8| match byte {
            b'0'..=b'9' => Some(byte - b'0'),
            b'a'..=b'f' => Some(byte - b'a' + 10),
            _ => None,
        };
        let mut bytes = [0; 32];
        if text.len() != 2 * bytes.len() {
            return None;
        }
        for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
            *byte = digit(pair[0])? << 4 | digit(pair[1])?;
        }
        Some(Hash(bytes))
    }

    /// As 64 hexadecimal digits.
    pub fn hex(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// The time taken does not depend on what the hashes are.
impl PartialEq for Hash {
    fn eq(&self, other: &Hash) -> bool {
        let pairs = self.0.iter().zip(&other.0);
        let difference = pairs.fold(0, |difference, (own, other)| difference | (own ^ other));
        std::hint::black_box(difference) == 0
    }
}

impl Eq for Hash {}

/// A hash is no password, and yet a weak password is soon found by its hash.
impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// So many hexadecimal digits that nobody can guess; nothing if the system has none.
pub fn random_digits(count: usize) -> Option<String> {
    let mut bytes = vec![0; count.div_ceil(2)];
    let mut filled = 0;
    while filled < bytes.len() {
        filled += getrandom(&mut bytes[filled..], GetRandomFlags::empty()).ok()?;
    }
    let mut digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    digits.truncate(count);
    Some(digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_written_as_redis_writes_it() {
        let hex = "30c952fab122c3f9759f02a6d95c3758b246b4fee239957b2d4fee46e26170c4";
        assert_eq!(Hash::of(b"pw").hex(), hex);
        assert_eq!(Hash::from_hex(hex.as_bytes()), Some(Hash::of(b"pw")));
        for wrong in [&hex[1..], &hex.to_uppercase(), &format!("{hex}0"), ""] {
            assert_eq!(Hash::from_hex(wrong.as_bytes()), None, "{wrong}");
        }
        assert_ne!(Hash::of(b"pw"), Hash::of(b"px"));
        assert_eq!(format!("{:?}", Hash::of(b"pw")), "***");
    }
}
