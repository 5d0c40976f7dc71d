//! What dnf offers: the fourth with and without its plugins, and the fifth.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::candidate::{Installed, Tool, call, told};
use crate::error::{Error, Result};
use crate::outcome::Outcome;
use crate::system::process::{Call, Failure, find};
use crate::system::scratch::ScratchDir;
use crate::version::Version;

/// Excludes and version locks off; the fourth dnf knows the first word, the fifth the second.
const UNLOCKED: &[&str] = &["--setopt=disable_excludes=all,*"];

/// Repositories that are away are an error.
const STRICT: &[&str] = &["--setopt=*.skip_if_unavailable=False"];

/// The dnf of a machine below this root.
pub(super) struct Dnf {
    program: PathBuf,
    root: PathBuf,
}

impl Dnf {
    pub(super) fn below(root: &Path) -> Result<Self> {
        let program = find("dnf").or_else(|| find("dnf5"));
        let program = program.ok_or_else(|| {
            Error::new(Outcome::Refused, "there is no dnf to ask for a candidate")
                .state("nothing was changed")
                .hint("Name the file of the next package with `--package FILE`.")
        })?;
        Ok(Self { program, root: root.to_owned() })
    }

    /// Metadata that is out of date is fetched into dnf's own cache, as by every call of dnf. No
    /// question is answered: a key that dnf does not know yet is not for us to accept.
    fn tool(&self, options: &[&str]) -> Call {
        let call = call(&self.program).arg("--quiet").args(options);
        if self.root == Path::new("/") {
            return call;
        }
        call.arg(format!("--installroot={}", self.root.display()))
    }

    fn ask(&self, package: &str, options: &[&str]) -> Result<Option<Version>> {
        let format = "--queryformat=%{epoch}:%{version}-%{release}\\n";
        let output = self
            .tool(options)
            .args(["repoquery", "--latest-limit=1", format, package])
            .run()
            .map_err(|failure| {
                told(&format!("ask dnf for the candidate of {package}"), &failure)
            })?;
        Ok(newest(&output.text()))
    }
}

impl Tool for Dnf {
    fn newest(&self, installed: &Installed, _: &Path) -> Result<Option<(Version, bool)>> {
        let package = &installed.name;
        let allowed = self.ask(package, &[])?;
        let offered = self.ask(package, UNLOCKED)?;
        if !offered.as_ref().is_some_and(|offered| offered.order(&installed.version).is_gt()) {
            // A repository that is away may be passed over in silence; then "nothing" is no answer.
            self.ask(package, STRICT)?;
        }
        Ok(match (allowed, offered) {
            (allowed, Some(offered)) => {
                let held = allowed.is_none_or(|allowed| allowed.order(&offered).is_lt());
                Some((offered, held))
            }
            (allowed, None) => allowed.map(|allowed| (allowed, false)),
        })
    }

    fn all(&self, installed: &Installed, _: &Path, limit: Duration) -> Result<Vec<Version>> {
        let package = &installed.name;
        let format = "--queryformat=%{epoch}:%{version}-%{release}\\n";
        let asked = |options: &[&str]| {
            let call = self.tool(UNLOCKED).args(options).args(["repoquery", format, package]);
            call.deadline(limit).run()
        };
        // Inside a transaction there may be no network; what dnf has already tells as much.
        let found = asked(&["--cacheonly"]).map(|output| versions(&output.text()));
        if let Ok(found) = found
            && !found.is_empty()
        {
            return Ok(found);
        }
        let output = asked(&[])
            .map_err(|failure| told(&format!("ask dnf for the versions of {package}"), &failure))?;
        Ok(versions(&output.text()))
    }

    fn fetch_older(&self, package: &str, version: &Version, into: &ScratchDir) -> Result<()> {
        self.fetch_by("downgrade", UNLOCKED, package, version, into)
    }

    fn fetch(&self, package: &str, version: &Version, held: bool, into: &ScratchDir) -> Result<()> {
        self.fetch_by("install", if held { UNLOCKED } else { &[] }, package, version, into)
    }
}

impl Dnf {
    fn fetch_by(
        &self,
        verb: &str,
        options: &[&str],
        package: &str,
        version: &Version,
        into: &ScratchDir,
    ) -> Result<()> {
        let attempt = format!("fetch {package} {version} with dnf");
        let (dir, wanted) = (into.path().display(), format!("{package}-{version}"));
        let download = self.tool(options).args(["download", &format!("--destdir={dir}"), &wanted]);
        match download.run() {
            Ok(_) => return Ok(()),
            Err(failure) if lacks_download(&failure) => {}
            Err(failure) => return Err(told(&attempt, &failure)),
        }
        // Without its plugins the fourth dnf fetches only what it would install: with dependencies,
        // and only after a yes.
        self.tool(options)
            .args(["--assumeyes", verb, "--downloadonly", &format!("--downloaddir={dir}"), &wanted])
            .run()
            .map(drop)
            .map_err(|failure| told(&attempt, &failure))
    }
}

fn lacks_download(failure: &Failure) -> bool {
    failure.stderr().contains("No such command") || failure.stderr().contains("Unknown argument")
}

/// Returns the newest of the versions, one on each line.
fn newest(text: &str) -> Option<Version> {
    versions(text).into_iter().max_by(Version::order)
}

/// Returns the versions, one on each line, without an epoch of zero.
fn versions(text: &str) -> Vec<Version> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.+:~^".contains(c);
    let lines = text.lines().map(str::trim);
    let versions = lines.filter(|line| !line.is_empty() && line.chars().all(plain));
    versions.map(|line| Version::new(line.strip_prefix("0:").unwrap_or(line))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_version_is_read_from_what_dnf_says() {
        assert_eq!(newest("0:1.9-1\n\n0:1.10-1\n"), Some(Version::new("1.10-1")));
        assert_eq!(newest("1:1.0-1\n0:2.0-1"), Some(Version::new("1:1.0-1")));
        assert_eq!(newest("\n"), None);
    }
}
