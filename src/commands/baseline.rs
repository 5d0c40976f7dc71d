//! `openwatch baseline`: what is so now, kept, and compared with later.

use serde_json::{Value, json};

use crate::config::Check;
use crate::database::facts::RowCount;
use crate::error::{Error, Result};
use crate::outcome::Outcome;
use crate::system::clock;
use crate::upgrade::baseline::{self, Baseline, Comparison, Expectations, stored, undeclared};
use crate::upgrade::machine::Machine;

use super::Reply;

/// What makes a comparison fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strictness {
    /// Losses that nobody declared.
    Losses,
    /// Anything but what was declared, and other main processes.
    Anything,
}

/// Records a baseline under this name, or the present moment.
pub fn record(machine: &Machine, name: Option<&str>) -> Result<Reply> {
    let name = match name {
        Some(name) => name.to_owned(),
        None => stored::unused(&machine.layout, &clock::stamp(machine.clock.now())),
    };
    stored::check_name(&name)?;
    let recorded = baseline::record(machine, &name)?;
    let remove = machine.command(&format!("baseline remove {name}"));
    stored::write_new(&machine.layout, &recorded, &remove)?;
    let text =
        format!("{}\ncompare with `{}`", summary(&recorded), compare_command(machine, &name));
    Ok(Reply::ok(text, json!({"baseline": summary_json(&recorded)})))
}

/// Compares a baseline with another one, or with what is so now.
pub fn compare(
    machine: &Machine,
    name: Option<&str>,
    with: Option<&str>,
    strictness: Strictness,
) -> Result<Reply> {
    let before = chosen(machine, name)?;
    let after = match with {
        Some(name) => read(machine, name)?,
        None => baseline::record(machine, "now")?,
    };
    let expectations = Expectations::since(machine, &before);
    let compared = baseline::compare(&before, &after, &Check::ALL, &expectations);
    let failed = match strictness {
        Strictness::Losses => compared.first_failed().is_some(),
        Strictness::Anything => !compared.is_as_declared(),
    };
    let outcome = if failed { Outcome::Mismatch } else { Outcome::Ok };
    let text = format!("{}\n{}", compared.told(), verdict(&compared, failed));
    Ok(Reply { outcome, text, json: json!({"comparison": compared.json()}) })
}

fn verdict(compared: &Comparison, failed: bool) -> String {
    let doubts = compared.doubts().count();
    match (failed, compared.first_failed()) {
        (_, Some(first)) => {
            format!("{}; the first check that fails is {}", undeclared(doubts as u64), first.check)
        }
        (true, None) => "nothing was lost, but not everything is as it was".into(),
        (false, None) if compared.is_same() => "nothing is different".into(),
        (false, None) => "nothing was lost that nobody declared".into(),
    }
}

/// Lists the baselines, newest first.
pub fn list(machine: &Machine) -> Result<Reply> {
    let (found, wrong) = stored::list(&machine.layout);
    for error in &wrong {
        machine.progress.warn(&error.message());
    }
    let lines: Vec<String> = found.iter().map(summary).collect();
    let text =
        if lines.is_empty() { "no baseline was recorded yet".into() } else { lines.join("\n") };
    let all: Vec<Value> = found.iter().map(summary_json).collect();
    Ok(Reply::ok(text, json!({"baselines": all})))
}

/// Shows one baseline.
pub fn show(machine: &Machine, name: Option<&str>) -> Result<Reply> {
    let found = chosen(machine, name)?;
    let mut lines = vec![summary(&found)];
    for (name, unit) in &found.units {
        lines.push(format!("  unit {name}: {}, {} restarts", unit.words, unit.restarts));
    }
    for (name, probe) in &found.probes {
        let version = probe.version.as_ref().map_or(String::new(), |v| format!(", version {v}"));
        lines.push(format!("  {name}: {}{version}", probe.said));
        lines.extend(probe.selected.iter().map(|(part, value)| format!("    {part}: {value}")));
    }
    for (name, database) in &found.databases {
        lines.push(format!(
            "  database {name}: schema {}, server {}, {} objects, fingerprint {}",
            database.schema.as_deref().unwrap_or("unknown"),
            database.server_version,
            database.objects.len(),
            database.fingerprint
        ));
        lines.extend(database.rows.iter().map(|(table, count)| match count {
            RowCount::Exact(rows) => format!("    {table}: {rows} rows"),
            RowCount::Estimate(rows) => format!("    {table}: about {rows} rows"),
        }));
    }
    Ok(Reply::ok(lines.join("\n"), json!({"baseline": found})))
}

/// Removes one baseline.
pub fn remove(machine: &Machine, name: &str) -> Result<Reply> {
    stored::remove(&machine.layout, name).map_err(|error| with_list(machine, error))?;
    Ok(Reply::ok(format!("baseline {name} is removed"), json!({"removed": name})))
}

fn chosen(machine: &Machine, name: Option<&str>) -> Result<Baseline> {
    match name {
        Some(name) => read(machine, name),
        None => stored::list(&machine.layout).0.into_iter().next().ok_or_else(|| {
            let record = machine.command("baseline record");
            Error::new(Outcome::Usage, "no baseline was recorded yet")
                .state("nothing was changed")
                .hint(format!("Run `{record}` first."))
        }),
    }
}

fn read(machine: &Machine, name: &str) -> Result<Baseline> {
    stored::read(&machine.layout, name).map_err(|error| with_list(machine, error))
}

fn with_list(machine: &Machine, error: Error) -> Error {
    error.or_hint(format!("See `{}`.", machine.command("baseline list")))
}

fn compare_command(machine: &Machine, name: &str) -> String {
    machine.command(&format!("baseline compare {name}"))
}

fn summary(baseline: &Baseline) -> String {
    let tables: usize = baseline.databases.values().map(|d| d.rows.len()).sum();
    format!(
        "{}  version {}  {}  {} units, {} probes, {} databases, {tables} tables  {}",
        baseline.name,
        baseline.version,
        baseline.taken,
        baseline.units.len(),
        baseline.probes.len(),
        baseline.databases.len(),
        baseline.reason.word()
    )
}

fn summary_json(baseline: &Baseline) -> Value {
    let databases = baseline.databases.iter().map(|(name, database)| {
        json!({
            "name": name,
            "schema": database.schema,
            "fingerprint": database.fingerprint,
            "objects": database.objects.len(),
            "tables": database.rows.len(),
        })
    });
    json!({
        "name": baseline.name,
        "version": baseline.version,
        "taken": baseline.taken,
        "reason": baseline.reason.word(),
        "databases": databases.collect::<Vec<_>>(),
    })
}
