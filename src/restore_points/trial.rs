//! Noting in a published restore point how far it is proven by now.
//!
//! The note is part of the manifest, because an older program takes any other file in a restore point
//! for damage. The new manifest is written beside the restore points and takes the place of the old one
//! by a rename: whoever reads meanwhile, or after a crash at any instant, finds a whole manifest.

use serde_json::Value;

use super::manifest::{MANIFEST, Manifest, Proof, Trial, read_whole};
use super::store::RestorePoint;
use crate::error::{Context, Error, Result};
use crate::system::fs;

/// How the name of a manifest begins that is about to take the place of another one.
const NEW: &str = ".manifest-";

/// The most bytes of a manifest.
const LIMIT: u64 = 4 << 20;

impl RestorePoint {
    /// Notes durably how an attempt to load this point ended; a good one raises its proof.
    ///
    /// A proof is never lowered: a server that lacks something today does not change what was shown.
    pub fn note_trial(&mut self, trial: Trial) -> Result<()> {
        let attempt = || format!("cannot note the proof of restore point {}", self.id());
        let path = self.dir().join(MANIFEST);
        let bytes = read_whole(&path, LIMIT).context(attempt)?;
        // As plain values: what a newer program wrote there and this one does not know stays.
        let mut text: Value = serde_json::from_slice(&bytes).context(attempt)?;
        if trial.failed.is_none() {
            text["proof"] = serde_json::to_value(Proof::Restored).context(attempt)?;
        }
        text["trial"] = serde_json::to_value(&trial).context(attempt)?;
        let manifest: Manifest = serde_json::from_value(text.clone()).context(attempt)?;
        let mut bytes = serde_json::to_vec_pretty(&text).context(attempt)?;
        bytes.push(b'\n');
        let Some(store) = self.dir().parent() else {
            return Err(Error::failed(attempt()));
        };
        let new = store.join(format!("{NEW}{}", self.id()));
        fs::replace(&new, &bytes, 0o600)?;
        fs::rename(&new, &path).context(attempt)?;
        self.manifest = manifest;
        Ok(())
    }
}
