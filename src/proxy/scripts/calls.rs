//! Which commands run a script by its name or call a function.

use crate::command::Command;
use crate::proxy::texts::refusal::Missing;

/// What runs a script by its name, and what runs it as it is.
const SPELLED_OUT: &[(&str, &str)] = &[("evalsha", "EVAL"), ("evalsha_ro", "EVAL_RO")];

/// What calls a function.
const CALLS: &[&str] = &["fcall", "fcall_ro"];

/// Whether a node may lack what this command names: only what runs a script by its name needs it there, and only
/// what calls a function needs that.
pub(in crate::proxy) fn may_lack(command: &Command, missing: Missing) -> bool {
    match missing {
        Missing::Script => runs_script(command).is_some(),
        Missing::Function => calls_function(command),
    }
}

/// What runs a script as it is, where this command runs it by its name.
pub(in crate::proxy) fn runs_script(command: &Command) -> Option<&'static str> {
    let mut all = SPELLED_OUT.iter();
    all.find(|(own, _)| *own == command.name)
        .map(|(_, name)| *name)
}

/// Whether this command calls a function.
pub(in crate::proxy) fn calls_function(command: &Command) -> bool {
    CALLS.contains(&&*command.name)
}
