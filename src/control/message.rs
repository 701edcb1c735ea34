//! `Request` and `Response`: HTTP/1.1 messages of the debug address as values.
//!
//! They must never know a socket, nor what a path means. Nothing here allocates from a declared length.
//!
//! The crate `httparse` reads heads. Reasons of codes are a short table here; the crate `http` has them too,
//! beside types for headers and URIs that nothing here needs.

use serde::Serialize;

use crate::config::Secret;

/// Longest head of a request.
pub const HEAD_BYTES_MAX: usize = 8 << 10;

/// Longest body of a request.
pub const BODY_BYTES_MAX: usize = 64 << 10;

/// Header fields of a request.
const HEADERS_MAX: usize = 64;

/// The methods that are understood. HEAD is a GET whose body is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// Read.
    Get,
    /// Change, by replacing.
    Put,
    /// Change.
    Post,
    /// Any other; no route has it.
    Other,
}

impl Method {
    /// As it stands in a request, and in `Allow`.
    pub fn name(self) -> &'static str {
        match self {
            Method::Get => "GET",
            Method::Put => "PUT",
            Method::Post => "POST",
            Method::Other => "",
        }
    }
}

/// A request, body included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// What to do.
    pub method: Method,
    /// Whether the answer's body is to be left out.
    pub head_only: bool,
    /// The path, without the query.
    pub path: String,
    /// What follows the question mark, or nothing.
    pub query: String,
    /// The `Host` field.
    pub host: Option<String>,
    /// The `Origin` field.
    pub origin: Option<String>,
    /// What the `Authorization` field bears.
    pub token: Option<Secret>,
    /// Whether the `Accept` field asks for HTML: a browser does.
    pub accepts_html: bool,
    /// The body.
    pub body: Vec<u8>,
    /// Whether the connection is to stay open.
    pub keep_alive: bool,
}

impl Request {
    /// The value of a name in the query, or in a body of the same form (`name=value&name=value`), percent signs
    /// decoded.
    pub fn parameter(&self, name: &str) -> Option<String> {
        let body = std::str::from_utf8(&self.body).unwrap_or_default().trim();
        let pairs = self.query.split('&').chain(body.split('&'));
        let mut pairs = pairs.filter_map(|pair| pair.split_once('='));
        pairs
            .find(|(own, _)| *own == name)
            .map(|(_, value)| decoded(value))
    }
}

