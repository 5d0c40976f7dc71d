//! Directories and files that a package ships: what every format shares in reading them.
//!
//! A file that somebody meant to run must not be skipped in silence, so a format names every file
//! with its suffix or refuses it. Everything else (a README, dot files, what editors and package
//! managers leave behind) is ignored.

use std::collections::HashMap;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use super::Migration;
use crate::error::{Error, Result};
use crate::system::fs as files;

/// The largest file that is read, in bytes; a server takes no statement text of 1 GiB or more.
const LARGEST: u64 = 512 * 1024 * 1024;

/// One entry of a directory, not opened yet.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) path: PathBuf,
    /// The name as text; what is no UTF-8 in it was replaced.
    pub(super) name: String,
    kind: fs::FileType,
}

impl Entry {
    pub(super) fn is_dir(&self) -> bool {
        self.kind.is_dir()
    }

    pub(super) fn is_file(&self) -> bool {
        self.kind.is_file()
    }
}

/// Lists what lies in a directory in the order of names, with its kind as the directory has it,
/// which costs no call for each; hidden entries are left out.
pub(super) fn list(dir: &Path) -> Result<Vec<Entry>> {
    let unreadable = |error: std::io::Error| {
        bad(format!("cannot read the migrations directory {}", dir.display()))
            .source(error)
            .hint(format!("Look at it with `ls -ld {}`.", dir.display()))
    };
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        let name = entry.file_name();
        if !name.as_bytes().starts_with(b".") {
            let kind = entry.file_type().map_err(unreadable)?;
            let text = name.to_string_lossy().into_owned();
            found.push(Entry { path: dir.join(name), name: text, kind });
        }
    }
    // By name, as all are of one directory: paths are compared part by part, which is dear.
    found.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

/// Lists the entries whose names end with `.sql`, in any case.
pub(super) fn list_sql(dir: &Path) -> Result<Vec<Entry>> {
    let mut found = list(dir)?;
    found.retain(|entry| has_suffix(&entry.name, ".sql"));
    Ok(found)
}

/// Returns whether a name ends with this suffix, in any case.
pub(super) fn has_suffix(name: &str, suffix: &str) -> bool {
    let (name, suffix) = (name.as_bytes(), suffix.as_bytes());
    name.len() >= suffix.len() && name[name.len() - suffix.len()..].eq_ignore_ascii_case(suffix)
}

/// From this many files on, two threads read and hash them: half of `migrate --status` otherwise.
const SHARED: usize = 200;

/// Reads many files; the order of the answers is that of the entries, each of which is let go once
/// its file was read.
pub(super) fn read_all<T: Send>(
    mut entries: Vec<Entry>,
    read: impl Fn(&Entry) -> Result<T> + Sync,
) -> Result<Vec<T>> {
    let read_some = |some: Vec<Entry>| -> Result<Vec<T>> {
        let mut all = Vec::with_capacity(some.len());
        for entry in some {
            all.push(read(&entry)?);
        }
        Ok(all)
    };
    if entries.len() < SHARED {
        return read_some(entries);
    }
    let second = entries.split_off(entries.len() / 2);
    std::thread::scope(|scope| {
        let other = scope.spawn(|| read_some(second));
        let mut all = read_some(entries)?;
        let rest =
            other.join().unwrap_or_else(|_| Err(bad("a thread that read migrations ended".into())));
        all.extend(rest?);
        Ok(all)
    })
}

/// Reads one file, exactly as it lies there; a format whose tool hashes raw bytes hashes these.
pub(super) fn read_raw(entry: &Entry) -> Result<String> {
    let path = &entry.path;
    if !entry.kind.is_file() {
        let what = match (entry.kind.is_dir(), entry.kind.is_symlink()) {
            (true, _) => "a directory",
            (_, true) => "a symbolic link",
            _ => "a device, pipe or socket",
        };
        return Err(bad(format!("{} is {what}, not a file", path.display()))
            .hint("Put the file itself there, or reinstall the package."));
    }
    let raw = files::read_text(path, LARGEST).map_err(|error| {
        bad(format!("cannot read the migration {}", path.display()))
            .source(error)
            .hint(format!("Look at it with `ls -l {}`.", path.display()))
    })?;
    if let Some(at) = raw.find('\0') {
        let line = 1 + raw[..at].matches('\n').count();
        return Err(bad(format!("{} has a NUL character at line {line}", path.display()))
            .hint("Save it as UTF-8 text."));
    }
    Ok(raw)
}

