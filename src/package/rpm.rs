//! An `.rpm`: lead, signature header, header, and a cpio archive as payload.

use std::fs::File;
use std::io::{self, Read, Seek as _, SeekFrom};

use sha2::{Digest as _, Sha256};

use super::Identity;
use super::cpio;
use super::entry::Visit;
use super::fault::Fault;
use super::rpm_header::Header;
use super::stream::{Bounded, Hashed, decompressed};
use super::unpack::Limits;
use crate::version::Version;

/// How every `.rpm` begins.
pub(super) const MAGIC: &[u8] = &[0xed, 0xab, 0xee, 0xdb];

/// Size of the lead, of which only the kind of package still counts.
const LEAD: usize = 96;

/// Tags of `rpmtag.h` that are read.
mod tag {
    pub(super) const NAME: u32 = 1000;
    pub(super) const VERSION: u32 = 1001;
    pub(super) const RELEASE: u32 = 1002;
    pub(super) const PAYLOAD_FORMAT: u32 = 1124;
    pub(super) const PAYLOAD_SHA256: u32 = 5092;
    pub(super) const PAYLOAD_DIGEST_KIND: u32 = 5093;
    /// In the signature header: SHA-256 of the header, in hexadecimal digits.
    pub(super) const HEADER_SHA256: u32 = 273;
}

/// `PGPHASHALGO_SHA256`.
const SHA256: u64 = 8;

/// What the headers say, and where the payload begins.
pub(super) struct Rpm {
    pub(super) identity: Identity,
    payload: u64,
    payload_sha256: Option<String>,
    header: Header,
}

impl Rpm {
    /// Reads both headers and compares their digest.
    pub(super) fn open(file: &mut File) -> Result<Self, Fault> {
        file.seek(SeekFrom::Start(0))?;
        let mut lead = [0; LEAD];
        file.read_exact(&mut lead)?;
        if lead[6..8] != [0, 0] {
            return Err(Fault::Unread("it is a source package".into()));
        }
        let (signature, _) = Header::read(file, "signature")?;
        let after = file.stream_position()?;
        file.seek(SeekFrom::Start(after.next_multiple_of(8)))?;
        let (header, bytes) = Header::read(file, "header")?;
        if let Some(stated) = signature.text(tag::HEADER_SHA256) {
            same("header", &stated, &hex::encode(Sha256::digest(&bytes)))?;
        }
        match header.text(tag::PAYLOAD_FORMAT).as_deref() {
            None | Some("cpio") => {}
            Some(format) => return Err(Fault::Unread(format!("its content is in {format:?}"))),
        }
        let kind = header.numbers(tag::PAYLOAD_DIGEST_KIND).first().copied();
        let digest = header.text(tag::PAYLOAD_SHA256);
        Ok(Self {
            identity: identity(&header)?,
            payload: file.stream_position()?,
            payload_sha256: digest.filter(|_| kind.is_none_or(|kind| kind == SHA256)),
            header,
        })
    }

    /// Shows every entry of the payload to `visit`, and reads it to its end.
    pub(super) fn walk(
        &self,
        file: &mut File,
        limits: &Limits,
        visit: &mut Visit<'_>,
    ) -> Result<(), Fault> {
        file.seek(SeekFrom::Start(self.payload))?;
        let mut payload = Hashed::new(file);
        {
            let mut stream = Bounded::new(decompressed(&mut payload)?, limits.scanned);
            cpio::walk(&mut stream, &self.header, visit)?;
            io::copy(&mut stream, &mut io::sink())?;
        }
        match &self.payload_sha256 {
            Some(stated) => same("payload", stated, &payload.finish()?),
            None => Ok(()),
        }
    }
}

fn same(what: &str, stated: &str, found: &str) -> Result<(), Fault> {
    if stated.eq_ignore_ascii_case(found) {
        return Ok(());
    }
    Err(Fault::Damaged(format!("the SHA-256 of its {what} is not the one that it states")))
}

fn identity(header: &Header) -> Result<Identity, Fault> {
    let text = |tag, name: &str| {
        header
            .text(tag)
            .filter(|text| !text.is_empty() && !text.chars().any(char::is_control))
            .ok_or_else(|| Fault::Damaged(format!("its header has no {name}")))
    };
    let (version, release) = (text(tag::VERSION, "version")?, text(tag::RELEASE, "release")?);
    Ok(Identity {
        name: text(tag::NAME, "name")?,
        version: Version::new(format!("{version}-{release}")),
    })
}
