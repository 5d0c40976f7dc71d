//! Encryption of streams to public keys, in the age format (age-encryption.org/v1): the key that
//! encrypts is no secret, and the one that decrypts need not be on this machine.

mod identities;
mod recipient;
mod stream;

pub use identities::Identities;
pub use recipient::{Recipient, recipients_of};
pub use stream::{Opened, Sealing, open, seal};