/// A value of a query: `+` is a space, `%41` is an A; what is no such escape stays as it is.
fn decoded(value: &str) -> String {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.as_bytes();
    while let [first, behind @ ..] = rest {
        let escape = behind.get(..2).and_then(|digits| {
            let digits = std::str::from_utf8(digits).ok()?;
            u8::from_str_radix(digits, 16).ok()
        });
        let (byte, next) = match (first, escape) {
            (b'%', Some(byte)) => (byte, &behind[2..]),
            (b'+', _) => (b' ', behind),
            _ => (*first, behind),
        };
        bytes.push(byte);
        rest = next;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// What the bytes so far are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Parsed {
    /// A whole request, so many bytes long.
    Whole(Box<Request>, usize),
    /// The beginning of one. `waits` if the peer sends the body only when told to (`100-continue`).
    Partial {
        /// See above.
        waits: bool,
    },
    /// No request that can be served; the connection closes after this answer.
    Bad(Response),
}

/// Reads the request that `bytes` begins with.
pub fn parse(bytes: &[u8]) -> Parsed {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut head = httparse::Request::new(&mut headers);
    let window = &bytes[..bytes.len().min(HEAD_BYTES_MAX)];
    let head_len = match head.parse(window) {
        Ok(httparse::Status::Complete(len)) => len,
        Ok(httparse::Status::Partial) if bytes.len() < HEAD_BYTES_MAX => {
            return Parsed::Partial { waits: false };
        }
        Ok(httparse::Status::Partial) | Err(httparse::Error::TooManyHeaders) => {
            return bad(431, "the request's head is too long");
        }
        Err(_) => return bad(400, "this is not an HTTP request"),
    };
    let fields = match Fields::read(head.headers, head.version == Some(1)) {
        Ok(fields) => fields,
        Err(text) => return bad(400, text),
    };
    if fields.body_len > BODY_BYTES_MAX {
        return bad(413, "the request's body is too long");
    }
    let Some(body) = bytes.get(head_len..head_len + fields.body_len) else {
        return Parsed::Partial {
            waits: fields.waits && bytes.len() == head_len,
        };
    };
    let target = head.path.unwrap_or_default();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let request = Request {
        method: match head.method.unwrap_or_default() {
            "GET" | "HEAD" => Method::Get,
            "PUT" => Method::Put,
            "POST" => Method::Post,
            _ => Method::Other,
        },
        head_only: head.method == Some("HEAD"),
        path: path.to_string(),
        query: query.to_string(),
        host: fields.host,
        origin: fields.origin,
        token: fields.token,
        accepts_html: fields.accepts_html,
        body: body.to_vec(),
        keep_alive: fields.keep_alive,
    };
    Parsed::Whole(Box::new(request), head_len + fields.body_len)
}

fn bad(status: u16, text: &str) -> Parsed {
    Parsed::Bad(Response::text(status, text))
}

/// The header fields that mean anything here.
struct Fields {
    host: Option<String>,
    origin: Option<String>,
    token: Option<Secret>,
    accepts_html: bool,
    body_len: usize,
    keep_alive: bool,
    waits: bool,
}

impl Fields {
    fn read(headers: &[httparse::Header<'_>], version_1_1: bool) -> Result<Fields, &'static str> {
        let mut fields = Fields {
            host: None,
            origin: None,
            token: None,
            accepts_html: false,
            body_len: 0,
            keep_alive: version_1_1,
            waits: false,
        };
        let mut body_len = None;
        for header in headers {
            let value = std::str::from_utf8(header.value)
                .map_err(|_| "a header field is not text")?
                .trim();
            let named = |name: &str| header.name.eq_ignore_ascii_case(name);
            if named("Host") {
                if fields.host.replace(value.to_string()).is_some() {
                    return Err("there are two Host fields");
                }
            } else if named("Origin") {
                fields.origin = Some(value.to_string());
            } else if named("Accept") {
                fields.accepts_html |= accepts_html(value);
            } else if named("Authorization") {
                let (scheme, token) = value.split_once(' ').unwrap_or((value, ""));
                if scheme.eq_ignore_ascii_case("Bearer") {
                    fields.token = Some(Secret::new(token.trim()));
                }
            } else if named("Content-Length") {
                // No plus sign: two readings of one length are how requests are smuggled.
                let digits = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
                let len = if digits {
                    value.parse().unwrap_or(usize::MAX)
                } else {
                    return Err("Content-Length is not a number");
                };
                if body_len.replace(len).is_some_and(|before| before != len) {
                    return Err("there are two lengths");
                }
            } else if named("Transfer-Encoding") {
                return Err("Transfer-Encoding is not understood; send a Content-Length");
            } else if named("Connection") {
                for token in value.split(',').map(str::trim) {
                    if token.eq_ignore_ascii_case("close") {
                        fields.keep_alive = false;
                    } else if token.eq_ignore_ascii_case("keep-alive") && !version_1_1 {
                        fields.keep_alive = true;
                    }
                }
            } else if named("Expect") {
                fields.waits = value.eq_ignore_ascii_case("100-continue");
            }
        }
        if version_1_1 && fields.host.is_none() {
            return Err("the Host field is missing");
        }
        fields.body_len = body_len.unwrap_or(0);
        Ok(fields)
    }
}

/// Whether `text/html` is named in an `Accept` field. `*/*` alone is what programs send that take anything.
fn accepts_html(value: &str) -> bool {
    value.split(',').any(|range| {
        let media = range.split(';').next().unwrap_or_default();
        media.trim().eq_ignore_ascii_case("text/html")
    })
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The media type of the body.
    pub content_type: &'static str,
    /// Further header fields.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: Vec<u8>,
}

/// The head of an answer that never ends by itself: events follow (`text/event-stream`).
pub const STREAM_HEAD: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\
    Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n";

impl Response {
    /// A body of this media type.
    pub fn new(content_type: &'static str, body: Vec<u8>) -> Response {
        Response {
            status: 200,
            content_type,
            headers: Vec::new(),
            body,
        }
    }

    /// A value as JSON.
    pub fn json(status: u16, value: &impl Serialize) -> Response {
        match serde_json::to_vec(value) {
            Ok(body) => Response {
                status,
                ..Response::new("application/json", body)
            },
            Err(error) => Response::text(500, &error.to_string()),
        }
    }

    /// One line of plain text.
    pub fn text(status: u16, text: &str) -> Response {
        Response {
            status,
            content_type: "text/plain; charset=utf-8",
            headers: Vec::new(),
            body: format!("{text}\n").into_bytes(),
        }
    }

    /// This answer with one more header field.
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Response {
        self.headers.push((name, value.into()));
        self
    }

    /// Appends the answer as it goes over the wire.
    pub fn encode(&self, head_only: bool, keep_alive: bool, out: &mut Vec<u8>) {
        let head = format!(
            "HTTP/1.1 {} {}\r\nContent-Type: {}\r\nContent-Length: {}\r\nCache-Control: no-store\r\n\
             X-Content-Type-Options: nosniff\r\nConnection: {}\r\n",
            self.status,
            reason(self.status),
            self.content_type,
            self.body.len(),
            if keep_alive { "keep-alive" } else { "close" },
        );
        out.extend_from_slice(head.as_bytes());
        for (name, value) in &self.headers {
            debug_assert!(!value.contains(['\r', '\n']));
            out.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        }
        out.extend_from_slice(b"\r\n");
        if !head_only {
            out.extend_from_slice(&self.body);
        }
    }
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        202 => "Accepted",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        409 => "Conflict",
        413 => "Content Too Large",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        503 => "Service Unavailable",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PUT: &[u8] =
        b"PUT /debug/log-level?x=1 HTTP/1.1\r\nHost: localhost:9\r\nOrigin: http://h\r\n\
                         authorization: bearer T0 \r\nContent-Length: 5\r\n\r\ndebugGET /";

    #[test]
    fn a_request_is_read_however_it_is_cut() {
        let Parsed::Whole(request, len) = parse(PUT) else {
            panic!("not whole");
        };
        assert_eq!(&PUT[len..], b"GET /");
        assert_eq!(
            *request,
            Request {
                method: Method::Put,
                head_only: false,
                path: "/debug/log-level".to_string(),
                query: "x=1".to_string(),
                host: Some("localhost:9".to_string()),
                origin: Some("http://h".to_string()),
                token: Some(Secret::new("T0")),
                accepts_html: false,
                body: b"debug".to_vec(),
                keep_alive: true,
            }
        );
        for cut in 0..len {
            assert_eq!(parse(&PUT[..cut]), Parsed::Partial { waits: false });
        }
    }

    #[test]
    fn a_browser_is_told_from_a_program() {
        let accepts = |field: &str| {
            let bytes = format!("GET / HTTP/1.1\r\nHost: a\r\n{field}\r\n");
            match parse(bytes.as_bytes()) {
                Parsed::Whole(request, _) => request.accepts_html,
                other => panic!("{other:?}"),
            }
        };
        assert!(accepts(
            "Accept: text/html,application/xhtml+xml,*/*;q=0.8\r\n"
        ));
        assert!(accepts("accept: application/json , TEXT/HTML;q=0.9\r\n"));
        for program in ["", "Accept: */*\r\n", "Accept: text/htmlx, text/plain\r\n"] {
            assert!(!accepts(program), "{program}");
        }
    }

    #[test]
    fn parameters_come_from_the_query_or_the_body() {
        let request = |bytes: &str| match parse(bytes.as_bytes()) {
            Parsed::Whole(request, _) => request,
            other => panic!("{other:?}"),
        };
        let get = request("GET /?key=%7ba%7D+b%2&k= HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(get.parameter("key").as_deref(), Some("{a} b%2"));
        assert_eq!(get.parameter("k").as_deref(), Some(""));
        assert_eq!(get.parameter("ke"), None);
        let post = request("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nid=5\r\n");
        assert_eq!(post.parameter("id").as_deref(), Some("5"));
    }

    #[test]
    fn bad_requests_get_their_status() {
        let check = |bytes: &str, status: u16| match parse(bytes.as_bytes()) {
            Parsed::Bad(response) => assert_eq!(response.status, status, "{bytes:.60}"),
            other => panic!("{bytes:.60}: {other:?}"),
        };
        check("\x16\x03\x01\x02\r\n\r\n", 400);
        check("*1\r\n$4\r\nPING\r\n", 400);
        check("GET / HTTP/1.1\r\n\r\n", 400);
        check("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400);
        check(
            "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n",
            400,
        );
        check(
            "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            400,
        );
        check(
            "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
            400,
        );
        let put = |len: &str| format!("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: {len}\r\n\r\n");
        check(&put("65537"), 413);
        check(&put("99999999999999999999999"), 413);
        check(&format!("GET /{} HTTP/1.1\r\n", "x".repeat(9000)), 431);
        let many = "X: y\r\n".repeat(HEADERS_MAX + 1);
        check(&format!("GET / HTTP/1.1\r\nHost: a\r\n{many}\r\n"), 431);
    }

    #[test]
    fn connections_stay_open_by_version_and_by_wish() {
        let check = |bytes: &str, keep_alive: bool| match parse(bytes.as_bytes()) {
            Parsed::Whole(request, _) => assert_eq!(request.keep_alive, keep_alive, "{bytes}"),
            other => panic!("{bytes}: {other:?}"),
        };
        check("GET / HTTP/1.1\r\nHost: a\r\n\r\n", true);
        check(
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: Close\r\n\r\n",
            false,
        );
        check("GET / HTTP/1.0\r\n\r\n", false);
        check("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", true);
    }

    #[test]
    fn a_peer_that_waits_is_told_to_go_on_once() {
        let head = "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n";
        assert_eq!(parse(head.as_bytes()), Parsed::Partial { waits: true });
        let more = format!("{head}d");
        assert_eq!(parse(more.as_bytes()), Parsed::Partial { waits: false });
    }
}
