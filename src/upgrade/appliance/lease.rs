//! Who has the disk: written when it is attached, taken back when it is let go.
//!
//! It tells two machines apart that both believe the disk to be theirs. A file system that is mounted
//! twice is lost whatever we write on it, so the real protection is the kernel's: `mkfs.ext4 -O mmp`.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::marker;
use crate::error::{Error, Result};
use crate::layout::Layout;
use crate::outcome::Outcome;
use crate::system::{clock, fs, host};
use crate::upgrade::machine::Machine;

/// Who has the disk, or had it last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// Form of the file.
    pub format: u32,
    /// machine-id(5) of the machine.
    pub machine: String,
    /// Its host name.
    pub host: String,
    /// Version of the application there.
    pub version: String,
    /// When it was attached, RFC 3339.
    pub since: String,
    /// When it was let go, RFC 3339; none while it is attached, and after a power cut.
    #[serde(default)]
    pub released: Option<String>,
}

impl Lease {
    /// Returns the lease of this machine, beginning now.
    pub fn new(machine: &Machine) -> Self {
        Self {
            format: marker::FORMAT,
            machine: machine_id(&machine.layout),
            host: host::name(),
            version: machine.version.to_string(),
            since: clock::rfc3339(machine.clock.now()),
            released: None,
        }
    }

    /// Reads who has the disk.
    pub fn read(dir: &Path) -> Result<Option<Self>> {
        marker::read(&dir.join("attached.json"), "the note of who has the data disk")
    }

    /// Writes it.
    pub fn write(&self, dir: &Path) -> Result<()> {
        marker::write(&dir.join("attached.json"), self)
    }

    /// Returns whether it is this machine that has the disk.
    pub fn is_ours(&self, layout: &Layout) -> bool {
        self.machine == machine_id(layout)
    }

    /// Refuses a disk that another machine has not let go.
    pub fn refusal(&self, machine: &Machine) -> Error {
        let take = machine.command("disk attach --take");
        Error::new(Outcome::Refused, "the data disk is attached to another machine")
            .detail(format!(
                "{} (machine {}, version {}) has it since {} and has not let it go",
                self.host, self.machine, self.version, self.since
            ))
            .state("nothing was changed; the services do not start")
            .hint(format!(
                "Shut that machine down or detach the disk there; if it lost its power, run `{take}`."
            ))
    }
}

/// Returns machine-id(5), or the host's name where there is none.
fn machine_id(layout: &Layout) -> String {
    let path = layout.root().join("etc/machine-id");
    let id = fs::read_text(&path, 4096).map(|text| text.trim().to_owned()).unwrap_or_default();
    if id.is_empty() { host::name() } else { id }
}
