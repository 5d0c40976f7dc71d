//! `sides` of `[source]`: two sets of units, of which one serves while the other one gets the next version.

use std::path::{Path, PathBuf};

use super::TreeSpec;
use super::notes::{Notes, shown};
use super::restart::unit_of;
use super::section::Value;

const EXAMPLE: &str = "{ blue = [\"app@blue.service\"], green = [\"app@green.service\"] }";

/// One of the two sides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Side {
    /// Its name, also of its link.
    pub name: String,
    /// Its units, in the order in which they start.
    pub services: Vec<String>,
}

impl TreeSpec {
    /// Returns the link that the units of a side run from: beside the one to the version that serves.
    pub fn link_of(&self, side: &Side) -> PathBuf {
        self.link.parent().unwrap_or(Path::new("/")).join(&side.name)
    }
}

/// Reads both sides; none where one of them makes no sense.
pub(super) fn read(value: Value<'_>, services: &[String], notes: &mut Notes) -> Option<Vec<Side>> {
    let (name, place) = (value.name.clone(), value.place.clone());
    let table = value.table("source.sides", notes)?;
    let mut sides: Vec<Side> = Vec::new();
    for (key, value) in table.all() {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if key.is_empty() || !key.chars().all(plain) || key == "versions" || key == "current" {
            let message = format!("{name} {} is no name of a side", shown(&key));
            notes.problem(&value.place, message, "write a name such as `blue`");
            return None;
        }
        let mut units = Vec::new();
        for entry in value.list("[\"app@blue.service\"]", notes)? {
            units.push(unit_of(entry, services, notes)?);
        }
        sides.push(Side { name: key, services: units });
    }
    let mut named: Vec<&String> = sides.iter().flat_map(|side| &side.services).collect();
    named.sort();
    let all = named.len();
    named.dedup();
    let fault = match () {
        () if sides.len() != 2 => "does not name two sides",
        () if sides.iter().any(|side| side.services.is_empty()) => "has a side without units",
        () if named.len() != all => "names a unit twice",
        () if named.len() != services.len() => "does not name every unit of app.services",
        () => return Some(sides),
    };
    notes.problem(&place, format!("{name} {fault}"), &format!("write `sides = {EXAMPLE}`"));
    None
}
