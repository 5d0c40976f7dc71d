//! Packages that must have one version are one upgrade: it begins when the last of them is in place,
//! and never with some of them.

use crate::config::Config;
use crate::error::{Error, Result};
use crate::layout::Layout;
use crate::outcome::Outcome;
use crate::package::candidate::{self, State};
use crate::package::equal::{self, Member};
use crate::version::Version;

use super::gate::{Failed, Pending};
use super::machine::Machine;

/// What keeps the set from being one version, configured throughout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfit {
    /// What is so, one line.
    pub why: String,
    /// The next action.
    pub hint: String,
}

/// Looks at the set; none where it is whole, or the packager names none.
///
/// The package that owns the packager's half may be half configured: its script is what waits for us.
pub fn look(layout: &Layout, config: &Config) -> Result<Option<Unfit>> {
    let names = &config.app.equal_versions;
    if names.is_empty() {
        return Ok(None);
    }
    let members = equal::look(layout.root(), names)?;
    if let Some(unfit) = unequal(&members) {
        return Ok(Some(unfit));
    }
    let owner = candidate::installed(layout).ok().map(|owner| owner.name);
    Ok(unfinished(&members, owner.as_deref()))
}

/// Says which members are behind, where any is.
pub fn unequal(members: &[Member]) -> Option<Unfit> {
    let behind = equal::behind(members);
    let newest = equal::newest(members).filter(|_| !behind.is_empty())?;
    let of = |all: &mut dyn Iterator<Item = &Member>| {
        let all: Vec<String> = all.map(|m| format!("{} {}", m.name, m.version)).collect();
        all.join(", ")
    };
    let ahead = of(&mut members.iter().filter(|m| m.version.order(newest).is_eq()));
    let names: Vec<&str> = behind.iter().map(|member| member.name.as_str()).collect();
    Some(Unfit {
        why: format!(
            "packages that must have one version do not: {ahead}, but {}",
            of(&mut behind.iter().copied())
        ),
        hint: format!("Install version {newest} of {} too.", names.join(", ")),
    })
}

fn unfinished(members: &[Member], owner: Option<&str>) -> Option<Unfit> {
    members.iter().find_map(|member| {
        let name = &member.name;
        let told = |why: &str, hint: &str| {
            Some(Unfit { why: format!("{name} {} {why}", member.version), hint: hint.into() })
        };
        match member.state {
            State::Whole => None,
            State::HalfConfigured if owner == Some(name) => None,
            State::HalfConfigured | State::Unpacked => {
                told("is not configured yet", "Run `dpkg --configure -a`.")
            }
            State::Twice => {
                told("is registered beside an older version", "Run `dnf remove --duplicates`.")
            }
        }
    })
}

/// Refuses to begin while the set is not whole.
pub fn admit(machine: &Machine) -> Result<()> {
    // Of a package that is not installed yet, the others are not either.
    if machine.looked_into.is_some() {
        return Ok(());
    }
    match look(&machine.layout, &machine.config)? {
        Some(unfit) => Err(Error::new(Outcome::Refused, unfit.why)
            .state("nothing was changed in any database")
            .hint(unfit.hint)),
        None => Ok(()),
    }
}

/// Refuses a run that was begun by the mark, and notes in the mark why.
pub fn admit_marked(machine: &Machine) -> Result<()> {
    let Err(error) = admit(machine) else { return Ok(()) };
    let Some(mark) = Pending::read(&machine.layout)? else { return Err(error) };
    note(&machine.layout, mark, &error.message())?;
    Err(error.state("nothing was changed in any database; the gate is closed"))
}

/// Notes what is waited for, so that status tells it; it does not hold the next attempt back.
pub fn note(layout: &Layout, mark: Pending, why: &str) -> Result<()> {
    let failed = Failed { outcome: Outcome::Refused.word().into(), message: why.to_owned() };
    Pending { failed: Some(failed), ..mark }.write(layout)
}

/// Returns the version that the set leads to: that of the newest member that is there.
pub fn target(layout: &Layout, names: &[String], installed: Version) -> Result<Version> {
    let members = equal::look(layout.root(), names)?;
    let newest = equal::newest(&members).cloned();
    Ok(newest.filter(|newest| newest.order(&installed).is_gt()).unwrap_or(installed))
}
