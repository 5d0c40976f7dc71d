//! Restore points: verified archives with a manifest, made to undo one upgrade.
