//! Whose a restore point is: that of another machine or application is not put back by mistake.

use super::refused;
use crate::database::{Database, facts};
use crate::error::Result;
use crate::restore_points::create::host;
use crate::restore_points::store::RestorePoint;

impl RestorePoint {
    /// Refuses a point that belongs to another machine, application or database.
    pub fn check_origins(&self, databases: &[&Database]) -> Result<()> {
        databases.iter().try_for_each(|database| self.check_origin(database))
    }

    /// Says what about this point belongs to somebody else.
    pub(super) fn check_origin(&self, database: &Database) -> Result<()> {
        let archive = self.archive(database.name())?;
        let manifest = self.manifest();
        let mut differs = Vec::new();
        let mut compare = |what: &str, then: &str, now: &str| {
            if then != now {
                differs.push(format!("{what} {then} instead of {now}"));
            }
        };
        compare("application", &manifest.app, &self.app);
        compare("host", &manifest.host, &host());
        compare("database", &archive.identity.dbname, database.dbname());
        let now = facts::of(database);
        if let (Some(then), Ok(Some(now))) =
            (&archive.identity.system, now.map(|facts| facts.identity.system))
        {
            compare("server", then, &now);
        }
        if differs.is_empty() {
            return Ok(());
        }
        Err(refused(format!("restore point {} was made elsewhere", self.id()))
            .detail(differs.join(", "))
            .hint(format!(
                "If it is the right one, run `openwatch restore {} --force-foreign`.",
                self.id()
            )))
    }
}
