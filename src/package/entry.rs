//! One entry of an archive, its name made safe.

use std::ffi::OsStr;
use std::io::Read;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use super::fault::Fault;

/// The longest name that is read, in bytes: what Linux takes as a path.
pub(super) const LONGEST_NAME: u64 = 4096;

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A regular file with its content.
    File,
    /// A directory.
    Directory,
    /// What is never made: links, devices, pipes, sockets; with its name in a sentence.
    Other(&'static str),
}

/// What is done with each entry.
pub(super) type Visit<'a> = dyn FnMut(&mut Entry<'_>) -> Result<(), Fault> + 'a;

/// One entry of an archive.
pub(super) struct Entry<'a> {
    /// Where it would be unpacked, relative to the root; empty for the root itself.
    pub(super) path: PathBuf,
    /// What it is.
    pub(super) kind: Kind,
    /// Its size in bytes, as the archive claims.
    pub(super) size: u64,
    /// Its content.
    pub(super) data: &'a mut dyn Read,
}

impl<'a> Entry<'a> {
    /// Checks the name, which no packager's tool makes absolute or lets climb.
    pub(super) fn new(
        name: &[u8],
        kind: Kind,
        size: u64,
        data: &'a mut dyn Read,
    ) -> Result<Self, Fault> {
        Ok(Self { path: relative(name)?, kind, size, data })
    }
}

/// Returns the path of a name such as `./usr/bin/app`; names that leave the tree are hostile.
fn relative(name: &[u8]) -> Result<PathBuf, Fault> {
    let hostile = |why: &str| {
        let head = String::from_utf8_lossy(&name[..name.len().min(200)]).into_owned();
        Err(Fault::Hostile(format!("the entry {head:?} {why}")))
    };
    if name.is_empty() {
        return hostile("has no name");
    }
    if name.len() as u64 > LONGEST_NAME {
        return hostile("has a name of more than 4096 bytes");
    }
    if name.contains(&0) {
        return hostile("has a NUL character in its name");
    }
    if name[0] == b'/' {
        return hostile("has an absolute path");
    }
    let mut path = PathBuf::new();
    for component in name.split(|byte| *byte == b'/') {
        match component {
            b"" | b"." => {}
            b".." => return hostile("leaves the package's own tree"),
            plain => path.push(OsStr::from_bytes(plain)),
        }
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::path::{Component, Path};

    #[test]
    fn names_are_relative_to_the_root() {
        for (name, path) in [
            (&b"./usr/share/a"[..], "usr/share/a"),
            (b"usr//share/./a/", "usr/share/a"),
            (b"./", ""),
            (b".", ""),
            (b"./..a/b..", "..a/b.."),
        ] {
            assert_eq!(relative(name).unwrap(), Path::new(path));
        }
    }

    #[test]
    fn names_that_leave_the_tree_are_hostile() {
        for name in [&b""[..], b"/etc/passwd", b"../x", b"./a/../../x", b"a/..", b"..", b"a\0b"] {
            assert!(matches!(relative(name), Err(Fault::Hostile(_))), "{name:?}");
        }
        assert!(matches!(relative(&[b'a'; 5000]), Err(Fault::Hostile(_))));
    }

    proptest! {
        #[test]
        fn no_accepted_name_climbs(name in "[./a\u{e9}\u{0}-]{0,40}") {
            if let Ok(path) = relative(name.as_bytes()) {
                prop_assert!(path.components().all(|part| matches!(part, Component::Normal(_))));
            }
        }
    }
}
