//! What apt offers, from the lists that it has: nothing of its state is written.

use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::candidate::{Installed, Tool, call, told};
use crate::error::{Error, Result};
use crate::outcome::Outcome;
use crate::system::identity::Identity;
use crate::system::process::{Call, find};
use crate::system::scratch::ScratchDir;
use crate::version::Version;

/// The user that apt fetches as when root calls it.
const SANDBOX: &str = "_apt";

/// The apt of a machine below this root.
pub(super) struct Apt {
    root: PathBuf,
}

impl Apt {
    pub(super) fn below(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// Caches go to the private directory: as root, apt would otherwise rebuild its own.
    fn tool(&self, name: &str, scratch: &Path) -> Result<Call> {
        let program = find(name).ok_or_else(|| {
            Error::new(Outcome::Refused, format!("there is no {name} to ask for a candidate"))
                .state("nothing was changed")
                .hint("Name the file of the next package with `--package FILE`.")
        })?;
        let mut options = vec![format!("Dir::Cache={}", scratch.join("cache").display())];
        if self.root != Path::new("/") {
            let root = self.root.display();
            options.push(format!("Dir={root}"));
            options.push(format!("Dir::State::status={root}/var/lib/dpkg/status"));
        }
        Ok(options.into_iter().fold(call(&program), |call, option| call.args(["-o", &option])))
    }
}

impl Apt {
    /// Returns where this version lies, if its source is a directory of this machine.
    pub(super) fn local(
        &self,
        installed: &Installed,
        version: &Version,
        scratch: &Path,
        limit: Duration,
    ) -> Option<PathBuf> {
        // apt writes versions whole, and they are written so in what is installed.
        let all = self.all(installed, scratch, limit).ok()?;
        let offered = all.into_iter().find(|offered| offered.order(version).is_eq())?;
        let asked = self
            .tool("apt-get", scratch)
            .ok()?
            .args(["-qq", "--print-uris", "download"])
            .arg(format!("{}={offered}", installed.name))
            .deadline(limit)
            .run();
        local_file(&asked.ok()?.text())
    }
}

/// Reads `'file:/path' NAME SIZE HASH`, with the path written as in an address.
fn local_file(text: &str) -> Option<PathBuf> {
    let address = text.lines().find_map(|line| line.strip_prefix("'file:"))?.split('\'').next()?;
    let path = address.strip_prefix("//").unwrap_or(address);
    let bytes: Vec<u8> = percent_encoding::percent_decode_str(path).collect();
    let path = PathBuf::from(std::ffi::OsString::from_vec(bytes));
    path.is_absolute().then_some(path)
}

impl Tool for Apt {
    fn newest(&self, installed: &Installed, scratch: &Path) -> Result<Option<(Version, bool)>> {
        let package = installed.name.as_str();
        let attempt = format!("ask apt for the candidate of {package}");
        let asked = self.tool("apt-cache", scratch)?.args(["policy", package]).run();
        let text = asked.map_err(|failure| told(&attempt, &failure))?.text();
        let Some(version) = candidate(&text) else { return Ok(None) };
        let held = self.tool("apt-mark", scratch)?.args(["showhold", package]).run();
        let held = held.map_err(|failure| told(&attempt, &failure))?.text();
        Ok(Some((version, held.lines().any(|line| line.trim() == package))))
    }

    fn all(&self, installed: &Installed, scratch: &Path, limit: Duration) -> Result<Vec<Version>> {
        let package = installed.name.as_str();
        let asked = self.tool("apt-cache", scratch)?.args(["madison", package]).deadline(limit);
        let text = asked
            .run()
            .map_err(|failure| told(&format!("ask apt for the versions of {package}"), &failure))?;
        Ok(versions(&text.text()))
    }

    fn fetch_older(&self, package: &str, version: &Version, into: &ScratchDir) -> Result<()> {
        self.fetch(package, version, false, into)
    }

    fn fetch(&self, package: &str, version: &Version, _: bool, into: &ScratchDir) -> Result<()> {
        // apt as root fetches as this user, which must reach the directory; nobody else does.
        if rustix::process::geteuid().is_root()
            && let Ok(user) = Identity::of(SANDBOX)
        {
            into.give_to(user.uid)?;
        }
        self.tool("apt-get", into.path())?
            .args(["-q", "-o", "Acquire::Retries=1", "download"])
            .arg(format!("{package}={version}"))
            .dir(into.path())
            .run()
            .map(drop)
            .map_err(|failure| told(&format!("fetch {package} {version} with apt"), &failure))
    }
}

/// Reads lines of `PACKAGE | VERSION | SOURCE`; what is only installed has none.
fn versions(text: &str) -> Vec<Version> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.+:~^".contains(c);
    let words = text.lines().filter_map(|line| line.split('|').nth(1)).map(str::trim);
    words.filter(|word| !word.is_empty() && word.chars().all(plain)).map(Version::new).collect()
}

/// Reads the line `Candidate: VERSION` of `apt-cache policy`.
fn candidate(text: &str) -> Option<Version> {
    let line = text.lines().find_map(|line| line.trim().strip_prefix("Candidate:"))?;
    // The version becomes an argument.
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.+:~^".contains(c);
    let version = line.trim();
    (!version.is_empty() && version.chars().all(plain)).then(|| Version::new(version))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_candidate_is_read_from_what_apt_says() {
        let text = "openwatch:\n  Installed: 1.0-1\n  Candidate: 1:2.0~rc1-1\n  Version table:\n";
        assert_eq!(candidate(text), Some(Version::new("1:2.0~rc1-1")));
        assert_eq!(candidate("openwatch:\n  Installed: 1.0-1\n  Candidate: (none)\n"), None);
        assert_eq!(candidate(""), None);
    }

    /// Row 58.
    #[test]
    fn a_package_of_a_local_source_is_found_where_it_lies() {
        for (text, path) in [
            (
                "'file:/repo/apt/1.0.0/./shop_1.0.0-1_amd64.deb' shop_1.0.0-1_amd64.deb 9 SHA256:a\n",
                Some("/repo/apt/1.0.0/./shop_1.0.0-1_amd64.deb"),
            ),
            (
                "'file:///repo/a%20b/shop_1%3a2.deb' shop_1%3a2.deb 9\n",
                Some("/repo/a b/shop_1:2.deb"),
            ),
            ("'file:/repo/100%/shop.deb' shop.deb 9\n", Some("/repo/100%/shop.deb")),
            ("'https://host/shop.deb' shop.deb 9 SHA256:a\n", None),
            ("'file:shop.deb' shop.deb 9\n", None),
            ("", None),
        ] {
            assert_eq!(local_file(text).as_deref(), path.map(Path::new), "{text}");
        }
    }

    /// Row 58.
    #[test]
    fn the_versions_are_read_from_what_apt_says() {
        let text = " openwatch |    2.0-1 | file:/repo ./ Packages\n openwatch | 1:1.0-1 | x\n\n";
        assert_eq!(versions(text), [Version::new("2.0-1"), Version::new("1:1.0-1")]);
        assert_eq!(versions(""), []);
    }
}
