//! The tap: MONITOR on every node, over connections of its own. It tells the ledger what was executed, by
//! whom and when. What replication brings is left out: it comes from a node's own address.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::ledger::{Ledger, wall};
use super::script;
use crate::support::{Conn, Ground};

/// Listens to one node until told to stop.
pub fn listen(
    ground: Arc<Ground>,
    index: usize,
    ledger: Arc<Ledger>,
    lines: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    up: Arc<AtomicBool>,
) -> JoinHandle<()> {
    let peers: HashSet<String> = ground.addrs().into_iter().collect();
    thread::spawn(move || {
        let mut deaf_since = None;
        while !stop.load(Ordering::Relaxed) {
            let conn = ground.nodes[index].conn(Duration::from_millis(300));
            let Some(mut conn) = conn.and_then(starts) else {
                deaf_since.get_or_insert_with(wall);
                thread::sleep(Duration::from_millis(2));
                continue;
            };
            if let Some(since) = deaf_since.take() {
                ledger.gap(since - 500_000, wall());
            }
            up.store(true, Ordering::Relaxed);
            let mut buffer = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                match conn.read_some(Duration::from_millis(100)) {
                    Ok(Some(bytes)) => buffer.extend_from_slice(&bytes),
                    Ok(None) => continue,
                    Err(_) => break,
                }
                let end = buffer.iter().rposition(|byte| *byte == b'\n');
                let Some(end) = end else { continue };
                for line in buffer[..end].split(|byte| *byte == b'\n') {
                    lines.fetch_add(1, Ordering::Relaxed);
                    note(line, &peers, &ledger);
                }
                buffer.drain(..=end);
            }
            deaf_since.get_or_insert_with(wall);
        }
    })
}

fn starts(mut conn: Conn) -> Option<Conn> {
    let reply = conn.try_command(&["MONITOR"]).ok()?;
    (reply == "OK").then_some(conn)
}

/// `+1339518083.107412 [0 127.0.0.1:60866] "set" "key" "value"`
fn note(line: &[u8], peers: &HashSet<String>, ledger: &Ledger) -> Option<()> {
    let head = &line[..line.len().min(200)];
    let text = String::from_utf8_lossy(head);
    let (time, rest) = text.strip_prefix('+')?.split_once(' ')?;
    let (seconds, micros) = time.split_once('.')?;
    let at = seconds.parse::<u64>().ok()? * 1_000_000 + micros.parse::<u64>().ok()?;
    let source = rest.strip_prefix("[0 ")?.split_once(']')?.0;
    if peers.contains(source) {
        return None;
    }
    let args = rest.split_once("] ")?.1;
    let mut words = args.split('"').filter(|word| *word != " ");
    words.next()?;
    let command = words.next()?.to_ascii_lowercase();
    // A script is counted by its write: a node shows EVALSHA of what it does not have, too.
    if source == "lua" && !without_tag(words.clone().next()?).starts_with(script::PREFIX) {
        return None;
    }
    match command.as_str() {
        "incr" => ledger.increment_executed(words.next()?),
        "set" | "rpush" | "mset" | "del" | "append" => {
            // A write's nonce stands between tildes, that of a deletion between carets, anywhere in the line.
            let mark = if command == "del" { b'^' } else { b'~' };
            let mut parts = line.split(|byte| *byte == mark);
            while parts.next().is_some() {
                let Some(nonce) = parts.next() else { break };
                if let Some((client, number)) = parse_nonce(nonce) {
                    ledger.executed(client, number, at);
                }
            }
        }
        _ => {}
    }
    Some(())
}

/// A key as its client knows it, who may be in a namespace.
fn without_tag(key: &str) -> &str {
    let behind = key.strip_prefix('{').and_then(|rest| rest.split_once('}'));
    behind.map_or(key, |(_, own)| own)
}

fn parse_nonce(nonce: &[u8]) -> Option<(usize, u32)> {
    let (client, number) = std::str::from_utf8(nonce).ok()?.split_once('.')?;
    Some((
        usize::from_str_radix(client, 16).ok()?,
        u32::from_str_radix(number, 16).ok()?,
    ))
}
