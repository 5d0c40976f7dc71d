//! What dpkg and rpm say to their scripts, and what it means.
//!
//! Every argument form below was measured on dpkg 1.20–1.23 and rpm 4.16–6.1. Neither `$1 >= 2` nor a
//! non-empty `$2` means "upgrade": both are equally true for reinstall, downgrade and reconfigure.
//! The meaning here is only *when in the transaction we are*; what has to be done is decided from
//! facts (pending mark, the database's own schema).
//!
//! Beside it, what a package file holds that is not installed ([`PackageFile`]).

pub mod altered;
pub mod busy;
pub mod candidate;
mod candidate_apt;
mod candidate_dnf;
mod cpio;
mod deb;
mod entry;
pub mod equal;
pub mod exchange;
mod fault;
mod file;
mod left_out;
pub mod older;
pub mod planned;
mod rpm;
mod rpm_header;
mod stream;
mod unpack;

pub use self::file::PackageFile;
pub use self::unpack::{Limits, Wanted};

use crate::error::{Error, Result};
use crate::layout::Layout;
use crate::outcome::Outcome;
use crate::system::fs;
use crate::version::Version;

/// Whose scripts call us.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// dpkg and apt.
    Deb,
    /// rpm, dnf and zypper.
    Rpm,
}

impl Family {
    /// Returns the family with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "deb" => Some(Self::Deb),
            "rpm" => Some(Self::Rpm),
            _ => None,
        }
    }

    /// Returns the command that repairs the package state and tries the upgrade again.
    ///
    /// `dnf update` says "Nothing to do" after a failed %posttrans and `dpkg-reconfigure` refuses a
    /// half-configured package (measured), hence these two.
    pub fn retry_command(self, package: &str) -> String {
        match self {
            Self::Deb => "dpkg --configure -a".into(),
            Self::Rpm => format!("dnf reinstall {package}"),
        }
    }
}

/// What a package file says that it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Name of the package.
    pub name: String,
    /// Its version with its release, without an epoch of rpm.
    pub version: Version,
}

/// Where in the life of a package a script runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// First install: there is nothing to upgrade, and no database is needed.
    FreshInstall,
    /// The new files are not unpacked yet; a "no" costs nothing.
    BeforeUnpack {
        /// The installed version, where the script is told.
        from: Option<Version>,
        /// The version that would be unpacked.
        to: Version,
    },
    /// The new files are on disk; other packages of the run may not be configured yet.
    Begin {
        /// The version that was configured last, where the script is told.
        from: Option<Version>,
    },
    /// Every package of the run is in place: the upgrade can be done.
    Complete,
    /// A form that asks nothing of us.
    Nothing,
}

/// Returns what a script's arguments mean; an unknown form is an error, never ignored.
pub fn event(family: Family, script: &str, arguments: &[String]) -> Result<Event> {
    let word = |index: usize| arguments.get(index).map_or("", String::as_str);
    let version =
        |index: usize| Some(word(index)).filter(|text| !text.is_empty()).map(Version::new);
    let unknown =
        || Error::new(Outcome::Usage, format!("unknown {script} call: {}", arguments.join(" ")));
    match family {
        Family::Deb => match (script, word(0)) {
            ("preinst", "install") if version(1).is_none() => Ok(Event::FreshInstall),
            // Installed again over a removed, not purged package: the files are gone already.
            ("preinst", "install") => Ok(Event::Nothing),
            ("preinst", "upgrade") => {
                let to = version(2).ok_or_else(unknown)?;
                Ok(Event::BeforeUnpack { from: version(1), to })
            }
            ("postinst", "configure") if version(1).is_none() => Ok(Event::FreshInstall),
            ("postinst", "configure") => Ok(Event::Begin { from: version(1) }),
            ("postinst", "triggered") => Ok(Event::Complete),
            ("preinst" | "postinst", form) if form.starts_with("abort-") => Ok(Event::Nothing),
            ("prerm" | "postrm", _) => Ok(Event::Nothing),
            _ => Err(unknown()),
        },
        Family::Rpm => {
            let count: u32 = word(0).parse().map_err(|_| unknown())?;
            match (script, count) {
                ("pre" | "post", 0 | 1) => Ok(Event::FreshInstall),
                ("pre", _) => {
                    let to = version(1).ok_or_else(unknown)?;
                    Ok(Event::BeforeUnpack { from: None, to })
                }
                // Three while a failed erase left both versions registered.
                ("post", _) => Ok(Event::Begin { from: None }),
                // Up to rpm 4.17 the argument is 1 on upgrade too: the pending mark decides.
                ("posttrans", _) => Ok(Event::Complete),
                ("preun" | "postun", _) => Ok(Event::Nothing),
                _ => Err(unknown()),
            }
        }
    }
}

