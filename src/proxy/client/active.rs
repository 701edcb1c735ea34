//! `Active`: how many clients have recently asked for something. It tells several active clients from one client that
//! asks quickly, which a rate of requests cannot (see `coalesce`).

use crate::clock::Time;

/// A window in which clients are counted, in microseconds as a power of two.
const WINDOW_BITS: u32 = 10;

/// How many different clients sent something in this window, and in the one before.
#[derive(Debug, Default)]
pub struct Active {
    window: u32,
    count: usize,
    before: usize,
}

/// The window that a time lies in.
#[inline(always)]
fn window(now: Time) -> u32 {
    (now.as_micros() >> WINDOW_BITS) as u32
}

impl Active {
    /// A client sends something. `seen_in` is the window that it was last seen in, for this to keep.
    #[inline(always)]
    pub fn note(&mut self, seen_in: &mut u32, now: Time) {
        let now = window(now);
        if *seen_in != now {
            *seen_in = now;
            self.count_in(now);
        }
    }

    #[inline(never)]
    fn count_in(&mut self, now: u32) {
        if self.window != now {
            let follows = self.window.wrapping_add(1) == now;
            self.before = if follows { self.count } else { 0 };
            self.count = 0;
            self.window = now;
        }
        self.count += 1;
    }

    /// Clients that sent something in this window, or in the one before if those were more.
    pub fn clients(&self, now: Time) -> usize {
        match window(now).wrapping_sub(self.window) {
            0 => self.count.max(self.before),
            1 => self.count,
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_are_counted_once_a_window_and_forgotten_after_two() {
        let mut active = Active::default();
        let at = Time::from_micros;
        let mut clients = [0u32; 5];
        for now in [5000, 5001, 5002] {
            for client in &mut clients[..3] {
                active.note(client, at(now));
            }
        }
        assert_eq!(active.clients(at(5003)), 3);
        active.note(&mut clients[4], at(5200));
        assert_eq!(active.clients(at(5201)), 3, "there were more just before");
        assert_eq!(active.clients(at(6300)), 1);
        assert_eq!(active.clients(at(8300)), 0);
        active.note(&mut clients[0], at(20_000));
        assert_eq!(active.clients(at(20_000)), 1);
    }
}
