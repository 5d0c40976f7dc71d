//! Who learns of an upgrade and how, what keeps a program down, and what several hosts do at once:
//! the shipped program, a real receiver, a real server.

#![allow(unreachable_pub, reason = "the shared support module is public to every test binary")]

#[path = "../support/mod.rs"]
mod support;

mod gate;
mod hosts;
mod login;
mod receiver;
mod reports;

use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use support::machine::TestMachine;

/// The end of the system's journal that programs write to, on a machine of its own.
struct JournalSocket(UnixDatagram);

impl JournalSocket {
    fn of(machine: &TestMachine) -> Self {
        let dir = machine.root().join("run/systemd/journal");
        std::fs::create_dir_all(&dir).unwrap();
        let socket = UnixDatagram::bind(dir.join("socket")).unwrap();
        socket.set_nonblocking(true).unwrap();
        Self(socket)
    }

    /// Returns every entry that came so far, its lines in order.
    fn entries(&self) -> Vec<Vec<String>> {
        let mut bytes = vec![0; 64 * 1024];
        let mut found = Vec::new();
        while let Ok(length) = self.0.recv(&mut bytes) {
            let text = String::from_utf8_lossy(&bytes[..length]).into_owned();
            found.push(text.lines().map(str::to_owned).collect());
        }
        found
    }

    /// Returns the entries with this id.
    fn about(&self, id: openwatch::notify::MessageId) -> Vec<Vec<String>> {
        let wanted = format!("MESSAGE_ID={}", id.text());
        self.entries().into_iter().filter(|lines| lines.contains(&wanted)).collect()
    }
}

/// Long enough for a machine that is busy with other things.
const PATIENCE: Duration = Duration::from_secs(120);
