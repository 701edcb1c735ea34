//! MONITOR: shows each request as a line to every client that asked for it, on whichever worker.
//!
//! A MONITOR client that reads too slowly is closed: it would miss lines, and nobody waits for it.

use std::sync::atomic::Ordering;

use crate::clock::Time;
use crate::command::{AclCategories, Class, Command, Flags, redact};
use crate::config::Listen;
use crate::proxy::client::{Client, Parting};
use crate::proxy::ids::ClientId;
use crate::proxy::messages::monitor_feed::Lines;
use crate::proxy::messages::worker_query::WorkerMessage;
use crate::proxy::pipeline::client_reply::ClientReply;
use crate::proxy::request::Request;
use crate::proxy::state::Proxy;

/// A line's memory is kept for the next up to here.
const KEPT_LINE: usize = 64 << 10;
/// Bytes that are copied in the time that one more short line takes.
const SHORT_BYTES: usize = 256;

impl Proxy {
    /// A client has become a monitor.
    pub(in crate::proxy) fn add_monitor(&mut self, id: ClientId) {
        debug_assert!(!self.monitors.contains(&id));
        self.monitors.push(id);
        self.tell_monitors();
        self.process.watchers.add();
    }

    /// A client is no monitor any more.
    pub(in crate::proxy) fn remove_monitor(&mut self, id: ClientId) {
        let Some(at) = self.monitors.iter().position(|monitor| *monitor == id) else {
            return;
        };
        self.monitors.swap_remove(at);
        self.tell_monitors();
        self.process.watchers.sub();
    }

    fn tell_monitors(&self) {
        self.process.monitors[self.worker].store(self.monitors.len(), Ordering::Relaxed);
    }

    /// Shows a request to all monitors.
    pub(in crate::proxy) fn show(&mut self, request: &Request<'_>) {
        let &Request {
            client: id,
            command,
            args,
            now,
        } = request;
        let Some(client) = self.clients.get(id) else {
            return;
        };
        if !is_shown(command)
            || !(0..self.monitor_feeds.len()).any(|worker| self.process.has_monitors(worker))
        {
            return;
        }
        let mut line = std::mem::take(&mut self.scratch.line);
        line.clear();
        line.push(b'+');
        let wall = self.process.wall_clock(now);
        line.extend_from_slice(
            format!(
                "{}.{:06} [{} ",
                wall.as_secs(),
                wall.subsec_micros(),
                client.session.shown_database()
            )
            .as_bytes(),
        );
        line.extend_from_slice(client.origin().as_bytes());
        line.push(b']');
        let mut hidden = redact::hidden(command, args, Some(&self.table))
            .into_iter()
            .peekable();
        for (index, arg) in args.from(0).enumerate() {
            line.push(b' ');
            let secret = hidden.next_if_eq(&index).is_some();
            quote(&mut line, if secret { redact::REDACTED } else { arg });
        }
        line.extend_from_slice(b"\r\n");
        for worker in 0..self.monitor_feeds.len() {
            if !self.process.has_monitors(worker) {
                continue;
            }
            if worker == self.worker {
                self.show_here(&line, now);
            } else {
                let monitors = self.process.monitors[worker].load(Ordering::Relaxed);
                let most = self.config.limits.monitor_bytes;
                let lines = self.monitor_feeds[worker].add(&line, monitors, most);
                self.send_lines(worker, lines);
            }
        }
        if line.capacity() <= KEPT_LINE {
            self.scratch.line = line;
        }
    }

    /// Hands lines to the monitors of this worker. That is work of whose requests they are, so that fewer of those are
    /// taken in a turn with many monitors; and no more monitors are written to in a turn than subscribers.
    fn show_here(&mut self, lines: &[u8], now: Time) {
        let cost = 1 + lines.len() / SHORT_BYTES;
        self.beside_requests += (cost * self.monitors.len()) as u64;
        let mut at = 0;
        while let Some(id) = self.monitors.get(at).copied() {
            if let Some(client) = self.clients.get_mut(id) {
                if client.owed_bytes() > self.config.limits.monitor_bytes {
                    log::warn!(
                        "closing client {}: it does not read its MONITOR output",
                        client.session.number
                    );
                    // It leaves the list, too.
                    self.drop_client(id, Parting::Overfull, now);
                    continue;
                }
                if client.pipeline.client_reply == ClientReply::On && client.closing.is_none() {
                    client.output.push(lines, &mut self.pool);
                    if !client.flush_queued {
                        client.flush_queued = true;
                        if self.pubsub.outbox.writes(id) {
                            self.actions.flush_client(id);
                        }
                    }
                }
            }
            at += 1;
        }
    }

    /// Sends lines to the monitors of another worker.
    pub(in crate::proxy) fn send_lines(&mut self, worker: usize, lines: Option<Lines>) {
        if let Some(lines) = lines {
            let from = self.worker;
            self.actions
                .send_to_worker(worker, WorkerMessage::Lines { from, lines });
        }
    }

