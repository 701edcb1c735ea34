//! `Secret`: a password.

use std::fmt;

/// A password. It prints as stars and is compared in constant time.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// Wraps a password.
    pub fn new(password: impl Into<Vec<u8>>) -> Secret {
        Secret(password.into())
    }

    /// The password itself, for a handshake and nothing else.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// Whether `attempt` is this password; the time taken depends on the attempt's length only.
    pub fn matches(&self, attempt: &[u8]) -> bool {
        let mut difference = self.0.len() ^ attempt.len();
        for (index, byte) in attempt.iter().enumerate() {
            let own = if self.0.is_empty() {
                0
            } else {
                self.0[index % self.0.len()]
            };
            difference |= usize::from(own ^ byte);
        }
        std::hint::black_box(difference) == 0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}
