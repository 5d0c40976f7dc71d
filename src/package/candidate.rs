//! The package that the machine's package sources offer in the place of the installed one.
//!
//! Which package that is, dpkg or rpm says: the one that owns the packager's half. apt or dnf then
//! find and fetch the file, as they would for an upgrade, into a private directory; neither lists,
//! caches nor databases of theirs are changed, and nothing of the package is run.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::candidate_apt::Apt;
use super::candidate_dnf::Dnf;
use super::{Family, PackageFile};
use crate::error::{Error, Result};
use crate::layout::Layout;
use crate::outcome::Outcome;
use crate::system::process::{self, Call, Failure};
use crate::system::scratch::ScratchDir;
use crate::version::Version;

/// How long a package tool may take: the file may be large and the line slow.
const FETCH_LIMIT: Duration = Duration::from_secs(15 * 60);

/// How long a question to a package database may take.
const ASK_LIMIT: Duration = Duration::from_secs(120);

/// Where the databases of rpm 4.14 to 6 are.
const RPM_DATABASES: &[&str] = &[
    "usr/lib/sysimage/rpm/rpmdb.sqlite",
    "usr/lib/sysimage/rpm/Packages.db",
    "usr/lib/sysimage/rpm/Packages",
    "var/lib/rpm/rpmdb.sqlite",
    "var/lib/rpm/Packages.db",
    "var/lib/rpm/Packages",
];

/// The installed package of an application.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installed {
    /// Name of the package.
    pub name: String,
    /// Its version, as its database writes it.
    pub version: Version,
    /// Whose database knows it.
    pub family: Family,
}

/// What the package sources offer.
pub enum Offer {
    /// Nothing newer than what is installed.
    NothingNewer,
    /// A newer version, fetched.
    Newer(Candidate),
}

/// A fetched newer package; the file is removed with this value.
pub struct Candidate {
    /// Its version, as the package sources write it.
    pub version: Version,
    /// Whether the operator holds the installed version, so that an upgrade would pass this one by.
    pub held: bool,
    fetched: Fetched,
}

impl Candidate {
    /// Returns where the package lies for the moment.
    pub fn file(&self) -> &Path {
        self.fetched.file()
    }
}

/// A fetched package; the file is removed with this value.
pub struct Fetched {
    file: PathBuf,
    _dir: ScratchDir,
}

impl Fetched {
    /// Takes the directory that a package was fetched into.
    pub(super) fn among(dir: ScratchDir, installed: &Installed, version: &Version) -> Result<Self> {
        let file = fetched(dir.path(), installed, version)?;
        Ok(Self { file, _dir: dir })
    }

    /// Returns where the package lies for the moment.
    pub fn file(&self) -> &Path {
        &self.file
    }
}

/// What is asked of a package tool.
pub(super) trait Tool {
    /// Returns the newest version that may be installed, and whether the operator holds it back.
    fn newest(&self, installed: &Installed, scratch: &Path) -> Result<Option<(Version, bool)>>;

    /// Returns every version that the sources have; only asks.
    fn all(&self, installed: &Installed, scratch: &Path, limit: Duration) -> Result<Vec<Version>>;

    /// Fetches a version that is older than the installed one into the directory.
    fn fetch_older(&self, package: &str, version: &Version, into: &ScratchDir) -> Result<()>;

    /// Fetches this version into the directory.
    fn fetch(&self, package: &str, version: &Version, held: bool, into: &ScratchDir) -> Result<()>;
}

/// Returns which package owns the packager's half of this application.
pub fn installed(layout: &Layout) -> Result<Installed> {
    let conf = Path::new("/").join(layout.shipped_path()).join("upgrade.conf");
    if let Some(found) = owner_by_dpkg(layout.root(), &conf)? {
        return Ok(found);
    }
    if let Some(found) = owner_by_rpm(layout.root(), &conf)? {
        return Ok(found);
    }
    let app = layout.app();
    Err(Error::new(Outcome::Refused, format!("no installed package owns {}", conf.display()))
        .detail("neither dpkg nor rpm knows the file, so nobody can say what would replace it")
        .state("nothing was changed")
        .hint(format!("Name the file of {app}'s next package with `--package FILE`.")))
}

/// Looks for a newer version in the machine's package sources, and fetches it.
pub fn look(layout: &Layout, installed: &Installed) -> Result<Offer> {
    let tool = tool(layout.root(), installed.family)?;
    let dir = ScratchDir::new("openwatch-candidate-")?;
    let found = tool.newest(installed, dir.path())?;
    let Some((version, held)) = found.filter(|(v, _)| v.order(&installed.version).is_gt()) else {
        return Ok(Offer::NothingNewer);
    };
    tool.fetch(&installed.name, &version, held, &dir)?;
    let fetched = Fetched::among(dir, installed, &version)?;
    Ok(Offer::Newer(Candidate { version, held, fetched }))
}

