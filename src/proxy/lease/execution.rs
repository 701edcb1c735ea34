//! `Execution`: an EXEC of which the proxy answers a part itself: commands of its own (CLIENT, INFO, SUBSCRIBE) and
//! commands for all nodes (FLUSHALL, DBSIZE, SCRIPT LOAD).
//!
//! EXEC stands at the head of its client's pipeline until all is done. Each step takes a place behind it and is served
//! like any request, so that redirects, limits and merges are those of everywhere; what stands there in the end
//! becomes the items of EXEC's reply.
//!
//! The order: what stands before the first request for a node is served first; then comes the node's EXEC, which is
//! one transaction; then the rest. After WATCH the node's EXEC is the first step, since only it knows whether anything
//! may run. A command for all nodes is executed by the transaction's node in its place among the others, and by the
//! other nodes afterwards. Nothing is served behind an EXEC that the node has not executed.

use crate::clock::Time;
use crate::command::InMulti;
use crate::proxy::client::step::Step;
use crate::proxy::client::{Parting, Stall};
use crate::proxy::ids::{ClientId, NO_SLOT, PartId};
use crate::proxy::lease::state::execution::{Answered, Execution, Part, What};
use crate::proxy::lease::state::transaction::Item;
use crate::proxy::lease::state::{Lease, Next, Work};
use crate::proxy::pipeline::At;
use crate::proxy::pipeline::client_reply::ClientReply;
use crate::proxy::request::Request;
use crate::proxy::request::request_limits;
use crate::proxy::state::Proxy;
use crate::proxy::upstream::routes::everyone::Executor;
use crate::resp::args::Args;
use crate::resp::encode;
use crate::resp::frame::{RequestScanner, Scan};

/// Steps that are taken in one turn.
const STEPS_MAX: usize = 256;

impl Proxy {
    /// Begins an EXEC of which the proxy answers a part, on an empty pipeline. `sent`: a node has a part, too.
    pub(super) fn execute(
        &mut self,
        request: &Request<'_>,
        mut lease: Box<Lease>,
        sent: bool,
    ) -> Step {
        let &Request {
            client: id,
            command,
            now,
            ..
        } = request;
        let Work::Transaction(transaction) = &mut lease.work else {
            return Step::Close;
        };
        let items = std::mem::take(&mut transaction.items);
        let of_node = |item: &Item| !matches!(item, Item::Own(_));
        let node_at = match items.iter().position(of_node) {
            _ if transaction.watching => Some(0),
            found => found.filter(|_| sent),
        };
        // What the runs' replies are made of. A share is an item like another there.
        let (mut queued, mut kept) = (Vec::new(), Vec::with_capacity(items.len()));
        for item in items {
            match item {
                Item::Own(_) => kept.push(item),
                Item::Share(_) => {
                    queued.push(Item::Run(0));
                    kept.push(item);
                }
                Item::Run(_) | Item::Publish(..) | Item::Cut(_) => {
                    queued.push(item);
                    kept.push(Item::Run(0));
                }
            }
        }
        transaction.items = queued;
        let next = if node_at.is_some() {
            Next::Keep
        } else {
            Next::End
        };
        self.put_lease(id, lease, next, now);
        self.stats.commands.add(1);
        let Some(client) = self.clients.get_mut(id) else {
            return Step::Close;
        };
        debug_assert!(client.pipeline.is_empty());
        let pipeline = &mut client.pipeline;
        let seq = pipeline.push_single(command.id, NO_SLOT, At::Here, now);
        let execution = Execution::new(seq, command.id, kept, node_at);
        client.execution = Some(Box::new(execution));
        self.go_on_executing(id, now);
        Step::Alone
    }

    /// Takes the next steps of an EXEC, as far as they can be taken now.
    pub(in crate::proxy) fn go_on_executing(&mut self, id: ClientId, now: Time) {
        for _ in 0..STEPS_MAX {
            let Some(client) = self.clients.get_mut(id) else {
                return;
            };
            let Some(execution) = &mut client.execution else {
                return;
            };
            if !client.pipeline.is_last_ready() {
                client.stall = Some(Stall::Barrier);
                return;
            }
            if let (Some(seq), None) = (execution.sent, &execution.of_node) {
                execution.take_node_reply(&client.pipeline.ready(seq).unwrap_or_default());
            }
            if client.closing.is_some() {
                execution.steps.clear();
            }
            let step = match execution.steps.front() {
                None => return self.finish_execution(id, now),
                Some(What::Node) => self.execute_at_node(id, now),
                Some(What::Own(index)) => {
                    let index = *index;
                    self.execute_here(id, index, now)
                }
            };
            let Some(client) = self.clients.get_mut(id) else {
                return;
            };
            let Some(execution) = &mut client.execution else {
                return;
            };
            match step {
                Step::Wait(stall) => {
                    debug_assert!(stall != Stall::Barrier);
                    client.stall = Some(stall);
                    return;
                }
                Step::Close => {
                    execution.steps.clear();
                    self.close_when_told(id, Parting::Left);
                }
                Step::Forward(..) | Step::Done | Step::Alone => {
                    execution.steps.pop_front();
                }
            }
        }
        if let Some(client) = self.clients.get_mut(id)
            && client.execution.is_some()
        {
            client.stall = Some(Stall::Behind);
            self.resume_later(id);
        }
    }

