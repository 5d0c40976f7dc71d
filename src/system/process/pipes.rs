//! Reading what a child prints, without letting it fill our memory.

use std::io::{BufRead as _, BufReader, Read};
use std::sync::mpsc;

/// How much of a program's standard error is kept for messages, in bytes.
const TAIL: usize = 4096;

/// The most that is kept of one line, in bytes; the rest of a longer one is dropped.
const LONGEST: usize = 64 << 10;

/// How many lines wait to be looked at; beyond it the child has to wait.
const QUEUED: usize = 1024;

/// Reads everything, in a thread of its own.
pub(super) fn read_all(mut from: impl Read + Send + 'static) -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = from.read_to_end(&mut bytes);
        let _ = sender.send(bytes);
    });
    receiver
}

/// Reads line by line, in a thread of its own.
pub(super) fn read_lines(from: impl Read + Send + 'static) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::sync_channel(QUEUED);
    send_lines(from, sender, |line| line);
    receiver
}

/// Sends each line, as `wrap` makes it, to a channel that several pipes may share.
pub(super) fn send_lines<T: Send + 'static>(
    from: impl Read + Send + 'static,
    to: mpsc::SyncSender<T>,
    wrap: impl Fn(String) -> T + Send + 'static,
) {
    std::thread::spawn(move || {
        let mut reader = BufReader::new(from);
        while let Some(line) = next_line(&mut reader) {
            if to.send(wrap(line)).is_err() {
                break;
            }
        }
    });
}

/// Returns the next line without its end; none at the end of the output.
fn next_line(reader: &mut BufReader<impl Read>) -> Option<String> {
    let mut bytes = Vec::new();
    let mut any = false;
    loop {
        let (used, whole) = match reader.fill_buf() {
            Ok([]) => (0, true),
            Ok(chunk) => {
                any = true;
                let end = chunk.iter().position(|byte| *byte == b'\n');
                let room = LONGEST.saturating_sub(bytes.len());
                let line = &chunk[..end.unwrap_or(chunk.len())];
                bytes.extend_from_slice(&line[..line.len().min(room)]);
                (end.map_or(chunk.len(), |end| end + 1), end.is_some())
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => (0, false),
            Err(_) => (0, true),
        };
        reader.consume(used);
        if whole {
            return any.then(|| String::from_utf8_lossy(&bytes).trim_end().to_owned());
        }
    }
}

/// Adds a line to the end that is kept for messages.
pub(super) fn push_tail(tail: &mut String, line: &str) {
    tail.push_str(line);
    tail.push('\n');
    if tail.len() > TAIL {
        let mut cut = tail.len() - TAIL;
        while !tail.is_char_boundary(cut) {
            cut += 1;
        }
        tail.drain(..cut);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &[u8]) -> Vec<String> {
        let mut reader = BufReader::with_capacity(7, text);
        std::iter::from_fn(|| next_line(&mut reader)).collect()
    }

    #[test]
    fn lines_are_read_whatever_ends_them() {
        assert_eq!(lines(b"one\r\ntwo\n\nlast"), ["one", "two", "", "last"]);
        assert_eq!(lines(b""), [""; 0]);
    }

    #[test]
    fn a_line_without_end_is_kept_in_part() {
        let mut text = vec![b'a'; LONGEST + 100];
        text.extend_from_slice(b"\nnext\n");
        let lines = lines(&text);
        assert_eq!((lines[0].len(), lines[1].as_str()), (LONGEST, "next"));
    }
}
