//! EXEC: sending it, and making one reply of what nodes and the proxy itself answer.

use crate::clock::Time;
use crate::cluster::slot::Slot;
use crate::command::{Class, Command, LeaseKind};
use crate::config::is_local;
use crate::proxy::client::{ClientId, Pause};
use crate::proxy::dispatch::{Step, request_limits};
use crate::proxy::insight::audit::Reason;
use crate::proxy::lease::run::{Line, Owed, Run};
use crate::proxy::lease::transaction::{Item, Verb, null_array};
use crate::proxy::lease::{Lease, Next, Work};
use crate::proxy::local::{self, After};
use crate::proxy::merge::{Merge, Split};
use crate::proxy::pipeline::{At, Seq};
use crate::proxy::pubsub::kind::Kind;
use crate::proxy::pubsub::register::Tally;
use crate::proxy::{NO_SLOT, Proxy, refusal, texts};
use crate::resp::args::Args;
use crate::resp::encode;
use crate::resp::frame::{RequestScanner, Scan};
use crate::resp::reply::Reply;

const EXEC: &[u8] = b"*1\r\n$4\r\nEXEC\r\n";

impl Proxy {
    /// EXEC of a client that has said MULTI.
    pub(super) fn exec(
        &mut self,
        id: ClientId,
        command: &Command,
        args: &Args<'_>,
        now: Time,
    ) -> Step {
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
        let paused = self.suspension.is_some_and(|suspension| {
            now < suspension.until && (suspension.all || transaction.writes)
        });
        if paused {
            return Step::Wait(Pause::Suspended);
        }
        let fails = transaction.crossed || transaction.doomed || transaction.broken;
        let sent = runs.len() == 1 && (runs[0].is_open() || transaction.watching);
        if busy && (fails || !sent) {
            return Step::Wait(Pause::Barrier);
        }
        let Some(mut lease) = self.take_lease(id) else {
            return Step::Close;
        };
        lease.active_at = now;
        let Work::Transaction(transaction) = &mut lease.work else {
            return Step::Close;
        };
        if fails {
            let text = match (transaction.crossed, transaction.doomed) {
                (true, _) => Some(refusal::CROSS_SLOT),
                (false, true) => Some(texts::EXECABORT),
                (false, false) => None,
            };
            self.put_lease(id, lease, Next::End, now);
            match text {
                Some(text) => return self.fail_inside(id, command, text, now),
                None => self.say(id, command, null_array(self.protocol_of(id)), now),
            }
            return Step::Done;
        }
        if lease.runs.len() > 1 {
            self.insight.audit.note(command.id, Reason::Cut);
            return self.exec_each(id, command, lease, now);
        }
        if !sent {
            let items = std::mem::take(&mut transaction.items);
            let mut reply = Vec::new();
            encode::array(&mut reply, items.len());
            self.put_lease(id, lease, Next::End, now);
            let none = &mut std::iter::empty();
            self.answer_inside(id, &items, NO_SLOT, none, &mut reply, now);
            self.say(id, command, &reply, now);
            return Step::Done;
        }
        let run = &mut lease.runs[0];
        if run.slot == NO_SLOT
            && let Some(channel) = &transaction.channel
            && let Some(slot) = self.slot_of_channel(channel)
        {
            run.set_slot(slot.number());
        }
        lease.runs[0].open();
        let slot = lease.runs[0].slot;
        let seq = self.take_place(id, command, slot, At::Held, now);
        let line = Line::new(args.frame().to_vec(), command.id, Owed::Last(seq, 0));
        let next = self.add(id, &mut lease, 0, line, now);
        self.put_lease(id, lease, next, now);
        Step::Alone
    }

