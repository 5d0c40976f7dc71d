//! Checks before any change: every finding at once, so that an operator mends all in one go.

use std::path::Path;
use std::time::Duration;

use crate::database::clients::Client;
use crate::database::{Database, DatabaseLock, dump, dumpable};
use crate::error::{Error, Result};
use crate::outcome::Outcome;
use crate::restore_points::{Estimate, Lasts, Store};
use crate::system::process::Call;

use super::hooks;
use super::identity;
use super::in_file;
use super::locks::Locks;
use super::machine::Machine;
use super::plan::{Plan, Protection};
use super::preflight_points;
use super::prove_restore_point;
use super::requirements;
use super::rollback;
use super::settings;
use super::survey::{Survey, Surveyed};

/// How long one of the operator's own checks may take.
const CHECK_LIMIT: Duration = Duration::from_secs(600);

/// How long the client waits for a lock on a table when it is tried out.
const LOCK_WAIT: Duration = Duration::from_secs(3);

/// One result of a check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Whether it stops the upgrade.
    pub severity: Severity,
    /// What was found, one line.
    pub message: String,
    /// The next action, where there is one.
    pub hint: Option<String>,
}

/// Whether a finding stops the upgrade.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// It does.
    Required,
    /// It is only told.
    Advisory,
}

/// Proof that preflight passed and that the databases are locked; nothing has changed yet.
pub struct Ready {
    pub(super) locks: Vec<DatabaseLock>,
}

/// Looks at everything that could stop the upgrade, under the locks, and says all of it.
pub fn check(machine: &Machine, survey: &Survey<'_>, plan: &Plan, locks: Locks) -> Result<Ready> {
    let found = findings(machine, survey, plan);
    for finding in found.iter().filter(|f| f.severity == Severity::Advisory) {
        machine.progress.warn(&finding.message);
    }
    match refusal(&found) {
        Some(error) => Err(error.state(untouched(survey))),
        None => Ok(Ready { locks: locks.of_pending(survey) }),
    }
}

/// Returns everything that was found, required ones first. Changes nothing that stays.
pub fn findings(machine: &Machine, survey: &Survey<'_>, plan: &Plan) -> Vec<Finding> {
    let mut found = Vec::new();
    for surveyed in &survey.databases {
        server(surveyed, &mut found);
        let dumps = plan
            .databases
            .iter()
            .any(|d| d.name == surveyed.database.name() && d.protection.is_dumped());
        if dumps {
            can_dump(surveyed, &mut found);
        }
    }
    if plan.databases.iter().any(|d| d.protection.is_dumped()) {
        space(machine, survey, plan, &mut found);
        identity::findings(machine, &mut found);
        trial(machine, survey, plan, &mut found);
    }
    preflight_points::look(machine, survey, plan, &mut found);
    in_file::look(machine, survey, &mut found);
    rollback::foresee::look(machine, survey, &mut found);
    requirements::findings(machine, &mut found);
    found.extend(settings::findings(&machine.config.settings));
    for command in &machine.config.policy.checks {
        own_check(command, &mut found);
    }
    hooks::findings(machine, survey, &mut found);
    for database in plan.databases.iter().filter(|d| d.protection == Protection::SwitchedOff) {
        found.push(advisory(format!(
            "{} is migrated without a restore point: auto_backup is off",
            database.name
        )));
    }
    found.sort_by_key(|finding| finding.severity == Severity::Advisory);
    found
}

/// Returns the refusal that these findings amount to, if any of them is required.
pub fn refusal(found: &[Finding]) -> Option<Error> {
    let required: Vec<&Finding> =
        found.iter().filter(|finding| finding.severity == Severity::Required).collect();
    match required.as_slice() {
        [] => None,
        [one] => {
            let error = Error::new(Outcome::Refused, &one.message);
            Some(one.hint.iter().fold(error, |error, hint| error.hint(hint)))
        }
        several => {
            let first = Error::new(
                Outcome::Refused,
                format!("preflight found {} reasons not to begin", several.len()),
            );
            let all = several.iter().fold(first, |error, finding| {
                error.detail(match &finding.hint {
                    Some(hint) => format!("{}. {hint}", finding.message),
                    None => finding.message.clone(),
                })
            });
            Some(all.hint("Mend these, then run `openwatch preflight` again."))
        }
    }
}

