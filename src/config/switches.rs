//! Safeties that the operator has switched off, each by a key of its own.

use super::Policy;

/// A safety that is off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SwitchedOff {
    /// The key that says so.
    pub key: &'static str,
    /// What is missing by it.
    pub loses: &'static str,
}

impl Policy {
    /// Returns every safety that is off, in the order of upgrade.conf(5). No key is in here twice, and
    /// none has a say in another's safety.
    pub fn switched_off(&self) -> Vec<SwitchedOff> {
        let all = [
            (!self.auto_backup, "auto_backup", "no restore point is taken"),
            (!self.keep_packages, "keep_packages", "the package of before is not kept"),
            (!self.guard, "guard", "the package tool is not asked to leave the whole run"),
        ];
        let off = all.into_iter().filter(|(off, ..)| *off);
        off.map(|(_, key, loses)| SwitchedOff { key, loses }).collect()
    }
}
