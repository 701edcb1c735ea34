//! The error texts of Redis (7.0.15, `server.c`: `commandCheckExistence`, `commandCheckArity`), word for
//! word, without the leading `-`.

pub mod node_words;
pub mod permission;
pub mod refusal;

use crate::acl::{Reason, User};
use crate::command::{Class, Command, ResponsePolicy};
use crate::resp::args::Args;

/// A client that has not shown who it is.
pub const NOAUTH: &str = "NOAUTH Authentication required.";

/// A client from outside while protected mode is on and no password is set.
pub const DENIED: &str = "DENIED redis-cluster-proxy is running in protected mode because it listens on \
    an address that is not loopback and demands no password. In this mode connections are only accepted \
    from the loopback interface and from Unix sockets. To accept others, do one of these and start it \
    again: 1) demand a password with -client-password (or REDIS_PROXY_CLIENT_PASSWORD), or of the user default in -acl-file. 2) Listen on the \
    loopback interface only with -addr 127.0.0.1:8088. 3) If the network is trusted, turn protected mode \
    off with -protected-mode=false.";

/// A subscriber that speaks RESP2 may send a few commands only.
pub fn subscriber_only(name: &str) -> String {
    format!(
        "ERR Can't execute '{name}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are \
         allowed in this context"
    )
}

/// There are as many clients as there may be.
pub const TOO_MANY_CLIENTS: &str = "ERR max number of clients reached";

/// EXEC of a client that has not said MULTI.
pub const EXEC_WITHOUT_MULTI: &str = "ERR EXEC without MULTI";
/// DISCARD of a client that has not said MULTI.
pub const DISCARD_WITHOUT_MULTI: &str = "ERR DISCARD without MULTI";
/// MULTI of a client that has said it.
pub const NESTED_MULTI: &str = "ERR MULTI calls can not be nested";
/// WATCH of a client that has said MULTI.
pub const WATCH_INSIDE_MULTI: &str = "ERR WATCH inside MULTI is not allowed";
/// A command that no transaction may have.
pub const NOT_INSIDE_MULTI: &str = "ERR Command not allowed inside a transaction";
/// EXEC behind a request that could not be queued.
pub const EXECABORT: &str = "EXECABORT Transaction discarded because of previous errors.";
/// There are as many clients in transactions as there may be.
pub const TOO_MANY_TRANSACTIONS: &str = "ERR max number of clients in transactions reached";
/// There are as many clients in blocking commands as there may be.
pub const TOO_MANY_BLOCKED: &str = "ERR max number of blocked clients reached";
/// More is queued than may be.
pub const TRANSACTION_TOO_LARGE: &str = "ERR transaction is too large";
/// A transaction may have parts, and has keys in more slots than may be.
pub const TOO_MANY_SLOTS: &str = "ERR too many slots in one transaction";
/// The node does not let our user have transactions.
pub const MULTI_REFUSED: &str = "ERR the node refused MULTI, command may have been executed";
/// A client that `CLIENT UNBLOCK` lets go.
pub const UNBLOCKED: &str = "UNBLOCKED client unblocked via CLIENT UNBLOCK";

/// What Valkey says where Redis says [`NOT_INSIDE_MULTI`].
pub fn never_queued(command: &Command) -> String {
    format!(
        "ERR Command '{}' not allowed inside a transaction",
        command.name
    )
}

/// A command that has no place between MULTI and EXEC here.
pub fn not_inside(command: &Command) -> String {
    format!(
        "ERR command '{}' is not supported inside MULTI through this proxy",
        command.name
    )
}

/// What a browser, or a page that misuses one, sends first.
pub fn is_http(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(b"POST") || name.eq_ignore_ascii_case(b"host:")
}

/// Bytes as C prints a string: up to a NUL, at most `max` of them.
fn c_string(bytes: &[u8], max: usize) -> &[u8] {
    let end = bytes.iter().position(|byte| *byte == 0);
    &bytes[..end.unwrap_or(bytes.len()).min(max)]
}

