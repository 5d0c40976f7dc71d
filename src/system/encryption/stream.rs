//! The stream itself: sealed while it is written, opened while it is read, nothing kept in between.

use std::io::{self, BufReader, Read, Write};

use super::{Identities, Recipient};
use crate::error::{Error, Result};
use crate::outcome::Outcome;

/// What is written comes out encrypted; only [`Sealing::finish`] makes it whole.
pub struct Sealing<W: Write> {
    writer: age::stream::StreamWriter<W>,
}

/// Begins a stream that each of these recipients can open.
pub fn seal<'r, W: Write>(
    output: W,
    recipients: impl IntoIterator<Item = &'r Recipient>,
) -> io::Result<Sealing<W>> {
    let keys = recipients.into_iter().map(|recipient| &recipient.key as &dyn age::Recipient);
    let encryptor = age::Encryptor::with_recipients(keys).map_err(io::Error::other)?;
    Ok(Sealing { writer: encryptor.wrap_output(output)? })
}

impl<W: Write> Sealing<W> {
    /// Writes the mark of the end, without which the stream counts as cut short.
    pub fn finish(self) -> io::Result<W> {
        self.writer.finish()
    }
}

impl<W: Write> Write for Sealing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.writer.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

/// What is read comes out decrypted; every piece is authenticated before any of it is seen.
pub struct Opened<R: Read> {
    reader: age::stream::StreamReader<BufReader<R>>,
}

/// Opens a stream with the one of these keys that fits.
pub fn open<R: Read>(input: R, identities: &Identities) -> Result<Opened<R>> {
    let keys = || identities.keys.iter().map(|key| key as &dyn age::Identity);
    let opened = age::Decryptor::new_buffered(BufReader::with_capacity(1 << 16, input));
    let reader = opened.and_then(|decryptor| decryptor.decrypt(keys())).map_err(|error| {
        let told = match &error {
            age::DecryptError::NoMatchingKeys => {
                return Error::new(
                    Outcome::Refused,
                    "the identity does not open it: it was \
                     encrypted to other recipients",
                );
            }
            age::DecryptError::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                "it was cut short"
            }
            age::DecryptError::Io(_) => "it cannot be read",
            age::DecryptError::UnknownFormat => "it is not in the format of age, or of a newer one",
            _ => "its header was changed",
        };
        Error::failed(told)
    })?;
    Ok(Opened { reader })
}

impl<R: Read> Read for Opened<R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.reader.read(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealed(plain: &[u8], keys: &Identities) -> Vec<u8> {
        let mut writer = seal(Vec::new(), &keys.recipients()).unwrap();
        writer.write_all(plain).unwrap();
        writer.finish().unwrap()
    }

    fn opened(bytes: &[u8], keys: &Identities) -> std::result::Result<Vec<u8>, String> {
        let mut plain = Vec::new();
        let mut reader = open(bytes, keys).map_err(|error| error.message())?;
        reader.read_to_end(&mut plain).map_err(|error| error.to_string())?;
        Ok(plain)
    }

    /// Lengths around the pieces of 64 KiB that the format has.
    const LENGTHS: [usize; 6] = [0, 1, (64 << 10) - 1, 64 << 10, (64 << 10) + 1, 200_000];

    #[test]
    fn what_was_sealed_opens_to_the_same_bytes() {
        let keys = Identities::generate();
        for length in LENGTHS {
            let plain: Vec<u8> = (0..length).map(|i| (i % 251) as u8).collect();
            assert_eq!(opened(&sealed(&plain, &keys), &keys).unwrap(), plain, "{length}");
        }
    }

    #[test]
    fn a_stream_that_was_cut_short_extended_or_flipped_never_opens_whole() {
        let keys = Identities::generate();
        for length in LENGTHS {
            let whole = sealed(&vec![7; length], &keys);
            for cut in [1, 16, 17, 100, whole.len() / 2, whole.len()] {
                let cut = &whole[..whole.len().saturating_sub(cut)];
                assert!(opened(cut, &keys).is_err(), "{length} cut to {}", cut.len());
            }
            for more in [&b"x"[..], &[0; 16], &[0; 70_000], &whole] {
                let longer = [&whole, more].concat();
                assert!(opened(&longer, &keys).is_err(), "{length} and {} more", more.len());
            }
            for at in (0..whole.len()).step_by(1 + whole.len() / 97) {
                let mut flipped = whole.clone();
                flipped[at] ^= 1;
                assert!(opened(&flipped, &keys).is_err(), "{length} flipped at {at}");
            }
        }
    }

    #[test]
    fn another_identity_is_told_from_damage() {
        let bytes = sealed(b"text", &Identities::generate());
        let why = opened(&bytes, &Identities::generate()).unwrap_err();
        assert!(why.contains("encrypted to other recipients"), "{why}");
        let why = opened(b"age-encryption.org/v1\n", &Identities::generate()).unwrap_err();
        assert!(why.contains("cut short"), "{why}");
    }

    #[test]
    fn each_of_several_recipients_opens_it() {
        let (one, two) = (Identities::generate(), Identities::generate());
        let bytes = sealed(b"text", &one.clone().and(&two));
        assert_eq!(opened(&bytes, &one).unwrap(), b"text");
        assert_eq!(opened(&bytes, &two).unwrap(), b"text");
    }
}
