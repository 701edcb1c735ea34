//! The access log: a line for one in N requests, as text or as JSON (`-log-format`).
//!
//! Keys and names of clients are what peers have sent: in text they are escaped by the log, in JSON here.

use std::fmt::Write;

use crate::clock::Time;
use crate::config::LogFormat;
use crate::proxy::ids::ClientId;
use crate::proxy::insight::Looked;
use crate::proxy::pipeline::Completed;
use crate::proxy::state::Proxy;

/// The target of the log's records that are lines of the access log.
pub const TARGET: &str = "access";

impl Proxy {
    /// The request whose turn had come is answered: it is logged, if that was what its turn was for.
    #[cold]
    #[inline(never)]
    pub(in crate::proxy) fn looked(&mut self, id: ClientId, completed: Completed, now: Time) {
        let random = self.random();
        let looked = self.insight.looked.take();
        let (logged, next) = self.insight.advance(self.config.log_every_n, random);
        self.until_looked = next;
        if logged && log::log_enabled!(target: TARGET, log::Level::Info) {
            self.write_access_line(id, completed, looked.as_ref(), now);
        }
        self.insight.give_back(looked);
    }

    fn write_access_line(
        &self,
        id: ClientId,
        completed: Completed,
        looked: Option<&Looked>,
        now: Time,
    ) {
        let Some(client) = self.clients.get(id) else {
            return;
        };
        if completed.command == u16::MAX {
            return;
        }
        let micros = now.since(completed.started).as_micros() as u64;
        let address = client.address;
        let line = Line {
            client: address.map_or("unix".to_string(), |address| address.to_string()),
            id: client.session.number,
            command: &self.table.row(completed.command).name,
            micros,
            looked,
        };
        let line = match self.config.log_format {
            LogFormat::Text => line.text(),
            LogFormat::Json => line.json(),
        };
        log::info!(target: TARGET, "{line}");
    }
}

struct Line<'a> {
    client: String,
    id: u64,
    command: &'a str,
    micros: u64,
    looked: Option<&'a Looked>,
}

/// A key as text.
fn shown(key: &[u8]) -> String {
    String::from_utf8_lossy(key).into_owned()
}

impl Line<'_> {
    fn text(&self) -> String {
        let mut line = format!(
            "access client={} id={} command={} us={}",
            self.client, self.id, self.command, self.micros
        );
        if let Some(looked) = self.looked {
            // A blank would end the field.
            let key = shown(&looked.key).replace(' ', "\\u{20}");
            // Writing to a string does not fail.
            write!(
                line,
                " key={key} node={} in={} out={} proxy_us={} backend_us={}",
                looked.node,
                looked.request_bytes,
                looked.reply_bytes,
                self.micros.saturating_sub(looked.backend_micros),
                looked.backend_micros,
            )
            .ok();
        }
        line
    }

    fn json(&self) -> String {
        let mut line = format!(
            "{{\"client\":{},\"id\":{},\"command\":{},\"us\":{}",
            json_text(&self.client),
            self.id,
            json_text(self.command),
            self.micros
        );
        if let Some(looked) = self.looked {
            write!(
                line,
                ",\"key\":{},\"node\":\"{}\",\"in\":{},\"out\":{},\"proxy_us\":{},\"backend_us\":{}",
                json_text(&shown(&looked.key)),
                looked.node,
                looked.request_bytes,
                looked.reply_bytes,
                self.micros.saturating_sub(looked.backend_micros),
                looked.backend_micros,
            )
            .ok();
        }
        line.push('}');
        line
    }
}

/// A text as JSON writes it (RFC 8259, section 7).
fn json_text(text: &str) -> String {
    let mut json = String::with_capacity(text.len() + 2);
    json.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => json.extend(['\\', c]),
            c if c.is_control() => {
                write!(json, "\\u{:04x}", u32::from(c)).ok();
            }
            c => json.push(c),
        }
    }
    json.push('"');
    json
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_a_form_that_a_program_can_read() {
        let looked = Looked {
            key: b"a \"b\\\n\xff".to_vec(),
            node: "127.0.0.1:7001".parse().unwrap(),
            request_bytes: 30,
            reply_bytes: 5,
            backend_micros: 70,
        };
        let mut line = Line {
            client: "127.0.0.1:9".to_string(),
            id: 4,
            command: "get",
            micros: 100,
            looked: Some(&looked),
        };
        assert_eq!(
            line.text(),
            "access client=127.0.0.1:9 id=4 command=get us=100 key=a\\u{20}\"b\\\n\u{fffd} \
             node=127.0.0.1:7001 in=30 out=5 proxy_us=30 backend_us=70"
        );
        let json: serde_json::Value = serde_json::from_str(&line.json()).unwrap();
        assert_eq!(json["key"], "a \"b\\\n\u{fffd}");
        assert_eq!((&json["us"], &json["proxy_us"]), (&100.into(), &30.into()));
        line.looked = None;
        let json: serde_json::Value = serde_json::from_str(&line.json()).unwrap();
        assert_eq!(json["command"], "get");
    }
}
