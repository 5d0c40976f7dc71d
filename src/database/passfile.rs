//! The password file, `host:port:database:user:password`, as libpq reads it.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use crate::system::fs;

/// No password file is this large; bytes.
const LIMIT: u64 = 4 << 20;

/// What a password file says about one connection.
#[derive(PartialEq, Eq)]
pub(super) enum Found {
    /// The password.
    Password(String),
    /// Nothing, or there is no such file.
    Nothing,
    /// The file is not used, for this reason.
    Ignored(String),
}

/// What a line of the file is compared with.
pub(super) struct Wanted<'a> {
    /// Host name, address, or `localhost` for the default socket directory.
    pub(super) host: &'a str,
    /// Port.
    pub(super) port: u16,
    /// Database.
    pub(super) dbname: &'a str,
    /// Role.
    pub(super) user: &'a str,
}

/// Looks a password up; a file that others can read is ignored, as libpq ignores it.
pub(super) fn look_up(path: &Path, wanted: &Wanted<'_>) -> Found {
    let ignored = |why: &str| Found::Ignored(format!("{} is ignored: {why}", path.display()));
    match std::fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Found::Nothing,
        Err(error) => return ignored(&error.to_string()),
        Ok(found) if !found.is_file() => return ignored("it is not a plain file"),
        Ok(found) if found.mode() & 0o077 != 0 => {
            return ignored("others can read it; its mode must be 0600 or less");
        }
        Ok(_) => {}
    }
    match fs::read_limited(path, LIMIT) {
        Ok(bytes) => {
            let text = String::from_utf8_lossy(&bytes);
            text.lines()
                .find_map(|line| matching(line, wanted))
                .map_or(Found::Nothing, Found::Password)
        }
        Err(error) => ignored(&error.to_string()),
    }
}

fn matching(line: &str, wanted: &Wanted<'_>) -> Option<String> {
    if line.starts_with('#') {
        return None;
    }
    let port = wanted.port.to_string();
    let rest = [wanted.host, &port, wanted.dbname, wanted.user]
        .iter()
        .try_fold(line, |rest, value| field(rest, value))?;
    let mut password = String::new();
    let mut chars = rest.chars();
    while let Some(char) = chars.next() {
        match char {
            ':' => break,
            '\\' => password.push(chars.next().unwrap_or('\\')),
            other => password.push(other),
        }
    }
    Some(password)
}

/// Compares the first field with a value and returns what follows its colon.
fn field<'a>(line: &'a str, value: &str) -> Option<&'a str> {
    if let Some(rest) = line.strip_prefix("*:") {
        return Some(rest);
    }
    let mut expected = value.chars();
    let mut chars = line.char_indices();
    while let Some((at, char)) = chars.next() {
        let char = match char {
            ':' if expected.as_str().is_empty() => return Some(&line[at + 1..]),
            '\\' => chars.next()?.1,
            other => other,
        };
        if expected.next() != Some(char) {
            return None;
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    const WANTED: Wanted<'static> = Wanted { host: "db1", port: 5432, dbname: "a:b", user: "ow" };

    #[test]
    fn lines_match_as_in_libpq() {
        for (line, password) in [
            ("db1:5432:a\\:b:ow:secret", Some("secret")),
            ("*:*:*:*:s\\:e\\\\c", Some("s:e\\c")),
            ("*:*:*:*:before:after", Some("before")),
            ("db1:5432:a\\:b:ow:", Some("")),
            ("#*:*:*:*:secret", None),
            ("db1:5433:*:*:secret", None),
            ("db:5432:*:*:secret", None),
            ("db11:5432:*:*:secret", None),
            ("**:*:*:*:secret", None),
            ("db1:5432:*:ow", None),
            ("db1:5432:*:ow\\", None),
            ("", None),
        ] {
            assert_eq!(matching(line, &WANTED).as_deref(), password, "{line}");
        }
    }

    #[test]
    fn a_file_that_others_can_read_is_ignored() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pgpass");
        std::fs::write(&path, "# first\r\n*:*:*:*:secret\r\n").unwrap();
        for (mode, used) in [(0o600, true), (0o400, true), (0o640, false), (0o604, false)] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            let found = look_up(&path, &WANTED);
            assert_eq!(found == Found::Password("secret".into()), used, "{mode:o}");
            assert_eq!(matches!(found, Found::Ignored(_)), !used, "{mode:o}");
        }
        assert!(matches!(look_up(dir.path(), &WANTED), Found::Ignored(_)));
        assert!(look_up(&dir.path().join("none"), &WANTED) == Found::Nothing);
    }

    proptest::proptest! {
        #[test]
        fn no_line_makes_the_reader_panic(line in ".{0,40}|[a*:\\\\]{0,20}") {
            let _ = matching(&line, &WANTED);
        }
    }
}
