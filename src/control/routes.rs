//! What the debug address serves: one table, one row for each method and path.
//!
//! It must never know a socket; what it reads of the process is in `DebugState`.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::clock::{Clock, Time};
use crate::cluster::build::split_port;
use crate::control::message::{Method, Request, Response};

/// A worker that has not said anything for so long is stuck.
const HEARTBEAT_MAX: Duration = Duration::from_secs(5);

/// Reads the log level.
pub type LevelGet = Box<dyn Fn() -> String + Send>;

/// Sets the log level, or says why not.
pub type LevelSet = Box<dyn Fn(&str) -> Result<(), String> + Send>;

/// What the pages show and change.
pub struct DebugState {
    /// The clock of the process.
    pub clock: Clock,
    /// For each worker the microseconds of [`Clock`] at its last turn. A worker without work must write it
    /// too, at least every second or two.
    pub heartbeats: Vec<Arc<AtomicU64>>,
    /// Reads the log level.
    pub level_get: LevelGet,
    /// Sets the log level.
    pub level_set: LevelSet,
}

impl fmt::Debug for DebugState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DebugState")
            .field("heartbeats", &self.heartbeats)
            .finish_non_exhaustive()
    }
}

/// Serves one method of one path.
type Page = fn(&Request, &DebugState) -> Response;

/// The table.
const ROUTES: &[(Method, &str, Page)] = &[
    (Method::Get, "/healthz", health),
    (Method::Get, "/debug/log-level", level),
    (Method::Put, "/debug/log-level", set_level),
];

/// Answers a request. `loopback` tells whether the debug address is a loopback address.
pub fn answer(request: &Request, state: &DebugState, loopback: bool) -> Response {
    let of_path = || ROUTES.iter().filter(|(_, path, _)| *path == request.path);
    let Some((_, _, page)) = of_path().find(|(method, _, _)| *method == request.method) else {
        let methods: Vec<&str> = of_path()
            .flat_map(|(method, _, _)| match method {
                Method::Get => &["GET", "HEAD"][..],
                Method::Put => &["PUT"],
                Method::Post => &["POST"],
                Method::Other => &[],
            })
            .copied()
            .collect();
        if methods.is_empty() {
            return Response::text(404, "there is no such page");
        }
        return Response {
            allow: Some(methods.join(", ")),
            ..Response::text(405, "this page does not take that method")
        };
    };
    if request.method != Method::Get
        && let Err(text) = trusted(request, loopback)
    {
        return Response::text(403, text);
    }
    page(request, state)
}

/// Whether a change may come from where it says. A web page that the operator has open can make the
/// browser send requests here: across origins (which `Origin` shows), and by making its own name point at a
/// loopback address (which `Host` shows).
fn trusted(request: &Request, loopback: bool) -> Result<(), &'static str> {
    let host = request.host.as_deref().unwrap_or_default();
    if loopback && !host.is_empty() {
        let (name, _) = split_port(host);
        if !name.eq_ignore_ascii_case("localhost") && name.parse::<IpAddr>().is_err() {
            return Err("Host must be an IP address or localhost");
        }
    }
    if let Some(origin) = &request.origin {
        let authority = origin.split_once("://").map(|(_, authority)| authority);
        if !authority.is_some_and(|authority| authority.eq_ignore_ascii_case(host)) {
            return Err("Origin is not this host");
        }
    }
    Ok(())
}

/// `GET /healthz`
fn health(_: &Request, state: &DebugState) -> Response {
    match stuck(state.clock.now(), &state.heartbeats) {
        Some((worker, silent)) => {
            let text = format!("worker {worker} has not turned for {silent:.1?}");
            Response::text(503, &text)
        }
        None => Response::text(200, "ok"),
    }
}

/// The first worker that has been silent for too long, and for how long.
fn stuck(now: Time, heartbeats: &[Arc<AtomicU64>]) -> Option<(usize, Duration)> {
    heartbeats
        .iter()
        .map(|heartbeat| now.since(Time::from_micros(heartbeat.load(Ordering::Relaxed))))
        .enumerate()
        .find(|(_, silent)| *silent >= HEARTBEAT_MAX)
}

/// `GET /debug/log-level`
fn level(_: &Request, state: &DebugState) -> Response {
    Response::text(200, &(state.level_get)())
}

