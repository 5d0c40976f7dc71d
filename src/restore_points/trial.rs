//! Proving a published restore point by loading it into scratch databases, and noting that in it.
//!
//! The real databases are only asked whose their objects are. Nothing of a trial stays: a run that is
//! killed leaves a scratch database that is known by name, mark and a lock which died with it, and the
//! next run removes it.
//!
//! The note is part of the manifest, because an older program takes any other file in a restore point
//! for damage. The new manifest is written beside the restore points and takes the place of the old one
//! by a rename: whoever reads meanwhile, or after a crash at any instant, finds a whole manifest.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::foresee::{Limits, Obstacle, ToLoad, foresee};
use super::load::Load;
use super::manifest::{Archive, Contents, MANIFEST, Manifest, Proof, Trial, read_manifest};
use super::store::{RestorePoint, Store};
use crate::database::clients::Clients;
use crate::database::restore::{self as loading, Manner, NotLoaded};
use crate::database::scratch::{self, Purpose, ScratchDatabase};
use crate::database::swap::Server;
use crate::database::{Database, roles};
use crate::error::{Context, Error, Result};
use crate::outcome::Outcome;
use crate::progress::Progress;
use crate::system::clock::{self, Clock};
use crate::system::fs;
use crate::system::signals;

/// How the name of a manifest begins that is about to take the place of another one.
pub(super) const NEW: &str = ".manifest-";

/// How the C library says that a disk is full, in the words of the server.
const FULL: &str = "No space left on device";

/// How a point is tried.
#[derive(Clone, Debug)]
pub struct TrialOptions {
    /// How long it may take, and what it must leave.
    pub limits: Limits,
    /// Time of the note and of the names of scratch databases.
    pub clock: Clock,
    /// Where client programs are looked for.
    pub clients: Clients,
}

/// What a trial showed; a point that cannot be loaded is an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tried {
    /// Every archive was loaded, and what came out is what was dumped.
    Restored(Duration),
    /// Nothing was shown either way, and why.
    NotTried(Vec<Obstacle>),
}

/// Why one archive was not loaded.
enum Ended {
    /// There was no time or no room left: the archive is not to blame.
    NotTried(String),
    /// The archive cannot be loaded.
    Bad(Error),
    /// Neither: the server is away, or we were asked to stop.
    Cut(Error),
}

/// Removes what trials and rehearsals of these databases that were killed left beside them.
pub fn sweep(databases: &[&Database], progress: &dyn Progress) -> Result<()> {
    for database in databases {
        for name in scratch::drop_scratch_leftovers(database, database)? {
            progress.note(&format!("removed {name}, left by a run that was killed"));
        }
    }
    Ok(())
}

impl Store {
    /// Loads a point into scratch databases beside these, compares what came out with what was dumped,
    /// and notes the proof in the point.
    pub fn try_restoring(
        &self,
        point: &mut RestorePoint,
        databases: &[&Database],
        options: &TrialOptions,
        progress: &dyn Progress,
    ) -> Result<Tried> {
        let mut all = Vec::new();
        for archive in &point.manifest().databases {
            let found = databases.iter().find(|database| database.name() == archive.name);
            let database = found.ok_or_else(|| {
                let text = format!("restore point {} has a database {}", point.id(), archive.name);
                Error::config(text + ", which is not configured").state("nothing was changed")
            })?;
            all.push((*database, archive.clone(), point.contents(&archive.name)?));
        }
        let to_load: Vec<ToLoad<'_>> = all
            .iter()
            .map(|(database, archive, contents)| ToLoad {
                database,
                bytes: archive.database_bytes,
                extensions: contents.extensions.clone(),
            })
            .collect();
        let foreseen = foresee(Some(self), &to_load, &options.limits)?;
        if !foreseen.obstacles.is_empty() {
            return Ok(Tried::NotTried(foreseen.obstacles));
        }
        progress.step(&format!(
            "loading {} into a scratch database, about {} ({})",
            point.id(),
            clock::spoken(foreseen.time),
            foreseen.source
        ));
        sweep(&all.iter().map(|(database, ..)| *database).collect::<Vec<_>>(), progress)?;
        let (begun, started) = (Instant::now(), options.clock.now());
        let mut trial = Trial {
            at: clock::rfc3339(started),
            duration_ms: 0,
            failed: None,
            left_out: Vec::new(),
        };
        for (database, archive, contents) in &all {
            let own = roles::hindrance_of(database, database)?;
            if let Some(why) = &own {
                let told = format!("owners and grants of {}: {why}", archive.name);
                progress.note(&format!("tried without {told}"));
                trial.left_out.push(told);
            }
            let manner = if own.is_some() { Manner::ScratchOfOurOwn } else { Manner::Scratch };
            let left = options.limits.time.map(|limit| limit.saturating_sub(begun.elapsed()));
            match point.try_one(database, (archive, contents), manner, left, options, progress) {
                Ok(()) => {}
                Err(Ended::NotTried(why)) => {
                    return Ok(Tried::NotTried(vec![Obstacle::for_now(why)]));
                }
                Err(Ended::Cut(error)) => return Err(error),
                Err(Ended::Bad(error)) => {
                    trial.duration_ms = clock::millis(begun.elapsed());
                    trial.failed =
                        Some(error.details().first().cloned().unwrap_or(error.message()));
                    if let Err(unnoted) = point.note_trial(trial) {
                        progress.warn(&unnoted.message());
                    }
                    return Err(error);
                }
            }
        }
        trial.duration_ms = clock::millis(begun.elapsed());
        let took = begun.elapsed();
        point.note_trial(trial)?;
        Ok(Tried::Restored(took))
    }
}

