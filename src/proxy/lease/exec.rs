//! EXEC: sends it, and makes one reply of the nodes' replies. The parts that the proxy answers itself are in
//! `execution`.

use memchr::memmem;

use crate::clock::Time;
use crate::cluster::slot::Slot;
use crate::command::{Class, LeaseKind, Verb};
use crate::proxy::client::Stall;
use crate::proxy::client::step::Step;
use crate::proxy::ids::{ClientId, NO_SLOT, PartId, Seq};
use crate::proxy::insight::audit::Reason;
use crate::proxy::lease::state::run::{Line, Owed, Run};
use crate::proxy::lease::state::transaction::{Item, Parts, null_array};
use crate::proxy::lease::state::{DISCARDED_BECAUSE, Lease, Next, Work};
use crate::proxy::pipeline::by_slot::merge_of;
use crate::proxy::pipeline::merge::Merge;
use crate::proxy::pipeline::plan::{Ask, Plan};
use crate::proxy::pipeline::split::Split;
use crate::proxy::pipeline::{At, Spares};
use crate::proxy::pubsub::state::kind::Kind;
use crate::proxy::pubsub::state::register::Tally;
use crate::proxy::pubsub::state::subscriptions::Subscriptions;
use crate::proxy::request::Request;
use crate::proxy::state::Proxy;
use crate::proxy::stats::calls::ErrorCode;
use crate::proxy::texts::{self, refusal};
use crate::resp::encode;
use crate::resp::reply::Reply;

const EXEC: &[u8] = b"*1\r\n$4\r\nEXEC\r\n";

impl Proxy {
    /// EXEC of a client that has said MULTI.
    pub(super) fn exec(&mut self, request: &Request<'_>) -> Step {
        let Some(client) = self.clients.get(request.client) else {
            return Step::Close;
        };
        let Some(Lease {
            work: Work::Transaction(transaction),
            ..
        }) = client.lease.as_deref()
        else {
            return Step::Close;
        };
        let paused = self.client_pause.is_some_and(|pause| {
            let calls = || {
                let mut calls = transaction.functions.iter();
                calls.any(|(name, otherwise)| {
                    self.cannot_write(name).map_or(*otherwise, |cannot| !cannot)
                })
            };
            let writes = || transaction.writes || calls();
            request.now < pause.until && (pause.all || writes())
        });
        if paused {
            return Step::Wait(Stall::ClientPause);
        }
        let fails = transaction.crossed || transaction.doomed || transaction.broken;
        if !fails && self.are_subscribers_awaited() {
            let channels = transaction.channels();
            let channels = channels.iter().map(|(kind, channel)| (*kind, &channel[..]));
            if self.awaits_subscribers(request.client, channels, request.now) {
                return Step::Wait(Stall::Subscribers);
            }
        }
        self.exec_now(request)
    }

    /// EXEC that nothing holds.
    fn exec_now(&mut self, request: &Request<'_>) -> Step {
        let &Request {
            client: id,
            command,
            now,
            ..
        } = request;
        let Some(client) = self.clients.get(id) else {
            return Step::Close;
        };
        let busy = !client.pipeline.is_empty();
        let Some(Lease {
            work: Work::Transaction(transaction),
            runs,
            ..
        }) = client.lease.as_deref()
        else {
            return Step::Close;
        };
        let fails = transaction.crossed || transaction.doomed || transaction.broken;
        let sent = runs.iter().any(Run::is_open) || transaction.watching;
        let of_nodes = transaction.items.iter().all(Item::is_of_nodes);
        // The message comes on another connection, and not before the replies to what was queued.
        let hears = || {
            let own = client.session.subscriptions();
            own.is_some_and(|own| transaction.items.iter().any(|item| is_heard(item, own)))
        };
        if busy && (fails || !sent || !of_nodes || runs.len() > 1 || hears()) {
            return Step::Wait(Stall::Barrier);
        }
        let Some(mut lease) = self.take_lease(id) else {
            return Step::Close;
        };
        lease.active_at = now;
        let Work::Transaction(transaction) = &mut lease.work else {
            return Step::Close;
        };
        if fails {
            if transaction.busy && !transaction.crossed {
                let slot = lease.runs[0].slot;
                self.put_lease(id, lease, Next::End, now);
                return self.exec_of_busy(request, slot);
            }
            let text = match (transaction.crossed, transaction.doomed) {
                (true, _) => Some(refusal::CROSS_SLOT),
                (false, true) => Some(texts::EXECABORT),
                (false, false) => None,
            };
            self.put_lease(id, lease, Next::End, now);
            match text {
                Some(text) => return self.fail_inside(request, text),
                None => self.say(request, null_array(self.protocol_of(id))),
            }
            return Step::Done;
        }
        if !of_nodes {
            return self.execute(request, lease, sent);
        }
        if !sent {
            debug_assert!(transaction.items.is_empty());
            self.put_lease(id, lease, Next::End, now);
            self.say(request, b"*0\r\n");
            return Step::Done;
        }
        self.stats.commands.add(1);
        let (_, next) = self.send_exec(id, command.id, command.id, &mut lease, now);
        self.put_lease(id, lease, next, now);
        Step::Alone
    }

