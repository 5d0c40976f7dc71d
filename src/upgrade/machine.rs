//! The surroundings that every step needs: paths, settings, databases, units, clock, progress.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::config::{Config, DatabaseSpec, secrets};
use crate::database::{Database, OnBlockers, Session, Source};
use crate::disk;
use crate::error::{Error, Result};
use crate::layout::Layout;
use crate::migrations::{self, Chain};
use crate::outcome::Outcome;
use crate::package;
use crate::progress::Progress;
use crate::restore_points::{Keyring, Store, Travelling};
use crate::services::{self, ServiceManager};
use crate::system::clock::{self, Clock, Deadline};
use crate::system::fs;
use crate::system::lock::FileLock;
use crate::version::Version;

use super::hold::Timing;
use super::looked_into::LookedInto;
use super::tree::{self, Tree};

/// What the machine offers; it holds no state of a run.
pub struct Machine {
    /// Fixed paths.
    pub layout: Layout,
    /// Settings of packager and operator.
    pub config: Config,
    /// Databases with the migrations that the installed package ships, in migration order.
    pub databases: Vec<Shipped>,
    /// The service manager.
    pub services: Box<dyn ServiceManager>,
    /// The clock.
    pub clock: Clock,
    /// Where progress goes.
    pub progress: Arc<dyn Progress>,
    /// Version of the installed package.
    pub version: Version,
    /// Where the service listens, where `secrets.env` or the environment says so.
    pub listen: Option<String>,
    /// What is done about sessions that block a migration; a person says so, for one run.
    pub on_blockers: OnBlockers,
    /// Whether hold and windows are obeyed; a person says otherwise, for one run.
    pub timing: Timing,
    /// Whether a person named another backup directory for this run: nothing else will look there.
    pub backup_dir_is_named: bool,
    /// The package file that the packager's half and the migrations come from, where it is not the
    /// installed package. Such a machine is only looked at.
    pub looked_into: Option<LookedInto>,
    /// The version that a run is about, with its directory, where no package tool installs it.
    pub tree: Option<Tree>,
    /// The keys of restore points.
    pub keyring: Keyring,
    /// The operator's file, where another one than the usual was named for this run.
    pub operator_file: Option<PathBuf>,
}

/// One database and the migrations that the installed package ships for it.
pub struct Shipped {
    /// The database.
    pub database: Database,
    /// Its migrations, in order, with the tool that owns them.
    pub migrations: Chain,
}

/// Whether connections are begun while the migrations are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Connecting {
    Ahead,
    Later,
}

impl Machine {
    /// Reads configuration, secrets and migrations; connects to nothing.
    pub fn open(
        layout: Layout,
        operator_file: Option<&Path>,
        progress: Arc<dyn Progress>,
    ) -> Result<Self> {
        Self::open_as(layout, operator_file, progress, Connecting::Later, None)
    }

    /// The same for a verb that looks into the databases at once: connects while it reads.
    pub fn open_connecting(
        layout: Layout,
        operator_file: Option<&Path>,
        progress: Arc<dyn Progress>,
    ) -> Result<Self> {
        Self::open_as(layout, operator_file, progress, Connecting::Ahead, None)
    }

    /// Reads the machine again as it is with this version in place.
    pub fn open_for(&self, tree: Tree) -> Result<Self> {
        let (layout, file) = (self.layout.clone(), self.operator_file.as_deref());
        let progress = Arc::clone(&self.progress);
        let opened = Self::open_as(layout, file, progress, Connecting::Ahead, Some(tree))?;
        let keyring = self.keyring.clone();
        Ok(Self { on_blockers: self.on_blockers, timing: self.timing, keyring, ..opened })
    }

    fn open_as(
        layout: Layout,
        operator_file: Option<&Path>,
        progress: Arc<dyn Progress>,
        connecting: Connecting,
        wanted: Option<Tree>,
    ) -> Result<Self> {
        let mut config = Config::load(&layout, operator_file)?;
        let tree = tree::enter(&layout, &mut config, wanted)?;
        let machine = Self::assemble(layout, config, progress, connecting)?;
        let version = tree.as_ref().map_or(machine.version, |tree| tree.version.clone());
        // Commands that are printed name the operator's file again.
        Ok(Self { operator_file: operator_file.map(Path::to_owned), version, tree, ..machine })
    }

    /// Builds the machine around settings that were read.
    pub(super) fn assemble(
        layout: Layout,
        config: Config,
        progress: Arc<dyn Progress>,
        connecting: Connecting,
    ) -> Result<Self> {
        let environment = environment(&layout, &*progress)?;
        let databases = config
            .databases
            .iter()
            .map(|spec| shipped(spec, &layout, &environment, connecting))
            .collect::<Result<Vec<_>>>()?;
        let version = package::installed_version(&layout, config.app.version.as_ref())
            .unwrap_or_else(|| Version::new(env!("CARGO_PKG_VERSION")));
        let services = services::manager(&layout);
        let listen = environment.get("OPENWATCH_LISTEN").cloned();
        let clock = Clock::System;
        let encryption = config.policy.encryption.clone();
        let keyring = Keyring::new(
            encryption.recipients,
            encryption.recipients_file,
            encryption.identity_file,
        );
        Ok(Self {
            layout,
            config,
            databases,
            services,
            clock,
            progress,
            version,
            listen,
            on_blockers: OnBlockers::Tell,
            timing: Timing::default(),
            backup_dir_is_named: false,
            looked_into: None,
            tree: None,
            keyring,
            operator_file: None,
        })
    }

    /// Takes restore points below another directory than the configured one.
    pub fn use_backup_dir(&mut self, dir: PathBuf) -> Result<()> {
        if dir.is_relative() {
            return Err(Error::new(
                Outcome::Usage,
                format!("the backup directory {} is not an absolute path", dir.display()),
            )
            .state("nothing was changed"));
        }
        self.config.policy.backup_dir = dir;
        self.backup_dir_is_named = true;
        Ok(())
    }

