//! The operator's half: what one file says on top of those read before it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::console;
use super::notes::{Notes, Place};
use super::restore_point::{self, RestorePointSpec};
use super::section::{Section, Value};
use super::values::{Zero, choice, duration, files, path, program, size};
use super::window::{self, Windows};
use super::{
    Act, EncryptionSpec, ForeignSessions, NotifySpec, OnFailure, Policy, Retention, Verify,
};

/// Free space that a restore point leaves where nobody says otherwise: 256 MiB.
const RESERVE: u64 = 256 << 20;

/// Interrupted attempts in the same step after which a person is needed.
const ATTEMPTS: u32 = 3;

const ON_FAILURE: &[(&str, OnFailure)] =
    &[("stop", OnFailure::Stop), ("restore", OnFailure::Restore)];

const FOREIGN_SESSIONS: &[(&str, ForeignSessions)] = &[
    ("warn", ForeignSessions::Warn),
    ("refuse", ForeignSessions::Refuse),
    ("end", ForeignSessions::End),
];

const VERIFY: &[(&str, Verify)] = &[("read", Verify::Read), ("restore", Verify::Restore)];

/// How long a trial may keep the services down where nobody says otherwise.
const VERIFY_LIMIT: Duration = Duration::from_secs(600);

/// How long a hook may take where nobody says otherwise.
const HOOK_TIMEOUT: Duration = Duration::from_secs(600);

/// How long another host is waited for where nobody says otherwise: longer than most dumps.
const HOST_WAIT: Duration = Duration::from_secs(3600);

/// Settings of the operator, filled by one file after the other.
pub(super) struct Wishes {
    pub(super) policy: Policy,
    pub(super) notify: NotifySpec,
    /// Where the method of restore points was chosen last.
    chosen: Option<Place>,
}

impl Wishes {
    /// Returns what holds where no file says anything.
    pub(super) fn defaults(backup_dir: PathBuf) -> Self {
        let policy = Policy {
            auto_backup: true,
            backup_dir,
            restore_point: RestorePointSpec::defaults(),
            restore_point_after: Vec::new(),
            encryption: EncryptionSpec::default(),
            retention: Retention::new(Some(30), 3),
            on_failure: OnFailure::Stop,
            attempts: ATTEMPTS,
            rollback_package: false,
            keep_packages: true,
            database_wait: Duration::from_secs(60),
            lock_timeout: Duration::from_secs(30),
            host_wait: HOST_WAIT,
            foreign_sessions: ForeignSessions::Warn,
            reserve: RESERVE,
            verify: Verify::Read,
            verify_limit: VERIFY_LIMIT,
            checks: Vec::new(),
            hook_timeout: HOOK_TIMEOUT,
            maintenance_file: None,
            window: Windows::default(),
            data_disk_uuid: None,
            verify_image: None,
            guard: true,
            baseline_stop: Vec::new(),
            keep_files: Vec::new(),
            fingerprint_files: Vec::new(),
            metrics_textfile: None,
            console_names: Vec::new(),
            console_acts: Act::ALL.to_vec(),
        };
        Self { policy, notify: NotifySpec::default(), chosen: None }
    }