    /// EXEC behind a request that a busy node did not queue. If the node is still busy, EXEC says so, as one server
    /// does. (EXEC itself must not go there: on a new connection it would execute what was refused before.)
    fn exec_of_busy(&mut self, request: &Request<'_>, slot: u16) -> Step {
        let tell = |replies: &[Reply<'_>], out: &mut Vec<u8>| {
            let error = replies.iter().find_map(|reply| reply.error());
            match error.filter(|error| error.starts_with(b"BUSY ")) {
                Some(error) => encode::error(out, &[DISCARDED_BECAUSE, error].concat()),
                None => encode::error(out, texts::EXECABORT.as_bytes()),
            }
        };
        let mut ping = Vec::new();
        encode::command(&mut ping, [&b"PING"[..]]);
        let plan = Plan {
            asks: vec![Ask::Slot(slot, ping)],
            merge: Merge::JoinAll(Box::new(tell)),
            write: false,
        };
        self.carry_out(request, plan)
    }

    /// Sends EXEC to all runs. Its reply is due at the place that is returned, which counts as a call of `row`.
    pub(super) fn send_exec(
        &mut self,
        id: ClientId,
        exec: u16,
        row: u16,
        lease: &mut Lease,
        now: Time,
    ) -> (Seq, Next) {
        if lease.runs.len() > 1 {
            self.insight.audit.note(exec, Reason::Cut);
            return self.exec_each(id, exec, row, lease, now);
        }
        let run = &mut lease.runs[0];
        if run.slot == NO_SLOT
            && let Work::Transaction(transaction) = &lease.work
            && let Some(channel) = &transaction.channel
            && let Some(slot) = self.slot_of_channel(channel)
        {
            run.set_slot(slot.number());
        }
        run.open();
        let slot = run.slot;
        let Some(client) = self.clients.get_mut(id) else {
            return (Seq(0), Next::End);
        };
        let seq = client.pipeline.push_single(row, slot, At::Held, now);
        let line = Line::new(EXEC.to_vec(), exec, Owed::Last(seq, 0));
        let next = self.add(id, lease, 0, line, now);
        (seq, next)
    }

