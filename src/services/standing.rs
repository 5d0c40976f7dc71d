//! What a unit is set up as, beside what it does.

use std::path::{Path, PathBuf};

use super::Unit;

/// A unit with what its files and settings make of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// What it does.
    pub unit: Unit,
    /// Whether it starts with the machine, in the manager's word: `enabled`, `disabled`, `static`, …
    pub enabled: String,
    /// What the vendor's preset makes of it: `enabled` or `disabled`; empty where there is none.
    pub preset: String,
    /// The file that it comes from.
    pub fragment: Option<PathBuf>,
    /// Files that change it, in their order.
    pub drop_ins: Vec<PathBuf>,
    /// Whether its files changed since the manager read them.
    pub needs_reload: bool,
    /// How it ended last, in the manager's word.
    pub result: String,
}

impl Standing {
    /// Returns the drop-ins that come from the operator, not from a package.
    pub fn operator_drop_ins(&self) -> impl Iterator<Item = &Path> {
        self.drop_ins.iter().map(PathBuf::as_path).filter(|path| is_of_operator(path))
    }

    /// Returns the file that stands in the place of the packaged one.
    pub fn overriding(&self) -> Option<&Path> {
        self.fragment.as_deref().filter(|path| is_of_operator(path))
    }
}

/// The directories above those of packages (systemd.unit(5)).
fn is_of_operator(path: &Path) -> bool {
    path.starts_with("/etc/systemd") || path.starts_with("/run/systemd")
}
