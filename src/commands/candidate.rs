//! `--candidate`: the package that the machine's package sources offer, fetched to be looked into.

use std::path::Path;
use std::sync::Arc;

use serde_json::json;

use crate::error::Result;
use crate::layout::Layout;
use crate::package::candidate::{self, Installed, Offer};
use crate::progress::Progress;
use crate::upgrade::looked_into::Offered;
use crate::upgrade::machine::Machine;

use super::Reply;

/// What came of looking for a candidate.
pub enum Found {
    /// A newer package, read.
    Machine(Box<Machine>),
    /// There is none, which is an answer.
    Answer(Reply),
}

/// Finds, fetches and reads the candidate; the file is gone when this returns.
pub fn find(
    layout: Layout,
    operator_file: Option<&Path>,
    progress: Arc<dyn Progress>,
) -> Result<Found> {
    let installed = candidate::installed(&layout)?;
    progress.step(&format!("looking for a candidate of {}", installed.name));
    let candidate = match candidate::look(&layout, &installed)? {
        Offer::Newer(candidate) => candidate,
        Offer::NothingNewer => return Ok(Found::Answer(nothing_newer(&installed))),
    };
    if candidate.held {
        progress.warn(&format!(
            "{} is held at {}: an upgrade passes the candidate {} by",
            installed.name, installed.version, candidate.version
        ));
    }
    let offered = Offered { version: candidate.version.clone(), held: candidate.held };
    // Where the file lies for the moment tells nobody anything.
    let gone = candidate.file().display().to_string();
    let told = candidate
        .file()
        .file_name()
        .map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    let mut machine = Machine::look_into(layout, operator_file, progress, candidate.file())
        .map_err(|error| error.instead_of(&gone, &told))?;
    for warning in &mut machine.config.warnings {
        *warning = warning.replace(&gone, &told);
    }
    if let Some(looked_into) = &mut machine.looked_into {
        looked_into.candidate = Some(offered);
        looked_into.shown = told;
    }
    Ok(Found::Machine(Box::new(machine)))
}

fn nothing_newer(installed: &Installed) -> Reply {
    let Installed { name, version, .. } = installed;
    Reply::ok(
        format!("the package sources offer nothing newer than {name} {version}"),
        json!({"candidate": null, "package": name, "installed_version": version}),
    )
}