/// Says that nothing was changed and what the units do.
pub fn untouched(survey: &Survey<'_>) -> String {
    let units: Vec<String> = survey.units.iter().map(|unit| unit.spoken()).collect();
    match units.as_slice() {
        [] => "nothing was changed".into(),
        units => format!("nothing was changed; {}", units.join(", ")),
    }
}

pub(super) fn required(message: impl Into<String>, hint: impl Into<String>) -> Finding {
    Finding { severity: Severity::Required, message: message.into(), hint: Some(hint.into()) }
}

pub(super) fn advisory(message: impl Into<String>) -> Finding {
    Finding { severity: Severity::Advisory, message: message.into(), hint: None }
}

fn server(surveyed: &Surveyed<'_>, found: &mut Vec<Finding>) {
    let name = surveyed.database.described();
    if surveyed.facts.in_recovery {
        found.push(required(
            format!("the server of {name} is a standby"),
            "Name the primary in the connection string, or add `target_session_attrs=primary`.",
        ));
    } else if surveyed.facts.read_only {
        found.push(required(
            format!("transactions in {name} are read-only by default"),
            "Run `ALTER DATABASE … RESET default_transaction_read_only`, or the same for the role.",
        ));
    }
    if !surveyed.facts.prepared_transactions.is_empty() {
        found.push(required(
            format!(
                "{name} has prepared transactions that hold locks: {}",
                surveyed.facts.prepared_transactions.join(", ")
            ),
            "Finish each with `COMMIT PREPARED` or `ROLLBACK PREPARED`.",
        ));
    }
}

fn can_dump(surveyed: &Surveyed<'_>, found: &mut Vec<Finding>) {
    let name = surveyed.database.described();
    match &surveyed.client {
        None => {}
        Some(Ok((_, warning))) => found.extend(warning.clone().map(advisory)),
        Some(Err(error)) => found.push(Finding {
            severity: Severity::Required,
            message: error.message(),
            hint: error.hint_line().map(str::to_owned),
        }),
    }
    if !surveyed.unreadable.is_empty() {
        found.push(required(
            format!(
                "a dump of {name} would fail or miss data: {}",
                dumpable::named(&surveyed.unreadable)
            ),
            dumpable::hint(&surveyed.unreadable),
        ));
    } else if let Some(Ok((client, _))) = &surveyed.client {
        found.extend(tried(surveyed.database, client));
    }
    if !surveyed.left_out.is_empty() {
        found.push(advisory(format!(
            "a dump of {name} leaves out: {}",
            surveyed.left_out.join("; ")
        )));
    }
}

/// Lets the client dump the definitions to nowhere. Who keeps a table locked now may be gone when the
/// services are down, so that is told and stops nothing.
fn tried(database: &Database, client: &Client) -> Option<Finding> {
    let error = dump::try_definitions(database, client, LOCK_WAIT).err()?;
    let name = database.described();
    Some(match dump::locked_by(&error).as_slice() {
        [] => {
            let message = format!("a dump of {name} would fail: {}", error.message());
            let all = error.details().iter().fold(message, |all, line| format!("{all}; {line}"));
            required(all, "Mend what the client names.")
        }
        locked => advisory(format!("a dump of {name} would wait: {}", locked.join("; "))),
    })
}

fn dumped<'m>(survey: &Survey<'m>, plan: &Plan) -> Vec<&'m Database> {
    let all = survey.databases.iter().filter(|surveyed| {
        plan.databases
            .iter()
            .any(|d| d.name == surveyed.database.name() && d.protection.is_dumped())
    });
    all.map(|surveyed| surveyed.database).collect()
}

fn space(machine: &Machine, survey: &Survey<'_>, plan: &Plan, found: &mut Vec<Finding>) {
    let dumped = dumped(survey, plan);
    let reserve = machine.config.policy.reserve;
    let checked = looking_at_store(machine, |store| {
        store.probe()?;
        if let Err(error) = store.check_travelling() {
            found.push(from_error(&error));
        }
        estimated(machine, store, &dumped)?.check(store, reserve)
    });
    if let Err(error) = checked {
        found.push(from_error(&error));
    }
}

