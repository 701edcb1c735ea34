//! WAIT and WAITAOF: how many replicas have what a client wrote on connections that it shares.
//!
//! A node counts from the offset of the asking connection's own last write, so that on a fresh connection its
//! answer means nothing. Before 7.2 any command moves that offset to where the node is now, and PING does;
//! since then (and in Valkey) only one that is propagated: a script that makes a key and unmakes it, which
//! nobody sees. All that the client wrote has been answered by then, so that it lies before that offset.
//!
//! Every master is asked, each on a connection of the lease's own; the least answer is the answer. A master
//! that does not answer counts as one without replicas: nobody can say more of what was written there.

use std::time::Duration;

use crate::clock::Time;
use crate::cluster::slot::{SLOTS, Slot};
use crate::command::servers::version_key;
use crate::proxy::client::Stall;
use crate::proxy::client::step::Step;
use crate::proxy::ids::{ClientId, NO_SLOT, NodeKey, PartId};
use crate::proxy::lease::state::run::{Line, Owed, Run};
use crate::proxy::lease::state::wait::Wait;
use crate::proxy::lease::state::{Lease, Next, Work};
use crate::proxy::pipeline::merge::Merge;
use crate::proxy::pipeline::split::Split;
use crate::proxy::request::Request;
use crate::proxy::state::Proxy;
use crate::proxy::texts::{self, refusal};
use crate::proxy::upstream::goal::Goal;
use crate::resp::encode;
use crate::resp::reply::{Reply, parse_number};

const PING: &[u8] = b"*1\r\n$4\r\nPING\r\n";
/// It leaves nothing behind, and yet replicas are told of it.
const TOUCH: &[u8] = b"redis.call('SET',KEYS[1],'') return redis.call('DEL',KEYS[1])";

impl Proxy {
    /// WAIT or WAITAOF.
    pub(in crate::proxy) fn wait_for_replicas(&mut self, request: &Request<'_>) -> Step {
        let &Request {
            client: id,
            command,
            args,
            now,
        } = request;
        if self.clients.get(id).is_none_or(|c| !c.pipeline.is_empty()) {
            return Step::Wait(Stall::Barrier);
        }
        let masters: Vec<NodeKey> = self
            .upstream
            .routes
            .targets(false)
            .map(|t| t.node)
            .collect();
        if masters.is_empty() {
            return self.reject(request, refusal::CLUSTER_DOWN);
        }
        // WAITAOF answers for the master's own file, too.
        let pair = args.len() > 3;
        let millis = parse_number(args.at(args.len() - 1)).filter(|millis| *millis > 0);
        let wait = Wait {
            deadline: millis.map(|millis| now.after(Duration::from_millis(millis as u64))),
            nobody: if pair {
                b"*2\r\n:0\r\n:0\r\n"
            } else {
                b":0\r\n"
            },
            unmoved: None,
        };
        let merge = if pair {
            Merge::Join(Box::new(least_pair))
        } else {
            Merge::Min
        };
        let mut split = Split::new(merge, false);
        split.add_parts(NO_SLOT, masters.len());
        let mut runs = Vec::new();
        for master in &masters {
            let mut run = Run::new(NO_SLOT);
            run.goal = Goal::Node(*master);
            run.patient = true;
            let mover = self.mover(*master);
            run.lines.push(Line::new(mover, u16::MAX, Owed::Nobody));
            runs.push(run);
        }
        if self.grant(id, Work::Wait(wait), runs, now).is_none() {
            return self.reject(request, texts::TOO_MANY_BLOCKED);
        }
        self.stats.commands.add(1);
        let (Some(mut lease), Some(client)) = (self.take_lease(id), self.clients.get_mut(id))
        else {
            return Step::Close;
        };
        let seq = client.pipeline.push_split(command.id, Box::new(split), now);
        let mut next = Next::Keep;
        for index in 0..masters.len() as u16 {
            let owed = Owed::Last(seq, index);
            let line = Line::new(args.frame().to_vec(), command.id, owed);
            next = self.add(id, &mut lease, index, line, now);
        }
        self.put_lease(id, lease, next, now);
        Step::Alone
    }

    /// What moves a connection's own offset to that of its node.
    fn mover(&self, master: NodeKey) -> Vec<u8> {
        let version = self.servers.version.as_deref().map(version_key);
        if version.is_none_or(|version| version < vec![7, 2]) {
            return PING.to_vec();
        }
        let routes = &self.upstream.routes;
        let owned = |key: &String| {
            let shard = routes.shard(Slot::of(key.as_bytes()));
            shard.is_some_and(|shard| shard.master == master)
        };
        let keys = (0..16 * SLOTS).map(|number| format!("redis-cluster-proxy:wait:{number}"));
        let Some(key) = keys.into_iter().find(owned) else {
            return PING.to_vec();
        };
        let mut frame = Vec::new();
        encode::command(&mut frame, [&b"EVAL"[..], TOUCH, b"1", key.as_bytes()]);
        frame
    }

    /// The reply to one request of a run that waits for replicas.
    pub(super) fn settle_wait(
        &mut self,
        id: ClientId,
        lease: &mut Lease,
        owed: Owed,
        reply: Reply<'_>,
        now: Time,
    ) -> Next {
        let Work::Wait(wait) = &mut lease.work else {
            return Next::End;
        };
        let Owed::Last(seq, part) = owed else {
            if reply.is_error() {
                wait.unmoved = Some(reply.frame().to_vec());
            }
            return Next::Keep;
        };
        let is_replica = reply
            .error()
            .is_some_and(|error| error.windows(16).any(|words| words == b"replica instance"));
        match &wait.unmoved {
            // The answer would be of another offset.
            Some(error) => self.fulfil(PartId::new(id, seq, part), &error.clone(), now),
            None if is_replica => self.fulfil(PartId::new(id, seq, part), wait.nobody, now),
            None => self.fulfil(PartId::new(id, seq, part), reply.frame(), now),
        }
        self.part_done(lease)
    }

    /// A master that does not answer.
    pub(super) fn count_nobody(
        &mut self,
        id: ClientId,
        lease: &mut Lease,
        index: u16,
        now: Time,
    ) -> Next {
        let Work::Wait(wait) = &lease.work else {
            return Next::End;
        };
        let nobody = wait.nobody;
        let run = &mut lease.runs[usize::from(index)];
        self.leave(id, run, index, now);
        for (seq, part) in run.take_owed() {
            self.fulfil(PartId::new(id, seq, part), nobody, now);
        }
        self.part_done(lease)
    }
}

/// The least of each of two numbers.
fn least_pair(replies: &[Reply<'_>], out: &mut Vec<u8>) {
    encode::array(out, 2);
    for place in 0..2 {
        let numbers = replies.iter();
        let numbers = numbers.filter_map(|reply| reply.items().nth(place)?.integer());
        encode::integer(out, numbers.min().unwrap_or(0));
    }
}
