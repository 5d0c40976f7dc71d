//! The members of a stream that comes from anywhere: plain files with names and sizes, nothing else.

use std::io::{self, Read};

use tar::EntryType;

use crate::error::{Error, Result};
use crate::outcome::Outcome;
use crate::system::signals;

/// The longest name of a member, in bytes.
pub(super) const LONGEST_NAME: u64 = 1024;

/// Says that a stream is not what was exported, and why.
pub(super) fn refused(why: &str) -> Error {
    let why: String = why.chars().map(|c| if c.is_control() { '?' } else { c }).collect();
    Error::new(Outcome::Refused, "this is not the whole export of a restore point")
        .detail(why)
        .state("nothing was imported")
        .hint("Export it again with `openwatch backup export ID FILE.tar`.")
}

/// Says that a stream could not be read to its end.
pub(super) fn unread(error: io::Error) -> Error {
    let nothing = |error: Error| error.state("nothing was imported");
    if let Some(signal) = signals::received() {
        return nothing(Error::failed(format!("stopped because we received {signal}")));
    }
    match (error.kind(), error.raw_os_error()) {
        (io::ErrorKind::UnexpectedEof, _) => refused("it ends too early"),
        // The stream may be as good as it was; the disk or the network is not.
        (_, Some(_)) => nothing(Error::failed("the export cannot be read").source(error)),
        (_, None) => refused(&format!("it cannot be read: {error}")),
    }
}

/// The members of a stream, one after the other.
pub(super) struct Members<'a, R: Read + 'a> {
    entries: tar::Entries<'a, R>,
}

/// One plain file of a stream.
pub(super) struct Member<'a, R: Read + 'a> {
    pub(super) name: String,
    pub(super) size: u64,
    pub(super) data: tar::Entry<'a, R>,
}

impl<'a, R: Read + 'a> Members<'a, R> {
    /// Begins to read an archive; headers of extensions are taken raw, because their own sizes are claims
    /// as well.
    pub(super) fn of(archive: &'a mut tar::Archive<R>) -> Result<Self> {
        Ok(Self { entries: archive.entries().map_err(unread)?.raw(true) })
    }

    /// Returns the next member; anything but a plain file ends the import.
    pub(super) fn next(&mut self) -> Result<Option<Member<'a, R>>> {
        let mut long: Option<Vec<u8>> = None;
        loop {
            let Some(entry) = self.entries.next() else { return Ok(None) };
            let mut entry = entry.map_err(unread)?;
            let kind = entry.header().entry_type();
            if kind == EntryType::GNULongName && long.is_none() {
                long = Some(limited(&mut entry, LONGEST_NAME)?);
                continue;
            }
            let name = long.unwrap_or_else(|| entry.path_bytes().into_owned());
            let name = String::from_utf8_lossy(&name).trim_end_matches('\0').to_owned();
            if kind != EntryType::Regular {
                return Err(refused(&format!("{name:?} in it is not a plain file")));
            }
            return Ok(Some(Member { name, size: entry.size(), data: entry }));
        }
    }
}

impl<R: Read> Member<'_, R> {
    /// Returns all of it, where it is no larger than this.
    pub(super) fn read(&mut self, limit: u64) -> Result<Vec<u8>> {
        if self.size > limit {
            return Err(refused(&format!("{:?} in it is larger than {limit} bytes", self.name)));
        }
        let bytes = limited(&mut self.data, limit)?;
        // Its size is a claim of the stream.
        if bytes.len() as u64 == self.size { Ok(bytes) } else { Err(refused("it ends too early")) }
    }
}

fn limited(data: &mut impl Read, limit: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    data.take(limit + 1).read_to_end(&mut bytes).map_err(unread)?;
    if bytes.len() as u64 > limit {
        return Err(refused(&format!("a member of it is larger than {limit} bytes")));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_that_cannot_be_read_is_not_told_as_a_broken_export() {
        let told = unread(io::Error::from_raw_os_error(5));
        assert!(told.message().starts_with("the export cannot be read: "), "{told:?}");
        assert_eq!(told.state_line(), Some("nothing was imported"));
        for kind in [io::ErrorKind::UnexpectedEof, io::ErrorKind::Other] {
            assert!(unread(kind.into()).message().contains("not the whole export"), "{kind}");
        }
    }
}
