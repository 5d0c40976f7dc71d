//! What a rollback would do, looked at and told before anything changes.

use std::path::Path;

use crate::config::ForeignSessions;
use crate::database::Database;
use crate::database::clients::Clients;
use crate::database::lacking::Owners;
use crate::error::{Error, Result};
use crate::outcome::Outcome;
use crate::package::candidate::{self, Installed};
use crate::restore_points::{
    self, Entry, Kind, Loss, Origin, Override, RestoreOptions, RestorePoint, Status,
};
use crate::version::Version;

use super::super::external;
use super::super::gate::Pending;
use super::super::identity::must_open;
use super::super::journal::{self, Record};
use super::super::machine::{Machine, typed};
use super::super::tree;
use super::data;
use super::older::Older;
use super::order::{Keep, Order, Wish};
use super::present::{self, Copy, Half, Present, Road};
use super::source::{self, Source};
use super::ways::{Recorded, Way};

/// What was asked for.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'w> {
    /// The file of the older package.
    pub package: Option<&'w Path>,
    /// The version to go back to.
    pub to: Option<&'w Version>,
    /// Whether the present state is kept first.
    pub copy: Copy,
}

impl Wanted<'_> {
    /// Returns it as it would be typed for that version.
    pub fn typed(&self, to: &Version) -> String {
        let file = self.package.map(|file| format!(" --package {}", typed(file)));
        let copy = match self.copy {
            Copy::WhereWritten => "",
            Copy::LeftOut => " --no-copy",
        };
        format!("rollback --to {to}{}{copy}", file.unwrap_or_default())
    }
}

/// What a rollback would do.
pub struct Outlook {
    /// Version that is installed.
    pub from: Version,
    /// Version that it leads to.
    pub to: Version,
    /// Name of the application or its package.
    pub name: String,
    /// Where the older version is.
    pub older: Older,
    /// The restore point that is put back; none where the data is as that version knows it.
    pub point: Option<RestorePoint>,
    /// What that takes away, per database.
    pub lost: Vec<Loss>,
    /// What becomes of the present data.
    pub present: Present,
    /// Databases of which nothing would be kept, because they are restored in place.
    pub in_place: Vec<String>,
    /// Units that run now, in stop order.
    pub up: Vec<String>,
    /// Units that run again at the end.
    pub running: Vec<String>,
}

/// Everything that any run has recorded, newest first.
fn runs(machine: &Machine) -> Result<Vec<Record>> {
    let mut runs = journal::history(&machine.layout)?;
    // The last one is not in the history while it has not ended, or was killed.
    if let Some(last) = journal::read(&machine.layout)?
        && runs.iter().all(|run| run.run != last.run)
    {
        runs.insert(0, last);
    }
    Ok(runs)
}

fn points(machine: &Machine) -> Result<Vec<(String, Version)>> {
    let Some(store) = machine.stored()? else { return Ok(Vec::new()) };
    let known = |entry: Entry| {
        // What a step left holds some of the databases only.
        let own = entry.status == Status::Good && entry.origin == Origin::Own;
        let whole = own && entry.leads_back();
        Some((entry.id, entry.manifest.filter(|_| whole)?.from_version?))
    };
    Ok(store.list()?.into_iter().filter_map(known).collect())
}

