//! The steps that lie ahead, from what was found and what is set.

use crate::config::{Check, Config, ForeignSessions, Method, OnFailure};
use crate::migrations::named;
use crate::outcome::Outcome;
use crate::system::clock::spoken;
use crate::upgrade::plan::{DatabasePlan, Plan, Protection};
use crate::upgrade::step::Step;
use crate::upgrade::survey::{Survey, Surveyed};

use super::{Back, Stage};

const GATE: &str = "the gate is closed and the units are down; the data is as it was";

pub(super) fn of(survey: &Survey<'_>, plan: &Plan, config: &Config, packages: bool) -> Vec<Stage> {
    let mut stages = vec![preflight()];
    stages.extend(packages.then(|| package(survey)));
    stages.push(quiesce(plan, config));
    stages.extend(restore_point(plan, config));
    let back = back_of_data(plan);
    let pending = plan.databases.iter().filter(|database| !database.pending.is_empty());
    for (place, database) in pending.enumerate() {
        let surveyed = survey.databases.iter().find(|d| d.database.name() == database.name);
        stages.push(migrate(database, surveyed, place, back, config));
    }
    let written = if back == Back::None { Back::None } else { Back::LosesWrites };
    stages.push(start(&plan.running, config, written));
    stages.push(health(config, written));
    stages
}

pub(super) fn without_migrations(
    survey: &Survey<'_>,
    config: &Config,
    packages: bool,
) -> Vec<Stage> {
    let mut stages = vec![preflight()];
    stages.extend(packages.then(|| package(survey)));
    stages.push(Stage { leaves: GATE.to_owned(), ..start(&survey.running(), config, Back::Free) });
    stages.push(Stage { leaves: GATE.to_owned(), ..health(config, Back::Free) });
    stages
}

fn preflight() -> Stage {
    Stage {
        step: Step::Preflight,
        moves: Vec::new(),
        fails_when: vec!["a required check says no".to_owned()],
        ends_as: Some(Outcome::Refused),
        leaves: "nothing was changed; the units run".to_owned(),
        back_if_failed: Back::Free,
        back_when_done: Back::Free,
    }
}

/// The package tool unpacks while the units still run the older program.
fn package(survey: &Survey<'_>) -> Stage {
    let from = survey.from.as_ref().map_or("none".to_owned(), ToString::to_string);
    Stage {
        step: Step::Package,
        moves: vec![format!("{from} -> {}", survey.version)],
        fails_when: vec!["the package tool cannot unpack it, or a script of it fails".to_owned()],
        ends_as: None,
        leaves: "the data is as it was; the package tool says which version is there".to_owned(),
        back_if_failed: Back::Free,
        back_when_done: Back::Free,
    }
}

fn quiesce(plan: &Plan, config: &Config) -> Stage {
    let mut fails_when = vec!["a unit does not stop, or a process of it stays".to_owned()];
    match config.policy.foreign_sessions {
        ForeignSessions::Refuse => {
            fails_when
                .push("somebody else is connected to a database that migrates (exit 5)".to_owned());
        }
        ForeignSessions::End => {
            fails_when.push("a session of somebody else cannot be ended".to_owned());
        }
        ForeignSessions::Warn => {}
    }
    Stage {
        step: Step::Quiesce,
        moves: plan.running.clone(),
        fails_when,
        ends_as: Some(Outcome::Failed),
        leaves: GATE.to_owned(),
        back_if_failed: Back::Free,
        back_when_done: Back::Free,
    }
}

fn restore_point(plan: &Plan, config: &Config) -> Option<Stage> {
    let taken = plan.databases.iter().filter(|database| database.protection.is_taken());
    let moves: Vec<String> =
        taken.map(|d| format!("{}: {}", d.name, d.protection.word())).collect();
    let how = match config.policy.restore_point.method {
        Method::Dump | Method::Clone => "it cannot be made, or is not proven whole",
        Method::External => "the command that makes it fails, or prints no identifier",
    };
    (!moves.is_empty()).then(|| Stage {
        step: Step::RestorePoint,
        moves,
        fails_when: vec![how.to_owned()],
        ends_as: Some(Outcome::BackupFailed),
        leaves: GATE.to_owned(),
        back_if_failed: Back::Free,
        back_when_done: Back::Free,
    })
}

