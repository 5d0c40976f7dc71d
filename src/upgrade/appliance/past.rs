//! What this system remembers of an attempt, and whether the disk still tells of it: between two stays
//! here, other systems have had the disk and written to it.

use super::state::{DiskState, DiskUpgrade, Phase};
use crate::error::Result;
use crate::migrations::DataState;
use crate::outcome::Outcome;
use crate::system::clock;
use crate::upgrade::gate::Pending;
use crate::upgrade::journal::{self, Direction, Record};
use crate::upgrade::machine::Machine;
use crate::upgrade::recover;
use crate::upgrade::rollback::order::Order;

/// Who has had the disk since this system took it last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Since {
    /// Nobody else, as far as anybody knows.
    Ours,
    /// Another system.
    Others,
}

/// Sets the memory of an attempt aside that the disk does not tell of any more: its restore point is
/// from before what others wrote. Returns whether there was one.
pub(super) fn set_aside(machine: &Machine, state: &DiskState, since: Since) -> Result<bool> {
    // A rollback that is under way goes by its order, and by the journal beside it.
    if !matches!(Order::read(&machine.layout), Ok(None)) {
        return Ok(false);
    }
    let last = journal::read(&machine.layout)?;
    let Some(last) = last.filter(|last| is_past(state, last, since)) else { return Ok(false) };
    machine.progress.note(&format!(
        "the data disk has been used by others since the attempt of {} here, which is history now",
        last.started
    ));
    forget(machine)?;
    Ok(true)
}

/// Forgets how the last attempt on this system failed; its record stays in the history.
///
/// The mark goes first: cut off in between, the record is still found to be of the past.
fn forget(machine: &Machine) -> Result<()> {
    if let Some(mark) = Pending::read(&machine.layout)? {
        // A package's script closes the gate for any disk; its failure is not tried again by itself.
        let failed = mark.failed.filter(|_| mark.family.is_some());
        Pending { failed, cut_off: None, stuck: None, ..mark }.write(&machine.layout)?;
    }
    recover::clear_stuck(machine);
    journal::set_aside(&machine.layout)
}

/// Returns whether the attempt is one that the disk does not tell of any more.
///
/// Each attempt at another version notes its restore point on the disk before it migrates; so one that
/// the disk does not name is over. A run of the very version that the data belongs to notes nothing.
fn is_past(state: &DiskState, last: &Record, since: Since) -> bool {
    let well = last.outcome.as_deref().and_then(Outcome::from_word) == Some(Outcome::Ok);
    let Some(upgrade) = state.upgrade.as_ref().filter(|_| !well && last.first_point().is_some())
    else {
        return false;
    };
    let open = matches!(upgrade.phase, Phase::Begun | Phase::Failed);
    // Going back names the attempt that it went back from, by its restore point.
    let went_back = open && since == Since::Others && last.direction == Direction::Back;
    if last.to.order(&state.version).is_eq() && !went_back {
        return since == Since::Others && is_older(last, upgrade);
    }
    match upgrade.phase {
        Phase::Begun | Phase::Failed => {
            let own = [&last.way_back, &last.restore_point];
            let mut told = [&upgrade.way_back, &upgrade.newest_point].into_iter();
            let known = told.any(|id| id.is_some() && own.contains(&id));
            // Somebody put it back, and from there on somebody may have written.
            let put_back = upgrade.data == Some(DataState::Unchanged);
            !known || (put_back && last.leads_back().is_some())
        }
        Phase::Prepared | Phase::Done | Phase::WentBack => true,
    }
}

