//! Making a restore point: dumped under a partial name, proven, synced, published by one rename.

use std::time::{Duration, Instant};

use super::digest;
use super::manifest::{
    Archive, Encryption, Kind, MANIFEST, Manifest, Proof, Reason, SUMS, SchemaNote,
};
use super::partial::Partial;
use super::store::{PARTIAL, RestorePoint, Store};
use crate::database::Database;
use crate::database::clients::Clients;
use crate::error::{Context, Error, Result};
use crate::outcome::Outcome;
use crate::progress::Progress;
use crate::system::clock::{self, Clock};
use crate::system::fs;
use crate::system::signals;
use crate::version::Version;

/// One database of a restore point.
#[derive(Clone)]
pub struct Target<'a> {
    /// The database.
    pub database: &'a Database,
    /// Its schema at this moment.
    pub schema: SchemaNote,
}

/// What a restore point shall hold.
#[derive(Clone)]
pub struct Request<'a> {
    /// Why it is made.
    pub reason: Reason,
    /// Version that runs now.
    pub from_version: Option<Version>,
    /// Version that the upgrade leads to.
    pub to_version: Option<Version>,
    /// The databases.
    pub databases: Vec<Target<'a>>,
    /// Free space that must be left, in bytes.
    pub reserve: u64,
    /// How long a lock that somebody holds on a table is waited for.
    pub lock_wait: Duration,
    /// Time of the name and of the manifest.
    pub clock: Clock,
    /// Where client programs are looked for.
    pub clients: Clients,
}

impl Store {
    /// Makes, proves and publishes a restore point; on failure only older ones are there.
    pub fn create(&self, request: &Request, progress: &dyn Progress) -> Result<RestorePoint> {
        self.attempt(request, progress).map_err(no_point)
    }
}

/// Says of an attempt that failed that only older points are there.
pub(super) fn no_point(error: Error) -> Error {
    let error = match error.outcome() {
        Outcome::Unreachable | Outcome::Config => error,
        _ => error.outcome_as(Outcome::BackupFailed),
    };
    match error.state_line() {
        Some(_) => error,
        None => error.state("no restore point was made; older ones are untouched"),
    }
}

/// What is known of a restore point before anything of it is written.
pub(super) struct Draft {
    pub(super) id: String,
    pub(super) sequence: u64,
    /// When its data was what it is, RFC 3339.
    pub(super) created: String,
    pub(super) begun: Instant,
    pub(super) kind: Kind,
    pub(super) identifier: Option<String>,
    pub(super) proof: Proof,
    /// Whether it takes the place of a point of the same name.
    pub(super) place: Place,
    /// To whom its archives are encrypted.
    pub(super) encryption: Option<Encryption>,
}

/// Where a finished restore point goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Its name is free.
    New,
    /// A point of its name is there and goes.
    Exchange,
}

impl Store {
    /// Begins a restore point that is made now.
    pub(super) fn draft(&self, request: &Request, kind: Kind, proof: Proof) -> Result<Draft> {
        let created = request.clock.now();
        Ok(Draft {
            id: self.free_id(&clock::stamp(created), request.from_version.as_ref()),
            sequence: self.next_sequence()?,
            created: clock::rfc3339(created),
            begun: Instant::now(),
            kind,
            identifier: None,
            proof,
            place: Place::New,
            encryption: if kind == Kind::Dump { self.encryption()? } else { None },
        })
    }

    fn attempt(&self, request: &Request, progress: &dyn Progress) -> Result<RestorePoint> {
        let draft = self.draft(request, Kind::Dump, Proof::ReadBack)?;
        let partial = self.partial(&draft)?;
        let mut archives = Vec::new();
        let mut sums = digest::Sums::default();
        for target in &request.databases {
            let (archive, more) = self.archive(&partial.dir, target, request, progress)?;
            archives.push(archive);
            sums.0.extend(more.0);
        }
        self.finish(partial, draft, request, archives, &sums)
    }

