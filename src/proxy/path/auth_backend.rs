//! `-auth backend`: the servers judge what a client may do. What goes to a node as it is, that node judges, since it comes
//! on a connection of the client's user. For everything else a node is asked first: whether a login is right (AUTH, on a
//! connection that carries nothing but logins), and whether a user may run what the proxy answers itself, or does in
//! parts (ACL DRYRUN, with the proxy's own rights).
//!
//! Meanwhile the request stays at the front of its client's input, and is taken again when the answer is there.

use std::sync::Arc;
use std::time::Duration;

use crate::acl::Reason;
use crate::clock::Time;
use crate::cluster::request_slots::{self, Place};
use crate::command::{Class, Flags, LeaseKind, Verb};
use crate::config::Auth;
use crate::proxy::client::Stall;
use crate::proxy::client::auth_backend::{Judgement, State};
use crate::proxy::client::step::Step;
use crate::proxy::ids::{ClientId, NO_SLOT, UserId};
use crate::proxy::local::login::{Credentials, Login};
use crate::proxy::request::Request;
use crate::proxy::state::Proxy;
use crate::proxy::texts::{self, permission, refusal};
use crate::proxy::upstream::accounts::{Account, Unnamed};
use crate::proxy::upstream::backend::{Origin, Ticket};
use crate::proxy::upstream::dialect::Dialect;
use crate::resp::encode::{self, Protocol};
use crate::resp::reply::Reply;

/// How long a question waits that no node can be asked now.
const ASK_AGAIN: Duration = Duration::from_millis(50);

/// What is asked instead of a command that no server has, as PROXY: who may run it may see how a server is set.
const STAND_IN: [&[u8]; 3] = [b"CONFIG", b"GET", b"*"];

/// The user that a client is who has not said who it is.
const DEFAULT: &[u8] = b"default";

/// How far the answer to a question is.
enum Answer {
    /// It is not there: the request waits.
    Wait,
    /// This is it.
    Reply(Vec<u8>),
    /// There will be none, for this reason.
    None(&'static str),
}

/// Whether a node admits who has tried to log in.
fn is_ok(reply: Reply<'_>) -> bool {
    reply.frame() == b"+OK\r\n"
}

impl Proxy {
    /// Whether the servers decide who may do what.
    #[inline]
    pub(in crate::proxy) fn servers_judge(&self) -> bool {
        self.config.auth == Auth::Backend
    }

    /// Looks after a request that no node would judge by itself. Nothing if it may go on.
    #[cold]
    #[inline(never)]
    pub(super) fn judge_here(&mut self, request: &Request<'_>) -> Option<Step> {
        let &Request {
            client: id,
            command,
            args,
            now,
        } = request;
        let client = self.clients.get(id)?;
        // Of what is done in turns, the first turn was judged.
        if client.cut.is_some() || client.names_done > 0 {
            return None;
        }
        let account = client.session.account()?.clone();
        if !self.needs_word(request) {
            return None;
        }
        let is_known = self.users.commands.has(command.id);
        let question = || {
            let mut frame = Vec::new();
            let mut words = vec![&b"ACL"[..], b"DRYRUN", &account.name];
            match is_known {
                true => words.extend(args.from(0)),
                false => words.extend(STAND_IN),
            }
            encode::command(&mut frame, words);
            frame
        };
        let reply = match self.consult(id, UserId::OWN, question, now) {
            Answer::Wait => return Some(Step::Wait(Stall::Verdict)),
            Answer::None(text) => return self.unjudged(request, text),
            Answer::Reply(reply) => reply,
        };
        match permission::of_dry_run(Reply::new(&reply), &command.name) {
            permission::Word::Granted => None,
            permission::Word::Denied(text) => Some(self.reject(request, &text)),
            // A server of another version.
            permission::Word::NoCommand => {
                let text = texts::no_permission(Reason::Command, &command.name);
                Some(self.reject(request, &text))
            }
            permission::Word::NoJudge(text) => {
                let told = format!("ACL DRYRUN is not served, which -auth backend needs: {text}");
                self.login_log.warn(&told, now);
                Some(self.reject(request, texts::NO_JUDGE))
            }
        }
    }

    /// No node has said whether a request may be run. Nothing if it may go on all the same.
    ///
    /// After a MULTI that failed, what comes behind it in the pipeline would be executed one by one, which no server does for
    /// want of another: it begins a transaction that EXEC aborts. What only gives up a transaction needs no permission.
    fn unjudged(&mut self, request: &Request<'_>, text: &str) -> Option<Step> {
        let Class::Leased(LeaseKind::Transaction(verb)) = request.command.class else {
            return Some(self.reject(request, text));
        };
        let client = self.clients.get(request.client);
        let queueing = client.is_some_and(|client| client.session.queueing);
        match verb {
            Verb::Multi if !queueing => {
                let step = self.transact(request, verb);
                self.doom(request.client);
                Some(step)
            }
            Verb::Discard | Verb::Unwatch => None,
            _ => Some(self.reject(request, text)),
        }
    }

