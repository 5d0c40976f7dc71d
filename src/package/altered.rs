//! Files of the installed package on disk, against what its package says of them.
//!
//! dpkg and rpm are asked: they know about diversions and conffiles, and compare what they know, which is
//! content with dpkg and more with rpm. rpm knows too what it left out at the installation; for dpkg its
//! configuration says it.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Family;
use super::candidate::Installed;
use super::left_out::Filters;
use crate::error::{Error, Result};
use crate::system::process::{self, Call, Failure};

/// How long reading all files of the package may take.
const READ_LIMIT: Duration = Duration::from_secs(10 * 60);

/// A file that is not as the package has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Altered {
    /// Where it lies, or should.
    pub path: PathBuf,
    /// Whose file it is.
    pub role: Role,
    /// What is different.
    pub how: How,
}

/// Whose file it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The package's own.
    Packaged,
    /// A conffile: the operator may edit it.
    Configuration,
}

/// What is different.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum How {
    /// It is not there.
    Missing,
    /// It could not be looked at, and why.
    Unseen(String),
    /// It has other content.
    Content,
    /// Its content is right, its mode, owner or kind is not: in words.
    Attributes(String),
}

/// What the package tool's database says of the package as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// What is wrong with its installation, in the tool's own word; none where it is complete.
    pub incomplete: Option<String>,
    /// Every path of it.
    pub files: Vec<PathBuf>,
    /// Its conffiles.
    pub configuration: Vec<PathBuf>,
}

/// Compares all files of the package with the disk; only asks.
pub fn look(root: &Path, installed: &Installed) -> Result<Vec<Altered>> {
    let call = match installed.family {
        Family::Deb => tool("dpkg", root)?.args(["--verify-format", "rpm", "--verify"]),
        // Dependencies and %verifyscript are not about files.
        Family::Rpm => tool("rpm", root)?.args(["--verify", "--nodeps", "--noscripts"]),
    };
    let call = call.arg("--").arg(&installed.name).deadline(READ_LIMIT);
    let shown = call.shown();
    // rpm ends with the number of altered files, dpkg with 0 or, newer ones, 1.
    let text = match call.run() {
        Ok(output) => output.text(),
        Err(Failure::Ended { stdout, .. }) if !stdout.is_empty() => {
            String::from_utf8_lossy(&stdout).into_owned()
        }
        Err(failure) => return Err(Error::failed(format!("{shown} {failure}"))),
    };
    let found = text.lines().filter_map(altered).map(|found| on_disk(root, found));
    match installed.family {
        Family::Deb => without_left_out(root, found.collect()),
        Family::Rpm => Ok(found.collect()),
    }
}

/// Reads which files the package has, and whether it is installed completely.
pub fn standing(root: &Path, installed: &Installed) -> Result<Standing> {
    match installed.family {
        Family::Deb => standing_by_dpkg(root, &installed.name),
        Family::Rpm => standing_by_rpm(root, &installed.name),
    }
}

fn standing_by_dpkg(root: &Path, name: &str) -> Result<Standing> {
    let database = root.join("var/lib/dpkg");
    let program = process::find("dpkg-query")
        .ok_or_else(|| Error::failed("dpkg-query is not in PATH although dpkg is used"))?;
    let ask = || Call::new(&program).arg(format!("--admindir={}", database.display()));
    let files = asked(ask().args(["--listfiles", "--", name]))?;
    let format = "--showformat=${db:Status-Status}\\n${Conffiles}\\n";
    let text = asked(ask().args(["--show", format, "--", name]))?;
    let (mut incomplete, mut configuration) = (None, Vec::new());
    for (line, text) in text.lines().enumerate() {
        // ` /etc/file MD5`, and `obsolete` behind those that the package has no more.
        let words: Vec<&str> = text.split_whitespace().collect();
        match words.as_slice() {
            [status] if line == 0 => {
                incomplete = Some(*status).filter(|status| *status != "installed");
            }
            [path, _] if path.starts_with('/') => configuration.push(PathBuf::from(path)),
            _ => {}
        }
    }
    let incomplete = incomplete.map(str::to_owned);
    Ok(Standing { incomplete, files: files.lines().map(PathBuf::from).collect(), configuration })
}

fn standing_by_rpm(root: &Path, name: &str) -> Result<Standing> {
    let list = |what: &str| asked(tool("rpm", root)?.args(["--query", what, "--", name]));
    let paths = |text: String| -> Vec<PathBuf> {
        text.lines().filter(|line| line.starts_with('/')).map(PathBuf::from).collect()
    };
    let (files, configuration) = (paths(list("--list")?), paths(list("--configfiles")?));
    // Two versions stay registered where the erasure of the old one failed.
    let versions = asked(tool("rpm", root)?.args(["--query", "--", name]))?;
    let incomplete = (versions.lines().count() > 1)
        .then(|| format!("registered {} times", versions.lines().count()));
    Ok(Standing { incomplete, files, configuration })
}

fn tool(name: &str, root: &Path) -> Result<Call> {
    let program = process::find(name)
        .ok_or_else(|| Error::failed(format!("{name} is not in PATH although its database is")))?;
    let call = Call::new(program);
    Ok(match (root == Path::new("/"), name) {
        (true, _) => call,
        (false, "dpkg") => call.arg(format!("--root={}", root.display())),
        (false, _) => call.arg("--root").arg(root),
    })
}

fn asked(call: Call) -> Result<String> {
    let shown = call.shown();
    let output = call.deadline(READ_LIMIT).run();
    Ok(output.map_err(|failure| Error::failed(format!("{shown} {failure}")))?.text())
}

