//! Whether a client's user may do what it asks for. Who may do everything never comes here.

use crate::acl::Reason;
use crate::acl::log::{Event, Place};
use crate::clock::Time;
use crate::command::{Class, Flags, LeaseKind, Runs, Verb};
use crate::proxy::client::Stall;
use crate::proxy::client::step::Step;
use crate::proxy::ids::ClientId;
use crate::proxy::request::Request;
use crate::proxy::state::Proxy;
use crate::proxy::texts;
use crate::resp::args::Args;

impl Proxy {
    /// Answers a request that its client's user may not make; nothing if it may be made.
    #[cold]
    #[inline(never)]
    pub(super) fn refuse_user(&mut self, request: &Request<'_>) -> Option<Step> {
        let Request {
            client: id,
            command,
            args,
            now,
        } = *request;
        let client = self.clients.get_mut(id)?;
        let session = &mut client.session;
        let asks_in = command.flags.contains(Flags::NO_AUTH);
        if !session.is_authenticated() {
            if asks_in {
                return None;
            }
            let is_turned_away = session.is_turned_away();
            if is_turned_away && !session.come_back() {
                let text = texts::too_many_clients_of(session.user());
                return Some(self.reject(request, &text));
            }
            if !is_turned_away && let Some(step) = self.refuse_stranger(request) {
                return Some(step);
            }
        }
        let client = self.clients.get_mut(id)?;
        let session = &mut client.session;
        // Its first parts have been sent.
        if client.cut.is_some() || client.names_done > 0 {
            return None;
        }
        // What ends a transaction was counted with what is queued in it.
        let ends = matches!(
            command.class,
            Class::Leased(LeaseKind::Transaction(Verb::Exec | Verb::Discard))
        );
        if !asks_in && !ends && !session.charge(now) {
            let text = texts::too_many_commands_of(session.user());
            self.stats.commands_over_rate.add(1);
            return Some(self.reject(request, &text));
        }
        let said = self.users.commands.said(command);
        let user = client.session.user();
        let Err(denied) = user.permissions().check(command, said, args) else {
            let refused = command.runs != Runs::Nothing
                && !self.config.acl_scripts
                && !user.permissions().are_all();
            return refused.then(|| self.reject(request, texts::NO_SCRIPTS));
        };
        let object = match denied.reason {
            Reason::Command => command.name.as_bytes().to_vec(),
            Reason::Key | Reason::Channel | Reason::Auth | Reason::Certificate => {
                args.at(denied.at).to_vec()
            }
        };
        let name = user.name.to_vec();
        self.log_denied(id, denied.reason, object, name, Some(args), now);
        let text = texts::no_permission(denied.reason, &command.name);
        Some(self.reject(request, &text))
    }

    /// Answers a client that has not logged in; nothing if it need not.
    fn refuse_stranger(&mut self, request: &Request<'_>) -> Option<Step> {
        if self.servers_judge() {
            if let Err(step) = self.try_unnamed(request) {
                return Some(step);
            }
            let client = self.clients.get(request.client)?;
            if client.session.is_authenticated() {
                return None;
            }
        }
        Some(self.reject(request, texts::NOAUTH))
    }

    /// Somebody could not log in as the user of this name.
    #[cold]
    pub(super) fn note_refused_login(
        &mut self,
        id: ClientId,
        name: &[u8],
        args: &Args<'_>,
        now: Time,
    ) {
        if let Some(client) = self.clients.get(id) {
            if let Some(address) = client.address {
                self.process.acl.failures().add(address.ip(), now);
            }
            // A name that is no user's may be a password at the wrong place.
            let user = match self.users.get(name) {
                Some(user) => format!("{:?}", texts::printed(&user.name, 128)),
                None => "an unknown user".to_string(),
            };
            let from = client.peer_name();
            let text = format!("login as {user} failed, client {from}");
            self.login_log.warn(&text, now);
        }
        let object = args.name().to_vec();
        self.log_denied(id, Reason::Auth, object, name.to_vec(), Some(args), now);
    }

    /// Delays a login from an address with many failed logins. Returns nothing if it has waited, or need not.
    pub(super) fn delay_login(&mut self, request: &Request<'_>) -> Option<Step> {
        let Request {
            client: id, now, ..
        } = *request;
        let delay = self.config.auth_failure_delay;
        let client = self.clients.get_mut(id)?;
        // It has waited, and a node is asked.
        if client.judgement.is_some() {
            return None;
        }
        if let Some(due) = client.session.login_due {
            if now < due {
                return Some(Step::Wait(Stall::Login));
            }
            client.session.login_due = None;
            return None;
        }
        let ip = client.address?.ip();
        if delay.is_zero() || !self.process.acl.failures().is_suspect(ip, now) {
            return None;
        }
        if client.execution.is_some() {
            return Some(self.reject(request, texts::LOGIN_INSIDE_MULTI));
        }
        let due = now.after(delay);
        client.session.login_due = Some(due);
        self.stats.logins_delayed.add(1);
        self.late_logins.push_back((due, id));
        Some(Step::Wait(Stall::Login))
    }

    /// Logins that have been delayed long enough are tried. They wait in the order in which they came: if the delay is
    /// made shorter meanwhile, those with the longer one still go first.
    pub(in crate::proxy) fn resume_logins(&mut self, now: Time) {
        while let Some((due, id)) = self.late_logins.front().copied() {
            if now < due {
                return;
            }
            self.late_logins.pop_front();
            self.queue_resume(id);
        }
    }

    /// ACL LOG will show that a client's certificate names nobody who may log in, as in Valkey.
    #[cold]
    pub(in crate::proxy) fn note_refused_certificate(
        &mut self,
        id: ClientId,
        name: &[u8],
        now: Time,
    ) {
        let reason = Reason::Certificate;
        self.log_denied(id, reason, Vec::new(), name.to_vec(), None, now);
    }

    /// What ACL LOG will show.
    fn log_denied(
        &mut self,
        id: ClientId,
        reason: Reason,
        object: Vec<u8>,
        user: Vec<u8>,
        args: Option<&Args<'_>>,
        now: Time,
    ) {
        let Some(client) = self.clients.get_mut(id) else {
            return;
        };
        let place = if client.session.queueing {
            Place::Multi
        } else {
            Place::TopLevel
        };
        let sizes = |args: &Args<'_>| (args.frame().len(), args.from(0).map(<[u8]>::len).sum());
        let at_hand = args.map_or((0, 0), sizes);
        let before = std::mem::replace(&mut client.at_hand, at_hand);
        let line = client.line(&self.table, now);
        client.at_hand = before;
        self.process.acl.log().add(Event {
            reason,
            place,
            object,
            user,
            client: line.trim_end().to_string(),
            at: self.process.uptime(now),
        });
    }
}
