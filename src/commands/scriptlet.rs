//! `openwatch scriptlet`: what the package's scripts call. Thin: record, schedule, show.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::config::Config;
use crate::error::{Error, Result};
use crate::layout::Layout;
use crate::migrations;
use crate::outcome::Outcome;
use crate::package::{self, Event, Family};
use crate::progress::Progress;
use crate::services;
use crate::system::clock::{self, Clock};
use crate::system::fs;
use crate::system::process::{self, Call};
use crate::upgrade::gate::Pending;
use crate::upgrade::journal;
use crate::upgrade::machine::Machine;
use crate::upgrade::survey;
use crate::version::Version;

use super::{Reply, preflight};

/// What a scriptlet needs; the machine is opened only where the event asks for it.
pub struct Context<'c> {
    /// Fixed paths.
    pub layout: Layout,
    /// The operator's file, where another one is named.
    pub operator_file: Option<&'c Path>,
    /// Where progress goes.
    pub progress: Arc<dyn Progress>,
    /// Prints a line that another process wrote.
    pub relay: &'c dyn Fn(&str),
}

/// Acts on one call of one script.
pub fn run(
    context: &Context<'_>,
    family: &str,
    script: &str,
    arguments: &[String],
) -> Result<Reply> {
    let family = Family::from_name(family)
        .ok_or_else(|| Error::new(Outcome::Usage, format!("unknown package family {family}")))?;
    match package::event(family, script, arguments)? {
        Event::FreshInstall | Event::Nothing => Ok(Reply::silent(Outcome::Ok)),
        Event::BeforeUnpack { from, to } => before_unpack(context, from, &to),
        Event::Begin { from } => begin(context, family, from),
        Event::Complete => complete(context),
    }
}

/// The new files are not on disk: the installed program says no where it can, which costs nothing.
fn before_unpack(context: &Context<'_>, from: Option<Version>, to: &Version) -> Result<Reply> {
    let layout = &context.layout;
    let installed = package::installed_version(layout, None);
    let Some(from) = from.or(installed) else { return Ok(Reply::silent(Outcome::Ok)) };
    // rpm tells no script which version was there; only now does the version file still say it.
    fs::make_dir(&layout.upgrade_dir(), 0o755)?;
    fs::replace(&layout.installed_before(), format!("{from}\n").as_bytes(), 0o644)?;
    if to.order(&from).is_lt() {
        allow_downgrade(context, &from, to)?;
        return Ok(Reply::silent(Outcome::Ok));
    }
    if to.order(&from).is_eq() {
        return Ok(Reply::silent(Outcome::Ok));
    }
    let away = |error: Error| {
        // In a run that also upgrades the server it is always down at this time (measured).
        let what = error.message();
        context.progress.warn(&format!("{what}; preflight is left to the upgrade"));
        Ok(Reply::silent(Outcome::Ok))
    };
    let machine = match configured(context) {
        Ok(Some(machine)) => machine,
        Ok(None) => return Ok(Reply::silent(Outcome::Ok)),
        // `format = "auto"` asks the database already here.
        Err(error) if error.outcome() == Outcome::Unreachable => return away(error),
        Err(error) => return Err(error),
    };
    // A run whose last attempt failed has its own findings; a newer package may be the remedy.
    if Pending::read(layout)?.is_some() {
        return Ok(Reply::silent(Outcome::Ok));
    }
    let checked = survey::take_for_next(&machine).and_then(|s| preflight::check(&machine, &s));
    match checked {
        Ok(_) => Ok(Reply::silent(Outcome::Ok)),
        Err(error) if error.outcome() == Outcome::Unreachable => away(error),
        // A wrong password is the operator's to mend as well, and here the "no" costs nothing.
        Err(error) if error.outcome() == Outcome::Config => Err(error.outcome_as(Outcome::Refused)),
        Err(error) => Err(error),
    }
}

