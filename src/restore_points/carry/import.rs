//! A stream that a restore point is made of again: nothing in it is believed before it was compared.

use std::collections::HashMap;
use std::io::{self, BufReader, Read};
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::members::{LONGEST_NAME, Member, Members, refused, unread};
use super::received::{is_plain_word, received};
use super::{FORMAT, HEAD, HEAD_LIMIT, Hashed, Head};
use crate::disk;
use crate::error::{Context, Error, Result};
use crate::outcome::Outcome;
use crate::progress::Progress;
use crate::restore_points::digest::{self, Sums};
use crate::restore_points::entry::{Origin, is_locked, stamp_of};
use crate::restore_points::manifest::{Kind, MANIFEST, Manifest, SUMS};
use crate::restore_points::partial::Partial;
use crate::restore_points::pin::PinNote;
use crate::restore_points::restore::Override;
use crate::restore_points::store::{DAMAGED, PARTIAL, RestorePoint, Store};
use crate::restore_points::verify;
use crate::system::{clock, fs, host};

/// How long an imported point is pinned that brings no pin: it may be older than the retention keeps,
/// and whoever carried it here wants to use it.
const PINNED: Duration = Duration::from_secs(7 * 86_400);

/// The most bytes of the sums.
const SUMS_LIMIT: u64 = 128 << 20;

/// The largest number that a restore point may bring: those of later ones follow it.
const LAST_SEQUENCE: u64 = 1 << 53;

/// The longest name of a restore point, in bytes.
const LONGEST_ID: usize = 200;

/// Files beyond those that the manifest counts, such as the contents of each archive.
const MORE_FILES: u64 = 4096;

/// What an import may do.
pub struct Import {
    /// Free space that must be left, in bytes.
    pub reserve: u64,
    /// This moment.
    pub now: SystemTime,
    /// Whether a point of another application is taken.
    pub foreign: Override,
}

/// A restore point that came in.
pub struct Imported {
    /// The point.
    pub point: RestorePoint,
    /// Whose it is.
    pub origin: Origin,
    /// The pin that it has now.
    pub pin: PinNote,
}

impl Store {
    /// Makes a restore point of a stream. It appears under its name when every byte of it was compared
    /// with its sum and synced; a failure leaves nothing.
    pub fn import(
        &self,
        from: &mut dyn Read,
        how: &Import,
        progress: &dyn Progress,
    ) -> Result<Imported> {
        let mut stream = tar::Archive::new(BufReader::with_capacity(256 << 10, from));
        let mut members = Members::of(&mut stream)?;
        let mut first = members.next()?.ok_or_else(|| refused("it is empty"))?;
        if first.name != HEAD {
            return Err(refused("it does not begin as an export does"));
        }
        let head = head(&first.read(HEAD_LIMIT)?)?;
        let manifest = Manifest::parse(head.manifest.as_bytes(), Some(&head.id))
            .map_err(|fault| refused(&fault.told()))?;
        let origin = self.accept(&manifest, how)?;
        let text = received(head.manifest.as_bytes(), how.now)?;
        let partial = self.place(&manifest)?;
        let mut unpacking = Unpacking::begin(&partial.dir, &manifest, &mut members)?;
        unpacking.files(&mut members, head.manifest.as_bytes(), progress)?;
        drop(unpacking);
        verify::check_sizes(&partial.dir, &manifest).map_err(|why| refused(&why.to_string()))?;
        fs::sync_tree(&partial.dir).context(|| format!("cannot sync {}", partial.dir.display()))?;
        let kept = Manifest::parse(&text, Some(&manifest.id));
        let manifest = kept.map_err(|fault| refused(&fault.told()))?;
        // Before the point is there: no prune may find it without.
        let pin = carried_pin(head.pin, how.now);
        let id = manifest.id.clone();
        self.write_pin(&id, &pin)?;
        let published = self.publish_text(partial, manifest, &text);
        if published.is_err() && self.refuse_taken(&id).is_ok() {
            // Best effort: a pin of nothing is removed by the next prune as well.
            let _ = fs::remove_file(&self.pin_path(&id));
        }
        Ok(Imported { point: published?, origin, pin })
    }

