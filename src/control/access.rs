//! Who may have which page of the debug address: the checks of `Host`, `Origin` and the token.
//!
//! A web page that the operator has open can make the browser send requests here: across origins (which
//! `Origin` shows), and by making its own name point at a loopback address (which `Host` shows). Other
//! machines can ask when the address is not a loopback one: they need the token.

use std::net::IpAddr;

use crate::cluster::node_addresses::split_port;
use crate::config::Secret;
use crate::control::message::{Method, Request, Response};

/// What the debug address demands.
#[derive(Debug, Clone)]
pub struct Access {
    /// Whether it is a loopback address.
    pub loopback: bool,
    /// The token, if there is one.
    pub token: Option<Secret>,
}

impl Access {
    /// Whether this request may be answered; if not, what is said instead. An `open` page tells nothing but
    /// whether the program is well, and probes bear no tokens.
    pub fn check(&self, request: &Request, open: bool) -> Result<(), Response> {
        let reading = request.method == Method::Get;
        if !(open && reading) {
            self.check_host(request)?;
            self.check_token(request)?;
        }
        if reading {
            return Ok(());
        }
        check_origin(request)
    }

    fn check_host(&self, request: &Request) -> Result<(), Response> {
        let host = request.host.as_deref().unwrap_or_default();
        // Without the field it is HTTP/1.0, which no browser speaks.
        if !self.loopback || host.is_empty() {
            return Ok(());
        }
        let (name, _) = split_port(host);
        if name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok() {
            return Ok(());
        }
        Err(Response::text(
            403,
            "Host must be an IP address or localhost",
        ))
    }

    fn check_token(&self, request: &Request) -> Result<(), Response> {
        let Some(token) = &self.token else {
            return Ok(());
        };
        let borne = request.token.as_ref();
        if borne.is_some_and(|borne| token.matches(borne.expose())) {
            return Ok(());
        }
        let text = "the token of -debug-token is needed: Authorization: Bearer TOKEN";
        Err(Response::text(401, text).with("WWW-Authenticate", "Bearer"))
    }
}

fn check_origin(request: &Request) -> Result<(), Response> {
    let host = request.host.as_deref().unwrap_or_default();
    let Some(origin) = &request.origin else {
        return Ok(());
    };
    let authority = origin.split_once("://").map(|(_, authority)| authority);
    if authority.is_some_and(|authority| authority.eq_ignore_ascii_case(host)) {
        return Ok(());
    }
    Err(Response::text(403, "Origin is not this host"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(method: Method, host: Option<&str>, origin: Option<&str>) -> Request {
        Request {
            method,
            head_only: false,
            path: "/".to_string(),
            query: String::new(),
            host: host.map(str::to_string),
            origin: origin.map(str::to_string),
            token: None,
            accepts_html: false,
            body: Vec::new(),
            keep_alive: true,
        }
    }

    fn status(access: &Access, request: &Request, open: bool) -> u16 {
        access
            .check(request, open)
            .map_or_else(|refused| refused.status, |()| 200)
    }

    #[test]
    fn a_change_from_a_strange_page_is_refused() {
        let check = |host, origin, loopback: bool, expected: u16| {
            let access = Access {
                loopback,
                token: None,
            };
            for method in [Method::Put, Method::Post] {
                let request = request(method, host, origin);
                for open in [true, false] {
                    let found = status(&access, &request, open);
                    assert_eq!(found, expected, "{host:?} {origin:?} {loopback}");
                }
            }
        };
        check(Some("localhost:9"), None, true, 200);
        check(Some("[::1]:9"), None, true, 200);
        check(Some("127.0.0.1"), None, true, 200);
        check(None, None, true, 200);
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
    fn a_name_that_was_made_to_point_here_reads_nothing() {
        let access = Access {
            loopback: true,
            token: None,
        };
        let strange = request(Method::Get, Some("evil.test"), None);
        assert_eq!(status(&access, &strange, false), 403);
        assert_eq!(status(&access, &strange, true), 200);
    }

    #[test]
    fn the_token_opens_what_is_not_open() {
        let access = Access {
            loopback: false,
            token: Some(Secret::new("sesame")),
        };
        let with = |token: Option<&str>| Request {
            token: token.map(Secret::new),
            ..request(Method::Get, Some("a"), None)
        };
        assert_eq!(status(&access, &with(None), false), 401);
        assert_eq!(status(&access, &with(Some("sesam")), false), 401);
        assert_eq!(status(&access, &with(Some("")), false), 401);
        assert_eq!(status(&access, &with(Some("sesame")), false), 200);
        assert_eq!(status(&access, &with(None), true), 200);
        let change = request(Method::Post, Some("a"), None);
        assert_eq!(status(&access, &change, true), 401);
    }
}
