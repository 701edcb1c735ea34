//! Commands about the connection itself: PING, AUTH, HELLO, SELECT, CLIENT.

use super::{After, Context};
use crate::proxy::texts;
use crate::resp::args::Args;
use crate::resp::encode::{self, Protocol};

const WRONGPASS: &[u8] = b"WRONGPASS invalid username-password pair or user is disabled.";
const NO_PASSWORD_SET: &[u8] =
    b"ERR AUTH <password> called without any password configured for the \
    default user. Are you sure your configuration is correct?";

pub fn ping(_: &mut Context<'_>, args: &Args<'_>, out: &mut Vec<u8>) -> After {
    match args.len() {
        1 => encode::simple(out, "PONG"),
        2 => encode::bulk(out, args.at(1)),
        _ => encode::error(out, b"ERR wrong number of arguments for 'ping' command"),
    }
    After::Go
}

pub fn echo(_: &mut Context<'_>, args: &Args<'_>, out: &mut Vec<u8>) -> After {
    encode::bulk(out, args.at(1));
    After::Go
}

pub fn quit(_: &mut Context<'_>, _: &Args<'_>, out: &mut Vec<u8>) -> After {
    encode::simple(out, "OK");
    After::Close
}

pub fn reset(context: &mut Context<'_>, _: &Args<'_>, out: &mut Vec<u8>) -> After {
    let number = context.session.number;
    let open = context.config.client_password.is_none();
    *context.session = crate::proxy::session::Session::new(number, open);
    encode::simple(out, "RESET");
    After::Go
}

/// Redis Cluster has one database. Valkey 9 may have more: then the index would belong to the flavour of the
/// backends, since a shared connection never changes its state.
pub fn select(_: &mut Context<'_>, args: &Args<'_>, out: &mut Vec<u8>) -> After {
    match texts::strict_integer(args.at(1)) {
        Some(0) => encode::simple(out, "OK"),
        Some(index) if i32::try_from(index).is_ok() => {
            encode::error(out, b"ERR SELECT is not allowed in cluster mode");
        }
        Some(_) => encode::error(
            out,
            b"ERR value is out of range, value must between -2147483648 and 2147483647",
        ),
        None => encode::error(out, texts::NOT_AN_INTEGER.as_bytes()),
    }
    After::Go
}

/// Whether this user with this password may come in. There is one user, `default`.
fn may_enter(context: &Context<'_>, user: &[u8], password: &[u8]) -> bool {
    // Both are looked at in any case: the time taken must not tell which was wrong.
    let right_user = user == b"default";
    let right_password = match &context.config.client_password {
        Some(secret) => secret.matches(password),
        None => true,
    };
    right_user & right_password
}

pub fn auth(context: &mut Context<'_>, args: &Args<'_>, out: &mut Vec<u8>) -> After {
    let (user, password) = match args.len() {
        2 if context.config.client_password.is_none() => {
            encode::error(out, NO_PASSWORD_SET);
            return After::Go;
        }
        2 => (&b"default"[..], args.at(1)),
        3 => (args.at(1), args.at(2)),
        _ => {
            encode::error(out, b"ERR syntax error");
            return After::Go;
        }
    };
    if may_enter(context, user, password) {
        context.session.authenticated = true;
        encode::simple(out, "OK");
    } else {
        context.stats.auth_failures.add(1);
        encode::error(out, WRONGPASS);
    }
    After::Go
}

