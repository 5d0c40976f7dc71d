//! Files that travel with a restore point: configuration as private copies, keys as copies or as
//! fingerprints. Data and keys are useless without one another.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::digest;
use super::encryption::ENDING;
use super::manifest::read_whole;
use super::store::{RestorePoint, Store};
use super::verify;
use crate::error::{Context, Error, Result};
use crate::outcome::Outcome;
use crate::system::fs::{self, FileFacts};
use crate::system::identity;

/// The most bytes of a file that travels along.
const LIMIT: u64 = 16 << 20;

/// Name of the list of these files in a restore point.
const LIST: &str = "carried.json";

/// The files that the packager and the operator list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Travelling {
    /// Kept as private copies.
    pub keep: Vec<PathBuf>,
    /// Of these only a fingerprint is kept: whether it is the same file, not what it says.
    pub fingerprint: Vec<PathBuf>,
}

/// A file as it was when the restore point was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Carried {
    /// Where it lay.
    pub path: PathBuf,
    /// What was kept of it.
    pub form: Form,
    /// Its permissions.
    pub mode: u32,
    /// Its owner.
    pub owner: Owner,
    /// SHA-256 of the salt and what it said; empty where it was not there.
    pub sha256: String,
    /// What the fingerprint begins with, so that equal files of two points do not look equal.
    pub salt: String,
}

/// Owner and group of a file: by name where the machine knows one, since numbers differ from machine
/// to machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Name of the user.
    pub user: Option<String>,
    /// Name of the group.
    pub group: Option<String>,
}

/// What is kept of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Form {
    /// A copy, under this name in the restore point.
    Copy(String),
    /// The fingerprint.
    Fingerprint,
    /// There was no such file.
    Absent,
}

/// What a file is now, compared with what it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Now {
    /// The same, or absent as before.
    Same,
    /// It says something else.
    Differs,
    /// It is not there any more.
    Gone,
    /// There was none, and now there is.
    New,
    /// It cannot be read, and why.
    Unreadable(String),
}

impl Store {
    /// Returns this store with files that its restore points carry.
    pub fn carrying(mut self, travelling: Travelling) -> Self {
        self.travelling = travelling;
        self
    }

    /// Reads every file that a restore point would carry: the first that cannot be read is the error
    /// that would fail it.
    pub fn check_travelling(&self) -> Result<()> {
        let Travelling { keep, fingerprint } = &self.travelling;
        keep.iter().chain(fingerprint).try_for_each(|path| look(path, "").map(drop))
    }

    /// Writes copies and fingerprints into a restore point; returns names and sums.
    pub(super) fn write_travelling(
        &self,
        partial: &Path,
        id: &str,
    ) -> Result<Vec<(String, String)>> {
        let Travelling { keep, fingerprint } = &self.travelling;
        let mut sums = Vec::new();
        let mut list = Vec::new();
        for (number, path) in keep.iter().enumerate() {
            let (mut carried, bytes) = look(path, id)?;
            if let Some(bytes) = bytes {
                let name = format!("carried.{number:03}");
                sums.push(self.write_member(partial, &name, &bytes)?);
                carried.form = Form::Copy(name);
            }
            list.push(carried);
        }
        for path in fingerprint.iter().filter(|path| !keep.contains(path)) {
            list.push(look(path, id)?.0);
        }
        if list.is_empty() {
            return Ok(sums);
        }
        let text = serde_json::to_vec(&list).context(|| format!("cannot write {LIST}"))?;
        sums.push(self.write_member(partial, LIST, &text)?);
        Ok(sums)
    }
}

