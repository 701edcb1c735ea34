//! How the file of users (`-acl-file`) is read and written.
//!
//! It must never know what is in it.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::acl::store::Files;

/// Reading and writing.
pub const FILES: Files = Files { read, write };
/// Longest file that is read.
const BYTES_MAX: u64 = 64 << 20;

fn read(path: &Path) -> Result<String, String> {
    let metadata = fs::metadata(path).map_err(reason)?;
    // Reading a pipe may take for ever.
    if !metadata.is_file() {
        return Err("it is not a regular file".to_string());
    }
    if metadata.len() > BYTES_MAX {
        return Err(format!("it is longer than {BYTES_MAX} bytes"));
    }
    fs::read_to_string(path).map_err(reason)
}

/// What went wrong, in the words of the system's C library, which Redis uses.
fn reason(error: std::io::Error) -> String {
    let text = error.to_string();
    match text.find(" (os error") {
        Some(end) => text[..end].to_string(),
        None => text,
    }
}

/// Writes a new file and puts it in the place of the old one, so that there is one of them at any time. It can be read by
/// whom the old one could be read.
fn write(path: &Path, text: &[u8]) -> Result<(), String> {
    let mode = fs::metadata(path).map_or(0o600, |metadata| metadata.permissions().mode());
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".tmp-{}", std::process::id()));
    let new = PathBuf::from(name);
    let written = File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode & 0o777)
        .open(&new)
        .and_then(|mut file| {
            file.write_all(text)?;
            file.sync_all()
        })
        .and_then(|()| fs::rename(&new, path));
    written.map_err(|error| {
        fs::remove_file(&new).ok();
        format!("cannot write {}: {error}", path.display())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_and_keeps_its_mode() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("users.acl");
        assert_eq!(read(&path), Err("No such file or directory".to_string()));
        let no_file = Err("it is not a regular file".to_string());
        assert_eq!(read(folder.path()), no_file);
        write(&path, b"user a on\n").unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        write(&path, b"user b on\n").unwrap();
        assert_eq!(read(&path).unwrap(), "user b on\n");
        assert_eq!(mode(&path), 0o640);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        assert!(write(&folder.path().join("none/users.acl"), b"").is_err());
    }
}
