//! Removing what the retention decided: out of sight at once, then file by file.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::entry::{Entry, Status, is_locked};
use super::manifest::MANIFEST;
use super::retention::{Decision, Floor, Needs, Verdict, decide};
use super::spread::spread;
use super::store::{REMOVING, RestorePoint, Store};
use super::trial::NEW;
use super::verify::{self, Unsound};
use crate::config::Retention;
use crate::error::{Context, Error, Result};
use crate::outcome::Outcome;
use crate::progress::Progress;
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
    /// that it is removed in favour of are looked at file by file, and the newest is read whole: a
    /// point that rotted on the disk must not be the reason to remove one that did not.
    pub fn prune(
        &self,
        policy: &Retention,
        needs: &Needs,
        now: SystemTime,
        mode: Mode,
    ) -> Result<Vec<Decision>> {
        self.prune_listed(&mut self.list()?, policy, needs, now, mode)
    }

    /// Does the same with a listing that was made under the same lock: nothing was added since. It is
    /// left as it was decided about, an entry for each decision.
    pub fn prune_listed(
        &self,
        entries: &mut Vec<Entry>,
        policy: &Retention,
        needs: &Needs,
        now: SystemTime,
        mode: Mode,
    ) -> Result<Vec<Decision>> {
        if mode == Mode::Act {
            // Left by a run that was killed while it noted a proof; that holds our caller's lock too.
            let unnoted = |entry: &Entry| {
                entry.status == Status::Foreign && entry.id.starts_with(NEW) && entry.path.is_file()
            };
            for entry in entries.extract_if(.., |entry| unnoted(entry)) {
                fs::remove_file(&entry.path)?;
            }
        }
        if policy.max_bytes.value().is_some() {
            measure(entries);
        }
        let mut decisions = loop {
            let mut decisions = decide(entries, policy, needs, now);
            match distrust(entries, &decisions, policy) {
                Relied::Whole => break decisions,
                Relied::Lost => {}
                Relied::NotKnown(id) => {
                    keep_all(entries, &mut decisions, &id);
                    break decisions;
                }
            }
        };
        let removed = |pair: &(&Entry, &mut Decision)| pair.1.verdict == Verdict::Remove;
        let pairs: Vec<_> = entries.iter().zip(&mut decisions).filter(removed).collect();
        let going = spread(pairs, |(entry, decision): (&Entry, &mut Decision)| {
            // Who exports or rehearses from a point holds a lock on it and none on the machine.
            if entry.status != Status::Removing && is_locked(&entry.path) {
                decision.verdict = Verdict::Keep;
                decision.reason = "being read".into();
                return None;
            }
            Some(entry)
        });
        let going: Vec<&Entry> = going.into_iter().flatten().collect();
        if mode == Mode::Act {
            self.discard(&going)?;
            self.drop_pins_of_nothing()?;
        }
        Ok(decisions)
    }

    /// Removes one entry because somebody said so; what is lost with it was told before.
    pub fn remove(&self, entry: &Entry) -> Result<()> {
        if entry.status != Status::Removing && is_locked(&entry.path) {
            let text = format!("restore point {} is being read", entry.id);
            return Err(Error::new(Outcome::Busy, text).state("nothing was changed"));
        }
        self.discard(&[entry])
    }

    /// Returns whether, without this one, a good restore point is left that was read whole just now.
    pub fn is_safe_without(&self, id: &str, progress: &dyn Progress) -> Result<bool> {
        let entries = self.list()?;
        let mut others = entries.iter().filter(|entry| entry.is_relied_on() && entry.id != id);
        Ok(others.any(|entry| {
            entry.manifest.as_ref().is_some_and(|manifest| {
                let (mut done, what) = (0, format!("checking {}", entry.id));
                let read = |bytes| {
                    done += bytes;
                    progress.alive(&what, done, Some(manifest.bytes));
                };
                verify::check_files(&entry.path, manifest, read).is_ok()
            })
        }))
    }

    /// Removes entries. Each leaves its name by one rename, all these are synced at once, and only then
    /// the first file goes: cut short at any instant, each is whole under its name, or none any more.
    ///
    /// What cannot be removed does not keep the others: the first failure is told at the end.
    pub(super) fn discard(&self, entries: &[&Entry]) -> Result<()> {
        if entries.is_empty() {
            return Ok(());
        }
        let hidden = spread(entries.to_vec(), |entry| {
            if entry.status == Status::Removing {
                return Ok(entry.path.clone());
            }
            hide(&entry.path, &entry.id)
        });
        fs::sync_dir(self.dir()).context(|| format!("cannot sync {}", self.dir().display()))?;
        let removed = spread(hidden, |hidden| hidden.and_then(|dir| fs::remove_tree(&dir)));
        let failed = removed.into_iter().find_map(Result::err);
        for entry in entries.iter().filter(|entry| entry.pin.is_some()) {
            fs::remove_file(&self.pin_path(&entry.id))?;
        }
        match failed {
            None => Ok(()),
            Some(error) => Err(error.state("the others that were to go are removed")),
        }
    }
}

