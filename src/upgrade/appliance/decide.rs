//! What a system that finds the disk is to do: pure, from what the disk says and what is installed.

use super::state::{DiskState, DiskUpgrade, Phase};
use crate::error::Error;
use crate::outcome::Outcome;
use crate::upgrade::gate::Pending;
use crate::upgrade::machine::Machine;
use crate::version::Version;

/// What is to be done.
#[derive(Clone, Debug, PartialEq)]
pub enum Arrival {
    /// The data is that of the installed version.
    Home,
    /// It was prepared for the installed version, which goes forward, or goes on.
    Forward,
    /// The installed version has tried and failed.
    Tried,
    /// The data is that of another version, and nobody prepared it for this one.
    Unprepared,
    /// Another version has tried, and did not get to its end: back to where it began.
    Back(Box<DiskUpgrade>),
    /// Another version has the data now, proved healthy: going back loses what it wrote.
    Newer(Box<DiskUpgrade>),
}

/// Decides.
pub fn arrival(mine: &Version, state: Option<&DiskState>, mark: Option<&Pending>) -> Arrival {
    let Some(state) = state else { return Arrival::Home };
    let same = |version: &Version| version.order(mine).is_eq();
    let home = same(&state.version);
    // A package tool upgrades this very system, and its scripts have closed the gate.
    let by_package = mark.is_some_and(|mark| mark.family.is_some() && same(&mark.to));
    let Some(upgrade) = &state.upgrade else {
        return if home { Arrival::Home } else { unprepared(by_package) };
    };
    let for_me = upgrade.to.as_ref().is_none_or(same);
    match (upgrade.phase, home) {
        (Phase::Prepared | Phase::Done | Phase::WentBack, true) => Arrival::Home,
        (Phase::Begun | Phase::Failed, true) if upgrade.to.as_ref().is_some_and(same) => {
            Arrival::Home
        }
        (Phase::Begun | Phase::Failed, true) => Arrival::Back(Box::new(upgrade.clone())),
        (Phase::Prepared | Phase::Begun, false) if for_me => Arrival::Forward,
        (Phase::Failed, false) if for_me => Arrival::Tried,
        (Phase::Done, false) if same(&upgrade.from) => Arrival::Newer(Box::new(upgrade.clone())),
        (Phase::Prepared | Phase::Begun | Phase::Failed | Phase::Done | Phase::WentBack, false) => {
            unprepared(by_package)
        }
    }
}

const fn unprepared(by_package: bool) -> Arrival {
    if by_package { Arrival::Forward } else { Arrival::Unprepared }
}

impl Arrival {
    /// Returns the word for JSON.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Home => "home",
            Self::Forward => "forward",
            Self::Tried => "tried",
            Self::Unprepared => "unprepared",
            Self::Back(_) => "back",
            Self::Newer(_) => "newer",
        }
    }

    /// Says why nothing is done by itself.
    pub(super) fn refusal(&self, machine: &Machine, state: Option<&DiskState>) -> Error {
        let data = state.map_or("another version".to_owned(), |state| state.version.to_string());
        let upgrade = state.and_then(|state| state.upgrade.as_ref());
        let retry = machine.command("upgrade --retry");
        let undo = machine.command("upgrade --undo");
        let mine = &machine.version;
        let error = match self {
            Self::Tried => Error::new(
                Outcome::Refused,
                format!("the upgrade to {mine} failed on this disk and is not tried again by itself"),
            )
            .hint(format!(
                "Give the disk back to the system of version {data}, which puts its data back by \
                 itself; to try again here, run `{retry}`."
            )),
            Self::Newer(upgrade) => Error::new(
                Outcome::Refused,
                format!("the data disk holds data of version {data}, and {mine} is installed"),
            )
            .detail(match &upgrade.way_back {
                Some(id) => format!("restore point {id} leads back to {mine}"),
                None => "no restore point leads back".to_owned(),
            })
            .hint(format!(
                "Give the disk back to version {data}; to go back and lose what it wrote, run `{undo}`."
            )),
            Self::Unprepared | Self::Home | Self::Forward | Self::Back(_) => Error::new(
                Outcome::Refused,
                format!("the data disk holds data of version {data}, not prepared for {mine}"),
            )
            .hint(format!(
                "Prepare it there with `{}`; to upgrade it all the same, run `{retry}`.",
                machine.command("upgrade --prepare")
            )),
        };
        let error = upgrade.iter().fold(error, |error, upgrade| {
            let why = upgrade.message.as_ref().map_or(String::new(), |why| format!(": {why}"));
            error.detail(format!("{}{why}", upgrade.told()))
        });
        error.state("nothing was changed; the gate is closed")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::package::Family;
    use crate::system::clock::Clock;

    fn state(version: &str, upgrade: Option<(Phase, &str, Option<&str>)>) -> DiskState {
        let upgrade = upgrade.map(|(phase, from, to)| DiskUpgrade {
            phase,
            to: to.map(Version::new),
            ..DiskUpgrade::new(Version::new(from))
        });
        DiskState { format: 1, app: "app".into(), version: Version::new(version), upgrade }
    }

    #[test]
    fn each_state_of_the_disk_says_what_each_version_does() {
        use Phase::{Begun, Done, Failed, Prepared, WentBack};
        for (data, upgrade, old, new) in [
            ("1", None, "home", "unprepared"),
            ("1", Some((Prepared, "1", Some("2"))), "home", "forward"),
            ("1", Some((Prepared, "1", None)), "home", "forward"),
            ("1", Some((Prepared, "1", Some("3"))), "home", "unprepared"),
            ("1", Some((Begun, "1", Some("2"))), "back", "forward"),
            ("1", Some((Failed, "1", Some("2"))), "back", "tried"),
            ("1", Some((Failed, "1", Some("3"))), "back", "unprepared"),
            ("1", Some((WentBack, "1", Some("2"))), "home", "unprepared"),
            ("2", Some((Done, "1", Some("2"))), "newer", "home"),
            ("2", Some((Prepared, "2", Some("3"))), "unprepared", "home"),
            ("2", Some((Failed, "2", Some("3"))), "unprepared", "back"),
        ] {
            let state = state(data, upgrade);
            for (mine, wanted) in [("1", old), ("2", new)] {
                let found = arrival(&Version::new(mine), Some(&state), None);
                assert_eq!(found.word(), wanted, "{mine} finds {state:?}");
            }
        }
        assert_eq!(arrival(&Version::new("1"), None, None), Arrival::Home);
    }

    #[test]
    fn a_package_tool_upgrades_the_system_that_has_the_disk() {
        let mark = Pending {
            family: Some(Family::Deb),
            ..Pending::new(Version::new("2"), None, Clock::System)
        };
        let found = arrival(&Version::new("2"), Some(&state("1", None)), Some(&mark));
        assert_eq!(found, Arrival::Forward);
    }
}
