//! What unit tests of several modules share: numbers from a seed, and certificates.
//!
//! Not the crate `fastrand`: its generator has changed between versions, and a seed must give the same run always.

/// Has a certificate made in a folder: its name, the names it is for, for how many days.
#[cfg(feature = "tls")]
pub fn certificate(folder: &std::path::Path, args: &[&str]) {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/certificates.sh");
    let made = std::process::Command::new(script)
        .arg(folder)
        .args(args)
        .status();
    assert!(made.expect("bash and openssl").success());
}

/// A stream of numbers that is the same in each run (a linear congruential generator).
#[derive(Debug)]
pub struct Random(u64);

impl Random {
    /// The stream of a seed.
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    /// A number of 64 bits, of which the higher ones are the more random.
    pub fn next(&mut self) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        self.0
    }

    /// A number below `bound`, which is not zero.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() >> 33) as usize % bound
    }
}