/// `HELLO [version [AUTH user password] [SETNAME name]]`, as `helloCommand` of Redis 7.0 does it.
pub fn hello(context: &mut Context<'_>, args: &Args<'_>, out: &mut Vec<u8>) -> After {
    let mut protocol = context.session.protocol;
    if args.len() > 1 {
        protocol = match crate::resp::reply::parse_number(args.at(1)) {
            Some(2) => Protocol::Resp2,
            Some(3) => Protocol::Resp3,
            Some(_) => {
                encode::error(out, b"NOPROTO unsupported protocol version");
                return After::Go;
            }
            None => {
                encode::error(
                    out,
                    b"ERR Protocol version is not an integer or out of range",
                );
                return After::Go;
            }
        };
    }
    let (mut credentials, mut name) = (None, None);
    let mut at = 2;
    while at < args.len() {
        let option = args.at(at);
        if option.eq_ignore_ascii_case(b"AUTH") && at + 2 < args.len() {
            credentials = Some((args.at(at + 1), args.at(at + 2)));
            at += 3;
        } else if option.eq_ignore_ascii_case(b"SETNAME") && at + 1 < args.len() {
            name = Some(args.at(at + 1));
            at += 2;
        } else {
            let text = [b"ERR Syntax error in HELLO option '", option, b"'"].concat();
            encode::error(out, &text);
            return After::Go;
        }
    }
    if let Some((user, password)) = credentials {
        if !may_enter(context, user, password) {
            context.stats.auth_failures.add(1);
            encode::error(out, WRONGPASS);
            return After::Go;
        }
        context.session.authenticated = true;
    }
    if !context.session.authenticated {
        encode::error(
            out,
            b"NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO \
              AUTH <user> <pass> option can be used to authenticate the client and select the \
              RESP protocol version at the same time",
        );
        return After::Go;
    }
    if let Some(name) = name
        && !set_name(context, name, out)
    {
        return After::Go;
    }
    context.session.protocol = protocol;
    encode::map(out, 7, protocol);
    for (key, value) in [("server", "redis"), ("version", context.version())] {
        encode::bulk(out, key.as_bytes());
        encode::bulk(out, value.as_bytes());
    }
    encode::bulk(out, b"proto");
    encode::integer(out, protocol.version());
    encode::bulk(out, b"id");
    encode::integer(out, context.session.number as i64);
    for (key, value) in [("mode", context.config.mode()), ("role", "master")] {
        encode::bulk(out, key.as_bytes());
        encode::bulk(out, value.as_bytes());
    }
    encode::bulk(out, b"modules");
    encode::array(out, 0);
    After::Go
}

/// Sets the client's name, or says why it cannot be one.
fn set_name(context: &mut Context<'_>, name: &[u8], out: &mut Vec<u8>) -> bool {
    if !is_plain(name) {
        encode::error(
            out,
            b"ERR Client names cannot contain spaces, newlines or special characters.",
        );
        return false;
    }
    context.session.identity_mut().name = name.to_vec();
    true
}

fn is_plain(text: &[u8]) -> bool {
    text.iter().all(|byte| (b'!'..=b'~').contains(byte))
}

pub fn client_setname(context: &mut Context<'_>, args: &Args<'_>, out: &mut Vec<u8>) -> After {
    if set_name(context, args.at(2), out) {
        encode::simple(out, "OK");
    }
    After::Go
}

pub fn client_getname(context: &mut Context<'_>, _: &Args<'_>, out: &mut Vec<u8>) -> After {
    match context.session.identity().name.as_slice() {
        b"" => encode::null(out, context.session.protocol),
        name => encode::bulk(out, name),
    }
    After::Go
}

pub fn client_id(context: &mut Context<'_>, _: &Args<'_>, out: &mut Vec<u8>) -> After {
    encode::integer(out, context.session.number as i64);
    After::Go
}

/// `CLIENT SETINFO lib-name|lib-ver value`, as Redis 7.2 has it.
pub fn client_setinfo(context: &mut Context<'_>, args: &Args<'_>, out: &mut Vec<u8>) -> After {
    let (attribute, value) = (args.at(2), args.at(3));
    let identity = context.session.identity_mut();
    let field = match attribute.to_ascii_lowercase().as_slice() {
        b"lib-name" => &mut identity.lib_name,
        b"lib-ver" => &mut identity.lib_ver,
        _ => {
            encode::error(
                out,
                &[b"ERR Unrecognized option '", attribute, b"'"].concat(),
            );
            return After::Go;
        }
    };
    if is_plain(value) {
        *field = value.to_vec();
        encode::simple(out, "OK");
    } else {
        let attribute = attribute.to_ascii_lowercase();
        let text = b" cannot contain spaces, newlines or special characters.";
        encode::error(out, &[&b"ERR "[..], &attribute, text].concat());
    }
    After::Go
}

/// The line of `CLIENT LIST` that is this client's own.
pub fn client_info(context: &mut Context<'_>, _: &Args<'_>, out: &mut Vec<u8>) -> After {
    let identity = context.session.identity();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let address = match context.address {
        Some(address) => address.to_string(),
        None => "unix:0".to_string(),
    };
    let line = format!(
        "id={} addr={address} laddr={} fd=0 name={} age=0 idle=0 flags=N db=0 sub=0 psub=0 ssub=0 \
         multi=-1 watch=0 qbuf=0 qbuf-free=0 argv-mem=0 multi-mem=0 tot-net-in=0 tot-net-out=0 rbs=0 \
         rbp=0 obl=0 oll=0 omem=0 tot-mem=0 events=r cmd=client|info user=default redir=-1 resp={} \
         lib-name={} lib-ver={}\n",
        context.session.number,
        context.config.listen,
        text(&identity.name),
        context.session.protocol.version(),
        text(&identity.lib_name),
        text(&identity.lib_ver),
    );
    encode::verbatim(out, &line, context.session.protocol);
    After::Go
}