/// Reads a line as both tools write it: nine signs or `missing`, a letter for the kind, the path, and
/// behind it why it could not be looked at.
fn altered(line: &str) -> Option<Altered> {
    let (signs, rest) = line.trim_start().split_once(char::is_whitespace)?;
    let rest = rest.trim_start();
    let (kind, path) = match rest.split_once(' ') {
        Some((kind, path)) if kind.len() == 1 => (kind, path.trim_start()),
        Some(_) | None => ("", rest),
    };
    if !path.starts_with('/') {
        return None;
    }
    let role = if kind == "c" { Role::Configuration } else { Role::Packaged };
    let of = |path: &str, how| Some(Altered { path: PathBuf::from(path), role, how });
    // A file that the package only claims (`%ghost`) has nothing to be compared with.
    match (signs, kind) {
        (_, "g") => None,
        ("missing", _) => match path.strip_suffix(')').and_then(|path| path.rsplit_once(" (")) {
            Some((path, why)) => of(path, How::Unseen(why.to_owned())),
            None => of(path, How::Missing),
        },
        (signs, _) if signs.len() >= 8 => how(signs).and_then(|how| of(path, how)),
        _ => None,
    }
}

fn how(signs: &str) -> Option<How> {
    if signs.contains('5') {
        return Some(How::Content);
    }
    let names = [
        ('M', "mode"),
        ('D', "device"),
        ('L', "link"),
        ('U', "owner"),
        ('G', "group"),
        ('P', "capabilities"),
    ];
    let found: Vec<&str> =
        names.iter().filter(|(sign, _)| signs.contains(*sign)).map(|(_, name)| *name).collect();
    // Size comes with the content, and another time alone is none.
    (!found.is_empty()).then(|| How::Attributes(found.join(", ")))
}

/// dpkg before 1.21 says of a file that it cannot open that its content is another: it may be gone.
fn on_disk(root: &Path, found: Altered) -> Altered {
    let path = root.join(found.path.strip_prefix("/").unwrap_or(&found.path));
    let how = match (found.how, std::fs::symlink_metadata(&path)) {
        (How::Content, Err(error)) if error.kind() == io::ErrorKind::NotFound => How::Missing,
        (How::Content, Err(error)) => How::Unseen(error.to_string()),
        (How::Content, Ok(data)) if data.is_file() => match std::fs::File::open(&path) {
            Err(error) => How::Unseen(error.to_string()),
            Ok(_) => How::Content,
        },
        (how, _) => how,
    };
    Altered { how, ..found }
}

/// Takes out what dpkg was told not to unpack; its configuration is read only where something is gone.
fn without_left_out(root: &Path, mut found: Vec<Altered>) -> Result<Vec<Altered>> {
    if found.iter().any(|file| file.how == How::Missing) {
        let filters = Filters::read(root)?;
        found.retain(|file| file.how != How::Missing || !filters.leave_out(&file.path));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_dpkg_and_rpm_say_of_a_file_is_read() {
        let of = |path: &str, role, how| Some(Altered { path: path.into(), role, how });
        for (line, expected) in [
            ("??5??????   /usr/bin/shop", of("/usr/bin/shop", Role::Packaged, How::Content)),
            ("??5?????? c /etc/shop/a b", of("/etc/shop/a b", Role::Configuration, How::Content)),
            ("missing   c /etc/shop/a", of("/etc/shop/a", Role::Configuration, How::Missing)),
            ("missing     /usr/bin/shop", of("/usr/bin/shop", Role::Packaged, How::Missing)),
            (
                "missing     /usr/lib/shop/x (Permission denied)",
                of("/usr/lib/shop/x", Role::Packaged, How::Unseen("Permission denied".into())),
            ),
            ("S.5....T.    /usr/bin/shop", of("/usr/bin/shop", Role::Packaged, How::Content)),
            (
                ".M...UG..    /usr/bin/shop",
                of("/usr/bin/shop", Role::Packaged, How::Attributes("mode, owner, group".into())),
            ),
            (
                // A document that is gone; rpm says nothing of one that it left out.
                "missing   d /usr/share/man/man1/shop.1.gz",
                of("/usr/share/man/man1/shop.1.gz", Role::Packaged, How::Missing),
            ),
            (".......T.  c /etc/shop/a", None),
            ("missing   g /var/lib/shop/x", None),
            ("Unsatisfied dependencies for shop-1:", None),
            ("", None),
        ] {
            assert_eq!(altered(line), expected, "{line}");
        }
    }

    #[test]
    fn what_dpkg_was_told_to_leave_out_is_no_difference() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("etc/dpkg")).unwrap();
        std::fs::write(root.path().join("etc/dpkg/dpkg.cfg"), "path-exclude=/usr/share/doc/*\n")
            .unwrap();
        std::fs::create_dir_all(root.path().join("usr/share/doc/shop")).unwrap();
        std::fs::write(root.path().join("usr/share/doc/shop/copyright"), "other").unwrap();
        let seen = |line: &str| {
            let found = on_disk(root.path(), altered(line).unwrap());
            without_left_out(root.path(), vec![found]).unwrap().pop().map(|found| found.how)
        };
        // dpkg 1.21 and newer; before, a file that is gone has another content.
        assert_eq!(seen("missing     /usr/share/doc/shop/changelog.gz"), None);
        assert_eq!(seen("??5??????   /usr/share/doc/shop/changelog.gz"), None);
        assert_eq!(seen("??5??????   /usr/share/shop/gone"), Some(How::Missing));
        assert_eq!(seen("missing     /usr/share/man/man1/shop.1.gz"), Some(How::Missing));
        // What was left out and is there all the same was put there by somebody.
        assert_eq!(seen("??5??????   /usr/share/doc/shop/copyright"), Some(How::Content));
    }
}
