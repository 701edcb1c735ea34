//! [`LogFile`]: where log lines end up: a file that is bounded and can be reopened, or standard error.
//!
//! Not the crate `file-rotate` (0.8): it drops lines while the file cannot be opened, panics if the folder cannot be
//! created, cuts a line in two at its bound, cannot handle devices or reopening, and brings `chrono` and `flate2`.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// A file, appended to, or standard error while there is none.
#[derive(Debug)]
pub(super) struct LogFile {
    /// Where the file should be; `None` is standard error.
    path: Option<PathBuf>,
    /// Most bytes in the file before it is moved aside.
    bytes_max: u64,
    /// The file, while it could be opened.
    file: Option<OpenFile>,
    /// What went wrong, until someone takes it.
    warning: Option<String>,
}

#[derive(Debug)]
struct OpenFile {
    file: File,
    bytes: u64,
    /// A device or a pipe is neither measured nor moved aside.
    regular: bool,
}

impl LogFile {
    /// A log that is not open yet: it writes to standard error.
    pub(super) fn new(path: Option<PathBuf>, bytes_max: u64) -> LogFile {
        LogFile {
            path,
            bytes_max,
            file: None,
            warning: None,
        }
    }

    /// Opens the file, again if it was open: under its name there may be another one by now.
    pub(super) fn open(&mut self) {
        let Some(path) = &self.path else { return };
        self.file = match open_append(path) {
            Ok(file) => Some(file),
            Err(error) => {
                self.warning = Some(format!(
                    "cannot open the log file {}: {error}; logging to standard error",
                    path.display()
                ));
                None
            }
        };
    }

    /// Writes whole lines. The file stays within its bound unless `lines` alone is beyond it.
    pub(super) fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        let grown = |open: &OpenFile| open.bytes + lines.len() as u64;
        let full = |open: &OpenFile| open.regular && open.bytes > 0 && grown(open) > self.bytes_max;
        if self.file.as_ref().is_some_and(full) {
            self.rotate();
        }
        match &mut self.file {
            Some(open) => {
                open.file.write_all(lines)?;
                open.bytes += lines.len() as u64;
                Ok(())
            }
            None => io::stderr().write_all(lines),
        }
    }

    /// What went wrong since the last call.
    pub(super) fn take_warning(&mut self) -> Option<String> {
        self.warning.take()
    }

    /// Moves the full file aside, over the one that was moved before, and starts anew. Where that is not
    /// allowed the file is emptied: the bound is worth more than old lines.
    fn rotate(&mut self) {
        let (Some(path), Some(open)) = (&self.path, &mut self.file) else {
            return;
        };
        match fs::rename(path, rotated_path(path)) {
            Ok(()) => self.open(),
            Err(error) => {
                let emptied = open.file.set_len(0);
                open.bytes = 0;
                self.warning = Some(format!(
                    "cannot move the full log file {} aside: {error}; {}",
                    path.display(),
                    match emptied {
                        Ok(()) => "emptied it".to_string(),
                        Err(error) => format!("cannot empty it either: {error}"),
                    }
                ));
            }
        }
    }
}

fn open_append(path: &Path) -> io::Result<OpenFile> {
    let file = OpenOptions::new().append(true).create(true).open(path)?;
    let metadata = file.metadata()?;
    Ok(OpenFile {
        file,
        bytes: metadata.len(),
        regular: metadata.is_file(),
    })
}

/// `<file>.1`.
fn rotated_path(path: &Path) -> PathBuf {
    let mut rotated = path.as_os_str().to_owned();
    rotated.push(".1");
    PathBuf::from(rotated)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(path: &Path) -> String {
        fs::read_to_string(path).unwrap()
    }

    #[test]
    fn a_file_is_appended_to() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.log");
        fs::write(&path, "old\n").unwrap();
        let mut log = LogFile::new(Some(path.clone()), 100);
        log.open();
        log.write(b"new\n").unwrap();
        assert_eq!(read(&path), "old\nnew\n");
        assert_eq!(log.take_warning(), None);
    }

    #[test]
    fn a_full_file_is_moved_aside_and_one_old_one_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.log");
        let mut log = LogFile::new(Some(path.clone()), 8);
        log.open();
        for line in ["one\n", "two\n", "three\n", "four\n", "beyond the bound\n"] {
            log.write(line.as_bytes()).unwrap();
        }
        assert_eq!(read(&path), "beyond the bound\n");
        assert_eq!(read(&rotated_path(&path)), "four\n");
        log.write(b"six\n").unwrap();
        assert_eq!(read(&path), "six\n");
        assert_eq!(read(&rotated_path(&path)), "beyond the bound\n");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
        assert_eq!(log.take_warning(), None);
    }

    #[test]
    fn what_the_file_held_before_counts() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.log");
        fs::write(&path, "1234567\n").unwrap();
        let mut log = LogFile::new(Some(path.clone()), 8);
        log.open();
        log.write(b"x\n").unwrap();
        assert_eq!(read(&path), "x\n");
        assert_eq!(read(&rotated_path(&path)), "1234567\n");
    }

    #[test]
    fn a_file_that_cannot_be_moved_aside_is_emptied() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.log");
        // A folder in the way: no rename goes over it, whoever asks.
        fs::create_dir(rotated_path(&path)).unwrap();
        let mut log = LogFile::new(Some(path.clone()), 8);
        log.open();
        log.write(b"one\n").unwrap();
        log.write(b"second\n").unwrap();
        assert_eq!(read(&path), "second\n");
        let warning = log.take_warning().unwrap();
        assert!(warning.ends_with("; emptied it"), "{warning}");
    }

    #[test]
    fn opened_anew_it_follows_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.log");
        let aside = folder.path().join("aside");
        let mut log = LogFile::new(Some(path.clone()), 100);
        log.open();
        log.write(b"one\n").unwrap();
        fs::rename(&path, &aside).unwrap();
        log.write(b"two\n").unwrap();
        log.open();
        log.write(b"three\n").unwrap();
        assert_eq!(read(&aside), "one\ntwo\n");
        assert_eq!(read(&path), "three\n");
    }

    #[test]
    fn a_file_that_cannot_be_opened_is_standard_error_until_it_can() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("missing").join("a.log");
        let mut log = LogFile::new(Some(path.clone()), 100);
        log.open();
        let warning = log.take_warning().unwrap();
        assert!(warning.starts_with("cannot open the log file "));
        assert!(warning.ends_with("; logging to standard error"));
        assert!(log.file.is_none());
        fs::create_dir(path.parent().unwrap()).unwrap();
        log.open();
        log.write(b"one\n").unwrap();
        assert_eq!(read(&path), "one\n");
        assert_eq!(log.take_warning(), None);
    }

    #[test]
    fn a_device_is_never_moved_aside() {
        let mut log = LogFile::new(Some("/dev/null".into()), 1);
        log.open();
        log.write(b"one\n").unwrap();
        log.write(b"two\n").unwrap();
        assert_eq!(log.take_warning(), None);
        assert!(!log.file.unwrap().regular);
    }
}
