//! The request path, from a client's bytes to a backend's queue. It reads top to bottom.
//!
//! How a command is treated comes from its row of the table; no command name appears here.

use crate::buffer::ReadBuf;
use crate::clock::Time;
use crate::cluster::request_slots::{self, Place};
use crate::cluster::slot::Slot;
use crate::command::{
    self, Class, Command, Flags, KeysError, LeaseKind, Resolved, ResponsePolicy, Runs, Table,
};
use crate::config::ReadPreference;
use crate::proxy::actions::Wanted;
use crate::proxy::client::held::Retry;
use crate::proxy::client::session::Session;
use crate::proxy::client::step::Step;
use crate::proxy::client::{Client, Parting, Stall};
use crate::proxy::ids::{BackendId, ClientId, NO_SLOT, PartId, Seq};
use crate::proxy::path::plain::SplitTaken;
use crate::proxy::pipeline::At;
use crate::proxy::planted_bugs;
use crate::proxy::request::{MOVED_FRAME, Request, request_limits};
use crate::proxy::state::Proxy;
use crate::proxy::texts::{self, refusal};
use crate::proxy::upstream::Target;
use crate::proxy::upstream::accounts::Unnamed;
use crate::proxy::upstream::backend::{Origin, State, Ticket};
use crate::proxy::upstream::goal::Goal;
use crate::proxy::upstream::routes::ShardId;
use crate::resp::args::Args;
use crate::resp::frame::Scan;
use crate::resp::inline;

impl Proxy {
    /// Takes what a client has sent: as many requests as may be taken now.
    /// `count` bytes of it are new.
    pub fn client_input(&mut self, id: ClientId, count: usize, now: Time) {
        if self.take_plain_requests(id, count, now) {
            return;
        }
        if self
            .clients
            .get(id)
            .is_some_and(|client| client.stall.is_some())
        {
            return self.put_aside(id, count, now);
        }
        if !self.inbox.is_empty() {
            let input = std::mem::take(&mut self.inbox);
            if let Some(client) = self.clients.get_mut(id) {
                debug_assert!(!client.input.has_storage());
                client.input = input;
            }
        }
        let done = self.work();
        loop {
            let more = match self.take_plain_split(id, now) {
                SplitTaken::Last => break,
                SplitTaken::More => true,
                SplitTaken::No => {
                    let Some(client) = self.clients.get_mut(id) else {
                        return;
                    };
                    let mut input = std::mem::take(&mut client.input);
                    let more = self.take_request(id, &mut input, now);
                    if let Some(client) = self.clients.get_mut(id) {
                        client.input = input;
                    }
                    more
                }
            };
            if !more || self.take_plain_requests(id, 0, now) {
                break;
            }
            if self.work_since(done) >= self.config.limits.turn_requests {
                self.go_on_later(id);
                break;
            }
        }
        let Some(client) = self.clients.get_mut(id) else {
            return;
        };
        client.input.settle(&mut self.pool);
        let kept = if client.input.has_storage() { count } else { 0 };
        let is_stranger = !client.session.is_authenticated();
        if client.is_finished() {
            self.queue_flush(id);
        }
        if kept > 0 && is_stranger {
            self.note_strangers_growth(kept);
        }
        if kept > 0 || self.until_memory_look == 0 {
            self.note_growth(kept, now);
        }
    }

    /// A turn has begun: those who had their share of the last one go on.
    pub(in crate::proxy) fn begin_turn(&mut self, now: Time) {
        self.turn += 1;
        self.resumed_work = 0;
        if !self.unmerged.is_empty() {
            self.merge_on(now);
        }
        self.pubsub.outbox.begin_turn(&self.config.limits);
        if !self.pubsub.outbox.is_empty() {
            self.hand_on(now);
        }
        if !self.pubsub.leaving.is_empty() {
            self.leave_on(now);
        }
        if !self.listings.is_empty() {
            self.list_on(now);
        }
        if let Some(near) = self.near.as_deref_mut()
            && near.store.has_dropped()
        {
            near.store.free_some();
        }
        self.tracking.told = 0;
        if self.tracking.is_behind() {
            self.tell_on();
        }
        if !self.unreached.is_empty() {
            for id in std::mem::take(&mut self.unreached) {
                self.actions.resume(id);
            }
        }
        if !self.behind.is_empty() {
            for id in std::mem::take(&mut self.behind) {
                self.actions.resume(id);
            }
        }
    }

