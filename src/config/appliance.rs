//! `[appliance]`: the data of the application lives on a disk of its own, which whole system images
//! hand on to each other.

use std::path::{Path, PathBuf};

use super::notes::{Notes, shown};
use super::section::Value;
use super::values::{path, unit_fault};
use crate::layout::Layout;

const EXAMPLE: &str = "/srv/data";

/// What the packager says of the data disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Appliance {
    /// Where it is mounted.
    pub data_disk: PathBuf,
    /// Units beside the application's own that need it, such as the database server's.
    pub units: Vec<String>,
}

impl Appliance {
    /// Returns the directory on the disk that is ours.
    pub fn dir(&self, layout: &Layout) -> PathBuf {
        self.data_disk.join(layout.app())
    }

    /// Returns where restore points lie: on the disk, so that they survive the system.
    pub fn backup_dir(&self, layout: &Layout) -> PathBuf {
        self.dir(layout).join("backups")
    }
}

/// Reads the table.
pub(super) fn read(value: Value<'_>, notes: &mut Notes) -> Option<Appliance> {
    let mut table = value.table("appliance", notes)?;
    let place = table.place().clone();
    let data_disk = match table.take("data_disk") {
        Some(value) => path(value, Path::new(EXAMPLE), notes),
        None => {
            let message = "appliance.data_disk is missing: it must name the mount point";
            notes.problem(&place, message, &format!("write `data_disk = \"{EXAMPLE}\"` below it"));
            None
        }
    };
    let units = table.take("units").map(|value| units(value, notes)).unwrap_or_default();
    table.finish(notes);
    Some(Appliance { data_disk: data_disk?, units })
}

fn units(value: Value<'_>, notes: &mut Notes) -> Vec<String> {
    const EXAMPLE: &str = "[\"postgresql@15-main.service\"]";
    let mut units = Vec::new();
    for entry in value.list(EXAMPLE, notes).unwrap_or_default() {
        let (name, place) = (entry.name.clone(), entry.place.clone());
        let Some(unit) = entry.text(EXAMPLE, notes) else { continue };
        match unit_fault(&unit) {
            Some(fault) => {
                let message = format!("{name} {} {fault}", shown(&unit));
                notes.problem(&place, message, "name units as `systemctl list-units` shows them");
            }
            None => units.push(unit),
        }
    }
    units
}
