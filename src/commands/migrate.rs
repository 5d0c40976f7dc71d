//! `openwatch migrate`: shows or applies the migrations of the installed package.
//!
//! By hand it does what the upgrade does to the data and nothing to the units: it refuses while they
//! run, because they would run on a schema that their program does not know.

use std::time::Duration;

use serde_json::{Value, json};

use crate::database::{DatabaseLock, facts};
use crate::error::{Error, Result};
use crate::migrations::{self, Comparison, State};
use crate::outcome::Outcome;
use crate::upgrade::machine::Machine;
use crate::upgrade::plan::{self, Decision};
use crate::upgrade::{self, post_checks, preflight, survey};

use super::upgrade::findings_json;
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
    json!({
        "state": found.state.word(),
        "current": found.current,
        "head": found.head,
        "applied": found.applied,
        "pending": found.pending.iter().map(|p| json!({
            "version": p.version,
            "name": p.name,
            "transactional": p.transactional,
        })).collect::<Vec<_>>(),
        "problems": found.problems,
    })
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
                    let what = d.pending.join(" ");
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

/// Takes a restore point and applies what is pending.
pub fn apply(machine: &Machine) -> Result<Reply> {
    let applied = upgrade::migrate_only(machine)?;
    let text = match (applied.versions.is_empty(), &applied.restore_point) {
        (true, _) => "nothing is pending".to_owned(),
        (false, Some(id)) => format!("applied {}, restore point {id}", applied.versions.join(" ")),
        (false, None) => format!("applied {}", applied.versions.join(" ")),
    };
    let json = json!({
        "applied": applied.versions,
        "restore_point": applied.restore_point,
        "ended_sessions": applied.ended_sessions,
        "findings": applied.doubts.iter().map(post_checks::Found::json).collect::<Vec<_>>(),
    });
    Ok(Reply::ok(text, json))
}

/// How long another run on the same database is waited for.
const LOCK_WAIT: Duration = Duration::from_secs(5);

/// Records a migration as applied without running it: the way out of a history that contradicts the
/// files, once a person has looked.
pub fn mark_applied(machine: &Machine, version: &str) -> Result<Reply> {
    let _lock = machine.lock("migrate")?;
    let mut open = Vec::new();
    for shipped in &machine.databases {
        let has = shipped.migrations.find(version).is_some();
        let found = migrations::look(&mut shipped.database.connect()?, &shipped.migrations)?;
        if has && found.state != State::Current {
            open.push(shipped);
        }
    }
    let tool = machine.databases.iter().find_map(|shipped| shipped.migrations.command());
    if let (Some(tool), true) = (tool, open.is_empty()) {
        return Err(tool.history_is_its_own());
    }
    let [shipped] = open.as_slice() else {
        let why = if open.is_empty() {
            format!("no database is waiting for a migration {version}")
        } else {
            format!("{} databases ship a migration {version} and do not match", open.len())
        };
        return Err(Error::new(Outcome::Usage, why)
            .state("nothing was changed")
            .hint(format!("Run `{}`.", machine.command("migrate --status"))));
    };
    let mut lock = DatabaseLock::acquire(&shipped.database, "migrate", LOCK_WAIT)?;
    lock.check()?;
    let mut session = shipped.database.connect()?;
    let product = machine.version.to_string();
    let marked = migrations::mark_applied(&mut session, &shipped.migrations, version, &product)?;
    let text = format!("marked as applied: {}", marked.join(" "));
    Ok(Reply::ok(text, json!({"marked": marked})))
}
