//! Where the older package is: named, kept, in a cache, or in the package sources.

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::layout::Layout;
use crate::outcome::Outcome;
use crate::package::candidate::Installed;
use crate::package::{PackageFile, older};
use crate::version::Version;

use super::kept;

/// Where the older package comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A file that the operator named.
    Named(PathBuf),
    /// A copy that we kept.
    Kept(PathBuf),
    /// A cache of the package tools.
    Cached(PathBuf),
    /// The package sources, which write the version so.
    Offered(Version),
}

/// Why there is none: what the sources said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lack {
    /// They do not have it.
    NotOffered,
    /// They could not be asked.
    NotAsked(String),
}

impl Source {
    /// Says where it is.
    pub fn told(&self) -> String {
        match self {
            Self::Named(file) => format!("from {}", file.display()),
            Self::Kept(file) => format!("kept as {}", file.display()),
            Self::Cached(file) => format!("from the cache, {}", file.display()),
            Self::Offered(version) => format!("version {version} from the package sources"),
        }
    }

    /// Returns the word for JSON.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Named(_) => "named",
            Self::Kept(_) => "kept",
            Self::Cached(_) => "cache",
            Self::Offered(_) => "package_sources",
        }
    }
}

/// Looks for the older package, nearest first; only looks.
pub fn look(
    layout: &Layout,
    installed: &Installed,
    version: &Version,
) -> Result<std::result::Result<Source, Lack>> {
    if let Some(file) = kept::find(layout, &installed.name, version)? {
        return Ok(Ok(Source::Kept(file)));
    }
    if let Some(file) = older::cached(layout.root(), installed, version) {
        return Ok(Ok(Source::Cached(file)));
    }
    Ok(match older::offered(layout.root(), installed, version) {
        Ok(Some(offered)) => Ok(Source::Offered(offered)),
        Ok(None) => Err(Lack::NotOffered),
        Err(error) => Err(Lack::NotAsked(error.message())),
    })
}

/// Takes a file that the operator named, and returns it with its version.
pub fn named(file: &Path, installed: &Installed) -> Result<(Source, Version)> {
    let file = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
    let opened = PackageFile::open(&file)?;
    let identity = opened.identity();
    if identity.name != installed.name || opened.family() != installed.family {
        let (shown, name) = (file.display(), &identity.name);
        let message = format!("{shown} is the package {name}, not {}", installed.name);
        return Err(Error::new(Outcome::Refused, message).state("nothing was changed"));
    }
    Ok((Source::Named(file), identity.version.clone()))
}

/// Brings the package into the directory of kept ones, and returns its name there.
pub fn bring(
    layout: &Layout,
    installed: &Installed,
    version: &Version,
    source: &Source,
) -> Result<String> {
    let kept = |file: &Path| {
        older::check(file, &installed.name, version)?;
        kept::keep(layout, file, &installed.name, installed.family)
    };
    match source {
        Source::Named(file) | Source::Kept(file) | Source::Cached(file) => kept(file),
        Source::Offered(offered) => {
            let fetched = older::fetch(layout, installed, offered)?;
            kept(fetched.file())
        }
    }
}

/// Refuses a rollback without a package: half of it would be the wrong half.
pub fn lacking(app: &str, version: &Version, point: Option<&str>, lack: &Lack) -> Error {
    let sources = match lack {
        Lack::NotOffered => "no package source offers it".to_owned(),
        Lack::NotAsked(why) => format!("the package sources cannot be asked: {why}"),
    };
    let error = Error::new(Outcome::Refused, format!("there is no package of {app} {version}"))
        .detail(format!("it is neither kept nor in a cache, and {sources}"))
        .state("nothing was changed")
        .hint("Name its file with `openwatch rollback --package FILE`.");
    match point {
        Some(id) => error.detail(format!("restore point {id} has the data of that version")),
        None => error,
    }
}