    /// Whether no node would judge a request as a whole: the proxy answers it itself, or cuts it into parts, of which some
    /// may be executed and others not, or queues it before it knows the node.
    fn needs_word(&mut self, request: &Request<'_>) -> bool {
        let &Request { command, args, .. } = request;
        if command.flags.contains(Flags::NO_AUTH) {
            return false;
        }
        let client = self.clients.get(request.client);
        let queueing = client.is_some_and(|client| client.session.queueing);
        match command.class {
            Class::Routed => false,
            // What is served to nobody is not to be told to whom it is forbidden.
            Class::Leased(LeaseKind::Transaction(_) | LeaseKind::Wait) | Class::Refused(_) => true,
            Class::Split(_) => {
                let mut keys = std::mem::take(&mut self.scratch.keys);
                let place = request_slots::place(command, args, &mut keys);
                self.scratch.keys = keys;
                matches!(place, Place::Many)
            }
            _ => match self.handlers.get(command.id) {
                Some(handler) if handler.is_judged_by_nodes => false,
                Some(handler) => !handler.watches || queueing,
                None => queueing,
            },
        }
    }

    /// The answer to what a client's request at hand waits for. `question` makes the frame that is sent.
    fn consult(
        &mut self,
        id: ClientId,
        user: UserId,
        question: impl FnOnce() -> Vec<u8>,
        now: Time,
    ) -> Answer {
        let number = self.questions.wrapping_add(1);
        let timeout = self.park_timeout();
        let Some(client) = self.clients.get_mut(id) else {
            return Answer::Wait;
        };
        let own = client.judgement.get_or_insert_with(|| {
            self.questions = number;
            Box::new(Judgement::new(number, now))
        });
        match &own.state {
            State::Asked => return Answer::Wait,
            State::Answered(_) => {
                return match client.judgement.take().map(|own| own.state) {
                    Some(State::Answered(reply)) => Answer::Reply(reply),
                    _ => Answer::Wait,
                };
            }
            State::Unasked => {}
        }
        let is_late = now.since(own.since) >= timeout;
        if own.is_worn() || is_late {
            let tries = own.tries;
            client.judgement = None;
            return Answer::None(match tries {
                0 => refusal::CLUSTER_DOWN,
                _ => texts::NO_VERDICT,
            });
        }
        let question_number = own.question;
        if self.put(id, user, question_number, question, now) {
            if let Some(client) = self.clients.get_mut(id)
                && let Some(own) = &mut client.judgement
            {
                own.state = State::Asked;
                own.tries += 1;
            }
        } else {
            self.late_questions.push_back((now.after(ASK_AGAIN), id));
        }
        Answer::Wait
    }

    /// Sends a question to a master. Returns whether there is one that can be asked now.
    fn put(
        &mut self,
        client: ClientId,
        user: UserId,
        question: u32,
        frame: impl FnOnce() -> Vec<u8>,
        now: Time,
    ) -> bool {
        let affinity = client.key() as usize;
        let dialect = Dialect {
            protocol: Protocol::Resp2,
            database: 0,
            tracking: false,
            user,
        };
        let (config, actions) = (&self.config, &mut self.actions);
        let upstream = &mut self.upstream;
        let target = upstream.any_master(affinity);
        // All logins at a node take one connection.
        let place = if user == UserId::LOGINS { 0 } else { affinity };
        let backend =
            target.and_then(|own| upstream.backend(own, dialect, place, config, actions, now));
        let Some(backend) = backend.filter(|backend| !self.is_over_mark(*backend)) else {
            return false;
        };
        let frame = frame();
        let ticket = Ticket {
            readonly: true,
            ..Ticket::here(
                Origin::Verdict { client, question },
                NO_SLOT,
                u16::MAX,
                frame.len(),
                now,
            )
        };
        self.stats.verdicts.add(1);
        let (pool, actions) = (&mut self.pool, &mut self.actions);
        self.upstream.send(backend, &frame, ticket, pool, actions);
        true
    }

    /// A node has answered a question.
    pub(super) fn answered_question(&mut self, id: ClientId, question: u32, reply: Reply<'_>) {
        if let Some(client) = self.clients.get_mut(id)
            && let Some(own) = &mut client.judgement
            && own.answer(question, reply.frame())
        {
            self.queue_resume(id);
        }
    }

    /// The connection with a question is lost: it is asked again.
    pub(in crate::proxy) fn question_lost(&mut self, id: ClientId, question: u32) {
        if let Some(client) = self.clients.get_mut(id)
            && let Some(own) = &mut client.judgement
            && own.lose(question)
        {
            self.queue_resume(id);
        }
    }

    /// Questions that nobody could be asked are asked again.
    pub(in crate::proxy) fn resume_questions(&mut self, now: Time) {
        while let Some((due, id)) = self.late_questions.front().copied() {
            if now < due {
                return;
            }
            self.late_questions.pop_front();
            self.queue_resume(id);
        }
    }