    /// Makes the directory that a restore point is written in.
    pub(super) fn partial(&self, draft: &Draft) -> Result<Partial> {
        Partial::new(self.dir().join(format!("{PARTIAL}{}", draft.id)))
    }

    /// Syncs what was written, adds the manifest and publishes the restore point.
    pub(super) fn finish(
        &self,
        partial: Partial,
        draft: Draft,
        request: &Request,
        archives: Vec<Archive>,
        sums: &digest::Sums,
    ) -> Result<RestorePoint> {
        let failed = || format!("cannot write {}", partial.dir.display());
        let mut sums = sums.clone();
        // What takes the place of a clone carries the files of the clone. Nothing is written in clear
        // where restore points are not: a clone has them encrypted for its dump, and of what a command
        // made they could not be read back.
        let unreadable = draft.kind == Kind::External && self.keyring().encrypts();
        if draft.place == Place::New && !unreadable {
            sums.0.extend(self.write_travelling(&partial.dir, &draft.id)?);
        }
        let sums = sums.text();
        fs::replace(&partial.dir.join(SUMS), sums.as_bytes(), 0o600)?;
        fs::sync_tree(&partial.dir).context(failed)?;
        let manifest = Manifest {
            format: Manifest::format_of(draft.kind, draft.encryption.as_ref(), &archives),
            id: draft.id,
            sequence: draft.sequence,
            app: self.app().to_owned(),
            reason: request.reason,
            created: draft.created,
            duration_ms: clock::millis(draft.begun.elapsed()),
            from_version: request.from_version.clone(),
            to_version: request.to_version.clone(),
            host: host(),
            program: env!("CARGO_PKG_VERSION").to_owned(),
            kind: draft.kind,
            identifier: draft.identifier,
            proof: draft.proof,
            trial: None,
            imported: None,
            encryption: draft.encryption,
            bytes: fs::size_below(&partial.dir),
            sums_sha256: digest::of_bytes(sums.as_bytes()),
            databases: archives,
        };
        self.publish(partial, manifest, draft.place)
    }

    fn publish(
        &self,
        mut partial: Partial,
        manifest: Manifest,
        place: Place,
    ) -> Result<RestorePoint> {
        if let Some(signal) = signals::received() {
            return Err(Error::failed(format!("stopped because we received {signal}")));
        }
        let mut text =
            serde_json::to_vec_pretty(&manifest).context(|| "cannot write the manifest".into())?;
        text.push(b'\n');
        fs::replace(&partial.dir.join(MANIFEST), &text, 0o600)?;
        let dir = self.dir().join(&manifest.id);
        match place {
            Place::New => {
                fs::rename(&partial.dir, &dir)
                    .context(|| format!("cannot publish the restore point {}", manifest.id))?;
                partial.published = true;
            }
            // What was there goes with the partial name, as a partial one does.
            Place::Exchange => fs::exchange(&partial.dir, &dir)
                .context(|| format!("cannot publish the restore point {}", manifest.id))?,
        }
        let (app, keyring) = (self.app().to_owned(), self.keyring().clone());
        Ok(RestorePoint { dir, app, manifest, keyring })
    }

    /// Returns a name that nothing in the directory has.
    fn free_id(&self, stamp: &str, version: Option<&Version>) -> String {
        let version = version.map_or("unknown", Version::as_str);
        let plain: String = version
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() || "._+~-".contains(c) { c } else { '_' })
            .take(60)
            .collect();
        let first = format!("{stamp}-{plain}");
        let taken = |id: &String| {
            self.dir().join(id).symlink_metadata().is_ok()
                || self.dir().join(format!("{PARTIAL}{id}")).symlink_metadata().is_ok()
        };
        let mut ids = std::iter::once(first.clone()).chain((2..).map(|n| format!("{first}.{n}")));
        ids.find(|id| !taken(id)).unwrap_or(first)
    }
}

pub(super) fn host() -> String {
    crate::system::host::name()
}
