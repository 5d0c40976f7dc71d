//! Which hooks there are, and which of them may be run as root.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::layout::Layout;
use crate::outcome::Outcome;
use crate::system::fs;

use super::{Moment, STEPS};
use crate::upgrade::step::Step;

/// What lies in a directory of hooks.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// To be run, in this order.
    pub(super) hooks: Vec<PathBuf>,
    /// Passed by, with the reason.
    pub(super) passed_by: Vec<String>,
}

/// Finds the hooks of one moment: the packager's, then the operator's, each in the order of names.
///
/// What somebody else could have written is refused by name, never passed by.
pub(super) fn find(layout: &Layout, step: Step, moment: Moment) -> Result<Found> {
    let mut found = Found::default();
    for dir in layout.hook_dirs() {
        let dir = dir.join(format!("{}.{}.d", word(step), moment.word()));
        look(&dir, &mut found)?;
    }
    Ok(found)
}

/// Returns why hooks are refused, over every moment of an upgrade.
pub(super) fn refused(layout: &Layout) -> Vec<Error> {
    let moments = STEPS.iter().flat_map(|step| [(*step, Moment::Before), (*step, Moment::After)]);
    moments.filter_map(|(step, moment)| find(layout, step, moment).err()).collect()
}

/// Returns what lies where hooks are looked for and belongs to no step, so that nothing of it runs.
pub(super) fn of_no_step(layout: &Layout) -> Vec<PathBuf> {
    let known = |name: &str| {
        let mut moments = STEPS.iter().flat_map(|step| match step {
            Step::Preflight => vec![(step, Moment::Before)],
            step => vec![(step, Moment::Before), (step, Moment::After)],
        });
        moments.any(|(step, moment)| name == format!("{}.{}.d", word(*step), moment.word()))
    };
    let below = |dir: PathBuf| std::fs::read_dir(dir).into_iter().flatten().flatten();
    let mut others: Vec<PathBuf> = layout
        .hook_dirs()
        .into_iter()
        .flat_map(below)
        .filter(|entry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            !name.starts_with('.') && !known(&name)
        })
        .map(|entry| entry.path())
        .collect();
    others.sort();
    others
}

/// Returns the name of a step in directories.
fn word(step: Step) -> String {
    step.word().replace('_', "-")
}

fn look(dir: &Path, found: &mut Found) -> Result<()> {
    if dir.symlink_metadata().is_err() {
        return Ok(());
    }
    fs::check_trusted_dir(dir).map_err(|error| error.outcome_as(Outcome::Refused))?;
    let entries = std::fs::read_dir(dir)
        .map_err(|error| untrusted(dir, &format!("cannot be read: {error}")))?;
    let mut names: Vec<_> = entries.flatten().map(|entry| entry.file_name()).collect();
    names.sort();
    for name in names {
        let path = dir.join(&name);
        let bytes = name.as_encoded_bytes();
        if bytes.starts_with(b".") {
            continue;
        }
        // As run-parts has it, so that what package tools and editors leave is no hook.
        if !bytes.iter().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(b)) {
            let shown = path.display();
            found.passed_by.push(format!("{shown} is no hook: names are letters, digits, - and _"));
            continue;
        }
        let data = path
            .symlink_metadata()
            .map_err(|error| untrusted(&path, &format!("cannot be looked at: {error}")))?;
        if let Some(why) = fault(&data) {
            return Err(untrusted(&path, why));
        }
        if data.mode() & 0o111 == 0 {
            found.passed_by.push(format!("{} is not executable", path.display()));
            continue;
        }
        found.hooks.push(path);
    }
    Ok(())
}

/// Says why a file may not be run as root, where it may not.
fn fault(data: &Metadata) -> Option<&'static str> {
    let own = rustix::process::geteuid().as_raw();
    if data.is_symlink() {
        Some("is a symbolic link")
    } else if !data.is_file() {
        Some("is not a regular file")
    } else if data.uid() != 0 && data.uid() != own {
        Some("belongs to another user than root")
    } else if data.mode() & 0o022 != 0 {
        Some("can be written by other users than root")
    } else {
        None
    }
}

fn untrusted(path: &Path, why: &str) -> Error {
    Error::new(Outcome::Refused, format!("the hook {} {why}", path.display()))
        .hint(format!("Look at `ls -l {}`; a hook is a file of root, mode 0755.", path.display()))
}
