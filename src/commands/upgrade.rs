//! `openwatch upgrade`: runs the engine, or shows what it would do.

use std::time::Duration;

use serde_json::{Value, json};

use crate::config::Check;
use crate::error::Result;
use crate::migrations::named;
use crate::outcome::Outcome;
use crate::restore_points::Kind;
use crate::system::clock::{self, Deadline};
use crate::system::signals;
use crate::upgrade::hold::Look;
use crate::upgrade::machine::Machine;
use crate::upgrade::plan::{self, Decision, Plan};
use crate::upgrade::post_checks::Found;
use crate::upgrade::recover::decide::Changes;
use crate::upgrade::recover::undo::Fit;
use crate::upgrade::together;
use crate::upgrade::tree;
use crate::upgrade::{self, Again, Success, Work, ahead, preflight, survey, unit};
use crate::version::Version;

use super::{Reply, about};

/// How long the unit waits for another run: longer than any dump and migration we have seen.
const BUSY_LIMIT: Duration = Duration::from_secs(6 * 60 * 60);
const BETWEEN_LOOKS: Duration = Duration::from_millis(250);

/// Runs the upgrade to its end.
pub fn run(machine: &Machine, from: Option<&Version>, again: Again) -> Result<Reply> {
    let success = upgrade::run(machine, from, again)
        .inspect_err(|error| upgrade::unfinished(machine, error))
        .map_err(|error| tree::back::follow(machine, error))?;
    let json = json!({
        "from": success.from,
        "to": success.to,
        "work": match success.work {
            Work::Nothing => "nothing",
            Work::Restarted => "restarted",
            Work::Migrated => "migrated",
            Work::WentBack => "went_back",
        },
        "applied": applied(&success),
        "restore_point": success.restore_point,
        "restore_point_kind": success.restore_point_kind.map(Kind::word),
        "downtime_ms": clock::millis(success.downtime),
        "ended_sessions": success.ended_sessions,
        "warnings": success.warnings,
        "findings": findings(&success),
    });
    Ok(Reply::ok(spoken(machine, &success), json))
}

/// Brings a version that no package tool installs, and upgrades to it.
pub fn to(
    machine: &Machine,
    tag: &str,
    configure: impl FnOnce(&mut Machine) -> Result<()>,
) -> Result<Reply> {
    let (mut brought, from) = brought(machine, tag)?;
    configure(&mut brought)?;
    let from = Some(&from).filter(|from| !from.order(&brought.version).is_eq());
    run(&brought, from, Again::Yes)
}

/// Brings a version, and shows what an upgrade to it would do.
pub fn plan_to(machine: &Machine, tag: &str) -> Result<Reply> {
    let (brought, from) = brought(machine, tag)?;
    plan(&brought, Some(&from))
}

fn brought(machine: &Machine, tag: &str) -> Result<(Machine, Version)> {
    let (tree, from) = tree::bring::bring(machine, tag)?;
    Ok((machine.open_for(tree)?, from))
}

/// Goes back to before the first attempt.
pub fn undo(machine: &Machine, changes: Changes) -> Result<Reply> {
    let app = machine.layout.app();
    if let Some(success) = upgrade::undo_on_disk(machine)? {
        let json = json!({"work": "undone", "restore_point": success.restore_point});
        return Ok(Reply::ok(spoken(machine, &success), json));
    }
    let undone = upgrade::undo(machine, changes)?;
    if let Some(order) = tree::back::carry_out(machine)? {
        let point = undone.and_then(|undone| undone.restore_point);
        let text = format!("{app}: the upgrade was undone: version {} runs again", order.to);
        let json = json!({
            "work": "undone", "restore_point": point, "program": order.to, "gate": "open",
            "next": null,
        });
        return Ok(Reply::ok(text, json));
    }
    let Some(undone) = undone else {
        let json = json!({"work": "nothing", "to": machine.version});
        return Ok(Reply::ok(format!("{app}: nothing is open, nothing to undo"), json));
    };
    let data = match &undone.restore_point {
        Some(id) => format!("the data is that of restore point {id}"),
        None => "the data had not changed".to_owned(),
    };
    let mut lines = vec![format!("{app}: the upgrade was undone: {data}")];
    lines.push(match (undone.fit, &undone.program) {
        (Fit::Agrees, _) => {
            format!("  program {} belongs to it: what ran before runs again", machine.version)
        }
        (Fit::Other, Some(program)) => format!(
            "  the gate stays closed: program {} is installed, and {program} belongs to the data",
            machine.version
        ),
        (Fit::Other, None) => format!(
            "  the gate stays closed: program {} does not belong to the data",
            machine.version
        ),
    });
    lines.extend(undone.next.iter().map(|next| format!("  next: {next}")));
    let json = json!({
        "work": "undone",
        "restore_point": undone.restore_point,
        "program": undone.program,
        "gate": match undone.fit { Fit::Agrees => "open", Fit::Other => "closed" },
        "next": undone.next,
    });
    Ok(Reply::ok(lines.join("\n"), json))
}

