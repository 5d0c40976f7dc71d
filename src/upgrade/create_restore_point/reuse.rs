//! The restore point of an attempt that failed, used again by the one that follows.
//!
//! Each `dpkg --configure -a` is an attempt. Where the one before left the data as it was and nobody has
//! written since, its restore point is what another dump would be. Nothing is taken on trust: the files
//! of the point are read whole, and the database is asked. In doubt another dump is taken.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::database::{Change, Database, Standstill, facts, sessions};
use crate::error::{Context as _, Result};
use crate::layout::Layout;
use crate::migrations::DataState;
use crate::restore_points::{Archive, Entry, Manifest, Proof, Request, RestorePoint};
use crate::system::{clock, fs};
use crate::upgrade::journal::{self, Direction, Journal, Record};
use crate::upgrade::machine::Machine;
use crate::upgrade::stop_services::Quiesced;

/// How old a restore point may be that is used again.
const YOUNG: Duration = Duration::from_secs(3600);

/// More than any note: a line for each table.
const MOST_BYTES: u64 = 64 << 20;

/// What the databases looked like right before a restore point was begun.
#[derive(Debug, Serialize, Deserialize)]
struct Note {
    point: String,
    databases: BTreeMap<String, Standstill>,
}

/// What the databases look like now; none where that cannot be told, or may not be kept in clear.
pub(super) struct Still(Option<BTreeMap<String, Standstill>>);

/// Looks at the databases before their restore point is begun.
pub(super) fn look(machine: &Machine, request: &Request<'_>) -> Still {
    if machine.keyring.encrypts() {
        return Still(None);
    }
    let looks = request.databases.iter().map(|target| {
        let still = target.database.connect().ok()?.standstill().ok()?;
        Some((target.database.name().to_owned(), still))
    });
    Still(looks.collect())
}

/// Keeps what the databases looked like beside the name of the point, for the next attempt. Losing it
/// costs another dump.
pub(super) fn keep(machine: &Machine, point: &RestorePoint, still: Still) {
    let path = machine.layout.standstill();
    let kept = match still.0 {
        None => fs::remove_file(&path),
        Some(databases) => serde_json::to_vec(&Note { point: point.id().to_owned(), databases })
            .context(|| "cannot write what the databases look like".into())
            // Names of tables are for nobody but root.
            .and_then(|text| fs::replace_soon(&path, &text, 0o600)),
    };
    if let Err(error) = kept {
        machine.progress.warn(&error.message());
    }
}

/// Forgets it: after a good run there is nothing to use again.
pub fn forget(machine: &Machine) {
    if let Err(error) = fs::remove_file(&machine.layout.standstill()) {
        machine.progress.warn(&error.message());
    }
}

/// Returns the restore point of the attempt before, where it is as good as one that would be made now.
pub(super) fn find(
    machine: &Machine,
    request: &Request<'_>,
    quiet: &Quiesced,
    journal: &Journal,
) -> Result<Option<RestorePoint>> {
    let own = &journal.record().run;
    let Some(before) = journal::history(&machine.layout)?.into_iter().find(|r| r.run != *own)
    else {
        return Ok(None);
    };
    let Some(id) = before.restore_point.as_deref().filter(|_| is_to_be_repeated(&before)) else {
        return Ok(None);
    };
    let store = machine.store()?;
    let Ok(entry) = store.entry(id) else { return Ok(None) };
    match why_not(machine, request, quiet, &entry) {
        None => {}
        Some(why) => {
            machine.progress.note(&format!(
                "the restore point {id} of the attempt before is not used again: {why}"
            ));
            return Ok(None);
        }
    }
    let point = store.find(id)?;
    machine.progress.step(&format!("reading restore point {id} of the attempt before"));
    if let Err(error) = point.check(&*machine.progress) {
        let why = error.details().first().cloned().unwrap_or_else(|| error.message());
        machine.progress.note(&format!(
            "the restore point {id} of the attempt before is not used again: {why}"
        ));
        return Ok(None);
    }
    Ok(Some(point))
}

/// Whether it failed, left the data as it was, and started nothing.
fn is_to_be_repeated(before: &Record) -> bool {
    before.direction == Direction::Forward
        && before.finished.is_some()
        && before.outcome.as_deref() != Some("ok")
        && before.data == Some(DataState::Unchanged)
        && before.way_back.is_none()
        && before.never_started()
}

