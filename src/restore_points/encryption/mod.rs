//! Restore points that are encrypted: nothing of the data, not even a table's name, lies in clear on
//! the disk, neither while one is made nor while it is restored.

mod keyring;
mod members;
mod read;
mod write;

pub use keyring::Keyring;
pub(super) use members::{ENDING, first_missing};
pub(super) use write::EncryptedCopy;
