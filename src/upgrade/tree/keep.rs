//! Removes versions that nobody needs any more.

use crate::error::Result;
use crate::system::fs;

use super::super::gate::Pending;
use super::super::journal;
use super::super::machine::Machine;
use super::super::rollback::order::Order;
use super::note::Note;
use super::{all, current, is_whole, sides};

/// Removes what is older than the newest ones that are kept; never the one that is linked, the one
/// from before the last upgrade, or one that an open run is about. Returns what was removed.
pub fn prune(machine: &Machine) -> Result<Vec<String>> {
    let (layout, Some(spec)) = (&machine.layout, &machine.config.tree) else {
        return Ok(Vec::new());
    };
    let now = current(spec)?;
    let mut needed = Vec::new();
    if let Some(mark) = Pending::read(layout)? {
        needed.extend(mark.from.into_iter().chain([mark.to]));
    }
    if let Some(order) = Order::read(layout)? {
        needed.extend([order.from, order.to]);
    }
    if let Some(record) = journal::read(layout)? {
        needed.extend(record.from.into_iter().chain([record.to]));
    }
    let beside = all(layout, spec).into_iter().filter(|tree| tree.dir != now.dir);
    let too_many = beside.skip(usize::try_from(spec.keep).unwrap_or(usize::MAX));
    let unneeded =
        too_many.filter(|tree| !needed.iter().any(|own| own.order(&tree.version).is_eq()));
    let sides = sides::dirs(spec);
    let unneeded = unneeded.filter(|tree| !sides.contains(&tree.dir));
    let mut dirs: Vec<_> = unneeded.map(|tree| tree.dir).collect();
    let unfinished = std::fs::read_dir(&spec.versions).into_iter().flatten().flatten();
    // What is a link there belongs to somebody else.
    let unfinished = unfinished.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    let unfinished = unfinished.filter_map(|entry| std::fs::canonicalize(entry.path()).ok());
    dirs.extend(unfinished.filter(|dir| *dir != now.dir && named_and_cut_off(machine, dir)));
    let mut removed = Vec::new();
    for dir in dirs {
        let name = dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
        machine.progress.note(&format!("removing version {name}"));
        fs::remove_tree(&dir)?;
        Note::forget(layout, &name)?;
        removed.push(name);
    }
    Ok(removed)
}

fn named_and_cut_off(machine: &Machine, dir: &std::path::Path) -> bool {
    let name = dir.file_name().unwrap_or_default().to_string_lossy();
    dir.is_dir() && !name.starts_with('.') && !is_whole(&machine.layout, dir)
}
