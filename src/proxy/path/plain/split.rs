//! Plain requests that are split by slot (MGET, MSET, DEL): their parts are sent without a look at anything else.
//!
//! This is a shorthand for `path::split`, as its parent is for `dispatch`: it may decline anything, and does when a
//! part could not leave at once.

use crate::clock::Time;
use crate::cluster::slot::Slot;
use crate::command::Flags;
use crate::config::ReadPreference;
use crate::proxy::client::Stall;
use crate::proxy::ids::{BackendId, ClientId, PartId};
use crate::proxy::pipeline::At;
use crate::proxy::pipeline::by_slot::{KeyInFrame, merge_of};
use crate::proxy::pipeline::merge::Merge;
use crate::proxy::request::MOVED_FRAME;
use crate::proxy::state::Proxy;
use crate::proxy::upstream::backend::{Origin, Ticket};
use crate::resp::encode;
use crate::resp::short::{ShortRequest, short_argument};

/// Whether a request that is split by slot was taken as a plain one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::proxy) enum SplitTaken {
    /// It is no such one, or not plain.
    No,
    /// It was, and there is more behind it.
    More,
    /// It was, and it was all that the client has sent.
    Last,
}

impl Proxy {
    /// Takes a request that is split by slot from the front of a client's input, if it is plain.
    #[inline(never)]
    pub(in crate::proxy) fn take_plain_split(&mut self, id: ClientId, now: Time) -> SplitTaken {
        let Some(client) = self.clients.get_mut(id) else {
            return SplitTaken::No;
        };
        let is_calm = client.is_calm(self.upstream.routes.version());
        let Some(rest) = client.input.own_bytes() else {
            return SplitTaken::No;
        };
        let Some(request) = ShortRequest::find_long(rest) else {
            return SplitTaken::No;
        };
        let Some(shape) = self.plain.find(request.name, request.name_len) else {
            return SplitTaken::No;
        };
        let Some(split_shape) = shape.split else {
            return SplitTaken::No;
        };
        let (config, upstream) = (&*self.config, &mut self.upstream);
        let limits = &config.limits;
        let plain = client.is_plain(limits)
            && client.session.is_free()
            && client.session.namespace.is_none()
            // Some of its parts may have been sent.
            && client.cut.is_none()
            && client.pipeline.len() < client.window
            && is_calm
            && self.near.is_none()
            && !self.process.watchers.any()
            && !upstream.any_failing()
            && config.backend_connections == 1
            && config.read_preference == ReadPreference::Master;
        let (stride, args) = (usize::from(split_shape.stride), request.args_len - 1);
        if !plain || args > limits.split_keys || args < 2 * stride || !args.is_multiple_of(stride) {
            return SplitTaken::No;
        }
        let protocol = client.session.protocol;
        let waits = !client.pipeline.is_empty();
        let mut keys = std::mem::take(&mut self.scratch.keys_in_frame);
        keys.clear();
        let behind_name = request.behind_name();
        let mut left = behind_name;
        // The shards whose connections have been looked at, of the first ones; those of others are looked at each time.
        let mut looked_at = 0u64;
        for number in 0..args / stride {
            let start = rest.len() - left.len();
            let Some((key, mut behind)) = short_argument(left, MOVED_FRAME) else {
                break;
            };
            if stride > 1 {
                let Some((_, behind_value)) = short_argument(behind, MOVED_FRAME) else {
                    break;
                };
                behind = behind_value;
            }
            let slot = Slot::of(key);
            let bit = 1u64
                .checked_shl(upstream.routes.shard_index(slot).into())
                .unwrap_or(0);
            if looked_at & bit == 0 {
                upstream.at_hand(slot, false, protocol, 0, config, now);
                let direct = upstream.routes.direct(slot, protocol);
                let may_have_more = upstream.backends.get(direct).is_some_and(|own| {
                    own.output.unsent_len() <= limits.backend_output_bytes
                        && (!waits || own.credit.allows(own.tickets.len()))
                });
                if !may_have_more {
                    break;
                }
                looked_at |= bit;
            }
            let end = rest.len() - behind.len();
            if end >= MOVED_FRAME {
                break;
            }
            left = behind;
            keys.push(KeyInFrame::new(slot.number(), number, start..end));
        }
        let len = rest.len() - left.len();
        // All in one slot it is no split.
        let one = keys.iter().all(|own| own.slot() == keys[0].slot());
        if keys.len() * stride < args || one {
            self.scratch.keys_in_frame = keys;
            return SplitTaken::No;
        }
        keys.sort_unstable();
        // The line that tells how many arguments there are, and the name as the client has written it.
        let named =
            &rest[rest.len() - behind_name.len() - request.name_len - 6..][..request.name_len + 6];
        let mut head = [0; 4 + 6 + 9];
        head[..4].copy_from_slice(if stride == 1 { b"*2\r\n" } else { b"*3\r\n" });
        head[4..4 + named.len()].copy_from_slice(named);
        let head = &head[..4 + named.len()];
        let table = self.table.clone();
        let command = table.row(shape.id);
        let merge = merge_of(split_shape.policy);
        let gathers = matches!(merge, Merge::Gather);
        let write = command.flags.contains(Flags::WRITE);
        let mut split = self.spares.take_split(merge, write);
        if gathers {
            split.order.resize(keys.len(), 0);
        }
        let seq = client.pipeline.tail();
        let mut all = &keys[..];
        while let [first, others @ ..] = all {
            let slot = first.slot();
            let same = others.iter().take_while(|own| own.slot() == slot).count();
            let (group, others) = all.split_at(1 + same);
            all = others;
            let backend_id = Slot::new(slot).map(|own| upstream.routes.direct(own, protocol));
            let backend_id = backend_id.unwrap_or(BackendId::NONE);
            let Some(backend) = upstream.backends.get_mut(backend_id) else {
                debug_assert!(false, "a connection that was there");
                continue;
            };
            let index = split.add_behind(slot, At::Backend(backend_id));
            let pool = &mut self.pool;
            let len = match group {
                [key] => backend.output.push_pieces([head, &rest[key.range()]], pool),
                keys => {
                    let frames = &mut self.scratch.frames;
                    frames.clear();
                    encode::array(frames, 1 + stride * keys.len());
                    frames.extend_from_slice(named);
                    for key in keys {
                        frames.extend_from_slice(&rest[key.range()]);
                    }
                    backend.output.push(frames, pool);
                    frames.len()
                }
            };
            if gathers {
                for key in group {
                    split.order[key.number()] = index;
                }
            }
            let origin = Origin::Part(PartId::new(id, seq, index));
            let ticket = Ticket::new(origin, slot, shape.id, len, shape.readonly, now);
            backend.owe(ticket, backend_id, &mut self.actions);
        }
        let parts = split.len();
        upstream.in_flight += parts;
        client.pipeline.push_split(shape.id, split, now);
        client.input.consume(len);
        let is_last = client.input.is_empty();
        if is_last {
            client.missing = 0;
            if client.is_full(limits) {
                client.stall = Some(Stall::Full);
            }
        }
        self.stats.backend_requests.add(parts as u64);
        self.count_cut(command, parts);
        self.scratch.keys_in_frame = keys;
        match is_last {
            true => SplitTaken::Last,
            false => SplitTaken::More,
        }
    }
}