    /// Lets one file override single keys.
    pub(super) fn read(&mut self, mut top: Section<'_>, default_dir: &Path, notes: &mut Notes) {
        let policy = &mut self.policy;
        if let Some(value) = top.take("auto_backup") {
            set(&mut policy.auto_backup, value.flag(true, notes));
            notes.backups(policy.auto_backup, &value.place);
        }
        if let Some(value) = top.take("backup_dir") {
            set(&mut policy.backup_dir, path(value, default_dir, notes));
        }
        if let Some(place) = policy.restore_point.read(&mut top, notes) {
            self.chosen = Some(place);
        }
        if let Some(value) = top.take("restore_point_after") {
            set(&mut policy.restore_point_after, restore_point::after(value, notes));
        }
        policy.encryption.read(&mut top, notes);
        policy.retention.read(&mut top, notes);
        if let Some(value) = top.take("on_failure") {
            set(&mut policy.on_failure, choice(value, ON_FAILURE, notes));
        }
        if let Some(value) = top.take("attempts") {
            set(&mut policy.attempts, count(&value, notes));
        }
        if let Some(value) = top.take("rollback_package") {
            set(&mut policy.rollback_package, value.flag(false, notes));
        }
        if let Some(value) = top.take("keep_packages") {
            set(&mut policy.keep_packages, value.flag(true, notes));
        }
        if let Some(value) = top.take("database_wait") {
            set(&mut policy.database_wait, duration(value, Zero::Allowed, "60s", notes));
        }
        if let Some(value) = top.take("lock_timeout") {
            set(&mut policy.lock_timeout, duration(value, Zero::Refused, "30s", notes));
        }
        if let Some(value) = top.take("host_wait") {
            set(&mut policy.host_wait, duration(value, Zero::Refused, "1h", notes));
        }
        if let Some(value) = top.take("foreign_sessions") {
            set(&mut policy.foreign_sessions, choice(value, FOREIGN_SESSIONS, notes));
        }
        if let Some(value) = top.take("reserve") {
            set(&mut policy.reserve, size(value, "256MiB", notes));
        }
        if let Some(value) = top.take("verify") {
            set(&mut policy.verify, choice(value, VERIFY, notes));
        }
        if let Some(value) = top.take("verify_limit") {
            set(&mut policy.verify_limit, duration(value, Zero::Refused, "10min", notes));
        }
        if let Some(value) = top.take("checks") {
            set(&mut policy.checks, checks(value, notes));
        }
        if let Some(value) = top.take("hook_timeout") {
            set(&mut policy.hook_timeout, duration(value, Zero::Refused, "10min", notes));
        }
        if let Some(value) = top.take("maintenance_file") {
            // Empty text takes back what an earlier file said.
            if value.as_text() == Some("") {
                policy.maintenance_file = None;
            } else if let Some(found) = path(value, Path::new("/run/app/maintenance"), notes) {
                policy.maintenance_file = Some(found);
            }
        }
        if let Some(value) = top.take("window") {
            set(&mut policy.window, window::read(value, notes));
        }
        if let Some(value) = top.take("data_disk_uuid") {
            let named = super::packager::word(value, "\"any\"", notes);
            policy.data_disk_uuid = named.filter(|uuid| uuid != "any");
        }
        if let Some(value) = top.take("verify_image") {
            policy.verify_image = if value.is_empty_list() { None } else { program(value, notes) };
        }
        if let Some(value) = top.take("guard") {
            set(&mut policy.guard, value.flag(true, notes));
        }
        if let Some(value) = top.take("baseline_stop") {
            set(&mut policy.baseline_stop, super::expect::checks(value, notes));
        }
        if let Some(value) = top.take("keep_files") {
            set(&mut policy.keep_files, files(value, notes));
        }
        if let Some(value) = top.take("fingerprint_files") {
            set(&mut policy.fingerprint_files, files(value, notes));
        }
        if let Some(value) = top.take("metrics_textfile") {
            set(&mut policy.metrics_textfile, textfile(value, notes));
        }
        if let Some(value) = top.take("console_names") {
            set(&mut policy.console_names, console::names(value, notes));
        }
        if let Some(value) = top.take("console_acts") {
            set(&mut policy.console_acts, console::acts(value, notes));
        }
        if let Some(value) = top.take("notify")
            && let Some(table) = value.table("notify", notes)
        {
            self.notify.read(table, notes);
        }
        top.finish(notes);
    }

    /// Notes what does not fit together, once every file was read.
    pub(super) fn check(&self, notes: &mut Notes) {
        self.policy.restore_point.check(self.chosen.as_ref(), notes);
    }
}

fn set<T>(slot: &mut T, found: Option<T>) {
    if let Some(found) = found {
        *slot = found;
    }
}

fn count(value: &Value<'_>, notes: &mut Notes) -> Option<u32> {
    let found = value.as_integer().and_then(|number| u32::try_from(number).ok());
    let found = found.filter(|number| (1..=100).contains(number));
    if found.is_none() {
        let message = format!("{} must be a whole number from 1 to 100", value.name);
        notes.problem(&value.place, message, &format!("write {ATTEMPTS}, or leave the key out"));
    }
    found
}

/// Empty text takes back what an earlier file said.
fn textfile(value: Value<'_>, notes: &mut Notes) -> Option<Option<PathBuf>> {
    const EXAMPLE: &str = "/var/lib/prometheus/node-exporter/openwatch.prom";
    let (name, place) = (value.name.clone(), value.place.clone());
    if value.as_text() == Some("") {
        return Some(None);
    }
    let file = path(value, Path::new(EXAMPLE), notes)?;
    // node_exporter reads no other name.
    if file.extension().is_none_or(|ending| ending != "prom") {
        let message = format!("{name} does not end in .prom");
        notes.problem(&place, message, &format!("write {name} = \"{EXAMPLE}\""));
        return None;
    }
    Some(Some(file))
}

fn checks(value: Value<'_>, notes: &mut Notes) -> Option<Vec<Vec<String>>> {
    let (name, place) = (value.name.clone(), value.place.clone());
    let entries = value.list("[[\"/usr/bin/true\"]]", notes)?;
    if !entries.is_empty() && entries.iter().all(|entry| entry.as_text().is_some()) {
        let message = format!("{name} must be a list of commands, each a list itself");
        notes.problem(&place, message, "write another pair of brackets around the command");
        return None;
    }
    let mut found = Vec::new();
    for entry in entries {
        found.push(program(entry, notes)?);
    }
    Some(found)
}
