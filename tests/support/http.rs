//! An HTTP client that asks the debug address one thing and reads the answer to its end.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// One HTTP request as it is written: the status and the body.
#[track_caller]
pub fn send(addr: &str, request: &str) -> (u16, Vec<u8>) {
    let mut stream = TcpStream::connect(addr).expect("the debug address listens");
    stream
        .set_read_timeout(Some(Duration::from_secs(60)))
        .expect("a socket");
    stream.write_all(request.as_bytes()).expect("sent");
    let mut reply = Vec::new();
    stream
        .read_to_end(&mut reply)
        .expect("a reply, and the end");
    let end = reply.windows(4).position(|window| window == b"\r\n\r\n");
    let body = reply.split_off(end.expect("a head") + 4);
    let head = String::from_utf8(reply).expect("a head is text");
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    (status.expect("a status"), body)
}

#[track_caller]
pub fn get_bytes(addr: &str, path: &str) -> (u16, Vec<u8>) {
    send(
        addr,
        &format!("GET {path} HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\n\r\n"),
    )
}

#[track_caller]
pub fn get(addr: &str, path: &str) -> (u16, String) {
    let (status, body) = get_bytes(addr, path);
    (status, String::from_utf8(body).expect("text"))
}

/// A page that wants a token.
#[track_caller]
pub fn get_with(addr: &str, path: &str, token: &str) -> (u16, String) {
    let bearer = format!("Authorization: Bearer {token}\r\n");
    let head = format!("GET {path} HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\n{bearer}\r\n");
    let (status, body) = send(addr, &head);
    (status, String::from_utf8(body).expect("text"))
}

/// A PUT or a POST.
#[track_caller]
pub fn change(addr: &str, method: &str, path: &str, body: &str) -> (u16, String) {
    let length = body.len();
    let (status, body) = send(
        addr,
        &format!(
            "{method} {path} HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
        ),
    );
    (status, String::from_utf8(body).expect("text"))
}