/// Says why a point is not what another dump would be.
fn why_not(
    machine: &Machine,
    request: &Request<'_>,
    quiet: &Quiesced,
    entry: &Entry,
) -> Option<String> {
    let manifest = match entry.manifest.as_ref().filter(|_| entry.is_relied_on()) {
        Some(manifest) if manifest.proof >= Proof::ReadBack => manifest,
        Some(_) | None => {
            let why = entry.status.why().unwrap_or("it is not proven");
            return Some(why.to_owned());
        }
    };
    let age = clock::parse_rfc3339(&manifest.created)
        .and_then(|created| machine.clock.now().duration_since(created).ok());
    match age {
        Some(age) if age <= YOUNG => {}
        Some(age) => return Some(format!("it is {} old", clock::spoken(age))),
        None => return Some("its age is not known".into()),
    }
    if manifest.from_version != request.from_version || manifest.to_version != request.to_version {
        return Some("it was made for another upgrade".into());
    }
    if manifest.encryption.is_some() || machine.keyring.encrypts() {
        return Some("what an encrypted one was made of is not kept in clear".into());
    }
    other_files(machine, entry).or_else(|| written(machine, request, quiet, manifest))
}

/// Says what of the files that travel along is another one now.
fn other_files(machine: &Machine, entry: &Entry) -> Option<String> {
    let carried = match machine.store().and_then(|store| store.find(&entry.id)?.carried()) {
        Ok(carried) => carried,
        Err(error) => return Some(error.message()),
    };
    let travelling = machine.travelling();
    let now: BTreeSet<_> = travelling.keep.iter().chain(&travelling.fingerprint).collect();
    if now != carried.iter().map(|one| &one.path).collect() {
        return Some("other files travel with restore points now".into());
    }
    carried
        .iter()
        .find(|one| one.told().is_some())
        .map(|one| format!("{} is another one now", one.path.display()))
}

/// Says what is different in the databases, or may be.
fn written(
    machine: &Machine,
    request: &Request<'_>,
    quiet: &Quiesced,
    manifest: &Manifest,
) -> Option<String> {
    let note = fs::read_limited(&machine.layout.standstill(), MOST_BYTES).ok();
    let note: Option<Note> = note.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let Some(note) = note.filter(|note| note.point == manifest.id) else {
        return Some("it is not known what was written since".into());
    };
    if request.databases.len() != manifest.databases.len() {
        return Some("it holds other databases".into());
    }
    request.databases.iter().find_map(|target| {
        let name = target.database.name();
        let archive = manifest.databases.iter().find(|archive| archive.name == name);
        let (Some(archive), Some(still)) = (archive, note.databases.get(name)) else {
            return Some(format!("it does not hold {name}"));
        };
        if archive.schema != target.schema {
            return Some(format!("{name} has another schema now"));
        }
        let moved = moved(target.database, archive, still, quiet);
        moved.map(|why| format!("{name}: {why}"))
    })
}

fn moved(
    database: &Database,
    archive: &Archive,
    still: &Standstill,
    quiet: &Quiesced,
) -> Option<String> {
    let asked = || -> Result<Option<String>> {
        let mut session = database.connect()?;
        let now = facts::facts(&mut session)?;
        let known = database.file().is_some() || now.identity.system.is_some();
        if !known || now.identity != archive.identity {
            return Ok(Some("it may be another database".into()));
        }
        if now.server_version != archive.server_version {
            return Ok(Some("the server is another version".into()));
        }
        let mut others = sessions::foreign_sessions(&mut session)?;
        others.retain(|other| quiet.locks.iter().all(|lock| lock.backend() != other.pid));
        if let Some(other) = others.first() {
            return Ok(Some(format!("{other} may have written")));
        }
        let moved = session.moved_since(still);
        Ok(match moved.context(|| "it cannot be asked what was written".into())? {
            Change::None => None,
            Change::Some(what) | Change::Perhaps(what) => Some(what),
        })
    };
    asked().unwrap_or_else(|error| Some(error.message()))
}

impl Layout {
    /// Returns the note of what the databases looked like before the last restore point was begun.
    fn standstill(&self) -> std::path::PathBuf {
        self.upgrade_dir().join("standstill.json")
    }
}