    /// Another worker has lines for the monitors of this one.
    pub(in crate::proxy) fn take_lines(&mut self, lines: &Lines, now: Time) {
        match lines {
            Lines::Whole(lines) => self.show_here(lines, now),
            Lines::Lost => {
                log::warn!("closing MONITOR clients: there are more requests than can be shown");
                while let Some(id) = self.monitors.first().copied() {
                    self.drop_client(id, Parting::Overfull, now);
                }
            }
        }
    }
}

impl Client {
    /// Where it comes from, as MONITOR has it.
    fn origin(&self) -> String {
        match (self.address, &self.local) {
            (None, Some(Listen::Unix(path))) => format!("unix:{}", path.display()),
            (None, _) => "unix:".to_string(),
            (Some(_), _) => self.peer_name(),
        }
    }
}

/// Commands of administrators are too dangerous to be shown. Scripts say that they are to be skipped, but
/// are shown all the same: what they mean is to come before the commands within.
fn is_shown(command: &Command) -> bool {
    let skipped = command.flags.contains(Flags::SKIP_MONITOR)
        && !command.acl.contains(AclCategories::SCRIPTING);
    !command.flags.contains(Flags::ADMIN) && !skipped && !matches!(command.class, Class::Refused(_))
}

/// Bytes in quotes, as `sdscatrepr` of Redis prints them.
fn quote(line: &mut Vec<u8>, bytes: &[u8]) {
    line.push(b'"');
    for byte in bytes {
        match byte {
            b'\\' | b'"' => line.extend_from_slice(&[b'\\', *byte]),
            b'\n' => line.extend_from_slice(b"\\n"),
            b'\r' => line.extend_from_slice(b"\\r"),
            b'\t' => line.extend_from_slice(b"\\t"),
            0x07 => line.extend_from_slice(b"\\a"),
            0x08 => line.extend_from_slice(b"\\b"),
            b' '..=b'~' => line.push(*byte),
            other => {
                const HEX: &[u8; 16] = b"0123456789abcdef";
                let (high, low) = (HEX[usize::from(other >> 4)], HEX[usize::from(other & 15)]);
                line.extend_from_slice(&[b'\\', b'x', high, low]);
            }
        }
    }
    line.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::Table;
    use crate::config::Config;
    use crate::proxy::tests::two_workers::TwoWorkers;

    /// Two workers whose monitors may have so many bytes unread.
    fn workers_with(monitor_bytes: usize) -> TwoWorkers {
        let mut config = Config::default();
        config.limits.monitor_bytes = monitor_bytes;
        TwoWorkers::new(config)
    }

    #[test]
    fn lines_of_another_worker_come_by_one_message_and_in_order() {
        let mut rig = workers_with(1000);
        let (monitor, other) = (rig.accept(0), rig.accept(1));
        rig.send(1, other, "PING before\r\n");
        rig.send(0, monitor, "MONITOR\r\n");
        rig.send(1, other, "PING a\r\n");
        rig.send(1, other, "PING b\r\n");
        assert_eq!(rig.messages.len(), 1);
        rig.read_messages();
        let received = rig.received(0, monitor);
        let words: Vec<&str> = received
            .lines()
            .map(|line| line.rsplit("] ").next().unwrap())
            .collect();
        assert_eq!(words, ["+OK", "\"PING\" \"a\"", "\"PING\" \"b\""]);
        rig.send(0, monitor, "RESET\r\n");
        rig.send(1, other, "PING c\r\n");
        assert!(rig.messages.is_empty());
        assert!(!rig.workers[0].process.watchers.any());
        assert_eq!(rig.received(0, monitor), "+RESET\r\n");
    }

    #[test]
    fn a_monitor_that_would_miss_lines_is_closed() {
        // It does not read.
        let mut rig = workers_with(200);
        let (monitor, other) = (rig.accept(0), rig.accept(0));
        rig.send(0, monitor, "MONITOR\r\n");
        for _ in 0..10 {
            rig.send(0, other, "PING a\r\n");
        }
        assert_eq!(rig.workers[0].clients(), 1);
        assert!(!rig.workers[0].process.watchers.any());
        // Its worker does not.
        let mut rig = workers_with(200);
        let (monitor, other) = (rig.accept(0), rig.accept(1));
        rig.send(0, monitor, "MONITOR\r\n");
        for _ in 0..10 {
            rig.send(1, other, "PING a\r\n");
        }
        rig.read_messages();
        assert_eq!((rig.workers[0].clients(), rig.workers[1].clients()), (0, 1));
        assert!(!rig.workers[0].process.watchers.any());
    }

    #[test]
    fn bytes_are_quoted_as_in_redis() {
        let mut line = Vec::new();
        quote(&mut line, b"a\x00\n\r\t\x07\x08\"\\\xff v");
        assert_eq!(line, br#""a\x00\n\r\t\a\b\"\\\xff v""#);
    }

    #[test]
    fn what_is_not_shown() {
        let table = Table::compiled();
        let row = |name: &str| table.named(name.as_bytes()).unwrap();
        for (name, expected) in [
            ("get", true),
            ("eval", true),
            ("client|setname", true),
            ("client|list", false),
            ("config|get", false),
            ("monitor", false),
        ] {
            assert_eq!(is_shown(row(name)), expected, "{name}");
        }
    }
}
