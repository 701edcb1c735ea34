//! What the debug address serves: one table, one row for each method and path.
//!
//! It must never know a socket; what it reads of the process is in `ControlState`.

mod changes;
mod health;
mod proxy_reports;
mod slot;

use std::time::Duration;

use serde_json::json;

use crate::control::access::Access;
use crate::control::connection::Answer;
use crate::control::message::{Method, Request, Response};
use crate::control::profile::Format;
use crate::control::state::ControlState;
use crate::control::status::Status;
use crate::control::{metrics, page, profile};

/// Serves one method of one path.
type Page = fn(&Request, &ControlState) -> Answer;

/// A page.
#[derive(Debug)]
pub struct Route {
    /// How it is asked for.
    pub method: Method,
    /// Where it is.
    pub path: &'static str,
    /// Whether it can be read without the token, and from any host name.
    pub open: bool,
    /// What it is.
    pub help: &'static str,
    page: Page,
}

const fn get(path: &'static str, help: &'static str, page: Page) -> Route {
    Route {
        method: Method::Get,
        path,
        open: false,
        help,
        page,
    }
}

const fn post(path: &'static str, help: &'static str, page: Page) -> Route {
    Route {
        method: Method::Post,
        ..get(path, help, page)
    }
}

const fn open(route: Route) -> Route {
    Route {
        open: true,
        ..route
    }
}

/// The table.
pub const ROUTES: &[Route] = &[
    get("/", "the status page (in a browser), or this list", index),
    open(get(
        "/page.css",
        "style sheet of the status page",
        |_, _| Answer::Now(page::style()),
    )),
    open(get("/page.js", "script of the status page", |_, _| {
        Answer::Now(page::script())
    })),
    open(get(
        "/healthz",
        "liveness: 200 while no worker is stuck, else 503 and the reason",
        health::liveness,
    )),
    open(get(
        "/readyz",
        "readiness: 200 if every slot has a master that is up (-ready-when any-slot: at least one) and the proxy is \
         not draining, else 503 and the reasons. Lists the slots that are not served",
        health::readiness,
    )),
    get(
        "/metrics",
        "metrics for Prometheus (dist/docs/metrics.md)",
        |_, state| Answer::Now(metrics::page(Status::of(&state.sources))),
    ),
    get("/debug/log-level", "the current log level", |_, state| {
        Answer::Now(level(state))
    }),
    Route {
        method: Method::Put,
        ..get(
            "/debug/log-level",
            "set the log level; the body is debug, info, warn or error",
            |request, state| Answer::Now(set_level(request, state)),
        )
    },
    get(
        "/debug/vars",
        "counters as JSON, like Go's expvar",
        |_, state| Answer::Now(vars(state)),
    ),
    get(
        "/debug/pprof/cmdline",
        "the command line without passwords, arguments separated by NUL",
        |_, state| {
            let line = state.command_line.join("\0");
            Answer::Now(Response::new(
                "text/plain; charset=utf-8",
                line.into_bytes(),
            ))
        },
    ),
    get(
        "/debug/pprof/profile",
        "?seconds=N (default 30): a CPU profile for go tool pprof; &format=folded for flame graphs",
        take_profile,
    ),
    get("/api/v1/status", "the whole status as JSON", |_, state| {
        Answer::Now(Response::json(200, &Status::of(&state.sources)))
    }),
    get(
        "/api/v1/stream",
        "the same every second, as server-sent events",
        |_, _| Answer::Stream,
    ),
    get(
        "/api/v1/history",
        "the last five minutes, second by second, and the latest cluster events",
        |_, state| Answer::Now(Response::json(200, &state.sources.history.page())),
    ),
    get(
        "/api/v1/clients",
        "number of clients by library and by address",
        |request, state| Answer::Now(proxy_reports::clients(request, state)),
    ),
    get(
        "/api/v1/slot",
        "?key=KEY or ?slot=N: the slot, its master and its replicas",
        |request, state| Answer::Now(slot::page(request, state)),
    ),
    get(
        "/api/v1/config",
        "the settings without passwords",
        |request, state| Answer::Now(changes::config(request, state)),
    ),
    post(
        "/api/v1/config",
        "name=NAME&value=VALUE: change a setting until the proxy exits, like PROXY CONFIG SET",
        |request, state| Answer::Now(changes::set_config(request, state)),
    ),
    get(
        "/api/v1/hotkeys",
        "the most requested keys",
        |request, state| Answer::Now(proxy_reports::hot_keys(request, state)),
    ),
    get(
        "/api/v1/bigkeys",
        "the keys with the longest requests or replies",
        |request, state| Answer::Now(proxy_reports::big_keys(request, state)),
    ),
    get(
        "/api/v1/slowlog",
        "the latest slow requests, like PROXY SLOWLOG GET",
        |request, state| Answer::Now(proxy_reports::slow_log(request, state)),
    ),
    get(
        "/api/v1/audit",
        "counts of requests that a cluster would refuse, like PROXY AUDIT",
        |request, state| Answer::Now(proxy_reports::audit(request, state)),
    ),
    post(
        "/api/v1/topology/refresh",
        "refresh the topology now",
        |request, state| Answer::Now(changes::refresh(request, state)),
    ),
    post(
        "/api/v1/clients/kill",
        "id=N or addr=IP:PORT: close clients",
        |request, state| Answer::Now(changes::kill(request, state)),
    ),
    post(
        "/api/v1/drain",
        "like SIGTERM: stop accepting clients, finish requests in flight, exit",
        |request, state| Answer::Now(changes::drain(request, state)),
    ),
    post(
        "/api/v1/stats/reset",
        "reset the proxy's counters",
        |request, state| Answer::Now(changes::reset(request, state)),
    ),
];