    /// Refuses what must not come in, before anything is written.
    fn accept(&self, manifest: &Manifest, how: &Import) -> Result<Origin> {
        let id = &manifest.id;
        if stamp_of(id).is_none() || id.len() > LONGEST_ID {
            return Err(refused(&format!("{id:?} is not the name of a restore point")));
        }
        if manifest.sequence > LAST_SEQUENCE {
            return Err(refused(&format!("it has the number {}", manifest.sequence)));
        }
        if !is_plain_word(&manifest.app) {
            return Err(refused(&format!("{:?} is not the name of an application", manifest.app)));
        }
        if manifest.kind != Kind::Dump {
            let kind = manifest.kind.word();
            return Err(refused(&format!("it is of the kind {kind}, which has no archive")));
        }
        let host = host::name();
        let origin = Origin::of(manifest, self.app(), &host);
        if let (Origin::OtherApp(app), Override::No) = (&origin, how.foreign) {
            let text = format!("the restore point {id} belongs to the application {app}");
            return Err(Error::new(Outcome::Refused, text)
                .detail(format!("this is the store of {}", self.app()))
                .state("nothing was changed")
                .hint(format!(
                    "Run `openwatch --app {app} backup import`, or add --force-foreign."
                )));
        }
        self.refuse_taken(id)?;
        let free = disk::free(self.dir())
            .context(|| format!("cannot ask for the free space of {}", self.dir().display()))?;
        let files = manifest.files();
        let full = free.inodes.is_some_and(|left| left < files)
            || free.bytes < manifest.bytes.saturating_add(how.reserve);
        if full {
            let shown = self.dir().display();
            let text = format!("not enough free space for the restore point {id} in {shown}");
            return Err(Error::new(Outcome::Refused, text)
                .detail(format!(
                    "{} needed and {} kept free, {} free",
                    disk::spoken(manifest.bytes),
                    disk::spoken(how.reserve),
                    disk::spoken(free.bytes)
                ))
                .state("nothing was changed"));
        }
        Ok(origin)
    }

    fn refuse_taken(&self, id: &str) -> Result<()> {
        if self.dir().join(id).symlink_metadata().is_err() {
            return Ok(());
        }
        Err(Error::new(Outcome::Refused, format!("restore point {id} is there already"))
            .state("nothing was changed")
            .hint(format!("Look at it with `openwatch backup show {id}`.")))
    }

    /// Makes the directory under a partial name; what a killed import left there goes.
    fn place(&self, manifest: &Manifest) -> Result<Partial> {
        let dir = self.dir().join(format!("{PARTIAL}{}", manifest.id));
        if dir.symlink_metadata().is_ok() {
            if is_locked(&dir) {
                let text = format!("restore point {} is being written", manifest.id);
                return Err(Error::new(Outcome::Busy, text).state("nothing was changed"));
            }
            fs::remove_tree(&dir)?;
        }
        Partial::new(dir)
    }

    /// Writes the manifest, and gives the point its name.
    fn publish_text(
        &self,
        mut partial: Partial,
        manifest: Manifest,
        text: &[u8],
    ) -> Result<RestorePoint> {
        self.refuse_taken(&manifest.id)?;
        fs::replace(&partial.dir.join(MANIFEST), text, 0o600)?;
        let dir = self.dir().join(&manifest.id);
        fs::rename(&partial.dir, &dir)
            .context(|| format!("cannot publish the restore point {}", manifest.id))?;
        partial.published = true;
        let (app, keyring) = (self.app().to_owned(), self.keyring().clone());
        Ok(RestorePoint { dir, app, manifest, keyring })
    }
}

fn head(bytes: &[u8]) -> Result<Head> {
    let head: Head = serde_json::from_slice(bytes)
        .map_err(|error| refused(&format!("its first member is not understood: {error}")))?;
    if head.format > FORMAT {
        let format = head.format;
        return Err(refused(&format!("it has format {format}, newer than {FORMAT}")));
    }
    Ok(head)
}

/// The pin that the point had where it came from, while that holds, or one of a week.
fn carried_pin(pin: Option<PinNote>, now: SystemTime) -> PinNote {
    match pin.filter(|pin| pin.holds(now)) {
        Some(pin) => {
            let until = pin.until.as_deref().and_then(clock::parse_rfc3339);
            PinNote::new(now, until, pin.reason.as_deref())
        }
        None => PinNote::new(now, now.checked_add(PINNED), Some("imported")),
    }
}

/// Files that are still expected, and the room that is left for them.
struct Unpacking<'a> {
    dir: &'a Path,
    manifest: &'a Manifest,
    /// Their sums, by their names.
    expected: HashMap<String, String>,
    /// Bytes that may still come.
    left: u64,
}

