//! Restore points: made, listed, proven, restored, pruned.
//!
//! A directory counts as a restore point only if it holds a manifest. The manifest is therefore
//! written last and removed first: at no instant can a partial dump be mistaken for a good one.

mod archive;
mod carry;
mod clone;
mod create;
mod digest;
mod dumping;
mod encryption;
mod entry;
mod estimate;
mod external;
mod foresee;
mod form;
mod frames;
mod globals;
mod in_file;
mod load;
mod manifest;
mod packing;
mod partial;
mod pin;
mod prove;
mod prune;
mod replaced;
mod restore;
mod retention;
mod room;
mod spread;
mod store;
mod travelling;
mod trial;
mod verify;

pub use carry::{Import, Imported, is_plain_word};
pub use clone::{Completing, Copied, former, obstacles};
pub use create::{Request, Target};
pub use digest::sha256_of_file;
pub use encryption::Keyring;
pub use entry::{Entry, Origin, Status};
pub use estimate::Estimate;
pub use external::Hook;
pub use foresee::{Foreseen, Lasts, Limits, Obstacle, ToLoad, foresee};
pub use manifest::{
    Archive, ArchiveKind, Contents, Encryption, EncryptionFormat, Kind, Manifest, Proof, Reason,
    SchemaNote, Trial,
};
pub use partial::ScratchStore;
pub use pin::{PinNote, pin_end};
pub use prune::Mode;
pub use replaced::{Circumstances, decide_replaced};
pub use restore::{
    First, Loss, Override, REPLACED, Replaced, RestoreOptions, Restored, UNTOUCHED, check, restore,
    restore_after, restore_into,
};
pub use retention::{Decision, Needs, Pin, Verdict, decide};
pub use room::Room;
pub use store::{RestorePoint, Store};
pub use travelling::{Carried, Form, Now, Travelling};
pub use trial::{TrialOptions, Tried, sweep};
