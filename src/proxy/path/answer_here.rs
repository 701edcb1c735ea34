//! Requests that the proxy answers itself: their handler is run, and what it asks for is done.

use crate::command::Class;
use crate::config::is_local;
use crate::proxy::actions::Wanted;
use crate::proxy::client::step::Step;
use crate::proxy::client::{GIVEN_UP, Stall};
use crate::proxy::local::login::Login;
use crate::proxy::local::{self, After, Handler};
use crate::proxy::pipeline::by_slot::runs_alone;
use crate::proxy::request::Request;
use crate::proxy::state::Proxy;
use crate::proxy::stats::calls::ErrorCode;
use crate::proxy::texts;
use crate::resp::args::Args;
use crate::resp::encode;
use crate::resp::reply::Reply;

impl Proxy {
    /// A request that the proxy answers itself, in its turn, or of the answers of others. Meanwhile it counts among
    /// what its client has in our buffers.
    #[inline(never)]
    pub(in crate::proxy) fn answer_locally(
        &mut self,
        request: &Request<'_>,
        handler: Handler,
    ) -> Step {
        if let Some(client) = self.clients.get_mut(request.client)
            && client.names_done == 0
        {
            client.at_hand = (
                request.args.frame().len(),
                request.args.from(0).map(<[u8]>::len).sum(),
            );
        }
        let step = self.answer_at_hand(request, handler);
        if let Some(client) = self.clients.get_mut(request.client) {
            client.at_hand = (0, 0);
        }
        step
    }

    fn answer_at_hand(&mut self, request: &Request<'_>, handler: Handler) -> Step {
        let &Request {
            client: id,
            command,
            args,
            ..
        } = request;
        let Some(client) = self.clients.get_mut(id) else {
            return Step::Close;
        };
        if client.names_done == GIVEN_UP {
            client.names_done = 0;
            return Step::Done;
        }
        let alone = client.pipeline.is_empty() || client.execution.is_some();
        if (handler.barrier || runs_alone(command)) && !alone {
            if command.class == Class::Subscription {
                self.announce(id, args.frame());
            }
            return Step::Wait(Stall::Barrier);
        }
        if handler.logs_in.is_some_and(|least| args.len() >= least)
            && let Some(step) = self.delay_login(request)
        {
            return step;
        }
        let mut login = None;
        if let Some(read) = handler.credentials.filter(|_| self.servers_judge()) {
            match self.log_in(request, read(args)) {
                Ok(admitted) => login = admitted,
                Err(step) => return step,
            }
        }
        if handler.watches
            && let Some(step) = self.look_at_subscribers(request, alone)
        {
            return step;
        }
        match self.run_handler(request, handler, login) {
            Some(after) => self.act_on(request, after),
            None => Step::Close,
        }
    }

