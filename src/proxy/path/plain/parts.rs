//! Plain replies to parts of split requests (MGET, MSET, DEL): all but the last one are only stored.
//!
//! This is a shortcut for `deliver`, which handles the last reply of each request and everything that is declined
//! here.

use crate::clock::Time;
use crate::proxy::ids::BackendId;
use crate::proxy::insight::BIG_BYTES;
use crate::proxy::request::MOVED_FRAME;
use crate::proxy::state::Proxy;
use crate::proxy::upstream::backend::{Origin, Pin, State};
use crate::resp::short::short_reply;

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
        let due = self.until_looked == 1 || backend.flavor.tracking;
        if backend.state != State::Ready || !backend.scanner.is_at_start() || special || due {
            return false;
        }
        let most = self.config.limits.client_output_bytes_max;
        let slow_before = self.config.slow_before(now);
        let (mut taken, mut released, mut sent) = (0, 0, backend.output.sent_len());
        // Replies to parts that were queued at one moment, which nearly all of a turn are.
        let (mut sent_at, mut count) = (Time::default(), 0);
        let mut tickets = backend.tickets.as_slices().0.iter();
        let mut rest = backend.input.bytes();
        while let Some(len) = short_reply(rest, MOVED_FRAME) {
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
            if !client.held.is_empty() || client.owed_bytes() + len > most {
                break;
            }
            let (reply, spares) = (&rest[..len], &mut self.spares);
            let pipeline = &mut client.pipeline;
            if !pipeline.fulfil_part(part.seq, part.index, reply, slow_before, spares) {
                break;
            }
            if ticket.sent_at != sent_at && count > 0 {
                backend.write_times.settle(sent_at, count, node, now);
                count = 0;
            }
            (sent_at, count) = (ticket.sent_at, count + 1);
            released += request_len;
            sent -= request_len;
            rest = &rest[len..];
            taken += 1;
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
        true
    }
}
