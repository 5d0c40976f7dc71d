//! From what was typed to the verb that does it.

use std::path::PathBuf;
use std::sync::Arc;

use crate::commands::baseline::Strictness;
use crate::commands::gate::Patience;
use crate::commands::keeping::Told;
use crate::commands::restore::{Copy, Files};
use crate::commands::rollback::Place;
use crate::commands::verify::Depth;
use crate::commands::{self, Reply, candidate, carrying, keeping, scriptlet};
use crate::database::lacking::Owners;
use crate::error::{Error, Result};
use crate::layout::Layout;
use crate::outcome::Outcome;
use crate::progress::Progress;
use crate::restore_points::Override;
use crate::system::signals;
use crate::upgrade::appliance::attach::Claim;
use crate::upgrade::gate::opened::Opened;
use crate::upgrade::machine::Machine;
use crate::upgrade::public;
use crate::upgrade::public::outlook::Who;
use crate::upgrade::rehearsal::{From, Wanted};
use crate::version::Version;

use super::args::{
    Arguments, Backup, Baseline, Disk, Gate, GateVerb, Global, Init, Package, Rollback, Verb,
};
use super::migrating;
use super::printer::{self, Printer};
use super::showing::shown;
use super::upgrading;

/// Runs the verb.
pub(super) fn run(arguments: &Arguments, printer: &Arc<Printer>) -> Result<Reply> {
    let global = &arguments.global;
    let layout = layout(global)?;
    if only_looks(&arguments.verb) {
        signals::only_look();
    }
    if matches!(
        arguments.verb,
        Verb::Upgrade(_) | Verb::Migrate(_) | Verb::Restore(_) | Verb::Rollback(_)
    ) {
        signals::outlive_terminal();
    }
    match &arguments.verb {
        Verb::Migrate(options) => migrating::run(global, layout, options, printer),
        Verb::Upgrade(options) => upgrading::run(global, layout, options, printer),
        Verb::Preflight(options) => {
            let place = layout.clone();
            let verb = |machine: &mut Machine| commands::preflight::run(machine);
            let reply = looking(global, layout, printer, &options.package, verb);
            shown(&place, printer, options.for_console, Who::Preflight, reply)
        }
        Verb::Rehearse(options) => {
            let from = options.from_backup.as_deref().map_or(From::Fresh, From::Point);
            let wanted = Wanted { from, server_env: options.server_env.as_deref() };
            let place = layout.clone();
            let reply = looking(global, layout, printer, &options.package, |machine| {
                commands::rehearse::run(machine, &wanted)
            });
            shown(&place, printer, options.for_console, Who::Rehearse, reply)
        }
        Verb::Backup(verb) => {
            only_a_stream(global, verb)?;
            let told = if global.json { Told::Object } else { Told::Words };
            kept(&mut open(global, layout, printer)?, verb, told)
        }
        Verb::Baseline(verb) => baseline(&open(global, layout, printer)?, verb),
        Verb::Restore(options) => {
            let request = commands::restore::Wanted {
                id: &options.id,
                database: options.database.as_deref(),
                confirmed: options.yes,
                into: options.into.as_deref(),
                copy: if options.no_copy { Copy::LeftOut } else { Copy::WhereWritten },
                owners: if options.no_owner { Owners::LeftOut } else { Owners::Kept },
                files: if options.with_files { Files::PutBack } else { Files::Compared },
                foreign: options.force_foreign,
            };
            let machine = open(global, layout, printer)?;
            let reply = commands::restore::run(&machine, &request);
            if options.yes && reply.is_ok() {
                public::leave(&machine);
            }
            reply
        }
        Verb::Rollback(options) => rollback(global, layout, options, printer),
        Verb::Status(options) => {
            let machine = open(global, layout, printer)?;
            match (options.drift, options.acknowledge) {
                (true, _) => Ok(commands::drift::run(&machine)),
                (false, true) => commands::status::acknowledge(&machine),
                (false, false) => commands::status::run(&machine),
            }
        }
        Verb::History => commands::history::run(&layout),
        Verb::Disk(verb) => disk(&open(global, layout, printer)?, verb),
        Verb::Gate(options) => gate(&open(global, layout, printer)?, options),
        Verb::Init(options) => init(&layout, options),
        Verb::Serve => serve(global, layout, printer),
        Verb::Asked => super::asked::run(global, &layout, printer),
        Verb::Generate { dir, .. } => commands::generate::run(&global.root, dir, printer.as_ref()),
        Verb::Scriptlet(options) => {
            let progress: Arc<dyn Progress> = Arc::<Printer>::clone(printer);
            let context = scriptlet::Context {
                layout,
                operator_file: global.config.as_deref(),
                progress,
                relay: &|line| printer.relay(line),
            };
            let (family, script) = (&options.family, &options.script);
            let input = &mut std::io::stdin().lock();
            scriptlet::run(&context, family, script, &options.arguments, input)
        }
    }
}

fn only_looks(verb: &Verb) -> bool {
    match verb {
        Verb::Preflight(_) => true,
        Verb::Status(options) => !options.acknowledge,
        Verb::Upgrade(options) => options.plan,
        Verb::Migrate(options) => {
            options.verb.is_none() && (options.status || options.check || options.dry_run)
        }
        _ => false,
    }
}

