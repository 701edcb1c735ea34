//! While a slot migrates, a node answers TRYAGAIN to a request whose keys are on two nodes. A command that is split
//! without being atomic (MGET, EXISTS, DEL, UNLINK, TOUCH) is then split again, by key: each key is on one of the two
//! nodes.
//!
//! It must never know why a node refuses.

use crate::clock::Time;
use crate::command::{self, Class, Flags, ResponsePolicy};
use crate::proxy::client::held::Retry;
use crate::proxy::ids::PartId;
use crate::proxy::pipeline::by_slot::merge_of;
use crate::proxy::pipeline::split::Split;
use crate::proxy::state::Proxy;
use crate::proxy::upstream::backend::{Origin, Ticket};
use crate::proxy::upstream::goal::Goal;
use crate::resp::args::Args;
use crate::resp::encode;
use crate::resp::frame::{RequestScanner, Scan};

/// Most keys that a part is cut by: others wait until the slot has moved.
const KEYS_MAX: usize = 1024;

impl Proxy {
    /// Cuts a part that was refused, in these words, by key, if its command allows that and there is more
    /// than one; the new parts are held, to be sent at once. Returns whether it did.
    pub(in crate::proxy) fn divide(
        &mut self,
        part: PartId,
        ticket: &Ticket,
        frame: &[u8],
        refusal: &[u8],
        now: Time,
    ) -> bool {
        let table = self.table.clone();
        let row = table.row(ticket.command);
        let Class::Split(policy @ (ResponsePolicy::Default | ResponsePolicy::AggSum)) = row.class
        else {
            return false;
        };
        let (mut spans, mut keys) = (Vec::new(), Vec::new());
        let limits = crate::proxy::request::request_limits(&self.config.limits, true);
        if !matches!(
            RequestScanner::default().next(frame, &limits, &mut spans),
            Ok(Scan::Frame(_))
        ) {
            return false;
        }
        let args = Args::new(frame, &spans);
        // Only a command whose arguments are its keys, all of them.
        if command::keys(row, &args, &mut keys).is_err()
            || !(2..=KEYS_MAX).contains(&keys.len())
            || keys.len() + 1 != args.len()
        {
            return false;
        }
        let Some(client) = self.clients.get_mut(part.client) else {
            return false;
        };
        let whole = |slot| {
            let mut split = Split::new(merge_of(policy), row.flags.contains(Flags::WRITE));
            split.add(slot);
            split.set_order(vec![0; keys.len()]);
            split
        };
        let Some(second) = client
            .pipeline
            .divide(part.seq, part.index, keys.len(), whole)
        else {
            return false;
        };
        self.stats.split_parts.add(keys.len() as u64 - 1);
        for (index, key) in keys.iter().enumerate() {
            let index = match index {
                0 => part.index,
                index => second + index as u16 - 1,
            };
            let mut bytes = Vec::new();
            encode::command(&mut bytes, [args.name(), args.at(*key as usize)]);
            let ticket = Ticket {
                origin: Origin::Part(PartId { index, ..part }),
                len: bytes.len() as u32,
                ..*ticket
            };
            let retry = Retry {
                refusal,
                ..Retry::at_once(Goal::Owner, now)
            };
            self.hold(ticket, &bytes, retry, now);
        }
        true
    }
}
