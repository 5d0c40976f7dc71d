//! An older package in the place of a newer one: only where the data is as that package knows it.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::migrations;
use crate::outcome::Outcome;
use crate::upgrade::gate::Pending;
use crate::upgrade::journal;
use crate::upgrade::machine::Machine;
use crate::version::Version;

use super::Context;

/// Only the older package's script can refuse, and it runs the newer, installed program: this one.
pub(super) fn allow_downgrade(context: &Context<'_>, from: &Version, to: &Version) -> Result<()> {
    let layout = &context.layout;
    if layout.allow_downgrade().exists() {
        return Ok(());
    }
    // The way back after a failed upgrade, once the data is as it was before.
    let mark = Pending::read(layout)?;
    let came_from = mark.and_then(|mark| mark.failed.and(mark.from));
    let last = journal::read(layout)?;
    if came_from.is_some_and(|was| was.order(to).is_eq())
        && last.as_ref().is_some_and(|record| data_is_as_before(context, record))
    {
        return Ok(());
    }
    let point = last.and_then(|record| record.restore_point);
    let id = point.as_deref().unwrap_or("latest");
    Err(Error::new(
        Outcome::Refused,
        format!("{} {from} is not replaced by the older {to}: the database would be newer than the program", layout.app()),
    )
    .state("nothing was changed")
    .hint(format!(
        "Put the data back with `openwatch restore {id}`, then `touch {}` and install {to} again.",
        layout.allow_downgrade().display()
    )))
}

/// Returns whether every database has the schema that it had before the last run began.
fn data_is_as_before(context: &Context<'_>, record: &journal::Record) -> bool {
    let Some(baseline) = &record.baseline else { return false };
    let look = || -> Result<bool> {
        let layout = context.layout.clone();
        let machine = Machine::open(layout, context.operator_file, Arc::clone(&context.progress))?;
        for shipped in &machine.databases {
            let mut session = shipped.database.connect()?;
            let now = migrations::look(&mut session, &shipped.migrations)?;
            // Which version a tool says it is at does not tell what it left half done.
            if shipped.migrations.command().is_some() && !untouched(record) {
                return Ok(false);
            }
            let before = baseline.databases.get(shipped.database.name());
            if before.is_none_or(|before| before.schema != now.current) {
                return Ok(false);
            }
        }
        Ok(true)
    };
    // What cannot be looked at counts as changed.
    look().unwrap_or(false)
}

/// Returns whether a run that failed left the data as it was, or had it put back.
fn untouched(record: &journal::Record) -> bool {
    record.data == Some(migrations::DataState::Unchanged)
}
