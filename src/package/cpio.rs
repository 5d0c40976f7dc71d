//! The cpio archive in an `.rpm`: "newc", and rpm's own form for files of 4 GiB and more, whose
//! entries carry only an index into the header's list of files.

use std::collections::BTreeMap;
use std::io::Read;

use super::entry::{Entry, Kind, LONGEST_NAME, Visit};
use super::fault::Fault;
use super::rpm_header::Header;
use super::stream::skip;

/// Tags of `rpmtag.h` that describe files.
mod tag {
    pub(super) const SIZES: u32 = 1028;
    pub(super) const MODES: u32 = 1030;
    pub(super) const DEVICES: u32 = 1095;
    pub(super) const INODES: u32 = 1096;
    pub(super) const DIR_INDEXES: u32 = 1116;
    pub(super) const BASE_NAMES: u32 = 1117;
    pub(super) const DIR_NAMES: u32 = 1118;
    pub(super) const LONG_SIZES: u32 = 5008;
}

/// Name, mode, size, and whether the content is that of another entry.
type Head = (Vec<u8>, u64, u64, bool);

/// The header's list of files, of which names are put together one at a time.
struct Listed<'h> {
    dirs: Vec<&'h [u8]>,
    bases: Vec<&'h [u8]>,
    dir_of: Vec<u64>,
    modes: Vec<u64>,
    sizes: Vec<u64>,
    same_file: Vec<(u64, u64)>,
    uses: BTreeMap<(u64, u64), usize>,
}

impl<'h> Listed<'h> {
    fn read(header: &'h Header) -> Self {
        let mut sizes = header.numbers(tag::LONG_SIZES);
        if sizes.is_empty() {
            sizes = header.numbers(tag::SIZES);
        }
        let (devices, inodes) = (header.numbers(tag::DEVICES), header.numbers(tag::INODES));
        let same_file: Vec<(u64, u64)> = devices.into_iter().zip(inodes).collect();
        let mut uses = BTreeMap::new();
        for file in &same_file {
            *uses.entry(*file).or_default() += 1;
        }
        Self {
            dirs: header.texts(tag::DIR_NAMES),
            bases: header.texts(tag::BASE_NAMES),
            dir_of: header.numbers(tag::DIR_INDEXES),
            modes: header.numbers(tag::MODES),
            sizes,
            same_file,
            uses,
        }
    }

    fn file(&self, number: usize) -> Option<Head> {
        let dir = *self.dirs.get(usize::try_from(*self.dir_of.get(number)?).ok()?)?;
        let base = *self.bases.get(number)?;
        if (dir.len() + base.len()) as u64 > LONGEST_NAME {
            return None;
        }
        // Paths of the header are those on the machine; those of an archive are relative.
        let name = [b"./", dir.strip_prefix(b"/").unwrap_or(dir), base].concat();
        let uses = self.same_file.get(number).and_then(|file| self.uses.get(file));
        Some((
            name,
            *self.modes.get(number)?,
            *self.sizes.get(number)?,
            uses.is_some_and(|n| *n > 1),
        ))
    }
}

/// Shows every entry to `visit`.
pub(super) fn walk(
    stream: &mut dyn Read,
    header: &Header,
    visit: &mut Visit<'_>,
) -> Result<(), Fault> {
    let mut listed = None;
    loop {
        let mut magic = [0; 6];
        stream.read_exact(&mut magic)?;
        let (name, mode, size, linked) = match &magic {
            b"070701" | b"070702" => {
                let Some(head) = newc(stream)? else { return Ok(()) };
                head
            }
            b"07070X" => stripped(stream, listed.get_or_insert_with(|| Listed::read(header)))?,
            _ => return Err(Fault::Damaged("its content is no cpio archive".into())),
        };
        let kind = match mode & 0o170_000 {
            0o100_000 if linked => Kind::Other("a hard link"),
            0o100_000 => Kind::File,
            0o040_000 => Kind::Directory,
            0o120_000 => Kind::Other("a symbolic link"),
            0o060_000 | 0o020_000 => Kind::Other("a device"),
            0o010_000 => Kind::Other("a pipe"),
            0o140_000 => Kind::Other("a socket"),
            _ => Kind::Other("of an unknown kind"),
        };
        let mut data = (&mut *stream).take(size);
        visit(&mut Entry::new(&name, kind, size, &mut data)?)?;
        let left = data.limit();
        skip(stream, left + size.next_multiple_of(4) - size)?;
    }
}

/// Reads the rest of a "newc" entry's header; none at the end of the archive.
fn newc(stream: &mut dyn Read) -> Result<Option<Head>, Fault> {
    let mut fields = [0; 104];
    stream.read_exact(&mut fields)?;
    let field = |number: usize| number_of(&fields[number * 8..number * 8 + 8]);
    let (mode, links, size, name_size) = (field(1)?, field(4)?, field(6)?, field(11)?);
    if name_size == 0 || name_size > LONGEST_NAME + 3 {
        return Err(Fault::Hostile(format!("an entry has a name of {name_size} bytes")));
    }
    // Six bytes of magic, 104 of fields, the name with its NUL, then padded to four.
    let padded = (110 + name_size).next_multiple_of(4) - 110;
    let mut name = Vec::new();
    if stream.take(padded).read_to_end(&mut name)? as u64 != padded {
        return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into());
    }
    name.truncate(usize::try_from(name_size - 1).unwrap_or_default());
    let directory = mode & 0o170_000 == 0o040_000;
    Ok((name != b"TRAILER!!!").then_some((name, mode, size, links > 1 && !directory)))
}

/// Reads the rest of a stripped entry's header, and finds its file. The end of such an archive is
/// an entry of "newc".
fn stripped(stream: &mut dyn Read, listed: &Listed<'_>) -> Result<Head, Fault> {
    // Eight digits, then padded to four: sixteen bytes with the magic.
    let mut rest = [0; 10];
    stream.read_exact(&mut rest)?;
    let number = number_of(&rest[..8])?;
    let file = usize::try_from(number).ok().and_then(|number| listed.file(number));
    let file = file.ok_or_else(|| {
        Fault::Damaged(format!("its content has a file {number} that its header does not list"))
    })?;
    // Only one of several links carries the content; which one, the entry does not say.
    if file.3 {
        return Err(Fault::Unread("it has hard links in a payload of stripped entries".into()));
    }
    Ok(file)
}

fn number_of(digits: &[u8]) -> Result<u64, Fault> {
    // from_str_radix would take a sign.
    let text = std::str::from_utf8(digits).ok().filter(|text| !text.contains(['+', '-']));
    text.and_then(|text| u64::from_str_radix(text, 16).ok())
        .ok_or_else(|| Fault::Damaged("a number in its cpio archive makes no sense".into()))
}
