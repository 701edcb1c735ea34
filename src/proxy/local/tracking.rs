//! Client-side caching (CLIENT TRACKING). Connections to nodes are shared, so a node could not tell which client to
//! notify. It is always off, and the replies say so.

use super::{After, Context, NO_INTEGER, SYNTAX_ERROR, fail, ok, switch};
use crate::resp::args::Args;
use crate::resp::encode::{self, Protocol};
use crate::resp::reply::parse_number;

const NOT_SUPPORTED: &[u8] = b"ERR CLIENT TRACKING is not supported through this proxy";
const NOT_TRACKING: &[u8] =
    b"ERR CLIENT CACHING can be called only when the client is in tracking \
    mode with OPTIN or OPTOUT mode enabled";

/// `CLIENT TRACKING ON|OFF [options]`: OFF is what it is anyway.
pub fn tracking(_: &mut Context<'_>, args: &Args<'_>, out: &mut Vec<u8>) -> After {
    let mut at = 3;
    while at < args.len() {
        let more = at + 1 < args.len();
        match args.at(at).to_ascii_lowercase().as_slice() {
            b"bcast" | b"optin" | b"optout" | b"noloop" => at += 1,
            b"prefix" if more => at += 2,
            b"redirect" if more && parse_number(args.at(at + 1)).is_none() => {
                return fail(out, NO_INTEGER);
            }
            b"redirect" if more => at += 2,
            _ => return fail(out, SYNTAX_ERROR),
        }
    }
    match switch(args.at(2)) {
        Some(true) => fail(out, NOT_SUPPORTED),
        Some(false) => ok(out),
        None => fail(out, SYNTAX_ERROR),
    }
}

pub fn caching(_: &mut Context<'_>, _: &Args<'_>, out: &mut Vec<u8>) -> After {
    fail(out, NOT_TRACKING)
}

pub fn getredir(_: &mut Context<'_>, _: &Args<'_>, out: &mut Vec<u8>) -> After {
    encode::integer(out, -1);
    After::Go
}

pub fn trackinginfo(context: &mut Context<'_>, _: &Args<'_>, out: &mut Vec<u8>) -> After {
    let protocol = context.session.protocol;
    encode::map(out, 3, protocol);
    encode::bulk(out, b"flags");
    match protocol {
        Protocol::Resp2 => encode::array(out, 1),
        Protocol::Resp3 => out.extend_from_slice(b"~1\r\n"),
    }
    encode::bulk(out, b"off");
    encode::bulk(out, b"redirect");
    encode::integer(out, -1);
    encode::bulk(out, b"prefixes");
    encode::array(out, 0);
    After::Go
}
