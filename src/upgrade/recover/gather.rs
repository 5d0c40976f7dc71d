//! Collects the facts: the journal is asked what was attempted, the machine what is so.

use std::collections::BTreeMap;

use crate::database::Database;
use crate::error::Result;
use crate::migrations::{DataState, ProblemKind};
use crate::outcome::Outcome;
use crate::restore_points::{Kind, RestorePoint};
use crate::upgrade::external;
use crate::upgrade::gate::Pending;
use crate::upgrade::journal::{self, Direction, Record, When};
use crate::upgrade::machine::Machine;
use crate::upgrade::step::Step;
use crate::upgrade::survey::{Survey, Surveyed};
use crate::version::Version;

use super::facts::{Changed, Count, Facts, Gate, Opened, Point, Restoring, Run, Standing, Units};
use super::world::{self, DatabaseWorld, Now, OwnRestore};

/// Looks at what the last run left; returns its record too.
pub(super) fn facts(machine: &Machine, survey: &Survey<'_>) -> Result<(Facts, Option<Record>)> {
    let last = journal::read(&machine.layout)?;
    let mark = survey.pending.as_ref();
    let mut facts = Facts {
        run: run(last.as_ref(), &machine.version),
        direction: last.as_ref().map_or(Direction::Forward, |record| record.direction),
        reached: last.as_ref().and_then(|record| reached(record, mark)),
        restoring: last.as_ref().map_or(Restoring::No, restoring),
        databases: Vec::new(),
        gate: if mark.is_some() { Gate::Closed } else { Gate::Open },
        opened: match last.as_ref().is_some_and(|record| record.opened.is_some()) {
            true => Opened::ByHand,
            false => Opened::Never,
        },
        units: match survey.units.iter().any(|unit| unit.is_up()) {
            true => Units::Up,
            false => Units::Down,
        },
        point: Point::None,
        changed: Changed::default(),
        cut_off: Count {
            happened: mark.and_then(|m| m.cut_off.as_ref()).map_or(0, |cut_off| cut_off.count),
            allowed: machine.config.policy.attempts,
        },
        stuck: mark.and_then(|mark| mark.stuck),
        on_failure: machine.config.policy.on_failure,
    };
    if let Some(record) = last.as_ref().filter(|_| matches!(facts.run, Run::Failed | Run::CutOff)) {
        let found = find_point(machine, record);
        let now = look(survey, record)?;
        facts.databases = survey
            .databases
            .iter()
            .filter_map(|d| standing(record, d, found.as_ref(), facts.restoring))
            .collect();
        facts.point = point(machine, record, found.as_ref(), &facts)?;
        if let Some(then) = &record.world {
            let own = match (facts.restoring, record.is_put_back()) {
                (Restoring::No, false) => OwnRestore::No,
                (Restoring::Begun | Restoring::Done, _) | (_, true) => OwnRestore::Begun,
            };
            facts.changed = world::changes(then, &machine.version, &now, own);
        }
    }
    Ok((facts, last))
}

pub(super) fn run(last: Option<&Record>, installed: &Version) -> Run {
    let Some(record) = last else { return Run::Unknown };
    match record.outcome.as_deref().and_then(Outcome::from_word) {
        Some(Outcome::Ok) => Run::Well,
        // Its units ran on whole data, and nobody asks for its health any more.
        _ if record.is_overtaken(installed) => Run::Well,
        _ if record.was_cut_off() => Run::CutOff,
        _ => Run::Failed,
    }
}

/// The last mark. A start that was begun opened the gate: where a younger mark has closed it again,
/// the units had been let run.
fn reached(record: &Record, mark: Option<&Pending>) -> Option<(Step, When)> {
    let last = record.marks.last()?;
    let closed_again = mark.is_some_and(|mark| mark.since > last.at);
    match (last.step, last.when) {
        (Step::Start, When::Begun) if closed_again => Some((Step::Start, When::Done)),
        reached => Some(reached),
    }
}

/// Whether the record tells of a restore of its own.
pub(super) fn restoring(record: &Record) -> Restoring {
    let last = record.marks.iter().rev().find(|mark| mark.step == Step::Restore);
    match last.map(|mark| mark.when) {
        None => Restoring::No,
        // It ended in vain, and a person has put the data back since.
        Some(When::Begun) if record.data == Some(DataState::Unchanged) => Restoring::Done,
        Some(When::Begun) => Restoring::Begun,
        Some(When::Done) => Restoring::Done,
    }
}

