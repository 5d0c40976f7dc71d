//! `openwatch restore`: puts the data of a restore point back; the present database stays beside it.

use serde_json::{Value, json};

use crate::config::ForeignSessions;
use crate::database::Database;
use crate::database::clients::Clients;
use crate::database::lacking::Owners;
use crate::error::{Error, Result};
use crate::outcome::Outcome;
use crate::restore_points::{
    self, Carried, First, Kind, Loss, Override, RestoreOptions, RestorePoint, Restored,
};
use crate::system::clock;
use crate::upgrade::Again;
use crate::upgrade::gate::Pending;
use crate::upgrade::gate_of_restore::RestoreGate;
use crate::upgrade::identity::{self, must_open};
use crate::upgrade::locks::Exchanging;
use crate::upgrade::machine::Machine;
use crate::upgrade::recover;
use crate::upgrade::rollback;

pub use crate::upgrade::rollback::present::Copy;
use crate::upgrade::rollback::present::{self, Half, Present, Road};

use super::{Reply, restore_external};

mod latest;

/// What was asked for.
pub struct Wanted<'w> {
    /// Id of the restore point, or `latest`.
    pub id: &'w str,
    /// One database of the application; none for all of the restore point.
    pub database: Option<&'w str>,
    /// Whether the operator said yes already.
    pub confirmed: bool,
    /// Name of a new database that it is loaded into, beside the live one.
    pub into: Option<&'w str>,
    /// Whether the present state is kept as a restore point first.
    pub copy: Copy,
    /// Whether objects get their owners back.
    pub owners: Owners,
    /// Whether copies of files that have changed are put back.
    pub files: Files,
    /// Whether a point of another host, application or database is accepted.
    pub foreign: bool,
}

/// What happens to files that travelled with the restore point and differ now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Files {
    /// It is said which do.
    Compared,
    /// Their copies are put back.
    PutBack,
}

/// The same, with what opens the restore point where that was named for this run.
pub(super) fn typed_again(machine: &Machine, wanted: &Wanted<'_>) -> String {
    format!("{}{}", typed(wanted), identity::named(machine))
}

/// The options that were given, as they would be typed again.
fn typed(wanted: &Wanted<'_>) -> String {
    let mut words = String::new();
    if let Some(name) = wanted.database {
        words.push_str(&format!(" --database {name}"));
    }
    for (typed, word) in [
        (wanted.copy == Copy::LeftOut, " --no-copy"),
        (wanted.owners == Owners::LeftOut, " --no-owner"),
        (wanted.files == Files::PutBack, " --with-files"),
        (wanted.foreign, " --force-foreign"),
        (wanted.confirmed, " --yes"),
    ] {
        words.push_str(if typed { word } else { "" });
    }
    if let Some(name) = wanted.into {
        words.push_str(&format!(" --into {name}"));
    }
    words
}

