//! Files of the installed package on disk, against what its package says of them.
//!
//! dpkg and rpm are asked: they know about diversions, conffiles and files that were left out at the
//! installation, and compare what they know, which is content with dpkg and more with rpm.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Family;
use super::candidate::Installed;
use crate::error::{Error, Result};
use crate::system::process::{self, Call, Failure};

/// How long reading all files of the package may take.
const READ_LIMIT: Duration = Duration::from_secs(10 * 60);

/// Documentation, which small images leave out on purpose (`path-exclude` of dpkg).
const DOCUMENTATION: [&str; 4] =
    ["/usr/share/doc/", "/usr/share/man/", "/usr/share/info/", "/usr/share/locale/"];

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
    Ok(text.lines().filter_map(altered).filter(|found| !is_left_out(found)).collect())
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

fn is_left_out(found: &Altered) -> bool {
    let path = found.path.to_string_lossy();
    found.how == How::Missing && DOCUMENTATION.iter().any(|dir| path.starts_with(dir))
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
            (".......T.  c /etc/shop/a", None),
            ("missing   g /var/lib/shop/x", None),
            ("Unsatisfied dependencies for shop-1:", None),
            ("", None),
        ] {
            assert_eq!(altered(line), expected, "{line}");
        }
    }

    #[test]
    fn documentation_that_an_image_leaves_out_is_no_difference() {
        let line = |path: &str| altered(&format!("missing     {path}")).unwrap();
        assert!(is_left_out(&line("/usr/share/man/man1/shop.1.gz")));
        assert!(!is_left_out(&line("/usr/share/shop/migrations/0001_a.sql")));
        let changed = altered("??5??????   /usr/share/doc/shop/copyright").unwrap();
        assert!(!is_left_out(&changed));
    }
}