/// Returns the tool that knows the package sources of this family.
pub(super) fn tool(root: &Path, family: Family) -> Result<Box<dyn Tool>> {
    Ok(match family {
        Family::Deb => Box::new(Apt::below(root)),
        Family::Rpm => Box::new(Dnf::below(root)?),
    })
}

/// Returns the file among those that were fetched which is the package, by what it says of itself.
fn fetched(dir: &Path, installed: &Installed, version: &Version) -> Result<PathBuf> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    files.retain(|path| path.extension().is_some_and(|end| end == "deb" || end == "rpm"));
    files.sort();
    for file in &files {
        // Where it lies for the moment tells nobody anything.
        let package = PackageFile::open(file)
            .map_err(|error| error.instead_of(&format!("{}/", dir.display()), ""))?;
        let identity = package.identity();
        if identity.name == installed.name && same(&identity.version, version) {
            return Ok(file.clone());
        }
    }
    let names = files.iter().filter_map(|f| Some(f.file_name()?.to_string_lossy().into_owned()));
    let names: Vec<String> = names.collect();
    Err(Error::failed(format!("{} {version} was not among what was fetched", installed.name))
        .detail(match names.is_empty() {
            true => "nothing was fetched".to_owned(),
            false => format!("fetched: {}", names.join(", ")),
        })
        .state("nothing was changed")
        .hint("Fetch the package by hand and name it with `--package FILE`."))
}

/// The header of an rpm has its epoch apart from its version.
fn same(of_file: &Version, offered: &Version) -> bool {
    let without_epoch = |version: &Version| {
        let text = version.as_str();
        text.split_once(':').map_or(text, |(_, rest)| rest).to_owned()
    };
    without_epoch(of_file) == without_epoch(offered)
}

fn owner_by_dpkg(root: &Path, conf: &Path) -> Result<Option<Installed>> {
    let Some(program) = process::find("dpkg-query") else { return Ok(None) };
    let database = root.join("var/lib/dpkg");
    if !database.join("status").exists() {
        return Ok(None);
    }
    let ask = || Call::new(&program).arg(format!("--admindir={}", database.display()));
    let Some(text) = asked(ask().arg("--search").arg(conf))? else { return Ok(None) };
    let Some(name) = dpkg_owner(&text) else { return Ok(None) };
    let found = by_dpkg(&program, root, &name)?.into_iter().next();
    Ok(found.map(|(_, version)| Installed { name, version, family: Family::Deb }))
}

/// What dpkg knows of a package, status and version: one for each architecture that is known; all
/// that are installed have one version.
fn by_dpkg(program: &Path, root: &Path, name: &str) -> Result<Vec<(String, Version)>> {
    let call =
        Call::new(program).arg(format!("--admindir={}", root.join("var/lib/dpkg").display()));
    let format = "--showformat=${db:Status-Status} ${Version}\\n";
    let text = asked(call.args(["--show", format]).arg(name))?.unwrap_or_default();
    let states = text.lines().filter_map(|line| line.split_once(' '));
    let there = states.filter(|(state, _)| *state != "not-installed");
    Ok(there.map(|(state, version)| (state.to_owned(), Version::new(version))).collect())
}

/// How far the installation of a package has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It is there, and configured where its tool knows that.
    Whole,
    /// Its own script runs at this moment, or failed.
    HalfConfigured,
    /// Its files are there, and it is not configured yet.
    Unpacked,
    /// Two versions are registered: its transaction is under way, or was broken off.
    Twice,
}

/// Returns version and state of a package, whichever of dpkg and rpm knows it; none where it is not
/// installed.
pub(super) fn registered(root: &Path, name: &str) -> Result<Option<(Version, State)>> {
    if root.join("var/lib/dpkg/status").exists()
        && let Some(program) = process::find("dpkg-query")
    {
        let all = by_dpkg(&program, root, name)?;
        let found = all.into_iter().find_map(|(status, version)| {
            let state = match status.as_str() {
                "installed" | "triggers-pending" | "triggers-awaited" => State::Whole,
                "half-configured" => State::HalfConfigured,
                "config-files" => return None,
                _ => State::Unpacked,
            };
            Some((version, state))
        });
        if found.is_some() {
            return Ok(found);
        }
    }
    let versions = by_rpm(root, &["--query", name])?;
    let state = if versions.len() > 1 { State::Twice } else { State::Whole };
    let newest = versions.into_iter().map(|(_, version)| version).max_by(Version::order);
    Ok(newest.map(|version| (version, state)))
}

