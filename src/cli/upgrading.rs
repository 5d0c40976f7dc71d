//! `openwatch upgrade`: from what was typed to what is done.

use std::sync::Arc;

use crate::commands::{self, Reply};
use crate::database::OnBlockers;
use crate::error::Result;
use crate::layout::Layout;
use crate::outcome::Outcome;
use crate::progress::Progress;
use crate::system::clock::Clock;
use crate::upgrade::hold::Timing;
use crate::upgrade::machine::Machine;
use crate::upgrade::recover::decide::Changes;
use crate::upgrade::{Again, run_log};
use crate::version::Version;

use super::args::{Global, Upgrade, UpgradeVerb};
use super::dispatch::{looking, only_looked_at, open, take_backup_dir};
use super::printer::Printer;

/// Runs the engine, or whatever else was asked for.
pub(super) fn run(
    global: &Global,
    layout: Layout,
    options: &Upgrade,
    printer: &Arc<Printer>,
) -> Result<Reply> {
    match &options.verb {
        Some(UpgradeVerb::Hold { until, reason }) => {
            let now = Clock::System.now();
            return commands::hold::place(
                &layout,
                &commands::hold::Wanted {
                    until: until.as_deref(),
                    reason: reason.as_deref(),
                    by: None,
                },
                now,
            );
        }
        Some(UpgradeVerb::Release) => return commands::hold::release(&layout),
        None => {}
    }
    let from = options.from.as_deref().map(Version::new);
    if let Some(tag) = &options.to {
        only_looked_at(&options.package, "upgrade --plan")?;
        let machine = open(global, layout, printer)?;
        return match options.plan {
            true => commands::upgrade::plan_to(&machine, tag),
            false => commands::upgrade::to(&machine, tag, |machine| configure(machine, options)),
        };
    }
    if options.plan {
        return looking(global, layout, printer, &options.package, |machine| {
            take_backup_dir(machine, options.backup_dir.as_ref())?;
            commands::upgrade::plan(machine, from.as_ref())
        });
    }
    if options.prepare {
        return prepare(global, layout, options, printer);
    }
    only_looked_at(&options.package, "upgrade --plan")?;
    let opened = open(global, layout.clone(), printer);
    if opened.is_err() {
        // The engine keeps the log once it holds the lock; here it never comes to that.
        run_log::begin(&layout, printer.as_ref());
    }
    let mut machine = opened?;
    configure(&mut machine, options)?;
    let changes = if options.adopt { Changes::Adopted } else { Changes::Refused };
    if options.undo {
        return commands::upgrade::undo(&machine, changes);
    }
    let again = match (options.retry || options.resume, changes) {
        (false, _) => Again::No,
        (true, Changes::Refused) => Again::Yes,
        (true, Changes::Adopted) => Again::Adopting,
    };
    if options.unit {
        let ended = commands::upgrade::run_as_unit(&machine, from.as_ref(), again);
        // Of an image nobody asks more than whether it came up; state and journal keep the word.
        ended.map_err(|error| match error.outcome() {
            // The unit tries again when the database is back.
            Outcome::Unreachable => error,
            _ if options.boot => error.outcome_as(Outcome::Failed),
            _ => error,
        })
    } else {
        commands::upgrade::run(&machine, from.as_ref(), again)
    }
}

/// Sets what was said for this run alone.
fn configure(machine: &mut Machine, options: &Upgrade) -> Result<()> {
    take_backup_dir(machine, options.backup_dir.as_ref())?;
    if options.terminate_blockers {
        machine.on_blockers = OnBlockers::End;
    }
    if options.now {
        machine.timing = Timing::Now;
    }
    Ok(())
}

fn prepare(
    global: &Global,
    layout: Layout,
    options: &Upgrade,
    printer: &Arc<Printer>,
) -> Result<Reply> {
    let progress: Arc<dyn Progress> = Arc::<Printer>::clone(printer);
    let operator_file = global.config.as_deref();
    let candidate = match &options.package.package {
        Some(file) => Some(Machine::look_into(layout.clone(), operator_file, progress, file)?),
        None => None,
    };
    let mut machine = open(global, layout, printer)?;
    if options.now {
        machine.timing = Timing::Now;
    }
    let request = commands::prepare::Request {
        image: options.image.as_deref(),
        to: options.next.as_deref().map(Version::new),
        window: options.window.as_deref(),
    };
    commands::prepare::run(&machine, candidate.as_ref(), &request)
}