/// The same as text, for what is text otherwise.
pub fn printed(bytes: &[u8], max: usize) -> String {
    String::from_utf8_lossy(c_string(bytes, max)).into_owned()
}

/// A name that no row has. What a client has sent comes back as it is.
pub fn unknown_command(args: &Args<'_>) -> Vec<u8> {
    let mut beginning = Vec::new();
    for arg in args.from(1) {
        if beginning.len() >= 128 {
            break;
        }
        let shown = c_string(arg, 128 - beginning.len());
        beginning.extend([b"'", shown, b"' "].concat());
    }
    let name = c_string(args.name(), 128);
    [
        b"ERR unknown command '",
        name,
        b"', with args beginning with: ",
        &beginning,
    ]
    .concat()
}

/// A container without such a subcommand.
pub fn unknown_subcommand(container: &Command, args: &Args<'_>) -> Vec<u8> {
    let name = container.name.to_uppercase();
    let word = c_string(args.at(1), 128);
    let help = format!("'. Try {name} HELP.");
    [b"ERR unknown subcommand '", word, help.as_bytes()].concat()
}

/// `container`, in upper case, has no such subcommand.
pub fn no_subcommand(container: &str, word: &[u8]) -> String {
    format!(
        "ERR unknown subcommand '{}'. Try {container} HELP.",
        printed(word, 128)
    )
}

/// There are more arguments than this command takes where it is answered here.
#[cold]
pub fn too_many(name: &str) -> String {
    format!("ERR too many arguments for '{name}' command")
}

/// There are more keys than may be in one slot.
#[cold]
pub fn too_many_keys(name: &str) -> String {
    format!("ERR too many keys for '{name}' command")
}

/// Too few arguments, or too many.
pub fn wrong_arity(name: &str) -> String {
    format!("ERR wrong number of arguments for '{name}' command")
}

/// A login that would have to be delayed, which is not possible inside EXEC.
pub const LOGIN_INSIDE_MULTI: &str =
    "ERR too many logins from this address have failed: log in outside of a transaction";

/// A login inside of a transaction, where the servers have to be asked.
pub const NO_LOGIN_INSIDE_MULTI_OF_SERVERS: &str =
    "ERR a login between MULTI and EXEC is not served by this proxy (-auth backend)";

/// No node has answered the question whether a login is right, or a command may be run.
pub const NO_VERDICT: &str =
    "ERR no node answered whether this command is allowed (-auth backend), try again";

/// The servers cannot be asked who may do what.
pub const NO_JUDGE: &str = "NOPERM the servers do not tell this proxy what users may do: -auth backend needs servers that \
    have ACL DRYRUN (Redis 7.0, Valkey) and a -backend-user that may run it";

/// So many wait for a disk that another is not waited for.
pub const TOO_MANY_WAIT_FOR_DISK: &str =
    "ERR too many clients wait for the disk of this proxy, try again";

/// Clients have logged in as so many users that there may be no other.
pub const TOO_MANY_USERS: &str = "ERR too many users are logged in at this proxy (-max-users)";

/// A user who may not do everything would do it in a script.
pub const NO_SCRIPTS: &str = "NOPERM this user may not do everything, and what a script does is not checked by this \
    proxy (-acl-scripts)";

/// What is queued has the tag of one namespace.
pub const NO_LOGIN_INSIDE_MULTI: &str = "ERR a login between MULTI and EXEC is not served where users have namespaces (-namespace-users)";

/// What a client of a namespace may not do.
pub fn not_in_namespace(name: &str, reason: &str) -> String {
    format!("ERR command '{name}' is not served in a namespace: {reason}")
}

/// A script that nobody has sent.
pub const NO_SCRIPT: &str = "NOSCRIPT No matching script. Please use EVAL.";

/// SCRIPT FLUSH has another option.
pub const SCRIPT_FLUSH_OPTIONS: &str = "ERR SCRIPT FLUSH only support SYNC|ASYNC option";

