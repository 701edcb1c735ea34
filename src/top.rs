//! `-top URL`: the status of a running proxy in a terminal, once a second; where standard output is no terminal
//! it is written once.
//!
//! It shows what `/api/v1/status` says and knows nothing else of that proxy.

use std::io::{self, IsTerminal, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::thread;
use std::time::Duration;

use crate::config::{Config, Secret};
use crate::control::status::{Command, Status, VERSION};
use crate::control::summary;

const PERIOD: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(5);
/// Bytes of an answer; a status of a thousand nodes is a tenth of it.
const ANSWER_BYTES_MAX: u64 = 64 << 20;
/// Commands shown.
const COMMANDS: usize = 12;
/// Clears the screen and goes to its corner.
const CLEAR: &str = "\x1b[2J\x1b[H";

/// Shows the status at the URL of `-top` until interrupted.
pub fn run(config: &Config, url: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let token = config.debug_token.as_ref();
    if !out.is_terminal() {
        let status = fetch(url, token)?;
        return out.write_all(render(&status, None).as_bytes());
    }
    let mut before: Option<Status> = None;
    loop {
        match fetch(url, token) {
            Ok(status) => {
                let page = render(&status, before.as_ref());
                write!(out, "{CLEAR}{page}")?;
                before = Some(status);
            }
            Err(error) => writeln!(out, "{CLEAR}{url}: {error}")?,
        }
        out.flush()?;
        thread::sleep(PERIOD);
    }
}

/// `http://host:port` or `http://host:port/`: the host and port.
pub fn authority(url: &str) -> Option<&str> {
    let rest = url.strip_prefix("http://")?;
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    let (host, port) = authority.rsplit_once(':')?;
    let plain = !host.is_empty() && !authority.contains(['/', ' ', '\r', '\n', '?', '@']);
    (plain && port.parse::<u16>().is_ok()).then_some(authority)
}

fn bad(text: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text.into())
}

fn fetch(url: &str, token: Option<&Secret>) -> io::Result<Status> {
    let authority = authority(url).ok_or_else(|| bad("not http://host:port"))?;
    let address = authority.to_socket_addrs()?.next();
    let address = address.ok_or_else(|| bad("no such host"))?;
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut request = format!("GET /api/v1/status HTTP/1.1\r\nHost: {authority}\r\n").into_bytes();
    if let Some(token) = token {
        request.extend_from_slice(b"Authorization: Bearer ");
        request.extend_from_slice(token.expose());
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"Connection: close\r\n\r\n");
    stream.write_all(&request)?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer)?;
    let answer = String::from_utf8(answer).map_err(|_| bad("the answer is not text"))?;
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .ok_or_else(|| bad("the answer is not HTTP"))?;
    if head.split(' ').nth(1) != Some("200") {
        return Err(bad(body.trim()));
    }
    let status: Status = serde_json::from_str(body).map_err(|error| bad(error.to_string()))?;
    if status.version != VERSION {
        return Err(bad(format!("a status of version {}", status.version)));
    }
    Ok(status)
}

/// The page: the summary, and the commands that took most.
fn render(status: &Status, before: Option<&Status>) -> String {
    let mut page = summary::lines(status).join("\n");
    let period = before.map_or(status.program.uptime, |before| {
        status.program.uptime - before.program.uptime
    });
    let earlier = |name: &str| {
        let mut commands = before.into_iter().flat_map(|before| &before.commands);
        commands.find(|command| command.name == name)
    };
    let calls = |command: &Command| {
        let earlier = earlier(&command.name).map_or(0, |earlier| earlier.latency.count);
        command.latency.count.saturating_sub(earlier)
    };
    // Where nobody called it for ten seconds there is no number.
    let recent = |command: &Command, micros: u64| match command.recent.count {
        0 => "-".to_string(),
        _ => micros.to_string(),
    };
    let mut commands: Vec<&Command> = status.commands.iter().collect();
    commands.sort_by_key(|command| std::cmp::Reverse(calls(command)));
    page += &format!(
        "\n\n{:<24}{:>10}{:>13}{:>9}{:>9}{:>9}{:>9}{:>9}\n",
        "COMMAND", "CALLS/S", "CALLS", "P50 10S", "P99 10S", "P50 US", "P99 US", "ERRORS"
    );
    for command in commands.into_iter().take(COMMANDS) {
        let rate = calls(command) as f64 / period.max(0.001);
        page += &format!(
            "{:<24}{rate:>10.0}{:>13}{:>9}{:>9}{:>9}{:>9}{:>9}\n",
            command.name,
            command.latency.count,
            recent(command, command.recent.p50_us),
            recent(command, command.recent.p99_us),
            command.latency.p50_us,
            command.latency.p99_us,
            command.failed + command.rejected,
        );
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_url_is_a_host_and_a_port() {
        for (url, expected) in [
            ("http://127.0.0.1:9090", Some("127.0.0.1:9090")),
            ("http://[::1]:9090/", Some("[::1]:9090")),
            ("http://proxy:1/x", None),
            ("https://proxy:1", None),
            ("http://proxy", None),
            ("http://:1", None),
            ("http://a b:1", None),
        ] {
            assert_eq!(authority(url), expected, "{url}");
        }
    }
}
