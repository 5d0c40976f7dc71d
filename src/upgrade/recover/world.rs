//! By what the world of a run is known again: its package, and each database with its history.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::database::facts::Identity;
use crate::error::Result;
use crate::migrations::{self, HistoryPrint};
use crate::upgrade::journal;
use crate::upgrade::machine::Machine;
use crate::upgrade::survey::{Survey, Surveyed};
use crate::version::Version;

use super::facts::Changed;

/// Package and databases at the beginning of a run, and after each of its migrations.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct World {
    /// Version of the installed package.
    pub package: Version,
    /// Each database by its name within the application.
    pub databases: BTreeMap<String, DatabaseWorld>,
}

/// One database, and what the package ships for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatabaseWorld {
    /// Which database it is.
    pub identity: Identity,
    /// Digest of the shipped migrations.
    pub migrations: String,
    /// Versions that the run was about to apply.
    pub pending: Vec<String>,
    /// The history when the run began.
    pub start: HistoryPrint,
    /// The history when the first attempt began, where earlier ones left the data half done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first: Option<HistoryPrint>,
    /// The history when its migrations were done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<HistoryPrint>,
}

/// One database as it is found now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Now {
    /// Which database it is.
    pub identity: Identity,
    /// Digest of the migrations that the installed package ships.
    pub migrations: String,
    /// The history without what the run was about to apply.
    pub others: HistoryPrint,
    /// The whole history.
    pub whole: HistoryPrint,
}

impl DatabaseWorld {
    /// Returns the history from before the first attempt.
    pub fn before(&self) -> &HistoryPrint {
        self.first.as_ref().unwrap_or(&self.start)
    }
}

/// Records the world before the first change.
pub fn record(machine: &Machine, survey: &Survey<'_>) -> Result<World> {
    let mut databases = BTreeMap::new();
    let last = match survey.way_back {
        Some(_) => journal::read(&machine.layout)?.and_then(|record| record.world),
        None => None,
    };
    for surveyed in &survey.databases {
        let pending = surveyed.comparison.pending.iter().map(|p| p.version.to_string()).collect();
        let earlier = last.as_ref().and_then(|last| last.databases.get(surveyed.database.name()));
        let found = DatabaseWorld {
            first: earlier.map(|earlier| earlier.before().clone()),
            identity: surveyed.facts.identity.clone(),
            migrations: migrations::of_package(surveyed.shipped),
            pending,
            start: surveyed.history.clone(),
            end: None,
        };
        databases.insert(surveyed.database.name().to_owned(), found);
    }
    Ok(World { package: survey.version.clone(), databases })
}

/// Reads the history of a database, without these versions.
pub fn history(surveyed: &Surveyed<'_>, without: &[String]) -> Result<HistoryPrint> {
    let mut session = surveyed.database.connect()?;
    migrations::of_history(&mut session, surveyed.shipped, &surveyed.comparison, without)
}

/// Looks at one database that a run knew.
pub fn look(then: &DatabaseWorld, surveyed: &Surveyed<'_>) -> Result<Now> {
    Ok(Now {
        identity: surveyed.facts.identity.clone(),
        migrations: migrations::of_package(surveyed.shipped),
        others: history(surveyed, &then.pending)?,
        whole: history(surveyed, &[])?,
    })
}

/// Whether we put data back ourselves since: then another database is there on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnRestore {
    /// We began to, at least.
    Begun,
    /// We did not.
    No,
}

/// Names what is not as the run left it.
pub fn changes(
    then: &World,
    package: &Version,
    now: &BTreeMap<String, Now>,
    restore: OwnRestore,
) -> Changed {
    let mut changed = Changed::default();
    if then.package != *package {
        changed.package.push(format!("package {} is installed, not {}", package, then.package));
    }
    for (name, before) in &then.databases {
        let Some(now) = now.get(name) else {
            changed.package.push(format!("the package has no database {name} any more"));
            continue;
        };
        if before.migrations != now.migrations && then.package == *package {
            changed.package.push(format!("the shipped migrations of {name} are others"));
        }
        if restore == OwnRestore::Begun {
            continue;
        }
        if before.identity != now.identity {
            let dbname = &now.identity.dbname;
            changed.data.push(format!("{name}: another database has the name {dbname} now"));
        }
        let (expected, found) = match &before.end {
            Some(end) => (end, &now.whole),
            None => (&before.start, &now.others),
        };
        if expected != found {
            changed.data.push(format!(
                "{name}: its history has {}, and the run had left {}",
                spoken(found),
                spoken(expected)
            ));
        }
    }
    changed
}

fn spoken(print: &HistoryPrint) -> String {
    let head = print.head.as_deref().unwrap_or("none");
    let digest = print.digest.as_deref().and_then(|digest| digest.get(..8)).unwrap_or("no digest");
    format!("{} applied up to {head} ({digest})", print.applied)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn print(applied: usize) -> HistoryPrint {
        let digest = Some(format!("{applied:08}"));
        HistoryPrint { head: Some(format!("{applied:04}")), applied, digest }
    }

    fn identity(oid: u32) -> Identity {
        Identity { system: Some("1".into()), oid, dbname: "app".into() }
    }

    fn world() -> World {
        let main = DatabaseWorld {
            identity: identity(7),
            migrations: "m".into(),
            pending: vec!["0003".into()],
            start: print(2),
            first: None,
            end: None,
        };
        World { package: Version::new("2.0"), databases: BTreeMap::from([("main".into(), main)]) }
    }

    fn now() -> Now {
        Now { identity: identity(7), migrations: "m".into(), others: print(2), whole: print(3) }
    }

    fn found(then: &World, package: &str, now: Now, restore: OwnRestore) -> Changed {
        let now = BTreeMap::from([("main".to_owned(), now)]);
        changes(then, &Version::new(package), &now, restore)
    }

    /// Row 64.
    #[test]
    fn each_thing_that_changed_is_named() {
        let same = found(&world(), "2.0", now(), OwnRestore::No);
        assert_eq!(same, Changed::default());
        let package = found(&world(), "2.1", now(), OwnRestore::No);
        assert_eq!(package.package, ["package 2.1 is installed, not 2.0"]);
        let files = found(&world(), "2.0", Now { migrations: "x".into(), ..now() }, OwnRestore::No);
        assert_eq!(files.package, ["the shipped migrations of main are others"]);
        let other = Now { identity: identity(8), ..now() };
        let replaced = found(&world(), "2.0", other.clone(), OwnRestore::No);
        assert_eq!(replaced.data, ["main: another database has the name app now"]);
        assert_eq!(found(&world(), "2.0", other, OwnRestore::Begun), Changed::default());
        let older = found(&world(), "2.0", Now { others: print(1), ..now() }, OwnRestore::No);
        assert_eq!(
            older.data,
            ["main: its history has 1 applied up to 0001 (00000001), and the run had left \
              2 applied up to 0002 (00000002)"]
        );
    }

    #[test]
    fn once_the_migrations_are_done_the_whole_history_counts() {
        let mut then = world();
        then.databases.get_mut("main").unwrap().end = Some(print(3));
        assert_eq!(found(&then, "2.0", now(), OwnRestore::No), Changed::default());
        let taken_back = Now { whole: print(2), ..now() };
        assert_eq!(found(&then, "2.0", taken_back, OwnRestore::No).data.len(), 1);
    }
}
