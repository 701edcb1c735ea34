//! INFO commandstats: counts calls as one server would.
//!
//! A client's call is counted here, once, however many nodes it was split over. Calls made by scripts are known to
//! the nodes only: the calls that a node counts beyond those that the proxy sent were made by scripts, or by clients
//! that use the node directly.

use super::sections::line;
use crate::command::{Class, Command, Flags, LeaseKind, Table};
use crate::proxy::stats::calls::CommandCalls;
use crate::proxy::stats::masters_info::{Masters, NodeCalls};

/// Whether scripts may call it, and nodes are sent it for clients' calls only.
fn may_be_scripts(row: &Command) -> bool {
    let sent_for_clients = match row.class {
        Class::Routed | Class::Split(_) | Class::Publish | Class::Leased(LeaseKind::Blocking) => {
            true
        }
        Class::AnyNode
        | Class::AllMasters(_)
        | Class::AllNodes(_)
        | Class::Scan
        | Class::Local
        | Class::Leased(LeaseKind::Transaction(_) | LeaseKind::Wait)
        | Class::Subscription
        | Class::Refused(_) => false,
    };
    sent_for_clients && !row.flags.contains(Flags::NOSCRIPT)
}

/// Calls, their microseconds, rejected and failed ones.
fn together(own: Option<&CommandCalls>, nodes: NodeCalls) -> NodeCalls {
    let sent = own.map_or(0, CommandCalls::sent);
    let beyond = nodes.calls.saturating_sub(sent);
    let micros = match nodes.calls {
        0 => 0,
        calls => (u128::from(nodes.micros) * u128::from(beyond) / u128::from(calls)) as u64,
    };
    let own = own.map_or(NodeCalls::default(), |own| NodeCalls {
        calls: own.latencies.count,
        micros: own.latencies.micros,
        rejected: own.rejected,
        failed: own.failed,
    });
    NodeCalls {
        calls: own.calls + beyond,
        micros: own.micros + micros,
        // Those of clients are among the nodes', but for those that never reached one.
        rejected: own.rejected.max(nodes.rejected),
        failed: own.failed.max(nodes.failed),
    }
}

/// The section.
pub fn print(own: &[CommandCalls], masters: &Masters, table: &Table) -> String {
    let mut text = "# Commandstats\r\n".to_string();
    for row in table.rows() {
        let mine = own.binary_search_by_key(&row.id, |calls| calls.command);
        let mine = mine.ok().map(|at| &own[at]);
        let theirs = masters.calls.get(&*row.name).copied();
        let theirs = theirs.filter(|_| may_be_scripts(row));
        // What nodes have refused alone was sent by others.
        let theirs = theirs.filter(|theirs| mine.is_some() || theirs.calls > 0);
        if mine.is_none() && theirs.is_none() {
            continue;
        }
        let all = together(mine, theirs.unwrap_or_default());
        let NodeCalls {
            calls,
            micros,
            rejected,
            failed,
        } = all;
        let each = micros as f64 / calls.max(1) as f64;
        line(
            &mut text,
            format_args!(
                "cmdstat_{name}:calls={calls},usec={micros},usec_per_call={each:.2},\
                 rejected_calls={rejected},failed_calls={failed}",
                name = row.name,
            ),
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::stats::histogram::{Histogram, Latencies};

    fn own(table: &Table, name: &str, calls: u64, cuts: u64, parts: u64) -> CommandCalls {
        let histogram = Histogram::default();
        histogram.record(10, calls);
        let mut latencies = Latencies::default();
        latencies.add(&histogram);
        CommandCalls {
            command: table.named(name.as_bytes()).unwrap().id,
            latencies,
            failed: 0,
            rejected: 0,
            cuts,
            parts,
        }
    }

    #[test]
    fn what_nodes_have_beyond_what_they_were_sent_is_scripts() {
        let table = Table::compiled();
        let text = "# Commandstats\r\ncmdstat_mget:calls=8,usec=80,usec_per_call=1,rejected_calls=0,failed_calls=0\r\n\
            cmdstat_get:calls=5,usec=50,usec_per_call=1,rejected_calls=3,failed_calls=2\r\n\
            cmdstat_zadd:calls=2,usec=8,usec_per_call=1,rejected_calls=0,failed_calls=1\r\n\
            cmdstat_eval:calls=1,usec=8,usec_per_call=1,rejected_calls=0,failed_calls=0\r\n\
            cmdstat_set:calls=1,usec=8,usec_per_call=1,rejected_calls=0,failed_calls=0\r\n\
            cmdstat_lpush:calls=0,usec=0,usec_per_call=1,rejected_calls=1,failed_calls=0\r\n\
            cmdstat_info:calls=9,usec=8,usec_per_call=1,rejected_calls=0,failed_calls=0\r\n";
        let masters = Masters::of(&[(([127, 0, 0, 1], 1).into(), text)]);
        let mut calls = vec![
            own(&table, "mget", 3, 2, 6),
            own(&table, "get", 1, 0, 0),
            own(&table, "eval", 1, 0, 0),
            own(&table, "set", 4, 0, 0),
            own(&table, "ping", 2, 0, 0),
        ];
        calls.sort_by_key(|calls| calls.command);
        let printed = print(&calls, &masters, &table);
        let line = |name: &str| {
            let start = format!("cmdstat_{name}:");
            printed.lines().find_map(|line| line.strip_prefix(&start))
        };
        let rest = "usec_per_call";
        assert!(line("mget").unwrap().starts_with("calls=4,usec=40,"));
        assert_eq!(
            line("get").unwrap(),
            format!("calls=5,usec=50,{rest}=10.00,rejected_calls=3,failed_calls=2")
        );
        assert_eq!(
            line("zadd").unwrap(),
            format!("calls=2,usec=8,{rest}=4.00,rejected_calls=0,failed_calls=1")
        );
        assert!(line("eval").unwrap().starts_with("calls=1,"));
        assert!(line("set").unwrap().starts_with("calls=4,"));
        assert!(line("ping").unwrap().starts_with("calls=2,"));
        assert!(line("info").is_none() && line("lpush").is_none());
    }
}