/// Restores, once the operator has said yes and the units are down; beside the live database at once.
pub fn run(machine: &Machine, wanted: &Wanted<'_>) -> Result<Reply> {
    let _lock = machine.lock("restore")?;
    if wanted.into.is_none() {
        rollback::stand_aside(machine, Again::No)?;
    }
    let point = machine.store()?.find(wanted.id)?;
    if wanted.id == "latest" && wanted.into.is_none() {
        latest::check(machine, wanted, &point)?;
    }
    must_open(machine, &point, &format!("restore {}{}", point.id(), typed(wanted)))?;
    let units = machine.services.look(&machine.config.app.services)?;
    let up: Vec<&str> = units.iter().filter(|u| u.is_up()).map(|u| u.name.as_str()).collect();
    if point.manifest().kind == Kind::External && wanted.into.is_none() {
        return restore_external::run(machine, wanted, &point, &up);
    }
    let databases = databases(machine, &point, wanted)?;
    check_origins(machine, wanted, &point, &databases)?;
    let options = RestoreOptions {
        foreign: if wanted.foreign { Override::AcceptForeign } else { Override::No },
        sessions: ForeignSessions::End,
        owners: wanted.owners,
        clock: machine.clock,
        clients: Clients::default(),
    };
    if let Some(name) = wanted.into {
        return beside(machine, &point, present::only_one(&databases)?, name, &options);
    }
    if let Some(reply) = cut_off(machine, wanted, &point, &databases)? {
        return Ok(reply);
    }
    // Before it is measured what is lost; a look changes nothing, and locks nobody out.
    let _exchanging = match wanted.confirmed {
        true => Some(Exchanging::take(databases.iter().copied(), "restore")?),
        false => None,
    };
    let mut lost = databases
        .iter()
        .map(|database| point.loss(database, machine.clock))
        .collect::<Result<Vec<_>>>()?;
    let in_place = restore_points::check(&point, &databases, &options)?;
    let half = Half::of(machine, &point)?;
    let there = present::there(&databases)?;
    let is_there = |name: &str| there.iter().any(|database| database.name() == name);
    let mut told: Vec<String> = lost.iter().map(Loss::told).collect();
    for gone in databases.iter().filter(|database| !is_there(database.name())) {
        told.push(format!("{} is not there: nothing of it is kept", gone.described()));
    }
    lost.retain(|loss| is_there(&loss.database));
    let road = Road::of(machine, &point, &there)?;
    let present = Present::decide(wanted.copy, &lost, &in_place, half, road);
    told.extend(present.told(&in_place));
    told.extend(point.carried()?.iter().filter_map(Carried::told));
    if wanted.files == Files::PutBack {
        point.check_files_back(&machine.travelling())?;
    }
    if !wanted.confirmed {
        return Err(unconfirmed(machine, wanted, point.id(), &databases, &told, &up));
    }
    if !up.is_empty() {
        return Err(Error::new(
            Outcome::Refused,
            format!("{} runs and uses the database", up.join(", ")),
        )
        .state("nothing was changed")
        .hint(format!("Run `systemctl stop {}`, then try again.", up.join(" "))));
    }
    for line in &told {
        machine.progress.note(line);
    }
    machine.progress.step(&format!("restoring {}", point.id()));
    let gate = RestoreGate::begin(machine, &point)?;
    let mut copy = None;
    let keep = || present::keep(machine, &there).map(|kept| copy = kept);
    let first: Option<First<'_>> = match present {
        Present::Copied => Some(Box::new(keep)),
        Present::Absent
        | Present::Unwritten
        | Present::HalfMigrated
        | Present::LeftOut
        | Present::Beside => None,
    };
    let progress = &*machine.progress;
    let restored = restore_points::restore_after(&point, &databases, &options, first, progress);
    let mut restored = match restored {
        Ok(restored) => restored,
        Err(error) => return Err(gate.failed(machine, error)),
    };
    recover::put_back_by_hand(machine, point.id())?;
    gate.done(machine)?;
    if present == Present::Beside {
        copy = present::keep_former(machine, point.id(), &machine.version);
        if let Some(copy) = &copy {
            restored.are_clones_of(copy);
        }
    }
    let files = match wanted.files {
        Files::Compared => Vec::new(),
        Files::PutBack => {
            let back =
                point.put_files_back(&machine.travelling(), &clock::stamp(machine.clock.now()));
            back.map_err(|error| error.state("the data is restored; files may not be"))?
        }
    };
    for line in &files {
        machine.progress.note(line);
    }
    let copy = copy.as_ref().map(RestorePoint::id);
    Ok(Reply::ok(spoken(machine, &point, &restored, copy), json(point.id(), &restored, copy)))
}

pub(super) fn databases<'m>(
    machine: &'m Machine,
    point: &RestorePoint,
    wanted: &Wanted<'_>,
) -> Result<Vec<&'m Database>> {
    let in_point =
        |name: &str| point.manifest().databases.iter().any(|archive| archive.name == name);
    let databases: Vec<&Database> = machine
        .databases
        .iter()
        .map(|shipped| &shipped.database)
        .filter(|d| in_point(d.name()) && wanted.database.is_none_or(|name| name == d.name()))
        .collect();
    if !databases.is_empty() {
        return Ok(databases);
    }
    let name = wanted.database.unwrap_or("any database of this application");
    Err(Error::new(Outcome::Usage, format!("restore point {} does not hold {name}", point.id()))
        .state("nothing was changed")
        .hint(format!("Run `{}`.", machine.command(&format!("backup show {}", point.id())))))
}

/// Refuses a point that was made elsewhere, with the command that takes it all the same.
pub(super) fn check_origins(
    machine: &Machine,
    wanted: &Wanted<'_>,
    point: &RestorePoint,
    databases: &[&Database],
) -> Result<()> {
    if wanted.foreign {
        return Ok(());
    }
    point.check_origins(databases).map_err(|error| {
        let words = typed_again(machine, wanted);
        let command = machine.command(&format!("restore {}{words} --force-foreign", point.id()));
        error.hint(format!("If it is the right one, run `{command}`."))
    })
}

