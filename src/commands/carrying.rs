//! `openwatch backup export`, `import`: restore points that leave the machine and come back.

use std::io::{Read, Write};
use std::path::Path;

use serde_json::json;

use crate::disk;
use crate::error::{Context, Error, Result};
use crate::outcome::Outcome;
use crate::restore_points::{Import, Override, RestorePoint, Store};
use crate::system::host;
use crate::system::new_file::NewFile;
use crate::upgrade::machine::Machine;

use super::Reply;

/// Writes a restore point to a new file.
pub fn export_to_file(machine: &Machine, id: &str, path: &Path) -> Result<Reply> {
    let (store, point) = found(machine, id)?;
    let mut file = NewFile::beside(path)?;
    store.export(&point, &mut file, &*machine.progress)?;
    file.publish()?;
    let bytes = path.metadata().map_or(0, |data| data.len());
    let (id, shown) = (point.id(), path.display().to_string());
    let text = format!("restore point {id} is in {shown}, {}", disk::spoken(bytes));
    Ok(Reply::ok(text, json!({"id": id, "file": shown, "bytes": bytes})))
}

/// Writes a restore point to a stream; what is said goes where progress goes.
pub fn export_to_stream(machine: &Machine, id: &str, into: &mut dyn Write) -> Result<Reply> {
    let (store, point) = found(machine, id)?;
    store.export(&point, into, &*machine.progress)?;
    machine.progress.note(&format!("restore point {} is written", point.id()));
    Ok(Reply::silent(Outcome::Ok))
}

fn found(machine: &Machine, id: &str) -> Result<(Store, RestorePoint)> {
    let Some(store) = machine.stored()? else {
        return Err(
            Error::new(Outcome::Refused, "there is no restore point").state("nothing was changed")
        );
    };
    let point = store.find(id)?;
    Ok((store, point))
}

/// Makes a restore point of a file.
pub fn import_from_file(machine: &Machine, path: &Path, foreign: Override) -> Result<Reply> {
    let shown = path.display();
    let unfit = |why: String| Error::new(Outcome::Usage, why).state("nothing was changed");
    // Looked at before it is opened: opening a pipe would wait for a writer.
    let data = std::fs::metadata(path)
        .map_err(|error| unfit(format!("cannot read {shown}")).source(error))?;
    if !data.is_file() {
        let hint = "Name a file, or `-` for standard input.";
        return Err(unfit(format!("{shown} is not a file")).hint(hint));
    }
    let mut file = std::fs::File::open(path).context(|| format!("cannot read {shown}"))?;
    import(machine, &mut file, foreign)
}

/// Makes a restore point of a stream. It appears when every byte of it was compared with its sum.
pub fn import(machine: &Machine, from: &mut dyn Read, foreign: Override) -> Result<Reply> {
    let how = Import { reserve: machine.config.policy.reserve, now: machine.clock.now(), foreign };
    let imported = machine.store()?.import(from, &how, &*machine.progress)?;
    let manifest = imported.point.manifest();
    let mut lines = vec![format!(
        "restore point {}: {}, every byte compared with its sum",
        manifest.id,
        disk::spoken(manifest.bytes)
    )];
    if let Some(origin) = imported.origin.told() {
        lines.push(format!("  {origin}, at {}; this is {}", manifest.created, host::name()));
    }
    lines.push(format!("  {}", imported.pin.told()));
    let next = machine.command(&format!("backup show {}", manifest.id));
    lines.push(format!("  next: {next}"));
    let json = json!({
        "id": manifest.id,
        "bytes": manifest.bytes,
        "made_on": manifest.host,
        "made_for": manifest.app,
        "origin": imported.origin.told(),
        "pin": imported.pin,
    });
    Ok(Reply::ok(lines.join("\n"), json))
}