    /// Looks after a login. `credentials` are nothing in a HELLO without AUTH. A step if it waits or is refused.
    pub(super) fn log_in(
        &mut self,
        request: &Request<'_>,
        credentials: Option<Credentials<'_>>,
    ) -> Result<Option<Login>, Step> {
        let (id, now) = (request.client, request.now);
        let Some(own) = credentials else {
            // Who has not logged in may be welcome.
            self.try_unnamed(request)?;
            return Ok(None);
        };
        let inside = |client: &crate::proxy::client::Client| client.execution.is_some();
        if self.clients.get(id).is_some_and(inside) {
            return Err(self.reject(request, texts::NO_LOGIN_INSIDE_MULTI_OF_SERVERS));
        }
        let question = || {
            let mut frame = Vec::new();
            match own.user {
                Some(user) => encode::command(&mut frame, [&b"AUTH"[..], user, own.password]),
                None => encode::command(&mut frame, [&b"AUTH"[..], own.password]),
            }
            frame
        };
        let reply = match self.consult(id, UserId::LOGINS, question, now) {
            Answer::Wait => return Err(Step::Wait(Stall::Verdict)),
            Answer::None(text) => return Err(self.reject(request, text)),
            Answer::Reply(reply) => reply,
        };
        let user = own.user.unwrap_or(DEFAULT);
        let reply = Reply::new(&reply);
        Ok(Some(match reply.error() {
            Some(words) => Login::Wrong(words.to_vec()),
            None if is_ok(reply) => self.admitted(id, user, own.password, own.protocol, now),
            None => Login::Full(texts::NO_VERDICT.as_bytes().to_vec()),
        }))
    }

    /// A client who has not logged in asks for something: where `default` needs no password, it is that.
    pub(super) fn try_unnamed(&mut self, request: &Request<'_>) -> Result<(), Step> {
        let (id, now) = (request.client, request.now);
        let Some(client) = self.clients.get(id) else {
            return Ok(());
        };
        let asks = client.judgement.is_some() || self.upstream.accounts.asks_for_unnamed(now);
        if client.session.is_authenticated() || !asks {
            return Ok(());
        }
        // Only who needs no password takes this one.
        let password = self.unguessable.clone();
        let question = || {
            let mut frame = Vec::new();
            encode::command(&mut frame, [&b"AUTH"[..], DEFAULT, &password]);
            frame
        };
        let reply = match self.consult(id, UserId::LOGINS, question, now) {
            Answer::Wait => return Err(Step::Wait(Stall::Verdict)),
            Answer::None(text) => return Err(self.reject(request, text)),
            Answer::Reply(reply) => reply,
        };
        if !is_ok(Reply::new(&reply)) {
            self.upstream.accounts.unnamed = Unnamed::Refused(now);
            return Ok(());
        }
        self.upstream.accounts.unnamed = Unnamed::Welcome;
        let protocol = Protocol::Resp2;
        let entered = match self.admitted(id, DEFAULT, &password, protocol, now) {
            Login::Right(user, account) => {
                let text = texts::too_many_clients_of(&user);
                let session = self.clients.get_mut(id).map(|client| &mut client.session);
                session.map_or(Ok(()), |session| {
                    if !session.try_enter_as(user, account) {
                        return Err(text);
                    }
                    session.settle_namespace(&self.namespaces);
                    Ok(())
                })
            }
            Login::Wrong(text) | Login::Full(text) => {
                Err(String::from_utf8_lossy(&text).into_owned())
            }
        };
        entered.map_err(|text| self.reject(request, &text))
    }

    /// A node has admitted a client as this user.
    fn admitted(
        &mut self,
        id: ClientId,
        name: &[u8],
        password: &[u8],
        protocol: Protocol,
        now: Time,
    ) -> Login {
        let Some(account) = self.account(name, password, now) else {
            return Login::Full(texts::TOO_MANY_USERS.as_bytes().to_vec());
        };
        self.greet_as(id, &account, protocol, now);
        Login::Right(Arc::new(self.users.of_server(name)), account)
    }

    /// The account of this name and password, which a node has accepted; nothing if there are as many as there may be.
    pub(in crate::proxy) fn account(
        &mut self,
        name: &[u8],
        password: &[u8],
        now: Time,
    ) -> Option<Arc<Account>> {
        if let Some(known) = self.upstream.accounts.find(name, password) {
            return Some(known);
        }
        if self.upstream.accounts.len() >= self.config.users_max {
            let unused = self.upstream.accounts.longest_unused(now)?;
            self.retire_account(unused, now);
        }
        Some(self.upstream.accounts.add(name, password))
    }

    /// Makes the first connection of a user: by its end the proxy learns that the user is no more.
    fn greet_as(&mut self, id: ClientId, account: &Account, protocol: Protocol, now: Time) {
        let affinity = id.key() as usize;
        let dialect = Dialect {
            protocol,
            database: 0,
            tracking: false,
            user: account.id,
        };
        if let Some(target) = self.upstream.any_master(affinity) {
            let (config, actions) = (&self.config, &mut self.actions);
            let upstream = &mut self.upstream;
            upstream.backend(target, dialect, affinity, config, actions, now);
        }
    }
}
