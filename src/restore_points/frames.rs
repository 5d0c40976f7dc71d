//! Whether the compressed members of an archive come to their end.
//!
//! `pg_restore` notices a gzip member that is cut short, but takes the end of a cut zstd member for
//! its end (measured on 17.12: exit status 0 without the last rows). The frames of zstd (RFC 8878,
//! section 3.1) and of lz4 (its frame format, 1.6.2) say themselves where they end, so the headers
//! are walked; what lies between them is read back by the client and hashed.

use std::fs::File;
use std::io::{self, BufReader, Read as _};
use std::path::{Path, PathBuf};

use crate::error::{Context, Error, Result};
use crate::system::fs;

/// The first four bytes of a frame of zstd.
const ZSTD: u32 = 0xfd2f_b528;

/// The first four bytes of a frame of lz4.
const LZ4: u32 = 0x184d_2204;

/// The first four bytes of a frame that both skip; the lowest digit is free.
const SKIPPED: u32 = 0x184d_2a50;

/// Fails unless every zstd and lz4 member of an archive consists of whole frames.
pub(super) fn check_ends(archive: &Path) -> Result<()> {
    let failed = || format!("cannot read {}", archive.display());
    for path in fs::files_below(archive).context(failed)? {
        if path.extension().is_some_and(|extension| extension == "zst" || extension == "lz4")
            && !is_whole(&path)?
        {
            let name = path.file_name().map(PathBuf::from).unwrap_or_default();
            return Err(Error::failed(format!(
                "the member {} of {} is cut short",
                name.display(),
                archive.display()
            )));
        }
    }
    Ok(())
}

fn is_whole(path: &Path) -> Result<bool> {
    let walked = File::open(path).and_then(|file| {
        let length = file.metadata()?.len();
        walk(&mut Walk { file: BufReader::new(file), at: 0, length })
    });
    match walked {
        Ok(whole) => Ok(whole),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error).context(|| format!("cannot read {}", path.display())),
    }
}

/// A file and the place in it.
struct Walk {
    file: BufReader<File>,
    at: u64,
    length: u64,
}

impl Walk {
    /// Reads a number of this many bytes, the lowest first.
    fn number(&mut self, bytes: usize) -> io::Result<u32> {
        let mut all = [0; 4];
        self.file.read_exact(&mut all[..bytes])?;
        self.at += bytes as u64;
        Ok(u32::from_le_bytes(all))
    }

    /// Leaves bytes out, all of which must be there.
    fn skip(&mut self, bytes: u32) -> io::Result<()> {
        self.at += u64::from(bytes);
        if self.at > self.length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.file.seek_relative(i64::from(bytes))
    }
}

/// Walks from frame to frame; whole is a file that ends where a frame does.
fn walk(walk: &mut Walk) -> io::Result<bool> {
    loop {
        match walk.number(4)? {
            ZSTD => zstd_frame(walk)?,
            LZ4 => lz4_frame(walk)?,
            other if other & 0xffff_fff0 == SKIPPED => {
                let size = walk.number(4)?;
                walk.skip(size)?;
            }
            _ => return Ok(false),
        }
        if walk.at == walk.length {
            return Ok(true);
        }
    }
}

fn zstd_frame(walk: &mut Walk) -> io::Result<()> {
    let descriptor = walk.number(1)?;
    let single_segment = descriptor & 0x20 != 0;
    let window = u32::from(!single_segment);
    let dictionary = [0, 1, 2, 4][(descriptor & 3) as usize];
    let content_size = match descriptor >> 6 {
        0 => u32::from(single_segment),
        flag => 1 << flag,
    };
    walk.skip(window + dictionary + content_size)?;
    loop {
        let header = walk.number(3)?;
        let size = header >> 3;
        match (header >> 1) & 3 {
            // One byte, repeated.
            1 => walk.skip(1)?,
            0 | 2 => walk.skip(size)?,
            _ => return Err(io::ErrorKind::UnexpectedEof.into()),
        }
        if header & 1 == 1 {
            break;
        }
    }
    if descriptor & 4 != 0 {
        walk.skip(4)?;
    }
    Ok(())
}

fn lz4_frame(walk: &mut Walk) -> io::Result<()> {
    /// Marks a block that is not compressed; the rest is its size.
    const STORED: u32 = 1 << 31;
    let flags = walk.number(1)?;
    let (block_sum, content_size) = (flags & 0x10 != 0, flags & 0x08 != 0);
    let (content_sum, dictionary) = (flags & 0x04 != 0, flags & 0x01 != 0);
    // The largest block, the sizes that the flags announce, and a byte that checks the header.
    walk.skip(2 + 8 * u32::from(content_size) + 4 * u32::from(dictionary))?;
    loop {
        match walk.number(4)? & !STORED {
            0 => break,
            size => walk.skip(size + 4 * u32::from(block_sum))?,
        }
    }
    walk.skip(4 * u32::from(content_sum))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `printf hello | zstd` of zstd 1.5.4: a raw block and a checksum.
    const HELLO: &[u8] = &[
        0x28, 0xb5, 0x2f, 0xfd, 0x04, 0x58, 0x29, 0x00, 0x00, b'h', b'e', b'l', b'l', b'o', 0xa3,
        0x6d, 0x9f, 0x88,
    ];

    /// `printf hello | lz4 -BX --content-size` of lz4 1.9.4: a stored block with all sums.
    const HELLO_LZ4: &[u8] = &[
        0x04, 0x22, 0x4d, 0x18, 0x7c, 0x40, 0x05, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x03,
        0x05, 0x00, 0x00, 0x80, 0x68, 0x65, 0x6c, 0x6c, 0x6f, 0xf9, 0x77, 0x00, 0xfb, 0x00, 0x00,
        0x00, 0x00, 0xf9, 0x77, 0x00, 0xfb,
    ];

    fn whole(bytes: &[u8]) -> bool {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("3312.dat.zst");
        std::fs::write(&path, bytes).unwrap();
        assert_eq!(check_ends(dir.path()).is_ok(), is_whole(&path).unwrap());
        is_whole(&path).unwrap()
    }

    #[test]
    fn a_frame_that_is_cut_anywhere_is_not_whole() {
        assert!(whole(HELLO));
        for length in 0..HELLO.len() {
            assert!(!whole(&HELLO[..length]), "{length}");
        }
        assert!(whole(HELLO_LZ4));
        for length in 0..HELLO_LZ4.len() {
            assert!(!whole(&HELLO_LZ4[..length]), "{length} of lz4");
        }
    }

    #[test]
    fn several_frames_are_whole_and_what_follows_them_is_not() {
        let skipped = [0x53, 0x2a, 0x4d, 0x18, 2, 0, 0, 0, 7, 7];
        assert!(whole(&[HELLO, &skipped, HELLO].concat()));
        assert!(!whole(&[HELLO, b"rest"].concat()));
        assert!(!whole(&[HELLO, &skipped[..9]].concat()));
        assert!(!whole(b"something else"));
    }
}
