//! How a restore point is made: by a dump, by a clone, or by a command of the operator's own.

use std::time::Duration;

use super::notes::{Notes, Place};
use super::section::{Section, Value};
use super::values::{Zero, choice, duration, program};

/// How long the operator's command may take where nobody says otherwise: services are down.
const TIMEOUT: Duration = Duration::from_secs(600);

/// How long putting back may take where nobody says otherwise.
const RESTORE_TIMEOUT: Duration = Duration::from_secs(3600);

const METHODS: &[(&str, Method)] =
    &[("dump", Method::Dump), ("clone", Method::Clone), ("external", Method::External)];

/// What a restore point before an upgrade is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// A dump into the backup directory, with the services down.
    Dump,
    /// A clone on the server, and a dump of it once the services are back.
    Clone,
    /// What the operator's own command makes.
    External,
}

impl Method {
    /// Returns the word of the configuration.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Dump => "dump",
            Self::Clone => "clone",
            Self::External => "external",
        }
    }
}

const STEPS: &[(&str, After)] = &[("migrate", After::Migrate)];

/// A step after which what it left is dumped too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// Each database, as soon as its own migrations are done.
    Migrate,
}

impl After {
    /// Returns the word of the configuration.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Migrate => "migrate",
        }
    }
}

/// Reads the steps of `restore_point_after`.
pub(super) fn after(value: Value<'_>, notes: &mut Notes) -> Option<Vec<After>> {
    let entries = value.list("[\"migrate\"]", notes)?;
    let mut found = Vec::new();
    for entry in entries {
        let step = choice(entry, STEPS, notes)?;
        if !found.contains(&step) {
            found.push(step);
        }
    }
    Some(found)
}

/// How a restore point is made, and how one that the operator's command made is put back.
#[derive(Clone, Debug)]
pub struct RestorePointSpec {
    /// What it is made of.
    pub method: Method,
    /// The command that makes an external one and prints its identifier.
    pub command: Option<Vec<String>>,
    /// How long that may take.
    pub timeout: Duration,
    /// The command that puts an external one back; it is given the identifier.
    pub restore_command: Option<Vec<String>>,
    /// How long that may take.
    pub restore_timeout: Duration,
}

impl RestorePointSpec {
    /// Returns what holds where no file says anything.
    pub(super) fn defaults() -> Self {
        Self {
            method: Method::Dump,
            command: None,
            timeout: TIMEOUT,
            restore_command: None,
            restore_timeout: RESTORE_TIMEOUT,
        }
    }

    /// Lets one file override single keys; returns where it chose the method, if it did.
    pub(super) fn read(&mut self, top: &mut Section<'_>, notes: &mut Notes) -> Option<Place> {
        let mut chosen = None;
        if let Some(value) = top.take("restore_point") {
            let place = value.place.clone();
            if let Some(method) = choice(value, METHODS, notes) {
                self.method = method;
                chosen = Some(place);
            }
        }
        for (key, slot) in [
            ("restore_point_command", &mut self.command),
            ("restore_command", &mut self.restore_command),
        ] {
            let Some(value) = top.take(key) else { continue };
            // An empty list takes back what an earlier file said.
            if value.is_empty_list() {
                *slot = None;
            } else if let Some(command) = program(value, notes) {
                *slot = Some(command);
            }
        }
        for (key, slot, default) in [
            ("restore_point_timeout", &mut self.timeout, "10min"),
            ("restore_timeout", &mut self.restore_timeout, "1h"),
        ] {
            let Some(value) = top.take(key) else { continue };
            if let Some(limit) = duration(value, Zero::Refused, default, notes) {
                *slot = limit;
            }
        }
        chosen
    }

    /// Notes a method that lacks its command, once every file was read.
    pub(super) fn check(&self, chosen: Option<&Place>, notes: &mut Notes) {
        if let (Method::External, None, Some(at)) = (self.method, &self.command, chosen) {
            notes.problem(
                at,
                "restore_point \"external\" needs restore_point_command",
                "add `restore_point_command = [\"/usr/local/sbin/snapshot\"]` with your own program",
            );
        }
    }
}
