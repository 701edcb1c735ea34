//! `-top URL`: shows the status of a running proxy in a terminal, once a second. If standard output is not a
//! terminal, it prints the status once.
//!
//! It shows `/api/v1/status` and knows nothing else about that proxy. It does not trust it either: the server at the
//! URL must not be able to drive the terminal.
//!
//! Not the crate `crossterm` (0.29): the screen is one constant, and keys are a few calls of `rustix`, which is here
//! already. It would bring `parking_lot` and more.

use std::io::{self, IsTerminal, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

use crate::config::Config;
use crate::control::status::{Command, Status, VERSION};
use crate::control::summary;
use crate::logging::tame::tame;
use crate::net::tls::{self, Channel};
use crate::sort;

const PERIOD: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(5);
/// Bytes of an answer; a status of a thousand nodes is a tenth of it.
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// Characters of an error that are shown.
const ERROR_CHARS_MAX: usize = 300;
/// Commands shown.
const COMMANDS: usize = 12;
/// Clears the screen and goes to its corner.
const CLEAR: &str = "\x1b[2J\x1b[H";

/// Shows the status at the URL of `-top` until `q` or an interrupt.
pub fn run(config: &Config, url: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let fetch = || fetch(url, config);
    if !out.is_terminal() {
        let status = fetch()?;
        return out.write_all(render(&status, None).as_bytes());
    }
    let keys = Keys::watch();
    let mut before: Option<Status> = None;
    loop {
        let page = match fetch() {
            Ok(status) => {
                let page = render(&status, before.as_ref());
                before = Some(status);
                page
            }
            Err(error) => format!("{url}: {error}\n"),
        };
        let size = tcgetwinsize(&out).map_or((80, 24), |size| (size.ws_col, size.ws_row));
        write!(
            out,
            "{CLEAR}{}",
            fit(&page, usize::from(size.0), usize::from(size.1))
        )?;
        out.flush()?;
        if keys.say_quit(PERIOD) {
            return writeln!(out);
        }
    }
}

/// As much of a page as a terminal of this size shows: nothing wraps, nothing scrolls.
fn fit(page: &str, columns: usize, rows: usize) -> String {
    let (columns, rows) = (columns.max(1), rows.max(2) - 1);
    let lines = page.lines().take(rows);
    let cut = |line: &str| line.chars().take(columns).collect::<String>();
    lines.map(cut).collect::<Vec<_>>().join("\r\n")
}

/// The keyboard, whose keys come one by one and are not shown. The terminal is put back when this is dropped.
struct Keys(Option<Termios>);

impl Keys {
    fn watch() -> Keys {
        let stdin = io::stdin();
        let before = tcgetattr(&stdin).ok();
        if let Some(before) = &before {
            let mut single = before.clone();
            // Ctrl-C comes as a key, too, so that the terminal can be put back.
            single
                .local_modes
                .remove(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG);
            // It is a convenience: without it Ctrl-C ends the program.
            tcsetattr(&stdin, OptionalActions::Now, &single).ok();
        }
        Keys(before)
    }

    /// Waits so long. Returns whether `q`, Ctrl-C or the end of the input came.
    fn say_quit(&self, wait: Duration) -> bool {
        if self.0.is_none() {
            thread::sleep(wait);
            return false;
        }
        let stdin = io::stdin();
        let timeout = Timespec {
            tv_sec: wait.as_secs() as i64,
            tv_nsec: i64::from(wait.subsec_nanos()),
        };
        let mut waited = [PollFd::new(&stdin, PollFlags::IN)];
        if !poll(&mut waited, Some(&timeout)).is_ok_and(|ready| ready > 0) {
            return false;
        }
        let mut keys = [0; 64];
        match stdin.lock().read(&mut keys) {
            Ok(0) => true,
            Ok(count) => keys[..count]
                .iter()
                .any(|key| matches!(key, b'q' | b'Q' | 3)),
            Err(_) => false,
        }
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            tcsetattr(io::stdin(), OptionalActions::Now, before).ok();
        }
    }
}

/// Where a status is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target<'a> {
    /// `host:port`.
    pub authority: &'a str,
    /// Whether it speaks TLS.
    pub is_tls: bool,
}