/// Answers a request.
pub fn answer(request: &Request, state: &ControlState, access: &Access) -> Answer {
    let of_path = || ROUTES.iter().filter(|route| route.path == request.path);
    // What is open is so for every method of its path: an answer of 405 tells nothing.
    // The status page tells nothing either: its script asks for what it shows, with the token.
    let is_page = request.path == "/" && request.accepts_html;
    let open = is_page || of_path().any(|route| route.open);
    if let Err(refused) = access.check(request, open) {
        return Answer::Now(refused);
    }
    if let Some(route) = of_path().find(|route| route.method == request.method) {
        return (route.page)(request, state);
    }
    let methods: Vec<&str> = of_path()
        .flat_map(|route| names(route.method))
        .copied()
        .collect();
    Answer::Now(if methods.is_empty() {
        Response::text(404, "there is no such page")
    } else {
        Response::text(405, "this page does not take that method").with("Allow", methods.join(", "))
    })
}

fn names(method: Method) -> &'static [&'static str] {
    match method {
        Method::Get => &["GET", "HEAD"],
        Method::Put => &["PUT"],
        Method::Post => &["POST"],
        Method::Other => &[],
    }
}

/// The event that viewers are sent each second.
pub fn event(state: &ControlState) -> Vec<u8> {
    let status = serde_json::to_string(&Status::of(&state.sources));
    match status {
        Ok(status) => format!("event: status\ndata: {status}\n\n").into_bytes(),
        Err(error) => format!(": {error}\n\n").into_bytes(),
    }
}

fn index(request: &Request, _: &ControlState) -> Answer {
    if request.accepts_html {
        return Answer::Now(page::html());
    }
    let lines = ROUTES.iter().map(|route| {
        let method = route.method.name();
        format!("{method:4} {:26} {}\n", route.path, route.help)
    });
    let text: String = lines.collect();
    let list = Response::new("text/plain; charset=utf-8", text.into_bytes());
    Answer::Now(list.with("Vary", "Accept"))
}

fn level(state: &ControlState) -> Response {
    Response::text(200, &state.sources.setting("log-level"))
}

/// `debug` or `level=debug`.
fn set_level(request: &Request, state: &ControlState) -> Response {
    let Ok(body) = std::str::from_utf8(&request.body) else {
        return Response::text(400, "the body is not text");
    };
    let body = body.trim();
    match changes::change(
        state,
        "log-level",
        body.strip_prefix("level=").unwrap_or(body),
    ) {
        Ok(()) => level(state),
        Err(refused) => refused,
    }
}

fn vars(state: &ControlState) -> Response {
    let status = Status::of(&state.sources);
    let vars = json!({
        "cmdline": state.command_line,
        "memstats": { "resident_bytes": status.process.resident_bytes,
                      "virtual_bytes": status.process.virtual_bytes },
        "proxy": status.counters,
    });
    Response::json(200, &vars)
}

