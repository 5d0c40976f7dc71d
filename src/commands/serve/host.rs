//! Who this machine is, as other machines may know it.

use sha2::{Digest as _, Sha256};

use crate::layout::Layout;
use crate::system::{fs, host};

/// This machine.
pub(super) struct Host {
    /// SHA-256 over application and machine id, in hexadecimal digits.
    pub(super) machine: String,
    /// Host name.
    pub(super) name: String,
}

/// Reads the identity of this machine; the name stands in where there is no machine id.
pub(super) fn read(layout: &Layout) -> Host {
    let name = host::name();
    let name = if name.is_empty() { "localhost".to_owned() } else { name };
    let id = fs::read_text(&layout.root().join("etc/machine-id"), 1024).unwrap_or_default();
    // machine-id(5): the id itself is confidential, only digests of it may leave the machine.
    let id = if id.trim().is_empty() { name.as_str() } else { id.trim() };
    let digest = Sha256::new().chain_update(layout.app()).chain_update([0]).chain_update(id);
    Host { machine: hex::encode(digest.finalize()), name }
}
