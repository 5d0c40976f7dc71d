//! Compressing an archive while the client writes it.
//!
//! A client without a fast compression of its own spends more time on gzip than the server spends on
//! the rows, and one table after the other. It writes plain members instead, and each is followed as
//! it grows: compressed into the form that the same client reads (`NNNN.dat.gz`), hashed in the same
//! pass, and its space given back. Why so: docs/design/0018-a-quick-restore-point.md.

mod board;
mod gzip;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::digest::Sums;
use crate::error::{Context, Error, Result};
use crate::system::clock::pause;
use crate::system::fs;
use crate::system::growing::{Growing, Watched};
use board::{Board, Member};
use gzip::{Hashed, Packer};

/// How often is asked what the client has begun and closed.
const TICK: Duration = Duration::from_millis(10);

/// How much of a member is read at once, in bytes.
const READ_AT_ONCE: usize = 256 << 10;

/// Members up to this many bytes stay as they are: a table without rows has five.
const STAYS_PLAIN: usize = 512;

/// The last bytes of a table's rows, as every client from 9 to 18 writes them.
const END_OF_ROWS: &[u8] = b"\\.\n\n\n";

/// Where the client writes, and where the archive shall be.
pub(super) struct Packing<'a> {
    /// Directory of the client's dump, empty; it is gone afterwards.
    pub(super) plain: PathBuf,
    /// The new archive.
    pub(super) archive: &'a Path,
    /// From where the files are named.
    pub(super) base: &'a Path,
}

/// What became of the archive.
pub(super) struct Packed {
    /// SHA-256 of each of its files, sorted by name.
    pub(super) sums: Sums,
    /// Bytes that the client wrote.
    pub(super) plain_bytes: u64,
}

/// One member that was packed.
struct Whole {
    plain: String,
    length: u64,
    packed: PathBuf,
    sum: String,
}

/// Ends the packers on every way out of the dump, a panic too.
struct Ending<'a>(&'a Board);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.failed();
    }
}

impl Packing<'_> {
    /// Runs a dump into the plain directory and packs what it writes meanwhile.
    pub(super) fn alongside<T>(&self, dump: impl FnOnce() -> Result<T>) -> Result<(T, Packed)> {
        let failed = || format!("cannot compress into {}", self.archive.display());
        let watched = Watched::new(&self.plain).context(failed)?;
        let board = Board::default();
        let over = AtomicBool::new(false);
        let (dumped, packed) = std::thread::scope(|scope| {
            let ending = Ending(&board);
            scope.spawn(|| watch(&watched, &board, &over));
            let threads: Vec<_> =
                (0..packers()).map(|_| scope.spawn(|| self.pack_members(&board))).collect();
            let dumped = dump();
            over.store(true, Ordering::Relaxed);
            let listed = match dumped {
                Ok(_) => names(&self.plain).map(|names| board.ended(names)),
                Err(_) => {
                    board.failed();
                    Ok(())
                }
            };
            if listed.is_err() {
                // Whoever waits for the next member waits without an end.
                board.failed();
            }
            let packed: Vec<_> = threads.into_iter().map(|thread| thread.join()).collect();
            drop(ending);
            (dumped, listed.map(|()| packed))
        });
        // What the client says about its own failure comes first.
        let dumped = dumped?;
        let mut members = Vec::new();
        for thread in packed.context(failed)? {
            let ended = thread.map_err(|_| Error::failed("the compression ended unexpectedly"))?;
            members.extend(ended.context(failed)?);
        }
        let packed = self.settle(members)?;
        Ok((dumped, packed))
    }

    fn pack_members(&self, board: &Board) -> io::Result<Vec<Whole>> {
        let mut packer = Packer::new();
        let mut buffer = vec![0; READ_AT_ONCE];
        let mut members = Vec::new();
        while let Some(name) = board.next() {
            match self.pack(&name, board, &mut packer, &mut buffer) {
                Ok(Some(member)) => members.push(member),
                Ok(None) => break,
                Err(error) => {
                    board.failed();
                    return Err(io::Error::new(error.kind(), format!("{name}: {error}")));
                }
            }
        }
        Ok(members)
    }

    /// Packs one member, from its first byte until it is whole; nothing if the dump failed meanwhile.
    fn pack(
        &self,
        name: &str,
        board: &Board,
        packer: &mut Packer,
        buffer: &mut [u8],
    ) -> io::Result<Option<Whole>> {
        let mut from = Growing::open(&self.plain.join(name))?;
        let mut fill = |buffer: &mut [u8]| {
            let filled = fill(&mut from, board, name, buffer);
            from.give_back();
            filled
        };
        let Some(mut filled) = fill(buffer)? else { return Ok(None) };
        let mut length = filled as u64;
        let mut tail = Tail::default();
        tail.saw(&buffer[..filled]);
        let (packed, sum) = if filled <= STAYS_PLAIN {
            let path = self.archive.join(name);
            let mut out = Hashed::create(&path)?;
            out.write(&buffer[..filled])?;
            (path, out.sum())
        } else {
            let path = self.archive.join(format!("{name}.gz"));
            let mut out = packer.begin(&path)?;
            loop {
                out.write(&buffer[..filled])?;
                if filled < buffer.len() {
                    break;
                }
                let Some(next) = fill(buffer)? else { return Ok(None) };
                filled = next;
                length += filled as u64;
                tail.saw(&buffer[..filled]);
            }
            (path, out.finish()?)
        };
        if !name.starts_with("blob_") && tail.0 != END_OF_ROWS {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "its last row is cut short"));
        }
        Ok(Some(Whole { plain: name.to_owned(), length, packed, sum }))
    }

    /// Moves what is not packed, the table of contents, after the members; each must still be as it
    /// was read, for somebody may have cut or removed it after the client closed it.
    fn settle(&self, members: Vec<Whole>) -> Result<Packed> {
        let failed = || format!("cannot move the archive to {}", self.archive.display());
        let lost = |name: &str| {
            Error::failed(format!("the member {name} of the dump changed after it was written"))
        };
        let mut lengths: BTreeMap<String, u64> = BTreeMap::new();
        let mut plain_bytes = 0;
        for path in fs::files_below(&self.plain).context(failed)? {
            let name = path.strip_prefix(&self.plain).unwrap_or(&path).display().to_string();
            let length = std::fs::metadata(&path).context(failed)?.len();
            plain_bytes += length;
            lengths.insert(name, length);
        }
        let mut sums = Vec::new();
        for member in members {
            if lengths.remove(&member.plain) != Some(member.length) {
                return Err(lost(&member.plain));
            }
            sums.push((self.named(&member.packed)?, member.sum));
        }
        for name in lengths.into_keys() {
            if is_member(&name) {
                return Err(lost(&name));
            }
            let to = self.archive.join(&name);
            fs::rename(&self.plain.join(&name), &to).context(failed)?;
            sums.push((self.named(&to)?, super::digest::of_file(&to, |_| {}).context(failed)?));
        }
        fs::remove_tree(&self.plain)?;
        sums.sort();
        Ok(Packed { sums: Sums(sums), plain_bytes })
    }

    fn named(&self, path: &Path) -> Result<String> {
        let name = path.strip_prefix(self.base).ok().and_then(Path::to_str);
        name.map(str::to_owned).ok_or_else(|| Error::failed("a name is not UTF-8"))
    }
}