impl<'a> Unpacking<'a> {
    /// Reads the sums, which say what else may follow.
    fn begin<R: Read>(
        dir: &'a Path,
        manifest: &'a Manifest,
        members: &mut Members<'_, R>,
    ) -> Result<Self> {
        let mut member = members.next()?.ok_or_else(|| refused("it ends too early"))?;
        if member.name != format!("{}/{SUMS}", manifest.id) {
            return Err(refused("its sums are missing"));
        }
        let bytes = member.read(SUMS_LIMIT.min(manifest.bytes))?;
        if digest::of_bytes(&bytes) != manifest.sums_sha256 {
            return Err(refused("its sums are not those of the manifest"));
        }
        let text = String::from_utf8_lossy(&bytes);
        let sums = Sums::parse(&text).ok_or_else(|| refused("its sums are not understood"))?;
        let count = sums.0.len();
        let files = manifest.files();
        if count as u64 > files.saturating_add(MORE_FILES) {
            return Err(refused(&format!("it has {count} files, the manifest counts {files}")));
        }
        if let Some((name, _)) = sums.0.iter().find(|(name, _)| !is_plain(name)) {
            return Err(refused(&format!("{name:?} is not the name of a file of ours")));
        }
        let expected: HashMap<String, String> = sums.0.into_iter().collect();
        if expected.len() != count {
            return Err(refused("its sums name a file twice"));
        }
        fs::replace(&dir.join(SUMS), &bytes, 0o600)?;
        let left = manifest.bytes.saturating_sub(bytes.len() as u64);
        Ok(Self { dir, manifest, expected, left })
    }

    /// Writes every file that has a sum, until the manifest stands at the end of the stream.
    fn files<R: Read>(
        &mut self,
        members: &mut Members<'_, R>,
        manifest: &[u8],
        progress: &dyn Progress,
    ) -> Result<()> {
        let inside = format!("{}/", self.manifest.id);
        loop {
            let Some(mut member) = members.next()? else {
                return Err(refused("it ends too early: the manifest at its end is missing"));
            };
            let Some(name) = member.name.strip_prefix(&inside).map(str::to_owned) else {
                return Err(refused(&format!("{:?} is not part of it", member.name)));
            };
            if name == MANIFEST {
                if member.read(manifest.len() as u64)? != manifest {
                    return Err(refused("it has two manifests that differ"));
                }
                break;
            }
            let Some(sum) = self.expected.remove(&name) else {
                return Err(refused(&format!("{name:?} is in it twice, or has no sum")));
            };
            self.file(&name, &sum, &mut member, progress)?;
        }
        match self.expected.keys().min() {
            Some(name) => Err(refused(&format!("{name:?} is missing in it"))),
            None => Ok(()),
        }
    }

    fn file<R: Read>(
        &mut self,
        name: &str,
        sum: &str,
        member: &mut Member<'_, R>,
        progress: &dyn Progress,
    ) -> Result<()> {
        let Some(left) = self.left.checked_sub(member.size) else {
            return Err(refused("it holds more bytes than the manifest says"));
        };
        let path = self.dir.join(name);
        fs::make_dir(path.parent().unwrap_or(self.dir), 0o700)?;
        let attempt = || format!("cannot write {}", path.display());
        let mut file = fs::create_new(&path, 0o600).context(attempt)?;
        let (what, total) = (format!("importing {}", self.manifest.id), self.manifest.bytes);
        let mut done = total.saturating_sub(self.left);
        let mut read = |bytes| {
            done += bytes;
            progress.alive(&what, done, Some(total));
        };
        let mut hashed = Hashed::new(&mut member.data, &mut read);
        copy(&mut hashed, &mut file).map_err(|fault| match fault {
            Fault::Read(error) => unread(error),
            Fault::Write(error) => Error::failed(attempt()).source(error),
        })?;
        let (bytes, found) = hashed.sum();
        if bytes != member.size {
            return Err(refused("it ends too early"));
        }
        if found != sum {
            return Err(refused(&format!("{name:?} in it is not what was proven")));
        }
        self.left = left;
        Ok(())
    }
}

enum Fault {
    Read(io::Error),
    Write(io::Error),
}

/// Copies to the end, and tells whose fault a failure is.
fn copy(from: &mut impl Read, to: &mut impl io::Write) -> std::result::Result<(), Fault> {
    let mut buffer = vec![0; 256 << 10];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => to.write_all(&buffer[..count]).map_err(Fault::Write)?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Fault::Read(error)),
        }
    }
}

/// Returns whether a name from the sums stays inside the restore point and clear of what is ours.
fn is_plain(name: &str) -> bool {
    let parts: Vec<&str> = name.split('/').collect();
    let plain = |part: &&str| {
        !part.is_empty() && !part.starts_with('.') && !part.chars().any(char::is_control)
    };
    name.len() as u64 <= LONGEST_NAME / 2
        && parts.len() <= 8
        && parts.iter().all(plain)
        && ![MANIFEST, SUMS, DAMAGED].contains(&parts[0])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_leave_the_point_or_shadow_ours_are_not_plain() {
        for name in ["main/toc.dat", "main.contents.json", "keys/a+b@c"] {
            assert!(is_plain(name), "{name}");
        }
        for name in [
            "",
            "/etc/passwd",
            "../x",
            "main/../../x",
            "main//x",
            "main/.",
            ".hidden",
            "main/",
            "manifest.json",
            "SHA256SUMS",
            "damaged",
            "a\nb",
            "1/2/3/4/5/6/7/8/9",
        ] {
            assert!(!is_plain(name), "{name}");
        }
    }
}