fn estimated(machine: &Machine, store: &Store, dumped: &[&Database]) -> Result<Estimate> {
    let mut estimate = store.estimate(dumped)?;
    if !machine.config.policy.restore_point_after.is_empty() {
        // What the steps leave is dumped as well.
        estimate.needed = estimate.needed.saturating_mul(2);
        estimate.files = estimate.files.saturating_mul(2);
    }
    Ok(estimate)
}

/// Estimates the room that the restore point takes; none where none is taken. Changes nothing.
pub(super) fn estimate(
    machine: &Machine,
    survey: &Survey<'_>,
    plan: &Plan,
) -> Option<Result<Estimate>> {
    let dumped = dumped(survey, plan);
    let look = |store: &Store| estimated(machine, store, &dumped);
    (!dumped.is_empty()).then(|| looking_at_store(machine, look))
}

/// Looks at the store and leaves nothing behind: what had to be made to look is taken away again.
pub(super) fn looking_at_store<T>(
    machine: &Machine,
    look: impl FnOnce(&Store) -> Result<T>,
) -> Result<T> {
    let dir = &machine.config.policy.backup_dir;
    let missing: Vec<&Path> = dir.ancestors().take_while(|path| !path.exists()).collect();
    let looked = machine.store().and_then(|store| look(&store));
    for made in missing {
        // Only empty ones go; what somebody else put there meanwhile stays.
        let _ = std::fs::remove_dir(made);
    }
    looked
}

/// Returns the finding that an error of a look amounts to.
pub(super) fn from_error(error: &Error) -> Finding {
    let facts = error.details().join("; ");
    Finding {
        severity: Severity::Required,
        message: if facts.is_empty() {
            error.message()
        } else {
            format!("{}: {facts}", error.message())
        },
        hint: error.hint_line().map(str::to_owned),
    }
}

/// What will never be is refused now, while it costs nothing; what tonight does not allow is told.
fn trial(machine: &Machine, survey: &Survey<'_>, plan: &Plan, found: &mut Vec<Finding>) {
    let foreseen = prove_restore_point::look_ahead(machine, &dumped(survey, plan));
    match foreseen {
        Ok(foreseen) => {
            for obstacle in foreseen.into_iter().flat_map(|foreseen| foreseen.obstacles) {
                let what = "the restore point cannot be loaded before the migrations";
                found.push(match obstacle.lasts {
                    Lasts::UntilMended => {
                        let set = "set `verify = \"read\"`";
                        let hint = obstacle.remedy.map_or_else(
                            || format!("S{}.", &set[1..]),
                            |remedy| format!("{remedy}, or {set}."),
                        );
                        required(format!("{what}: {}", obstacle.why), hint)
                    }
                    Lasts::ForNow => Finding {
                        hint: obstacle.remedy.map(|remedy| remedy + "."),
                        ..advisory(format!("{what}, only read back: {}", obstacle.why))
                    },
                });
            }
        }
        Err(error) => found.push(advisory(error.message())),
    }
}

fn own_check(command: &[String], found: &mut Vec<Finding>) {
    let Some((program, arguments)) = command.split_first() else { return };
    if let Err(failure) = Call::new(program).args(arguments).deadline(CHECK_LIMIT).run() {
        let said = match failure.stderr().lines().last() {
            Some(line) => format!(": {line}"),
            None => String::new(),
        };
        found.push(required(
            format!("the check {} {failure}{said}", command.join(" ")),
            "Mend what the check found, or remove it from `checks`.",
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_required_findings_are_told_at_once() {
        let found = [
            required("no space", "Free some."),
            advisory("old client"),
            required("standby", "Go."),
        ];
        let error = refusal(&found).unwrap();
        assert_eq!(error.outcome(), Outcome::Refused);
        assert_eq!(error.message(), "preflight found 2 reasons not to begin");
        assert_eq!(error.details(), ["no space. Free some.", "standby. Go."]);
    }

    #[test]
    fn advisory_findings_refuse_nothing() {
        assert!(refusal(&[advisory("old client")]).is_none());
    }

    #[test]
    fn a_failing_own_check_is_told_with_its_last_line() {
        let mut found = Vec::new();
        let command = ["/bin/sh", "-c", "echo jobs are running >&2; exit 3"].map(str::to_owned);
        own_check(&command, &mut found);
        assert!(found[0].message.ends_with("exited with status 3: jobs are running"), "{found:?}");
    }
}