    /// Takes one request of any kind. Returns whether more may be taken now.
    fn take_request(&mut self, id: ClientId, input: &mut ReadBuf, now: Time) -> bool {
        let Some(client) = self.clients.get_mut(id) else {
            return false;
        };
        // A request whose first parts have been sent goes on whatever comes.
        if client.closing.is_some() && client.cut.is_none() {
            input.consume(input.len());
            return false;
        }
        if client.streamed.is_some() {
            return self.pass_on_streamed(id, input, now);
        }
        if client.is_full(&self.config.limits) && client.cut.is_none() {
            client.stall = Some(Stall::Full);
            return false;
        }
        client.stall = None;
        let is_welcome = self.upstream.accounts.unnamed == Unnamed::Welcome;
        let is_known = client.session.is_authenticated() || is_welcome;
        let limits = request_limits(&self.config.limits, is_known);
        let mut spans = std::mem::take(&mut self.scratch.spans);
        let scan = client.scanner.next(input.bytes(), &limits, &mut spans);
        let more = match scan {
            Ok(Scan::Frame(len)) => {
                let table = self.table.clone();
                let args = Args::new(&input.bytes()[..len], &spans);
                let step = self.dispatch(&table, id, &args, now);
                if let (Step::Wait(_), Some(client)) = (&step, self.clients.get_mut(id)) {
                    client.scanner.put_back(len, &mut spans);
                }
                self.take_step(id, step, input, len)
            }
            Ok(Scan::Inline(len)) => {
                let table = self.table.clone();
                let step = match self.dispatch_inline(&table, id, input, len, now) {
                    // Its frame was made of the line, and has been sent.
                    Step::Forward(..) => Step::Done,
                    other => other,
                };
                self.take_step(id, step, input, len)
            }
            Ok(Scan::Nothing(len)) => {
                input.consume(len);
                true
            }
            Ok(Scan::Incomplete(missing)) => {
                client.missing = missing;
                let queued = client.queued_bytes();
                let query = queued + input.len().saturating_add(missing);
                if queued > 0 && query > self.config.limits.request_bytes {
                    self.close_unread(id, now);
                } else if input.len().saturating_add(missing) >= self.config.limits.stream_bytes {
                    self.stream_request(id, input, now);
                }
                false
            }
            Err(error) => {
                self.protocol_error(id, error, now);
                input.consume(input.len());
                false
            }
        };
        self.scratch.spans = spans;
        more
    }

    /// Does with the frame of `len` bytes at the front of the client's input what was decided. Returns whether
    /// more may be taken.
    fn take_step(&mut self, id: ClientId, step: Step, input: &mut ReadBuf, len: usize) -> bool {
        match step {
            Step::Forward(backend, ticket) => {
                self.forward(backend, ticket, input);
                true
            }
            Step::Done => {
                input.consume(len);
                true
            }
            Step::Wait(stall) => {
                if self.is_announced(id) {
                    self.announce(id, input.bytes());
                }
                if let Some(client) = self.clients.get_mut(id) {
                    client.stall = Some(stall);
                    if client.cut.is_none() && client.names_done == 0 {
                        client.session.uncharge();
                    }
                }
                if stall == Stall::ClientPause {
                    self.count_paused(id);
                }
                false
            }
            Step::Alone => {
                input.consume(len);
                let Some(client) = self.clients.get_mut(id) else {
                    return false;
                };
                if client.pipeline.is_empty() {
                    return true;
                }
                client.stall.get_or_insert(Stall::Barrier);
                let last = self
                    .table
                    .rows()
                    .get(usize::from(client.pipeline.last_command));
                if last.is_some_and(|last| last.class == Class::Subscription) {
                    self.announce(id, input.bytes());
                }
                false
            }
            Step::Close => {
                input.consume(input.len());
                self.close_when_told(id, Parting::Left);
                false
            }
        }
    }