fn take_profile(request: &Request, state: &ControlState) -> Answer {
    let seconds = request.parameter("seconds").map(|seconds| seconds.parse());
    let length = match seconds {
        None => Duration::from_secs(30),
        Some(Ok(seconds)) if (1..=profile::LONGEST.as_secs()).contains(&seconds) => {
            Duration::from_secs(seconds)
        }
        Some(Ok(_) | Err(_)) => {
            return Answer::Now(Response::text(400, "seconds must be between 1 and 300"));
        }
    };
    let format = match request.parameter("format").as_deref() {
        None | Some("pprof") => Format::Pprof,
        Some("folded") => Format::Folded,
        Some(_) => return Answer::Now(Response::text(400, "format must be pprof or folded")),
    };
    match profile::begin(length, format, &state.profiling, &state.waker) {
        // Reading the names of functions takes its time, too.
        Some(answer) => Answer::Later(answer, length + Duration::from_secs(60)),
        None => Answer::Now(Response::text(409, "another profile is being taken")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn state() -> ControlState {
        let poll = mio::Poll::new().unwrap();
        let waker = mio::Waker::new(poll.registry(), mio::Token(0)).unwrap();
        let mut state = ControlState::for_tests(Arc::new(waker));
        let now = state.sources.clock.now();
        let beat = || Arc::new(crate::turns::Heartbeat::ended_at(now));
        state.sources.heartbeats = vec![beat(), beat()];
        state
    }

    fn request(method: Method, path: &str, body: &str) -> Request {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        Request {
            method,
            head_only: false,
            path: path.to_string(),
            query: query.to_string(),
            host: Some("127.0.0.1:9".to_string()),
            origin: None,
            token: None,
            accepts_html: false,
            body: body.as_bytes().to_vec(),
            keep_alive: true,
        }
    }

    fn respond(request: &Request, state: &ControlState) -> Response {
        let access = Access {
            loopback: true,
            token: None,
        };
        match answer(request, state, &access) {
            Answer::Now(response) => response,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn pages_are_found_by_method_and_path() {
        let state = state();
        let check = |method: Method, path: &str, body: &str, status: u16, text: &str| {
            let response = respond(&request(method, path, body), &state);
            let found = String::from_utf8(response.body).unwrap();
            assert!(found.contains(text), "{path}: {found}");
            assert_eq!(response.status, status, "{path}: {found}");
        };
        use Method::{Get, Post, Put};
        check(Get, "/healthz", "", 200, "ok\n");
        check(Get, "/debug/log-level", "", 200, "info\n");
        check(Put, "/debug/log-level", "warn", 200, "warn\n");
        check(Put, "/debug/log-level", "level=info\n", 200, "info\n");
        check(Put, "/debug/log-level", "x", 400, "log-level must be ");
        check(Get, "/nothing", "", 404, "there is no such page");
        check(Get, "/", "", 200, "/api/v1/status");
        check(Get, "/metrics", "", 200, "# EOF");
        check(Get, "/readyz", "", 503, "0 of 16384 slots have an owner");
        check(Get, "/api/v1/slot?key=foo", "", 200, "\"slot\":12182");
        check(Get, "/api/v1/slot?slot=16384", "", 400, "0..16383");
        check(Get, "/api/v1/config", "", 200, "\"log-every-n\":\"100\"");
        let set = "name=log-every-n&value=7";
        check(Post, "/api/v1/config", set, 200, "\"7\"");
        check(Get, "/api/v1/config", "", 200, "\"log-every-n\":\"7\"");
        let fixed = "name=addr&value=:1";
        check(Post, "/api/v1/config", fixed, 400, "only be set at startup");
        check(Get, "/debug/pprof/cmdline", "", 200, "redis-cluster-proxy");
        check(Get, "/debug/pprof/profile?seconds=0", "", 400, "seconds");
        check(Post, "/api/v1/clients/kill", "", 400, "id=N");
        check(Post, "/api/v1/topology/refresh", "", 202, "true");
        check(Get, "/api/v1/drain", "", 405, "method");
        let response = respond(&request(Post, "/debug/log-level", ""), &state);
        let allow = ("Allow", "GET, HEAD, PUT".to_string());
        assert_eq!(
            (response.status, &response.headers[..]),
            (405, &[allow][..])
        );
        let response = respond(&request(Method::Other, "/healthz", ""), &state);
        let allow = ("Allow", "GET, HEAD".to_string());
        assert_eq!(response.headers, [allow]);
    }

    /// A browser cannot bear a token before it has the page that asks for it, and the page tells nothing.
    #[test]
    fn a_browser_gets_the_page_and_needs_the_token_for_the_rest() {
        let state = state();
        let access = Access {
            loopback: false,
            token: Some(crate::config::Secret::new("t")),
        };
        let get = |path: &str, accepts_html: bool| {
            let request = Request {
                accepts_html,
                ..request(Method::Get, path, "")
            };
            match answer(&request, &state, &access) {
                Answer::Now(response) => response,
                other => panic!("{other:?}"),
            }
        };
        for path in ["/", "/page.css", "/page.js"] {
            let page = get(path, true);
            assert_eq!(page.status, 200, "{path}");
            let mut headers = page.headers.iter();
            assert!(headers.any(|(name, _)| *name == "Content-Security-Policy"));
        }
        assert_eq!(get("/", false).status, 401);
        for route in ROUTES.iter().filter(|route| route.path.starts_with("/api")) {
            if route.method == Method::Get {
                assert_eq!(get(route.path, true).status, 401, "{}", route.path);
            }
        }
    }

    #[test]
    fn nothing_is_changed_by_reading() {
        for route in ROUTES {
            assert!(route.method == Method::Get || !route.open, "{}", route.path);
        }
        let state = state();
        let before = state.sources.process.live.list();
        for route in ROUTES.iter().filter(|route| route.method == Method::Get) {
            if !route.path.ends_with("/profile") && !route.path.ends_with("/stream") {
                respond(&request(Method::Get, route.path, ""), &state);
            }
        }
        assert_eq!(state.sources.process.live.list(), before);
    }
}
