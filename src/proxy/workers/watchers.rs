//! `Attention`: whether anything in the process wants to look at each request. It is one word that the data
//! path loads, so that MONITOR and `CLIENT PAUSE` cost nothing while nobody uses them.

use crate::clock::Time;
use crate::command::{Command, Flags};
use crate::proxy::client::Pause;
use crate::proxy::client::step::Step;
use crate::proxy::ids::ClientId;
use crate::proxy::state::Proxy;
use crate::resp::args::Args;

const NO_KEYSPACE: &str = "ERR Replica can't interact with the keyspace";

impl Proxy {
    /// One request, while somebody looks at requests: it may have to wait, and monitors see it.
    #[cold]
    #[inline(never)]
    pub(in crate::proxy) fn perform_watched(
        &mut self,
        id: ClientId,
        command: &Command,
        args: &Args<'_>,
        now: Time,
    ) -> Step {
        let Some(client) = self.clients.get(id) else {
            return Step::Close;
        };
        // A monitor counts as a replica in Redis: it is never paused, and has no business with keys.
        if client.session.monitor {
            if command.flags.contains(Flags::READONLY) || command.may_replicate() {
                return self.refuse(id, NO_KEYSPACE, now);
            }
        } else if self.is_held(command, args, now) {
            return Step::Wait(Pause::Suspended);
        }
        let step = self.perform(id, command, args, now);
        if !matches!(step, Step::Wait(_)) {
            self.show(id, command, args, now);
        }
        step
    }
}