/// Looks at the way back; changes nothing.
pub fn look(machine: &Machine, wanted: &Wanted<'_>) -> Result<Outlook> {
    let layout = &machine.layout;
    let installed = installed(machine)?;
    let named = named(wanted.package, installed.as_ref())?;
    let version = wanted.to.or(named.as_ref().map(|(_, version)| version));
    let mark = Pending::read(layout)?;
    let (runs, points) = (runs(machine)?, points(machine)?);
    let recorded =
        Recorded { installed: &machine.version, mark: mark.as_ref(), runs: &runs, points: &points };
    let way = recorded.way(version)?;
    if let Some((Source::Named(file), version)) = &named
        && !version.order(&way.to).is_eq()
    {
        let message = format!("{} is version {version}, not {}", file.display(), way.to);
        return Err(Error::new(Outcome::Usage, message).state("nothing was changed"));
    }
    let point = point(machine, &way, mark.is_some(), wanted)?;
    let id = point.as_ref().map(RestorePoint::id);
    let name =
        installed.as_ref().map_or(layout.app(), |installed| installed.name.as_str()).to_owned();
    let older = match installed {
        None => Older::Tree(tree::back::find(machine, &way.to)?),
        Some(installed) => {
            let found = match named {
                Some((source, _)) => Ok(source),
                None => source::look(layout, &installed, &way.to)?,
            };
            let source = found.map_err(|lack| source::lacking(&name, &way.to, id, &lack))?;
            Older::Package(installed, source)
        }
    };
    let units = machine.services.look(&machine.config.app.services)?;
    let up: Vec<String> = units.iter().filter(|u| u.is_up()).map(|u| u.name.clone()).collect();
    let running = mark.as_ref().and_then(|mark| mark.running.clone()).unwrap_or(up.clone());
    let (lost, present, in_place) = match &point {
        Some(point) => loss(machine, point, wanted.copy)?,
        None => (Vec::new(), Present::Unwritten, Vec::new()),
    };
    let (from, to) = (machine.version.clone(), way.to);
    Ok(Outlook { from, to, name, older, point, lost, present, in_place, up, running })
}

/// Returns the installed package; none where no package tool installs the application.
fn installed(machine: &Machine) -> Result<Option<Installed>> {
    if machine.tree.is_some() {
        return Ok(None);
    }
    candidate::installed(&machine.layout).map(Some).map_err(|error| {
        let restore = machine.command("restore ID");
        error.hint(format!("The data alone comes back with `{restore}`."))
    })
}

/// Takes the file that the operator named.
fn named(file: Option<&Path>, installed: Option<&Installed>) -> Result<Option<(Source, Version)>> {
    match (file, installed) {
        (None, _) => Ok(None),
        (Some(file), Some(installed)) => source::named(file, installed).map(Some),
        (Some(_), None) => {
            let message = "there is no package: the application comes from its own tree";
            let error = Error::new(Outcome::Usage, message).state("nothing was changed");
            Err(error.hint("Leave `--package` out."))
        }
    }
}

/// Returns the restore point that has to be put back; none where the data is as it was.
fn point(
    machine: &Machine,
    way: &Way<'_>,
    marked: bool,
    wanted: &Wanted<'_>,
) -> Result<Option<RestorePoint>> {
    let found = match &way.point {
        Some(id) => machine.stored()?.map(|store| store.find(id)),
        None => None,
    };
    let at_hand = found.as_ref().and_then(|found| found.as_ref().ok());
    // Put off, and never tried: nothing has touched the data.
    let never_tried = way.run.is_none() && marked;
    if never_tried || data::is_as_before(machine, way.run, at_hand)? {
        return Ok(None);
    }
    let Some(point) = found.transpose()? else {
        let message = format!("there is no restore point with the data of version {}", way.to);
        return Err(Error::new(Outcome::Refused, message)
            .detail("the schema is not the one that version needs")
            .state("nothing was changed")
            .hint(
                "Look at `openwatch backup list`, and name another version with `--to VERSION`.",
            ));
    };
    must_open(machine, &point, &wanted.typed(&way.to))?;
    if external::is_left_to_others(machine, &point) {
        let what = external::way_back(machine, point.id());
        let message = format!("the data of version {} is not ours to put back", way.to);
        return Err(Error::new(Outcome::Refused, message)
            .state("nothing was changed")
            .hint(format!("Set restore_command, or {what}, then install {} yourself.", way.to)));
    }
    Ok(Some(point))
}

fn loss(
    machine: &Machine,
    point: &RestorePoint,
    copy: Copy,
) -> Result<(Vec<Loss>, Present, Vec<String>)> {
    let held = |name: &str| point.manifest().databases.iter().any(|a| a.name == name);
    let all = machine.databases.iter().map(|shipped| &shipped.database);
    let databases: Vec<&Database> = all.filter(|database| held(database.name())).collect();
    let lost = databases
        .iter()
        .map(|database| point.loss(database, machine.clock))
        .collect::<Result<Vec<_>>>()?;
    let in_place = in_place(machine, point, &databases)?;
    let road = Road::of(machine, point, &databases)?;
    let present = Present::decide(copy, &lost, &in_place, Half::of(machine, point)?, road);
    Ok((lost, present, in_place))
}

