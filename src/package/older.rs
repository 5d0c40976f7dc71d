//! The package of an older version: in the caches of the package tools, or in the package sources.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::candidate::{Fetched, Installed, tool};
use super::candidate_apt::Apt;
use super::{Family, PackageFile};
use crate::error::{Error, Result};
use crate::layout::Layout;
use crate::outcome::Outcome;
use crate::system::scratch::ScratchDir;
use crate::version::Version;

/// Where apt and dnf keep package files that they have fetched; the deepest level is the last number.
const CACHES: &[(Family, &str, usize)] = &[
    (Family::Deb, "var/cache/apt/archives", 0),
    (Family::Rpm, "var/cache/dnf", 2),
    (Family::Rpm, "var/cache/libdnf5", 2),
];

/// How long the package sources may take to say whether they have a version.
const ASK_LIMIT: Duration = Duration::from_secs(60);

/// Returns the file of this version in a cache of the package tools, by what the file says of itself.
pub fn cached(root: &Path, installed: &Installed, version: &Version) -> Option<PathBuf> {
    let ending = match installed.family {
        Family::Deb => "deb",
        Family::Rpm => "rpm",
    };
    let mut files = Vec::new();
    for (_, dir, depth) in CACHES.iter().filter(|(family, ..)| *family == installed.family) {
        collect(&root.join(dir), *depth, &mut files);
    }
    files.retain(|path| {
        let name = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
        name.starts_with(&installed.name) && path.extension().is_some_and(|end| end == ending)
    });
    files.sort();
    files.into_iter().find(|path| is_of(path, &installed.name, version))
}

/// Returns the file of this version where a package source is a directory of this machine: of such a
/// source (`file:`) apt keeps no copy. Only apt has an answer; that of dnf lies in its cache.
pub fn in_local_source(root: &Path, installed: &Installed, version: &Version) -> Option<PathBuf> {
    match installed.family {
        Family::Deb => {
            let dir = ScratchDir::new("openwatch-candidate-").ok()?;
            let file = Apt::below(root).local(installed, version, dir.path(), ASK_LIMIT)?;
            is_of(&file, &installed.name, version).then_some(file)
        }
        Family::Rpm => None,
    }
}

fn collect(dir: &Path, depth: usize, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let Ok(kind) = entry.file_type() else { continue };
        // What is being fetched is in `partial`, and is no package yet.
        if kind.is_dir() && depth > 0 && entry.file_name() != "partial" {
            collect(&entry.path(), depth - 1, files);
        } else if kind.is_file() {
            files.push(entry.path());
        }
    }
}

/// Returns whether a file is this package in this version; one that cannot be read is not.
pub fn is_of(file: &Path, package: &str, version: &Version) -> bool {
    PackageFile::open(file).is_ok_and(|opened| {
        let identity = opened.identity();
        identity.name == package && identity.version.order(version).is_eq()
    })
}

/// Returns the version as the package sources write it, where they offer it. Only asks: neither lists
/// nor caches of the tools are changed.
pub fn offered(root: &Path, installed: &Installed, version: &Version) -> Result<Option<Version>> {
    let dir = ScratchDir::new("openwatch-candidate-")?;
    let all = tool(root, installed.family)?.all(installed, dir.path(), ASK_LIMIT)?;
    Ok(all.into_iter().find(|offered| offered.order(version).is_eq()))
}

/// Fetches this version, as the package sources write it, into a private directory.
pub fn fetch(layout: &Layout, installed: &Installed, version: &Version) -> Result<Fetched> {
    let dir = ScratchDir::new("openwatch-candidate-")?;
    tool(layout.root(), installed.family)?.fetch_older(&installed.name, version, &dir)?;
    Fetched::among(dir, installed, version)
}

/// Refuses a file that is not this package in this version.
pub fn check(file: &Path, package: &str, version: &Version) -> Result<()> {
    let opened = PackageFile::open(file)?;
    let identity = opened.identity();
    if identity.name == package && identity.version.order(version).is_eq() {
        return Ok(());
    }
    let what = format!("{} {}", identity.name, identity.version);
    let message = format!("{} is {what}, not {package} {version}", file.display());
    Err(Error::new(Outcome::Refused, message).state("nothing was changed"))
}
