//! A line to the server that can be cut or held at any message of a run of migrations.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use super::postgres::{Server, wait_for};

/// Which side of a message the line ends at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The server never gets the message.
    Before,
    /// The server gets it and answers; the answer never arrives.
    After,
}

/// What happens there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// Both ends see the connection closed.
    Cut,
    /// Nothing, until the test lets go: the program waits, the server waits.
    Hold,
}

/// A socket that passes everything on, but for one message.
pub struct Proxy {
    dir: tempfile::TempDir,
    state: Arc<State>,
}

struct State {
    target: String,
    at: usize,
    side: Side,
    then: Then,
    /// Connections that run migrations.
    runs: Mutex<BTreeSet<usize>>,
    seen: AtomicUsize,
    reached: AtomicBool,
    let_go: AtomicBool,
    texts: Mutex<Vec<String>>,
}

/// What the session that runs migrations says before each of them, and no other session says.
const MARK: &[u8] = b"reset session authorization";

impl Proxy {
    /// Passes everything on and counts.
    pub fn open(server: &Server) -> Self {
        Self::at(server, usize::MAX, Side::Before, Then::Cut)
    }

    /// Passes everything on until message number `at` (from 1) of the session that runs migrations.
    pub fn at(server: &Server, at: usize, side: Side, then: Then) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let name = format!(".s.PGSQL.{}", server.port());
        let state = Arc::new(State {
            target: server.socket().join(&name).display().to_string(),
            at,
            side,
            then,
            runs: Mutex::default(),
            seen: AtomicUsize::new(0),
            reached: AtomicBool::new(false),
            let_go: AtomicBool::new(false),
            texts: Mutex::default(),
        });
        let listener = UnixListener::bind(dir.path().join(&name)).unwrap();
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for (number, client) in listener.incoming().flatten().enumerate() {
                let state = Arc::clone(&shared);
                std::thread::spawn(move || state.serve(number, client));
            }
        });
        Self { dir, state }
    }

    /// Returns a connection string that leads through this line.
    pub fn conninfo(&self, server: &Server, dbname: &str) -> String {
        let direct = server.conninfo(dbname);
        direct
            .replace(&server.socket().display().to_string(), &self.dir.path().display().to_string())
    }

    /// Returns how many messages the session that runs migrations has sent.
    pub fn seen(&self) -> usize {
        self.state.seen.load(Ordering::SeqCst)
    }

    /// Returns the beginnings of those messages.
    pub fn texts(&self) -> Vec<String> {
        self.state.texts.lock().unwrap().clone()
    }

    /// Waits until the message has come.
    pub fn wait(&self) {
        wait_for("the message at which the line ends", || {
            self.state.reached.load(Ordering::SeqCst)
        });
    }

    /// Returns whether the message has come.
    pub fn reached(&self) -> bool {
        self.state.reached.load(Ordering::SeqCst)
    }

    /// Closes what is held.
    pub fn let_go(&self) {
        self.state.let_go.store(true, Ordering::SeqCst);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.let_go();
    }
}

impl State {
    fn serve(&self, number: usize, mut client: UnixStream) {
        let Ok(mut server) = UnixStream::connect(&self.target) else { return };
        let Some(start) = untyped(&mut client) else { return };
        if server.write_all(&start).is_err() {
            return;
        }
        let deaf = Arc::new(AtomicBool::new(false));
        let answered = Arc::new(AtomicBool::new(false));
        let back = (server.try_clone().unwrap(), client.try_clone().unwrap());
        let flags = (Arc::clone(&deaf), Arc::clone(&answered));
        std::thread::spawn(move || pump_back(back, &flags.0, &flags.1));
        while let Some(message) = message(&mut client) {
            let at = self.counted(number, &message) == Some(self.at);
            if at && self.side == Side::After {
                deaf.store(true, Ordering::SeqCst);
            }
            let passes = !at || self.side == Side::After;
            if passes && server.write_all(&message).is_err() {
                break;
            }
            if at {
                if self.side == Side::After {
                    wait_for("the server's answer", || answered.load(Ordering::SeqCst));
                }
                self.reached.store(true, Ordering::SeqCst);
                if self.then == Then::Hold {
                    wait_for("the test to let go", || self.let_go.load(Ordering::SeqCst));
                }
                break;
            }
        }
        let _ = server.shutdown(Shutdown::Both);
        let _ = client.shutdown(Shutdown::Both);
    }

    /// Returns the number of a message of the session that runs migrations.
    fn counted(&self, connection: usize, message: &[u8]) -> Option<usize> {
        let mut runs = self.runs.lock().unwrap();
        if message.windows(MARK.len()).any(|part| part == MARK) {
            runs.insert(connection);
        }
        if !runs.contains(&connection) || message[0] != b'Q' {
            return None;
        }
        self.texts.lock().unwrap().push(String::from_utf8_lossy(&message[5..]).into_owned());
        Some(self.seen.fetch_add(1, Ordering::SeqCst) + 1)
    }
}

fn pump_back(streams: (UnixStream, UnixStream), deaf: &AtomicBool, answered: &AtomicBool) {
    let (mut server, mut client) = streams;
    let mut bytes = [0; 8192];
    while let Ok(size @ 1..) = server.read(&mut bytes) {
        if deaf.load(Ordering::SeqCst) {
            answered.store(true, Ordering::SeqCst);
        } else if client.write_all(&bytes[..size]).is_err() {
            break;
        }
    }
    answered.store(true, Ordering::SeqCst);
    let _ = client.shutdown(Shutdown::Write);
}

/// The first packet of a connection, which has no type.
pub fn untyped(stream: &mut UnixStream) -> Option<Vec<u8>> {
    let mut length = [0; 4];
    stream.read_exact(&mut length).ok()?;
    let mut all = length.to_vec();
    all.resize(u32::from_be_bytes(length) as usize, 0);
    stream.read_exact(&mut all[4..]).ok()?;
    Some(all)
}

/// The next message, whole: its type, its length, what it says; none where the connection ended.
pub fn message(stream: &mut UnixStream) -> Option<Vec<u8>> {
    let mut head = [0; 5];
    stream.read_exact(&mut head).ok()?;
    let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
    let mut all = head.to_vec();
    all.resize(length + 1, 0);
    stream.read_exact(&mut all[5..]).ok()?;
    Some(all)
}
