//! `Teller`: limits a log message that peers can cause at will to one per second. The next one says how many were
//! left out.

use std::time::Duration;

use crate::clock::Time;

const PERIOD: Duration = Duration::from_secs(1);

/// Tells of one kind of event.
#[derive(Debug, Default)]
pub struct Teller {
    silent_until: Time,
    untold: u64,
}

impl Teller {
    /// Writes a warning, or counts it as one that was not written.
    pub fn tell(&mut self, text: &str, now: Time) {
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
        let mut teller = Teller::default();
        let mut at = |millis: u64| teller.line("so", Time::from_micros(millis * 1000));
        assert_eq!(at(1).as_deref(), Some("so"));
        assert_eq!((at(2), at(1000)), (None, None));
        let expected = "so; 2 more since the last such line";
        assert_eq!(at(1001).as_deref(), Some(expected));
        assert_eq!(at(9000).as_deref(), Some("so"));
    }
}
