//! The directory that a package ships: which files are migrations, and what is wrong with them.
//!
//! A migration is a regular file `NNNN_name.sql`: digits, underscore, then letters, digits, `_` and
//! `-`. Any other `.sql` file is an error, because a file that somebody meant to run must not be
//! skipped in silence. Everything else (a README, dot files, what editors and package managers leave
//! behind) is ignored.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::Migration;
use crate::config::{Format, MigrationsSpec};
use crate::error::{Error, Result};
use crate::system::fs as files;

/// The largest file that is read, in bytes; a server takes no statement text of 1 GiB or more.
const LARGEST: u64 = 512 * 1024 * 1024;

/// The first line of a file that runs outside a transaction.
pub const NO_TRANSACTION: &str = "-- openwatch: no-transaction";

/// Reads all migrations of a directory, in the order of their numbers.
pub fn load(spec: &MigrationsSpec) -> Result<Vec<Migration>> {
    let Format::Plain = spec.format;
    let dir = spec.dir.as_path();
    let mut migrations = read_all(&candidates(dir)?)?;
    migrations.sort_by_key(|migration| (migration.number, migration.file.clone()));
    for pair in migrations.windows(2) {
        if pair[0].number == pair[1].number {
            return Err(bad(format!("two migrations have the number {}", pair[1].version))
                .detail(format!("{} and {}", pair[0].file.display(), pair[1].file.display()))
                .hint(format!("Give `{}` another number.", pair[1].file.display())));
        }
    }
    if migrations.is_empty() {
        return Err(bad(format!("{} holds no migration", dir.display()))
            .detail("a migration is a file named NNNN_name.sql")
            .hint(format!("List it with `ls -l {}`, or reinstall the package.", dir.display())));
    }
    Ok(migrations)
}

/// From this many files on, two threads read and hash them: half of `migrate --status` otherwise.
const SHARED: usize = 200;

fn read_all(files: &[(PathBuf, fs::FileType)]) -> Result<Vec<Migration>> {
    let read_some = |some: &[(PathBuf, fs::FileType)]| -> Result<Vec<Migration>> {
        some.iter().map(|(path, kind)| read(path, *kind)).collect()
    };
    if files.len() < SHARED {
        return read_some(files);
    }
    let (first, second) = files.split_at(files.len() / 2);
    std::thread::scope(|scope| {
        let other = scope.spawn(|| read_some(second));
        let mut all = read_some(first)?;
        let rest =
            other.join().unwrap_or_else(|_| Err(bad("a thread that read migrations ended".into())));
        all.extend(rest?);
        Ok(all)
    })
}

/// Takes the version and the name out of a file name such as `0035_hosts.sql`.
pub fn parse_name(file: &str) -> Option<(&str, &str)> {
    let (version, name) = file.strip_suffix(".sql")?.split_once('_')?;
    let digits = !version.is_empty() && version.bytes().all(|byte| byte.is_ascii_digit());
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    (digits && !name.is_empty() && name.bytes().all(plain)).then_some((version, name))
}

/// Returns the SHA-256 of a file's text in hexadecimal digits.
///
/// A byte order mark is dropped and CRLF counts as LF, so that a checkout on another system is the
/// same migration.
pub fn checksum(text: &str) -> String {
    hex::encode(Sha256::digest(normalised(text).as_bytes()))
}

/// The text as it is hashed and sent: without byte order mark, lines ending with LF.
fn normalised(text: &str) -> String {
    text.strip_prefix('\u{feff}').unwrap_or(text).replace("\r\n", "\n")
}

/// Lists the SQL files with their kind as the directory has it, which costs no call for each.
fn candidates(dir: &Path) -> Result<Vec<(PathBuf, fs::FileType)>> {
    let unreadable = |error: std::io::Error| {
        bad(format!("cannot read the migrations directory {}", dir.display()))
            .source(error)
            .hint(format!("Look at it with `ls -ld {}`.", dir.display()))
    };
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        let name = entry.file_name();
        let bytes = name.as_bytes();
        let sql = bytes.len() >= 4 && bytes[bytes.len() - 4..].eq_ignore_ascii_case(b".sql");
        if sql && !bytes.starts_with(b".") {
            found.push((dir.join(name), entry.file_type().map_err(unreadable)?));
        }
    }
    found.sort_by(|(a, _), (b, _)| a.cmp(b));
    Ok(found)
}