    /// The one copy of the request path; a large frame shares its storage instead.
    #[inline]
    fn forward(&mut self, backend: BackendId, ticket: Ticket, input: &mut ReadBuf) {
        let len = ticket.len as usize;
        self.stats.backend_requests.add(1);
        let (pool, actions) = (&mut self.pool, &mut self.actions);
        if len < MOVED_FRAME {
            let frame = &input.bytes()[..len];
            self.upstream.send(backend, frame, ticket, pool, actions);
            input.consume(len);
        } else {
            let chunk = input.share(len);
            if let Some(backend) = self.upstream.backends.get_mut(backend) {
                backend.output.push_chunk(chunk);
            }
            self.upstream.send(backend, &[], ticket, pool, actions);
        }
    }

    /// An inline request is written anew as a multibulk frame: nodes see one shape only.
    #[cold]
    fn dispatch_inline(
        &mut self,
        table: &Table,
        id: ClientId,
        input: &ReadBuf,
        len: usize,
        now: Time,
    ) -> Step {
        let line = &input.bytes()[..len];
        let mut frame = Vec::new();
        match inline::to_multibulk(line, &mut frame) {
            Ok(0) => return Step::Done,
            Ok(_) => {}
            Err(error) => {
                self.protocol_error(id, error, now);
                return Step::Close;
            }
        }
        let mut spans = Vec::new();
        let limits = request_limits(&self.config.limits, true);
        if crate::resp::frame::RequestScanner::default()
            .next(&frame, &limits, &mut spans)
            .is_err()
        {
            return Step::Close;
        }
        let args = Args::new(&frame, &spans);
        // What a browser would send is a cross-protocol attack: it is cut off in silence, as Redis does.
        if texts::is_http(args.name()) {
            return Step::Close;
        }
        match self.dispatch(table, id, &args, now) {
            Step::Forward(backend, ticket) => {
                self.stats.backend_requests.add(1);
                let (pool, actions) = (&mut self.pool, &mut self.actions);
                self.upstream.send(backend, &frame, ticket, pool, actions);
                Step::Done
            }
            other => other,
        }
    }

    /// One request: what it is, whether it may run, and where it goes.
    #[inline]
    fn dispatch(&mut self, table: &Table, id: ClientId, args: &Args<'_>, now: Time) -> Step {
        let command = match table.resolve(args) {
            Resolved::Command(command) => command,
            Resolved::Unknown if texts::is_http(args.name()) => return Step::Close,
            Resolved::Unknown => {
                self.stats.unsupported.add(1);
                return self.refuse(id, &texts::unknown_command(args), now);
            }
            Resolved::UnknownSubcommand(container) => {
                self.stats.unsupported.add(1);
                return self.refuse(id, &texts::unknown_subcommand(container, args), now);
            }
        };
        let request = &Request {
            client: id,
            command,
            args,
            now,
        };
        if !command.arity_ok(args.len()) {
            return self.reject(request, &texts::wrong_arity(&command.name));
        }
        if args.frame().len() >= MOVED_FRAME {
            self.largest.request(command.id, args.frame().len(), 0, now);
            if self.has_too_many_keys(request) {
                return self.reject(request, &texts::too_many_keys(&command.name));
            }
        }
        let Some(client) = self.clients.get(id) else {
            return Step::Close;
        };
        let session = &client.session;
        let (subscriber_only, namespace) =
            (session.is_subscriber_only(), session.namespace.clone());
        let tracks = session.tracking().is_some();
        let forbidden = command.changes_servers && !self.administers(client);
        if !session.is_free()
            && let Some(step) = self.refuse_user(request)
        {
            return step;
        }
        if subscriber_only && !Session::may_send_as_subscriber(command) {
            return self.reject(request, &texts::subscriber_only(&command.name));
        }
        if forbidden {
            return self.refuse(id, &texts::not_allowed(&command.name), now);
        }
        if tracks {
            self.look_for_apart(request);
        }
        if let Some(own) = namespace {
            return self.perform_confined(table, &own, request);
        }
        self.perform_allowed(request)
    }

