//! Compressed streams inside a package, read piece by piece and never past a limit.

use std::fmt;
use std::io::{self, BufRead, BufReader, Read};

use flate2::read::MultiGzDecoder;
use lzma_rust2::XzReader;
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};
use sha2::{Digest as _, Sha256};

use super::fault::Fault;
use crate::system::signals;

/// What a decoder may use at most, in KiB: `xz -9` needs 65 MiB, zstd is limited by its own crate.
const XZ_MEMORY_KIB: u32 = 192 * 1024;

/// Opens a stream that is compressed with what its first bytes say; plain where they say nothing.
pub(super) fn decompressed<'a>(source: impl Read + 'a) -> Result<Box<dyn Read + 'a>, Fault> {
    let mut source = BufReader::with_capacity(64 * 1024, source);
    let first = source.fill_buf()?;
    let unread = |what: &str| Err(Fault::Unread(format!("its content is compressed with {what}")));
    Ok(match first {
        [0x1f, 0x8b, ..] => Box::new(MultiGzDecoder::new(source)),
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => {
            Box::new(XzReader::new_mem_limit(source, true, XZ_MEMORY_KIB))
        }
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => {
            Box::new(Frames { decoder: FrameDecoder::new(), source, open: false })
        }
        [b'B', b'Z', b'h', ..] => return unread("bzip2"),
        [0x5d, 0, 0, ..] => return unread("lzma"),
        [0x04, 0x22, 0x4d, 0x18, ..] => return unread("lz4"),
        _ => Box::new(source),
    })
}

/// All frames of a zstd stream, each with its checksum compared.
struct Frames<R> {
    decoder: FrameDecoder,
    source: R,
    open: bool,
}

impl<R: BufRead> Frames<R> {
    /// Opens the next frame, or says that there is none.
    fn next(&mut self) -> io::Result<bool> {
        loop {
            if self.source.fill_buf()?.is_empty() {
                return Ok(false);
            }
            match self.decoder.init(&mut self.source) {
                Ok(()) => return Ok(true),
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                    length,
                    ..
                })) => skip(&mut self.source, u64::from(length))?,
                Err(error) => return Err(io::Error::other(error)),
            }
        }
    }
}

impl<R: BufRead> Read for Frames<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            if !self.open {
                self.open = self.next()?;
                if !self.open {
                    return Ok(0);
                }
            }
            if self.decoder.can_collect() > 0 {
                return self.decoder.read(into);
            }
            if !self.decoder.is_finished() {
                self.decoder
                    .decode_blocks(&mut self.source, BlockDecodingStrategy::UptoBlocks(1))
                    .map_err(io::Error::other)?;
                continue;
            }
            let stated = self.decoder.get_checksum_from_data();
            if stated.is_some() && stated != self.decoder.get_calculated_checksum() {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "zstd checksum mismatch"));
            }
            self.open = false;
        }
    }
}

/// Reads this many bytes and forgets them; fewer are an error.
pub(super) fn skip(source: &mut dyn Read, bytes: u64) -> io::Result<()> {
    if io::copy(&mut source.take(bytes), &mut io::sink())? < bytes {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(())
}

/// Why [`Bounded`] stopped reading.
#[derive(Debug)]
pub(super) enum Stopped {
    /// More came out than any package of this kind holds.
    TooMuch(u64),
    /// A signal asked us to stop.
    Signal(&'static str),
}

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooMuch(limit) => write!(f, "unpacks to more than {limit} bytes"),
            Self::Signal(name) => write!(f, "stopped by {name}"),
        }
    }
}

impl std::error::Error for Stopped {}

/// A stream of which at most `limit` bytes are read, and which ends when a signal asks us to stop.
pub(super) struct Bounded<R> {
    inner: R,
    limit: u64,
    read: u64,
}

impl<R: Read> Bounded<R> {
    pub(super) fn new(inner: R, limit: u64) -> Self {
        Self { inner, limit, read: 0 }
    }
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if let Some(name) = signals::received() {
            return Err(io::Error::other(Stopped::Signal(name)));
        }
        let count = self.inner.read(into)?;
        self.read += count as u64;
        if self.read > self.limit {
            return Err(io::Error::other(Stopped::TooMuch(self.limit)));
        }
        Ok(count)
    }
}

/// A stream whose SHA-256 is known at its end.
pub(super) struct Hashed<R> {
    inner: R,
    hash: Sha256,
}

impl<R: Read> Hashed<R> {
    pub(super) fn new(inner: R) -> Self {
        Self { inner, hash: Sha256::new() }
    }

    /// Reads what is left and returns the SHA-256 of the whole in hexadecimal digits.
    pub(super) fn finish(mut self) -> io::Result<String> {
        io::copy(&mut self, &mut io::sink())?;
        Ok(hex::encode(self.hash.finalize()))
    }
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(into)?;
        self.hash.update(&into[..count]);
        Ok(count)
    }
}
