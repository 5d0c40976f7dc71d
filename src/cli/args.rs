//! What can be typed: types only, no defaults that touch the machine.

mod backup;
mod baseline;
mod disk;
mod gate;
mod init;
mod package;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

pub use backup::Backup;
pub use baseline::Baseline;
pub use disk::Disk;
pub use gate::{Gate, GateVerb, Status};
pub use init::Init;
pub use package::Package;

/// Makes one dnf update or apt upgrade safe for an application that keeps its data in PostgreSQL.
#[derive(Debug, Parser)]
#[command(name = "openwatch", version, disable_help_subcommand = true, max_term_width = 100)]
pub struct Arguments {
    /// Options of every verb.
    #[command(flatten)]
    pub global: Global,
    /// The verb.
    #[command(subcommand)]
    pub verb: Verb,
}

/// Options of every verb.
#[derive(Debug, Args)]
#[command(next_help_heading = "Options of every command")]
pub struct Global {
    /// Application whose paths and settings are meant
    #[arg(long, global = true, value_name = "NAME", default_value = "openwatch")]
    pub app: String,
    /// Operator's configuration file instead of /etc/APP/upgrade.conf
    #[arg(long, global = true, value_name = "FILE", env = "OPENWATCH_UPGRADE_CONF")]
    pub config: Option<PathBuf>,
    /// File with the secret key that opens encrypted restore points, instead of backup_identity_file
    #[arg(long, global = true, value_name = "FILE")]
    pub identity: Option<PathBuf>,
    /// Directory that all fixed paths lie below
    #[arg(long, global = true, value_name = "DIR", default_value = "/")]
    pub root: PathBuf,
    /// Print one JSON object on standard output and nothing else there
    #[arg(long, global = true)]
    pub json: bool,
    /// Tell more
    #[arg(short, long, global = true)]
    pub verbose: bool,
    /// Tell only failures
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Never use colour or a progress bar
    #[arg(long, global = true)]
    pub no_color: bool,
}

/// One verb and its options.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Show or apply the migrations of the installed package
    Migrate(Migrate),
    /// Check, stop, take a restore point, migrate, start, prove health
    Upgrade(Upgrade),
    /// Check everything that an upgrade needs, and change nothing
    Preflight(Preflight),
    /// Try the upgrade on a copy of your own data, measure it, and leave nothing behind
    Rehearse(Rehearse),
    /// Take, list, check, keep, remove, export and import restore points
    #[command(subcommand)]
    Backup(Backup),
    /// Keep what is so now, and compare with it later: units, probes, schema, rows, server
    #[command(subcommand)]
    Baseline(Baseline),
    /// Put the data of a restore point back; the present database is kept beside it
    Restore(Restore),
    /// Go back to the version before: its data and its package together, and say first what that loses
    Rollback(Rollback),
    /// Show versions, schema, gate, last outcome, restore points and the next command
    Status(Status),
    /// Show past runs, newest first
    History,
    /// Take, let go and look at the data disk of an appliance
    #[command(subcommand)]
    Disk(Disk),
    /// Exit 0 where the program may start, and say why not otherwise
    Gate(Gate),
    /// Run the service that shows and records all this
    Serve,
    /// Write what the package of another application needs into a new directory: settings, units, scripts
    Init(Init),
    /// Called by systemd: does what the console was asked for with the token
    #[command(hide = true)]
    Asked,
    /// Called by the package's scripts
    #[command(hide = true)]
    Scriptlet(Scriptlet),
    /// Called by systemd at boot and reload: what appliances need of it
    #[command(hide = true)]
    Generate {
        /// Directory for units
        dir: PathBuf,
        /// Directories of other precedence, which stay empty
        others: Vec<PathBuf>,
    },
}

