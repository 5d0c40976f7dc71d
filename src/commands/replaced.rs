//! Databases that restores replaced: listed with the restore points, and removed by the same rule of
//! age.

use serde_json::{Value, json};

use crate::database::Database;
use crate::database::kept::Kept;
use crate::database::shelf::Shelf;
use crate::disk;
use crate::error::Result;
use crate::restore_points::{Circumstances, Decision, Mode, REPLACED, Verdict, decide_replaced};
use crate::upgrade::machine::Machine;
use crate::upgrade::needed::{LastRun, OPEN, last_run};

/// A database that a restore replaced, and what becomes of it.
pub(super) struct Replaced {
    /// Name of the database within the application.
    database: String,
    bytes: u64,
    decision: Decision,
}

/// Lists them with what a prune would do; a server that is away is told and hinders nothing.
pub(super) fn list(machine: &Machine) -> Vec<Replaced> {
    each(machine, |_, _| Ok(()))
}

/// Removes those whose time is over, or tells which.
pub(super) fn prune(machine: &Machine, mode: Mode) -> Vec<Replaced> {
    each(machine, |server, one| match (mode, one.decision.verdict) {
        // Without force: somebody who connected since is in the way of nothing but the removal.
        (Mode::Act, Verdict::Remove) => server.drop_unused(&one.decision.id),
        (Mode::Act | Mode::DryRun, Verdict::Keep) | (Mode::DryRun, Verdict::Remove) => Ok(()),
    })
}

fn each(machine: &Machine, act: impl Fn(&mut Shelf, &Replaced) -> Result<()>) -> Vec<Replaced> {
    let mut all = Vec::new();
    for shipped in &machine.databases {
        match decided(machine, &shipped.database) {
            Err(error) => {
                let text = error.message();
                machine.progress.warn(&format!("replaced databases are not looked at: {text}"));
            }
            Ok((mut server, decided)) => {
                for mut one in decided {
                    if let Err(error) = act(&mut server, &one) {
                        machine.progress.warn(&error.message());
                        one.decision.verdict = Verdict::Keep;
                        one.decision.reason = "it could not be removed".into();
                    }
                    all.push(one);
                }
            }
        }
    }
    all
}

fn decided(machine: &Machine, database: &Database) -> Result<(Shelf, Vec<Replaced>)> {
    let needed = match last_run(machine)? {
        LastRun::Unread => Some("an upgrade of which the journal cannot be read"),
        LastRun::Open(_) => Some(OPEN),
        LastRun::None | LastRun::Well => None,
    };
    let mut server = Shelf::of(database)?;
    let kept: Vec<Kept> = server.kept(REPLACED)?;
    let live = server.live();
    let retention = &machine.config.policy.retention;
    let about = Circumstances {
        live: &live,
        live_is_there: server.has_live()?,
        days: retention.days_of_replaced(),
        needed,
    };
    let decisions = decide_replaced(&kept, machine.clock.now(), &about);
    let replaced = |(one, decision): (Kept, Decision)| Replaced {
        database: database.name().to_owned(),
        bytes: one.bytes,
        decision,
    };
    Ok((server, kept.into_iter().zip(decisions).map(replaced).collect()))
}

/// Lines of the listing.
pub(super) fn listed(all: &[Replaced]) -> Vec<String> {
    let line = |one: &Replaced| {
        let (name, size) = (&one.decision.id, disk::spoken(one.bytes));
        format!("{:<9} {name:<32} {size:>10}  database of before a restore", "replaced")
    };
    all.iter().map(line).collect()
}

/// Lines of a prune, with the word for what was done.
pub(super) fn pruned(all: &[Replaced], word: impl Fn(Verdict) -> &'static str) -> Vec<String> {
    let line = |one: &Replaced| {
        let Decision { id, verdict, reason } = &one.decision;
        format!("{:<12} database {id}: {reason}", word(*verdict))
    };
    all.iter().map(line).collect()
}

/// The same for programs.
pub(super) fn json(all: &[Replaced], word: impl Fn(Verdict) -> &'static str) -> Value {
    let one = |one: &Replaced| {
        json!({
            "database": one.database,
            "kept_as": one.decision.id,
            "bytes": one.bytes,
            "verdict": word(one.decision.verdict),
            "reason": one.decision.reason,
        })
    };
    all.iter().map(one).collect()
}
