//! Looks at the machine once, read-only, before anything is decided.

use std::collections::HashSet;

use crate::config::{Method, Policy};
use crate::database::clients::{Client, Clients};
use crate::database::dumpable::{self, Undumpable};
use crate::database::facts::{self, Facts};
use crate::database::{Database, DatabaseLock, Session};
use crate::error::Result;
use crate::migrations::{self, Chain, Comparison, HistoryPrint, State};
use crate::services::Unit;
use crate::version::Version;

use super::gate::Pending;
use super::journal::{self, Record};
use super::machine::{Machine, Shipped};

/// What was found; every decision rests on this and on nothing else.
pub struct Survey<'m> {
    /// Version of the installed package.
    pub version: Version,
    /// Version that was there before, where anything knows it.
    pub from: Option<Version>,
    /// The pending mark, where there is one.
    pub pending: Option<Pending>,
    /// The last run, where it never ended.
    pub interrupted: Option<Record>,
    /// The restore point from before earlier attempts, where they left the data half done.
    pub way_back: Option<String>,
    /// When the gate was opened by hand over what they left; RFC 3339.
    pub opened: Option<String>,
    /// Units that the last run was starting when it was killed, also where another version has taken
    /// its place since.
    pub left_down: Vec<String>,
    /// The application's units, in stop order.
    pub units: Vec<Unit>,
    /// Each database.
    pub databases: Vec<Surveyed<'m>>,
}

/// What was found of one database.
pub struct Surveyed<'m> {
    /// The database.
    pub database: &'m Database,
    /// What the installed package ships.
    pub shipped: &'m Chain,
    /// What the server says of itself.
    pub facts: Facts,
    /// Applied against shipped.
    pub comparison: Comparison,
    /// By what its history is known again.
    pub history: HistoryPrint,
    /// What a dump by this role would miss or trip over.
    pub unreadable: Vec<Undumpable>,
    /// What it would leave out without an error.
    pub left_out: Vec<String>,
    /// The client that would dump, with a warning, or why there is none; none where no dump is due.
    pub client: Option<Result<(Client, Option<String>)>>,
}

impl Survey<'_> {
    /// Returns the units that ran when the first attempt began.
    pub fn running(&self) -> Vec<String> {
        let marked = self.pending.as_ref().and_then(|mark| mark.running.clone());
        // Killed between opening the gate and the end: the mark is gone, the record is not.
        let recorded = || match self.pending {
            Some(_) => None,
            None => self.interrupted.as_ref().map(|record| record.running.clone()),
        };
        marked.or_else(recorded).unwrap_or_else(|| {
            let ran = |unit: &&Unit| unit.is_up() || self.left_down.contains(&unit.name);
            self.units.iter().filter(ran).map(|unit| unit.name.clone()).collect()
        })
    }

    /// Keeps the texts of what is pending, so that the run needs no file of the package any more.
    pub fn keep_pending(&self) -> Result<()> {
        self.databases
            .iter()
            .try_for_each(|surveyed| surveyed.shipped.keep(&pending_versions(&surveyed.comparison)))
    }

    /// Returns whether any database needs migrations.
    pub fn has_pending(&self) -> bool {
        self.databases.iter().any(|d| {
            let state = d.comparison.state;
            matches!(state, State::Pending | State::Empty | State::Unknown) && d.has_work()
        })
    }

    /// Returns whether every database is exactly as the installed package needs it.
    pub fn is_current(&self) -> bool {
        self.databases
            .iter()
            .all(|d| d.comparison.state == State::Current || !d.comparison.has_work_or_problem())
    }
}

/// Returns the versions that are applied: those shipped that are not pending.
pub fn applied_versions(shipped: &Chain, comparison: &Comparison) -> Vec<String> {
    let pending = pending_versions(comparison);
    let all = shipped.migrations.iter().map(|migration| migration.version.as_str());
    all.filter(|version| !pending.contains(version)).map(str::to_owned).collect()
}

fn pending_versions(comparison: &Comparison) -> HashSet<&str> {
    comparison.pending.iter().map(|pending| pending.version.as_str()).collect()
}

impl Surveyed<'_> {
    /// Returns the versions that are applied.
    pub fn applied_versions(&self) -> Vec<String> {
        applied_versions(self.shipped, &self.comparison)
    }

    fn has_work(&self) -> bool {
        !self.comparison.pending.is_empty()
    }
}

/// What the look is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Purpose {
    /// To tell what is so; nothing is asked about dumping.
    Telling,
    /// To plan what would be done.
    Planning,
    /// To do it, under locks that are taken next.
    Doing,
    /// To tell whether the next upgrade could dump, although nothing may be pending.
    Foreseeing,
}

/// How long the check before unpacking waits: in a run that also upgrades the server, the database
/// is always down at that time (measured), and waiting longer would only delay the run.
const SHORT_WAIT: std::time::Duration = std::time::Duration::from_secs(3);

/// Looks at everything; waits a bounded time for databases that are away.
pub fn take<'m>(machine: &'m Machine, from: Option<&Version>) -> Result<Survey<'m>> {
    let wait = machine.config.policy.database_wait;
    look_at_all(machine, from, Purpose::Planning, wait).map(|(survey, _)| survey)
}