    /// Runs a handler. What it replies at once is its client's; nothing if that has gone.
    fn run_handler(
        &mut self,
        request: &Request<'_>,
        handler: Handler,
        login: Option<Login>,
    ) -> Option<After> {
        let &Request {
            client: id,
            command,
            args,
            now,
        } = request;
        let administers = self.administers(self.clients.get(id)?);
        let client = self.clients.get_mut(id)?;
        // It may tell what has been counted.
        self.turn_latencies.settle(&self.stats.calls, now);
        let mut reply = std::mem::take(&mut self.scratch.reply);
        reply.clear();
        let seq = client.pipeline.tail();
        let mut context = local::Context {
            administers,
            is_local: is_local(client.address),
            session: &mut client.session,
            users: &self.users,
            refused_login: None,
            login,
            client_reply: &mut client.pipeline.client_reply,
            config: &self.config,
            process: &self.process,
            stats: &self.stats,
            routes: &self.upstream.routes,
            nodes: &self.upstream.nodes,
            handlers: &self.handlers,
            table: &self.table,
            servers: &self.servers,
            seen: &mut self.seen,
            namespaces: &self.namespaces,
            client_pause: self.client_pause,
            names_done: client.names_done,
            names_most: match client.execution {
                None => self.config.limits.turn_names,
                Some(_) => usize::MAX,
            },
            command,
            seq,
            now,
        };
        let protocol = context.session.protocol;
        let monitored = context.session.is_monitor();
        let mut after = if args.len() > handler.arguments_max {
            encode::error(&mut reply, texts::too_many(&command.name).as_bytes());
            After::Go
        } else {
            (handler.run)(&mut context, args, &mut reply)
        };
        self.beside_requests += work_of(args, &reply, &after);
        let refused_login = context.refused_login.take();
        let monitors = client.session.is_monitor();
        if matches!(after, After::OwnLine) {
            client.pipeline.last_command = command.id;
            let line = client.line(&self.table, now);
            encode::verbatim(&mut reply, &line, client.session.protocol);
            after = After::Go;
        }
        if matches!(after, After::Silent) {
            self.stats.commands.add(1);
            client.pipeline.last_command = command.id;
        }
        if matches!(
            after,
            After::Go
                | After::Refresh
                | After::Close
                | After::Reset(_)
                | After::Track(_)
                | After::ChooseNext
        ) {
            self.stats.commands.add(1);
            self.stats.calls.answered(command.id, 0, 1);
            if let Some(error) = Reply::new(&reply).error() {
                self.stats.calls.failed(command.id, ErrorCode::of(error));
                self.insight.audit.note_error(command.id, error);
            }
            let (output, pool) = (&mut client.output, &mut self.pool);
            client
                .pipeline
                .answer(command.id, &reply, output, pool, now);
            if client.session.tracking().is_some() {
                client.answered_to_tracker(seq, protocol);
            }
            self.queue_flush(id);
        }
        self.scratch.reply = reply;
        if let Some(name) = refused_login {
            self.note_refused_login(id, &name, args, now);
        }
        match (monitored, monitors) {
            (false, true) => self.add_monitor(id),
            (true, false) => self.remove_monitor(id),
            (false, false) | (true, true) => {}
        }
        Some(after)
    }

    /// Does what a handler has asked for.
    fn act_on(&mut self, request: &Request<'_>, after: After) -> Step {
        let (id, now) = (request.client, request.now);
        match after {
            After::Go | After::OwnLine | After::Silent => Step::Done,
            After::Refresh => {
                self.want_refresh(Wanted::Asked);
                Step::Done
            }
            After::Track(mode) => {
                self.set_tracking(id, mode);
                Step::Done
            }
            After::TrackPrefixes(mode) => {
                self.join_feeds(id, request.command.id, mode, now);
                Step::Done
            }
            After::TrackBy(number, wanted) => {
                self.seek_target(id, request.command.id, number, wanted, now);
                Step::Alone
            }
            After::ChooseNext => {
                self.choose_next(id);
                Step::Done
            }
            After::Reset(subscriptions) => {
                self.end_lease(id, now);
                self.set_tracking(id, None);
                if let Some(own) = subscriptions {
                    self.leave_topics(id, &own, now);
                }
                Step::Done
            }
            After::Close => Step::Close,
            After::Subscriptions(change) => self.change_subscriptions(request, change),
            After::Serve => self.serve_watched(request),
            After::Broadcast(merge) => {
                // What the proxy would answer itself, nodes answer if each has its own: its users.
                let replicas = matches!(request.command.class, Class::AllNodes(_) | Class::Local);
                self.broadcast_with(request, merge, replicas)
            }
            After::AskAnyMaster => self.send_to_any(request),
            After::Ask(plan) => self.carry_out(request, plan),
            After::AskAlone(plan) => match self.carry_out(request, plan) {
                Step::Done => Step::Alone,
                other => other,
            },
        }
    }
}

/// Bytes of a reply that are made in the time that one more short request takes.
const MADE: usize = 16;
/// The same of bytes that are only read and copied.
const COPIED: usize = 256;
/// What a request costs to which others make the reply, in short requests.
const ASKED: usize = 64;

/// What the answer to a request has cost beside the request itself, in short requests: of COMMAND or INFO not many are
/// answered in one turn.
fn work_of(args: &Args<'_>, reply: &[u8], after: &After) -> u64 {
    let asked = args.frame().len();
    let bytes = asked / COPIED + reply.len().saturating_sub(asked) / MADE;
    let cost = match after {
        After::Ask(_) | After::AskAlone(_) | After::Broadcast(_) => ASKED + bytes,
        _ if reply.is_empty() => 0,
        _ => bytes,
    };
    cost as u64
}
