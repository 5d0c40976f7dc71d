//! Service files: named groups of connection parameters.

use std::io;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::system::fs;

use super::keywords::{self, Origin, Parameters};

/// No service file is this large; bytes.
const LIMIT: u64 = 4 << 20;

/// Where the system-wide file lies: compiled into the libpq of Debian, of RHEL, of the PostgreSQL
/// project's rpm packages.
const SYSTEM: [&str; 3] = ["/etc/postgresql-common", "/etc", "/etc/sysconfig/pgsql"];

/// Where service files are looked for.
pub(super) struct Places<'a> {
    /// `PGSERVICEFILE` or the keyword `servicefile`; it must exist.
    pub(super) named: Option<&'a str>,
    /// The home directory, which may hold `.pg_service.conf`.
    pub(super) home: Option<&'a Path>,
    /// `PGSYSCONFDIR`.
    pub(super) system: Option<&'a str>,
}

/// Fills the parameters that are still open from the service of this name.
pub(super) fn fill(parameters: &mut Parameters, name: &str, places: &Places<'_>) -> Result<()> {
    let mut files: Vec<(PathBuf, bool)> = Vec::new();
    match (places.named, places.home) {
        (Some(file), _) => files.push((file.into(), true)),
        (None, Some(home)) => files.push((home.join(".pg_service.conf"), false)),
        (None, None) => {}
    }
    let system = match &places.system {
        Some(dir) => vec![*dir],
        None => SYSTEM.to_vec(),
    };
    files.extend(system.iter().map(|dir| (Path::new(dir).join("pg_service.conf"), false)));
    for (file, required) in &files {
        let text = match read(file) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound && !required => continue,
            Err(error) => {
                return Err(Error::config(format!("cannot read service file {}", file.display()))
                    .hint("Correct `PGSERVICEFILE`, or create that file.")
                    .source(error));
            }
        };
        if fill_from(parameters, name, &text, file)? {
            return Ok(());
        }
    }
    let looked: Vec<String> = files.iter().map(|(file, _)| file.display().to_string()).collect();
    Err(Error::config(format!("there is no service {name} in any service file"))
        .detail(format!("looked in {}", looked.join(", ")))
        .hint(format!(
            "Add a section `[{name}]` to `{}`.",
            looked.first().map_or("pg_service.conf", String::as_str)
        )))
}

/// Reads a plain file; anything else could hold us for ever.
fn read(file: &Path) -> io::Result<String> {
    if !std::fs::metadata(file)?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is not a plain file"));
    }
    fs::read_text(file, LIMIT)
}

/// Reads one file; true when it has the service.
fn fill_from(parameters: &mut Parameters, name: &str, text: &str, file: &Path) -> Result<bool> {
    let header = format!("[{name}]");
    let mut inside = false;
    for (index, line) in text.lines().enumerate() {
        let line = line.trim_matches(|c: char| c.is_ascii_whitespace() || c == '\x0b');
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if line.starts_with('[') {
            if inside {
                return Ok(true);
            }
            inside = line.starts_with(&header);
            continue;
        }
        if !inside {
            continue;
        }
        let wrong = |what: &str| {
            Error::config(format!("service file {}, line {}: {what}", file.display(), index + 1))
                .hint(format!("Correct line {} of `{}`.", index + 1, file.display()))
        };
        if line.starts_with("ldap") {
            return Err(wrong("connection parameters from LDAP are not supported"));
        }
        let (keyword, value) = line.split_once('=').ok_or_else(|| wrong("= is missing"))?;
        match keywords::known(keyword) {
            Some("service" | "servicefile") => {
                return Err(wrong("a service cannot name another service"));
            }
            Some(keyword) => parameters.fill(
                keyword,
                value.to_owned(),
                Origin::Service { name: name.to_owned(), file: file.to_owned() },
            ),
            // The word itself is not shown: a broken line may hold a piece of a password.
            None => return Err(wrong("the keyword is unknown (no space before =)")),
        }
    }
    Ok(inside)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Parameters> {
        let mut parameters = Parameters::default();
        fill_from(&mut parameters, "main", text, Path::new("/s")).map(|_| parameters)
    }

    #[test]
    fn the_first_value_of_the_first_section_counts() {
        let text = "# c\n[other]\nhost=no\n\n [main]\nhost=a\nhost=b\r\nport=\n[main]\nuser=no\n";
        let parameters = read(text).unwrap();
        assert_eq!(parameters.iter().collect::<Vec<_>>(), [("host", "a"), ("port", "")]);
    }

    #[test]
    fn a_wrong_line_is_named_and_not_shown() {
        for line in ["password secret", "pass word=secret", "service=x", "ldap://secret"] {
            let error = read(&format!("[main]\nhost=a\n{line}\n")).unwrap_err();
            assert!(error.message().contains("line 3"), "{}", error.message());
            assert!(!format!("{error:?}").contains("secret"));
        }
    }

    #[test]
    fn a_missing_service_says_where_it_was_looked_for() {
        let dir = tempfile::tempdir().unwrap();
        let places = Places { named: None, home: Some(dir.path()), system: dir.path().to_str() };
        let error = fill(&mut Parameters::default(), "main", &places).unwrap_err();
        assert_eq!(error.message(), "there is no service main in any service file");
        assert!(error.details()[0].contains(".pg_service.conf"));
    }

    proptest::proptest! {
        #[test]
        fn no_file_makes_the_reader_panic(text in ".{0,40}|(\\[main\\]\n)?([a-z=# \\[\\]\n]{0,40})") {
            let _ = read(&text);
        }
    }
}
