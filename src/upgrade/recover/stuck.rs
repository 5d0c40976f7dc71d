//! The named end state: a person is needed, one file says all of it, one command leads out.

use crate::error::Error;
use crate::outcome::Outcome;
use crate::system::clock;
use crate::system::fs;
use crate::upgrade::gate::{Failed, Pending};
use crate::upgrade::machine::Machine;

use super::facts::Stuck;

impl Stuck {
    /// Returns the one command that leads out, once the cause is mended.
    pub fn command(self, machine: &Machine) -> String {
        machine.command(match self {
            Self::UndoFailed => "upgrade --undo",
            Self::CutOffAgain | Self::NoWayBack => "upgrade --resume",
        })
    }
}

/// Makes the end state durable: in the pending mark, and as a file for the person who is needed.
///
/// What cannot be written is told; the gate is closed by the mark that is there already.
pub fn settle(machine: &Machine, mark: &Pending, why: Stuck, error: Error) -> Error {
    let file = machine.layout.stuck();
    let hint = format!(
        "Mend the cause, then run `{}`; {} says all of it.",
        why.command(machine),
        file.display()
    );
    let error = error.outcome_as(Outcome::Stuck).hint(hint);
    let failed = Failed { outcome: Outcome::Stuck.word().to_owned(), message: error.message() };
    let written = Pending { failed: Some(failed), stuck: Some(why), ..mark.clone() }
        .write(&machine.layout)
        .and_then(|()| fs::replace(&file, text(machine, &error).as_bytes(), 0o600));
    if let Err(problem) = written {
        machine.progress.warn(&problem.message());
    }
    error
}

/// Says again that a person is needed, and tries nothing.
pub fn again(machine: &Machine, why: Stuck, failed: Option<&Failed>) -> Error {
    let message = failed.map_or("the upgrade is stuck", |failed| &failed.message);
    Error::new(Outcome::Stuck, message).state("nothing was tried; the gate is closed").hint(
        format!(
            "Mend the cause, then run `{}`; {} says all of it.",
            why.command(machine),
            machine.layout.stuck().display()
        ),
    )
}

fn text(machine: &Machine, error: &Error) -> String {
    let mut text = format!(
        "{} {}: the upgrade is stuck since {}\n\n{}\n",
        machine.layout.app(),
        machine.version,
        clock::rfc3339(machine.clock.now()),
        error.message()
    );
    for detail in error.details() {
        text.push_str(&format!("\ndetail: {detail}\n"));
    }
    for (word, line) in [("state", error.state_line()), ("hint", error.hint_line())] {
        text.push_str(&line.map(|line| format!("\n{word}: {line}\n")).unwrap_or_default());
    }
    text.push_str(&format!("\njournal: {}\n", machine.layout.journal().display()));
    text
}
