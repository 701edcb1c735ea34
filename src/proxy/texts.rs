//! The error texts of Redis (7.0.15, `server.c`: `commandCheckExistence`, `commandCheckArity`), word for
//! word, without the leading `-`.

use crate::command::Command;
use crate::resp::args::Args;

/// A client that has not shown who it is.
pub const NOAUTH: &str = "NOAUTH Authentication required.";

/// A client from outside while protected mode is on and no password is set.
pub const DENIED: &str = "DENIED redis-cluster-proxy is running in protected mode because it listens on \
    an address that is not loopback and demands no password. In this mode connections are only accepted \
    from the loopback interface and from Unix sockets. To accept others, do one of these and start it \
    again: 1) demand a password with -client-password (or REDIS_PROXY_CLIENT_PASSWORD). 2) Listen on the \
    loopback interface only with -addr 127.0.0.1:8088. 3) If the network is trusted, turn protected mode \
    off with -protected-mode=false.";

/// There are as many clients as there may be.
pub const TOO_MANY_CLIENTS: &str = "ERR max number of clients reached";

/// What a browser, or a page that misuses one, sends first.
pub fn is_http(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(b"POST") || name.eq_ignore_ascii_case(b"host:")
}

/// Bytes as C prints a string: up to a NUL, at most `max` of them.
fn printed(bytes: &[u8], max: usize) -> String {
    let end = bytes
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end.min(max)]).into_owned()
}

/// A name that no row has.
pub fn unknown_command(args: &Args<'_>) -> String {
    let mut beginning = String::new();
    for arg in args.from(1) {
        if beginning.len() >= 128 {
            break;
        }
        beginning += &format!("'{}' ", printed(arg, 128 - beginning.len()));
    }
    let name = printed(args.name(), 128);
    format!("ERR unknown command '{name}', with args beginning with: {beginning}")
}

/// A container without such a subcommand.
pub fn unknown_subcommand(container: &Command, args: &Args<'_>) -> String {
    let name = container.name.to_uppercase();
    format!(
        "ERR unknown subcommand '{}'. Try {name} HELP.",
        printed(args.at(1), 128)
    )
}

/// Too few arguments, or too many.
pub fn wrong_arity(name: &str) -> String {
    format!("ERR wrong number of arguments for '{name}' command")
}

/// A command that the proxy does not serve.
pub fn not_yet(command: &Command) -> String {
    format!(
        "ERR command '{}' is not supported through this proxy",
        command.name
    )
}
