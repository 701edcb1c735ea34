//! PUBSUB CHANNELS, NUMSUB and their shard forms: every node has subscribers of its own, so all are asked; a
//! channel is named once, and its subscribers are added up.

use std::collections::HashSet;

use super::nodes::{join_all, pairs, place};
use super::{After, Context};
use crate::resp::args::Args;
use crate::resp::encode;
use crate::resp::reply::Reply;

/// `PUBSUB CHANNELS`, `PUBSUB SHARDCHANNELS`.
pub fn names(context: &mut Context<'_>, args: &Args<'_>, _: &mut Vec<u8>) -> After {
    join_all(context, args, unite)
}

/// `PUBSUB NUMSUB`, `PUBSUB SHARDNUMSUB`: a list of names and numbers in turn, in both protocols.
pub fn counts(context: &mut Context<'_>, args: &Args<'_>, _: &mut Vec<u8>) -> After {
    join_all(context, args, add)
}

fn unite(replies: &[Reply<'_>], out: &mut Vec<u8>) {
    let mut seen = HashSet::new();
    let all = replies.iter().flat_map(|reply| reply.items());
    let names: Vec<Reply<'_>> = all.filter(|name| seen.insert(name.frame())).collect();
    encode::array(out, names.len());
    names
        .iter()
        .for_each(|name| out.extend_from_slice(name.frame()));
}

/// A name given twice is asked for twice, so the list of the first node says what the reply looks like.
fn add(replies: &[Reply<'_>], out: &mut Vec<u8>) {
    let mut sums: Vec<(Vec<u8>, i64)> = Vec::new();
    let answered = || replies.iter().filter(|reply| !reply.frame().is_empty());
    for reply in answered() {
        let mut seen = HashSet::new();
        for (name, count) in pairs(reply).filter(|(name, _)| seen.insert(name.frame())) {
            let at = place(&mut sums, name.text().unwrap_or_default());
            sums[at].1 += count.integer().unwrap_or(0);
        }
    }
    let shape: Vec<_> = answered().next().into_iter().flat_map(pairs).collect();
    encode::array(out, 2 * shape.len());
    for (name, _) in shape {
        out.extend_from_slice(name.frame());
        let at = place(&mut sums, name.text().unwrap_or_default());
        encode::integer(out, sums[at].1);
    }
}

#[cfg(test)]
mod tests {
    use super::super::nodes::joined;
    use super::*;

    #[test]
    fn a_channel_is_named_once() {
        let replies = ["*2\r\n+a\r\n+b\r\n", "*0\r\n", "", "*1\r\n+b\r\n"];
        assert_eq!(joined(unite, &replies), "*2\r\n+a\r\n+b\r\n");
        assert_eq!(joined(unite, &["*0\r\n"]), "*0\r\n");
    }

    #[test]
    fn subscribers_are_added_up() {
        let (first, second) = (
            "*6\r\n+a\r\n:1\r\n+b\r\n:0\r\n+a\r\n:1\r\n",
            "*6\r\n+a\r\n:2\r\n+b\r\n:0\r\n+a\r\n:2\r\n",
        );
        let sum = "*6\r\n+a\r\n:3\r\n+b\r\n:0\r\n+a\r\n:3\r\n";
        assert_eq!(joined(add, &["", first, second]), sum);
        assert_eq!(joined(add, &["*0\r\n", "*0\r\n"]), "*0\r\n");
    }
}
