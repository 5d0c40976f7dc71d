//! Entries for systemd's journal with fields of their own, in its native protocol.
//!
//! One datagram per entry, `NAME=value` lines; a value with line ends goes with its length instead.
//! Whoever reads the journal finds our entries by their `MESSAGE_ID`, whatever their words become.

use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::Duration;

/// A journal that hangs may cost this much per entry.
const LIMIT: Duration = Duration::from_secs(1);

/// More than any value of ours; what is longer is cut, so that an entry fits one datagram.
const MOST_VALUE: usize = 8 * 1024;

/// Where the journal listens, below the root.
pub const SOCKET: &str = "run/systemd/journal/socket";

/// Sends one entry; without a journal there is nobody to tell, which is no failure.
pub fn send(socket: &Path, fields: &[(&str, &str)]) -> io::Result<()> {
    if !socket.exists() {
        return Ok(());
    }
    let datagram = UnixDatagram::unbound()?;
    datagram.set_write_timeout(Some(LIMIT))?;
    datagram.connect(socket)?;
    datagram.send(&encoded(fields)).map(|_| ())
}

fn encoded(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in fields {
        let value = cut(value);
        bytes.extend_from_slice(name.as_bytes());
        if value.contains('\n') {
            bytes.push(b'\n');
            bytes.extend_from_slice(&(value.len() as u64).to_le_bytes());
        } else {
            bytes.push(b'=');
        }
        bytes.extend_from_slice(value.as_bytes());
        bytes.push(b'\n');
    }
    bytes
}

fn cut(value: &str) -> &str {
    let mut end = value.len().min(MOST_VALUE);
    while !value.is_char_boundary(end) {
        end -= 1;
    }
    &value[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_with_line_ends_cannot_forge_a_field() {
        assert_eq!(encoded(&[("MESSAGE", "a"), ("X", "b=c")]), b"MESSAGE=a\nX=b=c\n");
        let forged = encoded(&[("MESSAGE", "a\n_UID=0")]);
        assert_eq!(forged, b"MESSAGE\n\x08\0\0\0\0\0\0\0a\n_UID=0\n");
    }

    #[test]
    fn without_a_journal_nothing_fails() {
        let dir = tempfile::tempdir().unwrap();
        assert!(send(&dir.path().join("socket"), &[("MESSAGE", "a")]).is_ok());
    }

    #[test]
    fn a_long_value_is_cut_between_letters() {
        let long = "é".repeat(MOST_VALUE);
        assert_eq!(cut(&long).len(), MOST_VALUE);
        assert_eq!(cut("short"), "short");
    }
}