fn look(survey: &Survey<'_>, record: &Record) -> Result<BTreeMap<String, Now>> {
    let Some(then) = &record.world else { return Ok(BTreeMap::new()) };
    let mut now = BTreeMap::new();
    for surveyed in &survey.databases {
        let name = surveyed.database.name();
        if let Some(known) = then.databases.get(name) {
            now.insert(name.to_owned(), world::look(known, surveyed)?);
        }
    }
    Ok(now)
}

/// Where a database stands against the run; none where nothing was to be done to it.
fn standing(
    record: &Record,
    surveyed: &Surveyed<'_>,
    point: Option<&RestorePoint>,
    restoring: Restoring,
) -> Option<Standing> {
    let name = surveyed.database.name();
    let found = &surveyed.comparison;
    let known = record.world.as_ref().and_then(|world| world.databases.get(name));
    if known.is_some_and(|known| known.pending.is_empty() && *known.before() == known.start) {
        return None;
    }
    // A clone that was put back is the database now, and nothing is left of its point.
    let as_kept = match point {
        Some(point) => head_of(point, name).is_some_and(|head| head == found.current),
        None => is_before(record, known, surveyed),
    };
    if restoring == Restoring::Begun
        && known.is_some_and(|known| known.identity != surveyed.facts.identity)
        && as_kept
    {
        return Some(Standing::PutBack);
    }
    let of_database = |when| {
        let begins = |note: &str| note.strip_prefix(name).is_some_and(|rest| rest.starts_with(':'));
        record.marks.iter().any(|m| m.step == Step::Migrate && m.when == when && begins(&m.note))
    };
    let doubtful = found.problems.iter().any(|p| p.kind == ProblemKind::Indeterminate);
    let by_tool = surveyed.shipped.command().is_some();
    Some(match (of_database(When::Begun), of_database(When::Done)) {
        // Which version a tool says it is at does not tell what it left half done, in this attempt
        // or in one before.
        (true, false) if by_tool || doubtful => Standing::Doubtful,
        (false, _) if by_tool && record.found_half_done() => Standing::Doubtful,
        (false, _) if by_tool => Standing::Before,
        (_, true) if by_tool => Standing::After,
        _ if doubtful => Standing::Doubtful,
        _ if is_before(record, known, surveyed) => Standing::Before,
        _ if found.pending.is_empty() => Standing::After,
        _ => Standing::Between,
    })
}

fn is_before(record: &Record, known: Option<&DatabaseWorld>, surveyed: &Surveyed<'_>) -> bool {
    let found = &surveyed.comparison;
    match known {
        Some(known) => {
            let before = known.before();
            before.head == found.current
                && (before.digest.is_none() || before.applied == found.applied)
        }
        // Written by an older version.
        None => {
            let baseline = record.baseline.as_ref();
            let before = baseline.and_then(|all| all.databases.get(surveyed.database.name()));
            before.is_some_and(|before| before.schema == found.current)
        }
    }
}

/// The schema that a database had when the point was made; none where the point does not hold it.
fn head_of(point: &RestorePoint, name: &str) -> Option<Option<String>> {
    let archives = &point.manifest().databases;
    let own = archives.iter().find(|archive| archive.name == name)?;
    Some(own.schema.head.clone())
}

fn find_point(machine: &Machine, record: &Record) -> Option<RestorePoint> {
    let id = record.first_point()?;
    machine.stored().ok().flatten()?.find(id).ok()
}

fn point(
    machine: &Machine,
    record: &Record,
    found: Option<&RestorePoint>,
    facts: &Facts,
) -> Result<Point> {
    if record.first_point().is_none() {
        return Ok(Point::None);
    }
    let Some(point) = found else { return Ok(Point::Lost) };
    if external::is_left_to_others(machine, point) {
        return Ok(Point::LeftToOthers);
    }
    if point.manifest().kind == Kind::Clone {
        // A clone that was put back has become the database; the others must be there.
        let databases: Vec<&Database> = machine.databases.iter().map(|d| &d.database).collect();
        let back = facts.databases.iter().filter(|found| **found == Standing::PutBack).count();
        let there = point.clones_there(&databases)?.len();
        if there + back < point.manifest().databases.len() {
            return Ok(Point::Lost);
        }
    }
    Ok(Point::There)
}
