//! `[notify]`: who is told how an upgrade ended, and what proves to them that we say so.

use std::time::Duration;

use super::notes::Notes;
use super::probes::address;
use super::secret_spec::{self, SecretSpec};
use super::section::Section;
use super::values::{Zero, duration};

/// How long telling may hold up the end of a run where nobody says otherwise.
const LIMIT: Duration = Duration::from_secs(15);

const EXAMPLE: &str = "https://example.org/upgrade";

/// `[notify]` of the operator's half.
#[derive(Clone, Debug)]
pub struct NotifySpec {
    /// Told of everything that has no address of its own.
    pub url: Option<String>,
    /// Told when an upgrade ended well.
    pub success_url: Option<String>,
    /// Told when it failed, was put back, or was put off.
    pub failure_url: Option<String>,
    /// Where the bearer token lies.
    pub token: Option<SecretSpec>,
    /// Where the key lies that messages are signed with.
    pub hmac: Option<SecretSpec>,
    /// How long telling may take at the end of a run, all attempts and pauses together.
    pub limit: Duration,
}

impl Default for NotifySpec {
    fn default() -> Self {
        Self {
            url: None,
            success_url: None,
            failure_url: None,
            token: None,
            hmac: None,
            limit: LIMIT,
        }
    }
}

impl NotifySpec {
    /// Lets one file override single keys.
    pub(super) fn read(&mut self, mut table: Section<'_>, notes: &mut Notes) {
        for (key, slot) in [
            ("report_url", &mut self.url),
            ("success_url", &mut self.success_url),
            ("failure_url", &mut self.failure_url),
        ] {
            let Some(value) = table.take(key) else { continue };
            // Empty text takes back what an earlier file said.
            if value.as_text() == Some("") {
                *slot = None;
            } else if let Some(url) = address(value, EXAMPLE, notes) {
                *slot = Some(url);
            }
        }
        for (variable, file, slot) in [
            ("token_env", "token_file", &mut self.token),
            ("hmac_env", "hmac_file", &mut self.hmac),
        ] {
            secret_spec::read(&mut table, (variable, file), slot, notes);
        }
        if let Some(value) = table.take("limit")
            && let Some(limit) = duration(value, Zero::Allowed, "15s", notes)
        {
            self.limit = limit;
        }
        table.finish(notes);
    }
}
