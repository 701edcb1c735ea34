//! `Disk`: the file of users is read and written on a disk that may hang. Each step has a thread of its own, one at a time. Who
//! asks waits for its turn, and then for the step, so long at most. A step that hangs is alone: no other is begun behind it, and
//! whoever asks meanwhile is told.
//!
//! It must never know what is read or written.

use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// How long who asks waits for its turn, and then for the disk.
const PATIENCE: Duration = Duration::from_secs(5);

/// The disk, as far as it is known.
#[derive(Debug)]
pub struct Disk {
    turn: Arc<Turn>,
    patience: Duration,
}

/// Whether a step is under way.
#[derive(Debug, Default)]
struct Turn {
    taken: Mutex<bool>,
    free: Condvar,
}

/// Gives the turn back, however the step ends.
struct Taken(Arc<Turn>);

impl Drop for Taken {
    fn drop(&mut self) {
        *self.0.taken.lock().unwrap_or_else(PoisonError::into_inner) = false;
        self.0.free.notify_one();
    }
}

impl Default for Disk {
    fn default() -> Disk {
        Disk::with(PATIENCE)
    }
}

impl Disk {
    fn with(patience: Duration) -> Disk {
        Disk {
            turn: Arc::default(),
            patience,
        }
    }

    /// What a step returns; an error if the disk has not done it in time. It may do it later.
    pub fn does<T: Send + 'static>(
        &self,
        step: impl FnOnce() -> Result<T, String> + Send + 'static,
    ) -> Result<T, String> {
        let silent = || format!("the disk has not answered within {:?}", self.patience);
        let taken = self.take().ok_or_else(silent)?;
        let (tell, told) = sync_channel(1);
        let work = move || {
            let done = step();
            drop(taken);
            // Who has asked may have gone.
            tell.send(done).ok();
        };
        let thread = thread::Builder::new().name("acl-file".into());
        thread.spawn(work).map_err(|error| error.to_string())?;
        told.recv_timeout(self.patience).map_err(|_| silent())?
    }

    fn take(&self) -> Option<Taken> {
        let turn = &self.turn;
        let lock = turn.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = turn
            .free
            .wait_timeout_while(lock, self.patience, |taken| *taken);
        let (mut taken, _) = waited.unwrap_or_else(PoisonError::into_inner);
        (!std::mem::replace(&mut *taken, true)).then(|| Taken(turn.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    #[test]
    fn a_step_that_hangs_is_told_of_and_nobody_waits_behind_it_for_ever() {
        let disk = Disk::with(Duration::from_millis(20));
        let (wake, sleeps) = channel::<()>();
        let (begun, has_begun) = channel();
        let silent = Err("the disk has not answered within 20ms".to_string());
        let hangs = move || {
            begun.send(()).ok();
            sleeps.recv().ok();
            Ok(1)
        };
        assert_eq!(disk.does(hangs), silent);
        has_begun.recv().expect("it was begun");
        // It is not even begun.
        assert_eq!(
            disk.does(|| -> Result<i32, String> { unreachable!() }),
            silent
        );
        // The disk is back.
        drop(wake);
        let patient = Disk {
            turn: disk.turn.clone(),
            patience: Duration::from_secs(60),
        };
        assert_eq!(patient.does(|| Ok(2)), Ok(2));
        let full = || Err::<i32, String>("No space left on device".to_string());
        assert_eq!(patient.does(full), full());
    }

    #[test]
    fn steps_come_one_after_the_other() {
        let disk = Disk::with(Duration::from_secs(60));
        let under_way = Arc::new(Mutex::new(()));
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..20 {
                        let own = under_way.clone();
                        let alone = move || Ok(own.try_lock().map(drop).is_ok());
                        assert_eq!(disk.does(alone), Ok(true));
                    }
                });
            }
        });
    }
}
