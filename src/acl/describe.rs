//! What a selector allows of commands in few words, as ACL LIST shows it: `+@all` or `-@all`, then the categories that
//! say most of the rest, then the commands that are left.
//!
//! This is not what was typed but what it came to, as redis-server 7.0.15 does it, which counts the commands of each
//! category. It shows single commands in no order; here they are in the order of the table.

use super::commands::{Category, Commands};
use super::selector::{Allowed, Selector};

impl Selector {
    /// The rules on commands, shortened.
    pub fn describe_commands(&self, commands: &Commands) -> String {
        let own = self.allowed(commands);
        let begin = Selector {
            all: self.all,
            ..Selector::default()
        };
        let mut told = begin.allowed(commands);
        let mut words = vec![if self.all { "+@all" } else { "-@all" }.to_string()];
        // What is not told yet: a category is taken out when it has been.
        let mut left = own.clone();
        let mut categories: Vec<&Category> = commands.categories().iter().collect();
        while let Some(best) = best(&categories, &left, self.all) {
            let category = categories.remove(best);
            told.change_category(category, !self.all);
            left.change_category(category, self.all);
            words.push(format!("{}@{}", sign(!self.all), category.name));
        }
        for parent in commands.parents() {
            for id in commands.family(parent) {
                let name = &commands.table().row(id).name;
                let allow = own.commands.has(id);
                if allow != told.commands.has(id) && (commands.has(id) || self.names(name)) {
                    words.push(format!("{}{name}", sign(allow)));
                    told.change_family(id, allow, commands);
                }
                let arguments = own.arguments(id).iter().filter(|_| !allow);
                words.extend(arguments.map(|argument| {
                    let argument = String::from_utf8_lossy(argument);
                    format!("+{name}|{argument}")
                }));
            }
        }
        let unlearnt = self.unlearnt(commands);
        words.extend(unlearnt.map(|(name, allow)| format!("{}{name}", sign(allow))));
        words.join(" ")
    }
}

fn sign(allow: bool) -> char {
    if allow { '+' } else { '-' }
}

/// The category that says most with the fewest commands that it is wrong about: more of its commands are to be told of
/// than not.
fn best(categories: &[&Category], left: &Allowed, all: bool) -> Option<usize> {
    let mut best: Option<(usize, usize, usize)> = None;
    for (index, category) in categories.iter().enumerate() {
        let on = left.commands.common(&category.within);
        let off = category.within.count() - on;
        let (same, different) = if all { (off, on) } else { (on, off) };
        let better = best.is_none_or(|(_, least, most)| {
            different < least || (different == least && same > most)
        });
        if same > different && better {
            best = Some((index, different, same));
        }
    }
    best.map(|(index, _, _)| index)
}
