//! Looks, after everything succeeded, for what can be wrong with the data all the same.
//!
//! Nothing of it fails a run: the migrations are applied and the services are healthy. It is told, as
//! warnings and as findings in JSON, each kind by its own word.

use std::time::Duration;

use serde_json::{Value, json};

use crate::database::clients::Clients;
use crate::database::{Database, Doubt, DoubtKind, Session, dump, dumpable, facts};
use crate::error::Result;

use super::machine::Machine;

/// How long the client waits for a lock on a table when it is tried out.
const LOCK_WAIT: Duration = Duration::from_secs(2);

/// What is in doubt in one database.
#[derive(Clone, Debug)]
pub struct Found {
    /// Name of the database within the application.
    pub database: String,
    /// The doubt.
    pub doubt: Doubt,
}

impl Found {
    /// Returns it as JSON shows findings.
    pub fn json(&self) -> Value {
        json!({
            "severity": "advisory",
            "kind": self.doubt.kind.word(),
            "database": self.database,
            "message": self.doubt.what,
            "hint": self.doubt.remedy,
        })
    }
}

/// How thoroughly it is asked whether the next dump will work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextDump {
    /// The catalogue is asked what the role may read.
    Asked,
    /// And the client dumps the definitions to nowhere, which takes as long as they are many: a second
    /// for some thousand tables, which only a run whose services are back by now has to spare.
    Tried,
}

/// Looks at every database and tells what is in doubt.
pub fn run(machine: &Machine, next: NextDump) -> Vec<Found> {
    let mut found = Vec::new();
    for shipped in &machine.databases {
        let (database, name) = (&shipped.database, shipped.database.name());
        let mut session = match database.connect() {
            Ok(session) => session,
            Err(error) => {
                let why = error.message();
                machine.progress.warn(&format!("{name} was not looked at afterwards: {why}"));
                continue;
            }
        };
        if machine.config.policy.auto_backup && database.file().is_none() {
            tell(machine, name, next_dump(database, &mut session, next), &mut found);
        }
        match session.doubts() {
            Ok(doubts) => tell(machine, name, doubts, &mut found),
            Err(error) => {
                machine.progress.warn(&format!("{name} was not looked at afterwards: {error}"));
            }
        }
    }
    found
}

fn tell(machine: &Machine, name: &str, doubts: Vec<Doubt>, found: &mut Vec<Found>) {
    for doubt in doubts {
        machine.progress.warn(&format!("{name}: {}; {}", doubt.what, doubt.remedy));
        found.push(Found { database: name.to_owned(), doubt });
    }
}

/// Asks what the restore point of the next upgrade would fail on: the migrations may have made what the
/// role cannot read. The services run again, so a lock of theirs is no news.
fn next_dump(database: &Database, session: &mut Session, next: NextDump) -> Vec<Doubt> {
    let doubt = |why: String, remedy: String| Doubt {
        kind: DoubtKind::NextDump,
        what: format!("the next dump would fail because {why}"),
        remedy,
    };
    let mut ask = || -> Result<Vec<Doubt>> {
        let missed = dumpable::undumpable(session)?;
        if !missed.is_empty() {
            let why = format!("the role cannot read {}", dumpable::named(&missed));
            return Ok(vec![doubt(why, dumpable::hint(&missed))]);
        }
        if next == NextDump::Asked {
            return Ok(Vec::new());
        }
        let (client, _) = Clients::default().choose(facts::facts(session)?.major)?;
        let tried = dump::try_definitions(database, &client, LOCK_WAIT).err();
        let told = tried.filter(|error| dump::locked_by(error).is_empty()).map(|error| {
            let said = error.details().first().cloned().unwrap_or_else(|| error.message());
            doubt(format!("the client says: {said}"), "mend what it names".into())
        });
        Ok(told.into_iter().collect())
    };
    // A server or a client that is away now is told by the looks that follow, and by the next preflight.
    ask().unwrap_or_default()
}
