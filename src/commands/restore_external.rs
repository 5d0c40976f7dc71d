//! `openwatch restore` of a point that a command of the operator made: another command puts it back.

use serde_json::json;

use crate::error::{Error, Result};
use crate::outcome::Outcome;
use crate::restore_points::{Override, RestorePoint};
use crate::upgrade::external::{self, Fit};
use crate::upgrade::machine::Machine;
use crate::upgrade::recover;

use super::Reply;
use super::restore::Wanted;

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
    if let (Some(command), false) = (command, wanted.confirmed) {
        let restore = machine.command(&format!("restore {id} --yes"));
        let restore = match up {
            [] => restore,
            _ => format!("systemctl stop {} && {restore}", up.join(" ")),
        };
        return Err(refused(format!("restoring {id} has {} put back {identifier}", command[0]))
            .detail("what becomes of the present data is up to that command")
            .hint(format!("To do it, run `{restore}`.")));
    }
    if !up.is_empty() {
        return Err(refused(format!("{} runs and uses the database", up.join(", ")))
            .hint(format!("Run `systemctl stop {}`, then try again.", up.join(" "))));
    }
    let foreign = if wanted.foreign { Override::AcceptForeign } else { Override::No };
    let fit = external::put_back(machine, point, foreign)?;
    recover::put_back_by_hand(machine, id)?;
    let fits = point.manifest().from_version.as_ref();
    let fits = fits.map_or("the version that fits".into(), |from| format!("version {from}"));
    let next = match fit {
        Fit::Program => "the installed program knows this schema".into(),
        Fit::Other => {
            format!("next: install {fits}, or run `{}`", machine.command("upgrade --retry"))
        }
    };
    let text = format!("restored {id}: {identifier} is put back\n  {next}");
    Ok(Reply::ok(text, json!({"id": id, "identifier": identifier, "replaced": []})))
}
