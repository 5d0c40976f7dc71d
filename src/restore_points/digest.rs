//! SHA-256 of every file, in the form that `sha256sum --check` reads.

use std::fmt::Write as _;
use std::io::{self, Read as _};
use std::path::Path;

use sha2::{Digest as _, Sha256};

use crate::system::fs;

/// Bytes that are read at once.
const CHUNK: usize = 1 << 20;

/// The sums of a restore point: one line per file, sorted by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Sums(pub(super) Vec<(String, String)>);

impl Sums {
    /// Returns the text of the sums file.
    pub(super) fn text(&self) -> String {
        self.0.iter().fold(String::new(), |mut text, (name, sum)| {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{sum}  {name}");
            text
        })
    }

    /// Reads the sums file.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let lines = text.lines().map(|line| {
            let (sum, name) = line.split_once("  ")?;
            let hex = sum.len() == 64 && sum.bytes().all(|byte| byte.is_ascii_hexdigit());
            let inside = !name.starts_with('/') && name.split('/').all(|part| part != "..");
            (hex && inside).then(|| (name.to_owned(), sum.to_owned()))
        });
        lines.collect::<Option<Vec<_>>>().map(Self)
    }
}

/// Returns the SHA-256 of a text.
pub(super) fn of_bytes(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// Returns the SHA-256 of a file, in hexadecimal digits.
pub fn sha256_of_file(path: &Path) -> io::Result<String> {
    of_file(path, |_| {})
}

/// Returns the SHA-256 of a file; `read` is told how many bytes were read each time.
pub(super) fn of_file(path: &Path, mut read: impl FnMut(u64)) -> io::Result<String> {
    let mut file = fs::open_file(path)?;
    let mut state = Sha256::new();
    let mut chunk = vec![0; CHUNK];
    loop {
        match file.read(&mut chunk)? {
            0 => return Ok(hex::encode(state.finalize())),
            length => {
                state.update(&chunk[..length]);
                read(length as u64);
            }
        }
    }
}

/// Returns the sums of all files below `dir`, named from `base`.
pub(super) fn of_tree(base: &Path, dir: &Path, mut read: impl FnMut(u64)) -> io::Result<Sums> {
    let mut sums = Vec::new();
    for path in fs::files_below(dir)? {
        let name = path.strip_prefix(base).unwrap_or(&path);
        let name = name.to_str().ok_or_else(|| io::Error::other("a name is not UTF-8"))?;
        sums.push((name.to_owned(), of_file(&path, &mut read)?));
    }
    Ok(Sums(sums))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_read_back_as_they_were_written() {
        let sums = Sums(vec![("main/toc.dat".into(), of_bytes(b"x"))]);
        assert_eq!(Sums::parse(&sums.text()), Some(sums));
    }

    #[test]
    fn sums_that_leave_the_directory_are_refused() {
        let line = format!("{}  ../../etc/passwd\n", of_bytes(b"x"));
        assert_eq!(Sums::parse(&line), None);
    }
}