/// A user has as many clients as it may have.
pub fn too_many_clients_of(user: &User) -> String {
    let name = printed(&user.name, 128);
    let most = user.settings.as_ref().and_then(|own| own.clients_max);
    let most = most.unwrap_or_default();
    format!("ERR user '{name}' is limited to {most} clients (-user-max-clients)")
}

/// A user has sent as many commands as it may send for now.
pub fn too_many_commands_of(user: &User) -> String {
    let name = printed(&user.name, 128);
    let rate = user.settings.as_ref().and_then(|own| own.rate);
    let rate = rate.unwrap_or_default();
    format!("ERR user '{name}' is limited to {rate} commands per second (-user-rate-limit)")
}

/// A user may not run a command, or not with these keys or channels.
pub fn no_permission(reason: Reason, command: &str) -> String {
    match reason {
        Reason::Command => {
            format!("NOPERM this user has no permissions to run the '{command}' command")
        }
        Reason::Key => {
            "NOPERM this user has no permissions to access one of the keys used as arguments".into()
        }
        Reason::Channel | Reason::Auth | Reason::Certificate => {
            "NOPERM this user has no permissions to access one of the channels used as arguments"
                .into()
        }
    }
}

/// A command that the proxy does not serve.
pub fn not_yet(command: &Command) -> String {
    format!(
        "ERR command '{}' is not supported through this proxy",
        command.name
    )
}

/// Why this proxy does not serve a command without a handler; nothing if it does.
pub fn why_unserved(command: &Command) -> Option<&'static str> {
    match command.class {
        Class::Refused(reason) => Some(reason),
        Class::Leased(_) => None,
        Class::Scan
        | Class::Subscription
        | Class::Local
        | Class::AllMasters(ResponsePolicy::Special)
        | Class::AllNodes(ResponsePolicy::Special) => Some("not implemented"),
        Class::Routed
        | Class::AnyNode
        | Class::Publish
        | Class::Split(_)
        | Class::AllMasters(_)
        | Class::AllNodes(_) => None,
    }
}

/// A command that is not served, for whatever reason.
pub fn unserved(command: &Command) -> String {
    match command.refusal() {
        Some(refusal) => refusal.to_string(),
        None => not_yet(command),
    }
}

/// A command that changes the servers or the proxy, from a client that may not.
pub fn not_allowed(name: &str) -> String {
    format!("ERR command '{name}' is an admin command, which -admin-commands does not allow here")
}

/// `CONFIG SET` of what is no setting.
pub fn unknown_setting(name: &[u8]) -> String {
    format!(
        "ERR Unknown option or number of arguments for CONFIG SET - '{}'",
        printed(name, 128)
    )
}

/// `CONFIG SET` that cannot be done.
pub fn bad_setting(name: &str, reason: &str) -> String {
    format!("ERR CONFIG SET failed (possibly related to argument '{name}') - {reason}")
}

/// What should be a whole number and is not.
pub const NOT_AN_INTEGER: &str = "ERR value is not an integer or out of range";

/// A whole number is not one that an `int` holds.
pub const NO_INT: &str = "ERR value is out of range, value must between -2147483648 and 2147483647";

/// A whole number as Redis takes it from a client (`string2ll`): no plus sign, no zero in front.
pub fn strict_integer(text: &[u8]) -> Option<i64> {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    let plain = match digits {
        b"0" => text == b"0",
        [b'1'..=b'9', rest @ ..] => rest.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    let number = std::str::from_utf8(text).ok()?.parse().ok()?;
    plain.then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_taken_as_redis_takes_them() {
        let check = |text: &str, expected| {
            assert_eq!(strict_integer(text.as_bytes()), expected, "{text}");
        };
        check("0", Some(0));
        check("-1", Some(-1));
        check("9223372036854775807", Some(i64::MAX));
        check("-9223372036854775808", Some(i64::MIN));
        for text in ["", "-", "-0", "+1", "01", "1 ", "1x", "9223372036854775808"] {
            check(text, None);
        }
    }
}
