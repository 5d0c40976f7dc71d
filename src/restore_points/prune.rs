//! Removing what the retention decided: the manifest first, then the directory.

use std::time::SystemTime;

use super::manifest::Kind;
use super::retention::{Decision, Pin, Verdict, decide};
use super::store::{Entry, REMOVING, Status, Store};
use super::verify;
use crate::config::Retention;
use crate::error::Result;
use crate::system::fs;

/// Whether a prune removes or only tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It tells what it would do.
    DryRun,
    /// It removes.
    Act,
}

impl Store {
    /// Applies the retention and returns what was decided for each entry, newest first.
    ///
    /// The caller holds the lock that upgrades and restores share. Before a good point goes, those
    /// that stay in its place are looked at file by file, and the newest is read whole: a point
    /// that rotted on the disk must not be the reason to remove one that did not.
    pub fn prune(
        &self,
        policy: &Retention,
        pins: &[Pin],
        now: SystemTime,
        mode: Mode,
    ) -> Result<Vec<Decision>> {
        let mut entries = self.list()?;
        let decisions = loop {
            let decisions = decide(&entries, policy, pins, now);
            if !distrust(&mut entries, &decisions) {
                break decisions;
            }
        };
        if mode == Mode::Act {
            for (entry, decision) in entries.iter().zip(&decisions) {
                match decision.verdict {
                    Verdict::Keep => {}
                    Verdict::Remove => self.discard(entry)?,
                }
            }
        }
        Ok(decisions)
    }

    /// Removes one entry; cut short, it leaves no manifest, and the next run completes it.
    fn discard(&self, entry: &Entry) -> Result<()> {
        let mut dir = entry.path.clone();
        if entry.status != Status::Removing {
            fs::remove_file(&dir.join(super::manifest::MANIFEST))?;
            let renamed =
                self.dir().join(format!("{REMOVING}{}", entry.id.trim_start_matches('.')));
            if fs::rename(&dir, &renamed).is_ok() {
                dir = renamed;
            }
        }
        fs::remove_tree(&dir)
    }
}

/// Marks as damaged what a good point would be removed for and is not whole; returns whether
/// anything was.
fn distrust(entries: &mut [Entry], decisions: &[Decision]) -> bool {
    let removes_good = entries
        .iter()
        .zip(decisions)
        .any(|(entry, d)| entry.status == Status::Good && d.verdict == Verdict::Remove);
    if !removes_good {
        return false;
    }
    let mut found = false;
    let mut newest = true;
    for (entry, decision) in entries.iter_mut().zip(decisions) {
        let Some(manifest) = entry.manifest.as_ref().filter(|_| entry.status == Status::Good)
        else {
            continue;
        };
        if manifest.kind != Kind::Dump {
            continue;
        }
        if decision.verdict == Verdict::Remove {
            continue;
        }
        let fault = if newest {
            verify::check_files(&entry.path, manifest, |_| {}).err()
        } else {
            verify::check_sizes(&entry.path, manifest).err()
        };
        newest = false;
        if let Some(why) = fault {
            entry.status = Status::Damaged(why);
            found = true;
        }
    }
    found
}
