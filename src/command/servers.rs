//! `Servers`: what the cluster's servers have said of themselves: their commands and their version.
//!
//! It must never know how they were asked, nor of which nodes there are.

use std::sync::Arc;

use super::{Known, Table};

/// What the servers have said of themselves.
#[derive(Debug, Clone)]
pub struct Servers {
    /// All commands: those compiled in and those learnt.
    pub table: Arc<Table>,
    /// The commands that the servers have; nothing as long as none has said it.
    pub known: Option<Arc<Known>>,
    /// The lowest version among them, as `redis_version` of INFO.
    pub version: Option<String>,
}

impl Servers {
    /// Nothing has been said yet.
    pub fn unknown(table: Arc<Table>) -> Servers {
        Servers {
            table,
            known: None,
            version: None,
        }
    }
}

/// The version that INFO gives.
pub fn version_of(info: &[u8]) -> Option<&str> {
    let mut lines = std::str::from_utf8(info).ok()?.lines();
    let version = lines.find_map(|line| line.strip_prefix("redis_version:"))?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-');
    (!version.is_empty() && version.len() <= 32 && version.bytes().all(plain)).then_some(version)
}

/// What two versions are compared by: the numbers between the dots.
pub fn version_key(version: &str) -> Vec<u32> {
    version
        .split(['.', '-'])
        .map(|part| part.parse().unwrap_or(0))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_stands_in_info() {
        let info = b"# Server\r\nredis_version:7.0.15\r\nredis_git_sha1:0\r\n";
        assert_eq!(version_of(info), Some("7.0.15"));
        assert_eq!(version_of(b"# Server\r\n"), None);
        assert_eq!(version_of(b"redis_version:\r\n"), None);
        assert_eq!(version_of(b"redis_version:7\x1b[2J\r\n"), None);
    }

    #[test]
    fn versions_are_compared_by_their_numbers() {
        assert!(version_key("7.0.15") < version_key("7.2.4"));
        assert!(version_key("7.0.9") < version_key("7.0.15"));
        assert!(version_key("255.255.255") > version_key("9.0.0-rc1"));
    }
}
