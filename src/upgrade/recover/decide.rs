//! In what state a run has left the machine, and what is the way from there: pure, from facts.

use crate::config::OnFailure;
use crate::upgrade::journal::{Direction, When};
use crate::upgrade::step::Step;

use super::facts::{Facts, Gate, Opened, Point, Restoring, Run, Standing, Stuck, Units};

/// In what state the machine is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Nothing is open.
    Settled,
    /// A package has begun an upgrade that no run has taken up.
    Deferred,
    /// The data is as it was; units may be down.
    Untouched,
    /// Some of the migrations are in the data, or parts of one.
    HalfDone,
    /// All of them are, and nothing was started.
    NotStarted,
    /// All of them are, units were started, and health was not proved.
    NotProven,
    /// The data was being put back, and none of it is back.
    RestoreHalfWay,
    /// The data was being put back: one database is back, another is not.
    SwapHalfWay,
}

impl State {
    /// Returns the word for JSON.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Settled => "settled",
            Self::Deferred => "deferred",
            Self::Untouched => "untouched",
            Self::HalfDone => "half_done",
            Self::NotStarted => "not_started",
            Self::NotProven => "not_proven",
            Self::RestoreHalfWay => "restore_half_way",
            Self::SwapHalfWay => "swap_half_way",
        }
    }

    /// Returns what is so, for people.
    pub const fn spoken(self) -> &'static str {
        match self {
            Self::Settled => "nothing is open",
            Self::Deferred => "the upgrade was not begun yet",
            Self::Untouched => "the data is as it was before",
            Self::HalfDone => "the data was migrated in part",
            Self::NotStarted => "the data is migrated, the services were not started",
            Self::NotProven => "the data is migrated, health was not proved",
            Self::RestoreHalfWay => "the data was being put back",
            Self::SwapHalfWay => "some of the databases are put back, others are not",
        }
    }
}

/// Who asks, and for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// The boot, a unit, a package script, or a person who said nothing of what went before.
    ByItself,
    /// A person: go on.
    GoOn(Changes),
    /// A person: back to before the first attempt.
    Undo(Changes),
}

/// What a person says of changes that somebody made since.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Changes {
    /// Nothing: they are a reason to stop.
    Refused,
    /// They are taken as they are.
    Adopted,
}

/// What is the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    /// There is nothing to do.
    Nothing,
    /// The upgrade goes on from what is there.
    Resume,
    /// Back to before the first attempt; whether the data has to be put back.
    Undo(Data),
    /// The world is another one: these changed.
    Changed(Vec<String>),
    /// Units were started on the new schema, and may have written.
    Started,
    /// Somebody else has to put the data back.
    LeftToOthers,
    /// A person is needed.
    Stuck(Stuck),
}

/// Whether the data has to be put back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Data {
    /// It is as it was.
    Stays,
    /// It has to.
    PutBack,
}

/// Returns in what state the machine is.
pub fn state(facts: &Facts) -> State {
    match (facts.run, facts.gate) {
        (Run::Unknown | Run::Well, Gate::Open) => return State::Settled,
        (Run::Unknown | Run::Well, Gate::Closed) => return State::Deferred,
        (Run::Failed | Run::CutOff, _) => {}
    }
    let all = |wanted: &[Standing]| facts.databases.iter().all(|found| wanted.contains(found));
    let any = |wanted: Standing| facts.databases.contains(&wanted);
    match facts.restoring {
        Restoring::Done => return State::Untouched,
        Restoring::Begun if any(Standing::PutBack) && all(&[Standing::PutBack]) => {
            return State::Untouched;
        }
        Restoring::Begun if any(Standing::PutBack) => return State::SwapHalfWay,
        Restoring::Begun => return State::RestoreHalfWay,
        Restoring::No => {}
    }
    let untouched = all(&[Standing::Before, Standing::PutBack]);
    // A run that came to the start had migrated all of it, whatever another package makes of that.
    let whole = facts.direction == Direction::Forward && started(facts) && !untouched;
    if whole || all(&[Standing::After]) {
        let acted = |step, when| facts.reached == Some((step, when));
        return match facts.units {
            // Nothing was to be migrated, and nothing was stopped or started.
            _ if facts.databases.is_empty() && facts.reached.is_none() => State::Untouched,
            Units::Down if !started(facts) => State::NotStarted,
            Units::Down if acted(Step::Start, When::Begun) && facts.gate == Gate::Closed => {
                State::NotStarted
            }
            Units::Up | Units::Down => State::NotProven,
        };
    }
    if untouched { State::Untouched } else { State::HalfDone }
}

