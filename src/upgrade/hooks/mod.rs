//! The site's own programs before and after each step.
//!
//! `/usr/share/NAME/hooks.d/STEP.before.d/` and `/etc/NAME/hooks.d/STEP.before.d/` (the packager's
//! first), likewise `after`, in the order of names as run-parts takes them. One that fails before a
//! step stops the upgrade there; one that fails after it is told. Exit status 75 means "not yet": it
//! is asked again until its time is up. None reads anything, and nothing of it outlives its time.

mod files;

use std::path::Path;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::outcome::Outcome;
use crate::system::clock::{self, Deadline};
use crate::system::process::{Call, Failure};
use crate::system::signals;
use crate::version::Version;

use super::journal::Journal;
use super::machine::Machine;
use super::preflight::{Finding, advisory, from_error, required, untouched};
use super::step::Step;
use super::survey::Survey;

/// The steps that have hooks; preflight has none after it.
const STEPS: [Step; 6] =
    [Step::Preflight, Step::Quiesce, Step::RestorePoint, Step::Migrate, Step::Start, Step::Health];

/// "Not yet", as sysexits.h has it (EX_TEMPFAIL): jobs are running, say.
const NOT_YET: i32 = 75;

/// How long a hook that said "not yet" is left alone.
const BETWEEN: Duration = Duration::from_secs(2);

/// The most lines that one hook is let tell.
const MOST_LINES: usize = 200;

/// On which side of a step a hook runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moment {
    Before,
    After,
}

impl Moment {
    const fn word(self) -> &'static str {
        match self {
            Self::Before => "before",
            Self::After => "after",
        }
    }
}

/// What hooks are told; nothing of it is secret.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'f> {
    from: Option<&'f Version>,
    to: &'f Version,
    restore_point: Option<&'f str>,
}

impl<'f> From<&'f Survey<'_>> for Facts<'f> {
    fn from(survey: &'f Survey<'_>) -> Self {
        Self { from: survey.from.as_ref(), to: &survey.version, restore_point: None }
    }
}

impl<'f> From<&'f Journal> for Facts<'f> {
    fn from(journal: &'f Journal) -> Self {
        let record = journal.record();
        let restore_point = record.restore_point.as_deref();
        Self { from: record.from.as_ref(), to: &record.to, restore_point }
    }
}

/// Runs the hooks before a step; the first that fails stops the upgrade.
pub fn before<'f>(machine: &Machine, step: Step, facts: impl Into<Facts<'f>>) -> Result<()> {
    let facts = facts.into();
    for hook in found(machine, step, Moment::Before)? {
        run(machine, step, Moment::Before, &hook, facts)?;
    }
    Ok(())
}

/// Runs the hooks before the services stop, where a "no" changes nothing.
pub fn before_quiesce(machine: &Machine, survey: &Survey<'_>) -> Result<()> {
    before(machine, Step::Quiesce, survey).map_err(|error| error.state(untouched(survey)))
}

/// Runs the hooks after a step; those that fail are told.
pub fn after<'f>(machine: &Machine, step: Step, facts: impl Into<Facts<'f>>) {
    let facts = facts.into();
    let hooks = found(machine, step, Moment::After).unwrap_or_else(|error| {
        machine.progress.warn(&error.message());
        Vec::new()
    });
    for hook in hooks {
        if let Err(error) = run(machine, step, Moment::After, &hook, facts) {
            machine.progress.warn(&error.message());
        }
    }
}

