//! Restore points that leave the machine and come back, as one stream.
//!
//! The stream is a tar archive. First what it is, with the manifest: whoever reads it knows from the
//! first member how much may follow. Then the sums, then each file that has one, and at its end the
//! manifest once more: a stream that was cut short, and one whose export failed, lacks it. `tar`
//! unpacks it to a restore point as well.

mod export;
mod import;
mod members;
mod received;

use std::io::{self, Read};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::pin::PinNote;
use crate::system::signals;

pub use import::{Import, Imported};
pub use received::is_plain_word;

/// Name of the first member.
const HEAD: &str = "openwatch-export.json";

/// Version of this form of stream.
const FORMAT: u32 = 1;

/// The most bytes of the first member: a manifest, quoted.
const HEAD_LIMIT: u64 = 16 << 20;

/// What the first member says.
#[derive(Debug, Serialize, Deserialize)]
struct Head {
    /// Version of the form of stream.
    format: u32,
    /// Version of the program that wrote it.
    program: String,
    /// Name of the restore point.
    id: String,
    /// The manifest, byte by byte.
    manifest: String,
    /// The pin that it had.
    #[serde(default)]
    pin: Option<PinNote>,
}

/// Hashes what is read through it, and ends when we are asked to stop.
struct Hashed<'a, R> {
    inner: R,
    state: Sha256,
    bytes: u64,
    read: &'a mut dyn FnMut(u64),
}

impl<'a, R: Read> Hashed<'a, R> {
    fn new(inner: R, read: &'a mut dyn FnMut(u64)) -> Self {
        Self { inner, state: Sha256::new(), bytes: 0, read }
    }

    /// Returns how many bytes were read, and their SHA-256.
    fn sum(self) -> (u64, String) {
        (self.bytes, hex::encode(self.state.finalize()))
    }
}

impl<R: Read> Read for Hashed<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if let Some(signal) = signals::received() {
            return Err(io::Error::other(format!("stopped because we received {signal}")));
        }
        let count = self.inner.read(buffer)?;
        self.state.update(&buffer[..count]);
        self.bytes += count as u64;
        (self.read)(count as u64);
        Ok(count)
    }
}