/// What undoes committed migrations of all databases that have any.
fn back_of_data(plan: &Plan) -> Back {
    let pending = plan.databases.iter().filter(|database| !database.pending.is_empty());
    pending
        .map(|database| match database.protection {
            Protection::Dump | Protection::Clone | Protection::External => Back::Restore,
            Protection::NothingPending => Back::Free,
            Protection::Empty | Protection::SwitchedOff => Back::None,
        })
        .max()
        .unwrap_or(Back::Free)
}

fn migrate(
    database: &DatabasePlan,
    surveyed: Option<&Surveyed<'_>>,
    place: usize,
    back: Back,
    config: &Config,
) -> Stage {
    let name = &database.name;
    let tool = surveyed.is_some_and(|d| d.shipped.command().is_some());
    let whole =
        !tool && surveyed.is_some_and(|d| d.comparison.pending.iter().all(|p| p.transactional));
    let mut fails_when = match tool {
        true => vec!["the application's own tool fails, or leaves something pending".to_owned()],
        false => vec![
            "a statement fails".to_owned(),
            format!("a lock is not granted within {}", spoken(config.policy.lock_timeout)),
        ],
    };
    let compared: Vec<&str> =
        config.policy.baseline_stop.iter().filter(|c| c.is_of_data()).map(|c| c.word()).collect();
    if !compared.is_empty() {
        fails_when.push(format!("the comparison with the baseline fails: {}", compared.join(", ")));
    }
    // Those that came before in the order are committed already.
    let untouched = whole && place == 0 && compared.is_empty();
    let by_itself = config.policy.on_failure == OnFailure::Restore && back == Back::Restore;
    let (leaves, back_if_failed) = match (untouched, by_itself) {
        (true, _) => (format!("{GATE}: its one transaction takes everything back"), Back::Free),
        (false, true) => (
            "the gate is closed and the units are down; the data is put back by itself".to_owned(),
            Back::Free,
        ),
        (false, false) => (
            "the gate is closed and the units are down; what was committed before the failure stays"
                .to_owned(),
            back,
        ),
    };
    Stage {
        step: Step::Migrate,
        moves: vec![format!("{name}: {}", named(&database.pending))],
        fails_when,
        ends_as: Some(match by_itself && !untouched {
            true => Outcome::RolledBack,
            false => Outcome::MigrationFailed,
        }),
        leaves,
        back_if_failed,
        back_when_done: back,
    }
}

fn start(running: &[String], config: &Config, back: Back) -> Stage {
    Stage {
        step: Step::Start,
        moves: running.iter().rev().cloned().collect(),
        fails_when: vec!["a unit does not come up".to_owned()],
        ends_as: Some(Outcome::Unhealthy),
        leaves: unproved(config, back),
        back_if_failed: back,
        back_when_done: back,
    }
}

fn health(config: &Config, back: Back) -> Stage {
    let required = config.probes.iter().filter(|probe| probe.required).count();
    let mut fails_when = Vec::new();
    if required > 0 {
        fails_when.push(format!("one of {required} required probes fails until its deadline"));
    }
    let words: Vec<&str> = config.policy.baseline_stop.iter().copied().map(Check::word).collect();
    if !words.is_empty() {
        fails_when.push(format!("the comparison with the baseline fails: {}", words.join(", ")));
    }
    if fails_when.is_empty() {
        fails_when.push("never: nothing is asked and nothing compared".to_owned());
    }
    Stage {
        step: Step::Health,
        moves: Vec::new(),
        fails_when,
        ends_as: Some(Outcome::Unhealthy),
        leaves: unproved(config, back),
        back_if_failed: back,
        back_when_done: back,
    }
}

fn unproved(config: &Config, back: Back) -> String {
    let data = match (config.policy.on_failure, back) {
        (OnFailure::Restore, Back::LosesWrites | Back::Restore) => {
            "the data is put back by itself if nothing was written, else it stays migrated"
        }
        (OnFailure::Stop, _) | (OnFailure::Restore, Back::Free | Back::None) => {
            "the data stays migrated"
        }
    };
    format!("the gate is closed and the units are down; {data}")
}