/// The last bytes of a member.
#[derive(Default)]
struct Tail(Vec<u8>);

impl Tail {
    fn saw(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(&bytes[bytes.len().saturating_sub(END_OF_ROWS.len())..]);
        let excess = self.0.len().saturating_sub(END_OF_ROWS.len());
        self.0.drain(..excess);
    }
}

/// Fills the buffer; one that is not full holds the end of the member.
fn fill(
    from: &mut Growing,
    board: &Board,
    name: &str,
    buffer: &mut [u8],
) -> io::Result<Option<usize>> {
    let mut filled = 0;
    while filled < buffer.len() {
        // First the look, then the reading: what was whole before has its end where reading stops.
        let member = board.look(name);
        match (from.read(&mut buffer[filled..])?, member) {
            (_, Member::Abandoned) => return Ok(None),
            (0, Member::Whole) => break,
            (0, Member::Growing) => board.wait(name),
            (length, Member::Growing | Member::Whole) => filled += length,
        }
    }
    Ok(Some(filled))
}

fn watch(watched: &Watched, board: &Board, over: &AtomicBool) {
    while !over.load(Ordering::Relaxed) {
        // Without news the members are whole when the dump has ended.
        let under_way = board.note(watched.news().unwrap_or_default());
        if !under_way {
            return;
        }
        pause(TICK);
    }
}

/// As many as the client has workers at most, so that every member that grows is followed.
fn packers() -> u64 {
    crate::database::dump::most_jobs()
}

fn names(dir: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let name = entry?.file_name().into_string();
        names.push(name.map_err(|_| io::Error::other("a name is not UTF-8"))?);
    }
    names.sort();
    Ok(names)
}

/// Returns whether a file of the dump holds rows (`3312.dat`) or a large object (`blob_16405.dat`).
fn is_member(name: &str) -> bool {
    let digits = name.strip_suffix(".dat").map(|stem| stem.strip_prefix("blob_").unwrap_or(stem));
    digits.is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_and_large_objects_are_members_and_tables_of_contents_are_not() {
        assert!(["3312.dat", "blob_16405.dat"].into_iter().all(is_member));
        let others = ["toc.dat", "blobs.toc", "blobs_12.toc", "3312.dat.gz", ".dat", "blob_.dat"];
        assert!(!others.into_iter().any(is_member));
    }

    /// Whoever waits for a member to pack must not wait for ever.
    #[test]
    fn a_directory_that_cannot_be_listed_after_the_dump_ends_the_packers() {
        use std::os::unix::ffi::OsStrExt as _;
        let base = tempfile::tempdir().unwrap();
        let (plain, archive) = (base.path().join("plain"), base.path().join("archive"));
        fs::make_new_dir(&plain, 0o700).unwrap();
        fs::make_new_dir(&archive, 0o700).unwrap();
        let packing = Packing { plain: plain.clone(), archive: &archive, base: base.path() };
        let strange = plain.join(std::ffi::OsStr::from_bytes(b"\xff"));
        let ended = packing.alongside(|| {
            let file = fs::create_new(&strange, 0o600);
            file.map(drop).context(|| "cannot make a file".into())
        });
        let error = ended.map(drop).unwrap_err();
        assert!(error.message().contains("cannot compress"), "{error:?}");
    }

    #[test]
    fn the_last_bytes_are_known_however_they_come() {
        let mut tail = Tail::default();
        for piece in [&b"1\ttwo\n"[..], b"\\.", b"\n", b"\n\n"] {
            tail.saw(piece);
        }
        assert_eq!(tail.0, END_OF_ROWS);
    }
}