impl RestorePoint {
    fn try_one(
        &self,
        database: &Database,
        (archive, contents): (&Archive, &Contents),
        manner: Manner,
        left: Option<Duration>,
        options: &TrialOptions,
        progress: &dyn Progress,
    ) -> std::result::Result<(), Ended> {
        if database.file().is_some() {
            let tried = self.try_file(database, (archive, contents), options.clock);
            return tried.map_err(|error| {
                self.judge(database, archive, NotLoaded { error, refused: None })
            });
        }
        let prepared = || -> Result<_> {
            let major = Server::beside(database)?.major()?;
            let client = options.clients.choose_for_restore(major, &archive.client_version)?;
            let stamp = clock::stamp(options.clock.now());
            let (scratch, _) = ScratchDatabase::create(database, database, &stamp, Purpose::Trial)?;
            Ok((client, scratch))
        };
        let (client, scratch) = prepared().map_err(Ended::Cut)?;
        let load = Load { archive, contents, client: &client, manner };
        let begun = Instant::now();
        let loaded = self.load(scratch.database(), &load, left, progress);
        let ended = match loaded {
            Ok(()) => self.compare(scratch.database(), &load).map_err(|error| {
                // The message names a database that is about to be gone.
                let told = error.instead_of(&scratch.database().described(), "a scratch database");
                self.judge(database, archive, NotLoaded { error: told, refused: None })
            }),
            Err(_) if left.is_some_and(|left| begun.elapsed() >= left) => {
                Err(Ended::NotTried("it took longer than verify_limit and was ended".into()))
            }
            Err(not) => Err(self.judge(database, archive, not)),
        };
        if let Err(error) = scratch.remove() {
            progress.warn(&error.message());
        }
        ended
    }

    /// Says whose fault it is that an archive was not loaded, and what would mend it.
    fn judge(&self, database: &Database, archive: &Archive, not: NotLoaded) -> Ended {
        if signals::received().is_some() {
            return Ended::Cut(not.error);
        }
        if let Err(error) = database.connect()
            && error.outcome() == Outcome::Unreachable
        {
            return Ended::Cut(error);
        }
        let said = not.refused.as_ref().and_then(|refused| refused.said.as_deref());
        if said.is_some_and(|said| said.contains(FULL)) {
            return Ended::NotTried(format!("the server's disk was full: {FULL}"));
        }
        let text = format!("restore point {} cannot be restored: {}", self.id(), archive.name);
        let text = match said {
            Some(_) => format!("{text} does not load"),
            None => format!("{text}: {}", not.error.message()),
        };
        let error = not.error.details().iter().fold(Error::failed(text), Error::detail);
        let remedies = not.refused.map(|refused| loading::remedies(database, &refused));
        let remedies = remedies.and_then(Result::ok).unwrap_or_default();
        Ended::Bad(match remedies.as_slice() {
            [] => error.hint("Mend what the server names, then take another restore point."),
            statements => error.hint(format!(
                "A restore runs with an empty search path: run `{}` in the database {}, then take \
                 another restore point.",
                statements.join("; "),
                database.dbname()
            )),
        })
    }

    /// Notes durably how an attempt to load this point ended; a good one raises its proof.
    ///
    /// A proof is never lowered: a server that lacks something today does not change what was shown.
    pub fn note_trial(&mut self, mut trial: Trial) -> Result<()> {
        if self.is_encrypted() {
            // The manifest is in clear, and the server's words may name tables and quote rows.
            trial.failed = trial.failed.map(|_| "why is told by another trial".into());
        }
        let attempt = || format!("cannot note the proof of restore point {}", self.id());
        let path = self.dir().join(MANIFEST);
        let bytes = read_manifest(self.dir()).context(attempt)?;
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
