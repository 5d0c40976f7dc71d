//! `openwatch migrate` and the verbs below it.

use std::sync::Arc;

use crate::commands::correct::{self, Purpose, Wanted, What};
use crate::commands::{self, Reply};
use crate::database::OnBlockers;
use crate::error::Result;
use crate::layout::Layout;
use crate::upgrade::hold::Timing;
use crate::upgrade::machine::Machine;
use crate::upgrade::migrate_only::Reach;

use super::args::{Global, Lint, Migrate, MigrateVerb};
use super::dispatch::{looking, only_looked_at, open, open_connecting, take_backup_dir};
use super::printer::Printer;

/// Runs what was typed behind `migrate`.
pub(super) fn run(
    global: &Global,
    layout: Layout,
    options: &Migrate,
    printer: &Arc<Printer>,
) -> Result<Reply> {
    match &options.verb {
        Some(MigrateVerb::Lint(options)) => return lint(global, &layout, options),
        Some(MigrateVerb::Repair(options)) => {
            let wanted = Wanted {
                what: What::Repair(&options.versions),
                database: options.database.as_deref(),
                reason: options.reason.as_deref(),
            };
            let machine = open(global, layout, printer)?;
            let ways = Ways { yes: options.yes, dry_run: options.dry_run, json: global.json };
            return correction(&machine, wanted, ways, printer);
        }
        None => {}
    }
    if let Some(what) = corrected(options) {
        only_looked_at(&options.package, "migrate --status")?;
        let wanted = Wanted {
            what,
            database: options.database.as_deref(),
            reason: options.reason.as_deref(),
        };
        let machine = open(global, layout, printer)?;
        let ways = Ways { yes: options.yes, dry_run: options.dry_run, json: global.json };
        return correction(&machine, wanted, ways, printer);
    }
    let look = match (options.status, options.check, options.dry_run) {
        (true, _, _) => Some(commands::migrate::status as fn(&Machine) -> Result<Reply>),
        (_, true, _) => Some(commands::migrate::check as fn(&Machine) -> Result<Reply>),
        (_, _, true) => Some(commands::migrate::dry_run as fn(&Machine) -> Result<Reply>),
        (false, false, false) => None,
    };
    if let Some(look) = look {
        return looking(global, layout, printer, &options.package, |machine| {
            take_backup_dir(machine, options.backup_dir.as_ref())?;
            match (stop_at(machine, options)?, &options.to) {
                (Reach::Back, Some(version)) => commands::take_back::show(machine, version),
                (Reach::Back | Reach::Whole | Reach::Part, _) => look(machine),
            }
        });
    }
    only_looked_at(&options.package, "migrate --status")?;
    let mut machine = open_connecting(global, layout, printer)?;
    take_backup_dir(&mut machine, options.backup_dir.as_ref())?;
    if options.terminate_blockers {
        machine.on_blockers = OnBlockers::End;
    }
    if options.now {
        machine.timing = Timing::Now;
    }
    let reach = stop_at(&mut machine, options)?;
    match (reach, &options.to) {
        (Reach::Back, Some(version)) => commands::take_back::run(&machine, version, options.yes),
        (Reach::Back | Reach::Whole | Reach::Part, _) => commands::migrate::apply(&machine, reach),
    }
}

fn stop_at(machine: &mut Machine, options: &Migrate) -> Result<Reach> {
    match &options.to {
        Some(version) => commands::migrate::stop_at(machine, version, options.database.as_deref()),
        None => Ok(Reach::Whole),
    }
}

fn corrected(options: &Migrate) -> Option<What<'_>> {
    let marked = options.mark_applied.as_deref().map(What::MarkApplied);
    marked.or_else(|| options.baseline.as_deref().map(What::Baseline))
}

/// How a correction was asked for.
#[derive(Clone, Copy)]
struct Ways {
    yes: bool,
    dry_run: bool,
    json: bool,
}

/// Plans, shows, asks, and writes after a yes.
fn correction(
    machine: &Machine,
    wanted: Wanted<'_>,
    ways: Ways,
    printer: &Printer,
) -> Result<Reply> {
    let purpose = if ways.dry_run { Purpose::Show } else { Purpose::Write };
    let Some(planned) = correct::plan(machine, wanted, purpose)? else {
        return Ok(correct::nothing());
    };
    if ways.dry_run {
        return Ok(planned.shown());
    }
    // Who reads JSON is no person who could be asked.
    let said = match (ways.yes, ways.json) {
        (true, _) => Some(true),
        (false, true) => None,
        (false, false) => printer.ask(&planned.lines(), "Write this?"),
    };
    match said {
        Some(true) => planned.carry_out(),
        Some(false) | None => Err(planned.unconfirmed()),
    }
}

fn lint(global: &Global, layout: &Layout, options: &Lint) -> Result<Reply> {
    let since = options.assume_version.as_deref();
    let operator_file = global.config.as_deref();
    match (&options.dir, &options.package) {
        (Some(dir), _) => commands::lint::directory(dir, &options.format, since),
        (None, Some(file)) => commands::lint::package(layout, operator_file, file, since),
        (None, None) => commands::lint::installed(layout, operator_file, since),
    }
}
