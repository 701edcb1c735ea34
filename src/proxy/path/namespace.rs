//! Requests of clients of a namespace: written anew with the tag before their keys, before anything asks where they go,
//! so that routing, transactions, blocking and retries see keys that happen to lie in one slot. Replies lose the tag where
//! they are delivered.
//!
//! What a request may do is looked at before, by the words of its client: rules for users are about the keys that
//! clients name.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::command::namespace::key_arguments;
use crate::command::{
    ChannelArguments, Command, Confined, Flags, KeysError, KeysInReply, Rewrite, Table,
};
use crate::proxy::client::step::Step;
use crate::proxy::ids::ClientId;
use crate::proxy::lease::state::run::{Owed, Run};
use crate::proxy::namespace::across_databases::{self, Copy};
use crate::proxy::namespace::request::Tagged;
use crate::proxy::namespace::{Namespace, prelude, reply, scripts, whole_database};
use crate::proxy::planted_bugs;
use crate::proxy::pubsub::state::keyspace_events;
use crate::proxy::request::Request;
use crate::proxy::state::Proxy;
use crate::proxy::texts;
use crate::resp::args::Args;
use crate::resp::encode;
use crate::resp::reply::Reply;

const OK: &[u8] = b"+OK\r\n";

/// The name of a script that no node has.
const NO_SCRIPT: scripts::Name = [b'0'; 40];

/// What becomes of a request.
enum Way<'t> {
    /// It goes on as it is.
    AsItIs,
    /// It goes on as it has been written, as a request of this command.
    Written(&'t Command),
    /// It is refused.
    Refused(String),
    /// It is answered with OK.
    Done,
}

impl Proxy {
    /// A request of a client of a namespace, which may be executed otherwise.
    #[inline(never)]
    pub(super) fn perform_confined(
        &mut self,
        table: &Table,
        own: &Arc<Namespace>,
        request: &Request<'_>,
    ) -> Step {
        let mut tagged = std::mem::take(&mut self.scratch.tagged);
        let step = match self.confine(table, own, request, &mut tagged) {
            Way::AsItIs => self.perform_allowed(request),
            Way::Refused(text) => self.reject(request, &text),
            Way::Done => {
                self.say(request, OK);
                Step::Done
            }
            Way::Written(command) => {
                let args = &tagged.args();
                let step = self.perform_allowed(&Request {
                    command,
                    args,
                    ..*request
                });
                match step {
                    Step::Forward(backend, ticket) => {
                        self.stats.backend_requests.add(1);
                        let (pool, actions) = (&mut self.pool, &mut self.actions);
                        let frame = tagged.frame();
                        self.upstream.send(backend, frame, ticket, pool, actions);
                        Step::Done
                    }
                    other => other,
                }
            }
        };
        if !matches!(step, Step::Wait(_)) {
            own.counts.requests.add(1);
        }
        tagged.settle();
        self.scratch.tagged = tagged;
        step
    }

