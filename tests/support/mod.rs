//! What the integration tests stand on: real redis-servers, real clusters of them, the proxy's own binary in
//! front, and a client that shows every byte.
//!
//! Everything here panics with a sentence when the ground gives way, so that a test holds only its own story.
//! Several test binaries run at once: ports are reserved across processes ([`Port`]), and whatever a test
//! process leaves behind, however it ended, is ended by its reaper ([`reaper`]).

#![allow(dead_code, unused_imports, missing_docs)]

mod client;
mod cluster;
pub mod compare;
pub mod databases;
mod elections;
pub mod fake;
pub mod ground;
pub mod http;
mod load;
pub mod module;
pub mod outer;
mod proxy;
pub mod random;
mod reaper;
mod server;
pub mod session;
mod single;
mod stalls;
#[cfg(feature = "tls")]
pub mod tls;

pub use client::{Channel, Conn, Reply, channel};
pub use cluster::{Cluster, key_in_slot, slot_of};
pub use ground::Ground;
pub use load::{Exchange, Model};
pub use proxy::Proxy;
pub use random::Random;
pub use server::{Port, Server};
pub use single::Single;
pub use stalls::Stalls;

use std::time::{Duration, Instant};

/// Asks until the answer is `Some`; panics with `what` when `limit` has passed.
#[track_caller]
pub fn wait_for<T>(what: &str, limit: Duration, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(
            Instant::now() < deadline,
            "waited {limit:?} in vain for: {what}"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Sends a signal by name (`TERM`, `STOP`, ...). The shell's own `kill`, as a bare machine has no other.
pub fn signal(pid: u32, name: &str) {
    let status = std::process::Command::new("sh")
        .args(["-c", &format!("kill -{name} {pid}")])
        .status()
        .expect("sh runs");
    assert!(status.success(), "kill -{name} {pid} failed");
}

/// Whether clients, nodes and the proxy are to speak TLS (`TEST_TLS=1`).
pub fn is_tls_wanted() -> bool {
    #[cfg(feature = "tls")]
    return tls::is_wanted();
    #[cfg(not(feature = "tls"))]
    false
}

/// What a redis-server needs for it beside its `--tls-port`.
pub fn wanted_tls_args() -> Vec<String> {
    #[cfg(feature = "tls")]
    if tls::is_wanted() {
        return tls::server_args();
    }
    Vec::new()
}
