//! SIGUSR2: starts a new process of the program as it lies on the disk now, with the arguments of this one. It takes
//! over by itself (`-take-over`); this one only tells of it.

use std::env;
use std::io;
use std::process::{Child, Command, Stdio};
use std::thread;

/// What the service manager has said to this process and not to its successor.
const OWN_VARIABLES: [&str; 4] = ["LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "WATCHDOG_PID"];

/// Starts it.
pub fn start() {
    match begin() {
        Ok(id) => log::info!("SIGUSR2: started process {id} to take over"),
        Err(error) => log::error!("SIGUSR2: cannot start a new process, serving on: {error}"),
    }
}

fn begin() -> io::Result<u32> {
    let mut words = env::args_os();
    let program = words.next();
    let program = program.ok_or_else(|| io::Error::other("this process has no name"))?;
    let mut command = Command::new(program);
    command.args(words).stdin(Stdio::null());
    for variable in OWN_VARIABLES {
        command.env_remove(variable);
    }
    let child = command.spawn()?;
    let id = child.id();
    let thread = thread::Builder::new().name("successor".to_string());
    thread.spawn(move || tell_of_end(child))?;
    Ok(id)
}

/// If it ends while this process lives, it has not taken over.
fn tell_of_end(mut child: Child) {
    let id = child.id();
    match child.wait() {
        Ok(status) => log::error!("process {id}, which was to take over, has ended: {status}"),
        Err(error) => log::warn!("cannot wait for process {id}: {error}"),
    }
}
