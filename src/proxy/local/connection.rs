//! Commands about the connection itself: PING, AUTH, HELLO, SELECT, RESET. CLIENT is in `client`.

use super::client::set_name;
use super::login::{Login, read_hello};
use super::{After, Context, databases};
use crate::proxy::pipeline::client_reply::ClientReply;
use crate::proxy::texts;
use crate::resp::args::Args;
use crate::resp::encode::{self, Protocol};

/// Bytes of a request that is not answered here if any node can: hundreds of millions are copied for as long as a second.
const LONG: usize = 1 << 20;
const WRONGPASS: &[u8] = b"WRONGPASS invalid username-password pair or user is disabled.";
const SUBSCRIBED: &[u8] =
    b"ERR a client that is subscribed may not log in as a user of another namespace";
const NO_PASSWORD_SET: &[u8] =
    b"ERR AUTH <password> called without any password configured for the \
    default user. Are you sure your configuration is correct?";

/// `PING [text]`. To a subscriber that speaks RESP2 the answer looks like a message, since it expects nothing else.
pub fn ping(context: &mut Context<'_>, args: &Args<'_>, out: &mut Vec<u8>) -> After {
    if is_long(args) && context.routes.is_known() && !context.session.is_subscriber_only() {
        return After::AskAnyMaster;
    }
    match args.len() {
        1 | 2 if context.session.is_subscriber_only() => {
            encode::array(out, 2);
            encode::bulk(out, b"pong");
            encode::bulk(out, args.get(1).unwrap_or_default());
        }
        1 => encode::simple(out, "PONG"),
        2 => encode::bulk(out, args.at(1)),
        _ => encode::error(out, b"ERR wrong number of arguments for 'ping' command"),
    }
    After::Go
}

pub fn echo(context: &mut Context<'_>, args: &Args<'_>, out: &mut Vec<u8>) -> After {
    if is_long(args) && context.routes.is_known() {
        return After::AskAnyMaster;
    }
    encode::bulk(out, args.at(1));
    After::Go
}

/// Whether a text comes back from a node: it goes there and back as it is, and is copied here.
fn is_long(args: &Args<'_>) -> bool {
    args.frame().len() >= LONG
}

pub fn quit(_: &mut Context<'_>, _: &Args<'_>, out: &mut Vec<u8>) -> After {
    encode::simple(out, "OK");
    After::Close
}

pub fn reset(context: &mut Context<'_>, _: &Args<'_>, out: &mut Vec<u8>) -> After {
    let left = context.session.reset(context.users.unnamed());
    context.session.settle_namespace(context.namespaces);
    if let Some(own) = &context.session.namespace {
        context.session.namespace = context.namespaces.database(own, 0);
    }
    if *context.client_reply == ClientReply::Off {
        *context.client_reply = ClientReply::On;
    }
    encode::simple(out, "RESET");
    After::Reset(left)
}

/// Redis Cluster has one database, Valkey 9 may have more. The index belongs to the flavour of the backends, since
/// a shared connection never changes its state.
pub fn select(context: &mut Context<'_>, args: &Args<'_>, out: &mut Vec<u8>) -> After {
    let own = context.session.namespace.clone();
    if let Some(own) = own.filter(|own| own.databases() > 1) {
        return databases::select(context, &own, args, out);
    }
    let databases = context.servers.databases;
    let index = texts::strict_integer(args.at(1));
    let database = index.and_then(|index| u16::try_from(index).ok());
    if let Some(database) = database.filter(|index| *index < databases) {
        context.session.select(database);
        encode::simple(out, "OK");
        return After::Go;
    }
    match index {
        // Where it shows itself as a cluster it says what a node says that has one database.
        Some(index) if i32::try_from(index).is_ok() => match &context.config.cluster_face {
            Some(_) if databases == 1 => {
                encode::error(out, b"ERR SELECT is not allowed in cluster mode");
            }
            _ => encode::error(out, b"ERR DB index is out of range"),
        },
        Some(_) => encode::error(out, texts::NO_INT.as_bytes()),
        None => encode::error(out, texts::NOT_AN_INTEGER.as_bytes()),
    }
    After::Go
}