/// `openwatch migrate`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Migrate {
    /// What else can be done with migrations.
    #[command(subcommand)]
    pub verb: Option<MigrateVerb>,
    /// Show applied and pending migrations, and change nothing
    #[arg(long, group = "mode")]
    pub status: bool,
    /// Exit 10 when migrations are pending, 11 when the schema does not match
    #[arg(long, group = "mode")]
    pub check: bool,
    /// Run every check, show what would be applied or written, and change nothing
    #[arg(long, conflicts_with_all = ["status", "check"])]
    pub dry_run: bool,
    /// Apply what is pending up to this migration, and nothing after it; where later ones are applied,
    /// take those back whose files say how
    #[arg(long, value_name = "VERSION", group = "mode")]
    pub to: Option<String>,
    /// Record this migration as applied without running it, when you know that its effect is there
    #[arg(long, value_name = "VERSION", group = "mode")]
    pub mark_applied: Option<String>,
    /// Record everything up to this migration as applied, in a database that has tables but no history
    #[arg(long, value_name = "VERSION", group = "mode")]
    pub baseline: Option<String>,
    /// With --to, --mark-applied or --baseline: the database that is meant
    #[arg(long, value_name = "NAME")]
    pub database: Option<String>,
    /// With --mark-applied, --baseline, or --to that takes something back: do not ask
    #[arg(long)]
    pub yes: bool,
    /// With --mark-applied: why, for whoever asks later
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    /// Take the restore point below this directory
    #[arg(long, value_name = "DIR")]
    pub backup_dir: Option<PathBuf>,
    /// Migrate although upgrades are held, or outside the maintenance window; for this run alone
    #[arg(long)]
    pub now: bool,
    /// End sessions of others that hold a lock which a migration waited for in vain
    #[arg(long, conflicts_with_all = ["status", "check", "dry_run", "mark_applied", "baseline"])]
    pub terminate_blockers: bool,
    /// With --status, --check or --dry-run: look into this package instead
    #[command(flatten)]
    pub package: Package,
}

/// `openwatch migrate VERB`.
#[derive(Debug, Subcommand)]
pub enum MigrateVerb {
    /// Say before a release what locks, rewrites, drops data, cannot be rolled back, or breaks a dump
    Lint(Lint),
    /// Make the history agree with the shipped files again: checksums of changed files, marks of what was
    /// begun and took no effect; with a row that says who did it and why
    Repair(Repair),
}

/// `openwatch migrate repair`.
#[derive(Debug, Args)]
pub struct Repair {
    /// Migrations that are meant; without one, all that do not agree
    #[arg(value_name = "VERSION")]
    pub versions: Vec<String>,
    /// The database that is meant
    #[arg(long, value_name = "NAME")]
    pub database: Option<String>,
    /// Why, for whoever asks later
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    /// Show what would be written, and change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Do not ask
    #[arg(long)]
    pub yes: bool,
}

/// `openwatch migrate lint`.
#[derive(Debug, Args)]
pub struct Lint {
    /// Directory of migrations; without it those of the installed package
    #[arg(conflicts_with = "package")]
    pub dir: Option<PathBuf>,
    /// Migration that every machine has already: it and those before it are not reported
    #[arg(long, value_name = "VERSION")]
    pub assume_version: Option<String>,
    /// How the files of the directory are named and recorded, as in `migrations` of upgrade.conf(5)
    #[arg(long, value_name = "FORMAT", default_value = "plain", requires = "dir")]
    pub format: String,
    /// Package file (.deb or .rpm) to look into instead of the installed package
    #[arg(long, value_name = "FILE")]
    pub package: Option<PathBuf>,
}

/// `openwatch rehearse`.
#[derive(Debug, Args)]
pub struct Rehearse {
    /// Look into this package instead of the installed one
    #[command(flatten)]
    pub package: Package,
    /// Copy from this restore point (an id or `latest`) instead of a fresh one
    #[arg(long, value_name = "ID", conflicts_with = "fresh")]
    pub from_backup: Option<String>,
    /// Copy from a restore point that is taken now, services running, and removed; the default
    #[arg(long)]
    pub fresh: bool,
    /// Make the copy on the server of the connection string in this variable
    #[arg(long, value_name = "VARIABLE")]
    pub server_env: Option<String>,
    /// Also leave the answer where everybody may read it and `openwatch serve` shows it
    #[arg(long)]
    pub for_console: bool,
}

/// `openwatch preflight`.
#[derive(Debug, Args)]
pub struct Preflight {
    /// Look into this package instead of the installed one
    #[command(flatten)]
    pub package: Package,
    /// Also leave the answer where everybody may read it and `openwatch serve` shows it
    #[arg(long)]
    pub for_console: bool,
}