/// Only the older package's script can refuse, and it runs the newer, installed program: this one.
fn allow_downgrade(context: &Context<'_>, from: &Version, to: &Version) -> Result<()> {
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

/// The new files are on disk: from now on nothing may start before the schema fits.
fn begin(context: &Context<'_>, family: Family, from: Option<Version>) -> Result<Reply> {
    let layout = &context.layout;
    let to = package::installed_version(layout, None)
        .unwrap_or_else(|| Version::new(env!("CARGO_PKG_VERSION")));
    let noted = fs::read_text(&layout.installed_before(), 1024).ok().map(Version::new);
    let from = from.or(noted);
    let before = Pending::read(layout)?;
    let same = from.as_ref().is_some_and(|from| from.order(&to).is_eq());
    if before.is_none() && same {
        // Reinstalled or reconfigured with nothing left open: no mark, no stop, no dump.
        return Ok(Reply::silent(Outcome::Ok));
    }
    // A configuration that no longer fits is no reason to leave the gate open.
    if before.is_none() && matches!(configured(context), Ok(None)) {
        return Ok(Reply::silent(Outcome::Ok));
    }
    let running = running(context);
    let mark = match before {
        // Tried again: what ran is what ran at the first attempt, from the version of that time.
        Some(mark) => Pending { to, family: Some(family), failed: None, ..mark },
        None => {
            let looked = running.as_ref().ok().cloned();
            Pending { from, family: Some(family), ..Pending::new(to, looked, Clock::System) }
        }
    };
    // The gate is closed also where the configuration no longer fits: that is told after it.
    mark.write(layout)?;
    running.map(|_| Reply::silent(Outcome::Ok))
}

fn running(context: &Context<'_>) -> Result<Vec<String>> {
    let config = Config::load(&context.layout, context.operator_file)?;
    let units = services::manager(&context.layout).look(&config.app.services)?;
    Ok(units.iter().filter(|unit| unit.is_up()).map(|unit| unit.name.clone()).collect())
}

/// Opens the machine, or returns none where the application was never configured.
///
/// A package may be installed for months before its database is named. Upgrading it then is no
/// failure; with a unit running, a missing connection string is one.
fn configured(context: &Context<'_>) -> Result<Option<Machine>> {
    let layout = context.layout.clone();
    match Machine::open(layout, context.operator_file, Arc::clone(&context.progress)) {
        Ok(machine) => Ok(Some(machine)),
        Err(error) => {
            let config = Config::load(&context.layout, context.operator_file)?;
            let units = services::manager(&context.layout).look(&config.app.services)?;
            if units.iter().any(|unit| unit.is_up()) || !fresh(&context.layout) {
                return Err(error);
            }
            context
                .progress
                .note(&format!("{}: not configured yet, nothing to upgrade", context.layout.app()));
            Ok(None)
        }
    }
}

/// Returns whether no run has ever been recorded here.
fn fresh(layout: &Layout) -> bool {
    !layout.journal().exists() && !layout.pending_mark().exists()
}

/// Every package of the run is in place: the upgrade unit does the work, we wait and show.
fn complete(context: &Context<'_>) -> Result<Reply> {
    let layout = &context.layout;
    let Some(mark) = Pending::read(layout)? else { return Ok(Reply::silent(Outcome::Ok)) };
    let _ = fs::remove_file(&layout.installed_before());
    let manager = services::manager(layout);
    if !manager.is_present() {
        let line = format!(
            "{}: no running systemd; the upgrade to {} runs at the first boot",
            layout.app(),
            mark.to
        );
        (context.relay)(&line);
        return Ok(Reply::silent(Outcome::Ok));
    }
    manager.reload()?;
    let outcome = follow_unit(context)?;
    if outcome == Outcome::Unreachable {
        // The package is not failed for what is finished later by itself.
        (context.relay)(&format!(
            "{}: deferred: the gate stays closed; the upgrade to {} runs when the database is back",
            layout.app(),
            mark.to
        ));
        return Ok(Reply::silent(Outcome::Ok));
    }
    Ok(Reply::silent(outcome))
}

/// Starts the upgrade unit, or joins the running job, and relays its log until it has ended.
fn follow_unit(context: &Context<'_>) -> Result<Outcome> {
    let unit = context.layout.upgrade_unit();
    let systemctl =
        process::find("systemctl").ok_or_else(|| Error::failed("systemctl is not in PATH"))?;
    let mut log = Tail::new(&context.layout);
    let mut shown = 0;
    let mut show = || {
        for line in log.lines() {
            (context.relay)(&line);
            shown += 1;
        }
    };
    // The unit says READY once it has migrated; it ends when health is proved.
    let started = Call::new(&systemctl).args(["start", "--", &unit]).run_watched(|_| show());
    let property = |name: &str| -> Result<String> {
        let output = Call::new(&systemctl).args(["show", "--property", name, "--", &unit]).run();
        let output =
            output.map_err(|failure| Error::failed(format!("cannot look at {unit}: {failure}")))?;
        Ok(output.text().split_once('=').map_or(String::new(), |(_, value)| value.to_owned()))
    };
    // A run that found no database is tried again by the unit itself; for us it has ended.
    while !matches!(property("ActiveState")?.as_str(), "inactive" | "failed")
        && !property("SubState")?.starts_with("auto-restart")
    {
        show();
        clock::pause(Duration::from_millis(100));
    }
    show();
    let code = property("ExecMainStatus")?.parse().ok().and_then(Outcome::from_exit_code);
    if shown == 0 && code != Some(Outcome::Ok) {
        // Nothing must end in silence: another run may hold the lock, or the disk may be full.
        (context.relay)(&format!("{unit} said nothing here; look at `journalctl -u {unit}`"));
    }
    match (started, code, Pending::read(&context.layout)?) {
        // What counts is the mark: it is removed by a finished upgrade and by nothing else.
        (_, _, None) => Ok(code.unwrap_or(Outcome::Ok)),
        (_, Some(Outcome::Ok) | None, Some(_)) => {
            Err(Error::failed(format!("{unit} ended without a result"))
                .state("the gate is closed")
                .hint(format!("Look at `journalctl -u {unit}`, then run `openwatch upgrade`.")))
        }
        (_, Some(outcome), Some(_)) => Ok(outcome),
    }
}

/// Follows the log of the run; each run makes a new file.
struct Tail<'l> {
    layout: &'l Layout,
    /// Held open: an inode that nobody holds may be given to the very next file (seen on ext4).
    before: Option<File>,
    file: Option<File>,
    inode: Option<u64>,
    partial: String,
}

