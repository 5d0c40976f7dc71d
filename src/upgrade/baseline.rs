//! What was so before the first change, kept to compare with what is so afterwards.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::database::facts::{self, RowCount};
use crate::error::Result;

use super::machine::Machine;
use super::survey::Survey;

/// How long a locked table is waited for; without it there is no baseline, and the run goes on.
const LOCK_WAIT: Duration = Duration::from_secs(2);

/// Units, schema and row counts at one instant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Baseline {
    /// State of each unit in words.
    pub units: Vec<String>,
    /// Each database by its name within the application.
    pub databases: BTreeMap<String, DatabaseBaseline>,
}

/// What was so in one database.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatabaseBaseline {
    /// Newest applied migration.
    pub schema: Option<String>,
    /// Rows per table; estimates end in `~`.
    pub rows: BTreeMap<String, RowCount>,
}

/// Records what is so before the first change, read-only.
pub fn record(machine: &Machine, survey: &Survey<'_>) -> Result<Baseline> {
    let mut baseline = now(machine)?;
    for surveyed in &survey.databases {
        if let Some(found) = baseline.databases.get_mut(surveyed.database.name()) {
            found.schema = surveyed.comparison.current.clone();
        }
    }
    Ok(baseline)
}

/// Returns what is so now, to compare; the schema is the migrations' own business by then.
pub fn now(machine: &Machine) -> Result<Baseline> {
    let units = machine.services.look(&machine.config.app.services)?;
    let mut databases = BTreeMap::new();
    for shipped in &machine.databases {
        let mut session = shipped.database.connect()?;
        facts::unlimited(&mut session, LOCK_WAIT)?;
        let rows = facts::row_counts(&mut session)?;
        let found = DatabaseBaseline { schema: None, rows: rows.into_iter().collect() };
        databases.insert(shipped.database.name().to_owned(), found);
    }
    Ok(Baseline { units: units.iter().map(|u| u.spoken()).collect(), databases })
}

/// Returns what differs in a way that an operator should look at: tables that are gone, and exact
/// counts that fell.
pub fn losses(before: &Baseline, after: &Baseline) -> Vec<String> {
    let mut found = Vec::new();
    for (name, then) in &before.databases {
        let Some(now) = after.databases.get(name) else { continue };
        for (table, count) in &then.rows {
            match (count, now.rows.get(table)) {
                (_, None) => found.push(format!("{name}: table {table} is gone")),
                (RowCount::Exact(then), Some(RowCount::Exact(now))) if now < then => {
                    found.push(format!("{name}: table {table} had {then} rows, now {now}"));
                }
                _ => {}
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_rows(rows: &[(&str, RowCount)]) -> Baseline {
        let rows = rows.iter().map(|(table, count)| ((*table).to_owned(), *count)).collect();
        let database = DatabaseBaseline { schema: None, rows };
        Baseline { units: Vec::new(), databases: BTreeMap::from([("main".to_owned(), database)]) }
    }

    #[test]
    fn lost_tables_and_fallen_counts_are_named_and_growth_is_not() {
        let before = with_rows(&[
            ("public.a", RowCount::Exact(3)),
            ("public.b", RowCount::Exact(3)),
            ("public.c", RowCount::Estimate(9)),
            ("public.d", RowCount::Exact(3)),
        ]);
        let after = with_rows(&[
            ("public.a", RowCount::Exact(2)),
            ("public.b", RowCount::Exact(4)),
            ("public.c", RowCount::Estimate(1)),
        ]);
        assert_eq!(
            losses(&before, &after),
            ["main: table public.a had 3 rows, now 2", "main: table public.d is gone"]
        );
    }
}
