//! The bounded queue between those who speak and the log thread, and that thread's loop.
//!
//! Invariant: `taken + lost when full` is what was sent; a line that was taken is written in order, or
//! counted as dropped when its write fails.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, SystemTime};

use log::Level;

use super::file::LogFile;
use super::line;

/// How long lines are gathered before they are written.
const GATHER: Duration = Duration::from_millis(20);
/// Bytes gathered from the queue before they are written.
const BATCH_BYTES: usize = 64 << 10;

/// What goes through the queue.
#[derive(Debug)]
enum Message {
    /// A line to write.
    Line(String),
    /// Nothing to write, but a flag to look at.
    Wake,
}

/// What both ends see.
#[derive(Debug, Default)]
struct Shared {
    /// Messages that the queue took.
    queued: AtomicU64,
    /// Messages that the log thread is done with; may be ahead of `queued` for a moment.
    done: Mutex<u64>,
    /// Told when `done` has grown.
    progress: Condvar,
    /// Lines lost.
    dropped: AtomicU64,
    /// The file is to be opened anew.
    reopen: AtomicBool,
}

/// The speakers' end.
#[derive(Debug, Clone)]
pub(super) struct LineSender {
    messages: SyncSender<Message>,
    shared: Arc<Shared>,
}

/// The log thread's end.
#[derive(Debug)]
pub(super) struct LineReceiver {
    messages: Receiver<Message>,
    shared: Arc<Shared>,
    /// How many lost lines the log already told of.
    dropped_told: u64,
}

/// Makes a queue of at most `lines_max` lines.
pub(super) fn bounded(lines_max: usize) -> (LineSender, LineReceiver) {
    assert!(lines_max > 0, "a queue without room would drop every line");
    let (sender, receiver) = sync_channel(lines_max);
    let shared = Arc::new(Shared::default());
    let lines = LineSender {
        messages: sender,
        shared: Arc::clone(&shared),
    };
    let receiver = LineReceiver {
        messages: receiver,
        shared,
        dropped_told: 0,
    };
    (lines, receiver)
}

impl LineSender {
    /// Hands over a line if there is room, else counts it.
    pub(super) fn send(&self, line: String) {
        match self.messages.try_send(Message::Line(line)) {
            Ok(()) => {
                self.shared.queued.fetch_add(1, Ordering::Release);
            }
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.shared.dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Has the file opened anew, before any line that is sent from now on.
    pub(super) fn ask_reopen(&self) {
        self.shared.reopen.store(true, Ordering::Release);
        // A full queue needs no wake: the thread has its next look at the flag ahead of it.
        if self.messages.try_send(Message::Wake).is_ok() {
            self.shared.queued.fetch_add(1, Ordering::Release);
        }
    }

    /// Whether both lead to the same file.
    pub(super) fn is(&self, other: &LineSender) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }

    /// Lines lost so far.
    pub(super) fn dropped(&self) -> u64 {
        self.shared.dropped.load(Ordering::Relaxed)
    }

    /// Waits until all that the queue has taken is done with, or until `wait` is over.
    pub(super) fn wait_written(&self, wait: Duration) -> bool {
        let target = self.shared.queued.load(Ordering::Acquire);
        let done = self
            .shared
            .done
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let (done, _) = self
            .shared
            .progress
            .wait_timeout_while(done, wait, |done| *done < target)
            .unwrap_or_else(PoisonError::into_inner);
        *done >= target
    }
}

impl LineReceiver {
    /// The log thread: writes until every sender is gone.
    pub(super) fn write_all_to(mut self, mut file: LogFile) {
        file.open();
        self.warn(&mut file);
        while let Ok(first) = self.messages.recv() {
            // While nobody waits for lines, sending one wakes nobody: a worker then makes no system call.
            thread::sleep(GATHER);
            let (batch, lines, messages) = self.gather(first);
            if self.shared.reopen.swap(false, Ordering::AcqRel) {
                file.open();
                self.warn(&mut file);
            }
            self.write(&mut file, &batch, lines);
            self.tell_dropped(&mut file);
            self.warn(&mut file);
            self.settle(messages);
        }
    }

    /// What is in the queue, up to a batch: the bytes, and how many lines and messages they were.
    fn gather(&self, first: Message) -> (Vec<u8>, u64, u64) {
        let mut batch = Vec::new();
        let (mut lines, mut messages) = (0, 0);
        let mut next = Some(first);
        while let Some(message) = next {
            messages += 1;
            match message {
                Message::Line(line) => {
                    batch.extend_from_slice(line.as_bytes());
                    lines += 1;
                }
                Message::Wake => {}
            }
            next = if batch.len() < BATCH_BYTES {
                self.messages.try_recv().ok()
            } else {
                None
            };
        }
        (batch, lines, messages)
    }

