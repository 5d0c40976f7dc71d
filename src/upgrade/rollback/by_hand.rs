//! A downgrade by hand, seen before the older package is unpacked.
//!
//! The data must be as the older program knows it before that program arrives. After a failed upgrade
//! in which nothing was written its restore point comes back by itself; otherwise a person decides.

use crate::error::{Error, Result};
use crate::migrations::DataState;
use crate::outcome::Outcome;
use crate::package::Family;
use crate::restore_points::RestorePoint;
use crate::version::Version;

use super::super::gate::Pending;
use super::super::journal::{self, Direction, Record};
use super::super::machine::Machine;
use super::data;
use super::order::{Order, Program};
use super::present::{Copy, Half, Present, Road};

/// What is so when an older package is about to be unpacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts<'f> {
    /// How the last upgrade ended.
    pub upgrade: Upgrade,
    /// Where the data is.
    pub data: Data<'f>,
}

/// How the last upgrade ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upgrade {
    /// It came from the version that is about to be unpacked, and did not end well.
    FailedFromHere,
    /// It ended well, or came from another version.
    Other,
}

/// Where the data is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Data<'f> {
    /// As the older version knows it.
    AsBefore,
    /// Changed by the failed upgrade alone; this restore point leads back.
    OnlyMigrated(&'f str),
    /// Written since, or nobody knows; this restore point leads back, where there is one.
    Written(Option<&'f str>),
}

/// What becomes of the downgrade.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict<'f> {
    /// The older package is let in.
    LetIn,
    /// It is let in once this restore point is back.
    PutBack(&'f str),
    /// It is refused; a person has to decide about this restore point.
    Refused(Option<&'f str>),
}

/// Decides about a downgrade by hand.
pub const fn decide(facts: Facts<'_>) -> Verdict<'_> {
    match (facts.upgrade, facts.data) {
        (Upgrade::FailedFromHere, Data::AsBefore) => Verdict::LetIn,
        (Upgrade::FailedFromHere, Data::OnlyMigrated(id)) => Verdict::PutBack(id),
        (Upgrade::FailedFromHere, Data::Written(point)) => Verdict::Refused(point),
        (Upgrade::Other, Data::AsBefore) => Verdict::Refused(None),
        (Upgrade::Other, Data::OnlyMigrated(id)) => Verdict::Refused(Some(id)),
        (Upgrade::Other, Data::Written(point)) => Verdict::Refused(point),
    }
}

/// Looks, and either lets the older package in (none), orders the data back first, or refuses.
pub fn judge(machine: &Machine, to: &Version, family: Family) -> Result<Option<Order>> {
    let layout = &machine.layout;
    let mark = Pending::read(layout)?;
    // One that led back and was done left the data as it was before the first attempt.
    let known = |run: &Record| match run.direction {
        Direction::Forward => true,
        Direction::Back => run.data == Some(DataState::Unchanged),
    };
    let recorded = journal::read(layout)?;
    let came = |from: Option<&Version>| from.is_some_and(|from| from.order(to).is_eq());
    // The package was put in and never came to act on the data that the older version left well.
    let well = |run: &Record| {
        run.outcome.as_deref() == Some(Outcome::Ok.word()) && run.direction == Direction::Forward
    };
    let of_other = |run: &Record| !run.to.order(&machine.version).is_eq() && well(run);
    let marked = mark
        .as_ref()
        .is_some_and(|mark| came(mark.from.as_ref()) && mark.to.order(&machine.version).is_eq());
    if marked && recorded.as_ref().is_none_or(of_other) {
        return Ok(None);
    }
    let last = recorded.filter(known);
    let failed = mark.as_ref().is_some_and(|mark| {
        let ended =
            mark.failed.is_some() || last.as_ref().is_some_and(|run| run.finished.is_none());
        ended && came(mark.from.as_ref())
    });
    let upgrade = if failed { Upgrade::FailedFromHere } else { Upgrade::Other };
    let id = last.as_ref().and_then(|run| run.way_back.clone().or(run.restore_point.clone()));
    let point = match &id {
        Some(id) => machine.stored()?.and_then(|store| store.find(id).ok()),
        None => None,
    };
    let data = state(machine, last.as_ref(), point.as_ref());
    match decide(Facts { upgrade, data: data.as_ref(id.as_deref()) }) {
        Verdict::LetIn => Ok(None),
        Verdict::PutBack(point) => Ok(Some(Order {
            family: Some(family),
            point: Some(point.to_owned()),
            running: mark.and_then(|mark| mark.running).unwrap_or_default(),
            ..Order::new(machine, to, Program::ByHand)
        })),
        Verdict::Refused(point) => Err(refusal(machine, to, point)),
    }
}

/// The same as [`Data`], before the restore point is named.
#[derive(Clone, Copy)]
enum State {
    AsBefore,
    OnlyMigrated,
    Written,
}

impl State {
    fn as_ref(self, point: Option<&str>) -> Data<'_> {
        match (self, point) {
            (Self::AsBefore, _) => Data::AsBefore,
            (Self::OnlyMigrated, Some(id)) => Data::OnlyMigrated(id),
            (Self::OnlyMigrated, None) => Data::Written(None),
            (Self::Written, point) => Data::Written(point),
        }
    }
}

/// What cannot be looked at counts as written.
fn state(machine: &Machine, last: Option<&Record>, point: Option<&RestorePoint>) -> State {
    let look = || -> Result<State> {
        if data::is_as_before(machine, last, point)? {
            return Ok(State::AsBefore);
        }
        let Some(point) = point else { return Ok(State::Written) };
        let in_point = |name: &str| point.manifest().databases.iter().any(|a| a.name == name);
        let databases = machine.databases.iter().map(|shipped| &shipped.database);
        let lost = databases
            .filter(|database| in_point(database.name()))
            .map(|database| point.loss(database, machine.clock))
            .collect::<Result<Vec<_>>>()?;
        let half = Half::of(machine, point)?;
        Ok(match Present::decide(Copy::WhereWritten, &lost, &[], half, Road::Loaded) {
            Present::Unwritten | Present::HalfMigrated => State::OnlyMigrated,
            Present::Absent | Present::LeftOut | Present::Copied | Present::Beside => {
                State::Written
            }
        })
    };
    look().unwrap_or(State::Written)
}

fn refusal(machine: &Machine, to: &Version, point: Option<&str>) -> Error {
    let (app, from) = (machine.layout.app(), &machine.version);
    let message = format!(
        "{app} {from} is not replaced by the older {to}: the database would be newer than the program"
    );
    let error = Error::new(Outcome::Refused, message);
    let error = match point {
        Some(id) => error.detail(format!("restore point {id} has the data of version {to}")),
        None => error,
    };
    error.state("nothing was changed").hint(format!(
        "Put both back together with `{}`, which says first what would be lost.",
        machine.command(&format!("rollback --to {}", to.upstream()))
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows 57 and 60.
    #[test]
    fn data_comes_back_by_itself_only_where_nobody_wrote() {
        let failed = Upgrade::FailedFromHere;
        for (upgrade, data, verdict) in [
            (failed, Data::AsBefore, Verdict::LetIn),
            (failed, Data::OnlyMigrated("p"), Verdict::PutBack("p")),
            (failed, Data::Written(Some("p")), Verdict::Refused(Some("p"))),
            (failed, Data::Written(None), Verdict::Refused(None)),
            (Upgrade::Other, Data::AsBefore, Verdict::Refused(None)),
            (Upgrade::Other, Data::OnlyMigrated("p"), Verdict::Refused(Some("p"))),
            (Upgrade::Other, Data::Written(Some("p")), Verdict::Refused(Some("p"))),
        ] {
            assert_eq!(decide(Facts { upgrade, data }), verdict, "{upgrade:?} {data:?}");
        }
    }
}
