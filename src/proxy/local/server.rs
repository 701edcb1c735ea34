//! Commands about the server to which clients believe they are connected.

use std::time::{SystemTime, UNIX_EPOCH};

use super::{After, Context};
use crate::resp::args::Args;
use crate::resp::encode;

/// `TIME`: the wall clock is read for the client's eyes only, nothing is decided by it.
pub fn time(_: &mut Context<'_>, _: &Args<'_>, out: &mut Vec<u8>) -> After {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    encode::array(out, 2);
    encode::bulk(out, now.as_secs().to_string().as_bytes());
    encode::bulk(out, now.subsec_micros().to_string().as_bytes());
    After::Go
}

/// A master without replicas: what the client sees.
pub fn role(_: &mut Context<'_>, _: &Args<'_>, out: &mut Vec<u8>) -> After {
    encode::array(out, 3);
    encode::bulk(out, b"master");
    encode::integer(out, 0);
    encode::array(out, 0);
    After::Go
}