/// `PUT /debug/log-level`, with `debug` or `level=debug`
fn set_level(request: &Request, state: &DebugState) -> Response {
    let Ok(body) = std::str::from_utf8(&request.body) else {
        return Response::text(400, "the body is not text");
    };
    let body = body.trim();
    match (state.level_set)(body.strip_prefix("level=").unwrap_or(body)) {
        Ok(()) => Response::text(200, &(state.level_get)()),
        Err(text) => Response::text(400, &text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    fn state() -> DebugState {
        let level = Arc::new(Mutex::new("info".to_string()));
        let set = Arc::clone(&level);
        DebugState {
            clock: Clock::start(),
            heartbeats: vec![Arc::default(), Arc::default()],
            level_get: Box::new(move || level.lock().unwrap().clone()),
            level_set: Box::new(move |name| match name {
                "debug" | "info" => {
                    *set.lock().unwrap() = name.to_string();
                    Ok(())
                }
                name => Err(format!("no such level: {name}")),
            }),
        }
    }

    fn request(method: Method, path: &str, body: &str) -> Request {
        Request {
            method,
            head_only: false,
            path: path.to_string(),
            query: String::new(),
            host: Some("127.0.0.1:9".to_string()),
            origin: None,
            body: body.as_bytes().to_vec(),
            keep_alive: true,
        }
    }

    #[test]
    fn pages_are_found_by_method_and_path() {
        let state = state();
        let check = |method: Method, path: &str, body: &str, status: u16, text: &str| {
            let response = answer(&request(method, path, body), &state, true);
            let found = String::from_utf8(response.body).unwrap();
            assert_eq!((response.status, found.trim()), (status, text), "{path}");
        };
        check(Method::Get, "/healthz", "", 200, "ok");
        check(Method::Get, "/debug/log-level", "", 200, "info");
        check(Method::Put, "/debug/log-level", "debug", 200, "debug");
        check(Method::Put, "/debug/log-level", "level=info\n", 200, "info");
        check(
            Method::Put,
            "/debug/log-level",
            "x",
            400,
            "no such level: x",
        );
        check(Method::Get, "/", "", 404, "there is no such page");
        let response = answer(&request(Method::Post, "/debug/log-level", ""), &state, true);
        assert_eq!(response.status, 405);
        assert_eq!(response.allow.as_deref(), Some("GET, HEAD, PUT"));
        let response = answer(&request(Method::Other, "/healthz", ""), &state, true);
        assert_eq!(response.allow.as_deref(), Some("GET, HEAD"));
    }

    #[test]
    fn a_change_from_a_strange_page_is_refused() {
        let state = state();
        let check = |host: Option<&str>, origin: Option<&str>, loopback: bool, status: u16| {
            let request = Request {
                host: host.map(str::to_string),
                origin: origin.map(str::to_string),
                ..request(Method::Put, "/debug/log-level", "debug")
            };
            let response = answer(&request, &state, loopback);
            assert_eq!(response.status, status, "{host:?} {origin:?} {loopback}");
        };
        check(Some("localhost:9"), None, true, 200);
        check(Some("[::1]:9"), None, true, 200);
        check(Some("127.0.0.1"), None, true, 200);
        check(None, None, true, 200); // HTTP/1.0, which no browser speaks
        check(Some("evil.test:9"), None, true, 403);
        check(Some("proxy.test:9"), None, false, 200);
        check(
            Some("proxy.test:9"),
            Some("http://proxy.test:9"),
            false,
            200,
        );
        check(Some("proxy.test:9"), Some("http://evil.test"), false, 403);
        check(Some("127.0.0.1:9"), Some("null"), true, 403);
        check(None, Some("http://evil.test"), true, 403);
    }

    #[test]
    fn a_worker_that_does_not_turn_is_found() {
        let heartbeats = [19, 16].map(|second| Arc::new(AtomicU64::new(second * 1_000_000)));
        let at = |second: u64| stuck(Time::from_micros(second * 1_000_000), &heartbeats);
        assert_eq!(at(15), None);
        assert_eq!(at(20), None);
        assert_eq!(at(21), Some((1, Duration::from_secs(5))));
        assert_eq!(at(30), Some((0, Duration::from_secs(11))));
    }
}
