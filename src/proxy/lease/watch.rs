//! WATCH: the keys are watched by the node, on the connection that will run the transaction. A connection that is lost, or a
//! slot that moves, breaks the watch: EXEC then answers nil, as if a key had changed.

use std::sync::atomic::Ordering;

use crate::cluster::request_slots::{self, Place};
use crate::command::{KeysError, unbalanced};
use crate::proxy::client::step::Step;
use crate::proxy::lease::state::run::{Line, Owed, Run};
use crate::proxy::lease::state::transaction::{OK, Transaction, UNWATCH};
use crate::proxy::lease::state::{Next, Work};
use crate::proxy::pipeline::At;
use crate::proxy::request::Request;
use crate::proxy::state::Proxy;
use crate::proxy::stats::key_tally::{COUNTED_MAX, KeyHash};
use crate::proxy::texts::{self, refusal};

impl Proxy {
    pub(super) fn watch(&mut self, request: &Request<'_>) -> Step {
        let &Request {
            client: id,
            command,
            args,
            now,
        } = request;
        let mut keys = std::mem::take(&mut self.scratch.keys);
        let place = request_slots::place(command, args, &mut keys);
        self.scratch.keys = keys;
        let slot = match place {
            Place::One(slot) => slot.number(),
            Place::Many | Place::Keyless => {
                return self.reject(request, refusal::CROSS_SLOT);
            }
            Place::Invalid(KeysError::Unbalanced) => {
                return self.reject(request, &unbalanced(command));
            }
            Place::Invalid(_) => return self.reject(request, &texts::not_yet(command)),
        };
        if self.upstream.fails_fast_exclusive(slot, now) {
            let text = self.upstream.unserved(slot);
            return self.reject(request, &text);
        }
        let holds = self.clients.get(id).is_some_and(|c| c.lease.is_some());
        if !holds {
            let work = Work::Transaction(Transaction::default());
            if self.grant(id, work, vec![Run::new(slot)], now).is_none() {
                return self.reject(request, texts::TOO_MANY_TRANSACTIONS);
            }
        }
        let Some(mut lease) = self.take_lease(id) else {
            return Step::Close;
        };
        let run = lease.runs.first();
        let crossed = run.is_some_and(|run| run.slot != slot && !self.serves(run, slot));
        let Work::Transaction(transaction) = &mut lease.work else {
            debug_assert!(false, "a blocked client asks for more");
            return Step::Close;
        };
        if crossed {
            self.put_lease(id, lease, Next::Keep, now);
            return self.reject(request, refusal::CROSS_SLOT);
        }
        lease.active_at = now;
        if transaction.broken {
            self.put_lease(id, lease, Next::Keep, now);
            self.say(request, OK);
            return Step::Done;
        }
        transaction.count_watched(args.frame().len(), args.len() - 1);
        if let Some(step) = self.refuse_too_large(request, &mut lease) {
            self.put_lease(id, lease, Next::Keep, now);
            return step;
        }
        let Work::Transaction(transaction) = &mut lease.work else {
            return Step::Close;
        };
        let counts = &self.process.leases;
        let before = transaction.watched.len();
        let more = COUNTED_MAX.saturating_sub(before);
        let keys = args.from(1).take(more);
        let hashes = keys.map(|key| counts.watched_keys.hash(key));
        let new: Vec<KeyHash> = hashes
            .filter(|key| transaction.watched.insert(*key))
            .collect();
        counts.watched_keys.add(&new);
        counts
            .watching
            .fetch_add(usize::from(before == 0), Ordering::Relaxed);
        let seq = self.take_place(request, slot, At::Held);
        let run = &mut lease.runs[0];
        run.cleaner = UNWATCH;
        let line = Line::new(args.frame().to_vec(), command.id, Owed::Watch(seq));
        let next = self.add(id, &mut lease, 0, line, now);
        self.put_lease(id, lease, next, now);
        Step::Alone
    }
}
