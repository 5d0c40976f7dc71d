//! A receiver of reports that behaves as it is told, connection by connection.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use openwatch::system::clock;
use serde_json::Value;

use super::PATIENCE;

/// What becomes of one connection.
#[derive(Clone, Copy)]
pub enum Act {
    /// The request is read and this status answered.
    Answer(u16),
    /// The request is read, and nothing is ever said.
    Hang,
    /// The connection is cut with half an answer.
    Reset,
}

/// One request.
#[derive(Clone, Debug)]
pub struct Request {
    pub head: String,
    pub body: String,
}

impl Request {
    /// Returns the value of a header.
    pub fn header(&self, name: &str) -> Option<String> {
        let lines = self.head.lines().filter_map(|line| line.split_once(':'));
        let mut found = lines.filter(|(own, _)| own.eq_ignore_ascii_case(name));
        found.next().map(|(_, value)| value.trim().to_owned())
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.body))
    }
}

/// Listens on a port of loopback; ends with the test.
pub struct Receiver {
    port: u16,
    seen: Arc<Mutex<Vec<Request>>>,
    acts: Arc<Mutex<Vec<Act>>>,
}

impl Receiver {
    /// Treats the first connections so, and answers 204 to all later ones.
    pub fn that(acts: &[Act]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (seen, left) = (Arc::<Mutex<Vec<Request>>>::default(), acts.to_vec());
        let acts = Arc::new(Mutex::new(left));
        let (requests, rest) = (Arc::clone(&seen), Arc::clone(&acts));
        std::thread::spawn(move || {
            let mut held = Vec::new();
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let Some(request) = read(&mut stream) else { continue };
                requests.lock().unwrap().push(request);
                let act = {
                    let mut rest = rest.lock().unwrap();
                    if rest.is_empty() { Act::Answer(204) } else { rest.remove(0) }
                };
                match act {
                    Act::Answer(status) => {
                        let text = format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n");
                        let _ = stream.write_all(text.as_bytes());
                    }
                    Act::Hang => held.push(stream),
                    Act::Reset => {
                        let _ = stream.write_all(b"HTTP/1.1 20");
                    }
                }
            }
        });
        Self { port, seen, acts }
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/hook", self.port)
    }

    /// From now on every request is taken.
    pub fn mend(&self) {
        self.acts.lock().unwrap().clear();
    }

    pub fn requests(&self) -> Vec<Request> {
        self.seen.lock().unwrap().clone()
    }
}

fn read(stream: &mut TcpStream) -> Option<Request> {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut bytes = Vec::new();
    let mut part = [0; 4096];
    loop {
        let count = stream.read(&mut part).ok().filter(|count| *count > 0)?;
        bytes.extend_from_slice(&part[..count]);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let request = Request { head: head.into(), body: body.into() };
        let length = request.header("content-length").map_or(0, |n| n.parse::<usize>().unwrap());
        if body.len() >= length {
            return Some(request);
        }
    }
}

/// A report that was written this many days ago, for the spool.
pub fn days_ago(days: u64) -> String {
    let now = clock::Clock::System.now();
    clock::rfc3339(now - std::time::Duration::from_secs(days * 24 * 3600))
}
