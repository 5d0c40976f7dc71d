//! Databases against the shipped migrations, and against the definitions after the last good upgrade.

use crate::migrations::{self, Comparison, State, named};
use crate::outcome::Outcome;
use crate::upgrade::baseline::settled::{self, Settled, Since};
use crate::upgrade::baseline::{Change, Severity};
use crate::upgrade::machine::{Machine, Shipped};

use super::{Area, Report};

pub(super) fn look(machine: &Machine, report: &mut Report) {
    let settled = match settled::read(&machine.layout) {
        Ok(settled) => settled,
        Err(error) => {
            report.not_compared(Area::Schema, error.message());
            None
        }
    };
    for shipped in &machine.databases {
        let looked = shipped
            .database
            .connect()
            .and_then(|mut session| migrations::look(&mut session, &shipped.migrations));
        match looked {
            Ok(comparison) => {
                versions(machine, shipped, &comparison, report);
                if comparison.state == State::Current {
                    definitions(machine, shipped, settled.as_ref(), report);
                }
            }
            Err(error) => report.not_compared(Area::Schema, error.message()),
        }
    }
}

fn versions(machine: &Machine, shipped: &Shipped, found: &Comparison, report: &mut Report) {
    let name = shipped.database.name();
    let should = match &found.head {
        Some(head) => format!("schema {head}, as version {} ships it", machine.version),
        None => "what its migrations make".to_owned(),
    };
    let upgrade = format!("Run `{}`.", machine.command("upgrade"));
    if let Some(refusal) = found.refusal(Outcome::Mismatch) {
        let mend = refusal.hint_line().map_or(upgrade, str::to_owned);
        return report.drifted(Area::Schema, name, &should, &refusal.message(), mend);
    }
    match found.state {
        State::Current => {}
        State::Empty => {
            let mend = format!("Run `{}`.", machine.command("migrate"));
            report.drifted(Area::Schema, name, &should, "an empty database", mend);
        }
        State::Pending => {
            let pending: Vec<&str> = found.pending.iter().map(|p| p.version.as_str()).collect();
            let current = found.current.as_deref().unwrap_or("none");
            let is = format!("schema {current}, pending {}", named(&pending));
            report.drifted(Area::Schema, name, &should, &is, upgrade);
        }
        State::Ahead | State::Divergent | State::Missing | State::Unknown => {
            report.drifted(Area::Schema, name, &should, found.state.word(), upgrade);
        }
    }
}

fn definitions(
    machine: &Machine,
    shipped: &Shipped,
    settled: Option<&Settled>,
    report: &mut Report,
) {
    let name = shipped.database.name();
    let Some(settled) = settled else {
        let accept = machine.command("baseline accept");
        let why = format!(
            "{name}: no upgrade has ended well here yet that recorded the definitions; `{accept}` does"
        );
        return report.not_compared(Area::Schema, why);
    };
    let since = settled::definitions(machine, name).map(|now| settled.compare(name, &now));
    match since {
        Ok(Since::Compared(changes)) => {
            for change in changes {
                let mend = mend(machine, name, &change);
                let should = change.before.as_deref().unwrap_or("not there");
                let is = match (&change.after, change.severity) {
                    (Some(after), _) => after.clone(),
                    (None, Severity::Doubt | Severity::Expected | Severity::Note) => {
                        change.what.clone()
                    }
                };
                let subject = format!("{name}: {}", change.subject);
                report.drifted(Area::Schema, &subject, should, &is, mend);
            }
        }
        Ok(Since::NotCompared(why)) => {
            report.not_compared(Area::Schema, format!("{name}: {why}"));
        }
        Err(error) => report.not_compared(Area::Schema, error.message()),
    }
}

fn mend(machine: &Machine, name: &str, change: &Change) -> String {
    let accept = machine.command("baseline accept");
    let undo = match (&change.before, &change.after) {
        (None, Some(_)) => "drop it",
        (Some(_), None) => "make it again",
        (Some(_), Some(_)) | (None, None) => "change it back",
    };
    format!("Connect to {name} and {undo}, or run `{accept}` if it is meant.")
}
