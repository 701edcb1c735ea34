//! `Execution`: an EXEC of which the proxy answers a part itself, as far as it is (see `lease::execution`).

use std::collections::VecDeque;
use std::ops::Range;

use crate::proxy::ids::Seq;
use crate::proxy::lease::state::transaction::{Item, Own};
use crate::proxy::pipeline::client_reply::ClientReply;
use crate::proxy::upstream::routes::everyone::Executor;
use crate::resp::reply::Reply;

/// An EXEC under way.
///
/// Invariants: its client is paused; its place is the head of the pipeline.
#[derive(Debug)]
pub struct Execution {
    /// EXEC's own place, and its row.
    pub(in crate::proxy::lease) seq: Seq,
    pub(in crate::proxy::lease) row: u16,
    /// Who answers each of the queued requests.
    pub(in crate::proxy::lease) items: Vec<Part>,
    /// What is still to be done.
    pub(in crate::proxy::lease) steps: VecDeque<What>,
    /// The place of the node's EXEC, once that is sent.
    pub(in crate::proxy::lease) sent: Option<Seq>,
    /// The items of its reply, once that has come.
    pub(in crate::proxy::lease) of_node: Option<Vec<Range<usize>>>,
    /// The node that executed it.
    pub executor: Option<Executor>,
    /// What that node has answered to the command at hand, which is for all nodes.
    pub(in crate::proxy::lease) share: Option<(Executor, Vec<u8>)>,
    /// What the node says instead of executing, which is then the whole reply.
    pub(in crate::proxy::lease) verdict: Option<Vec<u8>>,
    /// Which requests behind EXEC are answered, if that is to change.
    pub(in crate::proxy::lease) client_reply: Option<ClientReply>,
}

/// One queued request.
#[derive(Debug)]
pub(in crate::proxy::lease) enum Part {
    /// The next item of the node's reply.
    Node,
    /// It is served here, and its reply is at this place, if it has one.
    Own(Own, Answered),
    /// As before, together with the next item of the node's reply, which is kept here too.
    Share(Own, Answered, Option<Vec<u8>>),
}

/// How far a part is that is served here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::proxy::lease) enum Answered {
    /// It has not been served.
    Not,
    /// Without a reply.
    Silently,
    /// At this place.
    At(Seq),
}

/// A step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::proxy::lease) enum What {
    /// The node's EXEC.
    Node,
    /// The request at this index.
    Own(usize),
}

impl Execution {
    pub(in crate::proxy::lease) fn new(
        seq: Seq,
        row: u16,
        items: Vec<Item>,
        node_at: Option<usize>,
    ) -> Execution {
        let mut steps = VecDeque::new();
        let mut parts = Vec::with_capacity(items.len());
        for (index, item) in items.into_iter().enumerate() {
            if node_at == Some(index) {
                steps.push_back(What::Node);
            }
            parts.push(match item {
                Item::Run(_) | Item::Publish(..) | Item::Cut(_) => Part::Node,
                Item::Share(own) => Part::Share(own, Answered::Not, None),
                Item::Own(own) => Part::Own(own, Answered::Not),
            });
            if !matches!(parts.last(), Some(Part::Node)) {
                steps.push_back(What::Own(index));
            }
        }
        Execution {
            seq,
            row,
            items: parts,
            steps,
            sent: None,
            of_node: None,
            executor: None,
            share: None,
            verdict: None,
            client_reply: None,
        }
    }

    /// The reply of the node has come.
    pub(in crate::proxy::lease) fn take_node_reply(&mut self, frame: &[u8]) {
        let reply = Reply::new(frame);
        if reply.kind() != b'*' || reply.is_null() {
            self.steps.clear();
            self.verdict = Some(frame.to_vec());
            return;
        }
        let mut start = frame.len() - reply.items().map(|item| item.frame().len()).sum::<usize>();
        let of_node = self.items.iter_mut();
        let mut of_node = of_node.filter(|part| !matches!(part, Part::Own(..)));
        let ranges = reply.items().map(|item| {
            if let Some(Part::Share(_, _, share)) = of_node.next() {
                *share = Some(item.frame().to_vec());
            }
            let range = start..start + item.frame().len();
            start = range.end;
            range
        });
        self.of_node = Some(ranges.collect());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_share_gets_its_item_of_the_nodes_reply() {
        let own = |row: u16| Own {
            row,
            frame: Vec::new(),
        };
        let items = vec![
            Item::Run(0),
            Item::Share(own(1)),
            Item::Own(own(2)),
            Item::Share(own(3)),
        ];
        let mut execution = Execution::new(Seq(0), 0, items, Some(0));
        execution.take_node_reply(b"*3\r\n+OK\r\n:7\r\n$1\r\nx\r\n");
        let shares: Vec<&[u8]> = execution
            .items
            .iter()
            .filter_map(|part| match part {
                Part::Share(_, _, share) => share.as_deref(),
                Part::Node | Part::Own(..) => None,
            })
            .collect();
        assert_eq!(shares, [&b":7\r\n"[..], b"$1\r\nx\r\n"]);
        assert!(execution.verdict.is_none());
    }
}