    /// Whether a request has more keys for one slot than a turn looks at. What is split is looked at over many turns.
    #[cold]
    fn has_too_many_keys(&mut self, request: &Request<'_>) -> bool {
        let &Request { command, args, .. } = request;
        let (most, keys) = (self.config.limits.slot_keys, &mut self.scratch.keys);
        let by_slot = matches!(command.class, Class::Routed | Class::Leased(_));
        if args.len() <= most || !by_slot {
            return false;
        }
        keys.clear();
        command::keys(command, args, keys).is_ok() && keys.len() > most
    }

    /// Whether a client may send admin commands.
    pub(super) fn administers(&self, client: &Client) -> bool {
        let own = client.session.administers();
        own.unwrap_or_else(|| self.config.admin_commands.allow(client.address))
    }

    /// A request that its client may make.
    #[inline(always)]
    pub(super) fn perform_allowed(&mut self, request: &Request<'_>) -> Step {
        if self.servers_judge()
            && let Some(step) = self.judge_here(request)
        {
            return step;
        }
        if self.near.is_some() {
            self.note_request(request);
        }
        let client = self.clients.get(request.client);
        if client.is_some_and(|client| client.session.queueing) {
            return self.perform_queueing(request);
        }
        if self.process.watchers.any() {
            return self.perform_watched(request);
        }
        self.perform(request)
    }

    /// A request that may run: where it goes.
    #[inline(always)]
    pub(in crate::proxy) fn perform(&mut self, request: &Request<'_>) -> Step {
        if let Some(handler) = self.handlers.get(request.command.id) {
            return self.answer_locally(request, handler);
        }
        self.serve(request)
    }

    /// A request that is not queued although its client has said MULTI.
    #[cold]
    #[inline(never)]
    pub(in crate::proxy) fn perform_apart(&mut self, request: &Request<'_>) -> Step {
        self.perform(request)
    }

    /// A request that a handler has looked at and leaves to the nodes.
    #[inline(never)]
    pub(super) fn serve_watched(&mut self, request: &Request<'_>) -> Step {
        self.serve(request)
    }

    /// A request that goes where its class says.
    #[inline(always)]
    fn serve(&mut self, request: &Request<'_>) -> Step {
        if self.near.is_some() {
            return self.serve_beside_near(request);
        }
        self.serve_by_class(request)
    }

    /// The same, unless the near cache serves it.
    #[inline(never)]
    fn serve_beside_near(&mut self, request: &Request<'_>) -> Step {
        if let Some(step) = self.serve_near(request) {
            return step;
        }
        let step = self.serve_by_class(request);
        // What has to wait comes again.
        let missed = self.near.as_deref().is_some_and(|near| near.missed);
        if missed && !matches!(step, Step::Wait(_)) {
            self.stats.near_misses.add(1);
        }
        step
    }

    #[inline(always)]
    fn serve_by_class(&mut self, request: &Request<'_>) -> Step {
        match request.command.class {
            Class::Routed if request.command.block_token.is_none() => self.route(request, None),
            Class::Routed if request.command.blocks(request.args) => self.block(request),
            Class::Routed => self.route(request, None),
            Class::Split(policy) => self.route(request, Some(policy)),
            Class::AnyNode => self.send_to_any(request),
            Class::Publish => self.publish(request),
            Class::AllMasters(policy) => self.broadcast(request, policy, false),
            Class::AllNodes(policy) => self.broadcast(request, policy, true),
            Class::Leased(LeaseKind::Transaction(verb)) => self.transact(request, verb),
            Class::Leased(LeaseKind::Blocking) => self.block(request),
            Class::Leased(LeaseKind::Wait) => self.wait_for_replicas(request),
            Class::Refused(_) | Class::Scan | Class::Subscription | Class::Local => {
                self.stats.unsupported.add(1);
                self.reject(request, &texts::unserved(request.command))
            }
        }
    }

