//! Copies of package files, kept for the way back: by then the package sources may have the newest
//! version only.

use std::collections::HashSet;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Context, Error, Result};
use crate::layout::Layout;
use crate::outcome::Outcome;
use crate::package::candidate;
use crate::package::{Family, older};
use crate::restore_points::{Entry, sha256_of_file};
use crate::system::fs;
use crate::system::new_file::NewFile;
use crate::version::Version;

use super::super::gate::Pending;
use super::super::machine::Machine;
use super::super::ran_before::Ran;
use super::order::{Order, Program};

const MOST_BYTES: u64 = 64 << 10;

/// What is noted beside a kept file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Note {
    package: String,
    version: Version,
    family: Family,
    file: String,
    sha256: String,
}

/// Returns the kept file of this version, if it is what it was when it was kept.
pub fn find(layout: &Layout, package: &str, version: &Version) -> Result<Option<PathBuf>> {
    let Some(note) = notes(layout)
        .into_iter()
        .find(|note| note.package == package && note.version.order(version).is_eq())
    else {
        return Ok(None);
    };
    proven(layout, &note).map(Some)
}

/// Returns the kept file with this name, if it is what it was when it was kept.
pub fn named(layout: &Layout, file: &str) -> Result<PathBuf> {
    let note = notes(layout).into_iter().find(|note| note.file == file);
    let note = note.ok_or_else(|| {
        Error::new(Outcome::Refused, format!("the kept package {file} is gone"))
            .hint(format!("Run `{}`.", layout.command("rollback --package FILE")))
    })?;
    proven(layout, &note)
}

fn proven(layout: &Layout, note: &Note) -> Result<PathBuf> {
    let dir = layout.packages_dir();
    fs::check_trusted_dir(&dir)?;
    let path = dir.join(&note.file);
    let found = sha256_of_file(&path).context(|| format!("cannot read {}", path.display()))?;
    if found == note.sha256 {
        return Ok(path);
    }
    let message = format!("the kept package {} is not what it was", path.display());
    Err(Error::new(Outcome::Refused, message)
        .detail(format!("its SHA-256 is {found}, and was {}", note.sha256))
        .state("nothing was changed")
        .hint(format!(
            "Run `rm {}`, or name another file with `{}`.",
            path.display(),
            layout.command("rollback --package FILE")
        )))
}

/// Keeps a copy of a package file, and returns its name there.
pub fn keep(layout: &Layout, from: &Path, package: &str, family: Family) -> Result<String> {
    let dir = layout.packages_dir();
    fs::make_dir(&dir, 0o700)?;
    fs::check_trusted_dir(&dir)?;
    let opened = crate::package::PackageFile::open(from)?;
    let version = opened.identity().version.clone();
    let plain = |c: char| if c.is_ascii_alphanumeric() || "-.+~".contains(c) { c } else { '_' };
    let shown: String = version.as_str().chars().map(plain).collect();
    let ending = match family {
        Family::Deb => "deb",
        Family::Rpm => "rpm",
    };
    let file = format!("{package}_{shown}.{ending}");
    let path = dir.join(&file);
    if from != path {
        // Another file of the same version may be there; the newer copy counts.
        forget(layout, &file)?;
        let attempt = || format!("cannot copy {} to {}", from.display(), path.display());
        let (mut source, _) = fs::open_regular(from).context(attempt)?;
        let mut copy = NewFile::beside(&path)?;
        std::io::copy(&mut source, &mut copy).context(attempt)?;
        copy.flush().context(attempt)?;
        copy.publish()?;
    }
    let sha256 = sha256_of_file(&path).context(|| format!("cannot read {}", path.display()))?;
    let note = Note { package: package.to_owned(), version, family, file: file.clone(), sha256 };
    let text = serde_json::to_string(&note).context(|| "cannot write the note".into())?;
    fs::replace(&note_path(layout, &file), text.as_bytes(), 0o600)?;
    Ok(file)
}

fn note_path(layout: &Layout, file: &str) -> PathBuf {
    layout.packages_dir().join(format!("{file}.json"))
}

fn forget(layout: &Layout, file: &str) -> Result<()> {
    fs::remove_file(&note_path(layout, file))?;
    fs::remove_file(&layout.packages_dir().join(file))
}

fn notes(layout: &Layout) -> Vec<Note> {
    let entries = std::fs::read_dir(layout.packages_dir()).into_iter().flatten().flatten();
    let paths = entries.map(|entry| entry.path());
    let notes = paths.filter(|path| path.extension().is_some_and(|end| end == "json"));
    notes
        .filter_map(|path| serde_json::from_str(&fs::read_text(&path, MOST_BYTES).ok()?).ok())
        .filter(|note: &Note| !note.file.contains('/') && !note.file.starts_with('.'))
        .collect()
}

/// Keeps the package files of these versions that the package tools have in their caches or in a source
/// on this machine at this instant; that of the new one is the way back of the next upgrade.
pub fn remember(layout: &Layout, versions: &[&Version]) -> Result<()> {
    let Ok(installed) = candidate::installed(layout) else { return Ok(()) };
    for version in versions {
        if find(layout, &installed.name, version).is_ok_and(|kept| kept.is_some()) {
            continue;
        }
        let cached = older::cached(layout.root(), &installed, version);
        let file = cached.or_else(|| older::in_local_source(layout.root(), &installed, version));
        if let Some(file) = file {
            keep(layout, &file, &installed.name, installed.family)?;
        }
    }
    Ok(())
}

/// Keeps the package of the installed version while it is at hand, where the operator wants that;
/// without it a rollback depends on the package sources, and nothing fails for it.
pub fn remember_installed(machine: &Machine) {
    if !machine.config.policy.keep_packages {
        return;
    }
    if let Err(error) = remember(&machine.layout, &[&machine.version]) {
        machine.progress.warn(&format!("no copy of the package is kept: {}", error.message()));
    }
}

/// Removes the copies that no restore point leads back to any more.
pub fn prune(machine: &Machine) -> Result<Vec<String>> {
    let listed = machine.stored()?.map_or_else(|| Ok(Vec::new()), |store| store.list())?;
    prune_beside(machine, listed.iter())
}

/// Does the same beside restore points that were listed already.
pub fn prune_beside<'e>(
    machine: &Machine,
    points: impl Iterator<Item = &'e Entry>,
) -> Result<Vec<String>> {
    let layout = &machine.layout;
    let notes = notes(layout);
    if notes.is_empty() {
        return Ok(Vec::new());
    }
    let mut needed = HashSet::from([machine.version.clone()]);
    needed.extend(Ran::of_cut_off(layout).map(|ran| ran.version));
    if let Some(mark) = Pending::read(layout)? {
        needed.extend(mark.from);
        needed.insert(mark.to);
    }
    let order = Order::read(layout)?;
    let manifests = points.filter_map(|entry| entry.manifest.as_ref());
    needed.extend(manifests.filter_map(|manifest| manifest.from_version.clone()));
    let ordered = |file: &str| match order.as_ref().map(|order| &order.program) {
        Some(Program::Exchanged { file: own }) => own == file,
        Some(Program::ByHand | Program::Tree) | None => false,
    };
    let mut removed = Vec::new();
    for note in notes {
        let wanted = needed.iter().any(|version| version.order(&note.version).is_eq());
        if !wanted && !ordered(&note.file) {
            forget(layout, &note.file)?;
            removed.push(note.file);
        }
    }
    Ok(removed)
}
