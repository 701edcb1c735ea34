//! What a later request of the same client overtakes, and what not.

use std::time::Duration;

use super::*;
use crate::proxy::actions::Action;
use crate::proxy::ids::Peer;
use crate::proxy::tests::rig::{before_three_nodes, feed, flushed, known_client, next_action};

/// A slot migrates: its node asks for patience with a request for two keys, and then answers this to one for the first of
/// them. Returns what the client hears of both.
fn heard(later: &str, answer: &str) -> String {
    let mut proxy = before_three_nodes(false);
    let mut now = Time::from_micros(1_000_000);
    let client = known_client(&mut proxy, None, now);
    let asked = format!("RENAME {{t}}a {{t}}b\r\n{later}\r\n");
    feed(&mut proxy, Peer::Client(client), asked.as_bytes(), now);
    let (mut renames, mut heard) = (0, String::new());
    for _ in 0..100 {
        now = now.after(Duration::from_millis(10));
        proxy.tick(now);
        proxy.begin_turn(now);
        while let Some(action) = next_action(&mut proxy) {
            match action {
                Action::Connect(id, _) => proxy.connected(id, now),
                Action::Resume(id) => {
                    proxy.resume(id, now);
                }
                Action::Flush(peer) => {
                    let text = String::from_utf8(flushed(&mut proxy, peer, now)).expect("text");
                    if matches!(peer, Peer::Client(_)) {
                        heard.push_str(&text);
                        continue;
                    }
                    for request in text.split("\r\n*") {
                        let is_rename = request.contains("RENAME");
                        renames += usize::from(is_rename);
                        let reply = match () {
                            () if is_rename && renames == 1 => {
                                "-TRYAGAIN Multiple keys request during rehashing of slot"
                            }
                            () if request.contains("{t}") && !is_rename => answer,
                            () => "+OK",
                        };
                        feed(&mut proxy, peer, format!("{reply}\r\n").as_bytes(), now);
                    }
                }
                _ => {}
            }
        }
        proxy.check();
    }
    heard
}

#[test]
fn what_was_executed_has_overtaken_and_what_was_denied_has_not() {
    let refused = "-TRYAGAIN Multiple keys request during rehashing of slot\r\n";
    assert_eq!(heard("DEL {t}a", ":1"), format!("{refused}:1\r\n"));
    let wrong = "-WRONGTYPE Operation against a key";
    assert_eq!(heard("INCR {t}a", wrong), format!("{refused}{wrong}\r\n"));
    let denied = "-NOPERM this user has no permissions to run the 'del' command";
    assert_eq!(heard("DEL {t}a", denied), format!("+OK\r\n{denied}\r\n"));
    // A script may have deleted it before it says so.
    let own = "-NOPERM says the script";
    assert_eq!(heard("EVAL x 1 {t}a", own), format!("{refused}{own}\r\n"));
}
