//! From what was typed to the verb that does it.

use std::sync::Arc;

use crate::commands::{self, Reply, scriptlet};
use crate::database::OnBlockers;
use crate::error::{Error, Result};
use crate::layout::Layout;
use crate::outcome::Outcome;
use crate::progress::Progress;
use crate::upgrade::machine::Machine;
use crate::upgrade::{Again, run_log};
use crate::version::Version;

use super::args::{Arguments, Backup, Global, Migrate, Package, Upgrade, Verb};
use super::printer::Printer;

/// Runs the verb.
pub(super) fn run(arguments: &Arguments, printer: &Arc<Printer>) -> Result<Reply> {
    let global = &arguments.global;
    let layout = layout(global)?;
    match &arguments.verb {
        Verb::Migrate(options) => migrate(global, layout, options, printer),
        Verb::Upgrade(options) => upgrade(global, layout, options, printer),
        Verb::Preflight(options) => {
            commands::preflight::run(&open_or_look(global, layout, printer, options)?)
        }
        Verb::Backup(verb) => backup(&mut open(global, layout, printer)?, verb),
        Verb::Restore(options) => {
            let request = commands::restore::Wanted {
                id: &options.id,
                database: options.database.as_deref(),
                confirmed: options.yes,
                foreign: options.force_foreign,
            };
            commands::restore::run(&open(global, layout, printer)?, &request)
        }
        Verb::Status => commands::status::run(&open(global, layout, printer)?),
        Verb::History => commands::history::run(&layout),
        Verb::Gate => commands::gate::run(&open(global, layout, printer)?),
        Verb::Serve => serve(global, layout, printer),
        Verb::Scriptlet(options) => {
            let progress: Arc<dyn Progress> = Arc::<Printer>::clone(printer);
            let context = scriptlet::Context {
                layout,
                operator_file: global.config.as_deref(),
                progress,
                relay: &|line| printer.relay(line),
            };
            scriptlet::run(&context, &options.family, &options.script, &options.arguments)
        }
    }
}

fn layout(global: &Global) -> Result<Layout> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.+".contains(c);
    // The name becomes part of paths.
    if global.app.is_empty() || global.app.starts_with('.') || !global.app.chars().all(plain) {
        return Err(Error::new(
            Outcome::Usage,
            format!("{:?} is not the name of an application", global.app),
        ));
    }
    if global.root.is_relative() {
        let shown = global.root.display();
        return Err(Error::new(
            Outcome::Usage,
            format!("the root {shown} is not an absolute path"),
        ));
    }
    Ok(Layout::new(&global.root, &global.app))
}

fn open(global: &Global, layout: Layout, printer: &Arc<Printer>) -> Result<Machine> {
    open_or_look(global, layout, printer, &Package { package: None })
}

/// Opens the machine with the installed package, or with the package file that was named.
fn open_or_look(
    global: &Global,
    layout: Layout,
    printer: &Arc<Printer>,
    options: &Package,
) -> Result<Machine> {
    let progress: Arc<dyn Progress> = Arc::<Printer>::clone(printer);
    let operator_file = global.config.as_deref();
    let machine = match &options.package {
        None => Machine::open(layout, operator_file, progress)?,
        Some(file) => Machine::look_into(layout, operator_file, progress, file)?,
    };
    for warning in &machine.config.warnings {
        printer.warn(warning);
    }
    Ok(machine)
}

fn migrate(
    global: &Global,
    layout: Layout,
    options: &Migrate,
    printer: &Arc<Printer>,
) -> Result<Reply> {
    let looking = options.status || options.check || options.dry_run;
    if let Some(file) = options.package.package.as_ref().filter(|_| !looking) {
        let shown = file.display();
        return Err(Error::new(
            Outcome::Usage,
            format!("the migrations of {shown} cannot be applied: it is not installed"),
        )
        .state("nothing was changed")
        .hint(format!("Run `openwatch migrate --status --package {shown}` to see them.")));
    }
    let mut machine = open_or_look(global, layout, printer, &options.package)?;
    if let Some(dir) = &options.backup_dir {
        machine.use_backup_dir(dir.clone())?;
    }
    if options.terminate_blockers {
        machine.on_blockers = OnBlockers::End;
    }
    if options.status {
        commands::migrate::status(&machine)
    } else if options.check {
        commands::migrate::check(&machine)
    } else if options.dry_run {
        commands::migrate::dry_run(&machine)
    } else if let Some(version) = &options.mark_applied {
        commands::migrate::mark_applied(&machine, version)
    } else {
        commands::migrate::apply(&machine)
    }
}

fn upgrade(
    global: &Global,
    layout: Layout,
    options: &Upgrade,
    printer: &Arc<Printer>,
) -> Result<Reply> {
    let opened = open(global, layout.clone(), printer);
    if opened.is_err() && !options.plan {
        // The engine keeps the log once it holds the lock; here it never comes to that.
        run_log::begin(&layout, printer.as_ref());
    }
    let mut machine = opened?;
    if let Some(dir) = &options.backup_dir {
        machine.use_backup_dir(dir.clone())?;
    }
    if options.terminate_blockers {
        machine.on_blockers = OnBlockers::End;
    }
    let from = options.from.as_deref().map(Version::new);
    if options.plan {
        commands::upgrade::plan(&machine, from.as_ref())
    } else {
        let again = if options.retry { Again::Yes } else { Again::No };
        if options.unit {
            commands::upgrade::run_as_unit(&machine, from.as_ref(), again)
        } else {
            commands::upgrade::run(&machine, from.as_ref(), again)
        }
    }
}

fn backup(machine: &mut Machine, verb: &Backup) -> Result<Reply> {
    match verb {
        Backup::Create { backup_dir } => {
            if let Some(dir) = backup_dir {
                machine.use_backup_dir(dir.clone())?;
            }
            commands::backup::create(machine)
        }
        Backup::List => commands::backup::list(machine),
        Backup::Show { id } => commands::backup::show(machine, id),
        Backup::Verify { id } => commands::backup::verify(machine, id),
        Backup::Prune { dry_run } => commands::backup::prune(machine, *dry_run),
    }
}

fn serve(global: &Global, layout: Layout, printer: &Arc<Printer>) -> Result<Reply> {
    let machine = open(global, layout.clone(), printer)?;
    let first = machine.databases.into_iter().next();
    let own = first.ok_or_else(|| Error::config("the service has no database"))?;
    let (config_file, status_printer) = (global.config.clone(), Arc::clone(printer));
    let status_layout = layout.clone();
    // Asked anew for each request: configuration, journal and restore points change meanwhile.
    let status = move || {
        let progress: Arc<dyn Progress> = Arc::<Printer>::clone(&status_printer);
        match Machine::open(status_layout.clone(), config_file.as_deref(), progress) {
            Ok(machine) => commands::status::report(&machine),
            Err(error) => serde_json::json!({
                "outcome": error.outcome().word(),
                "error": {"message": error.message()},
            }),
        }
    };
    commands::serve::run(commands::serve::Parts {
        layout,
        database: own.database,
        migrations: own.migrations,
        database_wait: machine.config.policy.database_wait,
        listen: machine.listen.clone(),
        status: Arc::new(status),
        progress: Arc::<Printer>::clone(printer),
        stop: Arc::default(),
    })?;
    Ok(Reply::silent(Outcome::Ok))
}