/// Asks the hooks before preflight, and says which of any step may not be run or never would be: what
/// would stop an upgrade half way is found out before it begins.
pub fn findings(machine: &Machine, survey: &Survey<'_>, found_so_far: &mut Vec<Finding>) {
    let refused = files::refused(&machine.layout);
    found_so_far.extend(refused.iter().map(from_error));
    found_so_far.extend(files::of_no_step(&machine.layout).iter().map(|path| {
        let message = format!("{} belongs to no step: nothing in it is run", path.display());
        let hint =
            "Names are `STEP.before.d` and `STEP.after.d`, such as `restore-point.before.d`.";
        Finding { hint: Some(hint.to_owned()), ..advisory(message) }
    }));
    let Ok(hooks) = found(machine, Step::Preflight, Moment::Before) else { return };
    for hook in hooks {
        if let Err(error) = run(machine, Step::Preflight, Moment::Before, &hook, survey.into()) {
            let hint = error.hint_line().unwrap_or_default().to_owned();
            found_so_far.push(required(error.message(), hint));
        }
    }
}

fn found(machine: &Machine, step: Step, moment: Moment) -> Result<Vec<std::path::PathBuf>> {
    let found = files::find(&machine.layout, step, moment)?;
    for passed_by in &found.passed_by {
        machine.progress.warn(passed_by);
    }
    Ok(found.hooks)
}

fn run(machine: &Machine, step: Step, moment: Moment, hook: &Path, facts: Facts<'_>) -> Result<()> {
    let limit = machine.config.policy.hook_timeout;
    let deadline = Deadline::after(limit);
    let name = hook.file_name().unwrap_or_default().to_string_lossy().into_owned();
    machine.progress.note(&format!("hook {} {}: {name}", moment.word(), step.spoken()));
    let mut waited = false;
    loop {
        let mut last = None;
        let mut told = 0;
        let ended = call(machine, step, moment, hook, facts)
            .deadline(deadline.remaining())
            .run_kept(|printed| {
                let Some(printed) = printed.filter(|printed| !printed.line.is_empty()) else {
                    return;
                };
                last = Some(printed.line.clone());
                told += 1;
                if told <= MOST_LINES {
                    machine.progress.note(&format!("{name}: {}", printed.line));
                }
            });
        let Err(failure) = ended else { return Ok(()) };
        let not_yet = failure.code() == Some(NOT_YET);
        if not_yet && deadline.remaining() > BETWEEN && signals::received().is_none() {
            if !waited {
                machine.progress.note(&format!("{name} says: not yet; it is asked again"));
                waited = true;
            }
            clock::pause(BETWEEN);
            continue;
        }
        let why = match failure {
            _ if not_yet => format!("still said \"not yet\" after {}", clock::spoken(limit)),
            // The time of all attempts, not what was left for the last.
            Failure::TimedOut(_) => Failure::TimedOut(limit).to_string(),
            other => other.to_string(),
        };
        let said = last.map_or(String::new(), |line| format!(": {line}"));
        let message = format!("the hook {} {} {why}{said}", hook.display(), moment.word_of(step));
        return Err(Error::new(outcome(step), message)
            .hint(format!("Mend what it found, or take `{}` away.", hook.display())));
    }
}

impl Moment {
    /// Says where in the upgrade the hook stands.
    fn word_of(self, step: Step) -> String {
        format!("({} {})", self.word(), step.spoken())
    }
}

fn call(machine: &Machine, step: Step, moment: Moment, hook: &Path, facts: Facts<'_>) -> Call {
    let from = facts.from.map_or("", Version::as_str);
    Call::new(hook)
        .env("OPENWATCH_APP", machine.layout.app())
        .env("OPENWATCH_STEP", step.word())
        .env("OPENWATCH_WHEN", moment.word())
        .env("OPENWATCH_FROM", from)
        .env("OPENWATCH_TO", facts.to.as_str())
        .env("OPENWATCH_RESTORE_POINT", facts.restore_point.unwrap_or_default())
}

/// How the run ends where a hook stops it: as it does when the step itself fails.
const fn outcome(step: Step) -> Outcome {
    match step {
        Step::Preflight | Step::Quiesce => Outcome::Refused,
        Step::RestorePoint => Outcome::BackupFailed,
        Step::Migrate => Outcome::MigrationFailed,
        Step::Switch | Step::Restore | Step::Package | Step::Start => Outcome::Failed,
        Step::Health => Outcome::Unhealthy,
    }
}
