//! The settings of one application: the packager's half, the operator's half, drop-ins.

mod appliance;
mod command;
mod console;
mod encryption;
mod env_file;
mod expect;
mod file;
mod keys;
mod load;
mod migrations;
mod notes;
mod notify;
mod of_file;
mod operator;
mod packager;
mod probes;
mod render;
mod require;
mod restart;
mod restore_point;
mod retention;
mod secret_spec;
pub mod secrets;
mod section;
mod settings;
mod sides;
mod source;
mod switches;
mod tree;
mod values;
mod window;

use std::path::PathBuf;
use std::time::Duration;

pub use self::appliance::Appliance;
pub use self::command::{CommandSpec, StatusRule};
pub use self::console::Act;
pub use self::encryption::EncryptionSpec;
pub use self::expect::{Check, ExpectSpec, Expected, OBJECT_KINDS};
pub use self::keys::{Half, KEYS, Key};
pub use self::load::appliance_of;
pub use self::migrations::{FilesSpec, Format, MigrationsSpec, TableName};
pub use self::notify::NotifySpec;
pub use self::require::{RequireSpec, Requirement};
pub use self::restart::Restart;
pub use self::restore_point::{After, Method, RestorePointSpec};
pub use self::retention::{Retention, Rule, Stated};
pub use self::secret_spec::SecretSpec;
pub use self::settings::{SettingRule, SettingSpec};
pub use self::sides::Side;
pub use self::switches::SwitchedOff;
pub use self::tree::TreeSpec;
pub use self::window::{ANY_TIME, Opening, Window, Windows};

use crate::version::Version;

/// Everything that the configuration files say, checked and with defaults filled in.
#[derive(Clone, Debug)]
pub struct Config {
    /// What the packager knows about the application.
    pub app: App,
    /// What the packager says of a data disk, where the application is an appliance with one.
    pub appliance: Option<Appliance>,
    /// What the operator wants.
    pub policy: Policy,
    /// The databases in the order in which they are migrated.
    pub databases: Vec<DatabaseSpec>,
    /// Where versions come from that no package tool installs.
    pub tree: Option<TreeSpec>,
    /// What the machine must have before an upgrade.
    pub require: Vec<RequireSpec>,
    /// The questions that prove health.
    pub probes: Vec<ProbeSpec>,
    /// Changes that a comparison with the baseline may find.
    pub expect: Vec<ExpectSpec>,
    /// What the version needs of the application's own configuration.
    pub settings: Vec<SettingSpec>,
    /// Where outcomes are reported.
    pub notify: NotifySpec,
    /// Unknown keys and retention values that made no sense, each with file and line.
    pub warnings: Vec<String>,
}

/// `[app]` of the packager's half.
#[derive(Clone, Debug, Default)]
pub struct App {
    /// Units, stopped in this order and started in reverse.
    pub services: Vec<String>,
    /// Units of these that are started first, in this order.
    pub start_first: Vec<String>,
    /// How units are restarted where no migration is pending.
    pub restart: Restart,
    /// Time between two of them in a rolling restart.
    pub restart_pause: Duration,
    /// Packages that must have one version wherever several of them are installed.
    pub equal_versions: Vec<String>,
    /// Upgrades from older versions are refused: the required stop.
    pub min_upgrade_from: Option<Version>,
    /// Version of the installed package, where the file `version` beside it does not say it.
    pub version: Option<Version>,
    /// Files of which restore points keep private copies.
    pub keep_files: Vec<PathBuf>,
    /// Files of which restore points keep a fingerprint.
    pub fingerprint_files: Vec<PathBuf>,
}

