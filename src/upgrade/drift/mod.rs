//! What runs, against what should: package, programs, units, schema, configuration.
//!
//! Everything is only looked at. What the operator chose himself (an edited conffile, a drop-in, a
//! disabled unit) is told apart from what nobody can have meant; what cannot be looked at is told too,
//! because silence would read as agreement.

mod configuration;
mod files;
mod program;
mod schema;
mod units;

use crate::package::Family;
use crate::package::altered::{self, Standing};
use crate::package::candidate::{self, Installed};

use super::machine::Machine;

/// What was compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Area {
    /// Files of the package against the disk.
    Files,
    /// Programs that run against those installed.
    Program,
    /// Units against their presets and against what the last run left.
    Units,
    /// Databases against the shipped migrations and the definitions after the last good upgrade.
    Schema,
    /// Configuration against what the package ships and this program understands.
    Configuration,
}

impl Area {
    /// All of them, in the order in which they are told.
    pub const ALL: [Self; 5] =
        [Self::Files, Self::Program, Self::Units, Self::Schema, Self::Configuration];

    /// Returns the word for people and JSON.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Files => "files",
            Self::Program => "program",
            Self::Units => "units",
            Self::Schema => "schema",
            Self::Configuration => "configuration",
        }
    }
}

/// Whose doing a difference is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nobody can have meant it.
    Drift,
    /// The operator may choose so, and it stays over upgrades.
    Operator,
}

/// One thing that is not as it should be, or as it was shipped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What was compared.
    pub area: Area,
    /// Whose doing it is.
    pub origin: Origin,
    /// What it is about: a path, a unit, an object of a database.
    pub subject: String,
    /// What should be.
    pub should: String,
    /// What is.
    pub is: String,
    /// What mends it, as a sentence with the command; of what the operator chose, what shows it.
    pub mend: String,
}

/// What could not be compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotCompared {
    /// What would have been compared.
    pub area: Area,
    /// Why not.
    pub why: String,
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// What is different.
    pub findings: Vec<Finding>,
    /// What could not be compared.
    pub not_compared: Vec<NotCompared>,
}

impl Report {
    /// Returns what nobody can have meant.
    pub fn drift(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|finding| finding.origin == Origin::Drift)
    }

    /// Returns what the operator chose.
    pub fn by_operator(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|finding| finding.origin == Origin::Operator)
    }

    fn drifted(&mut self, area: Area, subject: &str, should: &str, is: &str, mend: String) {
        self.add(Origin::Drift, area, subject, should, is, mend);
    }

    fn chosen(&mut self, area: Area, subject: &str, should: &str, is: &str, mend: String) {
        self.add(Origin::Operator, area, subject, should, is, mend);
    }

    fn add(
        &mut self,
        origin: Origin,
        area: Area,
        subject: &str,
        should: &str,
        is: &str,
        mend: String,
    ) {
        let (subject, should, is) = (subject.to_owned(), should.to_owned(), is.to_owned());
        self.findings.push(Finding { area, origin, subject, should, is, mend });
    }

    fn not_compared(&mut self, area: Area, why: impl Into<String>) {
        self.not_compared.push(NotCompared { area, why: why.into() });
    }
}

/// The installed package, as its database knows it.
struct Package {
    installed: Installed,
    standing: Standing,
}

impl Package {
    fn find(machine: &Machine) -> crate::error::Result<Self> {
        let installed = candidate::installed(&machine.layout)?;
        let standing = altered::standing(machine.layout.root(), &installed)?;
        Ok(Self { installed, standing })
    }

    /// Says how the package's own files are put back.
    fn reinstall(&self) -> String {
        let Installed { name, version, family } = &self.installed;
        match family {
            // Without its version apt would take the newest.
            Family::Deb => format!("Run `apt-get install --reinstall {name}={version}`."),
            Family::Rpm => format!("Run `dnf reinstall {name}`."),
        }
    }

    /// Says how a conffile that was removed is put back; a plain reinstallation of dpkg respects that.
    fn restore_conffile(&self) -> String {
        let Installed { name, version, family } = &self.installed;
        match family {
            Family::Deb => format!(
                "Run `apt-get -o Dpkg::Options::=--force-confmiss install --reinstall {name}={version}`."
            ),
            Family::Rpm => self.reinstall(),
        }
    }
}

/// Looks at everything; what cannot be looked at takes nothing from the rest.
pub fn look(machine: &Machine) -> Report {
    let mut report = Report::default();
    let package = Package::find(machine)
        .map_err(|error| report.not_compared(Area::Files, error.message()))
        .ok();
    if let Some(package) = &package {
        files::look(machine, package, &mut report);
    }
    program::look(machine, &mut report);
    units::look(machine, package.as_ref(), &mut report);
    schema::look(machine, &mut report);
    configuration::look(machine, package.as_ref(), &mut report);
    report.findings.sort_by_key(|finding| Area::ALL.iter().position(|area| *area == finding.area));
    report
}
