//! `LiveConfig`: the settings in force, which can change one by one while the program runs.
//!
//! Whoever changes a setting tells those who keep a copy; they read the new one from here, so no change is lost. It
//! must never know what a setting means: that is for `options`.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use crate::config::Config;

/// Why a setting was not changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unchanged {
    /// There is none of this name.
    Unknown,
    /// It is decided at start.
    Fixed,
    /// This is no value for it.
    Invalid(String),
}

/// How settings are read and changed by name.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Each setting's name and its value as it would be typed, secrets left out.
    pub list: fn(&Config) -> Vec<(&'static str, String)>,
    /// The config with one setting changed.
    pub change: fn(&Config, &str, &str) -> Result<Config, Unchanged>,
}

/// No settings at all: a config that stays as it is.
const NONE: Settings = Settings {
    list: |_| Vec::new(),
    change: |_, _, _| Err(Unchanged::Unknown),
};

/// The config in force.
pub struct LiveConfig {
    config: Mutex<Arc<Config>>,
    settings: Settings,
}

impl Default for LiveConfig {
    fn default() -> LiveConfig {
        LiveConfig::new(Arc::default(), NONE)
    }
}

impl LiveConfig {
    /// Begins with `config`.
    pub fn new(config: Arc<Config>, settings: Settings) -> LiveConfig {
        LiveConfig {
            config: Mutex::new(config),
            settings,
        }
    }

    /// The config in force now. It takes a lock: not for the data path.
    pub fn config(&self) -> Arc<Config> {
        let config = self.config.lock().unwrap_or_else(PoisonError::into_inner);
        config.clone()
    }

    /// Each setting's name and its value, secrets left out.
    pub fn list(&self) -> Vec<(&'static str, String)> {
        (self.settings.list)(&self.config())
    }

    /// Changes all of these settings or none; the first that cannot be changed is named. The log level takes
    /// effect at once, everything else when the copies are renewed.
    pub fn change(&self, changes: &[(&str, &str)]) -> Result<(), (usize, Unchanged)> {
        let mut config = self.config.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = self.changed(&config, changes)?;
        if changed.log_level != config.log_level {
            log::set_max_level(changed.log_level);
        }
        *config = Arc::new(changed);
        Ok(())
    }

    /// Puts another config in the place of this one.
    pub fn renew(&self, renewed: impl FnOnce(&Config) -> Config) {
        let mut config = self.config.lock().unwrap_or_else(PoisonError::into_inner);
        *config = Arc::new(renewed(&config));
    }

    /// Whether [`LiveConfig::change`] would do it, and why not. Nothing is changed.
    pub fn try_change(&self, changes: &[(&str, &str)]) -> Result<(), (usize, Unchanged)> {
        self.changed(&self.config(), changes).map(|_| ())
    }

    fn changed(
        &self,
        config: &Config,
        changes: &[(&str, &str)],
    ) -> Result<Config, (usize, Unchanged)> {
        let mut changed = config.clone();
        for (index, (name, value)) in changes.iter().enumerate() {
            changed = (self.settings.change)(&changed, name, value)
                .map_err(|unchanged| (index, unchanged))?;
        }
        Ok(changed)
    }
}

impl fmt::Debug for LiveConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LiveConfig")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_of_several_changes_are_made_or_none() {
        let settings = Settings {
            list: |config| vec![("log-every-n", config.log_every_n.to_string())],
            change: |config, name, value| match name {
                "log-every-n" => Ok(Config {
                    log_every_n: value
                        .parse()
                        .map_err(|_| Unchanged::Invalid("no number".to_string()))?,
                    ..config.clone()
                }),
                _ => Err(Unchanged::Unknown),
            },
        };
        let live = LiveConfig::new(Arc::default(), settings);
        let wrong = [("log-every-n", "7"), ("colour", "red")];
        assert_eq!(live.change(&wrong), Err((1, Unchanged::Unknown)));
        assert_eq!(live.list(), [("log-every-n", "100".to_string())]);
        assert_eq!(live.change(&wrong[..1]), Ok(()));
        assert_eq!(live.config().log_every_n, 7);
    }
}
