//! Whether the application's own tool follows to a scratch database.
//!
//! A tool that takes its database from a file of its own would migrate the real one in the middle of a
//! rehearsal. So it is asked first, while the scratch database has nothing in it: the answer must not
//! be the one that it gives about the real database.

use crate::database::Database;
use crate::error::{Context, Error, Result};
use crate::migrations::{self, Command, Comparison};
use crate::outcome::Outcome;

use crate::upgrade::machine::Shipped;

/// A table without which nobody asks the tool: the scratch database would count as empty.
const PROBE: &str = "openwatch_rehearsal_probe";

/// Refuses unless the tool speaks of the scratch database when it is told to.
pub(super) fn prove(shipped: &Shipped, command: &Command, scratch: &Database) -> Result<()> {
    if shipped.database.file().is_some() {
        return Err(refused(command, "nothing tells it of another file than the real one")
            .hint("Rehearse on a copy of the machine."));
    }
    if !command.is_installed() {
        return Err(refused(command, "its package is not installed, and nothing of it is run")
            .hint("Rehearse once it is unpacked on another machine, with a copy of the data."));
    }
    if command.spec().status.is_none() {
        return Err(refused(
            command,
            "it has no `status_command`, which would show where it connects",
        )
        .hint("Have the packager name a `status_command` in `migrations`."));
    }
    let chain = &shipped.migrations;
    let real = migrations::look(&mut shipped.database.connect()?, chain)?;
    let mut session = scratch.connect()?;
    let made = session.run(&format!("create table {PROBE} ()"));
    made.context(|| "cannot make a table in the scratch database".into())?;
    let there = migrations::look(&mut session, chain);
    let gone = session.run(&format!("drop table {PROBE}"));
    gone.context(|| "cannot drop a table of the scratch database".into())?;
    if answers(&there?) == answers(&real) {
        return Err(refused(command, "it says of an empty database what it says of the real one")
            .hint(
                "Let it take its database from the PG* variables, and name a `version_command` where \
                 `status_command` only says that something is pending.",
            ));
    }
    Ok(())
}

fn answers(found: &Comparison) -> (Vec<&str>, usize, Option<&str>) {
    let pending = found.pending.iter().map(|pending| pending.version.as_str()).collect();
    (pending, found.applied, found.current.as_deref())
}

fn refused(command: &Command, why: &str) -> Error {
    let what = format!("{} cannot be rehearsed: {why}", command.shown());
    Error::new(Outcome::Refused, what)
        .detail("otherwise a rehearsal might migrate the real database")
}
