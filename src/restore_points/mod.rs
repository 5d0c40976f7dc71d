//! Restore points: made, listed, proven, restored, pruned.
//!
//! A directory counts as a restore point only if it holds a manifest. The manifest is therefore
//! written last and removed first: at no instant can a partial dump be mistaken for a good one.

mod archive;
mod create;
mod digest;
mod estimate;
mod frames;
mod load;
mod manifest;
mod partial;
mod prove;
mod prune;
mod restore;
mod retention;
mod store;
mod trial;
mod verify;

pub use create::{Request, Target};
pub use estimate::Estimate;
pub use manifest::{Archive, Contents, Kind, Manifest, Proof, Reason, SchemaNote, Trial};
pub use partial::ScratchStore;
pub use prune::Mode;
pub use restore::{Loss, Override, Replaced, RestoreOptions, Restored, restore};
pub use retention::{Decision, Pin, Verdict, decide};
pub use store::{Entry, RestorePoint, Status, Store};
