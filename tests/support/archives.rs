//! Packages made by hand, byte by byte: also those that no packager's tool would make.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest as _, Sha256};

/// One entry of a package, under the name that stands in the archive.
#[derive(Clone, Debug)]
pub struct Item {
    pub name: String,
    pub what: What,
}

/// What an entry is.
#[derive(Clone, Debug)]
pub enum What {
    File(Vec<u8>),
    /// A file that claims this size and holds nothing.
    Claim(u64),
    Dir,
    Symlink(String),
    HardLink(String),
    Device,
    Pipe,
}

/// Returns a regular file.
pub fn file(name: &str, content: impl AsRef<[u8]>) -> Item {
    Item { name: name.into(), what: What::File(content.as_ref().to_vec()) }
}

/// Returns any entry.
pub fn item(name: &str, what: What) -> Item {
    Item { name: name.into(), what }
}

/// Returns these bytes as gzip has them.
pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Returns a tar archive.
pub fn tar(items: &[Item]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for item in items {
        let mut header = tar::Header::new_gnu();
        let (kind, content, link) = match &item.what {
            What::File(content) => (tar::EntryType::Regular, content.as_slice(), ""),
            What::Claim(_) => (tar::EntryType::Regular, &[][..], ""),
            What::Dir => (tar::EntryType::Directory, &[][..], ""),
            What::Symlink(to) => (tar::EntryType::Symlink, &[][..], to.as_str()),
            What::HardLink(to) => (tar::EntryType::Link, &[][..], to.as_str()),
            What::Device => (tar::EntryType::Char, &[][..], ""),
            What::Pipe => (tar::EntryType::Fifo, &[][..], ""),
        };
        let size = if let What::Claim(size) = item.what { size } else { content.len() as u64 };
        header.set_entry_type(kind);
        header.set_size(size);
        header.set_mode(0o644);
        let name = item.name.as_bytes();
        if name.len() > 100 {
            let mut long = tar::Header::new_gnu();
            long.as_old_mut().name[..13].copy_from_slice(b"././@LongLink");
            long.set_entry_type(tar::EntryType::GNULongName);
            long.set_size(name.len() as u64 + 1);
            long.set_cksum();
            bytes.extend(long.as_bytes());
            bytes.extend(name);
            bytes.push(0);
            bytes.resize(bytes.len().next_multiple_of(512), 0);
        }
        // The setters of the crate refuse the names that matter here.
        let old = header.as_old_mut();
        let head = &name[..name.len().min(100)];
        old.name[..head.len()].copy_from_slice(head);
        old.linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_cksum();
        bytes.extend(header.as_bytes());
        bytes.extend(content);
        bytes.resize(bytes.len().next_multiple_of(512), 0);
    }
    bytes.resize(bytes.len() + 1024, 0);
    bytes
}

fn member(archive: &mut Vec<u8>, name: &str, content: &[u8]) {
    let head = format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n", 0, 0, 0, 100_644, content.len());
    archive.extend(head.as_bytes());
    archive.extend(content);
    if content.len() % 2 == 1 {
        archive.push(b'\n');
    }
}

/// Returns a `.deb` of this package, version 3.0.0-1.
pub fn deb(package: &str, items: &[Item]) -> Vec<u8> {
    let control = format!("Package: {package}\nVersion: 3.0.0-1\nArchitecture: riscv64\n");
    deb_of(&tar(&[file("./control", control)]), &tar(items))
}

/// Returns a `.deb` of these two tar archives.
pub fn deb_of(control: &[u8], data: &[u8]) -> Vec<u8> {
    deb_with(control, "data.tar.gz", &gzip(data))
}

/// Returns a `.deb` with this data member as it is.
pub fn deb_with(control: &[u8], name: &str, data: &[u8]) -> Vec<u8> {
    let mut bytes = b"!<arch>\n".to_vec();
    member(&mut bytes, "debian-binary", b"2.0\n");
    member(&mut bytes, "control.tar.gz", &gzip(control));
    member(&mut bytes, name, data);
    bytes
}

