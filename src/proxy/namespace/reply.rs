//! Replies without the tag: keys where the column of the command's row says, and errors that name keys.

use crate::command::KeysInReply;
use crate::resp::encode;
use crate::resp::reply::Reply;

/// Appends a reply without the tag before its keys. What is not as expected is appended as it is.
pub fn untag(reply: Reply<'_>, keys: KeysInReply, tag: &[u8], out: &mut Vec<u8>) {
    if reply.is_error() {
        return untag_text(reply.frame(), tag, out);
    }
    match (keys, reply.kind()) {
        (KeysInReply::First, b'*') if !reply.is_null() => {
            let mut items = reply.items();
            out.extend_from_slice(head_of(reply));
            if let Some(first) = items.next() {
                untag_key(first, tag, out);
            }
            out.extend_from_slice(items.rest());
        }
        (KeysInReply::Fields, b'*') if !reply.is_null() => {
            out.extend_from_slice(head_of(reply));
            for item in reply.items() {
                untag(item, KeysInReply::First, tag, out);
            }
        }
        (KeysInReply::Fields, b'%') => {
            out.extend_from_slice(head_of(reply));
            for (index, item) in reply.items().enumerate() {
                match index % 2 {
                    0 => untag_key(item, tag, out),
                    _ => out.extend_from_slice(item.frame()),
                }
            }
        }
        _ => out.extend_from_slice(reply.frame()),
    }
}

/// The first line of an aggregate, attributes before it included.
fn head_of(reply: Reply<'_>) -> &[u8] {
    let frame = reply.frame();
    let rest = reply.items().rest().len();
    &frame[..frame.len() - rest]
}

fn untag_key(key: Reply<'_>, tag: &[u8], out: &mut Vec<u8>) {
    match key.text().and_then(|text| text.strip_prefix(tag)) {
        Some(own) => encode::bulk(out, own),
        None => out.extend_from_slice(key.frame()),
    }
}

/// An error names keys in a text of its own: each tag goes, but not one that the client has written behind it.
fn untag_text(frame: &[u8], tag: &[u8], out: &mut Vec<u8>) {
    if frame.first() == Some(&b'!') {
        // A bulk error says how long it is.
        let mut text = Vec::new();
        untag_pieces(
            Reply::new(frame).error().unwrap_or_default(),
            tag,
            &mut text,
        );
        out.push(b'!');
        encode::decimal(out, text.len() as i64);
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(&text);
        return out.extend_from_slice(b"\r\n");
    }
    untag_pieces(frame, tag, out);
}

fn untag_pieces(text: &[u8], tag: &[u8], out: &mut Vec<u8>) {
    let mut rest = text;
    while let Some(at) = memchr::memmem::find(rest, tag) {
        out.extend_from_slice(&rest[..at]);
        rest = &rest[at + tag.len()..];
        while let Some(behind) = rest.strip_prefix(tag) {
            out.extend_from_slice(tag);
            rest = behind;
        }
    }
    out.extend_from_slice(rest);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(keys: KeysInReply, reply: &str, expected: &str) {
        let mut out = Vec::new();
        untag(Reply::new(reply.as_bytes()), keys, b"{n}", &mut out);
        assert_eq!(String::from_utf8_lossy(&out), expected);
    }

    #[test]
    fn keys_lose_the_tag_and_values_keep_it() {
        check(
            KeysInReply::First,
            "*2\r\n$4\r\n{n}a\r\n$4\r\n{n}v\r\n",
            "*2\r\n$1\r\na\r\n$4\r\n{n}v\r\n",
        );
        check(KeysInReply::First, "*-1\r\n", "*-1\r\n");
        check(KeysInReply::First, "_\r\n", "_\r\n");
        check(
            KeysInReply::Fields,
            "*2\r\n*2\r\n$4\r\n{n}a\r\n*1\r\n$4\r\n{n}v\r\n*2\r\n$7\r\n{n}{n}a\r\n*0\r\n",
            "*2\r\n*2\r\n$1\r\na\r\n*1\r\n$4\r\n{n}v\r\n*2\r\n$4\r\n{n}a\r\n*0\r\n",
        );
        check(
            KeysInReply::Fields,
            "%1\r\n$4\r\n{n}a\r\n*1\r\n$4\r\n{n}v\r\n",
            "%1\r\n$1\r\na\r\n*1\r\n$4\r\n{n}v\r\n",
        );
        check(KeysInReply::None, "$4\r\n{n}v\r\n", "$4\r\n{n}v\r\n");
    }

    #[test]
    fn errors_name_keys_as_the_client_does() {
        check(
            KeysInReply::None,
            "-NOGROUP No such key '{n}a' or group '{n}{n}b'\r\n",
            "-NOGROUP No such key 'a' or group '{n}b'\r\n",
        );
        check(KeysInReply::None, "!8\r\nERR {n}a\r\n", "!5\r\nERR a\r\n");
    }
}