/// Runs the upgrade as the package's unit: a run that is under way already is waited for.
///
/// An operator's `openwatch upgrade` may be doing the work that the package asks for; failing the
/// package for it would leave it half configured beside an upgrade that ends well.
pub fn run_as_unit(machine: &Machine, from: Option<&Version>, again: Again) -> Result<Reply> {
    waiting_for_others(machine, || run(machine, from, again))
}

/// Does something that needs the lock, once whoever holds it has ended.
pub(super) fn waiting_for_others(
    machine: &Machine,
    attempt: impl Fn() -> Result<Reply>,
) -> Result<Reply> {
    let limit = Deadline::after(BUSY_LIMIT);
    let mut said = false;
    loop {
        // Another host was waited for within the run, as long as the operator allows.
        let patience = Deadline::after(machine.config.policy.host_wait);
        match attempt() {
            Err(error)
                if error.outcome() == Outcome::Busy
                    && !limit.passed()
                    && !patience.passed()
                    && signals::received().is_none() =>
            {
                if !said {
                    machine.progress.note(&format!("waiting: {}", error.message()));
                    // The other run starts units that are ordered after this one. Letting them go
                    // is safe: the gate is closed until that run has migrated.
                    unit::ready();
                    said = true;
                }
                clock::pause(BETWEEN_LOOKS);
            }
            ended => return ended,
        }
    }
}

/// What the data and the comparison with the baseline leave in doubt.
fn findings(success: &Success) -> Vec<Value> {
    // A look at the data after its migrations tells these with the statement that mends them.
    let told = [Check::Indexes, Check::Constraints, Check::Collations].map(Check::word);
    let looked = success.work == Work::Migrated;
    let compared = success.comparison.iter().flat_map(|compared| compared.doubts());
    let compared = compared.filter(|change| !(looked && told.contains(&change.check.as_str())));
    success.doubts.iter().map(Found::json).chain(compared.map(|change| change.json())).collect()
}

fn applied(success: &Success) -> Value {
    success
        .applied
        .iter()
        .map(|(database, versions)| json!({"name": database, "versions": versions}))
        .collect()
}

fn spoken(machine: &Machine, success: &Success) -> String {
    let app = machine.layout.app();
    match success.work {
        Work::Nothing => format!("{app} {} is current, nothing to do", success.to),
        Work::Restarted => {
            let up = if success.started { "runs" } else { "is current, no unit ran" };
            format!("{app} {} {up}; no migration was pending", success.to)
        }
        Work::WentBack => {
            let up = if success.started { "runs again" } else { "is back, no unit ran" };
            match &success.restore_point {
                Some(id) => format!("{app} {} {up}: its data was put back from {id}", success.to),
                None => format!("{app} {} {up}: its data had not changed", success.to),
            }
        }
        Work::Migrated => {
            let versions: Vec<&str> =
                success.applied.iter().flat_map(|(_, v)| v.iter().map(String::as_str)).collect();
            let point = match &success.restore_point {
                Some(id) => format!(", restore point {id}{}", kind(success.restore_point_kind)),
                None => String::new(),
            };
            let up = if success.started { "is up and healthy" } else { "is migrated, no unit ran" };
            format!(
                "{app} {} {up}: applied {}{point}, took {}",
                success.to,
                named(&versions),
                clock::spoken(success.downtime)
            )
        }
    }
}

