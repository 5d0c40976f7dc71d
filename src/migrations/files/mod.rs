//! Directories and files that a package ships: what every format shares in reading them.
//!
//! A file that somebody meant to run must not be skipped in silence, so a format names every file
//! with its suffix or refuses it. Everything else (a README, dot files, what editors and package
//! managers leave behind) is ignored.

mod text;

use std::borrow::Cow;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use super::Migration;
use crate::error::{Error, Result};
use crate::system::fs as files;
pub use text::Text;

/// The largest file that is read, in bytes; a server takes no statement text of 1 GiB or more.
const LARGEST: u64 = 512 * 1024 * 1024;

/// One entry of a directory, not opened yet.
#[derive(Clone, Debug)]
pub(super) struct Entry<'d> {
    dir: &'d Path,
    /// Where it lies below the directory of the migrations.
    pub(super) file: PathBuf,
    kind: fs::FileType,
}

impl Entry<'_> {
    pub(super) fn path(&self) -> PathBuf {
        self.dir.join(&self.file)
    }

    /// The name as text; what is no UTF-8 in it is replaced.
    pub(super) fn name(&self) -> Cow<'_, str> {
        self.file.file_name().unwrap_or_default().to_string_lossy()
    }

    pub(super) fn is_dir(&self) -> bool {
        self.kind.is_dir()
    }

    pub(super) fn is_file(&self) -> bool {
        self.kind.is_file()
    }

    /// Lists what lies in it, where it is a directory.
    pub(super) fn list(&self) -> Result<Vec<Self>> {
        list_below(self.dir, &self.file)
    }
}

/// Lists what lies in a directory in the order of names, with its kind as the directory has it,
/// which costs no call for each; hidden entries are left out.
pub(super) fn list(dir: &Path) -> Result<Vec<Entry<'_>>> {
    list_below(dir, Path::new(""))
}

fn list_below<'d>(dir: &'d Path, below: &Path) -> Result<Vec<Entry<'d>>> {
    let whole = dir.join(below);
    let unreadable = |error: std::io::Error| {
        bad(format!("cannot read the migrations directory {}", whole.display()))
            .source(error)
            .hint(format!("Look at it with `ls -ld {}`.", whole.display()))
    };
    let mut found = Vec::new();
    for entry in fs::read_dir(&whole).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        let name = entry.file_name();
        if !name.as_bytes().starts_with(b".") {
            let kind = entry.file_type().map_err(unreadable)?;
            found.push(Entry { dir, file: below.join(name), kind });
        }
    }
    // As bytes, since all are of one directory: paths are compared part by part, which is dear.
    found.sort_unstable_by(|a, b| a.file.as_os_str().cmp(b.file.as_os_str()));
    Ok(found)
}

/// Lists the entries whose names end with `.sql`, in any case.
pub(super) fn list_sql(dir: &Path) -> Result<Vec<Entry<'_>>> {
    let mut found = list(dir)?;
    found.retain(|entry| has_suffix(&entry.name(), ".sql"));
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
    mut entries: Vec<Entry<'_>>,
    read: impl Fn(&Entry<'_>) -> Result<T> + Sync,
) -> Result<Vec<T>> {
    let read_some = |some: Vec<Entry<'_>>, room: usize| -> Result<Vec<T>> {
        let mut all = Vec::with_capacity(room);
        for entry in some {
            all.push(read(&entry)?);
        }
        Ok(all)
    };
    let count = entries.len();
    if count < SHARED {
        return read_some(entries, count);
    }
    let second = entries.split_off(count / 2);
    std::thread::scope(|scope| {
        let other = scope.spawn(|| read_some(second, count - count / 2));
        let mut all = read_some(entries, count)?;
        let rest =
            other.join().unwrap_or_else(|_| Err(bad("a thread that read migrations ended".into())));
        all.extend(rest?);
        Ok(all)
    })
}

/// Reads one file, exactly as it lies there; a format whose tool hashes raw bytes hashes these.
pub(super) fn read_raw(entry: &Entry<'_>) -> Result<String> {
    let path = entry.path();
    if !entry.kind.is_file() {
        let what = match (entry.kind.is_dir(), entry.kind.is_symlink()) {
            (true, _) => "a directory",
            (_, true) => "a symbolic link",
            _ => "a device, pipe or socket",
        };
        return Err(bad(format!("{} is {what}, not a file", path.display()))
            .hint("Put the file itself there, or reinstall the package."));
    }
    read_text(&path)
}

/// Reads a file where there is one.
pub(super) fn read_beside(path: &Path) -> Result<Option<String>> {
    if path.exists() { read_text(path).map(Some) } else { Ok(None) }
}

/// Reads a file as text.
pub(super) fn read_text(path: &Path) -> Result<String> {
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
pub(super) fn refuse_empty(entry: &Entry<'_>, sql: &str) -> Result<()> {
    if !sql.trim().is_empty() {
        return Ok(());
    }
    Err(bad(format!("{} is empty", entry.path().display()))
        .detail("a migration that is meant to do nothing says so in a comment")
        .hint("Reinstall the package, or write the statements into the file."))
}

/// Says that a file's name is not one of the format, and what names look like.
pub(super) fn misnamed(entry: &Entry<'_>, what: &str) -> Error {
    let path = entry.path();
    let parent = path.parent().unwrap_or(Path::new("/"));
    bad(format!("{} is not named like a migration", path.display()))
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
    let mut versions: Vec<&Migration> = all.iter().filter(|m| !m.version.is_empty()).collect();
    versions.sort_unstable_by(|a, b| (&a.version, &a.file).cmp(&(&b.version, &b.file)));
    if let Some(pair) = versions.windows(2).find(|pair| pair[0].version == pair[1].version) {
        return Err(twice(dir, pair[0], pair[1]));
    }
    drop(versions);
    all.sort_unstable_by(|a, b| (&a.key, &a.file).cmp(&(&b.key, &b.file)));
    if let Some(pair) = all.windows(2).find(|pair| pair[0].key == pair[1].key) {
        return Err(twice(dir, &pair[0], &pair[1]));
    }
    if all.is_empty() {
        return Err(bad(format!("{} holds no migration", dir.display()))
            .detail(format!("a migration is {names}"))
            .hint(format!("List it with `ls -l {}`, or reinstall the package.", dir.display())));
    }
    Ok(all)
}

/// Two files of one version.
pub(super) fn twice(dir: &Path, one: &Migration, other: &Migration) -> Error {
    let (first, second) = (dir.join(&one.file), dir.join(&other.file));
    bad(format!("two migrations have the number {}", other.version))
        .detail(format!("{} and {}", first.display(), second.display()))
        .hint(format!("Give `{}` another number.", second.display()))
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