/// Returns the databases that could not be kept under another name.
fn in_place(
    machine: &Machine,
    point: &RestorePoint,
    databases: &[&Database],
) -> Result<Vec<String>> {
    if point.manifest().kind == Kind::External {
        return Ok(Vec::new());
    }
    let options = RestoreOptions {
        foreign: Override::No,
        sessions: ForeignSessions::End,
        owners: Owners::Kept,
        clock: machine.clock,
        clients: Clients::default(),
    };
    restore_points::check(point, databases, &options)
}

const fn kept(present: Present) -> Keep {
    match present {
        Present::Copied => Keep::Copy,
        Present::Absent
        | Present::Unwritten
        | Present::HalfMigrated
        | Present::LeftOut
        | Present::Beside => Keep::Nothing,
    }
}

/// Decides how the present state is kept, by what is so now: the order may have waited for a boot, or for
/// the package tool, with the services at work. What was to be kept is.
pub fn decide_again(machine: &Machine, order: &mut Order) -> Result<()> {
    let Some(id) = order.point.as_ref().filter(|_| !order.data_is_back()) else {
        return Ok(());
    };
    if order.copy == Keep::Copy || order.wish == Wish::NoCopy {
        return Ok(());
    }
    // One that is gone is told by the restore.
    let Some(point) = machine.stored()?.and_then(|store| store.find(id).ok()) else {
        return Ok(());
    };
    let held = |name: &str| point.manifest().databases.iter().any(|a| a.name == name);
    let all = machine.databases.iter().map(|shipped| &shipped.database);
    let databases: Vec<&Database> = all.filter(|database| held(database.name())).collect();
    let there = present::there(&databases)?;
    let lost = there
        .iter()
        .map(|database| point.loss(database, machine.clock))
        .collect::<Result<Vec<_>>>()?;
    let in_place = in_place(machine, &point, &there)?;
    let (half, road) = (Half::of(machine, &point)?, Road::of(machine, &point, &databases)?);
    let present = Present::decide(Copy::WhereWritten, &lost, &in_place, half, road);
    (order.copy, order.beside) = (kept(present), present == Present::Beside);
    Ok(())
}

impl Outlook {
    /// Returns whether something would be lost that somebody may have written.
    pub fn takes_away(&self) -> bool {
        match self.present {
            Present::Absent | Present::Unwritten | Present::HalfMigrated => false,
            Present::LeftOut | Present::Copied | Present::Beside => true,
        }
    }

    /// Says what would happen.
    pub fn told(&self) -> Vec<String> {
        let (name, from, to) = (&self.name, &self.from, &self.to);
        let mut lines = vec![format!("{name} {from} -> {to}, {}", self.older.told())];
        match &self.point {
            Some(point) => {
                lines.push(format!("data: restore point {}", point.id()));
                lines.extend(self.lost.iter().map(Loss::told));
                lines.extend(self.present.told(&self.in_place));
            }
            None => lines.push(format!("data: is as version {to} knows it, nothing is lost")),
        }
        let units =
            |names: &[String]| if names.is_empty() { "none".into() } else { names.join(", ") };
        lines.push(format!("units: stop {}; start {}", units(&self.up), units(&self.running)));
        lines
    }

    /// Makes the order, with the package brought where nothing takes it away; changes nothing else.
    pub fn order(&self, machine: &Machine) -> Result<Order> {
        let installed = self.older.package();
        let program = self.older.bring(&machine.layout, &self.to)?;
        Ok(Order {
            package: installed.map(|installed| installed.name.clone()),
            family: installed.map(|installed| installed.family),
            point: self.point.as_ref().map(|point| point.id().to_owned()),
            copy: kept(self.present),
            wish: match self.present {
                Present::LeftOut => Wish::NoCopy,
                Present::Absent
                | Present::Unwritten
                | Present::HalfMigrated
                | Present::Copied
                | Present::Beside => Wish::Unsaid,
            },
            beside: self.present == Present::Beside,
            running: self.running.clone(),
            ..Order::new(machine, &self.to, program)
        })
    }
}
