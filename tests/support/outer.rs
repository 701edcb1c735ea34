//! An address of this machine that is not loopback, for clients that come from outside.

use std::net::{IpAddr, UdpSocket};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

/// An address that was made for one test; gone when dropped.
#[derive(Debug)]
pub struct Made(String);

/// This machine's own address, or, where it has none (a network namespace), one that is made.
pub fn address() -> Option<(IpAddr, Option<Made>)> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    // Nothing is sent: the kernel only says which address it would send from.
    if socket.connect("192.0.2.1:9").is_ok()
        && let Ok(own) = socket.local_addr()
        && !own.ip().is_loopback()
        && !own.ip().is_unspecified()
    {
        return Some((own.ip(), None));
    }
    // Of the range for tests of networks (RFC 2544), another one for each process and test.
    static COUNT: AtomicU32 = AtomicU32::new(1);
    let number = std::process::id().wrapping_mul(13) + COUNT.fetch_add(1, Ordering::Relaxed);
    let address = IpAddr::from([
        198,
        18 | (number >> 16 & 1) as u8,
        (number >> 8) as u8,
        number as u8,
    ]);
    let made = Made(format!("{address}/32"));
    ip(&["addr", "add", &made.0, "dev", "lo"]).then_some((address, Some(made)))
}

fn ip(args: &[&str]) -> bool {
    let status = Command::new("ip").args(args).status();
    status.is_ok_and(|status| status.success())
}

impl Drop for Made {
    fn drop(&mut self) {
        ip(&["addr", "del", &self.0, "dev", "lo"]);
    }
}
