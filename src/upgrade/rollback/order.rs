//! The order of a rollback: what is to be true at its end, and which half is done.
//!
//! It is on disk before anything changes and goes when data and program agree and health is proved.
//! Whoever comes meanwhile (the older package's scripts, the boot, an upgrade, the next `rollback`)
//! finds it and finishes, or leaves the machine alone.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::layout::Layout;
use crate::outcome::Outcome;
use crate::package::Family;
use crate::system::{clock, fs};
use crate::version::Version;

use super::super::gate::{Failed, Pending};
use super::super::machine::Machine;
use super::super::state_file;

/// The format that we write; one above it may mean something else.
pub const FORMAT: u32 = 1;

/// What a rollback is to reach.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// Format of this file.
    pub format: u32,
    /// When it was given, RFC 3339.
    pub since: String,
    /// Version that was installed then.
    pub from: Version,
    /// Version that it leads to.
    pub to: Version,
    /// Name of the package; none where no package tool knows one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub package: Option<String>,
    /// Whose package it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub family: Option<Family>,
    /// Who changes the package.
    pub program: Program,
    /// The restore point that is put back; none where the data is as that version knows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub point: Option<String>,
    /// When its data was back, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restored: Option<String>,
    /// Whether the present state is kept first.
    #[serde(default)]
    pub copy: Keep,
    /// What the operator said about that: a look before the first change may ask for a copy, too.
    #[serde(default, skip_serializing_if = "Wish::is_unsaid")]
    pub wish: Wish,
    /// Whether the database that is replaced becomes a restore point at the end, as it is.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub beside: bool,
    /// The restore point of the present state, once it was taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copied: Option<String>,
    /// Units that ran before and run again at the end, in stop order.
    pub running: Vec<String>,
    /// How the last attempt ended; a person has to look before there is another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<Failed>,
}

/// Who puts the older package in place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Program {
    /// We do, from a kept file.
    Exchanged {
        /// Name of the file in the directory of kept packages.
        file: String,
    },
    /// The package tool that is at work, called by hand.
    ByHand,
    /// We do: the version has a directory, and a link is moved.
    Tree,
}

/// Whether the present state is kept before it is replaced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Keep {
    /// As a restore point, first.
    Copy,
    /// It is not.
    #[default]
    Nothing,
}

/// What the operator said about a copy of the present state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wish {
    /// Nothing: it is taken where something was written.
    #[default]
    Unsaid,
    /// That there shall be none.
    NoCopy,
}

impl Wish {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde asks")]
    fn is_unsaid(&self) -> bool {
        *self == Self::Unsaid
    }
}

impl Order {
    /// An order that was given now, to do nothing but change the program.
    pub fn new(machine: &Machine, to: &Version, program: Program) -> Self {
        Self {
            format: FORMAT,
            since: clock::rfc3339(machine.clock.now()),
            from: machine.version.clone(),
            to: to.clone(),
            package: None,
            family: None,
            program,
            point: None,
            restored: None,
            copy: Keep::Nothing,
            wish: Wish::Unsaid,
            beside: false,
            copied: None,
            running: Vec::new(),
            failed: None,
        }
    }

    /// Reads the order, where a rollback is under way.
    pub fn read(layout: &Layout) -> Result<Option<Self>> {
        let path = layout.rollback_order();
        let unknown = |what: &str| {
            let shown = path.display();
            Error::new(Outcome::Stuck, format!("the order of the rollback, {shown}, is {what}"))
                .state("the database and the package were not looked at; the gate is as it was")
                .hint(format!("Run `rm {shown}`, then `openwatch rollback` again."))
        };
        let order: Option<Self> = state_file::read_or(&path, || unknown("damaged"))?;
        match order {
            Some(order) if order.format > FORMAT => Err(unknown("that of a newer version")),
            order => Ok(order),
        }
    }

    /// Writes the order; only then may anything change.
    pub fn write(&self, layout: &Layout) -> Result<()> {
        state_file::write(layout, &layout.rollback_order(), self)
    }

    /// Ends the order: data and program agree, or another way is gone.
    pub fn clear(layout: &Layout) -> Result<()> {
        fs::remove_file(&layout.rollback_order())
    }

    /// Returns whether this version is the one that it leads to.
    pub fn leads_to(&self, version: &Version) -> bool {
        self.to.order(version).is_eq()
    }

    /// Returns whether the data is what the version knows that it leads to.
    pub fn data_is_back(&self) -> bool {
        self.point.is_none() || self.restored.is_some()
    }

    /// Returns whether the gate is closed for it, where this is the mark and that version is installed.
    ///
    /// Before the mark is written nothing has begun; when it is gone, data and program agree, and the
    /// units that a rollback starts at its end ask the gate.
    pub fn closes_gate(&self, mark: Option<&Pending>, installed: &Version) -> bool {
        mark.is_some() || (self.restored.is_some() && !self.leads_to(installed))
    }

    /// Returns whether the mark is that of this rollback, so that an attempt has begun before.
    pub fn has_begun(&self, mark: Option<&Pending>) -> bool {
        let is_ours = |mark: &Pending| {
            mark.to.order(&self.to).is_eq()
                && mark.from.as_ref().is_some_and(|from| from.order(&self.from).is_eq())
        };
        self.restored.is_some() || mark.is_some_and(is_ours)
    }

    /// Says which half is done.
    pub fn halves(&self, installed: &Version) -> String {
        let data = match (&self.point, self.data_is_back()) {
            (None, _) => format!("the data is as version {} knows it", self.to),
            (Some(_), true) => format!("the data is back at version {}", self.to),
            (Some(id), false) => format!("the data was not put back from restore point {id}"),
        };
        format!("{data}; version {installed} is installed")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(in super::super) fn order() -> Order {
        Order {
            format: FORMAT,
            since: "2026-01-01T00:00:00Z".into(),
            from: Version::new("2.0.0"),
            to: Version::new("1.0.0-1"),
            package: Some("openwatch".into()),
            family: Some(Family::Deb),
            program: Program::Exchanged { file: "openwatch_1.0.0-1.deb".into() },
            point: Some("20260101T000000Z-1.0.0".into()),
            restored: None,
            copy: Keep::Copy,
            wish: Wish::Unsaid,
            beside: false,
            copied: None,
            running: vec!["openwatch.service".into()],
            failed: None,
        }
    }

    /// Row 57.
    #[test]
    fn an_order_reads_back_and_tells_its_halves() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path(), "openwatch");
        assert_eq!(Order::read(&layout).unwrap(), None);
        let order = order();
        order.write(&layout).unwrap();
        assert_eq!(Order::read(&layout).unwrap(), Some(order.clone()));
        assert!(order.leads_to(&Version::new("1.0.0")) && !order.data_is_back());
        let done = Order { restored: Some("2026-01-01T00:01:00Z".into()), ..order };
        assert!(done.data_is_back());
        assert_eq!(
            done.halves(&Version::new("2.0.0")),
            "the data is back at version 1.0.0-1; version 2.0.0 is installed"
        );
        Order::clear(&layout).unwrap();
        assert_eq!(Order::read(&layout).unwrap(), None);
    }

    /// Row 61.
    #[test]
    fn a_damaged_order_is_stuck_and_names_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path(), "openwatch");
        fs::make_dir(&layout.upgrade_dir(), 0o755).unwrap();
        fs::replace(&layout.rollback_order(), b"{\"program\": \"by magic\"}", 0o644).unwrap();
        let error = Order::read(&layout).unwrap_err();
        assert_eq!(error.outcome(), Outcome::Stuck);
        assert!(error.message().contains("upgrade/rollback"), "{error:?}");
    }
}
