//! The pending mark: while it exists, no unit of the application may start.
//!
//! The mark is also the memory of the first attempt: which units ran, and which version was there.
//! Retries read it and never look again, or a failed first attempt would make them believe that the
//! operator had stopped the services.

pub mod opened;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::layout::Layout;
use crate::outcome::Outcome;
use crate::package::Family;
use crate::system::clock::{self, Clock};
use crate::system::fs;
use crate::version::Version;

use super::recover::attempts::CutOff;
use super::recover::facts::Stuck;
use super::state_file;

/// The content of the pending mark.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    /// Version that was there before, where it is known.
    pub from: Option<Version>,
    /// Version that is on disk now.
    pub to: Version,
    /// Whose scripts began the upgrade; none when an operator did.
    pub family: Option<Family>,
    /// When the first attempt began, RFC 3339.
    pub since: String,
    /// Units that ran when the first attempt began, in stop order; none while nobody could look.
    pub running: Option<Vec<String>>,
    /// Whether there was no service manager then, as in an image build: what starts with the machine is
    /// what is to run.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unbooted: bool,
    /// How the last attempt ended; none before it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<Failed>,
    /// The hold or window that a person overrode for the package's run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overrode: Option<String>,
    /// Attempts that were cut off one after the other in the same step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cut_off: Option<CutOff>,
    /// Why nothing is tried by itself any more, where nothing is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stuck: Option<Stuck>,
    /// The restore point for whose restore the gate was closed, where it was open before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restoring: Option<String>,
}

/// How the last attempt ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failed {
    /// The outcome's word.
    pub outcome: String,
    /// The first line of the message.
    pub message: String,
}

impl Pending {
    /// Begins an upgrade: this version is on disk, these units ran.
    pub fn new(to: Version, running: Option<Vec<String>>, clock: Clock) -> Self {
        let since = clock::rfc3339(clock.now());
        let (from, family, failed, overrode) = (None, None, None, None);
        let (unbooted, cut_off, stuck, restoring) = (false, None, None, None);
        Self {
            from,
            to,
            family,
            since,
            running,
            unbooted,
            failed,
            overrode,
            cut_off,
            stuck,
            restoring,
        }
    }

    /// Reads the mark, where there is one.
    pub fn read(layout: &Layout) -> Result<Option<Self>> {
        let path = layout.pending_mark();
        // A mark that cannot be read still closes the gate: units test for the file alone.
        state_file::read_or(&path, || {
            let shown = path.display();
            Error::new(Outcome::Stuck, format!("the pending mark {shown} is damaged"))
                .state("the gate is closed; the database was not looked at")
                .hint(format!(
                    "Run `openwatch migrate --status`; if the schema is current, `rm {shown}`."
                ))
        })
    }

    /// Writes the mark: from now on, and after a power cut, the gate is closed.
    pub fn write(&self, layout: &Layout) -> Result<()> {
        state_file::write(layout, &layout.pending_mark(), self)
    }

    /// Returns the failure after which nothing but a person's word tries this version again.
    ///
    /// What changed nothing (a refusal, wrong configuration, a database that was away) may be tried
    /// at every boot; a failed migration must not be, each attempt costs a dump and a downtime.
    pub fn held_back(&self) -> Option<&Failed> {
        let outcome = |failed: &&Failed| Outcome::from_word(&failed.outcome);
        self.failed.as_ref().filter(|failed| match outcome(failed) {
            Some(
                Outcome::Ok
                | Outcome::Config
                | Outcome::Unreachable
                | Outcome::Refused
                | Outcome::Busy,
            ) => false,
            Some(
                Outcome::Failed
                | Outcome::Usage
                | Outcome::BackupFailed
                | Outcome::MigrationFailed
                | Outcome::Unhealthy
                | Outcome::RolledBack
                | Outcome::Pending
                | Outcome::Mismatch
                | Outcome::Stuck,
            )
            | None => true,
        })
    }

    /// Returns whether only a restore closed the gate: no upgrade of a package, or by hand, has taken
    /// the mark over since, which begins by naming its package or the units that run.
    pub fn is_of_restore(&self) -> bool {
        let rolled_back = |failed: &Failed| failed.outcome == Outcome::RolledBack.word();
        self.restoring.is_some()
            && self.family.is_none()
            && self.running.is_none()
            && self.failed.as_ref().is_some_and(rolled_back)
    }

    /// Removes the mark: the gate is open.
    pub fn clear(layout: &Layout) -> Result<()> {
        fs::remove_file(&layout.pending_mark())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(dir: &tempfile::TempDir) -> Layout {
        Layout::new(dir.path(), "openwatch")
    }

    #[test]
    fn a_written_mark_reads_back() {
        let dir = tempfile::tempdir().unwrap();
        let layout = layout(&dir);
        let mark = Pending {
            from: Some(Version::new("1.0.0-1")),
            family: Some(Family::Deb),
            ..Pending::new(Version::new("2.0.0-1"), Some(vec!["a.service".into()]), Clock::System)
        };
        mark.write(&layout).unwrap();
        assert_eq!(Pending::read(&layout).unwrap(), Some(mark));
        Pending::clear(&layout).unwrap();
        assert_eq!(Pending::read(&layout).unwrap(), None);
    }

    #[test]
    fn a_damaged_mark_is_stuck_and_names_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let layout = layout(&dir);
        fs::make_dir(&layout.upgrade_dir(), 0o755).unwrap();
        fs::replace(&layout.pending_mark(), b"{", 0o644).unwrap();
        let error = Pending::read(&layout).unwrap_err();
        assert_eq!(error.outcome(), Outcome::Stuck);
        assert!(error.message().contains("upgrade/pending"));
    }
}
