//! One archive of a restore point into an empty database, compared with what was dumped.

use std::time::Duration;

use super::archive::contents_name;
use super::manifest::{Archive, Contents, Kind};
use super::store::RestorePoint;
use super::verify;
use crate::database::clients::{Client, Clients};
use crate::database::swap::Server;
use crate::database::{Database, restore as loading};
use crate::error::{Context, Error, Result};
use crate::outcome::Outcome;
use crate::progress::Progress;

/// The most bytes of the file with what an archive contains.
pub(super) const CONTENTS_LIMIT: u64 = 128 << 20;

/// What is loaded, and how.
pub(super) struct Load<'a> {
    pub(super) archive: &'a Archive,
    pub(super) contents: &'a Contents,
    pub(super) client: &'a Client,
    pub(super) manner: loading::Manner,
}

impl RestorePoint {
    pub(super) fn archive(&self, name: &str) -> Result<&Archive> {
        let found = self.manifest().databases.iter().find(|archive| archive.name == name);
        found.ok_or_else(|| {
            let text = format!("restore point {} has no archive of the database {name}", self.id());
            Error::new(Outcome::Refused, text).state("nothing was changed")
        })
    }

    /// Refuses a point that has nothing to load: a clone that is not dumped yet, or what a command
    /// of the operator made.
    pub fn check_has_archives(&self) -> Result<()> {
        let why = match self.manifest().kind {
            Kind::Dump => return Ok(()),
            Kind::Clone => "a clone on its server, whose dump is not made yet",
            Kind::External => "what a command of the operator made",
        };
        let text = format!("restore point {} has no archive to load: it is {why}", self.id());
        Err(Error::new(Outcome::Refused, text).state("nothing was changed"))
    }

    pub(super) fn contents(&self, name: &str) -> Result<Contents> {
        let file = contents_name(name);
        let failed = || format!("cannot read {}", self.dir().join(&file).display());
        let bytes = self.read_member(&file, CONTENTS_LIMIT)?;
        let bytes = bytes.ok_or_else(|| Error::failed(failed()).detail("it is missing"))?;
        serde_json::from_slice(&bytes).context(failed)
    }

    /// Reads every file and compares it with its sum: a point that rotted on the disk is found
    /// before anything is done with it.
    pub fn check(&self, progress: &dyn Progress) -> Result<()> {
        // A wrong identity is found before minutes are spent.
        let keys = self.is_encrypted().then(|| self.opening_keys()).transpose()?;
        let mut done = 0;
        let total = Some(self.manifest().bytes);
        verify::check_files(self.dir(), self.manifest(), |bytes| {
            done += bytes;
            progress.alive("checking the restore point", done, total);
        })
        .map_err(|why| why.of(self).state("the present data is untouched"))?;
        let Some(keys) = keys else { return Ok(()) };
        self.check_encrypted(&keys, progress)
            .map_err(|why| why.of(self).state("the present data is untouched"))
    }

    /// Fills a scratch database with what this point has of `name`; nothing else is touched.
    pub fn load_into(
        &self,
        name: &str,
        target: &Database,
        manner: loading::Manner,
        progress: &dyn Progress,
    ) -> Result<()> {
        self.check_has_archives()?;
        let archive = self.archive(name)?;
        let contents = self.contents(name)?;
        let major = Server::beside(target)?.major()?;
        let client = Clients::default().choose_for_restore(major, &archive.client_version)?;
        self.fill(target, &Load { archive, contents: &contents, client: &client, manner }, progress)
    }

    /// Loads an archive into an empty database, and compares tables and rows with the dump.
    pub(super) fn fill(
        &self,
        target: &Database,
        load: &Load<'_>,
        progress: &dyn Progress,
    ) -> Result<()> {
        self.load(target, load, None, progress)?;
        self.compare(target, load)?;
        if let Err(error) = loading::analyze(target) {
            progress.warn(&error.message());
        }
        Ok(())
    }

    /// Loads an archive into an empty database, within `limit` where there is one.
    pub(super) fn load(
        &self,
        target: &Database,
        load: &Load<'_>,
        limit: Option<Duration>,
        progress: &dyn Progress,
    ) -> std::result::Result<(), loading::NotLoaded> {
        loading::unhurried(target, || {
            if self.is_encrypted() {
                return Ok(self.load_encrypted(target, load, limit, progress)?);
            }
            let dir = self.dir().join(&load.archive.name);
            let expected = load.archive.database_bytes;
            loading::load(target, load.client, &dir, load.manner, expected, limit, progress)
        })
    }

    /// Compares what was loaded with what was dumped.
    pub(super) fn compare(&self, target: &Database, load: &Load<'_>) -> Result<()> {
        let (rows, sums) = (&load.contents.rows, &load.contents.checksums);
        // Another major version may write the same values in another way.
        let major = |version: &str| version.split('.').next().and_then(|m| m.parse().ok());
        let same = major(&load.archive.server_version) == Some(Server::beside(target)?.major()?);
        loading::compare(target, rows, if same { sums } else { &[] })
    }
}
