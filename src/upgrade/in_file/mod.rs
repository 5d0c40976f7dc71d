//! What is looked at where a database is a file: damage, room beside it, who has it open.

use serde_json::{Value, json};

use crate::database::Database;
use crate::disk;
use crate::sqlite::{File, holders, unseen};

use super::machine::Machine;
use super::preflight::{Finding, advisory, required};
use super::survey::Survey;

/// Adds what stands in the way of an upgrade, or of the way back from it.
pub(super) fn look(machine: &Machine, survey: &Survey<'_>, found: &mut Vec<Finding>) {
    // Of what has it open while the units run, most belongs to them.
    let all_down = survey.units.iter().all(|unit| !unit.is_up());
    for surveyed in &survey.databases {
        let Some(file) = surveyed.database.file() else { continue };
        damage(file, found);
        room(file, surveyed.facts.size, machine.config.policy.reserve, found);
        if let Some(text) = unseen(file) {
            found.push(advisory(format!("{text}; a restore would be refused")));
        }
        if all_down {
            let open = holders(file)
                .into_iter()
                .map(|holder| advisory(format!("the {} is open in {holder}", file.described())));
            found.extend(open);
        }
    }
}

fn damage(file: &File, found: &mut Vec<Finding>) {
    if !file.exists() {
        return;
    }
    let wrong = file.open().map(|mut session| session.quick_check());
    let told = match wrong {
        Ok(Ok(lines)) if lines.is_empty() => return,
        Ok(Ok(lines)) => lines.join("; "),
        Ok(Err(fault)) => fault.to_string(),
        Err(error) => error.message(),
    };
    found.push(required(
        format!("the {} is damaged: {told}", file.described()),
        "Put a restore point back with `openwatch restore latest`.",
    ));
}

/// A restore brings a copy into the directory of the file before the file goes.
fn room(file: &File, size: u64, reserve: u64, found: &mut Vec<Finding>) {
    let Ok(free) = disk::free(file.dir()) else { return };
    if free.bytes < size.saturating_add(reserve) {
        found.push(advisory(format!(
            "a restore would need {} and {} kept free in {}, {} free",
            disk::spoken(size),
            disk::spoken(reserve),
            file.dir().display(),
            disk::spoken(free.bytes)
        )));
    }
}

/// Describes the file of a database for JSON; nothing where it is on a server.
pub fn told(database: &Database) -> Option<Value> {
    let file = database.file()?;
    let remains = file.remains();
    let open: Vec<String> = holders(file).iter().map(ToString::to_string).collect();
    let looked = file.look().ok();
    Some(json!({
        "path": file.path(),
        "there": file.exists(),
        "bytes": looked.as_ref().map(|looked| looked.bytes),
        "journal_mode": looked.map(|looked| looked.journal_mode),
        "wal_bytes": remains.wal,
        "journal_bytes": remains.journal,
        "open_in": open,
    }))
}
