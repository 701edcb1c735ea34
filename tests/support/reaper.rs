//! The reaper: one `sh` beside a test process, which outlives it and cleans up after it. It reads from a pipe
//! which processes to end; the pipe closes when the test process is gone, by whatever death, even with a
//! cluster in a `static`, whose `Drop` never runs.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Mutex, OnceLock};

const SCRIPT: &str = r#"
trap '' INT TERM HUP
pids=" "
while read -r sign pid; do
    case $sign in
        +) pids="$pids$pid " ;;
        -) case $pids in *" $pid "*) pids="${pids%% $pid *} ${pids#* $pid }" ;; esac ;;
    esac
done
for pid in $pids; do kill -9 "$pid" 2>/dev/null; done
rm -rf -- "$1"
"#;

struct Reaper {
    pipe: Mutex<ChildStdin>,
    folder: PathBuf,
    _shell: Child,
}

fn reaper() -> &'static Reaper {
    static REAPER: OnceLock<Reaper> = OnceLock::new();
    REAPER.get_or_init(|| {
        let folder = tempfile::Builder::new()
            .prefix("redis-cluster-proxy-test-")
            .tempdir()
            .expect("a temp folder")
            .keep();
        let mut child = Command::new("sh")
            .args(["-c", SCRIPT, "reaper"])
            .arg(&folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("sh runs");
        let pipe = Mutex::new(child.stdin.take().expect("its stdin is a pipe"));
        Reaper {
            pipe,
            folder,
            _shell: child,
        }
    })
}

/// A folder for all that this test process writes; gone when the process is.
pub fn folder() -> &'static Path {
    &reaper().folder
}

/// A process was started: end it with us.
pub fn started(pid: u32) {
    tell('+', pid);
}

/// A process has ended and was waited for: its number may be another's now.
pub fn ended(pid: u32) {
    tell('-', pid);
}

fn tell(sign: char, pid: u32) {
    let mut pipe = reaper()
        .pipe
        .lock()
        .unwrap_or_else(|poison| poison.into_inner());
    writeln!(pipe, "{sign} {pid}").expect("the reaper reads");
}
