//! `may_write`: whether a request may change data, as a server decides before it executes the request. Scripts and
//! functions declare it: with the flag `no-writes` they cannot write, with other flags they can, whatever the command
//! is (7.0: `evalGetCommandFlags`, `fcallGetCommandFlags`). Without flags, or if the script is unknown here, the
//! command decides.

use std::sync::PoisonError;

use crate::command::{Command, Runs};
use crate::proxy::scripts::flags::cannot_write;
use crate::proxy::state::Proxy;
use crate::resp::args::Args;

/// What a request runs that has flags of its own.
enum Program {
    /// A script, and whether it cannot write; nothing if it does not say.
    Script(Option<bool>),
    /// The function of this name.
    Function(Vec<u8>),
}

impl Proxy {
    /// Whether a request may change data.
    pub(in crate::proxy) fn may_write(&self, command: &Command, args: &Args<'_>) -> bool {
        let cannot = match self.program_of(command, args) {
            Some(Program::Script(cannot)) => cannot,
            Some(Program::Function(name)) => self.cannot_write(&name),
            None => None,
        };
        cannot.map_or(command.may_replicate(), |cannot| !cannot)
    }

    /// The function that a request calls.
    pub(in crate::proxy) fn function_of(
        &self,
        command: &Command,
        args: &Args<'_>,
    ) -> Option<Vec<u8>> {
        match self.program_of(command, args) {
            Some(Program::Function(name)) => Some(name),
            Some(Program::Script(_)) | None => None,
        }
    }

    /// Whether a function has the flag `no-writes`, if it is known.
    pub(in crate::proxy) fn cannot_write(&self, function: &[u8]) -> Option<bool> {
        self.functions.as_ref()?.get(function).copied()
    }

    fn program_of(&self, command: &Command, args: &Args<'_>) -> Option<Program> {
        let program = args.at(1);
        match command.runs {
            Runs::Nothing => None,
            Runs::Script => Some(Program::Script(cannot_write(program))),
            Runs::NamedScript(_) => {
                let scripts = &self.process.scripts;
                let mut scripts = scripts.lock().unwrap_or_else(PoisonError::into_inner);
                let body = scripts.body(program);
                Some(Program::Script(body.and_then(cannot_write)))
            }
            Runs::Function => Some(Program::Function(program.to_ascii_lowercase())),
        }
    }
}
