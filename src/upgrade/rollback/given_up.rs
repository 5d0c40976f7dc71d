//! A version that was rolled back is not tried again by itself: not every night anew.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::layout::Layout;
use crate::outcome::Outcome;
use crate::system::fs;
use crate::version::Version;

use super::super::state_file;

/// The version that was rolled back last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GivenUp {
    /// The version.
    pub version: Version,
    /// When it was rolled back, RFC 3339.
    pub since: String,
    /// Why, one line.
    pub why: String,
}

impl GivenUp {
    /// Reads the note; one that cannot be read refuses nothing, it guards nobody's data.
    pub fn read(layout: &Layout) -> Option<Self> {
        state_file::read(&layout.given_up()).ok().flatten()
    }

    /// Writes the note.
    pub fn write(&self, layout: &Layout) -> Result<()> {
        state_file::write(layout, &layout.given_up(), self)
    }

    /// Forgets it: a person said so, or another version has taken its place. Returns what was noted.
    pub fn forget(layout: &Layout) -> Result<Option<Self>> {
        let noted = Self::read(layout);
        fs::remove_file(&layout.given_up())?;
        Ok(noted)
    }

    /// Returns the refusal to install this version, where it is the one that was rolled back.
    pub fn refusal(layout: &Layout, version: &Version) -> Option<Error> {
        let noted = Self::read(layout).filter(|noted| noted.version.order(version).is_eq())?;
        let app = layout.app();
        let retry = match app {
            "openwatch" => "openwatch upgrade --retry".to_owned(),
            app => format!("openwatch --app {app} upgrade --retry"),
        };
        let message =
            format!("{app} {version} was rolled back here and is not tried again by itself");
        Some(
            Error::new(Outcome::Refused, message)
                .detail(format!("rolled back {}: {}", noted.since, noted.why))
                .state("nothing was changed")
                .hint(format!("Wait for the next version, or let it in again with `{retry}`.")),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Row 62.
    #[test]
    fn only_the_version_that_was_rolled_back_is_refused_and_only_until_it_is_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path(), "openwatch");
        let refused = |version: &str| GivenUp::refusal(&layout, &Version::new(version)).is_some();
        assert!(!refused("2.0.0-1"));
        let since = "2026-01-01T00:00:00Z".to_owned();
        let noted = GivenUp { version: Version::new("2.0.0"), since, why: "it failed".into() };
        noted.write(&layout).unwrap();
        assert!(refused("2.0.0-1"));
        assert!(!refused("2.0.1-1") && !refused("1.0.0-1"));
        assert_eq!(GivenUp::forget(&layout).unwrap(), Some(noted));
        assert!(!refused("2.0.0-1"));
        assert_eq!(GivenUp::forget(&layout).unwrap(), None);
    }
}
