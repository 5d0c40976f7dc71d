//! The files of an encrypted restore point.

use std::path::Path;

use crate::restore_points::archive::contents_name;
use crate::restore_points::manifest::Manifest;

/// Returns the name of the file with the archive of a database, as `age -d` and `pg_restore` read it.
pub(super) fn archive_name(database: &str) -> String {
    format!("{database}.dump.age")
}

/// Returns the name of the file with what an archive contains.
pub(super) fn sealed_contents_name(database: &str) -> String {
    format!("{}.age", contents_name(database))
}

/// Returns the first database whose archive is not there.
pub(in crate::restore_points) fn first_missing<'m>(
    dir: &Path,
    manifest: &'m Manifest,
) -> Option<&'m str> {
    let names = manifest.databases.iter().map(|archive| archive.name.as_str());
    let there = |name: &str| match &manifest.encryption {
        Some(_) => dir.join(archive_name(name)).is_file(),
        None => dir.join(name).is_dir(),
    };
    names.into_iter().find(|name| !there(name))
}
