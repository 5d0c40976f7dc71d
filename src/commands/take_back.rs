//! `openwatch migrate --to V` where V is behind what is applied.

use serde_json::json;

use crate::error::{Error, Result};
use crate::outcome::Outcome;
use crate::upgrade::machine::Machine;
use crate::upgrade::take_back;

use super::{Reply, about};

/// Shows what would be taken back; changes nothing.
pub fn show(machine: &Machine, version: &str) -> Result<Reply> {
    let mut lines = Vec::new();
    let mut would = Vec::new();
    for shipped in &machine.databases {
        let planned = take_back::look(shipped, version)?;
        let name = shipped.database.name();
        lines.push(format!("{name}: would take back, after a restore point:"));
        lines.extend(planned.labels().iter().map(|label| format!("  {label}")));
        would.push(json!({"name": name, "versions": planned.versions(), "restore_point": "dump"}));
    }
    let json = json!({"would_apply": [], "would_take_back": would});
    Ok(about(machine, Reply::ok(lines.join("\n"), json)))
}

/// Takes back what was applied after a version, once a person has said yes: what those migrations
/// added goes, with the data in it.
pub fn run(machine: &Machine, version: &str, confirmed: bool) -> Result<Reply> {
    if !confirmed {
        let shown = show(machine, version)?;
        let yes = machine.command(&format!("migrate --to {version} --yes"));
        let message = "migrations are taken back only after a yes: what they added is lost";
        let error = Error::new(Outcome::Refused, message);
        return Err(shown
            .text
            .lines()
            .fold(error, |error, line| error.detail(line.trim()))
            .state("nothing was changed")
            .hint(format!("To do it, run `{yes}`.")));
    }
    let take_back::Done { taken_back, restore_point } = take_back::run(machine, version)?;
    let text = format!(
        "took back {}{}",
        taken_back.versions.join(" "),
        restore_point.as_ref().map_or(String::new(), |id| format!(", restore point {id}"))
    );
    let json = json!({
        "database": taken_back.database,
        "taken_back": taken_back.versions,
        "restore_point": restore_point,
    });
    Ok(Reply::ok(text, json))
}
