//! Baselines as files, one each, which only root can read.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::error::{Context, Error, Result};
use crate::layout::Layout;
use crate::outcome::Outcome;
use crate::system::fs;

use super::{Baseline, FORMAT};
use crate::upgrade::journal;

/// The most bytes of a baseline: definitions of some hundred thousand columns.
const MOST_BYTES: u64 = 256 << 20;

/// How many baselines of upgrades are kept; those that somebody recorded stay.
const KEPT: usize = 10;

/// Who recorded a baseline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reason {
    /// An upgrade, before its first change.
    Upgrade,
    /// Somebody asked for it.
    Manual,
}

impl Reason {
    /// Returns the word for people and JSON.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Upgrade => "upgrade",
            Self::Manual => "manual",
        }
    }
}

/// Refuses names that are no plain names of files.
pub fn check_name(name: &str) -> Result<()> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let begins = name.starts_with(|c: char| c.is_ascii_alphanumeric());
    if begins && name.len() <= 64 && name.chars().all(plain) {
        return Ok(());
    }
    Err(Error::new(Outcome::Usage, format!("{name:?} is not the name of a baseline"))
        .state("nothing was changed")
        .hint("Write at most 64 letters, digits, `-`, `_` and `.`."))
}

fn path(layout: &Layout, name: &str) -> PathBuf {
    layout.baselines_dir().join(format!("{name}.json"))
}

/// Returns this name, or the first with a number behind it that no baseline has.
pub fn unused(layout: &Layout, name: &str) -> String {
    let free = |name: &String| !path(layout, name).exists();
    let mut others = (2..).map(|n| format!("{name}.{n}"));
    let first = Some(name.to_owned()).filter(free);
    first.or_else(|| others.find(free)).unwrap_or_default()
}

/// Writes a baseline under its name.
pub fn write(layout: &Layout, baseline: &Baseline) -> Result<()> {
    check_name(&baseline.name)?;
    fs::make_dir(&layout.upgrade_dir(), 0o755)?;
    fs::make_dir(&layout.baselines_dir(), 0o700)?;
    fs::tighten(&layout.baselines_dir(), 0o700)?;
    let text = serde_json::to_vec(baseline).context(|| "cannot write the baseline".into())?;
    fs::replace(&path(layout, &baseline.name), &text, 0o600)
}

/// Writes a new baseline; one that has its name stays.
pub fn write_new(layout: &Layout, baseline: &Baseline, remove: &str) -> Result<()> {
    check_name(&baseline.name)?;
    if path(layout, &baseline.name).exists() {
        return Err(Error::new(
            Outcome::Refused,
            format!("there is a baseline {} already", baseline.name),
        )
        .state("nothing was changed")
        .hint(format!("Take another name, or run `{remove}` first.")));
    }
    write(layout, baseline)
}

/// Reads a baseline.
pub fn read(layout: &Layout, name: &str) -> Result<Baseline> {
    check_name(name)?;
    let path = path(layout, name);
    let unreadable = || format!("cannot read the baseline {}", path.display());
    let text = match fs::read_text(&path, MOST_BYTES) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(Error::new(Outcome::Usage, format!("there is no baseline {name}"))
                .state("nothing was changed"));
        }
        read => read.context(unreadable)?,
    };
    let baseline: Baseline = serde_json::from_str(&text).context(unreadable)?;
    if baseline.format != FORMAT {
        let told = format!("baseline {name} has format {}, not {FORMAT}", baseline.format);
        return Err(Error::failed(told).state("nothing was changed"));
    }
    Ok(baseline)
}

/// Reads all baselines, newest first; what cannot be read is left out with its reason.
pub fn list(layout: &Layout) -> (Vec<Baseline>, Vec<Error>) {
    let entries = std::fs::read_dir(layout.baselines_dir()).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        name.strip_suffix(".json").map(str::to_owned)
    });
    let (mut found, mut wrong) = (Vec::new(), Vec::new());
    for name in names.filter(|name| check_name(name).is_ok()) {
        match read(layout, &name) {
            Ok(baseline) => found.push(baseline),
            Err(error) => wrong.push(error),
        }
    }
    found.sort_by(|a, b| (&b.taken, &b.name).cmp(&(&a.taken, &a.name)));
    (found, wrong)
}

/// Removes a baseline, unless a run that has not ended well would compare with it.
pub fn remove(layout: &Layout, name: &str) -> Result<()> {
    check_name(name)?;
    let path = path(layout, name);
    if !path.exists() {
        return Err(Error::new(Outcome::Usage, format!("there is no baseline {name}"))
            .state("nothing was changed"));
    }
    if needed(layout).as_deref() == Some(name) {
        return Err(Error::new(
            Outcome::Refused,
            format!("the upgrade that has not ended well is compared with baseline {name}"),
        )
        .state("nothing was changed"));
    }
    fs::remove_file(&path)
}

/// The baseline of a run that goes on, or will be tried again.
fn needed(layout: &Layout) -> Option<String> {
    let last = journal::read(layout).ok().flatten()?;
    let open = last.outcome.as_deref() != Some(Outcome::Ok.word());
    last.baseline.filter(|_| open)?.name
}

/// Removes the oldest baselines of upgrades.
pub fn prune(layout: &Layout) -> Result<()> {
    let keep = needed(layout);
    let of_upgrades = list(layout).0.into_iter().filter(|b| b.reason == Reason::Upgrade);
    for old in of_upgrades.skip(KEPT).filter(|old| keep.as_ref() != Some(&old.name)) {
        fs::remove_file(&path(layout, &old.name))?;
    }
    Ok(())
}
