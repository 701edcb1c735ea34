//! Missing scripts and functions: a node that lacks one which was loaded through this proxy gets it again, right
//! before the same request, once.
//!
//! The node has not executed the request; this was checked with the node (see `own_errors`: a script may fake such an
//! error). So the request is held like any refused one, and rule R4 holds.
//!
//! Between MULTI and EXEC this would be too late: when one command finds its script missing, the others have been
//! executed. So the first command of a transaction that names a script is queued with the script's text, which loads
//! it for the commands after it. (This is not possible for functions: the client gets the error.)

use std::sync::PoisonError;

use crate::cluster::slot::Slot;
use crate::command::Runs;
use crate::proxy::client::held_keys::args_of;
use crate::proxy::ids::NodeKey;
use crate::proxy::scripts::Remedy;
use crate::proxy::state::Proxy;
use crate::proxy::texts::refusal::Missing;
use crate::proxy::upstream::backend::Ticket;
use crate::proxy::upstream::goal::Goal;
use crate::resp::args::Args;
use crate::resp::encode;

impl Proxy {
    /// A request that names a script, with the script in place of its name, for this command; nothing if it names
    /// none that was loaded through this proxy.
    pub(in crate::proxy) fn spelled_out(&self, name: &str, args: &Args<'_>) -> Option<Vec<u8>> {
        let scripts = &self.process.scripts;
        let mut scripts = scripts.lock().unwrap_or_else(PoisonError::into_inner);
        if scripts.by_name_only() {
            return None;
        }
        let body = scripts.body(args.at(1))?;
        let words: Vec<&[u8]> = [name.as_bytes(), body]
            .into_iter()
            .chain(args.from(2))
            .collect();
        let mut frame = Vec::new();
        encode::command(&mut frame, words);
        Some(frame)
    }

    /// A node does not let our user send scripts.
    pub(in crate::proxy) fn name_scripts_only(&self) {
        let scripts = &self.process.scripts;
        let mut scripts = scripts.lock().unwrap_or_else(PoisonError::into_inner);
        scripts.name_only();
    }

    /// What to send before a request, these bytes, whose script or function a node lacks. Nothing: the proxy cannot help.
    /// None at all to be sent: the master is to be asked in the replica's place.
    pub(in crate::proxy) fn remedy(
        &self,
        frame: &[u8],
        ticket: &Ticket,
        missing: Missing,
        replica: bool,
    ) -> Option<Vec<Remedy>> {
        let command = self.table.rows().get(usize::from(ticket.command))?;
        let may_lack = match missing {
            Missing::Script => matches!(command.runs, Runs::NamedScript(_)),
            Missing::Function => command.runs == Runs::Function,
        };
        if ticket.healed || !may_lack {
            return None;
        }
        // The script's name and the function's are both the first argument.
        let name = args_of(frame, |args| args.get(1).map(<[u8]>::to_vec))??;
        let scripts = &self.process.scripts;
        let mut scripts = scripts.lock().unwrap_or_else(PoisonError::into_inner);
        match missing {
            Missing::Script => scripts.script(&name).map(|script| vec![script]),
            Missing::Function => {
                let libraries = scripts.libraries_with(&name);
                match (libraries.is_empty(), replica) {
                    (true, _) => None,
                    // A replica has the functions of its master, sooner or later.
                    (false, true) => Some(Vec::new()),
                    (false, false) => Some(libraries),
                }
            }
        }
    }

    /// Where a request goes whose script or function `node` lacked: to the same node, but for a replica.
    pub(in crate::proxy) fn healed_goal(
        &self,
        ticket: &Ticket,
        node: NodeKey,
        replica: bool,
    ) -> Goal {
        let owner = Slot::new(ticket.slot).and_then(|slot| self.upstream.routes.shard(slot));
        match owner {
            None => Goal::AnyMaster,
            Some(_) if replica => Goal::Owner,
            Some(shard) if shard.master == node => Goal::Owner,
            // It has been sent there behind an ASKING.
            Some(_) => Goal::Ask(node),
        }
    }
}
