//! Configuration against what this program understands, and versions of conffiles that lie beside.

use std::path::{Path, PathBuf};

use super::{Area, Package, Report};
use crate::upgrade::machine::{Machine, typed};

/// What dpkg, ucf and rpm put beside a conffile that the operator edited: the package's version.
const OF_PACKAGE: [&str; 4] = [".dpkg-new", ".dpkg-dist", ".ucf-dist", ".rpmnew"];

/// And the operator's version, where the package's took its place.
const OF_OPERATOR: [&str; 4] = [".dpkg-old", ".ucf-old", ".rpmsave", ".rpmorig"];

pub(super) fn look(machine: &Machine, package: Option<&Package>, report: &mut Report) {
    for warning in &machine.config.warnings {
        // `FILE:LINE: what`, as every message about configuration begins.
        let (place, what) = warning.split_once(": ").unwrap_or(("configuration", warning.as_str()));
        let mend = format!("Correct {place}, then look with `{}`.", machine.command("preflight"));
        report.drifted(Area::Configuration, place, "understood whole", what, mend);
    }
    for path in conffiles(machine, package) {
        for (endings, what) in [
            (OF_PACKAGE, "the package's newer version lies beside it"),
            (OF_OPERATOR, "your version was put aside, the package's is in its place"),
        ] {
            for ending in endings {
                let beside = PathBuf::from(format!("{}{ending}", path.display()));
                if machine.layout.root().join(below(&beside)).exists() {
                    left(&path, &beside, what, report);
                }
            }
        }
    }
}

fn left(path: &Path, beside: &Path, what: &str, report: &mut Report) {
    let (file, other) = (typed(path), typed(beside));
    let mend = format!("Merge what `diff -u {file} {other}` shows, then run `rm {other}`.");
    let is = format!("{what}: {}", beside.display());
    report.drifted(Area::Configuration, &path.display().to_string(), "merged", &is, mend);
}

/// The conffiles of the package; where nobody knows it, the operator's half.
fn conffiles(machine: &Machine, package: Option<&Package>) -> Vec<PathBuf> {
    match package {
        Some(package) => package.standing.configuration.clone(),
        None => {
            let conf = machine.layout.operator_conf();
            let conf = conf.strip_prefix(machine.layout.root()).unwrap_or(&conf);
            vec![Path::new("/").join(conf)]
        }
    }
}

fn below(path: &Path) -> &Path {
    path.strip_prefix("/").unwrap_or(path)
}
