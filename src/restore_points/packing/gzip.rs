//! One member of an archive, compressed and hashed in the same pass.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;

use flate2::{Compress, Compression, FlushCompress};
use sha2::{Digest as _, Sha256};

use crate::system::fs;

/// Level at which half a gigabyte goes through a core each second; a higher one gains a third of the
/// size and costs another third of the time (docs/design/0018-a-quick-restore-point.md).
const LEVEL: u32 = 1;

/// The largest window of the format, as a power of two.
const WINDOW: u8 = 15;

/// How much is written at once, in bytes.
const WRITTEN_AT_ONCE: usize = 256 << 10;

/// The state of the compressor, which is costly to make and used again for each member.
pub(super) struct Packer {
    compress: Compress,
    out: Vec<u8>,
}

/// A member that is being written.
pub(super) struct Packed<'p> {
    packer: &'p mut Packer,
    out: Hashed,
}

/// A file that is written and hashed at once.
pub(super) struct Hashed {
    file: File,
    sum: Sha256,
}

impl Hashed {
    pub(super) fn create(path: &Path) -> io::Result<Self> {
        Ok(Self { file: fs::create_new(path, 0o600)?, sum: Sha256::new() })
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.sum.update(bytes);
        self.file.write_all(bytes)
    }

    pub(super) fn sum(self) -> String {
        hex::encode(self.sum.finalize())
    }
}

impl Packer {
    pub(super) fn new() -> Self {
        Self {
            compress: Compress::new_gzip(Compression::new(LEVEL), WINDOW),
            out: Vec::with_capacity(WRITTEN_AT_ONCE),
        }
    }

    pub(super) fn begin(&mut self, path: &Path) -> io::Result<Packed<'_>> {
        self.compress.reset();
        self.out.clear();
        Ok(Packed { out: Hashed::create(path)?, packer: self })
    }
}

impl Packed<'_> {
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.feed(bytes, FlushCompress::None)
    }

    /// Ends the member; returns its SHA-256.
    pub(super) fn finish(mut self) -> io::Result<String> {
        self.feed(&[], FlushCompress::Finish)?;
        self.out.write(&self.packer.out)?;
        Ok(self.out.sum())
    }

    fn feed(&mut self, mut bytes: &[u8], flush: FlushCompress) -> io::Result<()> {
        let Packer { compress, out } = &mut *self.packer;
        loop {
            let before = compress.total_in();
            let status = compress.compress_vec(bytes, out, flush).map_err(io::Error::other)?;
            let used = usize::try_from(compress.total_in() - before).unwrap_or(bytes.len());
            bytes = &bytes[used..];
            let done = match flush {
                FlushCompress::Finish => status == flate2::Status::StreamEnd,
                _ => bytes.is_empty() && out.len() < out.capacity(),
            };
            if done {
                return Ok(());
            }
            if out.len() == out.capacity() {
                self.out.write(out)?;
                out.clear();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;

    fn unpacked(path: &Path) -> Vec<u8> {
        let mut bytes = Vec::new();
        let file = File::open(path).unwrap();
        flate2::read::GzDecoder::new(file).read_to_end(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn what_is_packed_unpacks_and_has_the_sum_that_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let mut packer = Packer::new();
        // Bytes that do not compress fill the output more than once.
        let noise: Vec<u8> =
            (0..3_000_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        for (name, pieces) in [("a", vec![&noise[..], b"end"]), ("b", vec![b"x"]), ("c", vec![])] {
            let path = dir.path().join(name);
            let mut packed = packer.begin(&path).unwrap();
            for piece in &pieces {
                packed.write(piece).unwrap();
            }
            let sum = packed.finish().unwrap();
            assert_eq!(unpacked(&path), pieces.concat());
            assert_eq!(sum, hex::encode(Sha256::digest(std::fs::read(&path).unwrap())));
        }
    }
}