    /// A request whose keys say where it goes.
    #[inline]
    fn route(&mut self, request: &Request<'_>, policy: Option<ResponsePolicy>) -> Step {
        let &Request { command, args, .. } = request;
        if let Some(policy) = policy
            && self.may_be_cut(request)
        {
            if let Some(step) = self.cut(request, policy) {
                return step;
            }
            self.note_keys(request);
        }
        let mut keys = std::mem::take(&mut self.scratch.keys);
        let place = request_slots::place(command, args, &mut keys);
        let step = match (place, policy) {
            (Place::One(slot), _) => self.send_to_slot(request, slot),
            (Place::Many, Some(policy)) => self.split(request, policy, &keys),
            (Place::Many, None) => self.reject(request, refusal::CROSS_SLOT),
            (Place::Keyless, _) if command.runs != Runs::Nothing => self.run_keyless(request),
            (Place::Keyless, _) => self.send_to_any(request),
            (Place::Invalid(KeysError::Unbalanced), _) => {
                self.reject(request, &command::unbalanced(command))
            }
            (Place::Invalid(KeysError::Unknown), _) => self.find_keys(request),
            // The node finds the same fault and has the words for it.
            (Place::Invalid(KeysError::Invalid), _) => self.send_to_any(request),
        };
        self.scratch.keys = keys;
        step
    }

    #[inline]
    pub(in crate::proxy) fn send_to_slot(&mut self, request: &Request<'_>, slot: Slot) -> Step {
        let affinity = request.client.key() as usize;
        let preference = self.read_preference(request.client);
        let reads = self.may_ask_replicas(request.client, request.command);
        let target = self
            .upstream
            .target(slot, reads, preference, affinity, request.now);
        // That others have waited for the master in vain says nothing of a replica.
        let to_replica = target.is_some_and(|target| target.replica);
        if !to_replica && self.upstream.fails_fast(slot.number(), request.now) {
            let text = self.upstream.unserved(slot.number());
            return self.reject(request, &text);
        }
        self.send(request, slot.number(), target, Goal::Owner)
    }

    /// Where the reads of a client go.
    #[inline]
    pub(in crate::proxy) fn read_preference(&self, id: ClientId) -> ReadPreference {
        let client = self.clients.get(id);
        let own = client.and_then(|client| client.session.read_preference());
        own.unwrap_or(self.config.read_preference)
    }

    /// Whether a replica may answer a request, if replicas are asked at all: what a client reads while it watches
    /// decides what it writes, so that no replica may be behind.
    #[inline]
    pub(in crate::proxy) fn may_ask_replicas(&self, id: ClientId, command: &Command) -> bool {
        command.on_replicas
            && (self.read_preference(id) == ReadPreference::Master
                || self.clients.get(id).is_none_or(|c| c.lease.is_none()))
    }

    /// Where the part of a client's request goes that speaks for a whole shard.
    pub(in crate::proxy) fn shard_target_of(
        &self,
        id: ClientId,
        command: &Command,
        shard: ShardId,
        now: Time,
    ) -> Option<Target> {
        let reads = self.may_ask_replicas(id, command);
        let preference = self.read_preference(id);
        self.upstream
            .shard_target(shard, reads, preference, id.key() as usize, now)
    }

    /// A request without keys, which any master can answer.
    pub(in crate::proxy) fn send_to_any(&mut self, request: &Request<'_>) -> Step {
        let target = self.upstream.any_master(request.client.key() as usize);
        self.send(request, NO_SLOT, target, Goal::AnyMaster)
    }

