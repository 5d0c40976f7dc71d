//! Which package a verb looks into, where that is not the installed one.

use std::path::PathBuf;

use clap::Args;

/// A package that is not installed yet.
#[derive(Debug, Args)]
pub struct Package {
    /// Package file (.deb or .rpm) to look into instead of the installed package
    #[arg(long, value_name = "FILE", conflicts_with = "candidate")]
    pub package: Option<PathBuf>,
    /// Look into what apt or dnf would install next; it is fetched for that and removed
    #[arg(long)]
    pub candidate: bool,
}

impl Package {
    /// Returns the option that names a package which is not installed, as it would be typed.
    pub fn typed(&self) -> Option<String> {
        let file = self.package.as_ref().map(|file| format!("--package {}", file.display()));
        file.or_else(|| self.candidate.then(|| "--candidate".into()))
    }
}
