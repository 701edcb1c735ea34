//! Long lists of all keys: clients ask for them more often where nodes make them long.

use super::World;

/// One turn in so many.
const ONCE_IN: usize = 100;

impl World {
    /// A client asks for one, perhaps.
    pub(super) fn list_all(&mut self) {
        let Some(random) = &mut self.cluster.padding else {
            return;
        };
        if !random.one_in(ONCE_IN) || self.clients.is_empty() {
            return;
        }
        let client = random.below(self.clients.len());
        self.clients[client].ask_for_all_keys(&mut self.ledger, random);
    }
}
