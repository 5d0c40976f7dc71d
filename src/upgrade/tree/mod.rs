//! Applications that no package tool installs: each version has a directory of its own, and a link
//! leads to the one that runs.
//!
//! [`bring`] fetches and builds a version while the services run; [`switch`] moves the link between
//! the restore point and the migrations; [`back`] brings the older version back. Which version a run
//! is about is said by the pending mark, as it is for packages: a run that was killed goes on with it.

pub mod back;
pub mod bring;
mod call;
pub mod keep;
mod note;
pub(super) mod sides;
pub mod switch;

use std::path::{Path, PathBuf};

use crate::config::{Config, TreeSpec};
use crate::error::{Error, Result};
use crate::layout::Layout;
use crate::outcome::Outcome;
use crate::system::fs;
use crate::version::Version;

use super::gate::Pending;
use super::rollback::order::Order;
use note::{Note, State};

/// More than any version; what is longer was not written as one.
const MOST_BYTES: u64 = 4096;

/// One version with its directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tree {
    /// The version.
    pub version: Version,
    /// Its directory.
    pub dir: PathBuf,
}

/// Returns the version that a name means: `v2.4.0` is the tag of 2.4.0.
pub fn version_of(name: &str) -> Version {
    let name = name.trim();
    let number = name.strip_prefix(['v', 'V']).filter(|rest| rest.starts_with(char::is_numeric));
    Version::new(number.unwrap_or(name))
}

/// Returns the version that the link leads to.
pub fn current(spec: &TreeSpec) -> Result<Tree> {
    let link = &spec.link;
    let shown = link.display();
    let target = std::fs::read_link(link).map_err(|error| {
        let lead = format!("{}/VERSION", spec.versions.display());
        let fault = match error.kind() {
            std::io::ErrorKind::NotFound => format!("there is no link {shown}"),
            _ => format!("{shown} is not a link to a version"),
        };
        Error::config(fault)
            .source(error)
            .state("nothing was changed")
            .hint(format!("Move the application to {lead}, then run `ln -s {lead} {shown}`."))
    })?;
    let dir = link.parent().unwrap_or(Path::new("/")).join(target);
    // One spelling for each: directories are compared, and one too many is removed.
    let dir = std::fs::canonicalize(&dir).unwrap_or(dir);
    if !dir.is_dir() {
        let message = format!("{shown} leads to {}, which is not there", dir.display());
        return Err(Error::config(message)
            .state("nothing was changed")
            .hint(format!("Look at `ls -l {}`.", spec.versions.display())));
    }
    Ok(Tree { version: named(spec, &dir), dir })
}

/// The version that a directory holds: its version file says it, or its name.
fn named(spec: &TreeSpec, dir: &Path) -> Version {
    let of_file = || {
        let text = fs::read_text(&dir.join(spec.version_file.as_ref()?), MOST_BYTES).ok()?;
        let line = text.lines().next()?.trim().to_owned();
        let legal = |c: char| c.is_ascii_alphanumeric() || ".+-~_".contains(c);
        (!line.is_empty() && line.chars().all(legal)).then_some(line)
    };
    let of_name = || dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
    version_of(&of_file().unwrap_or_else(of_name))
}

/// Returns every version that is there as a whole, newest first.
pub fn all(layout: &Layout, spec: &TreeSpec) -> Vec<Tree> {
    let entries = std::fs::read_dir(&spec.versions).into_iter().flatten().flatten();
    let real = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    let dirs = real
        .filter_map(|entry| std::fs::canonicalize(entry.path()).ok())
        .filter(|dir| is_whole(layout, dir));
    let mut found: Vec<Tree> = dirs.map(|dir| Tree { version: named(spec, &dir), dir }).collect();
    found.sort_by(|a, b| b.version.order(&a.version));
    found
}

/// Whether nothing was cut off while the directory was filled; what we did not fill is its owner's.
fn is_whole(layout: &Layout, dir: &Path) -> bool {
    let name = dir.file_name().unwrap_or_default().to_string_lossy();
    !name.starts_with('.')
        && Note::read(layout, &name).is_none_or(|note| note.state == State::Whole)
}

/// Returns this version, where it is there as a whole.
pub fn find(layout: &Layout, spec: &TreeSpec, version: &Version) -> Option<Tree> {
    all(layout, spec).into_iter().find(|tree| tree.version.order(version).is_eq())
}

/// Returns the version that a run is about: the one that the pending mark names, else the one that the
/// link leads to. A rollback under way is about what is linked, until it has moved the link.
pub fn meant(layout: &Layout, spec: &TreeSpec) -> Result<Tree> {
    let now = current(spec)?;
    if !matches!(Order::read(layout), Ok(None)) {
        return Ok(now);
    }
    // A mark that cannot be read closes the gate, and is told by whoever asks for it.
    let mark = Pending::read(layout).ok().flatten();
    let other = mark.filter(|mark| !mark.to.order(&now.version).is_eq());
    Ok(other.and_then(|mark| find(layout, spec, &mark.to)).unwrap_or(now))
}

/// Has the settings taken from the version that a run is about; none where packages bring versions.
pub(super) fn enter(
    layout: &Layout,
    config: &mut Config,
    wanted: Option<Tree>,
) -> Result<Option<Tree>> {
    let Some(spec) = &config.tree else { return Ok(None) };
    let tree = match wanted {
        Some(tree) => tree,
        None => meant(layout, spec)?,
    };
    config.take_from_tree(&tree.dir);
    Ok(Some(tree))
}

/// Refuses a version that is not there any more.
fn lacking(spec: &TreeSpec, version: &Version) -> Error {
    let message = format!("version {version} is not in {}", spec.versions.display());
    Error::new(Outcome::Refused, message)
        .state("nothing was changed")
        .hint(format!("Look at `ls {}`.", spec.versions.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_means_its_version() {
        for (name, version) in [("v2.4.0", "2.4.0"), ("2.4.0", "2.4.0"), ("vanilla", "vanilla")] {
            assert_eq!(version_of(name).as_str(), version);
        }
    }
}
