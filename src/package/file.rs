//! A package file that is not installed: what it is, and what it would bring.
//!
//! Nothing of it is run, and neither dpkg nor rpm is asked: the file may be for another architecture,
//! damaged, or made to do harm.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use super::deb::{self, Deb};
use super::fault::Fault;
use super::rpm::{self, Rpm};
use super::unpack::{Limits, Unpacker, Wanted};
use super::{Family, Identity};
use crate::error::{Error, Result};
use crate::outcome::Outcome;

/// A package file, opened once: what is read later is the same file, even if another takes its name.
pub struct PackageFile {
    path: PathBuf,
    file: File,
    form: Form,
    limits: Limits,
}

enum Form {
    Deb(Deb),
    Rpm(Rpm),
}

impl PackageFile {
    /// Opens a `.deb` or `.rpm` and reads what package it is.
    pub fn open(path: &Path) -> Result<Self> {
        Self::open_with(path, Limits::default())
    }

    /// Opens a package file that may hold at most this much.
    pub fn open_with(path: &Path, limits: Limits) -> Result<Self> {
        let mut file = regular(path)?;
        let form = form(&mut file).map_err(|fault| fault.told(path))?;
        Ok(Self { path: path.to_owned(), file, form, limits })
    }

    /// Returns the path that was named.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the name and version that the package gives itself.
    pub fn identity(&self) -> &Identity {
        match &self.form {
            Form::Deb(deb) => &deb.identity,
            Form::Rpm(rpm) => &rpm.identity,
        }
    }

    /// Returns whose package it is.
    pub fn family(&self) -> Family {
        match self.form {
            Form::Deb(_) => Family::Deb,
            Form::Rpm(_) => Family::Rpm,
        }
    }

    /// Writes what is wanted below `into`, and returns for which applications the package ships the
    /// packager's half.
    pub fn unpack(&mut self, wanted: &Wanted, into: &Path) -> Result<Vec<String>> {
        let mut unpacker = Unpacker::new(wanted, into, self.limits);
        let mut visit = |entry: &mut super::entry::Entry<'_>| unpacker.visit(entry);
        let walked = match &self.form {
            Form::Deb(deb) => deb.walk(&mut self.file, &self.limits, &mut visit),
            Form::Rpm(rpm) => rpm.walk(&mut self.file, &self.limits, &mut visit),
        };
        walked.map_err(|fault| fault.told(&self.path))?;
        Ok(unpacker.apps)
    }
}

fn regular(path: &Path) -> Result<File> {
    let shown = path.display();
    let unfit = |why: String| {
        Error::new(Outcome::Usage, why)
            .state("nothing was changed")
            .hint(format!("Look at `ls -l {shown}`, and name a .deb or .rpm file."))
    };
    // Looked at before it is opened: opening a pipe would wait for a writer.
    let data = std::fs::metadata(path)
        .map_err(|error| unfit(format!("cannot read the package {shown}")).source(error))?;
    if !data.is_file() {
        let what = if data.is_dir() { "a directory" } else { "no regular file" };
        return Err(unfit(format!("{shown} is {what}, not a package")));
    }
    File::open(path)
        .map_err(|error| unfit(format!("cannot read the package {shown}")).source(error))
}

fn form(file: &mut File) -> std::result::Result<Form, Fault> {
    let mut first = Vec::new();
    file.take(8).read_to_end(&mut first)?;
    file.seek(SeekFrom::Start(0))?;
    if first.starts_with(deb::MAGIC) {
        Deb::open(file).map(Form::Deb)
    } else if first.starts_with(rpm::MAGIC) {
        Rpm::open(file).map(Form::Rpm)
    } else if first.is_empty() {
        Err(Fault::Foreign("it is empty".into()))
    } else {
        Err(Fault::Foreign("it begins neither as a .deb nor as an .rpm".into()))
    }
}