/// Reads `PACKAGE[:ARCH][, PACKAGE…]: PATH`; a diversion is of another file.
fn dpkg_owner(text: &str) -> Option<String> {
    let line = text.lines().find(|line| !line.starts_with("diversion by"))?;
    let packages = line.split_once(": ")?.0;
    let first = packages.split(", ").next()?;
    let name = first.split_once(':').map_or(first, |(name, _)| name);
    is_name(name).then(|| name.to_owned())
}

fn owner_by_rpm(root: &Path, conf: &Path) -> Result<Option<Installed>> {
    let conf = conf.to_string_lossy();
    let Some((name, version)) = by_rpm(root, &["--query", "--file", &conf])?.into_iter().next()
    else {
        return Ok(None);
    };
    Ok(is_name(&name).then_some(Installed { name, version, family: Family::Rpm }))
}

/// Names and versions that rpm answers to a question.
fn by_rpm(root: &Path, question: &[&str]) -> Result<Vec<(String, Version)>> {
    let Some(program) = process::find("rpm") else { return Ok(Vec::new()) };
    // Asked where there is no database, rpm makes one.
    if !RPM_DATABASES.iter().any(|file| root.join(file).exists()) {
        return Ok(Vec::new());
    }
    let call = Call::new(&program);
    let call = if root == Path::new("/") { call } else { call.arg("--root").arg(root) };
    let format = "--queryformat=%{NAME} %{EPOCHNUM}:%{VERSION}-%{RELEASE}\\n";
    let text = asked(call.arg(format).args(question))?.unwrap_or_default();
    let lines = text.lines().filter_map(|line| line.split_once(' '));
    let plain = |version: &str| Version::new(version.strip_prefix("0:").unwrap_or(version));
    Ok(lines.map(|(name, version)| (name.to_owned(), plain(version))).collect())
}

/// Returns what a package database answers; none where it says that it knows nothing.
fn asked(call: Call) -> Result<Option<String>> {
    let shown = call.shown();
    match call.deadline(ASK_LIMIT).run() {
        Ok(output) => Ok(Some(output.text()).filter(|text| !text.is_empty())),
        Err(Failure::Ended { .. }) => Ok(None),
        Err(failure) => Err(Error::failed(format!("{shown} {failure}"))
            .state("nothing was changed")
            .hint("Name the file of the next package with `--package FILE`.")),
    }
}

/// A name becomes an argument of a package tool: it may not look like an option or a pattern.
fn is_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.+".contains(c);
    name.starts_with(|c: char| c.is_ascii_alphanumeric()) && name.chars().all(plain)
}

/// Prepares a call of a package tool: with a deadline, and with the operator's way to the network.
pub(super) fn call(program: &Path) -> Call {
    let passed = ["http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "all_proxy", "APT_CONFIG"];
    let upper = passed.iter().map(|name| name.to_ascii_uppercase());
    let names = passed.iter().map(|name| (*name).to_owned()).chain(upper);
    let set = names.filter_map(|name| std::env::var_os(&name).map(|value| (name, value)));
    set.fold(Call::new(program).deadline(FETCH_LIMIT), |call, (name, value)| call.env(name, value))
}

/// Makes the message for a package tool that failed: the sources are away, or contradict themselves.
pub(super) fn told(attempt: &str, failure: &Failure) -> Error {
    let lines: Vec<&str> = failure.stderr().lines().filter(|l| !l.trim().is_empty()).collect();
    let error = Error::new(Outcome::Refused, format!("cannot {attempt}: the tool {failure}"));
    let last = &lines[lines.len().saturating_sub(4)..];
    let error = last.iter().fold(error, |error, line| error.detail(line.trim()));
    error
        .state("nothing was changed")
        .hint("Mend the package sources, or name a file with `--package FILE`.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_owner_is_read_from_what_dpkg_says() {
        for (text, name) in [
            ("openwatch: /usr/share/openwatch/upgrade.conf", Some("openwatch")),
            ("shop:amd64: /usr/share/shop/upgrade.conf", Some("shop")),
            ("shop-server, shop: /usr/share/shop/upgrade.conf", Some("shop-server")),
            ("diversion by x from: /usr/share/shop/upgrade.conf\nshop: /a", Some("shop")),
            ("--option: /usr/share/shop/upgrade.conf", None),
            ("", None),
        ] {
            assert_eq!(dpkg_owner(text).as_deref(), name, "{text}");
        }
    }

    #[test]
    fn an_epoch_is_no_difference_between_file_and_offer() {
        let same = |a: &str, b: &str| same(&Version::new(a), &Version::new(b));
        assert!(same("2.0-1", "1:2.0-1") && same("1:2.0-1", "1:2.0-1"));
        assert!(!same("2.0-1", "2.0-2"));
    }
}