fn read(path: &Path, kind: fs::FileType) -> Result<Migration> {
    let file = path.file_name().unwrap_or_default().to_string_lossy();
    let (version, name) = parse_name(&file).ok_or_else(|| {
        bad(format!("{} is not named like a migration", path.display()))
            .detail("digits, an underscore, then letters, digits, _ and -, as in 0007_hosts.sql")
            .hint(format!("Rename it, or move it out of `{}`.", parent(path)))
    })?;
    let number = version.parse::<u64>().ok().filter(|_| version.len() <= 18).ok_or_else(|| {
        bad(format!("the number of {} is too long", path.display()))
            .detail("at most 18 digits")
            .hint("Give it a shorter number.")
    })?;
    if !kind.is_file() {
        let what = match (kind.is_dir(), kind.is_symlink()) {
            (true, _) => "a directory",
            (_, true) => "a symbolic link",
            _ => "a device, pipe or socket",
        };
        return Err(bad(format!("{} is {what}, not a file", path.display()))
            .hint("Put the file itself there, or reinstall the package."));
    }
    let text = files::read_text(path, LARGEST).map_err(|error| cannot_read(path, error))?;
    let sql = normalised(&text);
    check_text(path, &sql)?;
    let first = sql.lines().next().unwrap_or_default().trim_end();
    Ok(Migration {
        version: version.to_owned(),
        name: name.to_owned(),
        number,
        file: path.to_owned(),
        checksum: hex::encode(Sha256::digest(sql.as_bytes())),
        transactional: first != NO_TRANSACTION,
        sql,
    })
}

fn check_text(path: &Path, sql: &str) -> Result<()> {
    if sql.trim().is_empty() {
        return Err(bad(format!("{} is empty", path.display()))
            .detail("a migration that is meant to do nothing says so in a comment")
            .hint("Reinstall the package, or write the statements into the file."));
    }
    if let Some(at) = sql.find('\0') {
        let line = 1 + sql[..at].matches('\n').count();
        return Err(bad(format!("{} has a NUL character at line {line}", path.display()))
            .hint("Save it as UTF-8 text."));
    }
    // A directive that is nearly right must not be taken for a remark.
    for (index, line) in sql.lines().enumerate() {
        let Some(directive) = line.trim().strip_prefix("-- openwatch:") else { continue };
        if index > 0 || line.trim_end() != NO_TRANSACTION {
            return Err(bad(format!(
                "{} has the unknown directive{directive} at line {}",
                path.display(),
                index + 1
            ))
            .detail(format!("the only one is {NO_TRANSACTION}, alone on the first line"))
            .hint("Correct the directive, or write the comment in other words."));
        }
    }
    Ok(())
}

fn cannot_read(path: &Path, error: std::io::Error) -> Error {
    bad(format!("cannot read the migration {}", path.display()))
        .source(error)
        .hint(format!("Look at it with `ls -l {}`.", path.display()))
}

fn parent(path: &Path) -> String {
    path.parent().unwrap_or(Path::new("/")).display().to_string()
}

fn bad(message: String) -> Error {
    Error::config(message).state("nothing was changed")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_are_digits_underscore_words() {
        assert_eq!(parse_name("0035_host-profile_2.sql"), Some(("0035", "host-profile_2")));
        for name in [
            "0035.sql",
            "_a.sql",
            "0035_.sql",
            "35a_b.sql",
            "0001_a.down.sql",
            "0001_a b.sql",
            "0001_ä.sql",
            "0001_a.SQL",
            "0001_a",
            "٣_a.sql",
            ".sql",
            "",
        ] {
            assert_eq!(parse_name(name), None, "{name}");
        }
    }

    #[test]
    fn line_endings_and_byte_order_mark_do_not_change_the_checksum() {
        assert_eq!(
            checksum("\u{feff}select 1;\r\nselect 2;\r\n"),
            checksum("select 1;\nselect 2;\n")
        );
        assert_ne!(checksum("select 1;"), checksum("select 1; "));
        let known = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(checksum(""), known);
    }

    proptest! {
        #[test]
        fn no_file_name_makes_the_reader_panic(name in any::<String>()) {
            let _ = parse_name(&name);
            let _ = parse_name(&format!("{name}.sql"));
        }

        #[test]
        fn what_is_accepted_can_be_put_together_again(name in "[0-9]{1,5}_[A-Za-z0-9_-]{1,12}\\.sql") {
            let (version, rest) = parse_name(&name).unwrap();
            prop_assert_eq!(format!("{version}_{rest}.sql"), name);
        }
    }
}