/// `openwatch upgrade`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Upgrade {
    /// What else can be done about upgrades.
    #[command(subcommand)]
    pub verb: Option<UpgradeVerb>,
    /// Version that was installed before
    #[arg(long, value_name = "VERSION")]
    pub from: Option<String>,
    /// Fetch and build this version, then upgrade to it; for applications without a package
    #[arg(long, value_name = "VERSION", conflicts_with_all = ["from", "retry", "resume", "undo", "unit"])]
    pub to: Option<String>,
    /// Show what would be done, and change nothing
    #[arg(long)]
    pub plan: bool,
    /// Try a version again that failed before
    #[arg(long)]
    pub retry: bool,
    /// Upgrade although it is held, or outside the maintenance window; for this run alone
    #[arg(long)]
    pub now: bool,
    /// Finish an upgrade that was interrupted
    #[arg(long, conflicts_with_all = ["plan", "retry"], group = "open")]
    pub resume: bool,
    /// Go back to before the first attempt: the data, and the services once the older program is back
    #[arg(long, conflicts_with_all = ["plan", "retry", "resume", "from", "backup_dir"], group = "open")]
    pub undo: bool,
    /// With --resume or --undo: take what somebody changed since the interruption as it is
    #[arg(long, requires = "open")]
    pub adopt: bool,
    /// Take the restore point below this directory
    #[arg(long, value_name = "DIR")]
    pub backup_dir: Option<PathBuf>,
    /// End sessions of others that hold a lock which a migration waited for in vain
    #[arg(long, conflicts_with = "plan")]
    pub terminate_blockers: bool,
    /// With --plan: look into this package instead
    #[command(flatten)]
    pub package: Package,
    /// Make the data disk of an appliance ready for the next system: checks, restore point, state
    #[arg(long, conflicts_with_all = ["plan", "retry", "resume", "undo", "candidate", "backup_dir"])]
    pub prepare: bool,
    /// With --prepare: the image of the next system, whose signature `verify_image` checks
    #[arg(long, value_name = "FILE", requires = "prepare")]
    pub image: Option<PathBuf>,
    /// With --prepare: version that the next system brings, where no --package tells
    #[arg(long = "for", value_name = "VERSION", requires = "prepare", conflicts_with = "package")]
    pub next: Option<String>,
    /// With --prepare: how long the agreed window is, from now on [default: 90min]
    #[arg(long, value_name = "DURATION", requires = "prepare")]
    pub window: Option<String>,
    /// We are the upgrade unit
    #[arg(long, hide = true)]
    pub unit: bool,
    /// With --unit: exit 1 after any failure, as the boot job of an appliance
    #[arg(long, hide = true, requires = "unit")]
    pub boot: bool,
}

/// `openwatch upgrade VERB`.
#[derive(Debug, Subcommand)]
pub enum UpgradeVerb {
    /// Let nothing be upgraded, until a date or until it is released; apt and dnf are told no
    Hold {
        /// When it lapses: a day such as 2027-01-31 (its end), `2027-01-31 22:00`, or `3 days`
        #[arg(long, value_name = "WHEN")]
        until: Option<String>,
        /// Why, for whoever is told no
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
    },
    /// Let upgrades go on again
    Release,
}

/// `openwatch restore`.
#[derive(Debug, Args)]
pub struct Restore {
    /// Id of the restore point, or `latest`
    #[arg(default_value = "latest")]
    pub id: String,
    /// Restore this database of the application only
    #[arg(long, value_name = "NAME")]
    pub database: Option<String>,
    /// Do not ask
    #[arg(long)]
    pub yes: bool,
    /// Load it into a new database of this name on the same server; the present data, the services
    /// and the gate are left alone
    #[arg(long, value_name = "NAME")]
    pub into: Option<String>,
    /// Take no restore point of the present state first, although something was written since
    #[arg(long, conflicts_with = "into")]
    pub no_copy: bool,
    /// Leave owners, grants and tablespaces out: everything belongs to the role that restores
    #[arg(long)]
    pub no_owner: bool,
    /// Put the copies of files that have changed back too; the present ones stay beside them
    #[arg(long, conflicts_with = "into")]
    pub with_files: bool,
    /// Restore a point of another host, application or database
    #[arg(long)]
    pub force_foreign: bool,
}

/// `openwatch rollback`.
#[derive(Debug, Args)]
pub struct Rollback {
    /// File of the older package, instead of the kept copy, the cache or the package sources
    #[arg(long, value_name = "FILE")]
    pub package: Option<PathBuf>,
    /// Version to go back to, instead of the one before the last upgrade
    #[arg(long, value_name = "VERSION")]
    pub to: Option<String>,
    /// Do it, although what was written since is lost
    #[arg(long)]
    pub yes: bool,
    /// Take no restore point of the present state first, although something was written since
    #[arg(long)]
    pub no_copy: bool,
    /// Carry out the order that is there; what the unit of the rollback runs
    #[arg(long, hide = true)]
    pub unit: bool,
}

/// `openwatch scriptlet`.
#[derive(Debug, Args)]
pub struct Scriptlet {
    /// `deb` or `rpm`
    pub family: String,
    /// The script, such as `postinst` or `posttrans`
    pub script: String,
    /// The script's own arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub arguments: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }
}
