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

/// One file of the header's list.
pub(super) struct Listed {
    name: Vec<u8>,
    mode: u64,
    size: u64,
    linked: bool,
}

/// Returns the header's list of files; empty where its parts do not fit together.
pub(super) fn listed(header: &Header) -> Vec<Listed> {
    let (dirs, modes) = (header.texts(tag::DIR_NAMES), header.numbers(tag::MODES));
    let dir_of = header.numbers(tag::DIR_INDEXES);
    let mut sizes = header.numbers(tag::LONG_SIZES);
    if sizes.is_empty() {
        sizes = header.numbers(tag::SIZES);
    }
    let same_file: Vec<(u64, u64)> =
        header.numbers(tag::DEVICES).into_iter().zip(header.numbers(tag::INODES)).collect();
    let mut uses: BTreeMap<(u64, u64), usize> = BTreeMap::new();
    for file in &same_file {
        *uses.entry(*file).or_default() += 1;
    }
    let bases = header.texts(tag::BASE_NAMES);
    let one = |(number, base): (usize, &&[u8])| {
        let dir = dirs.get(usize::try_from(*dir_of.get(number)?).ok()?)?;
        // Paths of the header are those on the machine; those of an archive are relative.
        let name = [b"./", dir.strip_prefix(b"/").unwrap_or(dir), *base].concat();
        let linked = same_file.get(number).and_then(|file| uses.get(file)).is_some_and(|n| *n > 1);
        Some(Listed { name, mode: *modes.get(number)?, size: *sizes.get(number)?, linked })
    };
    bases.iter().enumerate().map(one).collect::<Option<_>>().unwrap_or_default()
}

/// Shows every entry to `visit`.
pub(super) fn walk(
    stream: &mut dyn Read,
    listed: &[Listed],
    visit: &mut Visit<'_>,
) -> Result<(), Fault> {
    loop {
        let mut magic = [0; 6];
        stream.read_exact(&mut magic)?;
        let (name, mode, size, linked) = match &magic {
            b"070701" | b"070702" => {
                let Some(head) = newc(stream)? else { return Ok(()) };
                head
            }
            b"07070X" => match stripped(stream, listed)? {
                Some(file) => (file.name.clone(), file.mode, file.size, file.linked),
                None => return Ok(()),
            },
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
fn newc(stream: &mut dyn Read) -> Result<Option<(Vec<u8>, u64, u64, bool)>, Fault> {
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

/// Reads the rest of a stripped entry's header, and finds its file; none at the end of the archive.
fn stripped<'a>(stream: &mut dyn Read, listed: &'a [Listed]) -> Result<Option<&'a Listed>, Fault> {
    // Eight digits, then padded to four: sixteen bytes with the magic.
    let mut rest = [0; 10];
    stream.read_exact(&mut rest)?;
    let number = number_of(&rest[..8])?;
    if number == u64::from(u32::MAX) {
        return Ok(None);
    }
    let file = usize::try_from(number).ok().and_then(|number| listed.get(number));
    let file = file.ok_or_else(|| {
        Fault::Damaged(format!("its content has a file {number} that its header does not list"))
    })?;
    if file.linked {
        return Err(Fault::Unread("it has hard links in a payload of stripped entries".into()));
    }
    Ok(Some(file))
}

fn number_of(digits: &[u8]) -> Result<u64, Fault> {
    // from_str_radix would take a sign.
    let text = std::str::from_utf8(digits).ok().filter(|text| !text.contains(['+', '-']));
    text.and_then(|text| u64::from_str_radix(text, 16).ok())
        .ok_or_else(|| Fault::Damaged("a number in its cpio archive makes no sense".into()))
}
