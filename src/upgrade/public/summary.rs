//! The summary of restore points: what root knows of them and everybody may.

use std::borrow::Cow;

use serde::{Deserialize, Serialize, Serializer};

use crate::disk;
use crate::error::{Context as _, Result};
use crate::layout::Layout;
use crate::restore_points::{Decision, Entry, Kind, Mode, PinNote, Status, Verdict};
use crate::system::{clock, fs};

use super::super::asked::CONSOLE;
use super::super::machine::Machine;
use super::super::needed;

/// More than any summary; what is longer was not written by us.
const MOST_BYTES: u64 = 4 << 20;

/// The format of this file.
const FORMAT: u32 = 1;

/// What is known of the restore points of this machine, `P` being how those are held.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary<P = Vec<Point>> {
    /// Format of this file.
    pub format: u32,
    /// When it was written, RFC 3339.
    pub written: String,
    /// Where restore points are kept.
    #[serde(default)]
    pub directory: String,
    /// Bytes that a new file may take there, where that could be asked.
    #[serde(default)]
    pub free_bytes: Option<u64>,
    /// Why the restore points could not be listed, where they could not.
    #[serde(default)]
    pub problem: Option<String>,
    /// The restore points and what else lies there, newest first.
    #[serde(default)]
    pub points: P,
}

/// One restore point, or what was meant to become one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Point {
    /// Its name.
    pub id: String,
    /// Whether it counts, in the word of `openwatch backup list`.
    pub state: Cow<'static, str>,
    /// Why it does not count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// When it was made, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// Its size in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// What it is made of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<Cow<'static, str>>,
    /// Why it was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Cow<'static, str>>,
    /// How far it was proven, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<String>,
    /// When it was last loaded into a scratch database and was found whole, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restored: Option<String>,
    /// The version that it leads back to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The version that its upgrade led to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// Where it comes from, where it was not made here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
    /// The operator's wish that it stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pin: Option<String>,
    /// Whether that wish came through the console, and can be taken back there.
    #[serde(default)]
    pub pinned_here: bool,
    /// Whether its archives are encrypted.
    #[serde(default)]
    pub encrypted: bool,
    /// Whether the next daily run keeps it.
    #[serde(default)]
    pub stays: bool,
    /// Why it stays or goes.
    #[serde(default)]
    pub because: String,
}

impl Point {
    fn of(entry: &Entry, decision: &Decision) -> Self {
        let manifest = entry.manifest.as_ref();
        let trial = manifest.and_then(|manifest| manifest.trial.as_ref());
        let version = |version: Option<&crate::version::Version>| version.map(ToString::to_string);
        Self {
            id: entry.id.clone(),
            state: entry.status.word().into(),
            why: entry.status.why().map(str::to_owned),
            created: entry.created.map(clock::rfc3339),
            bytes: manifest.map(|manifest| manifest.held_bytes()).or(entry.bytes),
            kind: manifest.map(|manifest| manifest.kind.word().into()),
            reason: manifest.map(|manifest| manifest.reason.word().into()),
            proof: manifest.map(|manifest| manifest.proof_told()),
            restored: trial.filter(|trial| trial.failed.is_none()).map(|trial| trial.at.clone()),
            from: version(manifest.and_then(|manifest| manifest.from_version.as_ref())),
            to: version(manifest.and_then(|manifest| manifest.to_version.as_ref())),
            origin: entry.origin.told(),
            pin: entry.pin.as_ref().map(PinNote::told),
            pinned_here: entry.pin.as_ref().is_some_and(|pin| pin.by.as_deref() == Some(CONSOLE)),
            encrypted: manifest.is_some_and(|manifest| manifest.encryption.is_some()),
            stays: decision.verdict == Verdict::Keep,
            because: decision.reason.clone(),
        }
    }

    /// Returns whether it is complete and proven.
    pub fn is_good(&self) -> bool {
        self.state == Status::Good.word()
    }

    /// Returns whether it is a copy on its own.
    pub fn is_dump(&self) -> bool {
        self.kind.as_deref() == Some(Kind::Dump.word())
    }
}

/// Reads what was left; none where nothing was, or nothing that can be read.
pub fn read(layout: &Layout) -> Option<Summary> {
    let text = fs::read_text(&layout.public_summary(), MOST_BYTES).ok()?;
    serde_json::from_str(&text).ok()
}

/// Looks at the restore points and leaves what everybody may know.
pub(super) fn leave(machine: &Machine) -> Result<()> {
    match decided(machine) {
        Ok((listed, decided)) => {
            leave_pruned(machine, &listed.iter().zip(&decided).collect::<Vec<_>>())
        }
        Err(error) => write(machine, &[], Some(error.message())),
    }
}

/// Leaves what everybody may know of restore points that were looked at just now.
pub(super) fn leave_pruned(machine: &Machine, left: &[(&Entry, &Decision)]) -> Result<()> {
    write(machine, left, None)
}

/// Points that are made while they are written: ten thousand are not held beside what they are made of.
struct Pairs<'p>(&'p [(&'p Entry, &'p Decision)]);

impl Serialize for Pairs<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> std::result::Result<S::Ok, S::Error> {
        to.collect_seq(self.0.iter().map(|(entry, decision)| Point::of(entry, decision)))
    }
}

fn write(machine: &Machine, points: &[(&Entry, &Decision)], problem: Option<String>) -> Result<()> {
    let summary = Summary {
        format: FORMAT,
        written: clock::rfc3339(machine.clock.now()),
        directory: machine.config.policy.backup_dir.display().to_string(),
        free_bytes: disk::free(&machine.config.policy.backup_dir).ok().map(|free| free.bytes),
        problem,
        points: Pairs(points),
    };
    let text = serde_json::to_vec(&summary).context(|| "cannot write the summary".to_owned())?;
    fs::make_public_dir(&machine.layout.public_dir())?;
    // A copy that decides nothing: after a power cut the next look leaves another one.
    fs::replace_unsynced(&machine.layout.public_summary(), &text, 0o644)
}

fn decided(machine: &Machine) -> Result<(Vec<Entry>, Vec<Decision>)> {
    let Some(store) = machine.stored()? else { return Ok((Vec::new(), Vec::new())) };
    let mut listed = store.list()?;
    let needs = needed::restore_points(machine)?;
    let retention = &machine.config.policy.retention;
    let now = machine.clock.now();
    let decided = store.prune_listed(&mut listed, retention, &needs, now, Mode::DryRun)?;
    Ok((listed, decided))
}
