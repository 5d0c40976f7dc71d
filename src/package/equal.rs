//! Packages that must have one version: what dpkg and rpm say of each at this instant.

use std::path::Path;

use super::candidate::{self, State};
use super::planned::Planned;
use crate::error::Result;
use crate::version::Version;

/// What a package database says of one package that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Name of the package.
    pub name: String,
    /// Its version; the newest, where two are registered.
    pub version: Version,
    /// How far its installation has come.
    pub state: State,
}

/// Asks for those of these packages that are installed. One that is not there is no member: hosts of
/// another kind have other packages.
pub fn look(root: &Path, names: &[String]) -> Result<Vec<Member>> {
    let mut found = Vec::new();
    for name in names {
        if let Some((version, state)) = candidate::registered(root, name)? {
            found.push(Member { name: name.clone(), version, state });
        }
    }
    Ok(found)
}

/// Returns what will be there once the tool has done what it plans.
#[must_use]
pub fn after(mut members: Vec<Member>, names: &[String], planned: &[Planned]) -> Vec<Member> {
    for plan in planned.iter().filter(|plan| names.contains(&plan.name)) {
        let (version, state) = (plan.to.clone(), State::Whole);
        match members.iter_mut().find(|member| member.name == plan.name) {
            Some(member) => (member.version, member.state) = (version, state),
            None => members.push(Member { name: plan.name.clone(), version, state }),
        }
    }
    members
}

/// Returns the newest version of a set.
pub fn newest(members: &[Member]) -> Option<&Version> {
    members.iter().map(|member| &member.version).max_by(|a, b| a.order(b))
}

/// Returns the members that are behind the newest.
pub fn behind(members: &[Member]) -> Vec<&Member> {
    let Some(newest) = newest(members) else { return Vec::new() };
    members.iter().filter(|member| !member.version.order(newest).is_eq()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(all: &[(&str, &str)]) -> Vec<Member> {
        let member = |(name, version): &(&str, &str)| Member {
            name: (*name).to_owned(),
            version: Version::new(version),
            state: State::Whole,
        };
        all.iter().map(member).collect()
    }

    #[test]
    fn those_behind_the_newest_are_named() {
        assert_eq!(behind(&set(&[("a", "2.0-1"), ("b", "2.0-1")])), Vec::<&Member>::new());
        let three = set(&[("a", "2.0~rc1-1"), ("b", "2.0-1"), ("c", "2.0-1")]);
        assert_eq!(behind(&three)[0].name, "a");
        assert_eq!(behind(&three).len(), 1);
        assert!(behind(&[]).is_empty());
    }

    #[test]
    fn a_run_is_judged_by_what_it_leaves() {
        let names = ["a", "b", "new"].map(str::to_owned);
        let plan = |name: &str, to: &str| Planned {
            name: name.to_owned(),
            from: None,
            file: None,
            to: Version::new(to),
        };
        let there = set(&[("a", "1.0-1"), ("b", "1.0-1")]);
        let left = after(there.clone(), &names, &[plan("a", "2.0-1"), plan("other", "9")]);
        assert_eq!(behind(&left)[0].name, "b");
        let both = [plan("a", "2.0-1"), plan("b", "2.0-1"), plan("new", "2.0-1")];
        let left = after(there, &names, &both);
        assert_eq!((left.len(), behind(&left).len()), (3, 0));
    }
}