/// `http://host:port` or `https://host:port`, a slash behind it or not.
pub fn target(url: &str) -> Option<Target<'_>> {
    let (rest, is_tls) = match url.strip_prefix("https://") {
        Some(rest) => (rest, true),
        None => (url.strip_prefix("http://")?, false),
    };
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    let (host, port) = authority.rsplit_once(':')?;
    let plain = !host.is_empty() && !authority.contains(['/', ' ', '\r', '\n', '?', '@']);
    let is_whole = plain && port.parse::<u16>().is_ok();
    is_whole.then_some(Target { authority, is_tls })
}

/// What is wrong, maybe in the words of whoever answered: a line, without anything that drives a terminal.
fn bad(text: impl Into<String>) -> io::Error {
    let text: String = tame(&text.into()).chars().take(ERROR_CHARS_MAX).collect();
    io::Error::new(io::ErrorKind::InvalidData, text)
}

fn fetch(url: &str, config: &Config) -> io::Result<Status> {
    let target = target(url).ok_or_else(|| bad("not http://host:port or https://host:port"))?;
    let authority = target.authority;
    let address = authority.to_socket_addrs()?.next();
    let address = address.ok_or_else(|| bad("no such host"))?;
    let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let host = authority
        .rsplit_once(':')
        .map_or(authority, |(host, _)| host);
    let mut channel = match target.is_tls {
        true => tls::open(stream, host, config.tls.authorities.as_deref())?,
        false => Channel::plain(stream),
    };
    let mut request = format!("GET /api/v1/status HTTP/1.1\r\nHost: {authority}\r\n").into_bytes();
    if let Some(token) = &config.debug_token {
        request.extend_from_slice(b"Authorization: Bearer ");
        request.extend_from_slice(token.expose());
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"Connection: close\r\n\r\n");
    channel.write_all(&request)?;
    let answer = read_all(channel)?;
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

/// Reads to the end, for at most [`PATIENCE`] and [`ANSWER_BYTES_MAX`].
fn read_all(mut channel: Channel) -> io::Result<Vec<u8>> {
    let deadline = Instant::now() + PATIENCE;
    let (mut answer, mut chunk) = (Vec::new(), vec![0; 64 << 10]);
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        channel.stream().set_read_timeout(Some(left))?;
        match channel.read(&mut chunk)? {
            0 => return Ok(answer),
            count => answer.extend_from_slice(&chunk[..count]),
        }
        if answer.len() > ANSWER_BYTES_MAX {
            return Err(bad("the answer is too long"));
        }
    }
}

/// The page: the summary, and the commands that took most.
fn render(status: &Status, before: Option<&Status>) -> String {
    let lines: Vec<String> = summary::lines(status)
        .iter()
        .map(|line| tame(line))
        .collect();
    let mut page = lines.join("\n");
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
    sort::by_key(&mut commands, |command| std::cmp::Reverse(calls(command)));
    page += &format!(
        "\n\n{:<24}{:>10}{:>13}{:>9}{:>9}{:>9}{:>9}{:>9}\n",
        "COMMAND", "CALLS/S", "CALLS", "P50 10S", "P99 10S", "P50 US", "P99 US", "ERRORS"
    );
    for command in commands.into_iter().take(COMMANDS) {
        let rate = calls(command) as f64 / period.max(0.001);
        page += &format!(
            "{:<24}{rate:>10.0}{:>13}{:>9}{:>9}{:>9}{:>9}{:>9}\n",
            tame(&command.name),
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
    fn a_page_fits_the_terminal() {
        let page = "first line\nsecond\nthird\nfourth\n";
        assert_eq!(fit(page, 5, 3), "first\r\nsecon");
        assert_eq!(fit(page, 80, 24), "first line\r\nsecond\r\nthird\r\nfourth");
        assert_eq!(fit(page, 0, 0), "f");
    }

    #[test]
    fn a_url_is_a_host_and_a_port() {
        for (url, expected) in [
            ("http://127.0.0.1:9090", Some(("127.0.0.1:9090", false))),
            ("http://[::1]:9090/", Some(("[::1]:9090", false))),
            ("https://proxy:1", Some(("proxy:1", true))),
            ("http://proxy:1/x", None),
            ("ftp://proxy:1", None),
            ("http://proxy", None),
            ("http://:1", None),
            ("http://a b:1", None),
        ] {
            let found = target(url).map(|target| (target.authority, target.is_tls));
            assert_eq!(found, expected, "{url}");
        }
    }
}