/// Logs in, if this user is there and this is its password; else says that it is not. If the servers are the judges, they
/// have been asked.
fn enter(context: &mut Context<'_>, name: &[u8], password: &[u8], out: &mut Vec<u8>) -> bool {
    let (user, account) = match context.login.take() {
        Some(Login::Right(user, account)) => (user, Some(account)),
        Some(Login::Full(words)) => {
            encode::error(out, &words);
            return false;
        }
        Some(Login::Wrong(words)) => return not_admitted(context, name, &words, out),
        None => match context.users.admit(name, password) {
            Some(user) => (user.clone(), None),
            None => return not_admitted(context, name, WRONGPASS, out),
        },
    };
    let session = &mut *context.session;
    // The names of its channels are those of its namespace.
    if session.subscriptions().is_some() && session.is_astray(name, context.namespaces) {
        encode::error(out, SUBSCRIBED);
        return false;
    }
    let entered = match account {
        Some(account) => session.try_enter_as(user.clone(), account),
        None => session.try_enter(user.clone()),
    };
    if !entered {
        encode::error(out, texts::too_many_clients_of(&user).as_bytes());
        return false;
    }
    session.settle_namespace(context.namespaces);
    true
}

/// A login has failed.
fn not_admitted(context: &mut Context<'_>, name: &[u8], words: &[u8], out: &mut Vec<u8>) -> bool {
    context.stats.auth_failures.add(1);
    context.refused_login = Some(name.to_vec());
    encode::error(out, words);
    false
}

pub fn auth(context: &mut Context<'_>, args: &Args<'_>, out: &mut Vec<u8>) -> After {
    let (user, password) = match args.len() {
        2 if context.users.unnamed().takes_any_password() => {
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
    if enter(context, user, password, out) {
        encode::simple(out, "OK");
    }
    After::Go
}

/// `HELLO [version [AUTH user password] [SETNAME name]]`, as `helloCommand` of Redis 7.0 does it.
pub fn hello(context: &mut Context<'_>, args: &Args<'_>, out: &mut Vec<u8>) -> After {
    let hello = match read_hello(args) {
        Ok(hello) => hello,
        Err(text) => {
            encode::error(out, &text);
            return After::Go;
        }
    };
    let protocol = hello.protocol.unwrap_or(context.session.protocol);
    if let Some((user, password)) = hello.credentials
        && !enter(context, user, password, out)
    {
        return After::Go;
    }
    if !context.session.is_authenticated() {
        encode::error(
            out,
            b"NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO \
              AUTH <user> <pass> option can be used to authenticate the client and select the \
              RESP protocol version at the same time",
        );
        return After::Go;
    }
    if let Some(name) = hello.name
        && !set_name(context, name, out)
    {
        return After::Go;
    }
    context.session.protocol = protocol;
    context.session.settle();
    encode::map(out, 7, protocol);
    let own = context.servers.kind.own();
    let (name, version) = own.unwrap_or(("redis", context.version()));
    for (key, value) in [("server", name), ("version", version)] {
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
    let modules = &context.servers.kind.modules;
    encode::array(out, modules.len());
    for line in modules {
        module(out, line, protocol);
    }
    After::Go
}

/// A module as HELLO lists it. INFO, which it is known by, does not say where its file lies, nor its arguments.
fn module(out: &mut Vec<u8>, line: &str, protocol: Protocol) {
    let value = |wanted: &str| {
        let mut fields = line.split(',').filter_map(|field| field.split_once('='));
        fields.find_map(|(name, value)| (name == wanted).then_some(value))
    };
    encode::map(out, 4, protocol);
    encode::bulk(out, b"name");
    encode::bulk(out, value("name").unwrap_or_default().as_bytes());
    encode::bulk(out, b"ver");
    let version = value("ver").and_then(|version| version.parse().ok());
    encode::integer(out, version.unwrap_or(0));
    encode::bulk(out, b"path");
    encode::bulk(out, b"");
    encode::bulk(out, b"args");
    encode::array(out, 0);
}
