//! What is true after a failure: data, restore point, units, each looked at again.

use crate::migrations::{self, DataState};

use super::fail::Held;
use super::machine::Machine;
use super::survey::{Survey, Surveyed};

/// Where a failure leaves the data.
#[derive(Clone, Debug)]
pub struct Aftermath {
    /// Of all databases together.
    pub data: DataState,
    /// The database that failed, with its own state; none where no migration did.
    pub at: Option<(String, DataState)>,
}

impl From<DataState> for Aftermath {
    fn from(data: DataState) -> Self {
        Self { data, at: None }
    }
}

/// Says what is true now.
pub(super) fn state(
    machine: &Machine,
    survey: &Survey<'_>,
    held: &Held,
    after: &Aftermath,
) -> String {
    let mut parts: Vec<String> = survey
        .databases
        .iter()
        .map(|surveyed| match surveyed.shipped.command() {
            Some(_) => by_tool(survey, surveyed, after),
            None => by_files(surveyed, after),
        })
        .collect();
    match held.point() {
        Some(id) if used_up(machine, id) => {
            parts.push(format!("restore point {id} is used up: its clone is the database now"));
        }
        Some(id) => parts.push(format!("restore point {id} is intact")),
        None => parts.push("no restore point was taken".into()),
    }
    match machine.services.look(&machine.config.app.services) {
        Ok(units) => {
            parts.extend(units.iter().map(|unit| unit.spoken()));
            if units.iter().all(|unit| !unit.is_up()) && !units.is_empty() {
                parts.push(format!(
                    "the gate stays closed until program {} and schema agree",
                    survey.version
                ));
            }
        }
        Err(error) => parts.push(error.message()),
    }
    parts.join("; ")
}

/// A clone that was put back has become the database, and nothing is left of the point.
fn used_up(machine: &Machine, id: &str) -> bool {
    let gone = |store: &crate::restore_points::Store| {
        store.list().is_ok_and(|entries| entries.iter().all(|entry| entry.id != id))
    };
    machine.stored().ok().flatten().as_ref().is_some_and(gone)
}

fn by_files(surveyed: &Surveyed<'_>, after: &Aftermath) -> String {
    let name = surveyed.database.described();
    let before = surveyed.comparison.current.as_deref();
    let now = surveyed
        .database
        .connect()
        .and_then(|mut session| migrations::look(&mut session, surveyed.shipped));
    let in_part = |(at, data): &(String, DataState)| {
        at == surveyed.database.name() && *data != DataState::Unchanged
    };
    match now {
        Ok(now) if now.current.as_deref() == before && now.problems.is_empty() => {
            let schema = before.unwrap_or("none");
            match after.at.as_ref().filter(|at| in_part(at)) {
                None => format!("{name} is as before, at schema {schema}"),
                // A file that ended the transaction of its run: what it did is in no history.
                Some((_, DataState::Unknown)) => {
                    format!("{name} is at schema {schema}, and may have been changed in part")
                }
                Some(_) => format!("{name} is at schema {schema}, and was changed in part"),
            }
        }
        // It went back past this attempt, to before the first.
        Ok(now) if after.data == DataState::Unchanged && now.problems.is_empty() => format!(
            "{name} is as before the first attempt, at schema {}",
            now.current.as_deref().unwrap_or("none")
        ),
        Ok(now) if now.pending.is_empty() && now.problems.is_empty() => {
            format!("{name} is at the new schema {}", now.current.as_deref().unwrap_or("none"))
        }
        Ok(now) => format!(
            "{name} is at schema {}, between {} and {}",
            now.current.as_deref().unwrap_or("none"),
            before.unwrap_or("none"),
            now.head.as_deref().unwrap_or("none")
        ),
        Err(error) => format!("{name} could not be looked at: {}", error.message()),
    }
}

/// What a tool says is pending does not tell what it left half done; what the run found out does.
fn by_tool(survey: &Survey<'_>, surveyed: &Surveyed<'_>, after: &Aftermath) -> String {
    let name = surveyed.database.described();
    let place = |name: &str| survey.databases.iter().position(|d| d.database.name() == name);
    let own = match &after.at {
        _ if after.data == DataState::Unchanged => Some(DataState::Unchanged),
        Some((at, data)) if at == surveyed.database.name() => Some(*data),
        // Those behind it were not reached, those before it are done.
        Some((at, _)) if place(at) < place(surveyed.database.name()) => Some(DataState::Unchanged),
        Some(_) => None,
        None if after.data == DataState::Unknown => Some(DataState::Unknown),
        None => None,
    };
    match own {
        Some(DataState::Unchanged) => match &surveyed.comparison.current {
            Some(version) => format!("{name} is as before, at schema {version}"),
            None => format!("{name} is as before"),
        },
        Some(DataState::Partly) => format!("{name} was changed in part"),
        Some(DataState::Unknown) => format!("{name} may have been changed in part"),
        None => format!("{name} is at the new schema"),
    }
}
