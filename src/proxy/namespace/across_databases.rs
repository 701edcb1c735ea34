//! What goes from one database of a namespace to another: its value is taken, put at its new place, and dropped at its
//! old one if it is still the same. Each of these is one command at one node.

use std::sync::Arc;

use crate::proxy::namespace::Namespace;
use crate::proxy::namespace::request::Tagged;
use crate::proxy::namespace::whole_database::SYNTAX_ERROR;
use crate::proxy::texts;
use crate::resp::args::Args;
use crate::resp::reply::Reply;

/// There is no database of this number.
pub const OUT_OF_RANGE: &str = "ERR DB index is out of range";

/// What both scripts share: the value as it is dumped, its name, and when it expires. Servers before Redis 7 do not tell
/// the last exactly, so that a change of it alone is not noticed there.
macro_rules! script {
    ($text:literal) => {
        concat!(
            "local k=KEYS[1] local d=redis.call('DUMP',k) if not d then return false end ",
            "local e,exact=redis.pcall('PEXPIRETIME',k),'1' ",
            "if type(e)=='table' then exact='0' e=redis.call('PTTL',k) if e>=0 then ",
            "local t=redis.call('TIME') e=e+t[1]*1000+math.floor(t[2]/1000) end end ",
            "e=string.format('%.0f',e) local mark=redis.sha1hex(d)..(exact=='1' and e or '') ",
            $text
        )
    };
}

/// Tells the value, when it expires, and a mark of both; nothing if there is no key.
pub const TAKE: &str = script!("return {d,e,mark}");

/// Drops the key if it has this mark, and tells whether it had; nothing if there is no key.
pub const DROP: &str =
    script!("if mark~=ARGV[1] then return 0 end redis.call('UNLINK',k) return 1");

/// The number of a database, as SELECT, MOVE and COPY take it; or what is wrong with it, in the words of a server.
pub fn database(own: &Namespace, text: &[u8]) -> Result<u16, String> {
    let Some(number) = texts::strict_integer(text) else {
        return Err(texts::NOT_AN_INTEGER.to_string());
    };
    if i32::try_from(number).is_err() {
        return Err(texts::NO_INT.to_string());
    }
    let index = u16::try_from(number).ok();
    index
        .filter(|index| *index < own.databases())
        .ok_or(OUT_OF_RANGE.to_string())
}

/// The options of COPY.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Copy {
    /// Where the copy is to be.
    pub database: u16,
    /// Whether it takes the place of another key.
    pub replace: bool,
}

impl Copy {
    /// Reads them as a server does, with its errors.
    pub fn parse(own: &Namespace, args: &Args<'_>) -> Result<Copy, String> {
        let mut copy = Copy {
            database: own.database(),
            replace: false,
        };
        let mut at = 3;
        while at < args.len() {
            let word = args.at(at);
            match args.get(at + 1) {
                _ if word.eq_ignore_ascii_case(b"replace") => copy.replace = true,
                Some(number) if word.eq_ignore_ascii_case(b"db") => {
                    copy.database = database(own, number)?;
                    at += 1;
                }
                _ => return Err(SYNTAX_ERROR.to_string()),
            }
            at += 1;
        }
        Ok(copy)
    }
}

/// A value on its way from one database to another.
#[derive(Debug)]
pub struct Transfer {
    /// Where it is.
    pub from: Arc<Namespace>,
    /// Where it is to be.
    pub to: Arc<Namespace>,
    /// Its key as the client names it.
    pub key: Arc<[u8]>,
    /// What its key is to be.
    pub new_key: Arc<[u8]>,
    /// Whether it takes the place of another key.
    pub replace: bool,
}

/// A value that was taken.
#[derive(Debug, Clone, Copy)]
pub struct Taken<'r> {
    dump: &'r [u8],
    expires_at: &'r [u8],
    /// Of what it was when it was taken.
    pub mark: &'r [u8],
}

impl<'r> Taken<'r> {
    /// Reads the answer of the script.
    pub fn of(reply: Reply<'r>) -> Option<Taken<'r>> {
        let mut texts = reply.items().map(|item| item.text());
        Some(Taken {
            dump: texts.next()??,
            expires_at: texts.next()??,
            mark: texts.next()??,
        })
    }
}

impl Transfer {
    /// Writes what tells the value.
    pub fn write_take(&self, out: &mut Tagged) {
        write(&self.from, TAKE, &self.key, &[], out);
    }

