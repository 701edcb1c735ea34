//! `LogThrottle`: warnings that peers can cause as often as they like are logged once a second, with the number of those
//! that were not logged.

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
}
