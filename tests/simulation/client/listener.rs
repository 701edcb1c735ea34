//! A client that is told what another one keeps has changed (`CLIENT TRACKING ON REDIRECT`): by pushes, or in RESP2 as one that
//! is subscribed. Both belong to one program, as a library's connections do: what one hears the other knows, and when one is
//! lost the other starts anew. What comes on two connections has no order: a reply that is still to come may be older than
//! what is told, so that it is not kept.

use super::{Client, End, Kind};
use crate::ledger::Ledger;
use crate::random::Random;
use crate::resp::Value;

/// What one hears for others.
#[derive(Debug, Default)]
pub struct Listener {
    /// What the proxy calls it.
    name: Option<i64>,
    /// Whether it hears: in RESP2 once it is subscribed, which nodes may refuse.
    hears: bool,
    /// What it has heard and the others do not know yet: keys, or of nothing in particular.
    told: Vec<Option<Vec<usize>>>,
}

impl Client {
    /// It hears for others from now on, and does nothing else.
    pub fn listens(mut self, ledger: &mut Ledger, random: &mut Random) -> Client {
        self.listener = Some(Listener::default());
        self.resp3 = random.one_in(2);
        if self.resp3 {
            self.request(Kind::Hello, &[], ledger, random);
        }
        self.request(Kind::Id, &[], ledger, random);
        if !self.resp3 {
            self.request(Kind::Listen, &[], ledger, random);
        }
        self
    }

    /// What the proxy calls it, if it hears for others.
    pub fn name_of_listener(&self) -> Option<i64> {
        let own = self.listener.as_ref().filter(|_| self.end == End::Open);
        own.filter(|own| own.hears).and_then(|own| own.name)
    }

    /// It was told its name.
    pub(super) fn is_named(&mut self, name: i64) -> bool {
        let speaks = self.resp3;
        self.listener.as_mut().is_some_and(|own| {
            own.hears = speaks;
            own.name.replace(name).is_none()
        })
    }

    /// It was told that it is subscribed.
    pub(super) fn is_subscribed_for_others(&mut self, items: &[Value]) -> bool {
        let own = self.listener.as_mut();
        own.is_some_and(|own| {
            own.hears = true;
            items[0] == Value::Bulk(b"subscribe".to_vec())
        })
    }

    /// It was told something for others. Returns whether it was.
    pub(super) fn hears_for_others(&mut self, value: &Value, ledger: &Ledger) -> bool {
        let Some(listener) = &mut self.listener else {
            return false;
        };
        let word = |text: &[u8]| Value::Bulk(text.to_vec());
        let keys = match value {
            Value::Push(items) if items[0] == word(b"invalidate") => &items[1],
            Value::Array(items)
                if items.len() == 3
                    && items[0] == word(b"message")
                    && items[1] == word(b"__redis__:invalidate") =>
            {
                &items[2]
            }
            _ => return false,
        };
        listener.told.push(match keys {
            Value::Array(names) => {
                let names = names.iter().map(|name| match name {
                    Value::Bulk(name) => ledger.key(name),
                    other => panic!("a key is {other:?}"),
                });
                Some(names.flatten().collect())
            }
            _ => None,
        });
        true
    }

    /// What it has heard for others since it was last asked.
    pub fn take_told(&mut self) -> Vec<Option<Vec<usize>>> {
        let own = self.listener.as_mut();
        own.map_or_else(Vec::new, |own| std::mem::take(&mut own.told))
    }
}