    /// Writes a request anew, if need be.
    fn confine<'t>(
        &mut self,
        table: &'t Table,
        own: &Namespace,
        request: &Request<'_>,
        out: &mut Tagged,
    ) -> Way<'t> {
        let &Request { command, args, .. } = request;
        let row = table.row(command.id);
        match command.confined {
            Confined::Free => match (command.channels, own.has_channels()) {
                (ChannelArguments::One, true) => {
                    out.keys.clear();
                    out.keys.push(1);
                    out.tag_keys(args, own.tag());
                    Way::Written(row)
                }
                _ => Way::AsItIs,
            },
            Confined::Refused(reason) => {
                Way::Refused(texts::not_in_namespace(&command.name, reason))
            }
            Confined::Keys => match key_arguments(command, args, &mut out.keys) {
                Ok(()) => {
                    out.tag_keys(args, own.tag());
                    Way::Written(row)
                }
                Err(error) => self.without_keys(request, error),
            },
            Confined::Rewritten(
                rewrite @ (Rewrite::Count
                | Rewrite::List
                | Rewrite::Scan
                | Rewrite::Random
                | Rewrite::Flush),
            ) => {
                let chance = self.random();
                match whole_database::rewrite(own, rewrite, command, args, chance, out) {
                    Ok(()) => table.named(b"eval").map_or(Way::AsItIs, Way::Written),
                    Err(text) => Way::Refused(text),
                }
            }
            Confined::Rewritten(Rewrite::Sort) => match key_arguments_of_sort(command, args, out) {
                Ok(()) => {
                    out.tag_keys(args, own.tag());
                    Way::Written(row)
                }
                Err(error) => self.without_keys(request, error),
            },
            Confined::Rewritten(
                rewrite @ (Rewrite::FlushAll | Rewrite::Select | Rewrite::Move | Rewrite::Copy),
            ) => self.confine_across(table, own, rewrite, request, out),
            Confined::Rewritten(Rewrite::Debug) => {
                if !args.at(1).eq_ignore_ascii_case(b"object") || args.len() < 3 {
                    let reason = "only DEBUG OBJECT is confined to it";
                    return Way::Refused(texts::not_in_namespace(&command.name, reason));
                }
                out.keys.clear();
                out.keys.push(2);
                out.tag_keys(args, own.tag());
                Way::Written(row)
            }
            Confined::Rewritten(Rewrite::Channels) => {
                out.begin(args.len());
                out.push(&[args.at(0)]);
                out.push(&[args.at(1)]);
                for name in args.from(2) {
                    out.push(&[&keyspace_events::tagged(name, own)]);
                }
                Way::Written(row)
            }
            Confined::Rewritten(rewrite) => self.confine_script(own, rewrite, row, args, out),
        }
    }

    /// What concerns other databases of the namespace, too. It is left to the handler of its row, which sees other
    /// databases; between MULTI and EXEC it is refused, as a transaction is at one node.
    fn confine_across<'t>(
        &mut self,
        table: &'t Table,
        own: &Namespace,
        rewrite: Rewrite,
        request: &Request<'_>,
        out: &mut Tagged,
    ) -> Way<'t> {
        let &Request { command, args, .. } = request;
        let client = self.clients.get(request.client);
        let queueing = client.is_some_and(|client| client.session.queueing);
        let one = own.databases() == 1;
        let inside = match rewrite {
            Rewrite::FlushAll if one => {
                return match whole_database::rewrite(own, Rewrite::Flush, command, args, 0, out) {
                    Ok(()) => table.named(b"eval").map_or(Way::AsItIs, Way::Written),
                    Err(text) => Way::Refused(text),
                };
            }
            Rewrite::Select if one || !queueing => return Way::AsItIs,
            Rewrite::Select => match across_databases::database(own, args.at(1)) {
                Ok(index) if index != own.database() => None,
                // It changes nothing, or is wrong.
                _ => return Way::AsItIs,
            },
            Rewrite::Copy if !one => match Copy::parse(own, args) {
                Ok(copy) if copy.database == own.database() => {
                    out.begin(3 + usize::from(copy.replace));
                    out.push(&[args.at(0)]);
                    out.push(&[own.tag(), args.at(1)]);
                    out.push(&[own.tag(), args.at(2)]);
                    if copy.replace {
                        out.push(&[b"REPLACE"]);
                    }
                    return Way::Written(table.row(command.id));
                }
                Ok(_) => None,
                Err(text) => Some(text),
            },
            Rewrite::Copy | Rewrite::Move if one => {
                return match key_arguments(command, args, &mut out.keys) {
                    Ok(()) => {
                        out.tag_keys(args, own.tag());
                        Way::Written(table.row(command.id))
                    }
                    Err(error) => self.without_keys(request, error),
                };
            }
            Rewrite::Move => across_databases::database(own, args.at(2)).err(),
            _ => None,
        };
        match queueing {
            false => Way::AsItIs,
            true => Way::Refused(inside.unwrap_or_else(|| {
                let reason = "a transaction is at one node, and other databases may be at others";
                texts::not_in_namespace(&command.name, reason)
            })),
        }
    }

    /// The keys of a request cannot be found. A server would find the same fault in a command that is compiled in; what
    /// else it would find nobody knows.
    fn without_keys<'t>(&self, request: &Request<'_>, error: KeysError) -> Way<'t> {
        let command = request.command;
        match error {
            // It is refused before it is sent anywhere.
            KeysError::Unbalanced => Way::AsItIs,
            KeysError::Invalid if !command.flags.contains(Flags::MODULE) => Way::AsItIs,
            KeysError::Invalid | KeysError::Unknown => {
                let reason = "its keys cannot be told from its other arguments";
                Way::Refused(texts::not_in_namespace(&command.name, reason))
            }
        }
    }

    /// A script, or what is done with scripts.
    fn confine_script<'t>(
        &mut self,
        own: &Namespace,
        rewrite: Rewrite,
        row: &'t Command,
        args: &Args<'_>,
        out: &mut Tagged,
    ) -> Way<'t> {
        match rewrite {
            Rewrite::LoadScript => {
                self.note_script(own, args.at(2));
                out.begin(args.len());
                out.push(&[args.at(0)]);
                out.push(&[args.at(1)]);
                out.push(&[&prelude::wrap(args.at(2))]);
                args.from(3).for_each(|arg| out.push(&[arg]));
                Way::Written(row)
            }
            Rewrite::FindScripts => {
                out.begin(args.len());
                out.push(&[args.at(0)]);
                out.push(&[args.at(1)]);
                for name in args.from(2) {
                    let wrapped = self.script_named(own, name).unwrap_or(NO_SCRIPT);
                    out.push(&[&wrapped]);
                }
                Way::Written(row)
            }
            Rewrite::ForgetScripts => {
                let option = args.at(2);
                let known =
                    option.eq_ignore_ascii_case(b"async") || option.eq_ignore_ascii_case(b"sync");
                if args.len() > 3 || (args.len() == 3 && !known) {
                    return Way::Refused(texts::SCRIPT_FLUSH_OPTIONS.to_string());
                }
                self.process.named_scripts().forget(own.shared_tag());
                self.process
                    .named_scripts_epoch
                    .fetch_add(1, Ordering::Relaxed);
                Way::Done
            }
            _ => self.confine_call(own, rewrite, row, args, out),
        }
    }

    /// EVAL and EVALSHA: the prelude takes the tag from the last argument. A script without keys gets one, so that it
    /// goes where the namespace is.
    fn confine_call<'t>(
        &mut self,
        own: &Namespace,
        rewrite: Rewrite,
        row: &'t Command,
        args: &Args<'_>,
        out: &mut Tagged,
    ) -> Way<'t> {
        let count = std::str::from_utf8(args.at(2)).ok();
        let count = count.and_then(|text| text.parse::<usize>().ok());
        // The node finds the same fault and has the words for it.
        let Some(count) = count.filter(|count| *count <= args.len() - 3) else {
            return Way::AsItIs;
        };
        let script: Cow<'_, [u8]> = match rewrite {
            Rewrite::Script => {
                self.note_script(own, args.at(1));
                prelude::wrap(args.at(1)).into()
            }
            _ => match self.script_named(own, args.at(1)) {
                Some(name) => name.to_vec().into(),
                None => return Way::Refused(texts::NO_SCRIPT.to_string()),
            },
        };
        let no_keys = count == 0;
        out.begin(args.len() + 1 + usize::from(no_keys));
        out.push(&[args.at(0)]);
        out.push(&[&script]);
        if no_keys {
            out.push(&[b"1"]);
            out.push(&[own.tag()]);
        } else {
            out.push(&[args.at(2)]);
        }
        for (index, arg) in args.from(3).enumerate() {
            match index < count {
                true => out.push(&[own.tag(), arg]),
                false => out.push(&[arg]),
            }
        }
        match (own.has_channels(), no_keys) {
            (false, true) => out.push(&[b"0", own.tag()]),
            (false, false) => out.push(&[b"1", own.tag()]),
            (true, true) => out.push(&[b"2", own.shared_tag(), own.tag()]),
            (true, false) => out.push(&[b"3", own.shared_tag(), own.tag()]),
        }
        Way::Written(row)
    }

    /// A client of a namespace has sent a script, which may be called by its name from now on.
    fn note_script(&mut self, own: &Namespace, body: &[u8]) {
        let epoch = self.process.named_scripts_epoch.load(Ordering::Relaxed);
        if self.named_scripts.is_new(own.shared_tag(), body, epoch) {
            self.process.named_scripts().note(own.shared_tag(), body);
        }
    }

    /// What nodes call the script that a client of a namespace calls by this name.
    fn script_named(&mut self, own: &Namespace, name: &[u8]) -> Option<scripts::Name> {
        let name = scripts::parse(name)?;
        let epoch = self.process.named_scripts_epoch.load(Ordering::Relaxed);
        if let Some(wrapped) = self.named_scripts.get(own.shared_tag(), &name, epoch) {
            return Some(wrapped);
        }
        let wrapped = self.process.named_scripts().get(own.shared_tag(), &name)?;
        self.named_scripts.put(own.shared_tag(), name, wrapped);
        Some(wrapped)
    }

    /// The namespace that a client is in. Where there are none no client is looked at for this.
    #[inline(always)]
    pub(in crate::proxy) fn namespace_of(&self, id: ClientId) -> Option<&Arc<Namespace>> {
        if self.namespaces.is_empty() {
            return None;
        }
        self.clients.get(id)?.session.namespace.as_ref()
    }

    /// A reply as a client of a namespace is to have it; nothing if it is that already.
    #[inline]
    pub(in crate::proxy) fn untagged(
        &self,
        id: ClientId,
        command: u16,
        reply: Reply<'_>,
    ) -> Option<Vec<u8>> {
        let own = self.namespace_of(id)?;
        let keys = self.keys_in_reply(command);
        if (keys == KeysInReply::None && !reply.is_error()) || planted_bugs::is_on("key-with-tag") {
            return None;
        }
        let mut out = Vec::with_capacity(reply.frame().len());
        reply::untag(reply, keys, own.tag(), &mut out);
        if reply.is_error() {
            self.process.named_scripts().rename(&mut out);
        }
        Some(out)
    }

    /// The same, of the reply that a run has been given last: EXEC's has a reply to each request that was queued.
    pub(in crate::proxy) fn untagged_of_run(
        &self,
        id: ClientId,
        run: &Run,
        owed: Owed,
        reply: Reply<'_>,
    ) -> Option<Vec<u8>> {
        let own = self.namespace_of(id)?;
        let queued = match owed {
            Owed::Last(..) => run.queued(),
            Owed::Nobody | Owed::Queued(..) | Owed::Watch(_) => &[],
        };
        if queued.is_empty() || reply.kind() != b'*' || reply.is_null() {
            return self.untagged(id, run.last_command(), reply);
        }
        let mut out = Vec::with_capacity(reply.frame().len());
        encode::array(&mut out, reply.items().left() as usize);
        let mut rows = queued.iter().map(|line| self.keys_in_reply(line.command));
        for item in reply.items() {
            let keys = rows.next().unwrap_or(KeysInReply::None);
            reply::untag(item, keys, own.tag(), &mut out);
        }
        Some(out)
    }

    /// Where replies to this command have keys.
    fn keys_in_reply(&self, command: u16) -> KeysInReply {
        let row = self.table.rows().get(usize::from(command));
        row.map_or(KeysInReply::None, |row| row.keys_in_reply)
    }

    /// Whether replies to this command have to be whole before a client gets them.
    pub(in crate::proxy) fn is_untagged(&self, id: ClientId, command: u16) -> bool {
        self.namespace_of(id).is_some() && self.keys_in_reply(command) != KeysInReply::None
    }
}

/// The keys of SORT, and the patterns of BY and GET, which make keys of elements.
fn key_arguments_of_sort(
    command: &Command,
    args: &Args<'_>,
    out: &mut Tagged,
) -> Result<(), KeysError> {
    key_arguments(command, args, &mut out.keys)?;
    let mut at = 2;
    while at < args.len() {
        let word = args.at(at).to_ascii_lowercase();
        match word.as_slice() {
            b"limit" => at += 3,
            b"store" => at += 2,
            b"by" | b"get" => {
                let pattern = args.at(at + 1);
                // `#` is the element itself, and without an asterisk nothing is looked up.
                let names = pattern.contains(&b'*');
                if names {
                    out.keys.push(at as u32 + 1);
                }
                at += 2;
            }
            _ => at += 1,
        }
    }
    out.keys.sort_unstable();
    out.keys.dedup();
    Ok(())
}