/// Returns whether an upgrade was prepared, or came to its end, after this attempt had begun.
fn is_older(last: &Record, upgrade: &DiskUpgrade) -> bool {
    let told = match upgrade.phase {
        Phase::Begun | Phase::Failed => None,
        Phase::Prepared => upgrade.prepared.as_deref(),
        Phase::Done | Phase::WentBack => upgrade.finished.as_deref(),
    };
    let (began, told) = (clock::parse_rfc3339(&last.started), told.and_then(clock::parse_rfc3339));
    began.zip(told).is_some_and(|(began, told)| began <= told)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::version::Version;

    const BEGAN: &str = "2026-11-20T13:15:02Z";

    /// An attempt at version 2 that left its data half done, and leads back to `p1`.
    fn attempt(to: &str) -> Record {
        let new = Record::begun(Direction::Forward, "run".into(), BEGAN.into(), Version::new(to));
        Record {
            restore_point: Some("p1".into()),
            data: Some(DataState::Partly),
            outcome: Some(Outcome::MigrationFailed.word().into()),
            finished: Some(BEGAN.into()),
            ..new
        }
    }

    fn disk(version: &str, phase: Phase, way_back: Option<&str>) -> DiskState {
        let upgrade = DiskUpgrade {
            phase,
            to: Some(Version::new("2")),
            way_back: way_back.map(str::to_owned),
            finished: Some("2026-11-27T13:15:02Z".into()),
            ..DiskUpgrade::new(Version::new("1"))
        };
        let (app, version) = ("app".into(), Version::new(version));
        DiskState { format: 1, app, version, upgrade: Some(upgrade) }
    }

    #[test]
    fn an_attempt_is_past_where_the_disk_does_not_tell_of_it() {
        use Phase::{Begun, Done, Failed, Prepared, WentBack};
        for (phase, way_back, past) in [
            (Begun, Some("p1"), false),
            (Failed, Some("p1"), false),
            (Failed, Some("p2"), true),
            (Begun, None, true),
            (Prepared, None, true),
            (WentBack, Some("p1"), true),
        ] {
            for since in [Since::Ours, Since::Others] {
                let found = is_past(&disk("1", phase, way_back), &attempt("2"), since);
                assert_eq!(found, past, "{phase:?} {way_back:?} {since:?}");
            }
        }
        // The same version came to its end elsewhere; here it may have been run again since.
        let done = disk("2", Done, Some("p1"));
        assert!(is_past(&done, &attempt("2"), Since::Others));
        assert!(!is_past(&done, &attempt("2"), Since::Ours));
        let later = Record { started: "2026-11-28T00:00:00Z".into(), ..attempt("2") };
        assert!(!is_past(&done, &later, Since::Others));
    }

    #[test]
    fn an_attempt_in_place_of_one_that_is_half_done_is_not_past() {
        let next = Record {
            way_back: Some("p1".into()),
            restore_point: Some("p2".into()),
            ..attempt("3")
        };
        for told in ["p1", "p2"] {
            let state = disk("1", Phase::Failed, Some(told));
            assert!(!is_past(&state, &next, Since::Ours), "{told}");
        }
        // One of another system that went on from there, and does not know how it began.
        let fresh = Record { way_back: None, ..next.clone() };
        let mut state = disk("1", Phase::Failed, Some("p1"));
        assert!(is_past(&state, &fresh, Since::Ours));
        if let Some(upgrade) = &mut state.upgrade {
            upgrade.newest_point = Some("p2".into());
        }
        assert!(!is_past(&state, &fresh, Since::Ours));
        let mut back = disk("1", Phase::Failed, Some("p1"));
        if let Some(upgrade) = &mut back.upgrade {
            upgrade.data = Some(DataState::Unchanged);
        }
        assert!(is_past(&back, &next, Since::Ours), "somebody wrote since it was put back");
    }

    #[test]
    fn a_way_back_that_failed_is_past_once_the_disk_tells_of_another() {
        let back = Record { direction: Direction::Back, ..attempt("1") };
        for (told, since, past) in
            [("p1", Since::Others, false), ("p2", Since::Others, true), ("p2", Since::Ours, false)]
        {
            let state = disk("1", Phase::Failed, Some(told));
            assert_eq!(is_past(&state, &back, since), past, "{told} {since:?}");
        }
    }

    #[test]
    fn what_leads_nowhere_is_never_past() {
        let well = Record { outcome: Some(Outcome::Ok.word().into()), ..attempt("2") };
        let without = Record { restore_point: None, ..attempt("2") };
        for last in [well, without] {
            assert!(!is_past(&disk("1", Phase::WentBack, None), &last, Since::Others));
        }
        let state = DiskState { upgrade: None, ..disk("1", Phase::Done, None) };
        assert!(!is_past(&state, &attempt("2"), Since::Others));
    }
}
