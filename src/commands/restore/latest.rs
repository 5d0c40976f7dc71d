//! Whether `latest` can be what is meant.

use crate::error::{Error, Result};
use crate::outcome::Outcome;
use crate::restore_points::{Manifest, Origin, RestorePoint, Status};
use crate::upgrade::machine::Machine;

use super::{Wanted, typed_again};

/// Refuses where the newest restore point is of a schema that the installed program does not know, and
/// another one is not: who goes back by hand would have the newer schema once more. Which of the two is
/// meant, a person says; silence never stands for the older one.
pub(super) fn check(machine: &Machine, wanted: &Wanted<'_>, point: &RestorePoint) -> Result<()> {
    if is_known(machine, point.manifest()) {
        return Ok(());
    }
    let entries = machine.store()?.list()?;
    let fits = entries.iter().find(|entry| {
        let good = entry.status == Status::Good && entry.origin == Origin::Own;
        let manifest = entry.manifest.as_deref().filter(|_| good && entry.leads_back());
        manifest.is_some_and(|manifest| is_known(machine, manifest))
    });
    let Some(fits) = fits else { return Ok(()) };
    let command = |id: &str| {
        let words = typed_again(machine, wanted);
        format!("`{}`", machine.command(&format!("restore {id}{words}")))
    };
    Err(Error::new(Outcome::Refused, "which restore point is meant is not clear")
        .detail(format!(
            "the newest, {}, is of a schema that program {} does not know",
            point.id(),
            machine.version
        ))
        .detail(format!("the newest that it knows is {}", fits.id))
        .state("nothing was changed")
        .hint(format!("Run {}, or {}.", command(&fits.id), command(point.id()))))
}

/// A tool of the application's own does not tell what it knows.
fn is_known(machine: &Machine, manifest: &Manifest) -> bool {
    machine.databases.iter().all(|shipped| {
        let name = shipped.database.name();
        let archive = manifest.databases.iter().find(|archive| archive.name == name);
        let head = archive.and_then(|archive| archive.schema.head.as_deref());
        head.is_none_or(|head| {
            shipped.migrations.command().is_some() || shipped.migrations.find(head).is_some()
        })
    })
}
