//! The CLUSTER family: the proxy shows itself as one server, so that no client walks round it.

use super::{After, Context};
use crate::resp::args::Args;
use crate::resp::encode;

pub fn disabled(_: &mut Context<'_>, _: &Args<'_>, out: &mut Vec<u8>) -> After {
    encode::error(out, b"ERR This instance has cluster support disabled");
    After::Go
}
