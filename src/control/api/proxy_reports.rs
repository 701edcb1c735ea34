//! `GET /api/v1/hotkeys`, `/bigkeys`, `/slowlog` and `/audit`: what PROXY HOTKEYS and the like say, as JSON.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::control::message::{Request, Response};
use crate::control::state::ControlState;
use crate::proxy::local::proxy_reports::{join_audit, join_big_keys, join_hot_keys, join_slow_log};
use crate::proxy::messages::worker_query::WorkerQuery;
use crate::resp::encode::Protocol;
use crate::resp::reply::Reply;
use crate::sort;

/// Entries of a list.
const COUNT: usize = 128;

type Join = fn(&[Reply<'_>], &mut Vec<u8>);

fn asked(state: &ControlState, question: &WorkerQuery, join: Join) -> Response {
    let frames = match state.ask_workers(question) {
        Ok(frames) => frames,
        Err(silent) => return Response::text(503, &silent.0),
    };
    let replies: Vec<Reply<'_>> = frames.iter().map(|frame| Reply::new(frame)).collect();
    let mut out = Vec::new();
    join(&replies, &mut out);
    Response::json(200, &value(&Reply::new(&out)))
}

/// A reply as JSON. Bytes that are no text are replaced.
fn value(reply: &Reply<'_>) -> Value {
    let text = |text: &[u8]| String::from_utf8_lossy(text).into_owned();
    if let Some(number) = reply.integer() {
        return number.into();
    }
    if let Some(bytes) = reply.text() {
        return text(bytes).into();
    }
    let mut items = reply.items();
    if reply.kind() != b'%' {
        return items.map(|item| value(&item)).collect();
    }
    let mut map = Map::new();
    while let (Some(name), Some(item)) = (items.next(), items.next()) {
        map.insert(text(name.text().unwrap_or_default()), value(&item));
    }
    map.into()
}

/// The keys that are asked for most.
pub fn hot_keys(_: &Request, state: &ControlState) -> Response {
    asked(state, &WorkerQuery::HotKeys, |replies, out| {
        join_hot_keys(replies, COUNT, Protocol::Resp3, out);
    })
}

/// The keys with the longest requests or replies.
pub fn big_keys(_: &Request, state: &ControlState) -> Response {
    asked(state, &WorkerQuery::BigKeys, |replies, out| {
        join_big_keys(replies, COUNT, Protocol::Resp3, out);
    })
}

/// The last slow requests; each is a list as PROXY SLOWLOG GET has it.
pub fn slow_log(_: &Request, state: &ControlState) -> Response {
    asked(state, &WorkerQuery::SlowLog, |replies, out| {
        join_slow_log(replies, COUNT, out);
    })
}

/// How many clients there are, by library and by address.
pub fn clients(_: &Request, state: &ControlState) -> Response {
    let frames = match state.ask_workers(&WorkerQuery::ClientCounts) {
        Ok(frames) => frames,
        Err(silent) => return Response::text(503, &silent.0),
    };
    let (mut clients, mut counted) = (0, 0);
    let mut kinds: [BTreeMap<String, i64>; 2] = Default::default();
    for frame in &frames {
        let reply = Reply::new(frame);
        let mut items = reply.items();
        let mut number = || items.next().and_then(|item| item.integer()).unwrap_or(0);
        clients += number();
        counted += number();
        for (kinds, item) in kinds.iter_mut().zip(items) {
            let mut pairs = item.items();
            while let (Some(name), Some(count)) = (pairs.next(), pairs.next()) {
                let name = String::from_utf8_lossy(name.text().unwrap_or_default());
                *kinds.entry(name.into_owned()).or_default() += count.integer().unwrap_or(0);
            }
        }
    }
    let [libraries, addresses] = kinds.map(|kinds| {
        let mut kinds: Vec<_> = kinds.into_iter().collect();
        sort::by_key(&mut kinds, |(_, clients)| Reverse(*clients));
        kinds.truncate(COUNT);
        let entry = |(name, clients)| json!({ "name": name, "clients": clients });
        kinds.into_iter().map(entry).collect::<Value>()
    });
    let page = json!({ "clients": clients, "counted": counted, "libraries": libraries, "addresses": addresses });
    Response::json(200, &page)
}

/// Requests that a cluster would refuse.
pub fn audit(_: &Request, state: &ControlState) -> Response {
    asked(state, &WorkerQuery::Audit, |replies, out| {
        join_audit(replies, Protocol::Resp3, out);
    })
}