    /// Opens restore points with the identity in this file instead of the configured one.
    pub fn use_identity(&mut self, file: Option<PathBuf>) {
        if let Some(file) = file {
            self.keyring.use_identity(file);
        }
    }

    /// Takes the lock that upgrades, restores and prunes share, or says who holds it.
    pub fn lock(&self, doing: &str) -> Result<FileLock> {
        // Whoever holds the lock believes what is written there.
        fs::check_own_dir(&self.layout.upgrade_dir())?;
        FileLock::try_lock(&self.layout.lock(), doing)
    }

    /// Opens the store of restore points to look only; none where nothing was ever stored.
    pub fn stored(&self) -> Result<Option<Store>> {
        let found = Store::look(&self.config.policy.backup_dir, self.layout.app())?;
        Ok(found.map(|store| store.with_keyring(self.keyring.clone())))
    }

    /// Returns the files that travel with restore points: those of the packager, then the operator's.
    pub fn travelling(&self) -> Travelling {
        let (app, policy) = (&self.config.app, &self.config.policy);
        let both = |first: &[PathBuf], second: &[PathBuf]| {
            let mut all = first.to_vec();
            all.extend(second.iter().filter(|path| !first.contains(path)).cloned());
            all
        };
        Travelling {
            keep: both(&app.keep_files, &policy.keep_files),
            fingerprint: both(&app.fingerprint_files, &policy.fingerprint_files),
        }
    }

    /// Opens the store of restore points.
    pub fn store(&self) -> Result<Store> {
        let dir = &self.config.policy.backup_dir;
        // Before it is made: it would be made on the file system above.
        if let Some(point) = disk::missing_mount(dir, self.layout.root()) {
            let text = format!("the backup directory {} is not mounted", dir.display());
            return Err(Error::new(Outcome::Refused, text)
                .detail(format!(
                    "/etc/fstab mounts {}, and nothing is mounted there",
                    point.display()
                ))
                .state("nothing was changed")
                .hint(format!("Run `mount {}`, then try again.", point.display())));
        }
        let store = Store::open(dir, self.layout.app())?;
        Ok(store.with_keyring(self.keyring.clone()).carrying(self.travelling()))
    }

    /// Connects, waiting a bounded time for a server that is away or coming up.
    pub fn connect_waiting(&self, database: &Database, wait: Duration) -> Result<Session> {
        let deadline = Deadline::after(wait);
        let mut between = Duration::from_millis(100);
        loop {
            match database.connect() {
                Err(error) if error.outcome() == Outcome::Unreachable && !deadline.passed() => {
                    self.progress.alive(
                        &format!("waiting for {}", database.described()),
                        wait.saturating_sub(deadline.remaining()).as_secs(),
                        Some(wait.as_secs()),
                    );
                    clock::pause(between.min(deadline.remaining()));
                    between = (between * 2).min(Duration::from_secs(2));
                }
                Err(error) => return Err(error.state("nothing was changed")),
                Ok(session) => return Ok(session),
            }
        }
    }

    /// Returns the command line that runs the engine for this application.
    pub fn command(&self, words: &str) -> String {
        match &self.operator_file {
            None => self.layout.command(words),
            Some(file) => self.layout.command(&format!("--config {} {words}", typed(file))),
        }
    }
}

/// Returns a path as it is typed in a shell.
pub fn typed(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./+,:@%=".contains(c);
    match !text.is_empty() && text.chars().all(plain) {
        true => text,
        false => format!("'{}'", text.replace('\'', "'\\''")),
    }
}

/// Returns the variables that connections may use: `PG*` and `HOME` of the process, then
/// `secrets.env`.
fn environment(layout: &Layout, progress: &dyn Progress) -> Result<BTreeMap<String, String>> {
    let mut all: BTreeMap<String, String> = std::env::vars_os()
        .filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?)))
        .filter(|(key, _)| {
            key.starts_with("PG") || key == "HOME" || key.ends_with("_DSN") || key.ends_with("_URL")
        })
        .collect();
    let secrets = secrets::load(&layout.secrets())?;
    for warning in &secrets.warnings {
        progress.warn(warning);
    }
    all.extend(secrets.values);
    Ok(all)
}

fn shipped(
    spec: &DatabaseSpec,
    layout: &Layout,
    environment: &BTreeMap<String, String>,
    connecting: Connecting,
) -> Result<Shipped> {
    let conninfo = match &spec.url_env {
        Some(variable) => match environment.get(variable).filter(|value| !value.is_empty()) {
            Some(value) => Some(value.clone()),
            None if spec.service.is_some() => None,
            None => {
                return Err(Error::config(format!(
                    "{variable} is not set, so the database {} cannot be reached",
                    spec.name
                ))
                .state("nothing was changed")
                .hint(format!("Set {variable} in {}.", layout.secrets().display())));
            }
        },
        None => None,
    };
    let source = Source {
        name: spec.name.clone(),
        conninfo: conninfo.clone(),
        written_in: spec.url_env.as_ref().map(|variable| {
            let file = layout.secrets();
            match file.exists() {
                true => format!("{variable} in {}", file.display()),
                false => format!("the variable {variable}"),
            }
        }),
        service: spec.service.clone(),
        file: spec.file.clone(),
        user: spec.user.clone(),
        environment: environment.clone(),
    };
    let database = Database::resolve(&source)?;
    if connecting == Connecting::Ahead {
        database.connect_ahead();
    }
    let migrations = migrations::load_for(&spec.migrations, &database, conninfo.as_deref())?;
    Ok(Shipped { database, migrations })
}
