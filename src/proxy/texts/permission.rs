//! What a server's answer to ACL DRYRUN means, and the error by which the same server refuses the command itself.

use crate::acl::Reason;
use crate::proxy::texts::no_permission;
use crate::resp::reply::Reply;

/// What a server says of a user's command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Word {
    /// The user may run it.
    Granted,
    /// It may not: the error.
    Denied(String),
    /// The server has no such command.
    NoCommand,
    /// The server does not tell.
    NoJudge(String),
}

/// The meaning of a reply to ACL DRYRUN. Redis 7.0 says "This user has no permissions to ...", later versions and Valkey
/// name the user, and have other words for keys and channels.
pub fn of_dry_run(reply: Reply<'_>, command: &str) -> Word {
    if let Some(error) = reply.error() {
        let text = String::from_utf8_lossy(error).into_owned();
        let says = |words: &str| text.contains(words);
        return match text.split(' ').next() {
            Some("ERR") if says("Command '") && says("not found") => Word::NoCommand,
            Some("ERR") if says("User '") || says("wrong number of arguments for '") => {
                Word::Denied(text)
            }
            _ => Word::NoJudge(text),
        };
    }
    let text = String::from_utf8_lossy(reply.text().unwrap_or_default()).into_owned();
    if text == "OK" {
        return Word::Granted;
    }
    let is_old = text.starts_with("This user has no permissions");
    let reason = match () {
        () if text.contains(" has no permissions to run the '") => Reason::Command,
        () if text.contains(" has no permissions to access the '") && text.ends_with(" key") => {
            Reason::Key
        }
        () if text.contains(" has no permissions to access the '") => Reason::Channel,
        () => return Word::NoJudge(text),
    };
    Word::Denied(match (reason, is_old) {
        (reason, true) => no_permission(reason, command),
        (Reason::Key, false) => "NOPERM No permissions to access a key".to_string(),
        (Reason::Command, false) => format!("NOPERM {text}"),
        (_, false) => "NOPERM No permissions to access a channel".to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(reply: &str) -> Word {
        of_dry_run(Reply::new(reply.as_bytes()), "get")
    }

    fn bulk(text: &str) -> String {
        format!("${}\r\n{text}\r\n", text.len())
    }

    #[test]
    fn the_words_of_all_versions() {
        assert_eq!(word("+OK\r\n"), Word::Granted);
        for (said, error) in [
            (
                "This user has no permissions to run the 'get' command",
                "NOPERM this user has no permissions to run the 'get' command",
            ),
            (
                "This user has no permissions to access the 'a key' key",
                "NOPERM this user has no permissions to access one of the keys used as arguments",
            ),
            (
                "This user has no permissions to access the 'news' channel",
                "NOPERM this user has no permissions to access one of the channels used as arguments",
            ),
            (
                "User app has no permissions to run the 'get' command",
                "NOPERM User app has no permissions to run the 'get' command",
            ),
            (
                "User app has no permissions to access the 'k' key",
                "NOPERM No permissions to access a key",
            ),
            (
                "User app has no permissions to access the 'key' channel",
                "NOPERM No permissions to access a channel",
            ),
        ] {
            assert_eq!(word(&bulk(said)), Word::Denied(error.to_string()), "{said}");
        }
        assert_eq!(word("-ERR Command 'proxy' not found\r\n"), Word::NoCommand);
        assert_eq!(
            word("-ERR User 'app' not found\r\n"),
            Word::Denied("ERR User 'app' not found".to_string())
        );
    }

    /// Nothing else than OK grants anything.
    #[test]
    fn who_does_not_judge_does_not_grant() {
        for reply in [
            "-NOPERM this user has no permissions to run the 'acl|dryrun' command\r\n",
            "-ERR Unknown subcommand or wrong number of arguments for 'DRYRUN'. Try ACL HELP.\r\n",
            "-ERR unknown command 'ACL'\r\n",
            "-LOADING Redis is loading the dataset in memory\r\n",
            "$0\r\n\r\n",
            "$-1\r\n",
            ":1\r\n",
            "*0\r\n",
            "$3\r\nok!\r\n",
        ] {
            assert_ne!(word(reply), Word::Granted, "{reply}");
            assert_ne!(word(reply), Word::NoCommand, "{reply}");
        }
    }
}
