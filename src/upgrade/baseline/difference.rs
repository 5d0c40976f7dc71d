//! Two baselines, check by check.

use std::collections::{BTreeMap, BTreeSet};

use super::comparison::{Change, Checked, Comparison, Severity};
use super::expected::Expectations;
use super::{Baseline, DatabaseState, ProbeState, UnitState, objects};
use crate::config::Check;
use crate::database::facts::RowCount;

/// Compares what was with what is, by these checks in their order.
pub fn compare(
    before: &Baseline,
    after: &Baseline,
    checks: &[Check],
    expectations: &Expectations,
) -> Comparison {
    let checked = checks.iter().map(|check| {
        let mut found = Found { check: *check, expectations, changes: Vec::new() };
        match check {
            Check::Units => units(before, after, &mut found),
            Check::Probes => probes(before, after, &mut found),
            Check::Server
            | Check::Collations
            | Check::Schema
            | Check::Constraints
            | Check::Indexes
            | Check::Rows
            | Check::Sequences => databases(before, after, &mut found),
        }
        Checked {
            check: check.word().to_owned(),
            passed: found.changes.iter().all(|change| change.severity != Severity::Doubt),
            changes: found.changes,
            left_out: 0,
        }
    });
    Comparison {
        checks: checked.collect(),
        baseline: before.name.clone(),
        version: before.version.clone(),
        taken: before.taken.clone(),
        compared: after.taken.clone(),
    }
}

/// The changes of one check.
struct Found<'e> {
    check: Check,
    expectations: &'e Expectations,
    changes: Vec<Change>,
}

impl Found<'_> {
    fn add(&mut self, severity: Severity, database: Option<&str>, subject: &str, what: String) {
        let declared = match severity {
            Severity::Doubt => self.expectations.changed(database, subject),
            Severity::Expected | Severity::Note => None,
        };
        self.declared(severity, database, subject, what, declared);
    }

    fn declared(
        &mut self,
        severity: Severity,
        database: Option<&str>,
        subject: &str,
        what: String,
        declared: Option<String>,
    ) {
        self.changes.push(Change {
            severity: if declared.is_some() { Severity::Expected } else { severity },
            check: self.check.word().to_owned(),
            database: database.map(str::to_owned),
            subject: subject.to_owned(),
            what,
            before: None,
            after: None,
            declared,
        });
    }
}

fn databases(before: &Baseline, after: &Baseline, found: &mut Found<'_>) {
    for (name, then) in &before.databases {
        match after.databases.get(name) {
            Some(now) => database(name, then, now, found),
            None if found.check == Check::Schema => {
                let what = format!("the application has no database {name} any more");
                found.add(Severity::Doubt, None, &format!("database {name}"), what);
            }
            None => {}
        }
    }
}

fn database(name: &str, then: &DatabaseState, now: &DatabaseState, found: &mut Found<'_>) {
    match found.check {
        Check::Server => server(name, then, now, found),
        Check::Collations => collations(name, then, now, found),
        Check::Schema if then.fingerprint == now.fingerprint => {}
        Check::Schema => {
            let changes = objects::compare(name, &then.objects, &now.objects, found.expectations);
            found.changes.extend(changes);
        }
        Check::Constraints => {
            let what = "older rows are not checked against the constraint";
            set(name, what, "constraint", &then.not_validated, &now.not_validated, found);
        }
        Check::Indexes => {
            let what = "invalid and not used: the index";
            set(name, what, "index", &then.invalid_indexes, &now.invalid_indexes, found);
        }
        Check::Rows => rows(name, then, now, found),
        Check::Sequences => sequences(name, then, now, found),
        Check::Units | Check::Probes => {}
    }
}

fn server(name: &str, then: &DatabaseState, now: &DatabaseState, found: &mut Found<'_>) {
    if then.server_version != now.server_version {
        let what = format!("the server was {}, now {}", then.server_version, now.server_version);
        found.add(Severity::Note, Some(name), "server version", what);
    }
    for (setting, was) in &then.settings {
        let is = now.settings.get(setting).map_or("gone", String::as_str);
        if is != was {
            let what = format!("the setting {setting} was {was:?}, now {is:?}");
            found.add(Severity::Doubt, Some(name), &format!("setting {setting}"), what);
        }
    }
}

fn collations(name: &str, then: &DatabaseState, now: &DatabaseState, found: &mut Found<'_>) {
    for (collation, was) in &then.collations {
        let Some(is) = now.collations.get(collation).filter(|is| *is != was) else { continue };
        let what = format!(
            "text in the collation of {collation} was sorted by version {was}, now {is}: indexes may \
             miss rows until they are rebuilt"
        );
        found.add(Severity::Doubt, Some(name), &format!("collation {collation}"), what);
    }
}

fn set(
    name: &str,
    what: &str,
    kind: &str,
    then: &BTreeSet<String>,
    now: &BTreeSet<String>,
    found: &mut Found<'_>,
) {
    for one in now.difference(then) {
        let subject = format!("{kind} {one}");
        found.add(Severity::Doubt, Some(name), &subject, format!("{what} {one}"));
    }
    for one in then.difference(now) {
        let told = format!("no longer: {what} {one}");
        found.add(Severity::Note, Some(name), &format!("{kind} {one}"), told);
    }
}

