//! A request is answered with an error of the proxy's own, in its turn.

use crate::clock::Time;
use crate::proxy::client::Parting;
use crate::proxy::client::step::Step;
use crate::proxy::ids::ClientId;
use crate::proxy::request::Request;
use crate::proxy::state::Proxy;
use crate::proxy::stats::calls::ErrorCode;
use crate::resp::encode;
use crate::resp::frame::ProtocolError;

impl Proxy {
    /// Answers a request of a known command with an error, in its turn.
    #[cold]
    #[inline(never)]
    pub(in crate::proxy) fn reject(&mut self, request: &Request<'_>, text: &str) -> Step {
        self.stats.calls.rejected(request.command.id);
        self.insight
            .audit
            .note_error(request.command.id, text.as_bytes());
        if let Some(abort) = self.refused_inside(request, text) {
            return self.refuse(request.client, &abort, request.now);
        }
        self.refuse(request.client, text, request.now)
    }

    /// Answers a request with an error, in its turn.
    #[cold]
    pub(in crate::proxy) fn refuse(
        &mut self,
        id: ClientId,
        text: &(impl AsRef<[u8]> + ?Sized),
        now: Time,
    ) -> Step {
        self.stats.commands.add(1);
        self.stats.refusals.add(1);
        self.doom(id);
        self.tell_error(id, text.as_ref(), now);
        Step::Done
    }

    /// A peer that does not speak RESP is told so, and closed.
    #[cold]
    pub(in crate::proxy) fn protocol_error(
        &mut self,
        id: ClientId,
        error: ProtocolError,
        now: Time,
    ) {
        self.stats.protocol_errors.add(1);
        if error == ProtocolError::Tls
            && let Some(client) = self.clients.get(id)
        {
            let from = client.peer_name();
            let text =
                format!("closing the client at {from}: it speaks TLS, which is for -tls-addr");
            self.tls_log.warn(&text, now);
        }
        self.tell_error(id, format!("ERR {error}").as_bytes(), now);
        let parting = match error {
            ProtocolError::RequestTooBig => Parting::Unread,
            _ => Parting::Confused,
        };
        self.close_when_told(id, parting);
    }

    pub(in crate::proxy) fn tell_error(&mut self, id: ClientId, text: &[u8], now: Time) {
        self.stats.calls.erred(ErrorCode::of(text));
        let Some(client) = self.clients.get_mut(id) else {
            return;
        };
        let mut reply = std::mem::take(&mut self.scratch.reply);
        reply.clear();
        encode::error(&mut reply, text);
        let (output, pool) = (&mut client.output, &mut self.pool);
        client.pipeline.answer(u16::MAX, &reply, output, pool, now);
        self.scratch.reply = reply;
        self.queue_flush(id);
    }

    /// Takes no more requests from a client, and closes it once it has been told all it is owed.
    pub(in crate::proxy) fn close_when_told(&mut self, id: ClientId, parting: Parting) {
        if let Some(client) = self.clients.get_mut(id) {
            client.closing.get_or_insert(parting);
            // An EXEC under way is told as far as it has come.
            if client.execution.is_none() {
                client.stall = None;
            }
            client.backlog = None;
        }
        self.queue_flush(id);
    }
}
