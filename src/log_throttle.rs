//! `LogThrottle`: warnings that peers can cause as often as they like are logged once a second, with the number of those
//! that were not logged. `LogOnce`: warnings about what lasts are logged once, until it is over.

use std::collections::HashSet;
use std::time::Duration;

use crate::clock::Time;

const PERIOD: Duration = Duration::from_secs(1);

/// The warnings of one kind.
#[derive(Debug, Default)]
pub struct LogThrottle {
    silent_until: Time,
    untold: u64,
}

impl LogThrottle {
    /// Writes a warning, or counts it as one that was not written.
    pub fn warn(&mut self, text: &str, now: Time) {
        if let Some(line) = self.line(text, now) {
            log::warn!("{line}");
        }
    }

    fn line(&mut self, text: &str, now: Time) -> Option<String> {
        if now < self.silent_until {
            self.untold += 1;
            return None;
        }
        self.silent_until = now.after(PERIOD);
        Some(match std::mem::take(&mut self.untold) {
            0 => text.to_string(),
            others => format!("{text}; {others} more since the last such line"),
        })
    }
}

/// Texts that `LogOnce` remembers. If there are more, they are logged again.
const TEXTS_MAX: usize = 1000;

/// The warnings of one kind, each about what it names.
#[derive(Debug, Default)]
pub struct LogOnce(HashSet<String>);

impl LogOnce {
    /// Writes a warning, if it was not written since what it is about was last over.
    pub fn warn(&mut self, text: String) {
        match self.is_new(&text) {
            true => log::warn!("{text}"),
            false => log::debug!("{text}"),
        }
    }

    /// What begins so is over.
    pub fn over(&mut self, name: &str) {
        self.0.retain(|text| !text.starts_with(name));
    }

    fn is_new(&mut self, text: &str) -> bool {
        if self.0.contains(text) {
            return false;
        }
        if self.0.len() >= TEXTS_MAX {
            self.0.clear();
        }
        self.0.insert(text.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_a_second_says_how_many_there_were_not() {
        let mut throttle = LogThrottle::default();
        let mut at = |millis: u64| throttle.line("so", Time::from_micros(millis * 1000));
        assert_eq!(at(1).as_deref(), Some("so"));
        assert_eq!((at(2), at(1000)), (None, None));
        let expected = "so; 2 more since the last such line";
        assert_eq!(at(1001).as_deref(), Some(expected));
        assert_eq!(at(9000).as_deref(), Some("so"));
    }

    #[test]
    fn what_lasts_is_told_of_once_and_again_when_it_was_over() {
        let mut once = LogOnce::default();
        assert!(once.is_new("a: lost") && !once.is_new("a: lost"));
        assert!(once.is_new("b: lost"));
        once.over("a: ");
        assert!(once.is_new("a: lost") && !once.is_new("b: lost"));
        (0..=TEXTS_MAX).for_each(|number| assert!(once.is_new(&number.to_string())));
        assert!(once.0.len() <= TEXTS_MAX && once.is_new("b: lost"));
    }
}