    /// EXEC in every slot: each run is atomic, their replies are put together in the order of the requests.
    fn exec_each(
        &mut self,
        id: ClientId,
        command: &Command,
        mut lease: Box<Lease>,
        now: Time,
    ) -> Step {
        let Work::Transaction(transaction) = &mut lease.work else {
            return Step::Close;
        };
        // What the proxy answers itself cannot wait for all of them.
        let mut answers = Vec::new();
        for item in std::mem::take(&mut transaction.items) {
            answers.push(match item {
                Item::Run(run) => Answer::Run(run),
                Item::Publish(run, kind, channel) => {
                    let slot = lease.runs[usize::from(run)].slot;
                    Answer::Publish(run, self.receivers(kind, &channel, slot))
                }
                Item::Local(row, frame) => {
                    let mut out = Vec::new();
                    self.run_inside(id, row, &frame, &mut out, now);
                    Answer::Own(out)
                }
            });
        }
        let join = move |replies: &[Reply<'_>], out: &mut Vec<u8>| join(&answers, replies, out);
        let mut split = Split::new(Merge::JoinAll(Box::new(join)), true);
        lease.runs.iter().for_each(|run| {
            split.add(run.slot);
        });
        self.stats.commands.add(1);
        let Some(client) = self.clients.get_mut(id) else {
            self.put_lease(id, lease, Next::End, now);
            return Step::Close;
        };
        let seq = client.pipeline.push_split(command.id, Box::new(split), now);
        let mut next = Next::Keep;
        for index in 0..lease.runs.len() as u16 {
            let line = Line::new(EXEC.to_vec(), command.id, Owed::Last(seq, index));
            lease.runs[usize::from(index)].lines.push(line);
            next = self.go_on(id, &mut lease, index, now);
        }
        self.put_lease(id, lease, next, now);
        Step::Alone
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
        if let Some(run) = lease.runs.get_mut(index) {
            run.cleaner = b"";
            slot = run.slot;
        }
        let Work::Transaction(transaction) = &mut lease.work else {
            return Next::End;
        };
        transaction.watching = false;
        let items = std::mem::take(&mut transaction.items);
        let mixed = items.iter().any(|item| !matches!(item, Item::Run(_)));
        if mixed && reply.kind() == b'*' && !reply.is_null() {
            let mut whole = Vec::new();
            encode::array(&mut whole, items.len());
            let mut items_of_node = reply.items();
            self.answer_inside(id, &items, slot, &mut items_of_node, &mut whole, now);
            self.fulfil(id, seq, part, &whole, now);
        } else {
            self.fulfil(id, seq, part, reply.frame(), now);
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

    /// Appends the answers to queued requests: those of the node of `slot` as they come, the proxy's own where they
    /// belong.
    fn answer_inside<'a>(
        &mut self,
        id: ClientId,
        items: &[Item],
        slot: u16,
        of_node: &mut (impl Iterator<Item = Reply<'a>> + ?Sized),
        out: &mut Vec<u8>,
        now: Time,
    ) {
        for item in items {
            match item {
                Item::Run(_) => {
                    out.extend_from_slice(of_node.next().map_or(b"_\r\n", |r| r.frame()))
                }
                Item::Publish(_, kind, channel) => {
                    let tally = self.receivers(*kind, channel, slot);
                    correct(of_node.next(), tally, out);
                }
                Item::Local(row, frame) => self.run_inside(id, *row, frame, out, now),
            }
        }
    }

    /// Appends the proxy's own answer to a request that was queued here.
    fn run_inside(&mut self, id: ClientId, row: u16, frame: &[u8], out: &mut Vec<u8>, now: Time) {
        let table = self.table.clone();
        let command = table.row(row);
        let mut spans = Vec::new();
        let limits = request_limits(&self.config.limits, true);
        let scan = RequestScanner::default().next(frame, &limits, &mut spans);
        let (Ok(Scan::Frame(_)), Some(handler), Some(client)) =
            (scan, self.handlers.get(row), self.clients.get_mut(id))
        else {
            return encode::error(out, texts::not_inside(command).as_bytes());
        };
        let args = Args::new(frame, &spans);
        let mut context = local::Context {
            administers: self.config.admin_commands.allow(client.address),
            is_local: is_local(client.address),
            session: &mut client.session,
            replies: &mut client.pipeline.replies,
            config: &self.config,
            process: &self.process,
            stats: &self.stats,
            routes: &self.upstream.routes,
            nodes: &self.upstream.nodes,
            handlers: &self.handlers,
            table: &self.table,
            servers: &self.servers,
            seen: &mut self.seen,
            command,
            now,
        };
        let start = out.len();
        match (handler.run)(&mut context, &args, out) {
            After::Go | After::Refresh | After::Close | After::Reset(_) => {}
            After::OwnLine => {
                let line = client.line(&self.config.listen, &self.table, now);
                encode::verbatim(out, &line, client.session.protocol);
            }
            // It needs more than one answer, which cannot come between those of one node.
            After::Serve
            | After::Subscriptions(_)
            | After::Broadcast(_)
            | After::Silent
            | After::AskAnyMaster
            | After::Ask(_) => {
                out.truncate(start);
                encode::error(out, texts::not_inside(command).as_bytes());
            }
        }
    }

    /// A request of a client in MULTI is refused. If it is EXEC, the transaction is over.
    pub(in crate::proxy) fn refused_inside(
        &mut self,
        id: ClientId,
        command: &Command,
        text: &str,
        now: Time,
    ) -> Option<String> {
        let is_exec = command.class == Class::Leased(LeaseKind::Transaction)
            && Verb::of(command) == Some(Verb::Exec);
        if !is_exec {
            return None;
        }
        let mut lease = self.take_lease(id)?;
        for index in 0..lease.runs.len() as u16 {
            self.queue_all(id, &mut lease, index, now);
        }
        self.put_lease(id, lease, Next::End, now);
        let reason = text.strip_prefix("ERR ").unwrap_or(text);
        Some(format!(
            "EXECABORT Transaction discarded because of: {reason}"
        ))
    }
}

/// Where one item of the reply to EXEC comes from.
enum Answer {
    /// It is here.
    Own(Vec<u8>),
    /// The next item of this run's reply.
    Run(u16),
    /// The same, a number of receivers to be put right.
    Publish(u16, Tally),
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

/// One reply of those of all runs: `answers` says where each item comes from.
fn join(answers: &[Answer], replies: &[Reply<'_>], out: &mut Vec<u8>) {
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
    encode::array(out, answers.len());
    for answer in answers {
        match answer {
            Answer::Own(own) => out.extend_from_slice(own),
            Answer::Run(run) => {
                let item = items.get_mut(usize::from(*run)).and_then(Iterator::next);
                out.extend_from_slice(item.map_or(b"_\r\n", |item| item.frame()));
            }
            Answer::Publish(run, tally) => {
                let item = items.get_mut(usize::from(*run)).and_then(Iterator::next);
                correct(item, *tally, out);
            }
        }
    }
}
