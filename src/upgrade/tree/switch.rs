//! Moves the link to another version, at once: whoever starts finds the one or the other, never none.

use crate::config::{Side, TreeSpec};
use crate::error::{Error, Result};
use crate::system::fs;
use crate::version::Version;

use super::super::journal::Journal;
use super::super::machine::Machine;
use super::super::step::Step;
use super::call::{self, Command};
use super::note::Note;
use super::{Tree, current, sides};

/// Returns whether this run leads to another version than the one that is linked.
pub fn is_due(machine: &Machine) -> bool {
    let (Some(spec), Some(tree)) = (&machine.config.tree, &machine.tree) else { return false };
    current(spec).is_ok_and(|now| now.dir != tree.dir)
}

/// Moves the link to the version that the run is about; nothing where it is there already.
///
/// The packager's command goes first: killed in between, the link says that both are still to be done.
pub fn run(machine: &Machine, journal: &mut Journal) -> Result<()> {
    let (Some(spec), Some(tree)) = (&machine.config.tree, &machine.tree) else { return Ok(()) };
    if !is_due(machine) {
        return Ok(());
    }
    journal.begun(Step::Switch, format!("{} -> {}", current(spec)?.version, tree.version))?;
    to(machine, spec, tree)?;
    journal.done(Step::Switch, "")
}

/// Has an older version take its place again. Its command runs although the link may never have moved:
/// that of the newer version may have been cut off half way.
pub(in super::super) fn back(
    machine: &Machine,
    version: &Version,
    journal: &mut Journal,
) -> Result<()> {
    let spec = spec(machine)?;
    let older = super::find(&machine.layout, spec, version);
    let older = older.ok_or_else(|| super::lacking(spec, version))?;
    journal.begun(Step::Switch, format!("{} -> {version}", machine.version))?;
    to(machine, spec, &older)?;
    journal.done(Step::Switch, "")
}

pub(super) fn spec(machine: &Machine) -> Result<&TreeSpec> {
    machine.config.tree.as_ref().ok_or_else(|| {
        let app = machine.layout.app();
        let conf = machine.layout.packager_conf();
        Error::config(format!("nothing says where versions of {app} come from"))
            .detail(format!("{} has no table [source]", conf.display()))
            .state("nothing was changed")
            .hint("Where a package brings the application, upgrade the package.")
    })
}

/// Moves the link, and those of both sides with it: whichever of them runs then runs this version.
fn to(machine: &Machine, spec: &TreeSpec, tree: &Tree) -> Result<()> {
    machine.progress.step(&format!("switching to version {}", tree.version));
    call_switch(machine, spec, tree, sides::named(machine, spec))?;
    spec.sides.iter().try_for_each(|side| fs::replace_link(&spec.link_of(side), &tree.dir))?;
    fs::replace_link(&spec.link, &tree.dir)
}

/// Moves the link alone: a side that runs this version already serves from here on.
pub(super) fn hand(machine: &Machine, spec: &TreeSpec, tree: &Tree, side: &Side) -> Result<()> {
    machine.progress.step(&format!("switching to {} with version {}", side.name, tree.version));
    call_switch(machine, spec, tree, Some(side))?;
    fs::replace_link(&spec.link, &tree.dir)
}

fn call_switch(machine: &Machine, spec: &TreeSpec, tree: &Tree, side: Option<&Side>) -> Result<()> {
    let Some(words) = &spec.switch else { return Ok(()) };
    let name = tree.dir.file_name().unwrap_or_default().to_string_lossy();
    let tag = Note::read(&machine.layout, &name).map(|note| note.tag);
    let tag = tag.filter(|tag| !tag.is_empty()).unwrap_or_else(|| tree.version.to_string());
    let (dir, side) = (tree.dir.as_path(), side.map(|side| side.name.as_str()));
    let (name, identity) = ("switch", None);
    call::run(machine, Command { name, words, tree, tag: &tag, dir, identity, side })
}
