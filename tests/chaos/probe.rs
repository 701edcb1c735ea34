//! Probes: one request at a time on a slot that never moves, through the proxy and beside it. The longest
//! time between two successes is the outage.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use super::client::DEADLINE;
use super::ledger::wall;
use crate::support::{Conn, Ground};

const PERIOD: Duration = Duration::from_millis(5);

/// The times of all successes, in wall-clock microseconds.
#[derive(Debug, Default)]
pub struct Successes(Mutex<Vec<u64>>);

impl Successes {
    fn note(&self) {
        self.0.lock().expect("no panic holds it").push(wall());
    }

    pub fn last(&self) -> u64 {
        let times = self.0.lock().expect("no panic holds it");
        times.last().copied().unwrap_or(0)
    }

    /// The longest time without a success that began after `first` or was on then.
    pub fn outage(&self, first: u64) -> Duration {
        let times = self.0.lock().expect("no panic holds it");
        let start = times.partition_point(|at| *at < first).saturating_sub(1);
        let mut longest = 0;
        for pair in times[start..].windows(2) {
            longest = longest.max(pair[1] - pair[0]);
        }
        let open = times.last().map_or(0, |last| wall() - last);
        Duration::from_micros(longest.max(open))
    }
}

/// Through the proxy.
pub fn through(addr: String, key: String, stop: Arc<AtomicBool>) -> Arc<Successes> {
    let successes = Arc::new(Successes::default());
    let noted = Arc::clone(&successes);
    thread::spawn(move || {
        while !stop.load(Ordering::Relaxed) {
            let Ok(mut conn) = Conn::try_connect(&addr) else {
                thread::sleep(PERIOD);
                continue;
            };
            conn.set_deadline(DEADLINE);
            while !stop.load(Ordering::Relaxed) {
                match conn.try_command(&["SET", &key, "probe"]) {
                    Ok(reply) if reply == "OK" => noted.note(),
                    Ok(_) => {}
                    Err(_) => break,
                }
                thread::sleep(PERIOD);
            }
        }
    });
    successes
}

/// At the nodes themselves: whichever of these two is the owner.
pub fn beside(
    ground: Arc<Ground>,
    nodes: [usize; 2],
    key: String,
    stop: Arc<AtomicBool>,
) -> Arc<Successes> {
    let successes = Arc::new(Successes::default());
    for index in nodes {
        let (noted, ground) = (Arc::clone(&successes), Arc::clone(&ground));
        let (key, stop) = (key.clone(), Arc::clone(&stop));
        thread::spawn(move || {
            let mut conn = None;
            while !stop.load(Ordering::Relaxed) {
                if conn.is_none() {
                    conn = ground.nodes[index].conn(Duration::from_millis(100));
                }
                match conn
                    .as_mut()
                    .map(|conn| conn.try_command(&["SET", &key, "raw"]))
                {
                    Some(Ok(reply)) if reply == "OK" => noted.note(),
                    Some(Ok(_)) => {}
                    Some(Err(_)) | None => conn = None,
                }
                thread::sleep(PERIOD);
            }
        });
    }
    successes
}