/// Returns a cpio archive as rpm writes it.
pub fn cpio(items: &[Item]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for item in items {
        let (mode, links, content) = match &item.what {
            What::File(content) => (0o100_644, 1, content.clone()),
            What::Claim(_) => (0o100_644, 1, Vec::new()),
            What::Dir => (0o040_755, 2, Vec::new()),
            What::Symlink(to) => (0o120_777, 1, to.clone().into_bytes()),
            What::HardLink(_) => (0o100_644, 2, Vec::new()),
            What::Device => (0o020_644, 1, Vec::new()),
            What::Pipe => (0o010_644, 1, Vec::new()),
        };
        let size = if let What::Claim(size) = item.what { size } else { content.len() as u64 };
        newc(&mut bytes, &item.name, mode, links, size, &content);
    }
    newc(&mut bytes, "TRAILER!!!", 0, 1, 0, &[]);
    bytes
}

fn newc(bytes: &mut Vec<u8>, name: &str, mode: u32, links: u32, size: u64, content: &[u8]) {
    let fields =
        [1, u64::from(mode), 0, 0, links.into(), 0, size, 0, 0, 0, 0, name.len() as u64 + 1, 0];
    bytes.extend(b"070701");
    bytes.extend(fields.iter().flat_map(|field| format!("{field:08x}").into_bytes()));
    bytes.extend(name.as_bytes());
    bytes.push(0);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes.extend(content);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

/// A value of an rpm header.
pub enum Tag {
    Text(u32, String),
    Number(u32, u32),
    Texts(u32, Vec<String>),
    Numbers(u32, Vec<u32>),
}

fn header(tags: &[Tag]) -> Vec<u8> {
    let (mut index, mut store) = (Vec::new(), Vec::new());
    for tag in tags {
        let (number, kind, count, mut value) = match tag {
            Tag::Text(tag, text) => (*tag, 6_u32, 1, [text.as_bytes(), &[0]].concat()),
            Tag::Number(tag, number) => (*tag, 4, 1, number.to_be_bytes().to_vec()),
            Tag::Texts(tag, texts) => {
                let all = texts.iter().flat_map(|text| [text.as_bytes(), &[0]].concat()).collect();
                (*tag, 8, texts.len(), all)
            }
            Tag::Numbers(tag, numbers) => {
                let all = numbers.iter().flat_map(|number| number.to_be_bytes()).collect();
                (*tag, 4, numbers.len(), all)
            }
        };
        while store.len() % 4 != 0 {
            store.push(0);
        }
        for field in [number, kind, store.len() as u32, count as u32] {
            index.extend(field.to_be_bytes());
        }
        store.append(&mut value);
    }
    let mut bytes = vec![0x8e, 0xad, 0xe8, 1, 0, 0, 0, 0];
    bytes.extend((tags.len() as u32).to_be_bytes());
    bytes.extend((store.len() as u32).to_be_bytes());
    bytes.extend(index);
    bytes.extend(store);
    bytes
}

/// Returns an `.rpm` of this package, version 3.0.0-1, with the digests that rpm writes.
pub fn rpm(package: &str, items: &[Item]) -> Vec<u8> {
    rpm_of(package, &cpio(items), Vec::new())
}

/// Returns an `.rpm` of this cpio archive, with more tags.
pub fn rpm_of(package: &str, cpio: &[u8], more: Vec<Tag>) -> Vec<u8> {
    let payload = gzip(cpio);
    let mut tags = vec![
        Tag::Text(1000, package.into()),
        Tag::Text(1001, "3.0.0".into()),
        Tag::Text(1002, "1".into()),
        Tag::Text(1124, "cpio".into()),
        Tag::Text(1125, "gzip".into()),
        Tag::Texts(5092, vec![hex::encode(Sha256::digest(&payload))]),
        Tag::Number(5093, 8),
    ];
    tags.extend(more);
    let main = header(&tags);
    let mut bytes = vec![0xed, 0xab, 0xee, 0xdb, 3, 0, 0, 0];
    bytes.resize(96, 0);
    bytes.extend(header(&[Tag::Text(273, hex::encode(Sha256::digest(&main)))]));
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    bytes.extend(main);
    bytes.extend(payload);
    bytes
}
