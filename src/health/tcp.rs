//! A port that accepts a connection.

use std::net::{SocketAddr, TcpStream, ToSocketAddrs as _};
use std::time::Duration;

use super::ask::Attempt;
use crate::system::clock::{Deadline, spoken, within};

pub(super) fn ask(address: &str, limit: Duration) -> Attempt {
    let deadline = Deadline::after(limit);
    let text = address.to_owned();
    // Name lookup has no limit of its own.
    let found: Vec<SocketAddr> = match within(limit, move || text.to_socket_addrs()) {
        Some(Ok(found)) => found.collect(),
        Some(Err(error)) => return Attempt::Wrong(format!("no such address: {error}")),
        None => return Attempt::Wrong(format!("no address within {}", spoken(limit))),
    };
    let mut last = "the name has no address".to_owned();
    for (place, address) in found.iter().enumerate() {
        let left = u32::try_from(found.len() - place).unwrap_or(1);
        let share = (deadline.remaining() / left).max(Duration::from_millis(1));
        match TcpStream::connect_timeout(address, share) {
            Ok(_) => return Attempt::right("accepts connections"),
            Err(error) => last = error.to_string(),
        }
    }
    Attempt::Wrong(last)
}