    /// EXEC in every slot: each run is atomic, their replies are put together in the order of the requests.
    fn exec_each(
        &mut self,
        id: ClientId,
        exec: u16,
        row: u16,
        lease: &mut Lease,
        now: Time,
    ) -> (Seq, Next) {
        let Work::Transaction(transaction) = &mut lease.work else {
            return (Seq(0), Next::End);
        };
        // (Nothing is for all nodes here.)
        let mut answers = Vec::new();
        for item in std::mem::take(&mut transaction.items) {
            answers.push(match item {
                Item::Run(run) => Answer::Run(run),
                Item::Publish(run, kind, channel) => {
                    let slot = lease.runs[usize::from(run)].slot;
                    Answer::Publish(run, self.receivers(kind, &channel, slot))
                }
                Item::Cut(parts) => Answer::Cut(parts),
                Item::Share(_) | Item::Own(_) => continue,
            });
        }
        // A run of nothing but MULTI has a reply, too: it is empty.
        let join = move |replies: &[Reply<'_>], out: &mut Vec<u8>| join(answers, replies, out);
        let mut split = Split::new(Merge::JoinAll(Box::new(join)), true);
        lease.runs.iter().for_each(|run| {
            split.add(run.slot);
        });
        let Some(client) = self.clients.get_mut(id) else {
            return (Seq(0), Next::End);
        };
        let seq = client.pipeline.push_split(row, Box::new(split), now);
        let mut next = Next::Keep;
        for index in 0..lease.runs.len() as u16 {
            lease.runs[usize::from(index)].open();
            let line = Line::new(EXEC.to_vec(), exec, Owed::Last(seq, index));
            next = self.add(id, lease, index, line, now);
        }
        (seq, next)
    }

    /// The reply to EXEC, which is the last of its run.
    pub(super) fn settle_exec(
        &mut self,
        id: ClientId,
        lease: &mut Lease,
        (seq, part): (Seq, u16),
        reply: Reply<'_>,
        now: Time,
    ) -> Next {
        // Whatever it says, nothing is queued or watched any more.
        let index = usize::from(part);
        let mut slot = NO_SLOT;
        let mut executor = None;
        if let Some(run) = lease.runs.get_mut(index) {
            run.cleaner = b"";
            slot = run.slot;
            executor = run.executor;
        }
        if let Some(execution) = self.clients.get_mut(id).and_then(|c| c.execution.as_mut()) {
            execution.executor = executor;
        }
        let Work::Transaction(transaction) = &mut lease.work else {
            return Next::End;
        };
        transaction.watching = false;
        for error in errors_within(reply) {
            self.stats.calls.erred(ErrorCode::of(error));
        }
        let items = std::mem::take(&mut transaction.items);
        let mixed = items.iter().any(|item| matches!(item, Item::Publish(..)));
        if mixed && reply.kind() == b'*' && !reply.is_null() {
            let mut whole = Vec::new();
            encode::array(&mut whole, reply.items().left() as usize);
            for (item, answer) in items.iter().zip(reply.items()) {
                match item {
                    Item::Publish(_, kind, channel) => {
                        let tally = self.receivers(*kind, channel, slot);
                        correct(Some(answer), tally, &mut whole);
                    }
                    _ => whole.extend_from_slice(answer.frame()),
                }
            }
            self.fulfil(PartId::new(id, seq, part), &whole, now);
        } else {
            self.fulfil(PartId::new(id, seq, part), reply.frame(), now);
        }
        self.part_done(lease)
    }

    /// Whether all runs have had their last reply.
    pub(super) fn part_done(&mut self, lease: &mut Lease) -> Next {
        let is_owed = |run: &Run| {
            let mut lines = run.lines.iter();
            lines.any(|line| matches!(line.owed, Owed::Last(..)))
        };
        if lease.runs.iter().any(is_owed) {
            Next::Keep
        } else {
            Next::End
        }
    }

    /// Who receives a message that the master of `slot` publishes.
    fn receivers(&self, kind: Kind, channel: &[u8], slot: u16) -> Tally {
        let shard = Slot::new(slot).and_then(|slot| self.upstream.routes.shard(slot));
        let node = shard.and_then(|shard| self.upstream.node(shard.master));
        let register = &self.process.register;
        register.receivers(kind, channel, node.map(|node| node.address))
    }

    /// A request is refused. If it is EXEC, the transaction is over, if there is one; Redis says so even if there is none.
    pub(in crate::proxy) fn refused_inside(
        &mut self,
        request: &Request<'_>,
        text: &str,
    ) -> Option<String> {
        let is_exec = request.command.class == Class::Leased(LeaseKind::Transaction(Verb::Exec));
        if !is_exec {
            return None;
        }
        if let Some(mut lease) = self.take_lease(request.client) {
            for index in 0..lease.runs.len() as u16 {
                self.queue_all(request.client, &mut lease, index, request.now);
            }
            self.put_lease(request.client, lease, Next::End, request.now);
        }
        let reason = text.strip_prefix("ERR ").unwrap_or(text);
        Some(format!(
            "EXECABORT Transaction discarded because of: {reason}"
        ))
    }
}

/// Whether it publishes what a client with these subscriptions hears.
fn is_heard(item: &Item, own: &Subscriptions) -> bool {
    matches!(item, Item::Publish(_, kind, channel) if own.hears(*kind, channel))
}

/// Where one item of the reply to EXEC comes from.
enum Answer {
    /// The next item of this run's reply.
    Run(u16),
    /// The same, a number of receivers to be put right.
    Publish(u16, Tally),
    /// The next items of several runs' replies.
    Cut(Parts),
}

/// Appends a node's answer to a PUBLISH: a number that is put right, or whatever else it says.
fn correct(reply: Option<Reply<'_>>, tally: Tally, out: &mut Vec<u8>) {
    let counted = reply.as_ref().and_then(Reply::integer);
    match (counted, reply) {
        (Some(counted), _) => encode::integer(out, tally.correct(counted)),
        (None, Some(reply)) => out.extend_from_slice(reply.frame()),
        (None, None) => out.extend_from_slice(b"_\r\n"),
    }
}

/// The errors within a reply, at whatever depth.
fn errors_within(reply: Reply<'_>) -> Vec<&[u8]> {
    // Nearly always there is none, and nothing is to be taken apart.
    let mut open = match memmem::find(reply.frame(), b"\r\n-") {
        Some(_) => vec![reply.items()],
        None => Vec::new(),
    };
    let mut errors = Vec::new();
    while let Some(items) = open.last_mut() {
        match items.next() {
            Some(item) => match item.error() {
                Some(error) => errors.push(error),
                None if item.items().left() > 0 => open.push(item.items()),
                None => {}
            },
            None => {
                open.pop();
            }
        }
    }
    errors
}

/// One reply of those of all runs: `answers` says where each item comes from.
fn join(answers: Vec<Answer>, replies: &[Reply<'_>], out: &mut Vec<u8>) {
    let error = replies.iter().find_map(|reply| reply.error());
    if let Some(error) = error {
        let executed = replies.iter().any(|reply| !reply.is_error());
        return if executed {
            encode::error(out, &[b"ERR partial failure: ", error].concat());
        } else {
            encode::error(out, error);
        };
    }
    let mut items: Vec<_> = replies.iter().map(|reply| reply.items()).collect();
    let mut next = |run: u16| items.get_mut(usize::from(run)).and_then(Iterator::next);
    encode::array(out, answers.len());
    let mut spares = Spares::default();
    for answer in answers {
        match answer {
            Answer::Run(run) => {
                out.extend_from_slice(next(run).map_or(b"_\r\n", |item| item.frame()));
            }
            Answer::Publish(run, tally) => correct(next(run), tally, out),
            Answer::Cut(parts) => {
                let merge = merge_of(parts.policy);
                let mut split = Split::with_capacity(merge, parts.write, parts.runs.len());
                parts.runs.iter().for_each(|_| {
                    split.add(NO_SLOT);
                });
                split.set_order(parts.order);
                for (run, part) in parts.runs.into_iter().zip(0..) {
                    let item = next(run).map_or(&b"_\r\n"[..], |item| item.frame());
                    split.fulfil(part, item, &mut spares);
                }
                split.finish_whole(out, &mut spares);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_found_at_any_depth_and_nowhere_else() {
        let found = |frame: &str| {
            let errors = errors_within(Reply::new(frame.as_bytes()));
            let errors = errors.iter().map(|error| String::from_utf8_lossy(error));
            errors.collect::<Vec<_>>().join("|")
        };
        assert_eq!(found("*2\r\n+OK\r\n-ERR a\r\n"), "ERR a");
        assert_eq!(found("*2\r\n*2\r\n:1\r\n-X b\r\n-Y c\r\n"), "X b|Y c");
        assert_eq!(found("%1\r\n+k\r\n~1\r\n-Z d\r\n"), "Z d");
        // A value that looks like one, no value, and an error that is the whole reply.
        assert_eq!(found("*2\r\n$6\r\na\r\n-b\n\r\n:-1\r\n"), "");
        assert_eq!(found("*-1\r\n"), "");
        assert_eq!(found("-EXECABORT x\r\n"), "");
    }
}
