//! `UserSettings`: what holds for the clients of one user in place of the settings of all.

use super::ReadPreference;

/// What is said of one user.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct UserSettings {
    /// Where its reads go.
    pub read_preference: Option<ReadPreference>,
    /// Whether it may send admin commands.
    pub admin: Option<bool>,
}