    /// Writes a batch; a failure loses its lines, for there is nowhere else to say so.
    fn write(&self, file: &mut LogFile, batch: &[u8], lines: u64) {
        if !batch.is_empty() && file.write(batch).is_err() {
            self.shared.dropped.fetch_add(lines, Ordering::Relaxed);
        }
    }

    /// Writes a line about lines lost since the last such line, if any. It is tried again if it is lost.
    fn tell_dropped(&mut self, file: &mut LogFile) {
        let dropped = self.shared.dropped.load(Ordering::Relaxed);
        if dropped == self.dropped_told {
            return;
        }
        let lost = dropped - self.dropped_told;
        let line = line::text(
            SystemTime::now(),
            Level::Warn,
            format_args!("{lost} log lines dropped, {dropped} since the start"),
        );
        if file.write(line.as_bytes()).is_ok() {
            self.dropped_told = dropped;
        }
    }

    /// Writes what the file itself has to say.
    fn warn(&self, file: &mut LogFile) {
        if let Some(warning) = file.take_warning() {
            let line = line::text(SystemTime::now(), Level::Warn, format_args!("{warning}"));
            self.write(file, line.as_bytes(), 1);
        }
    }

    /// Tells those who wait how far the log is.
    fn settle(&self, messages: u64) {
        let mut done = self
            .shared
            .done
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *done += messages;
        self.shared.progress.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn a_full_queue_drops_counts_and_tells() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.log");
        let (sender, receiver) = bounded(2);
        for line in ["1\n", "2\n", "3\n", "4\n", "5\n"] {
            sender.send(line.to_string());
        }
        assert_eq!(sender.dropped(), 3);
        drop(sender);
        // Without senders it writes what is there and returns.
        receiver.write_all_to(LogFile::new(Some(path.clone()), 1000));
        let text = fs::read_to_string(&path).unwrap();
        let told = text.strip_prefix("1\n2\n").unwrap();
        assert!(
            told.ends_with(" WARN 3 log lines dropped, 3 since the start\n"),
            "{told:?}"
        );
        assert_eq!(told.lines().count(), 1);
    }

    #[test]
    fn a_failed_write_is_counted() {
        let (sender, receiver) = bounded(8);
        sender.send("1\n".to_string());
        sender.send("2\n".to_string());
        let shared = Arc::clone(&sender.shared);
        drop(sender);
        // Every write to it fails: no space left.
        receiver.write_all_to(LogFile::new(Some("/dev/full".into()), 1000));
        assert_eq!(shared.dropped.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn nothing_is_written_while_nobody_writes() {
        let (sender, _receiver) = bounded(2);
        assert!(sender.wait_written(Duration::ZERO));
        sender.send("1\n".to_string());
        assert!(!sender.wait_written(Duration::ZERO));
    }

    #[test]
    fn without_a_log_thread_lines_are_counted() {
        let (sender, receiver) = bounded(2);
        drop(receiver);
        sender.send("1\n".to_string());
        sender.ask_reopen();
        assert_eq!(sender.dropped(), 1);
        assert!(sender.wait_written(Duration::ZERO));
    }

    #[test]
    fn reopening_comes_before_what_is_sent_after_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.log");
        let aside = folder.path().join("aside");
        let (sender, receiver) = bounded(8);
        let file = LogFile::new(Some(path.clone()), 1000);
        let thread = std::thread::spawn(move || receiver.write_all_to(file));
        sender.send("1\n".to_string());
        assert!(sender.wait_written(LONG));
        fs::rename(&path, &aside).unwrap();
        sender.ask_reopen();
        sender.send("2\n".to_string());
        assert!(sender.wait_written(LONG));
        assert_eq!(fs::read_to_string(&aside).unwrap(), "1\n");
        assert_eq!(fs::read_to_string(&path).unwrap(), "2\n");
        drop(sender);
        thread.join().unwrap();
    }

    #[test]
    fn a_large_backlog_is_written_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.log");
        let (sender, receiver) = bounded(20_000);
        let mut expected = String::new();
        for number in 0..20_000 {
            let line = format!("line {number}\n");
            expected.push_str(&line);
            sender.send(line);
        }
        drop(sender);
        assert!(expected.len() > 2 * BATCH_BYTES);
        receiver.write_all_to(LogFile::new(Some(path.clone()), 1 << 20));
        assert!(fs::read_to_string(&path).unwrap() == expected);
    }
}
