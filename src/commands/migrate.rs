//! `openwatch migrate`: shows or applies the migrations of the installed package.
//!
//! By hand it does what the upgrade does to the data and nothing to the units: it refuses while they
//! run, because they would run on a schema that their program does not know.

use serde_json::{Value, json};

use crate::database::facts;
use crate::error::{Error, Result};
use crate::migrations::{self, Comparison, named};
use crate::outcome::Outcome;
use crate::restore_points::Kind;
use crate::upgrade::machine::{Machine, Shipped};
use crate::upgrade::migrate_only::Reach;
use crate::upgrade::plan::{self, Decision};
use crate::upgrade::{self, post_checks, preflight, survey};

use super::upgrade::{findings_json, kind};
use super::{Reply, about};

/// Shows applied and pending migrations; changes nothing, and needs no right but reading.
pub fn status(machine: &Machine) -> Result<Reply> {
    let (text, databases) = look(machine)?;
    let json = json!({"package_version": machine.version, "databases": databases});
    Ok(about(machine, Reply::ok(text, json)))
}

/// Ends with the outcome that says whether the schema fits; changes nothing.
pub fn check(machine: &Machine) -> Result<Reply> {
    let (text, databases) = look(machine)?;
    let states = databases.iter().filter_map(|d| Some((d["state"].as_str()?, &d["problems"])));
    let worst = states
        .map(|(word, problems)| match word {
            "current" => Outcome::Ok,
            "pending" | "empty" => Outcome::Pending,
            // A tool that cannot be asked: every upgrade assumes that something is pending.
            "unknown" if problems.as_array().is_some_and(Vec::is_empty) => Outcome::Pending,
            _ => Outcome::Mismatch,
        })
        .max_by_key(|outcome| outcome.exit_code());
    let json = json!({"package_version": machine.version, "databases": databases});
    Ok(about(machine, Reply { outcome: worst.unwrap_or(Outcome::Ok), text, json }))
}

fn look(machine: &Machine) -> Result<(String, Vec<Value>)> {
    let mut lines = Vec::new();
    let mut databases = Vec::new();
    for shipped in &machine.databases {
        let mut session = shipped.database.connect()?;
        let found = migrations::look(&mut session, &shipped.migrations)?;
        lines.push(spoken(machine, shipped.database.name(), &found));
        let mut json = comparison_json(&found);
        json["name"] = shipped.database.name().into();
        json["server_version"] = facts::server_version(&mut session)?.into();
        databases.push(json);
    }
    Ok((lines.join("\n"), databases))
}

/// Returns what was compared, for `--json`.
pub(super) fn comparison_json(found: &Comparison) -> Value {
    let mut json = json!({
        "state": found.state.word(),
        "current": found.current,
        "head": found.head,
        "applied": found.applied,
        "pending": found.pending.iter().map(|p| json!({
            "version": p.version.as_str(),
            "name": p.name.as_str(),
            "transactional": p.transactional,
        })).collect::<Vec<_>>(),
        "problems": found.problems,
    });
    // Only of a tool that keeps no row for each migration.
    if !found.assumed.is_empty() {
        json["assumed"] = found.assumed.clone().into();
    }
    json
}

fn spoken(machine: &Machine, name: &str, found: &Comparison) -> String {
    let mut lines = vec![format!(
        "{name}: {}, schema {}, package {} has {}, {} applied, {} pending",
        found.state.word(),
        found.current.as_deref().unwrap_or("none"),
        machine.version,
        found.head.as_deref().unwrap_or("none"),
        found.applied,
        found.pending.len()
    )];
    if !found.assumed.is_empty() {
        let versions = found.assumed.join(" ");
        lines.push(format!("  assumed  {versions}  (only the newest version is recorded)"));
    }
    lines.extend(found.pending.iter().map(|pending| {
        let alone = if pending.transactional { "" } else { "  (outside a transaction)" };
        format!("  pending  {}  {}{alone}", pending.version, pending.name)
    }));
    lines.extend(found.problems.iter().map(|problem| format!("  problem  {}", problem.what)));
    lines.join("\n")
}

