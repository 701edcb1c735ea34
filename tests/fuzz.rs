//! Fuzzing: bytes of a hostile peer, and of a careless user, against every parser that reads them; nodes that say hostile
//! things before a whole `Proxy`; records before the TLS transport; and the same bytes to a redis-server and to the real
//! proxy. `make fuzz MINUTES=10`; in CI a minute for each.
//!
//! Each target has generators that make many small elements, deep nests and long lines; a corpus in
//! `tests/fuzz/corpus`; and a cost oracle: the processor time per byte may not grow with the length, so a path that is
//! quadratic is a finding as a panic is. A finding is written to `target/fuzz`, with a line that says what to do.
//!
//! These are ordinary tests, on the stable compiler, with generators instead of coverage: libFuzzer needs a nightly
//! compiler, which CI and most users do not have. Coverage finds odd branches; shapes find costs, and these parsers
//! are small enough for generated input to reach every branch.
//!
//! `FUZZ_SECONDS` is the time for each target, `FUZZ_SEED` where the inputs begin.

#[path = "fuzz/cost.rs"]
mod cost;
#[path = "fuzz/differential.rs"]
mod differential;
#[path = "fuzz/generate.rs"]
mod generate;
#[path = "fuzz/redirects.rs"]
mod redirects;
mod support;
#[path = "fuzz/targets.rs"]
mod targets;
#[cfg(feature = "tls")]
#[path = "fuzz/tls.rs"]
mod tls;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use fastrand::Rng;

/// What is fuzzed.
struct Target {
    name: &'static str,
    /// Input of about so many bytes; the number chooses one of the shapes.
    generate: fn(&mut Rng, usize, usize) -> Vec<u8>,
    /// How many shapes there are.
    shapes: usize,
    /// Panics if the answer to these bytes is wrong.
    check: fn(&[u8], &mut Rng),
    /// Works on these bytes once, as the proxy does: what it costs is measured.
    work: fn(&[u8]),
}

fn number(name: &str, default: u64) -> u64 {
    let given = std::env::var(name).ok();
    given.map_or(default, |text| text.parse().expect(name))
}

/// What is in the corpus for this target, in the order of the names.
fn corpus(target: &Target) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus");
    let entries = std::fs::read_dir(folder.join(target.name)).expect("a corpus");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("a name").path()).collect();
    paths.sort();
    assert!(!paths.is_empty(), "{} has no corpus", target.name);
    let read = |path: PathBuf| {
        let bytes = std::fs::read(&path).expect("a file");
        (path, bytes)
    };
    paths.into_iter().map(read).collect()
}

/// Checks one input. Returns what is wrong.
fn finding(target: &Target, input: &[u8], seed: u64) -> Option<String> {
    let run = AssertUnwindSafe(|| (target.check)(input, &mut Rng::with_seed(seed)));
    let panic = catch_unwind(run).err()?;
    let text = panic.downcast_ref::<String>().cloned();
    let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| text.to_string()));
    Some(text.unwrap_or_else(|| "a panic".to_string()))
}

fn check(target: &Target, input: &[u8], seed: u64, from: &str) {
    let Some(text) = finding(target, input, seed) else {
        return;
    };
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/fuzz");
    std::fs::create_dir_all(&folder).expect("a folder");
    let path = folder.join(format!("{}-{seed:x}", target.name));
    std::fs::write(&path, input).expect("written");
    panic!(
        "{} ({from}, seed {seed}): {text}\nThe input is in {}. Mend the parser, and keep the input in \
         tests/fuzz/corpus/{}: it is then checked by every run.",
        target.name,
        path.display(),
        target.name
    );
}

fn fuzz(target: &Target) {
    let known = corpus(target);
    for (path, input) in &known {
        for seed in 0..8 {
            check(target, input, seed, &path.display().to_string());
        }
    }
    for shape in 0..target.shapes {
        cost::check_linear(target, shape);
    }
    let start = number("FUZZ_SEED", 1);
    let limit = Duration::from_secs(number("FUZZ_SECONDS", 2));
    let begun = Instant::now();
    let mut seed = start;
    // Some runs, however slow the machine is.
    while begun.elapsed() < limit || seed < start + 50 {
        let mut rng = Rng::with_seed(seed);
        let mut input = match rng.u8(..4) {
            0 => rng
                .choice(&known)
                .map(|(_, bytes)| bytes.clone())
                .unwrap_or_default(),
            _ => {
                let (shape, len) = (rng.usize(..target.shapes), rng.usize(1..4096));
                (target.generate)(&mut rng, shape, len)
            }
        };
        for _ in 0..rng.usize(..6) {
            let other = &known[rng.usize(..known.len())].1;
            generate::mutate(&mut rng, &mut input, other);
        }
        check(target, &input, seed, "generated");
        seed += 1;
    }
    println!(
        "{}: {} inputs in {:?}",
        target.name,
        seed - start,
        begun.elapsed()
    );
}

#[test]
fn requests() {
    fuzz(&targets::REQUESTS);
}

#[test]
fn replies() {
    fuzz(&targets::REPLIES);
}

#[test]
fn inline_requests() {
    fuzz(&targets::INLINE);
}

#[test]
fn topology_answers() {
    fuzz(&targets::TOPOLOGY);
}

#[test]
fn refusals() {
    fuzz(&targets::REFUSALS);
}

#[test]
fn flags() {
    fuzz(&targets::FLAGS);
}

#[test]
fn proxy_headers() {
    fuzz(&targets::PROXY_HEADERS);
}

#[test]
fn acl_files() {
    fuzz(&targets::ACL);
}

#[test]
fn redirects_before_a_proxy() {
    fuzz(&redirects::REDIRECTS);
}

#[test]
fn beside_a_server() {
    fuzz(&differential::DIFFERENTIAL);
}

#[cfg(feature = "tls")]
#[test]
fn tls_streams() {
    fuzz(&tls::TLS);
}

/// The cost oracle itself: it finds a quadratic path.
#[test]
#[should_panic(expected = "times as much for each byte")]
fn a_quadratic_path_is_found() {
    let target = Target {
        work: |bytes| {
            // Each piece that comes is looked at together with all before.
            for end in (0..bytes.len()).step_by(4096) {
                let zeros = bytes[..end].iter().filter(|byte| **byte == 0).count();
                std::hint::black_box(zeros);
            }
        },
        ..targets::REQUESTS
    };
    cost::check_linear(&target, 0);
}