impl<'l> Tail<'l> {
    /// The log of a finished run is not ours to show; that of a running one is.
    fn new(layout: &'l Layout) -> Self {
        let finished = journal::read(layout).ok().flatten().is_none_or(|r| r.finished.is_some());
        let before = fs::open_file(&layout.run_log()).ok().filter(|_| finished);
        Self { layout, before, file: None, inode: None, partial: String::new() }
    }

    fn lines(&mut self) -> Vec<String> {
        let path = self.layout.run_log();
        let inode = std::fs::metadata(&path).ok().map(|data| data.ino());
        let before = self.before.as_ref().and_then(|file| file.metadata().ok());
        if inode != self.inode && inode.is_some() && inode != before.map(|data| data.ino()) {
            self.file = fs::open_file(&path).ok();
            self.inode = inode;
            self.partial.clear();
        }
        let Some(file) = &mut self.file else { return Vec::new() };
        let mut bytes = Vec::new();
        let here = file.stream_position().unwrap_or(0);
        if file.seek(SeekFrom::Start(here)).and_then(|_| file.read_to_end(&mut bytes)).is_err() {
            return Vec::new();
        }
        self.partial.push_str(&String::from_utf8_lossy(&bytes));
        let Some(end) = self.partial.rfind('\n') else { return Vec::new() };
        let rest = self.partial.split_off(end + 1);
        let whole = std::mem::replace(&mut self.partial, rest);
        whole.lines().map(str::to_owned).collect()
    }
}