/// Runs every check of an application and shows what would be applied; changes nothing.
pub fn dry_run(machine: &Machine) -> Result<Reply> {
    let survey = survey::take(machine, None)?;
    match plan::decide(&survey, &machine.config) {
        Decision::Refuse(error) => Err(error),
        Decision::NothingPending => {
            Ok(about(machine, Reply::ok("nothing is pending", json!({"would_apply": []}))))
        }
        Decision::Upgrade(plan) => {
            let found = preflight::findings(machine, &survey, &plan);
            if let Some(error) = preflight::refusal(&found) {
                return Err(error.state(preflight::untouched(&survey)));
            }
            let lines: Vec<String> = plan
                .databases
                .iter()
                .map(|d| {
                    let what = named(&d.pending);
                    format!(
                        "{}: would apply {what}; restore point: {}",
                        d.name,
                        d.protection.word()
                    )
                })
                .collect();
            let would: Vec<Value> = plan
                .databases
                .iter()
                .map(|d| json!({"name": d.name, "versions": d.pending, "restore_point": d.protection.word()}))
                .collect();
            let json = json!({"would_apply": would, "findings": findings_json(&found)});
            Ok(about(machine, Reply::ok(lines.join("\n"), json)))
        }
    }
}

/// Leaves out what comes after a version, and every other database, for the run that follows.
pub fn stop_at(machine: &mut Machine, version: &str, database: Option<&str>) -> Result<Reach> {
    let meant = |shipped: &Shipped| {
        shipped.migrations.find(version).is_some()
            && database.is_none_or(|name| name == shipped.database.name())
    };
    let names: Vec<&str> =
        machine.databases.iter().filter(|d| meant(d)).map(|d| d.database.name()).collect();
    let usage = |what: String| Error::new(Outcome::Usage, what).state("nothing was changed");
    match names.as_slice() {
        [_] => {}
        [] => {
            let tool = machine.databases.iter().find_map(|d| d.migrations.command());
            if let Some(tool) = tool {
                return Err(tool.history_is_its_own());
            }
            let hint = format!("List them with `{}`.", machine.command("migrate --status"));
            return Err(usage(format!("there is no migration {version}")).hint(hint));
        }
        [first, ..] => {
            return Err(usage(format!("{} databases ship a migration {version}", names.len()))
                .hint(format!("Name the one that is meant, such as `--database {first}`.")));
        }
    }
    let before: usize = machine.databases.iter().map(|d| d.migrations.migrations.len()).sum();
    machine.databases.retain(meant);
    for shipped in &mut machine.databases {
        let mut session = shipped.database.connect()?;
        if migrations::applied_beyond(&mut session, &shipped.migrations, version)?.is_some() {
            return Ok(Reach::Back);
        }
        migrations::cut_at(&mut shipped.migrations, version);
    }
    let after: usize = machine.databases.iter().map(|d| d.migrations.migrations.len()).sum();
    Ok(if after < before { Reach::Part } else { Reach::Whole })
}

/// Takes a restore point and applies what is pending.
pub fn apply(machine: &Machine, reach: Reach) -> Result<Reply> {
    let applied = upgrade::migrate_only(machine, reach)?;
    let text = match (applied.versions.is_empty(), &applied.restore_point) {
        (true, _) => "nothing is pending".to_owned(),
        (false, Some(id)) => format!(
            "applied {}, restore point {id}{}",
            named(&applied.versions),
            kind(applied.restore_point_kind)
        ),
        (false, None) => format!("applied {}", named(&applied.versions)),
    };
    let json = json!({
        "applied": applied.versions,
        "restore_point": applied.restore_point,
        "restore_point_kind": applied.restore_point_kind.map(Kind::word),
        "ended_sessions": applied.ended_sessions,
        "findings": applied.doubts.iter().map(post_checks::Found::json).collect::<Vec<_>>(),
    });
    Ok(Reply::ok(text, json))
}