fn rows(name: &str, then: &DatabaseState, now: &DatabaseState, found: &mut Found<'_>) {
    let renames: BTreeMap<&str, &str> = found
        .expectations
        .renames(name)
        .into_iter()
        .filter_map(|(from, to)| Some((from.strip_prefix("table ")?, to)))
        .collect();
    let mut changes = Vec::new();
    for (table, was) in &then.rows {
        let renamed = renames.get(table.as_str()).and_then(|to| now.rows.get(*to));
        // A table that is gone is a change of the schema.
        let Some(is) = renamed.or_else(|| now.rows.get(table)) else { continue };
        if was == is {
            continue;
        }
        let what = format!("table {table} had {} rows, now {}", counted(*was), counted(*is));
        match fell(*was, *is) {
            true => {
                let declared = found.expectations.fewer_rows(name, table);
                changes.push((Severity::Doubt, table, what, declared));
            }
            false => changes.push((Severity::Note, table, what, None)),
        }
    }
    for (severity, table, what, declared) in changes {
        found.declared(severity, Some(name), &format!("rows {table}"), what, declared);
    }
}

fn counted(count: RowCount) -> String {
    match count {
        RowCount::Exact(rows) => rows.to_string(),
        RowCount::Estimate(rows) => format!("about {rows}"),
    }
}

/// Estimates come from the last `ANALYZE`; only a fall by more than half is believed.
fn fell(was: RowCount, is: RowCount) -> bool {
    match (was, is) {
        (RowCount::Exact(was), RowCount::Exact(is)) => is < was,
        (RowCount::Estimate(was), RowCount::Exact(is) | RowCount::Estimate(is)) => is < was / 2,
        // It grew beyond what is counted.
        (RowCount::Exact(_), RowCount::Estimate(_)) => false,
    }
}

fn sequences(name: &str, then: &DatabaseState, now: &DatabaseState, found: &mut Found<'_>) {
    for (sequence, was) in &then.sequences {
        // One that is gone is a change of the schema; one that was made anew was never used.
        let there = now.objects.contains_key(&format!("sequence {sequence}"));
        let is = now.sequences.get(sequence);
        if is.map_or(there, |is| is < was) {
            let is = is.map_or("its start".to_owned(), ToString::to_string);
            let what = format!(
                "sequence {sequence} was at {was}, now at {is}: keys that are taken may come again"
            );
            found.add(Severity::Doubt, Some(name), &format!("sequence {sequence}"), what);
        }
    }
}

fn units(before: &Baseline, after: &Baseline, found: &mut Found<'_>) {
    for (name, then) in &before.units {
        let subject = format!("unit {name}");
        match after.units.get(name) {
            None => {
                let what = format!("{name} is no unit of the application any more");
                found.add(Severity::Note, None, &subject, what);
            }
            Some(now) => unit(&subject, name, then, now, found),
        }
    }
    for name in after.units.keys().filter(|name| !before.units.contains_key(*name)) {
        let what = format!("{name} is a new unit of the application");
        found.add(Severity::Note, None, &format!("unit {name}"), what);
    }
}

fn unit(subject: &str, name: &str, then: &UnitState, now: &UnitState, found: &mut Found<'_>) {
    match (then.runs, now.runs) {
        (true, false) => {
            let (severity, is) = match now.masked {
                true => (Severity::Note, "masked"),
                false => (Severity::Doubt, now.words.as_str()),
            };
            found.add(severity, None, subject, format!("{name} ran, now {is}"));
        }
        (false, true) => {
            let what = format!("{name} did not run, now {}", now.words);
            found.add(Severity::Doubt, None, subject, what);
        }
        (true, true) if now.restarts > then.restarts => {
            let what = format!(
                "{name} was restarted by the service manager: {} times, now {}",
                then.restarts, now.restarts
            );
            found.add(Severity::Doubt, None, subject, what);
        }
        (true, true) if now.main_pid != then.main_pid => {
            let pid = |pid: Option<u32>| pid.map_or("none".to_owned(), |pid| pid.to_string());
            let (was, is) = (pid(then.main_pid), pid(now.main_pid));
            let what = format!("{name} had the main process {was}, now {is}");
            found.add(Severity::Note, None, subject, what);
        }
        (true, true) | (false, false) => {}
    }
}

fn probes(before: &Baseline, after: &Baseline, found: &mut Found<'_>) {
    for (name, then) in &before.probes {
        match after.probes.get(name) {
            Some(now) => probe(name, then, now, found),
            None => {
                let what = format!("{name} is not asked any more");
                found.add(Severity::Note, None, &format!("probe {name}"), what);
            }
        }
    }
}

fn probe(name: &str, then: &ProbeState, now: &ProbeState, found: &mut Found<'_>) {
    let mut differs = |severity, what: String| {
        let declared = found.expectations.answer(name).filter(|_| severity == Severity::Doubt);
        found.declared(severity, None, &format!("probe {name}"), what, declared);
    };
    match (then.passed, now.passed) {
        (true, false) => return differs(Severity::Doubt, format!("{name}: {}", now.said)),
        (false, true) => {
            return differs(Severity::Note, format!("{name} was wrong, and is right now"));
        }
        // What was wrong before is no measure.
        (false, false) => return,
        (true, true) => {}
    }
    if then.status != now.status {
        let status = |status: Option<u16>| status.map_or("none".into(), |s| s.to_string());
        let (was, is) = (status(then.status), status(now.status));
        differs(Severity::Doubt, format!("{name}: status was {was}, now {is}"));
    }
    if then.version != now.version {
        let text = |version: &Option<String>| version.clone().unwrap_or_else(|| "none".into());
        let (was, is) = (text(&then.version), text(&now.version));
        differs(Severity::Note, format!("{name}: version was {was}, now {is}"));
    }
    for (pointer, was) in &then.selected {
        let Some(is) = now.selected.get(pointer).filter(|is| *is != was) else { continue };
        let part = if pointer.is_empty() { "the body" } else { pointer };
        differs(Severity::Doubt, format!("{name}: {part} was {was}, now {is}"));
    }
}
