//! `openwatch restore` of a point that a command of the operator made: another command puts it back.

use serde_json::json;

use crate::error::{Error, Result};
use crate::outcome::Outcome;
use crate::restore_points::{Carried, Override, RestorePoint};
use crate::system::clock;
use crate::upgrade::external::{self, Fit};
use crate::upgrade::gate::Pending;
use crate::upgrade::machine::Machine;
use crate::upgrade::recover;

use super::Reply;
use super::restore::{Files, Wanted, check_origins, databases, typed_again};

/// Has it put back, once the operator has said yes and the units are down.
pub(super) fn run(
    machine: &Machine,
    wanted: &Wanted<'_>,
    point: &RestorePoint,
    up: &[&str],
) -> Result<Reply> {
    let (id, identifier) = (point.id(), point.identifier().unwrap_or_default());
    let refused = |text: String| Error::new(Outcome::Refused, text).state("nothing was changed");
    let command = machine.config.policy.restore_point.restore_command.as_deref();
    if wanted.database.is_some() {
        return Err(Error::new(
            Outcome::Usage,
            format!("restore point {id} is {identifier}, which is put back whole or not at all"),
        )
        .state("nothing was changed")
        .hint("Leave --database out."));
    }
    check_origins(machine, wanted, point, &databases(machine, point, wanted)?)?;
    if wanted.files == Files::PutBack {
        point.check_files_back(&machine.travelling())?;
    }
    if let (Some(command), false) = (command, wanted.confirmed) {
        let restore =
            machine.command(&format!("restore {id}{} --yes", typed_again(machine, wanted)));
        let restore = match up {
            [] => restore,
            _ => format!("systemctl stop {} && {restore}", up.join(" ")),
        };
        let error = refused(format!("restoring {id} has {} put back {identifier}", command[0]))
            .detail("what becomes of the present data is up to that command");
        let files = point.carried()?;
        return Err(files
            .iter()
            .filter_map(Carried::told)
            .fold(error, Error::detail)
            .hint(format!("To do it, run `{restore}`.")));
    }
    if !up.is_empty() {
        return Err(refused(format!("{} runs and uses the database", up.join(", ")))
            .hint(format!("Run `systemctl stop {}`, then try again.", up.join(" "))));
    }
    let foreign = if wanted.foreign { Override::AcceptForeign } else { Override::No };
    let fit = external::put_back(machine, point, foreign)?;
    recover::put_back_by_hand(machine, id)?;
    if wanted.files == Files::PutBack {
        let back = point.put_files_back(&machine.travelling(), &clock::stamp(machine.clock.now()));
        for line in back.map_err(|error| error.state("the data is restored; files may not be"))? {
            machine.progress.note(&line);
        }
    }
    let fits = point.manifest().from_version.as_ref();
    let fits = fits.map_or("the version that fits".into(), |from| format!("version {from}"));
    let next = match fit {
        // The mark of an upgrade that failed: nothing but this takes it away.
        Fit::Program if Pending::read(&machine.layout)?.is_some() => format!(
            "the installed program knows this schema, and the gate is closed since the last upgrade \
             failed\n  next: run `{}`",
            machine.command("upgrade --retry")
        ),
        Fit::Program => "the installed program knows this schema".into(),
        Fit::Other => {
            format!("next: install {fits}, or run `{}`", machine.command("upgrade --retry"))
        }
    };
    let text = format!("restored {id}: {identifier} is put back\n  {next}");
    Ok(Reply::ok(text, json!({"id": id, "identifier": identifier, "replaced": []})))
}
