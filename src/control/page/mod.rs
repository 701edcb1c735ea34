//! The status page that a browser gets at `/`: three files that are compiled in and refer to no other host.
//!
//! They contain no data: the script fetches it from `/api/v1`, with the token if there is one. So anyone may read the
//! files, and nobody gets data without the token.

use crate::control::message::Response;

const HTML: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// Nothing but these files and this host's own answers: a key that is a script stays text.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

fn file(content_type: &'static str, text: &str) -> Response {
    Response::new(content_type, text.as_bytes().to_vec())
        .with("Content-Security-Policy", POLICY)
        .with("Referrer-Policy", "no-referrer")
        .with("Vary", "Accept")
}

/// The page itself.
pub fn html() -> Response {
    file("text/html; charset=utf-8", HTML)
}

/// How it looks.
pub fn style() -> Response {
    file("text/css; charset=utf-8", STYLE)
}

/// What moves it.
pub fn script() -> Response {
    file("text/javascript; charset=utf-8", SCRIPT)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// It is served by hosts without any other, and read over slow lines.
    #[test]
    fn it_is_small_and_names_no_other_host() {
        let all = [HTML, STYLE, SCRIPT];
        let bytes: usize = all.iter().map(|text| text.len()).sum();
        assert!(bytes <= 60 << 10, "{bytes} bytes");
        for text in all {
            let urls = text.replace("http://www.w3.org/2000/svg", "");
            assert!(!urls.contains("://"));
            // What the policy would refuse, or what would make markup of a key.
            for refused in [
                "style=\"",
                "onclick=",
                "innerHTML",
                "insertAdjacentHTML",
                "eval(",
            ] {
                assert!(!text.contains(refused), "{refused}");
            }
        }
    }
}
