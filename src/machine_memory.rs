//! How much memory the process may have at most: what the machine has, what its cgroup (version 1 or 2) allows, and what
//! is left of its address space (`ulimit -v`). Read once at start.

use std::fs;
use std::path::Path;

use rustix::process::{Resource, getrlimit};

/// Bytes; nothing if the system says nothing.
pub fn bytes() -> Option<u64> {
    let machine = fs::read_to_string("/proc/meminfo").ok();
    let machine = machine.and_then(|text| kib(&text, "MemTotal:"));
    let cgroups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let cgroup = cgroup_bytes(&cgroups, Path::new("/sys/fs/cgroup"));
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let taken = kib(&status, "VmSize:").unwrap_or(0);
    let space = getrlimit(Resource::As).current;
    let space = space.map(|limit| limit.saturating_sub(taken));
    [machine, cgroup, space].into_iter().flatten().min()
}

/// The bytes of a line such as `MemTotal:   24684212 kB`.
fn kib(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let number = line.split_ascii_whitespace().next()?;
    number.parse::<u64>().ok()?.checked_mul(1024)
}

/// The least limit of the groups in `cgroups` (`/proc/self/cgroup`) and of those above them. In a container the path of
/// the host may not exist: the root counts then.
fn cgroup_bytes(cgroups: &str, root: &Path) -> Option<u64> {
    let mut least = None;
    for line in cgroups.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else {
            continue;
        };
        let (top, file) = match controllers {
            "" => (root.to_path_buf(), "memory.max"),
            list if list.split(',').any(|one| one == "memory") => {
                (root.join("memory"), "memory.limit_in_bytes")
            }
            _ => continue,
        };
        let own = top.join(path.trim_start_matches('/'));
        for group in own.ancestors().take_while(|group| group.starts_with(&top)) {
            let limit = fs::read_to_string(group.join(file)).unwrap_or_default();
            // `max`, or the file is not there: no limit.
            if let Ok(limit) = limit.trim().parse::<u64>() {
                least = Some(least.map_or(limit, |least: u64| least.min(limit)));
            }
        }
    }
    least
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_limit_of_all_groups_above_counts() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path();
        let write = |path: &str, text: &str| {
            let path = root.join(path);
            fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
            fs::write(path, text).expect("a file");
        };
        write("a/b/memory.max", "max\n");
        write("a/memory.max", "2097152\n");
        assert_eq!(cgroup_bytes("0::/a/b\n", root), Some(2 << 20));
        assert_eq!(cgroup_bytes("0::/elsewhere\n", root), None);
        write("memory/memory.limit_in_bytes", "1048576\n");
        let both = "5:cpu,memory:/c\n3:pids:/c\n0::/a/b\n";
        assert_eq!(cgroup_bytes(both, root), Some(1 << 20));
        assert_eq!(cgroup_bytes("no line\n", root), None);
    }

    #[test]
    fn this_machine_has_memory() {
        assert!(bytes().is_some_and(|bytes| bytes > 16 << 20));
    }
}
