//! The keys of an application's restore points: public ones to make them, secret ones to open them.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::error::Result;
use crate::system::encryption::{Identities, Recipient, recipients_of};

/// Keys, or where they are; a secret one is read when something must be opened, and not before.
#[derive(Clone, Debug, Default)]
pub struct Keyring {
    recipients: Vec<Recipient>,
    recipients_file: Option<PathBuf>,
    identity_file: Option<PathBuf>,
    /// Whether the identity was named for this run only.
    for_this_run: bool,
    /// A key of this process, which every restore point that it makes can be opened with: its proof,
    /// a rehearsal and a restore within the same run need no other. It is nowhere but in memory.
    own: Arc<Mutex<Option<Identities>>>,
}

impl Keyring {
    /// Gathers what the configuration names; without recipients nothing is encrypted.
    pub fn new(
        recipients: Vec<Recipient>,
        recipients_file: Option<PathBuf>,
        identity_file: Option<PathBuf>,
    ) -> Self {
        let own = Arc::default();
        Self { recipients, recipients_file, identity_file, for_this_run: false, own }
    }

    /// Opens with the identity in this file instead of the configured one.
    pub fn use_identity(&mut self, file: PathBuf) {
        self.identity_file = Some(file);
        self.for_this_run = true;
    }

    /// Returns the file with the secret key where it was named for this run and nothing else knows it.
    pub fn named_identity(&self) -> Option<&Path> {
        self.identity_file().filter(|_| self.for_this_run)
    }

    /// Returns whether restore points are encrypted.
    pub fn encrypts(&self) -> bool {
        !self.recipients.is_empty() || self.recipients_file.is_some()
    }

    /// Returns the file with the secret key, where one is named.
    pub fn identity_file(&self) -> Option<&Path> {
        self.identity_file.as_deref()
    }

    /// Returns everybody that restore points are encrypted to, each once.
    ///
    /// A file that cannot be read or names nobody is an error: nothing is written in clear instead.
    pub fn recipients(&self) -> Result<Vec<Recipient>> {
        let mut all: Vec<Recipient> = Vec::new();
        let listed = self.recipients_file.as_deref().map(recipients_of).transpose()?;
        for recipient in self.recipients.iter().cloned().chain(listed.into_iter().flatten()) {
            if !all.contains(&recipient) {
                all.push(recipient);
            }
        }
        Ok(all)
    }

    /// Returns the identities of the file that is named, if one is.
    pub fn identities(&self) -> Result<Option<Identities>> {
        self.identity_file.as_deref().map(Identities::read).transpose()
    }

    /// Returns the key of this process, making it at its first use.
    pub(super) fn own_key(&self) -> Identities {
        let mut own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        own.get_or_insert_with(Identities::generate).clone()
    }

    /// Returns the key of this process where it made anything.
    pub(super) fn own_key_if_made(&self) -> Option<Identities> {
        self.own.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