impl Store {
    /// Takes the files of another restore point over; returns names and sums.
    pub(super) fn carry_travelling(
        &self,
        partial: &Path,
        from: &RestorePoint,
    ) -> Result<Vec<(String, String)>> {
        let mut sums = Vec::new();
        // What a clone has encrypted is taken over as it is: no identity may be at hand.
        let all = verify::read_sums(from.dir(), from.manifest())?;
        for (name, sum) in all.0.into_iter().filter(|(name, _)| is_sealed_copy(name)) {
            let path = from.dir().join(&name);
            let bytes = read_whole(&path, 2 * LIMIT)
                .context(|| format!("cannot read {}", path.display()))?;
            fs::replace(&partial.join(&name), &bytes, 0o600)?;
            sums.push((name, sum));
        }
        if !sums.is_empty() {
            return Ok(sums);
        }
        let list = from.carried()?;
        for carried in &list {
            let Form::Copy(name) = &carried.form else { continue };
            if let Some(bytes) = from.read_member(name, LIMIT)? {
                sums.push(self.write_member(partial, name, &bytes)?);
            }
        }
        if !list.is_empty() {
            let text = serde_json::to_vec(&list).context(|| format!("cannot write {LIST}"))?;
            sums.push(self.write_member(partial, LIST, &text)?);
        }
        Ok(sums)
    }
}

/// Whether a file of a restore point is a copy, or the list of them, that is encrypted.
fn is_sealed_copy(name: &str) -> bool {
    name.starts_with("carried.") && name.ends_with(ENDING)
}

/// Returns whether this is a name that [`Store::write_travelling`] gives.
fn is_copy_name(name: &str) -> bool {
    let number = name.strip_prefix("carried.");
    number.is_some_and(|n| (3..=6).contains(&n.len()) && n.bytes().all(|b| b.is_ascii_digit()))
}

fn read(path: &Path) -> io::Result<(FileFacts, Vec<u8>)> {
    let (file, facts) = fs::open_regular(path)?;
    Ok((facts, fs::read_bounded(file, LIMIT)?))
}

fn sum(salt: &str, bytes: &[u8]) -> String {
    digest::of_bytes(&[salt.as_bytes(), b"\0", bytes].concat())
}

/// A file that is listed and cannot be read fails the restore point: the data may be useless without
/// it. One that is not there is noted as such.
fn look(path: &Path, salt: &str) -> Result<(Carried, Option<Vec<u8>>)> {
    let carried = |form, mode, owner, sha256| Carried {
        path: path.to_owned(),
        form,
        mode,
        owner,
        sha256,
        salt: salt.to_owned(),
    };
    match read(path) {
        Ok((facts, bytes)) => {
            let owner = Owner {
                uid: facts.uid,
                gid: facts.gid,
                user: identity::user_name(facts.uid),
                group: identity::group_name(facts.gid),
            };
            let sha256 = sum(salt, &bytes);
            Ok((carried(Form::Fingerprint, facts.mode, owner, sha256), Some(bytes)))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Ok((carried(Form::Absent, 0, Owner::default(), String::new()), None))
        }
        Err(error) => {
            let text = format!("cannot keep {} with the restore point", path.display());
            Err(Error::config(text).source(error).hint(
                "List the file itself, at most 16 MiB, in keep_files or fingerprint_files, or take \
                 it out.",
            ))
        }
    }
}

impl Carried {
    /// Compares the file with what it is now.
    pub fn now(&self) -> Now {
        match (read(&self.path), &self.form) {
            (Ok(_), Form::Absent) => Now::New,
            (Ok((_, bytes)), Form::Copy(_) | Form::Fingerprint) => {
                if sum(&self.salt, &bytes) == self.sha256 { Now::Same } else { Now::Differs }
            }
            (Err(error), form) if error.kind() == io::ErrorKind::NotFound => match form {
                Form::Absent => Now::Same,
                Form::Copy(_) | Form::Fingerprint => Now::Gone,
            },
            (Err(error), _) => Now::Unreadable(error.to_string()),
        }
    }

    /// Says what differs and what that means; nothing where it is the same.
    pub fn told(&self) -> Option<String> {
        let path = self.path.display();
        let what = match self.now() {
            Now::Same => return None,
            Now::Differs => "has changed since the restore point".to_owned(),
            Now::Gone => "is gone since the restore point".to_owned(),
            Now::New => {
                return Some(format!("{path} was not there when the restore point was made"));
            }
            Now::Unreadable(why) => format!("cannot be compared with the restore point: {why}"),
        };
        Some(match &self.form {
            Form::Copy(_) => format!("{path} {what}; `--with-files` puts its copy back"),
            Form::Fingerprint | Form::Absent => {
                format!("{path} {what}: what was encrypted with what it said then cannot be read")
            }
        })
    }

