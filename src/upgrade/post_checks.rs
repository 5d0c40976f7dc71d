//! Looks, after everything succeeded, for what can be wrong with the data all the same.
//!
//! Nothing of it fails a run: the migrations are applied and the services are healthy. It is told, as
//! warnings and as findings in JSON, each kind by its own word.

use serde_json::{Value, json};

use crate::database::Doubt;

use super::machine::Machine;

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

/// Looks at every database and tells what is in doubt.
pub fn run(machine: &Machine) -> Vec<Found> {
    let mut found = Vec::new();
    for shipped in &machine.databases {
        let name = shipped.database.name();
        let looked = shipped.database.connect().map(|mut session| session.doubts());
        match looked {
            Ok(Ok(doubts)) => {
                for doubt in doubts {
                    machine.progress.warn(&format!("{name}: {}; {}", doubt.what, doubt.remedy));
                    found.push(Found { database: name.to_owned(), doubt });
                }
            }
            Ok(Err(error)) => {
                machine.progress.warn(&format!("{name} was not looked at afterwards: {error}"));
            }
            Err(error) => machine
                .progress
                .warn(&format!("{name} was not looked at afterwards: {}", error.message())),
        }
    }
    found
}