/// Loads it beside the live database: nothing is stopped, the gate and the journal stay as they are.
fn beside(
    machine: &Machine,
    point: &RestorePoint,
    database: &Database,
    name: &str,
    options: &RestoreOptions,
) -> Result<Reply> {
    machine.progress.step(&format!("loading {} into the database {name}", point.id()));
    let left = restore_points::restore_into(point, database, name, options, &*machine.progress)?;
    let mut lines = vec![format!("restored {} into the database {name}", point.id())];
    lines.push(format!("  {}: the live database was not touched", database.name()));
    lines.extend(left.iter().map(|sql| format!("  to be run by a superuser: {sql}")));
    let json = json!({
        "id": point.id(), "database": database.name(), "into": name, "left": left,
    });
    Ok(Reply::ok(lines.join("\n"), json))
}

/// Finishes a restore that was killed after its clones had taken their places. The gate has been
/// closed since, so that nobody has written; where it has not, the point is as gone as its clones.
fn cut_off(
    machine: &Machine,
    wanted: &Wanted<'_>,
    point: &RestorePoint,
    databases: &[&Database],
) -> Result<Option<Reply>> {
    if !wanted.confirmed || Pending::read(&machine.layout)?.is_none() {
        return Ok(None);
    }
    let Some(replaced) = point.put_back_before(databases)? else { return Ok(None) };
    machine.progress.note("a restore that was cut off had put it back already");
    let gate = RestoreGate::begin(machine, point)?;
    recover::put_back_by_hand(machine, point.id())?;
    gate.done(machine)?;
    if point.manifest().databases.len() == databases.len() {
        point.retire()?;
    }
    let restored = Restored { replaced, loss: Vec::new(), left: Vec::new() };
    Ok(Some(Reply::ok(spoken(machine, point, &restored, None), json(point.id(), &restored, None))))
}

/// Nothing is ever asked on a terminal: a script would hang. What would happen is said instead.
fn unconfirmed(
    machine: &Machine,
    wanted: &Wanted<'_>,
    id: &str,
    databases: &[&Database],
    told: &[String],
    up: &[&str],
) -> Error {
    let names: Vec<String> = databases.iter().map(|d| d.described()).collect();
    let error = Error::new(
        Outcome::Refused,
        format!("restoring {id} takes the place of the present data of {}", names.join(", ")),
    );
    let restore = machine.command(&format!("restore {id}{} --yes", typed_again(machine, wanted)));
    let command = match up {
        [] => restore,
        _ => format!("systemctl stop {} && {restore}", up.join(" ")),
    };
    told.iter()
        .fold(error, |error, line| error.detail(line))
        .state("nothing was changed")
        .hint(format!("To do it, run `{command}`."))
}

fn spoken(
    machine: &Machine,
    point: &RestorePoint,
    restored: &Restored,
    copy: Option<&str>,
) -> String {
    let mut lines = vec![format!("restored {}", point.id())];
    lines.extend(copy.map(|id| format!("  the state of before is restore point {id}")));
    for replaced in &restored.replaced {
        lines.push(match &replaced.kept_as {
            Some(name) => {
                let what = if name.starts_with('/') { "file" } else { "database" };
                format!("  {}: the former data is kept as {what} {name}", replaced.database)
            }
            None => format!("  {}: the former data was replaced in place", replaced.database),
        });
    }
    lines.extend(restored.left.iter().map(|sql| format!("  to be run by a superuser: {sql}")));
    let fits = point.manifest().from_version.as_ref();
    let again = machine.command("upgrade --retry");
    let next = match fits {
        Some(from) if !from.order(&machine.version).is_eq() => {
            Some(format!("install version {from}, or run `{again}` to migrate again"))
        }
        None => Some(format!("install the version that fits, or run `{again}` to migrate again")),
        // It is installed; what an upgrade closed is opened by one.
        Some(_) if machine.layout.pending_mark().exists() => Some(format!("run `{again}`")),
        Some(_) => None,
    };
    lines.extend(next.map(|next| format!("  next: {next}")));
    lines.join("\n")
}

fn json(id: &str, restored: &Restored, copy: Option<&str>) -> Value {
    json!({
        "id": id,
        "copy": copy,
        "replaced": restored.replaced.iter().map(|r| json!({
            "database": r.database,
            "kept_as": r.kept_as,
        })).collect::<Vec<_>>(),
        "left": restored.left,
        "loss": restored.loss.iter().map(|l| json!({
            "database": l.database,
            "age_seconds": l.age.as_secs(),
            "wal_bytes": l.wal_bytes,
            "rows_written": l.rows_written,
        })).collect::<Vec<_>>(),
    })
}