/// The same, with the session of each database, for the locks that are taken next, and with one begun for
/// each lock.
pub(super) fn take_to_lock<'m>(
    machine: &'m Machine,
    from: Option<&Version>,
) -> Result<(Survey<'m>, Vec<Session>)> {
    let wait = machine.config.policy.database_wait;
    look_at_all(machine, from, Purpose::Doing, wait)
}

/// Looks at what is so at this instant: waits for nothing, and asks nothing about dumping.
pub fn take_now(machine: &Machine) -> Result<Survey<'_>> {
    let looked = look_at_all(machine, None, Purpose::Telling, std::time::Duration::ZERO);
    looked.map(|(survey, _)| survey)
}

/// Looks at everything that the next upgrade will need, whether or not anything is pending now.
pub fn take_for_next(machine: &Machine) -> Result<Survey<'_>> {
    let wait = SHORT_WAIT.min(machine.config.policy.database_wait);
    look_at_all(machine, None, Purpose::Foreseeing, wait).map(|(survey, _)| survey)
}

fn look_at_all<'m>(
    machine: &'m Machine,
    from: Option<&Version>,
    purpose: Purpose,
    wait: std::time::Duration,
) -> Result<(Survey<'m>, Vec<Session>)> {
    let pending = Pending::read(&machine.layout)?;
    let last = journal::read(&machine.layout)?;
    let units = machine.services.look(&machine.config.app.services)?;
    let looks = machine.databases.iter().map(|shipped| look(machine, shipped, purpose, wait));
    let (databases, sessions): (Vec<_>, Vec<_>) = looks.collect::<Result<_>>()?;
    let starting = last.as_ref().and_then(Record::was_starting);
    let left_down = starting.map(<[String]>::to_vec).unwrap_or_default();
    let last = last.filter(|record| !record.is_overtaken(&machine.version));
    let way_back = way_back(last.as_ref(), &databases);
    let chained = last.as_ref().filter(|_| way_back.is_some());
    let opened = chained.and_then(|record| record.opened.clone());
    let interrupted = last.filter(|record| record.finished.is_none());
    let from = from
        .cloned()
        .or_else(|| pending.as_ref().and_then(|mark| mark.from.clone()))
        .or_else(|| interrupted.as_ref().and_then(|record| record.from.clone()))
        // A package that is not installed yet would be installed over this one.
        .or_else(|| machine.looked_into.as_ref()?.installed.clone());
    let version = machine.version.clone();
    let survey = Survey {
        version,
        from,
        pending,
        interrupted,
        way_back,
        opened,
        left_down,
        units,
        databases,
    };
    Ok((survey, sessions))
}

/// Returns the restore point from before earlier attempts, where the last one left the data half done.
///
/// Of a run that was killed nobody noted that; files tell by their history, a tool may have left
/// anything.
fn way_back(last: Option<&Record>, databases: &[Surveyed<'_>]) -> Option<String> {
    let last = last?;
    let before = |name: &str| Some(&last.baseline.as_ref()?.databases.get(name)?.schema);
    let touched = |d: &Surveyed<'_>| {
        d.shipped.command().is_some()
            || !d.comparison.problems.is_empty()
            || d.comparison.begun
            || before(d.database.name()).is_none_or(|schema| *schema != d.comparison.current)
    };
    // What an earlier attempt left half done stays so when a later one is killed before its first mark.
    let half = last.data.is_some() || last.way_back.is_some() || databases.iter().any(touched);
    last.leads_back().filter(|_| half).map(str::to_owned)
}

fn look<'m>(
    machine: &'m Machine,
    shipped: &'m Shipped,
    purpose: Purpose,
    wait: std::time::Duration,
) -> Result<(Surveyed<'m>, Session)> {
    let database = &shipped.database;
    let mut session = machine.connect_waiting(database, wait)?;
    let (comparison, history) = migrations::look_and_print(&mut session, &shipped.migrations)?;
    if purpose == Purpose::Doing && comparison.has_work_or_problem() {
        DatabaseLock::begin(database);
    }
    let server = facts::facts(&mut session)?;
    // Only a run that will dump needs to know whether a dump would work.
    let dumps = match purpose {
        Purpose::Telling => false,
        Purpose::Planning | Purpose::Doing => will_dump(&machine.config.policy, &comparison),
        Purpose::Foreseeing => dumps(&machine.config.policy) && comparison.state != State::Empty,
    };
    let (unreadable, left_out) = match dumps {
        true => (dumpable::undumpable(&mut session)?, dumpable::left_out(&mut session)?),
        false => (Vec::new(), Vec::new()),
    };
    let client =
        (dumps && database.file().is_none()).then(|| Clients::default().choose(server.major));
    let surveyed = Surveyed {
        database,
        shipped: &shipped.migrations,
        facts: server,
        comparison,
        history,
        unreadable,
        left_out,
        client,
    };
    Ok((surveyed, session))
}

/// Returns whether restore points are dumps, at once or made from a clone.
fn dumps(policy: &Policy) -> bool {
    policy.auto_backup && policy.restore_point.method != Method::External
}

/// Returns whether this database will be dumped before it is migrated.
pub fn will_dump(policy: &Policy, comparison: &Comparison) -> bool {
    dumps(policy) && comparison.state != State::Empty && !comparison.pending.is_empty()
}
