//! Files of the package against the disk.

use crate::package::altered::{self, How, Role};

use super::{Area, Package, Report};
use crate::upgrade::machine::Machine;

pub(super) fn look(machine: &Machine, package: &Package, report: &mut Report) {
    let name = &package.installed.name;
    if let Some(word) = &package.standing.incomplete {
        let mend = match package.installed.family {
            crate::package::Family::Deb => "Run `dpkg --configure -a`.".to_owned(),
            crate::package::Family::Rpm => package.reinstall(),
        };
        report.drifted(Area::Files, &format!("package {name}"), "installed", word, mend);
    }
    let found = match altered::look(machine.layout.root(), &package.installed) {
        Ok(found) => found,
        Err(error) => return report.not_compared(Area::Files, error.message()),
    };
    let should = format!("as {name} {} has it", package.installed.version);
    for file in found {
        let path = file.path.display().to_string();
        let edited =
            || format!("Nothing has to be done: upgrades keep it. Look with `less {path}`.");
        match (file.role, file.how) {
            (_, How::Unseen(why)) => report.not_compared(Area::Files, format!("{path}: {why}")),
            (Role::Packaged, How::Missing) => {
                report.drifted(Area::Files, &path, &should, "gone", package.reinstall());
            }
            (Role::Packaged, How::Content) => {
                let is = "other content";
                report.drifted(Area::Files, &path, &should, is, package.reinstall());
            }
            (Role::Packaged, How::Attributes(which)) => {
                let is = format!("other {which}");
                report.drifted(Area::Files, &path, &should, &is, package.reinstall());
            }
            (Role::Configuration, How::Missing) => {
                let is = "gone: what it set has its default";
                let mend = package.restore_conffile();
                report.drifted(Area::Configuration, &path, "there", is, mend);
            }
            (Role::Configuration, How::Content) => {
                report.chosen(Area::Configuration, &path, &should, "edited", edited());
            }
            // The scripts of the package give it to its user; who may read it is the operator's.
            (Role::Configuration, How::Attributes(_)) => {}
        }
    }
}
