//! `GET /api/v1/hotkeys`, `/bigkeys`, `/slowlog` and `/audit`: what PROXY HOTKEYS and the like say, as JSON.

use serde_json::{Map, Value};

use crate::control::message::{Request, Response};
use crate::control::routes::json;
use crate::control::state::ControlState;
use crate::proxy::local::insight::{join_audit, join_big_keys, join_hot_keys, join_slow_log};
use crate::proxy::workers::messages::Question;
use crate::resp::encode::Protocol;
use crate::resp::reply::Reply;

/// Entries of a list.
const COUNT: usize = 128;

type Join = fn(&[Reply<'_>], &mut Vec<u8>);

fn asked(state: &ControlState, question: &Question, join: Join) -> Response {
    let frames = match state.ask_workers(question) {
        Ok(frames) => frames,
        Err(silent) => return Response::text(503, &silent.0),
    };
    let replies: Vec<Reply<'_>> = frames.iter().map(|frame| Reply::new(frame)).collect();
    let mut out = Vec::new();
    join(&replies, &mut out);
    json(200, &value(&Reply::new(&out)))
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
    asked(state, &Question::HotKeys, |replies, out| {
        join_hot_keys(replies, COUNT, Protocol::Resp3, out);
    })
}

/// The keys with the longest requests or replies.
pub fn big_keys(_: &Request, state: &ControlState) -> Response {
    asked(state, &Question::BigKeys, |replies, out| {
        join_big_keys(replies, COUNT, Protocol::Resp3, out);
    })
}

/// The last slow requests; each is a list as PROXY SLOWLOG GET has it.
pub fn slow_log(_: &Request, state: &ControlState) -> Response {
    asked(state, &Question::SlowLog, |replies, out| {
        join_slow_log(replies, COUNT, out);
    })
}

/// Requests that a cluster would refuse.
pub fn audit(_: &Request, state: &ControlState) -> Response {
    asked(state, &Question::Audit, |replies, out| {
        join_audit(replies, Protocol::Resp3, out);
    })
}