/// Whether units may have been started on the new schema.
fn started(facts: &Facts) -> bool {
    match facts.reached {
        Some((Step::Start | Step::Health, _)) => true,
        Some((
            Step::Preflight
            | Step::Quiesce
            | Step::RestorePoint
            | Step::Switch
            | Step::Migrate
            | Step::Restore
            | Step::Package,
            _,
        ))
        | None => false,
    }
}

/// Returns what is the way from here.
pub fn way(facts: &Facts, asked: Asked) -> Way {
    let state = state(facts);
    if state == State::Settled {
        return Way::Nothing;
    }
    if asked == Asked::ByItself {
        if let Some(stuck) = facts.stuck {
            return Way::Stuck(stuck);
        }
        if facts.cut_off.happened >= facts.cut_off.allowed {
            return Way::Stuck(Stuck::CutOffAgain);
        }
    }
    match asked {
        Asked::GoOn(Changes::Adopted) | Asked::Undo(Changes::Adopted) => {}
        Asked::ByItself | Asked::GoOn(Changes::Refused) | Asked::Undo(Changes::Refused) => {
            let changed = changed(facts, state);
            if !changed.is_empty() {
                return Way::Changed(changed);
            }
        }
    }
    match asked {
        Asked::Undo(_) => undo(facts, state),
        Asked::ByItself | Asked::GoOn(_) => go_on(facts, state, asked),
    }
}

/// What stands in the way of going on, or back, from what an earlier run left.
fn changed(facts: &Facts, state: State) -> Vec<String> {
    if facts.run != Run::CutOff {
        // A failure was told, and whoever mended its cause changed something.
        return Vec::new();
    }
    let package = match state {
        // Nothing of the other package is in the data: it begins anew.
        State::Settled | State::Deferred | State::Untouched => &[][..],
        State::HalfDone
        | State::NotStarted
        | State::NotProven
        | State::RestoreHalfWay
        | State::SwapHalfWay => &facts.changed.package,
    };
    facts.changed.data.iter().chain(package).cloned().collect()
}

fn go_on(facts: &Facts, state: State, asked: Asked) -> Way {
    let back = facts.direction == Direction::Back && facts.run == Run::CutOff;
    match state {
        State::Settled => Way::Nothing,
        // The data is back, or never had to be: nobody asked to go forward again.
        State::Untouched if back && asked == Asked::ByItself => Way::Undo(Data::Stays),
        State::Deferred | State::Untouched | State::NotStarted | State::NotProven => Way::Resume,
        // What was going back does not turn round half way.
        State::RestoreHalfWay | State::SwapHalfWay => put_back(facts),
        State::HalfDone => {
            let by_itself = asked == Asked::ByItself
                && facts.run == Run::CutOff
                && facts.databases.contains(&Standing::Doubtful)
                && facts.on_failure == OnFailure::Restore
                && facts.opened == Opened::Never
                && facts.point == Point::There;
            // What cannot go on is refused by name; here the operator wants it put back instead.
            if by_itself { Way::Undo(Data::PutBack) } else { Way::Resume }
        }
    }
}

fn undo(facts: &Facts, state: State) -> Way {
    match state {
        State::Settled => Way::Nothing,
        State::Deferred | State::Untouched => Way::Undo(Data::Stays),
        State::NotStarted if facts.databases.is_empty() => Way::Undo(Data::Stays),
        State::NotProven if facts.databases.is_empty() => Way::Undo(Data::Stays),
        State::NotProven => Way::Started,
        State::HalfDone | State::NotStarted if facts.opened == Opened::ByHand => Way::Started,
        State::HalfDone | State::NotStarted | State::RestoreHalfWay | State::SwapHalfWay => {
            put_back(facts)
        }
    }
}

fn put_back(facts: &Facts) -> Way {
    match facts.point {
        Point::There => Way::Undo(Data::PutBack),
        Point::LeftToOthers => Way::LeftToOthers,
        Point::None | Point::Lost => Way::Stuck(Stuck::NoWayBack),
    }
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;