/// The text as it is sent: without byte order mark, lines ending with LF.
pub(super) fn normalised(raw: &str) -> String {
    raw.strip_prefix('\u{feff}').unwrap_or(raw).replace("\r\n", "\n")
}

/// The same without a copy, where nothing is to be done.
pub(super) fn into_normalised(raw: String) -> String {
    if raw.starts_with('\u{feff}') || raw.contains('\r') { normalised(&raw) } else { raw }
}

/// Refuses a file without any text, for formats whose tool would record it as applied.
pub(super) fn refuse_empty(entry: &Entry, sql: &str) -> Result<()> {
    if !sql.trim().is_empty() {
        return Ok(());
    }
    Err(bad(format!("{} is empty", entry.path.display()))
        .detail("a migration that is meant to do nothing says so in a comment")
        .hint("Reinstall the package, or write the statements into the file."))
}

/// Says that a file's name is not one of the format, and what names look like.
pub(super) fn misnamed(entry: &Entry, what: &str) -> Error {
    let parent = entry.path.parent().unwrap_or(Path::new("/"));
    bad(format!("{} is not named like a migration", entry.path.display()))
        .detail(what)
        .hint(format!("Rename it, or move it out of `{}`.", parent.display()))
}

/// Takes lines of a file by their place: the others become empty, so that a place in what is sent
/// is the place in the file. `keep` is asked with the index of each line, counted from 0.
pub(super) fn only_lines(text: &str, keep: impl Fn(usize) -> bool) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut end = 0;
    for (index, line) in text.split_inclusive('\n').enumerate() {
        if keep(index) {
            kept.push_str(line);
            end = kept.len();
        } else if line.ends_with('\n') {
            kept.push('\n');
        }
    }
    kept.truncate(end);
    kept
}

/// Puts migrations into their order and refuses two of one version.
pub(super) fn in_order(dir: &Path, mut all: Vec<Migration>, names: &str) -> Result<Vec<Migration>> {
    all.sort_by(|a, b| (&a.key, &a.file).cmp(&(&b.key, &b.file)));
    let twice = |one: &Migration, other: &Migration| {
        Err(bad(format!("two migrations have the number {}", other.version))
            .detail(format!("{} and {}", one.file.display(), other.file.display()))
            .hint(format!("Give `{}` another number.", other.file.display())))
    };
    let mut versions: HashMap<&str, &Migration> = HashMap::with_capacity(all.len());
    for migration in all.iter().filter(|migration| !migration.version.is_empty()) {
        if let Some(one) = versions.insert(&migration.version, migration) {
            return twice(one, migration);
        }
    }
    drop(versions);
    if let Some(pair) = all.windows(2).find(|pair| pair[0].key == pair[1].key) {
        return twice(&pair[0], &pair[1]);
    }
    if all.is_empty() {
        return Err(bad(format!("{} holds no migration", dir.display()))
            .detail(format!("a migration is {names}"))
            .hint(format!("List it with `ls -l {}`, or reinstall the package.", dir.display())));
    }
    Ok(all)
}

/// An error in what a package ships.
pub(super) fn bad(message: String) -> Error {
    Error::config(message).state("nothing was changed")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_are_left_out_keep_the_places_of_the_others() {
        let text = "-- up\nselect 1;\n-- down\nselect 2;\n";
        assert_eq!(only_lines(text, |line| line == 1), "\nselect 1;\n");
        assert_eq!(only_lines(text, |line| line == 3), "\n\n\nselect 2;\n");
        assert_eq!(only_lines("a\nb", |line| line == 1), "\nb");
        assert_eq!(only_lines("a\nb", |_| false), "");
    }

    #[test]
    fn suffixes_count_in_any_case() {
        assert!(has_suffix("a.SQL", ".sql") && has_suffix(".sql", ".sql"));
        assert!(!has_suffix("sql", ".sql") && !has_suffix("a.sql~", ".sql"));
    }
}