/// Returns the installed applications whose upgrades are ours: each ships its half of the
/// configuration, and has had a directory for upgrades made.
pub fn applications(root: &std::path::Path) -> Vec<Layout> {
    let Ok(entries) = std::fs::read_dir(root.join("var/lib")) else { return Vec::new() };
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let mut found: Vec<Layout> = names.map(|name| Layout::new(root, name)).collect();
    found.retain(|layout| layout.upgrade_dir().is_dir() && layout.packager_conf().is_file());
    found.sort_by(|a, b| a.app().cmp(b.app()));
    found
}

/// Reads the version of the installed package: its one-line file, else `otherwise`.
pub fn installed_version(layout: &Layout, otherwise: Option<&Version>) -> Option<Version> {
    let text = fs::read_text(&layout.version_file(), 1024).ok();
    let line = text.as_deref().and_then(|text| text.lines().next()).map(str::trim);
    line.filter(|line| !line.is_empty()).map(Version::new).or_else(|| otherwise.cloned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meaning(family: Family, script: &str, arguments: &[&str]) -> Event {
        let arguments: Vec<String> = arguments.iter().map(|a| (*a).to_owned()).collect();
        event(family, script, &arguments).unwrap()
    }

    #[test]
    fn every_deb_form_has_its_meaning() {
        let begin = |from: &str| Event::Begin { from: Some(Version::new(from)) };
        let before = |from: &str, to: &str| Event::BeforeUnpack {
            from: Some(Version::new(from)),
            to: Version::new(to),
        };
        for (script, arguments, expected) in [
            ("preinst", &["install"][..], Event::FreshInstall),
            ("preinst", &["install", "1.0-1", "2.0-1"], Event::Nothing),
            ("preinst", &["upgrade", "1.0-1", "2.0-1"], before("1.0-1", "2.0-1")),
            ("preinst", &["abort-upgrade", "2.0-1"], Event::Nothing),
            ("postinst", &["configure", ""], Event::FreshInstall),
            ("postinst", &["configure"], Event::FreshInstall),
            ("postinst", &["configure", "1.0-1"], begin("1.0-1")),
            ("postinst", &["triggered", "openwatch-upgrade"], Event::Complete),
            ("postinst", &["abort-upgrade", "2.0-1"], Event::Nothing),
            ("postinst", &["abort-remove"], Event::Nothing),
            ("prerm", &["upgrade", "2.0-1"], Event::Nothing),
            ("prerm", &["remove"], Event::Nothing),
            ("postrm", &["purge"], Event::Nothing),
        ] {
            assert_eq!(meaning(Family::Deb, script, arguments), expected, "{script} {arguments:?}");
        }
    }

    #[test]
    fn every_rpm_form_has_its_meaning() {
        let before = Event::BeforeUnpack { from: None, to: Version::new("2.0-1") };
        for (script, arguments, expected) in [
            ("pre", &["1", "2.0-1"][..], Event::FreshInstall),
            ("pre", &["2", "2.0-1"], before.clone()),
            ("pre", &["3", "2.0-1"], before),
            ("post", &["1"], Event::FreshInstall),
            ("post", &["2"], Event::Begin { from: None }),
            ("post", &["3"], Event::Begin { from: None }),
            ("posttrans", &["1"], Event::Complete),
            ("posttrans", &["2"], Event::Complete),
            ("preun", &["0"], Event::Nothing),
            ("postun", &["1"], Event::Nothing),
        ] {
            assert_eq!(meaning(Family::Rpm, script, arguments), expected, "{script} {arguments:?}");
        }
    }

    #[test]
    fn an_unknown_form_is_an_error() {
        for (family, script, argument) in [
            (Family::Deb, "postinst", "frobnicate"),
            (Family::Deb, "config", "configure"),
            (Family::Rpm, "post", "two"),
            (Family::Rpm, "verify", "1"),
        ] {
            let error = event(family, script, &[argument.to_owned()]).unwrap_err();
            assert_eq!(error.outcome(), Outcome::Usage, "{script} {argument}");
        }
    }
}
