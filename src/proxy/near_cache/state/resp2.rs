//! A reply in RESP3 written anew in RESP2, for commands whose replies differ in nothing but their types.
//!
//! It must never know which command a reply is to.

use crate::resp::encode;
use crate::resp::reply::Reply;

use super::store::{Both, Resp2};

/// A reply of a node that speaks RESP3, for clients of both protocols.
pub fn both(reply: Reply<'_>) -> Both {
    let resp3 = reply.frame();
    let mut out = Vec::new();
    let resp2 = match reply.kind() {
        // These are the same in both, and what most replies are.
        b'$' | b':' | b'+' => Resp2::Same,
        _ if !write(reply, &mut out, true) => Resp2::Unknown,
        _ if out == resp3 => Resp2::Same,
        _ => Resp2::Other(out.into()),
    };
    Both {
        resp3: resp3.into(),
        resp2,
    }
}

/// Appends a reply in RESP2, if it can be written so. An array within another is declined: commands whose replies
/// have pairs in RESP3 have none in RESP2 (ZRANGE with WITHSCORES).
fn write(reply: Reply<'_>, out: &mut Vec<u8>, outermost: bool) -> bool {
    match reply.kind() {
        b'$' | b':' | b'+' => out.extend_from_slice(reply.frame()),
        b'_' => out.extend_from_slice(b"$-1\r\n"),
        b',' => {
            let frame = reply.frame();
            encode::bulk(out, &frame[1..frame.len() - 2]);
        }
        b'*' | b'~' | b'%' if outermost => {
            let items = reply.items();
            encode::array(out, items.left() as usize);
            for item in items {
                if !write(item, out, false) {
                    return false;
                }
            }
        }
        _ => return false,
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_are_written_as_a_node_would_in_resp2() {
        let other = |bytes: &str| Resp2::Other(bytes.as_bytes().into());
        for (resp3, expected) in [
            ("$3\r\nabc\r\n", Resp2::Same),
            (":12\r\n", Resp2::Same),
            ("+string\r\n", Resp2::Same),
            ("_\r\n", other("$-1\r\n")),
            (",1.5\r\n", other("$3\r\n1.5\r\n")),
            ("*2\r\n$1\r\na\r\n:1\r\n", Resp2::Same),
            ("*2\r\n$1\r\na\r\n_\r\n", other("*2\r\n$1\r\na\r\n$-1\r\n")),
            ("~1\r\n$1\r\na\r\n", other("*1\r\n$1\r\na\r\n")),
            (
                "%1\r\n$1\r\na\r\n$1\r\nb\r\n",
                other("*2\r\n$1\r\na\r\n$1\r\nb\r\n"),
            ),
            ("*1\r\n*2\r\n$1\r\na\r\n,1\r\n", Resp2::Unknown),
            ("#t\r\n", Resp2::Unknown),
            ("|1\r\n+a\r\n+b\r\n$1\r\na\r\n", Resp2::Same),
        ] {
            assert_eq!(
                both(Reply::new(resp3.as_bytes())).resp2,
                expected,
                "{resp3}"
            );
        }
    }
}