/// Top-level keys of the operator's half.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Whether a restore point is taken before migrating.
    pub auto_backup: bool,
    /// Where restore points live.
    pub backup_dir: PathBuf,
    /// How a restore point is made.
    pub restore_point: RestorePointSpec,
    /// Steps after which what they left is dumped too.
    pub restore_point_after: Vec<After>,
    /// To whom restore points are encrypted.
    pub encryption: EncryptionSpec,
    /// How long and how many restore points are kept.
    pub retention: Retention,
    /// What happens after a failure.
    pub on_failure: OnFailure,
    /// Attempts in a row that may be interrupted in the same step before a person is needed.
    pub attempts: u32,
    /// Whether the older package follows by itself where the data was put back by itself.
    pub rollback_package: bool,
    /// Whether copies of package files are kept for the way back.
    pub keep_packages: bool,
    /// How long an unreachable database is waited for.
    pub database_wait: Duration,
    /// How long a migration waits for a lock before it is tried again.
    pub lock_timeout: Duration,
    /// How long another host that upgrades the same database is waited for.
    pub host_wait: Duration,
    /// What happens to sessions of others that are still connected once the services are down.
    pub foreign_sessions: ForeignSessions,
    /// Free space that a restore point must leave, in bytes.
    pub reserve: u64,
    /// How far a fresh restore point is proven before anything is migrated.
    pub verify: Verify,
    /// How long loading it into a scratch database may take, with the services down.
    pub verify_limit: Duration,
    /// The operator's own checks before an upgrade: argument lists, run without a shell.
    pub checks: Vec<Vec<String>>,
    /// How long one hook may take.
    pub hook_timeout: Duration,
    /// A file that is there while the services are down for an upgrade: for a maintenance page.
    pub maintenance_file: Option<PathBuf>,
    /// When upgrades may begin.
    pub window: Windows,
    /// The file system of the data disk that belongs to this machine, where it was named.
    pub data_disk_uuid: Option<String>,
    /// The program that checks the signature of a system image; the image's path is its last argument.
    pub verify_image: Option<Vec<String>>,
    /// Whether a whole run of apt or dnf is refused where our package would refuse in the middle.
    pub guard: bool,
    /// Checks of the comparison with the baseline at which an upgrade stops.
    pub baseline_stop: Vec<Check>,
    /// Files of which restore points keep private copies, besides those of the packager.
    pub keep_files: Vec<PathBuf>,
    /// Files of which restore points keep a fingerprint, besides those of the packager.
    pub fingerprint_files: Vec<PathBuf>,
    /// Where measurements are left for node_exporter, where they are.
    pub metrics_textfile: Option<PathBuf>,
    /// Host names by which the service may be asked for, besides loopback and addresses.
    pub console_names: Vec<String>,
    /// What root does when it is asked to through the service.
    pub console_acts: Vec<Act>,
}

/// What happens after a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFailure {
    /// Gate closed, units down, data safe, both ways out printed.
    Stop,
    /// The data is put back while nothing was written on the new schema.
    Restore,
}

/// How far a fresh restore point is proven before anything is migrated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verify {
    /// Every byte is read back, hashed, and compared with the catalogue.
    Read,
    /// It is loaded into a scratch database too, where time and space allow.
    Restore,
}

/// What happens to sessions of others once the services are down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForeignSessions {
    /// They are named in a warning.
    Warn,
    /// The run refuses to go on.
    Refuse,
    /// They are ended.
    End,
}

/// One `[[database]]`.
#[derive(Clone, Debug)]
pub struct DatabaseSpec {
    /// Name within the application, also the archive's name in a restore point.
    pub name: String,
    /// Variable of `secrets.env` that holds the connection string.
    pub url_env: Option<String>,
    /// Service of `pg_service.conf`, when there is no connection string.
    pub service: Option<String>,
    /// The file, where the database is one of SQLite.
    pub file: Option<PathBuf>,
    /// System user to connect as (peer authentication), or who opens the file.
    pub user: Option<String>,
    /// Where migrations come from.
    pub migrations: MigrationsSpec,
}

/// One `[[health]]`.
#[derive(Clone, Debug)]
pub struct ProbeSpec {
    /// What is asked.
    pub question: Question,
    /// Whether a failure fails the upgrade; others are only reported.
    pub required: bool,
    /// How long the right answer may take to come.
    pub deadline: Duration,
    /// JSON pointers to what is compared with the baseline, in the body of an HTTP answer.
    pub compare: Vec<String>,
    /// The unit that answers, where it is one of several that do.
    pub answered_by: Option<String>,
}

/// What a probe asks.
#[derive(Clone, Debug)]
pub enum Question {
    /// The unit is active and stays so with the same main process.
    Unit(String),
    /// `host:port` accepts a connection.
    Tcp(String),
    /// The address answers a GET with this status, and its body contains this text.
    Http {
        /// The address.
        url: String,
        /// The status, 200 unless the file says otherwise.
        status: u16,
        /// Text that the body must contain.
        body: Option<String>,
        /// Whether the body must contain the version of the installed package.
        expect_version: bool,
        /// Where the token lies that is sent along.
        token: Option<SecretSpec>,
    },
    /// The address opens a WebSocket (RFC 6455).
    WebSocket {
        /// The address.
        url: String,
        /// Where the token lies that is sent along.
        token: Option<SecretSpec>,
    },
    /// The statement answers with one row that is true, in the database of this name.
    Sql {
        /// Name of the database within the application.
        database: String,
        /// The statement.
        statement: String,
    },
    /// The program exits with status 0.
    Command(Vec<String>),
}
