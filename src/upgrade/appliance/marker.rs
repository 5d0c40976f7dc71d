//! Whose disk it is: a file on the disk, and the same words in the system that knows it.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::disk::Mounted;
use crate::error::{Context as _, Error, Result};
use crate::outcome::Outcome;
use crate::system::process::{Call, find};
use crate::system::{clock, fs, host};
use crate::upgrade::machine::Machine;

/// The newest form of the files on the disk that this program understands.
pub(super) const FORMAT: u32 = 1;

/// More than any of our files on the disk; what is longer was not written by us.
pub(super) const MOST_BYTES: u64 = 1 << 20;

/// How long asking for the name of a file system may take.
const PROBE_LIMIT: std::time::Duration = std::time::Duration::from_secs(30);

/// The identity of a data disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marker {
    /// Form of the file.
    pub format: u32,
    /// Application whose data it holds.
    pub app: String,
    /// Name that was drawn when the disk was marked.
    pub id: String,
    /// Name of the file system, where it could be asked for.
    pub uuid: Option<String>,
    /// Host that marked it.
    pub host: String,
    /// When it was marked, RFC 3339.
    pub since: String,
}

impl Marker {
    /// Returns a marker for a disk that has none.
    pub fn new(machine: &Machine, uuid: Option<String>) -> Result<Self> {
        let id = std::fs::read_to_string("/proc/sys/kernel/random/uuid")
            .context(|| "cannot draw a name for the disk".into())?;
        Ok(Self {
            format: FORMAT,
            app: machine.layout.app().to_owned(),
            id: id.trim().to_owned(),
            uuid,
            host: host::name(),
            since: clock::rfc3339(machine.clock.now()),
        })
    }

    /// Reads the marker of a disk; none where it has none.
    pub fn read(dir: &Path) -> Result<Option<Self>> {
        let found: Option<Self> = read(&dir.join("disk.json"), "the marker of the data disk")?;
        match found {
            Some(marker) if marker.format > FORMAT => Err(too_new("the marker of the data disk")),
            found => Ok(found),
        }
    }

    /// Writes it.
    pub fn write(&self, dir: &Path) -> Result<()> {
        write(&dir.join("disk.json"), self)
    }

    /// Says whose disk it is.
    pub fn told(&self) -> String {
        let uuid = self.uuid.as_ref().map_or(String::new(), |uuid| format!(", file system {uuid}"));
        format!("disk {} of {}{uuid}, marked on {} {}", self.id, self.app, self.host, self.since)
    }
}

/// Reads one of our files on the disk. One that is damaged is a reason to stop, never to go on.
pub(super) fn read<T: serde::de::DeserializeOwned>(path: &Path, what: &str) -> Result<Option<T>> {
    let damaged = |error: String| {
        Error::new(Outcome::Stuck, format!("{what} cannot be read: {}", path.display()))
            .detail(error)
            .state("nothing was changed; the services do not start")
            .hint(format!("Look at `{}`.", path.display()))
    };
    match fs::read_text(path, MOST_BYTES) {
        Ok(text) => {
            serde_json::from_str(&text).map(Some).map_err(|error| damaged(error.to_string()))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(damaged(error.to_string())),
    }
}

/// Writes one of our files on the disk, whole and durably. None holds a secret.
pub(super) fn write(path: &Path, content: &impl Serialize) -> Result<()> {
    let text = serde_json::to_vec_pretty(content)
        .context(|| format!("cannot write {}", path.display()))?;
    fs::replace(path, &text, 0o644)
}

/// A later version of this program wrote it: what it means is not guessed.
pub(super) fn too_new(what: &str) -> Error {
    Error::new(Outcome::Refused, format!("{what} was written by a later version of this program"))
        .state("nothing was changed; the services do not start")
        .hint("Attach the disk to a system of that version, or install it here.")
}

/// Asks for the name of a mounted file system; none where nobody knows it.
pub fn uuid(mounted: &Mounted) -> Option<String> {
    let call = Call::new(find("blkid")?).args(["-p", "-s", "UUID", "-o", "value"]);
    let said = call.arg(&mounted.source).deadline(PROBE_LIMIT).run().ok()?.text();
    Some(said).filter(|uuid| !uuid.is_empty())
}

/// Lists the devices of this machine that hold a file system of this name: more than one is the same
/// disk twice, or a copy beside it.
pub fn holders(uuid: &str) -> Vec<String> {
    let Some(blkid) = find("blkid") else { return Vec::new() };
    // Not from the cache, which knows devices that are gone.
    let call =
        Call::new(blkid).args(["-c", "/dev/null", "-t", &format!("UUID={uuid}"), "-o", "device"]);
    let said = call.deadline(PROBE_LIMIT).run().map(|output| output.text()).unwrap_or_default();
    said.lines().map(str::to_owned).collect()
}

/// Returns whether the kernel refuses to mount the file system where another machine has it mounted.
pub(super) fn has_mount_protection(mounted: &Mounted) -> bool {
    let Some(program) = find("dumpe2fs") else { return false };
    let said = Call::new(program).arg("-h").arg(&mounted.source).deadline(PROBE_LIMIT).run();
    said.is_ok_and(|output| {
        let text = output.text();
        let features = text.lines().find(|line| line.starts_with("Filesystem features:"));
        features.is_some_and(|line| line.split_whitespace().any(|word| word == "mmp"))
    })
}
