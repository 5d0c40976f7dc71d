//! A `.deb`: an `ar` archive with the members `debian-binary`, `control.tar.*` and `data.tar.*`.

use std::fs::File;
use std::io::{self, Read, Seek as _, SeekFrom};
use std::ops::Range;

use super::Identity;
use super::entry::{Entry, Kind, LONGEST_NAME, Visit};
use super::fault::Fault;
use super::stream::{Bounded, decompressed};
use super::unpack::Limits;
use crate::version::Version;

/// How every `ar` archive begins.
pub(super) const MAGIC: &[u8] = b"!<arch>\n";

/// The largest `control.tar` and the largest `control` that are read, in bytes.
const CONTROL: u64 = 64 * 1024 * 1024;
const CONTROL_FILE: u64 = 1024 * 1024;

/// Members beyond which a file is not one that dpkg reads.
const MOST_MEMBERS: usize = 16;

/// Where the two archives lie in the file, and what the package is.
pub(super) struct Deb {
    pub(super) identity: Identity,
    data: Range<u64>,
}

impl Deb {
    /// Finds the members and reads the control file.
    pub(super) fn open(file: &mut File) -> Result<Self, Fault> {
        let size = file.metadata()?.len();
        let members = members(file, size)?;
        let find = |stem: &str| {
            members
                .iter()
                .find(|(name, _)| name == stem || name.starts_with(&format!("{stem}.")))
                .map(|(_, range)| range.clone())
        };
        let Some((first, _)) = members.first() else {
            return Err(Fault::Damaged("it ends too early".into()));
        };
        if first != "debian-binary" {
            return Err(Fault::Foreign("it is an ar archive, but not one of dpkg".into()));
        }
        let missing = |name: &str| Fault::Damaged(format!("it has no member {name}"));
        let control = find("control.tar").ok_or_else(|| missing("control.tar"))?;
        let data = find("data.tar").ok_or_else(|| missing("data.tar"))?;
        Ok(Self { identity: identity(&mut part(file, &control)?)?, data })
    }

    /// Shows every entry of the data archive to `visit`, and reads it to its end.
    pub(super) fn walk(
        &self,
        file: &mut File,
        limits: &Limits,
        visit: &mut Visit<'_>,
    ) -> Result<(), Fault> {
        let member = part(file, &self.data)?;
        let mut stream = Bounded::new(decompressed(member)?, limits.scanned);
        walk_tar(&mut stream, visit)?;
        // The checksums of gzip, xz and zstd stand at the end.
        io::copy(&mut stream, &mut io::sink())?;
        Ok(())
    }
}

fn part<'a>(file: &'a mut File, range: &Range<u64>) -> Result<io::Take<&'a mut File>, Fault> {
    file.seek(SeekFrom::Start(range.start))?;
    Ok(file.take(range.end - range.start))
}

/// Lists the members with the bytes that each takes, without reading any.
fn members(file: &mut File, size: u64) -> Result<Vec<(String, Range<u64>)>, Fault> {
    let mut found = Vec::new();
    let mut at = MAGIC.len() as u64;
    while at < size {
        if found.len() == MOST_MEMBERS {
            return Err(Fault::Damaged(format!("it has more than {MOST_MEMBERS} members")));
        }
        let mut header = [0; 60];
        file.seek(SeekFrom::Start(at))?;
        file.read_exact(&mut header)?;
        let text = |range: Range<usize>| {
            let text = String::from_utf8_lossy(&header[range]);
            text.trim_end_matches([' ', '/']).to_owned()
        };
        let length = text(48..58).parse::<u64>().ok().filter(|_| header[58..] == *b"`\n");
        let start = at + header.len() as u64;
        let end = length.and_then(|length| start.checked_add(length)).ok_or_else(|| {
            Fault::Damaged(format!("the member header at byte {at} makes no sense"))
        })?;
        if end > size {
            return Err(Fault::Damaged(format!(
                "it ends too early: the member {} needs {end} bytes, the file has {size}",
                text(0..16)
            )));
        }
        found.push((text(0..16), start..end));
        at = end + end % 2;
    }
    Ok(found)
}

fn identity(control: &mut dyn Read) -> Result<Identity, Fault> {
    let mut stream = Bounded::new(decompressed(control)?, CONTROL);
    let mut text = None;
    walk_tar(&mut stream, &mut |entry| {
        if entry.kind == Kind::File && entry.path.as_os_str() == "control" {
            let mut bytes = Vec::new();
            entry.data.take(CONTROL_FILE).read_to_end(&mut bytes)?;
            text = Some(String::from_utf8_lossy(&bytes).into_owned());
        }
        Ok(())
    })?;
    io::copy(&mut stream, &mut io::sink())?;
    let text = text.ok_or_else(|| Fault::Damaged("it has no control file".into()))?;
    let field = |name: &str| {
        let value = text.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
        });
        value
            .filter(|value| !value.is_empty() && !value.chars().any(char::is_control))
            .ok_or_else(|| Fault::Damaged(format!("its control file has no {name}")))
    };
    Ok(Identity { name: field("Package")?, version: Version::new(field("Version")?) })
}

/// Shows every entry of a tar archive to `visit`.
///
/// dpkg reads v7, ustar and GNU's long names, and refuses pax headers; so do we. Extension entries
/// are taken raw, because their own sizes are claims of the file as well.
fn walk_tar(stream: &mut dyn Read, visit: &mut Visit<'_>) -> Result<(), Fault> {
    let mut archive = tar::Archive::new(stream);
    let mut long_name: Option<Vec<u8>> = None;
    for entry in archive.entries()?.raw(true) {
        let mut entry = entry?;
        let kind = match entry.header().entry_type() {
            tar::EntryType::GNULongName => {
                let mut name = Vec::new();
                (&mut entry).take(LONGEST_NAME + 2).read_to_end(&mut name)?;
                while name.last() == Some(&0) {
                    name.pop();
                }
                long_name = Some(name);
                continue;
            }
            tar::EntryType::GNULongLink => continue,
            tar::EntryType::XHeader | tar::EntryType::XGlobalHeader => {
                return Err(Fault::Damaged("it has a pax header, which dpkg does not read".into()));
            }
            tar::EntryType::Regular | tar::EntryType::Continuous => Kind::File,
            tar::EntryType::Directory => Kind::Directory,
            tar::EntryType::Link => Kind::Other("a hard link"),
            tar::EntryType::Symlink => Kind::Other("a symbolic link"),
            tar::EntryType::Char | tar::EntryType::Block => Kind::Other("a device"),
            tar::EntryType::Fifo => Kind::Other("a pipe"),
            _ => Kind::Other("of an unknown kind"),
        };
        let name = long_name.take().unwrap_or_else(|| entry.path_bytes().into_owned());
        // Version 7 has no type for directories.
        let kind = if kind == Kind::File && name.ends_with(b"/") { Kind::Directory } else { kind };
        let size = entry.size();
        visit(&mut Entry::new(&name, kind, size, &mut entry)?)?;
    }
    Ok(())
}