/// What a restore point is, where it is not what everybody expects.
pub(super) fn kind(kind: Option<Kind>) -> &'static str {
    match kind {
        Some(Kind::Dump) | None => "",
        Some(Kind::Clone) => " (a clone)",
        Some(Kind::External) => " (external)",
    }
}

/// Shows what would be done and every finding of preflight; changes nothing.
pub fn plan(machine: &Machine, from: Option<&Version>) -> Result<Reply> {
    // A run would be refused for it, whatever else is so.
    together::admit(machine)?;
    let survey = survey::take(machine, from)?;
    match plan::decide(&survey, &machine.config) {
        Decision::Refuse(error) => Err(error),
        Decision::NothingPending => {
            let text = format!(
                "{} {}: nothing is pending; no stop, no dump",
                machine.layout.app(),
                survey.version
            );
            let ahead = ahead::look_without_migrations(machine, &survey);
            let mut json = json!({
                "decision": "nothing_pending",
                "from": survey.from,
                "to": survey.version,
            });
            super::ahead::add(&mut json, &ahead);
            let lines: Vec<String> = [text].into_iter().chain(super::ahead::told(&ahead)).collect();
            Ok(about(machine, Reply::ok(lines.join("\n"), json)))
        }
        Decision::Upgrade(plan) => {
            let found = preflight::findings(machine, &survey, &plan);
            let ahead = ahead::look(machine, &survey, &plan);
            let mut lines = told(machine, &survey, &plan);
            lines.extend(super::ahead::told(&ahead));
            lines.extend(found.iter().map(|finding| match finding.severity {
                preflight::Severity::Required => format!("  must be mended: {}", finding.message),
                preflight::Severity::Advisory => format!("  warning: {}", finding.message),
            }));
            let mut json = plan_json(machine, &survey, &plan);
            json["decision"] = "upgrade".into();
            super::ahead::add(&mut json, &ahead);
            json["findings"] = findings_json(&found);
            let look = Look::take(&machine.layout, &machine.config, machine.clock.now());
            lines.extend(look.why_not().map(|why| format!("  not now: {why}")));
            (json["hold"], json["window"]) = look.json();
            Ok(about(machine, Reply::ok(lines.join("\n"), json)))
        }
    }
}

/// Returns a plan for `--json`.
pub(super) fn plan_json(machine: &Machine, survey: &survey::Survey<'_>, plan: &Plan) -> Value {
    let off = machine.config.policy.switched_off();
    json!({
        "from": survey.from,
        "to": survey.version,
        "stop": plan.running,
        "switched_off": off.iter().map(|off| off.key).collect::<Vec<_>>(),
        "databases": plan.databases.iter().map(|d| json!({
            "name": d.name,
            "restore_point": d.protection.word(),
            "pending": d.pending,
        })).collect::<Vec<_>>(),
    })
}

/// Returns a plan for people.
pub(super) fn told(machine: &Machine, survey: &survey::Survey<'_>, plan: &Plan) -> Vec<String> {
    let from = survey.from.as_ref().map_or("unknown".into(), ToString::to_string);
    let mut lines = vec![format!("{} {from} -> {}", machine.layout.app(), survey.version)];
    let units =
        |names: Vec<&str>| if names.is_empty() { "nothing".into() } else { names.join(", ") };
    let stop: Vec<&str> = plan.running.iter().map(String::as_str).collect();
    lines.push(format!("  stop:    {}", units(stop.clone())));
    for database in &plan.databases {
        lines.push(format!("  dump:    {}: {}", database.name, database.protection.word()));
        lines.push(format!("  migrate: {}: {}", database.name, named(&database.pending)));
    }
    lines.push(format!("  start:   {}", units(stop.into_iter().rev().collect())));
    lines.push(format!("  prove:   {} probes", machine.config.probes.len()));
    for off in machine.config.policy.switched_off() {
        lines.push(format!("  off:     {}: {}", off.key, off.loses));
    }
    lines
}

/// Returns findings for `--json`.
pub(super) fn findings_json(found: &[preflight::Finding]) -> Value {
    found
        .iter()
        .map(|finding| {
            json!({
                "severity": match finding.severity {
                    preflight::Severity::Required => "required",
                    preflight::Severity::Advisory => "advisory",
                },
                "message": finding.message,
                "hint": finding.hint,
            })
        })
        .collect()
}
