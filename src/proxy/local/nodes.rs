//! Shared by commands that ask every master, or every node, and merge the replies by a rule of their own.
//!
//! `routes::everyone` decides who must answer and who is left out.

use super::{After, Context};
use crate::command::Class;
use crate::proxy::pipeline::merge::{Join, Merge};
use crate::proxy::pipeline::plan::{Ask, Plan};
use crate::proxy::upstream::routes::everyone::Asked;
use crate::resp::args::Args;
use crate::resp::encode;
use crate::resp::reply::Reply;

/// Asks whom the row names: every master, or every node.
pub fn ask_all(context: &Context<'_>, args: &Args<'_>, merge: Merge) -> After {
    let replicas = matches!(context.command.class, Class::AllNodes(_));
    let everyone = context.routes.everyone(context.command, replicas);
    After::Ask(Plan {
        asks: everyone
            .map(|asked| Ask::each(asked, args.frame().to_vec()))
            .collect(),
        merge,
        write: false,
    })
}

/// Those who serve clients: every master, and every replica if reads may go there.
pub fn serving<'a>(context: &'a Context<'_>) -> impl Iterator<Item = Asked> + 'a {
    let replicas = context.config.reads_replicas();
    context.routes.everyone(context.command, replicas)
}

/// Asks those who serve clients; `join` is told of each answer whether it is a replica's. An error of any is the reply.
pub fn join_serving(
    context: &Context<'_>,
    args: &Args<'_>,
    join: impl FnOnce(&[(bool, Reply<'_>)], &mut Vec<u8>) + Send + 'static,
) -> After {
    let asked: Vec<Asked> = serving(context).collect();
    let replicas: Vec<bool> = asked.iter().map(|asked| asked.is_replica()).collect();
    let merge = Merge::Join(Box::new(move |replies, out| {
        let told: Vec<_> = replicas.into_iter().zip(replies.iter().copied()).collect();
        join(&told, out);
    }));
    After::Ask(Plan {
        asks: asked
            .into_iter()
            .map(|asked| Ask::each(asked, args.frame().to_vec()))
            .collect(),
        merge,
        write: false,
    })
}

/// As [`ask_all`]; an error of any node is the reply.
pub fn join_all(
    context: &Context<'_>,
    args: &Args<'_>,
    join: impl FnOnce(&[Reply<'_>], &mut Vec<u8>) + Send + 'static,
) -> After {
    ask_all(context, args, Merge::Join(Box::new(join)))
}

/// The keys and values of a map, which in RESP2 is a list of both in turn.
pub fn pairs<'a>(map: &Reply<'a>) -> impl Iterator<Item = (Reply<'a>, Reply<'a>)> + use<'a> {
    let mut items = map.items();
    std::iter::from_fn(move || Some((items.next()?, items.next()?)))
}

/// The value behind a key of a map.
pub fn value<'a>(map: &Reply<'a>, key: &str) -> Option<Reply<'a>> {
    let found = pairs(map).find(|(name, _)| name.text() == Some(key.as_bytes()));
    found.map(|(_, value)| value)
}

/// The place of `name` in a list kept in the order of its first sight.
pub fn place<T: Default>(list: &mut Vec<(Vec<u8>, T)>, name: &[u8]) -> usize {
    let found = list.iter().position(|(own, _)| own == name);
    found.unwrap_or_else(|| {
        list.push((name.to_vec(), T::default()));
        list.len() - 1
    })
}

/// A report in prose (LATENCY DOCTOR, LATENCY GRAPH, MEMORY DOCTOR, MEMORY MALLOC-STATS): what all nodes say
/// alike is said once, else each node's words stand under its address. A node that has nothing to report
/// answers with an error; that is the reply only if all do.
pub fn report(context: &mut Context<'_>, args: &Args<'_>, _: &mut Vec<u8>) -> After {
    let asked: Vec<Asked> = match context.command.class {
        Class::AllNodes(_) => serving(context).collect(),
        _ => context.routes.everyone(context.command, false).collect(),
    };
    let names: Vec<String> = asked
        .iter()
        .map(|asked| context.routes.address_of(asked.node()?))
        .map(|address| address.map_or("?".to_string(), |address| address.to_string()))
        .collect();
    let protocol = context.session.protocol;
    let join: Join = Box::new(move |replies, out| {
        let said = |reply: &Reply<'_>| Some(String::from_utf8_lossy(reply.text()?).into_owned());
        let texts: Vec<(&String, String)> = names
            .iter()
            .zip(replies)
            .filter_map(|(name, reply)| Some((name, said(reply)?)))
            .collect();
        match texts.first() {
            None => match replies.iter().find_map(Reply::error) {
                Some(error) => encode::error(out, error),
                None => encode::verbatim(out, "", protocol),
            },
            Some((_, first)) if texts.iter().all(|(_, text)| text == first) => {
                encode::verbatim(out, first, protocol);
            }
            Some(_) => {
                let under = |(name, text): &(&String, String)| format!("# {name}\n{text}\n");
                let whole: String = texts.iter().map(under).collect();
                encode::verbatim(out, &whole, protocol);
            }
        }
    });
    let asks = asked.into_iter();
    After::Ask(Plan {
        asks: asks
            .map(|asked| Ask::each(asked, args.frame().to_vec()))
            .collect(),
        merge: Merge::JoinAll(join),
        write: false,
    })
}

/// `FUNCTION STATS`: all masters have the same libraries; the reply is that of a master which runs a script.
pub fn function_stats(context: &mut Context<'_>, args: &Args<'_>, _: &mut Vec<u8>) -> After {
    join_all(context, args, |replies, out| {
        let is_running = |reply: &&Reply<'_>| {
            value(reply, "running_script").is_some_and(|script| !script.is_null())
        };
        let speaker = replies.iter().find(is_running).or(replies.first());
        if let Some(reply) = speaker {
            out.extend_from_slice(reply.frame());
        }
    })
}

/// Runs a join on replies, for tests of the joins.
#[cfg(test)]
pub fn joined(join: impl FnOnce(&[Reply<'_>], &mut Vec<u8>), replies: &[&str]) -> String {
    let mut out = Vec::new();
    let replies = replies.iter().map(|reply| Reply::new(reply.as_bytes()));
    join(&replies.collect::<Vec<_>>(), &mut out);
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_are_read_in_both_protocols() {
        for map in [
            "*4\r\n$1\r\na\r\n:1\r\n$1\r\nb\r\n:2\r\n",
            "%2\r\n+a\r\n:1\r\n+b\r\n:2\r\n",
        ] {
            let map = Reply::new(map.as_bytes());
            assert_eq!(value(&map, "b").and_then(|value| value.integer()), Some(2));
            assert!(value(&map, "c").is_none());
            assert_eq!(pairs(&map).count(), 2);
        }
        assert_eq!(pairs(&Reply::new(b"")).count(), 0);
    }
}
