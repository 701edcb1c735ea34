//! The three kinds of subscription, and the words that Redis has for them.

/// What a name that clients subscribe to is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// A channel of the whole cluster.
    Channel,
    /// A pattern that channels of the whole cluster are compared with.
    Pattern,
    /// A channel of the shard that serves its slot.
    Shard,
}

/// Whether a subscription begins or ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// It begins.
    Subscribe,
    /// It ends.
    Unsubscribe,
}

impl Kind {
    /// How many kinds there are.
    pub const COUNT: usize = 3;
    /// All kinds, in the order of their indexes.
    pub const ALL: [Kind; Kind::COUNT] = [Kind::Channel, Kind::Pattern, Kind::Shard];

    /// 0 to 2.
    pub fn index(self) -> usize {
        match self {
            Kind::Channel => 0,
            Kind::Pattern => 1,
            Kind::Shard => 2,
        }
    }

    /// What the command of this name publishes to, if it publishes.
    pub fn published_by(name: &str) -> Option<Kind> {
        match name {
            "publish" => Some(Kind::Channel),
            "spublish" => Some(Kind::Shard),
            _ => None,
        }
    }

    /// What the command of this name subscribes to, if it subscribes.
    pub fn subscribed_by(name: &str) -> Option<Kind> {
        let mut all = Kind::ALL.into_iter();
        all.find(|kind| kind.word(Act::Subscribe) == name)
    }

    /// The command, and the first word of what confirms it.
    pub fn word(self, act: Act) -> &'static str {
        match (act, self) {
            (Act::Subscribe, Kind::Channel) => "subscribe",
            (Act::Subscribe, Kind::Pattern) => "psubscribe",
            (Act::Subscribe, Kind::Shard) => "ssubscribe",
            (Act::Unsubscribe, Kind::Channel) => "unsubscribe",
            (Act::Unsubscribe, Kind::Pattern) => "punsubscribe",
            (Act::Unsubscribe, Kind::Shard) => "sunsubscribe",
        }
    }
}

/// What a node pushes to a connection that has subscribed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pushed {
    /// A message to the subscribers of a name of this kind.
    Message(Kind),
    /// A subscription has begun or ended.
    Confirmed(Kind, Act),
}

impl Pushed {
    /// What the first word of a push says, if it is about subscriptions at all.
    pub fn of(word: &[u8]) -> Option<Pushed> {
        Some(match word {
            b"message" => Pushed::Message(Kind::Channel),
            b"pmessage" => Pushed::Message(Kind::Pattern),
            b"smessage" => Pushed::Message(Kind::Shard),
            _ => {
                let kinds = Kind::ALL.into_iter();
                let all = kinds.flat_map(|kind| [(kind, Act::Subscribe), (kind, Act::Unsubscribe)]);
                let (kind, act) = all
                    .into_iter()
                    .find(|(kind, act)| kind.word(*act).as_bytes() == word)?;
                Pushed::Confirmed(kind, act)
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_known_again() {
        for kind in Kind::ALL {
            assert_eq!(Kind::ALL[kind.index()], kind);
            for act in [Act::Subscribe, Act::Unsubscribe] {
                let pushed = Pushed::of(kind.word(act).as_bytes());
                assert_eq!(pushed, Some(Pushed::Confirmed(kind, act)));
            }
        }
        assert_eq!(Pushed::of(b"smessage"), Some(Pushed::Message(Kind::Shard)));
        assert_eq!(Pushed::of(b"invalidate"), None);
    }
}