/// Takes the name from a restore point; where that cannot be, at least its manifest. The caller syncs
/// the directory, once for many.
pub(super) fn hide(dir: &Path, id: &str) -> Result<PathBuf> {
    let hidden = dir.with_file_name(format!("{REMOVING}{}", id.trim_start_matches('.')));
    match fs::rename_later(dir, &hidden) {
        Ok(()) => Ok(hidden),
        Err(_) => {
            fs::remove_file(&dir.join(MANIFEST))?;
            Ok(dir.to_owned())
        }
    }
}

impl RestorePoint {
    /// Keeps the point from being pruned while the returned value lives: for those who read it without
    /// the lock that upgrades and prunes share.
    pub fn hold(&self) -> Result<File> {
        let attempt = || format!("cannot open the restore point {}", self.id());
        let dir = fs::open_dir(self.dir()).context(attempt)?;
        dir.lock_shared().context(attempt)?;
        Ok(dir)
    }
}

/// Measures what has no manifest to tell its size.
fn measure(entries: &mut [Entry]) {
    for entry in entries {
        if entry.bytes.is_none() && entry.status != Status::Foreign {
            entry.bytes = Some(fs::size_below(&entry.path));
        }
    }
}

/// What is so of the points in favour of which others would be removed.
enum Relied {
    /// They are whole.
    Whole,
    /// One is not, and is marked as damaged by now: everything is to be decided anew.
    Lost,
    /// This one could not be read.
    NotKnown(String),
}

/// Looks whether that is whole in favour of which a good point would be removed.
fn distrust(entries: &mut [Entry], decisions: &[Decision], policy: &Retention) -> Relied {
    let mut pairs = entries.iter().zip(decisions);
    if !pairs.any(|(entry, d)| matters(entry) && d.verdict == Verdict::Remove) {
        return Relied::Whole;
    }
    let Floor { last, newest } = Floor::of(entries, policy);
    let mut relied: Vec<usize> = last.into_keys().chain(newest.into_keys()).collect();
    // The list is in order, newest first.
    relied.sort_unstable();
    relied.dedup();
    let mut found = Relied::Whole;
    for (place, at) in relied.into_iter().enumerate() {
        let entry = &mut entries[at];
        let Some(manifest) = entry.manifest.as_ref() else { continue };
        let checked = if place == 0 {
            verify::check_files(&entry.path, manifest, |_| {})
        } else {
            verify::check_sizes(&entry.path, manifest)
        };
        match checked {
            Ok(()) => {}
            Err(Unsound::Damaged(why)) => {
                entry.status = Status::Damaged(why);
                found = Relied::Lost;
            }
            Err(Unsound::Unread(_)) => return Relied::NotKnown(entry.id.clone()),
        }
    }
    found
}

fn matters(entry: &Entry) -> bool {
    matches!(entry.status, Status::Good | Status::Damaged(_))
}

/// Removes nothing that may be worth anything, as long as nobody knows what is.
fn keep_all(entries: &[Entry], decisions: &mut [Decision], unread: &str) {
    for (entry, decision) in entries.iter().zip(decisions) {
        if matters(entry) && decision.verdict == Verdict::Remove {
            decision.verdict = Verdict::Keep;
            decision.reason = format!("{unread} could not be read, and may be no better");
        }
    }
}