    /// Writes what puts the value at its new place.
    pub fn write_restore(&self, taken: Taken<'_>, out: &mut Tagged) {
        let expires = taken.expires_at != b"-1";
        out.begin(4 + usize::from(expires) + usize::from(self.replace));
        out.push(&[b"RESTORE"]);
        out.push(&[self.to.tag(), &self.new_key]);
        out.push(&[if expires { taken.expires_at } else { b"0" }]);
        out.push(&[taken.dump]);
        if expires {
            out.push(&[b"ABSTTL"]);
        }
        if self.replace {
            out.push(&[b"REPLACE"]);
        }
    }

    /// Writes what drops the value at its old place if it has this mark.
    pub fn write_drop(&self, mark: &[u8], out: &mut Tagged) {
        write(&self.from, DROP, &self.key, &[mark], out);
    }

    /// Writes what drops the value at its new place if it has this mark.
    pub fn write_undo(&self, mark: &[u8], out: &mut Tagged) {
        write(&self.to, DROP, &self.new_key, &[mark], out);
    }
}

fn write(own: &Namespace, script: &str, key: &[u8], args: &[&[u8]], out: &mut Tagged) {
    out.begin(4 + args.len());
    out.push(&[b"EVAL"]);
    out.push(&[script.as_bytes()]);
    out.push(&[b"1"]);
    out.push(&[own.tag(), key]);
    args.iter().for_each(|arg| out.push(&[arg]));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::encode;

    fn with_args<R>(text: &str, check: impl FnOnce(&Args<'_>) -> R) -> R {
        let mut tagged = Tagged::default();
        let words: Vec<&str> = text.split(' ').collect();
        tagged.begin(words.len());
        words
            .iter()
            .for_each(|word| tagged.push(&[word.as_bytes()]));
        check(&tagged.args())
    }

    #[test]
    fn options_of_copy_are_read_as_a_server_reads_them() {
        let own = Namespace::new("n", 16, false).of_database(3).expect("3");
        let check = |text: &str, expected: Result<(u16, bool), &str>| {
            let got = with_args(text, |args| Copy::parse(&own, args));
            let got = got.map(|copy| (copy.database, copy.replace));
            assert_eq!(got, expected.map_err(str::to_string), "{text}");
        };
        check("COPY a b", Ok((3, false)));
        check("COPY a b REPLACE", Ok((3, true)));
        check("COPY a b db 0 replace DB 15", Ok((15, true)));
        check("COPY a b DB", Err(SYNTAX_ERROR));
        check("COPY a b x", Err(SYNTAX_ERROR));
        check("COPY a b DB 16", Err(OUT_OF_RANGE));
        check("COPY a b DB -1", Err(OUT_OF_RANGE));
        check("COPY a b DB x", Err(texts::NOT_AN_INTEGER));
        check("COPY a b DB 99999999999", Err(texts::NO_INT));
    }

    #[test]
    fn a_value_is_put_where_it_belongs() {
        let own = Arc::new(Namespace::new("n", 16, false));
        let transfer = Transfer {
            to: Arc::new(own.of_database(1).expect("1")),
            from: own,
            key: b"a"[..].into(),
            new_key: b"b"[..].into(),
            replace: true,
        };
        let (mut answer, mut tagged) = (Vec::new(), Tagged::default());
        for (expires_at, options) in [("-1", &["0"][..]), ("7", &["7"])] {
            answer.clear();
            encode::command(&mut answer, [&b"dump"[..], expires_at.as_bytes(), b"mark"]);
            let taken = Taken::of(Reply::new(&answer)).expect("taken");
            transfer.write_restore(taken, &mut tagged);
            let words: Vec<&[u8]> = tagged.args().from(0).collect();
            let mut expected = vec![&b"RESTORE"[..], b"{n:1}b", options[0].as_bytes(), b"dump"];
            if expires_at != "-1" {
                expected.push(b"ABSTTL");
            }
            expected.push(b"REPLACE");
            assert_eq!(words, expected);
        }
        assert!(Taken::of(Reply::new(b"$-1\r\n")).is_none());
    }
}