    /// Gives a request of one part its place and its ticket; it is held when it cannot go now.
    #[inline]
    fn send(
        &mut self,
        request: &Request<'_>,
        slot: u16,
        target: Option<Target>,
        goal: Goal,
    ) -> Step {
        let &Request {
            client: id,
            command,
            now,
            ..
        } = request;
        let Some(client) = self.clients.get_mut(id) else {
            return Step::Close;
        };
        let dialect = client.session.dialect();
        let calm = client.is_calm(self.upstream.routes.version());
        if target.is_none() && !self.upstream.routes.is_known() {
            return self.reject(request, refusal::CLUSTER_DOWN);
        }
        let backend = target.and_then(|target| self.shared_for(id, target, dialect, now));
        let (len, readonly) = (
            request.args.frame().len(),
            command.flags.contains(Flags::READONLY),
        );
        let mut ticket = Ticket::new(Origin::Discard, slot, command.id, len, readonly, now);
        let orderly = calm || slot == NO_SLOT;
        let Some(backend) = backend.filter(|at| orderly || self.may_follow(id, slot, *at)) else {
            let seq = self.take_place(request, slot, At::Held);
            ticket.tries = 0;
            ticket.origin = Origin::Part(PartId::new(id, seq, 0));
            let retry = Retry::at_once(goal, now);
            self.hold(ticket, request.args.frame(), retry, now);
            self.release_held(id, slot, now);
            return Step::Done;
        };
        if self.is_over_mark(backend) {
            self.upstream.let_another_through(slot, now);
            return self.wait_for(id, backend);
        }
        if let Some(step) = self.beyond_credit(id, backend) {
            self.upstream.let_another_through(slot, now);
            return step;
        }
        if command.runs != Runs::Nothing {
            self.script_leaves(backend, now);
        }
        let seq = self.take_place(request, slot, At::Backend(backend));
        ticket.origin = Origin::Part(PartId::new(id, seq, 0));
        self.stats
            .replica_reads
            .add(u64::from(target.is_some_and(|target| target.replica)));
        Step::Forward(backend, ticket)
    }

    /// Rule R4, for a client whose requests may stand at nodes that are not their slot's owner any more.
    #[cold]
    pub(in crate::proxy) fn may_follow(&self, id: ClientId, slot: u16, backend: BackendId) -> bool {
        let client = self.clients.get(id);
        let held = client.is_some_and(|client| client.held.has(slot));
        if planted_bugs::is_on("reorder-across-moved") {
            return true;
        }
        !held && !self.stands_elsewhere(id, slot, backend)
    }

    #[inline]
    pub(in crate::proxy) fn take_place(&mut self, request: &Request<'_>, slot: u16, at: At) -> Seq {
        self.stats.commands.add(1);
        match self.clients.get_mut(request.client) {
            Some(client) => client
                .pipeline
                .push_single(request.command.id, slot, at, request.now),
            None => Seq(0),
        }
    }

    #[inline]
    pub(in crate::proxy) fn is_over_mark(&self, backend: BackendId) -> bool {
        self.upstream.backends.get(backend).is_some_and(|backend| {
            backend.output.unsent_len() > self.config.limits.backend_output_bytes
        })
    }

    /// What is done instead of sending a client's request, if it waits for replies and the backend owes more than is
    /// usual: it waits until half of its own have come.
    #[inline]
    pub(in crate::proxy) fn beyond_credit(
        &mut self,
        id: ClientId,
        backend: BackendId,
    ) -> Option<Step> {
        let backend = self.upstream.backends.get(backend)?;
        if backend.credit.allows(backend.tickets.len()) {
            return None;
        }
        let client = self.clients.get_mut(id)?;
        if client.pipeline.is_empty() {
            return None;
        }
        client.window = client.window.min(client.pipeline.len());
        Some(Step::Wait(Stall::Full))
    }

    #[cold]
    pub(in crate::proxy) fn wait_for(&mut self, id: ClientId, backend: BackendId) -> Step {
        if let Some(backend) = self.upstream.backends.get_mut(backend) {
            backend.waiters.push(id);
        }
        Step::Wait(Stall::Backend(backend))
    }

    /// A backend is ready: what waits in its output may leave.
    pub(in crate::proxy) fn queue_backend_flush(&mut self, id: BackendId) {
        if let Some(backend) = self.upstream.backends.get_mut(id)
            && backend.state != State::Connecting
            && !backend.flush_queued
        {
            backend.flush_queued = true;
            self.actions.flush_backend(id);
        }
    }

    /// Asks for a refresh of the topology.
    pub(in crate::proxy) fn want_refresh(&mut self, wanted: Wanted) {
        self.actions.refresh(wanted);
    }
}