fn init(layout: &Layout, options: &Init) -> Result<Reply> {
    let usual = format!("/usr/share/{}/migrations", layout.app());
    commands::init::run(&commands::init::Wanted {
        app: layout.app(),
        services: &options.services,
        database_env: &options.database_env,
        migrations: options.migrations.as_deref().unwrap_or(&usual),
        format: &options.format,
        health: options.health.as_deref(),
        dir: &options.dir,
    })
}

fn gate(machine: &Machine, options: &Gate) -> Result<Reply> {
    let patience = if options.wait { Patience::AsConfigured } else { Patience::None };
    match &options.verb {
        None => commands::gate::run(machine, patience),
        Some(GateVerb::Open { until, reason }) => commands::gate::open(machine, until, reason),
        Some(GateVerb::Close) => commands::gate::close(machine),
    }
}

fn disk(machine: &Machine, verb: &Disk) -> Result<Reply> {
    match verb {
        Disk::Init => commands::disk::init(machine),
        Disk::Attach { take } => {
            let claim = if *take { Claim::Taken } else { Claim::Respected };
            commands::disk::attach(machine, claim)
        }
        Disk::Detach => commands::disk::detach(machine),
        Disk::Status => commands::disk::status(machine),
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

pub(super) fn open(global: &Global, layout: Layout, printer: &Arc<Printer>) -> Result<Machine> {
    let progress: Arc<dyn Progress> = Arc::<Printer>::clone(printer);
    Ok(opened(global, Machine::open(layout, global.config.as_deref(), progress)?, printer))
}

/// The same for a verb that looks into the databases at once.
pub(super) fn open_connecting(
    global: &Global,
    layout: Layout,
    printer: &Arc<Printer>,
) -> Result<Machine> {
    let progress: Arc<dyn Progress> = Arc::<Printer>::clone(printer);
    let machine = Machine::open_connecting(layout, global.config.as_deref(), progress)?;
    Ok(opened(global, machine, printer))
}

fn opened(global: &Global, mut machine: Machine, printer: &Printer) -> Machine {
    machine.use_identity(global.identity.clone());
    for warning in &machine.config.warnings {
        printer.warn(warning);
    }
    if let Some(word) = Opened::holding(&machine.layout, machine.clock) {
        printer.warn(&format!("the gate is {}", word.spoken()));
    }
    machine
}

/// Runs a verb that only looks: on the installed package, on the package file that was named, or on
/// what the package sources offer.
pub(super) fn looking(
    global: &Global,
    layout: Layout,
    printer: &Arc<Printer>,
    options: &Package,
    verb: impl FnOnce(&mut Machine) -> Result<Reply>,
) -> Result<Reply> {
    let progress: Arc<dyn Progress> = Arc::<Printer>::clone(printer);
    let operator_file = global.config.as_deref();
    let machine = match &options.package {
        Some(file) => Machine::look_into(layout, operator_file, progress, file)?,
        None if options.candidate => match candidate::find(layout, operator_file, progress)? {
            candidate::Found::Machine(machine) => *machine,
            candidate::Found::Answer(reply) => return Ok(reply),
        },
        None => Machine::open_connecting(layout, operator_file, progress)?,
    };
    verb(&mut opened(global, machine, printer))
}

/// Refuses to apply what is not installed; `instead` is the command that looks.
pub(super) fn only_looked_at(options: &Package, instead: &str) -> Result<()> {
    let Some(typed) = options.typed() else { return Ok(()) };
    let file = options.package.as_ref().map(|file| file.display().to_string());
    let what = file.unwrap_or_else(|| "the candidate".into());
    let message = format!("the migrations of {what} cannot be applied: it is not installed");
    Err(Error::new(Outcome::Usage, message)
        .state("nothing was changed")
        .hint(format!("Run `openwatch {instead} {typed}` to see them.")))
}

fn rollback(
    global: &Global,
    layout: Layout,
    options: &Rollback,
    printer: &Arc<Printer>,
) -> Result<Reply> {
    let machine = open(global, layout.clone(), printer)?;
    let reopen = || open(global, layout.clone(), printer);
    if options.unit {
        return commands::rollback::run_as_unit(&machine, &reopen);
    }
    let to = options.to.as_deref().map(Version::new);
    let request = commands::rollback::Request {
        package: options.package.as_deref(),
        to: to.as_ref(),
        copy: if options.no_copy { Copy::LeftOut } else { Copy::WhereWritten },
        confirmed: options.yes,
        // The unit knows no identity that was named here.
        place: if global.identity.is_some() { Place::Here } else { Place::Unit },
        relay: &|line| printer.relay(line),
    };
    commands::rollback::run(&machine, &reopen, &request)
}

pub(super) fn take_backup_dir(machine: &mut Machine, dir: Option<&PathBuf>) -> Result<()> {
    dir.map_or(Ok(()), |dir| machine.use_backup_dir(dir.clone()))
}

/// The name that stands for standard input or output.
const STREAM: &str = "-";

/// Refuses to write a restore point where it would be mixed with words, or shown to a person.
fn only_a_stream(global: &Global, verb: &Backup) -> Result<()> {
    let to_stream = matches!(verb, Backup::Export { file, .. } if file.as_os_str() == STREAM);
    let why = match (to_stream, global.json, printer::stdout_is_terminal()) {
        (true, true, _) => "standard output cannot take both a restore point and --json",
        (true, false, true) => {
            "standard output is a terminal, and a restore point is not for reading"
        }
        (true, false, false) | (false, _, _) => return Ok(()),
    };
    Err(Error::new(Outcome::Usage, why)
        .state("nothing was changed")
        .hint("Name a file instead of `-`, or redirect standard output."))
}

/// Does what was typed behind `backup`, and tells everybody what is kept now.
pub(super) fn kept(machine: &mut Machine, verb: &Backup, told: Told) -> Result<Reply> {
    let reply = backup(machine, verb, told);
    // A look leaves everything as it was, and so does a refusal.
    if verb.changes() && reply.is_ok() {
        public::leave(machine);
    }
    reply
}

fn backup(machine: &mut Machine, verb: &Backup, told: Told) -> Result<Reply> {
    match verb {
        Backup::Create { backup_dir } => {
            take_backup_dir(machine, backup_dir.as_ref())?;
            commands::backup::create(machine)
        }
        Backup::List => commands::backup::list(machine),
        Backup::Show { id } => commands::backup::show(machine, id),
        Backup::Verify { id, restore } => {
            let depth = if *restore { Depth::Restore } else { Depth::Files };
            commands::verify::run(machine, id, depth)
        }
        Backup::Prune { dry_run } => keeping::prune(machine, *dry_run, told),
        Backup::Pin { id, until, reason } => {
            let (until, reason) = (until.as_deref(), reason.as_deref());
            keeping::pin(machine, id, &keeping::Pinning { until, reason, by: None })
        }
        Backup::Unpin { id } => keeping::unpin(machine, id),
        Backup::Remove { id, yes, lose_way_back } => {
            let (confirmed, lose_way_back) = (*yes, *lose_way_back);
            keeping::remove(machine, &keeping::Removal { id, confirmed, lose_way_back })
        }
        Backup::Export { id, file } if file.as_os_str() == STREAM => {
            carrying::export_to_stream(machine, id, &mut printer::stream())
        }
        Backup::Export { id, file } => carrying::export_to_file(machine, id, file),
        Backup::Import { file, force_foreign } => {
            let foreign = if *force_foreign { Override::AcceptForeign } else { Override::No };
            match file.as_os_str() == STREAM {
                true => carrying::import(machine, &mut std::io::stdin().lock(), foreign),
                false => carrying::import_from_file(machine, file, foreign),
            }
        }
    }
}

fn baseline(machine: &Machine, verb: &Baseline) -> Result<Reply> {
    match verb {
        Baseline::Record { name } => commands::baseline::record(machine, name.as_deref()),
        Baseline::Compare { name, with, strict } => {
            let strictness = if *strict { Strictness::Anything } else { Strictness::Losses };
            commands::baseline::compare(machine, name.as_deref(), with.as_deref(), strictness)
        }
        Baseline::Accept => commands::drift::accept(machine),
        Baseline::List => commands::baseline::list(machine),
        Baseline::Show { name } => commands::baseline::show(machine, name.as_deref()),
        Baseline::Remove { name } => commands::baseline::remove(machine, name),
    }
}

fn serve(global: &Global, layout: Layout, printer: &Arc<Printer>) -> Result<Reply> {
    let machine = open(global, layout.clone(), printer)?;
    let first = machine.databases.into_iter().next();
    let own = first.ok_or_else(|| Error::config("the service has no database"))?;
    let (config_file, look_printer) = (global.config.clone(), Arc::clone(printer));
    let look_layout = layout.clone();
    // Asked anew for each request: configuration, journal and restore points change meanwhile.
    let opened = Arc::new(move || {
        let progress: Arc<dyn Progress> = Arc::<Printer>::clone(&look_printer);
        Machine::open(look_layout.clone(), config_file.as_deref(), progress).map_err(|error| {
            serde_json::json!({
                "outcome": error.outcome().word(),
                "error": {"message": error.message()},
            })
        })
    });
    let for_status = Arc::clone(&opened);
    let status = move || match for_status() {
        Ok(machine) => commands::status::report(&machine),
        Err(told) => told,
    };
    let platform = move |asked| match opened() {
        Ok(machine) => commands::serve::compare(&machine, asked),
        Err(told) => (false, told),
    };
    commands::serve::run(commands::serve::Parts {
        layout,
        database: own.database,
        migrations: own.migrations,
        database_wait: machine.config.policy.database_wait,
        listen: machine.listen.clone(),
        names: machine.config.policy.console_names.clone(),
        acts: machine.config.policy.console_acts.clone(),
        status: Arc::new(status),
        platform: Arc::new(platform),
        progress: Arc::<Printer>::clone(printer),
        stop: Arc::default(),
    })?;
    Ok(Reply::silent(Outcome::Ok))
}