    fn execute_at_node(&mut self, id: ClientId, now: Time) -> Step {
        let Some(mut lease) = self.take_lease(id) else {
            return Step::Close;
        };
        let execution = self.clients.get(id).and_then(|c| c.execution.as_ref());
        let row = execution.map_or(u16::MAX, |execution| execution.row);
        // It is no call of its own.
        let (seq, next) = self.send_exec(id, row, u16::MAX, &mut lease, now);
        if let Some(client) = self.clients.get_mut(id)
            && let Some(execution) = &mut client.execution
        {
            execution.sent = Some(seq);
        }
        self.put_lease(id, lease, next, now);
        Step::Done
    }

    /// Serves the request at this index, in its place behind EXEC.
    fn execute_here(&mut self, id: ClientId, index: usize, now: Time) -> Step {
        let Some(client) = self.clients.get_mut(id) else {
            return Step::Close;
        };
        let pipeline = &mut client.pipeline;
        let Some(execution) = &mut client.execution else {
            return Step::Close;
        };
        execution.share = match (&execution.items[index], execution.executor) {
            // It may have to wait and be served again.
            (Part::Share(_, _, share), Some(executor)) => {
                share.clone().map(|reply| (executor, reply))
            }
            _ => None,
        };
        let (Part::Own(own, _) | Part::Share(own, _, _)) = &mut execution.items[index] else {
            return Step::Done;
        };
        let (row, frame) = (own.row, std::mem::take(&mut own.frame));
        let before = pipeline.tail();
        let mode = std::mem::replace(&mut pipeline.client_reply, ClientReply::On);
        let step = self.serve_queued(id, row, &frame, now);
        let Some(client) = self.clients.get_mut(id) else {
            return Step::Close;
        };
        let pipeline = &mut client.pipeline;
        let changed = std::mem::replace(&mut pipeline.client_reply, mode);
        let Some(execution) = &mut client.execution else {
            return step;
        };
        if changed != ClientReply::On {
            execution.client_reply = Some(changed);
        }
        let (Part::Own(own, answered) | Part::Share(own, answered, _)) =
            &mut execution.items[index]
        else {
            return step;
        };
        *answered = match step {
            Step::Wait(_) => {
                own.frame = frame;
                Answered::Not
            }
            _ if pipeline.tail() == before => Answered::Silently,
            _ => Answered::At(before),
        };
        step
    }

    fn serve_queued(&mut self, id: ClientId, row: u16, frame: &[u8], now: Time) -> Step {
        let table = self.table.clone();
        let command = table.row(row);
        let mut spans = Vec::new();
        let limits = request_limits(&self.config.limits, true);
        let scan = RequestScanner::default().next(frame, &limits, &mut spans);
        if !matches!(scan, Ok(Scan::Frame(_))) {
            debug_assert!(false, "what is queued has been read before");
            return Step::Close;
        }
        let args = Args::new(frame, &spans);
        let request = &Request {
            client: id,
            command,
            args: &args,
            now,
        };
        if let InMulti::Denied(text) = command.in_multi {
            return self.fail_inside(request, text);
        }
        let step = self.perform_apart(request);
        if let Step::Forward(backend, ticket) = step {
            self.stats.backend_requests.add(1);
            let (pool, actions) = (&mut self.pool, &mut self.actions);
            self.upstream.send(backend, frame, ticket, pool, actions);
            return Step::Done;
        }
        step
    }

    /// What the node of the transaction has answered already to the command at hand.
    pub(in crate::proxy) fn take_share(&mut self, id: ClientId) -> Option<(Executor, Vec<u8>)> {
        let execution = self.clients.get_mut(id)?.execution.as_mut()?;
        execution.share.take()
    }

    /// All steps are done: EXEC has its reply.
    fn finish_execution(&mut self, id: ClientId, now: Time) {
        let Some(client) = self.clients.get_mut(id) else {
            return;
        };
        let Some(execution) = client.execution.take() else {
            return;
        };
        let reply = match &execution.verdict {
            Some(verdict) => verdict.clone(),
            None => {
                let ready = |seq| client.pipeline.ready(seq).unwrap_or_default();
                let mut reply = Vec::new();
                encode::array(&mut reply, execution.items.len());
                let node = execution.sent.map(ready).unwrap_or_default();
                let mut of_node = execution.of_node.as_deref().unwrap_or_default().iter();
                for item in &execution.items {
                    let own = match item {
                        Part::Node => None,
                        Part::Own(_, answered) => Some(answered),
                        Part::Share(_, answered, _) => {
                            of_node.next();
                            Some(answered)
                        }
                    };
                    match own {
                        // Its client is closed here.
                        Some(Answered::Not) => break,
                        Some(Answered::Silently) => {}
                        Some(Answered::At(seq)) => reply.extend_from_slice(&ready(*seq)),
                        None => match of_node.next() {
                            Some(range) => reply.extend_from_slice(&node[range.clone()]),
                            None => break,
                        },
                    }
                }
                reply
            }
        };
        client.pipeline.hush_behind_head(&mut self.spares);
        if let Some(replies) = execution.client_reply {
            client.pipeline.client_reply = replies;
        }
        if client.closing.is_some() {
            client.stall = None;
        }
        self.fulfil(PartId::new(id, execution.seq, 0), &reply, now);
    }
}
