//! A request while somebody looks at requests: `CLIENT PAUSE` may hold it, and MONITOR shows it. The word that the data path
//! reads is [`crate::proxy::watchers`].

use crate::command::Flags;
use crate::proxy::client::Stall;
use crate::proxy::client::step::Step;
use crate::proxy::request::Request;
use crate::proxy::state::Proxy;

const NO_KEYSPACE: &str = "ERR Replica can't interact with the keyspace";

impl Proxy {
    /// One request, while somebody looks at requests: it may have to wait, and monitors see it.
    #[cold]
    #[inline(never)]
    pub(in crate::proxy) fn perform_watched(&mut self, request: &Request<'_>) -> Step {
        let Some(client) = self.clients.get(request.client) else {
            return Step::Close;
        };
        // A monitor counts as a replica in Redis: it is never paused, and has no business with keys.
        if client.session.is_monitor() {
            if request.command.flags.contains(Flags::READONLY) || request.command.may_replicate() {
                return self.refuse(request.client, NO_KEYSPACE, request.now);
            }
        } else if self.is_held(request) {
            return Step::Wait(Stall::ClientPause);
        }
        let step = self.perform(request);
        if !matches!(step, Step::Wait(_)) {
            self.show(request);
        }
        step
    }
}
