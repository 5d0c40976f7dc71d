//! The tagged values of an rpm header: every offset and count in it is a claim, and checked.

use std::io::Read;

use super::fault::Fault;

/// How a header begins, its version included.
const MAGIC: [u8; 4] = [0x8e, 0xad, 0xe8, 0x01];

/// The most tags and bytes of values that are read; rpm itself stops at 65,535 and 256 MiB.
const MOST_TAGS: u32 = 65_535;
const MOST_BYTES: u32 = 32 * 1024 * 1024;

/// The most values of one tag that are read: one for each file of a package.
const MOST_VALUES: usize = 1_000_000;

/// Size of one entry of the index: tag, type, offset, count.
const INDEX_ENTRY: usize = 16;

/// A header, read whole.
pub(super) struct Header {
    index: Vec<Value>,
    store: Vec<u8>,
}

struct Value {
    tag: u32,
    kind: u32,
    offset: usize,
    count: usize,
}

impl Header {
    /// Reads a header, and returns with it the bytes that its digest is made from.
    pub(super) fn read(source: &mut dyn Read, name: &str) -> Result<(Self, Vec<u8>), Fault> {
        let mut bytes = vec![0; 16];
        source.read_exact(&mut bytes)?;
        if bytes[..4] != MAGIC {
            return Err(Fault::Damaged(format!("its {name} does not begin as one")));
        }
        let (tags, size) = (u32_at(&bytes, 8), u32_at(&bytes, 12));
        let (Some(tags), Some(size)) =
            (tags.filter(|tags| *tags <= MOST_TAGS), size.filter(|size| *size <= MOST_BYTES))
        else {
            return Err(Fault::Hostile(format!("its {name} claims to be larger than any is")));
        };
        let index_size = tags as usize * INDEX_ENTRY;
        let whole = index_size as u64 + u64::from(size);
        // Grows with what is really there, not with what is claimed.
        if source.take(whole).read_to_end(&mut bytes)? as u64 != whole {
            return Err(Fault::Damaged(format!("it ends within its {name}")));
        }
        let store = bytes[16 + index_size..].to_vec();
        let word = |at| u32_at(&bytes, at).unwrap_or_default();
        let index = (0..tags as usize)
            .map(|number| 16 + number * INDEX_ENTRY)
            .map(|at| Value {
                tag: word(at),
                kind: word(at + 4),
                offset: word(at + 8) as usize,
                count: word(at + 12) as usize,
            })
            .collect();
        Ok((Self { index, store }, bytes))
    }

    /// Returns the value of a tag that holds one text, or the first of several.
    pub(super) fn text(&self, tag: u32) -> Option<String> {
        self.texts(tag).into_iter().next().map(|text| String::from_utf8_lossy(text).into_owned())
    }

    /// Returns all texts of a tag.
    pub(super) fn texts(&self, tag: u32) -> Vec<&[u8]> {
        let Some(value) = self.value(tag).filter(|value| matches!(value.kind, 6 | 8 | 9)) else {
            return Vec::new();
        };
        let bytes = self.store.get(value.offset..).unwrap_or_default();
        // Texts end with NUL: what follows the last one is none.
        let ended = bytes.iter().filter(|byte| **byte == 0).count();
        bytes.split(|byte| *byte == 0).take(value.count.min(ended).min(MOST_VALUES)).collect()
    }

    /// Returns all numbers of a tag, whatever their size in the file.
    pub(super) fn numbers(&self, tag: u32) -> Vec<u64> {
        let Some(value) = self.value(tag) else { return Vec::new() };
        let width = match value.kind {
            2 => 1,
            3 => 2,
            4 => 4,
            5 => 8,
            _ => return Vec::new(),
        };
        let bytes = self.store.get(value.offset..).unwrap_or_default();
        let number = |bytes: &[u8]| bytes.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
        bytes.chunks_exact(width).take(value.count.min(MOST_VALUES)).map(number).collect()
    }

    fn value(&self, tag: u32) -> Option<&Value> {
        self.index.iter().find(|value| value.tag == tag)
    }
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let four = bytes.get(at..at + 4)?;
    Some(u32::from_be_bytes(four.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_bytes_make_the_header_reader_panic(
            tags in 0_u32..8,
            size in 0_u32..200,
            rest in prop::collection::vec(any::<u8>(), 0..400),
            tag in 0_u32..8,
        ) {
            let mut bytes = MAGIC.to_vec();
            bytes.extend([0; 4]);
            bytes.extend(tags.to_be_bytes());
            bytes.extend(size.to_be_bytes());
            bytes.extend(rest);
            if let Ok((header, _)) = Header::read(&mut bytes.as_slice(), "header") {
                let _ = (header.texts(tag), header.numbers(tag), header.text(tag));
            }
        }
    }

    #[test]
    fn a_header_that_claims_too_much_is_hostile() {
        let mut bytes = MAGIC.to_vec();
        bytes.extend([0, 0, 0, 0, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff]);
        assert!(matches!(Header::read(&mut bytes.as_slice(), "header"), Err(Fault::Hostile(_))));
    }
}