    /// Returns whether a copy could take the place of the file.
    fn is_wanted_back(&self) -> bool {
        matches!(self.form, Form::Copy(_)) && matches!(self.now(), Now::Differs | Now::Gone)
    }
}

impl RestorePoint {
    /// Lists the files that travelled with this point.
    pub fn carried(&self) -> Result<Vec<Carried>> {
        let Some(bytes) = self.read_member(LIST, LIMIT)? else { return Ok(Vec::new()) };
        let attempt = || format!("cannot read {LIST}");
        let list: Vec<Carried> = serde_json::from_slice(&bytes).context(attempt)?;
        for carried in &list {
            if let Form::Copy(name) = &carried.form
                && !is_copy_name(name)
            {
                let text =
                    format!("{name:?} is not the name of a copy in restore point {}", self.id());
                return Err(Error::new(Outcome::Refused, text).state("nothing was changed"));
            }
        }
        Ok(list)
    }

    /// Says why copies cannot be put back, before anything is begun.
    ///
    /// Where they go is what the restore point says, and it may come from elsewhere: only the files that
    /// are to be kept with restore points here are ever written.
    pub fn check_files_back(&self, travelling: &Travelling) -> Result<()> {
        for carried in self.carried()?.iter().filter(|carried| carried.is_wanted_back()) {
            let path = carried.path.display();
            let refused = || Error::config(format!("cannot put {path} back"));
            let by_hand = "Leave `--with-files` out, and put the copy back by hand afterwards.";
            if !travelling.keep.contains(&carried.path) {
                return Err(refused()
                    .detail("it is not one of the keep_files of this machine")
                    .state("nothing was changed")
                    .hint(format!("List it in keep_files if it is yours to write. {by_hand}")));
            }
            let parent = carried.path.parent().unwrap_or(Path::new("/"));
            // Whoever may rename in there could send what we write elsewhere.
            fs::check_trusted_dir(parent).and_then(|()| fs::check_trusted_way(parent)).map_err(
                |error| refused().source(error).state("nothing was changed").hint(by_hand),
            )?;
        }
        Ok(())
    }

    /// Puts the copies of files that differ back, mode and owner too; the present ones stay beside
    /// them with this stamp. Returns what was done, one line a file.
    pub fn put_files_back(&self, travelling: &Travelling, stamp: &str) -> Result<Vec<String>> {
        self.check_files_back(travelling)?;
        let mut done = Vec::new();
        for carried in self.carried()?.iter().filter(|carried| carried.is_wanted_back()) {
            let Form::Copy(name) = &carried.form else { continue };
            let path = &carried.path;
            let bytes = self.read_member(name, LIMIT)?.ok_or_else(|| {
                Error::failed(format!("restore point {} has no copy {name}", self.id()))
            })?;
            if sum(&carried.salt, &bytes) != carried.sha256 {
                return Err(Error::failed(format!("the copy of {} is damaged", path.display())));
            }
            let mut kept = path.clone().into_os_string();
            kept.push(format!(".replaced-{stamp}"));
            let kept = PathBuf::from(kept);
            let there = fs::keep_under(path, &kept)
                .context(|| format!("cannot keep the present {}", path.display()))?;
            let owner = &carried.owner;
            let uid = owner.user.as_deref().and_then(identity::user_id).unwrap_or(owner.uid);
            let gid = owner.group.as_deref().and_then(identity::group_id).unwrap_or(owner.gid);
            fs::replace_owned(path, &bytes, FileFacts { mode: carried.mode & 0o777, uid, gid })?;
            done.push(match there {
                true => {
                    format!("{} is put back, the former is {}", path.display(), kept.display())
                }
                false => format!("{} is put back", path.display()),
            });
        }
        Ok(done)
    }
}
