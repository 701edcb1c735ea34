//! `Login`: what AUTH and HELLO ask for, as they are read, and what the servers say of it where they are the judges.

use std::sync::Arc;

use crate::acl::User;
use crate::proxy::upstream::accounts::Account;
use crate::resp::args::Args;
use crate::resp::encode::Protocol;

/// What a client logs in with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Credentials<'a> {
    /// The user's name; nothing if it is not said.
    pub user: Option<&'a [u8]>,
    /// The password.
    pub password: &'a [u8],
    /// What it will speak.
    pub protocol: Protocol,
}

/// What the servers have said of a login.
#[derive(Debug)]
pub enum Login {
    /// They admit the client as this user.
    Right(Arc<User>, Arc<Account>),
    /// They do not, in these words.
    Wrong(Vec<u8>),
    /// The proxy does not, in these words.
    Full(Vec<u8>),
}

/// How the credentials of a login are read: nothing if there are none, or anything else is wrong with the request.
pub type ReadCredentials = for<'a> fn(&Args<'a>) -> Option<Credentials<'a>>;

/// Those of `AUTH [user] password`.
pub fn credentials_of_auth<'a>(args: &Args<'a>) -> Option<Credentials<'a>> {
    let (user, password) = match args.len() {
        2 => (None, args.at(1)),
        3 => (Some(args.at(1)), args.at(2)),
        _ => return None,
    };
    Some(Credentials {
        user,
        password,
        protocol: Protocol::Resp2,
    })
}

/// Those of `HELLO version AUTH user password`.
pub fn credentials_of_hello<'a>(args: &Args<'a>) -> Option<Credentials<'a>> {
    let hello = read_hello(args).ok()?;
    let (user, password) = hello.credentials?;
    Some(Credentials {
        user: Some(user),
        password,
        protocol: hello.protocol.unwrap_or(Protocol::Resp2),
    })
}

/// What a HELLO asks for.
pub(super) struct Hello<'a> {
    pub(super) protocol: Option<Protocol>,
    pub(super) credentials: Option<(&'a [u8], &'a [u8])>,
    pub(super) name: Option<&'a [u8]>,
}

/// Reads `HELLO [version [AUTH user password] [SETNAME name]]`, or says what is wrong with it.
pub(super) fn read_hello<'a>(args: &Args<'a>) -> Result<Hello<'a>, Vec<u8>> {
    let mut hello = Hello {
        protocol: None,
        credentials: None,
        name: None,
    };
    if args.len() > 1 {
        hello.protocol = match crate::resp::reply::parse_number(args.at(1)) {
            Some(2) => Some(Protocol::Resp2),
            Some(3) => Some(Protocol::Resp3),
            Some(_) => return Err(b"NOPROTO unsupported protocol version".to_vec()),
            None => {
                return Err(b"ERR Protocol version is not an integer or out of range".to_vec());
            }
        };
    }
    let mut at = 2;
    while at < args.len() {
        let option = args.at(at);
        if option.eq_ignore_ascii_case(b"AUTH") && at + 2 < args.len() {
            hello.credentials = Some((args.at(at + 1), args.at(at + 2)));
            at += 3;
        } else if option.eq_ignore_ascii_case(b"SETNAME") && at + 1 < args.len() {
            hello.name = Some(args.at(at + 1));
            at += 2;
        } else {
            return Err([b"ERR Syntax error in HELLO option '", option, b"'"].concat());
        }
    }
    Ok(hello)
}
