//! Plain replies to parts of split requests (MGET, MSET, DEL): all but the last one are only stored, and with the last
//! one they become the reply.
//!
//! This is a shortcut for `deliver`, which handles everything that is declined here.

use crate::clock::Time;
use crate::proxy::ids::BackendId;
use crate::proxy::insight::BIG_BYTES;
use crate::proxy::pipeline::PartFulfilled;
use crate::proxy::request::MOVED_FRAME;
use crate::proxy::state::Proxy;
use crate::proxy::upstream::backend::{Origin, Pin, State};
use crate::resp::short::short_part_reply;

impl Proxy {
    /// Takes the plain replies to parts at the front of a backend's input, up to the first reply that is something
    /// else. Returns whether there was any.
    #[inline(never)]
    pub(in crate::proxy) fn take_part_replies(&mut self, id: BackendId, now: Time) -> bool {
        let upstream = &mut self.upstream;
        let special = upstream.any_failing() || self.process.watchers.any();
        let Some(backend) = upstream.backends.get_mut(id) else {
            return false;
        };
        let Some(node) = upstream.nodes.get(usize::from(backend.node.0)) else {
            return false;
        };
        // The next is to be looked at, whatever it is; and so is what reads keys that are tracked.
        let mut until_looked = self.until_looked;
        let due = until_looked == 1 || backend.flavor.tracking;
        if backend.state != State::Ready || !backend.scanner.is_at_start() || special || due {
            return false;
        }
        let limits = &self.config.limits;
        let most = limits.client_output_bytes_max;
        let slow_before = self.config.slow_before(now);
        let (mut taken, mut released, mut sent) = (0, 0, backend.output.sent_len());
        // Replies to parts that were queued at one moment, which nearly all of a turn are.
        let (mut sent_at, mut count) = (Time::default(), 0);
        let mut tickets = backend.tickets.as_slices().0.iter();
        let mut rest = backend.input.bytes();
        // A request that is complete, and is not plain any more.
        let mut last = None;
        while let Some(len) = short_part_reply(rest, MOVED_FRAME) {
            let Some(ticket) = tickets.next() else {
                break;
            };
            let Origin::Part(part) = ticket.origin else {
                break;
            };
            let request_len = ticket.len as usize;
            if request_len > sent
                || request_len >= BIG_BYTES
                || matches!(ticket.pin, Pin::Astray(_))
            {
                break;
            }
            let Some(client) = self.clients.get_mut(part.client) else {
                break;
            };
            // Replies to a client of a namespace may have names in them.
            let is_special = !client.held.is_empty() || client.session.namespace.is_some();
            if is_special || client.owed_bytes() + len > most {
                break;
            }
            let (reply, spares) = (&rest[..len], &mut self.spares);
            let pipeline = &mut client.pipeline;
            let is_last =
                match pipeline.fulfil_part(part.seq, part.index, reply, slow_before, spares) {
                    PartFulfilled::No => break,
                    PartFulfilled::Waits => false,
                    PartFulfilled::Last => true,
                };
            if ticket.sent_at != sent_at && count > 0 {
                backend.write_times.settle(sent_at, count, node, now);
                count = 0;
            }
            (sent_at, count) = (ticket.sent_at, count + 1);
            released += request_len;
            sent -= request_len;
            rest = &rest[len..];
            taken += 1;
            if !is_last {
                continue;
            }
            let (output, pool) = (&mut client.output, &mut self.pool);
            let completed = client.pipeline.merge(part.seq, output, pool, spares);
            let Some(plain) = completed.filter(|own| own.is_plain() && until_looked > 2) else {
                last = Some((part.client, completed));
                break;
            };
            until_looked -= 1;
            let calls = &self.stats.calls;
            self.turn_latencies
                .add(plain.command, plain.started, 1, calls, now);
            client.answered(part.client, limits, &mut self.actions);
        }
        if taken == 0 {
            return false;
        }
        backend.write_times.settle(sent_at, count, node, now);
        backend.output.release(released, &mut self.pool);
        backend.credit.answered(taken, backend.tickets.len());
        backend.tickets.drain(..taken);
        let consumed = backend.input.len() - rest.len();
        node.stats.bytes_in.add(consumed as u64);
        backend.input.consume(consumed);
        upstream.in_flight -= taken;
        self.until_looked = until_looked;
        if let Some((client, completed)) = last {
            self.fulfilled(client, completed, now);
        }
        true
    }
}
